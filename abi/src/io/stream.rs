//! Streams of bytes in shared memory: the rings of the console's and of xenstore's page.
//!
//! Both pages have a buffer for each direction and a pair of indices for each buffer. Indices run freely; their low bits
//! are the place. The producer writes bytes, then its index, then raises the event channel; the consumer reads bytes, then
//! writes its index, then raises the event channel if the producer may be waiting for room.
//!
//! # Examples
//!
//! A guest prints on its console:
//!
//! ```
//! use core::sync::atomic::AtomicU32;
//! use paravane_abi::io::stream::{CONSOLE_OUTPUT, Consumer, Producer};
//!
//! let page = [const { AtomicU32::new(0) }; 1024];
//! let mut console = Producer::new(&page, CONSOLE_OUTPUT);
//! assert_eq!(console.write(b"hello\n"), Ok(6));
//!
//! // The other end:
//! let mut text = [0; 100];
//! assert_eq!(Consumer::new(&page, CONSOLE_OUTPUT).read(&mut text), Ok(6));
//! assert_eq!(&text[..6], b"hello\n");
//! ```

use super::ring::Broken;
use super::shared::SharedMemory;
use super::xenstore::{XENSTORE_RING_SIZE, XenstoreDomainInterface};
use crate::console::{IN_RING_SIZE, OUT_RING_SIZE, XenconsInterface, ring_slot, ring_used};
use core::mem::offset_of;

/// Where a stream lies in its page; offsets and sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    buffer: usize,
    size: usize,
    producer: usize,
    consumer: usize,
}

/// The console's input: the guest consumes.
pub const CONSOLE_INPUT: Place = Place {
    buffer: offset_of!(XenconsInterface, input),
    size: IN_RING_SIZE,
    producer: offset_of!(XenconsInterface, in_prod),
    consumer: offset_of!(XenconsInterface, in_cons),
};
/// The console's output: the guest produces.
pub const CONSOLE_OUTPUT: Place = Place {
    buffer: offset_of!(XenconsInterface, output),
    size: OUT_RING_SIZE,
    producer: offset_of!(XenconsInterface, out_prod),
    consumer: offset_of!(XenconsInterface, out_cons),
};
/// Requests to xenstore: the guest produces.
pub const XENSTORE_REQUESTS: Place = Place {
    buffer: offset_of!(XenstoreDomainInterface, req),
    size: XENSTORE_RING_SIZE,
    producer: offset_of!(XenstoreDomainInterface, req_prod),
    consumer: offset_of!(XenstoreDomainInterface, req_cons),
};
/// Replies and watch events from xenstore: the guest consumes.
pub const XENSTORE_REPLIES: Place = Place {
    buffer: offset_of!(XenstoreDomainInterface, rsp),
    size: XENSTORE_RING_SIZE,
    producer: offset_of!(XenstoreDomainInterface, rsp_prod),
    consumer: offset_of!(XenstoreDomainInterface, rsp_cons),
};

/// Both parts of a range of `count` bytes that starts at `index` and may go around the end of a ring of `size` bytes: the
/// place of the first, and how many bytes it has.
fn split(index: u32, count: usize, size: usize) -> (usize, usize) {
    let slot = ring_slot(index, size);
    (slot, count.min(size - slot))
}

/// The end that writes.
#[derive(Clone, Debug)]
pub struct Producer<M> {
    memory: M,
    place: Place,
    produced: u32,
}

impl<M: SharedMemory> Producer<M> {
    /// The writing end of a stream in a page, going on where the page's index stands.
    pub fn new(memory: M, place: Place) -> Self {
        let produced = memory.load(place.producer);
        Self { memory, place, produced }
    }

    /// Bytes there is room for.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the consumer's index makes no sense.
    pub fn free(&self) -> Result<usize, Broken> {
        let consumed = self.memory.load(self.place.consumer);
        let used = ring_used(self.produced, consumed, self.place.size).ok_or(Broken)?;
        Ok(self.place.size - used)
    }

    /// Writes as many bytes as there is room for and publishes them; gives how many. Raise the event channel if any.
    ///
    /// # Errors
    ///
    /// As [`free`](Self::free); nothing was written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let count = bytes.len().min(self.free()?);
        let (slot, first) = split(self.produced, count, self.place.size);
        // The consumer's reads of this room came before the index that freed it.
        self.memory.barrier();
        self.memory.write(self.place.buffer + slot, bytes.get(..first).unwrap_or_default());
        self.memory.write(self.place.buffer, bytes.get(first..count).unwrap_or_default());
        self.produced = self.produced.wrapping_add(count as u32);
        self.memory.store(self.place.producer, self.produced);
        Ok(count)
    }
}

/// The end that reads.
#[derive(Clone, Debug)]
pub struct Consumer<M> {
    memory: M,
    place: Place,
    consumed: u32,
}

impl<M: SharedMemory> Consumer<M> {
    /// The reading end of a stream in a page, going on where the page's index stands.
    pub fn new(memory: M, place: Place) -> Self {
        let consumed = memory.load(place.consumer);
        Self { memory, place, consumed }
    }

    /// Bytes that wait.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the producer's index makes no sense.
    pub fn waiting(&self) -> Result<usize, Broken> {
        ring_used(self.memory.load(self.place.producer), self.consumed, self.place.size).ok_or(Broken)
    }

    /// Reads as many bytes as there are, and there is room for, and frees their place; gives how many. Raise the event
    /// channel if any.
    ///
    /// # Errors
    ///
    /// As [`waiting`](Self::waiting); nothing was read.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Broken> {
        let count = bytes.len().min(self.waiting()?);
        let (slot, first) = split(self.consumed, count, self.place.size);
        let (head, tail) = bytes.split_at_mut(first);
        self.memory.read(self.place.buffer + slot, head);
        self.memory.read(self.place.buffer, tail.get_mut(..count - first).unwrap_or_default());
        self.consumed = self.consumed.wrapping_add(count as u32);
        // The bytes are out before their place is given back.
        self.memory.barrier();
        self.memory.store(self.place.consumer, self.consumed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;

    #[test]
    fn bytes_arrive_in_order_around_the_end() {
        for place in [CONSOLE_INPUT, CONSOLE_OUTPUT, XENSTORE_REQUESTS, XENSTORE_REPLIES] {
            let page = [const { AtomicU32::new(0) }; 1024];
            page.store(place.producer, u32::MAX - 300);
            page.store(place.consumer, u32::MAX - 300);
            let (mut producer, mut consumer) = (Producer::new(&page, place), Consumer::new(&page, place));
            let (mut sent, mut got) = (0u32, 0u32);
            for round in 0..400 {
                let bytes: Vec<u8> = (0..round % 97).map(|step| ((sent + step) * 7) as u8).collect();
                sent += producer.write(&bytes).expect("the consumer is sane") as u32;
                let mut room = vec![0; (round % 89) as usize];
                let count = consumer.read(&mut room).expect("the producer is sane");
                for byte in &room[..count] {
                    assert_eq!(*byte, (got * 7) as u8);
                    got += 1;
                }
            }
            assert!(got > 8000 && sent - got <= place.size as u32, "{sent} {got}");
        }
    }

    #[test]
    fn a_full_stream_takes_nothing() {
        let page = [const { AtomicU32::new(0) }; 1024];
        let mut producer = Producer::new(&page, CONSOLE_OUTPUT);
        assert_eq!(producer.write(&[b'x'; 3000]), Ok(OUT_RING_SIZE));
        assert_eq!((producer.write(b"y"), producer.free()), (Ok(0), Ok(0)));
        assert_eq!(Consumer::new(&page, CONSOLE_OUTPUT).read(&mut [0; 100]), Ok(100));
        assert_eq!(producer.write(&[b'z'; 3000]), Ok(100));
        let mut input = [0xaa; 1024];
        page.read(CONSOLE_INPUT.buffer, &mut input);
        assert_eq!(input, [0; 1024], "the other direction is untouched");
    }

    #[test]
    fn indices_that_make_no_sense_are_refused() {
        let page = [const { AtomicU32::new(0) }; 1024];
        let (mut producer, mut consumer) =
            (Producer::new(&page, XENSTORE_REQUESTS), Consumer::new(&page, XENSTORE_REQUESTS));
        page.store(XENSTORE_REQUESTS.consumer, 1);
        assert_eq!(producer.write(b"x"), Err(Broken));
        page.store(XENSTORE_REQUESTS.producer, 1025);
        assert_eq!(consumer.read(&mut [0; 4]), Err(Broken));
        assert_eq!(page.load(XENSTORE_REQUESTS.producer), 1025);
    }
}
