//! A PC's memory: the machine frames behind its physical addresses.

use alloc::vec::Vec;

use paravane_abi::errno::Errno;

use crate::addr::{DomainId, Mfn};
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::memory::Memory;

/// Frames held, or given up, in one bounded step.
const FRAMES_A_STEP: usize = 1024;

/// The frames, by guest frame number. Those that are held have a reference and a use as writable: the guest's own page
/// tables are ordinary memory to the hypervisor, which never runs on them.
#[derive(Debug)]
pub(crate) struct PcMemory {
    frames: Vec<Mfn>,
    held: usize,
}

impl PcMemory {
    pub(crate) const fn new(frames: Vec<Mfn>) -> Self {
        Self { frames, held: 0 }
    }

    /// The frame behind a guest frame number.
    pub(crate) fn frame(&self, gfn: u64) -> Option<Mfn> {
        self.frames.get(usize::try_from(gfn).ok()?).copied()
    }

    /// Guest frames.
    pub(crate) fn len(&self) -> u64 {
        self.frames.len() as u64
    }

    /// The frames that are held.
    pub(crate) fn held(&self) -> impl Iterator<Item = Mfn> + '_ {
        self.frames[..self.held].iter().copied()
    }

    /// Holds some more frames. Whether all are.
    pub(crate) fn hold<M: Memory + Tlb>(
        &mut self,
        frames: &mut FrameTable,
        machine: &M,
        domain: DomainId,
    ) -> Result<bool, Errno> {
        let end = self.frames.len().min(self.held + FRAMES_A_STEP);
        for &frame in &self.frames[self.held..end] {
            frames.get_ref(frame, domain).map_err(|_| Errno::EINVAL)?;
            if frames.get_writable(machine, frame).is_err() {
                frames.put_ref(machine, frame);
                return Err(Errno::EINVAL);
            }
            self.held += 1;
        }
        Ok(self.held == self.frames.len())
    }

    /// Gives up some of what is held. Whether nothing is any more.
    pub(crate) fn release<M: Memory + Tlb>(&mut self, frames: &mut FrameTable, machine: &M) -> bool {
        let start = self.held.saturating_sub(FRAMES_A_STEP);
        for &frame in &self.frames[start..self.held] {
            frames.put_writable(machine, frame);
            frames.put_ref(machine, frame);
        }
        self.held = start;
        start == 0
    }
}
