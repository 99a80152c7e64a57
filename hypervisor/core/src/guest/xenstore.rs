//! The hypervisor's end of a guest's ring to xenstore: bytes from the page to the service, and back.

use alloc::format;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use paravane_abi::io::xenstore::*;

use super::ring::Page;
use crate::addr::DomainId;
use crate::console::RingPage;
use crate::domain::RingPlace;
use crate::event::Backend;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::xenstore::{Access, Xenstore};

const RING: u32 = XENSTORE_RING_SIZE as u32;
const REQUESTS: usize = offset_of!(XenstoreDomainInterface, req);
const REPLIES: usize = offset_of!(XenstoreDomainInterface, rsp);
const REQ_CONS: usize = offset_of!(XenstoreDomainInterface, req_cons);
const REQ_PROD: usize = offset_of!(XenstoreDomainInterface, req_prod);
const RSP_CONS: usize = offset_of!(XenstoreDomainInterface, rsp_cons);
const RSP_PROD: usize = offset_of!(XenstoreDomainInterface, rsp_prod);
const FEATURES: usize = offset_of!(XenstoreDomainInterface, server_features);
const CONNECTION: usize = offset_of!(XenstoreDomainInterface, connection);
const ERROR: usize = offset_of!(XenstoreDomainInterface, error);

/// Pieces moved for one kick: a guest whose other vcpus go on writing hurts nobody else.
const PIECES: usize = 256;

impl<M: Machine> Hypervisor<M> {
    /// Tells xenstore of a new domain and what it has: the nodes that Xen's tools make.
    pub(crate) fn introduce_to_xenstore(&mut self, index: usize) {
        let Self { store, domains, .. } = self;
        let domain = &domains[index];
        let config = &domain.plan.config;
        let number = |value: u64| format!("{value}").into_bytes();
        let (read, own) = (Access::Read, Access::Own);
        let mut nodes: Vec<(&str, Vec<u8>, Access)> = Vec::from([
            ("name", config.name.clone().into_bytes(), read),
            ("domid", number(domain.id.0.into()), read),
            ("memory/target", number(config.memory_kib), read),
            ("memory/static-max", number(config.memory_kib.max(config.maxmem_kib)), read),
            ("console/ring-ref", number(domain.console.frame.get()), read),
            ("console/port", number(domain.console.port.into()), read),
            ("console/limit", number(1 << 20), read),
            ("console/type", b"xenconsoled".to_vec(), read),
            ("store/ring-ref", number(domain.store.frame.get()), read),
            ("store/port", number(domain.store.port.into()), read),
            ("control/shutdown", Vec::new(), own),
            ("control/feature-poweroff", Vec::new(), own),
            ("control/feature-reboot", Vec::new(), own),
            ("control/feature-suspend", Vec::new(), own),
            ("control/sysrq", Vec::new(), own),
            ("device", Vec::new(), read),
        ]);
        nodes.extend(["data", "drivers", "feature", "attr", "error"].map(|name| (name, Vec::new(), own)));
        let processors: Vec<_> =
            (0..domain.vcpus.len()).map(|number| format!("cpu/{number}/availability")).collect();
        nodes.extend(processors.iter().map(|name| (name.as_str(), b"online".to_vec(), read)));
        store.introduce(domain.id, nodes.iter().map(|(name, value, access)| (*name, &value[..], *access)));
        let features = XENSTORE_SERVER_FEATURE_RECONNECTION | XENSTORE_SERVER_FEATURE_ERROR;
        self.with_store(index, |page, _, _| {
            page.set_index(FEATURES, features);
            false
        });
    }

    /// Takes what a domain has asked, answers, and tells all domains what they watch.
    pub(crate) fn serve_xenstore(&mut self, index: usize) {
        let moved = self.with_store(index, |page, store, domain| {
            if page.index(CONNECTION) == XENSTORE_RECONNECT {
                reconnect(page, store, domain);
                return true;
            }
            // What has been moved before is asked in both: the guest waits for room, or for answers.
            (0..PIECES).take_while(|_| take(page, store, domain) | give(page, store, domain)).count() != 0
        });
        if moved {
            self.raise_store(index);
        }
        self.tell_watchers();
    }

    /// Hands out what waits.
    pub(crate) fn tell_watchers(&mut self) {
        let waiting: Vec<DomainId> = self.store.waiting().collect();
        for id in waiting {
            let Some(index) = self.domain_index(id) else { continue };
            if self.with_store(index, |page, store, domain| give(page, store, domain)) {
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

/// Takes a piece of what the guest has asked. Whether there was any.
fn take(page: &mut dyn RingPage, store: &mut Xenstore, domain: DomainId) -> bool {
    let (cons, prod) = (page.index(REQ_CONS), page.index(REQ_PROD));
    let queued = prod.wrapping_sub(cons);
    if queued > RING {
        page.set_index(ERROR, XENSTORE_ERROR_RINGIDX);
        return false;
    }
    let start = cons % RING;
    let mut piece = [0; 256];
    let count = (queued.min(RING - start) as usize).min(store.wants(domain)).min(piece.len());
    if count == 0 {
        return false;
    }
    // The bytes were written before the producer index.
    fence(Ordering::Acquire);
    page.read(REQUESTS + start as usize, &mut piece[..count]);
    // The guest reuses the room as soon as it sees the index.
    fence(Ordering::Release);
    page.set_index(REQ_CONS, cons.wrapping_add(count as u32));
    store.receive(domain, &piece[..count]);
    if store.broken(domain) {
        page.set_index(ERROR, XENSTORE_ERROR_PROTO);
    }
    true
}

/// Gives a piece of what waits for the guest. Whether there was any, and room for it.
fn give(page: &mut dyn RingPage, store: &mut Xenstore, domain: DomainId) -> bool {
    let (cons, prod) = (page.index(RSP_CONS), page.index(RSP_PROD));
    let queued = prod.wrapping_sub(cons);
    if queued > RING {
        page.set_index(ERROR, XENSTORE_ERROR_RINGIDX);
        return false;
    }
    let start = prod % RING;
    let pending = store.pending(domain);
    let piece = &pending[..pending.len().min((RING - queued).min(RING - start) as usize)];
    if piece.is_empty() {
        return false;
    }
    // The guest has read what it frees before it moves its index.
    fence(Ordering::Acquire);
    page.write(REPLIES + start as usize, piece);
    fence(Ordering::Release);
    page.set_index(RSP_PROD, prod.wrapping_add(piece.len() as u32));
    let count = piece.len();
    store.taken(domain, count);
    true
}

/// The guest, which may be another kernel by now, begins anew.
fn reconnect(page: &mut dyn RingPage, store: &mut Xenstore, domain: DomainId) {
    store.reset(domain);
    for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
        page.set_index(index, 0);
    }
    page.set_index(ERROR, XENSTORE_ERROR_NONE);
    fence(Ordering::Release);
    page.set_index(CONNECTION, XENSTORE_CONNECTED);
}
