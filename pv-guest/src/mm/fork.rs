//! Copying an address space: pages are shared, and private ones become read-only on both sides until one writes.

use arrayvec::ArrayVec;
use paravane_abi::pte::{self, ENTRIES, PteFlags};

use super::addr::Pfn;
use super::space::{AddressSpace, Changes};
use super::table::{self, FIRST_KERNEL_SLOT, Leaf, Root, USER_TABLE};
use super::{frames, kernel_root};
use crate::cpu_ops::{MapOp, machine};
use crate::errno::{Errno, Result};

/// The child's tables: filled as ordinary memory, then made read-only and checked once, as a whole.
struct Copier {
    root: Pfn,
    /// The table that programs run on, where they have one of their own.
    user_root: Option<Pfn>,
    tables: alloc::vec::Vec<Pfn>,
}

impl Copier {
    fn new_table(&mut self) -> Result<Pfn> {
        let table = frames::alloc_zeroed().ok_or(Errno::ENOMEM)?;
        self.tables.push(table);
        Ok(table)
    }

    /// The child's L1 table for an address.
    fn l1(&mut self, va: u64) -> Result<Pfn> {
        let mut table = self.root;
        for level in [4, 3, 2] {
            let index = pte::index(va, level);
            table = match table::child(table::read(table, index)) {
                Some(next) => next,
                None => {
                    let new = self.new_table()?;
                    table::fill(table, index, pte::entry(new.mfn().0, USER_TABLE));
                    new
                }
            };
        }
        Ok(table)
    }

    fn give_up(self) {
        // Nothing has been protected yet: these are ordinary frames.
        for &table in &self.tables {
            if table != self.root && Some(table) != self.user_root {
                for_each_leaf_frame(self.root, table, frames::release);
            }
        }
        self.tables.into_iter().for_each(frames::release);
    }

    fn finish(self) -> Root {
        if let Some(user) = self.user_root {
            for slot in 0..table::USER_SLOTS {
                table::fill(user, slot, table::read(self.root, slot));
            }
        }
        let mut ops = ArrayVec::<MapOp, 64>::new();
        for &table in &self.tables {
            if ops.is_full() {
                machine().map(&ops).expect("a fresh frame can be made read-only");
                ops.clear();
            }
            ops.extend(table::protect(table));
        }
        machine().map(&ops).expect("a fresh frame can be made read-only");
        Root::keep(self.root, self.user_root)
    }
}

/// Calls `f` for every frame that `table` holds if it is one of the L1 tables below `root`.
fn for_each_leaf_frame(root: Pfn, table: Pfn, f: impl Fn(Pfn)) {
    for l4 in 0..table::USER_SLOTS {
        let Some(l3) = table::child(table::read(root, l4)) else { continue };
        for i in 0..ENTRIES {
            let Some(l2) = table::child(table::read(l3, i)) else { continue };
            for j in 0..ENTRIES {
                if table::child(table::read(l2, j)) == Some(table) {
                    (0..ENTRIES).filter_map(|k| table::held_frame(table::read(table, k))).for_each(&f);
                }
            }
        }
    }
}

impl AddressSpace {
    /// A copy-on-write copy. This space must be the loaded one.
    pub fn duplicate(&mut self) -> Result<AddressSpace> {
        let root = frames::alloc_zeroed().ok_or(Errno::ENOMEM)?;
        let user_root = table::alloc_user_root().inspect_err(|_| frames::release(root))?;
        let tables = [root].into_iter().chain(user_root).collect();
        let mut copier = Copier { root, user_root, tables };
        for slot in FIRST_KERNEL_SLOT..ENTRIES {
            table::fill(root, slot, table::read(kernel_root(), slot));
        }
        match self.copy_pages(&mut copier) {
            Ok(()) => Ok(AddressSpace::with(copier.finish(), self)),
            Err(error) => {
                copier.give_up();
                Err(error)
            }
        }
    }

    fn copy_pages(&mut self, copier: &mut Copier) -> Result<()> {
        let mut changes = Changes::new(self.root());
        let mut result = Ok(());
        for (start, area) in self.areas.iter() {
            let shared = area.shared;
            self.root().for_each_held(start, area.end, |va, leaf: Leaf| {
                if result.is_err() {
                    return;
                }
                let Some(frame) = table::held_frame(leaf.entry) else { return };
                let mut entry = leaf.entry;
                if !shared && pte::flags(entry).contains(PteFlags::RW) {
                    entry &= !PteFlags::RW.bits();
                    changes.add(leaf.set(entry), None);
                }
                match copier.l1(va) {
                    Ok(l1) => {
                        frames::retain(frame);
                        table::fill(l1, pte::index(va, 1), entry & !PteFlags::DIRTY.bits());
                    }
                    Err(error) => result = Err(error),
                }
            });
        }
        changes.apply();
        result
    }
}
