//! Event channels (`xen/event_channel.h`).
//!
//! An event channel is a numbered port of a domain. What a port is connected to is the hypervisor's private state,
//! a [`PortTable`]; whether a port is pending or masked stands in the guest's memory, which the guest
//! changes at any time ([`GuestWords`]). There it has one of two forms: Xen's two levels of bitmaps in the shared-info
//! page, or, once the guest asks for them, FIFO queues in pages of its own. The table knows which; nobody else needs
//! to. What comes out of an event is the vcpu to wake, if any ([`Raised`]).
//!
//! Ports that connect two domains change two tables. The table that is asked first finishes its own half and
//! hands out an obligation for the other ([`RemoteSend`], [`PeerClosed`]), so no operation but
//! [`bind_interdomain`] needs two tables at once.
//!
//! Rules from Xen's advisories:
//! - A port once valid stays valid: the table never shrinks, not even on reset (XSA-338).
//! - One reset at a time; a preempted reset goes on where it stopped (XSA-343).
//! - A failed operation leaves no port allocated (XSA-317).
//! - A poll checks each port it is given before it looks at its bit (XSA-221).

mod audit;
mod bits;
mod fake;
mod fifo;
mod form;
mod poll;
mod table;
#[cfg(test)]
mod tests;
mod two_level;
mod words;

pub use audit::{AuditError, audit};
pub(crate) use bits::UPCALL_PENDING;
pub use bits::{Raised, SharedBits, mark_all_pending};
pub use fake::FakeBits;
pub use poll::{POLL_PORTS_MAX, Poll, PollWait};
pub use table::{PeerClosed, PortTable, RemoteSend, Reset, Sent, bind_interdomain};

pub use words::{GuestWords, Place, SharedWords};

use paravane_abi::event::{EVTCHN_2L_NR_CHANNELS, EVTCHN_FIFO_NR_CHANNELS};
use paravane_abi::mmu::DOMID_SELF;

use crate::addr::DomainId;

/// A port number. Port 0 is never bound, so guests use it for "none".
pub type Port = u32;
/// A vcpu's number in its domain.
pub type VcpuId = u32;

/// Ports of the two-level form: 64 words of 64 bits.
pub const TWO_LEVEL_PORTS: u32 = EVTCHN_2L_NR_CHANNELS;
/// Ports of the FIFO form: as many as a link can name.
pub const FIFO_PORTS: u32 = EVTCHN_FIFO_NR_CHANNELS;
/// Ports become valid in groups of this size, as in Xen (a page of `struct evtchn`): it decides which numbers
/// answer -EINVAL and which merely "closed".
pub(crate) const GROUP: usize = 64;

/// A part of the hypervisor that holds the other end of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The guest's console.
    Console,
    /// Xenstore.
    Xenstore,
}

/// What a port is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Nothing; may be allocated.
    Free,
    /// Nothing, for good (port 0).
    Reserved,
    /// Nothing yet: `remote` may bind to it.
    Unbound {
        /// The domain that may bind.
        remote: DomainId,
    },
    /// A port of another domain, or another port of this one.
    Interdomain {
        /// The peer's domain.
        remote: DomainId,
        /// The peer.
        port: Port,
    },
    /// The hypervisor itself.
    Backend(Backend),
    /// A virtual interrupt line.
    Virq(u32),
    /// The domain's own sends.
    Ipi,
}

/// Answer to EVTCHNOP_status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// What the port is connected to; [`Channel::Free`] and [`Channel::Reserved`] both read "closed".
    pub channel: Channel,
    /// The vcpu the port notifies.
    pub vcpu: VcpuId,
}

/// The domain a guest means: DOMID_SELF stands for the caller.
pub fn resolve(domid: u16, caller: DomainId) -> DomainId {
    if domid == DOMID_SELF { caller } else { DomainId(domid) }
}
