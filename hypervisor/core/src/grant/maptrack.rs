//! The mappings a domain has made of others' grants, by handle.
//!
//! A handle has one owner, the domain, and names one mapping until both its halves, for CPUs and for devices,
//! are gone (XSA-224, XSA-228). Freed handles are used again last.

use paravane_abi::grant::{GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY};

use super::store::{NoMemory, Store};
use crate::addr::DomainId;
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::memory::Memory;

/// The end of the list of free handles, and no handle.
const END: u32 = u32::MAX;
const WORDS: usize = 2;

/// One mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The entry, in the granting domain's table.
    pub reference: u32,
    /// The low half of the `GNTMAP_*` flags it was made with; those of halves that are gone are cleared.
    pub flags: u16,
    /// The granting domain.
    pub domain: DomainId,
    /// Which of the tables that ever had that domain's number.
    pub incarnation: u32,
}

impl Mapping {
    const MAPS: u16 = (GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) as u16;

    /// Mapped by CPUs.
    pub const fn host(&self) -> bool {
        self.flags & GNTMAP_HOST_MAP as u16 != 0
    }

    /// Mapped by devices.
    pub const fn device(&self) -> bool {
        self.flags & GNTMAP_DEVICE_MAP as u16 != 0
    }

    /// Without the right to write.
    pub const fn readonly(&self) -> bool {
        self.flags & GNTMAP_READONLY as u16 != 0
    }

    fn to_words(self) -> [u64; WORDS] {
        let Self { reference, flags, domain, incarnation } = self;
        [u64::from(reference) | u64::from(flags) << 32 | u64::from(domain.0) << 48, u64::from(incarnation)]
    }

    fn from_words([first, second]: [u64; WORDS]) -> Self {
        Self {
            reference: first as u32,
            flags: (first >> 32) as u16,
            domain: DomainId((first >> 48) as u16),
            incarnation: second as u32,
        }
    }

    const fn free(next: u32) -> Self {
        Self { reference: next, flags: 0, domain: DomainId(0), incarnation: 0 }
    }
}

/// All mappings of a domain.
#[derive(Debug)]
pub(super) struct Maptrack {
    store: Store<WORDS>,
    max_frames: u32,
    /// Handles from here on were never used.
    fresh: u32,
    /// Freed handles, oldest first, linked by `reference`.
    head: u32,
    tail: u32,
    /// Mappings there are.
    live: u32,
}

impl Maptrack {
    /// None, with room for as many as `max_frames` frames hold.
    pub const fn new(max_frames: u32) -> Self {
        Self { store: Store::new(), max_frames, fresh: 0, head: END, tail: END, live: 0 }
    }

    /// Mappings there are.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Makes sure that [`Self::insert`] finds a handle.
    pub fn reserve<M: Memory + Tlb>(&mut self, frames: &mut FrameTable, machine: &M) -> Result<(), NoMemory> {
        if self.fresh < self.store.len() || self.head != END {
            return Ok(());
        }
        if self.store.frames() >= self.max_frames {
            return Err(NoMemory);
        }
        self.store.grow(frames, machine)
    }

    /// Remembers a mapping. None without room, which [`Self::reserve`] makes.
    pub fn insert(&mut self, frames: &FrameTable, memory: &impl Memory, mapping: Mapping) -> Option<u32> {
        let handle = if self.fresh < self.store.len() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            let handle = self.head;
            let next = Mapping::from_words(self.store.get(memory, handle)?).reference;
            self.head = next;
            if next == END {
                self.tail = END;
            }
            handle
        };
        self.store.set(frames, memory, handle, mapping.to_words());
        self.live += 1;
        Some(handle)
    }

    /// The mapping of a handle, if it has one.
    pub fn get(&self, memory: &impl Memory, handle: u32) -> Option<Mapping> {
        let mapping = Mapping::from_words(self.store.get(memory, handle)?);
        (mapping.flags != 0).then_some(mapping)
    }

    /// Takes halves of a mapping away (`GNTMAP_host_map`, `GNTMAP_device_map`); with the last the handle is free.
    pub fn clear(&mut self, frames: &FrameTable, memory: &impl Memory, handle: u32, halves: u16) {
        let Some(mut mapping) = self.get(memory, handle) else { return };
        mapping.flags &= !(halves & Mapping::MAPS);
        if mapping.flags & Mapping::MAPS != 0 {
            self.store.set(frames, memory, handle, mapping.to_words());
            return;
        }
        self.store.set(frames, memory, handle, Mapping::free(END).to_words());
        self.live -= 1;
        match self.tail {
            END => self.head = handle,
            tail => self.store.set(frames, memory, tail, Mapping::free(handle).to_words()),
        }
        self.tail = handle;
    }

    /// Takes the highest handle there is away for good, and its frame when that is empty; what it mapped. The
    /// domain is dying and makes no mapping any more. None at the end.
    pub fn pop<M: Memory + Tlb>(&mut self, frames: &mut FrameTable, machine: &M) -> Option<Option<Mapping>> {
        (self.head, self.tail) = (END, END);
        let Some(handle) = self.fresh.checked_sub(1) else {
            while self.store.shrink(frames, machine) {}
            return None;
        };
        let mapping = self.get(machine, handle);
        self.live -= u32::from(mapping.is_some());
        self.fresh = handle;
        while self.store.len() >= self.fresh + Store::<WORDS>::PER_FRAME {
            if !self.store.shrink(frames, machine) {
                break;
            }
        }
        Some(mapping)
    }

    /// Every mapping with its handle.
    pub fn iter<M: Memory>(&self, memory: &M) -> impl Iterator<Item = (u32, Mapping)> {
        (0..self.fresh).filter_map(move |handle| Some((handle, self.get(memory, handle)?)))
    }

    /// What is wrong with the list of free handles.
    pub fn check(&self, memory: &impl Memory) -> Result<(), &'static str> {
        let used = self.iter(memory).count() as u32;
        if used != self.live {
            return Err("the number of mappings is not what there are");
        }
        let mut free = 0;
        let (mut at, mut last) = (self.head, END);
        while at != END {
            let Some(words) = self.store.get(memory, at) else { return Err("a free handle is none") };
            let record = Mapping::from_words(words);
            if record.flags != 0 || at >= self.fresh || free > self.fresh {
                return Err("a free handle is in use, or listed twice");
            }
            (last, at) = (at, record.reference);
            free += 1;
        }
        if last != self.tail || free + used != self.fresh {
            return Err("a handle is neither in use nor free");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_machine::FakeMachine;
    use std::vec::Vec;

    const HOST: u16 = GNTMAP_HOST_MAP as u16;
    const DEVICE: u16 = GNTMAP_DEVICE_MAP as u16;

    fn mapping(reference: u32, flags: u16) -> Mapping {
        Mapping { reference, flags, domain: DomainId(5), incarnation: 77 }
    }

    #[test]
    fn handles_have_one_owner_and_come_back_oldest_first() {
        let (machine, mut frames) = FakeMachine::with_frames(8, 1, 2);
        let mut track = Maptrack::new(1);
        for n in 0..256 {
            track.reserve(&mut frames, &machine).unwrap();
            assert_eq!(track.insert(&frames, &machine, mapping(n, HOST)), Some(n));
        }
        assert_eq!(track.reserve(&mut frames, &machine), Err(NoMemory));
        assert_eq!(track.insert(&frames, &machine, mapping(1, HOST)), None);
        for handle in [9, 3, 200] {
            track.clear(&frames, &machine, handle, HOST);
            assert_eq!(track.get(&machine, handle), None);
            track.clear(&frames, &machine, handle, HOST);
        }
        assert_eq!((track.live(), track.check(&machine)), (253, Ok(())));
        for handle in [9, 3, 200] {
            track.reserve(&mut frames, &machine).unwrap();
            assert_eq!(track.insert(&frames, &machine, mapping(1, HOST)), Some(handle));
        }
        assert_eq!(track.check(&machine), Ok(()));
        assert_eq!(track.reserve(&mut frames, &machine), Err(NoMemory));
    }

    #[test]
    fn a_handle_lasts_as_long_as_a_half_of_its_mapping() {
        let (machine, mut frames) = FakeMachine::with_frames(8, 1, 2);
        let mut track = Maptrack::new(1);
        track.reserve(&mut frames, &machine).unwrap();
        let handle = track.insert(&frames, &machine, mapping(4, HOST | DEVICE | 4)).unwrap();
        track.clear(&frames, &machine, handle, HOST);
        let left = track.get(&machine, handle).unwrap();
        assert!(!left.host() && left.device() && left.readonly());
        assert_eq!((left.reference, left.domain, left.incarnation), (4, DomainId(5), 77));
        track.clear(&frames, &machine, handle, DEVICE);
        assert_eq!((track.get(&machine, handle), track.live()), (None, 0));
    }

    #[test]
    fn a_dying_domain_gives_up_all_from_the_top() {
        let (machine, mut frames) = FakeMachine::with_frames(8, 1, 2);
        let before = frames.free_frames();
        let mut track = Maptrack::new(4);
        for n in 0..600 {
            track.reserve(&mut frames, &machine).unwrap();
            track.insert(&frames, &machine, mapping(n, HOST)).unwrap();
        }
        track.clear(&frames, &machine, 599, HOST);
        track.clear(&frames, &machine, 5, HOST);
        let mut seen = Vec::new();
        while let Some(popped) = track.pop(&mut frames, &machine) {
            seen.extend(popped.map(|mapping| mapping.reference));
        }
        let expected: Vec<u32> = (0..599).rev().filter(|n| *n != 5).collect();
        assert_eq!(seen, expected);
        assert_eq!((frames.free_frames(), track.live()), (before, 0));
    }
}
