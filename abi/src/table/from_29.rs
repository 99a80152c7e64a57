//! Rows 29 and up: scheduling, events, devices, privileged calls, Paravane's own.

/// Part of [`hypercall_table!`](crate::hypercall_table): adds its rows to those before and hands on.
#[doc(hidden)]
#[macro_export]
macro_rules! __hypercall_rows_from_29 {
    ($cb:ident { $($before:tt)* }) => { $cb! { $($before)*

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
    4 irq_unmask_notify IrqUnmaskNotify PHYSDEVOP_IRQ_UNMASK_NOTIFY [PHYSDEVOP_IRQ_UNMASK_NOTIFY]
        none() any [] "Ends every interrupt whose port is unmasked; older than 12.";
    5 irq_status_query IrqStatusQuery PHYSDEVOP_IRQ_STATUS_QUERY [PHYSDEVOP_irq_status_query]
        both($crate::physdev::PhysdevIrqStatusQuery) any [EFAULT EINVAL] "Tells whether an interrupt needs an EOI.";
    6 set_iopl SetIopl PHYSDEVOP_SET_IOPL [PHYSDEVOP_set_iopl]
        read($crate::physdev::PhysdevSetIopl) any [EFAULT EINVAL] "Sets this vcpu's virtual I/O privilege level.";
    7 set_iobitmap SetIobitmap PHYSDEVOP_SET_IOBITMAP [PHYSDEVOP_set_iobitmap]
        read($crate::physdev::PhysdevSetIobitmap) any [EFAULT EINVAL] "Sets this vcpu's I/O permission bitmap.";
    8 apic_read ApicRead PHYSDEVOP_APIC_READ [PHYSDEVOP_apic_read]
        both($crate::physdev::PhysdevApic) control [EFAULT EINVAL EPERM] "Reads an I/O APIC's register.";
    9 apic_write ApicWrite PHYSDEVOP_APIC_WRITE [PHYSDEVOP_apic_write]
        read($crate::physdev::PhysdevApic) control [EFAULT EINVAL EPERM] "Writes an I/O APIC's register.";
    10 alloc_irq_vector AllocIrqVector PHYSDEVOP_ALLOC_IRQ_VECTOR [PHYSDEVOP_alloc_irq_vector]
        both($crate::physdev::PhysdevIrq) control [EFAULT EPERM] "Gives back the interrupt's own number as its vector.";
    11 free_irq_vector FreeIrqVector PHYSDEVOP_FREE_IRQ_VECTOR [PHYSDEVOP_free_irq_vector]
        none() any [ENOSYS] "Gone from Xen.";
    12 eoi Eoi PHYSDEVOP_EOI [PHYSDEVOP_eoi]
        read($crate::physdev::PhysdevEoi) any [EFAULT EINVAL] "Ends an interrupt.";
    13 map_pirq MapPirq PHYSDEVOP_MAP_PIRQ [PHYSDEVOP_map_pirq]
        both($crate::physdev::PhysdevMapPirq) control [EFAULT EINVAL EPERM ESRCH] "Gives a domain an interrupt.";
    14 unmap_pirq UnmapPirq PHYSDEVOP_UNMAP_PIRQ [PHYSDEVOP_unmap_pirq]
        read($crate::physdev::PhysdevUnmapPirq) control [EFAULT EINVAL EPERM ESRCH] "Takes an interrupt back.";
    15 manage_pci_add ManagePciAdd PHYSDEVOP_MANAGE_PCI_ADD [PHYSDEVOP_manage_pci_add]
        read($crate::physdev::PhysdevManagePci) control [EFAULT EPERM] "Tells of a PCI device; older than 25.";
    16 manage_pci_remove ManagePciRemove PHYSDEVOP_MANAGE_PCI_REMOVE [PHYSDEVOP_manage_pci_remove]
        read($crate::physdev::PhysdevManagePci) control [EFAULT ENODEV EPERM] "Tells that a PCI device is gone; older than 26.";
    17 pirq_eoi_gmfn_v1 PirqEoiGmfnV1 PHYSDEVOP_PIRQ_EOI_GMFN_V1 [PHYSDEVOP_pirq_eoi_gmfn_v1]
        read($crate::physdev::PhysdevPirqEoiGmfn) any [EFAULT EINVAL EBUSY ENOSPC]
        "Sets the page of bits that tell which interrupts need an EOI, and makes EOIs unmask.";
    19 restore_msi RestoreMsi PHYSDEVOP_RESTORE_MSI [PHYSDEVOP_restore_msi]
        read($crate::physdev::PhysdevManagePci) hardware [EFAULT ENODEV] "Restores a device's MSI state; older than 27.";
    20 manage_pci_add_ext ManagePciAddExt PHYSDEVOP_MANAGE_PCI_ADD_EXT [PHYSDEVOP_manage_pci_add_ext]
        read($crate::physdev::PhysdevManagePciExt) control [EFAULT EINVAL EPERM] "As 15, with more to tell.";
    21 setup_gsi SetupGsi PHYSDEVOP_SETUP_GSI [PHYSDEVOP_setup_gsi]
        read($crate::physdev::PhysdevSetupGsi) control [EFAULT EINVAL EPERM] "Sets how an interrupt is triggered.";
    23 get_free_pirq GetFreePirq PHYSDEVOP_GET_FREE_PIRQ [PHYSDEVOP_get_free_pirq]
        both($crate::physdev::PhysdevGetFreePirq) any [EFAULT ENOMEM ENOSPC] "Reserves a number for an interrupt.";
    24 pci_mmcfg_reserved PciMmcfgReserved PHYSDEVOP_PCI_MMCFG_RESERVED [PHYSDEVOP_pci_mmcfg_reserved]
        read($crate::physdev::PhysdevPciMmcfgReserved) control [EFAULT ENODEV EPERM] "Tells where PCI configuration space is.";
    25 pci_device_add PciDeviceAdd PHYSDEVOP_PCI_DEVICE_ADD [PHYSDEVOP_pci_device_add]
        read($crate::physdev::PhysdevPciDeviceAdd) control [EFAULT EOPNOTSUPP EPERM] "Tells of a PCI device.";
    26 pci_device_remove PciDeviceRemove PHYSDEVOP_PCI_DEVICE_REMOVE [PHYSDEVOP_pci_device_remove]
        read($crate::physdev::PhysdevPciDevice) control [EFAULT ENODEV EOPNOTSUPP EPERM] "Tells that a PCI device is gone.";
    27 restore_msi_ext RestoreMsiExt PHYSDEVOP_RESTORE_MSI_EXT [PHYSDEVOP_restore_msi_ext]
        read($crate::physdev::PhysdevPciDevice) hardware [EFAULT ENODEV] "Restores a device's MSI state.";
    28 pirq_eoi_gmfn_v2 PirqEoiGmfnV2 PHYSDEVOP_PIRQ_EOI_GMFN_V2 [PHYSDEVOP_pirq_eoi_gmfn_v2]
        read($crate::physdev::PhysdevPirqEoiGmfn) any [EFAULT EINVAL EBUSY ENOSPC]
        "Sets the page of bits that tell which interrupts need an EOI.";
    29 dbgp_op DbgpOp PHYSDEVOP_DBGP_OP [PHYSDEVOP_dbgp_op]
        read($crate::physdev::PhysdevDbgpOp) hardware [EFAULT EINVAL EPERM] "Tells of a reset of the debug port's controller.";
    30 prepare_msix PrepareMsix PHYSDEVOP_PREPARE_MSIX [PHYSDEVOP_prepare_msix]
        read($crate::physdev::PhysdevPciDevice) control [EFAULT EPERM] "Sets a device's MSI-X up for another domain.";
    31 release_msix ReleaseMsix PHYSDEVOP_RELEASE_MSIX [PHYSDEVOP_release_msix]
        read($crate::physdev::PhysdevPciDevice) control [EFAULT EPERM] "Undoes 30.";
}

34 hvm_op HvmOp HYPERVISOR_HVM_OP [__HYPERVISOR_hvm_op]
    (cmd: u64, arg: *mut u8) any [EFAULT ENOSYS]
    "What HVM domains ask for; for a PV domain most of it is `EINVAL`." {
    HvmCommand u64:
    0 set_param SetParam HVMOP_SET_PARAM [HVMOP_set_param]
        read($crate::hvm::HvmParam) any [EFAULT EINVAL ESRCH] "Sets a parameter of an HVM domain.";
    1 get_param GetParam HVMOP_GET_PARAM [HVMOP_get_param]
        both($crate::hvm::HvmParam) any [EFAULT EINVAL ESRCH] "Gives a parameter of an HVM domain.";
    5 flush_tlbs FlushTlbs HVMOP_FLUSH_TLBS [HVMOP_flush_tlbs]
        none() any [EINVAL] "Flushes an HVM domain's TLBs.";
    9 pagetable_dying PagetableDying HVMOP_PAGETABLE_DYING [HVMOP_pagetable_dying]
        read($crate::hvm::HvmPagetableDying) any [EFAULT ESRCH EOPNOTSUPP EINVAL]
        "Tells that an HVM domain's page table goes away.";
    10 get_time GetTime HVMOP_GET_TIME [HVMOP_get_time]
        write($crate::hvm::HvmGetTime) any [EFAULT] "Gives system time.";
    11 xentrace Xentrace HVMOP_XENTRACE [HVMOP_xentrace]
        read($crate::hvm::HvmXentrace) any [EFAULT EINVAL] "Writes to the hypervisor's trace, if there is one.";
    15 get_mem_type GetMemType HVMOP_GET_MEM_TYPE [HVMOP_get_mem_type]
        both($crate::hvm::HvmGetMemType) any [EFAULT ESRCH EPERM EINVAL] "Gives the type of an HVM domain's page.";
    23 set_evtchn_upcall_vector SetEvtchnUpcallVector HVMOP_SET_EVTCHN_UPCALL_VECTOR [HVMOP_set_evtchn_upcall_vector]
        read($crate::hvm::HvmEvtchnUpcallVector) any [EINVAL] "Sets the vector of an HVM domain's upcall.";
    24 guest_request_vm_event GuestRequestVmEvent HVMOP_GUEST_REQUEST_VM_EVENT [HVMOP_guest_request_vm_event]
        none() any [EINVAL] "Tells whoever monitors the domain; the argument must be null.";
    25 altp2m Altp2m HVMOP_ALTP2M [HVMOP_altp2m]
        none() any [EFAULT EINVAL ESRCH EOPNOTSUPP] "Alternative views of an HVM domain's memory.";
}

35 sysctl Sysctl HYPERVISOR_SYSCTL [__HYPERVISOR_sysctl]
    (op: *mut $crate::privileged::Sysctl) control [EFAULT EACCES EPERM]
    "The machine, for the control domain's tools." {}

36 domctl Domctl HYPERVISOR_DOMCTL [__HYPERVISOR_domctl]
    (op: *mut $crate::privileged::Domctl) control [EFAULT EACCES ESRCH EPERM]
    "Domains, for the control domain's tools." {}

37 kexec_op KexecOp HYPERVISOR_KEXEC_OP [__HYPERVISOR_kexec_op]
    (cmd: u64, arg: *mut u8) control [EPERM]
    "Loading another kernel in the hypervisor's place." {}

40 xenpmu_op XenpmuOp HYPERVISOR_XENPMU_OP [__HYPERVISOR_xenpmu_op]
    (cmd: u32, arg: *mut $crate::pmu::XenPmuParams) any [EOPNOTSUPP EFAULT EINVAL EPERM]
    "Performance counters; `EOPNOTSUPP` to everything unless the hypervisor was started with them." {
    PmuCommand u32:
    0 mode_get ModeGet XENPMU_MODE_GET [XENPMU_mode_get]
        write($crate::pmu::XenPmuParams) control [EFAULT EPERM EOPNOTSUPP] "Gives mode and version.";
    1 mode_set ModeSet XENPMU_MODE_SET [XENPMU_mode_set]
        read($crate::pmu::XenPmuParams) control [EBUSY EFAULT EINVAL EPERM EOPNOTSUPP] "Sets the mode.";
    2 feature_get FeatureGet XENPMU_FEATURE_GET [XENPMU_feature_get]
        write($crate::pmu::XenPmuParams) control [EFAULT EPERM EOPNOTSUPP] "Gives the features.";
    3 feature_set FeatureSet XENPMU_FEATURE_SET [XENPMU_feature_set]
        read($crate::pmu::XenPmuParams) control [EBUSY EFAULT EINVAL EPERM EOPNOTSUPP] "Sets the features.";
    4 init Init XENPMU_INIT [XENPMU_init]
        read($crate::pmu::XenPmuParams) any [EFAULT EINVAL EOPNOTSUPP] "Gives the hypervisor a page for a vcpu's counters.";
    5 finish Finish XENPMU_FINISH [XENPMU_finish]
        read($crate::pmu::XenPmuParams) any [EFAULT EINVAL EOPNOTSUPP] "Takes the page back.";
    6 lvtpc_set LvtpcSet XENPMU_LVTPC_SET [XENPMU_lvtpc_set]
        none() any [EINVAL EOPNOTSUPP] "Loads the local vector table's mask bit from the page.";
    7 flush Flush XENPMU_FLUSH [XENPMU_flush]
        none() any [EINVAL EOPNOTSUPP] "Loads the counters from the page.";
}

41 dm_op DmOp HYPERVISOR_DM_OP [__HYPERVISOR_dm_op]
    (domain: u32, count: u32, buffers: *const $crate::privileged::DmOpBuf)
    control [ENODATA E2BIG EFAULT ESRCH EPERM EINVAL]
    "What an HVM domain's device model asks for; `EINVAL` when the domain is not of that kind." {}

42 hypfs_op HypfsOp HYPERVISOR_HYPFS_OP [__HYPERVISOR_hypfs_op]
    (cmd: u32, path: *const u8, path_bytes: u64, buffer: *mut u8, bytes: u64) control [EPERM]
    "The hypervisor's parameters, as files." {}

48 ring1_op Ring1Op HYPERVISOR_RING1_OP []
    (cmd: u32, arg: *mut u8) any [EFAULT EPERM ENOSYS]
    "Paravane's extension. The number is Xen's `__HYPERVISOR_arch_0`, there the machine-check call of the hardware domain, so look for the extension's CPUID leaf first." {
    Ring1Command u32:
    0 read_counters ReadCounters RING1_OP_READ_COUNTERS []
        write($crate::ring1::Ring1Counters) any [EFAULT] "Gives what the hypervisor counted for this domain.";
}

49 arch_1 Arch1 HYPERVISOR_ARCH_1 [__HYPERVISOR_arch_1]
    (op: *mut $crate::privileged::Domctl) control [EFAULT EOPNOTSUPP ESRCH EPERM]
    "Xen's own continuation of a `domctl` that logs dirty pages; a guest has no use for it." {}

    } };
}
