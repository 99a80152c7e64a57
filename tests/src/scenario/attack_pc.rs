//! The attacking kernel as a PC: alone on a bare machine, and under Paravane beside domains that it must not reach.

use super::attack::{self, AUDIT, Machine, WATCHED, has_line, unchanged};
use super::statuses::ends;
use super::{Context, LIMIT, Outcome, none_left};
use crate::driver::{Driver, Stdin};
use crate::status::Status;
use anyhow::{Result, ensure};
use pv_attack_logic::pc::{self, Last};
use rustix::process::Signal;

/// Each attack of a list says that nothing was wrong.
fn all_tried(driver: &Driver, lists: &[&[&str]]) -> Result<usize> {
    let names = lists.iter().copied().flatten();
    names.clone().try_for_each(|name| has_line(driver, &format!("ok attack.{name} ")))?;
    Ok(names.count())
}

fn survived_with(context: &Context, words: &str) -> Result<Outcome> {
    let options = &["--silence", "400"];
    let machine = Machine { words, options, pc: true, ..Machine::default() };
    let (driver, _) = attack::run(context, machine, &[Status::Good], LIMIT)?;
    let made = all_tried(&driver, &[pc::EVERYWHERE, pc::PRETENDED])?;
    Ok(Outcome::Passed(format!("{made} attacks by a PC")))
}

/// All attacks that a PC survives, beside a domain that keeps memory.
pub fn survived(context: &Context) -> Result<Outcome> {
    survived_with(context, "attack=all")
}

/// The same with all cases of those that have very many.
pub fn survived_whole(context: &Context) -> Result<Outcome> {
    survived_with(context, "attack=all whole")
}

/// Those of them that ask for no more than a processor does, on a bare machine.
pub fn bare(context: &Context) -> Result<Outcome> {
    let image = attack::image(context)?;
    let arguments = ["--machine", "native", "--memory", "32M", "--guest", &image];
    let driver = ends(context.qemu(&arguments), None, Status::Good)?;
    let made = all_tried(&driver, &[pc::EVERYWHERE])?;
    Ok(Outcome::Passed(format!("{made} attacks on a bare machine")))
}

/// The specification of a domain that makes one attack.
fn attacker(image: &str, name: &str) -> String {
    format!("{image},name={name},machine=trap,memory=16M,extra=\"attack={name}\"")
}

/// PCs beside each other.
const TOGETHER: usize = 8;

/// All attacks that end a PC, each by a PC of its own, some at once: each ends, with a report, and nobody else.
pub fn fatal(context: &Context) -> Result<Outcome> {
    pc::FATAL.chunks(TOGETHER).try_for_each(|some| fatal_together(context, some))?;
    Ok(Outcome::Passed(format!("{} PCs ended by themselves", pc::FATAL.len())))
}

fn fatal_together(context: &Context, attacks: &[Last]) -> Result<()> {
    let image = &attack::image(context)?;
    let mut guests: Vec<String> = attacks.iter().map(|last| attacker(image, last.name)).collect();
    let count = guests.len();
    guests.push(format!(
        "{image},name=bystander,memory=16M,vcpus=1,extra=\"attack=bystander attackers={count}\""
    ));
    let mut arguments = vec!["-v", "--hypervisor-append", WATCHED];
    arguments.extend(guests.iter().flat_map(|guest| ["--guest", guest.as_str()]));
    let driver = ends(context.qemu(&arguments), None, Status::GuestCrash)?;
    for number in 1..=count {
        has_line(&driver, &format!("d{number}v0 crashed: triple fault"))?;
    }
    AUDIT.into_iter().try_for_each(|words| has_line(&driver, words))?;
    unchanged(&driver)
}

/// PCs that wait for good, spin, and fault for ever, beside a domain that keeps its timer and comes to its end.
pub fn forever(context: &Context) -> Result<Outcome> {
    let image = &attack::image(context)?;
    let mut guests: Vec<String> = pc::FOREVER.iter().map(|last| attacker(image, last.name)).collect();
    guests.push("pv-guest,name=tick,memory=24M,extra=role=ticker seconds=3".into());
    // Time goes by instructions, so that a busy host makes no ticks late.
    let mut arguments = vec!["-v", "--icount=4", "--hypervisor-append", WATCHED];
    arguments.extend(guests.iter().flat_map(|guest| ["--guest", guest.as_str()]));
    let mut driver = Driver::start(context.qemu(&arguments), Stdin::Null)?;
    driver.wait_for("the end of the domain beside them", LIMIT, |console| {
        console.lines().iter().any(|line| line.contains("'tick' is gone"))
    })?;
    has_line(&driver, "ok ticker ")?;
    let crash = driver.console.lines().iter().find(|line| line.contains(" crashed: "));
    ensure!(crash.is_none(), "a PC that goes on for ever has ended: {crash:?}");
    driver.signal(Signal::INT)?;
    driver.finish(LIMIT)?;
    none_left(driver.id())?;
    Ok(Outcome::Passed(format!(
        "{} PCs go on for ever, and a domain beside them came to its end",
        guests.len() - 1
    )))
}
