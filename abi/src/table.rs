//! The one table of hypercalls.

/// Calls back a macro with a row for every hypercall and sub-operation a PV guest uses.
///
/// `hypercall_table!(cb)` expands to `cb! { rows }`, `hypercall_table!(cb, tokens)` to `cb! { { tokens } rows }`; in item,
/// statement and expression position. A row is
///
/// ```text
/// NUMBER snake_name CamelName CONSTANT [XenName] (argument: type, ...) callers [ERRORS] "doc"
///     { sub-operations }
/// ```
///
/// where `callers` is `any` (every guest kernel), `control` (a privileged domain) or `hardware` (the domain that owns the
/// machine's devices), and the braces are empty for a call without sub-operations or hold
/// `EnumName type: rows`, each row being
///
/// ```text
/// NUMBER snake_name CamelName CONSTANT [XenName] direction(type) callers [ERRORS] "doc";
/// ```
///
/// `direction(type)` is what the call's argument points to: `none()`, `read(T)` (the hypervisor reads a `T`),
/// `write(T)` (it writes one), `both(T)`, or `value(T)` when the argument is no pointer. `[XenName]` is `[]` for what Xen
/// does not have. `[ERRORS]` are the errors the call itself gives; besides, any call gives `EFAULT` for a pointer that
/// cannot be used and an unknown number gives `ENOSYS`, and both are listed where they apply.
///
/// # Examples
///
/// The name of every call:
///
/// ```
/// macro_rules! names {
///     ($(
///         $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] ($($arg:ident: $ty:ty),*)
///         $callers:ident [$($error:ident)*] $doc:literal { $($subs:tt)* }
///     )*) => {
///         &[$(($number, stringify!($name))),*]
///     };
/// }
/// let names: &[(u64, &str)] = paravane_abi::hypercall_table!(names);
/// assert!(names.contains(&(13, "multicall")));
/// ```
#[macro_export]
macro_rules! hypercall_table {
    ($cb:ident) => { $crate::hypercall_table!(@rows $cb {}); };
    ($cb:ident, $($extra:tt)*) => { $crate::hypercall_table!(@rows $cb { { $($extra)* } }); };
    (@rows $cb:ident { $($extra:tt)* }) => { $cb! { $($extra)*

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
        none() any [] "Gives the largest mfn of RAM in the machine.";
    3 current_reservation CurrentReservation XENMEM_CURRENT_RESERVATION [XENMEM_current_reservation]
        read($crate::memory::MemoryDomain) any [EFAULT ESRCH EPERM] "Gives the domain's pages.";
    4 maximum_reservation MaximumReservation XENMEM_MAXIMUM_RESERVATION [XENMEM_maximum_reservation]
        read($crate::memory::MemoryDomain) any [EFAULT ESRCH EPERM] "Gives the most pages the domain may have.";
    5 machphys_mfn_list MachphysMfnList XENMEM_MACHPHYS_MFN_LIST [XENMEM_machphys_mfn_list]
        both($crate::memory::MachphysMfnList) control [EFAULT EPERM]
        "Lists the mfns of the machine-to-physical table's 2 MiB extents.";
    6 populate_physmap PopulatePhysmap XENMEM_POPULATE_PHYSMAP [XENMEM_populate_physmap]
        read($crate::memory::MemoryReservation) any [EFAULT EINVAL ESRCH EPERM]
        "Backs pfns with new extents, mfns written over them in the list; gives the number of extents done.";
    9 memory_map MemoryMapGet XENMEM_MEMORY_MAP [XENMEM_memory_map]
        both($crate::memory::MemoryMap) any [EFAULT ENOSYS] "Gives the domain's memory map, if it was given one.";
    10 machine_memory_map MachineMemoryMap XENMEM_MACHINE_MEMORY_MAP [XENMEM_machine_memory_map]
        both($crate::memory::MemoryMap) control [EFAULT EINVAL EPERM] "Gives the machine's memory map.";
    11 exchange Exchange XENMEM_EXCHANGE [XENMEM_exchange]
        both($crate::memory::MemoryExchange) any [EFAULT EINVAL ENOMEM ENOSYS ESRCH EPERM]
        "Exchanges extents for others of another size or place.";
    12 machphys_mapping MachphysMappingGet XENMEM_MACHPHYS_MAPPING [XENMEM_machphys_mapping]
        write($crate::memory::MachphysMapping) any [EFAULT] "Gives the address range of the machine-to-physical table.";
    14 maximum_gpfn MaximumGpfn XENMEM_MAXIMUM_GPFN [XENMEM_maximum_gpfn]
        read($crate::memory::MemoryDomain) any [EFAULT ESRCH EPERM] "Gives the domain's largest pfn.";
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

17 xen_version XenVersion HYPERVISOR_XEN_VERSION [__HYPERVISOR_xen_version]
    (cmd: u32, arg: *mut u8) any [EFAULT ENOSYS EPERM]
    "Version and feature queries. Any hypercall delivers pending events, and this one does nothing else." {
    VersionCommand u32:
    0 version Version XENVER_VERSION [XENVER_version]
        none() any [] "Gives major << 16 | minor.";
    1 extraversion Extraversion XENVER_EXTRAVERSION [XENVER_extraversion]
        write($crate::version::Extraversion) any [EFAULT] "Gives the rest of the version, NUL terminated.";
    2 compile_info CompileInfoGet XENVER_COMPILE_INFO [XENVER_compile_info]
        write($crate::version::CompileInfo) any [EFAULT] "Gives compiler, builder and date.";
    3 capabilities Capabilities XENVER_CAPABILITIES [XENVER_capabilities]
        write($crate::version::CapabilitiesInfo) any [EFAULT] "Gives the guest interfaces supported.";
    4 changeset Changeset XENVER_CHANGESET [XENVER_changeset]
        write($crate::version::ChangesetInfo) any [EFAULT] "Gives the source revision.";
    5 platform_parameters PlatformParametersGet XENVER_PLATFORM_PARAMETERS [XENVER_platform_parameters]
        write($crate::version::PlatformParameters) any [EFAULT] "Gives the start of the reserved address range.";
    6 get_features GetFeatures XENVER_GET_FEATURES [XENVER_get_features]
        both($crate::version::FeatureInfo) any [EFAULT EINVAL] "Gives 32 `XENFEAT_*` bits.";
    7 pagesize Pagesize XENVER_PAGESIZE [XENVER_pagesize]
        none() any [EINVAL] "Gives the page size in bytes; the argument must be null.";
    8 guest_handle GuestHandle XENVER_GUEST_HANDLE [XENVER_guest_handle]
        write($crate::version::DomainHandle) any [EFAULT] "Gives the domain's UUID.";
    9 commandline Commandline XENVER_COMMANDLINE [XENVER_commandline]
        write($crate::version::Commandline) control [EFAULT]
        "Gives the hypervisor's command line; to others than the control domain a text that says it is withheld.";
    10 build_id BuildId XENVER_BUILD_ID [XENVER_build_id]
        both($crate::version::BuildIdHeader) control [EFAULT ENODATA ENOBUFS EPERM]
        "Gives the build identifier and its length.";
}

18 console_io ConsoleIo HYPERVISOR_CONSOLE_IO [__HYPERVISOR_console_io]
    (cmd: u32, count: u32, buffer: *mut u8) any [EFAULT ENOSYS EPERM]
    "The hypervisor's own console." {
    ConsoleCommand u32:
    0 write Write CONSOLEIO_WRITE [CONSOLEIO_write]
        read(u8) any [EFAULT EPERM] "Prints `count` bytes.";
    1 read Read CONSOLEIO_READ [CONSOLEIO_read]
        write(u8) control [EFAULT EPERM] "Reads up to `count` bytes; gives how many.";
}

20 grant_table_op GrantTableOp HYPERVISOR_GRANT_TABLE_OP [__HYPERVISOR_grant_table_op]
    (cmd: u32, args: *mut u8, count: u32) any [EFAULT EINVAL ENOSYS]
    "Grants: lending frames to other domains. Each element of `args` gets a `GNTST_*` status of its own." {
    GrantCommand u32:
    0 map_grant_ref MapGrantRef GNTTABOP_MAP_GRANT_REF [GNTTABOP_map_grant_ref]
        both($crate::grant::GnttabMapGrantRef) any [EFAULT EINVAL] "Maps frames that other domains lend.";
    1 unmap_grant_ref UnmapGrantRef GNTTABOP_UNMAP_GRANT_REF [GNTTABOP_unmap_grant_ref]
        both($crate::grant::GnttabUnmapGrantRef) any [EFAULT EINVAL] "Takes mappings away, and flushes.";
    2 setup_table SetupTable GNTTABOP_SETUP_TABLE [GNTTABOP_setup_table]
        both($crate::grant::GnttabSetupTable) any [EFAULT EINVAL]
        "Lists the mfns of the domain's grant table, which grows as needed; `count` is 1.";
    3 dump_table DumpTable GNTTABOP_DUMP_TABLE [GNTTABOP_dump_table]
        both($crate::grant::GnttabDumpTable) any [ENOSYS] "Printed the table; gone from Xen.";
    4 transfer Transfer GNTTABOP_TRANSFER [GNTTABOP_transfer]
        both($crate::grant::GnttabTransfer) any [EFAULT EINVAL]
        "Gives frames to domains that wait for them. A frame is lost unless its status is `GNTST_bad_page`.";
    5 copy Copy GNTTABOP_COPY [GNTTABOP_copy]
        both($crate::grant::GnttabCopy) any [EFAULT EINVAL] "Copies bytes between frames, lent or one's own.";
    6 query_size QuerySize GNTTABOP_QUERY_SIZE [GNTTABOP_query_size]
        both($crate::grant::GnttabQuerySize) any [EFAULT EINVAL] "Tells how many frames the table has and may have.";
    7 unmap_and_replace UnmapAndReplace GNTTABOP_UNMAP_AND_REPLACE [GNTTABOP_unmap_and_replace]
        both($crate::grant::GnttabUnmapAndReplace) any [EFAULT EINVAL]
        "Takes mappings away and moves another mapping to the address.";
    8 set_version SetVersion GNTTABOP_SET_VERSION [GNTTABOP_set_version]
        both($crate::grant::GnttabSetVersion) any [EFAULT EINVAL EBUSY ENOMEM ERANGE]
        "Changes the table's version and clears it, but for the reserved entries.";
    9 get_status_frames GetStatusFrames GNTTABOP_GET_STATUS_FRAMES [GNTTABOP_get_status_frames]
        both($crate::grant::GnttabGetStatusFrames) any [EFAULT EINVAL] "Lists the mfns of the status array.";
    10 get_version GetVersion GNTTABOP_GET_VERSION [GNTTABOP_get_version]
        both($crate::grant::GnttabGetVersion) any [EFAULT EPERM ESRCH] "Tells the table's version.";
    11 swap_grant_ref SwapGrantRef GNTTABOP_SWAP_GRANT_REF [GNTTABOP_swap_grant_ref]
        both($crate::grant::GnttabSwapGrantRef) any [EFAULT EINVAL] "Swaps entries that are not in use.";
    12 cache_flush CacheFlush GNTTABOP_CACHE_FLUSH [GNTTABOP_cache_flush]
        read($crate::grant::GnttabCacheFlush) any [EFAULT EINVAL EPERM EOPNOTSUPP]
        "Writes back the caches of parts of frames, one's own or mapped.";
}

21 vm_assist VmAssist HYPERVISOR_VM_ASSIST [__HYPERVISOR_vm_assist]
    (cmd: u32, kind: u32) any [EINVAL ENOSYS]
    "Turns a `VMASST_TYPE_*` behaviour on or off for the domain." {
    VmAssistCommand u32:
    0 enable Enable VMASST_CMD_ENABLE [VMASST_CMD_enable] none() any [EINVAL] "Turns it on.";
    1 disable Disable VMASST_CMD_DISABLE [VMASST_CMD_disable] none() any [EINVAL] "Turns it off.";
}

23 iret Iret HYPERVISOR_IRET [__HYPERVISOR_iret]
    () any []
    "Returns to the context on the kernel stack, an `IretContext`; a bad one crashes the domain." {}

24 vcpu_op VcpuOp HYPERVISOR_VCPU_OP [__HYPERVISOR_vcpu_op]
    (cmd: u32, vcpu: u32, arg: *mut u8) any [EFAULT EINVAL ENOENT ENOSYS]
    "Operations on a vcpu of the domain; `ENOENT` for a vcpu that does not exist." {
    VcpuCommand u32:
    0 initialise Initialise VCPUOP_INITIALISE [VCPUOP_initialise]
        read($crate::vcpu::VcpuGuestContext) any [EEXIST EFAULT EINVAL ENOENT ENOMEM] "Sets the state a vcpu starts with, once.";
    1 up Up VCPUOP_UP [VCPUOP_up] none() any [EINVAL ENOENT] "Makes an initialised vcpu runnable.";
    2 down Down VCPUOP_DOWN [VCPUOP_down] none() any [ENOENT] "Stops a vcpu; stopping the last one shuts the domain down.";
    3 is_up IsUp VCPUOP_IS_UP [VCPUOP_is_up] none() any [ENOENT] "Gives 1 when the vcpu is up, else 0.";
    4 get_runstate_info GetRunstateInfo VCPUOP_GET_RUNSTATE_INFO [VCPUOP_get_runstate_info]
        write($crate::vcpu::VcpuRunstateInfo) any [EFAULT ENOENT] "Gives state and times.";
    5 register_runstate_memory_area RegisterRunstateMemoryArea VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA
        [VCPUOP_register_runstate_memory_area]
        read($crate::vcpu::VcpuRegisterRunstateMemoryArea) any [EFAULT ENOENT] "Sets where state and times are kept current.";
    6 set_periodic_timer SetPeriodicTimer VCPUOP_SET_PERIODIC_TIMER [VCPUOP_set_periodic_timer]
        read($crate::vcpu::VcpuSetPeriodicTimer) any [EFAULT EINVAL ENOENT] "Starts a vcpu's periodic timer.";
    7 stop_periodic_timer StopPeriodicTimer VCPUOP_STOP_PERIODIC_TIMER [VCPUOP_stop_periodic_timer]
        none() any [ENOENT] "Stops a vcpu's periodic timer.";
    8 set_singleshot_timer SetSingleshotTimer VCPUOP_SET_SINGLESHOT_TIMER [VCPUOP_set_singleshot_timer]
        read($crate::vcpu::VcpuSetSingleshotTimer) any [EFAULT EINVAL ENOENT ETIME]
        "Sets this vcpu's one-shot timer; `EINVAL` for another vcpu.";
    9 stop_singleshot_timer StopSingleshotTimer VCPUOP_STOP_SINGLESHOT_TIMER [VCPUOP_stop_singleshot_timer]
        none() any [EINVAL ENOENT] "Stops this vcpu's one-shot timer; `EINVAL` for another vcpu.";
    10 register_vcpu_info RegisterVcpuInfo VCPUOP_REGISTER_VCPU_INFO [VCPUOP_register_vcpu_info]
        read($crate::vcpu::VcpuRegisterVcpuInfo) any [EFAULT EINVAL EBUSY ENOENT ENXIO EACCES ENOMEM]
        "Moves a vcpu's `VcpuInfo` to a frame of the guest's, once.";
    11 send_nmi SendNmi VCPUOP_SEND_NMI [VCPUOP_send_nmi] none() any [ENOENT] "Raises an NMI on a vcpu.";
    12 get_physid GetPhysid VCPUOP_GET_PHYSID [VCPUOP_get_physid]
        write($crate::vcpu::VcpuGetPhysid) hardware [EFAULT EINVAL ENOENT] "Gives the CPU a pinned vcpu runs on.";
    13 register_vcpu_time_memory_area RegisterVcpuTimeMemoryArea VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA
        [VCPUOP_register_vcpu_time_memory_area]
        read($crate::vcpu::VcpuRegisterTimeMemoryArea) any [EFAULT ENOENT] "Sets where a copy of the time parameters is kept.";
}

25 set_segment_base SetSegmentBase HYPERVISOR_SET_SEGMENT_BASE [__HYPERVISOR_set_segment_base]
    (which: u32, base: u64) any [EINVAL]
    "Sets a segment base, or user GS; `EINVAL` for a base that is not canonical and for an unknown `which`." {
    SegmentBase u32:
    0 fs Fs SEGBASE_FS [SEGBASE_FS] value(u64) any [EINVAL] "The FS base.";
    1 gs_user GsUser SEGBASE_GS_USER [SEGBASE_GS_USER] value(u64) any [EINVAL] "The GS base of user mode.";
    2 gs_kernel GsKernel SEGBASE_GS_KERNEL [SEGBASE_GS_KERNEL] value(u64) any [EINVAL] "The GS base of kernel mode.";
    3 gs_user_sel GsUserSel SEGBASE_GS_USER_SEL [SEGBASE_GS_USER_SEL]
        value(u16) any [] "The GS selector of user mode; one that cannot be loaded becomes null.";
}

26 mmuext_op MmuextOp HYPERVISOR_MMUEXT_OP [__HYPERVISOR_mmuext_op]
    (ops: *const $crate::mmu::MmuextOp, count: u32, done: *mut u32, domain: u32)
    any [EFAULT EINVAL EPERM ESRCH ENOSYS EBUSY ENOMEM]
    "Page-table base, pinning, flushing and LDT, in order, until one is refused; `done` receives how many succeeded." {
    MmuextCommand u32:
    0 pin_l1_table PinL1Table MMUEXT_PIN_L1_TABLE [MMUEXT_PIN_L1_TABLE]
        none() any [EINVAL EPERM EBUSY] "Validates frame `arg1` as an L1 table and keeps it one.";
    1 pin_l2_table PinL2Table MMUEXT_PIN_L2_TABLE [MMUEXT_PIN_L2_TABLE]
        none() any [EINVAL EPERM EBUSY] "As 0, for L2.";
    2 pin_l3_table PinL3Table MMUEXT_PIN_L3_TABLE [MMUEXT_PIN_L3_TABLE]
        none() any [EINVAL EPERM EBUSY] "As 0, for L3.";
    3 pin_l4_table PinL4Table MMUEXT_PIN_L4_TABLE [MMUEXT_PIN_L4_TABLE]
        none() any [EINVAL EPERM EBUSY] "As 0, for L4.";
    4 unpin_table UnpinTable MMUEXT_UNPIN_TABLE [MMUEXT_UNPIN_TABLE]
        none() any [EINVAL] "Undoes the pin of frame `arg1`.";
    5 new_baseptr NewBaseptr MMUEXT_NEW_BASEPTR [MMUEXT_NEW_BASEPTR]
        none() any [EINVAL EPERM EBUSY] "Loads the L4 in frame `arg1`.";
    6 tlb_flush_local TlbFlushLocal MMUEXT_TLB_FLUSH_LOCAL [MMUEXT_TLB_FLUSH_LOCAL]
        none() any [EPERM] "Flushes this vcpu's TLB.";
    7 invlpg_local InvlpgLocal MMUEXT_INVLPG_LOCAL [MMUEXT_INVLPG_LOCAL]
        none() any [EPERM] "Flushes address `arg1` from this vcpu's TLB.";
    8 tlb_flush_multi TlbFlushMulti MMUEXT_TLB_FLUSH_MULTI [MMUEXT_TLB_FLUSH_MULTI]
        none() any [EINVAL EPERM] "Flushes the TLBs of the vcpus in the bitmap at `arg2`.";
    9 invlpg_multi InvlpgMulti MMUEXT_INVLPG_MULTI [MMUEXT_INVLPG_MULTI]
        none() any [EINVAL EPERM] "Flushes address `arg1` from the TLBs of the vcpus in the bitmap at `arg2`.";
    10 tlb_flush_all TlbFlushAll MMUEXT_TLB_FLUSH_ALL [MMUEXT_TLB_FLUSH_ALL]
        none() any [EPERM] "Flushes all the domain's TLBs.";
    11 invlpg_all InvlpgAll MMUEXT_INVLPG_ALL [MMUEXT_INVLPG_ALL]
        none() any [EPERM] "Flushes address `arg1` from all the domain's TLBs.";
    12 flush_cache FlushCache MMUEXT_FLUSH_CACHE [MMUEXT_FLUSH_CACHE]
        none() hardware [EPERM EACCES] "Writes back and flushes this CPU's caches.";
    13 set_ldt SetLdt MMUEXT_SET_LDT [MMUEXT_SET_LDT]
        none() any [EINVAL EPERM] "Sets the LDT: address `arg1`, page aligned, and `arg2` entries, at most 8192.";
    15 new_user_baseptr NewUserBaseptr MMUEXT_NEW_USER_BASEPTR [MMUEXT_NEW_USER_BASEPTR]
        none() any [EINVAL EPERM EBUSY] "Sets user mode's L4 to frame `arg1`; 0 for none.";
    16 clear_page ClearPage MMUEXT_CLEAR_PAGE [MMUEXT_CLEAR_PAGE]
        none() any [EINVAL EPERM] "Clears frame `arg1`.";
    17 copy_page CopyPage MMUEXT_COPY_PAGE [MMUEXT_COPY_PAGE]
        none() any [EINVAL EPERM] "Copies frame `arg2` to frame `arg1`.";
    18 flush_cache_global FlushCacheGlobal MMUEXT_FLUSH_CACHE_GLOBAL [MMUEXT_FLUSH_CACHE_GLOBAL]
        none() hardware [EPERM EINVAL] "Writes back and flushes all CPUs' caches.";
    19 mark_super MarkSuper MMUEXT_MARK_SUPER [MMUEXT_MARK_SUPER]
        none() any [EOPNOTSUPP EPERM] "Marked a superpage; gone from Xen since 4.9.";
    20 unmark_super UnmarkSuper MMUEXT_UNMARK_SUPER [MMUEXT_UNMARK_SUPER]
        none() any [EOPNOTSUPP EPERM] "Unmarked a superpage; gone from Xen since 4.9.";
}

29 sched_op SchedOp HYPERVISOR_SCHED_OP [__HYPERVISOR_sched_op]
    (cmd: u32, arg: *mut u8) any [EFAULT ENOSYS]
    "Yields, blocks, polls and shuts down." {
    SchedCommand u32:
    0 yield_cpu YieldCpu SCHEDOP_YIELD [SCHEDOP_yield] none() any [] "Lets others run.";
    1 block Block SCHEDOP_BLOCK [SCHEDOP_block]
        none() any [] "Clears the upcall mask and sleeps until an event is pending, atomically.";
    2 shutdown Shutdown SCHEDOP_SHUTDOWN [SCHEDOP_shutdown]
        read($crate::sched::SchedShutdown) any [EFAULT] "Shuts the domain down for a `SHUTDOWN_*` reason.";
    3 poll Poll SCHEDOP_POLL [SCHEDOP_poll]
        read($crate::sched::SchedPoll) any [EFAULT EINVAL] "Sleeps until one of some ports is pending, or a timeout.";
    4 remote_shutdown RemoteShutdown SCHEDOP_REMOTE_SHUTDOWN [SCHEDOP_remote_shutdown]
        read($crate::sched::SchedRemoteShutdown) control [EFAULT EPERM ESRCH] "Shuts another domain down.";
    5 shutdown_code ShutdownCode SCHEDOP_SHUTDOWN_CODE [SCHEDOP_shutdown_code]
        read($crate::sched::SchedShutdown) any [EFAULT] "Notes the reason a later shutdown will give.";
    6 watchdog Watchdog SCHEDOP_WATCHDOG [SCHEDOP_watchdog]
        read($crate::sched::SchedWatchdog) any [EFAULT EINVAL ENOSPC] "Sets, pets or stops a watchdog; gives its number.";
    7 pin_override PinOverride SCHEDOP_PIN_OVERRIDE [SCHEDOP_pin_override]
        read($crate::sched::SchedPinOverride) hardware [EFAULT EINVAL EBUSY EPERM] "Pins this vcpu to a CPU for a while.";
}

30 callback_op CallbackOp HYPERVISOR_CALLBACK_OP [__HYPERVISOR_callback_op]
    (cmd: u32, arg: *const u8) any [EFAULT ENOSYS]
    "Registers the addresses at which the guest kernel is entered." {
    CallbackCommand u32:
    0 register Register CALLBACKOP_REGISTER [CALLBACKOP_register]
        read($crate::callback::CallbackRegister) any [EFAULT EINVAL ENOSYS]
        "Sets a `CALLBACKTYPE_*` address; `EINVAL` unless canonical, `ENOSYS` for an unknown type.";
    1 unregister Unregister CALLBACKOP_UNREGISTER [CALLBACKOP_unregister]
        read($crate::callback::CallbackUnregister) any [EFAULT EINVAL ENOSYS] "Clears the NMI callback; others stay.";
}

32 event_channel_op EventChannelOp HYPERVISOR_EVENT_CHANNEL_OP [__HYPERVISOR_event_channel_op]
    (cmd: u32, arg: *mut u8) any [EFAULT ENOSYS]
    "Event channels." {
    EventCommand u32:
    0 bind_interdomain BindInterdomain EVTCHNOP_BIND_INTERDOMAIN [EVTCHNOP_bind_interdomain]
        both($crate::event::EvtchnBindInterdomain) any [EFAULT EINVAL ENOSPC EPERM ESRCH]
        "Connects to a port another domain left unbound for this one.";
    1 bind_virq BindVirq EVTCHNOP_BIND_VIRQ [EVTCHNOP_bind_virq]
        both($crate::event::EvtchnBindVirq) any [EEXIST EFAULT EINVAL ENOENT ENOSPC EBUSY] "Binds a port to a `VIRQ_*` of a vcpu.";
    2 bind_pirq BindPirq EVTCHNOP_BIND_PIRQ [EVTCHNOP_bind_pirq]
        both($crate::event::EvtchnBindPirq) hardware [EEXIST EFAULT EINVAL ENOMEM ENOSPC EPERM] "Binds a port to a device interrupt.";
    3 close Close EVTCHNOP_CLOSE [EVTCHNOP_close]
        read($crate::event::EvtchnClose) any [EFAULT EINVAL] "Frees a port.";
    4 send Send EVTCHNOP_SEND [EVTCHNOP_send]
        read($crate::event::EvtchnSend) any [EFAULT EINVAL] "Raises the event at the channel's other end.";
    5 status Status EVTCHNOP_STATUS [EVTCHNOP_status]
        both($crate::event::EvtchnStatus) any [EACCES EFAULT EINVAL EPERM ESRCH] "Tells what a port is bound to.";
    6 alloc_unbound AllocUnbound EVTCHNOP_ALLOC_UNBOUND [EVTCHNOP_alloc_unbound]
        both($crate::event::EvtchnAllocUnbound) any [EFAULT ENOSPC EPERM ESRCH] "Makes a port to which a domain may connect.";
    7 bind_ipi BindIpi EVTCHNOP_BIND_IPI [EVTCHNOP_bind_ipi]
        both($crate::event::EvtchnBindIpi) any [EFAULT ENOENT ENOSPC] "Makes a port that raises events on a vcpu of one's own.";
    8 bind_vcpu BindVcpu EVTCHNOP_BIND_VCPU [EVTCHNOP_bind_vcpu]
        read($crate::event::EvtchnBindVcpu) any [EFAULT EINVAL ENOENT] "Chooses the vcpu a port notifies.";
    9 unmask Unmask EVTCHNOP_UNMASK [EVTCHNOP_unmask]
        read($crate::event::EvtchnUnmask) any [EFAULT EINVAL] "Clears a port's mask bit, and raises its event if pending.";
    10 reset Reset EVTCHNOP_RESET [EVTCHNOP_reset]
        read($crate::event::EvtchnReset) any [EAGAIN EBUSY EFAULT EINVAL EPERM ESRCH] "Frees all a domain's ports.";
    11 init_control InitControl EVTCHNOP_INIT_CONTROL [EVTCHNOP_init_control]
        both($crate::event::EvtchnInitControl) any [EFAULT EINVAL ENOENT ENOMEM] "Changes to FIFO event queues.";
    12 expand_array ExpandArray EVTCHNOP_EXPAND_ARRAY [EVTCHNOP_expand_array]
        read($crate::event::EvtchnExpandArray) any [EFAULT EINVAL ENOSPC ENOMEM EOPNOTSUPP] "Adds a page of FIFO event words.";
    13 set_priority SetPriority EVTCHNOP_SET_PRIORITY [EVTCHNOP_set_priority]
        read($crate::event::EvtchnSetPriority) any [EACCES EFAULT EINVAL ENOSYS] "Sets a port's FIFO queue.";
}

33 physdev_op PhysdevOp HYPERVISOR_PHYSDEV_OP [__HYPERVISOR_physdev_op]
    (cmd: u32, arg: *mut u8) any [EFAULT ENOSYS]
    "Devices, ports and interrupts." {
    PhysdevCommand u32:
    5 irq_status_query IrqStatusQuery PHYSDEVOP_IRQ_STATUS_QUERY [PHYSDEVOP_irq_status_query]
        both($crate::physdev::PhysdevIrqStatusQuery) any [EFAULT EINVAL] "Tells whether an interrupt needs an EOI.";
    6 set_iopl SetIopl PHYSDEVOP_SET_IOPL [PHYSDEVOP_set_iopl]
        read($crate::physdev::PhysdevSetIopl) any [EFAULT EINVAL] "Sets this vcpu's virtual I/O privilege level.";
    7 set_iobitmap SetIobitmap PHYSDEVOP_SET_IOBITMAP [PHYSDEVOP_set_iobitmap]
        read($crate::physdev::PhysdevSetIobitmap) any [EFAULT EINVAL] "Sets this vcpu's I/O permission bitmap.";
    12 eoi Eoi PHYSDEVOP_EOI [PHYSDEVOP_eoi]
        read($crate::physdev::PhysdevEoi) any [EFAULT EINVAL] "Ends an interrupt.";
    17 pirq_eoi_gmfn_v1 PirqEoiGmfnV1 PHYSDEVOP_PIRQ_EOI_GMFN_V1 [PHYSDEVOP_pirq_eoi_gmfn_v1]
        read($crate::physdev::PhysdevPirqEoiGmfn) any [EFAULT EINVAL EBUSY ENOSPC]
        "Sets the page of bits that tell which interrupts need an EOI, and makes EOIs unmask.";
    28 pirq_eoi_gmfn_v2 PirqEoiGmfnV2 PHYSDEVOP_PIRQ_EOI_GMFN_V2 [PHYSDEVOP_pirq_eoi_gmfn_v2]
        read($crate::physdev::PhysdevPirqEoiGmfn) any [EFAULT EINVAL EBUSY ENOSPC]
        "Sets the page of bits that tell which interrupts need an EOI.";
}

48 ring1_op Ring1Op HYPERVISOR_RING1_OP []
    (cmd: u32, arg: *mut u8) any [EFAULT ENOSYS]
    "Paravane's extension. The number is Xen's `__HYPERVISOR_arch_0`, there the machine-check call of the hardware domain, so look for the extension's CPUID leaf first." {
    Ring1Command u32:
    0 read_counters ReadCounters RING1_OP_READ_COUNTERS []
        write($crate::ring1::Ring1Counters) any [EFAULT] "Gives what the hypervisor counted for this domain.";
}

    } };
}

/// Calls back a macro with a row `NUMBER snake_name CamelName CONSTANT [XenName] "doc"` for every hypercall of Xen's that
/// [`hypercall_table!`](crate::hypercall_table) leaves out, because no PV guest needs it to run.
#[macro_export]
macro_rules! other_hypercall_table {
    ($cb:ident) => { $cb! {
        6 sched_op_compat SchedOpCompat HYPERVISOR_SCHED_OP_COMPAT [__HYPERVISOR_sched_op_compat]
            "The form of `sched_op` before interface version 0x30101.";
        7 platform_op PlatformOp HYPERVISOR_PLATFORM_OP [__HYPERVISOR_platform_op]
            "The machine's firmware, time and microcode; hardware domain.";
        16 event_channel_op_compat EventChannelOpCompat HYPERVISOR_EVENT_CHANNEL_OP_COMPAT
            [__HYPERVISOR_event_channel_op_compat]
            "The form of `event_channel_op` before interface version 0x30202.";
        19 physdev_op_compat PhysdevOpCompat HYPERVISOR_PHYSDEV_OP_COMPAT [__HYPERVISOR_physdev_op_compat]
            "The form of `physdev_op` before interface version 0x30202.";
        22 update_va_mapping_otherdomain UpdateVaMappingOtherdomain HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN
            [__HYPERVISOR_update_va_mapping_otherdomain]
            "As `update_va_mapping`, mapping another domain's frame.";
        27 xsm_op XsmOp HYPERVISOR_XSM_OP [__HYPERVISOR_xsm_op] "Security policy.";
        28 nmi_op NmiOp HYPERVISOR_NMI_OP [__HYPERVISOR_nmi_op] "NMI callback; the older form of `callback_op` type 4.";
        31 xenoprof_op XenoprofOp HYPERVISOR_XENOPROF_OP [__HYPERVISOR_xenoprof_op] "Profiling.";
        34 hvm_op HvmOp HYPERVISOR_HVM_OP [__HYPERVISOR_hvm_op] "HVM domains.";
        35 sysctl Sysctl HYPERVISOR_SYSCTL [__HYPERVISOR_sysctl] "The machine, for the control domain's tools.";
        36 domctl Domctl HYPERVISOR_DOMCTL [__HYPERVISOR_domctl] "Domains, for the control domain's tools.";
        37 kexec_op KexecOp HYPERVISOR_KEXEC_OP [__HYPERVISOR_kexec_op] "Loading another kernel.";
        38 tmem_op TmemOp HYPERVISOR_TMEM_OP [__HYPERVISOR_tmem_op] "Transcendent memory; gone from Xen since 4.13.";
        39 argo_op ArgoOp HYPERVISOR_ARGO_OP [__HYPERVISOR_argo_op] "Messages between domains.";
        40 xenpmu_op XenpmuOp HYPERVISOR_XENPMU_OP [__HYPERVISOR_xenpmu_op] "Performance counters.";
        41 dm_op DmOp HYPERVISOR_DM_OP [__HYPERVISOR_dm_op] "Device models.";
        42 hypfs_op HypfsOp HYPERVISOR_HYPFS_OP [__HYPERVISOR_hypfs_op] "The hypervisor's file system of parameters.";
        49 arch_1 Arch1 HYPERVISOR_ARCH_1 [__HYPERVISOR_arch_1] "Architecture's own; unused on x86 but for HVM.";
        50 arch_2 Arch2 HYPERVISOR_ARCH_2 [__HYPERVISOR_arch_2] "Architecture's own; unused.";
        51 arch_3 Arch3 HYPERVISOR_ARCH_3 [__HYPERVISOR_arch_3] "Architecture's own; unused.";
        52 arch_4 Arch4 HYPERVISOR_ARCH_4 [__HYPERVISOR_arch_4] "Architecture's own; unused.";
        53 arch_5 Arch5 HYPERVISOR_ARCH_5 [__HYPERVISOR_arch_5] "Architecture's own; unused.";
        54 arch_6 Arch6 HYPERVISOR_ARCH_6 [__HYPERVISOR_arch_6] "Architecture's own; unused.";
        55 arch_7 Arch7 HYPERVISOR_ARCH_7 [__HYPERVISOR_arch_7] "Architecture's own; unused.";
    } };
}
