//! Batches of calls, returns by hypercall, and descriptor tables.

use super::world::*;
use crate::addr::{Mfn, VirtAddr};
use crate::descriptor::{RING1_CS64, RING1_SS, USER_CS64, USER_SS, bits};
use crate::frame::FrameType;
use crate::hypervisor::Leave;
use crate::memory::Memory;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::regs::{CpuUserRegs, IretContext, VGCF_IN_SYSCALL};
use paravane_abi::trap::{TrapFlags, TrapInfo};
use std::vec::Vec;

const VERSION: i64 = 4 << 16 | 17;

fn entry(op: u64, args: &[u64]) -> MulticallEntry {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    MulticallEntry { result: 0x77, ..MulticallEntry::new(op, all) }
}

fn results(world: &World, count: u64) -> Vec<i64> {
    (0..count).map(|n| world.get::<MulticallEntry>(LIST + 64 * n).result as i64).collect()
}

#[test]
fn a_batch_has_a_result_for_each_call() {
    let mut world = World::new();
    let calls = [
        entry(HYPERVISOR_XEN_VERSION, &[0, 0]),
        entry(99, &[]),
        entry(HYPERVISOR_MULTICALL, &[LIST, 1]),
        entry(HYPERVISOR_XEN_VERSION, &[1, HOLE]),
        entry(HYPERVISOR_FPU_TASKSWITCH, &[1]),
    ];
    world.put(LIST, &calls);
    assert_eq!(world.call(HYPERVISOR_MULTICALL, &[LIST, 5]), 0);
    let [enosys, einval, efault] = [Errno::ENOSYS, Errno::EINVAL, Errno::EFAULT].map(Errno::to_ret);
    assert_eq!(results(&world, 5), [VERSION, enosys, einval, efault, 0]);
    assert!(world.vcpu().task_switched, "a refused call does not end the batch");
    assert_eq!(world.call(HYPERVISOR_MULTICALL, &[BAD[0], 0]), 0);
    assert_eq!(world.call(HYPERVISOR_MULTICALL, &[BAD[0], 1 << 32]), 0, "the count is 32 bits");
}

/// The calls of a batch share one bounded step: 40 that print 256 bytes each are not done in one entry.
#[test]
fn a_batch_has_one_bounded_step() {
    const CALLS: u64 = 40;
    let mut world = World::new();
    let print = entry(HYPERVISOR_CONSOLE_IO, &[0, 256, CODE]);
    for n in 0..CALLS {
        world.put(LIST + 64 * n, &print);
    }
    let mut regs = world.regs_for(HYPERVISOR_MULTICALL, &[LIST, CALLS]);
    let rip = regs.rip;
    world.hv.hypercall(&mut regs);
    assert_eq!(regs.rip, rip - 2, "it is to be made again");
    assert_eq!((regs.rdi, regs.rsi), (LIST + 64, CALLS - 1), "256 bytes are a whole step");
    world.preempted = 0;
    assert_eq!(world.call(HYPERVISOR_MULTICALL, &[LIST, CALLS]), 0);
    assert_eq!(results(&world, CALLS), [0; CALLS as usize]);
    assert_eq!(u64::from(world.preempted), CALLS - 1);
}

#[test]
fn a_batch_begins_where_a_guest_may_have_memory_and_is_read_call_by_call() {
    let mut world = World::new();
    for count in [0, 1, 0xffff_ffff] {
        for address in [0xffff_8000_0000_0000, 0xffff_87ff_ffff_ffc0, 1 << 47] {
            world.refused(HYPERVISOR_MULTICALL, &[address, count], Errno::EFAULT);
        }
    }
    // One that runs into nothing has done what came before.
    let version = entry(HYPERVISOR_FPU_TASKSWITCH, &[1]);
    world.put(HOLE - 64, &version);
    assert_eq!(world.call(HYPERVISOR_MULTICALL, &[HOLE - 64, 3]), Errno::EFAULT.to_ret());
    assert!(world.vcpu().task_switched);
}

#[test]
fn long_batches_and_long_calls_in_them_go_on() {
    let mut world = World::new();
    let calls: Vec<MulticallEntry> = (0..200).map(|_| entry(HYPERVISOR_XEN_VERSION, &[0, 0])).collect();
    world.put(LIST, calls.as_slice());
    assert_eq!(world.call(HYPERVISOR_MULTICALL, &[LIST, 200]), 0);
    assert_eq!(world.preempted, 3);
    assert!(results(&world, 200).iter().all(|result| *result == VERSION));

    // A call that is preempted leaves its further arguments in its entry.
    let trap = |vector| TrapInfo::new(vector, TrapFlags::empty(), 0, HANDLER + 7);
    let traps: Vec<TrapInfo> = (0..100).map(trap).chain([TrapInfo::default()]).collect();
    world.put(LIST + 0x2000, traps.as_slice());
    world.put(
        LIST,
        &[entry(HYPERVISOR_SET_TRAP_TABLE, &[LIST + 0x2000]), entry(HYPERVISOR_XEN_VERSION, &[0, 0])],
    );
    let mut regs = world.regs_for(HYPERVISOR_MULTICALL, &[LIST, 2]);
    world.hv.hypercall(&mut regs);
    assert_eq!((regs.rip, regs.rdi, regs.rsi), (CODE + 0x100 - 2, LIST, 2));
    assert_eq!(world.get::<MulticallEntry>(LIST).args[0], LIST + 0x2000 + 64 * 16);
    world.hv.hypercall(&mut regs);
    assert_eq!((regs.rax, results(&world, 2)), (0, [0, VERSION].to_vec()));
    assert!((0..100).all(|vector| world.vcpu().traps[vector].address == HANDLER + 7));
}

fn context(rip: u64, cs: u16, rflags: u64, ss: u16) -> IretContext {
    IretContext {
        rax: 1,
        r11: 2,
        rcx: 3,
        flags: 0,
        rip,
        cs: cs.into(),
        rflags,
        rsp: USER + 0x90,
        ss: ss.into(),
    }
}

fn iret(world: &mut World, context: &IretContext) -> CpuUserRegs {
    let mut regs = world.regs_for(HYPERVISOR_IRET, &[]);
    regs.rsp = STACK - 128;
    world.put(regs.rsp, context);
    world.hv.hypercall(&mut regs);
    regs
}

#[test]
fn a_return_by_hypercall_takes_over_all_it_names() {
    let mut world = World::new();
    let before = world.regs_for(HYPERVISOR_IRET, &[]);
    let regs = iret(&mut world, &context(USER, USER_CS64, 0x246, USER_SS));
    let wanted = CpuUserRegs {
        rax: 1,
        r11: 2,
        rcx: 3,
        rip: USER,
        cs: USER_CS64,
        rflags: 0x246,
        rsp: USER + 0x90,
        ss: USER_SS,
        ..before
    };
    assert_eq!((regs, world.upcall().1), (wanted, false));
    let fast = IretContext { flags: VGCF_IN_SYSCALL, ..context(USER, USER_CS64, 0x46, USER_SS) };
    let regs = iret(&mut world, &fast);
    assert_eq!((regs.rax, regs.rcx, regs.r11), (1, before.rcx, before.r11));
    assert!(world.upcall().1, "IF is the event mask");
    // Neither ring 0 nor the hypervisor's flags are to be had.
    let regs = iret(&mut world, &context(CODE, 0xe008, u64::MAX, 0xe010));
    assert_eq!((regs.cs, regs.ss), (0xe009, 0xe011), "which the processor refuses");
    assert_eq!(regs.rflags & (0x3000 | 1 << 17 | !0xffff_ffff), 0);
    let regs = iret(&mut world, &context(CODE, RING1_CS64, 0x202, RING1_SS));
    assert_eq!((regs.cs, regs.ss, regs.rip), (RING1_CS64, RING1_SS, CODE));
}

#[test]
fn a_batch_ends_with_a_return() {
    let mut world = World::new();
    let mut regs = world.regs_for(HYPERVISOR_MULTICALL, &[LIST, 3]);
    regs.rsp = STACK - 128;
    world.put(regs.rsp, &context(USER, USER_CS64, 0x202, USER_SS));
    let after = entry(HYPERVISOR_FPU_TASKSWITCH, &[1]);
    world.put(LIST, &[entry(HYPERVISOR_XEN_VERSION, &[0, 0]), entry(HYPERVISOR_IRET, &[]), after]);
    world.hv.hypercall(&mut regs);
    assert_eq!((regs.rip, regs.cs, regs.rax), (USER, USER_CS64, 1));
    assert_eq!(results(&world, 3), [VERSION, 0x77, 0x77]);
    assert!(!world.vcpu().task_switched, "what follows would run for the program (XSA-213)");
}

#[test]
fn a_context_that_cannot_be_read_ends_the_domain() {
    for rsp in BAD {
        let mut world = World::new();
        let mut regs = world.regs_for(HYPERVISOR_IRET, &[]);
        regs.rsp = rsp;
        let before = regs;
        world.hv.hypercall(&mut regs);
        assert_eq!(regs, before);
        assert!(world.crashed(), "{rsp:#x}");
        assert_eq!(world.end(&mut regs), Leave::Crash);
    }
}

/// A 64-bit code segment of ring 1, and data.
const GOOD: [u64; 2] = [
    bits::PRESENT | bits::SEGMENT | bits::CODE | bits::LONG | 1 << bits::DPL_SHIFT,
    bits::PRESENT | bits::SEGMENT | bits::WRITABLE | 3 << bits::DPL_SHIFT,
];

fn unmapped(world: &mut World, address: u64) -> Mfn {
    let frame = world.mfn(address);
    world.map(address, 0);
    frame
}

#[test]
fn a_descriptor_table_is_taken_whole_or_not_at_all() {
    let mut world = World::new();
    let frames = [unmapped(&mut world, LIST + 0x4000), unmapped(&mut world, LIST + 0x5000)];
    for (n, frame) in frames.iter().enumerate() {
        world.hv.machine.fake.poke(*frame, 2, GOOD[n]);
    }
    let list = |frames: &[Mfn]| frames.iter().map(|frame| frame.get()).collect::<Vec<u64>>();
    world.put(ARG, list(&frames).as_slice());
    assert_eq!(world.call(HYPERVISOR_SET_GDT, &[ARG, 513]), 0);
    assert_eq!(world.hv.machine.told.gdt[..3], [Some(frames[0]), Some(frames[1]), None]);
    assert_eq!(world.hv.machine.read_word(frames[0], 2), GOOD[0] | bits::ACCESSED);
    world.audit();
    // A frame still mapped writable, a table, a foreign one, a bad descriptor: the old table stays.
    let writable = world.mfn(LIST + 0x6000);
    let table = world.entry(LIST, crate::addr::Level::L1).0;
    let gate = unmapped(&mut world, LIST + 0x7000);
    world.hv.machine.fake.poke(gate, 511, bits::PRESENT | 0xc << 40);
    for bad in [writable, table, gate, Mfn::new(1), Mfn::new(1 << 40), Mfn::new(u64::MAX)] {
        world.put(ARG, list(&[frames[1], bad]).as_slice());
        world.refused(HYPERVISOR_SET_GDT, &[ARG, 1024], Errno::EINVAL);
    }
    world.refused(HYPERVISOR_SET_GDT, &[ARG, 7169], Errno::EINVAL);
    world.refused(HYPERVISOR_SET_GDT, &[ARG, u64::from(u32::MAX)], Errno::EINVAL);
    world.refused(HYPERVISOR_SET_GDT, &[HOLE - 8, 1024], Errno::EFAULT);
    // One frame may be there twice; then all goes.
    world.put(ARG, list(&[frames[1], frames[1]]).as_slice());
    assert_eq!(world.call(HYPERVISOR_SET_GDT, &[ARG, 1024]), 0);
    world.audit();
    assert_eq!(world.call(HYPERVISOR_SET_GDT, &[BAD[0], 0]), 0);
    assert_eq!(world.hv.machine.told.gdt, [None; 14]);
    assert!(!world.hv.frames.info(frames[1]).unwrap().is_in_use_as(FrameType::SegDesc));
    world.audit();
}

#[test]
fn descriptors_in_use_change_one_by_one_and_checked() {
    let mut world = World::new();
    let frame = unmapped(&mut world, LIST + 0x4000);
    world.put(ARG, &frame.get());
    assert_eq!(world.call(HYPERVISOR_SET_GDT, &[ARG, 512]), 0);
    let place = frame.address() + 8 * 5;
    assert_eq!(world.call(HYPERVISOR_UPDATE_DESCRIPTOR, &[place, GOOD[1]]), 0);
    assert_eq!(world.hv.machine.read_word(frame, 5), GOOD[1] | bits::ACCESSED);
    let table = world.entry(LIST, crate::addr::Level::L1).0.address();
    for (place, raw) in [
        (place + 1, GOOD[1]),
        (place, bits::PRESENT | 0x9 << 40),
        (place, GOOD[0] | bits::DPL),
        (place, GOOD[0] | bits::CONFORMING),
        (table, GOOD[1]),
        (0x1000, GOOD[1]),
        (u64::MAX - 7, GOOD[1]),
    ] {
        world.refused(HYPERVISOR_UPDATE_DESCRIPTOR, &[place, raw], Errno::EINVAL);
    }
    // What is no table yet is memory like any other.
    let memory = world.mfn(LIST).address();
    assert_eq!(world.call(HYPERVISOR_UPDATE_DESCRIPTOR, &[memory, 0]), 0);
    // A selector of the guest's own, and GS of it.
    assert_eq!(world.call(HYPERVISOR_SET_SEGMENT_BASE, &[3, 5 * 8]), 0);
    assert_eq!(world.hv.machine.told.user_gs, 5 * 8 + 3);
    // Page-table updates do not reach a descriptor.
    world.put(ARG, &[frame.address(), GOOD[0] | bits::DPL]);
    world.refused(HYPERVISOR_MMU_UPDATE, &[ARG, 1, 0, 0x7ff0], Errno::EINVAL);
    assert!(VirtAddr::is_guest(LIST));
}
