//! Sensitive instructions that do not trap: found, replaced, emulated.

use super::*;
use crate::emulate::Form;

const POPFQ: &[u8] = &[0x9d];
const PUSHFQ: &[u8] = &[0x9c];
const MOV_EAX_CS: &[u8] = &[0x8c, 0xc8];

/// A kernel with one instruction at RIP, replaced.
fn patched(bytes: &[u8]) -> World {
    let mut world = World::kernel();
    world.mem.poke(CODE, bytes);
    let site = Site { address: CODE, length: bytes.len() as u8 };
    let mut seen = None;
    world.patches.install(&mut world.mem, &[site], |_, result| seen = Some(result.map(|patch| patch.form)));
    assert!(matches!(seen, Some(Ok(_))), "{bytes:x?}: {seen:?}");
    assert_eq!(*world.mem.byte(CODE), 0xf4);
    world
}

/// The trap of the replacement; the instruction must complete.
fn step(world: &mut World, length: u64) {
    let trap = Trap { vector: 13, error_code: 0, address: 0, conditions: 0 };
    assert_eq!(world.processor().exception(trap), Outcome::Resume);
    assert_eq!(world.regs.rip, CODE + length);
}

/// The classic: `popf` in ring 1 leaves IF alone and says nothing. Patched, it does what the kernel meant.
#[test]
fn popf_masks_interrupts() {
    let mut world = patched(POPFQ);
    let rsp = world.regs.rsp;
    world.mem.poke_word(rsp, flag::ONE | flag::CF | 3 << flag::IOPL_SHIFT);
    step(&mut world, 1);
    assert_eq!((world.cpu.interrupts, world.cpu.iopl, world.regs.rsp), (false, 3, rsp + 8));
    assert_eq!(world.regs.rflags, flag::ONE | flag::CF | flag::IF, "the real ones");
}

#[test]
fn pushf_shows_the_virtual_flags() {
    let mut world = patched(PUSHFQ);
    (world.cpu.interrupts, world.cpu.iopl) = (false, 2);
    step(&mut world, 1);
    assert_eq!(world.frame(), [flag::ONE | 2 << flag::IOPL_SHIFT]);
    let mut world = patched(&[0x66, 0x9c]);
    world.regs.rsp = STACK + 0x100;
    step(&mut world, 2);
    assert_eq!((world.regs.rsp, world.mem.number_at(STACK + 0xfe, 2)), (STACK + 0xfe, flag::ONE | flag::IF));
}

/// The RPL in CS and SS is the real ring, and `mov` reads it without asking.
#[test]
fn selectors_show_ring_0() {
    let mut world = patched(MOV_EAX_CS);
    step(&mut world, 2);
    assert_eq!(world.regs.rax, KERNEL_CS as u64);
    let mut world = patched(&[0x8c, 0xd3]);
    step(&mut world, 2);
    assert_eq!(world.regs.rbx, KERNEL_DS as u64);
}

/// `lar`, `lsl`, `verr`, `verw` see the guest's table, not the copy.
#[test]
fn descriptors_are_inspected_as_the_guest_has_them() {
    let cases: [(&[u8], u16, Option<u64>); 8] = [
        (&[0x0f, 0x02, 0xd9], KERNEL_CS, Some(0x00af_9a00 & 0x00f0_ff00)),
        (&[0x0f, 0x02, 0xd9], TSS_SEL, Some(0x8b00)),
        (&[0x0f, 0x02, 0xd9], 0x13, None),
        (&[0x0f, 0x03, 0xd9], KERNEL_DS, Some(0xffff_ffff)),
        (&[0x0f, 0x03, 0xd9], TSS_SEL, Some(0x67)),
        (&[0x0f, 0x00, 0xe1], USER_DS, Some(7)),
        (&[0x0f, 0x00, 0xe9], KERNEL_CS, None),
        (&[0x0f, 0x00, 0xe9], 0x38, None),
    ];
    for (bytes, selector, value) in cases {
        let mut world = patched(bytes);
        (world.regs.rcx, world.regs.rbx) = (selector as u64, 7);
        step(&mut world, 3);
        assert_eq!(world.regs.rflags & flag::ZF != 0, value.is_some(), "{bytes:x?} {selector:#x}");
        assert_eq!(world.regs.rbx, value.unwrap_or(7), "{bytes:x?} {selector:#x}");
    }
}

/// `cpuid`, `smsw`, `sgdt` where nothing makes them trap, and an `iretq` that would not have.
#[test]
fn what_else_is_sensitive() {
    let mut world = patched(&[0x0f, 0xa2]);
    (world.regs.rax, world.regs.rcx) = (1, 2);
    step(&mut world, 2);
    // The processor's answer, but for the number of processors.
    assert_eq!((world.regs.rax, world.regs.rbx, world.regs.rcx, world.regs.rdx), (2, 1 << 16 | 2, 3, 4));
    let mut world = patched(&[0x48, 0x0f, 0x01, 0xe3]);
    step(&mut world, 4);
    assert_eq!(world.regs.rbx, world.cpu.cr0);
    let mut world = patched(&[0x0f, 0x01, 0x00]);
    world.regs.rax = STACK + 0x600;
    step(&mut world, 3);
    assert_eq!(world.mem.word(STACK + 0x602), GDT);
    // A frame built from CS: RPL 1 on both sides, so that the real `iretq` would succeed and forget IF.
    let mut world = patched(&[0x48, 0xcf]);
    let words = [CODE + 0x40, KERNEL_CS as u64 | 1, flag::ONE, STACK, KERNEL_DS as u64 | 1];
    let rsp = world.regs.rsp;
    (0..5).for_each(|n| world.mem.poke_word(rsp + n * 8, words[n as usize]));
    step(&mut world, 0x40);
    assert_eq!((world.cpu.interrupts, world.cpu.cs.selector, world.cpu.ss), (false, KERNEL_CS, KERNEL_DS));
}

/// A patched instruction may fault as the original would; then nothing else has happened.
#[test]
fn a_patched_instruction_may_fault() {
    let mut world = patched(POPFQ);
    world.regs.rsp = HANDLERS + 0xffc;
    world.gate(14, Gate::interrupt(handler(14), KERNEL_CS, 0, 1));
    let flags = (world.cpu.interrupts, world.cpu.iopl);
    let trap = Trap { vector: 13, error_code: 0, address: 0, conditions: 0 };
    assert_eq!(world.processor().exception(trap), Outcome::Resume);
    assert_eq!((world.entered(), world.cpu.cr2), (14, HANDLERS + 0x1000));
    assert_eq!(world.frame::<6>()[1], CODE);
    assert_eq!((world.frame::<6>()[3] & flag::IF != 0, world.cpu.iopl), flags);
}

/// A guest's `hlt` is a `hlt` where nothing was replaced, or where the replacement is gone.
#[test]
fn a_replacement_is_recognised_by_all_its_bytes() {
    let mut world = patched(MOV_EAX_CS);
    assert_eq!(world.mem.number_at(CODE, 2), 0xccf4);
    world.mem.poke(CODE + 1, &[0x90]);
    let trap = Trap { vector: 13, error_code: 0, address: 0, conditions: 0 };
    assert_eq!(world.processor().exception(trap), Outcome::Do(Effect::Halt));
}

/// A program that gets at the page executes what stands there. The table is of the kernel's instructions.
#[test]
fn a_replacement_is_the_kernels_alone() {
    let mut world = World::user();
    let rip = world.regs.rip;
    world.mem.poke(rip, POPFQ);
    let site = Site { address: rip, length: 1 };
    let mut seen = None;
    world.patches.install(&mut world.mem, &[site], |_, result| seen = Some(result.map(|patch| patch.form)));
    assert_eq!(seen, Some(Ok(Form::Popf)));
    world.refuses(&[0xf4], 13, Some(0));
}

/// Each reason a site stays as it is, and that memory stays too.
#[test]
fn bad_sites_are_reported() {
    let mut world = World::kernel();
    world.mem.poke(CODE, &[0x9d, 0x8c, 0xc8, 0x90, 0xfa]);
    world.mem.map(STACK + 0x2000, false, false);
    world.mem.0.get_mut(&(STACK + 0x2000)).unwrap().bytes[0] = 0x9d;
    let sites = [
        (CODE, 1, Ok(Form::Popf)),
        (CODE, 1, Err(Unpatched::NotSensitive)),
        (CODE + 1, 1, Err(Unpatched::OtherLength)),
        (CODE + 1, 3, Err(Unpatched::OtherLength)),
        (CODE + 3, 1, Err(Unpatched::NotSensitive)),
        (CODE + 4, 1, Err(Unpatched::NotSensitive)),
        (CODE, 0, Err(Unpatched::BadSite)),
        (CODE, 16, Err(Unpatched::BadSite)),
        (1 << 47, 1, Err(Unpatched::BadSite)),
        (0x7000_0000, 1, Err(Unpatched::Unreachable(PageFault { address: 0x7000_0000, code: 0 }))),
        (STACK + 0x2000, 1, Err(Unpatched::Unreachable(PageFault { address: STACK + 0x2000, code: 3 }))),
    ];
    let list: Vec<Site> = sites.iter().map(|&(address, length, _)| Site { address, length }).collect();
    let mut results = Vec::new();
    world.patches.install(&mut world.mem, &list, |site, result| {
        results.push((site.address, site.length, result.map(|patch| patch.form)));
    });
    assert_eq!(results, sites);
    assert_eq!(world.mem.number_at(CODE, 5), 0xfa_90c8_8cf4);
    assert_eq!(world.patches.patches().len(), 1);
    assert_eq!(world.patches.patches()[0].original(), POPFQ);
}

#[test]
fn sites_do_not_overlap() {
    let mut world = World::kernel();
    world.mem.poke(CODE, &[0x66, 0x9d, 0x9d]);
    let mut table = PatchTable::new();
    let patch = |world: &mut World, table: &PatchTable, address, length| {
        table.check(&mut world.mem, Site { address, length }).unwrap()
    };
    let inner = patch(&mut world, &table, CODE + 1, 1);
    let outer = patch(&mut world, &table, CODE, 2);
    let next = patch(&mut world, &table, CODE + 2, 1);
    assert_eq!(table.add(inner.clone()), Ok(()));
    assert_eq!(table.add(outer.clone()), Err(Unpatched::Overlap));
    assert_eq!(table.add(next), Ok(()));
    assert_eq!(table.add(inner), Err(Unpatched::Overlap));
    assert_eq!(table.patches().len(), 2);
}

/// The guest's list is a claim: it may be anywhere and of any length.
#[test]
fn the_list_is_read_from_the_guest() {
    let mut world = World::kernel();
    world.mem.poke_word(STACK, CODE);
    world.mem.poke(STACK + 8, &[2]);
    let sites = read_sites(&mut world.mem, STACK, 2).unwrap();
    assert_eq!(sites, [Site { address: CODE, length: 2 }, Site { address: 0, length: 0 }]);
    assert_eq!(read_sites(&mut world.mem, 1 << 47, 1), Err(Unpatched::BadSite));
    assert!(matches!(read_sites(&mut world.mem, STACK, usize::MAX), Err(Unpatched::Unreachable(_))));
}
