//! Words that a guest writes whenever it likes.

use super::VcpuId;
use crate::addr::Mfn;

/// How often a change is tried while the guest changes the same word. Each failure means that the guest wrote in the
/// few cycles between two instructions, so an honest guest never comes near; one that only wants to keep the
/// hypervisor busy (as in XSA-295) loses its own event instead.
const TRIES: u32 = 1024;

/// Where a word lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The frame.
    pub frame: Mfn,
    /// Offset in it, in bytes: a multiple of 8, or of 4 for a word of 32 bits.
    pub offset: usize,
}

impl Place {
    /// A place so many bytes further on in the same frame.
    pub fn plus(self, bytes: usize) -> Self {
        Self { offset: self.offset + bytes, ..self }
    }

    /// The bit of its 64-bit word that bit `bit` at this place is.
    fn bit(self, bit: u32) -> u32 {
        self.offset as u32 % 8 * 8 + bit
    }
}

/// Frames a guest shares with the hypervisor, word by word. What is built on it holds whatever the guest writes.
///
/// Both operations act on the 64-bit word that contains the place.
pub trait GuestWords {
    /// Reads the word. Not earlier than the successful [`Self::compare_exchange`] before it.
    fn load(&self, at: Place) -> u64;

    /// Writes `new` when the word is `expected`, in one locked instruction that nothing passes in either
    /// direction; the error is what the word was.
    fn compare_exchange(&self, at: Place, expected: u64, new: u64) -> Result<(), u64>;

    /// Changes the word; what it was.
    #[inline]
    fn update(&self, at: Place, change: impl Fn(u64) -> u64) -> u64 {
        let mut old = self.load(at);
        for _ in 0..TRIES {
            let new = change(old);
            if new == old {
                break;
            }
            match self.compare_exchange(at, old, new) {
                Ok(()) => break,
                Err(now) => old = now,
            }
        }
        old
    }

    /// Whether a bit is set. It may lie beyond the place's own word of 32 bits, not of 64.
    #[inline]
    fn bit(&self, at: Place, bit: u32) -> bool {
        self.load(at) >> at.bit(bit) & 1 != 0
    }

    /// Sets a bit; what it was.
    #[inline]
    fn set_bit(&self, at: Place, bit: u32) -> bool {
        let bit = at.bit(bit);
        self.update(at, |word| word | 1 << bit) >> bit & 1 != 0
    }

    /// Clears a bit; what it was.
    #[inline]
    fn clear_bit(&self, at: Place, bit: u32) -> bool {
        let bit = at.bit(bit);
        self.update(at, |word| word & !(1 << bit)) >> bit & 1 != 0
    }

    /// Reads a word of 32 bits.
    fn load32(&self, at: Place) -> u32 {
        (self.load(at) >> at.bit(0)) as u32
    }

    /// Writes a word of 32 bits. Its neighbour stays as the guest has it.
    fn store32(&self, at: Place, value: u32) {
        self.update(at, |word| with_half(word, at, value));
    }

    /// Writes `new` to a word of 32 bits when it is `expected`; the error is what it was. A change of the neighbour
    /// is no reason to fail.
    fn compare_exchange32(&self, at: Place, expected: u32, new: u32) -> Result<(), u32> {
        let half = |word: u64| (word >> at.bit(0)) as u32;
        let mut word = self.load(at);
        for _ in 0..TRIES {
            if half(word) != expected {
                break;
            }
            match self.compare_exchange(at, word, with_half(word, at, new)) {
                Ok(()) => return Ok(()),
                Err(now) => word = now,
            }
        }
        Err(half(word))
    }
}

fn with_half(word: u64, at: Place, value: u32) -> u64 {
    let shift = at.bit(0);
    word & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift
}

/// The words of one domain.
pub trait SharedWords: GuestWords {
    /// The frame of its `shared_info`.
    fn shared_info(&self) -> Mfn;

    /// Where a vcpu's `vcpu_info` is. Vcpus are below the domain's number.
    fn vcpu_info(&self, vcpu: VcpuId) -> Place;
}
