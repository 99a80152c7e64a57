//! A process's address space, and the calls by which a program changes its own.

use alloc::sync::Arc;

use arrayvec::ArrayVec;
use paravane_abi::pte::{self, PteFlags};

use super::addr::{PAGE, Pfn, USER_END, page_down, page_up};
use super::area::{Area, Areas, Backing};
pub use super::area::{MapFlags, Prot};
use super::backing::FileBacking;
use super::layout::USER_START;
use super::table::{self, Root};
use super::{frames, heap};
use crate::cpu::CpuSet;
use crate::cpu_ops::{MapOp, machine};
use crate::errno::{Errno, Result};
use crate::process;

/// Kernel memory that a few new areas may need.
const AREA_HEAP: usize = 4096;

/// An address space: its areas, and the tables that hold the pages touched so far.
pub struct AddressSpace {
    /// The root table; `None` once torn down.
    pub(super) root: Option<Root>,
    /// What is mapped.
    pub(super) areas: Areas,
    brk_start: u64,
    brk: u64,
    /// Threads that live in it.
    users: usize,
}

/// Changes collected for one trip to the machine; frames are released after stale translations are gone.
pub(super) struct Changes {
    ops: ArrayVec<MapOp, 65>,
    released: ArrayVec<Pfn, 64>,
    /// Who may hold translations made from what changes.
    users: CpuSet,
}

impl Changes {
    pub(super) fn new(root: &Root) -> Self {
        Self { ops: ArrayVec::new(), released: ArrayVec::new(), users: root.users() }
    }

    pub(super) fn add(&mut self, op: MapOp, release: Option<Pfn>) {
        if self.ops.len() == self.ops.capacity() - 1 {
            self.apply();
        }
        self.ops.push(op);
        self.released.extend(release);
    }

    pub(super) fn apply(&mut self) {
        if self.ops.is_empty() {
            return;
        }
        self.ops.push(MapOp::FlushAll(self.users));
        machine().map(&self.ops).expect("a program's entries may be changed by its kernel");
        self.ops.clear();
        self.released.drain(..).for_each(frames::release);
    }
}

impl AddressSpace {
    /// An empty address space.
    pub fn new() -> Result<Self> {
        let root = Root::new(super::kernel_root())?;
        let mut space = Self::nowhere();
        space.root = Some(root);
        Ok(space)
    }

    /// One without a root, in which nothing can live.
    pub fn nowhere() -> Self {
        Self { root: None, areas: Areas::default(), brk_start: 0, brk: 0, users: 1 }
    }

    /// Threads that live in it.
    pub fn users(&self) -> usize {
        self.users
    }

    /// One more thread lives in it.
    pub fn add_user(&mut self) {
        self.users += 1;
    }

    /// A thread that is not the last has left it.
    pub fn drop_user(&mut self) {
        self.users -= 1;
    }

    /// What is mapped.
    pub fn areas(&self) -> &Areas {
        &self.areas
    }

    pub(super) fn with(root: Root, from: &Self) -> Self {
        Self {
            root: Some(root),
            areas: from.areas.clone(),
            brk_start: from.brk_start,
            brk: from.brk,
            users: 1,
        }
    }

    /// Takes the contents out, for the end of a process; what stays has no root and maps nothing.
    pub fn take(&mut self) -> Self {
        core::mem::replace(self, Self::nowhere())
    }

    /// The root table.
    pub fn root(&self) -> &Root {
        self.root.as_ref().expect("a live address space has a root")
    }

    /// Sets where the heap begins.
    pub fn set_brk_start(&mut self, start: u64) {
        self.brk_start = page_up(start);
        self.brk = self.brk_start;
    }

    /// Unmaps a range and drops its pages.
    pub fn unmap(&mut self, start: u64, end: u64) {
        self.areas.remove(start, end);
        let mut changes = Changes::new(self.root());
        self.root().for_each_held(start, end, |_, leaf| {
            changes.add(leaf.set(0), table::held_frame(leaf.entry));
        });
        changes.apply();
        self.root().prune(start, end);
    }

    /// Adds an area; `at` is taken as it is when `fixed`, else as a wish. The space must be the loaded one when the area
    /// is shared, because shared pages are made at once.
    pub fn map(&mut self, at: u64, len: u64, area: Area, fixed: bool, replace: bool) -> Result<u64> {
        heap::reserve(AREA_HEAP)?;
        let len = len
            .checked_next_multiple_of(PAGE)
            .filter(|&len| len > 0 && len <= USER_END)
            .ok_or(Errno::ENOMEM)?;
        let fits = |at: u64| at >= USER_START && at.checked_add(len).is_some_and(|end| end <= USER_END);
        let start = if fixed {
            if !at.is_multiple_of(PAGE) || !fits(at) {
                return Err(if at.is_multiple_of(PAGE) { Errno::ENOMEM } else { Errno::EINVAL });
            }
            if replace {
                self.unmap(at, at + len);
            } else if !self.areas.is_clear(at, at + len) {
                return Err(Errno::EEXIST);
            }
            at
        } else {
            let wish = page_down(at);
            if fits(wish) && self.areas.is_clear(wish, wish + len) {
                wish
            } else {
                self.areas.place(len).ok_or(Errno::ENOMEM)?
            }
        };
        let share_now = area.shared && area.backing.is_none();
        self.areas.insert(start, Area { end: start + len, ..area });
        if share_now {
            self.populate(start, start + len)?;
        }
        Ok(start)
    }

    fn populate(&mut self, start: u64, end: u64) -> Result<()> {
        let mut va = start;
        while va < end {
            if self.page_in(va, false).is_err() {
                self.unmap(start, end);
                return Err(Errno::ENOMEM);
            }
            va += PAGE;
        }
        Ok(())
    }

    fn protect(&mut self, start: u64, end: u64, prot: Prot) -> Result<()> {
        heap::reserve(AREA_HEAP)?;
        if !self.areas.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        // A shared file's pages are the page cache's, which nobody may write.
        if prot.contains(Prot::WRITE) && self.areas.shares_file(start, end) {
            return Err(Errno::EACCES);
        }
        self.areas.protect(start, end, prot);
        let areas = &self.areas;
        let mut changes = Changes::new(self.root());
        self.root().for_each_held(start, end, |va, leaf| {
            let Some(frame) = table::held_frame(leaf.entry) else { return };
            let shared = areas.find(va).is_some_and(|(_, area)| area.shared);
            let mut flags = prot.flags();
            // A page that others refer to stays read-only until a write fault copies it.
            if !shared && frames::references(frame) > 1 {
                flags.remove(PteFlags::RW);
            }
            changes.add(leaf.set(pte::entry(frame.mfn().0, flags)), None);
        });
        changes.apply();
        Ok(())
    }

    fn set_brk(&mut self, wanted: u64) -> u64 {
        if wanted < self.brk_start {
            return self.brk;
        }
        let (old, new) = (page_up(self.brk), page_up(wanted));
        if new > old {
            let area = Area { end: 0, prot: Prot::READ | Prot::WRITE, shared: false, backing: None };
            if self.map(old, new - old, area, true, false).is_err() {
                return self.brk;
            }
        } else if new < old {
            self.unmap(new, old);
        }
        self.brk = wanted;
        self.brk
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        if let Some(root) = self.root.take() {
            root.destroy();
        }
    }
}

fn range(addr: u64, len: u64) -> Result<(u64, u64)> {
    let end =
        len.checked_next_multiple_of(PAGE).and_then(|len| addr.checked_add(len)).ok_or(Errno::EINVAL)?;
    if !addr.is_multiple_of(PAGE) || end > USER_END {
        return Err(Errno::EINVAL);
    }
    Ok((addr, end))
}

/// `mmap` on the current process.
pub fn mmap(
    addr: u64,
    len: u64,
    prot: Prot,
    flags: MapFlags,
    file: Option<(Arc<dyn FileBacking>, u64)>,
) -> Result<u64> {
    let shared = flags.contains(MapFlags::SHARED);
    if shared == flags.contains(MapFlags::PRIVATE) || len == 0 {
        return Err(Errno::EINVAL);
    }
    let backing = match file {
        Some((_, offset)) if !offset.is_multiple_of(PAGE) => return Err(Errno::EINVAL),
        // Nothing here writes pages back to a file.
        Some(_) if shared && prot.contains(Prot::WRITE) => return Err(Errno::ENODEV),
        Some((file, offset)) => Some(Backing { file, offset }),
        None => None,
    };
    let replace = flags.contains(MapFlags::FIXED);
    let fixed = replace || flags.contains(MapFlags::FIXED_NOREPLACE);
    let area = Area { end: 0, prot, shared, backing };
    process::current().space.lock().map(addr, len, area, fixed, replace)
}

/// `munmap` on the current process.
pub fn munmap(addr: u64, len: u64) -> Result<()> {
    let (start, end) = range(addr, len)?;
    if start == end {
        return Err(Errno::EINVAL);
    }
    process::current().space.lock().unmap(start, end);
    Ok(())
}

/// `mprotect` on the current process.
pub fn mprotect(addr: u64, len: u64, prot: Prot) -> Result<()> {
    let (start, end) = range(addr, len)?;
    process::current().space.lock().protect(start, end, prot)
}

/// `mremap` on the current process: shrinks in place, grows in place or, if allowed, by moving the pages.
pub fn mremap(old: u64, old_len: u64, new_len: u64, may_move: bool) -> Result<u64> {
    let (start, end) = range(old, old_len)?;
    let (_, new_end) = range(old, new_len)?;
    let mut space = process::current().space.lock();
    let (area_start, area) = space.areas.find(start).ok_or(Errno::EFAULT)?;
    if area.end < end || new_end == start {
        return Err(Errno::EFAULT);
    }
    let mut area = area.clone();
    if let Some(backing) = &mut area.backing {
        backing.offset += start - area_start;
    }
    if new_end <= end {
        if new_end < end {
            space.unmap(new_end, end);
        }
        return Ok(start);
    }
    if space.areas.is_clear(end, new_end) {
        if let Some(backing) = &mut area.backing {
            backing.offset += end - start;
        }
        space.map(end, new_end - end, area, true, false)?;
        return Ok(start);
    }
    if !may_move {
        return Err(Errno::ENOMEM);
    }
    let target = space.map(0, new_end - start, area, false, false)?;
    space.move_pages(start, end, target)?;
    space.unmap(start, end);
    Ok(target)
}

impl AddressSpace {
    /// Gives the pages of one range to another, which has none.
    fn move_pages(&mut self, start: u64, end: u64, target: u64) -> Result<()> {
        let mut moved = alloc::vec::Vec::new();
        self.root().for_each_held(start, end, |va, leaf| moved.push((va, leaf.entry)));
        for (va, entry) in moved {
            if let Some(frame) = table::held_frame(entry) {
                frames::retain(frame);
                if let Err(error) = self.root().map(target + (va - start), entry) {
                    frames::release(frame);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// `brk` on the current process: moves the end of the heap if it can, and returns where it is.
pub fn brk(addr: u64) -> u64 {
    process::current().space.lock().set_brk(addr)
}
