//! The two-level form: a pending and a mask bit for each port, and a selector of words for each vcpu. The order of
//! the changes is that of Xen's `common/event_2l.c`, and guests rely on it.

use super::bits::{Raised, SharedBits};
use super::{Port, VcpuId};

/// Makes a port pending: pending bit, selector bit, pending flag.
pub(super) fn set_pending(bits: &impl SharedBits, port: Port, vcpu: VcpuId) -> Raised {
    if bits.test_and_set_pending(port) {
        return Raised::nothing(port);
    }
    let notify = if bits.is_masked(port) { None } else { select(bits, port, vcpu) };
    Raised { port, newly_pending: true, notify }
}

/// Unmasks a port; if it was masked and pending, the event that the mask held back goes on its way.
pub(super) fn unmask(bits: &impl SharedBits, port: Port, vcpu: VcpuId) -> Raised {
    let held_back = bits.test_and_clear_mask(port) && bits.is_pending(port);
    let notify = if held_back { select(bits, port, vcpu) } else { None };
    // The pending bit did not change, so no poller is woken.
    Raised { port, newly_pending: false, notify }
}

fn select(bits: &impl SharedBits, port: Port, vcpu: VcpuId) -> Option<VcpuId> {
    let selected = bits.test_and_set_selector(vcpu, port / u64::BITS);
    (!selected && !bits.test_and_set_upcall(vcpu)).then_some(vcpu)
}
