//! Where code runs, seen from outside: the machine is stopped many times through QEMU's debug stub while the
//! demonstration runs, and every time the ring must fit the address.

use super::{Context, LIMIT, Outcome};
use crate::driver::{Driver, Stdin};
use crate::elf;
use crate::rsp::{Registers, Stub};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// The hypervisor's entry area, whose code is linked here and mapped while guests run (L4 slot 257).
const ENTRY_AREA: Range<u64> = 0xffff_8080_0000_0000..0xffff_8100_0000_0000;

/// The first address that is not a program's.
const USER_END: u64 = 0x0000_8000_0000_0000;

/// Most samples taken, and how many of each kind are wanted.
const SAMPLES: usize = 4000;
const WANTED: usize = 20;

/// What an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Hypervisor,
    GuestKernel,
    Program,
}

impl Owner {
    fn ring(self) -> u16 {
        match self {
            Self::Hypervisor => 0,
            Self::GuestKernel => 1,
            Self::Program => 3,
        }
    }
}

struct Map {
    hypervisor: Vec<Range<u64>>,
    guest: Vec<Range<u64>>,
}

impl Map {
    fn owner(&self, rip: u64) -> Option<Owner> {
        let within = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&rip));
        if within(&self.guest) {
            Some(Owner::GuestKernel)
        } else if rip < USER_END {
            // The hypervisor's first instructions lie here too, but no guest runs yet at that time.
            Some(Owner::Program)
        } else if ENTRY_AREA.contains(&rip) || within(&self.hypervisor) {
            Some(Owner::Hypervisor)
        } else {
            None
        }
    }
}

/// Samples, judges, and compares with what the guest says of itself.
pub fn sampled(context: &Context) -> Result<Outcome> {
    let map = Map {
        hypervisor: elf::executable_ranges(&context.images.join("paravane.elf"))?,
        guest: elf::executable_ranges(&context.images.join("pv-guest.elf"))?,
    };
    let socket = context.scratch.join(format!("gdb-{}", std::process::id()));
    let gdb = format!("--gdb=unix:{},server=on,wait=off", socket.display());
    let mut driver = Driver::start(context.qemu(&["--demo", "--timeout", "600", &gdb]), Stdin::Null)?;
    // Once the first program has spoken, only the three owners run.
    driver.wait_for("the first program", LIMIT, |console| !console.ok_lines().is_empty())?;
    let mut stub = Stub::connect(&socket, Duration::from_secs(30))?;
    let mut seen: BTreeMap<Owner, Vec<Registers>> = BTreeMap::new();
    for round in 0..SAMPLES {
        let registers = stub.registers()?;
        let owner = judge(&map, registers)?;
        seen.entry(owner).or_default().push(registers);
        let enough = seen.len() == 3 && seen.values().all(|samples| samples.len() >= WANTED);
        if enough || driver.console.summary().is_some() {
            break;
        }
        stub.resume()?;
        // Odd lengths of time, so that no rhythm of the guest's own decides what is seen.
        let time = Duration::from_micros(500 + (round as u64 * 7919) % 9000);
        if !driver.read_some(time)? {
            break;
        }
        stub.interrupt()?;
    }
    stub.detach()?;
    let status = driver.finish(LIMIT)?;
    // The end of the run removes the socket; what is left of it harms nothing.
    let _ = std::fs::remove_file(&socket);
    if !status.success() {
        bail!("the demonstration under the debug stub ended with {status}:\n{}", driver.tail());
    }
    for (owner, least) in [(Owner::GuestKernel, WANTED), (Owner::Program, WANTED), (Owner::Hypervisor, 1)] {
        let count = seen.get(&owner).map_or(0, Vec::len);
        if count < least {
            bail!("{owner:?} was seen {count} times, {least} are wanted");
        }
    }
    agree(&seen, &driver)
}

fn judge(map: &Map, registers: Registers) -> Result<Owner> {
    let owner = map.owner(registers.rip).with_context(|| format!("{registers:x?}: nobody's code"))?;
    if owner.ring() != registers.ring() {
        bail!("{owner:?} runs in ring {}: {registers:x?}", registers.ring());
    }
    Ok(owner)
}

/// The guest reads CS itself; its lines and the samples name the same selectors.
fn agree(seen: &BTreeMap<Owner, Vec<Registers>>, driver: &Driver) -> Result<Outcome> {
    for (owner, name) in [(Owner::GuestKernel, "kernel-ring"), (Owner::Program, "program-ring")] {
        let start = format!("ok {name}");
        let lines = driver.console.ok_lines();
        let line = lines.iter().find(|line| line.starts_with(&start));
        let line = line.with_context(|| format!("the guest does not say `{start}`"))?;
        let said = selector(line).with_context(|| format!("no CS in {line:?}"))?;
        if let Some(sample) = seen[&owner].iter().find(|sample| sample.cs != said) {
            bail!("the guest says {line:?}, the debug stub saw {sample:x?}");
        }
    }
    let count = |owner: Owner| seen.get(&owner).map_or(0, Vec::len);
    Ok(Outcome::Passed(format!(
        "samples: {} in ring 0, {} in ring 1, {} in ring 3",
        count(Owner::Hypervisor),
        count(Owner::GuestKernel),
        count(Owner::Program)
    )))
}

/// The number after `cs`.
fn selector(line: &str) -> Option<u16> {
    let words: Vec<&str> = line.split([' ', '=', ',']).collect();
    let at = words.iter().position(|word| *word == "cs")?;
    u16::from_str_radix(words.get(at + 1)?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Map {
        Map {
            hypervisor: vec![0x20_0000..0x20_2000, 0xffff_82d0_8020_0000..0xffff_82d0_8030_0000],
            guest: vec![
                0xffff_ffff_8020_0000..0xffff_ffff_8030_0000,
                0xffff_ffff_8040_0000..0xffff_ffff_8040_1000,
            ],
        }
    }

    fn at(rip: u64, cs: u16) -> Registers {
        Registers { rip, rsp: 0, cs, ss: 0, arguments: [0; 2] }
    }

    #[test]
    fn each_owner_has_its_ring() {
        for (rip, cs, owner) in [
            (0xffff_ffff_8020_0010, 0xe069, Owner::GuestKernel),
            (0x40_1000, 0xe033, Owner::Program),
            (0xffff_8080_0001_2000, 0xe008, Owner::Hypervisor),
            (0xffff_82d0_8020_1000, 0xe008, Owner::Hypervisor),
        ] {
            assert_eq!(judge(&map(), at(rip, cs)).unwrap(), owner);
        }
    }

    #[test]
    fn a_ring_that_does_not_fit_is_an_error() {
        for (rip, cs) in [
            (0xffff_ffff_8020_0010, 0xe008),
            (0xffff_ffff_8020_0010, 0xe033),
            (0x40_1000, 0xe069),
            (0xffff_8080_0001_2000, 0xe069),
            (0xffff_ffff_9000_0000, 0xe069),
            (0xffff_8000_0000_0000, 0xe008),
        ] {
            assert!(judge(&map(), at(rip, cs)).is_err(), "{rip:#x} {cs:#x}");
        }
    }

    #[test]
    fn selectors_are_read_from_the_guests_lines() {
        assert_eq!(selector("ok program-ring cs 0xe033 ss 0xe02b ring 3"), Some(0xe033));
        assert_eq!(selector("ok kernel-ring cs=0xe069 ss=0xe071 ring=1"), Some(0xe069));
        assert_eq!(selector("ok kernel-ring ring=1"), None);
    }
}
