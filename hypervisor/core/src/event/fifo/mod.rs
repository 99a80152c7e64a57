//! The FIFO form: an event word for each port and sixteen queues for each vcpu, all of it in pages of the guest's.
//! The protocol is the one `paravane_abi::event::fifo` tells from the guest's side.
//!
//! What the hypervisor keeps to itself is small: where the pages are, the last port of each queue, and for each port
//! its priority and the queue it was last put on. It never follows a link, so a guest that spoils its queues loses its
//! own events and costs a bounded number of steps.
//!
//! Rules from Xen's advisories:
//! - A vcpu without a control block gets no event (XSA-107).
//! - A page is ready for use before the ports in it are (XSA-359), and queues change under one lock (XSA-358): the
//!   hypervisor's.

mod control;
mod queue;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::event::fifo::{page_of_port, slot_of_port};
use paravane_abi::event::{
    EVTCHN_FIFO_LINKED, EVTCHN_FIFO_MASKED, EVTCHN_FIFO_MAX_QUEUES, EVTCHN_FIFO_PENDING,
    EVTCHN_FIFO_PRIORITY_DEFAULT, EVTCHN_FIFO_PRIORITY_MIN,
};

use super::bits::{Raised, SharedBits};
use super::words::Place;
use super::{Port, VcpuId};
use crate::addr::Mfn;

const QUEUES: usize = EVTCHN_FIFO_MAX_QUEUES as usize;

/// A queue of the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct QueueId {
    vcpu: VcpuId,
    priority: u8,
}

/// A vcpu's queues.
#[derive(Clone, Debug, Default)]
struct Queues {
    /// Where the guest has the heads; [`None`] until it says so.
    control: Option<Place>,
    /// The port last put on each queue; 0 for none. It may have been taken off since.
    tails: [Port; QUEUES],
}

/// What is remembered of a port.
#[derive(Clone, Copy, Debug)]
struct PortState {
    priority: u8,
    /// The queue it was last put on. Its word may still be in there.
    last: QueueId,
    /// It was raised before the page with its word came.
    held: bool,
}

impl PortState {
    const NEW: Self = Self {
        priority: EVTCHN_FIFO_PRIORITY_DEFAULT as u8,
        last: QueueId { vcpu: 0, priority: EVTCHN_FIFO_PRIORITY_DEFAULT as u8 },
        held: false,
    };
}

/// A domain's queues.
#[derive(Debug)]
pub(super) struct Fifo {
    vcpus: Vec<Queues>,
    /// The frames of the event words, in order of their ports.
    array: Vec<Mfn>,
    ports: Vec<PortState>,
}

impl Fifo {
    /// Makes room for ports below a number.
    pub(super) fn reserve(&mut self, ports: usize) -> Result<(), Errno> {
        let more = ports.saturating_sub(self.ports.len());
        self.ports.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
        self.ports.resize(self.ports.len() + more, PortState::NEW);
        Ok(())
    }

    /// A port gets a channel: its priority is the default again. The queue it was last put on is remembered, as it
    /// may be the tail there.
    pub(super) fn open(&mut self, port: Port) {
        let last = self.ports[port as usize].last;
        self.ports[port as usize] = PortState { last, ..PortState::NEW };
    }

    /// Chooses the queue for events to come. One that is queued stays where it is.
    pub(super) fn set_priority(&mut self, port: Port, priority: u32) -> Result<(), Errno> {
        if priority > EVTCHN_FIFO_PRIORITY_MIN {
            return Err(Errno::EINVAL);
        }
        self.ports[port as usize].priority = priority as u8;
        Ok(())
    }

    /// Makes a port pending, and queues it unless it is masked or queued.
    pub(super) fn set_pending(&mut self, bits: &impl SharedBits, port: Port, vcpu: VcpuId) -> Raised {
        let Some(word) = self.word(port) else {
            self.ports[port as usize].held = true;
            return Raised::nothing(port);
        };
        let Some(control) = self.vcpus[vcpu as usize].control else {
            return Raised::nothing(port);
        };
        let newly_pending = !bits.set_bit(word, EVTCHN_FIFO_PENDING);
        let stays = bits.bit(word, EVTCHN_FIFO_MASKED) || bits.set_bit(word, EVTCHN_FIFO_LINKED);
        let notify = if stays { None } else { self.enqueue(bits, control, port, vcpu) };
        Raised { port, newly_pending, notify }
    }

    /// Unmasks a port, and queues it if it is pending.
    pub(super) fn unmask(&mut self, bits: &impl SharedBits, port: Port, vcpu: VcpuId) -> Raised {
        let Some(word) = self.word(port) else { return Raised::nothing(port) };
        bits.clear_bit(word, EVTCHN_FIFO_MASKED);
        if bits.bit(word, EVTCHN_FIFO_PENDING) {
            return self.set_pending(bits, port, vcpu);
        }
        Raised::nothing(port)
    }

    /// Takes back a pending event. The port stays in its queue: the guest takes it off and passes over it.
    pub(super) fn clear_pending(&mut self, bits: &impl SharedBits, port: Port) {
        self.ports[port as usize].held = false;
        if let Some(word) = self.word(port) {
            bits.clear_bit(word, EVTCHN_FIFO_PENDING);
        }
    }

    /// Whether a port's word says that it is pending.
    pub(super) fn is_pending(&self, bits: &impl SharedBits, port: Port) -> bool {
        self.word(port).is_some_and(|word| bits.bit(word, EVTCHN_FIFO_PENDING))
    }

    /// Whether a port's word says that it is queued.
    pub(super) fn is_linked(&self, bits: &impl SharedBits, port: Port) -> bool {
        self.word(port).is_some_and(|word| bits.bit(word, EVTCHN_FIFO_LINKED))
    }

    /// Where a port's event word is, if its page has come.
    fn word(&self, port: Port) -> Option<Place> {
        let frame = *self.array.get(page_of_port(port) as usize)?;
        Some(Place { frame, offset: slot_of_port(port) as usize * size_of::<u32>() })
    }
}
