//! A guest that does anything: hypercalls with arguments that are nearly right, writes to its memory,
//! exceptions, time. Whatever it does, nothing panics, the registers stay a guest's, and all counts agree.

pub(super) mod arguments;
#[cfg(test)]
mod one;
mod several;

pub use several::several_guests;

use super::world::*;
use crate::addr::Mfn;
use crate::frame::Owner;
use crate::memory::Memory;
use arguments::Random;
use paravane_abi::errno::Errno;
use paravane_abi::regs::CpuUserRegs;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

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

/// A domain's frames by what they are, and some that are not its own.
pub(super) struct Frames {
    tables: Vec<Mfn>,
    spare: Vec<Mfn>,
    mapped: Vec<Mfn>,
    foreign: Vec<Mfn>,
}

impl Frames {
    /// Those of the domain that runs, as it was built.
    fn of(world: &World) -> Self {
        let id = world.domain().id;
        let (machine, shape) = (&world.hv.machine, world.shape);
        let mut own = Vec::new();
        let mut foreign = Vec::new();
        for frame in (0..world.hv.frames.len() as u64).map(Mfn::new) {
            match world.hv.frames.info(frame).map(|info| info.owner()) {
                Some(Owner::Domain(owner)) if owner == id && machine.m2p(frame).get() < shape.pages => {
                    own.push(frame)
                }
                Some(Owner::Domain(owner)) if owner != id => foreign.push(frame),
                _ => {}
            }
        }
        own.sort_by_key(|frame| machine.m2p(*frame).get());
        let is_table = |frame: &Mfn| world.hv.frames.info(*frame).unwrap().kind().level().is_some();
        let tables = own.iter().copied().filter(is_table).collect();
        let unused = (LIST - shape.base()) as usize >> 12;
        let (mapped, spare) = own[unused..].split_at(shape.mapped as usize - unused);
        // Frame 0, the hypervisor's, is no one's own.
        let foreign = foreign.into_iter().step_by(100).chain([Mfn::new(0)]).collect();
        Self { tables, spare: spare.to_vec(), mapped: mapped.to_vec(), foreign }
    }
}

/// A guest that does anything.
pub(super) struct Fuzz {
    world: World,
    random: Random,
    frames: Rc<Frames>,
    outcomes: BTreeMap<(String, String), u32>,
}

impl Fuzz {
    fn new(world: World, random: Random) -> Self {
        let frames = Rc::new(Frames::of(&world));
        Self { world, random, frames, outcomes: BTreeMap::new() }
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
        let _ = self.world.hv.kernel_memory().map(|memory| memory.copy_to_guest(regs.rip, code));
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
        match self.random.below(7) {
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
            5 => self.lend(),
            _ => {
                let (address, value) = (self.address(), self.value());
                self.put(address, value);
            }
        }
        if self.random.one_in(2) { self.world.program() } else { self.world.kernel() }
    }
}
