//! Frames, through the direct map.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use paravane_core::addr::{ENTRIES, Mfn, PAGE_SHIFT, PAGE_SIZE, Pfn};
use paravane_core::memory::{FrameWriter, Memory};

use super::Hardware;
use crate::direct_map;

impl Hardware {
    fn word(&self, frame: Mfn, index: usize) -> &AtomicU64 {
        assert!(frame < self.end && index < ENTRIES, "word {index} of {frame}");
        // SAFETY: a word of RAM in the direct map; guests and page walkers may change it at any time, which
        // is why it is only ever seen as an atomic.
        unsafe { &*direct_map::pointer::<AtomicU64>(frame.address() + index as u64 * 8) }
    }

    fn half(&self, frame: Mfn, index: usize) -> &AtomicU32 {
        assert!(frame < self.end && index < 2 * ENTRIES, "half word {index} of {frame}");
        // SAFETY: as in `word`; x86 keeps accesses of different widths to the same bytes atomic (SDM vol. 3,
        // 9.1.1 and 9.1.2.2).
        unsafe { &*direct_map::pointer::<AtomicU32>(frame.address() + index as u64 * 4) }
    }

    /// Where `length` bytes of a frame are.
    pub(super) fn bytes(&self, frame: Mfn, offset: usize, length: usize) -> *mut u8 {
        assert!(
            frame < self.end && offset <= PAGE_SIZE && length <= PAGE_SIZE - offset,
            "{offset} of {frame}"
        );
        direct_map::pointer::<u8>(frame.address() + offset as u64)
    }
}

impl Memory for Hardware {
    #[inline]
    fn read_word(&self, frame: Mfn, index: usize) -> u64 {
        self.word(frame, index).load(Ordering::Relaxed)
    }

    #[inline]
    fn read_bytes(&self, frame: Mfn, offset: usize, bytes: &mut [u8]) {
        let from = self.bytes(frame, offset, bytes.len());
        // SAFETY: both sides are checked to be in bounds and are not the same memory: `bytes` is the
        // hypervisor's. A guest that writes meanwhile makes the copy a mixture, which callers expect.
        unsafe { core::ptr::copy_nonoverlapping(from.cast_const(), bytes.as_mut_ptr(), bytes.len()) }
    }

    #[inline]
    fn write_word(&self, frame: &FrameWriter<'_>, index: usize, value: u64) {
        self.word(frame.frame(), index).store(value, Ordering::Relaxed);
    }

    #[inline]
    fn compare_exchange_word(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u64,
        new: u64,
    ) -> Result<(), u64> {
        self.word(frame.frame(), index)
            .compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst)
            .map(|_| ())
    }

    #[inline]
    fn compare_exchange_half(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u32,
        new: u32,
    ) -> Result<(), u32> {
        self.half(frame.frame(), index)
            .compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst)
            .map(|_| ())
    }

    #[inline]
    fn set_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64 {
        self.word(frame.frame(), index).fetch_or(bits, Ordering::SeqCst)
    }

    #[inline]
    fn clear_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64 {
        self.word(frame.frame(), index).fetch_and(!bits, Ordering::SeqCst)
    }

    fn copy_bytes(
        &self,
        to: &FrameWriter<'_>,
        to_offset: usize,
        from: Mfn,
        from_offset: usize,
        length: usize,
    ) {
        let from = self.bytes(from, from_offset, length);
        let to = self.bytes(to.frame(), to_offset, length);
        // SAFETY: both sides are checked to be in bounds, and may overlap; the writer proves that the frame may
        // be written. A guest that writes meanwhile makes the copy a mixture, which is that guest's affair.
        unsafe { core::ptr::copy(from.cast_const(), to, length) }
    }

    #[inline]
    fn write_bytes(&self, frame: &FrameWriter<'_>, offset: usize, bytes: &[u8]) {
        let to = self.bytes(frame.frame(), offset, bytes.len());
        // SAFETY: as in `read_bytes`; the writer proves that the frame may be written.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    fn zero(&self, frame: &FrameWriter<'_>) {
        // SAFETY: as in `write_bytes`.
        unsafe { self.bytes(frame.frame(), 0, PAGE_SIZE).write_bytes(0, PAGE_SIZE) }
    }

    fn copy_frame(&self, to: &FrameWriter<'_>, from: Mfn) {
        let (from, to) = (self.bytes(from, 0, PAGE_SIZE), self.bytes(to.frame(), 0, PAGE_SIZE));
        // SAFETY: as in `write_bytes`; the frames may be the same one.
        unsafe { core::ptr::copy(from.cast_const(), to, PAGE_SIZE) }
    }

    fn m2p(&self, frame: Mfn) -> Pfn {
        assert!(frame < self.end, "M2P entry of {frame}");
        // SAFETY: the table has an entry for every frame below `end`.
        Pfn::new(unsafe { direct_map::pointer::<u64>(self.m2p).add(frame.index()).read_volatile() })
    }

    fn set_m2p(&self, frame: Mfn, pfn: Pfn) {
        assert!(frame < self.end, "M2P entry of {frame}");
        // SAFETY: as in `m2p`.
        unsafe { direct_map::pointer::<u64>(self.m2p).add(frame.index()).write_volatile(pfn.get()) }
    }

    fn m2p_extent(&self, extent: u64) -> Mfn {
        // The table is one piece of memory, aligned to 2 MiB: a page for each entry of an L1 table.
        Mfn::new((self.m2p >> PAGE_SHIFT) + extent * ENTRIES as u64)
    }
}
