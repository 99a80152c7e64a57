//! Returns, selectors and far transfers. Volumes are those of the SDM.

use super::*;
use crate::descriptor::bits::PRESENT;
use crate::emulate::Segment;

const IRETQ: &[u8] = &[0x48, 0xcf];
const SYSRETQ: &[u8] = &[0x48, 0x0f, 0x07];
const RETFQ: &[u8] = &[0x48, 0xcb];

/// A kernel with these words on its stack.
fn with_stack(words: &[u64]) -> World {
    let mut world = World::kernel();
    for (n, word) in words.iter().enumerate() {
        let at = world.regs.rsp + n as u64 * 8;
        world.mem.poke_word(at, *word);
    }
    world
}

fn to_program(cs: u16, ss: u16, rip: u64, flags: u64) -> World {
    with_stack(&[rip, cs as u64, flags, USER_PAGE + 0x900, ss as u64])
}

/// What the real processor raises: #NP, as code for programs is not present while the kernel runs.
#[test]
fn a_return_to_a_program_is_emulated() {
    let flags = flag::IF | flag::CF | flag::ONE | 1 << flag::IOPL_SHIFT;
    let mut world = to_program(USER_CS, USER_DS, USER_PAGE, flags);
    world.cpu.interrupts = false;
    world.cpu.nmi_blocked = true;
    assert_eq!(world.trap(IRETQ, 11, (USER_CS & !3) as u32), Outcome::Resume);
    assert_eq!(world.resume(), Entry::Enter);
    assert_eq!((world.cpu.mode, world.cpu.interrupts, world.cpu.iopl), (Mode::User, true, 1));
    assert_eq!((world.regs.rip, world.regs.rsp), (USER_PAGE, USER_PAGE + 0x900));
    assert_eq!((world.regs.cs, world.regs.ss), (USER_CS, USER_DS));
    assert_eq!(world.regs.rflags, flag::IF | flag::CF | flag::ONE, "real IOPL 0");
    assert!(world.gdt.user_code_present() && !world.cpu.nmi_blocked);
    assert_ne!(world.real.get(USER_CS >> 3) & PRESENT, 0);
}

/// A frame that the hypervisor pushed names the kernel with RPL 0: #GP in ring 1.
#[test]
fn a_return_to_the_kernel_is_emulated() {
    for (ss, real) in [(KERNEL_DS, KERNEL_DS | 1), (0, 1)] {
        let mut world = with_stack(&[CODE + 0x80, KERNEL_CS as u64, flag::ONE, STACK + 0x300, ss as u64]);
        assert_eq!(world.trap(IRETQ, 13, KERNEL_CS as u32), Outcome::Resume);
        assert_eq!(world.resume(), Entry::Enter);
        assert_eq!((world.regs.cs, world.regs.ss, world.cpu.ss), (KERNEL_CS | 1, real, ss));
        assert_eq!((world.regs.rip, world.regs.rsp), (CODE + 0x80, STACK + 0x300));
        assert_eq!((world.cpu.interrupts, world.regs.rflags), (false, flag::ONE | flag::IF));
    }
}

/// Volume 2, IRET, 64-bit mode: each check, and no trace of the return.
#[test]
fn bad_returns_are_the_guests() {
    let flags = flag::ONE;
    for (world, vector, code) in [
        (to_program(0, USER_DS, USER_PAGE, flags), 13, 0),
        (to_program(3, USER_DS, USER_PAGE, flags), 13, 0),
        (to_program(0x3b, USER_DS, USER_PAGE, flags), 13, 0x38),
        (to_program(USER_DS, USER_DS, USER_PAGE, flags), 13, 0x18),
        (to_program(KERNEL_CS | 3, USER_DS, USER_PAGE, flags), 13, 8),
        (to_program(USER_CS & !3, USER_DS, USER_PAGE, flags), 13, 0x20),
        (to_program(USER_CS & !1, USER_DS, USER_PAGE, flags), 13, 0x20),
        (to_program(USER_CS, USER_DS, 1 << 47, flags), 13, 0),
        (to_program(USER_CS, 0, USER_PAGE, flags), 13, 0),
        (to_program(USER_CS, KERNEL_DS, USER_PAGE, flags), 13, 0x10),
        (to_program(USER_CS, USER_CS, USER_PAGE, flags), 13, 0x20),
        (to_program(KERNEL_CS, USER_DS, CODE, flags), 13, 0x18),
    ] {
        world.refuses(IRETQ, vector, Some(code));
    }
    let mut absent = to_program(USER_CS, 0x33, USER_PAGE, flags);
    absent.mem.poke_word(GDT + 0x30, (DATA | DPL_3) & !PRESENT);
    absent.refuses(IRETQ, 12, Some(0x30));
    let mut absent = to_program(0x33, USER_DS, USER_PAGE, flags);
    absent.mem.poke_word(GDT + 0x30, (CODE_64 | DPL_3) & !PRESENT);
    absent.refuses(IRETQ, 11, Some(0x30));
    let mut nested = to_program(USER_CS, USER_DS, USER_PAGE, flags);
    nested.regs.rflags |= flag::NT;
    nested.refuses(IRETQ, 13, Some(0));
    let mut kernel_32 = with_stack(&[0x1000, 0x30, flags, 0, KERNEL_DS as u64]);
    kernel_32.mem.poke_word(GDT + 0x30, CODE_64 & !(1 << 53) | 1 << 54);
    kernel_32.refuses(IRETQ, 13, Some(0x30));
}

/// The stack and the table may be anywhere.
#[test]
fn a_return_may_fault_on_its_own_reads() {
    let mut world = World::kernel();
    world.regs.rsp = HANDLERS + 0xff0;
    world.gate(14, Gate::interrupt(handler(14), KERNEL_CS, 0, 1));
    assert_eq!(world.run(IRETQ), Outcome::Resume);
    assert_eq!((world.entered(), world.cpu.cr2), (14, HANDLERS + 0x1000));
    let mut world = World::kernel();
    world.regs.rsp = 1 << 47;
    world.gate(12, Gate::interrupt(handler(12), KERNEL_CS, 0, 1));
    assert_eq!(world.run(IRETQ), Outcome::Resume);
    assert_eq!(world.entered(), 12, "#SS for a non-canonical stack");
    let mut world = to_program(0x1003, USER_DS, USER_PAGE, flag::ONE);
    world.cpu.gdtr.limit = 0xffff;
    assert_eq!(world.run(IRETQ), Outcome::Resume);
    assert_eq!((world.entered(), world.mem.word(STACK + 0x200 - 48)), (13, 0x1000), "zeros behind the table");
}

/// A compatibility segment for programs decodes 32 bits; RIP must be within it.
#[test]
fn programs_may_be_of_32_bits() {
    let mut world = to_program(0x33, USER_DS, 0x1234, flag::ONE);
    world.cpu.gdtr.limit = 0x3f;
    let flat = (CODE_64 | DPL_3) & !(1 << 53) | 1 << 54;
    world.mem.poke_word(GDT + 0x30, flat);
    let mut short = world.clone();
    short.mem.poke_word(GDT + 0x30, 0x00cf_fa00_0000_0fff & !(1 << 55) & !(0xf << 48));
    assert_eq!(world.trap(IRETQ, 13, 0x30), Outcome::Resume, "the copy was stale");
    assert_eq!(world.regs.rip, CODE, "so it is tried again");
    assert_eq!(world.trap(IRETQ, 11, 0x30), Outcome::Resume);
    assert_eq!(world.resume(), Entry::Enter);
    assert_eq!(world.cpu.cs.bits, crate::descriptor::CodeBits::Bits32);
    assert_eq!((world.regs.cs, world.regs.rip), (0x33, 0x1234));
    short.gdt.load(&short.cpu, &mut short.mem, &mut short.real);
    short.refuses(IRETQ, 13, Some(0));
}

/// Volume 2, SYSRET: selectors from STAR, flags from R11, nothing read from a table.
#[test]
fn sysret_returns_to_ring_3() {
    let mut world = World::kernel();
    world.cpu.interrupts = false;
    (world.regs.rcx, world.regs.r11) = (USER_PAGE, flag::IF | flag::ZF | flag::RF | flag::VM | flag::ONE);
    assert_eq!(world.run(SYSRETQ), Outcome::Resume);
    assert_eq!(world.resume(), Entry::Enter);
    assert_eq!((world.cpu.mode, world.cpu.interrupts), (Mode::User, true));
    assert_eq!((world.regs.rip, world.regs.rsp), (USER_PAGE, STACK + 0x208));
    assert_eq!(
        (world.regs.cs, world.regs.ss, world.regs.rflags),
        (0x23, 0x1b, flag::IF | flag::ZF | flag::ONE)
    );

    let mut world = World::kernel();
    world.regs.rcx = 1 << 47;
    world.refuses(SYSRETQ, 13, Some(0));
    world.cpu.efer &= !efer::SCE;
    world.refuses(SYSRETQ, 6, None);
    World::user().refuses(SYSRETQ, 13, Some(0));
}

/// STAR may name anything: the return takes the hypervisor's segments, which do the same.
#[test]
fn selectors_without_descriptors_still_return() {
    use crate::descriptor::{USER_CS32, USER_CS64, USER_SS};
    for (bytes, cs) in [(SYSRETQ, USER_CS64), (&SYSRETQ[1..], USER_CS32)] {
        let mut world = World::kernel();
        world.cpu.star = 0xfff0 << 48;
        (world.regs.rcx, world.regs.r11) = (USER_PAGE, 0);
        assert_eq!(world.run(bytes), Outcome::Resume);
        assert_eq!(world.resume(), Entry::Enter);
        assert_eq!((world.regs.cs, world.regs.ss), (cs, USER_SS));
        world.processor().entered();
        assert_eq!(world.cpu.ss, 0xfffb, "the guest's are not forgotten");
    }
}

/// The real `iretq` of ring 0 would raise #GP for a RIP beyond the limit of a segment that is not of 64 bits; `sysret`
/// asks no limit.
#[test]
fn a_limit_does_not_fault_the_hypervisors_return() {
    use crate::descriptor::USER_CS32;
    for (rip, cs) in [(0xfff, 0x33), (0x1000, USER_CS32)] {
        let mut world = World::kernel();
        world.cpu.gdtr.limit = 0x3f;
        world.mem.poke_word(GDT + 0x30, 0x0040_fa00_0000_0fff);
        world.gdt.load(&world.cpu, &mut world.mem, &mut world.real);
        world.cpu.star = 0x33 << 48;
        (world.regs.rcx, world.regs.r11) = (rip, 0);
        assert_eq!(world.run(&SYSRETQ[1..]), Outcome::Resume);
        assert_eq!(world.resume(), Entry::Enter);
        assert_eq!((world.regs.rip, world.regs.cs), (rip, cs));
    }
}

/// Volume 2, SYSENTER and SYSEXIT.
#[test]
fn sysenter_and_sysexit() {
    World::user().refuses(&[0x0f, 0x34], 13, Some(0));
    let mut world = World::user();
    (world.cpu.sysenter_cs, world.cpu.sysenter_esp, world.cpu.sysenter_eip) = (8, STACK + 0x100, CODE);
    assert_eq!(world.run(&[0x0f, 0x34]), Outcome::Resume);
    assert_eq!((world.cpu.mode, world.cpu.interrupts), (Mode::Kernel, false));
    assert_eq!(
        (world.regs.cs, world.regs.ss, world.regs.rip, world.regs.rsp),
        (9, 0x11, CODE, STACK + 0x100)
    );
    (world.regs.rdx, world.regs.rcx) = (USER_PAGE + 2, USER_PAGE + 0x700);
    assert_eq!(world.run(&[0x48, 0x0f, 0x35]), Outcome::Resume);
    assert_eq!(
        (world.cpu.mode, world.regs.rip, world.regs.rsp),
        (Mode::User, USER_PAGE + 2, USER_PAGE + 0x700)
    );
    assert_eq!((world.cpu.cs.selector, world.cpu.ss), (0x2b, 0x33));
}

/// Volume 2, RET: kernels reload CS by it.
#[test]
fn a_far_return_reloads_cs() {
    let mut world = with_stack(&[CODE + 0x40, KERNEL_CS as u64]);
    let rsp = world.regs.rsp;
    assert_eq!(world.trap(RETFQ, 13, KERNEL_CS as u32), Outcome::Resume);
    assert_eq!((world.regs.rip, world.regs.cs, world.regs.rsp), (CODE + 0x40, KERNEL_CS | 1, rsp + 16));
    assert_eq!(world.cpu.ss, KERNEL_DS);
    let mut world = with_stack(&[USER_PAGE, USER_CS as u64, 0, USER_PAGE + 0x100, USER_DS as u64]);
    assert_eq!(world.trap(&[0x48, 0xca, 8, 0], 11, 0x20), Outcome::Resume);
    assert_eq!((world.cpu.mode, world.regs.rip, world.regs.rsp), (Mode::User, USER_PAGE, USER_PAGE + 0x108));
    with_stack(&[1 << 47, KERNEL_CS as u64]).refuses(RETFQ, 13, Some(0));
    with_stack(&[CODE, 0x38]).refuses(RETFQ, 13, Some(0x38));
}

/// Volume 2, MOV: SS with RPL 0 faults in ring 1 and is loaded with RPL 1; interrupts wait for one instruction.
#[test]
fn the_stack_segment_is_loaded_with_the_rings_level() {
    for (selector, real) in [(KERNEL_DS, KERNEL_DS | 1), (0, 1)] {
        let mut world = World::kernel();
        world.regs.rax = selector as u64;
        assert_eq!(world.trap(&[0x8e, 0xd0], 13, selector as u32), Outcome::Resume);
        assert_eq!((world.cpu.ss, world.regs.ss, world.regs.rip), (selector, real, CODE + 2));
        assert!(!world.cpu.takes_interrupts());
    }
    for (selector, vector) in [(KERNEL_CS, 13), (USER_DS, 13), (0x38, 13), (TSS_SEL, 13)] {
        let mut world = World::kernel();
        world.regs.rax = selector as u64;
        world.refuses(&[0x8e, 0xd0], vector, Some((selector & !3) as u32));
    }
    let mut absent = World::kernel();
    absent.cpu.gdtr.limit = 0x3f;
    absent.mem.poke_word(GDT + 0x30, DATA & !PRESENT);
    absent.regs.rax = 0x30;
    absent.refuses(&[0x8e, 0xd0], 12, Some(0x30));
}

/// A descriptor that the guest changed in memory is taken over, and the load tried again or emulated.
#[test]
fn data_segments_follow_the_guests_table() {
    let mut world = World::kernel();
    world.cpu.gdtr.limit = 0x3f;
    world.regs.rax = 0x30;
    let base = 0x56 << 56 | 0x1234_u64 << 16;
    world.mem.poke_word(GDT + 0x30, DATA | base);
    assert_eq!(world.trap(&[0x8e, 0xe0], 13, 0x30), Outcome::Resume);
    assert_eq!(world.regs.rip, CODE, "tried again");
    let load = Effect::LoadSegment { segment: Segment::Fs, selector: 0x30 };
    assert_eq!(world.trap(&[0x8e, 0xe0], 13, 0x30), Outcome::Do(load));
    assert_eq!((world.cpu.fs_base, world.regs.fs), (0x5600_1234, 0x30));

    // What the real table must not have, the real processor loads as null.
    let mut world = World::kernel();
    world.regs.rax = USER_CS as u64;
    let load = Effect::LoadSegment { segment: Segment::Ds, selector: 0 };
    assert_eq!(world.trap(&[0x8e, 0xd8], 11, 0x20), Outcome::Do(load));
    let mut world = World::user();
    world.regs.rax = KERNEL_DS as u64;
    world.refuses(&[0x8e, 0xd8], 13, Some(0x10));
}

/// `pop fs` and `lss`.
#[test]
fn selectors_come_from_memory_too() {
    let mut world = with_stack(&[USER_DS as u64]);
    let rsp = world.regs.rsp;
    let load = Effect::LoadSegment { segment: Segment::Fs, selector: USER_DS };
    assert_eq!(world.trap(&[0x0f, 0xa1], 13, USER_DS as u32 & !3), Outcome::Do(load));
    assert_eq!(world.regs.rsp, rsp + 8);
    let mut world = with_stack(&[0x1234_5678, KERNEL_DS as u64]);
    assert_eq!(world.trap(&[0x48, 0x0f, 0xb2, 0x1c, 0x24], 13, KERNEL_DS as u32), Outcome::Resume);
    assert_eq!((world.regs.rbx, world.cpu.ss), (0x1234_5678, KERNEL_DS));
}

/// Volume 2, JMP and CALL far: what faulted for the copy's sake goes through, the rest is the guest's.
#[test]
fn far_transfers_stay_in_the_kernel() {
    let pointer = |rip: u64, cs: u16| with_stack(&[rip, cs as u64]);
    let mut world = pointer(CODE + 0x90, KERNEL_CS);
    assert_eq!(world.trap(&[0x48, 0xff, 0x2c, 0x24], 13, 0), Outcome::Resume);
    assert_eq!((world.regs.rip, world.regs.cs), (CODE + 0x90, KERNEL_CS | 1));
    let mut world = pointer(CODE + 0x90, KERNEL_CS);
    assert_eq!(world.trap(&[0x48, 0xff, 0x1c, 0x24], 13, 0), Outcome::Resume);
    assert_eq!((world.regs.rip, world.frame()), (CODE + 0x90, [CODE + 4, KERNEL_CS as u64]));
    for (rip, cs, vector, code) in [
        (CODE, 0, 13, 0),
        (CODE, USER_CS, 13, 0x20),
        (CODE, KERNEL_DS, 13, 0x10),
        (CODE, TSS_SEL, 13, 0x28),
        (1 << 47, KERNEL_CS, 13, 0),
    ] {
        pointer(rip, cs).refuses(&[0x48, 0xff, 0x2c, 0x24], vector, Some(code));
    }
}
