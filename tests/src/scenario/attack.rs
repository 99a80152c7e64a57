//! The attacking kernel: what it tries, it tries in vain, and what ends it ends it alone.

use super::{Context, LIMIT, Outcome, none_left};
use crate::driver::{Driver, Stdin, shell_status};
use crate::status::Status;
use anyhow::{Context as _, Result, bail};
use pv_attack_logic::fatal::{self, Fatal};

/// What a run must have tried, as the names of its good lines.
const TRIED: &[&str] = &[
    // The address space.
    "global-pages",
    "reserved-slots",
    "reserved-slots-at-validation",
    "foreign-frames",
    "foreign-tables",
    "hypervisor-pointers",
    "entry-stacks",
    "entry-code",
    "m2p-lies",
    "shared-page",
    "console-ring",
    // Entries.
    "syscall-beside-the-hypervisor",
    "syscall-not-canonical-return",
    "syscall-compatibility",
    "sysenter",
    "syscall-from-ring-1",
    "syscall-no-callback",
    "int-all-vectors",
    "far-transfers",
    "flags-hypercall",
    "flags-syscall",
    "flags-int80",
    "flags-invalid-opcode",
    "flags-breakpoint",
    "flags-debug",
    "flags-protection",
    "flags-page-fault",
    "flags-event",
    "flags-iret-hypercall",
    "flags-virtual-8086",
    // Descriptors and stacks.
    "accessed-bit-clear",
    "dpl",
    "gates-and-system-descriptors",
    "null-stack-selector",
    "iretq-all-selectors",
    "iret-all-selectors",
    "data-selectors",
    "local-table",
    "stack-switch-syscall",
    "int80-hypervisor-stack",
    "breakpoint-addresses",
    "single-step-into-entries",
    "breakpoints-on-everything",
    // Advisories: all of those on PV guests.
    "xsa-148",
    "xsa-182",
    "xsa-212",
    "xsa-213",
    "xsa-214",
    "xsa-217",
    "xsa-219",
    "xsa-224",
    "xsa-227",
    "xsa-228",
    "xsa-234",
    "xsa-236",
    "xsa-240",
    "xsa-241",
    "xsa-242",
    "xsa-243",
    "xsa-259",
    "xsa-260",
    "xsa-264",
    "xsa-279",
    "xsa-286",
    "xsa-287",
    "xsa-290",
    "xsa-291",
    "xsa-293",
    "xsa-296",
    "xsa-298",
    "xsa-299",
    "xsa-309",
    "xsa-310",
    "xsa-317",
    "xsa-338",
    "xsa-339",
    "xsa-343",
    "xsa-401",
    "xsa-402",
    "xsa-466",
];

/// The hypervisor's words when all its books agree at the end, and when nobody has written what is not to be written.
const AUDIT: [&str; 2] = ["audit: all counts agree", "audit: the hypervisor is unchanged"];

/// Starts the attacking kernel with these words on its command line, every count checked at the end.
fn start(context: &Context, words: &str, more: &[&str]) -> Result<Driver> {
    let image = context.images.join("pv-guest-attack.elf");
    let image = image.to_str().context("a path in UTF-8")?.to_owned();
    let mut arguments = vec!["--guest", &image, "-v", "--hypervisor-append", "paravane.audit"];
    if !words.is_empty() {
        arguments.extend(["--append", words]);
    }
    arguments.extend(more);
    Driver::start(context.qemu(&arguments), Stdin::Null)
}

fn has_line(driver: &Driver, words: &str) -> Result<()> {
    if driver.console.lines().iter().any(|line| line.contains(words)) {
        return Ok(());
    }
    bail!("no line says {words:?}:\n{}", driver.tail())
}

fn audited(driver: &Driver) -> Result<()> {
    AUDIT.into_iter().try_for_each(|words| has_line(driver, words))
}

/// All attacks that a domain survives, in one boot.
pub fn survived(context: &Context) -> Result<Outcome> {
    let mut driver = start(context, "", &[])?;
    let status = shell_status(driver.finish(LIMIT)?);
    if status != 0 {
        bail!("status {status}:\n{}\n{}", driver.console.failed_lines().join("\n"), driver.tail());
    }
    audited(&driver)?;
    let ok = driver.console.ok_lines();
    for name in TRIED {
        let wanted = format!("attack.{name}");
        if !ok.iter().any(|line| line.split_whitespace().nth(1) == Some(&wanted)) {
            bail!("no line says `ok {wanted}`:\n{}", driver.tail());
        }
    }
    none_left(driver.id())?;
    Ok(Outcome::Passed(format!("{} attacks", ok.len())))
}

/// Each attack that ends its domain: the domain alone ends, with a report of the reason.
pub fn fatal(context: &Context) -> Result<Outcome> {
    for attack in fatal::ALL {
        one(context, attack).with_context(|| format!("attack {}: {}", attack.name, attack.reason))?;
    }
    Ok(Outcome::Passed(format!("{} attacks", fatal::ALL.len())))
}

fn one(context: &Context, attack: &Fatal) -> Result<()> {
    let mut driver = start(context, &format!("attack={}", attack.name), &[])?;
    let status = shell_status(driver.finish(LIMIT)?);
    if status != i32::from(Status::GuestCrash.code()) {
        bail!("status {status}, not {}:\n{}", Status::GuestCrash.code(), driver.tail());
    }
    has_line(&driver, attack.report)?;
    audited(&driver)?;
    none_left(driver.id())
}

/// What a run of the fuzzer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fuzzed {
    /// The first step that was not reached.
    reached: u64,
    /// Calls made, and those that did something.
    calls: u64,
    done: u64,
}

/// Steps between two lines of the fuzzer's; a run that ended early is taken up behind the last one.
const EPOCH: u64 = 1000;

/// A hundred thousand calls.
pub fn fuzz(context: &Context) -> Result<Outcome> {
    // A million is what is wanted here. One run of five fell silent somewhere in it, which could not be repeated; until
    // that is understood the whole million is the full tier's.
    fuzz_for(context, 1, 100_000)
}

/// A million of those, and a hundred million others.
pub fn fuzz_long(context: &Context) -> Result<Outcome> {
    fuzz_for(context, 1, 1_000_000)?;
    fuzz_for(context, 2, 100_000_000)
}

/// Fuzzes until so many calls were made. A domain that the hypervisor ended is started again behind the epoch in which it
/// ended; anything else that ends a run is an error.
fn fuzz_for(context: &Context, seed: u64, wanted: u64) -> Result<Outcome> {
    // A machine runs for this many steps, so that a run that hangs is noticed within an hour.
    const STEPS: u64 = 2_000_000;
    const MOST_CRASHES: u64 = 200;
    let (mut calls, mut done, mut from, mut crashes) = (0, 0, 0, 0);
    while calls < wanted {
        let steps = STEPS.min(wanted - calls).next_multiple_of(EPOCH);
        let words = format!("fuzz={seed},{},{from}", from + steps);
        let mut driver = start(context, &words, &["--timeout", "3600"])?;
        let status = shell_status(driver.finish(2 * LIMIT.max(std::time::Duration::from_secs(3600)))?);
        let crashed = status == i32::from(Status::GuestCrash.code());
        if status != 0 && !crashed {
            bail!("status {status} of {words}:\n{}", driver.tail());
        }
        audited(&driver)?;
        none_left(driver.id())?;
        let run = fuzzed(driver.console.lines()).with_context(|| format!("no line of {words}'s steps"))?;
        (calls, done) = (calls + run.calls, done + run.done);
        from = run.reached;
        crashes += u64::from(crashed);
        if crashed {
            from = run.reached / EPOCH * EPOCH + EPOCH;
        }
        if crashes > MOST_CRASHES {
            bail!(
                "the domain was ended {crashes} times within {from} steps: the fuzzer damages itself too often"
            );
        }
    }
    if done * 100 < calls * 30 {
        bail!("{done} of {calls} calls did something, 30 % are wanted");
    }
    Ok(Outcome::Passed(format!("{calls} calls, {done} did something, {crashes} domains ended")))
}

/// Reads the last line that says how far a run came: `fuzz: seed S at N calls C done D`, or at the end
/// `fuzz: seed S steps A to B: C calls, D done`.
fn fuzzed(lines: &[String]) -> Option<Fuzzed> {
    lines.iter().rev().find_map(|line| {
        let words: Vec<&str> = line.strip_prefix("fuzz: seed ")?.split([' ', ':', ',']).collect();
        let number = |name: &str, offset: isize| -> Option<u64> {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at.checked_add_signed(offset)?)?.parse().ok()
        };
        let ended = number("calls", -1).zip(number("to", 1));
        Some(match ended {
            Some((calls, reached)) => Fuzzed { reached, calls, done: number("done", -1)? },
            None => {
                Fuzzed { reached: number("at", 1)?, calls: number("calls", 1)?, done: number("done", 1)? }
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzzers_lines_are_read() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let under_way =
            "fuzz: seed 1 steps 0 to 5000, begun at 0\nfuzz: seed 1 at 2000 calls 2358 done 1244\nother";
        assert_eq!(fuzzed(&lines(under_way)), Some(Fuzzed { reached: 2000, calls: 2358, done: 1244 }));
        let end = "fuzz: seed 1 at 2000 calls 2358 done 1244\n\
            fuzz: seed 1 steps 0 to 3000: 3000 calls, 1600 done (53 %), frames lost 11";
        assert_eq!(fuzzed(&lines(end)), Some(Fuzzed { reached: 3000, calls: 3000, done: 1600 }));
        assert_eq!(fuzzed(&lines("nothing")), None);
    }
}
