//! Delivery, rule by rule. Sections are those of the SDM, volume 3, unless it says otherwise.

use super::*;
use crate::emulate::Fault;

fn fault(vector: u8, error_code: u32) -> Event {
    Event::reported(vector, error_code)
}

/// 6.14.2: SS, RSP, RFLAGS, CS, RIP, error code, on a stack aligned to 16 bytes, without a stack switch.
#[test]
fn a_fault_in_the_kernel_stays_on_its_stack() {
    let mut world = World::kernel();
    world.regs.rflags |= flag::CF;
    let before = world.regs;
    assert_eq!(world.deliver(fault(13, 0x10)), Delivery::Entered);
    assert_eq!(world.entered(), 13);
    assert_eq!(world.regs.rsp, STACK + 0x200 - 48, "aligned before the push");
    let flags = flag::CF | flag::ONE | flag::IF | flag::RF;
    assert_eq!(
        world.frame(),
        [0x10, before.rip, KERNEL_CS as u64, flags, before.rsp, KERNEL_DS as u64],
        "virtual selectors and flags"
    );
    assert_eq!((world.regs.cs, world.regs.ss), (KERNEL_CS | 1, KERNEL_DS | 1));
    assert_eq!(world.regs.rflags, flag::CF | flag::ONE | flag::IF, "the real IF stays");
    assert!(!world.cpu.interrupts, "an interrupt gate");
}

/// 6.14.2: from ring 3 the stack comes from RSP0, and SS is null.
#[test]
fn a_program_enters_the_kernel_on_rsp0() {
    let mut world = World::user();
    assert_eq!(world.deliver(Event::interrupt(0x20)), Delivery::Entered);
    assert_eq!((world.entered(), world.cpu.mode), (0x20, Mode::Kernel));
    assert_eq!(world.regs.rsp, STACK + 0x800 - 40);
    let flags = flag::ONE | flag::IF;
    assert_eq!(world.frame(), [USER_PAGE, USER_CS as u64, flags, USER_PAGE + 0x800, USER_DS as u64]);
    assert_eq!((world.regs.cs, world.regs.ss), (KERNEL_CS | 1, 1), "a null SS with the ring's RPL");
    assert_eq!(world.gdt.real_selectors(&world.cpu, world.regs.rip, &world.real), (KERNEL_CS | 1, 1));
}

/// 6.12.1.3: TF, NT, RF and VM are cleared; IF by interrupt gates only; IOPL is the guest's.
#[test]
fn flags_change_as_the_gate_says() {
    for (trap, interrupts) in [(false, false), (true, true)] {
        let mut world = World::kernel();
        world.cpu.iopl = 2;
        world.regs.rflags |= flag::TF | flag::NT | flag::DF | flag::AC;
        let gate = if trap { Gate::trap } else { Gate::interrupt };
        world.gate(0x21, gate(handler(0x21), KERNEL_CS, 0, 0));
        assert_eq!(world.deliver(Event::interrupt(0x21)), Delivery::Entered);
        assert_eq!(world.cpu.interrupts, interrupts, "trap gate: {trap}");
        let pushed = world.frame::<5>()[2];
        let kept = flag::DF | flag::AC | flag::ONE | flag::IF;
        assert_eq!(pushed, kept | flag::TF | flag::NT | 2 << flag::IOPL_SHIFT);
        assert_eq!(world.regs.rflags, kept, "real IOPL 0");
    }
}

/// 6.14.5: an IST stack is taken without a change of level too.
#[test]
fn the_interrupt_stack_table_is_unconditional() {
    for mut world in [World::kernel(), World::user()] {
        world.gate(8, Gate::interrupt(handler(8), KERNEL_CS, 0, 1));
        assert_eq!(world.deliver(fault(8, 0)), Delivery::Entered);
        assert_eq!(world.regs.rsp, STACK + 0x400 - 48);
    }
}

/// 6.12.1.2: the DPL counts for software interrupts only; the frame's RIP is behind the instruction.
#[test]
fn programs_use_the_gates_they_may() {
    let mut world = World::user();
    assert_eq!(world.deliver(Event::software(0x80, USER_PAGE + 2)), Delivery::Entered);
    assert_eq!((world.entered(), world.frame::<1>()[0]), (0x80, USER_PAGE + 2));

    let mut world = World::user();
    assert_eq!(world.deliver(Event::software(0x81, USER_PAGE + 2)), Delivery::Entered);
    assert_eq!((world.entered(), world.frame::<2>()), (13, [0x81 << 3 | 2, USER_PAGE]), "no EXT bit");

    let mut world = World::kernel();
    assert_eq!(world.deliver(Event::software(0x81, CODE + 2)), Delivery::Entered);
    assert_eq!(world.entered(), 0x81);
}

/// 6.13: what a gate may not be, with EXT for an interrupt.
#[test]
fn bad_gates_raise_their_faults() {
    let mut low_limit = World::kernel();
    low_limit.cpu.idtr.limit = 0x20 * 16 + 14;
    let mut call_gate = World::kernel();
    call_gate.gate(0x20, Gate([0xc << 40 | 1 << 47, 0]));
    let mut absent = World::kernel();
    absent.gate(0x20, Gate([0xe << 40, 0]));
    let mut high_table = World::kernel();
    high_table.cpu.idtr.limit = 0x1000;
    for (mut world, vector) in [(low_limit, 13), (call_gate, 13), (absent, 11)] {
        assert_eq!(world.deliver(Event::interrupt(0x20)), Delivery::Entered);
        assert_eq!((world.entered(), world.frame::<1>()[0]), (vector, 0x20 << 3 | 2 | 1));
    }
    assert_eq!(high_table.deliver(Event::interrupt(0x20)), Delivery::Entered);
}

/// Volume 2, INT n: the gate's code segment.
#[test]
fn bad_code_segments_raise_their_faults() {
    for (entry, selector, vector, code) in [
        (0, 0, 13, 1),
        (0, 0x38, 13, 0x39),
        (DATA, 0x30, 13, 0x31),
        (CODE_64 & !(1 << 47), 0x30, 11, 0x31),
        (CODE_64 & !(1 << 53) | 1 << 54, 0x30, 13, 0x31),
        (CODE_64 | DPL_3, 0x30, 13, 0x31),
        (CODE_64 | 1 << 45, 0x30, 13, 0x31),
    ] {
        let mut world = World::kernel();
        world.mem.poke_word(GDT + 0x30, entry);
        world.gate(0x20, Gate::interrupt(handler(0x20), selector, 0, 0));
        assert_eq!(world.deliver(Event::interrupt(0x20)), Delivery::Entered);
        assert_eq!((world.entered(), world.frame::<1>()[0]), (vector, code), "{entry:#x}");
    }
}

/// 6.15, vectors 10, 12 and 14: the TSS and the stack.
#[test]
fn bad_stacks_raise_their_faults() {
    let mut short = World::user();
    short.cpu.tr.limit = 10;
    let mut unmapped = World::user();
    unmapped.cpu.tr.base = 0x7000_0000;
    for world in [short, unmapped] {
        // Without a kernel stack nothing can be delivered from ring 3: #TS or #PF, then #DF, then the end.
        let mut ended = world.clone();
        assert_eq!(ended.deliver(Event::interrupt(0x20)), Delivery::Shutdown);
        assert_eq!(ended.regs, world.regs);
    }

    let mut far = World::user();
    far.mem.poke_word(TSS + 4, 0x1234_5678_9abc_def0);
    far.gate(12, Gate::interrupt(handler(12), KERNEL_CS, 0, 1));
    assert_eq!(far.deliver(Event::interrupt(0x20)), Delivery::Entered);
    assert_eq!((far.entered(), far.frame::<1>()[0]), (12, 1), "#SS(EXT) for a non-canonical stack");

    let mut read_only = World::kernel();
    read_only.mem.map(STACK + 0x2000, false, false);
    read_only.regs.rsp = STACK + 0x2800;
    read_only.gate(14, Gate::interrupt(handler(14), KERNEL_CS, 0, 1));
    assert_eq!(read_only.deliver(fault(13, 0)), Delivery::Entered);
    assert_eq!(read_only.entered(), 14, "#PF behind a contributory fault is delivered by itself");
    assert_eq!((read_only.frame::<1>()[0], read_only.cpu.cr2), (3, STACK + 0x2800 - 48));
}

/// A frame over two pages, of which the lower one is missing, leaves the upper one alone.
#[test]
fn a_frame_is_written_whole_or_not_at_all() {
    let mut world = World::kernel();
    let page = STACK + 0x4000;
    world.mem.map(page, false, true);
    world.regs.rsp = page + 16;
    world.gate(14, Gate::interrupt(handler(14), KERNEL_CS, 0, 1));
    let before = world.mem.0[&page];
    assert_eq!(world.deliver(fault(6, 0)), Delivery::Entered);
    assert_eq!((world.entered(), world.cpu.cr2), (14, page - 24));
    assert_eq!(world.mem.0[&page], before);
}

/// Table 6-5 and 6.15, vector 8: #DF with error code 0, and a shutdown behind it.
#[test]
fn faults_of_faults_end_in_a_shutdown() {
    let mut world = World::kernel();
    world.gate(14, Gate::ABSENT);
    assert_eq!(world.deliver(Event::page_fault(0x1234, 2)), Delivery::Entered);
    assert_eq!((world.entered(), world.frame::<1>()[0], world.cpu.cr2), (8, 0, 0x1234));

    let mut world = World::kernel();
    world.cpu.idtr.base = 0x5000_0000;
    let before = world.regs;
    assert_eq!(world.deliver(fault(6, 0)), Delivery::Shutdown);
    assert_eq!(world.regs, before);

    let mut world = World::kernel();
    world.cpu.idtr = TableRegister { base: 0x7fff_ffff_fff8, limit: 0xffff };
    assert_eq!(world.deliver(Event::interrupt(0)), Delivery::Shutdown);
}

/// A gate that leads nowhere canonical: #GP with the EXT bit (volume 2, INT n).
#[test]
fn a_handler_has_a_canonical_address() {
    let mut world = World::kernel();
    world.gate(0x20, Gate::interrupt(0x8000_0000_0000, KERNEL_CS, 0, 0));
    assert_eq!(world.deliver(Event::interrupt(0x20)), Delivery::Entered);
    assert_eq!((world.entered(), world.frame::<1>()[0]), (13, 1));
}

/// A gate into code of ring 3 keeps program and stack (volume 2, INT n: intra-privilege-level).
#[test]
fn a_gate_may_lead_from_ring_3_to_ring_3() {
    let mut world = World::user();
    world.gate(0x80, Gate::trap(USER_PAGE + 0x10, USER_CS, 3, 0));
    assert_eq!(world.deliver(Event::software(0x80, USER_PAGE + 2)), Delivery::Entered);
    assert_eq!((world.cpu.mode, world.regs.rip, world.regs.cs), (Mode::User, USER_PAGE + 0x10, USER_CS));
    assert_eq!(world.frame::<5>()[4], USER_DS as u64);
}

/// An interrupt ends a halt and the shadow; an NMI blocks the next (6.7.1).
#[test]
fn delivery_wakes_the_processor() {
    let mut world = World::kernel();
    world.cpu.halted = true;
    world.cpu.shade(CODE);
    assert!(!world.cpu.takes_interrupts() && !world.cpu.takes_nmi());
    world.cpu.shadow = None;
    assert!(world.cpu.takes_nmi());
    assert_eq!(world.deliver(Event::NMI), Delivery::Entered);
    assert!(!world.cpu.takes_nmi() && world.cpu.nmi_blocked && !world.cpu.halted);
}

/// Volume 2, SYSCALL.
#[test]
fn syscall_enters_at_lstar() {
    let mut world = World::user();
    world.cpu.sfmask = flag::IF | flag::DF;
    (world.regs.rcx, world.regs.r11) = (USER_PAGE + 2, flag::ONE | flag::IF | flag::DF | flag::CF | flag::RF);
    assert_eq!(syscall(&mut world.cpu, &mut world.regs, &mut world.mem, false), Delivery::Entered);
    assert_eq!((world.regs.rip, world.regs.rcx), (HANDLERS + 0xff8, USER_PAGE + 2));
    assert_eq!(world.regs.r11, flag::ONE | flag::IF | flag::DF | flag::CF, "without RF");
    assert_eq!(world.regs.rflags, flag::ONE | flag::IF | flag::CF);
    assert!(!world.cpu.interrupts);
    assert_eq!((world.cpu.cs.selector, world.cpu.ss), (0x08, 0x10));
    assert_eq!((world.regs.cs, world.regs.ss, world.regs.rsp), (0x09, 0x11, USER_PAGE + 0x800));
}

/// Volume 2, SYSCALL: #UD without EFER.SCE.
#[test]
fn syscall_can_be_off() {
    let mut world = World::user();
    world.cpu.efer &= !efer::SCE;
    (world.regs.rcx, world.regs.r11) = (USER_PAGE + 2, flag::ONE | flag::IF);
    assert_eq!(syscall(&mut world.cpu, &mut world.regs, &mut world.mem, false), Delivery::Entered);
    assert_eq!((world.entered(), world.frame::<1>()[0]), (6, USER_PAGE));
}

#[test]
fn a_page_fault_keeps_its_address_and_code() {
    let mut world = World::user();
    assert_eq!(world.deliver(Event::exception(Fault::page(0x1234_5678, 6))), Delivery::Entered);
    assert_eq!((world.entered(), world.cpu.cr2, world.frame::<1>()[0]), (14, 0x1234_5678, 6));
}

/// What the start state is good for: a first exception without tables is the end, not a panic.
#[test]
fn a_fresh_processor_has_no_tables() {
    let (mut cpu, mut regs) = FullCpu::start(Model::default(), 0x1000, 0x10_0000, 0x9000);
    assert_eq!((regs.rip, regs.rbx, regs.cs, regs.ss), (0x10_0000, 0x9000, RING1_CS64, RING1_SS));
    let mut mem = Memory::default();
    assert_eq!(deliver(&mut cpu, &mut regs, &mut mem, fault(13, 0)), Delivery::Shutdown);
}
