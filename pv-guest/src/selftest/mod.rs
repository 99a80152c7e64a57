//! What this kernel's ring may and may not do, tried: every privileged instruction, `popf`, and a write to every page of the
//! hypervisor's that it can see.

mod attack;
pub mod probe;
mod ring0;
mod rows;
mod segments;
mod xenstore;

use core::arch::asm;
use core::fmt::Write;

use paravane_abi::memory::{MachphysMapping, XENMEM_MACHPHYS_MAPPING};
use paravane_abi::physdev::{PHYSDEVOP_SET_IOPL, PhysdevSetIopl};
use paravane_abi::ring1::{self, ENTRY_AREA, ENTRY_IST_OFFSET, ENTRY_STACK_OFFSET};

use crate::arch::{self, cpuid};
use crate::cpu_ops::facts;
use crate::cpu_ops::hypercall::{memory_op, physdev_op};
use crate::mm::addr::PAGE;
pub use probe::{Outcome, is_readable, is_writable};
pub use rows::prevention;
use rows::{Expect, Iopl, ROWS, Row};

/// Size of the entry area's window.
const ENTRY_AREA_SIZE: u64 = 2 * 1024 * 1024;
/// RFLAGS.IF.
const INTERRUPT_FLAG: u64 = 1 << 9;

/// Sets the virtual I/O privilege level; false when refused. A bare machine has none: ring 0 is privileged.
pub fn set_iopl(iopl: u32) -> bool {
    if !facts().hypercalls {
        return true;
    }
    let mut argument = PhysdevSetIopl { iopl };
    // SAFETY: the argument lives until the call returns; the level only decides which instructions are emulated.
    unsafe { physdev_op(PHYSDEVOP_SET_IOPL, (&raw mut argument).cast()) == 0 }
}

fn line(out: &mut dyn Write, good: bool, name: &str, detail: core::fmt::Arguments<'_>) {
    let verdict = if good { "ok" } else { "FAILED" };
    // The reader's buffer takes everything.
    let _ = writeln!(out, "{verdict} {}.{name} {detail}", facts().test_prefix);
}

fn try_row(out: &mut dyn Write, row: &Row) {
    if !set_iopl(if row.iopl == Iopl::One { 1 } else { 0 }) {
        line(out, false, row.name, format_args!("the I/O privilege level was refused"));
        return;
    }
    let before = (row.start)();
    let mut after = before;
    let outcome = probe::run(row.probe, &mut after);
    let expect = match &row.expect {
        Expect::Depends(expect) => &expect(),
        expect => expect,
    };
    let (good, wanted) = match expect {
        // What decides has decided above.
        Expect::Depends(_) => (false, Outcome::Completed),
        Expect::Fault(vector) => (outcome == Outcome::Fault(*vector), Outcome::Fault(*vector)),
        Expect::Emulated(check) => {
            (outcome == Outcome::Completed && check(&before, &after), Outcome::Completed)
        }
    };
    match (good, outcome) {
        (true, Outcome::Fault(vector)) => line(out, true, row.name, format_args!("vector {vector}")),
        (true, Outcome::Completed) => {
            let how = if facts().ring == 0 { "completed" } else { "emulated" };
            line(out, true, row.name, format_args!("{how}"));
        }
        (false, _) => {
            line(out, false, row.name, format_args!("{outcome:?}, wanted {wanted:?}, rax {:#x}", after.rax));
        }
    }
}

/// `popf` with IF clear: outside ring 0 the processor drops the change without a fault.
fn popf_leaves_if(out: &mut dyn Write) {
    let (before, after): (u64, u64);
    // SAFETY: changes no flag but IF, which it cannot change.
    unsafe {
        asm!(
            "pushfq",
            "mov {before}, [rsp]",
            "and qword ptr [rsp], {clear_if}",
            "popfq",
            "pushfq",
            "pop {after}",
            before = out(reg) before,
            after = out(reg) after,
            clear_if = const !(INTERRUPT_FLAG as i32),
        );
    }
    let good = before & INTERRUPT_FLAG != 0 && after & INTERRUPT_FLAG != 0;
    line(out, good, "popf", format_args!("IF stays {}", u8::from(after & INTERRUPT_FLAG != 0)));
}

/// `popf` with IF set: in ring 0 it switches interrupts on.
fn popf_sets_if(out: &mut dyn Write) {
    let (before, after): (u64, u64);
    // SAFETY: kernel code that holds no lock may be interrupted; interrupts are off again behind it.
    unsafe {
        asm!(
            "pushfq",
            "mov {before}, [rsp]",
            "or qword ptr [rsp], {flag}",
            "popfq",
            "pushfq",
            "pop {after}",
            "cli",
            before = out(reg) before,
            after = out(reg) after,
            flag = const INTERRUPT_FLAG,
        );
    }
    let [was, is] = [before, after].map(|flags| u8::from(flags & INTERRUPT_FLAG != 0));
    line(out, is == 1, "popf", format_args!("IF was {was}, is {is}"));
}

/// What is writable in the entry area must be stacks: one for entries, one for each of the vectors that have their own
/// (NMI, #DF, #MC, #DB), each with a page below it that catches its overflow.
struct Stacks {
    entry: u32,
    interrupt: u32,
    pages: u32,
}

/// Tries to write every page of the entry area. Only this CPU's entry and interrupt stacks may let it.
fn entry_area(out: &mut dyn Write) {
    let mut stacks = Stacks { entry: 0, interrupt: 0, pages: 0 };
    let mut refused = 0;
    let mut below_is_writable = false;
    let mut wrong = None;
    for page in (0..ENTRY_AREA_SIZE).step_by(PAGE as usize) {
        let writable = is_writable(ENTRY_AREA + page);
        match (writable, below_is_writable) {
            (true, _) if page < ENTRY_STACK_OFFSET => wrong = Some(page),
            (true, true) => stacks.pages += 1,
            (true, false) => {
                stacks.pages += 1;
                *if page < ENTRY_IST_OFFSET { &mut stacks.entry } else { &mut stacks.interrupt } += 1;
            }
            (false, _) => refused += 1,
        }
        below_is_writable = writable;
    }
    // The entry stack starts where the user's RSP is found, or the test looked at the wrong pages.
    let found = is_writable(ENTRY_AREA + ENTRY_STACK_OFFSET) && (stacks.entry, stacks.interrupt) == (1, 4);
    match wrong {
        None => line(
            out,
            found,
            "entry-area",
            format_args!(
                "refused {refused} stack-pages {} entry-stacks {} interrupt-stacks {}",
                stacks.pages, stacks.entry, stacks.interrupt
            ),
        ),
        Some(page) => line(out, false, "entry-area", format_args!("offset {page:#x} is writable")),
    }
}

/// Pages of the table, those of 16 GiB of frames, that are passed over before it counts as at its end: a domain that is not the
/// first of Xen's is told the extent of the addresses, not of the machine's memory.
const HOLE: u64 = 8192;

/// Tries to write every page of the machine-to-physical table.
fn machine_to_physical(out: &mut dyn Write) {
    let mut mapping = MachphysMapping::default();
    // SAFETY: the hypervisor fills the struct, which lives until the call returns.
    let result = unsafe { memory_op(XENMEM_MACHPHYS_MAPPING, (&raw mut mapping).cast()) };
    let end = mapping.v_start + (mapping.max_mfn + 1) * 8;
    if result != 0 || end > mapping.v_end {
        line(out, false, "m2p", format_args!("no extent: {result}"));
        return;
    }
    let (mut refused, mut readable, mut writable) = (0, 0, 0);
    let (mut page, mut unreadable) = (mapping.v_start, 0);
    while page < end && unreadable < HOLE {
        let reads = is_readable(page);
        readable += u64::from(reads);
        unreadable = if reads { 0 } else { unreadable + 1 };
        if is_writable(page) {
            writable += 1;
        } else {
            refused += 1;
        }
        page += PAGE;
    }
    let good = writable == 0 && readable > 0;
    line(out, good, "m2p", format_args!("refused {refused} readable {readable} writable {writable}"));
}

/// Looks for the extension as any kernel would: by `cpuid` behind the forced-emulation prefix. Only a kernel in ring 1
/// may find it.
fn extension(out: &mut dyn Write) {
    let signature = cpuid::shown(ring1::CPUID_LEAF_SIGNATURE, 0);
    let version = cpuid::shown(ring1::CPUID_LEAF_VERSION, 0)[0];
    let found = ring1::is_signature(signature[1], signature[2], signature[3])
        && signature[0] >= ring1::CPUID_LEAF_VERSION
        && version == ring1::INTERFACE_VERSION;
    let leaf = ring1::CPUID_LEAF_SIGNATURE;
    if facts().ring == 1 {
        line(out, found, "extension", format_args!("leaf {leaf:#x} version {version}"));
    } else {
        line(out, !found, "extension", format_args!("leaf {leaf:#x} has none, as ring {}", facts().ring));
    }
}

/// The privileged instructions, and `popf`.
fn instructions(out: &mut dyn Write) {
    let ring0 = facts().ring == 0;
    for row in if ring0 { ring0::ROWS } else { ROWS }.into_iter().flatten() {
        try_row(out, row);
    }
    if !set_iopl(0) {
        line(out, false, "iopl", format_args!("cannot be set back"));
    }
    if ring0 { popf_sets_if(out) } else { popf_leaves_if(out) }
}

/// The ring that CS names is the machine's.
fn selectors(out: &mut dyn Write) {
    let ring = arch::current_ring();
    line(out, ring == facts().shown_ring, "cs", format_args!("ring {ring}"));
}

/// Reports a part's lines.
type Part = fn(&mut dyn Write);

/// The parts of the report, by name.
const PARTS: &[(&str, Part)] = &[
    ("cs", selectors),
    ("extension", extension),
    ("instructions", instructions),
    ("entry-area", entry_area),
    ("m2p", machine_to_physical),
    ("fsgsbase", segments::bases),
    ("tsd", segments::counter),
    ("ldt", segments::ldt),
    ("nmi", segments::nmi),
    ("attack", attack::report),
    ("xenstore", xenstore::report),
];

/// Runs all tests that are about this machine and reports a line for each.
pub fn report(out: &mut dyn Write) {
    for (name, run) in PARTS {
        match facts().why_not(name) {
            Some(why) => {
                // The reader's buffer takes everything.
                let _ = writeln!(out, "n/a {}.{name} {why}", facts().test_prefix);
            }
            None => run(out),
        }
    }
}
