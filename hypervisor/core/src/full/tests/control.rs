//! Privileged instructions that read or write the processor's own registers. Volumes are those of the SDM.

use super::*;
use crate::msr::PAT_VALUE;

const MOV_CR0_RAX: &[u8] = &[0x0f, 0x22, 0xc0];
const MOV_CR3_RAX: &[u8] = &[0x0f, 0x22, 0xd8];
const MOV_CR4_RAX: &[u8] = &[0x0f, 0x22, 0xe0];
const MOV_CR8_RAX: &[u8] = &[0x44, 0x0f, 0x22, 0xc0];
const RDMSR: &[u8] = &[0x0f, 0x32];
const WRMSR: &[u8] = &[0x0f, 0x30];
const CLI: &[u8] = &[0xfa];
const STI: &[u8] = &[0xfb];
const HLT: &[u8] = &[0xf4];

fn with_rax(rax: u64) -> World {
    let mut world = World::kernel();
    world.regs.rax = rax;
    world
}

/// Volume 3, 2.5 and volume 2, MOV CR: ET stays set, reserved low bits are ignored.
#[test]
fn cr0_takes_what_long_mode_allows() {
    let base = cr0::PG | cr0::PE | cr0::ET | cr0::NE | cr0::WP;
    for (value, becomes, effect) in [
        (base, base, Effect::None),
        (base & !cr0::ET | 1 << 8, base, Effect::None),
        (base | cr0::TS, base | cr0::TS, Effect::Control { paging: false, fpu: true }),
        (base & !cr0::WP, base & !cr0::WP, Effect::Control { paging: true, fpu: false }),
        (base | cr0::CD | cr0::NW, base | cr0::CD | cr0::NW, Effect::Control { paging: false, fpu: false }),
    ] {
        let mut world = with_rax(value);
        assert_eq!(world.effect(MOV_CR0_RAX), effect, "{value:#x}");
        assert_eq!(world.cpu.cr0, becomes);
    }
    for value in [base & !cr0::PG, base & !cr0::PE, base | cr0::NW, base | 1 << 32] {
        with_rax(value).refuses(MOV_CR0_RAX, 13, Some(0));
    }
}

/// Volume 2, MOV CR: address bits beyond MAXPHYADDR are reserved.
#[test]
fn cr3_is_a_guest_physical_address() {
    let mut world = with_rax(0x12_3456_7018);
    assert_eq!(world.effect(MOV_CR3_RAX), Effect::LoadCr3(0x12_3456_7000));
    assert_eq!(world.cpu.cr3, 0x12_3456_7018);
    for bad in [1 << 40, 1 << 63, 1 << 52] {
        with_rax(bad).refuses(MOV_CR3_RAX, 13, Some(0));
    }
}

/// Volume 3, 2.5: what the processor does not have is reserved, PAE stays in long mode.
#[test]
fn cr4_has_what_is_offered() {
    let mut world = with_rax(cr4::PAE | cr4::PGE);
    assert_eq!(world.effect(MOV_CR4_RAX), Effect::Control { paging: true, fpu: false });
    world.regs.rax = cr4::PAE | cr4::PGE | cr4::TSD | cr4::OSFXSR;
    assert_eq!(world.effect(MOV_CR4_RAX), Effect::Control { paging: false, fpu: false });
    assert_eq!(world.effect(MOV_CR4_RAX), Effect::None);
    for bad in [0, cr4::PAE | cr4::SMEP, cr4::PAE | cr4::SMAP, cr4::PAE | cr4::OSXSAVE, cr4::PAE | 1 << 12] {
        with_rax(bad).refuses(MOV_CR4_RAX, 13, Some(0));
    }
    let mut world = with_rax(cr4::PAE | cr4::OSXSAVE);
    world.cpu.model.xcr0 = 7;
    assert_eq!(world.effect(MOV_CR4_RAX), Effect::Control { paging: false, fpu: false });
}

/// Volume 2, MOV CR: CR8 has four bits, CR2 takes anything.
#[test]
fn the_other_control_registers() {
    let mut world = with_rax(0x8000_0000_0000);
    assert_eq!(world.effect(&[0x0f, 0x22, 0xd0]), Effect::None);
    assert_eq!(world.cpu.cr2, 0x8000_0000_0000);
    world.regs.rax = 9;
    assert_eq!(world.effect(MOV_CR8_RAX), Effect::None);
    assert_eq!(world.effect(&[0x44, 0x0f, 0x20, 0xc3]), Effect::None);
    assert_eq!((world.cpu.cr8, world.regs.rbx), (9, 9));
    with_rax(16).refuses(MOV_CR8_RAX, 13, Some(0));
    for (code, value) in [(0xc1, world.cpu.cr0), (0xd1, world.cpu.cr2), (0xd9, 0x1000), (0xe1, cr4::PAE)] {
        assert_eq!(world.effect(&[0x0f, 0x20, code]), Effect::None);
        assert_eq!(world.regs.rcx, value);
    }
}

/// Volume 2, CLTS, LMSW, SMSW: PE is never cleared by `lmsw`.
#[test]
fn the_machine_status_word() {
    let mut world = with_rax(0xfffe);
    assert_eq!(world.effect(&[0x0f, 0x01, 0xf0]), Effect::Control { paging: false, fpu: true });
    let full = cr0::PG | cr0::WP | cr0::NE | cr0::ET | cr0::PE | cr0::MP | cr0::EM | cr0::TS;
    assert_eq!(world.cpu.cr0, full);
    assert_eq!(world.effect(&[0x0f, 0x06]), Effect::Control { paging: false, fpu: true });
    assert_eq!(world.effect(&[0x0f, 0x06]), Effect::None);
    assert_eq!(world.effect(&[0x48, 0x0f, 0x01, 0xe3]), Effect::None);
    assert_eq!(world.regs.rbx, full & !cr0::TS);
    world.regs.rcx = u64::MAX;
    assert_eq!(world.effect(&[0x66, 0x0f, 0x01, 0xe1]), Effect::None);
    assert_eq!(world.regs.rcx, 0xffff_ffff_ffff_0037, "sixteen bits");
}

/// Volume 2, CLI, STI, HLT; volume 3, 6.8.3.
#[test]
fn interrupts_are_masked_virtually() {
    let mut world = World::kernel();
    assert_eq!(world.effect(CLI), Effect::None);
    assert_eq!((world.cpu.interrupts, world.regs.rflags & flag::IF), (false, flag::IF));
    assert_eq!(world.effect(STI), Effect::None);
    assert!(world.cpu.interrupts && !world.cpu.takes_interrupts(), "the shadow");
    assert_eq!(world.effect(HLT), Effect::Halt);
    assert_eq!(world.resume(), Entry::Halted);
    assert_eq!(world.processor().resume(|| Some(0x20)), Entry::Enter);
    assert_eq!((world.entered(), world.frame::<1>()[0]), (0x20, CODE + 3), "behind `sti; hlt`");

    let mut masked = World::kernel();
    assert_eq!(masked.effect(CLI), Effect::None);
    assert_eq!(masked.effect(HLT), Effect::Halt);
    assert_eq!(masked.processor().resume(|| panic!("asked although masked")), Entry::Halted);
    assert_eq!(masked.processor().deliver(Event::NMI), Outcome::Resume);
    assert_eq!((masked.resume(), masked.entered()), (Entry::Enter, 2));
}

/// A second `sti` casts no shadow (volume 2, STI).
#[test]
fn a_shadow_is_cast_once() {
    let mut world = World::kernel();
    world.cpu.interrupts = false;
    let _ = world.effect(STI);
    let _ = world.effect(STI);
    assert!(world.cpu.takes_interrupts());
}

/// IOPL lets programs use `cli`; without it they get #GP (volume 1, 19.5.1).
#[test]
fn programs_need_iopl_or_the_bitmap() {
    World::user().refuses(CLI, 13, Some(0));
    World::user().refuses(HLT, 13, Some(0));
    World::user().refuses(&[0xe4, 0x60], 13, Some(0));
    let mut trusted = World::user();
    trusted.cpu.iopl = 3;
    assert_eq!(trusted.effect(CLI), Effect::None);
    assert!(!trusted.cpu.interrupts);
    let Outcome::Port(access) = trusted.run(&[0xe4, 0x60]) else { panic!("no port") };
    assert_eq!((access.port, access.width), (0x60, 1));

    let mut granted = World::user();
    granted.cpu.tr.limit = 0x67 + 0x10;
    granted.mem.poke(TSS + 0x66, &[0x68, 0]);
    granted.mem.poke(TSS + 0x68 + 0xc, &[0b1111_1110, 0xff]);
    let Outcome::Port(access) = granted.clone().run(&[0xe4, 0x60]) else { panic!("no port") };
    assert_eq!(access.port, 0x60);
    // The byte of the port's bit and the one behind it lie within the limit, or there is no grant.
    granted.cpu.tr.limit = 0x68 + 0xc + 1;
    assert!(matches!(granted.clone().run(&[0xe4, 0x60]), Outcome::Port(_)));
    granted.cpu.tr.limit -= 1;
    granted.refuses(&[0xe4, 0x60], 13, Some(0));
    granted.cpu.tr.limit = 0x67 + 0x10;
    granted.refuses(&[0xe5, 0x60], 13, Some(0));
    granted.refuses(&[0xe4, 0x61], 13, Some(0));
    granted.regs.rdx = 0x200;
    granted.refuses(&[0xec], 13, Some(0));
}

/// Volume 2, IN, OUT: the value arrives after the access, in the register's width.
#[test]
fn ports_are_accessed_between_two_halves() {
    let mut world = with_rax(u64::MAX);
    let Outcome::Port(access) = world.run(&[0x66, 0xe5, 0x40]) else { panic!("no port") };
    assert_eq!(world.regs.rip, CODE, "not yet");
    assert_eq!(world.processor().finish_port(access, 0x1234_5678), Outcome::Resume);
    assert_eq!((world.regs.rax, world.regs.rip), (0xffff_ffff_ffff_5678, CODE + 3));
    world.regs.rdx = 0x3f8;
    world.regs.rax = 0x141;
    let Outcome::Port(access) = world.run(&[0xee]) else { panic!("no port") };
    assert_eq!((access.port, access.width, access.value), (0x3f8, 1, 0x41));
    assert_eq!(world.processor().finish_port(access, 0), Outcome::Resume);
    assert_eq!(world.regs.rip, CODE + 4);
}

/// Volume 2, INS, OUTS: one element at a time, memory asked before the port.
#[test]
fn strings_of_ports_move_one_element() {
    let mut world = World::kernel();
    (world.regs.rdx, world.regs.rcx, world.regs.rdi) = (0x1f0, 2, STACK + 0x100);
    for (n, left) in [(0u64, 1), (1, 0)] {
        let Outcome::Port(access) = world.run(&[0xf3, 0x66, 0x6d]) else { panic!("no port") };
        assert_eq!(world.processor().finish_port(access, 0xaaaa_1000 + n as u32), Outcome::Resume);
        assert_eq!((world.regs.rcx, world.regs.rdi), (left, STACK + 0x102 + 2 * n));
    }
    assert_eq!(world.mem.number_at(STACK + 0x100, 4), 0x1001_1000);
    assert_eq!(world.regs.rip, CODE + 3);
    assert_eq!(world.run(&[0xf3, 0x66, 0x6d]), Outcome::Resume, "nothing to repeat");

    let mut world = World::kernel();
    (world.regs.rdi, world.regs.rsi) = (0x7000_0000, 0x7000_0000);
    for (bytes, code) in [(&[0x6c], 2), (&[0x6e], 0)] {
        let mut world = world.clone();
        assert_eq!(world.run(bytes), Outcome::Resume);
        assert_eq!((world.entered(), world.cpu.cr2, world.frame::<1>()[0]), (14, 0x7000_0000, code));
    }
}

/// Volume 4: what a kernel writes it reads again; canonical where it must be.
#[test]
fn msrs_hold_what_a_kernel_puts_there() {
    let mut world = World::kernel();
    for (index, value) in [
        (0x174u64, 0x10),
        (0x175, 0xffff_8800_0000_0000),
        (0x176, 0x1000),
        (0x277, 0x0007_0406_0007_0406),
        (0xc000_0081, 0x0023_0008_1234_5678),
        (0xc000_0082, 0xffff_8800_1234_5678),
        (0xc000_0083, 0x40_0000),
        (0xc000_0084, 0x4_7700),
        (0xc000_0100, 0x7fff_ffff_f000),
        (0xc000_0101, 0xffff_8800_0000_1000),
        (0xc000_0102, 0x1234),
        (0xc000_0103, 7),
    ] {
        (world.regs.rip, world.regs.rcx) = (CODE, index);
        (world.regs.rax, world.regs.rdx) = (value | 0xffff_ffff << 32, value >> 32);
        let _ = world.effect(WRMSR);
        let _ = world.effect(RDMSR);
        assert_eq!((world.regs.rdx << 32) | world.regs.rax, value, "{index:#x}");
    }
    assert_eq!(world.cpu.fs_base, 0x7fff_ffff_f000);
    world.regs.rcx = 0x10;
    let _ = world.effect(RDMSR);
    assert_eq!((world.regs.rdx << 32) | world.regs.rax, TSC_NOW);
}

#[test]
fn msrs_refuse_what_a_processor_refuses() {
    assert_eq!(World::kernel().cpu.pat, PAT_VALUE);
    for (index, value) in [
        (0x175u64, 0x8000_0000_0000u64),
        (0xc000_0082, 1 << 63),
        (0xc000_0083, 1 << 47),
        (0xc000_0084, 1 << 32),
        (0xc000_0101, 1 << 47),
        (0xc000_0103, 1 << 32),
        (0x277, 2),
        (0x277, 8 << 56),
        (0x1b, 0xfee0_0900),
        (0x4000_0000, 0x5000),
        (0x1234_5678, 0),
    ] {
        let mut world = World::kernel();
        (world.regs.rcx, world.regs.rax, world.regs.rdx) = (index, value & 0xffff_ffff, value >> 32);
        world.refuses(WRMSR, 13, Some(0));
    }
    for index in [0x4000_0000, 0x1234_5678, 0xc001_0055] {
        let mut world = World::kernel();
        world.regs.rcx = index;
        world.refuses(RDMSR, 13, Some(0));
        World::user().refuses(RDMSR, 13, Some(0));
    }
}

/// Volume 3, 2.2.1 and 9.8.5.4: LME with paging on, LMA at all.
#[test]
fn efer_keeps_long_mode() {
    let write = |world: &mut World, value: u64| {
        (world.regs.rcx, world.regs.rax, world.regs.rdx) = (0xc000_0080, value, 0);
    };
    let mut world = World::kernel();
    write(&mut world, efer::SCE | efer::LME);
    assert_eq!(world.effect(WRMSR), Effect::Control { paging: true, fpu: false }, "NXE went");
    assert_eq!(world.cpu.efer, efer::SCE | efer::LME | efer::LMA);
    for bad in [efer::SCE | efer::LMA, efer::LME | 1 << 12, efer::LME | 1 << 1] {
        let mut world = World::kernel();
        write(&mut world, bad);
        world.refuses(WRMSR, 13, Some(0));
    }
    let mut world = World::kernel();
    world.cpu.model.no_execute = false;
    write(&mut world, efer::LME | efer::NXE);
    world.refuses(WRMSR, 13, Some(0));
}

/// Volume 2, MOV DR; volume 3, 17.2.
#[test]
fn debug_registers_are_virtual() {
    let mut world = with_rax(0x1234);
    assert_eq!(world.effect(&[0x0f, 0x23, 0xc0]), Effect::Debug);
    assert_eq!(world.effect(&[0x0f, 0x21, 0xc1]), Effect::None);
    assert_eq!(world.regs.rcx, 0x1234);
    with_rax(1 << 32).refuses(&[0x0f, 0x23, 0xf8], 13, Some(0));
    let mut extended = World::kernel();
    extended.cpu.cr4 |= cr4::DE;
    extended.refuses(&[0x0f, 0x21, 0xe0], 6, None);
    // On the hypervisor's range: the real registers would hold it.
    with_rax(0xffff_8000_0000_0000).refuses(&[0x0f, 0x23, 0xc0], 13, Some(0));
}

/// Volume 2, RDTSC, RDTSCP, RDPMC, SWAPGS, WBINVD, INVD, INVLPG, STAC.
#[test]
fn the_small_ones() {
    let mut world = World::kernel();
    (world.cpu.tsc_aux, world.cpu.gs_base, world.cpu.kernel_gs_base) = (5, 0x1000, 0x2000);
    assert_eq!(world.effect(&[0x0f, 0x31]), Effect::None);
    assert_eq!((world.regs.rax, world.regs.rdx), (TSC_NOW & 0xffff_ffff, TSC_NOW >> 32));
    assert_eq!(world.effect(&[0x0f, 0x01, 0xf9]), Effect::None);
    assert_eq!(world.regs.rcx, 5);
    assert_eq!(world.effect(&[0x0f, 0x01, 0xf8]), Effect::Bases);
    assert_eq!((world.cpu.gs_base, world.cpu.kernel_gs_base), (0x2000, 0x1000));
    for bytes in [&[0x0f, 0x09][..], &[0x0f, 0x08], &[0xf3, 0x0f, 0x09]] {
        assert_eq!(world.effect(bytes), Effect::FlushCaches);
    }
    world.regs.rax = 0x1234_5678;
    assert_eq!(world.effect(&[0x0f, 0x01, 0x38]), Effect::InvalidatePage(0x1234_5678));
    world.regs.rax = 1 << 47;
    assert_eq!(world.effect(&[0x0f, 0x01, 0x38]), Effect::None);
    world.refuses(&[0x0f, 0x33], 13, Some(0));
    for (bytes, set) in [([0x0f, 0x01, 0xcb], flag::AC), ([0x0f, 0x01, 0xca], 0)] {
        assert_eq!(world.trap(&bytes, 6, 0), Outcome::Resume);
        assert_eq!(world.regs.rflags & flag::AC, set);
    }
}

/// What a processor without the feature raises, and what is not ours at all: the original exception stands.
#[test]
fn what_does_not_exist_is_invalid() {
    // monitor, mwait, vmcall, vmmcall, ud2, syscall's neighbours.
    for bytes in
        [[0x0f, 0x01, 0xc8], [0x0f, 0x01, 0xc9], [0x0f, 0x01, 0xc1], [0x0f, 0x01, 0xd9], [0x0f, 0x0b, 0]]
    {
        let mut world = World::kernel();
        assert_eq!(world.trap(&bytes, 6, 0), Outcome::Resume);
        assert_eq!((world.entered(), world.frame::<1>()[0]), (6, CODE), "{bytes:x?}");
    }
    let mut world = World::user();
    assert_eq!(world.trap(&[0x0f, 0x01, 0xcb], 6, 0), Outcome::Resume);
    assert_eq!(world.entered(), 6, "`stac` in ring 3");
    World::kernel().refuses(&[0x90], 13, Some(0));
    let mut hidden = World::kernel();
    hidden.cpu.model.tsc_aux = false;
    hidden.refuses(&[0x0f, 0x01, 0xf9], 6, None);
}

/// Volume 2, RDFSBASE, WRFSBASE, where the real CR4 has them off.
#[test]
fn bases_by_instruction_need_the_virtual_cr4() {
    let write = [0xf3, 0x48, 0x0f, 0xae, 0xd0];
    let mut world = with_rax(0x7000);
    assert_eq!(world.trap(&write, 6, 0), Outcome::Resume);
    assert_eq!(world.entered(), 6);
    for mut world in [World::kernel(), World::user()] {
        world.cpu.cr4 |= cr4::FSGSBASE;
        world.regs.rax = 0x7000;
        assert_eq!(world.trap(&write, 6, 0), Outcome::Do(Effect::Bases));
        assert_eq!(world.trap(&[0xf3, 0x48, 0x0f, 0xae, 0xc3], 6, 0), Outcome::Resume);
        assert_eq!((world.cpu.fs_base, world.regs.rbx), (0x7000, 0x7000));
        world.regs.rax = 1 << 47;
        assert_eq!(world.trap(&write, 6, 0), Outcome::Resume);
        assert_eq!(world.entered(), 13);
    }
}

/// Volume 2, XSETBV and XGETBV.
#[test]
fn xcr0_is_offered_or_not() {
    let mut world = with_rax(7);
    (world.regs.rcx, world.regs.rdx) = (0, 0);
    world.refuses(&[0x0f, 0x01, 0xd1], 6, None);
    world.cpu.model.xcr0 = 7;
    world.cpu.cr4 |= cr4::OSXSAVE;
    assert_eq!(world.effect(&[0x0f, 0x01, 0xd1]), Effect::Xcr0);
    assert_eq!(world.cpu.xcr0, 7);
    for bad in [0, 6, 5, 0xe7] {
        let mut world = world.clone();
        world.regs.rax = bad;
        world.refuses(&[0x0f, 0x01, 0xd1], 13, Some(0));
    }
    assert_eq!(world.trap(&[0x0f, 0x01, 0xd0], 6, 0), Outcome::Resume);
    assert_eq!((world.regs.rax, world.regs.rdx), (7, 0));
}

/// Volume 2, UMIP: programs may read the tables' registers only without it.
#[test]
fn programs_see_tables_without_umip() {
    let mut world = World::user();
    world.regs.rax = USER_PAGE + 0x100;
    let mut trapped = world.clone();
    assert_eq!(trapped.effect(&[0x0f, 0x01, 0x00]), Effect::None);
    assert_eq!(trapped.mem.number_at(USER_PAGE + 0x100, 2), 0x37);
    assert_eq!(trapped.mem.word(USER_PAGE + 0x102), GDT);
    world.cpu.cr4 |= cr4::UMIP;
    world.refuses(&[0x0f, 0x01, 0x00], 13, Some(0));
}

/// Volume 3, 17.3.1.4: a single step over an emulated instruction.
#[test]
fn a_single_step_ends_behind_the_instruction() {
    let mut world = World::kernel();
    world.regs.rflags |= flag::TF;
    assert_eq!(world.effect(CLI), Effect::None);
    assert_eq!(world.resume(), Entry::Enter);
    assert_eq!((world.entered(), world.frame::<1>()[0]), (1, CODE + 1));
    assert_eq!(world.cpu.debug.dr6 & 1 << 14, 1 << 14);
    assert_eq!(world.regs.rflags & flag::TF, 0);
}

/// Volume 3, 6.15, vector 3: the frame's RIP is behind; the gate's DPL is asked, and a refusal is at the instruction.
#[test]
fn breakpoints_arrive_behind_the_instruction() {
    for (bytes, length) in [(&[0xcc][..], 1), (&[0xcd, 3], 2)] {
        let mut world = World::user();
        world.mem.poke(USER_PAGE, bytes);
        world.regs.rip = USER_PAGE + length;
        let mut refused = world.clone();
        assert_eq!(world.trap(&[], 3, 0), Outcome::Resume);
        assert_eq!((world.entered(), world.frame::<1>()[0]), (3, USER_PAGE + length));
        refused.gate(3, Gate::interrupt(handler(3), KERNEL_CS, 0, 0));
        assert_eq!(refused.trap(&[], 3, 0), Outcome::Resume);
        assert_eq!((refused.entered(), refused.frame::<2>()), (13, [3 << 3 | 2, USER_PAGE]));
    }
}

/// `int n` through the real gates, which have DPL 0: the vector is the instruction's.
#[test]
fn software_interrupts_raise_protection() {
    let mut world = World::user();
    assert_eq!(world.trap(&[0xcd, 0x80], 13, 0x80 << 3 | 2), Outcome::Resume);
    assert_eq!((world.entered(), world.frame::<1>()[0]), (0x80, USER_PAGE + 2));
    let mut world = World::kernel();
    assert_eq!(world.trap(&[0xf1], 13, 1 << 3 | 2), Outcome::Resume);
    assert_eq!((world.entered(), world.frame::<1>()[0]), (1, CODE + 1));
    let mut world = World::user();
    world.regs.rip += 2;
    assert_eq!(world.processor().software(0x82), Outcome::Resume);
    assert_eq!((world.entered(), world.frame::<2>()), (13, [0x82 << 3 | 2, USER_PAGE]));
}
