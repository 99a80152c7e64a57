//! What calls answer and do on good use, beside events, timers and batches.

use super::world::*;
use crate::descriptor::Gate;
use crate::domain::Callback;
use paravane_abi::callback::*;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::vm_assist::{VMASST_CMD_DISABLE, VMASST_CMD_ENABLE};
use paravane_abi::hypercall::*;
use paravane_abi::physdev::*;
use paravane_abi::ring1::Ring1Counters;
use paravane_abi::trap::{TrapFlags, TrapInfo};
use paravane_abi::vcpu::*;
use paravane_abi::version::*;
use paravane_abi::vm_assist::VMASST_TYPE_PAE_EXTENDED_CR3;
use std::vec::Vec;

#[test]
fn versions_and_features() {
    let mut world = World::new();
    assert_eq!(world.call(HYPERVISOR_XEN_VERSION, &[XENVER_VERSION.into(), 0]), 4 << 16 | 17);
    for (command, start) in
        [(XENVER_EXTRAVERSION, b".0-par"), (XENVER_CAPABILITIES, b"xen-3."), (XENVER_COMMANDLINE, b"<denie")]
    {
        assert_eq!(world.call(HYPERVISOR_XEN_VERSION, &[command.into(), ARG]), 0);
        assert_eq!(&world.get::<[u8; 6]>(ARG), start);
    }
    // What is withheld is not padded either.
    world.put(ARG, &[0xffu8; 16]);
    assert_eq!(world.call(HYPERVISOR_XEN_VERSION, &[XENVER_COMMANDLINE.into(), ARG]), 0);
    assert_eq!(&world.get::<[u8; 10]>(ARG), b"<denied>\0\xff");
    let platform = [XENVER_PLATFORM_PARAMETERS.into(), ARG];
    assert_eq!(
        (world.call(HYPERVISOR_XEN_VERSION, &platform), world.get(ARG)),
        (0, 0xffff_8000_0000_0000_u64)
    );
    // Updates that keep A and D, high memory, bits for grants, memory by virtual node, direct mapping.
    const ALWAYS: u32 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 13 | 1 << 17;
    // A base pointer of more than 32 bits, once it was asked for.
    for (assist, submap) in
        [(None, ALWAYS), (Some(VMASST_CMD_ENABLE), ALWAYS | 1 << 4), (Some(VMASST_CMD_DISABLE), ALWAYS)]
    {
        if let Some(command) = assist {
            let arguments = [command.into(), VMASST_TYPE_PAE_EXTENDED_CR3.into()];
            assert_eq!(world.call(HYPERVISOR_VM_ASSIST, &arguments), 0);
        }
        let request = FeatureInfo { submap_idx: 0, submap: 0x77 };
        assert_eq!(world.op(HYPERVISOR_XEN_VERSION, XENVER_GET_FEATURES, &request), 0);
        assert_eq!(world.get::<FeatureInfo>(ARG).submap, submap);
    }
    for submap_idx in [1, 2, u32::MAX] {
        let request = FeatureInfo { submap_idx, submap: 0 };
        world.op_refused(HYPERVISOR_XEN_VERSION, XENVER_GET_FEATURES, &request, Errno::EINVAL);
    }
    assert_eq!(world.call(HYPERVISOR_XEN_VERSION, &[XENVER_PAGESIZE.into(), 0]), 4096);
    world.refused(HYPERVISOR_XEN_VERSION, &[XENVER_PAGESIZE.into(), ARG], Errno::EINVAL);
    world.refused(HYPERVISOR_XEN_VERSION, &[XENVER_BUILD_ID.into(), ARG], Errno::EPERM);
    world.put(ARG, &[0xffu8; 16]);
    assert_eq!(world.call(HYPERVISOR_XEN_VERSION, &[XENVER_GUEST_HANDLE.into(), ARG]), 0);
    assert_eq!(world.get::<[u8; 16]>(ARG), [0; 16]);
    let calls = world.hv.counters.hypercalls;
    assert_eq!(world.call(HYPERVISOR_RING1_OP, &[0, ARG]), 0);
    assert_eq!(world.get::<Ring1Counters>(ARG).hypercalls, calls + 1);
}

#[test]
fn what_is_written_over_the_end_of_a_page_is_written_whole() {
    let mut world = World::new();
    let across = LIST + 0x1ffc;
    assert_eq!(world.call(HYPERVISOR_XEN_VERSION, &[XENVER_EXTRAVERSION.into(), across]), 0);
    assert_eq!(&world.get::<[u8; 12]>(across), b".0-paravane\0");
}

#[test]
fn the_trap_table_is_taken_in_pieces() {
    let mut world = World::bare();
    // 100 entries, the last of which is refused: those before stay, as in Xen.
    let trap = |vector: u64| TrapInfo::new(vector as u8, TrapFlags::empty(), 0, HANDLER + vector);
    let mut traps: Vec<TrapInfo> = (0..100).map(trap).collect();
    traps.push(TrapInfo { address: 1 << 47, ..trap(7) });
    world.put(LIST, traps.as_slice());
    assert_eq!(world.call(HYPERVISOR_SET_TRAP_TABLE, &[LIST]), Errno::EINVAL.to_ret());
    assert_eq!(world.preempted, 1);
    assert!((0..100).all(|n| world.vcpu().traps[n as usize].address == HANDLER + n));
    // A list without an end never holds the hypervisor for longer than a step.
    let mut regs = world.regs_for(HYPERVISOR_SET_TRAP_TABLE, &[LIST]);
    world.hv.hypercall(&mut regs);
    assert_eq!((regs.rdi, regs.rip), (LIST + 64 * 16, CODE + 0x100 - 2));
    assert_eq!(world.call(HYPERVISOR_SET_TRAP_TABLE, &[0]), 0);
    assert!(world.vcpu().traps.iter().all(|trap| *trap == TrapInfo::default()));
}

#[test]
fn only_plain_traps_of_programs_get_direct_gates() {
    let mut world = World::new();
    for (vector, flags, address, direct) in [
        (0x80, TrapFlags::DPL3, HANDLER, true),
        (0x30, TrapFlags::DPL3, HANDLER, true),
        (0x2f, TrapFlags::DPL3, HANDLER, false),
        (0x81, TrapFlags::DPL3, HANDLER, false),
        (0x82, TrapFlags::DPL3, HANDLER, false),
        (0x03, TrapFlags::DPL3, HANDLER, false),
        (0xe0, TrapFlags::DPL3, HANDLER, false),
        (0x40, TrapFlags::DPL3 | TrapFlags::MASK_EVENTS, HANDLER, false),
        (0x41, TrapFlags::empty(), HANDLER, false),
        (0x42, TrapFlags::DPL3, 0xffff_8080_0001_2000, false),
    ] {
        world.put(LIST, &[TrapInfo::new(vector, flags, 0, address), TrapInfo::default()]);
        assert_eq!(world.call(HYPERVISOR_SET_TRAP_TABLE, &[LIST]), 0);
        let gate = direct.then(|| Gate::trap(address, crate::descriptor::RING1_CS64, 3, 0));
        assert_eq!(world.hv.machine.told.gates.get(&vector), gate.as_ref(), "{vector:#x}");
    }
    // Another handler for a vector that had one takes it away.
    world.put(LIST, &[TrapInfo::new(0x80, TrapFlags::empty(), 0, HANDLER), TrapInfo::default()]);
    assert_eq!(world.call(HYPERVISOR_SET_TRAP_TABLE, &[LIST]), 0);
    assert!(!world.hv.machine.told.gates.contains_key(&0x80));
}

#[test]
fn callbacks_are_registered_one_by_one_and_together() {
    let mut world = World::new();
    let register = |world: &mut World, kind, flags, address| {
        world.op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &CallbackRegister::new(kind, flags, address))
    };
    for kind in [0, 1, 2, 4, 5, 7] {
        assert_eq!(register(&mut world, kind, CALLBACKF_MASK_EVENTS, HANDLER + u64::from(kind)), 0);
    }
    assert_eq!(world.hv.machine.told.syscall_entry, Some(HANDLER + 2));
    let masked = |n| Some(Callback { address: HANDLER + n, mask_events: true });
    let callbacks = world.vcpu().callbacks;
    assert_eq!(
        (callbacks.failsafe, callbacks.syscall, callbacks.syscall32),
        (masked(1), masked(2), masked(7))
    );
    for kind in [3, 6, 8, 0xffff] {
        let request = CallbackRegister::new(kind, 0, HANDLER);
        world.op_refused(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &request, Errno::ENOSYS);
        let request = CallbackUnregister { kind, unused: 0 };
        world.op_refused(HYPERVISOR_CALLBACK_OP, CALLBACKOP_UNREGISTER, &request, Errno::ENOSYS);
    }
    for kind in [0, 1, 2, 5, 7] {
        let request = CallbackRegister::new(kind, 0, 1 << 47);
        world.op_refused(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &request, Errno::EINVAL);
        let request = CallbackUnregister { kind, unused: 0 };
        world.op_refused(HYPERVISOR_CALLBACK_OP, CALLBACKOP_UNREGISTER, &request, Errno::EINVAL);
    }
    let request = CallbackUnregister { kind: CALLBACKTYPE_NMI, unused: 0 };
    assert_eq!(world.op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_UNREGISTER, &request), 0);
    assert_eq!(world.vcpu().traps[2].address, 0);
    // The older form has no flags, so those of before go; what is not canonical is ignored.
    assert_eq!(world.call(HYPERVISOR_SET_CALLBACKS, &[1 << 63, HANDLER, HANDLER + 64]), 0);
    let callbacks = world.vcpu().callbacks;
    assert_eq!(callbacks.event.unwrap().address, HANDLER);
    assert_eq!(callbacks.failsafe, Some(Callback { address: HANDLER, mask_events: false }));
    assert_eq!(callbacks.syscall, Some(Callback { address: HANDLER + 64, mask_events: false }));
    assert_eq!(world.hv.machine.told.syscall_entry, Some(HANDLER + 64));
}

#[test]
fn system_calls_never_enter_where_the_guest_has_no_memory() {
    let mut world = World::new();
    for address in [0, 0xffff_8000_0000_0000, 0xffff_8080_0001_2000, 0xffff_87ff_ffff_ffff] {
        world.hv.machine.told.syscall_entry = Some(1);
        assert_eq!(world.call(HYPERVISOR_SET_CALLBACKS, &[EVENT_HANDLER, 0, address]), 0);
        assert_eq!(world.hv.machine.told.syscall_entry, None, "{address:#x}");
    }
}

#[test]
fn assistance_is_for_known_kinds_only() {
    let mut world = World::new();
    for kind in [0, 1, 2, 3, 4, 5, 32] {
        assert_eq!(world.call(HYPERVISOR_VM_ASSIST, &[0, kind]), 0);
        assert_eq!(world.domain().vm_assist, 1 << kind);
        assert_eq!(world.call(HYPERVISOR_VM_ASSIST, &[1, kind]), 0);
        assert_eq!(world.domain().vm_assist, 0);
    }
    for kind in [6, 31, 33, 63, 64, 0xffff_ffff] {
        for command in 0..3 {
            world.refused(HYPERVISOR_VM_ASSIST, &[command, kind], Errno::EINVAL);
        }
    }
}

#[test]
fn ports_belong_to_the_virtual_processor() {
    let mut world = World::new();
    assert_eq!(world.op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOPL, &PhysdevSetIopl { iopl: 3 }), 0);
    assert_eq!(world.vcpu().iopl, 3);
    for iopl in [4, u32::MAX] {
        world.op_refused(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOPL, &PhysdevSetIopl { iopl }, Errno::EINVAL);
    }
    let map = |bitmap, nr_ports| PhysdevSetIobitmap { bitmap, nr_ports, pad: 0 };
    assert_eq!(world.op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOBITMAP, &map(LIST, 65_536)), 0);
    assert_eq!((world.vcpu().io_bitmap, world.vcpu().io_ports), (LIST, 65_536));
    for request in
        [map(LIST, 65_537), map(BAD[3], 1), map(BAD[5], 1), map((1 << 47) - 1, 1), map(u64::MAX, 1)]
    {
        world.op_refused(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOBITMAP, &request, Errno::EINVAL);
    }
    assert_eq!(world.op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOBITMAP, &map(0, 0)), 0);
}

#[test]
fn segment_bases_are_canonical() {
    let mut world = World::new();
    for which in 0..3 {
        for base in [0, 0x7fff_ffff_ffff, 0xffff_8080_0000_0000, u64::MAX] {
            assert_eq!(world.call(HYPERVISOR_SET_SEGMENT_BASE, &[which, base]), 0);
            assert_eq!(world.hv.machine.told.bases[which as usize], base);
        }
        for base in [1 << 47, 1 << 63, 0xffff_7fff_ffff_ffff] {
            world.refused(HYPERVISOR_SET_SEGMENT_BASE, &[which, base], Errno::EINVAL);
        }
    }
    // A selector that cannot be loaded becomes null: the hypervisor's, a system one, one beyond the table.
    for (selector, loaded) in
        [(0xe02b, 0xe02b), (0xe028, 0xe02b), (0xe008, 0), (0xe013, 0), (0xe071, 0), (0xe043, 0)]
            .into_iter()
            .chain([(0x0b, 0), (0x07, 0), (0xfff8, 0), (0xffff, 0), (3, 0), (0, 0)])
    {
        assert_eq!(world.call(HYPERVISOR_SET_SEGMENT_BASE, &[SEGBASE_GS_USER_SEL.into(), selector]), 0);
        assert_eq!(u64::from(world.hv.machine.told.user_gs), loaded, "{selector:#x}");
    }
}

#[test]
fn debug_registers_reach_the_processor_checked() {
    let mut world = World::new();
    assert_eq!(world.call(HYPERVISOR_SET_DEBUGREG, &[0, HANDLER]), 0);
    assert_eq!(world.call(HYPERVISOR_SET_DEBUGREG, &[7, 1]), 0);
    assert_eq!(world.hv.machine.told.debug, [HANDLER, 0, 0, 0, 0, 0, 0, 0x401]);
    assert_eq!(world.call(HYPERVISOR_GET_DEBUGREG, &[7]), 0x401);
    for (register, value, error) in [
        (1, 0xffff_82d0_8000_0000, Errno::EPERM),
        (3, 1 << 47, Errno::EPERM),
        (7, 1 << 13, Errno::EPERM),
        (7, 1 << 32, Errno::EINVAL),
        (6, 1 << 32, Errno::EINVAL),
        (9, 0, Errno::ENODEV),
    ] {
        world.refused(HYPERVISOR_SET_DEBUGREG, &[register, value], error);
    }
    assert_eq!(world.call(HYPERVISOR_FPU_TASKSWITCH, &[1]), 0);
    assert!(world.hv.machine.told.task_switched);
    assert_eq!(world.call(HYPERVISOR_FPU_TASKSWITCH, &[1 << 32]), 0);
    assert!(!world.hv.machine.told.task_switched, "the argument is an int");
}
