//! A domain's ring: bytes from the page to the service, and back. The domain writes the page at the same time; its indices are
//! believed within the ring.

use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use paravane_abi::io::xenstore::*;

use super::Xenstore;
use crate::addr::DomainId;
use crate::console::RingPage;

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

/// Says what the service can do, in a page of zeroes.
pub fn open(page: &mut dyn RingPage) {
    page.set_index(FEATURES, XENSTORE_SERVER_FEATURE_RECONNECTION | XENSTORE_SERVER_FEATURE_ERROR);
}

/// Takes what a domain has asked, and answers. Whether the domain is to be told.
#[must_use = "the domain is to be told"]
pub fn serve(page: &mut dyn RingPage, store: &mut Xenstore, domain: DomainId) -> bool {
    if page.index(CONNECTION) == XENSTORE_RECONNECT {
        reconnect(page, store, domain);
        return true;
    }
    // What has been moved before is asked in both: the guest waits for room, or for answers.
    (0..PIECES).take_while(|_| take(page, store, domain) | give(page, store, domain)).count() != 0
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

/// Gives a piece of what waits for the guest. Whether there was any, and room for it: then the domain is to be told.
#[must_use = "the domain is to be told"]
pub fn give(page: &mut dyn RingPage, store: &mut Xenstore, domain: DomainId) -> bool {
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
