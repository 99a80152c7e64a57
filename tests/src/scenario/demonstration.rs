//! The self-checking demonstration, as a user without a terminal gets it.

use super::{Context, Outcome};
use crate::driver::Driver;
use anyhow::{Context as _, Result, bail};

/// Fewer good lines than this are no demonstration.
const LEAST_OK: usize = 20;

/// What the demonstration must have shown, as words its good lines begin with.
const SHOWN: [&str; 14] = [
    "program-ring",
    "kernel-ring",
    "fork",
    "exec",
    "pipe",
    "sleep",
    "cow",
    "segv",
    "preempt",
    "int80",
    "busybox-echo",
    "busybox-uname",
    "busybox-sha256sum",
    "free-frames",
];

/// Runs it once: every feature is there, and nothing failed.
pub fn whole(context: &Context) -> Result<Outcome> {
    let driver = context.demonstrate(&[])?;
    let ok = driver.console.ok_lines();
    if ok.len() < LEAST_OK {
        bail!("{} ok lines, at least {LEAST_OK} are wanted:\n{}", ok.len(), driver.tail());
    }
    for word in SHOWN {
        let start = format!("ok {word}");
        if !ok.iter().any(|line| line.starts_with(&start)) {
            bail!("no line starts with `{start}`:\n{}", ok.join("\n"));
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
