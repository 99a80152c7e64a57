//! Page-table walks, as the hypervisor's report of a crash shows them: every level with the type and the counts of what it names.

use crate::compare::operations::Machine;
use crate::driver::{Driver, Stdin, shell_status};
use crate::scenario::{Context, LIMIT};
use crate::status::Status;
use anyhow::{Context as _, Result, bail, ensure};

/// A walk from the root to where it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The machine of the guest whose tables they are.
    pub machine: Machine,
    /// What lies at the address.
    pub title: String,
    /// The address.
    pub address: u64,
    /// The levels, L4 first.
    pub steps: Vec<Step>,
}

/// A level of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// 4 for the root, 1 for the last.
    pub level: u64,
    /// The entry's index in its table.
    pub index: u64,
    /// The table's frame number.
    pub table: u64,
    /// The entry.
    pub entry: u64,
    /// The frame that it names, if it is present.
    pub target: Option<Target>,
}

/// What the hypervisor knows of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whose it is: `d1`, `Hypervisor`, `Free` or `NotRam`.
    pub owner: String,
    /// Its type.
    pub kind: String,
    /// References that use it as that type.
    pub uses: u64,
    /// All references.
    pub refs: u64,
}

/// Machines whose page tables have types: those of a guest that knows of its hypervisor, and of ours.
pub const MACHINES: [Machine; 2] = [Machine::PvRing1, Machine::PvRing3];

/// What the three addresses of a report are when the guest's shell is told [`COMMAND`].
const TITLES: [&str; 3] = [
    "an instruction of the kernel's",
    "the kernel's own root table, where all memory is mapped",
    "a program's page, the last that faulted",
];

/// Ends a domain so that its report walks to code, to a page table, and to a program's page.
const COMMAND: &[u8] = b"crash table\n";

/// Boots a machine, has its guest end with a report, and reads the walks.
///
/// # Errors
///
/// The guest did not end that way, or its report cannot be read.
pub fn observe(context: &Context, machine: Machine) -> Result<Vec<Walk>> {
    let mut driver = Driver::start(context.qemu(machine.arguments()), Stdin::Pipe)?;
    driver.send(COMMAND)?;
    driver.close_input();
    let status = shell_status(driver.finish(LIMIT)?);
    if status != i32::from(Status::GuestCrash.code()) {
        bail!("{}: status {status} of a guest that was to crash:\n{}", machine.name(), driver.tail());
    }
    let walks = parse(driver.console.lines(), machine)?;
    ensure!(walks.len() == TITLES.len(), "{}: {} walks:\n{}", machine.name(), walks.len(), driver.tail());
    Ok(walks)
}

/// The walks among a console's lines.
///
/// # Errors
///
/// A line that cannot be read.
pub fn parse(lines: &[String], machine: Machine) -> Result<Vec<Walk>> {
    let mut walks: Vec<Walk> = Vec::new();
    let mut open = false;
    for line in lines {
        let line = line.strip_prefix("(PV) ").unwrap_or(line).trim_end();
        let unreadable = || format!("a line of a page walk: {line}");
        if let Some(address) = line.strip_prefix("page walk of ") {
            let address = hexadecimal(address.trim_end_matches(':')).with_context(unreadable)?;
            let title = TITLES.get(walks.len()).copied().unwrap_or("an address").to_owned();
            walks.push(Walk { machine, title, address, steps: Vec::new() });
            open = true;
        } else if let (true, Some(words), Some(walk)) = (open, line.strip_prefix("  L"), walks.last_mut()) {
            walk.steps.push(step(words).with_context(unreadable)?);
        } else {
            open = false;
        }
    }
    Ok(walks)
}

/// A number as reports write it: `0x`, then digits to the base 16.
#[must_use]
pub fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// `4[511] in 0x131: 0x0000000000811063 P RW -> Domain(DomainId(1)) L3 x4, 5 refs`, behind its `L`.
fn step(words: &str) -> Option<Step> {
    let (level, rest) = words.split_once('[')?;
    let (index, rest) = rest.split_once("] in ")?;
    let (table, rest) = rest.split_once(": ")?;
    let (entry, target) = match rest.split_once(" -> ") {
        Some((entry, words)) => (entry, Some(target(words)?)),
        None => (rest, None),
    };
    Some(Step {
        level: level.parse().ok().filter(|level| (1..=4).contains(level))?,
        index: index.trim().parse().ok()?,
        table: hexadecimal(table)?,
        entry: hexadecimal(entry.split_whitespace().next()?)?,
        target,
    })
}

fn target(words: &str) -> Option<Target> {
    let mut words = words.split_whitespace();
    let (owner, kind) = (words.next()?, words.next()?);
    let uses = words.next()?.strip_prefix('x')?.trim_end_matches(',').parse().ok()?;
    let refs = words.next()?.parse().ok()?;
    let owner = match owner.strip_prefix("Domain(DomainId(") {
        Some(id) => format!("d{}", id.trim_end_matches("))")),
        None => owner.to_owned(),
    };
    Some(Target { owner, kind: kind.to_owned(), uses, refs })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
(PV) stack from rsp: cannot be read
(PV) page walk of 0xffffffff8022a3b3:
(PV)   L4[511] in 0x131: 0x0000000000811063 P RW A D -> Domain(DomainId(1)) L3 x4, 5 refs
(PV)   L1[ 42] in 0x814: 0x0000000000446021 P A -> Domain(DomainId(1)) Writable x0, 2 refs
(PV) 
(PV) page walk of 0x0000000000001000:
(PV)   L2[  0] in 0x135: 0x0000000000000000
(PV) 
(PV)   L9 is nothing of a walk";

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_report_is_read() {
        let walks = parse(&lines(REPORT), Machine::PvRing1).unwrap();
        assert_eq!(
            walks.iter().map(|walk| walk.address).collect::<Vec<_>>(),
            [0xffff_ffff_8022_a3b3, 0x1000]
        );
        assert_eq!(walks[0].title, TITLES[0]);
        let target = Target { owner: "d1".into(), kind: "L3".into(), uses: 4, refs: 5 };
        let first = Step { level: 4, index: 511, table: 0x131, entry: 0x81_1063, target: Some(target) };
        assert_eq!((walks[0].steps.len(), &walks[0].steps[0]), (2, &first));
        assert_eq!(
            walks[0].steps[1].target.as_ref().map(|it| (it.kind.as_str(), it.uses)),
            Some(("Writable", 0))
        );
        assert_eq!((walks[1].steps.len(), &walks[1].steps[0].target), (1, &None));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for line in ["  L4[x] in 0x1: 0x0", "  L7[0] in 0x1: 0x0", "  L4[0] in 0x1: 0x1 P -> Free", "  L4"] {
            let text = format!("page walk of 0x0:\n{line}");
            assert!(parse(&lines(&text), Machine::PvRing1).is_err(), "{line}");
        }
        assert!(parse(&lines("page walk of nothing"), Machine::PvRing1).is_err());
    }
}
