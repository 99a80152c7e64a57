//! One guest beside another that sleeps.

use super::super::world::*;
use super::arguments::Random;
use super::{Frames, Fuzz};
use crate::build::{Action, Actions};
use crate::descriptor::{RING1_CS64, USER_CS32, USER_CS64};
use crate::domain::{Callback, Life};
use crate::guest_memory::Access;
use crate::hypervisor::Next;
use paravane_abi::hypercall::ROWS;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;
use std::{format, println};

const STEPS: u32 = 30_000;
/// Steps between two recounts.
const RECOUNT: u32 = 50;
/// Steps after which the guest begins anew.
const LIFE: u32 = 1_000;

/// A world of two domains.
fn fresh() -> World {
    let mut world = World::configured(2, |config| {
        let action = Action::Preserve;
        config.actions =
            Actions { on_poweroff: action, on_reboot: action, on_crash: action, on_watchdog: action };
    });
    world.set_up();
    world
}

impl Fuzz {
    fn renew(&mut self) {
        self.world = fresh();
        self.frames = Rc::new(Frames::of(&self.world));
    }

    fn step(&mut self) {
        let mut regs = match self.random.below(10) {
            0..=6 => self.hypercall(),
            7 | 8 => self.exception(),
            _ => self.disturb(),
        };
        let next = self.world.next(&mut regs);
        assert!(matches!(regs.cs & 3, 1 | 3), "CS {:#x}", regs.cs);
        let never = 3 << 12 | 1 << 17;
        assert!(regs.rflags & never == 0 && regs.rflags & 0x202 == 0x202, "RFLAGS {:#x}", regs.rflags);
        if next == Next::Guest && regs.cs == RING1_CS64 && regs.rip == EVENT_HANDLER {
            assert!(self.world.upcall().1);
        }
        if next == Next::Guest && (regs.cs == USER_CS64 || regs.cs == USER_CS32) {
            // The hypervisor's own return would fault.
            assert!(!self.world.hv.machine.told.user_code_hidden);
        }
        if self.world.domain().life == Life::Preserved {
            // Back to life, to go on with what it left, and with handlers.
            self.world.revive();
            let vcpu = self.world.vcpu_mut();
            vcpu.kernel_sp = KERNEL_SP;
            vcpu.callbacks.event = Some(Callback { address: EVENT_HANDLER, mask_events: false });
            (0..32).for_each(|n| vcpu.traps[n].address = HANDLER + 16 * n as u64);
        }
        if next == Next::Idle {
            self.world.rouse();
        }
    }

    /// The guest has taken its own means away.
    fn is_lost(&self) -> bool {
        let usable = |address| self.world.memory().translate(address, Access::Write).is_ok();
        self.world.vcpu().paging.base().is_none() || ![ARG, LIST, CODE].into_iter().all(usable)
    }
}

#[test]
fn whatever_a_guest_does_all_counts_agree() {
    let mut fuzz = Fuzz::new(fresh(), Random::Seeded(0x5eed));
    let mut age = 0;
    for step in 1..=STEPS {
        fuzz.step();
        age += 1;
        if step % RECOUNT == 0 {
            let wrong = fuzz.world.hv.recount();
            assert!(wrong.is_empty(), "step {step}: {}", wrong[0]);
            let stale = stale(&fuzz.world.hv);
            assert!(stale.is_empty(), "step {step}: {:?}", stale[0]);
            fuzz.world.hv.machine.fake.fill();
        }
        if age > LIFE || fuzz.is_lost() {
            let wrong = fuzz.world.hv.recount();
            assert!(wrong.is_empty(), "step {step}: {}", wrong[0]);
            fuzz.renew();
            age = 0;
        }
    }
    report(&fuzz);
}

/// Prints the histogram and checks that the guest came everywhere.
fn report(fuzz: &Fuzz) {
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((name, outcome), count) in &fuzz.outcomes {
        lines.entry(name).or_default().push(format!("{outcome} {count}"));
    }
    lines.iter().for_each(|(name, counts)| println!("{name}: {}", counts.join(", ")));
    let total: u32 = fuzz.outcomes.values().sum();
    let good: u32 =
        fuzz.outcomes.iter().filter(|((_, outcome), _)| outcome == "ok").map(|(_, count)| count).sum();
    assert!(good * 100 / total >= 20, "{good} of {total} calls succeed");
    let kinds: BTreeSet<&str> = fuzz.outcomes.keys().map(|(_, outcome)| outcome.as_str()).collect();
    for kind in
        ["EFAULT", "EINVAL", "ENOENT", "ENOSYS", "EPERM", "ESRCH", "EBUSY", "EEXIST", "crash", "emulated"]
    {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
    for row in ROWS {
        let called = |name: &str| name == row.name || name.starts_with(&format!("{} ", row.name));
        assert!(lines.keys().any(|name| called(name)), "{} was never called", row.name);
    }
}
