//! The reference pages, made from the crate's own data: a page per hypercall, one of shared structures, and an index.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{Argument, Callers, OTHER_ROWS, ROWS, Row, SubRow};
use paravane_abi::layout::{CONSTANTS, ConstantRow, STRUCTS, StructRow};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The command that writes the pages.
pub const COMMAND: &str = "cargo run -p paravane-abi --example reference";

/// Registers of arguments, in order.
const REGISTERS: [&str; 6] = ["RDI", "RSI", "RDX", "R10", "R8", "R9"];

/// Modules whose structs guest and hypervisor share, in the order they are told.
const SHARED: &[(&str, &str)] = &[
    ("start_info", "Start of day"),
    ("pvh", "PVH start of day"),
    ("shared_info", "The shared-info page"),
    ("regs", "Registers"),
    ("vcpu", "Vcpus"),
    ("event", "FIFO event channels"),
    ("grant", "Grant tables"),
    ("memory", "Lists of memory"),
    ("pmu", "Performance counters"),
    ("domctl", "What tools pass by `domctl`"),
];

/// Modules whose structs and constants two domains share.
const DRIVERS: &[(&str, &str)] = &[
    ("console", "The console's page"),
    ("io::xenbus", "The states of a device"),
    ("io::xenstore", "Xenstore"),
    ("io::block", "Disks"),
    ("io::net", "Networks"),
    ("argo", "Argo"),
];

/// Where the pages belong.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/abi")
}

/// Every page: file name and text.
pub fn all() -> Vec<(String, String)> {
    let mut pages = vec![
        ("README.md".to_owned(), index()),
        ("structures.md".to_owned(), structures()),
        ("drivers.md".to_owned(), drivers()),
    ];
    pages.extend(ROWS.iter().map(|row| (format!("{}.md", row.name), page(row))));
    pages
}

/// A heading that says where the page comes from.
fn heading(title: &str) -> String {
    format!("<!-- Generated from the table in abi/src/table by `{COMMAND}`. -->\n\n# {title}\n\n")
}

/// A type as one writes it: without the path, and without the spaces `stringify!` puts in.
fn plain_type(text: &str) -> String {
    let name = short(text);
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["*", kind, ..] => format!("*{kind} {name}"),
        _ => name.to_owned(),
    }
}

/// The last name of a path.
fn short(path: &str) -> &str {
    path.rsplit([':', ' ']).next().unwrap_or(path)
}

fn structs() -> impl Iterator<Item = &'static StructRow> {
    STRUCTS.iter().copied().flatten()
}

/// The module of an item of the crate, such as `io::block`.
fn module(rust: &str) -> &str {
    let path = rust.strip_prefix("paravane_abi::").unwrap_or(rust);
    path.rsplit_once("::").map_or("", |(module, _)| module)
}

/// The struct that a type in the table names, if it is one of the crate's.
fn struct_named(text: &str) -> Option<&'static StructRow> {
    structs().find(|row| text.contains("::") && short(row.rust) == short(text))
}

/// The file of a module, relative to the pages.
fn source(module: &str) -> String {
    let path = module.replace("::", "/");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = [format!("src/{path}.rs"), format!("src/{path}/mod.rs")];
    let found = file.iter().find(|file| root.join(file).is_file());
    format!("../../abi/{}", found.unwrap_or_else(|| panic!("no file for the module {module}")))
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn callers(callers: Callers) -> &'static str {
    match callers {
        Callers::Any => "any domain",
        Callers::Control => "the control domain",
        Callers::Hardware => "the hardware domain",
    }
}

fn errors(errors: &[Errno]) -> String {
    let names: Vec<String> = errors.iter().map(|errno| format!("`{}`", errno.name())).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn argument(sub: &SubRow) -> String {
    let kind = match sub.argument {
        Argument::None => return "none".into(),
        Argument::Read => "reads",
        Argument::Write => "writes",
        Argument::Both => "reads, writes",
        Argument::Value => "value",
    };
    format!("{kind} `{}`", plain_type(sub.argument_type))
}

/// The page of a hypercall.
fn page(row: &Row) -> String {
    let mut text = heading(&format!("{} ({})", row.name, row.number));
    writeln!(text, "{}\n", row.doc).unwrap();
    let xen = if row.c_name.is_empty() { "Paravane's own".into() } else { format!("`{}`", row.c_name) };
    writeln!(text, "| | |\n|---|---|").unwrap();
    writeln!(text, "| number | {} (`{}`), in RAX |", row.number, row.constant).unwrap();
    writeln!(text, "| in Xen's headers | {xen} |").unwrap();
    writeln!(text, "| who may call | {} |", callers(row.callers)).unwrap();
    writeln!(text, "| errors of the call itself | {} |", errors(row.errors)).unwrap();
    arguments(&mut text, row);
    sub_operations(&mut text, row);
    let used = used_structs(row);
    if !used.is_empty() {
        text.push_str("\n## Structures\n\nOffsets and sizes in bytes.\n");
        used.iter().for_each(|row| layout(&mut text, row));
    }
    let modules: BTreeSet<&str> =
        used.iter().map(|row| module(row.rust)).filter(|module| is_calls(module, row)).collect();
    constants(&mut text, &modules);
    text.push_str("\n[All calls](README.md)\n");
    text
}

/// Whether a module is about this call, so that its constants belong to the call's page.
fn is_calls(module: &str, row: &Row) -> bool {
    let call = row.name.strip_suffix("_op").unwrap_or(row.name);
    module == call
        || matches!(
            (module, row.name),
            ("event", "event_channel_op")
                | ("grant", "grant_table_op")
                | ("mmu", "mmuext_op")
                | ("pmu", "xenpmu_op")
                | ("version", "xen_version")
                | ("privileged", "domctl")
        )
}

fn arguments(text: &mut String, row: &Row) {
    if row.arguments.is_empty() {
        text.push_str("\nIt has no arguments in registers.\n");
        return;
    }
    text.push_str("\n## Arguments\n\n| register | name | type |\n|---|---|---|\n");
    for ((name, kind), register) in row.arguments.iter().zip(REGISTERS) {
        writeln!(text, "| {register} | `{name}` | `{}` |", plain_type(kind)).unwrap();
    }
}

fn sub_operations(text: &mut String, row: &Row) {
    if row.sub_operations.is_empty() {
        return;
    }
    text.push_str("\n## Sub-operations\n\n| number | Xen's name | what | argument | who | errors |\n|---|---|---|---|---|---|\n");
    for sub in row.sub_operations {
        let name = if sub.c_name.is_empty() { sub.constant } else { sub.c_name };
        let cells = [
            format!("`{name}`"),
            cell(sub.doc),
            argument(sub),
            callers(sub.callers).into(),
            errors(sub.errors),
        ];
        writeln!(text, "| {} | {} |", sub.number, cells.join(" | ")).unwrap();
    }
}

/// The structs of a call's arguments and of its sub-operations', each once.
fn used_structs(row: &Row) -> Vec<&'static StructRow> {
    let types = row.arguments.iter().map(|(_, kind)| *kind);
    let types = types.chain(row.sub_operations.iter().map(|sub| sub.argument_type));
    let mut used: Vec<&StructRow> = Vec::new();
    for found in types.filter_map(struct_named) {
        if !used.contains(&found) {
            used.push(found);
        }
    }
    used
}

/// A struct's layout.
fn layout(text: &mut String, row: &StructRow) {
    writeln!(text, "\n### {}\n", short(row.rust)).unwrap();
    let module = module(row.rust);
    let source = source(module);
    writeln!(
        text,
        "`{}`, {} bytes, aligned to {}; [module {module}]({source}).\n",
        row.c_name, row.size, row.align
    )
    .unwrap();
    text.push_str("| offset | size | field | in C |\n|---|---|---|---|\n");
    for field in row.fields {
        writeln!(text, "| {} | {} | `{}` | `{}` |", field.offset, field.size, field.rust, field.c_path)
            .unwrap();
    }
}

/// The constants of modules.
fn constants(text: &mut String, modules: &BTreeSet<&str>) {
    let wanted = |row: &&ConstantRow| modules.contains(module(row.rust));
    let rows: Vec<&ConstantRow> = CONSTANTS.iter().copied().flatten().filter(wanted).collect();
    if rows.is_empty() {
        return;
    }
    text.push_str("\n### Constants\n\n| Xen's name | constant | value |\n|---|---|---|\n");
    for row in rows {
        let hex = if row.value > 9 { format!(" ({:#x})", row.value) } else { String::new() };
        writeln!(text, "| `{}` | `{}` | {}{hex} |", row.c_name, short(row.rust), row.value).unwrap();
    }
}

/// The structs of modules that no hypercall passes, a chapter each; with the modules' constants or without.
fn chapters(text: &mut String, modules: &[(&str, &str)], with_constants: bool) {
    let passed: BTreeSet<&str> = ROWS.iter().flat_map(used_structs).map(|row| row.rust).collect();
    for (module_name, title) in modules {
        let own = |row: &&StructRow| module(row.rust) == *module_name && !passed.contains(row.rust);
        let rows: Vec<&StructRow> = structs().filter(own).collect();
        writeln!(text, "\n## {title}").unwrap();
        rows.iter().for_each(|row| layout(text, row));
        if with_constants {
            constants(text, &BTreeSet::from([*module_name]));
        }
    }
}

/// The page of structures that are shared with the hypervisor rather than passed to it.
fn structures() -> String {
    let mut text = heading("Shared structures");
    text.push_str("What guest and hypervisor see at the same time. Offsets and sizes in bytes.\n");
    chapters(&mut text, SHARED, false);
    text.push_str("\n[All calls](README.md)\n");
    text
}

/// The page of what domains share with each other.
fn drivers() -> String {
    let mut text = heading("Drivers");
    text.push_str("What domains share with each other. Offsets and sizes in bytes.\n");
    chapters(&mut text, DRIVERS, true);
    text.push_str("\n[All calls](README.md)\n");
    text
}

/// The first page.
fn index() -> String {
    let mut text = heading("Hypercalls");
    text.push_str(
        "Xen 4.17's calls as an x86-64 PV guest can make them, and Paravane's own. On Xen's own interface the number is in \
         RAX, the arguments are in RDI, RSI, RDX, R10 and R8, and the instruction is `syscall`; the result comes in RAX and \
         RCX and R11 are lost. In ring 1 the instruction is `int 0x82` and all other registers are kept. The hypercall page \
         hides the difference: call its byte 32 times the number. A result from -4095 to -1 is an error.\n\n\
         [Structures shared with the hypervisor](structures.md) and [what drivers share](drivers.md) are on pages of their own. How to write a guest is told in the crate's \
         documentation: `cargo doc --package paravane-abi --open`.\n\n\
         | number | call | who | what |\n|---|---|---|---|\n",
    );
    for row in ROWS {
        let (name, who) = (row.name, callers(row.callers));
        writeln!(text, "| {} | [{name}]({name}.md) | {who} | {} |", row.number, cell(row.doc)).unwrap();
    }
    text.push_str("\n## Others\n\nA PV guest has no use for these; Paravane answers `ENOSYS`.\n\n| number | call | what |\n|---|---|---|\n");
    for row in OTHER_ROWS {
        writeln!(text, "| {} | {} | {} |", row.number, row.name, cell(row.doc)).unwrap();
    }
    text.push_str(
        "\n## Errors\n\nThe result is the negative of the number.\n\n| name | number |\n|---|---|\n",
    );
    let mut named: Vec<&Errno> = Errno::ALL.iter().filter(|errno| is_public(errno)).collect();
    named.sort();
    for errno in named {
        writeln!(text, "| `{}` | {} |", errno.name(), errno.code()).unwrap();
    }
    text
}

/// Whether Xen's public headers have the error.
fn is_public(errno: &Errno) -> bool {
    let name = format!("XEN_{}", errno.name());
    CONSTANTS.iter().copied().flatten().any(|row| row.c_name == name)
}
