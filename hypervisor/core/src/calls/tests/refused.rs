//! Calls that a PV domain without privileges and devices can only be refused: in Xen's order, by Xen's numbers.

use super::world::*;
use crate::addr::Level;
use paravane_abi::errno::Errno::{self, *};
use paravane_abi::event::{EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_RESET, EvtchnOp};
use paravane_abi::hvm::*;
use paravane_abi::hypercall::*;
use paravane_abi::memory::*;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::nmi::{XENNMI_REGISTER_CALLBACK, XENNMI_UNREGISTER_CALLBACK, XennmiCallback};
use paravane_abi::physdev::*;
use paravane_abi::privileged::*;
use paravane_abi::sched::{SCHEDOP_BLOCK, SCHEDOP_POLL, SCHEDOP_SHUTDOWN, SCHEDOP_YIELD};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// The running domain, another one, and one that does not exist.
const OWN: u16 = 1;
const OTHER: u16 = 2;
const NOBODY: u16 = 77;

/// A world with another domain.
fn two() -> World {
    let mut world = World::with_domains(2);
    world.set_up();
    world
}

impl World {
    /// `memory_op` refuses a request, changed so.
    fn ask<T: FromZeros + IntoBytes + Immutable>(
        &mut self,
        command: u32,
        change: impl FnOnce(&mut T),
        error: Errno,
    ) {
        let mut request = T::new_zeroed();
        change(&mut request);
        self.op_refused(HYPERVISOR_MEMORY_OP, command, &request, error);
    }
}

#[test]
fn there_is_no_physmap() {
    let mut world = two();
    for domid in [DOMID_SELF, OWN, OTHER] {
        world.ask::<AddToPhysmap>(XENMEM_ADD_TO_PHYSMAP, |request| request.domid = domid, EACCES);
        world.ask::<AddToPhysmapBatch>(XENMEM_ADD_TO_PHYSMAP_BATCH, |request| request.domid = domid, EACCES);
        world.ask::<RemoveFromPhysmap>(XENMEM_REMOVE_FROM_PHYSMAP, |request| request.domid = domid, EACCES);
    }
    world.ask::<AddToPhysmap>(XENMEM_ADD_TO_PHYSMAP, |request| request.domid = NOBODY, ESRCH);
    let foreign = |request: &mut AddToPhysmap| {
        (request.domid, request.space) = (NOBODY, XENMAPSPACE_GMFN_FOREIGN);
    };
    world.ask(XENMEM_ADD_TO_PHYSMAP, foreign, ENOSYS);
    let range = |request: &mut AddToPhysmapBatch| {
        (request.domid, request.space) = (NOBODY, XENMAPSPACE_GMFN_RANGE as u16);
    };
    world.ask(XENMEM_ADD_TO_PHYSMAP_BATCH, range, EOPNOTSUPP);
    let far = u64::from(XENMEM_ADD_TO_PHYSMAP) | 0x1_0000 << MEMOP_EXTENT_SHIFT;
    world.refused(HYPERVISOR_MEMORY_OP, &[far, HOLE], EDOM);
    let second = u64::from(XENMEM_REMOVE_FROM_PHYSMAP) | 1 << MEMOP_EXTENT_SHIFT;
    world.refused(HYPERVISOR_MEMORY_OP, &[second, HOLE], EINVAL);
}

#[test]
fn memory_that_others_decide_is_refused() {
    let mut world = two();
    world.ask::<MemoryReservation>(XENMEM_CLAIM_PAGES, |request| request.domid = OTHER, EPERM);
    world.ask::<MemoryReservation>(XENMEM_CLAIM_PAGES, |request| request.domid = DOMID_SELF, EINVAL);
    let order = |request: &mut MemoryReservation| (request.domid, request.extent_order) = (OTHER, 1);
    world.ask(XENMEM_CLAIM_PAGES, order, EINVAL);
    world.ask::<VnumaTopologyInfo>(XENMEM_GET_VNUMAINFO, |request| request.domid = DOMID_SELF, EOPNOTSUPP);
    world.ask::<VnumaTopologyInfo>(XENMEM_GET_VNUMAINFO, |request| request.domid = OTHER, EPERM);
    world.ask::<VnumaTopologyInfo>(XENMEM_GET_VNUMAINFO, |request| request.domid = NOBODY, ESRCH);
    world.ask::<VnumaTopologyInfo>(XENMEM_GET_VNUMAINFO, |request| request.pad = 1, EINVAL);
    world.ask::<MemAcquireResource>(XENMEM_ACQUIRE_RESOURCE, |request| request.domid = OTHER, EPERM);
    world.ask::<MemAcquireResource>(XENMEM_ACQUIRE_RESOURCE, |request| request.domid = NOBODY, ESRCH);
    world.ask::<MemAcquireResource>(XENMEM_ACQUIRE_RESOURCE, |request| request.pad = 1, EINVAL);
    let far = |request: &mut MemAcquireResource| (request.frame, request.nr_frames) = (u64::MAX, 1);
    world.ask(XENMEM_ACQUIRE_RESOURCE, far, EINVAL);
    world.ask::<MemAccessOp>(XENMEM_ACCESS_OP, |request| request.domid = OWN, EPERM);
    world.ask::<MemAccessOp>(XENMEM_ACCESS_OP, |request| request.domid = OTHER, EINVAL);
    world.ask::<PodTarget>(XENMEM_SET_POD_TARGET, |request| request.domid = OTHER, EINVAL);
    world.ask::<PodTarget>(XENMEM_GET_POD_TARGET, |request| request.domid = NOBODY, ESRCH);
    world.ask::<ForeignMemoryMap>(XENMEM_SET_MEMORY_MAP, |request| request.map.nr_entries = 1025, EINVAL);
    world.ask::<ForeignMemoryMap>(XENMEM_SET_MEMORY_MAP, |request| request.domid = NOBODY, ESRCH);
    world.ask::<ForeignMemoryMap>(XENMEM_SET_MEMORY_MAP, |request| request.domid = OTHER, EPERM);
    assert_eq!(world.untouched(HYPERVISOR_MEMORY_OP, &[XENMEM_GET_SHARING_FREED_PAGES.into()]), 0);
}

#[test]
fn no_device_reserves_memory() {
    let mut world = World::new();
    let request =
        ReservedDeviceMemoryMap { flags: XENMEM_RDM_ALL, nr_entries: 9, buffer: LIST, ..Default::default() };
    world.put(ARG, &request);
    let command = XENMEM_RESERVED_DEVICE_MEMORY_MAP;
    assert_eq!(world.call(HYPERVISOR_MEMORY_OP, &[command.into(), ARG]), 0);
    assert_eq!(
        world.get::<ReservedDeviceMemoryMap>(ARG),
        ReservedDeviceMemoryMap { nr_entries: 0, ..request }
    );
    world.ask::<ReservedDeviceMemoryMap>(command, |request| request.flags = 2, EINVAL);
    let bad = |request: &mut ReservedDeviceMemoryMap| {
        (request.flags, request.nr_entries, request.buffer) = (2, 1, 0xffff_8000_0000_0000);
    };
    world.ask(command, bad, EFAULT);
}

#[test]
fn privileged_calls_say_what_is_wrong_first() {
    let mut world = two();
    let (platform, sysctl) = (HYPERVISOR_PLATFORM_OP, HYPERVISOR_SYSCTL);
    let (domctl, arch_1) = (HYPERVISOR_DOMCTL, HYPERVISOR_ARCH_1);
    for number in [platform, sysctl, domctl, arch_1] {
        for pointer in BAD {
            world.refused(number, &[pointer], EFAULT);
        }
        world.put(ARG, &Domctl { interface_version: 3, ..Default::default() });
        world.refused(number, &[ARG], if number == arch_1 { EOPNOTSUPP } else { EACCES });
    }
    world.put(ARG, &PlatformOp { interface_version: XENPF_INTERFACE_VERSION, ..Default::default() });
    world.refused(platform, &[ARG], EPERM);
    world.put(ARG, &Sysctl { interface_version: XEN_SYSCTL_INTERFACE_VERSION, ..Default::default() });
    world.refused(sysctl, &[ARG], EPERM);
    let pause = 3;
    for (cmd, domain, by_domctl, by_arch_1) in [
        (pause, OWN, EPERM, EOPNOTSUPP),
        (pause, OTHER, EPERM, EOPNOTSUPP),
        (pause, NOBODY, ESRCH, EOPNOTSUPP),
        (pause, DOMID_SELF, ESRCH, EOPNOTSUPP),
        (XEN_DOMCTL_CREATEDOMAIN, NOBODY, EPERM, EOPNOTSUPP),
        (XEN_DOMCTL_GETDOMAININFO, 0, EPERM, EOPNOTSUPP),
        (XEN_DOMCTL_GETDOMAININFO, OTHER, EPERM, EOPNOTSUPP),
        (XEN_DOMCTL_GETDOMAININFO, NOBODY, ESRCH, EOPNOTSUPP),
        (XEN_DOMCTL_GETDOMAININFO, 0x7fef, ESRCH, EOPNOTSUPP),
        (XEN_DOMCTL_GETDOMAININFO, DOMID_SELF, EINVAL, EOPNOTSUPP),
        (XEN_DOMCTL_SHADOW_OP, OTHER, EPERM, EPERM),
        (XEN_DOMCTL_SHADOW_OP, NOBODY, ESRCH, ESRCH),
    ] {
        let interface_version = XEN_DOMCTL_INTERFACE_VERSION;
        world.put(ARG, &Domctl { cmd, interface_version, domain, ..Default::default() });
        world.refused(domctl, &[ARG], by_domctl);
        world.refused(arch_1, &[ARG], by_arch_1);
    }
    for (number, error) in [
        (HYPERVISOR_KEXEC_OP, EPERM),
        (HYPERVISOR_HYPFS_OP, EPERM),
        (HYPERVISOR_XSM_OP, ENOSYS),
        (HYPERVISOR_XENPMU_OP, EOPNOTSUPP),
    ] {
        world.refused(number, &[0, HOLE], error);
    }
}

#[test]
fn no_domain_has_a_device_model() {
    let mut world = two();
    let dm = HYPERVISOR_DM_OP;
    for (domid, count, buffers, error) in [
        (OTHER, 0, HOLE, ENODATA),
        (OTHER, 3, HOLE, E2BIG),
        (NOBODY, 2, HOLE, EFAULT),
        (NOBODY, 1, ARG, ESRCH),
        (OWN, 1, ARG, EPERM),
        (DOMID_SELF, 1, ARG, ESRCH),
        (OTHER, 2, ARG, EINVAL),
    ] {
        world.refused(dm, &[domid.into(), count, buffers], error);
    }
}

#[test]
fn hvm_op_tells_the_time_and_little_else() {
    let mut world = two();
    let hvm = HYPERVISOR_HVM_OP;
    assert_eq!(world.call(hvm, &[HVMOP_GET_TIME, ARG]), 0);
    assert_eq!(world.get::<HvmGetTime>(ARG).now, world.hv.now());
    world.refused(hvm, &[HVMOP_GET_TIME, READ_ONLY], EFAULT);
    for (index, domid, error) in
        [(0, DOMID_SELF, EINVAL), (0, OTHER, EINVAL), (0, NOBODY, ESRCH), (HVM_NR_PARAMS, NOBODY, EINVAL)]
    {
        world.put(ARG, &HvmParam { domid, index, ..Default::default() });
        world.refused(hvm, &[HVMOP_GET_PARAM, ARG], error);
        world.refused(hvm, &[HVMOP_SET_PARAM, ARG], error);
    }
    for (domid, dying, kind) in [
        (OWN, EINVAL, EINVAL),
        (DOMID_SELF, EINVAL, EINVAL),
        (OTHER, EOPNOTSUPP, EPERM),
        (NOBODY, ESRCH, ESRCH),
    ] {
        world.put(ARG, &HvmPagetableDying { domid, ..Default::default() });
        world.refused(hvm, &[HVMOP_PAGETABLE_DYING, ARG], dying);
        world.refused(hvm, &[HVMOP_GET_MEM_TYPE, ARG], kind);
    }
    world.put(ARG, &HvmXentrace { event: 0xfff, extra_bytes: 28, ..Default::default() });
    assert_eq!(world.untouched(hvm, &[HVMOP_XENTRACE, ARG]), 0);
    for (event, extra_bytes) in [(0x1000, 0), (0, 29)] {
        world.put(ARG, &HvmXentrace { event, extra_bytes, ..Default::default() });
        world.refused(hvm, &[HVMOP_XENTRACE, ARG], EINVAL);
    }
    assert_eq!(world.untouched(hvm, &[HVMOP_GUEST_REQUEST_VM_EVENT, 0]), 0);
    world.refused(hvm, &[HVMOP_GUEST_REQUEST_VM_EVENT, ARG], EINVAL);
    world.refused(hvm, &[HVMOP_FLUSH_TLBS, 0], EINVAL);
    world.refused(hvm, &[HVMOP_SET_EVTCHN_UPCALL_VECTOR, HOLE], EINVAL);
    world.refused(hvm, &[HVMOP_ALTP2M, HOLE], EOPNOTSUPP);
    world.refused(hvm, &[12, ARG], ENOSYS);
    world.refused(hvm, &[1 << 32, ARG], ENOSYS);
}

#[test]
fn devices_are_refused() {
    let mut world = two();
    let physdev = HYPERVISOR_PHYSDEV_OP;
    for (domid, error) in [(DOMID_SELF, EPERM), (OTHER, EPERM), (NOBODY, ESRCH)] {
        world.op_refused(physdev, PHYSDEVOP_MAP_PIRQ, &PhysdevMapPirq { domid, ..Default::default() }, error);
        world.op_refused(
            physdev,
            PHYSDEVOP_UNMAP_PIRQ,
            &PhysdevUnmapPirq { domid, ..Default::default() },
            error,
        );
    }
    for (is_extfn, is_virtfn, error) in [(1, 1, EPERM), (2, 0, EINVAL), (0, 2, EINVAL)] {
        let request = PhysdevManagePciExt { is_extfn, is_virtfn, ..Default::default() };
        world.op_refused(physdev, PHYSDEVOP_MANAGE_PCI_ADD_EXT, &request, error);
    }
    let table = PhysdevMapPirq {
        domid: NOBODY,
        kind: MAP_PIRQ_TYPE_MULTI_MSI,
        table_base: 0x1000,
        ..Default::default()
    };
    world.op_refused(physdev, PHYSDEVOP_MAP_PIRQ, &table, EINVAL);
    for (gsi, error) in [(9, EPERM), (23, EPERM), (24, EINVAL), (-1, EINVAL), (i32::MAX, EINVAL)] {
        world.op_refused(physdev, PHYSDEVOP_SETUP_GSI, &PhysdevSetupGsi { gsi, ..Default::default() }, error);
    }
    world.put(ARG, &[0u64; 4]);
    for (command, error) in [
        (PHYSDEVOP_EOI, EINVAL),
        (PHYSDEVOP_GET_FREE_PIRQ, ENOSPC),
        (PHYSDEVOP_APIC_READ, EPERM),
        (PHYSDEVOP_ALLOC_IRQ_VECTOR, EPERM),
        (PHYSDEVOP_FREE_IRQ_VECTOR, ENOSYS),
        (PHYSDEVOP_MANAGE_PCI_REMOVE, EPERM),
        (PHYSDEVOP_RESTORE_MSI, ENODEV),
        (PHYSDEVOP_RESTORE_MSI_EXT, ENODEV),
        (PHYSDEVOP_PCI_DEVICE_ADD, EPERM),
        (PHYSDEVOP_PREPARE_MSIX, EPERM),
        (PHYSDEVOP_DBGP_OP, EPERM),
        (PHYSDEVOP_PCI_MMCFG_RESERVED, EPERM),
    ] {
        world.refused(physdev, &[command.into(), ARG], error);
    }
    assert_eq!(world.untouched(physdev, &[PHYSDEVOP_IRQ_UNMASK_NOTIFY.into(), HOLE]), 0);
}

#[test]
fn interrupts_that_could_be_need_an_end() {
    let mut world = World::new();
    let physdev = HYPERVISOR_PHYSDEV_OP;
    for irq in [0, 55] {
        world.put(ARG, &PhysdevIrqStatusQuery { irq, flags: u32::MAX });
        assert_eq!(world.call(physdev, &[PHYSDEVOP_IRQ_STATUS_QUERY.into(), ARG]), 0);
        assert_eq!(world.get::<PhysdevIrqStatusQuery>(ARG).flags, XENIRQSTAT_NEEDS_EOI);
    }
    for irq in [56, u32::MAX] {
        let request = PhysdevIrqStatusQuery { irq, flags: 0 };
        world.op_refused(physdev, PHYSDEVOP_IRQ_STATUS_QUERY, &request, EINVAL);
    }
}

#[test]
fn a_page_of_ends_is_given_once() {
    let mut world = World::new();
    let physdev = HYPERVISOR_PHYSDEV_OP;
    let own = PhysdevPirqEoiGmfn { gmfn: world.mfn(LIST).get() };
    for command in [PHYSDEVOP_PIRQ_EOI_GMFN_V1, PHYSDEVOP_PIRQ_EOI_GMFN_V2] {
        for gmfn in [u64::MAX, world.hv.frames.len() as u64, world.entry(LIST, Level::L1).0.get()] {
            world.op_refused(physdev, command, &PhysdevPirqEoiGmfn { gmfn }, EINVAL);
        }
    }
    assert_eq!(world.op(physdev, PHYSDEVOP_PIRQ_EOI_GMFN_V2, &own), 0);
    world.audit();
    for command in [PHYSDEVOP_PIRQ_EOI_GMFN_V1, PHYSDEVOP_PIRQ_EOI_GMFN_V2] {
        world.op_refused(physdev, command, &own, EBUSY);
    }
}

#[test]
fn older_forms_do_what_the_newer_ones_do() {
    let mut world = World::new();
    // dom, remote_dom: a port for oneself.
    let request =
        EvtchnOp { cmd: EVTCHNOP_ALLOC_UNBOUND, u: [u32::from(DOMID_SELF) * 0x1_0001, 0, 0, 0, 0, 0] };
    world.put(ARG, &request);
    assert_eq!(world.call(HYPERVISOR_EVENT_CHANNEL_OP_COMPAT, &[ARG]), 0);
    assert!(world.get::<EvtchnOp>(ARG).u[1] > 0, "the port was written behind the number");
    for cmd in [EVTCHNOP_RESET, 11, 13, 99, u32::MAX] {
        world.put(ARG, &EvtchnOp { cmd, ..Default::default() });
        world.refused(HYPERVISOR_EVENT_CHANNEL_OP_COMPAT, &[ARG], ENOSYS);
    }
    world.put(ARG, &PhysdevOp { cmd: PHYSDEVOP_SET_IOPL, pad: 0, u: [1, 0] });
    assert_eq!(world.call(HYPERVISOR_PHYSDEV_OP_COMPAT, &[ARG]), 0);
    assert_eq!(world.vcpu().iopl, 1);
    world.put(ARG, &PhysdevOp { cmd: 99, ..Default::default() });
    world.refused(HYPERVISOR_PHYSDEV_OP_COMPAT, &[ARG], ENOSYS);
    for pointer in BAD {
        world.refused(HYPERVISOR_EVENT_CHANNEL_OP_COMPAT, &[pointer], EFAULT);
        world.refused(HYPERVISOR_PHYSDEV_OP_COMPAT, &[pointer], EFAULT);
    }
    assert_eq!(world.call(HYPERVISOR_SCHED_OP_COMPAT, &[SCHEDOP_YIELD.into(), HOLE]), 0);
    world.refused(HYPERVISOR_SCHED_OP_COMPAT, &[SCHEDOP_POLL.into(), HOLE], ENOSYS);
    let nmi = HYPERVISOR_NMI_OP;
    for (address, error) in [(1 << 47, EINVAL), (0xffff_7fff_ffff_ffff, EINVAL)] {
        let request = XennmiCallback { handler_address: address, pad: 0 };
        world.op_refused(nmi, XENNMI_REGISTER_CALLBACK, &request, error);
    }
    world.put(ARG, &XennmiCallback { handler_address: HANDLER, pad: 0 });
    assert_eq!(world.call(nmi, &[XENNMI_REGISTER_CALLBACK.into(), ARG]), 0);
    assert_eq!(world.vcpu().traps[2].address, HANDLER);
    assert_eq!(world.call(nmi, &[XENNMI_UNREGISTER_CALLBACK.into(), 0]), 0);
    assert_eq!(world.vcpu().traps[2].address, 0);
    world.refused(nmi, &[2, ARG], ENOSYS);
}

#[test]
fn the_older_sched_op_blocks_and_shuts_down() {
    let mut world = World::new();
    assert_eq!(world.call(HYPERVISOR_SCHED_OP_COMPAT, &[SCHEDOP_BLOCK.into()]), 0);
    assert_eq!(world.vcpu().state, crate::domain::RunState::Blocked);
    let mut world = World::new();
    let reboot = 0x101;
    world.call(HYPERVISOR_SCHED_OP_COMPAT, &[SCHEDOP_SHUTDOWN.into(), reboot]);
    assert_eq!(world.hv.domain().shutdown, Some(crate::domain::Shutdown::Reboot), "the low byte counts");
}
