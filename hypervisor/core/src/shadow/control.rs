//! The guest's control of translation: CR3, CR0.WP, EFER.NXE, `invlpg`.

use super::entry::Role;
use super::pages::{Key, Table};
use super::physical::{Physical, Tables};
use super::walk::{self, Controls, Refusal, Rights, Translation, Use};
use super::{Shadow, Template};
use crate::addr::{Level, Mfn, PAGE_SHIFT, Pfn, RESERVED_FIRST_SLOT, VirtAddr};
use crate::flush::{Flush, FlushWhat};
use crate::pagetable::Pte;

impl Shadow {
    /// The frame that CR3 must hold while the guest runs. It changes with the guest's CR3 and controls only.
    pub fn root(&self) -> Mfn {
        self.pages.table(self.root).frame
    }

    /// The guest's CR3.
    pub fn cr3(&self) -> u64 {
        self.cr3
    }

    /// The guest's controls.
    pub fn controls(&self) -> Controls {
        self.controls
    }

    /// Translates an address as an access by the guest's processor would, A and D being set. Whoever then writes
    /// there for the guest tells [`Self::guest_wrote`].
    pub fn access(
        &self,
        memory: &impl Physical,
        address: VirtAddr,
        usage: Use,
    ) -> Result<Translation, Refusal> {
        walk::access(memory, self.controls, self.cr3, address, usage)
    }

    /// Translates an address without leaving a mark.
    pub fn probe(
        &self,
        memory: &impl Physical,
        address: VirtAddr,
        usage: Use,
    ) -> Result<Translation, Refusal> {
        walk::probe(memory, self.controls, self.cr3, address, usage)
    }

    /// The guest loads CR3, or does what else makes its processor forget all translations. Afterwards
    /// [`Self::root`] is to be loaded, even if it is the same: that is the flush.
    ///
    /// The shadows of tables in step stay, so that coming back to a process costs no faults.
    pub fn load_cr3(&mut self, tables: &impl Tables, cr3: u64) -> Flush {
        self.counters.roots += 1;
        self.catch_up(tables);
        self.cr3 = cr3;
        self.change_root(tables);
        self.stale = true;
        self.flush()
    }

    /// The guest changes CR0.WP and EFER.NXE. Afterwards [`Self::root`] is to be loaded.
    pub fn set_controls(&mut self, tables: &impl Tables, write_protect: bool, no_execute: bool) -> Flush {
        self.controls = Controls { write_protect, no_execute, ..self.controls };
        self.change_root(tables);
        self.stale = true;
        self.flush()
    }

    /// The guest executes `invlpg`. An address that is not canonical, or in the hypervisor's slots, has no
    /// translation to forget.
    pub fn invlpg(&mut self, tables: &impl Tables, address: u64) -> Flush {
        self.catch_up(tables);
        let flush = self.flush();
        match VirtAddr::guest(address) {
            Some(page) if flush == Flush::NONE => {
                Flush { what: FlushWhat::Page(page.page()), ..Flush::DOMAIN }
            }
            _ => flush,
        }
    }

    /// The hypervisor's slots are to be these from now on: the vcpu runs on another processor.
    pub fn set_template(&mut self, tables: &impl Tables, template: Template) -> Flush {
        self.template = template;
        self.write_template(tables);
        self.stale = true;
        self.flush()
    }

    pub(super) fn root_key(&self) -> Key {
        let Controls { write_protect, no_execute, .. } = self.controls;
        let unprotected = if write_protect { None } else { Some(Rights::ALL) };
        let pfn = Pfn::new((self.cr3 & Pte::FRAME) >> PAGE_SHIFT);
        Key { pfn, level: Level::L4, split: false, role: Role { no_execute, unprotected } }
    }

    /// The first root: all tables are free.
    pub(super) fn first_root(&mut self, tables: &impl Tables) {
        let key = self.root_key();
        if let Some(root) = self.obtain(tables, key) {
            self.root = root;
        }
        self.write_template(tables);
    }

    /// Makes the shadow of the guest's root the current one.
    fn change_root(&mut self, tables: &impl Tables) {
        self.make_room(tables);
        // So that it is not the old root that is given up for the new.
        self.pages.touch(self.root);
        let key = self.root_key();
        if let Some(root) = self.obtain(tables, key) {
            self.root = root;
        }
        self.write_template(tables);
    }

    fn write_template(&self, tables: &impl Tables) {
        for (slot, entry) in (RESERVED_FIRST_SLOT..).zip(self.template) {
            tables.set_entry(self.root(), slot, entry);
        }
    }

    /// The root that was is the root again, in the same frame, after all tables were given up.
    pub(super) fn restore_root(&mut self, tables: &impl Tables, root: Table) {
        let at = self.pages.unused.iter().position(|&number| self.pages.table(number).frame == root.frame);
        if let Some(at) = at {
            // The next to be taken is the last.
            let last = self.pages.unused.len() - 1;
            self.pages.unused.swap(at, last);
        }
        if let Some(number) = root.key.and_then(|key| self.obtain(tables, key)) {
            self.root = number;
        }
        self.write_template(tables);
    }
}
