//! Recounting all paging state of a running system.

use alloc::vec::Vec;

use crate::audit::{AuditDomain, Discrepancy, Holding, audit_with_grants};
use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// Counts everything from scratch and returns what does not agree with the books.
    pub fn recount(&self) -> Vec<Discrepancy> {
        let holdings: Vec<Vec<Holding>> = self.domains.iter().map(holdings).collect();
        let vcpus: Vec<Vec<_>> = self
            .domains
            .iter()
            .map(|domain| domain.vcpus.iter().map(|vcpu| &vcpu.paging).collect())
            .collect();
        let domains: Vec<AuditDomain<'_>> = self
            .domains
            .iter()
            .zip(vcpus.iter().zip(&holdings))
            .map(|(domain, (vcpus, holdings))| AuditDomain { memory: &domain.memory, vcpus, holdings })
            .collect();
        let grants: Vec<_> = self.domains.iter().map(|domain| &domain.grants).collect();
        let mut wrong = audit_with_grants(&self.frames, &self.machine, &domains, &grants);
        let free = self.frames.free_frames();
        if self.domains.is_empty() && self.jobs.is_empty() && free != self.baseline {
            wrong.push(Discrepancy::Baseline { before: self.baseline, after: free });
        }
        wrong
    }
}

/// What is held of a domain's frames besides tables.
fn holdings(domain: &Domain) -> Vec<Holding> {
    let descriptors = domain.vcpus.iter().flat_map(|vcpu| vcpu.gdt.iter().flatten().copied());
    let infos = domain.vcpus.iter().filter(|vcpu| vcpu.info.registered).map(|vcpu| vcpu.info.frame);
    let rings = [domain.console, domain.store].into_iter();
    descriptors
        .map(Holding::Descriptors)
        .chain(infos.map(Holding::Writable))
        .chain(domain.ports.held_frames().map(Holding::Writable))
        .chain(rings.filter(|ring| ring.held).map(|ring| Holding::Writable(ring.frame)))
        .chain(domain.eoi_page.map(Holding::Writable))
        .chain(domain.pc.iter().flat_map(|pc| pc.memory.held()).map(Holding::Writable))
        .collect()
}
