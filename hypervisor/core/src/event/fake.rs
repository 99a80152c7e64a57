//! Event words in ordinary memory: for tests, and for machines that are only played.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use paravane_abi::shared_info::{EVTCHN_WORDS, SharedInfo, VcpuInfo};

use super::bits::UPCALL_PENDING;
use super::words::{GuestWords, Place, SharedWords};
use super::{Port, VcpuId};
use crate::addr::{ENTRIES, Mfn};

const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);
const SELECTOR: usize = offset_of!(VcpuInfo, evtchn_pending_sel);
/// The shared-info page.
const SHARED: Mfn = Mfn::new(0);

/// A domain's pages of event words, all clear at first, with the guest's side of the two-level protocol. Frame 0 is the
/// shared-info page, with each vcpu's `vcpu_info` at its place there; the others are free for queues.
#[derive(Debug)]
pub struct FakeBits {
    frames: Vec<Box<[AtomicU64; ENTRIES]>>,
}

impl FakeBits {
    /// Pages of a domain with so many vcpus, at most 32.
    pub fn new(vcpus: u32) -> Self {
        Self::with_frames(vcpus, 1)
    }

    /// As [`Self::new`], with so many frames in all.
    pub fn with_frames(vcpus: u32, frames: usize) -> Self {
        assert!(vcpus as usize <= size_of_val(&SharedInfo::default().vcpu_info) / size_of::<VcpuInfo>());
        let page = || Box::new([const { AtomicU64::new(0) }; ENTRIES]);
        Self { frames: (0..frames).map(|_| page()).collect() }
    }

    /// A word.
    pub fn word(&self, at: Place) -> &AtomicU64 {
        &self.frames[at.frame.index()][at.offset / 8]
    }

    fn bitmap(&self, base: usize, word: usize) -> &AtomicU64 {
        self.word(Place { frame: SHARED, offset: base + word * 8 })
    }

    /// The guest masks a port.
    pub fn set_mask(&self, port: Port) {
        self.bitmap(MASK, port as usize / 64).fetch_or(1 << (port % 64), SeqCst);
    }

    /// The guest clears a port's mask bit without a hypercall.
    pub fn clear_mask(&self, port: Port) {
        self.bitmap(MASK, port as usize / 64).fetch_and(!(1 << (port % 64)), SeqCst);
    }

    /// Whether a vcpu's pending flag is set.
    pub fn upcall_pending(&self, vcpu: VcpuId) -> bool {
        self.word(self.vcpu_info(vcpu)).load(SeqCst) & UPCALL_PENDING != 0
    }

    /// The guest clears a vcpu's pending flag; what it was.
    pub fn clear_upcall(&self, vcpu: VcpuId) -> bool {
        self.word(self.vcpu_info(vcpu)).fetch_and(!UPCALL_PENDING, SeqCst) & UPCALL_PENDING != 0
    }

    /// A vcpu's selector.
    pub fn selector(&self, vcpu: VcpuId) -> u64 {
        self.word(self.vcpu_info(vcpu).plus(SELECTOR)).load(SeqCst)
    }

    /// The guest's upcall on a vcpu: clears flag and selector, then takes the unmasked pending ports of the
    /// selected words.
    pub fn take(&self, vcpu: VcpuId) -> Vec<Port> {
        self.clear_upcall(vcpu);
        let selector = self.word(self.vcpu_info(vcpu).plus(SELECTOR)).swap(0, SeqCst);
        let mut ports = Vec::new();
        for index in (0..EVTCHN_WORDS).filter(|index| selector >> index & 1 != 0) {
            let pending = self.bitmap(PENDING, index);
            let ready = pending.load(SeqCst) & !self.bitmap(MASK, index).load(SeqCst);
            pending.fetch_and(!ready, SeqCst);
            ports.extend((0..64).filter(|bit| ready >> bit & 1 != 0).map(|bit| index as u32 * 64 + bit));
        }
        ports
    }
}

impl GuestWords for FakeBits {
    fn load(&self, at: Place) -> u64 {
        self.word(at).load(SeqCst)
    }

    fn compare_exchange(&self, at: Place, expected: u64, new: u64) -> Result<(), u64> {
        self.word(at).compare_exchange(expected, new, SeqCst, SeqCst).map(|_| ())
    }
}

impl SharedWords for FakeBits {
    fn shared_info(&self) -> Mfn {
        SHARED
    }

    fn vcpu_info(&self, vcpu: VcpuId) -> Place {
        let offset = offset_of!(SharedInfo, vcpu_info) + vcpu as usize * size_of::<VcpuInfo>();
        Place { frame: SHARED, offset }
    }
}
