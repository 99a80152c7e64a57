//! What is remembered of guest frames: which shadow tables a frame has, which slots let the guest write it, and
//! whether its writes are to be seen. A bounded hash map; a frame of which there is nothing to say has no record.

use super::chain::{Chain, NONE};
use crate::addr::Pfn;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};
use hashbrown::HashMap;

/// What is known of a guest frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// The frame.
    pub pfn: Pfn,
    /// The first of its shadow tables, those of large pages that begin with it included.
    pub tables: u32,
    /// Shadow tables made of its contents: it is a page table.
    pub shadowed: u32,
    /// The slots that let the guest write it.
    pub writable: Chain,
    /// The caller wants to see its writes.
    pub marked: bool,
    /// A page table that the guest may write unseen until it next invalidates translations.
    pub loose: bool,
    /// Writes seen since a fault last led through it as a table.
    pub writes: u32,
}

impl Record {
    const fn new(pfn: Pfn) -> Self {
        Self {
            pfn,
            tables: NONE,
            shadowed: 0,
            writable: Chain::EMPTY,
            marked: false,
            loose: false,
            writes: 0,
        }
    }

    /// Whether the guest's writes must be seen.
    pub const fn traced(&self) -> bool {
        self.marked || (self.shadowed > 0 && !self.loose)
    }

    const fn says_nothing(&self) -> bool {
        self.tables == NONE && self.writable.length == 0 && !self.marked
    }
}

/// Hashes frame numbers under a secret.
///
/// The finaliser of splitmix64 maps 64 bits to 64 bits one to one, so two frames never have the same hash; which of them
/// share a bucket depends on the seed. A guest that guessed it anyway would wait for at most [`Frames::limit`] steps.
#[derive(Clone, Copy, Debug)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Seeded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, value: u64) {
        let mut mixed = self.0 ^ value;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
    }
}

/// The records, and where each frame's is.
#[derive(Debug)]
pub(super) struct Frames {
    numbers: HashMap<u64, u32, Seeded>,
    records: Vec<Record>,
    unused: Vec<u32>,
    limit: usize,
}

impl Frames {
    /// Bytes of heap for room for so many records. The map's buckets are a power of two, of which it fills seven eighths.
    pub const fn bytes(limit: usize) -> usize {
        let buckets = (2 * limit * 8 / 7).next_power_of_two();
        let bucket = size_of::<(u64, u32)>() + 1;
        buckets * bucket + limit * (size_of::<Record>() + size_of::<u32>())
    }

    /// Room for `limit` records, all of it taken now.
    pub fn new(limit: usize, seed: u64) -> Self {
        Self {
            // Twice as much: as long as half of it is free, the map makes room for itself in place.
            numbers: HashMap::with_capacity_and_hasher(2 * limit, Seeded(seed)),
            records: Vec::with_capacity(limit),
            unused: Vec::with_capacity(limit),
            limit,
        }
    }

    /// How many more records there can be.
    pub fn room(&self) -> usize {
        self.limit - self.numbers.len()
    }

    /// The number of a frame's record.
    pub fn find(&self, pfn: Pfn) -> Option<u32> {
        self.numbers.get(&pfn.get()).copied()
    }

    /// The number of a frame's record, which is made if there is none. None when there is no room.
    pub fn obtain(&mut self, pfn: Pfn) -> Option<u32> {
        if let Some(number) = self.find(pfn) {
            return Some(number);
        }
        if self.room() == 0 {
            return None;
        }
        let number = match self.unused.pop() {
            Some(number) => {
                self.records[number as usize] = Record::new(pfn);
                number
            }
            None => {
                self.records.push(Record::new(pfn));
                self.records.len() as u32 - 1
            }
        };
        self.numbers.insert(pfn.get(), number);
        Some(number)
    }

    /// A record.
    pub fn record(&self, number: u32) -> &Record {
        &self.records[number as usize]
    }

    /// A record.
    pub fn record_mut(&mut self, number: u32) -> &mut Record {
        &mut self.records[number as usize]
    }

    /// The record of a frame, if it has one.
    pub fn of(&self, pfn: Pfn) -> Option<&Record> {
        self.find(pfn).map(|number| self.record(number))
    }

    /// Frees a record if there is nothing left to say.
    pub fn tidy(&mut self, number: u32) {
        let record = &self.records[number as usize];
        if record.says_nothing() && self.numbers.remove(&record.pfn.get()).is_some() {
            self.unused.push(number);
        }
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.records.clear();
        self.unused.clear();
    }

    /// All records, with their numbers.
    #[cfg(test)]
    pub fn all(&self) -> impl Iterator<Item = (u32, &Record)> {
        self.numbers.values().map(|&number| (number, self.record(number)))
    }

    /// How much memory is taken, which must never change.
    #[cfg(test)]
    pub fn capacity(&self) -> [usize; 3] {
        [self.numbers.capacity(), self.records.capacity(), self.unused.capacity()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is set aside for a PC holds what its records take.
    #[test]
    fn the_heap_it_takes_is_told() {
        for limit in [1, 100, 1000, 16 << 10] {
            let frames = Frames::new(limit, 1);
            let records = frames.records.capacity() * size_of::<Record>();
            let taken =
                frames.numbers.allocation_size() + records + frames.unused.capacity() * size_of::<u32>();
            let told = Frames::bytes(limit);
            assert!(taken <= told + 64, "{limit} records: {taken} bytes, {told} told");
            assert!(told <= 2 * taken + 64, "{limit} records: {told} told, {taken} bytes");
        }
    }

    #[test]
    fn records_are_bounded_and_take_no_memory_later() {
        let mut frames = Frames::new(100, 5);
        let taken = frames.capacity();
        for round in 0..200u64 {
            let numbers: Vec<u32> =
                (0..100).map(|pfn| frames.obtain(Pfn::new(round << 20 | pfn)).unwrap()).collect();
            assert_eq!(frames.room(), 0);
            assert_eq!(frames.obtain(Pfn::new(u64::MAX)), None);
            assert_eq!(frames.obtain(Pfn::new(round << 20)), Some(numbers[0]));
            for (pfn, &number) in numbers.iter().enumerate() {
                assert_eq!(frames.record(number).pfn, Pfn::new(round << 20 | pfn as u64));
                // Out of order, so that the map's holes lie everywhere.
                frames.tidy(numbers[(pfn * 37) % 100]);
            }
            assert_eq!(frames.room(), 100);
        }
        // What the map calls its capacity shrinks with the holes in it, and is never more than at first.
        assert!(frames.capacity()[0] <= taken[0] && frames.capacity()[1..] == taken[1..], "{taken:?}");
    }

    #[test]
    fn a_record_stays_while_there_is_something_to_say() {
        let mut frames = Frames::new(10, 5);
        let number = frames.obtain(Pfn::new(3)).unwrap();
        let keeps: [fn(&mut Record); 3] =
            [|record| record.marked = true, |record| record.tables = 0, |record| record.writable.length = 1];
        for keep in keeps {
            *frames.record_mut(number) = Record::new(Pfn::new(3));
            keep(frames.record_mut(number));
            frames.tidy(number);
            assert_eq!(frames.find(Pfn::new(3)), Some(number));
        }
        *frames.record_mut(number) = Record::new(Pfn::new(3));
        frames.tidy(number);
        frames.tidy(number);
        assert_eq!((frames.find(Pfn::new(3)), frames.unused.len()), (None, 1));
    }

    #[test]
    fn a_frame_is_traced_as_a_table_in_step_or_as_wished() {
        let record = Record::new(Pfn::new(1));
        assert!(!record.traced());
        assert!(Record { marked: true, ..record }.traced());
        assert!(Record { shadowed: 1, ..record }.traced());
        assert!(!Record { shadowed: 1, loose: true, ..record }.traced());
        assert!(Record { shadowed: 1, loose: true, marked: true, ..record }.traced());
    }
}
