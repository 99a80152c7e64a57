//! Pages of segment descriptors: a guest's GDT. What a descriptor may be is for the caller to say; here
//! stands that a page is checked before the CPU sees it and can't be written behind the check's back.

use super::{OpError, Paging};
use crate::addr::{Mfn, PAGE_SIZE};
use crate::flush::Tlb;
use crate::frame::FrameType;
use crate::memory::Memory;
use paravane_abi::errno::Errno;

impl<M: Memory + Tlb> Paging<'_, M> {
    /// Holds a frame as descriptors (`set_gdt`): a reference and a use. `check` returns the descriptor the
    /// CPU gets for what the guest wrote, or none; it is called for every entry when the page becomes a
    /// descriptor page.
    pub fn hold_descriptors(
        &mut self,
        frame: Mfn,
        mut check: impl FnMut(u64) -> Option<u64>,
    ) -> Result<(), Errno> {
        self.validator().0.acquire_segdesc(frame, &mut check)
    }

    /// Gives back what [`Self::hold_descriptors`] took.
    pub fn drop_descriptors(&mut self, frame: Mfn) {
        self.frames.put_segdesc(self.machine, frame);
        self.frames.put_ref(self.machine, frame);
    }

    /// `update_descriptor`: writes a descriptor at a machine address, in a page of descriptors or one the
    /// guest could write itself.
    pub fn update_descriptor(
        &mut self,
        address: u64,
        wish: u64,
        mut check: impl FnMut(u64) -> Option<u64>,
    ) -> Result<(), Errno> {
        let frame = Mfn::containing(address);
        if address & 7 != 0 || !self.frames.is_owned_by(frame, self.domain.id) {
            return Err(Errno::EINVAL);
        }
        let descriptor = check(wish).ok_or(Errno::EINVAL)?;
        let index = (address as usize & (PAGE_SIZE - 1)) >> 3;
        if self.frames.info(frame).is_some_and(|info| info.is_in_use_as(FrameType::SegDesc)) {
            if let Some(writer) = self.frames.segdesc_writer(frame) {
                self.machine.write_word(&writer, index, descriptor);
            }
            return Ok(());
        }
        self.write_untyped(frame, index, descriptor).map_err(|error| match error {
            OpError::Refused(error) => error,
            OpError::Again => Errno::EAGAIN,
        })
    }

    /// Holds a frame the hypervisor is going to write for the guest (`vcpu_info`, runstate): a reference
    /// and a use as writable, so the guest can't make a page table of it meanwhile.
    pub fn hold_writable(&mut self, frame: Mfn) -> Result<(), Errno> {
        self.frames.get_ref(frame, self.domain.id).map_err(|_| Errno::EINVAL)?;
        self.frames.get_writable(self.machine, frame).map_err(|_| {
            self.frames.put_ref(self.machine, frame);
            Errno::EINVAL
        })
    }

    /// Gives back what [`Self::hold_writable`] took.
    pub fn drop_writable(&mut self, frame: Mfn) {
        self.frames.put_writable(self.machine, frame);
        self.frames.put_ref(self.machine, frame);
    }
}
