//! Rows 0 to 15: traps, page tables, descriptors, memory.

/// Part of [`hypercall_table!`](crate::hypercall_table): adds its rows to those before and hands on.
#[doc(hidden)]
#[macro_export]
macro_rules! __hypercall_rows_from_0 {
    ($cb:ident { $($before:tt)* }) => { $crate::__hypercall_rows_from_16! { $cb { $($before)*

0 set_trap_table SetTrapTable HYPERVISOR_SET_TRAP_TABLE [__HYPERVISOR_set_trap_table]
    (traps: *const $crate::trap::TrapInfo) any [EFAULT EINVAL]
    "Replaces trap-table entries from an array that an entry with address 0 ends; a null pointer clears the table." {}

1 mmu_update MmuUpdate HYPERVISOR_MMU_UPDATE [__HYPERVISOR_mmu_update]
    (requests: *const $crate::mmu::MmuUpdate, count: u32, done: *mut u32, domains: u32)
    any [EFAULT EINVAL EPERM ESRCH ENOSYS EBUSY ENOMEM]
    "Writes page-table or machine-to-physical entries, in order, until one is refused; `done` receives how many succeeded." {
    MmuCommand u64:
    0 normal_pt_update NormalPtUpdate MMU_NORMAL_PT_UPDATE [MMU_NORMAL_PT_UPDATE]
        none() any [EINVAL EPERM EBUSY] "Checks and writes a page-table entry.";
    1 machphys_update MachphysUpdate MMU_MACHPHYS_UPDATE [MMU_MACHPHYS_UPDATE]
        none() any [EINVAL EPERM] "Writes the machine-to-physical entry of the frame at `ptr`.";
    2 pt_update_preserve_ad PtUpdatePreserveAd MMU_PT_UPDATE_PRESERVE_AD [MMU_PT_UPDATE_PRESERVE_AD]
        none() any [EINVAL EPERM EBUSY] "As 0, keeping the accessed and dirty bits that are set, atomically.";
    3 pt_update_no_translate PtUpdateNoTranslate MMU_PT_UPDATE_NO_TRANSLATE [MMU_PT_UPDATE_NO_TRANSLATE]
        none() any [EINVAL EPERM EBUSY] "As 0, `val` never being translated through a foreign domain's tables.";
}

2 set_gdt SetGdt HYPERVISOR_SET_GDT [__HYPERVISOR_set_gdt]
    (frames: *const u64, entries: u32) any [EFAULT EINVAL]
    "Installs a GDT: an array of mfns, one for each 512 of `entries` descriptors, at most 7168." {}

3 stack_switch StackSwitch HYPERVISOR_STACK_SWITCH [__HYPERVISOR_stack_switch]
    (ss: u64, sp: u64) any []
    "Sets the stack on which the guest kernel is entered from user mode." {}

4 set_callbacks SetCallbacks HYPERVISOR_SET_CALLBACKS [__HYPERVISOR_set_callbacks]
    (event: u64, failsafe: u64, syscall: u64) any []
    "Sets three callback addresses at once; the older form of `callback_op`. Refused addresses are ignored." {}

5 fpu_taskswitch FpuTaskswitch HYPERVISOR_FPU_TASKSWITCH [__HYPERVISOR_fpu_taskswitch]
    (set: u32) any []
    "Sets (non-zero) or clears CR0.TS." {}

6 sched_op_compat SchedOpCompat HYPERVISOR_SCHED_OP_COMPAT [__HYPERVISOR_sched_op_compat]
    (cmd: u32, arg: u64) any [ENOSYS]
    "The form of `sched_op` before interface version 0x30101: yield, block, and shutdown for the reason in `arg`'s low byte." {}

7 platform_op PlatformOp HYPERVISOR_PLATFORM_OP [__HYPERVISOR_platform_op]
    (op: *mut $crate::privileged::PlatformOp) control [EFAULT EACCES EPERM]
    "The machine's firmware, time and microcode." {}

8 set_debugreg SetDebugreg HYPERVISOR_SET_DEBUGREG [__HYPERVISOR_set_debugreg]
    (register: u32, value: u64) any [EINVAL ENODEV EPERM]
    "Writes DR0 to DR3, DR6 or DR7; breakpoints in the hypervisor's range are refused." {}

9 get_debugreg GetDebugreg HYPERVISOR_GET_DEBUGREG [__HYPERVISOR_get_debugreg]
    (register: u32) any [EINVAL ENODEV]
    "Reads a debug register; a value can look like an error." {}

10 update_descriptor UpdateDescriptor HYPERVISOR_UPDATE_DESCRIPTOR [__HYPERVISOR_update_descriptor]
    (address: u64, descriptor: u64) any [EINVAL]
    "Writes the segment descriptor at a machine address, 8-byte aligned." {}

12 memory_op MemoryOp HYPERVISOR_MEMORY_OP [__HYPERVISOR_memory_op]
    (cmd: u32, arg: *mut u8) any [EFAULT ENOSYS]
    "Memory reservation and information." {
    MemoryCommand u32:
    0 increase_reservation IncreaseReservation XENMEM_INCREASE_RESERVATION [XENMEM_increase_reservation]
        read($crate::memory::MemoryReservation) any [EFAULT EINVAL ESRCH EPERM]
        "Adds extents to the domain, their mfns written to the list; gives the number of extents done.";
    1 decrease_reservation DecreaseReservation XENMEM_DECREASE_RESERVATION [XENMEM_decrease_reservation]
        read($crate::memory::MemoryReservation) any [EFAULT EINVAL ESRCH EPERM]
        "Gives extents back, by mfn; gives the number of extents done.";
    2 maximum_ram_page MaximumRamPage XENMEM_MAXIMUM_RAM_PAGE [XENMEM_maximum_ram_page]
        none() any [EINVAL] "Gives the number of the machine's frames: one more than the largest mfn.";
    3 current_reservation CurrentReservation XENMEM_CURRENT_RESERVATION [XENMEM_current_reservation]
        read($crate::memory::MemoryDomain) any [EFAULT EINVAL ESRCH EPERM] "Gives the domain's pages.";
    4 maximum_reservation MaximumReservation XENMEM_MAXIMUM_RESERVATION [XENMEM_maximum_reservation]
        read($crate::memory::MemoryDomain) any [EFAULT EINVAL ESRCH EPERM] "Gives the most pages the domain may have.";
    5 machphys_mfn_list MachphysMfnList XENMEM_MACHPHYS_MFN_LIST [XENMEM_machphys_mfn_list]
        both($crate::memory::MachphysMfnList) any [EFAULT]
        "Lists the mfns of the machine-to-physical table's 2 MiB extents.";
    6 populate_physmap PopulatePhysmap XENMEM_POPULATE_PHYSMAP [XENMEM_populate_physmap]
        read($crate::memory::MemoryReservation) any [EFAULT EINVAL ESRCH EPERM]
        "Backs pfns with new extents, mfns written over them in the list; gives the number of extents done.";
    7 add_to_physmap AddToPhysmapOne XENMEM_ADD_TO_PHYSMAP [XENMEM_add_to_physmap]
        read($crate::memory::AddToPhysmap) any [EACCES EDOM EFAULT ENOSYS ESRCH]
        "Puts a page into a translated domain's memory; `EACCES` for a PV domain.";
    9 memory_map MemoryMapGet XENMEM_MEMORY_MAP [XENMEM_memory_map]
        both($crate::memory::MemoryMap) any [EFAULT ENOSYS] "Gives the domain's memory map, if it was given one.";
    10 machine_memory_map MachineMemoryMap XENMEM_MACHINE_MEMORY_MAP [XENMEM_machine_memory_map]
        both($crate::memory::MemoryMap) control [EFAULT EINVAL EPERM] "Gives the machine's memory map.";
    11 exchange Exchange XENMEM_EXCHANGE [XENMEM_exchange]
        both($crate::memory::MemoryExchange) any [EFAULT EINVAL ENOMEM ESRCH EPERM]
        "Exchanges extents for others of another size or place.";
    12 machphys_mapping MachphysMappingGet XENMEM_MACHPHYS_MAPPING [XENMEM_machphys_mapping]
        write($crate::memory::MachphysMapping) any [EFAULT] "Gives the address range of the machine-to-physical table.";
    13 set_memory_map SetMemoryMap XENMEM_SET_MEMORY_MAP [XENMEM_set_memory_map]
        read($crate::memory::ForeignMemoryMap) any [EFAULT EINVAL ENOMEM EPERM ESRCH]
        "Sets a domain's memory map, of at most 1024 entries; a domain may set its own.";
    14 maximum_gpfn MaximumGpfn XENMEM_MAXIMUM_GPFN [XENMEM_maximum_gpfn]
        read($crate::memory::MemoryDomain) any [EFAULT EINVAL ESRCH EPERM] "Gives the domain's largest pfn.";
    15 remove_from_physmap RemoveFromPhysmapOne XENMEM_REMOVE_FROM_PHYSMAP [XENMEM_remove_from_physmap]
        read($crate::memory::RemoveFromPhysmap) any [EACCES EFAULT EINVAL ESRCH]
        "Takes a page out of a translated domain's memory; `EACCES` for a PV domain.";
    16 set_pod_target SetPodTarget XENMEM_SET_POD_TARGET [XENMEM_set_pod_target]
        both($crate::memory::PodTarget) control [EFAULT EINVAL EPERM ESRCH]
        "Sets an HVM domain's populate-on-demand target; `EINVAL` for a PV domain.";
    17 get_pod_target GetPodTarget XENMEM_GET_POD_TARGET [XENMEM_get_pod_target]
        both($crate::memory::PodTarget) control [EFAULT EINVAL EPERM ESRCH]
        "Gives an HVM domain's populate-on-demand target; `EINVAL` for a PV domain.";
    18 get_sharing_freed_pages GetSharingFreedPages XENMEM_GET_SHARING_FREED_PAGES [XENMEM_get_sharing_freed_pages]
        none() any [] "Gives the pages saved by sharing between domains.";
    19 get_sharing_shared_pages GetSharingSharedPages XENMEM_GET_SHARING_SHARED_PAGES [XENMEM_get_sharing_shared_pages]
        none() any [] "Gives the pages shared between domains.";
    20 paging_op PagingOp XENMEM_PAGING_OP [XENMEM_paging_op]
        none() control [ENOSYS] "Pages an HVM domain's memory out; left out of ordinary builds.";
    21 access_op AccessOp XENMEM_ACCESS_OP [XENMEM_access_op]
        both($crate::memory::MemAccessOp) control [EFAULT EINVAL EPERM ESRCH]
        "Sets or gives access rights of another domain's pages; `EINVAL` for a PV domain.";
    22 sharing_op SharingOp XENMEM_SHARING_OP [XENMEM_sharing_op]
        none() control [ENOSYS] "Shares pages between HVM domains; left out of ordinary builds.";
    23 add_to_physmap_batch AddToPhysmapMany XENMEM_ADD_TO_PHYSMAP_BATCH [XENMEM_add_to_physmap_batch]
        read($crate::memory::AddToPhysmapBatch) any [EACCES EDOM EFAULT EOPNOTSUPP ESRCH]
        "As 7, for many pages; `EACCES` for a PV domain.";
    24 claim_pages ClaimPages XENMEM_CLAIM_PAGES [XENMEM_claim_pages]
        read($crate::memory::MemoryReservation) control [EFAULT EINVAL EPERM]
        "Sets pages aside for a domain.";
    25 machphys_compat_mfn_list MachphysCompatMfnList XENMEM_MACHPHYS_COMPAT_MFN_LIST [XENMEM_machphys_compat_mfn_list]
        both($crate::memory::MachphysMfnList) any [EFAULT EOPNOTSUPP]
        "Lists the mfns of 32-bit domains' machine-to-physical table, where there are such domains.";
    26 get_vnumainfo GetVnumainfo XENMEM_GET_VNUMAINFO [XENMEM_get_vnumainfo]
        both($crate::memory::VnumaTopologyInfo) any [EFAULT EINVAL ENOBUFS ENOMEM EOPNOTSUPP EPERM ESRCH]
        "Gives the domain's virtual NUMA topology, if it was given one.";
    27 reserved_device_memory_map ReservedDeviceMemoryMapGet XENMEM_RESERVED_DEVICE_MEMORY_MAP
        [XENMEM_reserved_device_memory_map]
        both($crate::memory::ReservedDeviceMemoryMap) any [EFAULT EINVAL ENOBUFS]
        "Gives the regions that devices need at their own addresses.";
    28 acquire_resource AcquireResource XENMEM_ACQUIRE_RESOURCE [XENMEM_acquire_resource]
        both($crate::memory::MemAcquireResource) control [EFAULT EINVAL EOPNOTSUPP EPERM ESRCH]
        "Gives frames of another domain's resource, such as its grant table.";
}

13 multicall Multicall HYPERVISOR_MULTICALL [__HYPERVISOR_multicall]
    (calls: *mut $crate::multicall::MulticallEntry, count: u32) any [EFAULT EINVAL]
    "Makes calls in order and stores their results; an `iret` among them ends the batch." {}

14 update_va_mapping UpdateVaMapping HYPERVISOR_UPDATE_VA_MAPPING [__HYPERVISOR_update_va_mapping]
    (va: u64, val: u64, flags: u64) any [EINVAL EFAULT EPERM EBUSY]
    "Writes the L1 entry that maps a virtual address in the running address space, and flushes by `UVMF_*`." {}

15 set_timer_op SetTimerOp HYPERVISOR_SET_TIMER_OP [__HYPERVISOR_set_timer_op]
    (timeout: u64) any []
    "Sets this vcpu's one-shot timer to a system time in nanoseconds; 0 stops it." {}

    } } };
}
