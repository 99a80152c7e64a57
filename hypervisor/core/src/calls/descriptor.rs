//! set_gdt and update_descriptor: the segments a guest adds to the flat ones.

use paravane_abi::errno::Errno;
use paravane_abi::segment::MAX_GUEST_GDT_ENTRIES;

use super::{Answer, Call};
use crate::addr::{ENTRIES, Mfn};
use crate::descriptor;
use crate::hypervisor::Hypervisor;
use crate::machine::{GUEST_GDT_PAGES, Machine};
use crate::pagetable::Budget;

impl<M: Machine> Hypervisor<M> {
    /// `set_gdt`. The old table stays until every frame of the new one is held.
    pub(super) fn set_gdt(&mut self, call: &mut Call<'_>) -> Answer {
        let entries = call.args[1] as u32;
        if u64::from(entries) > MAX_GUEST_GDT_ENTRIES {
            return Err(Errno::EINVAL.into());
        }
        self.step.charge(entries);
        let pages = (entries as usize).div_ceil(ENTRIES);
        let mut numbers = [0u64; GUEST_GDT_PAGES];
        for (index, number) in numbers[..pages].iter_mut().enumerate() {
            *number = self.read_guest(call.args[0].wrapping_add(8 * index as u64))?;
        }
        let frames = self.hold_gdt(&numbers[..pages])?;
        let vcpu = self.vcpu_mut();
        vcpu.gdt_entries = entries;
        let old = core::mem::replace(&mut vcpu.gdt, frames);
        self.machine.show_gdt(&frames);
        self.drop_gdt(&old);
        Ok(0)
    }

    /// Holds the frames of a descriptor table: all or none.
    pub(super) fn hold_gdt(&mut self, numbers: &[u64]) -> Result<[Option<Mfn>; GUEST_GDT_PAGES], Errno> {
        let policy = self.domain().policy;
        let mut frames = [None; GUEST_GDT_PAGES];
        for (slot, number) in numbers.iter().enumerate() {
            let frame = Mfn::new(*number);
            let held = self
                .paging(Budget::HYPERCALL)
                .hold_descriptors(frame, |raw| descriptor::check(policy, raw).ok());
            if let Err(error) = held {
                self.drop_gdt(&frames);
                return Err(error);
            }
            frames[slot] = Some(frame);
        }
        Ok(frames)
    }

    fn drop_gdt(&mut self, frames: &[Option<Mfn>; GUEST_GDT_PAGES]) {
        for frame in frames.iter().flatten() {
            self.paging(Budget::HYPERCALL).drop_descriptors(*frame);
        }
    }

    /// `update_descriptor`.
    pub(super) fn update_descriptor(&mut self, call: &mut Call<'_>) -> Answer {
        let policy = self.domain().policy;
        self.paging(Budget::HYPERCALL)
            .update_descriptor(call.args[0], call.args[1], |raw| descriptor::check(policy, raw).ok())?;
        Ok(0)
    }
}
