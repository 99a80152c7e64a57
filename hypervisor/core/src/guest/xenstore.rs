//! The hypervisor's end of a guest's ring to xenstore.

use alloc::vec::Vec;

use super::ring::Page;
use crate::addr::DomainId;
use crate::console::RingPage;
use crate::domain::RingPlace;
use crate::event::Backend;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::xenstore::{Holdings, Xenstore, ring};

impl<M: Machine> Hypervisor<M> {
    /// Tells xenstore of a new domain and what it has.
    pub(crate) fn introduce_to_xenstore(&mut self, index: usize) {
        let Self { store, domains, .. } = self;
        let domain = &domains[index];
        let has = |place: &RingPlace| (place.frame, place.port);
        let holdings = Holdings {
            config: &domain.plan.config,
            console: has(&domain.console),
            store: has(&domain.store),
        };
        store.introduce_with(domain.id, &holdings);
        self.with_store(index, |page, _, _| {
            ring::open(page);
            false
        });
    }

    /// Takes what a domain has asked, answers, and tells all domains what they watch.
    pub(crate) fn serve_xenstore(&mut self, index: usize) {
        if self.with_store(index, ring::serve) {
            self.raise_store(index);
        }
        self.tell_watchers();
    }

    /// Hands out what waits.
    pub(crate) fn tell_watchers(&mut self) {
        let waiting: Vec<DomainId> = self.store.waiting().collect();
        for id in waiting {
            let Some(index) = self.domain_index(id) else { continue };
            if self.with_store(index, ring::give) {
                self.raise_store(index);
            }
        }
    }

    /// Does something with a domain's page; false where it has none any more.
    fn with_store(
        &mut self,
        index: usize,
        what: impl FnOnce(&mut dyn RingPage, &mut Xenstore, DomainId) -> bool,
    ) -> bool {
        let Self { frames, machine, domains, store, .. } = self;
        let (id, RingPlace { frame, held, .. }) = (domains[index].id, domains[index].store);
        let Some(writer) = frames.writable(frame, id).filter(|_| held) else { return false };
        what(&mut Page { machine: &*machine, writer }, store, id)
    }

    fn raise_store(&mut self, index: usize) {
        let port = self.domains[index].store.port;
        let (ports, bits) = self.events(index);
        if let Some(raised) = ports.raise_backend(&bits, port, Backend::Xenstore) {
            self.wake_in(index, raised);
        }
    }
}
