//! Copying between frames that are lent, or one's own.
//!
//! A copy takes its entries into use for as long as it lasts. Both sides are found and held before a byte moves.

use arrayvec::ArrayVec;
use paravane_abi::grant::*;

use crate::addr::{DomainId, Mfn, PAGE_SIZE};
use crate::grant::entry::Use;
use crate::grant::{Active, GrantError, Pins};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

/// One side of a copy, held by a reference.
struct Side {
    frame: Mfn,
    owner: DomainId,
    start: u16,
    length: u16,
    /// The entries in use for it, by where their domain stands: one, or with a transitive one two.
    entries: ArrayVec<(usize, u32), 2>,
}

impl Side {
    /// Whether so many bytes from an offset lie in what is lent.
    fn holds(&self, offset: u16, length: u16) -> bool {
        let end = u32::from(offset) + u32::from(length);
        offset >= self.start && end <= u32::from(self.start) + u32::from(self.length)
    }
}

/// A side as asked for: the domain, and a reference or a frame.
#[derive(Clone, Copy)]
enum Wanted {
    Entry(usize, u32),
    Frame(Mfn),
}

impl<M: Machine> Hypervisor<M> {
    /// One `GNTTABOP_copy`.
    pub(super) fn copy_grant(&mut self, request: &GnttabCopy, budget: &mut Budget) -> Result<(), GrantError> {
        let source = self.copy_side(&request.source, request.flags & GNTCOPY_SOURCE_GREF != 0)?;
        let dest = self.copy_side(&request.dest, request.flags & GNTCOPY_DEST_GREF != 0)?;
        let source = self.hold_side(source, true)?;
        let dest = match self.hold_dest(dest) {
            Ok(dest) => dest,
            Err(error) => {
                self.let_go(source, true);
                return Err(error);
            }
        };
        let end = self.copy_held(request, &source, &dest, budget);
        self.frames.put_writable(&self.machine, dest.frame);
        self.let_go(source, true);
        self.let_go(dest, false);
        end
    }

    /// Whose side it is. Only oneself is named together with a frame.
    fn copy_side(&self, side: &GnttabCopyPtr, is_reference: bool) -> Result<Wanted, GrantError> {
        let index = self.any_domain(side.domid).ok_or(GrantError::BadDomain)?;
        if !is_reference {
            if side.domid != paravane_abi::mmu::DOMID_SELF {
                return Err(GrantError::PermissionDenied);
            }
            return Ok(Wanted::Frame(Mfn::new(side.u)));
        }
        if self.domains[index].grants.dying() {
            return Err(GrantError::BadDomain);
        }
        Ok(Wanted::Entry(index, side.reference()))
    }

    fn hold_side(&mut self, wanted: Wanted, readonly: bool) -> Result<Side, GrantError> {
        let caller = self.domain().id;
        match wanted {
            Wanted::Entry(index, reference) => self.lease(index, reference, caller, readonly, true),
            Wanted::Frame(frame) => {
                self.frames.get_ref(frame, caller).map_err(|_| GrantError::BadPage)?;
                let entries = ArrayVec::new();
                Ok(Side { frame, owner: caller, start: 0, length: PAGE_SIZE as u16, entries })
            }
        }
    }

    /// Holds a side that is written, with a use as writable.
    fn hold_dest(&mut self, wanted: Wanted) -> Result<Side, GrantError> {
        let dest = self.hold_side(wanted, false)?;
        if self.frames.get_writable(&self.machine, dest.frame).is_err() {
            self.let_go(dest, false);
            return Err(GrantError::General);
        }
        Ok(dest)
    }

    fn copy_held(
        &self,
        request: &GnttabCopy,
        source: &Side,
        dest: &Side,
        budget: &mut Budget,
    ) -> Result<(), GrantError> {
        let (from, to, length) = (request.source.offset, request.dest.offset, request.len);
        let past_end = |offset: u16| usize::from(offset) + usize::from(length) > PAGE_SIZE;
        if past_end(from) || past_end(to) {
            return Err(GrantError::BadCopyArg);
        }
        if !source.holds(from, length) || !dest.holds(to, length) {
            return Err(GrantError::General);
        }
        budget.charge(u32::from(length / 8));
        let writer = self.frames.writable(dest.frame, dest.owner).ok_or(GrantError::General)?;
        self.machine.copy_bytes(&writer, to.into(), source.frame, from.into(), length.into());
        Ok(())
    }

    /// Gives back what a side holds, but for the use as writable.
    fn let_go(&mut self, side: Side, readonly: bool) {
        for (index, reference) in side.entries {
            let lender = &mut self.domains[index].grants;
            lender.unpin(&self.frames, &self.machine, reference, Pins::host(readonly), readonly);
        }
        self.frames.put_ref(&self.machine, side.frame);
    }

    /// Takes an entry into use for a copy by `grantee`, and a reference of its frame.
    fn lease(
        &mut self,
        index: usize,
        reference: u32,
        grantee: DomainId,
        readonly: bool,
        transitive: bool,
    ) -> Result<Side, GrantError> {
        let pins = Pins::host(readonly);
        let Self { frames, machine, domains, .. } = self;
        let lender = &domains[index].grants;
        let active = lender.usable(machine, reference, grantee, pins)?;
        let fresh = !active.pins.any();
        let more = fresh || (!readonly && !active.pins.writers());
        let passes_on = lender.passes_on(frames, machine, reference).is_some();
        if more {
            let wanted = Use { grantee: grantee.0, readonly, mapping: false, pinned: !fresh };
            lender.claim(frames, machine, reference, wanted)?;
        }
        let leased = match (passes_on, more) {
            (true, _) if !transitive => Err(GrantError::General),
            (true, _) => self.lease_passed_on(index, reference, grantee, readonly, &active),
            (false, true) => self.lease_lent(index, reference, grantee, &active),
            // In use already, for as much.
            (false, false) => match frames.get_ref(active.frame, lender.domain()) {
                Ok(()) => Ok((active, side_of(&active, lender.domain()))),
                Err(_) => Err(GrantError::BadDomain),
            },
        };
        let lender = &mut self.domains[index].grants;
        match leased {
            Ok((record, mut side)) => {
                lender.add_pin(&self.frames, &self.machine, reference, record, pins);
                side.entries.push((index, reference));
                Ok(side)
            }
            Err(error) => {
                lender.reduce(&self.frames, &self.machine, reference, active.pins, readonly);
                Err(error)
            }
        }
    }

    /// An entry that lends a frame or a part of one: what is now on record of it, and the frame, held.
    fn lease_lent(
        &mut self,
        index: usize,
        reference: u32,
        grantee: DomainId,
        active: &Active,
    ) -> Result<(Active, Side), GrantError> {
        let Self { frames, machine, domains, .. } = self;
        let lender = &domains[index].grants;
        let lent = lender.whole_or_part(frames, machine, reference, grantee)?;
        let mut record = lent;
        if active.pins.any() {
            // What is in use already says what is lent; the entry must not say something else by now.
            let same = (lent.frame, lent.origin) == (active.frame, active.origin)
                && (!active.sub_page || lent.lends_as(active));
            if !same {
                return Err(GrantError::General);
            }
            record = *active;
        }
        frames.get_ref(record.frame, lender.domain()).map_err(|_| GrantError::BadPage)?;
        Ok((record, side_of(&record, lender.domain())))
    }

    /// An entry that passes on what a third domain lends.
    fn lease_passed_on(
        &mut self,
        index: usize,
        reference: u32,
        grantee: DomainId,
        readonly: bool,
        active: &Active,
    ) -> Result<(Active, Side), GrantError> {
        let lender = &self.domains[index].grants;
        let origin = lender.passes_on(&self.frames, &self.machine, reference).ok_or(GrantError::General)?;
        let passer = lender.domain();
        if origin.0 == passer {
            return Err(GrantError::General);
        }
        let third = self.granter(origin.0.0).map_err(|_| GrantError::General)?;
        // One step only: what the third domain passes on itself is refused.
        let side = self.lease(third, origin.1, passer, readonly, false)?;
        let (frame, start, length) = (side.frame, side.start, side.length);
        // As a part of a frame it can't be mapped, whatever it is.
        let mut record = Active {
            frame,
            start,
            length,
            sub_page: true,
            ..Active::whole(passer, reference, grantee, frame)
        };
        record.origin = origin;
        record.pins = active.pins;
        if active.pins.any() && !record.lends_as(active) {
            self.let_go(side, readonly);
            return Err(GrantError::TryAgain);
        }
        Ok((record, side))
    }
}

fn side_of(active: &Active, owner: DomainId) -> Side {
    let Active { frame, start, length, .. } = *active;
    Side { frame, owner, start, length, entries: ArrayVec::new() }
}
