//! Random processors, random instructions: what must hold whatever a guest does.

use super::*;
use crate::addr::VirtAddr;
use crate::descriptor::bits::PRESENT;
use crate::descriptor::{CodeBits, RESERVED_OFFSET, USER_CS32, USER_CS64, USER_SS, dpl};
use crate::emulate::{classify, raw};
use crate::full::decide::{Decided, decide};
use crate::full::step::Step;

/// xorshift64*: small, and the same on every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// An address that means something, or nearly.
    fn address(&mut self) -> u64 {
        let near = [GDT, IDT, TSS, STACK, STACK + 0xff0, CODE, USER_PAGE, 0, 1 << 47, u64::MAX, 0x7000_0000];
        match self.below(8) {
            0 => self.next(),
            _ => self.of(&near).wrapping_add(self.below(0x800)).wrapping_sub(self.below(16)),
        }
    }

    fn selector(&mut self) -> u16 {
        match self.below(6) {
            0 => self.next() as u16,
            1 => 0,
            _ => (self.below(8) * 8) as u16 | self.of(&[0, 0, 1, 3, 3, 4]),
        }
    }
}

const PREFIXES: &[&[u8]] =
    &[&[], &[], &[], &[0x48], &[0x66], &[0xf3], &[0x64], &[0x4f], &[0x67], &[0xf3, 0x48]];
const OPCODES: &[&[u8]] = &[
    &[0x0f, 0x00],
    &[0x0f, 0x01],
    &[0x0f, 0x02],
    &[0x0f, 0x03],
    &[0x0f, 0x05],
    &[0x0f, 0x06],
    &[0x0f, 0x07],
    &[0x0f, 0x08],
    &[0x0f, 0x20],
    &[0x0f, 0x21],
    &[0x0f, 0x22],
    &[0x0f, 0x23],
    &[0x0f, 0x30],
    &[0x0f, 0x31],
    &[0x0f, 0x32],
    &[0x0f, 0x34],
    &[0x0f, 0x35],
    &[0x0f, 0xa1],
    &[0x0f, 0xa2],
    &[0x0f, 0xae],
    &[0x0f, 0xb2],
    &[0x0f, 0xb4],
    &[0x6c],
    &[0x6d],
    &[0x6e],
    &[0x6f],
    &[0x8c],
    &[0x8e],
    &[0x9c],
    &[0x9d],
    &[0xca],
    &[0xcb],
    &[0xcc],
    &[0xcd],
    &[0xcf],
    &[0xcf],
    &[0xe4],
    &[0xe5],
    &[0xe6],
    &[0xec],
    &[0xed],
    &[0xef],
    &[0xf1],
    &[0xf4],
    &[0xfa],
    &[0xfb],
    &[0xff],
];

/// A processor in any state a guest could bring it to.
fn world(dice: &mut Dice) -> World {
    let mut world = if dice.one_in(3) { World::user() } else { World::kernel() };
    let stack = world.regs.rsp;
    if dice.one_in(2) {
        world.mem.map(stack & !0xfff, world.cpu.mode == Mode::User, true);
        let words =
            [dice.address(), dice.selector() as u64, dice.next(), dice.address(), dice.selector() as u64];
        let good = [USER_PAGE, USER_CS as u64, flag::ONE | flag::IF, USER_PAGE + 0x500, USER_DS as u64];
        for (n, (word, good)) in words.into_iter().zip(good).enumerate() {
            world.mem.poke_word(stack + n as u64 * 8, if dice.one_in(4) { word } else { good });
        }
        world.mem.poke_word(TSS + 4, STACK + 0x800);
    }
    for entry in 0..dice.below(3) {
        let descriptor = dice.next();
        let at = dice.below(7);
        world
            .mem
            .poke_word(GDT + at * 8, if entry == 0 { descriptor } else { descriptor | PRESENT | 1 << 44 });
        if dice.one_in(2) {
            world.gdt.load(&world.cpu, &mut world.mem, &mut world.real);
        }
    }
    let regs = &mut world.regs;
    let slots = [
        &mut regs.rax,
        &mut regs.rbx,
        &mut regs.rcx,
        &mut regs.rdx,
        &mut regs.rsi,
        &mut regs.rdi,
        &mut regs.rbp,
        &mut regs.r8,
        &mut regs.r11,
    ];
    for slot in slots {
        *slot = match dice.below(4) {
            0 => dice.selector() as u64,
            1 => dice.of(&[0xc000_0080, 0xc000_0082, 0x174, 0x277, 0x10, cr4::PAE, 0x8005_0033, 3, 0]),
            _ => dice.address(),
        };
    }
    if dice.one_in(4) {
        regs.rsp = dice.address();
    }
    regs.rflags = crate::iret::exit_flags(dice.next());
    let cpu = &mut world.cpu;
    (cpu.interrupts, cpu.iopl) = (dice.one_in(2), dice.below(4) as u8);
    cpu.cr4 |= dice.next() & cr4::OFFERED;
    (cpu.star, cpu.sfmask, cpu.sysenter_cs) =
        (dice.next(), dice.next() & 0xffff_ffff, dice.selector() as u64);
    for _ in 0..dice.below(3) {
        let base = loop {
            let base = dice.address();
            if VirtAddr::is_canonical(base) {
                break base;
            }
        };
        let limit = dice.next() as u16;
        match dice.below(6) {
            0 => cpu.gdtr.base = base,
            1 => cpu.gdtr.limit = limit,
            2 => cpu.idtr = TableRegister { base, limit },
            3 => cpu.tr = SystemRegister { selector: cpu.tr.selector, base, limit: limit as u32 },
            4 => cpu.ldtr = SystemRegister { selector: dice.selector(), base, limit: limit as u32 },
            _ => cpu.sysenter_eip = base,
        }
    }
    for _ in 0..dice.below(3) {
        let gate = [dice.next(), dice.next()];
        let vector = dice.of(&[3, 8, 11, 12, 13, 14, 0x80]);
        world
            .gate(vector, if dice.one_in(2) { Gate(gate) } else { Gate([gate[0] | 0xe << 40 | 1 << 47, 0]) });
    }
    if dice.one_in(8) {
        let page = dice.of(&[GDT, IDT, TSS, STACK]);
        world.mem.0.remove(&page);
    }
    world
}

fn instruction(dice: &mut Dice) -> Vec<u8> {
    if dice.one_in(8) {
        return (0..15).map(|_| dice.next() as u8).collect();
    }
    let mut bytes = dice.of(PREFIXES).to_vec();
    bytes.extend_from_slice(dice.of(OPCODES));
    bytes.extend((0..5).map(|_| dice.next() as u8));
    bytes
}

fn trap(dice: &mut Dice) -> Trap {
    let vector = dice.of(&[13, 13, 13, 13, 6, 6, 11, 12, 3, 14, 1, 0, 17, 7]);
    let error_code = if dice.one_in(2) { 0 } else { dice.selector() as u32 };
    Trap { vector, error_code, address: dice.address(), conditions: 0 }
}

/// What the real processor may load (docs/soundness.md): never more than ring 1, never masked, never a fault.
fn assert_safe(world: &World, context: &str) {
    let regs = &world.regs;
    let always = flag::IF | flag::ONE;
    assert_eq!(regs.rflags & (always | flag::IOPL | flag::VM), always, "{context}");
    assert!(VirtAddr::is_canonical(regs.rip), "{context}");
    let user = world.cpu.mode == Mode::User;
    let ring = if user { 3 } else { 1 };
    assert_eq!((regs.cs & 3, regs.ss & 3), (ring, ring), "{context}");
    assert_eq!(world.gdt.user_code_present(), user, "{context}");
    for (selector, code) in [(regs.cs, true), (regs.ss, false)] {
        if selector >= RESERVED_OFFSET {
            let known: &[u16] = match (code, user) {
                (true, true) => &[USER_CS64, USER_CS32],
                (true, false) => &[RING1_CS64],
                (false, true) => &[USER_SS],
                (false, false) => &[RING1_SS],
            };
            assert!(known.contains(&selector), "{selector:#x} {context}");
        } else if code || selector & !3 != 0 {
            let entry = world.real.get(selector >> 3);
            assert_eq!(selector & 4, 0, "{context}");
            assert!(entry & PRESENT != 0 && dpl(entry) == ring, "{selector:#x} {entry:#x} {context}");
            assert_eq!((entry >> 43 & 3) == 3, code, "{selector:#x} {entry:#x} {context}");
            let long = entry >> 53 & 1 == 1;
            let within = regs.rip <= crate::full::table::limit(entry);
            assert!(!code || within || world.cpu.cs.bits == CodeBits::Bits64, "{context}");
            assert!(!code || user || (long && world.cpu.cs.bits == CodeBits::Bits64), "{context}");
        } else {
            assert!(!user, "a null SS in ring 3: {context}");
        }
    }
    for raw in world.real.0.iter().take(64).filter(|&&raw| raw & PRESENT != 0) {
        assert!(raw & 1 << 44 != 0 && (dpl(*raw) == 1 || dpl(*raw) == 3), "{raw:#x} {context}");
    }
}

#[test]
fn whatever_a_guest_does_the_return_is_safe() {
    let (mut entered, mut ended, mut halted, mut ports) = (0, 0, 0, 0);
    for seed in 1..=6000u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = world(&mut dice);
        for step in 0..3 {
            let bytes = instruction(&mut dice);
            let rip = world.regs.rip;
            let room = (0x1000 - (rip & 0xfff) as usize).min(bytes.len());
            if world.mem.0.contains_key(&(rip & !0xfff)) {
                world.mem.poke(rip, &bytes[..room]);
            }
            let trap = trap(&mut dice);
            let context = std::format!("seed {seed} step {step} {bytes:x?} {trap:?}");
            let outcome = match dice.below(10) {
                0 => world.processor().syscall(dice.one_in(2)),
                1 => world.processor().software(dice.next() as u8),
                _ => world.processor().exception(trap),
            };
            let outcome = match outcome {
                Outcome::Port(access) => {
                    ports += 1;
                    world.processor().finish_port(access, dice.next() as u32)
                }
                other => other,
            };
            if outcome == Outcome::Shutdown {
                ended += 1;
                break;
            }
            let vector = dice.next() as u8;
            let pending = dice.one_in(3).then_some(vector);
            match world.processor().resume(|| pending) {
                Entry::Enter => {
                    entered += 1;
                    assert_safe(&world, &context);
                }
                Entry::Halted => halted += 1,
                Entry::Shutdown => {
                    ended += 1;
                    break;
                }
            }
        }
    }
    std::println!("{entered} entered, {ended} ended, {halted} halted, {ports} ports");
    assert!(
        entered > 5000 && ended > 100 && halted > 10 && ports > 100,
        "{entered} {ended} {halted} {ports}"
    );
}

/// A refusal is made before anything changed: registers are dropped copies, memory was not written.
#[test]
fn a_refused_instruction_changes_nothing() {
    let (mut refused, mut done) = (0, 0);
    for seed in 1..=8000u64 {
        let mut dice = Dice(seed.wrapping_mul(0xd134_2543_de82_ef95));
        let mut world = world(&mut dice);
        let bytes = instruction(&mut dice);
        let Ok(instruction) = raw(&bytes, CodeBits::Bits64, world.regs.rip) else { continue };
        let before = world.clone();
        let mut step = Step::new(&world.cpu, &world.regs, &mut world.mem, &Fake, instruction);
        match decide(&mut step, classify(&instruction).form) {
            Ok(Decided::Done) => {
                if step.commit(&mut world.cpu, &mut world.regs).is_err() {
                    refused += 1;
                    assert_eq!(world, before, "seed {seed} {bytes:x?}");
                } else {
                    done += 1;
                    assert_ne!(world.regs, before.regs, "RIP moved: seed {seed} {bytes:x?}");
                }
            }
            Ok(_) => assert_eq!(world, before, "seed {seed} {bytes:x?}"),
            Err(_) => {
                refused += 1;
                assert_eq!(world, before, "seed {seed} {bytes:x?}");
            }
        }
    }
    assert!(refused > 1000 && done > 1000, "{refused} refused, {done} done");
}

/// A handler that pops the error code and executes `iretq` goes back to exactly what was interrupted.
#[test]
fn an_interrupted_guest_goes_on_as_it_was() {
    for seed in 1..=5000u64 {
        let mut dice = Dice(seed.wrapping_mul(0xa076_1d64_78bd_642f));
        let mut world = if dice.one_in(2) { World::user() } else { World::kernel() };
        world.regs.rflags =
            crate::iret::exit_flags(dice.next()) & !(flag::RF | flag::VIF | flag::VIP | flag::TF);
        world.regs.rip = if dice.one_in(2) { dice.below(1 << 47) } else { !dice.below(1 << 47) };
        (world.cpu.interrupts, world.cpu.iopl) = (dice.one_in(2), dice.below(4) as u8);
        if world.cpu.mode == Mode::User {
            world.regs.rsp = dice.next();
        } else {
            world.regs.rsp -= dice.below(0x100);
            if dice.one_in(2) {
                (world.cpu.ss, world.regs.ss) = (0, 1);
            }
        }
        let before = world.clone();
        let vector = dice.of(&[0, 6, 13, 14, 17, 0x20, 0xef]);
        let kind = if dice.one_in(2) { Gate::interrupt } else { Gate::trap };
        world.gate(vector, kind(handler(vector), KERNEL_CS, 0, dice.below(2) as u8));
        let event = match vector {
            0x20.. => Event::interrupt(vector),
            _ => Event::reported(vector, dice.next() as u32 & 0xfff8),
        };
        assert_eq!(world.deliver(event), Delivery::Entered, "seed {seed}");
        assert_eq!(world.entered(), vector);
        if event.error_code.is_some() {
            world.regs.rsp += 8;
        }
        let (code, selector) = match before.cpu.mode {
            Mode::User => (11, USER_CS & !3),
            Mode::Kernel => (13, KERNEL_CS),
        };
        // The handler's page holds its one instruction; NT was cleared by the delivery.
        assert_eq!(world.trap(&[0x48, 0xcf], code, selector as u32), Outcome::Resume);
        assert_eq!(world.resume(), Entry::Enter, "seed {seed}");
        let resumed = flag::RF;
        assert_eq!(world.regs.rflags & !resumed, before.regs.rflags, "seed {seed}");
        let wanted = CpuUserRegs { rflags: world.regs.rflags, ..before.regs };
        assert_eq!(world.regs, wanted, "seed {seed}");
        let wanted = FullCpu { cr2: world.cpu.cr2, ..before.cpu };
        assert_eq!(world.cpu, wanted, "seed {seed}");
    }
}
