//! Compares the crate with what gcc computes from Xen's public headers.
//!
//! `xen-layout.txt` holds gcc's numbers, and `src/layout_asserts.rs` the compile-time asserts made from them. To remake both
//! after a change to the tables or with newer headers:
//!
//! ```text
//! cargo test -p paravane-abi --test layout -- --ignored bless
//! ```
//!
//! The headers are those in `PARAVANE_XEN_INCLUDE/xen`, or without the variable `/usr/include/xen`, where Debian's package
//! libxen-dev puts them. Without headers or gcc the test fails, unless `PARAVANE_ALLOW_SKIP` is set.

use paravane_abi::layout::{CONSTANTS, ConstantRow, STRUCTS, SUB_OPERATION_CONSTANTS, StructRow};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const COMMAND: &str = "cargo test -p paravane-abi --test layout -- --ignored bless";

/// Headers that declare what the crate describes, under the include directory.
const HEADERS: &[&str] = &[
    "xen/xen.h",
    "xen/errno.h",
    "xen/event_channel.h",
    "xen/grant_table.h",
    "xen/memory.h",
    "xen/sched.h",
    "xen/vcpu.h",
    "xen/version.h",
    "xen/physdev.h",
    "xen/callback.h",
    "xen/nmi.h",
    "xen/elfnote.h",
    "xen/pmu.h",
    "xen/argo.h",
    "xen/trace.h",
    "xen/platform.h",
    "xen/sysctl.h",
    "xen/domctl.h",
    "xen/hvm/params.h",
    "xen/hvm/hvm_op.h",
    "xen/hvm/dm_op.h",
    "xen/grant_table.h",
    "xen/io/console.h",
    "xen/io/xs_wire.h",
    "xen/io/xenbus.h",
    "xen/io/ring.h",
    "xen/io/blkif.h",
    "xen/io/netif.h",
    "xen/arch-x86/cpuid.h",
    "xen/arch-x86/hvm/start_info.h",
];

fn structs() -> impl Iterator<Item = &'static StructRow> {
    STRUCTS.iter().copied().flatten()
}

fn constants() -> impl Iterator<Item = &'static ConstantRow> {
    CONSTANTS.iter().chain(SUB_OPERATION_CONSTANTS).copied().flatten()
}

/// A path within the crate.
fn local(rust: &str) -> &str {
    rust.strip_prefix("paravane_abi::").expect("rows name items of this crate")
}

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn listing_path() -> PathBuf {
    manifest("tests/xen-layout.txt")
}

fn asserts_path() -> PathBuf {
    manifest("src/layout_asserts.rs")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; remake it: {COMMAND}", path.display()))
}

/// The lines of the listing after its header.
fn body(listing: &str) -> impl Iterator<Item = &str> {
    listing.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// The listing's lines as rustc computes them.
fn rust_lines() -> Vec<String> {
    let mut lines = Vec::new();
    for row in structs() {
        lines.push(format!("{} {} {} = {}", row.c_name, row.size, row.align, local(row.rust)));
        for field in row.fields {
            lines.push(format!("  {} {} {} = {}", field.c_path, field.offset, field.size, field.rust));
        }
    }
    for row in constants() {
        lines.push(format!("constant {} {} = {}", row.c_name, row.value, local(row.rust)));
    }
    lines
}

/// A C program that prints the listing's lines as the C compiler computes them.
fn c_program() -> String {
    let mut c = String::from("#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n");
    for header in HEADERS {
        writeln!(c, "#include <{header}>").unwrap();
    }
    c.push_str("int main(void) {\n");
    for row in structs() {
        let (name, rust) = (row.c_name, local(row.rust));
        writeln!(c, "printf(\"{name} %zu %zu = {rust}\\n\", sizeof({name}), _Alignof({name}));").unwrap();
        for field in row.fields {
            let (path, field) = (field.c_path, field.rust);
            writeln!(
                c,
                "printf(\"  {path} %zu %zu = {field}\\n\", offsetof({name}, {path}), sizeof((({name} *)0)->{path}));"
            )
            .unwrap();
        }
    }
    for row in constants() {
        let (name, rust) = (row.c_name, local(row.rust));
        let magnitude =
            format!("({name}) < 0 ? -(unsigned long long)({name}) : (unsigned long long)({name})");
        writeln!(
            c,
            "printf(\"constant {name} %s%llu = {rust}\\n\", ({name}) < 0 ? \"-\" : \"\", {magnitude});"
        )
        .unwrap();
    }
    c.push_str("return 0;\n}\n");
    c
}

/// Where the headers are.
fn include_dir() -> PathBuf {
    env::var_os("PARAVANE_XEN_INCLUDE").map_or_else(|| "/usr/include".into(), PathBuf::from)
}

/// What is missing for gcc's numbers, and how it comes.
fn missing() -> Option<String> {
    let header = include_dir().join("xen/xen.h");
    if !header.exists() {
        return Some(format!(
            "{} is missing: install libxen-dev, or unpack it and name the directory that holds xen/ in \
             PARAVANE_XEN_INCLUDE",
            header.display()
        ));
    }
    let gcc = Command::new("gcc").arg("--version").stdout(Stdio::null()).status();
    match gcc {
        Ok(status) if status.success() => None,
        _ => Some("gcc is missing: install gcc".into()),
    }
}

/// The listing's lines as gcc computes them.
fn gcc_lines() -> Vec<String> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("layout-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("cannot make a directory for the C program");
    let (source, program) = (dir.join("layout.c"), dir.join("layout"));
    fs::write(&source, c_program()).expect("cannot write the C program");
    let compiled = Command::new("gcc")
        .args([
            "-std=gnu11",
            "-m64",
            "-D__XEN_TOOLS__",
            "-D__XEN_INTERFACE_VERSION__=__XEN_LATEST_INTERFACE_VERSION__",
            "-I",
        ])
        .arg(include_dir())
        .arg("-o")
        .args([&program, &source])
        .output()
        .expect("cannot run gcc");
    assert!(compiled.status.success(), "gcc: {}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(&program).output().expect("cannot run the C program");
    assert!(output.status.success(), "the C program failed: {}", output.status);
    fs::remove_dir_all(&dir).expect("cannot remove the C program's directory");
    String::from_utf8(output.stdout).expect("the listing is ASCII").lines().map(String::from).collect()
}

/// The first difference between two listings, readable.
fn first_difference(expected: &[String], found: &[String]) -> Option<String> {
    let at = expected.iter().zip(found).position(|(a, b)| a != b);
    let at = at.or_else(|| (expected.len() != found.len()).then(|| expected.len().min(found.len())))?;
    let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "(end)".into());
    Some(format!("line {}: {:?} against {:?}", at + 1, line(expected), line(found)))
}

/// The Rust source of the asserts for the listing's lines.
fn asserts(lines: &[String]) -> String {
    let mut rust = format!(
        "//! Xen 4.17's numbers as gcc computes them, asserted at compile time.\n\
         //!\n\
         //! Generated from `tests/xen-layout.txt` by `{COMMAND}`.\n\
         //! If the asserts stand in the way of a new layout, empty this file first.\n\n\
         use crate::layout::{{measured_constants, measured_struct}};\n\n"
    );
    let (mut in_struct, mut family) = (false, String::new());
    for line in lines {
        let (left, item) = line.split_once(" = ").expect("a line names its Rust item");
        let words: Vec<&str> = left.split_whitespace().collect();
        let Some([first, second]) = words.last_chunk() else { panic!("too short: {line}") };
        if line.starts_with("  ") {
            write!(rust, " {item}: {first}, {second};").unwrap();
            continue;
        }
        if in_struct {
            rust.push_str(" } }\n");
        }
        in_struct = !line.starts_with("constant ");
        if in_struct {
            write!(rust, "measured_struct! {{ crate::{item}: {first}, {second} {{").unwrap();
            continue;
        }
        let path = item.rsplit_once("::").map_or("", |(path, _)| path);
        if path != family {
            rust.push_str(if family.is_empty() {
                "measured_constants! {"
            } else {
                " }\nmeasured_constants! {"
            });
            family = path.into();
        }
        write!(rust, " crate::{item}: {second};").unwrap();
    }
    rust.push_str(if family.is_empty() { "" } else { " }\n" });
    assert!(!in_struct, "constants come last");
    rust
}

/// The listing's text for gcc's lines.
fn listing(lines: &[String]) -> String {
    let mut text = format!(
        "# Xen 4.17's public x86-64 PV interface as gcc lays it out, from Debian's libxen-dev headers.\n\
         # A struct: C type, size, alignment = Rust type. A field, indented: C member, offset, size = Rust field.\n\
         # A constant: C name, value = Rust constant. Sizes, alignments and offsets are in bytes, all numbers decimal.\n\
         # Remade by: {COMMAND}\n\n"
    );
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[test]
fn rustc_agrees_with_the_listing() {
    let text = read(&listing_path());
    let lines: Vec<String> = body(&text).map(String::from).collect();
    if let Some(difference) = first_difference(&lines, &rust_lines()) {
        panic!("the listing and rustc part at {difference}; if the crate is right, remake it: {COMMAND}");
    }
    assert!(text.len() < 200_000, "the listing is {} bytes long", text.len());
    assert!(structs().count() > 50 && constants().count() > 300, "the tables shrank");
}

#[test]
fn the_asserts_come_from_the_listing() {
    let lines: Vec<String> = body(&read(&listing_path())).map(String::from).collect();
    assert!(asserts(&lines) == read(&asserts_path()), "src/layout_asserts.rs is stale; remake it: {COMMAND}");
}

#[test]
fn gcc_agrees_with_the_listing() {
    if let Some(what) = missing() {
        assert!(env::var_os("PARAVANE_ALLOW_SKIP").is_some(), "{what}");
        println!("SKIPPED gcc_agrees_with_the_listing: {what}");
        return;
    }
    let lines: Vec<String> = body(&read(&listing_path())).map(String::from).collect();
    if let Some(difference) = first_difference(&lines, &gcc_lines()) {
        panic!("the listing and gcc part at {difference}; remake it: {COMMAND}");
    }
}

#[test]
fn no_item_is_listed_twice() {
    let mut items: Vec<&str> = structs().map(|row| row.rust).chain(constants().map(|row| row.rust)).collect();
    let all = items.len();
    items.sort_unstable();
    items.dedup();
    assert_eq!(items.len(), all);
}

#[test]
#[ignore = "writes the listing and the asserts; needs libxen-dev's headers and gcc"]
fn bless() {
    if let Some(what) = missing() {
        panic!("{what}");
    }
    let lines = gcc_lines();
    fs::write(listing_path(), listing(&lines)).expect("cannot write the listing");
    fs::write(asserts_path(), asserts(&lines)).expect("cannot write the asserts");
}
