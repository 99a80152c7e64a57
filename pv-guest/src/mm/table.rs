//! Page tables as the PV ABI has them: frames that this kernel reads but never writes. A table is filled while it is
//! ordinary memory, made read-only, and hooked into its parent by the machine, which checks it there.

use arrayvec::ArrayVec;
use paravane_abi::pte::{self, ENTRIES, PteFlags};

use super::addr::{DIRECT_SLOT, Mfn, PAGE, Pfn};
use super::frames;
use crate::cpu::{self, CpuSet};
use crate::cpu_ops::{MapOp, Roots, facts, machine};
use crate::errno::{Errno, Result};

/// Flags of an entry that points to a table below the user half.
pub const USER_TABLE: PteFlags =
    PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::USER).union(PteFlags::ACCESSED);
/// Flags of an entry that points to a table of the kernel's half: user access stops at the top.
pub const KERNEL_TABLE: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::ACCESSED);
/// Flags of kernel code.
pub const KERNEL_TEXT: PteFlags = PteFlags::PRESENT.union(PteFlags::ACCESSED);
/// Flags of what the kernel only reads.
pub const KERNEL_RO: PteFlags = KERNEL_TEXT.union(PteFlags::NX);
/// Flags of the kernel's data.
pub const KERNEL_RW: PteFlags = KERNEL_RO.union(PteFlags::RW).union(PteFlags::DIRTY);

/// The first L4 slot of the kernel's half that belongs to the guest; those below to 256 are the hypervisor's.
pub const FIRST_KERNEL_SLOT: usize = DIRECT_SLOT;
/// L4 slots of the user half.
pub const USER_SLOTS: usize = 256;

/// Reads an entry of a table.
pub fn read(table: Pfn, index: usize) -> u64 {
    assert!(index < ENTRIES);
    // SAFETY: the direct map maps every frame for reading; the processor sets A and D bits, hence volatile.
    unsafe { table.bytes().cast::<u64>().add(index).read_volatile() }
}

/// Fills an entry of a frame that is not yet a page table.
pub fn fill(table: Pfn, index: usize, entry: u64) {
    assert!(index < ENTRIES);
    // SAFETY: the caller owns the frame; if it were a page table its mapping would be read-only and this would fault.
    unsafe { table.bytes().cast::<u64>().add(index).write(entry) };
}

/// The machine address of an entry.
pub fn entry_address(table: Pfn, index: usize) -> u64 {
    table.mfn().address() + index as u64 * 8
}

/// The frame a present entry names.
pub fn child(entry: u64) -> Option<Pfn> {
    if pte::is_present(entry) { Mfn(pte::mfn(entry)).pfn() } else { None }
}

/// The frame a last-level entry holds: one taken from a program by `mprotect` stays in the entry without being present.
pub fn held_frame(entry: u64) -> Option<Pfn> {
    match pte::mfn(entry) {
        0 => None,
        mfn => Mfn(mfn).pfn(),
    }
}

/// Makes a frame's direct mapping read-only, which a page table's must be where the machine checks it.
pub fn protect(pfn: Pfn) -> Option<MapOp> {
    facts().checked_tables.then(|| map_direct(pfn, KERNEL_RO))
}

/// Undoes [`protect`].
pub fn unprotect(pfn: Pfn) -> Option<MapOp> {
    facts().checked_tables.then(|| map_direct(pfn, KERNEL_RW))
}

/// Maps a frame where the direct map has its place.
pub fn map_direct(pfn: Pfn, flags: PteFlags) -> MapOp {
    MapOp::Mapping { va: pfn.direct(), entry: pte::entry(pfn.mfn().0, flags) }
}

/// A last-level entry's place.
#[derive(Clone, Copy)]
pub struct Leaf {
    table: Pfn,
    index: usize,
    /// Its value when it was looked up.
    pub entry: u64,
}

impl Leaf {
    /// Where the direct map has it, read-only.
    pub fn direct_address(&self) -> u64 {
        self.table.direct() + self.index as u64 * 8
    }

    /// The operation that gives it another value.
    pub fn set(&self, entry: u64) -> MapOp {
        MapOp::Entry { at: entry_address(self.table, self.index), value: entry }
    }
}

/// The L4 tables of an address space, which the machine keeps checked until they are destroyed.
pub struct Root {
    /// The whole address space.
    kernel: Pfn,
    /// The user half alone, where programs run on a table of their own. Both point to the same L3 tables.
    user: Option<Pfn>,
}

/// A frame for the table that programs run on, where they have one.
pub fn alloc_user_root() -> Result<Option<Pfn>> {
    if !facts().user_roots {
        return Ok(None);
    }
    frames::alloc_zeroed().map(Some).ok_or(Errno::ENOMEM)
}

impl Root {
    /// The roots in these frames, which are page tables already and only have to be kept.
    pub fn keep(kernel: Pfn, user: Option<Pfn>) -> Self {
        let ops: ArrayVec<MapOp, 2> =
            [kernel].into_iter().chain(user).map(|root| MapOp::KeepRoot(root.mfn())).collect();
        machine().map(&ops).expect("the tables are valid");
        Self { kernel, user }
    }

    /// A root that is kept already and that no program runs on.
    pub fn adopt(kernel: Pfn) -> Self {
        Self { kernel, user: None }
    }

    /// A root whose kernel half is `template`'s and whose user half is empty.
    pub fn new(template: Pfn) -> Result<Self> {
        let kernel = frames::alloc_zeroed().ok_or(Errno::ENOMEM)?;
        let user = alloc_user_root().inspect_err(|_| frames::release(kernel))?;
        for slot in FIRST_KERNEL_SLOT..ENTRIES {
            fill(kernel, slot, read(template, slot));
        }
        let ops: ArrayVec<MapOp, 2> = [kernel].into_iter().chain(user).filter_map(protect).collect();
        machine().map(&ops).expect("a fresh frame can be made read-only");
        Ok(Self::keep(kernel, user))
    }

    /// The CPUs that may hold translations made from it.
    pub fn users(&self) -> CpuSet {
        cpu::using(self.kernel.mfn())
    }

    /// The frame of the root that the kernel runs on.
    pub fn pfn(&self) -> Pfn {
        self.kernel
    }

    /// What a CPU loads.
    pub fn mfns(&self) -> Roots {
        Roots { kernel: self.kernel.mfn(), user: self.user.map(Pfn::mfn) }
    }

    /// The same place in the table that programs run on, if `table` is the other root.
    fn twin(&self, table: Pfn) -> Option<Pfn> {
        self.user.filter(|_| table == self.kernel)
    }

    /// The entry that maps an address, if its tables exist.
    pub fn leaf(&self, va: u64) -> Option<Leaf> {
        let mut table = self.kernel;
        for level in [4, 3, 2] {
            table = child(read(table, pte::index(va, level)))?;
        }
        let index = pte::index(va, 1);
        Some(Leaf { table, index, entry: read(table, index) })
    }

    /// Maps a user address, with the tables that are missing. All or nothing.
    pub fn map(&self, va: u64, entry: u64) -> Result<()> {
        let mut ops = ArrayVec::<MapOp, 5>::new();
        let mut table = self.kernel;
        let mut level = 4;
        while level > 1 {
            let Some(next) = child(read(table, pte::index(va, level))) else { break };
            table = next;
            level -= 1;
        }
        let place = pte::index(va, level);
        if level == 1 && pte::is_present(read(table, place)) {
            machine()
                .map(&[MapOp::Entry { at: entry_address(table, place), value: entry }])
                .expect("a program's page is this kernel's own frame");
            machine().flush_one(va, self.users());
            return Ok(());
        }
        let mut value = entry;
        let mut made = ArrayVec::<Pfn, 3>::new();
        for below in 1..level {
            let Some(new) = frames::alloc_zeroed() else {
                made.iter().for_each(|&pfn| frames::release(pfn));
                return Err(Errno::ENOMEM);
            };
            fill(new, pte::index(va, below), value);
            ops.extend(protect(new));
            made.push(new);
            value = pte::entry(new.mfn().0, USER_TABLE);
        }
        for table in [table].into_iter().chain(self.twin(table)) {
            ops.push(MapOp::Entry { at: entry_address(table, place), value });
        }
        machine().map(&ops).expect("a program's page is this kernel's own frame");
        Ok(())
    }

    /// Calls `f` for every page of a user range that holds a frame, in order.
    pub fn for_each_held(&self, start: u64, end: u64, mut f: impl FnMut(u64, Leaf)) {
        let mut va = start;
        while va < end {
            let mut table = self.kernel;
            let mut missing = None;
            for level in [4, 3, 2] {
                match child(read(table, pte::index(va, level))) {
                    Some(next) => table = next,
                    None => {
                        missing = Some(level);
                        break;
                    }
                }
            }
            if let Some(level) = missing {
                // Skip what the missing table would map.
                let span = PAGE << (9 * (level - 1));
                va = (va & !(span - 1)) + span;
                continue;
            }
            let stop = end.min((va & !(PAGE * ENTRIES as u64 - 1)) + PAGE * ENTRIES as u64);
            while va < stop {
                let index = pte::index(va, 1);
                let entry = read(table, index);
                if held_frame(entry).is_some() {
                    f(va, Leaf { table, index, entry });
                }
                va += PAGE;
            }
        }
    }

    /// Frees the tables of a user range that no longer hold anything.
    pub fn prune(&self, start: u64, end: u64) {
        let mut bin = TableBin::new(self.users());
        prune_below(self, self.kernel, 4, start, end, &mut bin);
        bin.empty();
    }

    /// Frees the tables and drops the reference of every page in the user half. The root must not be loaded.
    pub fn destroy(self) {
        let roots = || [self.kernel].into_iter().chain(self.user);
        let ops: ArrayVec<MapOp, 2> = roots().map(|root| MapOp::ReleaseRoot(root.mfn())).collect();
        machine().map(&ops).expect("a kept root can be released");
        let mut tables = TableBin::new(CpuSet::EMPTY);
        free_below(self.kernel, 4, USER_SLOTS, &mut tables);
        roots().for_each(|root| tables.add(root));
        tables.empty();
    }
}

/// Tables on their way back to the free list, made writable a batch at a time.
struct TableBin {
    unhook: ArrayVec<MapOp, 33>,
    unprotect: ArrayVec<MapOp, 16>,
    frames: ArrayVec<Pfn, 16>,
    /// Who may have walked them.
    users: CpuSet,
}

impl TableBin {
    fn new(users: CpuSet) -> Self {
        Self { unhook: ArrayVec::new(), unprotect: ArrayVec::new(), frames: ArrayVec::new(), users }
    }

    /// Adds a table that nothing points to.
    fn add(&mut self, table: Pfn) {
        if self.frames.is_full() {
            self.empty();
        }
        self.unprotect.extend(unprotect(table));
        self.frames.push(table);
    }

    /// Adds a table that one entry still points to, and the same entry of the parent's twin.
    fn add_hooked(&mut self, root: &Root, parent: Pfn, index: usize, table: Pfn) {
        if self.frames.is_full() {
            self.empty();
        }
        for parent in [parent].into_iter().chain(root.twin(parent)) {
            self.unhook.push(MapOp::Entry { at: entry_address(parent, index), value: 0 });
        }
        self.add(table);
    }

    fn empty(&mut self) {
        if !self.unhook.is_empty() {
            self.unhook.push(MapOp::FlushAll(self.users));
            machine().map(&self.unhook).expect("an entry of a program's half can be cleared");
            self.unhook.clear();
        }
        machine().map(&self.unprotect).expect("a frame that is no page table can be mapped writable");
        self.unprotect.clear();
        self.frames.drain(..).for_each(frames::release);
    }
}

/// Frees what the first `slots` entries of a table hold.
fn free_below(table: Pfn, level: u32, slots: usize, bin: &mut TableBin) {
    for index in 0..slots {
        let entry = read(table, index);
        if level == 1 {
            if let Some(pfn) = held_frame(entry) {
                frames::release(pfn);
            }
        } else if let Some(next) = child(entry) {
            free_below(next, level - 1, ENTRIES, bin);
            bin.add(next);
        }
    }
}

/// Frees the empty tables that the entries of `table` for a range point to.
fn prune_below(root: &Root, table: Pfn, level: u32, start: u64, end: u64, bin: &mut TableBin) {
    if start >= end {
        return;
    }
    for index in pte::index(start, level)..=pte::index(end - 1, level) {
        let Some(next) = child(read(table, index)) else { continue };
        if level > 2 {
            // The part of the range below this entry.
            let span = PAGE << (9 * (level - 1));
            let base = (start & !(span * ENTRIES as u64 - 1)) + index as u64 * span;
            prune_below(root, next, level - 1, start.max(base), end.min(base + span), bin);
            // What was unhooked must be gone before this table is looked at.
            bin.empty();
        }
        if (0..ENTRIES).all(|slot| read(next, slot) == 0) {
            bin.add_hooked(root, table, index, next);
        }
    }
}
