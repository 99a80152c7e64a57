//! Arrays of small records in frames of the hypervisor's own, so that what a guest can make it remember comes
//! from the frames that can be counted and given back, not from its heap.

use alloc::vec::Vec;

use crate::addr::{ENTRIES, Mfn};
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::memory::Memory;

/// No frame, or no room on the heap for the list of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Records of `WORDS` words each.
#[derive(Debug, Default)]
pub(super) struct Store<const WORDS: usize> {
    frames: Vec<Mfn>,
}

impl<const WORDS: usize> Store<WORDS> {
    /// Records in a frame.
    pub const PER_FRAME: u32 = (ENTRIES / WORDS) as u32;

    pub const fn new() -> Self {
        Self { frames: Vec::new() }
    }

    /// Number of records.
    pub fn len(&self) -> u32 {
        self.frames.len() as u32 * Self::PER_FRAME
    }

    /// Number of frames.
    pub fn frames(&self) -> u32 {
        self.frames.len() as u32
    }

    /// Adds a frame of records, all zero.
    pub fn grow<M: Memory + Tlb>(&mut self, frames: &mut FrameTable, machine: &M) -> Result<(), NoMemory> {
        self.frames.try_reserve(1).map_err(|_| NoMemory)?;
        self.frames.push(frames.alloc_hypervisor(machine).ok_or(NoMemory)?);
        Ok(())
    }

    /// Gives the last frame back. False when there is none.
    pub fn shrink<M: Memory + Tlb>(&mut self, frames: &mut FrameTable, machine: &M) -> bool {
        match self.frames.pop() {
            Some(frame) => frames.free_hypervisor(machine, frame),
            None => false,
        }
    }

    fn place(&self, index: u32) -> Option<(Mfn, usize)> {
        let frame = *self.frames.get((index / Self::PER_FRAME) as usize)?;
        Some((frame, (index % Self::PER_FRAME) as usize * WORDS))
    }

    /// A record; None past the end.
    pub fn get(&self, memory: &impl Memory, index: u32) -> Option<[u64; WORDS]> {
        let (frame, first) = self.place(index)?;
        let mut words = [0; WORDS];
        for (at, word) in words.iter_mut().enumerate() {
            *word = memory.read_word(frame, first + at);
        }
        Some(words)
    }

    /// Writes a record; nothing past the end.
    pub fn set(&self, frames: &FrameTable, memory: &impl Memory, index: u32, words: [u64; WORDS]) {
        let Some((frame, first)) = self.place(index) else { return };
        let Some(writer) = frames.hypervisor_writer(frame) else { return };
        for (at, word) in words.into_iter().enumerate() {
            memory.write_word(&writer, first + at, word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_machine::FakeMachine;

    #[test]
    fn records_stand_side_by_side_and_frames_come_back() {
        let (machine, mut frames) = FakeMachine::with_frames(8, 1, 2);
        let mut store = Store::<4>::new();
        assert_eq!((store.len(), store.get(&machine, 0)), (0, None));
        for _ in 0..2 {
            store.grow(&mut frames, &machine).unwrap();
        }
        assert_eq!((store.len(), store.frames()), (256, 2));
        for index in 0..256 {
            store.set(&frames, &machine, index, [u64::from(index), 1, 2, 3]);
        }
        store.set(&frames, &machine, 256, [9; 4]);
        for index in 0..256 {
            assert_eq!(store.get(&machine, index), Some([u64::from(index), 1, 2, 3]));
        }
        assert_eq!(store.get(&machine, 256), None);
        assert!(store.shrink(&mut frames, &machine) && store.shrink(&mut frames, &machine));
        assert!(!store.shrink(&mut frames, &machine));
        assert_eq!(frames.free_frames(), 6);
    }

    #[test]
    fn growing_ends_with_the_memory() {
        let (machine, mut frames) = FakeMachine::with_frames(5, 1, 2);
        let mut store = Store::<2>::new();
        let grown = (0..10).take_while(|_| store.grow(&mut frames, &machine).is_ok()).count();
        assert_eq!((grown, store.frames(), frames.free_frames()), (3, 3, 0));
    }
}
