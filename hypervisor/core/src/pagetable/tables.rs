//! Holding page tables: pins and base pointers, and the table a vcpu has still to release.

use super::validate::Stop;
use super::{OpError, Paging, PagingPolicy};
use crate::addr::{Level, Mfn};
use crate::emulate::Mode;
use crate::flush::{Flush, FlushWhat, FlushWho, Tlb};
use crate::memory::Memory;
use paravane_abi::errno::Errno;

impl<M: Memory + Tlb> Paging<'_, M> {
    /// Takes a reference and a use of a table.
    pub(super) fn acquire_table(&mut self, frame: Mfn, level: Level) -> Result<(), OpError> {
        let (mut validator, budget) = self.validator();
        match validator.acquire_counted(frame, level, budget) {
            Ok(()) => Ok(()),
            Err(Stop::Refused(error)) => Err(OpError::Refused(error)),
            Err(Stop::Preempted) => Err(OpError::Again),
            Err(Stop::Failed(error)) => {
                self.release_remains(frame);
                Err(OpError::Refused(error))
            }
        }
    }

    /// Gives a reference and a use of a table back. What the budget does not suffice for is left pending.
    pub(super) fn release_table(&mut self, frame: Mfn, level: Level) {
        let (mut validator, budget) = self.validator();
        match validator.release(frame, level, budget) {
            Ok(()) => self.frames.put_ref(self.machine, frame),
            Err(_) => self.set_pending(frame),
        }
    }

    /// Releases what a table that failed validation still holds; the reference of it is ours.
    fn release_remains(&mut self, frame: Mfn) {
        let (mut validator, budget) = self.validator();
        match validator.release_partial(frame, budget) {
            Ok(()) => self.frames.put_ref(self.machine, frame),
            Err(_) => self.set_pending(frame),
        }
    }

    fn set_pending(&mut self, frame: Mfn) {
        debug_assert!(self.vcpu.pending.is_none(), "an operation left two tables to release");
        match self.vcpu.pending {
            None => self.vcpu.pending = Some(frame),
            // The partial state's own reference keeps the frame until the domain dies.
            Some(_) => self.frames.put_ref(self.machine, frame),
        }
    }

    /// Releases what an earlier call left pending.
    pub fn finish_pending(&mut self) -> Result<(), OpError> {
        let Some(frame) = self.vcpu.pending else { return Ok(()) };
        let (mut validator, budget) = self.validator();
        // Another vcpu may have resumed and finished the table meanwhile; then there is nothing to do.
        validator.release_partial(frame, budget).map_err(|_| OpError::Again)?;
        self.vcpu.pending = None;
        self.frames.put_ref(self.machine, frame);
        Ok(())
    }

    /// Validates a table and keeps it one until it is unpinned.
    pub fn pin(&mut self, frame: Mfn, level: Level) -> Result<(), OpError> {
        self.finish_pending()?;
        self.acquire_table(frame, level)?;
        if self.frames.pin(frame) {
            return Ok(());
        }
        self.release_table(frame, level);
        Err(OpError::Refused(Errno::EINVAL))
    }

    /// Undoes [`Self::pin`].
    pub fn unpin(&mut self, frame: Mfn) -> Result<(), OpError> {
        self.finish_pending()?;
        if !self.frames.is_owned_by(frame, self.domain.id) {
            return Err(OpError::Refused(Errno::EINVAL));
        }
        let level = self.frames.info(frame).and_then(|info| info.kind().level());
        match level {
            Some(level) if self.frames.unpin(frame) => {
                self.release_table(frame, level);
                Ok(())
            }
            _ => Err(OpError::Refused(Errno::EINVAL)),
        }
    }

    /// Makes `frame` the L4 of the vcpu's kernel.
    pub fn set_base(&mut self, frame: Mfn) -> Result<(), OpError> {
        self.finish_pending()?;
        if self.vcpu.base == Some(frame) {
            // The guest relies on a load of CR3 to flush.
            Flush { what: FlushWhat::All, who: FlushWho::ThisCpu }.discharge(self.machine, self.domain.id);
            return Ok(());
        }
        self.acquire_table(frame, Level::L4)?;
        // The same addresses may be other pages now.
        self.release_ldt_pages();
        let old = self.vcpu.base.replace(frame);
        self.base_changed(Mode::Kernel, old);
        Ok(())
    }

    /// Makes `frame` the L4 of the vcpu's programs; `None` for none. A domain whose kernel runs in ring 1
    /// has one L4 for both and is refused another.
    pub fn set_user_base(&mut self, frame: Option<Mfn>) -> Result<(), OpError> {
        self.finish_pending()?;
        if self.vcpu.user_base == frame {
            return Ok(());
        }
        if let Some(frame) = frame {
            if self.domain.policy == PagingPolicy::Ring1 {
                return Err(OpError::Refused(Errno::EOPNOTSUPP));
            }
            self.acquire_table(frame, Level::L4)?;
        }
        let old = core::mem::replace(&mut self.vcpu.user_base, frame);
        self.base_changed(Mode::User, old);
        Ok(())
    }

    /// Takes the kernel's base table away, then the programs', and lets go of the LDT: a vcpu that goes down. To be
    /// repeated until it returns `Ok`.
    pub fn drop_bases(&mut self) -> Result<(), OpError> {
        self.release_ldt_pages();
        self.finish_pending()?;
        for half in [Mode::Kernel, Mode::User] {
            if let Some(old) = self.base_of(half).take() {
                self.base_changed(half, Some(old));
                if self.vcpu.pending.is_some() {
                    return Err(OpError::Again);
                }
            }
        }
        Ok(())
    }

    const fn base_of(&mut self, half: Mode) -> &mut Option<Mfn> {
        match half {
            Mode::Kernel => &mut self.vcpu.base,
            Mode::User => &mut self.vcpu.user_base,
        }
    }

    /// Tells the machine first: until then a CPU may walk a root copied from the old table.
    fn base_changed(&mut self, half: Mode, old: Option<Mfn>) {
        if self.loaded {
            let new = *self.base_of(half);
            self.machine.base_changed(self.domain.id, half, new);
        }
        if let Some(old) = old {
            self.release_table(old, Level::L4);
        }
    }
}
