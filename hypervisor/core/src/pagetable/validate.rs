//! Making a frame a page table and undoing it, in steps that can be interrupted.
//!
//! Depth is bounded by the four levels: a table names tables one level down only, never its own, so there
//! are no linear page tables (XSA-182, XSA-240, XSA-243, XSA-309). Length is bounded by a [`Budget`]: when
//! it is spent, every table on the path is left in a [`Partial`] state.
//!
//! A partial state means "entries below `index` hold their references". Going up or down from it is the
//! same thing whichever way it was reached, so an abandoned validation needs nobody to clean up: the next
//! caller that wants the type goes on, and whoever tears the domain down releases it.

use super::entry::Pte;
use super::{Budget, DomainMemory, MapOwner};
use crate::addr::{ENTRIES, Level, Mfn, is_reserved_slot};
use crate::flush::Tlb;
use crate::frame::{Begun, Direction, FrameTable, FrameType, Partial, RefError, Released, TypeError};
use crate::memory::Memory;
use paravane_abi::errno::Errno;

/// Why a frame did not become a page table of the level asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It can't. The frame has no use it did not have before.
    Refused(Errno),
    /// It can't, and some of its entries still hold references: the frame is partial, on its way down,
    /// and somebody has to release it.
    Failed(Errno),
    /// The budget is spent. The frame is partial, on its way up.
    Preempted,
}

/// The budget is spent; the frame is partial, on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preempted;

/// The frame table and the machine, for work on one domain's tables.
pub(crate) struct Validator<'a, M> {
    pub frames: &'a mut FrameTable,
    pub machine: &'a M,
    pub domain: &'a DomainMemory,
}

impl<M: Memory + Tlb> Validator<'_, M> {
    /// Takes a use of `frame` as a page table of `level`. The caller holds a reference, which it keeps
    /// whatever the outcome.
    pub fn acquire(&mut self, frame: Mfn, level: Level, budget: &mut Budget) -> Result<(), Stop> {
        let kind = FrameType::table(level);
        match self.frames.begin_type(self.machine, frame, kind) {
            Ok(Begun::Held) => Ok(()),
            Ok(Begun::Validate) => self.promote(
                frame,
                level,
                Partial { index: 0, child: false, direction: Direction::Up },
                false,
                budget,
            ),
            Ok(Begun::Resume(state)) => self.promote(frame, level, state, true, budget),
            Err(TypeError::InUse | TypeError::Overflow | TypeError::NoFrame) => {
                Err(Stop::Refused(Errno::EINVAL))
            }
        }
    }

    /// Checks entries from `state` on. `own_ref`: the state was parked, and its reference is in hand.
    fn promote(
        &mut self,
        frame: Mfn,
        level: Level,
        state: Partial,
        own_ref: bool,
        budget: &mut Budget,
    ) -> Result<(), Stop> {
        let end = match level.below() {
            None => self.promote_l1(frame, budget).map_err(|error| (Stop::Refused(error), 0, false)),
            Some(below) => self.promote_upper(frame, level, below, state, budget),
        };
        match end {
            Ok(()) => {
                self.frames.finish_validation(frame);
                if own_ref {
                    self.frames.put_ref(self.machine, frame);
                }
                Ok(())
            }
            Err((Stop::Refused(error), 0, false)) => {
                self.frames.abandon_validation(frame);
                if own_ref {
                    self.frames.put_ref(self.machine, frame);
                }
                Err(Stop::Refused(error))
            }
            Err((stop, index, child)) => {
                let (direction, stop) = match stop {
                    Stop::Preempted => (Direction::Up, Stop::Preempted),
                    Stop::Refused(error) | Stop::Failed(error) => (Direction::Down, Stop::Failed(error)),
                };
                self.frames.park(frame, Partial { index: index as u16, child, direction }, own_ref);
                Err(stop)
            }
        }
    }

    /// Checks the entries of an L2, L3 or L4. The error is why it stopped, at which entry, and whether
    /// that entry holds a reference of the table it names.
    fn promote_upper(
        &mut self,
        frame: Mfn,
        level: Level,
        below: Level,
        state: Partial,
        budget: &mut Budget,
    ) -> Result<(), (Stop, usize, bool)> {
        let mut child_held = state.child;
        let first = usize::from(state.index);
        for index in first..ENTRIES {
            if index > first && budget.spent() {
                return Err((Stop::Preempted, index, false));
            }
            budget.charge(1);
            let wish = Pte(self.machine.read_word(frame, index));
            if level == Level::L4 && is_reserved_slot(index) {
                // The guest's own L4 is never walked by a CPU; what stands here is of no effect, and goes.
                self.store(frame, level, index, wish, Pte(0));
                continue;
            }
            if !wish.present() {
                continue;
            }
            let entry = match self.domain.policy.admit(wish, level) {
                Ok(entry) => entry,
                Err(error) => return Err((Stop::Refused(error), index, child_held)),
            };
            match self.acquire_child(entry.frame(), below, child_held, budget) {
                Ok(()) => child_held = false,
                Err((stop, held)) => return Err((stop, index, held)),
            }
            self.store(frame, level, index, wish, entry);
        }
        Ok(())
    }

    /// Takes a reference and a use of a table one level down. `held`: the reference is there already. The
    /// error tells whether it stays.
    fn acquire_child(
        &mut self,
        child: Mfn,
        below: Level,
        held: bool,
        budget: &mut Budget,
    ) -> Result<(), (Stop, bool)> {
        if !held && self.frames.get_ref(child, self.domain.id).is_err() {
            return Err((Stop::Refused(Errno::EINVAL), false));
        }
        match self.acquire(child, below, budget) {
            Ok(()) => Ok(()),
            Err(Stop::Refused(error)) if !held => {
                self.frames.put_ref(self.machine, child);
                Err((Stop::Refused(error), false))
            }
            Err(stop) => Err((stop, true)),
        }
    }

    /// Checks the entries of an L1, all or none.
    fn promote_l1(&mut self, frame: Mfn, budget: &mut Budget) -> Result<(), Errno> {
        budget.charge(ENTRIES as u32);
        for index in 0..ENTRIES {
            let wish = Pte(self.machine.read_word(frame, index));
            if !wish.present() {
                continue;
            }
            let admitted = self
                .domain
                .policy
                .admit(wish, Level::L1)
                .and_then(|entry| self.get_page(entry, MapOwner::Own).map(|()| entry));
            match admitted {
                Ok(entry) => self.store(frame, Level::L1, index, wish, entry),
                Err(error) => {
                    self.put_pages(frame, index);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes an entry of a table being checked, when it differs from what the guest left there. Nobody
    /// else writes it: no CPU walks the table yet, and no writable mapping of it is left.
    #[inline]
    fn store(&mut self, frame: Mfn, level: Level, index: usize, old: Pte, new: Pte) {
        if new != old
            && let Some(writer) = self.frames.table_writer(frame, level)
        {
            self.machine.write_word(&writer, index, new.0);
        }
    }

    /// Takes what a present L1 entry holds: a reference of the page, and a use as writable when it allows
    /// writing. Errors as Xen's: EPERM for what is no RAM, EBUSY for what is somebody else's or in use.
    #[inline]
    pub fn get_page(&mut self, entry: Pte, owner: MapOwner) -> Result<(), Errno> {
        let frame = entry.frame();
        match self.frames.get_ref(frame, self.domain.id) {
            Ok(()) => {}
            Err(RefError::NotRam) => {
                // Xen tells the frame number all guests use for "none" from a try at device memory.
                let none = frame.get() == Pte::NO_FRAME;
                return Err(if none { Errno::EINVAL } else { Errno::EPERM });
            }
            Err(RefError::NotOwner | RefError::Overflow) => return Err(Errno::EBUSY),
        }
        if owner == MapOwner::Io
            || (entry.writable() && self.frames.get_writable(self.machine, frame).is_err())
        {
            self.frames.put_ref(self.machine, frame);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// Gives back what an L1 entry that was in a valid table holds.
    #[inline]
    pub fn put_page(&mut self, entry: Pte) {
        if entry.present() {
            if entry.writable() {
                self.frames.put_writable(self.machine, entry.frame());
            }
            self.frames.put_ref(self.machine, entry.frame());
        }
    }

    /// Gives back what the first `count` entries of an L1 hold.
    fn put_pages(&mut self, frame: Mfn, count: usize) {
        for index in 0..count {
            self.put_page(Pte(self.machine.read_word(frame, index)));
        }
    }

    /// Takes a reference and a use as a page table, as an entry one level up, a pin or a base pointer
    /// holds it. After an error nothing is held, but a table that failed half-way is left for the caller
    /// to release; its reference is the caller's then (`Stop::Failed`).
    pub fn acquire_counted(&mut self, frame: Mfn, level: Level, budget: &mut Budget) -> Result<(), Stop> {
        if self.frames.get_ref(frame, self.domain.id).is_err() {
            return Err(Stop::Refused(Errno::EINVAL));
        }
        let end = self.acquire(frame, level, budget);
        if matches!(end, Err(Stop::Refused(_) | Stop::Preempted)) {
            // Preempted: the partial state's own reference keeps the frame.
            self.frames.put_ref(self.machine, frame);
        }
        end
    }

    /// Gives back a use as a page table, not the reference. When that was the last and the budget does
    /// not suffice, the use is the partial state's now.
    pub fn release(&mut self, frame: Mfn, level: Level, budget: &mut Budget) -> Result<(), Preempted> {
        match self.frames.begin_release(frame) {
            Released::Done => Ok(()),
            Released::Invalidate => {
                let state = Partial { index: ENTRIES as u16, child: false, direction: Direction::Down };
                self.demote(frame, level, state, false, budget)
            }
        }
    }

    /// Releases the entries of a partial table. Does nothing for one that is not partial (any more).
    pub fn release_partial(&mut self, frame: Mfn, budget: &mut Budget) -> Result<(), Preempted> {
        let Some(level) = self.frames.info(frame).and_then(|info| info.kind().level()) else { return Ok(()) };
        let Some(state) = self.frames.unpark(frame) else { return Ok(()) };
        self.demote(frame, level, state, true, budget)
    }

    /// Releases what the entries below `state.index` hold, from the top down, and ends the type.
    fn demote(
        &mut self,
        frame: Mfn,
        level: Level,
        state: Partial,
        own_ref: bool,
        budget: &mut Budget,
    ) -> Result<(), Preempted> {
        let stopped = match level.below() {
            None => {
                budget.charge(ENTRIES as u32);
                self.put_pages(frame, usize::from(state.index));
                None
            }
            Some(below) => self.demote_upper(frame, level, below, state, budget),
        };
        match stopped {
            None => {
                self.frames.end_type(self.machine, frame);
                if own_ref {
                    self.frames.put_ref(self.machine, frame);
                }
                Ok(())
            }
            Some((index, child)) => {
                let state = Partial { index: index as u16, child, direction: Direction::Down };
                self.frames.park(frame, state, own_ref);
                Err(Preempted)
            }
        }
    }

    /// Releases entries of an L2, L3 or L4. Returns where it stopped, if it did.
    fn demote_upper(
        &mut self,
        frame: Mfn,
        level: Level,
        below: Level,
        state: Partial,
        budget: &mut Budget,
    ) -> Option<(usize, bool)> {
        let mut index = usize::from(state.index);
        if state.child {
            let child = Pte(self.machine.read_word(frame, index)).frame();
            if self.release_partial(child, budget).is_err() {
                return Some((index, true));
            }
            self.frames.put_ref(self.machine, child);
        }
        while index > 0 {
            if budget.spent() && (index < usize::from(state.index) || state.child) {
                return Some((index, false));
            }
            index -= 1;
            budget.charge(1);
            let entry = Pte(self.machine.read_word(frame, index));
            if !entry.present() || (level == Level::L4 && is_reserved_slot(index)) {
                continue;
            }
            if self.release(entry.frame(), below, budget).is_err() {
                return Some((index, true));
            }
            self.frames.put_ref(self.machine, entry.frame());
        }
        None
    }

    /// Takes a reference and a use of `frame` as a page of segment descriptors. `check` returns the
    /// descriptor the CPU gets for the guest's wish, or none.
    pub fn acquire_segdesc(
        &mut self,
        frame: Mfn,
        check: &mut dyn FnMut(u64) -> Option<u64>,
    ) -> Result<(), Errno> {
        self.frames.get_ref(frame, self.domain.id).map_err(|_| Errno::EINVAL)?;
        let valid = match self.frames.begin_type(self.machine, frame, FrameType::SegDesc) {
            Ok(Begun::Held) => return Ok(()),
            Ok(Begun::Validate | Begun::Resume(_)) => (0..ENTRIES).all(|index| {
                let wish = self.machine.read_word(frame, index);
                let Some(descriptor) = check(wish) else { return false };
                if descriptor != wish
                    && let Some(writer) = self.frames.segdesc_writer(frame)
                {
                    self.machine.write_word(&writer, index, descriptor);
                }
                true
            }),
            Err(_) => {
                self.frames.put_ref(self.machine, frame);
                return Err(Errno::EINVAL);
            }
        };
        if valid {
            self.frames.finish_validation(frame);
            return Ok(());
        }
        self.frames.abandon_validation(frame);
        self.frames.put_ref(self.machine, frame);
        Err(Errno::EINVAL)
    }
}
