//! The copy of a guest's descriptor table.

use super::*;
use crate::descriptor::bits::{ACCESSED, PRESENT};
use crate::descriptor::{USER_CS32, USER_CS64, USER_SS, dpl, ldt_descriptor, tss_descriptor};

/// Each row of the table at `sanitised`.
#[test]
fn descriptors_are_deprivileged() {
    for (guest, real) in [
        (0, 0),
        (DATA, DATA | 1 << 45 | ACCESSED),
        (DATA | 1 << 45, DATA | 1 << 45 | ACCESSED),
        (DATA | 2 << 45, DATA | 1 << 45 | ACCESSED),
        (DATA | DPL_3, DATA | DPL_3 | ACCESSED),
        (CODE_64, CODE_64 | 1 << 45 | ACCESSED),
        (CODE_64 | 1 << 42, CODE_64 | 1 << 45 | ACCESSED),
        (CODE_64 | DPL_3, (CODE_64 | DPL_3 | ACCESSED) & !PRESENT),
        (CODE_64 | DPL_3 | 1 << 54, (CODE_64 | DPL_3 | 1 << 54 | ACCESSED) & !PRESENT),
        (CODE_64 | 2 << 45, (CODE_64 | 1 << 45 | ACCESSED) & !PRESENT),
        (tss_descriptor(0x1000, 0x67)[0], 0),
        (ldt_descriptor(0x1000, 0x67)[0], 0),
        (0xc << 40 | PRESENT, 0),
    ] {
        assert_eq!(sanitised(guest, false), real, "{guest:#x}");
    }
    assert_eq!(sanitised(CODE_64 | DPL_3, true), CODE_64 | DPL_3 | ACCESSED);
    let compatibility = (CODE_64 | DPL_3) & !(1 << 53) | 1 << 54;
    assert_eq!(sanitised(compatibility, true), compatibility | ACCESSED);
    assert_eq!(sanitised((CODE_64 | DPL_3) & !PRESENT, true) & PRESENT, 0);
}

/// Nothing a guest writes makes a descriptor that the hypervisor's rings or ring 3 could not have.
#[test]
fn no_descriptor_escapes() {
    let mut seed = 0x1234_5678_9abc_def1u64;
    for _ in 0..20_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        for user in [false, true] {
            let real = sanitised(seed, user);
            if real & PRESENT == 0 {
                continue;
            }
            assert!(real & (1 << 44) != 0, "a system descriptor: {seed:#x}");
            assert!(real & ACCESSED != 0 && (dpl(real) == 1 || dpl(real) == 3), "{seed:#x}");
            let code = real & (1 << 43) != 0;
            assert!(!code || real & (1 << 42) == 0, "conforming: {seed:#x}");
            assert!(!code || dpl(real) == 1 || user, "programs' code: {seed:#x}");
            assert!(!code || dpl(real) == 3 || real & (3 << 53) == 1 << 53, "kernel code: {seed:#x}");
        }
    }
}

#[test]
fn user_code_comes_and_goes_with_programs() {
    let mut world = World::kernel();
    let present = |world: &World| world.real.get(USER_CS >> 3) & PRESENT != 0;
    assert!(!present(&world));
    world.gdt.set_user_code(&mut world.real, true);
    assert!(present(&world));
    world.gdt.load(&world.cpu, &mut world.mem, &mut world.real);
    assert!(present(&world), "a table loaded meanwhile");
    world.gdt.set_user_code(&mut world.real, false);
    assert!(!present(&world));
}

/// A table of the greatest length is bounded by the hypervisor's page; a shorter one later clears the rest.
#[test]
fn tables_have_limits() {
    let mut world = World::kernel();
    world.cpu.gdtr = TableRegister { base: GDT + 3, limit: 0xffff };
    world.gdt.load(&world.cpu, &mut world.mem, &mut world.real);
    world.cpu.gdtr = TableRegister { base: GDT, limit: 0x37 };
    world.gdt.load(&world.cpu, &mut world.mem, &mut world.real);
    assert!(world.real.0[7..].iter().all(|&entry| entry == 0));
    assert_eq!(world.real, World::kernel().real);
    world.cpu.gdtr = TableRegister { base: 0x7fff_ffff_fff8, limit: 0xffff };
    world.gdt.load(&world.cpu, &mut world.mem, &mut world.real);
    assert!(world.real.0.iter().all(|&entry| entry == 0), "what cannot be read is not there");
}

/// More code segments for programs than are kept are never present, and a return to one uses the hypervisor's.
#[test]
fn programs_code_segments_are_counted() {
    let mut world = World::kernel();
    world.cpu.gdtr.limit = 0x1ff;
    for index in 8..64 {
        world.mem.poke_word(GDT + index * 8, CODE_64 | DPL_3);
    }
    world.gdt.load(&world.cpu, &mut world.mem, &mut world.real);
    world.gdt.set_user_code(&mut world.real, true);
    let present =
        world.real.0.iter().filter(|&&raw| raw & PRESENT != 0 && dpl(raw) == 3 && raw >> 43 & 1 == 1);
    assert_eq!(present.count(), 16);
    world.cpu.mode = Mode::User;
    world.cpu.cs.selector = 63 * 8 + 3;
    world.cpu.ss = USER_DS;
    assert_eq!(world.gdt.real_selectors(&world.cpu, world.regs.rip, &world.real), (USER_CS64, USER_DS));
    world.cpu.cs = CodeSegment { bits: crate::descriptor::CodeBits::Bits32, ..world.cpu.cs };
    world.cpu.ss = 0x3b;
    assert_eq!(world.gdt.real_selectors(&world.cpu, world.regs.rip, &world.real), (USER_CS32, USER_SS));
}

#[test]
fn a_changed_descriptor_is_found() {
    let mut world = World::kernel();
    let resync =
        |world: &mut World, selector| world.gdt.resync(&world.cpu, &mut world.mem, &mut world.real, selector);
    assert_eq!(resync(&mut world, KERNEL_DS), Ok(Resync::Unchanged));
    world.mem.poke_word(GDT + 0x30, DATA | DPL_3 | 0x1234 << 16);
    assert_eq!(resync(&mut world, 0x33), Ok(Resync::Updated));
    assert_eq!(world.real.get(6), DATA | DPL_3 | 0x1234 << 16 | ACCESSED);
    assert_eq!(resync(&mut world, 0x33), Ok(Resync::Unchanged));
    for selector in [0, 3, 0x34, 0xe008, 0xffff, 0x1000] {
        assert_eq!(resync(&mut world, selector), Ok(Resync::Unchanged), "{selector:#x}");
    }
    world.cpu.gdtr.base = 0x7000_0000;
    let fault = resync(&mut world, KERNEL_DS).unwrap_err();
    assert_eq!((fault.vector, fault.address, fault.error_code), (14, Some(0x7000_0010), Some(0)));
}

/// What ran is read from the selectors that the processor saved.
#[test]
fn an_entry_tells_what_ran() {
    let mut world = World::user();
    world.cpu.entered(&CpuUserRegs { cs: KERNEL_CS | 1, ss: 1, ..world.regs }, &world.real);
    assert_eq!((world.cpu.mode, world.cpu.cs.selector, world.cpu.ss), (Mode::Kernel, KERNEL_CS, 0));
    world.cpu.entered(&CpuUserRegs { cs: RING1_CS64, ss: RING1_SS, ..world.regs }, &world.real);
    assert_eq!(
        (world.cpu.cs.selector, world.cpu.ss),
        (KERNEL_CS, 0),
        "the hypervisor's stand for the guest's"
    );
    world.cpu.entered(&CpuUserRegs { cs: USER_CS, ss: USER_DS, ..world.regs }, &world.real);
    assert_eq!((world.cpu.mode, world.cpu.cs.selector, world.cpu.ss), (Mode::User, USER_CS, USER_DS));
}

/// SDM volume 3, 6.8.3: one instruction, and not for ever if it does not move.
#[test]
fn a_shadow_lasts_for_one_instruction() {
    let mut world = World::kernel();
    world.cpu.shade(CODE);
    world.regs.rip = CODE;
    world.cpu.entered(&world.regs, &world.real);
    assert!(!world.cpu.takes_interrupts(), "a timer before the instruction ran");
    world.regs.rip = CODE + 1;
    world.cpu.entered(&world.regs, &world.real);
    assert!(world.cpu.takes_interrupts());
    world.cpu.shade(CODE);
    world.regs.rip = CODE;
    for _ in 0..5 {
        world.cpu.entered(&world.regs, &world.real);
    }
    assert!(world.cpu.takes_interrupts(), "`sti; jmp .` is interrupted");
}
