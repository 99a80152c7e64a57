//! The end of a domain: everything it had goes back, in an order in which nothing refers to what is gone.

use alloc::sync::Arc;

use super::{Job, Step};
use crate::addr::DomainId;
use crate::construct::Construction;
use crate::domain::{Domain, Life};
use crate::hypervisor::Hypervisor;
use crate::machine::{GUEST_GDT_PAGES, Machine};
use crate::pagetable::{Budget, OpError, Paging, Teardown};

/// How far the destruction of a domain has come.
pub(crate) struct Destruction {
    domain: DomainId,
    stage: Stage,
}

enum Stage {
    /// Nothing has been given back.
    Begin,
    /// The event channels.
    Ports,
    /// What it has mapped of others', and its grant table.
    Grants,
    /// What makes it a PC.
    Pc,
    /// This vcpu's holdings and tables, and those of the vcpus after it.
    Vcpus(usize),
    /// The memory.
    Memory(Teardown),
    /// Others still map frames of its memory by grants.
    Lent,
}

impl Destruction {
    /// Of a domain whose vcpus are on no processor.
    pub(crate) const fn new(domain: DomainId) -> Self {
        Self { domain, stage: Stage::Begin }
    }
}

impl<M: Machine> Hypervisor<M> {
    /// One bounded step of a destruction.
    pub(super) fn destroy_step(&mut self, destruction: Destruction, again: bool) -> Step {
        let Destruction { domain, stage } = destruction;
        let Some(index) = self.domain_index(domain) else { return Step::Done };
        let stage = match stage {
            Stage::Begin => {
                self.leave_the_world(index);
                Stage::Ports
            }
            Stage::Ports if self.close_ports(index) => Stage::Grants,
            Stage::Ports => Stage::Ports,
            Stage::Grants if self.release_grants(index, &mut { Budget::HYPERCALL }).is_ok() => Stage::Pc,
            Stage::Grants => Stage::Grants,
            Stage::Pc if self.drop_pc(index) => Stage::Vcpus(0),
            Stage::Pc => Stage::Pc,
            Stage::Vcpus(vcpu) if vcpu < self.domains[index].vcpus.len() => {
                let dropped = self.drop_vcpu(index, vcpu);
                Stage::Vcpus(vcpu + usize::from(dropped))
            }
            Stage::Vcpus(_) => {
                self.drop_rings(index);
                Stage::Memory(Teardown::new())
            }
            Stage::Memory(mut teardown) => {
                if self.release_memory(index, &mut teardown) {
                    self.frames.start_closing(domain);
                    Stage::Lent
                } else {
                    Stage::Memory(teardown)
                }
            }
            Stage::Lent if self.frames.close_account(domain) => return self.bury(index, again),
            // Until then the domain is kept, dead: those who map its frames unmap them by its table. They may never do
            // so, and the domain that is to come after it does not wait for them unless it needs the memory.
            Stage::Lent => {
                log::debug!("{domain}: others still map frames of its memory");
                let Domain { plan, restarts, .. } = &self.domains[index];
                let waits = again && self.frames.free_frames() < Construction::frames(plan);
                let next = (again && !waits).then(|| Construction::new(Arc::clone(plan), restarts + 1));
                self.lent.push(Job::Destroy(Destruction { domain, stage }, waits));
                return next.map_or(Step::Done, |construction| Step::Again(Job::Build(construction)));
            }
        };
        Step::Again(Job::Destroy(Destruction { domain, stage }, again))
    }

    /// Nobody runs it or names it any more.
    fn leave_the_world(&mut self, index: usize) {
        let now = self.now();
        let id = self.domains[index].id;
        self.domains[index].life = Life::Dying;
        self.domains[index].grants.start_dying();
        self.domains[index].ran = self.sched.domain_time(id).unwrap_or(0);
        self.flush_lines(index);
        self.forget_share(id, now);
    }

    /// Drops what a vcpu holds besides tables, then its base tables. Whether all is dropped.
    fn drop_vcpu(&mut self, index: usize, number: usize) -> bool {
        let Self { frames, machine, domains, .. } = self;
        let Domain { memory, vcpus, .. } = &mut domains[index];
        let vcpu = &mut vcpus[number];
        let gdt = core::mem::replace(&mut vcpu.gdt, [None; GUEST_GDT_PAGES]);
        let info = core::mem::take(&mut vcpu.info.registered).then_some(vcpu.info.frame);
        // From here on nothing is written for this vcpu: its areas were addresses in the tables it gives up.
        (vcpu.runstate_area, vcpu.time_area) = (0, 0);
        let mut paging = Paging::at_rest(frames, machine, memory, &mut vcpu.paging, Budget::HYPERCALL);
        for frame in gdt.into_iter().flatten() {
            paging.drop_descriptors(frame);
        }
        if let Some(frame) = info {
            paging.drop_writable(frame);
        }
        match paging.drop_bases() {
            Ok(()) => true,
            Err(OpError::Again | OpError::Refused(_)) => false,
        }
    }

    fn drop_rings(&mut self, index: usize) {
        let Self { frames, machine, domains, .. } = self;
        let Domain { id, console, store, eoi_page, .. } = &mut domains[index];
        let rings = [console, store];
        let rings =
            rings.into_iter().filter_map(|ring| core::mem::take(&mut ring.held).then_some(ring.frame));
        for frame in rings.chain(eoi_page.take()) {
            frames.put_writable(machine, frame);
            frames.put_ref(machine, frame);
        }
        self.store.release(*id);
    }

    /// Gives frames back. Whether all are.
    fn release_memory(&mut self, index: usize, teardown: &mut Teardown) -> bool {
        let Self { frames, machine, domains, .. } = self;
        let mut budget = Budget::HYPERCALL;
        teardown.run(frames, machine, &domains[index].memory, &mut budget).is_ok()
    }

    /// Goes on with the ends that wait for others to unmap frames, if one did. Asked after whatever may have taken
    /// an entry out of a page table.
    #[inline]
    pub(crate) fn look_for_last_unmap(&mut self) {
        if self.frames.take_closing_freed() {
            self.resume_burials();
        }
    }

    #[cold]
    fn resume_burials(&mut self) {
        for job in core::mem::take(&mut self.lent) {
            self.begin(job);
        }
    }

    /// All is given back: the domain is forgotten.
    fn bury(&mut self, index: usize, again: bool) -> Step {
        let ran = self.domains[index].ran;
        let mut domain = self.domains.remove(index);
        domain.grants.destroy(&mut self.frames, &self.machine);
        for number in 0..self.cpus.len() {
            self.cpu_mut(number).domain_removed(index);
        }
        log::info!(
            "{} '{}' is gone; it ran {} us; {} frames free",
            domain.id,
            domain.name,
            ran / 1000,
            self.frames.free_frames()
        );
        self.take_input_from(domain.id, again);
        if !again {
            return Step::Done;
        }
        Step::Again(Job::Build(Construction::new(domain.plan, domain.restarts + 1)))
    }
}
