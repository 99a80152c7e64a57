//! Event bits in ordinary memory: for tests, and for machines that are only played.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use super::{PORTS_MAX, Port, SharedBits, VcpuId};

const WORDS: usize = (PORTS_MAX / u64::BITS) as usize;

/// A domain's event bits, all clear at first, with the guest's side of the protocol.
#[derive(Debug)]
pub struct FakeBits {
    pending: [AtomicU64; WORDS],
    mask: [AtomicU64; WORDS],
    vcpus: Vec<(AtomicU64, AtomicBool)>,
}

impl FakeBits {
    /// Bits of a domain with so many vcpus.
    pub fn new(vcpus: u32) -> Self {
        Self {
            pending: [const { AtomicU64::new(0) }; WORDS],
            mask: [const { AtomicU64::new(0) }; WORDS],
            vcpus: (0..vcpus).map(|_| (AtomicU64::new(0), AtomicBool::new(false))).collect(),
        }
    }

    /// The guest masks a port.
    pub fn set_mask(&self, port: Port) {
        word(&self.mask, port).fetch_or(bit(port), SeqCst);
    }

    /// The guest clears a port's mask bit without a hypercall.
    pub fn clear_mask(&self, port: Port) {
        word(&self.mask, port).fetch_and(!bit(port), SeqCst);
    }

    /// Whether a vcpu's pending flag is set.
    pub fn upcall_pending(&self, vcpu: VcpuId) -> bool {
        self.vcpus[vcpu as usize].1.load(SeqCst)
    }

    /// A vcpu's selector.
    pub fn selector(&self, vcpu: VcpuId) -> u64 {
        self.vcpus[vcpu as usize].0.load(SeqCst)
    }

    /// The guest's upcall on a vcpu: clears flag and selector, then takes the unmasked pending ports of the
    /// selected words.
    pub fn take(&self, vcpu: VcpuId) -> Vec<Port> {
        let (selector, upcall) = &self.vcpus[vcpu as usize];
        upcall.store(false, SeqCst);
        let selector = selector.swap(0, SeqCst);
        let mut ports = Vec::new();
        for index in (0..WORDS).filter(|index| selector >> index & 1 != 0) {
            let ready = self.pending[index].load(SeqCst) & !self.mask[index].load(SeqCst);
            self.pending[index].fetch_and(!ready, SeqCst);
            ports.extend((0..64).filter(|bit| ready >> bit & 1 != 0).map(|bit| index as u32 * 64 + bit));
        }
        ports
    }
}

impl SharedBits for FakeBits {
    fn test_and_set_pending(&self, port: Port) -> bool {
        word(&self.pending, port).fetch_or(bit(port), SeqCst) & bit(port) != 0
    }

    fn clear_pending(&self, port: Port) {
        word(&self.pending, port).fetch_and(!bit(port), SeqCst);
    }

    fn is_pending(&self, port: Port) -> bool {
        word(&self.pending, port).load(SeqCst) & bit(port) != 0
    }

    fn is_masked(&self, port: Port) -> bool {
        word(&self.mask, port).load(SeqCst) & bit(port) != 0
    }

    fn test_and_clear_mask(&self, port: Port) -> bool {
        word(&self.mask, port).fetch_and(!bit(port), SeqCst) & bit(port) != 0
    }

    fn test_and_set_selector(&self, vcpu: VcpuId, word: u32) -> bool {
        self.vcpus[vcpu as usize].0.fetch_or(1 << word, SeqCst) >> word & 1 != 0
    }

    fn test_and_set_upcall(&self, vcpu: VcpuId) -> bool {
        self.vcpus[vcpu as usize].1.swap(true, SeqCst)
    }
}

fn word(words: &[AtomicU64; WORDS], port: Port) -> &AtomicU64 {
    &words[(port / u64::BITS) as usize]
}

fn bit(port: Port) -> u64 {
    1 << (port % u64::BITS)
}
