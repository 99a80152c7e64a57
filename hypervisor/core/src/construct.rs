//! Making a domain out of a plan: frames, pages, tables, the first vcpu.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use paravane_abi::errno::Errno;
use paravane_abi::regs::CpuUserRegs;
use paravane_abi::trap::TrapInfo;

use crate::addr::{DomainId, Level, Mfn, Pfn};
use crate::build::devicetree::MachineKind;
use crate::build::plan::Plan;
use crate::build::populate::{Populate, StartOfDay, shared_info};
use crate::debugreg::DebugRegs;
use crate::descriptor::Policy;
use crate::domain::{Callbacks, ConsolePlace, Domain, InfoPlace, RunState, TRAPS, Vcpu};
use crate::event::{Backend, Port, PortTable};
use crate::frame::{AllocError, FrameTable};
use crate::grant::{GrantLimits, GrantTable};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::{Budget, DomainMemory, OpError, Paging, PagingPolicy, VcpuPaging};
use crate::time::{RunstateClock, TimePublisher, VcpuTimers};

/// Highest event-channel port of a domain (`xl.cfg`'s max_event_channels).
const PORT_MAX: Port = 1023;

/// Why a planned domain could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstructError {
    /// The machine kind is not built yet.
    Machine(MachineKind),
    /// A domain with that number exists.
    Exists,
    /// There is not enough memory.
    Memory(AllocError),
    /// The tables that the builder wrote were refused: a fault in the builder.
    Tables(Errno),
}

impl fmt::Display for ConstructError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(kind) => write!(f, "this hypervisor runs no {} guests", kind.name()),
            Self::Exists => write!(f, "a domain of that number exists"),
            Self::Memory(AllocError::OutOfMemory) => write!(f, "the machine has too little free memory"),
            Self::Memory(error) => write!(f, "no memory: {error:?}"),
            Self::Tables(error) => write!(f, "the initial page tables were refused: {}", error.name()),
        }
    }
}

impl From<AllocError> for ConstructError {
    fn from(error: AllocError) -> Self {
        Self::Memory(error)
    }
}

/// The domain's frames, for the builder. Each write takes and gives back the writable type, so that what
/// becomes a page table afterwards is checked like any other.
struct Frames<'a, M> {
    table: &'a mut FrameTable,
    machine: &'a M,
    domain: DomainId,
    mfns: &'a [Mfn],
}

impl<M: Machine> Populate for Frames<'_, M> {
    fn mfn(&self, pfn: Pfn) -> Mfn {
        self.mfns[pfn.get() as usize]
    }

    fn write(&mut self, pfn: Pfn, offset: usize, bytes: &[u8]) {
        let frame = self.mfn(pfn);
        if self.table.get_writable(self.machine, frame).is_err() {
            return;
        }
        if let Some(writer) = self.table.writable(frame, self.domain) {
            self.machine.write_bytes(&writer, offset, bytes);
        }
        self.table.put_writable(self.machine, frame);
    }
}

impl<M: Machine> Hypervisor<M> {
    /// Makes a planned domain. `wallclock` is the time since 1970 at system time 0. When it fails, what it took
    /// so far stays with the account of a domain that never runs: boot reports it and goes on.
    pub fn construct(&mut self, plan: &Plan<'_>, wallclock: (u64, u32)) -> Result<(), ConstructError> {
        if plan.machine != MachineKind::PvRing1 {
            return Err(ConstructError::Machine(plan.machine));
        }
        let id = match plan.config.domid {
            0 => self.free_id(),
            id => DomainId(id),
        };
        let nr_pages = plan.layout.nr_pages;
        if self.frames.free_frames() <= nr_pages {
            return Err(AllocError::OutOfMemory.into());
        }
        if !self.frames.open_account(id, nr_pages) {
            return Err(ConstructError::Exists);
        }
        let mut mfns = Vec::with_capacity(nr_pages as usize);
        for pfn in 0..nr_pages {
            let frame = self.frames.alloc_domain(&self.machine, id)?;
            self.machine.set_m2p(frame, Pfn::new(pfn));
            mfns.push(frame);
        }
        let shared = self.write_shared_info(id, wallclock)?;
        let grants = GrantTable::with_first_frame(id, GrantLimits::XEN, &mut self.frames, &self.machine)
            .map_err(|_| AllocError::OutOfMemory)?;
        let mut ports = PortTable::new(id, 1, PORT_MAX);
        let port = ports.bind_backend(Backend::Console).map_err(ConstructError::Tables)?;
        let mut memory = Frames { table: &mut self.frames, machine: &self.machine, domain: id, mfns: &mfns };
        let start = plan.populate(shared, port, &mut memory);
        let console = ConsolePlace { frame: mfns[start.console.get() as usize], port };
        let (memory, paging) = self.load_tables(id, &start, console.frame)?;
        let vcpu = self.first_state(&start, shared, paging);
        self.domains.push(Domain {
            id,
            name: plan.config.name.clone(),
            policy: Policy::Ring1,
            memory,
            ports,
            grants,
            vcpus: Vec::from([vcpu]),
            shared_info: shared,
            console,
            vm_assist: 0,
            shutdown: None,
            max_pfn: nr_pages - 1,
        });
        Ok(())
    }

    fn free_id(&self) -> DomainId {
        let taken = |id: &u16| self.domains.iter().any(|domain| domain.id.0 == *id);
        DomainId((1..).find(|id| !taken(id)).unwrap_or(u16::MAX))
    }

    fn write_shared_info(&mut self, id: DomainId, wallclock: (u64, u32)) -> Result<Mfn, ConstructError> {
        let frame = self.frames.alloc_shared(&self.machine, id)?;
        let mut publishers = [TimePublisher::default()];
        let time = self.clock.time_info(0);
        let page = shared_info(&time, wallclock, &mut publishers, &mut TimePublisher::default());
        if let Some(writer) = self.frames.writable(frame, id) {
            self.machine.write_bytes(&writer, 0, &page);
        }
        Ok(frame)
    }

    /// Pins the initial L4, as Linux expects, makes it the vcpu's, and holds the console page as writable.
    fn load_tables(
        &mut self,
        id: DomainId,
        start: &StartOfDay,
        console: Mfn,
    ) -> Result<(DomainMemory, VcpuPaging), ConstructError> {
        let memory = DomainMemory::new(id, PagingPolicy::Ring1, 1);
        let mut state = VcpuPaging::new();
        loop {
            let mut paging =
                Paging::new(&mut self.frames, &self.machine, &memory, &mut state, Budget::HYPERCALL);
            let pinned = paging.frames().info(start.l4).is_some_and(|info| info.pinned());
            let step = match pinned {
                false => paging.pin(start.l4, Level::L4),
                true => paging.set_base(start.l4),
            };
            match step {
                Ok(()) if pinned => {
                    paging.hold_writable(console).map_err(ConstructError::Tables)?;
                    return Ok((memory, state));
                }
                Ok(()) | Err(OpError::Again) => {}
                Err(OpError::Refused(error)) => return Err(ConstructError::Tables(error)),
            }
        }
    }

    fn first_state(&self, start: &StartOfDay, shared_info: Mfn, paging: VcpuPaging) -> Vcpu {
        let now = self.now();
        let regs = CpuUserRegs {
            rip: start.entry,
            rsp: start.rsp,
            rsi: start.rsi,
            cs: Policy::Ring1.kernel_code(),
            ss: Policy::Ring1.kernel_stack(),
            rflags: 0x202,
            ..CpuUserRegs::default()
        };
        Vcpu {
            id: 0,
            regs,
            state: RunState::Runnable,
            kernel_sp: 0,
            traps: Box::new([TrapInfo::default(); TRAPS]),
            gdt: Default::default(),
            gdt_entries: 0,
            callbacks: Callbacks::default(),
            debug: DebugRegs::default(),
            task_switched: false,
            iopl: 0,
            io_bitmap: 0,
            io_ports: 0,
            cr4: 0,
            bases: [0; 3],
            tsc_aux: 0,
            paging,
            info: InfoPlace { frame: shared_info, offset: 0, registered: false },
            runstate: RunstateClock::new(now),
            runstate_area: 0,
            time_area: 0,
            timers: VcpuTimers::new(now, false),
            poll: None,
        }
    }
}
