//! A guest that does anything: hypercalls with arguments that are nearly right, writes to its memory,
//! exceptions, time. Whatever it does, nothing panics, the registers stay a guest's, and all counts agree.

pub(super) mod arguments;

use super::world::*;
use crate::addr::Mfn;
use crate::build::tests::BASE;
use crate::build::{Action, Actions};
use crate::descriptor::{RING1_CS64, USER_CS32, USER_CS64};
use crate::domain::{Callback, Life};
use crate::guest_memory::Access;
use crate::hypervisor::Next;
use arguments::Random;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::regs::CpuUserRegs;
use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, println};

const STEPS: u32 = 30_000;
/// Steps between two recounts.
const RECOUNT: u32 = 50;
/// Steps after which the guest begins anew.
const LIFE: u32 = 1_000;

/// Instructions that fault in ring 1 or 3, or that write what RDI points to.
const CODE_BYTES: [&[u8]; 18] = [
    &[0x48, 0x89, 0x07],
    &[0x48, 0x87, 0x07],
    &[0xf0, 0x80, 0x27, 0xfd],
    &[0xf0, 0x48, 0x0f, 0xb1, 0x1f],
    &[0x0f, 0x22, 0xd8],
    &[0x0f, 0x20, 0xd8],
    &[0x0f, 0x22, 0xe0],
    &[0x0f, 0x23, 0xf8],
    &[0x0f, 0x21, 0xf8],
    &[0x0f, 0x30],
    &[0x0f, 0x32],
    &[0x0f, 0x06],
    &[0xec],
    &[0xf3, 0x6c],
    &[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2],
    &[0xcd, 0x80],
    &[0x48, 0xcf],
    &[0xfa],
];

struct Fuzz {
    world: World,
    random: Random,
    tables: Vec<Mfn>,
    spare: Vec<Mfn>,
    mapped: Vec<Mfn>,
    foreign: Vec<Mfn>,
    outcomes: BTreeMap<(String, String), u32>,
    crashes: u32,
}

/// A world of two domains, and its frames by what they are.
fn fresh() -> (World, [Vec<Mfn>; 4]) {
    let mut world = World::configured(2, |config| {
        let action = Action::Preserve;
        config.actions =
            Actions { on_poweroff: action, on_reboot: action, on_crash: action, on_watchdog: action };
    });
    world.set_up();
    let own: Vec<Mfn> = (0..PAGES).map(|pfn| world.frame(pfn)).collect();
    let is_table = |frame: &Mfn| world.hv.frames.info(*frame).unwrap().kind().level().is_some();
    let tables = own.iter().copied().filter(is_table).collect();
    let mapped = own[(LIST - BASE) as usize >> 12..1024].to_vec();
    let all = (0..world.hv.frames.len() as u64).map(Mfn::new);
    let other = world.hv.domains[1].id;
    let foreign = all.filter(|frame| world.hv.frames.is_owned_by(*frame, other)).step_by(100).collect();
    let frames = [tables, own[1024..].to_vec(), mapped, foreign];
    (world, frames)
}

impl Fuzz {
    fn new(seed: u64) -> Self {
        let (world, [tables, spare, mapped, foreign]) = fresh();
        let outcomes = BTreeMap::new();
        Self { world, random: Random(seed), tables, spare, mapped, foreign, outcomes, crashes: 0 }
    }

    fn renew(&mut self) {
        let (world, [tables, spare, mapped, foreign]) = fresh();
        (self.world, self.tables, self.spare, self.mapped, self.foreign) =
            (world, tables, spare, mapped, foreign);
    }

    fn hypercall(&mut self) -> CpuUserRegs {
        let (number, name, args) = self.call();
        let mut regs = self.world.regs_for(number, &args);
        let mut outcome = String::from("preempted");
        for _ in 0..64 {
            let rip = regs.rip;
            regs.rax = number;
            self.world.hv.hypercall(&mut regs);
            if regs.rip != rip - 2 {
                outcome = match regs.rax as i64 {
                    _ if self.world.crashed() => "crash".to_string(),
                    error @ -4095..=-1 => {
                        Errno::from_code(-error as i32).map_or("?", Errno::name).to_string()
                    }
                    _ => "ok".to_string(),
                };
                break;
            }
            regs.rip = rip;
        }
        *self.outcomes.entry((name, outcome)).or_default() += 1;
        regs
    }

    fn exception(&mut self) -> CpuUserRegs {
        let mut regs = if self.random.one_in(3) { self.world.program() } else { self.world.kernel() };
        let code = self.random.of(&CODE_BYTES);
        let _ = self.world.memory().copy_to_guest(regs.rip, code);
        (regs.rdi, regs.rax, regs.rbx) = (self.address(), self.value(), self.value());
        (regs.rcx, regs.rdx) =
            (self.random.of(&[0xc000_0100, 0xc000_0101, 0x10, 1, 0x4000_0001]), self.value());
        let vector = match self.random.below(8) {
            0..=2 => 13,
            3 | 4 => 14,
            5 => self.random.of(&[6, 11, 1, 7, 0x100, 0x101]),
            _ => self.random.below(32) as u32,
        };
        let error_code = self.random.of(&[0, 0, 2, 3, 3, 7, 0x402, 0xe030]);
        if self.random.one_in(8) {
            regs.rsp = self.address();
            regs.rip = self.address();
            regs.rflags = self.random.next() & 0xed5 | 0x202;
        }
        let at = if self.random.one_in(4) { self.address() } else { regs.rdi };
        let after = self.world.exception(regs, vector, error_code, at);
        let outcome = if self.world.crashed() {
            "crash"
        } else if after.rip == regs.rip {
            "again"
        } else if after.rip & !0xfff == HANDLER || after.rip == EVENT_HANDLER {
            "handler"
        } else {
            "emulated"
        };
        *self.outcomes.entry(("exception".to_string(), outcome.to_string())).or_default() += 1;
        after
    }

    /// What the guest and the world do without asking.
    fn disturb(&mut self) -> CpuUserRegs {
        match self.random.below(6) {
            0 => self.world.set_mask(false),
            1 => self.world.clear_pending(),
            2 => {
                // The shared page is the guest's to scribble on.
                let (index, value) = (self.random.below(512) as usize, self.random.next());
                self.world.hv.machine.fake.poke(self.world.domain().shared_info, index, value);
            }
            3 => {
                self.world.hv.machine.now += self.random.below(1 << 24);
                self.world.hv.timer_interrupt();
            }
            4 => {
                self.world.hv.machine.input.extend(b"typed");
                self.world.hv.console_interrupt();
            }
            _ => {
                let (address, value) = (self.address(), self.value());
                self.put(address, value);
            }
        }
        if self.random.one_in(2) { self.world.program() } else { self.world.kernel() }
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
            self.crashes += 1;
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
    let mut fuzz = Fuzz::new(0x5eed);
    let mut age = 0;
    for step in 1..=STEPS {
        fuzz.step();
        age += 1;
        if step % RECOUNT == 0 {
            let wrong = fuzz.world.hv.recount();
            assert!(wrong.is_empty(), "step {step}: {}", wrong[0]);
            let machine = &fuzz.world.hv.machine.fake;
            let stale = machine.stale(&fuzz.world.hv.frames);
            assert!(stale.is_empty(), "step {step}: {:?}", stale[0]);
            machine.fill();
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
    println!("{} ends", fuzz.crashes);
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
