//! The shared half of event channels: bits that guest and hypervisor change at the same time.

use core::mem::offset_of;

use paravane_abi::shared_info::{SharedInfo, VcpuInfo};

use super::words::{Place, SharedWords};
use super::{Port, VcpuId};

/// The byte of `vcpu_info`'s first word that says an upcall is due.
pub(crate) const UPCALL_PENDING: u64 = 0xff;

/// A domain's event bits, wherever it has them: the bitmaps in its shared-info page, and per vcpu the selector and
/// the pending flag in its `vcpu_info`.
///
/// Ports are below [`TWO_LEVEL_PORTS`](super::TWO_LEVEL_PORTS) and vcpus below the domain's number. Every change is
/// one locked instruction, and all are in order: the guest clears and looks in the opposite one.
pub trait SharedBits: SharedWords {
    /// Sets a pending bit; what it was.
    #[inline]
    fn test_and_set_pending(&self, port: Port) -> bool {
        let (place, bit) = pending(self, port);
        self.set_bit(place, bit)
    }

    /// Clears a pending bit.
    #[inline]
    fn clear_pending(&self, port: Port) {
        let (place, bit) = pending(self, port);
        self.clear_bit(place, bit);
    }

    /// Reads a pending bit.
    #[inline]
    fn is_pending(&self, port: Port) -> bool {
        let (place, bit) = pending(self, port);
        self.bit(place, bit)
    }

    /// Reads a mask bit.
    #[inline]
    fn is_masked(&self, port: Port) -> bool {
        let (place, bit) = mask(self, port);
        self.bit(place, bit)
    }

    /// Clears a mask bit; what it was.
    #[inline]
    fn test_and_clear_mask(&self, port: Port) -> bool {
        let (place, bit) = mask(self, port);
        self.clear_bit(place, bit)
    }

    /// Sets a bit of `evtchn_pending_sel`; what it was.
    #[inline]
    fn test_and_set_selector(&self, vcpu: VcpuId, word: u32) -> bool {
        self.set_bit(selector(self, vcpu), word)
    }

    /// Clears all of `evtchn_pending_sel`.
    fn clear_selector(&self, vcpu: VcpuId) {
        self.update(selector(self, vcpu), |_| 0);
    }

    /// Sets `evtchn_upcall_pending` to 1; whether it was anything but 0.
    #[inline]
    fn test_and_set_upcall(&self, vcpu: VcpuId) -> bool {
        let change = |word| if word & UPCALL_PENDING != 0 { word } else { word | 1 };
        self.update(self.vcpu_info(vcpu), change) & UPCALL_PENDING != 0
    }
}

impl<T: SharedWords + ?Sized> SharedBits for T {}

#[inline]
fn pending(words: &(impl SharedWords + ?Sized), port: Port) -> (Place, u32) {
    bitmap(words, offset_of!(SharedInfo, evtchn_pending), port)
}

#[inline]
fn mask(words: &(impl SharedWords + ?Sized), port: Port) -> (Place, u32) {
    bitmap(words, offset_of!(SharedInfo, evtchn_mask), port)
}

#[inline]
fn selector(words: &(impl SharedWords + ?Sized), vcpu: VcpuId) -> Place {
    words.vcpu_info(vcpu).plus(offset_of!(VcpuInfo, evtchn_pending_sel))
}

#[inline]
fn bitmap(words: &(impl SharedWords + ?Sized), base: usize, port: Port) -> (Place, u32) {
    let offset = base + port as usize / 64 * 8;
    (Place { frame: words.shared_info(), offset }, port % 64)
}

/// What became of an event.
#[must_use = "the vcpu must be woken, and vcpus that poll must be looked at"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The port.
    pub port: Port,
    /// The event was not pending before, so pollers may be woken.
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

/// After a vcpu registered a new place for its `vcpu_info`: marks everything pending there, since an event may have
/// gone to the old place meanwhile. The guest finds bitmaps and queues as they are.
pub fn mark_all_pending(bits: &impl SharedBits, vcpu: VcpuId) {
    for word in 0..u64::BITS {
        bits.test_and_set_selector(vcpu, word);
    }
    bits.test_and_set_upcall(vcpu);
}
