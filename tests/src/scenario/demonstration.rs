//! The self-checking demonstration, as a user without a terminal gets it.

use super::{Context, Outcome, native};
use crate::driver::Driver;
use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// Fewer good lines than this are no demonstration.
const LEAST_OK: usize = 20;

/// What the demonstration must have shown, as the names of its good lines.
const SHOWN: &[&str] = &[
    "program-ring",
    "kernel-ring",
    "fork",
    "exec",
    "pipe",
    "sleep",
    "cow",
    "segv",
    "preempt",
    "threads",
    "thread-protect",
    "parallel",
    "cpus",
    "hotplug",
    "ticker",
    "registers-shared",
    "registers-syscall",
    "registers-int80",
    "registers-page-fault",
    "registers-exceptions",
    "int80",
    "kernel-page",
    "busybox-echo",
    "busybox-cat",
    "busybox-uname",
    "busybox-sha256sum",
    "free-frames",
    "registers.components",
    "registers.hypercalls",
    "registers.hypercall-instruction",
    "registers.exceptions",
    "registers.device-not-available",
    "registers.emulated",
    "registers.event",
    "registers.iret",
    "lesson.base-pointer-load",
    "lesson.control-register-read",
    "lesson.msr-base-write",
    "lesson.mask-interrupts",
    "lesson.port-access",
    "lesson.page-table-write",
];

/// What it must have shown besides on a machine.
struct Machine {
    /// The machine's name, as the kernel says it.
    name: &'static str,
    /// The ring its kernel runs in.
    ring: u8,
    /// What the kernel's lines about its own ring begin with.
    prefix: &'static str,
    /// Good lines.
    shown: &'static [&'static str],
    /// Parts that are not applicable, by what their lines say.
    not_applicable: &'static [&'static str],
    /// Privileged instructions that its kernel does not try.
    untried: &'static [&'static str],
}

const RING1: Machine = Machine {
    name: "pv-ring1",
    ring: 1,
    prefix: "priv.ring1.",
    shown: &[
        "path-syscall",
        "path-int80",
        "priv.ring1.cs",
        "priv.ring1.extension",
        "priv.ring1.entry-area",
        "priv.ring1.m2p",
        "priv.ring1.fsgsbase",
        "priv.ring1.tsd",
        "attack.iret-null-code",
        "attack.gdt-exchange",
        "attack.gs-hidden-code",
    ],
    not_applicable: &["priv.ring1.ldt", "priv.ring1.nmi"],
    untried: &[],
};

const RING3: Machine = Machine {
    name: "pv-ring3",
    ring: 3,
    prefix: "priv.kernel.",
    shown: &[
        "priv.kernel.cs",
        "priv.kernel.extension",
        "priv.kernel.m2p",
        "priv.kernel.fsgsbase",
        "priv.kernel.tsd",
        "priv.kernel.ldt",
        "priv.kernel.nmi",
    ],
    not_applicable: &["priv.kernel.entry-area", "priv.kernel.attack"],
    untried: &[],
};

const NATIVE: Machine = Machine {
    name: "native",
    ring: 0,
    prefix: "priv.ring0.",
    shown: &["priv.ring0.cs", "priv.ring0.extension", "priv.ring0.fsgsbase", "priv.ring0.tsd"],
    not_applicable: &[
        "priv.ring0.entry-area",
        "priv.ring0.m2p",
        "priv.ring0.ldt",
        "priv.ring0.nmi",
        "priv.ring0.attack",
        "registers.hypercalls",
        "registers.hypercall-instruction",
        "registers.event",
        "registers.iret",
        "bench.null-hypercall",
    ],
    // There it would go to a program's ring.
    untried: &["sysretq"],
};

/// Where the kernel finds nothing to be other than on a bare machine, but its code selector.
const TRAP: Machine = Machine { name: "trap", ring: 1, ..NATIVE };

/// What the kernel asks of xenstore. Paravane has one for every domain; Xen's first domain would have to bring it.
const XENSTORE: [&str; 4] = ["xenstore", "xenstore-write", "xenstore-watch", "xenstore-transaction"];

/// In ring 1, user-mode instruction prevention is on, for the kernel and for programs.
const PREVENTED: [&str; 9] = [
    "ok priv.ring1.sgdt vector 13",
    "ok priv.ring1.sidt vector 13",
    "ok priv.ring1.sldt vector 13",
    "ok priv.ring1.str vector 13",
    "ok priv.ring3.smsw vector 13",
    "ok priv.ring3.sgdt vector 13",
    "ok priv.ring3.sidt vector 13",
    "ok priv.ring3.sldt vector 13",
    "ok priv.ring3.str vector 13",
];

/// Every vector register of the emulated processor is in use: x87, SSE and AVX.
const COMPONENTS: &str = "ok registers.components 0x7 of 0x7";

/// The vector of the hypercall gate, raised by a program: only an error code as QEMU pushes it gives Xen another one.
const GATE: &str = "ok priv.ring3.int-0x82 vector 13";

/// The privileged instructions: a row for each in the kernel and in a program.
const INSTRUCTIONS: &[&str] = &[
    "cli",
    "sti",
    "hlt",
    "in",
    "out",
    "clts",
    "mov-from-cr0",
    "mov-to-cr0",
    "mov-from-cr2",
    "mov-to-cr2",
    "mov-from-cr3",
    "mov-to-cr3",
    "mov-from-cr4",
    "mov-to-cr4",
    "mov-from-dr0",
    "mov-to-dr0",
    "mov-from-dr7",
    "mov-to-dr7",
    "lgdt",
    "lidt",
    "lldt",
    "ltr",
    "sgdt",
    "sidt",
    "sldt",
    "str",
    "rdmsr",
    "wrmsr",
    "invlpg",
    "wbinvd",
    "swapgs",
    "sysretq",
    "stac",
    "xsetbv",
    "popf",
];

/// Runs it once: every feature is there, and nothing failed.
pub fn whole(context: &Context) -> Result<Outcome> {
    let driver = context.demonstrate(&["-v", "--hypervisor-append", "paravane.audit"])?;
    audited(&driver)?;
    exact(&driver, &PREVENTED)?;
    exact(&driver, &[GATE])?;
    judge(&driver, &RING1, true)
}

/// The same kernel by Xen's own ABI, in ring 3.
pub fn ring3(context: &Context) -> Result<Outcome> {
    let args = ["--machine", "pv-ring3", "-v", "--hypervisor-append", "paravane.audit"];
    let driver = context.demonstrate(&args)?;
    audited(&driver)?;
    exact(&driver, &[GATE])?;
    same_kernel(context, &driver)?;
    judge(&driver, &RING3, true)
}

/// The same kernel on Debian's Xen.
pub fn xen(context: &Context) -> Result<Outcome> {
    let driver = context.demonstrate(&["--hypervisor", "xen"])?;
    if !driver.console.lines().iter().any(|line| line.starts_with("(XEN) Xen version 4.17")) {
        bail!("Xen 4.17 does not say its name:\n{}", driver.tail());
    }
    same_kernel(context, &driver)?;
    judge(&driver, &RING3, false)
}

/// The same kernel without a hypervisor.
pub fn native(context: &Context) -> Result<Outcome> {
    let driver = context.demonstrate(&native::MACHINE)?;
    // In ring 0 nothing is refused but what is wrong, and `popf` switches interrupts on.
    exact(&driver, &[GATE, "ok priv.ring0.cli completed", "ok priv.ring0.popf IF was 0, is 1"])?;
    same_kernel(context, &driver)?;
    judge(&driver, &NATIVE, false)
}

/// The same kernel on a hypervisor that pretends to be such a machine.
pub fn trap(context: &Context) -> Result<Outcome> {
    let args = ["--machine", "trap", "-v", "--hypervisor-append", "paravane.audit"];
    let driver = context.demonstrate(&args)?;
    audited(&driver)?;
    // `cli` is refused by the processor and done by the hypervisor; `popf` is neither, and switches nothing.
    exact(&driver, &[GATE, "ok priv.ring0.cli completed"])?;
    same_kernel(context, &driver)?;
    judge(&driver, &TRAP, false)
}

/// The hypervisor recounted everything when the guest was gone.
fn audited(driver: &Driver) -> Result<()> {
    if !driver.console.lines().iter().any(|line| line.contains("audit: all counts agree")) {
        bail!("no audit at the end:\n{}", driver.tail());
    }
    Ok(())
}

/// What may be otherwise on another hypervisor, or in another ring, is as it should be here.
fn exact(driver: &Driver, lines: &[&str]) -> Result<()> {
    for line in lines {
        if !driver.console.lines().iter().any(|it| it == line) {
            bail!("no line says `{line}`:\n{}", driver.tail());
        }
    }
    Ok(())
}

/// The kernel that ran is the one that was built, byte for byte.
pub(super) fn same_kernel(context: &Context, driver: &Driver) -> Result<()> {
    let sum = Command::new("sha256sum").arg(context.images.join("pv-guest.elf")).output()?;
    let sum = String::from_utf8_lossy(&sum.stdout);
    let digest = sum.split_whitespace().next().context("sha256sum says nothing")?;
    if !driver.console.lines().iter().any(|line| line.ends_with(&format!("kernel SHA-256 {digest}"))) {
        bail!("no line says that the kernel is {digest}:\n{}", driver.tail());
    }
    Ok(())
}

/// Every feature is there, and what is said not to be applicable is what the machine does not have.
fn judge(driver: &Driver, machine: &Machine, has_xenstore: bool) -> Result<Outcome> {
    exact(driver, &[COMPONENTS])?;
    let ok = driver.console.ok_lines();
    if ok.len() < LEAST_OK {
        bail!("{} ok lines, at least {LEAST_OK} are wanted:\n{}", ok.len(), driver.tail());
    }
    let prefixes = [machine.prefix, "priv.ring3."];
    let untried = machine.untried.iter().map(|row| format!("{}{row}", machine.prefix)).collect::<Vec<_>>();
    let rows = prefixes.iter().flat_map(|start| INSTRUCTIONS.iter().map(move |row| format!("{start}{row}")));
    let rows = rows.filter(|row| !untried.contains(row));
    let xenstore = XENSTORE.map(|name| format!("{}{name}", machine.prefix));
    let (shown_of_it, absent) =
        if has_xenstore { (&xenstore[..], &[][..]) } else { (&[][..], &xenstore[..]) };
    let there = |name: &&&str| !machine.not_applicable.contains(*name);
    let shown = SHOWN.iter().filter(there).chain(machine.shown).map(|name| (*name).to_owned());
    for name in shown.chain(rows).chain(shown_of_it.iter().cloned()) {
        if !ok.iter().any(|line| line.split_whitespace().nth(1) == Some(name.as_str())) {
            bail!("no line says `ok {name}`:\n{}", ok.join("\n"));
        }
    }
    let ring = format!("ring {} machine {}", machine.ring, machine.name);
    if !ok.iter().any(|line| line.starts_with("ok kernel-ring ") && line.ends_with(&ring)) {
        bail!("the kernel does not show `{ring}`:\n{}", ok.join("\n"));
    }
    let lines = driver.console.lines().iter();
    let mut not_applicable: Vec<&str> =
        lines.filter_map(|line| line.strip_prefix("n/a ")?.split_whitespace().next()).collect();
    let mut expected: Vec<&str> =
        machine.not_applicable.iter().copied().chain(absent.iter().map(String::as_str)).collect();
    not_applicable.sort_unstable();
    expected.sort_unstable();
    if not_applicable != expected {
        bail!("not applicable are {not_applicable:?}, and should be {expected:?}");
    }
    Ok(Outcome::Passed(format!("{} ok lines", ok.len())))
}

/// Runs it many times: what happens once in twenty boots is seen.
pub fn many(context: &Context) -> Result<Outcome> {
    const TIMES: usize = 20;
    for round in 1..=TIMES {
        context.demonstrate(&[]).with_context(|| format!("demonstration {round} of {TIMES}"))?;
    }
    Ok(Outcome::Passed(format!("{TIMES} demonstrations")))
}

/// Runs it twice with instructions counted: the lesson's lines, counts and all, are the same.
pub fn lesson_repeats(context: &Context) -> Result<Outcome> {
    let first = lesson(&context.demonstrate(&["--icount"])?);
    let second = lesson(&context.demonstrate(&["--icount"])?);
    if first.len() < 6 {
        bail!("the lesson has {} lines, six effects are wanted:\n{}", first.len(), first.join("\n"));
    }
    for (one, two) in first.iter().zip(&second) {
        if one != two {
            bail!("two runs differ:\n  {one}\n  {two}");
        }
    }
    if first.len() != second.len() {
        bail!("one run has {} lesson lines, the other {}", first.len(), second.len());
    }
    Ok(Outcome::Passed(format!("{} lines equal", first.len())))
}

fn lesson(driver: &Driver) -> Vec<String> {
    driver.console.lines().iter().filter(|line| line.contains("lesson")).cloned().collect()
}
