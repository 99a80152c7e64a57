//! A growable file's bytes, in page-sized pieces, so that growing never moves what is there.

use alloc::boxed::Box;
use alloc::vec::Vec;

const PAGE: usize = 4096;

/// Bytes of a file in memory. Pieces never written are absent and read as zeros.
#[derive(Default)]
pub struct Pages {
    pieces: Vec<Option<Box<[u8; PAGE]>>>,
    length: usize,
}

impl Pages {
    /// A file with this content.
    pub fn from_bytes(bytes: &[u8]) -> Pages {
        let mut pages = Pages::default();
        pages.write(0, bytes);
        pages
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Memory the content takes, or will take at most once `bytes` more are written at `offset`.
    pub fn footprint_after(&self, offset: usize, bytes: usize) -> usize {
        let present = self.pieces.iter().flatten().count();
        let pieces = self.pieces.len().max((offset + bytes).div_ceil(PAGE));
        let touched = if bytes == 0 { 0 } else { (offset + bytes).div_ceil(PAGE) - offset / PAGE };
        let absent = (offset / PAGE..offset / PAGE + touched)
            .filter(|index| self.pieces.get(*index).is_none_or(Option::is_none))
            .count();
        (present + absent) * PAGE + pieces * size_of::<Option<Box<[u8; PAGE]>>>()
    }

    /// Memory the content takes.
    pub fn footprint(&self) -> usize {
        self.footprint_after(0, 0)
    }

    /// Reads from `offset` on; returns how many bytes there were.
    pub fn read(&self, offset: usize, buf: &mut [u8]) -> usize {
        let count = buf.len().min(self.length.saturating_sub(offset));
        let mut done = 0;
        while done < count {
            let (index, within) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let step = (PAGE - within).min(count - done);
            let target = &mut buf[done..done + step];
            match &self.pieces[index] {
                Some(piece) => target.copy_from_slice(&piece[within..within + step]),
                None => target.fill(0),
            }
            done += step;
        }
        count
    }

    /// Writes at `offset`, growing as needed.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.set_length(self.length.max(offset + bytes.len()));
        let mut done = 0;
        while done < bytes.len() {
            let (index, within) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let step = (PAGE - within).min(bytes.len() - done);
            let piece = self.pieces[index].get_or_insert_with(|| Box::new([0; PAGE]));
            piece[within..within + step].copy_from_slice(&bytes[done..done + step]);
            done += step;
        }
    }

    /// Cuts, or extends with zeros.
    pub fn set_length(&mut self, length: usize) {
        self.pieces.resize_with(length.div_ceil(PAGE), || None);
        // What is cut off must read as zeros if the file grows again.
        if length < self.length
            && let Some(Some(last)) = self.pieces.get_mut(length / PAGE)
        {
            last[length % PAGE..].fill(0);
        }
        self.length = length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn bytes_across_pieces() {
        let bytes: Vec<u8> = (0..10_000).map(|index| (index % 251) as u8).collect();
        let pages = Pages::from_bytes(&bytes);
        let mut buf = vec![0; 20_000];
        assert_eq!(pages.read(0, &mut buf), 10_000);
        assert_eq!(buf[..10_000], bytes);
        assert_eq!(pages.read(4090, &mut buf[..20]), 20);
        assert_eq!(buf[..20], bytes[4090..4110]);
        assert_eq!(pages.read(10_000, &mut buf), 0);
        assert_eq!(pages.read(usize::MAX, &mut buf), 0);
    }

    #[test]
    fn the_footprint_is_known_before_a_write() {
        let mut pages = Pages::default();
        for (offset, length) in [(0, 1), (4095, 2), (4096, 4096), (40_000, 9000), (10, 0), (0, 60_000)] {
            let expected = pages.footprint_after(offset, length);
            pages.write(offset, &vec![1; length]);
            assert_eq!(pages.footprint(), expected, "{length} bytes at {offset}");
        }
        pages.set_length(0);
        assert_eq!(pages.footprint(), 0);
    }

    #[test]
    fn holes_and_cuts_read_as_zeros() {
        let mut pages = Pages::default();
        pages.write(9000, b"x");
        assert_eq!(pages.len(), 9001);
        let mut buf = [1; 10];
        assert_eq!(pages.read(8995, &mut buf), 6);
        assert_eq!(buf[..6], [0, 0, 0, 0, 0, b'x']);
        pages.set_length(8998);
        pages.set_length(9001);
        assert_eq!(pages.read(9000, &mut buf), 1);
        assert_eq!(buf[0], 0);
    }
}
