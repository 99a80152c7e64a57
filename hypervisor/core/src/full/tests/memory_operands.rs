//! Descriptor-table registers, the task register, and instructions whose operand or whose own bytes cannot be reached.

use super::*;
use crate::descriptor::{ldt_descriptor, tss_descriptor};

const LGDT: &[u8] = &[0x0f, 0x01, 0x10];
const LIDT: &[u8] = &[0x0f, 0x01, 0x18];
const SIDT: &[u8] = &[0x0f, 0x01, 0x08];
const LTR_AX: &[u8] = &[0x0f, 0x00, 0xd8];
const LLDT_AX: &[u8] = &[0x0f, 0x00, 0xd0];

fn at(address: u64, limit: u16, base: u64) -> World {
    let mut world = World::kernel();
    world.regs.rax = address;
    world.mem.poke(address, &limit.to_le_bytes());
    world.mem.poke_word(address + 2, base);
    world
}

/// SDM volume 2, LGDT: the table is copied at once.
#[test]
fn tables_are_loaded_and_stored() {
    let mut world = at(STACK, 0x1f, GDT);
    assert_eq!(world.effect(LGDT), Effect::None);
    assert_eq!(world.cpu.gdtr, TableRegister { base: GDT, limit: 0x1f });
    assert_eq!((world.real.get(3) == 0, world.real.get(4)), (false, 0), "beyond the new limit");
    assert_eq!(world.effect(LIDT), Effect::None);
    assert_eq!(world.cpu.idtr.limit, 0x1f);
    world.regs.rax = STACK + 0x80;
    assert_eq!(world.effect(SIDT), Effect::None);
    assert_eq!((world.mem.number_at(STACK + 0x80, 2), world.mem.word(STACK + 0x82)), (0x1f, GDT));
    at(STACK, 0x1f, 1 << 47).refuses(LGDT, 13, Some(0));
    World::user().refuses(LGDT, 13, Some(0));
}

/// SDM volume 2, LTR: every check; the busy bit is set in the guest's memory.
#[test]
fn the_task_register_makes_its_descriptor_busy() {
    let mut world = World::kernel();
    let descriptor = tss_descriptor(TSS + 0x100, 0x77);
    (0..2).for_each(|n| world.mem.poke_word(GDT + 0x28 + n * 8, descriptor[n as usize]));
    world.regs.rax = TSS_SEL as u64;
    let free = world.clone();
    assert_eq!(world.effect(LTR_AX), Effect::None);
    assert_eq!(world.cpu.tr, SystemRegister { selector: TSS_SEL, base: TSS + 0x100, limit: 0x77 });
    assert_eq!(world.mem.word(GDT + 0x28), descriptor[0] | 1 << 41);
    world.refuses(LTR_AX, 13, Some(0x28));
    assert_eq!(world.effect(&[0x0f, 0x00, 0xcb]), Effect::None);
    assert_eq!(world.regs.rbx & 0xffff, TSS_SEL as u64, "`str`");

    for (rax, code) in [(0, 0), (0x2c, 0x2c), (KERNEL_DS, 0x10), (0x30, 0x30)] {
        let mut world = free.clone();
        world.regs.rax = rax as u64;
        world.refuses(LTR_AX, 13, Some(code));
    }
    let mut absent = free.clone();
    absent.mem.poke_word(GDT + 0x28, descriptor[0] & !(1 << 47));
    absent.refuses(LTR_AX, 11, Some(0x28));
    let mut far = free.clone();
    far.mem.poke_word(GDT + 0x30, 0x8000);
    far.refuses(LTR_AX, 13, Some(0x28));
    let mut read_only = free;
    read_only.mem.0.get_mut(&GDT).unwrap().writable = false;
    let before = read_only.cpu.tr;
    assert_eq!(read_only.run(LTR_AX), Outcome::Resume);
    assert_eq!((read_only.entered(), read_only.cpu.cr2, read_only.cpu.tr), (14, GDT + 0x28, before));
}

/// SDM volume 2, LLDT and SLDT.
#[test]
fn a_local_table_may_be_named() {
    let mut world = World::kernel();
    let descriptor = ldt_descriptor(STACK, 0xf);
    (0..2).for_each(|n| world.mem.poke_word(GDT + 0x28 + n * 8, descriptor[n as usize]));
    world.regs.rax = 0x28;
    assert_eq!(world.effect(LLDT_AX), Effect::None);
    assert_eq!(world.cpu.ldtr, SystemRegister { selector: 0x28, base: STACK, limit: 0xf });
    // A descriptor of it can be loaded, though the real processor has no local table.
    world.mem.poke_word(STACK + 8, DATA);
    world.regs.rax = 0xc;
    let ds = Effect::LoadSegment { segment: crate::emulate::Segment::Ds, selector: 0 };
    assert_eq!(world.trap(&[0x8e, 0xd8], 13, 0xc), Outcome::Do(ds));
    world.regs.rax = 0x14;
    world.refuses(&[0x8e, 0xd8], 13, Some(0x14));
    world.regs.rax = 0;
    assert_eq!(world.effect(LLDT_AX), Effect::None);
    world.regs.rax = KERNEL_DS as u64;
    world.refuses(LLDT_AX, 13, Some(0x10));
}

/// SDM volume 1, 3.3.7.1: #GP for a non-canonical operand, #SS on the stack; #PF where the guest's tables say so.
#[test]
fn operands_may_be_unreachable() {
    let mut world = World::kernel();
    world.regs.rax = 1 << 47;
    world.refuses(LGDT, 13, Some(0));
    world.regs.rbp = 1 << 47;
    world.refuses(&[0x0f, 0x01, 0x55, 0x00], 12, Some(0));
    world.regs.rax = HANDLERS + 0xff8;
    let mut halfway = world.clone();
    assert_eq!(halfway.run(SIDT), Outcome::Resume);
    assert_eq!((halfway.entered(), halfway.cpu.cr2, halfway.frame::<1>()[0]), (14, HANDLERS + 0x1000, 2));
    assert_eq!(halfway.mem.word(HANDLERS + 0xff8), 0, "whole or not at all");
    assert_eq!(world.run(LGDT), Outcome::Resume);
    assert_eq!((world.entered(), world.frame::<1>()[0]), (14, 0));
}

/// An instruction that ends on a page that cannot be fetched raises #PF there, as it would by itself.
#[test]
fn instructions_may_be_cut_off() {
    let mut world = World::kernel();
    world.regs.rip = HANDLERS + 0xffe;
    assert_eq!(world.run(&[0x0f, 0x22]), Outcome::Resume);
    assert_eq!((world.entered(), world.cpu.cr2, world.frame::<1>()[0]), (14, HANDLERS + 0x1000, 0x10));
    let mut world = World::kernel();
    world.regs.rip = HANDLERS + 0xfff;
    world.mem.map(HANDLERS + 0x1000, false, true);
    world.mem.poke(HANDLERS + 0x1000, &[0x06]);
    assert_eq!(world.run(&[0x0f]), Outcome::Resume);
    assert_eq!(world.regs.rip, HANDLERS + 0x1001, "over two pages");
    let mut world = World::kernel();
    world.regs.rip = 0x7000_0000;
    let trap = Trap { vector: 13, error_code: 0, address: 0, conditions: 0 };
    assert_eq!(world.processor().exception(trap), Outcome::Resume);
    assert_eq!((world.entered(), world.cpu.cr2), (14, 0x7000_0000));
}

/// The last instruction below the hole completes; what follows is #GP there (SDM volume 1, 3.3.7.1).
#[test]
fn stepping_into_the_hole_is_a_protection_fault() {
    let mut world = World::kernel();
    world.mem.map(0x7fff_ffff_f000, false, true);
    world.regs.rip = 0x7fff_ffff_ffff;
    assert_eq!(world.run(&[0xfa]), Outcome::Resume);
    assert_eq!(world.resume(), Entry::Enter);
    assert_eq!((world.entered(), world.frame::<2>()), (13, [0, 1 << 47]));
}

/// The guest's own page fault goes to it with the address and the code the real processor gave.
#[test]
fn page_faults_pass_through() {
    let mut world = World::user();
    let trap = Trap { vector: 14, error_code: 6, address: 0x1234, conditions: 0 };
    assert_eq!(world.processor().exception(trap), Outcome::Resume);
    assert_eq!((world.entered(), world.cpu.cr2, world.frame::<1>()[0]), (14, 0x1234, 6));
}
