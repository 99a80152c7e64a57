//! Page faults on user addresses: demand paging and copy-on-write.

use paravane_abi::pte::{self, PteFlags};

use super::addr::{DIRECT_SLOT, PAGE, Pfn, USER_END, page_down};
use super::area::{Area, Prot};
use super::space::AddressSpace;
use super::table::{Leaf, Root};
use super::{cache, frames, table};
use crate::cpu::CpuSet;
use crate::cpu_ops::machine;
use crate::errno::{Errno, Result};
use crate::process;

/// The bits of a page fault's error code that matter here.
pub const ERROR_WRITE: u64 = 1 << 1;
/// The access was an instruction fetch.
pub const ERROR_FETCH: u64 = 1 << 4;

/// Makes the access possible that faulted at a user address of the current process, if its areas allow it.
pub fn handle(va: u64, error: u64) -> Result<()> {
    if va >= USER_END {
        return Err(Errno::EFAULT);
    }
    let Some(process) = process::current_if_any() else { return Err(Errno::EFAULT) };
    let Some(mut space) = process.space.try_lock() else {
        // Kernel code touched user memory while it was changing the address space: a bug, to be reported as a fault.
        return Err(Errno::EFAULT);
    };
    let needed = match (error & ERROR_WRITE != 0, error & ERROR_FETCH != 0) {
        (true, _) => Prot::WRITE,
        (_, true) => Prot::EXEC,
        _ => Prot::READ,
    };
    let (_, area) = space.areas.find(va).ok_or(Errno::EFAULT)?;
    // x86 cannot map a page for writing or executing but not for reading.
    let allowed = if needed == Prot::READ { !area.prot.is_empty() } else { area.prot.contains(needed) };
    if !allowed {
        return Err(Errno::EFAULT);
    }
    space.page_in(page_down(va), needed == Prot::WRITE)
}

/// Whether a fault of kernel code was only a translation that this CPU had not forgotten; it has by now.
///
/// Another CPU may have made a frame's direct mapping writable. That flushes no other CPU, since few ever notice.
pub fn was_stale(address: u64, error: u64) -> bool {
    if error & ERROR_WRITE == 0 || pte::index(address, 4) != DIRECT_SLOT {
        return false;
    }
    let leaf = Root::adopt(super::kernel_root()).leaf(address);
    let stale = leaf.is_some_and(|leaf| pte::flags(leaf.entry).contains(PteFlags::PRESENT | PteFlags::RW));
    if stale {
        machine().flush_one(address, CpuSet::EMPTY);
    }
    stale
}

impl AddressSpace {
    /// Makes one page of an area present, and writable if it is to be written.
    pub(super) fn page_in(&mut self, page: u64, write: bool) -> Result<()> {
        let (start, area) = self.areas.find(page).ok_or(Errno::EFAULT)?;
        if let Some(leaf) = self.root().leaf(page)
            && let Some(frame) = table::held_frame(leaf.entry)
        {
            return self.refault(page, area, leaf, frame, write);
        }
        let mut flags = area.prot.flags();
        let frame = match &area.backing {
            None => frames::alloc_zeroed().ok_or(Errno::ENOMEM)?,
            Some(backing) => {
                let offset = backing.offset + (page - start);
                // A page wholly past the file's end cannot be touched.
                if offset >= backing.file.len() {
                    return Err(Errno::EFAULT);
                }
                let number = offset / PAGE;
                let (frame, cached) = cache::page(&*backing.file, number).ok_or(Errno::ENOMEM)?;
                if cached && write {
                    let own = own_copy(frame);
                    frames::release(frame);
                    own?
                } else {
                    if cached {
                        flags.remove(PteFlags::RW);
                    }
                    frame
                }
            }
        };
        self.root().map(page, pte::entry(frame.mfn().0, flags)).inspect_err(|_| frames::release(frame))
    }

    /// A fault on a page that holds a frame: copy-on-write, or a translation that had not been forgotten yet.
    fn refault(&self, page: u64, area: &Area, leaf: Leaf, frame: Pfn, write: bool) -> Result<()> {
        let flags = pte::flags(leaf.entry);
        if !write || flags.contains(PteFlags::RW) {
            machine().flush_one(page, CpuSet::EMPTY);
            return Ok(());
        }
        if area.shared || frames::references(frame) == 1 {
            return self.root().map(page, leaf.entry | PteFlags::RW.bits());
        }
        let copy = own_copy(frame)?;
        self.root().map(page, pte::entry(copy.mfn().0, area.prot.flags()))?;
        frames::release(frame);
        Ok(())
    }
}

fn own_copy(frame: Pfn) -> Result<Pfn> {
    let copy = frames::alloc().ok_or(Errno::ENOMEM)?;
    frames::copy(frame, copy);
    Ok(copy)
}
