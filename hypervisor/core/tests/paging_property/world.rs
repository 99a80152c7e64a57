//! Two domains on a machine of 64 frames and two CPUs.

use crate::random::Random;
use crate::tally::End;
use paravane_abi::errno::Errno;
use paravane_core::addr::{DomainId, Level, Mfn};
use paravane_core::audit::{AuditDomain, Holding, audit};
use paravane_core::fake_machine::FakeMachine;
use paravane_core::frame::{FrameInfo, FrameTable, FrameType, Owner};
use paravane_core::pagetable::{
    Budget, CallOutcome, DomainMemory, OpError, Paging, PagingPolicy, Pte, Teardown, VcpuPaging,
};

pub const FRAMES: usize = 64;
/// The slots of tables that are used: few, so that things meet; both sides of the reserved ones.
pub const SLOTS: [usize; 6] = [0, 1, 255, 256, 272, 511];

pub struct World {
    pub machine: FakeMachine,
    pub frames: FrameTable,
    pub domain: DomainMemory,
    pub other: DomainMemory,
    pub vcpus: [VcpuPaging; 2],
    pub holdings: Vec<Holding>,
    /// Pages of the hypervisor's that the domain may map.
    pub shared: Vec<Mfn>,
    baseline: u64,
}

/// What a refusal must leave as it was.
pub struct Counts(Vec<(Owner, u32, u32, bool)>);

impl Counts {
    /// The frames in which two differ.
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        (0..FRAMES).filter(|&frame| self.0[frame] != other.0[frame]).collect()
    }
}

impl World {
    pub fn new(random: &mut Random) -> Self {
        let (machine, mut frames) = FakeMachine::with_frames(FRAMES, 2, 4);
        let baseline = frames.free_frames();
        let policy = random.pick(&[PagingPolicy::Ring1, PagingPolicy::Ring1, PagingPolicy::Ring3]);
        let domain = DomainMemory::new(DomainId(1), policy, 2);
        let other = DomainMemory::new(DomainId(2), policy, 1);
        frames.open_account(domain.id, 40);
        frames.open_account(other.id, 4);
        let mut world = Self {
            machine,
            frames,
            domain,
            other,
            vcpus: Default::default(),
            holdings: Vec::new(),
            shared: Vec::new(),
            baseline,
        };
        world.furnish(random);
        world
    }

    /// Gives the domain frames, among them two trees of tables, and runs the first vcpu on one of them.
    fn furnish(&mut self, random: &mut Random) {
        let frames: Vec<Mfn> = (0..34)
            .map(|_| self.frames.alloc_domain(&self.machine, self.domain.id).expect("an empty machine"))
            .collect();
        for _ in 0..2 {
            self.frames.alloc_domain(&self.machine, self.other.id).expect("an empty machine");
        }
        let flags = Pte::P | Pte::RW | Pte::US;
        for tree in frames.chunks_exact(8).take(2) {
            let &[l4, l3, l2, l1, l1b, a, b, c] = tree else { continue };
            let set = |table, slot, frame, flags| {
                self.machine.poke(table, slot, Pte::new(frame, flags).0);
            };
            set(l4, 1, l3, flags);
            set(l3, 0, l2, flags);
            set(l2, 0, l1, flags);
            set(l2, 1, l1b, flags);
            set(l4, random.pick(&SLOTS), l3, flags);
            set(l3, random.pick(&SLOTS), l2, flags);
            for (slot, frame) in [(0, a), (1, b), (255, c)] {
                set(l1, slot, frame, flags);
            }
            set(l1, 511, l1, flags & !Pte::RW);
            set(l1b, random.pick(&SLOTS), a, flags & !Pte::RW);
        }
        if random.percent(90) {
            let base = frames[0];
            assert_eq!(self.on(0, u32::MAX).set_base(base), Ok(()));
            if random.percent(50) {
                assert_eq!(self.on(1, u32::MAX).set_base(base), Ok(()));
            }
        }
    }

    /// The paging of a vcpu, on its CPU, with so many steps.
    pub fn on(&mut self, vcpu: usize, steps: u32) -> Paging<'_, FakeMachine> {
        self.machine.switch_to(vcpu);
        let Self { machine, frames, domain, vcpus, .. } = self;
        Paging::new(frames, machine, domain, &mut vcpus[vcpu], Budget::new(steps))
    }

    pub fn info(&self, frame: Mfn) -> Option<FrameInfo> {
        self.frames.info(frame).copied()
    }

    /// The domain's frames that `want` likes.
    pub fn own(&self, want: impl Fn(&FrameInfo) -> bool) -> Vec<Mfn> {
        (0..FRAMES as u64)
            .map(Mfn::new)
            .filter(|frame| {
                let info = self.frames.info(*frame);
                info.is_some_and(|info| info.owner() == Owner::Domain(self.domain.id) && want(info))
            })
            .collect()
    }

    pub fn in_use_as(&self, kind: FrameType) -> Vec<Mfn> {
        self.own(|info| info.is_in_use_as(kind))
    }

    /// Some of the pages a vcpu's base maps, and whether they can be written.
    pub fn mapped(&self, vcpu: usize) -> Vec<(u64, bool)> {
        let mut found = Vec::new();
        if let Some(base) = self.vcpus[vcpu].base() {
            self.mapped_below(base, Level::L4, 0, true, &mut found);
        }
        found
    }

    fn mapped_below(&self, table: Mfn, level: Level, at: u64, writable: bool, found: &mut Vec<(u64, bool)>) {
        for (slot, word) in self.machine.nonzero(table) {
            let entry = Pte(word);
            let writable = writable && entry.writable();
            let at = at | (slot as u64) << level.shift();
            match level.below() {
                _ if !entry.present() || found.len() >= 12 => {}
                Some(below) => self.mapped_below(entry.frame(), below, at, writable, found),
                None => found.push(((((at << 16) as i64) >> 16) as u64, writable)),
            }
        }
    }

    pub fn counts(&self) -> Counts {
        let record = |frame| {
            let info = self.info(Mfn::new(frame)).expect("a frame");
            (info.owner(), info.refs(), info.type_count(), info.pinned())
        };
        Counts((0..FRAMES as u64).map(record).collect())
    }

    pub fn any_partial(&self) -> bool {
        (0..FRAMES as u64)
            .any(|frame| self.info(Mfn::new(frame)).is_some_and(|info| info.partial().is_some()))
    }

    /// Everything adds up, and no CPU holds what it must not, after each cached all it can reach.
    pub fn check(&self, what: &dyn Fn() -> String) {
        let vcpus: Vec<&VcpuPaging> = self.vcpus.iter().collect();
        let domains = [
            AuditDomain { memory: &self.domain, vcpus: &vcpus, holdings: &self.holdings },
            AuditDomain { memory: &self.other, vcpus: &[], holdings: &[] },
        ];
        let wrong = audit(&self.frames, &self.machine, &domains);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", what());
        self.machine.fill();
        let stale = self.machine.stale(&self.frames);
        assert!(stale.is_empty(), "{}: {stale:#?}", what());
    }

    /// Ends both domains, in steps, and sees that nothing is lost.
    pub fn tear_down(&mut self, random: &mut Random, what: &dyn Fn() -> String) {
        let steps = random.pick(&[1, 7, 100, u32::MAX]);
        for holding in std::mem::take(&mut self.holdings) {
            let mut paging = self.on(0, steps);
            match holding {
                Holding::Writable(frame) => paging.drop_writable(frame),
                Holding::Descriptors(frame) => paging.drop_descriptors(frame),
                Holding::Reference(_) => unreachable!("none is taken"),
            }
        }
        for vcpu in 0..2 {
            while self.on(vcpu, steps).drop_bases() == Err(OpError::Again) {
                // Checking is what takes time, and so many small steps are much alike.
                if random.percent(10) {
                    self.check(what);
                }
            }
        }
        for domain in [self.domain.clone(), self.other.clone()] {
            let mut teardown = Teardown::new();
            while teardown.run(&mut self.frames, &self.machine, &domain, &mut Budget::new(steps)).is_err() {
                if random.percent(10) {
                    self.check(what);
                }
            }
            assert_eq!(Teardown::remaining(&self.frames, &domain), 0, "{}", what());
            self.check(what);
            assert!(self.frames.close_account(domain.id), "{}", what());
        }
        assert_eq!(self.frames.free_frames(), self.baseline, "{}", what());
    }
}

impl From<Result<(), OpError>> for End {
    fn from(result: Result<(), OpError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(OpError::Again) => Self::Again,
            Err(OpError::Refused(error)) => Self::Refused(error),
        }
    }
}

impl From<Result<(), Errno>> for End {
    fn from(result: Result<(), Errno>) -> Self {
        result.map_err(OpError::Refused).into()
    }
}

impl From<CallOutcome> for End {
    fn from(outcome: CallOutcome) -> Self {
        match outcome {
            CallOutcome::Continue(_) => Self::Again,
            CallOutcome::Return(0) => Self::Done,
            CallOutcome::Return(value) => {
                let error = Errno::from_code(-value as i32).expect("an error number");
                Self::Refused(error)
            }
        }
    }
}
