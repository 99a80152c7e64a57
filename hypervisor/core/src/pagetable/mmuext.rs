//! The operations of `mmuext_op`, each a function of its own.

use super::{MapOwner, OpError, Paging};
use crate::addr::{ENTRIES, Level, Mfn, VirtAddr};
use crate::flush::{Flush, FlushWhat, FlushWho, Tlb};
use crate::memory::Memory;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::mmuext_op::MmuextCommand;
use paravane_abi::mmu::MmuextOp;

impl<M: Memory + Tlb> Paging<'_, M> {
    /// Does one operation. `owner`: whose frames it is about; Xen lets only pins, unpins, clears and copies
    /// reach into another domain, and none of those here.
    pub(super) fn mmuext(&mut self, op: &MmuextOp, owner: MapOwner) -> Result<(), OpError> {
        if owner != MapOwner::Own {
            return Err(OpError::Refused(Errno::EPERM));
        }
        let Some(command) = MmuextCommand::from_number(op.cmd) else {
            return Err(OpError::Refused(Errno::ENOSYS));
        };
        let frame = Mfn::new(op.arg1);
        match command {
            MmuextCommand::PinL1Table => self.pin(frame, Level::L1),
            MmuextCommand::PinL2Table => self.pin(frame, Level::L2),
            MmuextCommand::PinL3Table => self.pin(frame, Level::L3),
            MmuextCommand::PinL4Table => self.pin(frame, Level::L4),
            MmuextCommand::UnpinTable => self.unpin(frame),
            MmuextCommand::NewBaseptr => self.set_base(frame),
            MmuextCommand::NewUserBaseptr => self.set_user_base((op.arg1 != 0).then_some(frame)),
            MmuextCommand::TlbFlushLocal => self.flush_tlb(FlushWhat::All, FlushWho::ThisCpu),
            MmuextCommand::TlbFlushAll => self.flush_tlb(FlushWhat::All, FlushWho::Domain),
            MmuextCommand::TlbFlushMulti => self.flush_vcpus(FlushWhat::All, op.arg2),
            MmuextCommand::InvlpgLocal => self.flush_tlb(page(op.arg1), FlushWho::ThisCpu),
            MmuextCommand::InvlpgAll => self.flush_tlb(page(op.arg1), FlushWho::Domain),
            MmuextCommand::InvlpgMulti => self.flush_vcpus(page(op.arg1), op.arg2),
            // For domains that have devices. Xen's two refusals differ.
            MmuextCommand::FlushCache => Err(OpError::Refused(Errno::EACCES)),
            MmuextCommand::FlushCacheGlobal => Err(OpError::Refused(Errno::EINVAL)),
            MmuextCommand::SetLdt => self.set_ldt(op.arg1, op.nr_ents()),
            MmuextCommand::ClearPage => self.clear_page(frame),
            MmuextCommand::CopyPage => self.copy_page(frame, Mfn::new(op.arg2)),
            MmuextCommand::MarkSuper | MmuextCommand::UnmarkSuper => Err(OpError::Refused(Errno::EOPNOTSUPP)),
        }
    }

    fn flush_tlb(&mut self, what: FlushWhat, who: FlushWho) -> Result<(), OpError> {
        Flush { what, who }.discharge(self.machine, self.domain.id);
        Ok(())
    }

    /// Flushes on the vcpus of a bitmap in guest memory. A bitmap that can't be read is EINVAL, as in Xen.
    fn flush_vcpus(&mut self, what: FlushWhat, bitmap: u64) -> Result<(), OpError> {
        let vcpus = self.read_vcpus(bitmap).map_err(|_| Errno::EINVAL)?;
        self.flush_tlb(what, FlushWho::Vcpus(vcpus))
    }

    /// Reads a bitmap of vcpus; bits beyond the domain's number of vcpus mean nothing.
    pub(super) fn read_vcpus(&self, bitmap: u64) -> Result<u64, Errno> {
        let memory = self.guest_memory().ok_or(Errno::EFAULT)?;
        let count = self.domain.max_vcpus.min(64);
        let existing = if count == 64 { u64::MAX } else { (1 << count) - 1 };
        Ok(memory.read_u64(bitmap)? & existing)
    }

    fn clear_page(&mut self, frame: Mfn) -> Result<(), OpError> {
        self.hold_writable(frame)?;
        self.budget.charge(ENTRIES as u32);
        if let Some(writer) = self.frames.writable(frame, self.domain.id) {
            self.machine.zero(&writer);
        }
        self.drop_writable(frame);
        Ok(())
    }

    fn copy_page(&mut self, to: Mfn, from: Mfn) -> Result<(), OpError> {
        if !self.frames.is_owned_by(from, self.domain.id) {
            return Err(OpError::Refused(Errno::EINVAL));
        }
        self.hold_writable(to)?;
        self.budget.charge(ENTRIES as u32);
        if let Some(writer) = self.frames.writable(to, self.domain.id) {
            self.machine.copy_frame(&writer, from);
        }
        self.drop_writable(to);
        Ok(())
    }
}

/// The page of an address to flush. A guest may name any; where it can have no page there is nothing to
/// flush (XSA-279: such an address must not reach `INVLPG`).
fn page(address: u64) -> FlushWhat {
    match VirtAddr::guest(address) {
        Some(va) => FlushWhat::Page(va.page()),
        None => FlushWhat::Nothing,
    }
}
