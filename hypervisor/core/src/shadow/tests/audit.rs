//! A recount of everything a shadow keeps.

use super::*;
use crate::shadow::chain::{Chain, Place};
use crate::shadow::pages::Key;
use core::iter;

impl World {
    /// Panics unless all records agree with each other, with the tables and with the guest's.
    pub fn audit(&self) {
        let pages = &self.shadow.pages;
        let used = (0..pages.tables.len() as u32).filter(|&number| pages.table(number).key.is_some());
        let used: Vec<u32> = used.collect();
        assert_eq!(used.len() + pages.unused.len(), pages.tables.len());
        for number in 0..pages.tables.len() as u32 {
            match pages.table(number).key {
                Some(key) => self.audit_table(number, key),
                None => self.audit_free(number),
            }
        }
        for (number, record) in self.shadow.frames.all() {
            assert_eq!(self.shadow.frames.find(record.pfn), Some(number));
            let writable = self.length(record.writable, number);
            assert!(!record.traced() || writable == 0, "{record:?} is traced");
            let chained = self.tables_of(record.pfn);
            let shadowed = chained.iter().filter(|&&table| pages.table(table).key.is_some_and(|k| !k.split));
            assert_eq!(shadowed.count() as u32, record.shadowed, "{record:?}");
            assert_eq!(record.marked, self.shadow.marked.contains(&record.pfn));
            assert!(!record.loose || self.shadow.loose.contains(&record.pfn), "{record:?}");
            assert!(!chained.is_empty() || writable > 0 || record.marked, "{record:?} says nothing");
        }
        let chained: usize =
            self.shadow.frames.all().map(|(_, record)| self.tables_of(record.pfn).len()).sum();
        assert_eq!(chained, used.len());
        self.audit_root();
    }

    fn tables_of(&self, pfn: Pfn) -> Vec<u32> {
        let next = |number: u32| self.shadow.pages.tables.get(number as usize).map(|_| number);
        let first = self.shadow.frames.of(pfn).and_then(|record| next(record.tables));
        iter::successors(first, |&table| next(self.shadow.pages.table(table).same))
            .inspect(|&table| assert_eq!(self.shadow.pages.table(table).key.unwrap().pfn, pfn))
            .collect()
    }

    fn length(&self, chain: Chain, owner: u32) -> u32 {
        let nodes = &self.shadow.nodes;
        let places = iter::successors(chain.first(), |&place| nodes.next(place));
        let count = places.inspect(|&place| assert_eq!(nodes.owner(place), Some(owner))).count();
        assert_eq!(count as u32, chain.length);
        count as u32
    }

    fn audit_root(&self) {
        let root = *self.shadow.pages.table(self.shadow.root);
        assert_eq!(root.key, Some(self.shadow.root_key()));
        for (slot, entry) in (256..).zip(self.shadow.template) {
            assert_eq!(self.machine.entry(root.frame, slot), entry, "slot {slot} of the root");
        }
        assert!(!self.shadow.stale, "a flush was not asked for");
    }

    fn audit_free(&self, number: u32) {
        let table = self.shadow.pages.table(number);
        assert_eq!(self.shadow.pages.unused.iter().filter(|&&unused| unused == number).count(), 1);
        assert_eq!((table.used, table.parents), (0, Chain::EMPTY));
        let first = Machine::slot(table.frame, 0);
        // One comparison, since there are many.
        assert_eq!(self.machine.pool.borrow()[first..first + ENTRIES], [0; ENTRIES]);
    }

    fn audit_table(&self, number: u32, key: Key) {
        let table = *self.shadow.pages.table(number);
        self.length(table.parents, number);
        assert!(key.level != Level::L4 || table.parents.length == 0);
        let record = self.shadow.frames.of(key.pfn).expect("a record");
        let in_step = !key.split && !record.loose;
        let mut used = 0;
        for slot in (0..ENTRIES).filter(|&slot| key.level != Level::L4 || !is_reserved_slot(slot)) {
            let found = Pte(self.machine.entry(table.frame, slot));
            let place = Place { table: number, slot };
            if !found.present() {
                assert_eq!((found.0, self.shadow.nodes.owner(place)), (0, None), "slot {slot} of {key:?}");
                continue;
            }
            used += 1;
            let leads = match key.level {
                Level::L1 => self.audit_leaf(place, found),
                _ => self.audit_upper(place, found, key),
            };
            if in_step {
                self.audit_step(key, slot, found, leads);
            }
        }
        assert_eq!(used, table.used, "{key:?}");
    }

    /// A leaf maps a frame of the guest's, and is found by who wants to protect it if it is writable.
    fn audit_leaf(&self, place: Place, found: Pte) -> Pfn {
        let pfn = Machine::guest_frame(found.frame()).expect("a frame of the guest's");
        assert!(found.has(A | D) && found.0 & Pte::G == 0, "{found:?}");
        match self.shadow.nodes.owner(place) {
            Some(owner) => assert!(found.writable() && self.shadow.frames.record(owner).pfn == pfn),
            None => assert!(!found.writable(), "{found:?} is not found"),
        }
        assert!(!found.writable() || !self.is_traced(pfn.get()), "{found:?} maps {pfn:?}, which is traced");
        pfn
    }

    fn audit_upper(&self, place: Place, found: Pte, key: Key) -> Pfn {
        let child = self.shadow.pages.table(self.shadow.nodes.owner(place).expect("a child"));
        let below = child.key.expect("a child in use");
        assert_eq!((child.frame, Some(below.level)), (found.frame(), key.level.below()));
        assert!(found.has(A) && found.0 & (Pte::G | PS | D) == 0, "{found:?}");
        assert!(!key.split || below.split);
        below.pfn
    }

    /// An entry of a table in step says no more than the guest's does now.
    fn audit_step(&self, key: Key, slot: usize, found: Pte, leads: Pfn) {
        let guest = Pte(self.machine.read(word(key.pfn.get(), slot)).unwrap_or(u64::MAX));
        let what = "is out of step";
        assert!(guest.has(P | A), "{found:?} of {guest:?} in {key:?} {what}");
        let large = guest.has(PS) && matches!(key.level, Level::L2 | Level::L3);
        let first = if large { !((1 << (key.level.shift() - 12)) - 1) } else { u64::MAX };
        assert_eq!(guest.frame().get() & first, leads.get(), "{found:?} of {guest:?} in {key:?} {what}");
        assert_eq!(found.0 & NX, guest.0 & NX, "{found:?} of {guest:?} {what}");
        if large || key.level == Level::L1 {
            assert!(!found.writable() || guest.has(D), "{found:?} of {guest:?} {what}");
        }
        if key.role.unprotected.is_none() {
            assert_eq!(found.0 & (RW | US) & !guest.0, 0, "{found:?} of {guest:?} {what}");
        } else if key.level == Level::L1 && found.has(US) {
            assert!(guest.has(US) && (!found.writable() || guest.has(RW)), "{found:?} of {guest:?} {what}");
        }
    }
}
