//! SCHEDOP_poll: sleeping until a port is pending, masked or not.

use paravane_abi::errno::Errno;

use super::bits::{Raised, SharedBits};
use super::{Port, PortTable};

/// Most ports in one poll (Xen's limit).
pub const POLL_PORTS_MAX: u32 = 128;

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// A port is pending: return at once.
    Ready,
    /// The vcpu sleeps until an event comes, or the timeout.
    Wait(PollWait),
}

/// What a vcpu in a poll waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollWait {
    /// This port.
    One(Port),
    /// Any port: with several to watch Xen wakes the vcpu for each event of the domain, and the guest looks.
    Any,
}

impl PollWait {
    /// Whether an event ends the wait.
    pub fn woken_by(self, raised: &Raised) -> bool {
        raised.newly_pending
            && match self {
                Self::One(port) => port == raised.port,
                Self::Any => true,
            }
    }
}

impl PortTable {
    /// Looks at the ports of a poll. They are checked one by one, in order, and the first pending one ends the
    /// call: an invalid port after it goes unnoticed, as in Xen. The caller has already looked for
    /// deliverable events of the vcpu, which end a poll too.
    pub fn poll(&self, bits: &impl SharedBits, ports: &[Port]) -> Result<Poll, Errno> {
        if ports.len() > POLL_PORTS_MAX as usize {
            return Err(Errno::EINVAL);
        }
        for &port in ports {
            if !self.entry(port)?.is_bound() {
                return Err(Errno::EINVAL);
            }
            if self.form.is_pending(bits, port) {
                return Ok(Poll::Ready);
            }
        }
        Ok(Poll::Wait(match *ports {
            [port] => PollWait::One(port),
            _ => PollWait::Any,
        }))
    }
}
