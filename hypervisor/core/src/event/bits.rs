//! The shared half of event channels: bits that guest and hypervisor change at the same time.

use super::{Port, VcpuId};

/// Atomic access to a domain's event bits: the bitmaps in its shared-info page, and per vcpu the selector and the
/// pending flag in its `vcpu_info`, wherever the guest registered that.
///
/// Ports are below 4096 and vcpus below the domain's number. Every read-modify-write is one locked instruction,
/// and all are sequentially consistent: the guest clears and looks in the opposite order.
pub trait SharedBits {
    /// Sets a pending bit; what it was.
    fn test_and_set_pending(&self, port: Port) -> bool;
    /// Clears a pending bit.
    fn clear_pending(&self, port: Port);
    /// Reads a pending bit.
    fn is_pending(&self, port: Port) -> bool;
    /// Reads a mask bit.
    fn is_masked(&self, port: Port) -> bool;
    /// Clears a mask bit; what it was.
    fn test_and_clear_mask(&self, port: Port) -> bool;
    /// Sets a bit of `evtchn_pending_sel`; what it was.
    fn test_and_set_selector(&self, vcpu: VcpuId, word: u32) -> bool;
    /// Sets `evtchn_upcall_pending` to 1; whether it was anything but 0.
    fn test_and_set_upcall(&self, vcpu: VcpuId) -> bool;
}

/// What became of an event.
#[must_use = "the vcpu must be woken, and vcpus that poll must be looked at"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The port.
    pub port: Port,
    /// The pending bit was clear before, so pollers may be woken.
    pub newly_pending: bool,
    /// A vcpu whose pending flag was clear before: unblock it, and interrupt it if it runs elsewhere.
    pub notify: Option<VcpuId>,
}

impl Raised {
    /// Nothing happened.
    pub const fn nothing(port: Port) -> Self {
        Self { port, newly_pending: false, notify: None }
    }
}

/// Makes a port pending. The order is Xen's (`evtchn_2l_set_pending`) and the guest relies on it: pending bit,
/// selector bit, pending flag.
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

/// After a vcpu registered a new place for its `vcpu_info`: marks everything pending there, since an event may have
/// gone to the old place meanwhile. The guest finds the bitmaps as they are.
pub fn mark_all_pending(bits: &impl SharedBits, vcpu: VcpuId) {
    for word in 0..u64::BITS {
        bits.test_and_set_selector(vcpu, word);
    }
    bits.test_and_set_upcall(vcpu);
}
