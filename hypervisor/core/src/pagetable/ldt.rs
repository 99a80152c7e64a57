//! A vcpu's LDT, where its domain has one: a kernel in ring 3. The guest says where it stands; a page of it is held
//! from the first descriptor that the CPU reads there (as Xen does; until then the guest may write it) until the
//! vcpu gets another LDT or another base table.

use super::{OpError, Paging, PagingPolicy};
use crate::addr::{ENTRIES, Mfn, PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use crate::flush::Tlb;
use crate::memory::Memory;
use paravane_abi::errno::Errno;
use paravane_abi::segment::MAX_LDT_ENTRIES;

/// Pages of the longest LDT.
pub const LDT_PAGES: usize = MAX_LDT_ENTRIES as usize / ENTRIES;

/// Where a vcpu's LDT is, and what is held of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ldt {
    base: u64,
    entries: u32,
    pages: [Option<Mfn>; LDT_PAGES],
}

impl Ldt {
    /// No LDT.
    pub const NONE: Self = Self { base: 0, entries: 0, pages: [None; LDT_PAGES] };

    /// An LDT of which nothing is held. `None` if no guest may have it: it is too long, or not on a page boundary
    /// of the guest's. Without entries the address does not matter.
    pub fn new(base: u64, entries: u64) -> Option<Self> {
        if entries == 0 {
            return Some(Self::NONE);
        }
        let aligned = VirtAddr::guest(base).is_some_and(|va| va.page_offset() == 0);
        let fits = aligned && entries <= MAX_LDT_ENTRIES;
        fits.then_some(Self { base, entries: entries as u32, pages: [None; LDT_PAGES] })
    }

    /// Its linear address, 0 if there is none.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Its descriptors, at most 8192.
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// Its pages, each held as descriptors: a reference and a use.
    pub const fn pages(&self) -> &[Option<Mfn>; LDT_PAGES] {
        &self.pages
    }

    /// Whether an offset, in bytes, is one of a descriptor that it has.
    pub const fn covers(&self, offset: u64) -> bool {
        offset >> 3 < self.entries as u64
    }
}

impl<M: Memory + Tlb> Paging<'_, M> {
    /// `MMUEXT_SET_LDT`. A kernel in ring 1 has none by design (soundness, invariant 9), but may say so, as guests do
    /// at boot.
    pub(super) fn set_ldt(&mut self, address: u64, entries: u32) -> Result<(), OpError> {
        let ldt = Ldt::new(address, entries.into()).ok_or(Errno::EINVAL)?;
        if ldt.entries != 0 && self.domain.policy == PagingPolicy::Ring1 {
            return Err(OpError::Refused(Errno::EOPNOTSUPP));
        }
        let old = &self.vcpu.ldt;
        if (old.base, old.entries) != (ldt.base, ldt.entries) {
            self.change_ldt(ldt);
        }
        Ok(())
    }

    /// Lets go of the LDT's pages; they are held again when the CPU reads them.
    pub(super) fn release_ldt_pages(&mut self) {
        if self.vcpu.ldt.pages.iter().any(Option::is_some) {
            let Ldt { base, entries, .. } = self.vcpu.ldt;
            self.change_ldt(Ldt { base, entries, ..Ldt::NONE });
        }
    }

    /// The CPU is told first: until then it may read the old pages.
    fn change_ldt(&mut self, new: Ldt) {
        let old = core::mem::replace(&mut self.vcpu.ldt, new);
        self.tell_ldt();
        for frame in old.pages.into_iter().flatten() {
            self.drop_descriptors(frame);
        }
    }

    fn tell_ldt(&self) {
        if self.loaded {
            self.machine.ldt_changed(&self.vcpu.ldt);
        }
    }

    /// Holds the page at an offset of the LDT, in bytes, and shows it to the CPU; true if it is held. The kernel must
    /// have mapped a page of the domain's own there, which must be fit to be a page of descriptors: checked ones, and
    /// nothing else (so it can be mapped for reading only).
    pub fn hold_ldt_page(&mut self, offset: u64, check: impl FnMut(u64) -> Option<u64>) -> bool {
        let ldt = &self.vcpu.ldt;
        if !ldt.covers(offset) {
            return false;
        }
        let page = offset as usize / PAGE_SIZE;
        if ldt.pages[page].is_some() {
            return true;
        }
        let address = ldt.base.wrapping_add((page as u64) << PAGE_SHIFT);
        let slot = self.guest_memory().and_then(|memory| memory.leaf_slot(address));
        let Some(leaf) = slot.map(|slot| slot.entry).filter(|leaf| leaf.present()) else { return false };
        let frame = leaf.frame();
        if self.hold_descriptors(frame, check).is_err() {
            return false;
        }
        self.vcpu.ldt.pages[page] = Some(frame);
        self.tell_ldt();
        true
    }
}
