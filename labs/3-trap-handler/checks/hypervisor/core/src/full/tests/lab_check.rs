//! What lab 3 is graded by. Sections are those of the SDM, volume 3, unless it says otherwise.

use super::*;
use crate::addr::VirtAddr;
use crate::bounce::SETTABLE;
use crate::emulate::Fault;
use std::fmt::Debug;

const ERROR_CODE: u64 = 0x10;

/// Says what was wanted, and what came.
#[track_caller]
fn same<T: PartialEq + Debug>(what: &str, saw: T, expected: T) {
    assert!(saw == expected, "{what}: expected {expected:x?}, saw {saw:x?}");
}

fn fault(vector: u8) -> Event {
    Event::reported(vector, ERROR_CODE as u32)
}

/// Delivers, and gives the vector whose handler runs then.
#[track_caller]
fn entered(world: &mut World, event: Event) -> u8 {
    let outcome = world.deliver(event);
    assert!(outcome == Delivery::Entered, "{event:x?}: expected a handler to be entered, saw {outcome:?}");
    assert!(
        world.regs.rip & !0xfff == HANDLERS,
        "{event:x?}: expected RIP at a handler, saw {:#x}",
        world.regs.rip
    );
    world.entered()
}

/// Where a gate is refused: which exception comes instead, and with which error code.
#[track_caller]
fn instead(what: &str, mut world: World, event: Event, vector: u8, code: u64) {
    same(what, (entered(&mut world, event), world.frame::<1>()[0]), (vector, code));
}

/// A gate of which the tables show half, or which lies where addresses end: the guest's own page fault, or #GP.
fn a_gate_that_cannot_be_read() {
    let table_at = |page: u64, handled: u64| {
        let mut world = World::kernel();
        world.mem.map(page, false, true);
        world.cpu.idtr.base = page + 0xf00;
        let gate = Gate::interrupt(handler(handled as u8), KERNEL_CS, 0, 0);
        // The gates 0 to 15 are on the page.
        for (word, value) in gate.0.into_iter().enumerate() {
            world.mem.poke_word(page + 0xf00 + handled * 16 + word as u64 * 8, value);
        }
        world
    };
    let interrupt = Event::interrupt(0x20);
    let page = STACK + 0x4000;
    let mut missing = table_at(page, 14);
    let vector = entered(&mut missing, interrupt);
    same("a gate in a page that is missing", (vector, missing.cpu.cr2), (14, page + 0x1100));
    let end = table_at(0x7fff_ffff_f000, 13);
    instead("a gate whose address is not canonical", end, interrupt, 13, 0x20 << 3 | 2 | 1);
}

/// 6.13 and 6.14.1; volume 2, INT n.
#[test]
fn gates_are_read_and_judged() {
    for vector in [0u8, 1, 3, 32, 255] {
        same("the vector's own gate", entered(&mut World::kernel(), Event::interrupt(vector)), vector);
    }
    let with = |change: &dyn Fn(&mut World)| {
        let mut world = World::kernel();
        change(&mut world);
        world
    };
    let interrupt = Event::interrupt(0x20);
    let gate_code = 0x20 << 3 | 2 | 1;
    let short = with(&|world| world.cpu.idtr.limit = 0x20 * 16 + 14);
    instead("a gate half behind the limit", short, interrupt, 13, gate_code);
    same(
        "a gate just before it",
        entered(&mut with(&|world| world.cpu.idtr.limit = 0x20 * 16 + 15), interrupt),
        0x20,
    );
    for kind in [0u64, 5, 6, 7, 0xc, 0xd, 0x1e] {
        let wrong =
            with(&|world| world.gate(0x20, Gate([kind << 40 | 1 << 47 | (KERNEL_CS as u64) << 16, 0])));
        instead("a gate of another kind", wrong, interrupt, 13, gate_code);
    }
    instead(
        "a gate not present",
        with(&|world| world.gate(0x20, Gate([0xe << 40, 0]))),
        interrupt,
        11,
        gate_code,
    );
    a_gate_that_cannot_be_read();
    // The kind is judged before the present bit, and for a program the DPL before both faults of the code segment.
    instead(
        "neither kind nor present",
        with(&|world| world.gate(0x20, Gate([0, 0]))),
        interrupt,
        13,
        gate_code,
    );
    for (entry, selector, vector, code) in [
        (0, 0u16, 13, 1),
        (DATA, 0x30, 13, 0x31),
        (CODE_64 & !(1 << 47), 0x30, 11, 0x31),
        (CODE_64 & !(1 << 53) | 1 << 54, 0x30, 13, 0x31),
        (CODE_64 | DPL_3, 0x30, 13, 0x31),
    ] {
        let wrong = with(&|world| {
            world.mem.poke_word(GDT + 0x30, entry);
            world.gate(0x20, Gate::interrupt(handler(0x20), selector, 0, 0));
        });
        instead("a gate's code segment", wrong, interrupt, vector, code);
    }
    let far = with(&|world| world.gate(0x20, Gate::interrupt(0x8000_0000_0000, KERNEL_CS, 0, 0)));
    instead("a handler without a canonical address", far, interrupt, 13, 1);
    // 6.12.1.2: the DPL counts for software interrupts, and for those of programs.
    let software = |vector| Event::software(vector, USER_PAGE + 2);
    same("a gate of DPL 3", entered(&mut World::user(), software(0x80)), 0x80);
    instead("a gate of DPL 0", World::user(), software(0x81), 13, 0x81 << 3 | 2);
    same("a gate of DPL 0, an interrupt", entered(&mut World::user(), Event::interrupt(0x81)), 0x81);
    same("a gate of DPL 0, the kernel", entered(&mut World::kernel(), Event::software(0x81, CODE + 2)), 0x81);
}

/// 6.14.2, 6.14.4 and 6.14.5.
#[test]
fn stacks_are_chosen() {
    for low in 0..16 {
        let mut world = World::kernel();
        world.regs.rsp = STACK + 0x200 + low;
        same("the vector", entered(&mut world, fault(13)), 13);
        same("the kernel's own stack, aligned to 16 before the push", world.regs.rsp, STACK + 0x200 - 48);
    }
    let mut world = World::user();
    same("the vector", entered(&mut world, Event::interrupt(0x20)), 0x20);
    same("RSP0, from ring 3", world.regs.rsp, STACK + 0x800 - 40);
    for mut world in [World::kernel(), World::user()] {
        world.mem.poke_word(TSS + 0x24 + 8 * 6, STACK - 0x800);
        for (slot, top) in [(1, STACK + 0x400), (7, STACK - 0x800)] {
            let mut world = world.clone();
            world.gate(8, Gate::interrupt(handler(8), KERNEL_CS, 0, slot));
            same("the vector", entered(&mut world, fault(8)), 8);
            same("the IST's stack, whatever ring was running", world.regs.rsp, top - 48);
        }
    }
    // 6.15, vector 10: no stack pointer behind the TSS's limit. Nothing can be delivered from ring 3 then.
    for limit in [0, 10] {
        let mut short = World::user();
        short.cpu.tr.limit = limit;
        let before = short.regs;
        same("without RSP0", short.deliver(Event::interrupt(0x20)), Delivery::Shutdown);
        same("registers after a shutdown", short.regs, before);
    }
    let mut short = World::kernel();
    short.cpu.tr.limit = 0x2a;
    short.gate(0x20, Gate::interrupt(handler(0x20), KERNEL_CS, 0, 1));
    instead("an IST slot behind the limit", short, Event::interrupt(0x20), 10, u64::from(TSS_SEL) | 1);
    let mut far = World::kernel();
    far.regs.rsp = 0x1234_5678_9abc_def0;
    far.gate(12, Gate::interrupt(handler(12), KERNEL_CS, 0, 1));
    instead("a stack that is not canonical", far, Event::interrupt(0x20), 12, 1);
}

/// Figure 6-9; 6.14.2; 17.3.1.1 for RF.
#[test]
fn frames_have_their_form() {
    let mut world = World::kernel();
    world.regs.rflags |= flag::CF;
    let before = world.regs;
    entered(&mut world, fault(13));
    let flags = flag::CF | flag::ONE | flag::IF | flag::RF;
    let expected = [ERROR_CODE, before.rip, KERNEL_CS as u64, flags, before.rsp, KERNEL_DS as u64];
    same("error code, RIP, CS, RFLAGS, RSP, SS of a fault", world.frame::<6>(), expected);
    let mut world = World::user();
    world.cpu.iopl = 1;
    entered(&mut world, Event::interrupt(0x20));
    let flags = flag::ONE | flag::IF | 1 << flag::IOPL_SHIFT;
    let expected = [USER_PAGE, USER_CS as u64, flags, USER_PAGE + 0x800, USER_DS as u64];
    same("RIP, CS, RFLAGS, RSP, SS of an interrupt", world.frame::<5>(), expected);
    let mut world = World::user();
    entered(&mut world, Event::software(0x80, USER_PAGE + 2));
    same("RIP behind `int n`", world.frame::<1>()[0], USER_PAGE + 2);
    let mut world = World::kernel();
    world.cpu.interrupts = false;
    entered(&mut world, Event::page_fault(0x1234_5678, 6));
    same("the error code of a page fault", world.frame::<1>()[0], 6);
    same("the guest's own IF in the frame, not the real one", world.frame::<4>()[3] & flag::IF, 0);
}

/// 6.12.1.3; 6.7.1 for NMIs.
#[test]
fn registers_change_as_they_should() {
    for (trap, interrupts) in [(false, false), (true, true)] {
        let mut world = World::kernel();
        world.cpu.iopl = 2;
        world.regs.rflags |= flag::TF | flag::NT | flag::DF | flag::AC;
        let gate = if trap { Gate::trap } else { Gate::interrupt };
        world.gate(0x21, gate(handler(0x21), KERNEL_CS, 0, 0));
        entered(&mut world, Event::interrupt(0x21));
        same("the guest's IF behind an interrupt gate, and a trap gate", world.cpu.interrupts, interrupts);
        let real = flag::DF | flag::AC | flag::ONE | flag::IF;
        same("the real RFLAGS: TF, NT, RF clear, IF set, IOPL 0", world.regs.rflags, real);
        same("the guest's IOPL", world.cpu.iopl, 2);
    }
    let mut world = World::user();
    let before = world.regs;
    entered(&mut world, Event::interrupt(0x20));
    same("the mode", world.cpu.mode, Mode::Kernel);
    same("the guest's CS and SS", (world.cpu.cs.selector, world.cpu.ss), (KERNEL_CS, 0));
    same("the real CS and SS, a null one with the ring", (world.regs.cs, world.regs.ss), (KERNEL_CS | 1, 1));
    let CpuUserRegs { rip, rsp, cs, ss, rflags, .. } = world.regs;
    same("all other registers", CpuUserRegs { rip, rsp, cs, ss, rflags, ..before }, world.regs);
    let mut world = World::kernel();
    entered(&mut world, Event::page_fault(0x1234_5678, 2));
    same("CR2, and SS without a change of ring", (world.cpu.cr2, world.cpu.ss), (0x1234_5678, KERNEL_DS));
    let mut world = World::kernel();
    world.cpu.halted = true;
    entered(&mut world, Event::NMI);
    same("a halt ends, and no NMI follows an NMI", (world.cpu.halted, world.cpu.nmi_blocked), (false, true));
    let mut world = World::kernel();
    world.cpu.shade(CODE);
    entered(&mut world, fault(6));
    same(
        "the interrupt shadow ends; NMIs go on",
        (world.cpu.shadow.is_none(), world.cpu.nmi_blocked),
        (true, false),
    );
}

/// 6.15, vector 8; and this project's rule.
#[test]
fn what_fails_leaves_no_trace() {
    let mut world = World::kernel();
    let page = STACK + 0x4000;
    world.mem.map(page, false, true);
    world.regs.rsp = page + 16;
    world.gate(14, Gate::interrupt(handler(14), KERNEL_CS, 0, 1));
    let (before, rip) = (world.mem.0[&page], world.regs.rip);
    same("a frame over a missing page", entered(&mut world, fault(6)), 14);
    same("the address that was missing", world.cpu.cr2, page - 24);
    same("RIP in the frame of what came instead", world.frame::<2>()[1], rip);
    assert!(world.mem.0[&page] == before, "half of a frame was written: expected all of it or none");
    let mut world = World::kernel();
    world.cpu.idtr.base = 0x5000_0000;
    let (regs, mem) = (world.regs, world.mem.clone());
    same("without an IDT", world.deliver(fault(6)), Delivery::Shutdown);
    same("registers after a shutdown", world.regs, regs);
    assert!(world.mem == mem, "a delivery that failed has written to memory");
    let mut world = World::kernel();
    world.gate(14, Gate::ABSENT);
    same("a page fault without a gate", entered(&mut world, Event::page_fault(0x1234, 2)), 8);
    same("#DF's error code, and CR2", (world.frame::<1>()[0], world.cpu.cr2), (0, 0x1234));
}

/// What the manual says, step by step, on a world of its own.
fn reference(world: &mut World, mut event: Event) -> Delivery {
    for _ in 0..6 {
        if let Some(address) = event.address {
            world.cpu.cr2 = address;
        }
        match event.or_instead_of(attempted(world, &event)) {
            Ok(()) => return Delivery::Entered,
            Err(Some(next)) => event = next,
            Err(None) => break,
        }
    }
    Delivery::Shutdown
}

impl Event {
    fn or_instead_of(&self, result: Result<(), Fault>) -> Result<(), Option<Event>> {
        result.map_err(|fault| self.or_instead(fault))
    }
}

/// Bytes at a linear address; `otherwise` when it is not canonical.
fn bytes<const N: usize>(mem: &mut Memory, at: u64, otherwise: Fault) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    let last = at.checked_add(N as u64 - 1).ok_or(otherwise)?;
    if !VirtAddr::is_canonical(at) || !VirtAddr::is_canonical(last) || (at ^ last) >> 47 != 0 {
        return Err(otherwise);
    }
    mem.read(at, &mut bytes, Privilege::Supervisor)?;
    Ok(bytes)
}

fn with_code(vector: u8, code: u32) -> Fault {
    Fault { vector, error_code: Some(code), address: None }
}

fn attempted(world: &mut World, event: &Event) -> Result<(), Fault> {
    let software = matches!(event.kind, Kind::Software { .. });
    let ext = u32::from(!software);
    let index = u32::from(event.vector) << 3 | 2 | ext;
    let offset = u64::from(event.vector) << 4;
    if offset + 15 > u64::from(world.cpu.idtr.limit) {
        return Err(with_code(13, index));
    }
    let gate: [u8; 16] =
        bytes(&mut world.mem, world.cpu.idtr.base.wrapping_add(offset), with_code(13, index))?;
    let kind = gate[5] & 0x1f;
    let from_ring3 = world.cpu.mode == Mode::User;
    if (kind != 14 && kind != 15) || (software && from_ring3 && gate[5] >> 5 & 3 != 3) {
        return Err(with_code(13, index));
    }
    if gate[5] & 0x80 == 0 {
        return Err(with_code(11, index));
    }
    let selector = u16::from_le_bytes([gate[2], gate[3]]);
    let (mode, code) = super::super::table::gate_target(&world.cpu, &mut world.mem, selector, ext)?;
    let inner = mode != world.cpu.mode;
    let at = match (gate[4] & 7, inner) {
        (0, false) => None,
        (0, true) => Some(4),
        (slot, _) => Some(0x24 + 8 * (u64::from(slot) - 1)),
    };
    let mut top = world.regs.rsp;
    if let Some(at) = at {
        let invalid = with_code(10, u32::from(world.cpu.tr.selector & !3) | ext);
        if at + 7 > u64::from(world.cpu.tr.limit) {
            return Err(invalid);
        }
        top = u64::from_le_bytes(bytes(&mut world.mem, world.cpu.tr.base.wrapping_add(at), invalid)?);
    }
    let target = [gate[0], gate[1], gate[6], gate[7], gate[8], gate[9], gate[10], gate[11]];
    let target = u64::from_le_bytes(target);
    if !VirtAddr::is_canonical(target) {
        return Err(with_code(13, ext));
    }
    let pushed = push(world, event, mode, top & !15, ext)?;
    world.regs.rip = target;
    world.regs.rsp = pushed;
    let cleared = flag::TF | flag::NT | flag::RF | flag::VM | flag::VIF | flag::VIP;
    world.regs.rflags = (world.regs.rflags & SETTABLE & !cleared) | flag::IF | flag::ONE;
    world.cpu.cs = code;
    if inner {
        (world.cpu.mode, world.cpu.ss) = (mode, 0);
    }
    let ring = if world.cpu.mode == Mode::Kernel { 1 } else { 3 };
    world.regs.cs = world.cpu.cs.selector & !3 | ring;
    world.regs.ss = world.cpu.ss & !3 | ring;
    if kind == 14 {
        world.cpu.interrupts = false;
    }
    if event.kind == Kind::Nmi {
        world.cpu.nmi_blocked = true;
    }
    (world.cpu.shadow, world.cpu.halted) = (None, false);
    Ok(())
}

/// Writes the frame below `top`, and gives the new RSP.
fn push(world: &mut World, event: &Event, mode: Mode, top: u64, ext: u32) -> Result<u64, Fault> {
    let flags = world.cpu.flags(world.regs.rflags) & !flag::RF | event.resume_flag(world.regs.rflags);
    let rip = event.return_address(world.regs.rip);
    let mut frame = Vec::new();
    frame.extend(event.error_code.map(u64::from));
    frame.extend([rip, world.cpu.cs.selector.into(), flags, world.regs.rsp, world.cpu.ss.into()]);
    let length = frame.len() as u64 * 8;
    let at = top.wrapping_sub(length);
    let end = at.checked_add(length - 1).ok_or(with_code(12, ext))?;
    if !VirtAddr::is_canonical(at) || !VirtAddr::is_canonical(end) || (at ^ end) >> 47 != 0 {
        return Err(with_code(12, ext));
    }
    let all: Vec<u8> = frame.iter().flat_map(|word| word.to_le_bytes()).collect();
    let privilege = if mode == Mode::Kernel { Privilege::Supervisor } else { Privilege::User };
    world.mem.write(at, &all, privilege)?;
    Ok(at)
}

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

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Some vectors' gates, a little out of order.
fn disorder(dice: &mut Dice, world: &mut World) {
    world.mem.poke_word(GDT + 0x30, dice.of(&[CODE_64, CODE_64 | DPL_3, CODE_64 & !(1 << 47), DATA, dice.0]));
    world.cpu.gdtr.limit = 0x37;
    for vector in [3u8, 8, 10, 11, 12, 13, 14, 0x20, 0x80] {
        if dice.one_in(3) {
            let target = dice.of(&[handler(vector), handler(vector), USER_PAGE, 1 << 47]);
            let selector = dice.of(&[KERNEL_CS, KERNEL_CS, 0x30, USER_CS, 0, KERNEL_DS]);
            let mut gate = Gate::interrupt(target, selector, dice.of(&[0, 3]), dice.of(&[0, 0, 1, 2]));
            gate.0[0] ^= dice.of(&[0, 0, 0, 1 << 40, 1 << 47, 2 << 40, 1 << 44]);
            world.gate(vector, gate);
        }
    }
    if dice.one_in(8) {
        world.cpu.idtr.limit = dice.below(0x300) as u16;
    }
    if dice.one_in(8) {
        world.cpu.tr.limit = dice.below(0x70) as u32;
    }
    if dice.one_in(4) {
        world.mem.poke_word(
            TSS + dice.of(&[4, 0x24, 0x2c]),
            dice.of(&[STACK + 0x18, STACK - 1, 0x7000, 1 << 47, 8]),
        );
    }
    if dice.one_in(3) {
        world.regs.rsp =
            dice.of(&[STACK + 0x21, STACK + 24, STACK - 0xff8, 0xffff_8000_0000_0008, 0x20, u64::MAX]);
    }
    (world.cpu.interrupts, world.cpu.iopl, world.cpu.halted) =
        (dice.one_in(2), dice.below(4) as u8, dice.one_in(2));
    let flags = dice.next() & (flag::CF | flag::TF | flag::DF | flag::NT | flag::RF | flag::AC);
    world.regs.rflags = flags | flag::ONE | flag::IF;
}

#[test]
fn random_machines_agree() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut ends = [0u32; 2];
    for round in 0..2000 {
        let mut world = if dice.one_in(2) { World::user() } else { World::kernel() };
        disorder(&mut dice, &mut world);
        let next = world.regs.rip + 2;
        let event = match dice.below(6) {
            0 => Event::interrupt(dice.of(&[0x20, 0x80, 0x2f])),
            1 => Event::software(dice.of(&[3, 0x80, 0x20]), next),
            2 => Event::page_fault(dice.next() & 0xffff_ffff, 6),
            3 => Event::NMI,
            4 => Event { vector: 1, kind: Kind::Icebp { next }, error_code: None, address: None },
            _ => Event::reported(dice.of(&[0, 6, 8, 10, 11, 12, 13]), 0x18),
        };
        let (mut expected, mut saw) = (world.clone(), world.clone());
        let (wanted, came) = (reference(&mut expected, event), saw.deliver(event));
        ends[usize::from(wanted == Delivery::Shutdown)] += 1;
        let what = std::format!("round {round}, {event:x?} in {:?}", world.cpu.mode);
        same(&what, came, wanted);
        same(&what, saw.regs, expected.regs);
        same(&what, saw.cpu, expected.cpu);
        assert!(saw.mem == expected.mem, "{what}: memory differs, RSP is {:#x}", saw.regs.rsp);
    }
    assert!(ends.iter().all(|count| *count > 100), "the machines are too alike: {ends:?}");
}
