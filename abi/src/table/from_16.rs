//! Rows 16 to 28: version, console, grants, vcpus.

/// Part of [`hypercall_table!`](crate::hypercall_table): adds its rows to those before and hands on.
#[doc(hidden)]
#[macro_export]
macro_rules! __hypercall_rows_from_16 {
    ($cb:ident { $($before:tt)* }) => { $crate::__hypercall_rows_from_29! { $cb { $($before)*

16 event_channel_op_compat EventChannelOpCompat HYPERVISOR_EVENT_CHANNEL_OP_COMPAT
    [__HYPERVISOR_event_channel_op_compat]
    (op: *mut $crate::event::EvtchnOp) any [EFAULT ENOSYS]
    "The form of `event_channel_op` before interface version 0x30202: sub-operations 0 to 9, each with its own errors." {}

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

19 physdev_op_compat PhysdevOpCompat HYPERVISOR_PHYSDEV_OP_COMPAT [__HYPERVISOR_physdev_op_compat]
    (op: *mut $crate::physdev::PhysdevOp) any [EFAULT ENOSYS]
    "The form of `physdev_op` before interface version 0x30202, with its errors." {}

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

22 update_va_mapping_otherdomain UpdateVaMappingOtherdomain HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN
    [__HYPERVISOR_update_va_mapping_otherdomain]
    (va: u64, val: u64, flags: u64, domain: u32) any [EINVAL EFAULT EPERM ESRCH EBUSY]
    "As `update_va_mapping`, mapping a frame of another domain, for which the caller needs rights over it." {}

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
    11 send_nmi SendNmi VCPUOP_SEND_NMI [VCPUOP_send_nmi] none() any [EINVAL ENOENT] "Raises an NMI on a vcpu; `EINVAL` with an argument.";
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

27 xsm_op XsmOp HYPERVISOR_XSM_OP [__HYPERVISOR_xsm_op]
    (op: *mut u8) control [ENOSYS]
    "The security policy; `ENOSYS` under the default policy, which has nothing to ask." {}

28 nmi_op NmiOp HYPERVISOR_NMI_OP [__HYPERVISOR_nmi_op]
    (cmd: u32, arg: *mut u8) any [EFAULT EINVAL ENOSYS]
    "This vcpu's NMI callback; the older form of `callback_op`." {
    NmiCommand u32:
    0 register_callback RegisterCallback XENNMI_REGISTER_CALLBACK [XENNMI_register_callback]
        read($crate::nmi::XennmiCallback) any [EFAULT EINVAL] "Sets the address; `EINVAL` unless canonical.";
    1 unregister_callback UnregisterCallback XENNMI_UNREGISTER_CALLBACK [XENNMI_unregister_callback]
        none() any [] "Clears it.";
}

    } } };
}
