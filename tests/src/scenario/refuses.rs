//! Where x86 refuses to be virtualized: what the guest kernel sees when it executes what is sensitive and does not trap, on a
//! bare machine, where it is deceived, and where those instructions have been replaced (docs/where-x86-refuses.md).

use super::demonstration::same_kernel;
use super::{Context, Outcome};
use crate::driver::Driver;
use anyhow::{Context as _, Result, ensure};
use std::ops::RangeInclusive;

/// A processor without user-mode instruction prevention.
const WITHOUT_UMIP: [&str; 2] = ["--cpu", "max,-umip"];
const GUEST: &str = "pv-guest,extra=role=refuses";
const PATCHED: &str = "pv-guest,patch_sites=1,extra=role=refuses";

/// The kernel's image, and the hypervisor's entry area, where the tables of the real processor lie.
const IMAGE: RangeInclusive<u64> = 0xffff_ffff_8020_0000..=0xffff_ffff_ffff_ffff;
const ENTRY_AREA: RangeInclusive<u64> = 0xffff_8080_0000_0000..=0xffff_80ff_ffff_ffff;

/// What a line must say.
struct Row {
    name: &'static str,
    /// What the instruction shows in ring 0, if that is the same on every machine.
    ring0: RangeInclusive<u64>,
    /// What it shows in ring 1.
    ring1: RangeInclusive<u64>,
    /// Whether UMIP makes it trap.
    prevented: bool,
}

const fn row(name: &'static str, ring0: u64, ring1: u64) -> Row {
    Row { name, ring0: ring0..=ring0, ring1: ring1..=ring1, prevented: false }
}

const fn prevented(name: &'static str, ring0: RangeInclusive<u64>, ring1: RangeInclusive<u64>) -> Row {
    Row { name, ring0, ring1, prevented: true }
}

/// Every line there is, in their order. CR0.EM, which a kernel has set, is TS in the real register.
const ROWS: &[Row] = &[
    row("popf.IF", 1, 0),
    row("popf.IOPL", 3, 0),
    row("iret.IF", 1, 0),
    row("pushf.IF", 0, 1),
    row("mov-from-cs", 0x08, 0x09),
    row("mov-from-ss", 0x10, 0x11),
    row("lar.kernel", 0x00a0_9b00, 0x00a0_bb00),
    row("lar.user", 0x00a0_fb00, 0x00a0_7b00),
    row("lar.task", 0x8b00, 0),
    row("lsl.task", 0x67, 0),
    row("verr", 0, 1),
    row("verw", 0, 1),
    prevented("sgdt", IMAGE, ENTRY_AREA),
    prevented("sidt", IMAGE, ENTRY_AREA),
    prevented("sldt", 0x38..=0x38, 0..=0),
    prevented("str", 0x28..=0x28, 0xe040..=0xe040),
    prevented("smsw", 0x8001_0037..=0x8001_0037, 0x8005_003b..=0x8005_003b),
    // Of FSGSBASE, SMEP, SMAP and protection keys, the virtual CR4 has the first alone.
    Row {
        name: "cpuid.CR4",
        ring0: 0x0001_0000..=0x0071_0000,
        ring1: 0x0071_0000..=0x0071_0000,
        prevented: false,
    },
    row("cpuid.OSXSAVE", 0, 1),
    Row { name: "cpuid.APIC", ring0: 0..=1, ring1: 1..=1, prevented: false },
];

/// The sites, as the hypervisor calls them.
const SITES: [&str; 15] = [
    "popf",
    "iret",
    "pushf",
    "mov from cs",
    "mov from ss",
    "lar",
    "lsl",
    "verr",
    "verw",
    "sgdt",
    "sidt",
    "sldt",
    "str",
    "smsw",
    "cpuid",
];

/// A line of the kernel's.
#[derive(Debug, PartialEq, Eq)]
struct Line<'l> {
    name: &'l str,
    ring0: u64,
    here: u64,
    word: &'l str,
}

/// Reads `refuses NAME: in ring 0 0xN, here 0xN: WORD`.
fn parse(line: &str) -> Option<Line<'_>> {
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let (name, rest) = line.strip_prefix("refuses ")?.split_once(": in ring 0 ")?;
    let (ring0, rest) = rest.split_once(", here ")?;
    let (here, word) = rest.split_once(": ")?;
    Some(Line { name, ring0: number(ring0)?, here: number(here)?, word })
}

/// Checks every line, and the sum; `goes_wrong` says of which rows the kernel sees ring 1. Returns how many that are.
fn judge(lines: &[String], goes_wrong: impl Fn(&Row) -> bool) -> Result<usize> {
    let seen: Vec<Line<'_>> = lines.iter().filter_map(|line| parse(line)).collect();
    let names: Vec<&str> = seen.iter().map(|line| line.name).collect();
    let wanted: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    ensure!(names == wanted, "the lines are {names:?}, and should be {wanted:?}");
    let mut wrong = 0;
    for (line, row) in seen.iter().zip(ROWS) {
        ensure!(row.ring0.contains(&line.ring0), "{line:x?}: ring 0 shows {:x?}", row.ring0);
        if goes_wrong(row) {
            ensure!(line.word == "WRONG" && line.here != line.ring0, "{line:x?}: it should go wrong");
            ensure!(row.ring1.contains(&line.here), "{line:x?}: ring 1 shows {:x?}", row.ring1);
            wrong += 1;
        } else {
            ensure!(line.word == "right" && line.here == line.ring0, "{line:x?}: it should be right");
        }
    }
    let sum = format!("ok refuses {} lines, {} right, {wrong} wrong", ROWS.len(), ROWS.len() - wrong);
    ensure!(lines.contains(&sum), "no line says `{sum}`");
    Ok(wrong)
}

/// Runs the kernel, the same on every machine, to its good end.
fn run(context: &Context, args: &[&[&str]]) -> Result<Driver> {
    let driver = context.demonstrate(&args.concat())?;
    same_kernel(context, &driver)?;
    Ok(driver)
}

fn judged(driver: &Driver, goes_wrong: impl Fn(&Row) -> bool) -> Result<usize> {
    judge(driver.console.lines(), goes_wrong).with_context(|| driver.tail())
}

/// In ring 0.
pub fn native(context: &Context) -> Result<Outcome> {
    let driver = run(context, &[&["--machine", "native", "--guest", GUEST], &WITHOUT_UMIP])?;
    judged(&driver, |_| false)?;
    Ok(Outcome::Passed(format!("{} of {} lines right", ROWS.len(), ROWS.len())))
}

/// In ring 1, where all go wrong, each in its way; and those that UMIP has trap.
pub fn trap(context: &Context) -> Result<Outcome> {
    let machine = ["--machine", "trap", "-v", "--guest", GUEST];
    let driver = run(context, &[&machine, &WITHOUT_UMIP])?;
    let without = judged(&driver, |_| true)?;
    ensure!(reports(&driver).next().is_none(), "a site was patched that nobody asked for");
    let with = judged(&run(context, &[&machine])?, |row| !row.prevented)?;
    Ok(Outcome::Passed(format!("wrong are {without} lines, with UMIP {with}")))
}

/// In ring 1 with the sites replaced, of which the hypervisor reports each.
pub fn patched(context: &Context) -> Result<Outcome> {
    let machine = ["--machine", "trap", "-v", "--hypervisor-append", "paravane.audit", "--guest", PATCHED];
    let driver = run(context, &[&machine, &WITHOUT_UMIP])?;
    judged(&driver, |_| false)?;
    let reported: Vec<&str> = reports(&driver).collect();
    for name in SITES {
        let of_it = reported.iter().filter(|report| {
            report.strip_prefix("patched ").and_then(|rest| rest.split_once(" at ")).map(|it| it.0)
                == Some(name)
        });
        ensure!(of_it.count() == 1, "`{name}` should be patched once:\n{}", reported.join("\n"));
    }
    ensure!(reported.len() == SITES.len(), "other sites are reported too:\n{}", reported.join("\n"));
    let audited = driver.console.lines().iter().any(|line| line.contains("audit: all counts agree"));
    ensure!(audited, "no audit at the end:\n{}", driver.tail());
    Ok(Outcome::Passed(format!("{} sites patched, {} lines right", SITES.len(), ROWS.len())))
}

/// What the hypervisor says of sites.
fn reports(driver: &Driver) -> impl Iterator<Item = &str> {
    let lines = driver.console.lines().iter().filter_map(|line| line.strip_prefix("(PV) "));
    lines.filter_map(|line| Some(line.split_once(": ")?.1)).filter(|line| line.contains("patched "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run in which those rows go wrong that `wrong` names.
    fn a_run(wrong: impl Fn(&Row) -> bool) -> Vec<String> {
        let mut lines = vec!["Paravane guest kernel".to_owned()];
        let mut count = 0;
        for row in ROWS {
            let ring0 = *row.ring0.start();
            let (here, word) = if wrong(row) { (*row.ring1.start(), "WRONG") } else { (ring0, "right") };
            count += usize::from(wrong(row));
            lines.push(format!("refuses {}: in ring 0 {ring0:#x}, here {here:#x}: {word}", row.name));
        }
        lines.push(format!("ok refuses {} lines, {} right, {count} wrong", ROWS.len(), ROWS.len() - count));
        lines
    }

    #[test]
    fn every_line_is_judged() {
        assert_eq!(judge(&a_run(|_| false), |_| false).unwrap(), 0);
        assert_eq!(judge(&a_run(|_| true), |_| true).unwrap(), ROWS.len());
        for row in ROWS {
            let but = |it: &Row| it.name != row.name;
            assert!(judge(&a_run(but), |_| true).is_err(), "{} went right", row.name);
            assert!(judge(&a_run(|it| !but(it)), |_| false).is_err(), "{} went wrong", row.name);
        }
        let mut lines = a_run(|_| true);
        lines.remove(1);
        assert!(judge(&lines, |_| true).is_err());
        lines = a_run(|_| false);
        lines.pop();
        assert!(judge(&lines, |_| false).is_err());
    }

    #[test]
    fn lines_are_read_whole() {
        let line = parse("refuses str: in ring 0 0x28, here 0xe040: WRONG").unwrap();
        assert_eq!(line, Line { name: "str", ring0: 0x28, here: 0xe040, word: "WRONG" });
        for bad in ["ok refuses 20 lines", "refuses str: in ring 0 28, here 0x0: right", "refuses str: what"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
