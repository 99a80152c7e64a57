//! A CPU's root and caches.

use super::FakeMachine;
use crate::addr::{DomainId, ENTRIES, Level, Mfn, PAGE_SIZE, VirtAddr, is_reserved_slot};
use crate::emulate::Mode;
use crate::flush::RootChange;
use crate::frame::{FrameTable, FrameType, Owner};
use crate::memory::Memory;
use crate::pagetable::{Ldt, Pte};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

/// Something a CPU holds that lets its guest reach what it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// A translation of a page that is another owner's, which only a grant allows.
    ForeignPage {
        /// The CPU.
        cpu: usize,
        /// The domain whose vcpu it runs.
        by: DomainId,
        /// The page's address.
        address: u64,
        /// The frame.
        frame: Mfn,
        /// Whether it allows writing.
        writable: bool,
    },
    /// A translation that allows writing a page that is a table now.
    WritableTable {
        /// The CPU.
        cpu: usize,
        /// The page's address.
        address: u64,
        /// The frame.
        frame: Mfn,
    },
    /// A cached upper entry that names as a table what is none now.
    NoTable {
        /// The CPU.
        cpu: usize,
        /// The frame.
        frame: Mfn,
        /// The level it was cached as.
        level: Level,
    },
    /// A root that is not a copy of the guest's L4.
    Root {
        /// The CPU.
        cpu: usize,
        /// The slot that differs.
        slot: usize,
    },
    /// A page of the LDT that holds no checked descriptors.
    Descriptors {
        /// The CPU.
        cpu: usize,
        /// The frame.
        frame: Mfn,
    },
}

#[derive(Clone, Copy, Debug)]
struct Translation {
    frame: Mfn,
    /// RW and US, as all levels together have them.
    rights: u64,
}

/// The tables of one half of a guest.
#[derive(Debug)]
struct Root {
    base: Option<Mfn>,
    /// The copy of the base L4 that the CPU walks.
    entries: Vec<u64>,
}

impl Root {
    fn new() -> Self {
        Self { base: None, entries: vec![0; ENTRIES] }
    }

    fn load(&mut self, base: Option<Mfn>, machine: &FakeMachine) {
        self.base = base;
        for (slot, entry) in self.entries.iter_mut().enumerate() {
            let source = base.filter(|_| !is_reserved_slot(slot));
            *entry = source.map_or(0, |base| machine.read_word(base, slot));
        }
    }
}

/// A CPU.
#[derive(Debug)]
pub(super) struct Cpu {
    domain: Option<DomainId>,
    /// Those of the kernel, and of the programs where they have their own.
    kernel: Root,
    user: Root,
    pub(super) ldt: Ldt,
    last_flush: u64,
    /// In no guest: it walks the hypervisor's tables alone.
    away: bool,
    pages: BTreeMap<u64, Translation>,
    tables: BTreeSet<(Mfn, Level)>,
}

impl Cpu {
    pub(super) fn new() -> Self {
        Self {
            domain: None,
            kernel: Root::new(),
            user: Root::new(),
            ldt: Ldt::NONE,
            last_flush: 0,
            away: false,
            pages: BTreeMap::new(),
            tables: BTreeSet::new(),
        }
    }

    pub(super) fn runs(&self, domain: DomainId) -> bool {
        self.domain == Some(domain)
    }

    pub(super) fn last_flush(&self) -> u64 {
        self.last_flush
    }

    pub(super) fn flush_all(&mut self, now: u64) {
        self.pages.clear();
        self.tables.clear();
        self.last_flush = now;
    }

    pub(super) fn flush_page(&mut self, address: u64) {
        self.pages.remove(&(address & !(PAGE_SIZE as u64 - 1)));
        // INVLPG drops the cached upper entries for the address; holding none is the same and simpler,
        // but would hide a missing flush of another address, so the rest stays.
    }

    /// It leaves its guest for good, or returns to one. Leaving, it loads CR3, which drops every translation.
    pub(super) fn set_away(&mut self, away: bool) {
        self.away = away;
        self.pages.clear();
        self.tables.clear();
    }

    pub(super) fn holds(&self, address: u64) -> bool {
        self.pages.contains_key(&(address & !(PAGE_SIZE as u64 - 1)))
    }

    pub(super) fn load(&mut self, domain: DomainId, half: Mode, base: Option<Mfn>, machine: &FakeMachine) {
        if self.domain != Some(domain) {
            // The other half's table is another domain's.
            self.user.load(None, machine);
            self.kernel.load(None, machine);
        }
        self.domain = Some(domain);
        match half {
            Mode::Kernel => self.kernel.load(base, machine),
            Mode::User => self.user.load(base, machine),
        }
    }

    pub(super) fn root_changed(&mut self, change: RootChange) {
        for root in [&mut self.kernel, &mut self.user] {
            if root.base == Some(change.l4) {
                root.entries[change.slot] = change.entry;
            }
        }
    }

    /// Caches all that the roots reach.
    pub(super) fn fill(&mut self, machine: &FakeMachine) {
        if self.away {
            return;
        }
        let rights = Pte::RW | Pte::US;
        let present = |root: &Root| {
            root.entries.iter().copied().enumerate().filter(|(_, entry)| *entry != 0).collect::<Vec<_>>()
        };
        let root = [&self.kernel, &self.user].map(present).concat();
        for (slot, entry) in root {
            self.fill_below(machine, Pte(entry), Level::L3, place(0, slot, Level::L4), rights);
        }
    }

    fn fill_below(&mut self, machine: &FakeMachine, entry: Pte, level: Level, at: u64, rights: u64) {
        if !entry.present() || entry.frame().index() >= machine.frames() {
            return;
        }
        let table = entry.frame();
        let rights = rights & entry.0;
        self.tables.insert((table, level));
        for (slot, word) in machine.nonzero(table) {
            let (entry, at) = (Pte(word), place(at, slot, level));
            match level.below() {
                Some(below) => self.fill_below(machine, entry, below, at, rights),
                None if entry.present() => {
                    let rights = rights & entry.0;
                    self.pages.insert(at, Translation { frame: entry.frame(), rights });
                }
                None => {}
            }
        }
    }

    pub(super) fn touch(
        &mut self,
        machine: &FakeMachine,
        address: u64,
        write: bool,
        user: bool,
    ) -> Option<Mfn> {
        let va = VirtAddr::new(address)?;
        let must = if write { Pte::RW } else { 0 } | if user { Pte::US } else { 0 };
        if let Some(cached) = self.pages.get(&va.page().get()) {
            return (cached.rights & must == must).then_some(cached.frame);
        }
        let root = if user && self.user.base.is_some() { &mut self.user } else { &mut self.kernel };
        root.base?;
        let mut table = None;
        for level in Level::DOWN {
            let slot = va.slot(level);
            let entry = Pte(table.map_or(root.entries[slot], |table| machine.read_word(table, slot)));
            if !entry.has(must | Pte::P) {
                return None;
            }
            let marks = Pte::A | if write && level == Level::L1 { Pte::D } else { 0 };
            match table {
                Some(table) => machine.poke(table, slot, entry.0 | marks),
                None => root.entries[slot] |= marks,
            }
            table = Some(entry.frame());
        }
        table
    }

    pub(super) fn stale(
        &self,
        cpu: usize,
        machine: &FakeMachine,
        frames: &FrameTable,
        found: &mut Vec<Stale>,
    ) {
        let Some(domain) = self.domain else { return };
        for (&address, page) in &self.pages {
            let Some(info) = frames.info(page.frame) else { continue };
            let writable = page.rights & Pte::RW != 0;
            if writable && info.type_count() > 0 && info.kind() != FrameType::Writable {
                found.push(Stale::WritableTable { cpu, address, frame: page.frame });
            } else if info.owner() != Owner::Domain(domain) && info.owner() != Owner::Free {
                found.push(Stale::ForeignPage { cpu, by: domain, address, frame: page.frame, writable });
            }
        }
        for &(frame, level) in &self.tables {
            let Some(info) = frames.info(frame) else { continue };
            let foreign = info.owner() != Owner::Domain(domain) && info.owner() != Owner::Free;
            if foreign || (info.type_count() > 0 && info.kind() != FrameType::table(level)) {
                found.push(Stale::NoTable { cpu, frame, level });
            }
        }
        // What a CPU that is in no guest shows is made right before it is in one.
        let unchecked =
            |frame: &Mfn| !frames.info(*frame).is_some_and(|it| it.is_in_use_as(FrameType::SegDesc));
        let shown = self.ldt.pages().iter().flatten().copied().filter(|_| !self.away);
        found.extend(shown.filter(unchecked).map(|frame| Stale::Descriptors { cpu, frame }));
        // The roots of a CPU that returns to the vcpu it left must be right again by then.
        for root in [&self.kernel, &self.user] {
            let Some(base) = root.base.filter(|_| !self.away) else { continue };
            let words = root.entries.iter().zip(machine.snapshot(base)).enumerate();
            let differing = words.filter(|(_, (held, is))| (*held ^ is) & !(Pte::A | Pte::D) != 0);
            let slots = differing.map(|(slot, _)| slot).filter(|slot| !is_reserved_slot(*slot));
            found.extend(slots.map(|slot| Stale::Root { cpu, slot }));
        }
    }
}

/// The lowest address of what entry `slot` of a table of `level` maps, the table itself mapping from `at`.
fn place(at: u64, slot: usize, level: Level) -> u64 {
    let at = at | (slot as u64) << level.shift();
    // Bit 47 is copied upwards.
    (((at << 16) as i64) >> 16) as u64
}
