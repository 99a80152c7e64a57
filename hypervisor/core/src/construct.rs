//! Making a domain out of a plan: frames, pages, tables, the vcpus. It is done in bounded steps, since a large
//! domain takes long.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use paravane_abi::errno::Errno;
use paravane_abi::memory::{E820_RAM, E820Entry};
use paravane_abi::regs::CpuUserRegs;

use crate::addr::{DomainId, Level, Mfn, Pfn};
use crate::build::plan::{Arrangement, Plan, Start};
use crate::build::populate::{Filling, Populate, RingPorts, StartOfDay, shared_info};
use crate::console::LineBuffer;
use crate::descriptor::Policy;
use crate::domain::{Domain, Life, RingPlace, SharedPages, Shutdown, Vcpu};
use crate::event::{Backend, Port, PortTable};
use crate::frame::{AllocError, FrameTable};
use crate::grant::{GrantLimits, GrantTable};
use crate::hypervisor::{Hypervisor, Leave};
use crate::lifecycle::{Destruction, Job, Step};
use crate::machine::Machine;
use crate::pagetable::{Budget, DomainMemory, OpError, Paging, VcpuPaging};
use crate::pc::{self, Patching, Pc, PcFrames, PcMemory};
use crate::sched;
use crate::time::TimePublisher;

/// Highest event-channel port of a domain (`xl.cfg`'s max_event_channels).
const PORT_MAX: Port = 1023;

/// Frames that a domain may have beyond what was configured: 1 MiB (libxl's LIBXL_MAXMEM_CONSTANT).
const SLACK_FRAMES: u64 = 256;

/// Frames allocated and cleared in one bounded step.
const FRAMES_A_STEP: u64 = 64;

/// Why a planned domain could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstructError {
    /// A domain with that number exists.
    Exists,
    /// There is not enough memory.
    Memory(AllocError),
    /// The scheduler has no place for it.
    Share(sched::Error),
    /// The tables that the builder wrote were refused: a fault in the builder.
    Tables(Errno),
}

impl fmt::Display for ConstructError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => write!(f, "a domain of that number exists"),
            Self::Memory(AllocError::OutOfMemory) => write!(f, "the machine has too little free memory"),
            Self::Memory(error) => write!(f, "no memory: {error:?}"),
            Self::Share(error) => write!(f, "the processors it asks for cannot be had: {error:?}"),
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

/// How far the making of a domain has come.
pub(crate) struct Construction {
    plan: Arc<Plan<'static>>,
    restarts: u32,
    stage: Stage,
}

enum Stage {
    /// Nothing has been taken.
    Begin,
    /// The domain's frames so far, by guest frame number.
    Frames(DomainId, Vec<Mfn>),
    /// All frames are there, and their contents are being written.
    Contents(Box<Furnished>),
    /// All frames are filled; the tables are being checked.
    Tables(Box<Filled>),
}

/// A domain that has everything but contents.
struct Furnished {
    id: DomainId,
    mfns: Vec<Mfn>,
    shared: Mfn,
    ports: PortTable,
    port: RingPorts,
    grants: GrantTable,
    filling: Filling,
}

/// A domain whose frames are filled.
struct Filled {
    id: DomainId,
    shared: Mfn,
    console: RingPlace,
    store: RingPlace,
    ports: PortTable,
    grants: GrantTable,
    start: Start,
    memory: DomainMemory,
    paging: VcpuPaging,
    /// A PC's memory, and what else it takes.
    pc: Option<PcParts>,
}

struct PcParts {
    memory: PcMemory,
    frames: Option<PcFrames>,
    patching: Patching,
}

impl Construction {
    /// Of the domain that a plan describes, for the given time after the first.
    pub(crate) const fn new(plan: Arc<Plan<'static>>, restarts: u32) -> Self {
        Self { plan, restarts, stage: Stage::Begin }
    }

    /// Frames that it takes: the domain's memory, its `shared_info`, and its grant table.
    pub(crate) fn frames(plan: &Plan<'_>) -> u64 {
        let own = match plan.arrangement {
            Arrangement::Pv(_) => 0,
            Arrangement::Pc(_) => pc::FRAMES,
        };
        plan.nr_pages() + own + 1 + GrantTable::FIRST_FRAMES
    }

    /// The first L4 once it is written, and before it is checked.
    #[cfg(test)]
    pub(crate) fn unchecked_l4(&self) -> Option<Mfn> {
        match &self.stage {
            Stage::Tables(filled) => match filled.start {
                Start::Pv(start) => Some(start.l4),
                Start::Pc(_) => None,
            },
            Stage::Begin | Stage::Frames(..) | Stage::Contents(_) => None,
        }
    }
}

/// What a step of construction came to.
enum Progress {
    Again(Stage),
    Done,
}

impl<M: Machine> Hypervisor<M> {
    /// Makes a planned domain, all at once: for boot, before anything runs.
    pub fn construct(&mut self, plan: Plan<'static>) -> Result<(), ConstructError> {
        let plan = Arc::new(plan);
        let mut stage = Stage::Begin;
        loop {
            match self.construct_step(&plan, 0, stage)? {
                Progress::Again(next) => stage = next,
                Progress::Done => return Ok(()),
            }
        }
    }

    /// One bounded step of building a domain again.
    pub(crate) fn build_step(&mut self, construction: Construction) -> Step {
        let Construction { plan, restarts, stage } = construction;
        match self.construct_step(&plan, restarts, stage) {
            Ok(Progress::Again(stage)) => Step::Again(Job::Build(Construction { plan, restarts, stage })),
            Ok(Progress::Done) => Step::Done,
            Err(error) => {
                log::error!("domain '{}' cannot be built again: {error}", plan.config.name);
                self.verdict = self.verdict.max(Leave::Crash);
                Step::Done
            }
        }
    }

    fn construct_step(
        &mut self,
        plan: &Arc<Plan<'static>>,
        restarts: u32,
        stage: Stage,
    ) -> Result<Progress, ConstructError> {
        Ok(Progress::Again(match stage {
            Stage::Begin => Stage::Frames(self.admit_domain(plan, restarts)?, Vec::new()),
            Stage::Frames(id, mut mfns) => {
                let wanted = plan.nr_pages();
                let step = wanted.min(mfns.len() as u64 + FRAMES_A_STEP);
                mfns.reserve_exact(wanted as usize - mfns.len());
                for pfn in mfns.len() as u64..step {
                    match self.frames.alloc_domain(&self.machine, id) {
                        Ok(frame) => {
                            self.machine.set_m2p(frame, Pfn::new(pfn));
                            mfns.push(frame);
                        }
                        Err(error) => {
                            self.abandon(id, &mfns);
                            return Err(error.into());
                        }
                    }
                }
                if step < wanted {
                    Stage::Frames(id, mfns)
                } else {
                    Stage::Contents(Box::new(self.furnish(plan, id, mfns)?))
                }
            }
            Stage::Contents(furnished) => self.fill(plan, furnished),
            Stage::Tables(mut filled) => match self.load_tables(&mut filled) {
                Ok(false) => Stage::Tables(filled),
                Ok(true) => {
                    self.bring_to_life(plan, restarts, *filled);
                    return Ok(Progress::Done);
                }
                Err(error) => {
                    self.give_up(plan, restarts, *filled);
                    return Err(error);
                }
            },
        }))
    }

    /// Opens the books of a new domain. One that is built again gets another number when its own is still that of the
    /// one before, as it would from Xen's tools, which give each a new one.
    fn admit_domain(&mut self, plan: &Plan<'_>, restarts: u32) -> Result<DomainId, ConstructError> {
        let id = match plan.config.domid {
            0 => self.free_id(),
            id if restarts > 0 && self.is_taken(DomainId(id)) => self.free_id(),
            id => DomainId(id),
        };
        if self.domain_index(id).is_some() {
            return Err(ConstructError::Exists);
        }
        if self.frames.free_frames() < Construction::frames(plan) {
            return Err(AllocError::OutOfMemory.into());
        }
        let max = plan.nr_pages().max(plan.config.maxmem_kib / 4) + SLACK_FRAMES;
        if !self.frames.open_account(id, max) {
            return Err(ConstructError::Exists);
        }
        if let Err(error) = self.give_share(id, &plan.config) {
            self.frames.close_account(id);
            return Err(ConstructError::Share(error));
        }
        Ok(id)
    }

    /// Gives back the frames of a domain that could not be made.
    fn abandon(&mut self, id: DomainId, mfns: &[Mfn]) {
        for frame in mfns {
            self.frames.release_allocation(&self.machine, *frame, id);
        }
        self.frames.close_account(id);
        let now = self.now();
        self.forget_share(id, now);
    }

    fn is_taken(&self, id: DomainId) -> bool {
        self.domain_index(id).is_some() || self.frames.account(id).is_some()
    }

    fn free_id(&self) -> DomainId {
        let planned = |id: u16| self.domains.iter().any(|domain| domain.plan.config.domid == id);
        let free = |id: &u16| !self.is_taken(DomainId(*id)) && !planned(*id);
        DomainId((1..).find(free).unwrap_or(u16::MAX))
    }

    /// Makes what a domain has besides its own frames.
    fn furnish(
        &mut self,
        plan: &Plan<'_>,
        id: DomainId,
        mfns: Vec<Mfn>,
    ) -> Result<Furnished, ConstructError> {
        let vcpus = plan.config.vcpus;
        let mut ports = PortTable::new(id, vcpus, PORT_MAX);
        // In the order of Xen's tools.
        let bound = ports.bind_backend(Backend::Xenstore).and_then(|store| {
            ports.bind_backend(Backend::Console).map(|console| RingPorts { store, console })
        });
        let port = match bound {
            Ok(ports) => ports,
            Err(error) => {
                self.abandon(id, &mfns);
                return Err(ConstructError::Tables(error));
            }
        };
        let shared = match self.write_shared_info(id, vcpus) {
            Ok(shared) => shared,
            Err(error) => {
                self.abandon(id, &mfns);
                return Err(error);
            }
        };
        let grants = GrantTable::with_first_frame(id, GrantLimits::XEN, &mut self.frames, &self.machine);
        let Ok(grants) = grants else {
            self.frames.release_shared(&self.machine, shared);
            self.abandon(id, &mfns);
            return Err(AllocError::OutOfMemory.into());
        };
        Ok(Furnished { id, mfns, shared, ports, port, grants, filling: Filling::START })
    }

    /// One bounded step of writing the domain's first memory contents.
    fn fill(&mut self, plan: &Plan<'_>, mut furnished: Box<Furnished>) -> Stage {
        let Furnished { id, mfns, shared, port, filling, .. } = &mut *furnished;
        let mut memory = Frames { table: &mut self.frames, machine: &self.machine, domain: *id, mfns };
        match plan.fill(*filling, *shared, *port, &mut memory) {
            Err(next) => {
                *filling = next;
                Stage::Contents(furnished)
            }
            Ok(start) => {
                let Furnished { id, mfns, shared, ports, port, grants, .. } = *furnished;
                // A PC has no rings: their place is one that nothing is held of, for good.
                let ring = |pfn: Option<Pfn>, port| RingPlace {
                    frame: pfn.map_or(shared, |pfn| mfns[pfn.get() as usize]),
                    port,
                    held: false,
                };
                let rings = match start {
                    Start::Pv(start) => [Some(start.console), Some(start.xenstore)],
                    Start::Pc(_) => [None; 2],
                };
                let [console, store] = rings;
                let (console, store) = (ring(console, port.console), ring(store, port.store));
                let pc = plan.arrangement.pc().map(|layout| PcParts {
                    memory: PcMemory::new(mfns),
                    frames: None,
                    patching: Patching::new(&plan.image.notes, layout.sites),
                });
                let memory = DomainMemory::new(id, plan.machine.paging(), plan.config.vcpus);
                let paging = VcpuPaging::new();
                Stage::Tables(Box::new(Filled {
                    id,
                    shared,
                    console,
                    store,
                    ports,
                    grants,
                    start,
                    memory,
                    paging,
                    pc,
                }))
            }
        }
    }

    fn write_shared_info(&mut self, id: DomainId, vcpus: u32) -> Result<Mfn, ConstructError> {
        let frame = self.frames.alloc_shared(&self.machine, id)?;
        let mut publishers: Vec<TimePublisher> = (0..vcpus).map(|_| TimePublisher::default()).collect();
        let time = self.clock.time_info(0);
        let page = shared_info(&time, self.wallclock, &mut publishers, &mut TimePublisher::default());
        if let Some(writer) = self.frames.writable(frame, id) {
            self.machine.write_bytes(&writer, 0, &page);
        }
        Ok(frame)
    }

    /// Pins the initial L4, as Linux expects, makes it the first vcpu's, and holds the rings' pages as writable.
    /// Whether all of it is done.
    fn load_tables(&mut self, filled: &mut Filled) -> Result<bool, ConstructError> {
        let Filled { id, console, store, start, memory, paging, pc, .. } = filled;
        let start = match (start, pc) {
            (Start::Pv(start), _) => start,
            (Start::Pc(_), Some(PcParts { memory, frames, patching })) => {
                if frames.is_none() {
                    let taken = PcFrames::take(&mut self.frames, &self.machine);
                    *frames = Some(taken.ok_or(AllocError::OutOfMemory)?);
                }
                let held =
                    memory.hold(&mut self.frames, &self.machine, *id).map_err(ConstructError::Tables)?;
                return Ok(held && patching.step(&self.frames, &self.machine, *id, memory));
            }
            (Start::Pc(_), None) => return Ok(true),
        };
        let mut paging = Paging::at_rest(&mut self.frames, &self.machine, memory, paging, Budget::HYPERCALL);
        let pinned = paging.frames().info(start.l4).is_some_and(|info| info.pinned());
        let step = match pinned {
            false => paging.pin(start.l4, Level::L4),
            true => paging.set_base(start.l4),
        };
        match step {
            Ok(()) if pinned => {
                for ring in [console, store] {
                    paging.hold_writable(ring.frame).map_err(ConstructError::Tables)?;
                    ring.held = true;
                }
                Ok(true)
            }
            Ok(()) | Err(OpError::Again) => Ok(false),
            Err(OpError::Refused(error)) => Err(ConstructError::Tables(error)),
        }
    }

    /// The domain is complete: its first vcpu may run.
    fn bring_to_life(&mut self, plan: &Arc<Plan<'static>>, restarts: u32, filled: Filled) {
        let id = filled.id;
        self.enlist(plan, restarts, filled);
        self.offer_input(id);
        self.introduce_to_xenstore(self.domains.len() - 1);
        self.refresh(self.domains.len() - 1, 0);
    }

    /// The domain's tables were refused. Parts of them may be in use as such already: it ends like any other.
    fn give_up(&mut self, plan: &Arc<Plan<'static>>, restarts: u32, filled: Filled) {
        let id = filled.id;
        let domain = self.enlist(plan, restarts, filled);
        (domain.life, domain.shutdown) = (Life::Stopped, Some(Shutdown::Crash));
        self.begin(Job::Destroy(Destruction::new(id), false));
    }

    fn enlist(&mut self, plan: &Arc<Plan<'static>>, restarts: u32, filled: Filled) -> &mut Domain {
        let now = self.now();
        let Filled { id, shared, console, store, ports, grants, start, memory, paging, pc } = filled;
        let fpu = self.processor.xstate.initial();
        let mut vcpus: Vec<Vcpu> =
            (0..plan.config.vcpus).map(|number| Vcpu::new(number, shared, now, fpu.clone())).collect();
        let pc = match start {
            Start::Pv(start) => {
                first_state(&mut vcpus[0], plan.machine.policy(), &start, paging);
                None
            }
            Start::Pc(start) => pc.and_then(|PcParts { memory, frames, patching }| {
                let known = (&self.frames, &self.machine);
                let model = self.pc_model();
                let (seconds, nanoseconds) = self.wallclock;
                // The board's time is the hypervisor's, from its start.
                let wall = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.into());
                let chance = (self.machine.tsc(), wall);
                let vcpu = &mut vcpus[0];
                (vcpu.initialised, vcpu.up) = (true, true);
                // Every return is to be looked at.
                SharedPages::new(&self.frames, &self.machine, id).set_upcall_pending(vcpu.info);
                Some(Box::new(Pc::new(
                    known,
                    (memory, patching.done()),
                    frames?,
                    (&start, model),
                    chance,
                    vcpu,
                )))
            }),
        };
        self.domains.push(Domain {
            id,
            name: plan.config.name.clone(),
            policy: plan.machine.policy(),
            memory,
            ports,
            grants,
            vcpus,
            shared_info: shared,
            console,
            store,
            lines: LineBuffer::default(),
            vm_assist: 0,
            shutdown: None,
            life: Life::Running,
            actions: plan.config.actions,
            restarts,
            ran: 0,
            plan: Arc::clone(plan),
            watchdogs: Default::default(),
            eoi_page: None,
            pc,
            memory_map: Vec::from([E820Entry {
                addr: 0,
                size: plan.config.maxmem_kib << 10,
                kind: E820_RAM,
            }]),
        });
        let last = self.domains.len() - 1;
        &mut self.domains[last]
    }
}

/// The first vcpu as the kernel's entry point expects it.
fn first_state(vcpu: &mut Vcpu, policy: Policy, start: &StartOfDay, paging: VcpuPaging) {
    vcpu.regs = CpuUserRegs {
        rip: start.entry,
        rsp: start.rsp,
        rsi: start.rsi,
        cs: policy.kernel_code(),
        ss: policy.kernel_stack(),
        rflags: 0x202,
        ..CpuUserRegs::default()
    };
    vcpu.paging = paging;
    (vcpu.initialised, vcpu.up) = (true, true);
}
