//! The self-checking demonstration, as a user without a terminal gets it.

use super::{Context, Outcome};
use crate::driver::Driver;
use anyhow::{Context as _, Result, bail};

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
    "int80",
    "kernel-page",
    "busybox-echo",
    "busybox-cat",
    "busybox-uname",
    "busybox-sha256sum",
    "free-frames",
    "priv.ring1.extension",
    "priv.ring1.entry-area",
    "priv.ring1.m2p",
    "attack.iret-null-code",
    "attack.gdt-exchange",
    "attack.gs-hidden-code",
    "lesson.base-pointer-load",
    "lesson.control-register-read",
    "lesson.msr-base-write",
    "lesson.mask-interrupts",
    "lesson.port-access",
    "lesson.page-table-write",
];

/// The privileged instructions: a row for each in ring 1 and in ring 3.
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
    // The hypervisor recounts everything when the guest is gone.
    let driver = context.demonstrate(&["-v", "--hypervisor-append", "paravane.audit"])?;
    if !driver.console.lines().iter().any(|line| line.contains("audit: all counts agree")) {
        bail!("no audit at the end:\n{}", driver.tail());
    }
    let ok = driver.console.ok_lines();
    if ok.len() < LEAST_OK {
        bail!("{} ok lines, at least {LEAST_OK} are wanted:\n{}", ok.len(), driver.tail());
    }
    let rings = ["priv.ring1.", "priv.ring3."];
    let rows = rings.iter().flat_map(|ring| INSTRUCTIONS.iter().map(move |row| format!("{ring}{row}")));
    for name in SHOWN.iter().map(|name| (*name).to_owned()).chain(rows) {
        if !ok.iter().any(|line| line.split_whitespace().nth(1) == Some(name.as_str())) {
            bail!("no line says `ok {name}`:\n{}", ok.join("\n"));
        }
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
