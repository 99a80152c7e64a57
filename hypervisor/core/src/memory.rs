//! Access to what frames contain.
//!
//! Anything may be read. Writing takes a [`FrameWriter`], which only the frame table makes, after it
//! checked that the frame may be written in that way, so safe code can't write any word of any frame. A
//! writer borrows the frame table: while it lives, no frame changes owner or type, which is what holding
//! a reference means under the lock that guards the frame table.

use crate::addr::{Mfn, Pfn};
pub use crate::frame::FrameWriter;

/// Frame contents and the machine-to-physical table.
///
/// Guests and the page walkers of CPUs read and write the same memory at the same time, so every access
/// to an aligned word is one access (atomic, relaxed is enough), and byte ranges are copied without any
/// promise of order. Indexes and ranges outside the frame, and frames that are no RAM, are the caller's
/// fault; an implementation panics or ignores them but never reaches other memory.
pub trait Memory {
    /// The word `index` (0 to 511) of a frame.
    fn read_word(&self, frame: Mfn, index: usize) -> u64;

    /// Copies bytes out of a frame.
    fn read_bytes(&self, frame: Mfn, offset: usize, bytes: &mut [u8]);

    /// Writes a word.
    fn write_word(&self, frame: &FrameWriter<'_>, index: usize, value: u64);

    /// Writes `new` when the word is `expected`, in one atomic step. The error is what the word was.
    fn compare_exchange_word(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u64,
        new: u64,
    ) -> Result<(), u64>;

    /// Writes `new` in half of a word, `index` counting halves (0 to 1023), when it is `expected`, in one
    /// atomic step that leaves the other half alone. The error is what it was.
    fn compare_exchange_half(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u32,
        new: u32,
    ) -> Result<(), u32>;

    /// Sets bits of a word in one atomic step, which is a full barrier, and gives what it was. It ends, however
    /// often others write the word.
    fn set_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64;

    /// Clears bits of a word, as [`Self::set_bits`] sets them.
    fn clear_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64;

    /// Copies bytes from one frame to another, or within one.
    fn copy_bytes(
        &self,
        to: &FrameWriter<'_>,
        to_offset: usize,
        from: Mfn,
        from_offset: usize,
        length: usize,
    );

    /// Copies bytes into a frame.
    fn write_bytes(&self, frame: &FrameWriter<'_>, offset: usize, bytes: &[u8]);

    /// Fills a frame with zeros.
    fn zero(&self, frame: &FrameWriter<'_>);

    /// Copies a whole frame.
    fn copy_frame(&self, to: &FrameWriter<'_>, from: Mfn);

    /// The guest frame number recorded for a machine frame. Guests read this table, so it holds nothing
    /// secret, and they write it, so it holds nothing to be trusted.
    fn m2p(&self, frame: Mfn) -> Pfn;

    /// Records the guest frame number of a machine frame.
    fn set_m2p(&self, frame: Mfn, pfn: Pfn);

    /// The first frame of the `extent`th 2 MiB of that table, which has as many as the number of frames asks for.
    fn m2p_extent(&self, extent: u64) -> Mfn;
}
