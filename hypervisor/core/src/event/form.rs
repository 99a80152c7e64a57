//! The two forms in which a guest keeps its pending and masked events. The port table asks one of them and does not
//! know which.

use paravane_abi::errno::Errno;

use super::bits::{Raised, SharedBits};
use super::fifo::Fifo;
use super::{FIFO_PORTS, Port, TWO_LEVEL_PORTS, VcpuId, two_level};

/// A form, with what it remembers outside the guest's memory.
#[derive(Debug)]
pub(super) enum Form {
    /// Bitmaps in the shared-info page. All that is remembered is in the guest's memory.
    TwoLevel,
    /// Queues in pages of the guest's.
    Fifo(Fifo),
}

impl Form {
    /// Ports there is room for in the guest's memory, whatever the domain may have.
    pub(super) fn ports_max(&self) -> u32 {
        match self {
            Self::TwoLevel => TWO_LEVEL_PORTS,
            Self::Fifo(_) => FIFO_PORTS,
        }
    }

    /// Makes room for ports below a number.
    pub(super) fn reserve(&mut self, ports: usize) -> Result<(), Errno> {
        match self {
            Self::TwoLevel => Ok(()),
            Self::Fifo(fifo) => fifo.reserve(ports),
        }
    }

    /// A port gets a channel.
    pub(super) fn open(&mut self, port: Port) {
        match self {
            Self::TwoLevel => {}
            Self::Fifo(fifo) => fifo.open(port),
        }
    }

    /// Makes a port pending.
    pub(super) fn set_pending(&mut self, bits: &impl SharedBits, port: Port, vcpu: VcpuId) -> Raised {
        match self {
            Self::TwoLevel => two_level::set_pending(bits, port, vcpu),
            Self::Fifo(fifo) => fifo.set_pending(bits, port, vcpu),
        }
    }

    /// Unmasks a port, and lets an event go that the mask held back.
    pub(super) fn unmask(&mut self, bits: &impl SharedBits, port: Port, vcpu: VcpuId) -> Raised {
        match self {
            Self::TwoLevel => two_level::unmask(bits, port, vcpu),
            Self::Fifo(fifo) => fifo.unmask(bits, port, vcpu),
        }
    }

    /// Takes back a pending event.
    pub(super) fn clear_pending(&mut self, bits: &impl SharedBits, port: Port) {
        match self {
            Self::TwoLevel => bits.clear_pending(port),
            Self::Fifo(fifo) => fifo.clear_pending(bits, port),
        }
    }

    /// Whether a port is pending, as a poll sees it.
    pub(super) fn is_pending(&self, bits: &impl SharedBits, port: Port) -> bool {
        match self {
            Self::TwoLevel => bits.is_pending(port),
            Self::Fifo(fifo) => fifo.is_pending(bits, port),
        }
    }

    /// Whether a closed port cannot be used again yet.
    pub(super) fn is_busy(&self, bits: &impl SharedBits, port: Port) -> bool {
        match self {
            Self::TwoLevel => false,
            Self::Fifo(fifo) => fifo.is_linked(bits, port),
        }
    }

    /// Chooses a port's queue. A form without queues says so before it looks at the port.
    pub(super) fn set_priority(&mut self, port: Port, bound: bool, priority: u32) -> Result<(), Errno> {
        match self {
            Self::TwoLevel => Err(Errno::ENOSYS),
            Self::Fifo(_) if !bound => Err(Errno::EACCES),
            Self::Fifo(fifo) => fifo.set_priority(port, priority),
        }
    }
}
