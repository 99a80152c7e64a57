//! Memory that another domain changes meanwhile.

use core::sync::atomic::{AtomicU32, Ordering, fence};

/// A page, or several that follow each other, shared with the other end.
///
/// Offsets are in bytes from its start. Callers stay inside [`len`](Self::len); outside it a read gives zeros and a
/// write does nothing. Words at offsets that are no multiple of 4 are treated in the same way.
///
/// The trait exists because how memory is reached safely is the caller's affair: a kernel has a mapping, a test an array, a
/// tool a file. `[AtomicU32]` implements it; a kernel needs one `unsafe` expression to see its page as `&[AtomicU32]`:
///
/// ```
/// use core::sync::atomic::AtomicU32;
/// use paravane_abi::io::shared::SharedMemory;
///
/// /// The page at `address` as shared memory.
/// ///
/// /// # Safety
/// ///
/// /// `address` must be page aligned and mapped, writable, for `'static`, and nothing else may refer to the page as
/// /// anything but atomics.
/// unsafe fn page(address: *const AtomicU32) -> &'static [AtomicU32] {
///     // SAFETY: the caller vouches for it; atomics may change behind a shared reference.
///     unsafe { core::slice::from_raw_parts(address, 1024) }
/// }
///
/// let memory: &'static [AtomicU32] = Box::leak((0..1024).map(AtomicU32::new).collect());
/// // SAFETY: the memory is leaked, 4096 bytes long and made of atomics.
/// let page = unsafe { page(memory.as_ptr()) };
/// assert_eq!((page.len(), SharedMemory::len(page), page.load(8)), (1024, 4096, 2));
/// ```
pub trait SharedMemory {
    /// Size in bytes.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a word, before whatever the caller reads next (acquire).
    fn load(&self, offset: usize) -> u32;

    /// Writes a word, after whatever the caller wrote before (release).
    fn store(&self, offset: usize, value: u32);

    /// Copies bytes out, each once.
    fn read(&self, offset: usize, bytes: &mut [u8]);

    /// Copies bytes in. A word written in part is read and written back, so only one end may write to a word.
    fn write(&self, offset: usize, bytes: &[u8]);

    /// A full barrier: everything before it happens before everything after it, stores before loads too.
    fn barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

impl SharedMemory for [AtomicU32] {
    fn len(&self) -> usize {
        size_of_val(self)
    }

    fn load(&self, offset: usize) -> u32 {
        word(self, offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn store(&self, offset: usize, value: u32) {
        if let Some(word) = word(self, offset) {
            word.store(value, Ordering::Release);
        }
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        each_word(offset, bytes.len(), |place, within, part| {
            let value = self.get(place).map_or(0, |word| word.load(Ordering::Relaxed)).to_le_bytes();
            if let (Some(to), Some(from)) = (bytes.get_mut(part), value.get(within)) {
                to.copy_from_slice(from);
            }
        });
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        each_word(offset, bytes.len(), |place, within, part| {
            let Some(word) = self.get(place) else { return };
            let mut value = word.load(Ordering::Relaxed).to_le_bytes();
            if let (Some(to), Some(from)) = (value.get_mut(within), bytes.get(part)) {
                to.copy_from_slice(from);
            }
            word.store(u32::from_le_bytes(value), Ordering::Relaxed);
        });
    }
}

impl<const WORDS: usize> SharedMemory for [AtomicU32; WORDS] {
    fn len(&self) -> usize {
        SharedMemory::len(self.as_slice())
    }

    fn load(&self, offset: usize) -> u32 {
        self.as_slice().load(offset)
    }

    fn store(&self, offset: usize, value: u32) {
        self.as_slice().store(offset, value);
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.as_slice().read(offset, bytes);
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        self.as_slice().write(offset, bytes);
    }
}

impl<M: SharedMemory + ?Sized> SharedMemory for &M {
    fn len(&self) -> usize {
        M::len(self)
    }

    fn load(&self, offset: usize) -> u32 {
        M::load(self, offset)
    }

    fn store(&self, offset: usize, value: u32) {
        M::store(self, offset, value);
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        M::read(self, offset, bytes);
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        M::write(self, offset, bytes);
    }

    fn barrier(&self) {
        M::barrier(self);
    }
}

fn word(memory: &[AtomicU32], offset: usize) -> Option<&AtomicU32> {
    if offset.is_multiple_of(4) { memory.get(offset / 4) } else { None }
}

/// Calls `visit` for each word that a range of bytes touches: the word's index, the bytes of it, and the bytes of the range.
fn each_word(
    offset: usize,
    len: usize,
    mut visit: impl FnMut(usize, core::ops::Range<usize>, core::ops::Range<usize>),
) {
    let mut done = 0;
    while done < len {
        let at = offset.saturating_add(done);
        let start = at % 4;
        let count = (4 - start).min(len - done);
        visit(at / 4, start..start + count, done..done + count);
        done += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_in_and_out_wherever_they_lie() {
        let memory = [const { AtomicU32::new(0) }; 8];
        for start in 0..8 {
            for len in 0..16 {
                let bytes: Vec<u8> = (0..len).map(|index| (start * 16 + index) as u8 ^ 0x5a).collect();
                memory.store(0, u32::MAX);
                memory.write(start, &bytes);
                let mut back = vec![0; len];
                memory.read(start, &mut back);
                assert_eq!(back, bytes, "{len} bytes at {start}");
                let mut first = [0; 4];
                memory.read(0, &mut first);
                assert!(first[..start.min(4)].iter().all(|&byte| byte == 0xff), "{len} bytes at {start}");
            }
        }
    }

    #[test]
    fn nothing_happens_outside() {
        let memory = [const { AtomicU32::new(7) }; 2];
        memory.store(8, 1);
        memory.store(2, 1);
        memory.write(usize::MAX - 1, &[1, 2, 3, 4]);
        memory.write(6, &[1, 2, 3, 4]);
        let mut bytes = [9; 4];
        memory.read(6, &mut bytes);
        assert_eq!(bytes, [1, 2, 0, 0]);
        assert_eq!((memory.load(0), memory.load(8), memory.load(1)), (7, 0, 0));
        assert_eq!(SharedMemory::len(&memory), 8);
    }
}
