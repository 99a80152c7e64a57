//! Segments of a kernel in ring 3: its LDT, selectors that cannot be loaded again, and NMIs.

use super::ring3::{kernel, set_up, to_program, world};
use super::world::*;
use crate::addr::{Mfn, PAGE_SIZE};
use crate::build::MachineKind;
use crate::descriptor::bits::{ACCESSED, DPL, PRESENT, SEGMENT, WRITABLE};
use crate::descriptor::{GuestTables, LDT_WINDOW, USER_CS64, USER_SS};
use crate::domain::{RunState, Shutdown};
use crate::frame::FrameType;
use crate::guest::EXIT_FAULT;
use crate::hypervisor::{Leave, Next};
use crate::memory::Memory;
use crate::pagetable::{Ldt, Pte};
use paravane_abi::callback::*;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::mmu::{MMUEXT_NEW_BASEPTR, MMUEXT_SET_LDT, MmuextOp};
use paravane_abi::regs::{CpuUserRegs, IretContext};
use paravane_abi::sched::SCHEDOP_YIELD;
use paravane_abi::segment::MAX_LDT_ENTRIES;
use paravane_abi::trap::{TrapFlags, TrapInfo};
use paravane_abi::vcpu::*;
use std::boxed::Box;
use std::vec::Vec;
use zerocopy::FromZeros;

const PAGE_FAULT: u32 = 14;
const PROTECTION: u32 = 13;
/// Where an LDT of two pages is.
const LDT: u64 = LIST + 0x2_0000;
const LDT_ENTRIES: u32 = 1024;
/// A data segment as a guest writes it.
const DATA: u64 = PRESENT | SEGMENT | WRITABLE | 0xffff;
/// Selectors of the first descriptors of both pages.
const FIRST: u16 = 7;
const SECOND: u16 = 0x1007;

fn mmuext(world: &mut World, cmd: u32, arg1: u64, arg2: u64) -> i64 {
    world.put(ARG, &MmuextOp { cmd, arg1, arg2, ..MmuextOp::new_zeroed() });
    world.call(HYPERVISOR_MMUEXT_OP, &[ARG, 1, 0, 0x7ff0])
}

fn set_ldt(world: &mut World, address: u64, entries: u32) -> i64 {
    mmuext(world, MMUEXT_SET_LDT, address, entries.into())
}

/// Writes two pages of descriptors, of which the first of each is a data segment.
fn write_ldt(world: &mut World) {
    for page in [LDT, LDT + PAGE_SIZE as u64] {
        world.put(page, &DATA);
        let frame = world.mfn(page);
        world.map(page, frame.address() | Pte::P | Pte::US);
    }
}

/// A kernel in ring 3 with an LDT, of which nothing has been read.
fn with_ldt() -> World {
    let mut world = world();
    write_ldt(&mut world);
    assert_eq!(set_ldt(&mut world, LDT, LDT_ENTRIES), 0);
    world
}

fn held(world: &World) -> Vec<Mfn> {
    world.vcpu().paging.ldt().pages().iter().flatten().copied().collect()
}

/// What the processor was told of the LDT is what is kept of it.
fn assert_shown(world: &World) {
    assert_eq!(&world.hv.machine.fake.ldt(0), world.vcpu().paging.ldt());
    world.audit();
}

/// The processor reads a descriptor, in these registers, and finds no page.
fn reads(world: &mut World, regs: CpuUserRegs, offset: u64) -> CpuUserRegs {
    world.exception(regs, PAGE_FAULT, 0, LDT_WINDOW + offset)
}

/// The guest has been given a #PF at an address.
fn assert_page_fault(world: &World, before: &CpuUserRegs, after: &CpuUserRegs, code: u64, address: u64) {
    assert_eq!(after.rip, HANDLER + 16 * u64::from(PAGE_FAULT));
    assert_eq!(world.bounced(after, 4)[2..], [code, before.rip]);
    assert_eq!(world.hv.shared().cr2(world.vcpu().info), address);
}

#[test]
fn a_page_of_the_ldt_is_held_when_the_processor_reads_it() {
    let mut world = with_ldt();
    assert!(held(&world).is_empty());
    assert_shown(&world);
    assert_eq!(world.vcpu().paging.ldt().entries(), LDT_ENTRIES);
    for program in [false, true] {
        let before = if program { to_program(&mut world) } else { kernel(&world) };
        let offset = if program { PAGE_SIZE as u64 } else { 8 };
        let after = reads(&mut world, before, offset);
        assert_eq!(CpuUserRegs { entry_vector: 0, ..after }, CpuUserRegs { entry_vector: 0, ..before });
        let frame = world.mfn(LDT + offset);
        assert_eq!(held(&world).last(), Some(&frame));
        let info = world.hv.frames.info(frame).unwrap();
        assert_eq!((info.kind(), info.type_count()), (FrameType::SegDesc, 1));
        assert_eq!(world.hv.machine.read_word(frame, 0), DATA | DPL | ACCESSED, "as in a GDT");
        assert_shown(&world);
    }
    // It is there: the processor finds it when it looks again.
    let regs = kernel(&world);
    assert_eq!(reads(&mut world, regs, 8).rip, regs.rip);
    assert_eq!(held(&world).len(), 2);
}

#[test]
fn a_page_that_cannot_be_held_is_the_guests_own_fault() {
    type Spoil = fn(&mut World);
    let spoils: [Spoil; 4] = [
        |world| {
            let frame = world.mfn(LDT);
            world.map(LDT, frame.address() | Pte::P | Pte::RW | Pte::US);
        },
        |world| world.map(LDT, 0),
        |world| {
            let table = world.vcpu().paging.base().unwrap();
            world.map(LDT, table.address() | Pte::P | Pte::US);
        },
        |world| {
            let frame = world.mfn(LDT);
            // A task-state segment.
            world.hv.machine.fake.poke(frame, 511, PRESENT | 9 << 40);
        },
    ];
    for (number, spoil) in spoils.into_iter().enumerate() {
        for program in [false, true] {
            let mut world = with_ldt();
            spoil(&mut world);
            let before = if program { to_program(&mut world) } else { kernel(&world) };
            let after = reads(&mut world, before, 16);
            assert!(held(&world).is_empty(), "{number}");
            assert_page_fault(&world, &before, &after, if program { 4 } else { 0 }, LDT + 16);
            assert_shown(&world);
        }
    }
}

#[test]
fn other_faults_in_the_window_are_none_of_the_ldts() {
    let mut world = with_ldt();
    // By a program, at the window; and behind the last descriptor.
    for (code, offset) in [(4, 8), (5, 8), (2, 8), (0, 8 * u64::from(LDT_ENTRIES)), (0, u64::MAX - 7)] {
        let before = kernel(&world);
        let address = LDT_WINDOW.wrapping_add(offset);
        let after = world.exception(before, PAGE_FAULT, code, address);
        assert_page_fault(&world, &before, &after, u64::from(code & !4), address);
        assert!(held(&world).is_empty());
    }
    let mut ring1 = World::new();
    let before = ring1.kernel();
    let after = reads(&mut ring1, before, 8);
    assert_page_fault(&ring1, &before, &after, 0, LDT_WINDOW + 8);
}

#[test]
fn an_ldt_may_end_where_there_are_no_addresses() {
    let mut world = world();
    assert_eq!(set_ldt(&mut world, 0x7fff_ffff_f000, LDT_ENTRIES), 0);
    let before = kernel(&world);
    let after = reads(&mut world, before, 0x1008);
    assert_eq!(after.rip, HANDLER + 16 * u64::from(PROTECTION));
    assert_eq!(world.bounced(&after, 4)[2..], [0x100c, before.rip]);
}

#[test]
fn set_ldt_takes_what_xen_takes() {
    let mut world = with_ldt();
    let none = Errno::EINVAL.to_ret();
    for (address, entries) in
        [(LDT, 8193), (LDT, u32::MAX), (LDT + 8, 1), (0xffff_8000_0000_0000, 1), (1 << 47, 1)]
    {
        assert_eq!(set_ldt(&mut world, address, entries), none, "{address:#x} {entries}");
        assert_eq!(world.vcpu().paging.ldt().base(), LDT);
    }
    for (address, entries) in [(LDT, 8192), (0, 1), (0xffff_8800_0000_0000, 8192)] {
        assert_eq!(set_ldt(&mut world, address, entries), 0);
        let ldt = world.vcpu().paging.ldt();
        assert_eq!((ldt.base(), ldt.entries()), (address, entries));
        assert_shown(&world);
    }
    assert_eq!(set_ldt(&mut world, 123, 0), 0, "none, wherever it is");
    assert_eq!(world.vcpu().paging.ldt(), &Ldt::NONE);
    assert_shown(&world);
    assert_eq!(Ldt::new(LDT, MAX_LDT_ENTRIES + 1), None);
}

#[test]
fn pages_are_let_go_with_the_ldt_and_with_the_base_table() {
    let other = |world: &World| world.vcpu().paging.user_base().unwrap().get();
    type Change = fn(&mut World, u64) -> i64;
    let changes: [(Change, bool); 5] = [
        (|world, _| set_ldt(world, LDT, LDT_ENTRIES), true),
        (|world, _| set_ldt(world, LDT, LDT_ENTRIES - 1), false),
        (|world, _| set_ldt(world, LDT + PAGE_SIZE as u64, LDT_ENTRIES), false),
        (|world, _| set_ldt(world, 0, 0), false),
        (|world, other| mmuext(world, MMUEXT_NEW_BASEPTR, other, 0), false),
    ];
    for (number, (change, stays)) in changes.into_iter().enumerate() {
        let mut world = with_ldt();
        let regs = kernel(&world);
        reads(&mut world, regs, 0);
        let (frame, other) = (world.mfn(LDT), other(&world));
        assert_eq!(change(&mut world, other), 0, "{number}");
        assert_eq!(held(&world).len(), usize::from(stays), "{number}");
        assert_eq!(world.hv.frames.info(frame).unwrap().type_count() > 0, stays, "{number}");
        assert_shown(&world);
    }
    // The same base table again: nothing has changed.
    let mut world = with_ldt();
    let regs = kernel(&world);
    reads(&mut world, regs, 0);
    let same = world.vcpu().paging.base().unwrap().get();
    assert_eq!(mmuext(&mut world, MMUEXT_NEW_BASEPTR, same, 0), 0);
    assert_eq!(held(&world).len(), 1);
    world.hv.stop_domain(0, Shutdown::PowerOff);
    assert_eq!(world.end(&mut regs.clone()), Leave::PowerOff);
}

#[test]
fn a_return_that_needs_a_page_of_the_ldt_is_made_again() {
    let mut world = with_ldt();
    let before = CpuUserRegs { cs: FIRST, ..kernel(&world) };
    let after = world.exception(before, PAGE_FAULT | EXIT_FAULT, 0, LDT_WINDOW);
    assert_eq!((after.rip, after.cs, held(&world).len()), (before.rip, FIRST, 1));
    world.map(LDT + PAGE_SIZE as u64, 0);
    let before = CpuUserRegs { cs: SECOND, ..kernel(&world) };
    let after = world.exception(before, PAGE_FAULT | EXIT_FAULT, 0, LDT_WINDOW + 0x1000);
    assert_page_fault(&world, &before, &after, 0, LDT + 0x1000);
    assert_eq!(world.bounced(&after, 5)[4] as u16, SECOND & !3);
}

#[test]
fn a_return_that_the_processor_refuses_is_the_guests_exception() {
    for (vector, code) in [(11, 0x10), (12, 0x18), (13, 0), (13, 0x1000)] {
        let mut world = world();
        let regs = to_program(&mut world);
        // Nothing is emulated: `cli` would be.
        world.put(regs.rip, &[0xfau8]);
        let after = world.exception(regs, vector | EXIT_FAULT, code, 0);
        assert_eq!(after.rip, HANDLER + 16 * u64::from(vector));
        assert_eq!(world.bounced(&after, 5)[2..], [code.into(), regs.rip, regs.cs.into()]);
        assert_eq!((after.cs, after.ss), (USER_CS64, USER_SS));
    }
}

#[test]
fn descriptors_are_those_below_the_limit() {
    let mut world = with_ldt();
    assert_eq!(world.hv.descriptor(FIRST), None, "not held yet");
    for selector in [FIRST, SECOND] {
        world.hv.reach_descriptor(selector);
        assert_eq!(world.hv.descriptor(selector), Some(DATA | DPL | ACCESSED));
    }
    assert_eq!(set_ldt(&mut world, LDT, 2), 0);
    world.hv.reach_descriptor(FIRST);
    assert_eq!(world.hv.descriptor(FIRST), Some(DATA | DPL | ACCESSED));
    assert_eq!(world.hv.descriptor(0xf), Some(0));
    for selector in [0x17, SECOND, 0xffff] {
        world.hv.reach_descriptor(selector);
        assert_eq!(world.hv.descriptor(selector), None, "{selector:#x} (XSA-298)");
    }
}

#[test]
fn the_programs_gs_can_be_of_the_ldt() {
    let mut world = with_ldt();
    let mut load = |selector: u16| {
        assert_eq!(world.call(HYPERVISOR_SET_SEGMENT_BASE, &[3, selector.into()]), 0);
        world.hv.machine.told.user_gs
    };
    assert_eq!([load(FIRST & !3), load(SECOND), load(0xf), load(0x2007), load(2)], [FIRST, SECOND, 0, 0, 0]);
    assert_shown(&world);
}

/// Two domains, both in ring 3; the second may run too.
fn two_domains() -> World {
    let mut world = set_up(World::configured(2, |config| config.machine = Some(MachineKind::PvRing3)));
    write_ldt(&mut world);
    assert_eq!(set_ldt(&mut world, LDT, LDT_ENTRIES), 0);
    world.hv.domains[1].vcpus[0].state = RunState::Runnable;
    world.hv.refresh(1, 0);
    world
}

/// The running vcpu yields to the domain of this index.
fn switch(world: &mut World, regs: &mut CpuUserRegs, to: usize) {
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[SCHEDOP_YIELD.into(), 0]), 0);
    assert_eq!(world.next(regs), Next::Guest);
    assert_eq!(world.hv.here.domain, to);
}

fn register(world: &mut World, kind: u16, flags: u16, address: u64) {
    let callback = CallbackRegister::new(kind, flags, address);
    assert_eq!(world.op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &callback), 0);
}

#[test]
fn an_ldt_is_its_vcpus() {
    let mut world = two_domains();
    let mut regs = kernel(&world);
    reads(&mut world, regs, 0);
    switch(&mut world, &mut regs, 1);
    assert_eq!(world.hv.machine.fake.ldt(0), Ldt::NONE, "a domain sees another's LDT");
    switch(&mut world, &mut regs, 0);
    assert_eq!(held(&world).len(), 1);
    assert_shown(&world);
}

#[test]
fn selectors_that_can_be_loaded_stay() {
    let mut world = two_domains();
    let mut regs = kernel(&world);
    let before = regs;
    world.hv.machine.told.selectors = [USER_SS, 0, FIRST, SECOND];
    switch(&mut world, &mut regs, 1);
    assert_eq!(world.hv.machine.told.selectors, [0; 4]);
    switch(&mut world, &mut regs, 0);
    assert_eq!(world.hv.machine.told.selectors, [USER_SS, 0, FIRST, SECOND]);
    assert_eq!((regs, held(&world).len()), (before, 2), "loading them brought the pages");
}

const FAILSAFE: u64 = HANDLER + 0x3800;

#[test]
fn a_selector_that_cannot_be_loaded_again_enters_the_failsafe_callback() {
    for (program, masks) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = two_domains();
        let flags = if masks { CALLBACKF_MASK_EVENTS } else { 0 };
        register(&mut world, CALLBACKTYPE_FAILSAFE, flags, FAILSAFE);
        world.set_mask(false);
        let mut regs = if program { to_program(&mut world) } else { kernel(&world) };
        let before = regs;
        let bad = [0x17, USER_SS, 0x33, 0xe013];
        world.hv.machine.told.selectors = bad;
        switch(&mut world, &mut regs, 1);
        switch(&mut world, &mut regs, 0);
        assert_eq!(world.hv.machine.told.selectors, [0, USER_SS, 0, 0]);
        assert_eq!((regs.rip, regs.cs, regs.ss), (FAILSAFE, USER_CS64, USER_SS));
        assert_eq!(regs.rsp, if program { KERNEL_SP } else { STACK } - 88);
        let cs = if program { USER_CS64 } else { USER_CS64 & !3 };
        let words = world.bounced(&regs, 11);
        assert_eq!(words[..2], [before.rcx, before.r11]);
        assert_eq!(words[2..6], bad.map(u64::from));
        assert_eq!(words[6..], [before.rip, cs.into(), 0x202, before.rsp, USER_SS.into()]);
        assert_eq!(world.upcall().1, masks);
        world.audit();
    }
}

#[test]
fn without_a_failsafe_callback_the_kernel_is_entered_at_0() {
    let mut world = two_domains();
    let mut regs = kernel(&world);
    world.hv.machine.told.selectors = [0x17; 4];
    switch(&mut world, &mut regs, 1);
    switch(&mut world, &mut regs, 0);
    assert_eq!((regs.rip, regs.rsp), (0, STACK - 88));
    assert!(!world.crashed());
}

#[test]
fn a_failsafe_frame_that_cannot_be_written_is_the_domains_end() {
    let mut world = two_domains();
    let mut regs = CpuUserRegs { rsp: READ_ONLY + 0x800, ..kernel(&world) };
    world.hv.machine.told.selectors = [0x17; 4];
    switch(&mut world, &mut regs, 1);
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[SCHEDOP_YIELD.into(), 0]), 0);
    while world.next(&mut regs) == Next::Work {}
    assert_eq!(world.domain().id.0, 2, "the other one goes on");
    let index = world.hv.domain_index(crate::addr::DomainId(1));
    assert!(index.is_none_or(|index| world.hv.domains[index].shutdown == Some(Shutdown::Crash)));
}

#[test]
fn a_kernel_in_ring_1_gets_nulls() {
    let mut world = World::with_domains(2);
    world.hv.domains[1].vcpus[0].state = RunState::Runnable;
    world.hv.refresh(1, 0);
    let mut regs = world.kernel();
    let before = regs;
    world.hv.machine.told.selectors = [0x13, USER_SS, 0x17, 0];
    switch(&mut world, &mut regs, 1);
    switch(&mut world, &mut regs, 0);
    assert_eq!((regs, world.hv.machine.told.selectors), (before, [0, USER_SS, 0, 0]));
}

const NMI_HANDLER: u64 = HANDLER + 16 * 2;

fn send_nmi(world: &mut World, vcpu: u64, argument: u64) -> i64 {
    world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_SEND_NMI.into(), vcpu, argument])
}

/// The kernel returns to itself.
fn iret(world: &mut World) -> CpuUserRegs {
    let context = IretContext {
        rip: CODE + 0x100,
        cs: u64::from(USER_CS64) & !3,
        rflags: 0x2,
        rsp: STACK,
        ss: USER_SS.into(),
        ..IretContext::new_zeroed()
    };
    world.put(STACK - 0x100, &context);
    let mut regs = CpuUserRegs { rax: HYPERVISOR_IRET, rsp: STACK - 0x100, ..kernel(world) };
    world.hv.hypercall(&mut regs);
    regs
}

#[test]
fn an_nmi_enters_whatever_is_masked_and_the_next_waits_for_the_iret_hypercall() {
    let mut world = world();
    world.set_mask(true);
    assert_eq!(send_nmi(&mut world, 0, ARG), Errno::EINVAL.to_ret());
    assert_eq!(send_nmi(&mut world, 1, 0), Errno::ENOENT.to_ret());
    let before = kernel(&world);
    let mut regs = before;
    assert_eq!((world.next(&mut regs), regs), (Next::Guest, before));
    for _ in 0..2 {
        assert_eq!(send_nmi(&mut world, 0, 0), 0);
    }
    assert_eq!((world.next(&mut regs), regs.rip), (Next::Guest, NMI_HANDLER));
    assert_eq!(world.bounced(&regs, 3)[2], before.rip);
    let inside = regs;
    assert_eq!(send_nmi(&mut world, 0, 0), 0);
    assert_eq!((world.next(&mut regs), regs), (Next::Guest, inside), "one at a time");
    let mut regs = iret(&mut world);
    assert_eq!((world.next(&mut regs), regs.rip), (Next::Guest, NMI_HANDLER));
    let mut regs = iret(&mut world);
    let back = regs;
    assert_eq!((world.next(&mut regs), regs), (Next::Guest, back));
}

#[test]
fn the_nmi_callback_is_trap_2s_handler() {
    let mut world = world();
    register(&mut world, CALLBACKTYPE_NMI, 0, HANDLER + 0x4000);
    let trap = world.vcpu().traps[2];
    assert_eq!((trap.vector, trap.flags, trap.cs, trap.address), (2, 4, USER_CS64, HANDLER + 0x4000));
    world.set_mask(false);
    let mut regs = kernel(&world);
    assert_eq!(send_nmi(&mut world, 0, 0), 0);
    assert_eq!((world.next(&mut regs), regs.rip), (Next::Guest, HANDLER + 0x4000));
    assert!(world.upcall().1, "it masks events");
    world.put(LIST, &[TrapInfo::new(2, TrapFlags::empty(), 0, HANDLER), TrapInfo::default()]);
    assert_eq!(world.call(HYPERVISOR_SET_TRAP_TABLE, &[LIST]), 0);
    assert_eq!(world.vcpu().traps[2].address, HANDLER);
    let request = CallbackUnregister { kind: CALLBACKTYPE_NMI, unused: 0 };
    assert_eq!(world.op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_UNREGISTER, &request), 0);
    assert_eq!(world.vcpu().traps[2], TrapInfo::default());
}

#[test]
fn an_nmi_without_a_handler_is_lost() {
    let mut world = world();
    let request = CallbackUnregister { kind: CALLBACKTYPE_NMI, unused: 0 };
    assert_eq!(world.op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_UNREGISTER, &request), 0);
    let before = kernel(&world);
    let mut regs = before;
    assert_eq!(send_nmi(&mut world, 0, 0), 0);
    assert_eq!((world.next(&mut regs), regs), (Next::Guest, before));
    register(&mut world, CALLBACKTYPE_NMI, 0, HANDLER);
    assert_eq!((world.next(&mut regs), regs), (Next::Guest, before), "it is not kept");
    assert_eq!(send_nmi(&mut world, 0, 0), 0);
    assert_eq!((world.next(&mut regs), regs.rip), (Next::Guest, HANDLER), "and not masked");
}

#[test]
fn an_nmi_wakes_its_vcpu_and_an_event_comes_on_top() {
    let mut world = world();
    let mut regs = kernel(&world);
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[1, 0]), 0);
    assert_eq!(world.next(&mut regs), Next::Idle);
    world.hv.send_nmi(0);
    assert_eq!(world.state(), RunState::Runnable);
    world.set_mask(false);
    let place = world.vcpu().info;
    let word = world.hv.machine.read_word(place.frame, place.offset / 8);
    world.hv.machine.fake.poke(place.frame, place.offset / 8, word | 1);
    assert_eq!((world.next(&mut regs), regs.rip), (Next::Guest, EVENT_HANDLER));
    assert_eq!(world.bounced(&regs, 3)[2], NMI_HANDLER);
}

fn context(world: &World) -> Box<VcpuGuestContext> {
    let mut context = Box::new(VcpuGuestContext::default());
    context.flags = VGCF_IN_KERNEL;
    (context.user_regs.rip, context.user_regs.rsp) = (CODE + 0x40, STACK);
    (context.user_regs.cs, context.user_regs.ss) = (USER_CS64, USER_SS);
    context.kernel_sp = KERNEL_SP;
    context.ctrlreg[3] = mfn_to_cr3(world.vcpu().paging.base().unwrap().get());
    (context.ldt_base, context.ldt_ents) = (LDT, 16);
    context
}

#[test]
fn a_new_vcpu_has_the_ldt_of_its_context() {
    let mut world = set_up(World::configured(1, |config| {
        (config.machine, config.vcpus) = (Some(MachineKind::PvRing3), 2);
    }));
    write_ldt(&mut world);
    type Change = fn(&mut VcpuGuestContext);
    let changes: [(Change, Errno); 4] = [
        (|c| c.ldt_base = LDT + 8, Errno::EINVAL),
        (|c| (c.ldt_base, c.ldt_ents) = (0xffff_8000_0000_0000, 0), Errno::EINVAL),
        (|c| c.ldt_ents = MAX_LDT_ENTRIES + 1, Errno::EINVAL),
        (|c| c.flags = 0, Errno::EINVAL),
    ];
    for (number, (change, error)) in changes.into_iter().enumerate() {
        let mut wanted = context(&world);
        change(&mut wanted);
        world.put(LIST, &*wanted);
        let answer = world.untouched(HYPERVISOR_VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, LIST]);
        assert_eq!(answer, error.to_ret(), "{number}");
    }
    let mut wanted = context(&world);
    (wanted.user_regs.ds, wanted.user_regs.gs) = (0x1235, 0xe010);
    world.put(LIST, &*wanted);
    assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, LIST]), 0);
    let ldt = world.domain().vcpus[1].paging.ldt();
    assert_eq!((ldt.base(), ldt.entries(), ldt.pages().iter().flatten().count()), (LDT, 16, 0));
    assert_eq!(world.hv.machine.fake.ldt(0), Ldt::NONE, "it does not run yet");
    assert_eq!(world.domain().vcpus[1].selectors, [0x1235, 0, 0, 0xe010], "as given");
    world.audit();
}
