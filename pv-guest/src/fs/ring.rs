//! A bounded queue of bytes: a pipe's content.

use alloc::collections::VecDeque;

/// Bytes in order, at most `capacity` of them.
pub struct Ring {
    bytes: VecDeque<u8>,
    capacity: usize,
}

impl Ring {
    /// An empty queue. Its memory is taken now, so that no byte that comes later needs any.
    pub fn new(capacity: usize) -> Ring {
        Ring { bytes: VecDeque::with_capacity(capacity), capacity }
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that fit.
    pub fn space(&self) -> usize {
        self.capacity - self.bytes.len()
    }

    /// Puts in as much as fits; returns how much.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.space());
        self.bytes.extend(&bytes[..count]);
        count
    }

    /// Takes out up to the buffer's size; returns how much.
    pub fn pop(&mut self, buf: &mut [u8]) -> usize {
        let count = buf.len().min(self.bytes.len());
        for (target, byte) in buf.iter_mut().zip(self.bytes.drain(..count)) {
            *target = byte;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_bounds() {
        let mut ring = Ring::new(5);
        assert_eq!(ring.push(b"abc"), 3);
        assert_eq!(ring.push(b"defg"), 2);
        assert_eq!((ring.len(), ring.space()), (5, 0));
        let mut buf = [0; 4];
        assert_eq!(ring.pop(&mut buf), 4);
        assert_eq!(&buf, b"abcd");
        assert_eq!(ring.push(b"xyz"), 3);
        let mut buf = [0; 9];
        assert_eq!(ring.pop(&mut buf), 4);
        assert_eq!(&buf[..4], b"exyz");
        assert!(ring.is_empty() && ring.pop(&mut buf) == 0);
    }
}
