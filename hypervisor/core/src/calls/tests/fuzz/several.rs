//! Several guests of two vcpus each on several processors, all of which do anything.

use super::super::world::*;
use super::arguments::Random;
use super::{Frames, Fuzz};
use crate::addr::DomainId;
use crate::build::{Action, Actions, MachineKind};
use crate::descriptor::{USER_CS32, USER_CS64};
use crate::domain::{Domain, Shutdown};
use crate::fake_machine::FakeMachine;
use crate::hypervisor::Next;
use paravane_abi::hypercall::HYPERVISOR_VCPU_OP;
use paravane_abi::regs::CpuUserRegs;
use paravane_abi::vcpu::{VCPUOP_INITIALISE, VCPUOP_UP};
use std::collections::BTreeMap;
use std::format;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

const DOMAINS: u16 = 3;
/// The domain whose kernel is in ring 3.
const RING3: u16 = 2;
const CPUS: usize = 2;
/// Most steps of one input.
const STEPS: u32 = 400;
/// Steps between two recounts.
const RECOUNT: u32 = 40;
/// Rounds within which work without a guest comes to its end.
const ROUNDS: u32 = 10_000;
/// Nanoseconds: longer than a time slice.
const SLICE: u64 = 40_000_000;

struct Several {
    fuzz: Fuzz,
    /// The frames of each domain, as it was built after so many restarts.
    frames: BTreeMap<(DomainId, u32), Rc<Frames>>,
    /// The registers on each processor's entry stack.
    saved: [CpuUserRegs; CPUS],
}

/// Lets three guests do what `input` says, then ends them. Panics if a count does not agree, a processor could
/// use a translation that is no more, or something of the guests is left.
pub fn several_guests(input: &[u8]) {
    let mut world = World::quick(CPUS, DOMAINS, |config| {
        config.vcpus = 2;
        if config.domid == RING3 {
            config.machine = Some(MachineKind::PvRing3);
        }
        // The third is started again, twice at most.
        let action = if config.domid == DOMAINS { Action::Restart } else { Action::Destroy };
        config.actions =
            Actions { on_poweroff: action, on_reboot: action, on_crash: action, on_watchdog: action };
        config.restarts = 2;
    });
    let mut regs = CpuUserRegs::default();
    world.on(0);
    assert_eq!(world.next(&mut regs), Next::Guest);
    let fuzz = Fuzz::new(world, Random::Bytes(Vec::from(input).into_iter()));
    let mut several = Several { fuzz, frames: BTreeMap::new(), saved: [regs, CpuUserRegs::default()] };
    let mut step = 0;
    while !several.fuzz.random.is_over() && step < STEPS && several.step() {
        step += 1;
        if step % RECOUNT == 0 {
            several.check(step);
        }
    }
    several.check(step);
    several.end();
}

impl Several {
    /// One processor's guest does something, or time passes. Whether the machine still runs.
    fn step(&mut self) -> bool {
        let cpu = self.fuzz.random.below(CPUS as u64) as usize;
        self.fuzz.world.on(cpu);
        if self.fuzz.world.hv.here.busy {
            self.meet();
            self.saved[cpu] = match self.fuzz.random.below(12) {
                0..=6 => self.fuzz.hypercall(),
                7 | 8 => self.fuzz.exception(),
                9 | 10 => self.fuzz.disturb(),
                _ => {
                    self.pass(SLICE);
                    self.saved[cpu]
                }
            };
        } else {
            self.pass(SLICE / 8);
        }
        self.settle(cpu)
    }

    fn pass(&mut self, nanoseconds: u64) {
        self.fuzz.world.hv.machine.now += nanoseconds;
        self.fuzz.world.hv.timer_interrupt();
    }

    /// Goes on until this processor is in a guest, or idle.
    fn settle(&mut self, cpu: usize) -> bool {
        for _ in 0..ROUNDS {
            let regs = &mut self.saved[cpu];
            match self.fuzz.world.next(regs) {
                Next::Work => {}
                Next::Idle => return true,
                Next::Leave(_) => return false,
                Next::Guest => {
                    assert!(matches!(regs.cs & 3, 1 | 3), "CS {:#x}", regs.cs);
                    let never = 3 << 12 | 1 << 17;
                    assert!(regs.rflags & never == 0 && regs.rflags & 0x202 == 0x202, "{:#x}", regs.rflags);
                    // The hypervisor's own return would fault.
                    let hidden = self.fuzz.world.hv.machine.told.user_code_hidden;
                    assert!(!hidden || !matches!(regs.cs, USER_CS64 | USER_CS32), "CS {:#x}", regs.cs);
                    return true;
                }
            }
        }
        panic!("work never ends");
    }

    /// Knows the running domain's frames. One that is met for the first time sets itself up, and brings its second
    /// vcpu up.
    fn meet(&mut self) {
        let domain = self.fuzz.world.domain();
        let key = (domain.id, domain.restarts);
        if !self.frames.contains_key(&key) {
            let frames = Frames::of(&self.fuzz.world);
            self.frames.insert(key, Rc::new(frames));
            let world = &mut self.fuzz.world;
            world.set_up();
            let context = context(world);
            put_context(world, &context);
            assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, LIST]), 0);
            assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_UP.into(), 1, 0]), 0);
        }
        self.fuzz.frames = Rc::clone(&self.frames[&key]);
    }

    fn check(&self, step: u32) {
        let hv = &self.fuzz.world.hv;
        let wrong = hv.recount();
        assert!(wrong.is_empty(), "step {step}: {}", wrong[0]);
        hv.machine.fake.fill();
        let stale = stale(hv);
        assert!(stale.is_empty(), "step {step}: {:?}", stale[0]);
    }

    /// What is not gone.
    fn left(&self) -> String {
        let hv = &self.fuzz.world.hv;
        let domain = |domain: &Domain| format!("{} {:?} {:?}", domain.id, domain.life, domain.shutdown);
        let domains: Vec<String> = hv.domains.iter().map(domain).collect();
        format!("{domains:?}, {} jobs, {} lent", hv.jobs.len(), hv.lent.len())
    }

    /// All domains power off, those too that were being built again, and none is built again.
    fn power_off(&mut self) {
        let hv = &mut self.fuzz.world.hv;
        for index in 0..hv.domains.len() {
            hv.domains[index].actions = Actions::default();
            hv.stop_domain(index, Shutdown::PowerOff);
        }
    }

    /// All domains end; nothing of them is left.
    fn end(mut self) {
        let mut rounds = 0;
        let mut cpu = 0;
        while {
            self.fuzz.world.on(cpu);
            self.power_off();
            self.settle(cpu)
        } {
            self.pass(SLICE);
            cpu = (cpu + 1) % CPUS;
            rounds += 1;
            assert!(rounds < ROUNDS, "the end never comes: {}", self.left());
        }
        let world = &self.fuzz.world;
        assert_eq!((world.hv.domains.len(), world.hv.frames.free_frames()), (0, world.free));
        assert!(world.hv.frames.accounts().is_empty());
        self.check(STEPS);
        FakeMachine::recycle(self.fuzz.world.hv.frames);
    }
}

/// Bytes without a plan, and the same on every run: what a fuzz target begins with.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_several_guests_do_all_counts_agree() {
        let mut random = Random::Seeded(0x5eed);
        for _ in 0..20 {
            let input: Vec<u8> = (0..4_000).map(|_| random.next() as u8).collect();
            several_guests(&input);
        }
    }
}
