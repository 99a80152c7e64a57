//! The cache of shadow tables: found by what they shadow, kept while there is room, given up oldest first.

use super::chain::{Chain, NONE, Place};
use super::entry::{Role, narrows};
use super::physical::Tables;
use super::{ALIASES, PARENTS, Shadow};
use crate::addr::{ENTRIES, Level, Mfn, Pfn, is_reserved_slot};
use crate::pagetable::Pte;
use alloc::vec::Vec;

/// What a shadow table is the shadow of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The guest's table, or the first frame of the large page that the shadow maps in smaller ones.
    pub pfn: Pfn,
    /// The level it is used at: one guest table can be used at several.
    pub level: Level,
    /// It maps a large page.
    pub split: bool,
    /// What else decides its contents.
    pub role: Role,
}

/// A shadow table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// What it is the shadow of; none when it is free.
    pub key: Option<Key>,
    /// Where it lies.
    pub frame: Mfn,
    /// The record of the frame it is made of.
    pub record: u32,
    /// Entries present, those of the hypervisor's slots not counted.
    pub used: u32,
    /// The slots that name it.
    pub parents: Chain,
    /// The next table of the same frame.
    pub same: u32,
    newer: u32,
    older: u32,
}

impl Table {
    fn free(frame: Mfn) -> Self {
        let parents = Chain::EMPTY;
        Self { key: None, frame, record: NONE, used: 0, parents, same: NONE, newer: NONE, older: NONE }
    }

    /// Whether it is the shadow of a guest table.
    fn is_table(&self) -> bool {
        self.key.is_some_and(|key| !key.split)
    }
}

/// All tables, those in use in the order in which a fault last led through them.
#[derive(Debug)]
pub(super) struct Pages {
    pub tables: Vec<Table>,
    pub unused: Vec<u32>,
    newest: u32,
    oldest: u32,
}

impl Pages {
    /// Tables in these frames, all free.
    pub fn new(frames: Vec<Mfn>) -> Self {
        let unused = (0..frames.len() as u32).rev().collect();
        let tables = frames.into_iter().map(Table::free).collect();
        Self { tables, unused, newest: NONE, oldest: NONE }
    }

    /// A table.
    pub fn table(&self, number: u32) -> &Table {
        &self.tables[number as usize]
    }

    /// A table.
    pub fn table_mut(&mut self, number: u32) -> &mut Table {
        &mut self.tables[number as usize]
    }

    /// The table that no fault has led through for longest.
    pub fn oldest(&self) -> u32 {
        self.oldest
    }

    /// All tables are free.
    pub fn clear(&mut self) {
        self.tables.iter_mut().for_each(|table| *table = Table::free(table.frame));
        self.unused.clear();
        self.unused.extend((0..self.tables.len() as u32).rev());
        (self.newest, self.oldest) = (NONE, NONE);
    }

    fn enter(&mut self, number: u32) {
        let older = self.newest;
        match self.tables.get_mut(older as usize) {
            Some(table) => table.newer = number,
            None => self.oldest = number,
        }
        let table = self.table_mut(number);
        (table.newer, table.older) = (NONE, older);
        self.newest = number;
    }

    fn leave(&mut self, number: u32) {
        let &Table { newer, older, .. } = self.table(number);
        match self.tables.get_mut(newer as usize) {
            Some(table) => table.older = older,
            None => self.newest = older,
        }
        match self.tables.get_mut(older as usize) {
            Some(table) => table.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// A fault leads through the table.
    pub fn touch(&mut self, number: u32) {
        if self.newest != number {
            self.leave(number);
            self.enter(number);
        }
    }
}

impl Shadow {
    /// A shadow of a guest table that is not the current root.
    fn shadow_besides_root(&self, pfn: Pfn) -> Option<u32> {
        let mut number = self.frames.of(pfn)?.tables;
        while number != NONE {
            let table = self.pages.table(number);
            if table.is_table() && number != self.root {
                return Some(number);
            }
            number = table.same;
        }
        None
    }

    /// The shadow table for a key, as found or made, an old one being given up for it if need be. None when there
    /// is no room for its record, which the caller saw to.
    pub(super) fn obtain(&mut self, tables: &impl Tables, key: Key) -> Option<u32> {
        if let Some(number) = self.find(key) {
            self.pages.touch(number);
            return Some(number);
        }
        let number = match self.pages.unused.pop() {
            Some(number) => number,
            None => {
                let oldest = self.pages.oldest();
                self.give_up(tables, oldest);
                self.pages.unused.pop()?
            }
        };
        let Some(record) = self.frames.obtain(key.pfn) else {
            self.pages.unused.push(number);
            return None;
        };
        self.pages.enter(number);
        let same = core::mem::replace(&mut self.frames.record_mut(record).tables, number);
        let table = self.pages.table_mut(number);
        (table.key, table.record, table.same) = (Some(key), record, same);
        self.counters.made += 1;
        if !key.split {
            self.frames.record_mut(record).shadowed += 1;
            self.protect(tables, record);
        }
        Some(number)
    }

    fn find(&self, key: Key) -> Option<u32> {
        let mut number = self.frames.of(key.pfn)?.tables;
        while number != NONE {
            let table = self.pages.table(number);
            if table.key == Some(key) {
                return Some(number);
            }
            number = table.same;
        }
        None
    }

    /// Gives a shadow table up: nothing names it any more, and it names nothing. What a processor may hold that led
    /// through it led through an entry that is dropped here.
    pub(super) fn give_up(&mut self, tables: &impl Tables, number: u32) {
        self.unlink(tables, number);
        self.empty(tables, number);
        let Table { frame, record, same, .. } = *self.pages.table(number);
        if self.pages.table(number).key.is_some_and(|key| key.level == Level::L4) {
            tables.clear(frame);
        }
        let is_table = self.pages.table(number).is_table();
        self.unchain(record, number, same);
        if is_table {
            self.frames.record_mut(record).shadowed -= 1;
        }
        self.pages.leave(number);
        *self.pages.table_mut(number) = Table::free(frame);
        self.pages.unused.push(number);
        self.frames.tidy(record);
        self.counters.given_up += 1;
    }

    /// Takes a table out of the tables of its frame.
    fn unchain(&mut self, record: u32, number: u32, same: u32) {
        let record = self.frames.record_mut(record);
        if record.tables == number {
            record.tables = same;
            return;
        }
        let mut at = record.tables;
        while let Some(table) = self.pages.tables.get_mut(at as usize) {
            if table.same == number {
                table.same = same;
                return;
            }
            at = table.same;
        }
    }

    /// Drops every slot that names a table.
    pub(super) fn unlink(&mut self, tables: &impl Tables, number: u32) {
        while let Some(place) = self.pages.table(number).parents.first() {
            self.drop_slot(tables, place);
        }
    }

    /// Drops every entry of a table but the hypervisor's.
    pub(super) fn empty(&mut self, tables: &impl Tables, number: u32) {
        let root = self.pages.table(number).key.is_some_and(|key| key.level == Level::L4);
        for slot in (0..ENTRIES).filter(|&slot| !(root && is_reserved_slot(slot))) {
            if self.pages.table(number).used == 0 {
                break;
            }
            self.drop_slot(tables, Place { table: number, slot });
        }
    }

    /// Drops the entry in a slot, if there is one.
    pub(super) fn drop_slot(&mut self, tables: &impl Tables, place: Place) {
        let frame = self.pages.table(place.table).frame;
        if tables.entry(frame, place.slot) & Pte::P == 0 {
            return;
        }
        tables.set_entry(frame, place.slot, 0);
        self.pages.table_mut(place.table).used -= 1;
        self.take_reference(place);
        self.counters.dropped += 1;
        self.stale = true;
    }

    /// Takes a slot out of the list it is in: of those that name a table, or that let a frame be written.
    fn take_reference(&mut self, place: Place) {
        let Some(owner) = self.nodes.owner(place) else { return };
        if self.pages.table(place.table).key.is_some_and(|key| key.level == Level::L1) {
            self.nodes.remove(&mut self.frames.record_mut(owner).writable, place);
            self.frames.tidy(owner);
        } else {
            self.nodes.remove(&mut self.pages.table_mut(owner).parents, place);
        }
    }

    /// Makes a slot name a table one level down.
    pub(super) fn set_upper(&mut self, tables: &impl Tables, place: Place, child: u32, flags: u64) {
        let frame = self.pages.table(place.table).frame;
        let new = Pte::new(self.pages.table(child).frame, flags).0;
        let old = tables.entry(frame, place.slot);
        if old == new {
            return;
        }
        if self.nodes.owner(place) == Some(child) {
            self.stale |= narrows(old, new);
        } else {
            self.drop_slot(tables, place);
            if self.pages.table(child).parents.length >= PARENTS {
                self.unlink(tables, child);
            }
            self.nodes.push(&mut self.pages.table_mut(child).parents, child, place);
            self.pages.table_mut(place.table).used += 1;
        }
        tables.set_entry(frame, place.slot, new);
    }

    /// Makes a slot map a frame. `record` is the frame's, which may be wanted for the first time.
    pub(super) fn set_leaf(&mut self, tables: &impl Tables, place: Place, pfn: Pfn, new: Pte) {
        let frame = self.pages.table(place.table).frame;
        let old = Pte(tables.entry(frame, place.slot));
        if old == new {
            return;
        }
        if old.present() {
            self.take_reference(place);
            self.stale |= old.frame() != new.frame() || narrows(old.0, new.0);
        } else {
            self.pages.table_mut(place.table).used += 1;
        }
        let mut new = new;
        if new.writable() {
            match self.frames.obtain(pfn) {
                Some(record) => {
                    if self.frames.record(record).writable.length >= ALIASES {
                        self.forbid_writing(tables, record);
                    }
                    self.nodes.push(&mut self.frames.record_mut(record).writable, record, place);
                }
                // Without a record it is found by no one who wants to take the right away.
                None => new = Pte(new.0 & !Pte::RW),
            }
        }
        tables.set_entry(frame, place.slot, new.0);
    }

    /// Makes every slot that lets the guest write a frame read-only.
    pub(super) fn forbid_writing(&mut self, tables: &impl Tables, record: u32) {
        while let Some(place) = self.frames.record(record).writable.first() {
            let frame = self.pages.table(place.table).frame;
            tables.set_entry(frame, place.slot, tables.entry(frame, place.slot) & !Pte::RW);
            self.nodes.remove(&mut self.frames.record_mut(record).writable, place);
            self.counters.protected += 1;
            self.stale = true;
        }
    }

    /// Takes the right to write a frame away, if its writes must be seen.
    pub(super) fn protect(&mut self, tables: &impl Tables, record: u32) {
        if self.frames.record(record).traced() {
            self.forbid_writing(tables, record);
        }
    }

    /// Drops what was made of a word of a page table, at every level and in every role in which it is used.
    pub(super) fn drop_made_of(&mut self, tables: &impl Tables, record: u32, slot: usize) {
        let mut number = self.frames.record(record).tables;
        while number != NONE {
            let Table { key, same, .. } = *self.pages.table(number);
            if let Some(Key { level, split: false, .. }) = key
                && !(level == Level::L4 && is_reserved_slot(slot))
            {
                self.drop_slot(tables, Place { table: number, slot });
            }
            number = same;
        }
    }

    /// Gives up all shadows of a page table but the current root, which is emptied.
    pub(super) fn give_up_table(&mut self, tables: &impl Tables, pfn: Pfn) {
        if self.pages.table(self.root).key.is_some_and(|key| key.pfn == pfn) {
            self.empty(tables, self.root);
        }
        while let Some(number) = self.shadow_besides_root(pfn) {
            self.give_up(tables, number);
        }
    }

    /// Gives everything up but the current root, which is emptied, and the caller's marks.
    pub(super) fn give_up_all(&mut self, tables: &impl Tables) {
        let root = *self.pages.table(self.root);
        for (number, table) in self.pages.tables.iter().enumerate() {
            if table.key.is_some() {
                tables.clear(table.frame);
                self.nodes.forget(number as u32);
                self.counters.given_up += 1;
            }
        }
        let marked = self.marked.clone();
        self.frames.clear();
        self.loose.clear();
        self.pages.clear();
        for pfn in marked {
            if let Some(record) = self.frames.obtain(pfn) {
                self.frames.record_mut(record).marked = true;
            }
        }
        self.stale = true;
        self.restore_root(tables, root);
    }
}
