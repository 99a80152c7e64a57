//! The attacking kernel: what it tries, it tries in vain, and what ends it ends it alone.

use super::{Context, LIMIT, Outcome, none_left};
use crate::console::unmarked;
use crate::driver::{Driver, Stdin, shell_status};
use crate::status::Status;
use anyhow::{Context as _, Result, bail, ensure};
use pv_attack_logic::fatal::{self, Fatal};
use pv_attack_logic::rings;
use std::time::Duration;

/// What a run must have tried, as the names of its good lines.
const TRIED: &[&str] = &[
    // The address space.
    "global-pages",
    "reserved-slots",
    "reserved-slots-at-validation",
    "foreign-frames",
    "foreign-tables",
    "hypervisor-pointers",
    "hypervisor-unreachable",
    "kernel-pages",
    "user-roots",
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
    "int-0x82",
    "far-transfers",
    "flags-hypercall",
    "flags-syscall",
    "flags-syscall-compatibility",
    "flags-sysenter",
    "flags-int80",
    "flags-invalid-opcode",
    "flags-breakpoint",
    "flags-debug",
    "flags-protection",
    "flags-page-fault",
    "flags-event",
    "flags-interrupt",
    "flags-iret-hypercall",
    "flags-virtual-8086",
    "round-trips",
    // Descriptors and stacks.
    "accessed-bit-clear",
    "dpl",
    "gates-and-system-descriptors",
    "null-stack-selector",
    "iretq-all-selectors",
    "iret-all-selectors",
    "data-selectors",
    "local-table",
    "local-table-checked",
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

/// What the attacks that need a second vcpu are called.
const TOGETHER: &[&str] = &[
    "smp-arguments",
    "smp-mappings",
    "smp-stale-write",
    "smp-tables",
    "smp-entry-stacks",
    "smp-upper-entries",
    "smp-events",
];

/// The hypervisor's words when all its books agree at the end, and when nobody has written what is not to be written.
pub(super) const AUDIT: [&str; 2] = ["audit: all counts agree", "audit: the hypervisor is unchanged"];

/// What the hypervisor is told, so that it says this, and what its guests say.
pub(super) const WATCHED: &str = "paravane.audit guest_loglvl=all";

/// A machine for the attacking kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine<'a> {
    /// What is on the kernel's command line.
    pub words: &'a str,
    /// More for the hypervisor's.
    pub hypervisor: &'a str,
    /// More options of `xtask qemu`.
    pub options: &'a [&'a str],
    /// The kernels run in ring 3.
    pub ring3: bool,
    /// The attacker is a PC.
    pub pc: bool,
}

/// The attacking kernel.
pub(super) fn image(context: &Context) -> Result<String> {
    let image = context.images.join("pv-guest-attack.elf");
    Ok(image.to_str().context("a path in UTF-8")?.to_owned())
}

/// The command that starts the attacking kernel, and beside it a domain that does nothing but keep its memory. Every count
/// is checked at the end.
pub fn command(context: &Context, machine: Machine<'_>) -> Result<std::process::Command> {
    let image = image(context)?;
    let pc = if machine.pc { "machine=trap,memory=24M," } else { "" };
    let attacker = format!("{image},name=attacker,{pc}extra=\"{}\"", machine.words);
    let bystander = format!("{image},name=bystander,memory=16M,vcpus=1,extra=attack=bystander");
    // What the bystander says while the attacker has the console is a message of a guest's.
    let hypervisor = format!("{WATCHED} {}", machine.hypervisor);
    let mut arguments = vec!["--guest", &attacker, "--guest", &bystander, "-v"];
    arguments.extend(["--hypervisor-append", &hypervisor]);
    if machine.ring3 {
        arguments.extend(["--machine", "pv-ring3"]);
    }
    arguments.extend(machine.options);
    Ok(context.qemu(&arguments))
}

/// Runs such a machine to its end, with one of these statuses; nothing of the hypervisor's and nothing of the bystander's
/// may have changed.
pub fn run(
    context: &Context,
    machine: Machine<'_>,
    allowed: &[Status],
    limit: Duration,
) -> Result<(Driver, Status)> {
    let mut driver = Driver::start(command(context, machine)?, Stdin::Null)?;
    let status = shell_status(driver.finish(limit)?);
    let Some(status) = Status::from_code(status).filter(|status| allowed.contains(status)) else {
        let failed = driver.console.failed_lines().join("\n");
        bail!("status {status} of {machine:?}:\n{failed}\n{}", driver.tail());
    };
    AUDIT.into_iter().try_for_each(|words| has_line(&driver, words))?;
    unchanged(&driver)?;
    none_left(driver.id())?;
    Ok((driver, status))
}

pub(super) fn has_line(driver: &Driver, words: &str) -> Result<()> {
    if driver.console.lines().iter().any(|line| line.contains(words)) {
        return Ok(());
    }
    bail!("no line says {words:?}:\n{}", driver.tail())
}

/// The bystander's memory has the same digest before and after.
pub(super) fn unchanged(driver: &Driver) -> Result<()> {
    let digest = |start: &str| {
        let lines = driver.console.lines();
        let rest = lines.iter().find_map(|line| unmarked(line).strip_prefix(start));
        let rest = rest.with_context(|| format!("no line begins with {start:?}:\n{}", driver.tail()))?;
        rest.split_whitespace().next().map(str::to_owned).context("a digest")
    };
    let (before, after) = (digest("bystander: digest ")?, digest("ok bystander digest ")?);
    ensure!(before == after, "the bystander's memory had the digest {before} before and {after} after");
    Ok(())
}

/// Each of these attacks says that nothing was wrong, or that only a kernel in the other ring can make it. How many were
/// made.
fn all_tried(driver: &Driver, names: &[&str], ring3: bool) -> Result<usize> {
    let mut made = 0;
    for name in names {
        let not_here = rings::of(name).why_not(ring3).is_some();
        let start = format!("{} attack.{name} ", if not_here { "n/a" } else { "ok" });
        if !driver.console.lines().iter().any(|line| line.starts_with(&start)) {
            bail!("no line begins with {start:?}:\n{}", driver.tail());
        }
        made += usize::from(!not_here);
    }
    Ok(made)
}

/// All attacks that a domain survives, in one boot.
pub fn survived(context: &Context) -> Result<Outcome> {
    survived_in(context, false)
}

/// The same by a kernel in ring 3.
pub fn survived_ring3(context: &Context) -> Result<Outcome> {
    survived_in(context, true)
}

fn survived_in(context: &Context, ring3: bool) -> Result<Outcome> {
    let machine = Machine { words: "attack=all", ring3, ..Machine::default() };
    let (driver, _) = run(context, machine, &[Status::Good], LIMIT)?;
    let made = all_tried(&driver, TRIED, ring3)?;
    Ok(Outcome::Passed(format!("{made} attacks, {} for the other ring", TRIED.len() - made)))
}

/// Those that need a second vcpu: what the hypervisor reads for one, the other writes.
pub fn together(context: &Context) -> Result<Outcome> {
    together_in(context, false)
}

/// The same by a kernel in ring 3.
pub fn together_ring3(context: &Context) -> Result<Outcome> {
    together_in(context, true)
}

fn together_in(context: &Context, ring3: bool) -> Result<Outcome> {
    let options = &["--smp", "2", "--vcpus", "2", "--silence", "400"];
    let machine = Machine { words: "attack=smp", options, ring3, ..Machine::default() };
    let (driver, _) = run(context, machine, &[Status::Good], LIMIT)?;
    let made = all_tried(&driver, TOGETHER, ring3)?;
    Ok(Outcome::Passed(format!("{made} attacks by two vcpus")))
}

/// Each attack that ends its domain: the domain alone ends, with a report of the reason.
pub fn fatal(context: &Context) -> Result<Outcome> {
    fatal_in(context, false)
}

/// The same by a kernel in ring 3.
pub fn fatal_ring3(context: &Context) -> Result<Outcome> {
    fatal_in(context, true)
}

fn fatal_in(context: &Context, ring3: bool) -> Result<Outcome> {
    let (mut made, mut other) = (0, 0);
    for attack in fatal::ALL {
        if attack.rings.why_not(ring3).is_some() {
            other += 1;
            continue;
        }
        made += 1;
        let words = format!("attack={}", attack.name);
        let machine = Machine { words: &words, ring3, ..Machine::default() };
        one(context, attack, machine)
            .with_context(|| format!("attack {}: {}", attack.name, attack.reason))?;
    }
    Ok(Outcome::Passed(format!("{made} attacks, {other} for the other ring")))
}

fn one(context: &Context, attack: &Fatal, machine: Machine<'_>) -> Result<()> {
    let (driver, _) = run(context, machine, &[Status::GuestCrash], LIMIT)?;
    has_line(&driver, attack.report)
}

/// NMIs that must have come while the registers of each entry and exit were checked: in all, in entry code, and before
/// how many of its instructions.
const STORM: [(&str, u64); 3] = [("arrived", 5000), ("at", 100), ("instructions", 30)];

/// NMIs between any two instructions, while a guest goes in and out by every way there is.
pub fn nmi_storm(context: &Context) -> Result<Outcome> {
    nmi_storm_in(context, false)
}

/// The same round a kernel in ring 3.
pub fn nmi_storm_ring3(context: &Context) -> Result<Outcome> {
    nmi_storm_in(context, true)
}

fn nmi_storm_in(context: &Context, ring3: bool) -> Result<Outcome> {
    let options = &["--icount=0", "--silence", "400"];
    let hypervisor = "paravane.nmi-storm=2";
    let machine = Machine { words: "attack=round-trips", hypervisor, options, ring3, pc: false };
    let (driver, _) = run(context, machine, &[Status::Good], LIMIT)?;
    all_tried(&driver, &["round-trips"], ring3)?;
    let lines = driver.console.lines();
    let sum = lines.iter().find_map(|line| line.split_once("NMI storm: "));
    let (_, sum) = sum.with_context(|| format!("nothing is said of the storm:\n{}", driver.tail()))?;
    let words: Vec<&str> = sum.split([' ', ',']).collect();
    for (word, least) in STORM {
        let at = words.iter().position(|it| *it == word).filter(|at| *at > 0);
        let number = at.and_then(|at| words[at - 1].parse::<u64>().ok());
        let number = number.with_context(|| format!("no number before {word:?} in {sum:?}"))?;
        ensure!(number >= least, "{sum}: {least} are wanted before {word:?}");
    }
    Ok(Outcome::Passed(sum.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;
    use pv_attack_logic::pc;

    #[test]
    fn the_page_names_every_case() {
        let text = std::fs::read_to_string(crate::source::root().join("docs/attacks.md")).unwrap();
        let fatal = fatal::ALL.iter().map(|attack| attack.name);
        let scenarios = scenario::ALL.iter().map(|scenario| scenario.name);
        // Those that run rows or fatal attacks stand on the page as these.
        let whole = ["attack/survived", "attack/fatal", "attack/together"];
        let whole = |name: &str| whole.contains(&name.trim_end_matches("-ring3"));
        let scenarios = scenarios.filter(|name| name.starts_with("attack/") && !whole(name));
        let last = pc::FATAL.iter().chain(pc::FOREVER).map(|last| last.name);
        let on_pcs = pc::EVERYWHERE.iter().chain(pc::PRETENDED).copied().chain(last);
        assert!(rings::ONE_ALONE.iter().all(|(name, _)| TRIED.iter().chain(TOGETHER).any(|it| it == name)));
        for name in TRIED.iter().chain(TOGETHER).copied().chain(fatal).chain(scenarios).chain(on_pcs) {
            assert!(text.contains(&format!("`{name}`")), "docs/attacks.md does not name {name}");
        }
    }
}
