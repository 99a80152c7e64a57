//! The hypervisor's end of a guest's PV console (`xen/io/console.h`): a page with two byte rings and four
//! free-running indices, all writable by the guest. Each index is read once and believed only within the ring.

use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use paravane_abi::console::{IN_RING_SIZE, OUT_RING_SIZE, XenconsInterface};

/// Bytes of the ring from the keyboard to the guest; a power of two.
pub const IN_SIZE: u32 = IN_RING_SIZE as u32;
/// Bytes of the ring from the guest to the screen; a power of two.
pub const OUT_SIZE: u32 = OUT_RING_SIZE as u32;

const IN: usize = offset_of!(XenconsInterface, input);
const OUT: usize = offset_of!(XenconsInterface, output);
const IN_CONS: usize = offset_of!(XenconsInterface, in_cons);
const IN_PROD: usize = offset_of!(XenconsInterface, in_prod);
const OUT_CONS: usize = offset_of!(XenconsInterface, out_cons);
const OUT_PROD: usize = offset_of!(XenconsInterface, out_prod);

/// Access to the ring page. The guest writes it at the same time, so nothing read twice need be the same.
pub trait RingPage {
    /// Reads an aligned 32-bit index in one access.
    fn index(&self, offset: usize) -> u32;
    /// Writes an aligned 32-bit index in one access.
    fn set_index(&mut self, offset: usize, value: u32);
    /// Copies bytes out of the page.
    fn read(&self, offset: usize, bytes: &mut [u8]);
    /// Copies bytes into the page.
    fn write(&mut self, offset: usize, bytes: &[u8]);
}

/// Takes all output the guest has queued and passes it on in pieces. Returns the number of bytes; unless it is 0
/// the guest's port is to be raised, because writers may wait for room. Indices that claim more than the ring
/// holds are the guest's mistake: nothing is taken until it mends them (xenconsoled does the same).
///
/// Call this from the guest's send, before it returns: Linux spins with SCHEDOP_yield while the ring is full.
#[must_use = "the guest is to be told that there is room"]
pub fn drain(page: &mut impl RingPage, mut sink: impl FnMut(&[u8])) -> u32 {
    let cons = page.index(OUT_CONS);
    let prod = page.index(OUT_PROD);
    let queued = prod.wrapping_sub(cons);
    if queued == 0 || queued > OUT_SIZE {
        return 0;
    }
    // The bytes were written before the producer index.
    fence(Ordering::Acquire);
    let mut piece = [0; 128];
    let mut at = cons;
    while at != prod {
        let start = at % OUT_SIZE;
        let len = prod.wrapping_sub(at).min(OUT_SIZE - start).min(piece.len() as u32);
        let piece = &mut piece[..len as usize];
        page.read(OUT + start as usize, piece);
        sink(piece);
        at = at.wrapping_add(len);
    }
    // The guest reuses the space as soon as it sees the index: all reads come first.
    fence(Ordering::Release);
    page.set_index(OUT_CONS, prod);
    queued
}

/// Room for input; 0 too while the guest's index makes no sense.
pub fn input_room(page: &impl RingPage) -> u32 {
    let queued = page.index(IN_PROD).wrapping_sub(page.index(IN_CONS));
    IN_SIZE.saturating_sub(queued)
}

/// Queues input. Returns how many bytes went in; unless it is 0 the guest's port is to be raised. The rest should
/// be kept and offered again when the guest has taken some (it kicks then).
#[must_use = "the guest is to be told that there is input"]
pub fn fill(page: &mut impl RingPage, input: &[u8]) -> usize {
    let cons = page.index(IN_CONS);
    let prod = page.index(IN_PROD);
    let room = IN_SIZE.saturating_sub(prod.wrapping_sub(cons)) as usize;
    // The guest has read what it frees before it moves its index.
    fence(Ordering::Acquire);
    let input = &input[..input.len().min(room)];
    let start = (prod % IN_SIZE) as usize;
    let (first, second) = input.split_at(input.len().min(IN_SIZE as usize - start));
    page.write(IN + start, first);
    page.write(IN, second);
    if !input.is_empty() {
        fence(Ordering::Release);
        page.set_index(IN_PROD, prod.wrapping_add(input.len() as u32));
    }
    input.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A page that panics on any access outside the part it belongs to.
    struct Page([u8; 4096]);

    impl RingPage for Page {
        fn index(&self, offset: usize) -> u32 {
            assert!((IN_CONS..=OUT_PROD).contains(&offset) && offset.is_multiple_of(4));
            u32::from_le_bytes(self.0[offset..offset + 4].try_into().unwrap())
        }

        fn set_index(&mut self, offset: usize, value: u32) {
            assert!(offset == OUT_CONS || offset == IN_PROD, "an index of the guest's");
            self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }

        fn read(&self, offset: usize, bytes: &mut [u8]) {
            assert!(offset >= OUT && offset + bytes.len() <= IN_CONS);
            bytes.copy_from_slice(&self.0[offset..offset + bytes.len()]);
        }

        fn write(&mut self, offset: usize, bytes: &[u8]) {
            assert!(offset + bytes.len() <= OUT);
            self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    impl Page {
        fn with(indices: [(usize, u32); 2]) -> Self {
            let mut page = Self([0; 4096]);
            for (offset, value) in indices {
                page.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
            }
            page
        }

        fn guest_writes(&mut self, text: &[u8]) {
            let prod = self.index(OUT_PROD);
            for (n, &byte) in text.iter().enumerate() {
                self.0[OUT + (prod.wrapping_add(n as u32) % OUT_SIZE) as usize] = byte;
            }
            let prod = prod.wrapping_add(text.len() as u32);
            self.0[OUT_PROD..OUT_PROD + 4].copy_from_slice(&prod.to_le_bytes());
        }

        fn guest_reads(&mut self) -> Vec<u8> {
            let (cons, prod) = (self.index(IN_CONS), self.index(IN_PROD));
            assert!(prod.wrapping_sub(cons) <= IN_SIZE);
            let len = prod.wrapping_sub(cons);
            self.0[IN_CONS..IN_CONS + 4].copy_from_slice(&prod.to_le_bytes());
            (0..len).map(|n| self.0[IN + (cons.wrapping_add(n) % IN_SIZE) as usize]).collect()
        }

        fn drained(&mut self) -> Vec<u8> {
            let mut got = Vec::new();
            let count = drain(self, |piece| got.extend_from_slice(piece));
            assert_eq!(count as usize, got.len());
            got
        }
    }

    #[test]
    fn output_comes_out_once() {
        let mut page = Page::with([(OUT_CONS, 0), (OUT_PROD, 0)]);
        assert_eq!(page.drained(), b"");
        page.guest_writes(b"hello\n");
        assert_eq!(page.drained(), b"hello\n");
        assert_eq!(page.drained(), b"");
    }

    #[test]
    fn output_wraps_in_the_ring_and_the_index_in_32_bits() {
        for start in [OUT_SIZE - 3, u32::MAX - 2, u32::MAX - 1500] {
            let mut page = Page::with([(OUT_CONS, start), (OUT_PROD, start)]);
            let text: Vec<u8> = (0..OUT_SIZE).map(|n| (n % 251) as u8).collect();
            page.guest_writes(&text);
            assert_eq!(page.drained(), text);
            assert_eq!(page.index(OUT_CONS), start.wrapping_add(OUT_SIZE));
        }
    }

    #[test]
    fn hostile_output_indices_take_nothing() {
        for (cons, prod) in [(0, OUT_SIZE + 1), (1, 0), (0, u32::MAX), (0x8000_0000, 0), (OUT_SIZE, 0)] {
            let mut page = Page::with([(OUT_CONS, cons), (OUT_PROD, prod)]);
            assert_eq!(page.drained(), b"", "{cons:#x} {prod:#x}");
            assert_eq!(page.index(OUT_CONS), cons);
        }
    }

    #[test]
    fn input_stops_at_a_full_ring() {
        let mut page = Page::with([(IN_CONS, 5), (IN_PROD, 5)]);
        let text: Vec<u8> = (0..1500u32).map(|n| (n % 251) as u8).collect();
        assert_eq!(input_room(&page), IN_SIZE);
        assert_eq!(fill(&mut page, &text), IN_SIZE as usize);
        assert_eq!(input_room(&page), 0);
        assert_eq!(fill(&mut page, b"x"), 0);
        assert_eq!(page.guest_reads(), text[..1024]);
        assert_eq!(fill(&mut page, &text[1024..]), 476);
        assert_eq!(page.guest_reads(), text[1024..]);
        assert_eq!(fill(&mut page, b""), 0);
    }

    #[test]
    fn hostile_input_indices_leave_no_room() {
        for (cons, prod) in [(1, 0), (0, IN_SIZE + 1), (0x8000_0000, 0)] {
            let mut page = Page::with([(IN_CONS, cons), (IN_PROD, prod)]);
            assert_eq!(input_room(&page), 0, "{cons:#x} {prod:#x}");
            assert_eq!(fill(&mut page, b"abc"), 0);
            assert_eq!(page.index(IN_PROD), prod);
        }
    }

    #[test]
    fn any_indices_stay_within_the_rings() {
        // The page asserts the bounds of every access; the indices come from a fixed multiplicative walk.
        let mut seed = 1u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if seed & 0x100 == 0 { seed } else { seed >> 20 }
        };
        let mut moved = 0;
        for _ in 0..20_000 {
            let mut page = Page::with([(OUT_CONS, next()), (OUT_PROD, next())]);
            let queued = page.index(OUT_PROD).wrapping_sub(page.index(OUT_CONS));
            let got = page.drained().len() as u32;
            assert_eq!(got, if queued <= OUT_SIZE { queued } else { 0 });
            let mut page = Page::with([(IN_CONS, next()), (IN_PROD, next())]);
            let put = fill(&mut page, &[7; 300]) as u32;
            assert!(put <= input_room(&page) + put && put <= 300);
            moved += u32::from(got > 0) + u32::from(put > 0);
        }
        assert!(moved > 2_000, "only {moved} transfers");
    }
}
