//! A virtual processor, in architectural form.

use alloc::boxed::Box;
use core::mem::offset_of;

use paravane_abi::regs::CpuUserRegs;
use paravane_abi::shared_info::{SharedInfo, VcpuInfo};
use paravane_abi::trap::TrapInfo;

use crate::addr::Mfn;
use crate::debugreg::DebugRegs;
use crate::emulate::Mode;
use crate::event::Place;
use crate::fpu::{FpuState, component};
use crate::machine::GUEST_GDT_PAGES;
use crate::pagetable::VcpuPaging;
use crate::time::{RunstateClock, VcpuTimers};

/// Traps a guest can have handlers for.
pub const TRAPS: usize = 256;

/// Whether a vcpu that is up can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It runs or waits for a processor.
    Runnable,
    /// It waits for an event (`SCHEDOP_block`, `SCHEDOP_poll`).
    Blocked,
}

/// A guest address the hypervisor enters the kernel at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Where.
    pub address: u64,
    /// Whether events are masked on entry (`CALLBACKF_mask_events`).
    pub mask_events: bool,
}

/// The entry points registered by `callback_op` and `set_callbacks`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Callbacks {
    /// For events.
    pub event: Option<Callback>,
    /// When a segment cannot be reloaded.
    pub failsafe: Option<Callback>,
    /// `syscall` in 64-bit code.
    pub syscall: Option<Callback>,
    /// `syscall` in 32-bit code.
    pub syscall32: Option<Callback>,
    /// `sysenter`.
    pub sysenter: Option<Callback>,
}

/// Non-maskable events: one is on its way, or has been delivered and holds the next one back. Their handler is that of
/// trap 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nmi {
    /// One is to be delivered.
    pub pending: bool,
    /// Its kernel has not returned from the last one by the `iret` hypercall yet.
    pub masked: bool,
}

/// Where a vcpu's `vcpu_info` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InfoPlace {
    /// The frame.
    pub frame: Mfn,
    /// Offset of the structure in the frame, in bytes; a multiple of 8.
    pub offset: usize,
    /// Registered by the guest: the frame is held by a reference and a writable-type count.
    pub registered: bool,
}

impl InfoPlace {
    /// The place of its first word.
    #[inline]
    pub fn place(self) -> Place {
        Place { frame: self.frame, offset: self.offset }
    }

    /// A vcpu's place in the shared-info page.
    pub const fn in_shared_info(frame: Mfn, vcpu: u32) -> Self {
        let offset = offset_of!(SharedInfo, vcpu_info) + vcpu as usize * size_of::<VcpuInfo>();
        Self { frame, offset, registered: false }
    }
}

/// One virtual processor.
pub struct Vcpu {
    /// Its number in the domain.
    pub id: u32,
    /// General registers while it does not run; while it does, they stand on the entry stack.
    pub regs: CpuUserRegs,
    /// Which half of it runs, where the ring does not tell: under a kernel in ring 3.
    pub half: Mode,
    /// Whether it can run.
    pub state: RunState,
    /// It has been brought up, and not taken down (`VCPUOP_up`, `VCPUOP_down`).
    pub up: bool,
    /// The scheduler knows it as one that wants to run.
    pub awake: bool,
    /// It has been given registers: by the builder, or by `VCPUOP_initialise`.
    pub initialised: bool,
    /// The processor it runs on, or ran on last: that one serves its timers.
    pub home: usize,
    /// DS, ES, FS and GS while it does not run.
    pub selectors: [u16; 4],
    /// x87 and vector state while it does not run.
    pub fpu: FpuState,
    /// XCR0, valid and within what is offered; without meaning where there is no XSAVE.
    pub xcr0: u64,
    /// Stack for entries from ring 3.
    pub kernel_sp: u64,
    /// Trap handlers by vector.
    pub traps: Box<[TrapInfo; TRAPS]>,
    /// Descriptor frames, each held by a segment-descriptor type count.
    pub gdt: [Option<Mfn>; GUEST_GDT_PAGES],
    /// Descriptors in them.
    pub gdt_entries: u32,
    /// Entry points.
    pub callbacks: Callbacks,
    /// Non-maskable events.
    pub nmi: Nmi,
    /// Debug registers.
    pub debug: DebugRegs,
    /// CR0.TS as the guest wants it.
    pub task_switched: bool,
    /// Virtual I/O privilege level, 0 to 3.
    pub iopl: u8,
    /// Guest address of the I/O permission bitmap, 0 for none.
    pub io_bitmap: u64,
    /// Ports it covers.
    pub io_ports: u32,
    /// CR2 as its kernel reads it: the latest page fault's address, or what it wrote.
    pub cr2: u64,
    /// CR4 bits the guest chose.
    pub cr4: u64,
    /// Bases of FS, user GS and kernel GS while it does not run.
    pub bases: [u64; 3],
    /// RSP of its program at the latest `syscall`, while it does not run: its kernel may not have read it yet.
    pub user_rsp: u64,
    /// TSC_AUX.
    pub tsc_aux: u32,
    /// Its base tables and unfinished page-table operations.
    pub paging: VcpuPaging,
    /// Its `vcpu_info`.
    pub info: InfoPlace,
    /// Time in each run state.
    pub runstate: RunstateClock,
    /// Guest address of the registered runstate area, 0 for none.
    pub runstate_area: u64,
    /// Guest address of the registered time area, 0 for none.
    pub time_area: u64,
    /// Armed timers.
    pub timers: VcpuTimers,
    /// A poll in progress.
    pub poll: Option<crate::event::PollWait>,
}

impl Vcpu {
    /// A vcpu that was never brought up, with its `vcpu_info` in the shared-info page and this state of the
    /// floating-point unit.
    pub fn new(id: u32, shared_info: Mfn, now: u64, fpu: FpuState) -> Self {
        Self {
            id,
            regs: CpuUserRegs::default(),
            half: Mode::Kernel,
            state: RunState::Runnable,
            up: false,
            awake: false,
            initialised: false,
            home: 0,
            selectors: [0; 4],
            fpu,
            // Before a guest chooses, its programs find x87 and SSE, as on Xen.
            xcr0: component::LEGACY,
            kernel_sp: 0,
            traps: Box::new([TrapInfo::default(); TRAPS]),
            gdt: Default::default(),
            gdt_entries: 0,
            callbacks: Callbacks::default(),
            nmi: Nmi::default(),
            debug: DebugRegs::default(),
            task_switched: false,
            iopl: 0,
            io_bitmap: 0,
            io_ports: 0,
            cr2: 0,
            cr4: 0,
            bases: [0; 3],
            user_rsp: 0,
            tsc_aux: 0,
            paging: VcpuPaging::new(),
            info: InfoPlace::in_shared_info(shared_info, id),
            runstate: RunstateClock::new(now),
            runstate_area: 0,
            time_area: 0,
            timers: VcpuTimers::new(now, false),
            poll: None,
        }
    }
}
