//! Builds the hypervisor's own page tables: the address space that ring 0 runs in, and the entry area's
//! tables, which guests' roots share. Guest tables are `core`'s business and never pass through here.

use crate::boot::memory_map::{FRAME_SIZE, MemoryMap};
use crate::direct_map;
use paravane_abi::pte::PteFlags;

const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;
const LARGE: u64 = 2 << 20;

/// A present entry for tables and read-only executable pages.
pub const READ_EXECUTE: PteFlags = PteFlags::PRESENT.union(PteFlags::ACCESSED);
/// Read-only data.
pub const READ: PteFlags = READ_EXECUTE.union(PteFlags::NX);
/// Writable data.
pub const READ_WRITE: PteFlags = READ.union(PteFlags::RW).union(PteFlags::DIRTY);
/// Read-only data that a guest's ring 3 may see, where the root's entry lets it.
pub const READ_USER: PteFlags = READ.union(PteFlags::USER);
/// Device registers.
pub const DEVICE: PteFlags = READ_WRITE.union(PteFlags::PCD).union(PteFlags::PWT);

/// An entry for a table: rights are the leaf's.
const TABLE: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::USER).union(PteFlags::ACCESSED);

/// A page-table tree under construction.
pub struct Tables {
    root: u64,
}

fn index(virt: u64, level: u32) -> u64 {
    virt >> (12 + 9 * (level - 1)) & 511
}

fn entry(table: u64, index: u64) -> *mut u64 {
    direct_map::pointer::<u64>(table + index * 8)
}

/// Takes a zeroed frame for a table.
///
/// # Panics
/// When RAM has run out, which at this point means that the machine is too small to start at all.
pub fn new_table(map: &mut MemoryMap) -> u64 {
    let frame = map.allocate(FRAME_SIZE, FRAME_SIZE).expect("no RAM left for the hypervisor's page tables");
    // SAFETY: the frame was free, and it is RAM, which the direct map covers.
    unsafe { direct_map::pointer::<u8>(frame).write_bytes(0, FRAME_SIZE as usize) };
    frame
}

impl Tables {
    /// An empty tree.
    pub fn new(map: &mut MemoryMap) -> Self {
        Self { root: new_table(map) }
    }

    /// A tree with a root of its own that shares all but one slot's tables with this one. What is added later to
    /// a shared slot that was empty until then does not show in the other.
    pub fn fork(&self, map: &mut MemoryMap, own_slot: u64) -> Self {
        let root = new_table(map);
        for slot in (0..512).filter(|slot| *slot != own_slot) {
            // SAFETY: a slot of the new root, which nothing uses yet.
            unsafe { entry(root, slot).write(self.root_entry(slot)) };
        }
        Self { root }
    }

    /// The root's physical address.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// The table at `level` (3, 2 or 1) that covers `virt`, made when missing.
    fn table_for(&mut self, map: &mut MemoryMap, virt: u64, level: u32) -> u64 {
        let mut table = self.root;
        for above in (level + 1..=4).rev() {
            let slot = entry(table, index(virt, above));
            // SAFETY: `slot` lies in a table of this tree, which only this builder reaches.
            table = unsafe {
                if slot.read() & PteFlags::PRESENT.bits() == 0 {
                    slot.write(new_table(map) | TABLE.bits());
                }
                // The contents of a large page are no table.
                assert!(slot.read() & PteFlags::PSE.bits() == 0, "a large page maps {virt:#x} already");
                slot.read() & ADDRESS_MASK
            };
        }
        table
    }

    /// Maps one 4 KiB page.
    pub fn map(&mut self, memory: &mut MemoryMap, virt: u64, physical: u64, flags: PteFlags) {
        let table = self.table_for(memory, virt, 1);
        // SAFETY: as in `table_for`.
        unsafe { entry(table, index(virt, 1)).write(physical | flags.bits()) };
    }

    /// Leaves a page that [`Self::map`] mapped without a mapping.
    pub fn unmap(&mut self, memory: &mut MemoryMap, virt: u64) {
        // SAFETY: as in `table_for`.
        unsafe { self.leaf_slot(memory, virt).write(0) };
    }

    /// Maps `bytes` (a multiple of 4 KiB), by 2 MiB pages where both addresses allow it.
    pub fn map_range(
        &mut self,
        memory: &mut MemoryMap,
        virt: u64,
        physical: u64,
        bytes: u64,
        flags: PteFlags,
    ) {
        let mut done = 0;
        while done < bytes {
            let (va, pa) = (virt + done, physical + done);
            if (va | pa) & (LARGE - 1) == 0 && bytes - done >= LARGE {
                let table = self.table_for(memory, va, 2);
                // SAFETY: as in `table_for`.
                unsafe { entry(table, index(va, 2)).write(pa | (flags | PteFlags::PSE).bits()) };
                done += LARGE;
            } else {
                self.map(memory, va, pa, flags);
                done += FRAME_SIZE;
            }
        }
    }

    /// The root's entry for an L4 slot, to be shared with other roots.
    pub fn root_entry(&self, slot: u64) -> u64 {
        // SAFETY: a read within this tree's root.
        unsafe { entry(self.root, slot).read() }
    }

    /// Where the leaf entry that maps `virt` stands, for windows that are remapped while running.
    pub fn leaf_slot(&mut self, memory: &mut MemoryMap, virt: u64) -> *mut u64 {
        entry(self.table_for(memory, virt, 1), index(virt, 1))
    }
}
