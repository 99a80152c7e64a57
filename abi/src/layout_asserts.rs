//! Xen 4.17's numbers as gcc computes them, asserted at compile time.
//!
//! Generated from `tests/xen-layout.txt` by `cargo test -p paravane-abi --test layout -- --ignored bless`.
//! If the asserts stand in the way of a new layout, empty this file first.

use crate::layout::{measured_constant, measured_struct};

measured_struct! { crate::start_info::StartInfo: 1168, 8 { magic: 0, 32; nr_pages: 32, 8; shared_info: 40, 8; flags: 48, 4; store_mfn: 56, 8; store_evtchn: 64, 4; console_mfn: 72, 8; console_evtchn: 80, 4; pt_base: 88, 8; nr_pt_frames: 96, 8; mfn_list: 104, 8; mod_start: 112, 8; mod_len: 120, 8; cmd_line: 128, 1024; first_p2m_pfn: 1152, 8; nr_p2m_frames: 1160, 8; } }
measured_struct! { crate::shared_info::VcpuTimeInfo: 32, 8 { version: 0, 4; pad0: 4, 4; tsc_timestamp: 8, 8; system_time: 16, 8; tsc_to_system_mul: 24, 4; tsc_shift: 28, 1; flags: 29, 1; pad1: 30, 2; } }
measured_struct! { crate::shared_info::ArchVcpuInfo: 16, 8 { cr2: 0, 8; pad: 8, 8; } }
measured_struct! { crate::shared_info::VcpuInfo: 64, 8 { evtchn_upcall_pending: 0, 1; evtchn_upcall_mask: 1, 1; evtchn_pending_sel: 8, 8; arch: 16, 16; time: 32, 32; } }
measured_struct! { crate::shared_info::ArchSharedInfo: 48, 8 { max_pfn: 0, 8; pfn_to_mfn_frame_list_list: 8, 8; nmi_reason: 16, 8; p2m_cr3: 24, 8; p2m_vaddr: 32, 8; p2m_generation: 40, 8; } }
measured_struct! { crate::shared_info::SharedInfo: 3136, 8 { vcpu_info: 0, 2048; evtchn_pending: 2048, 512; evtchn_mask: 2560, 512; wc_version: 3072, 4; wc_sec: 3076, 4; wc_nsec: 3080, 4; wc_sec_hi: 3084, 4; arch: 3088, 48; } }
measured_struct! { crate::regs::CpuUserRegs: 200, 8 { r15: 0, 8; r14: 8, 8; r13: 16, 8; r12: 24, 8; rbp: 32, 8; rbx: 40, 8; r11: 48, 8; r10: 56, 8; r9: 64, 8; r8: 72, 8; rax: 80, 8; rcx: 88, 8; rdx: 96, 8; rsi: 104, 8; rdi: 112, 8; error_code: 120, 4; entry_vector: 124, 4; rip: 128, 8; cs: 136, 2; pad0: 138, 2; saved_upcall_mask: 140, 1; pad1: 141, 3; rflags: 144, 8; rsp: 152, 8; ss: 160, 2; pad2: 162, 6; es: 168, 2; pad3: 170, 6; ds: 176, 2; pad4: 178, 6; fs: 184, 2; pad5: 186, 6; gs: 192, 2; pad6: 194, 6; } }
measured_struct! { crate::regs::IretContext: 72, 8 { rax: 0, 8; r11: 8, 8; rcx: 16, 8; flags: 24, 8; rip: 32, 8; cs: 40, 8; rflags: 48, 8; rsp: 56, 8; ss: 64, 8; } }
measured_struct! { crate::trap::TrapInfo: 16, 8 { vector: 0, 1; flags: 1, 1; cs: 2, 2; address: 8, 8; } }
measured_struct! { crate::multicall::MulticallEntry: 64, 8 { op: 0, 8; result: 8, 8; args: 16, 48; } }
measured_struct! { crate::mmu::MmuUpdate: 16, 8 { ptr: 0, 8; val: 8, 8; } }
measured_struct! { crate::mmu::MmuextOp: 24, 8 { cmd: 0, 4; arg1: 8, 8; arg2: 16, 8; } }
measured_struct! { crate::memory::MemoryReservation: 32, 8 { extent_start: 0, 8; nr_extents: 8, 8; extent_order: 16, 4; mem_flags: 20, 4; domid: 24, 2; } }
measured_struct! { crate::memory::MemoryExchange: 72, 8 { input: 0, 32; output: 32, 32; nr_exchanged: 64, 8; } }
measured_struct! { crate::memory::MemoryDomain: 2, 2 { domid: 0, 2; } }
measured_struct! { crate::memory::MachphysMfnList: 24, 8 { max_extents: 0, 4; extent_start: 8, 8; nr_extents: 16, 4; } }
measured_struct! { crate::memory::MachphysMapping: 24, 8 { v_start: 0, 8; v_end: 8, 8; max_mfn: 16, 8; } }
measured_struct! { crate::memory::MemoryMap: 16, 8 { nr_entries: 0, 4; buffer: 8, 8; } }
measured_struct! { crate::event::EvtchnAllocUnbound: 8, 4 { dom: 0, 2; remote_dom: 2, 2; port: 4, 4; } }
measured_struct! { crate::event::EvtchnBindInterdomain: 12, 4 { remote_dom: 0, 2; remote_port: 4, 4; local_port: 8, 4; } }
measured_struct! { crate::event::EvtchnBindVirq: 12, 4 { virq: 0, 4; vcpu: 4, 4; port: 8, 4; } }
measured_struct! { crate::event::EvtchnBindPirq: 12, 4 { pirq: 0, 4; flags: 4, 4; port: 8, 4; } }
measured_struct! { crate::event::EvtchnBindIpi: 8, 4 { vcpu: 0, 4; port: 4, 4; } }
measured_struct! { crate::event::EvtchnClose: 4, 4 { port: 0, 4; } }
measured_struct! { crate::event::EvtchnSend: 4, 4 { port: 0, 4; } }
measured_struct! { crate::event::EvtchnStatus: 24, 4 { dom: 0, 2; port: 4, 4; status: 8, 4; vcpu: 12, 4; u: 16, 8; } }
measured_struct! { crate::event::EvtchnBindVcpu: 8, 4 { port: 0, 4; vcpu: 4, 4; } }
measured_struct! { crate::event::EvtchnUnmask: 4, 4 { port: 0, 4; } }
measured_struct! { crate::event::EvtchnReset: 2, 2 { dom: 0, 2; } }
measured_struct! { crate::event::EvtchnInitControl: 24, 8 { control_gfn: 0, 8; offset: 8, 4; vcpu: 12, 4; link_bits: 16, 1; pad: 17, 7; } }
measured_struct! { crate::event::EvtchnExpandArray: 8, 8 { array_gfn: 0, 8; } }
measured_struct! { crate::event::EvtchnSetPriority: 8, 4 { port: 0, 4; priority: 4, 4; } }
measured_struct! { crate::event::EvtchnFifoControlBlock: 72, 4 { ready: 0, 4; reserved: 4, 4; head: 8, 64; } }
measured_struct! { crate::sched::SchedShutdown: 4, 4 { reason: 0, 4; } }
measured_struct! { crate::sched::SchedPoll: 24, 8 { ports: 0, 8; nr_ports: 8, 4; timeout: 16, 8; } }
measured_struct! { crate::sched::SchedRemoteShutdown: 8, 4 { domain_id: 0, 2; reason: 4, 4; } }
measured_struct! { crate::sched::SchedWatchdog: 8, 4 { id: 0, 4; timeout: 4, 4; } }
measured_struct! { crate::sched::SchedPinOverride: 4, 4 { pcpu: 0, 4; } }
measured_struct! { crate::vcpu::VcpuGuestContext: 5168, 8 { fpu_ctxt: 0, 512; flags: 512, 8; user_regs: 520, 200; trap_ctxt: 720, 4096; ldt_base: 4816, 8; ldt_ents: 4824, 8; gdt_frames: 4832, 128; gdt_ents: 4960, 8; kernel_ss: 4968, 8; kernel_sp: 4976, 8; ctrlreg: 4984, 64; debugreg: 5048, 64; event_callback_eip: 5112, 8; failsafe_callback_eip: 5120, 8; syscall_callback_eip: 5128, 8; vm_assist: 5136, 8; fs_base: 5144, 8; gs_base_kernel: 5152, 8; gs_base_user: 5160, 8; } }
measured_struct! { crate::vcpu::VcpuRunstateInfo: 48, 8 { state: 0, 4; state_entry_time: 8, 8; time: 16, 32; } }
measured_struct! { crate::vcpu::VcpuRegisterRunstateMemoryArea: 8, 8 { addr: 0, 8; } }
measured_struct! { crate::vcpu::VcpuSetPeriodicTimer: 8, 8 { period_ns: 0, 8; } }
measured_struct! { crate::vcpu::VcpuSetSingleshotTimer: 16, 8 { timeout_abs_ns: 0, 8; flags: 8, 4; } }
measured_struct! { crate::vcpu::VcpuRegisterVcpuInfo: 16, 8 { mfn: 0, 8; offset: 8, 4; rsvd: 12, 4; } }
measured_struct! { crate::vcpu::VcpuGetPhysid: 8, 8 { phys_id: 0, 8; } }
measured_struct! { crate::vcpu::VcpuRegisterTimeMemoryArea: 8, 8 { addr: 0, 8; } }
measured_struct! { crate::version::CompileInfo: 144, 1 { compiler: 0, 64; compile_by: 64, 16; compile_domain: 80, 32; compile_date: 112, 32; } }
measured_struct! { crate::version::PlatformParameters: 8, 8 { virt_start: 0, 8; } }
measured_struct! { crate::version::FeatureInfo: 8, 4 { submap_idx: 0, 4; submap: 4, 4; } }
measured_struct! { crate::version::BuildIdHeader: 4, 4 { len: 0, 4; } }
measured_struct! { crate::physdev::PhysdevEoi: 4, 4 { irq: 0, 4; } }
measured_struct! { crate::physdev::PhysdevPirqEoiGmfn: 8, 8 { gmfn: 0, 8; } }
measured_struct! { crate::physdev::PhysdevIrqStatusQuery: 8, 4 { irq: 0, 4; flags: 4, 4; } }
measured_struct! { crate::physdev::PhysdevSetIopl: 4, 4 { iopl: 0, 4; } }
measured_struct! { crate::physdev::PhysdevSetIobitmap: 16, 8 { bitmap: 0, 8; nr_ports: 8, 4; } }
measured_struct! { crate::callback::CallbackRegister: 16, 8 { kind: 0, 2; flags: 2, 2; address: 8, 8; } }
measured_struct! { crate::callback::CallbackUnregister: 4, 2 { kind: 0, 2; unused: 2, 2; } }
measured_struct! { crate::console::XenconsInterface: 3088, 4 { input: 0, 1024; output: 1024, 2048; in_cons: 3072, 4; in_prod: 3076, 4; out_cons: 3080, 4; out_prod: 3084, 4; } }
measured_struct! { crate::pvh::HvmStartInfo: 56, 8 { magic: 0, 4; version: 4, 4; flags: 8, 4; nr_modules: 12, 4; modlist_paddr: 16, 8; cmdline_paddr: 24, 8; rsdp_paddr: 32, 8; memmap_paddr: 40, 8; memmap_entries: 48, 4; reserved: 52, 4; } }
measured_struct! { crate::pvh::HvmModlistEntry: 32, 8 { paddr: 0, 8; size: 8, 8; cmdline_paddr: 16, 8; reserved: 24, 8; } }
measured_struct! { crate::pvh::HvmMemmapTableEntry: 24, 8 { addr: 0, 8; size: 8, 8; kind: 16, 4; reserved: 20, 4; } }
measured_constant! { crate::errno::Errno::EPERM: 1 }
measured_constant! { crate::errno::Errno::ENOENT: 2 }
measured_constant! { crate::errno::Errno::ESRCH: 3 }
measured_constant! { crate::errno::Errno::EIO: 5 }
measured_constant! { crate::errno::Errno::ENXIO: 6 }
measured_constant! { crate::errno::Errno::E2BIG: 7 }
measured_constant! { crate::errno::Errno::ENOEXEC: 8 }
measured_constant! { crate::errno::Errno::EBADF: 9 }
measured_constant! { crate::errno::Errno::ECHILD: 10 }
measured_constant! { crate::errno::Errno::EAGAIN: 11 }
measured_constant! { crate::errno::Errno::ENOMEM: 12 }
measured_constant! { crate::errno::Errno::EACCES: 13 }
measured_constant! { crate::errno::Errno::EFAULT: 14 }
measured_constant! { crate::errno::Errno::EBUSY: 16 }
measured_constant! { crate::errno::Errno::EEXIST: 17 }
measured_constant! { crate::errno::Errno::EXDEV: 18 }
measured_constant! { crate::errno::Errno::ENODEV: 19 }
measured_constant! { crate::errno::Errno::ENOTDIR: 20 }
measured_constant! { crate::errno::Errno::EISDIR: 21 }
measured_constant! { crate::errno::Errno::EINVAL: 22 }
measured_constant! { crate::errno::Errno::ENFILE: 23 }
measured_constant! { crate::errno::Errno::EMFILE: 24 }
measured_constant! { crate::errno::Errno::ENOSPC: 28 }
measured_constant! { crate::errno::Errno::EROFS: 30 }
measured_constant! { crate::errno::Errno::EMLINK: 31 }
measured_constant! { crate::errno::Errno::EDOM: 33 }
measured_constant! { crate::errno::Errno::ERANGE: 34 }
measured_constant! { crate::errno::Errno::EDEADLK: 35 }
measured_constant! { crate::errno::Errno::ENAMETOOLONG: 36 }
measured_constant! { crate::errno::Errno::ENOLCK: 37 }
measured_constant! { crate::errno::Errno::ENOSYS: 38 }
measured_constant! { crate::errno::Errno::ENOTEMPTY: 39 }
measured_constant! { crate::errno::Errno::ENODATA: 61 }
measured_constant! { crate::errno::Errno::ETIME: 62 }
measured_constant! { crate::errno::Errno::EBADMSG: 74 }
measured_constant! { crate::errno::Errno::EOVERFLOW: 75 }
measured_constant! { crate::errno::Errno::EILSEQ: 84 }
measured_constant! { crate::errno::Errno::ENOTSOCK: 88 }
measured_constant! { crate::errno::Errno::EMSGSIZE: 90 }
measured_constant! { crate::errno::Errno::EOPNOTSUPP: 95 }
measured_constant! { crate::errno::Errno::EADDRINUSE: 98 }
measured_constant! { crate::errno::Errno::EADDRNOTAVAIL: 99 }
measured_constant! { crate::errno::Errno::ENOBUFS: 105 }
measured_constant! { crate::errno::Errno::EISCONN: 106 }
measured_constant! { crate::errno::Errno::ENOTCONN: 107 }
measured_constant! { crate::errno::Errno::ETIMEDOUT: 110 }
measured_constant! { crate::errno::Errno::ECONNREFUSED: 111 }
measured_constant! { crate::hypercall::HYPERVISOR_SET_TRAP_TABLE: 0 }
measured_constant! { crate::hypercall::HYPERVISOR_MMU_UPDATE: 1 }
measured_constant! { crate::hypercall::HYPERVISOR_SET_GDT: 2 }
measured_constant! { crate::hypercall::HYPERVISOR_STACK_SWITCH: 3 }
measured_constant! { crate::hypercall::HYPERVISOR_SET_CALLBACKS: 4 }
measured_constant! { crate::hypercall::HYPERVISOR_FPU_TASKSWITCH: 5 }
measured_constant! { crate::hypercall::HYPERVISOR_SET_DEBUGREG: 8 }
measured_constant! { crate::hypercall::HYPERVISOR_GET_DEBUGREG: 9 }
measured_constant! { crate::hypercall::HYPERVISOR_UPDATE_DESCRIPTOR: 10 }
measured_constant! { crate::hypercall::HYPERVISOR_MEMORY_OP: 12 }
measured_constant! { crate::hypercall::HYPERVISOR_MULTICALL: 13 }
measured_constant! { crate::hypercall::HYPERVISOR_UPDATE_VA_MAPPING: 14 }
measured_constant! { crate::hypercall::HYPERVISOR_SET_TIMER_OP: 15 }
measured_constant! { crate::hypercall::HYPERVISOR_XEN_VERSION: 17 }
measured_constant! { crate::hypercall::HYPERVISOR_CONSOLE_IO: 18 }
measured_constant! { crate::hypercall::HYPERVISOR_VM_ASSIST: 21 }
measured_constant! { crate::hypercall::HYPERVISOR_IRET: 23 }
measured_constant! { crate::hypercall::HYPERVISOR_VCPU_OP: 24 }
measured_constant! { crate::hypercall::HYPERVISOR_SET_SEGMENT_BASE: 25 }
measured_constant! { crate::hypercall::HYPERVISOR_MMUEXT_OP: 26 }
measured_constant! { crate::hypercall::HYPERVISOR_SCHED_OP: 29 }
measured_constant! { crate::hypercall::HYPERVISOR_CALLBACK_OP: 30 }
measured_constant! { crate::hypercall::HYPERVISOR_EVENT_CHANNEL_OP: 32 }
measured_constant! { crate::hypercall::HYPERVISOR_PHYSDEV_OP: 33 }
measured_constant! { crate::start_info::SIF_PRIVILEGED: 1 }
measured_constant! { crate::start_info::SIF_INITDOMAIN: 2 }
measured_constant! { crate::start_info::SIF_MULTIBOOT_MOD: 4 }
measured_constant! { crate::start_info::SIF_MOD_START_PFN: 8 }
measured_constant! { crate::start_info::SIF_VIRT_P2M_4TOOLS: 16 }
measured_constant! { crate::start_info::SIF_PM_MASK: 65280 }
measured_constant! { crate::start_info::MAX_GUEST_CMDLINE: 1024 }
measured_constant! { crate::shared_info::XEN_LEGACY_MAX_VCPUS: 32 }
measured_constant! { crate::shared_info::PVCLOCK_TSC_STABLE: 1 }
measured_constant! { crate::shared_info::PVCLOCK_GUEST_STOPPED: 2 }
measured_constant! { crate::shared_info::XEN_NMIREASON_IO_ERROR: 1 }
measured_constant! { crate::shared_info::XEN_NMIREASON_PCI_SERR: 2 }
measured_constant! { crate::shared_info::XEN_NMIREASON_UNKNOWN: 4 }
measured_constant! { crate::regs::VGCF_IN_SYSCALL: 256 }
measured_constant! { crate::segment::FIRST_RESERVED_GDT_PAGE: 14 }
measured_constant! { crate::segment::FIRST_RESERVED_GDT_BYTE: 57344 }
measured_constant! { crate::segment::FIRST_RESERVED_GDT_ENTRY: 7168 }
measured_constant! { crate::segment::FLAT_RING3_CS32: 57379 }
measured_constant! { crate::segment::FLAT_RING3_CS64: 57395 }
measured_constant! { crate::segment::FLAT_RING3_DS32: 57387 }
measured_constant! { crate::segment::FLAT_RING3_DS64: 0 }
measured_constant! { crate::segment::FLAT_RING3_SS32: 57387 }
measured_constant! { crate::segment::FLAT_RING3_SS64: 57387 }
measured_constant! { crate::segment::FLAT_KERNEL_CS: 57395 }
measured_constant! { crate::segment::FLAT_KERNEL_SS: 57387 }
measured_constant! { crate::segment::FLAT_KERNEL_DS: 0 }
measured_constant! { crate::segment::FLAT_USER_CS: 57395 }
measured_constant! { crate::segment::FLAT_USER_SS: 57387 }
measured_constant! { crate::segment::FLAT_USER_DS: 0 }
measured_constant! { crate::mmu::UVMF_NONE: 0 }
measured_constant! { crate::mmu::UVMF_TLB_FLUSH: 1 }
measured_constant! { crate::mmu::UVMF_INVLPG: 2 }
measured_constant! { crate::mmu::UVMF_FLUSHTYPE_MASK: 3 }
measured_constant! { crate::mmu::UVMF_MULTI: 0 }
measured_constant! { crate::mmu::UVMF_LOCAL: 0 }
measured_constant! { crate::mmu::UVMF_ALL: 4 }
measured_constant! { crate::mmu::HYPERVISOR_VIRT_START: 18446603336221196288 }
measured_constant! { crate::mmu::HYPERVISOR_VIRT_END: 18446612132314218496 }
measured_constant! { crate::mmu::MACH2PHYS_VIRT_START: 18446603336221196288 }
measured_constant! { crate::mmu::MACH2PHYS_VIRT_END: 18446603611099103232 }
measured_constant! { crate::mmu::MACH2PHYS_NR_ENTRIES: 34359738368 }
measured_constant! { crate::mmu::DOMID_FIRST_RESERVED: 32752 }
measured_constant! { crate::mmu::DOMID_SELF: 32752 }
measured_constant! { crate::mmu::DOMID_IO: 32753 }
measured_constant! { crate::mmu::DOMID_XEN: 32754 }
measured_constant! { crate::mmu::DOMID_COW: 32755 }
measured_constant! { crate::mmu::DOMID_INVALID: 32756 }
measured_constant! { crate::mmu::DOMID_IDLE: 32767 }
measured_constant! { crate::mmu::DOMID_MASK: 32767 }
measured_constant! { crate::memory::XENMEMF_POPULATE_ON_DEMAND: 65536 }
measured_constant! { crate::memory::XENMEMF_EXACT_NODE_REQUEST: 131072 }
measured_constant! { crate::memory::XENMEMF_VNODE: 262144 }
measured_constant! { crate::event::VIRQ_TIMER: 0 }
measured_constant! { crate::event::VIRQ_DEBUG: 1 }
measured_constant! { crate::event::VIRQ_CONSOLE: 2 }
measured_constant! { crate::event::VIRQ_DOM_EXC: 3 }
measured_constant! { crate::event::VIRQ_TBUF: 4 }
measured_constant! { crate::event::VIRQ_DEBUGGER: 6 }
measured_constant! { crate::event::VIRQ_XENOPROF: 7 }
measured_constant! { crate::event::VIRQ_CON_RING: 8 }
measured_constant! { crate::event::VIRQ_PCPU_STATE: 9 }
measured_constant! { crate::event::VIRQ_MEM_EVENT: 10 }
measured_constant! { crate::event::VIRQ_ARGO: 11 }
measured_constant! { crate::event::VIRQ_ENOMEM: 12 }
measured_constant! { crate::event::VIRQ_XENPMU: 13 }
measured_constant! { crate::event::VIRQ_ARCH_0: 16 }
measured_constant! { crate::event::NR_VIRQS: 24 }
measured_constant! { crate::event::BIND_PIRQ_WILL_SHARE: 1 }
measured_constant! { crate::event::EVTCHNSTAT_CLOSED: 0 }
measured_constant! { crate::event::EVTCHNSTAT_UNBOUND: 1 }
measured_constant! { crate::event::EVTCHNSTAT_INTERDOMAIN: 2 }
measured_constant! { crate::event::EVTCHNSTAT_PIRQ: 3 }
measured_constant! { crate::event::EVTCHNSTAT_VIRQ: 4 }
measured_constant! { crate::event::EVTCHNSTAT_IPI: 5 }
measured_constant! { crate::event::EVTCHN_2L_NR_CHANNELS: 4096 }
measured_constant! { crate::event::EVTCHN_FIFO_PRIORITY_MAX: 0 }
measured_constant! { crate::event::EVTCHN_FIFO_PRIORITY_DEFAULT: 7 }
measured_constant! { crate::event::EVTCHN_FIFO_PRIORITY_MIN: 15 }
measured_constant! { crate::event::EVTCHN_FIFO_MAX_QUEUES: 16 }
measured_constant! { crate::event::EVTCHN_FIFO_PENDING: 31 }
measured_constant! { crate::event::EVTCHN_FIFO_MASKED: 30 }
measured_constant! { crate::event::EVTCHN_FIFO_LINKED: 29 }
measured_constant! { crate::event::EVTCHN_FIFO_BUSY: 28 }
measured_constant! { crate::event::EVTCHN_FIFO_LINK_BITS: 17 }
measured_constant! { crate::event::EVTCHN_FIFO_LINK_MASK: 131071 }
measured_constant! { crate::event::EVTCHN_FIFO_NR_CHANNELS: 131072 }
measured_constant! { crate::sched::SHUTDOWN_POWEROFF: 0 }
measured_constant! { crate::sched::SHUTDOWN_REBOOT: 1 }
measured_constant! { crate::sched::SHUTDOWN_SUSPEND: 2 }
measured_constant! { crate::sched::SHUTDOWN_CRASH: 3 }
measured_constant! { crate::sched::SHUTDOWN_WATCHDOG: 4 }
measured_constant! { crate::sched::SHUTDOWN_SOFT_RESET: 5 }
measured_constant! { crate::sched::SHUTDOWN_MAX: 5 }
measured_constant! { crate::vcpu::RUNSTATE_RUNNING: 0 }
measured_constant! { crate::vcpu::RUNSTATE_RUNNABLE: 1 }
measured_constant! { crate::vcpu::RUNSTATE_BLOCKED: 2 }
measured_constant! { crate::vcpu::RUNSTATE_OFFLINE: 3 }
measured_constant! { crate::vcpu::XEN_RUNSTATE_UPDATE: 9223372036854775808 }
measured_constant! { crate::vcpu::VCPU_SSHOTTMR_FUTURE: 1 }
measured_constant! { crate::vcpu::VGCF_I387_VALID: 1 }
measured_constant! { crate::vcpu::VGCF_IN_KERNEL: 4 }
measured_constant! { crate::vcpu::VGCF_FAILSAFE_DISABLES_EVENTS: 8 }
measured_constant! { crate::vcpu::VGCF_SYSCALL_DISABLES_EVENTS: 16 }
measured_constant! { crate::vcpu::VGCF_ONLINE: 32 }
measured_constant! { crate::version::XENFEAT_WRITABLE_PAGE_TABLES: 0 }
measured_constant! { crate::version::XENFEAT_WRITABLE_DESCRIPTOR_TABLES: 1 }
measured_constant! { crate::version::XENFEAT_AUTO_TRANSLATED_PHYSMAP: 2 }
measured_constant! { crate::version::XENFEAT_SUPERVISOR_MODE_KERNEL: 3 }
measured_constant! { crate::version::XENFEAT_PAE_PGDIR_ABOVE_4GB: 4 }
measured_constant! { crate::version::XENFEAT_MMU_PT_UPDATE_PRESERVE_AD: 5 }
measured_constant! { crate::version::XENFEAT_HIGHMEM_ASSIST: 6 }
measured_constant! { crate::version::XENFEAT_GNTTAB_MAP_AVAIL_BITS: 7 }
measured_constant! { crate::version::XENFEAT_HVM_CALLBACK_VECTOR: 8 }
measured_constant! { crate::version::XENFEAT_HVM_SAFE_PVCLOCK: 9 }
measured_constant! { crate::version::XENFEAT_HVM_PIRQS: 10 }
measured_constant! { crate::version::XENFEAT_DOM0: 11 }
measured_constant! { crate::version::XENFEAT_MEMORY_OP_VNODE_SUPPORTED: 13 }
measured_constant! { crate::version::XENFEAT_ARM_SMCCC_SUPPORTED: 14 }
measured_constant! { crate::version::XENFEAT_LINUX_RSDP_UNRESTRICTED: 15 }
measured_constant! { crate::version::XENFEAT_NOT_DIRECT_MAPPED: 16 }
measured_constant! { crate::version::XENFEAT_DIRECT_MAPPED: 17 }
measured_constant! { crate::version::XENFEAT_NR_SUBMAPS: 1 }
measured_constant! { crate::vm_assist::VMASST_TYPE_4GB_SEGMENTS: 0 }
measured_constant! { crate::vm_assist::VMASST_TYPE_4GB_SEGMENTS_NOTIFY: 1 }
measured_constant! { crate::vm_assist::VMASST_TYPE_WRITABLE_PAGETABLES: 2 }
measured_constant! { crate::vm_assist::VMASST_TYPE_PAE_EXTENDED_CR3: 3 }
measured_constant! { crate::vm_assist::VMASST_TYPE_ARCHITECTURAL_IOPL: 4 }
measured_constant! { crate::vm_assist::VMASST_TYPE_RUNSTATE_UPDATE_FLAG: 5 }
measured_constant! { crate::vm_assist::VMASST_TYPE_M2P_STRICT: 32 }
measured_constant! { crate::physdev::XENIRQSTAT_NEEDS_EOI: 1 }
measured_constant! { crate::physdev::XENIRQSTAT_SHARED: 2 }
measured_constant! { crate::callback::CALLBACKTYPE_EVENT: 0 }
measured_constant! { crate::callback::CALLBACKTYPE_FAILSAFE: 1 }
measured_constant! { crate::callback::CALLBACKTYPE_SYSCALL: 2 }
measured_constant! { crate::callback::CALLBACKTYPE_SYSENTER_DEPRECATED: 3 }
measured_constant! { crate::callback::CALLBACKTYPE_NMI: 4 }
measured_constant! { crate::callback::CALLBACKTYPE_SYSENTER: 5 }
measured_constant! { crate::callback::CALLBACKTYPE_SYSCALL32: 7 }
measured_constant! { crate::callback::CALLBACKF_MASK_EVENTS: 1 }
measured_constant! { crate::cpuid::XEN_CPUID_FIRST_LEAF: 1073741824 }
measured_constant! { crate::cpuid::XEN_CPUID_SIGNATURE_EBX: 1450075480 }
measured_constant! { crate::cpuid::XEN_CPUID_SIGNATURE_ECX: 1700285773 }
measured_constant! { crate::cpuid::XEN_CPUID_SIGNATURE_EDX: 1296914030 }
measured_constant! { crate::cpuid::XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD: 1 }
measured_constant! { crate::cpuid::XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK: 255 }
measured_constant! { crate::cpuid::XEN_CPUID_MAX_NUM_LEAVES: 5 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_INFO: 0 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_ENTRY: 1 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_HYPERCALL_PAGE: 2 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_VIRT_BASE: 3 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_PADDR_OFFSET: 4 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_XEN_VERSION: 5 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_GUEST_OS: 6 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_GUEST_VERSION: 7 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_LOADER: 8 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_PAE_MODE: 9 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_FEATURES: 10 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_BSD_SYMTAB: 11 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_HV_START_LOW: 12 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_L1_MFN_VALID: 13 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_SUSPEND_CANCEL: 14 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_INIT_P2M: 15 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_MOD_START_PFN: 16 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_SUPPORTED_FEATURES: 17 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_PHYS32_ENTRY: 18 }
measured_constant! { crate::elfnote::XEN_ELFNOTE_MAX: 18 }
measured_constant! { crate::pvh::XEN_HVM_START_MAGIC_VALUE: 862897528 }
measured_constant! { crate::pvh::XEN_HVM_MEMMAP_TYPE_RAM: 1 }
measured_constant! { crate::pvh::XEN_HVM_MEMMAP_TYPE_RESERVED: 2 }
measured_constant! { crate::pvh::XEN_HVM_MEMMAP_TYPE_ACPI: 3 }
measured_constant! { crate::pvh::XEN_HVM_MEMMAP_TYPE_NVS: 4 }
measured_constant! { crate::pvh::XEN_HVM_MEMMAP_TYPE_UNUSABLE: 5 }
measured_constant! { crate::pvh::XEN_HVM_MEMMAP_TYPE_DISABLED: 6 }
measured_constant! { crate::pvh::XEN_HVM_MEMMAP_TYPE_PMEM: 7 }
measured_constant! { crate::hypercall::HYPERVISOR_SCHED_OP_COMPAT: 6 }
measured_constant! { crate::hypercall::HYPERVISOR_PLATFORM_OP: 7 }
measured_constant! { crate::hypercall::HYPERVISOR_EVENT_CHANNEL_OP_COMPAT: 16 }
measured_constant! { crate::hypercall::HYPERVISOR_PHYSDEV_OP_COMPAT: 19 }
measured_constant! { crate::hypercall::HYPERVISOR_GRANT_TABLE_OP: 20 }
measured_constant! { crate::hypercall::HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN: 22 }
measured_constant! { crate::hypercall::HYPERVISOR_XSM_OP: 27 }
measured_constant! { crate::hypercall::HYPERVISOR_NMI_OP: 28 }
measured_constant! { crate::hypercall::HYPERVISOR_XENOPROF_OP: 31 }
measured_constant! { crate::hypercall::HYPERVISOR_HVM_OP: 34 }
measured_constant! { crate::hypercall::HYPERVISOR_SYSCTL: 35 }
measured_constant! { crate::hypercall::HYPERVISOR_DOMCTL: 36 }
measured_constant! { crate::hypercall::HYPERVISOR_KEXEC_OP: 37 }
measured_constant! { crate::hypercall::HYPERVISOR_TMEM_OP: 38 }
measured_constant! { crate::hypercall::HYPERVISOR_ARGO_OP: 39 }
measured_constant! { crate::hypercall::HYPERVISOR_XENPMU_OP: 40 }
measured_constant! { crate::hypercall::HYPERVISOR_DM_OP: 41 }
measured_constant! { crate::hypercall::HYPERVISOR_HYPFS_OP: 42 }
measured_constant! { crate::hypercall::HYPERVISOR_ARCH_1: 49 }
measured_constant! { crate::hypercall::HYPERVISOR_ARCH_2: 50 }
measured_constant! { crate::hypercall::HYPERVISOR_ARCH_3: 51 }
measured_constant! { crate::hypercall::HYPERVISOR_ARCH_4: 52 }
measured_constant! { crate::hypercall::HYPERVISOR_ARCH_5: 53 }
measured_constant! { crate::hypercall::HYPERVISOR_ARCH_6: 54 }
measured_constant! { crate::hypercall::HYPERVISOR_ARCH_7: 55 }
measured_constant! { crate::hypercall::mmu_update::MMU_NORMAL_PT_UPDATE: 0 }
measured_constant! { crate::hypercall::mmu_update::MMU_MACHPHYS_UPDATE: 1 }
measured_constant! { crate::hypercall::mmu_update::MMU_PT_UPDATE_PRESERVE_AD: 2 }
measured_constant! { crate::hypercall::mmu_update::MMU_PT_UPDATE_NO_TRANSLATE: 3 }
measured_constant! { crate::hypercall::memory_op::XENMEM_INCREASE_RESERVATION: 0 }
measured_constant! { crate::hypercall::memory_op::XENMEM_DECREASE_RESERVATION: 1 }
measured_constant! { crate::hypercall::memory_op::XENMEM_MAXIMUM_RAM_PAGE: 2 }
measured_constant! { crate::hypercall::memory_op::XENMEM_CURRENT_RESERVATION: 3 }
measured_constant! { crate::hypercall::memory_op::XENMEM_MAXIMUM_RESERVATION: 4 }
measured_constant! { crate::hypercall::memory_op::XENMEM_MACHPHYS_MFN_LIST: 5 }
measured_constant! { crate::hypercall::memory_op::XENMEM_POPULATE_PHYSMAP: 6 }
measured_constant! { crate::hypercall::memory_op::XENMEM_MEMORY_MAP: 9 }
measured_constant! { crate::hypercall::memory_op::XENMEM_MACHINE_MEMORY_MAP: 10 }
measured_constant! { crate::hypercall::memory_op::XENMEM_EXCHANGE: 11 }
measured_constant! { crate::hypercall::memory_op::XENMEM_MACHPHYS_MAPPING: 12 }
measured_constant! { crate::hypercall::memory_op::XENMEM_MAXIMUM_GPFN: 14 }
measured_constant! { crate::hypercall::xen_version::XENVER_VERSION: 0 }
measured_constant! { crate::hypercall::xen_version::XENVER_EXTRAVERSION: 1 }
measured_constant! { crate::hypercall::xen_version::XENVER_COMPILE_INFO: 2 }
measured_constant! { crate::hypercall::xen_version::XENVER_CAPABILITIES: 3 }
measured_constant! { crate::hypercall::xen_version::XENVER_CHANGESET: 4 }
measured_constant! { crate::hypercall::xen_version::XENVER_PLATFORM_PARAMETERS: 5 }
measured_constant! { crate::hypercall::xen_version::XENVER_GET_FEATURES: 6 }
measured_constant! { crate::hypercall::xen_version::XENVER_PAGESIZE: 7 }
measured_constant! { crate::hypercall::xen_version::XENVER_GUEST_HANDLE: 8 }
measured_constant! { crate::hypercall::xen_version::XENVER_COMMANDLINE: 9 }
measured_constant! { crate::hypercall::xen_version::XENVER_BUILD_ID: 10 }
measured_constant! { crate::hypercall::console_io::CONSOLEIO_WRITE: 0 }
measured_constant! { crate::hypercall::console_io::CONSOLEIO_READ: 1 }
measured_constant! { crate::hypercall::vm_assist::VMASST_CMD_ENABLE: 0 }
measured_constant! { crate::hypercall::vm_assist::VMASST_CMD_DISABLE: 1 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_INITIALISE: 0 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_UP: 1 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_DOWN: 2 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_IS_UP: 3 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_GET_RUNSTATE_INFO: 4 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA: 5 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_SET_PERIODIC_TIMER: 6 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_STOP_PERIODIC_TIMER: 7 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_SET_SINGLESHOT_TIMER: 8 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_STOP_SINGLESHOT_TIMER: 9 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_REGISTER_VCPU_INFO: 10 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_SEND_NMI: 11 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_GET_PHYSID: 12 }
measured_constant! { crate::hypercall::vcpu_op::VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA: 13 }
measured_constant! { crate::hypercall::set_segment_base::SEGBASE_FS: 0 }
measured_constant! { crate::hypercall::set_segment_base::SEGBASE_GS_USER: 1 }
measured_constant! { crate::hypercall::set_segment_base::SEGBASE_GS_KERNEL: 2 }
measured_constant! { crate::hypercall::set_segment_base::SEGBASE_GS_USER_SEL: 3 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_PIN_L1_TABLE: 0 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_PIN_L2_TABLE: 1 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_PIN_L3_TABLE: 2 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_PIN_L4_TABLE: 3 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_UNPIN_TABLE: 4 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_NEW_BASEPTR: 5 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_TLB_FLUSH_LOCAL: 6 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_INVLPG_LOCAL: 7 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_TLB_FLUSH_MULTI: 8 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_INVLPG_MULTI: 9 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_TLB_FLUSH_ALL: 10 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_INVLPG_ALL: 11 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_FLUSH_CACHE: 12 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_SET_LDT: 13 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_NEW_USER_BASEPTR: 15 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_CLEAR_PAGE: 16 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_COPY_PAGE: 17 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_FLUSH_CACHE_GLOBAL: 18 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_MARK_SUPER: 19 }
measured_constant! { crate::hypercall::mmuext_op::MMUEXT_UNMARK_SUPER: 20 }
measured_constant! { crate::hypercall::sched_op::SCHEDOP_YIELD: 0 }
measured_constant! { crate::hypercall::sched_op::SCHEDOP_BLOCK: 1 }
measured_constant! { crate::hypercall::sched_op::SCHEDOP_SHUTDOWN: 2 }
measured_constant! { crate::hypercall::sched_op::SCHEDOP_POLL: 3 }
measured_constant! { crate::hypercall::sched_op::SCHEDOP_REMOTE_SHUTDOWN: 4 }
measured_constant! { crate::hypercall::sched_op::SCHEDOP_SHUTDOWN_CODE: 5 }
measured_constant! { crate::hypercall::sched_op::SCHEDOP_WATCHDOG: 6 }
measured_constant! { crate::hypercall::sched_op::SCHEDOP_PIN_OVERRIDE: 7 }
measured_constant! { crate::hypercall::callback_op::CALLBACKOP_REGISTER: 0 }
measured_constant! { crate::hypercall::callback_op::CALLBACKOP_UNREGISTER: 1 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_BIND_INTERDOMAIN: 0 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_BIND_VIRQ: 1 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_BIND_PIRQ: 2 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_CLOSE: 3 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_SEND: 4 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_STATUS: 5 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_ALLOC_UNBOUND: 6 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_BIND_IPI: 7 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_BIND_VCPU: 8 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_UNMASK: 9 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_RESET: 10 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_INIT_CONTROL: 11 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_EXPAND_ARRAY: 12 }
measured_constant! { crate::hypercall::event_channel_op::EVTCHNOP_SET_PRIORITY: 13 }
measured_constant! { crate::hypercall::physdev_op::PHYSDEVOP_IRQ_STATUS_QUERY: 5 }
measured_constant! { crate::hypercall::physdev_op::PHYSDEVOP_SET_IOPL: 6 }
measured_constant! { crate::hypercall::physdev_op::PHYSDEVOP_SET_IOBITMAP: 7 }
measured_constant! { crate::hypercall::physdev_op::PHYSDEVOP_EOI: 12 }
measured_constant! { crate::hypercall::physdev_op::PHYSDEVOP_PIRQ_EOI_GMFN_V1: 17 }
measured_constant! { crate::hypercall::physdev_op::PHYSDEVOP_PIRQ_EOI_GMFN_V2: 28 }
