//! A guest's memory, the frames of its shadow, and a processor that walks the shadow and remembers what it found
//! until it is told to forget.

mod audit;
mod fill;
mod property;
mod reference;
mod roots;
mod tracing;
mod walk;

use super::*;
use crate::addr::{ENTRIES, Level, Pfn, VirtAddr, is_reserved_slot};
use crate::flush::FlushWhat;
use crate::guest_memory::{Access, Fault};
use crate::pagetable::Pte;
use alloc::vec;
use core::cell::{Cell, RefCell};

/// The guest has frames 0 to 23 and 512 to 519.
const FRAMES: u64 = 24;
const HIGH: u64 = 512;
const HIGH_FRAMES: u64 = 8;
/// The first machine frame of the shadow's.
const POOL: u64 = 5000;

const P: u64 = Pte::P;
const RW: u64 = Pte::RW;
const US: u64 = Pte::US;
const A: u64 = Pte::A;
const D: u64 = Pte::D;
const PS: u64 = Pte::PS;
const NX: u64 = Pte::NX;
/// Everything that a program's page can have.
const OPEN: u64 = P | RW | US;

const PROTECTED: Controls =
    Controls { write_protect: true, no_execute: true, huge_pages: true, address_bits: 40 };

const KERNEL_READ: Use = Use { access: Access::Read, user: false };
const KERNEL_WRITE: Use = Use { access: Access::Write, user: false };
const KERNEL_FETCH: Use = Use { access: Access::Fetch, user: false };
const USER_READ: Use = Use { access: Access::Read, user: true };
const USER_WRITE: Use = Use { access: Access::Write, user: true };
const USER_FETCH: Use = Use { access: Access::Fetch, user: true };
const USES: [Use; 6] = [KERNEL_READ, KERNEL_WRITE, KERNEL_FETCH, USER_READ, USER_WRITE, USER_FETCH];

/// The address that these slots lead to.
fn va(slots: [usize; 4]) -> VirtAddr {
    let low = slots.iter().fold(0, |address, &slot| address << 9 | slot as u64) << 12;
    VirtAddr::new(((low << 16) as i64 >> 16) as u64).unwrap()
}

fn entry(pfn: u64, flags: u64) -> u64 {
    pfn << 12 | flags
}

/// The guest-physical address of a word.
fn word(pfn: u64, slot: usize) -> u64 {
    (pfn << 12) + slot as u64 * 8
}

#[derive(Debug)]
struct Machine {
    memory: RefCell<Vec<u64>>,
    pool: RefCell<Vec<u64>>,
    /// Words that were changed by exchange: where, from, to.
    marked: RefCell<Vec<(u64, u64, u64)>>,
    /// What another processor does to a word just before an exchange, so many times.
    meanwhile: Cell<(u64, u64, u32)>,
}

impl Machine {
    fn new(tables: usize) -> Self {
        Self {
            memory: RefCell::new(vec![0; (FRAMES + HIGH_FRAMES) as usize * ENTRIES]),
            pool: RefCell::new(vec![0; tables * ENTRIES]),
            marked: RefCell::default(),
            meanwhile: Cell::new((0, 0, 0)),
        }
    }

    fn index(pfn: u64) -> Option<u64> {
        match pfn {
            0..FRAMES => Some(pfn),
            HIGH.. if pfn < HIGH + HIGH_FRAMES => Some(pfn - HIGH + FRAMES),
            _ => None,
        }
    }

    fn word(address: u64) -> Option<usize> {
        assert_eq!(address % 8, 0);
        let index = Self::index(address >> 12)?;
        Some(index as usize * ENTRIES + (address as usize & 0xfff) / 8)
    }

    /// Writes as the guest does: nobody is asked.
    fn poke(&self, pfn: u64, slot: usize, value: u64) {
        let index = Self::word(word(pfn, slot)).unwrap();
        self.memory.borrow_mut()[index] = value;
    }

    fn peek(&self, pfn: u64, slot: usize) -> u64 {
        self.read(word(pfn, slot)).unwrap()
    }

    fn slot(table: Mfn, slot: usize) -> usize {
        assert!(slot < ENTRIES);
        (table.get() - POOL) as usize * ENTRIES + slot
    }

    /// The guest frame behind a machine frame. No other is ever to be mapped.
    fn guest_frame(frame: Mfn) -> Option<Pfn> {
        let pfn = (frame.get() ^ 0x15).checked_sub(1024)?;
        Self::index(pfn).map(|_| Pfn::new(pfn))
    }
}

impl Physical for Machine {
    fn read(&self, address: u64) -> Option<u64> {
        Self::word(address).map(|word| self.memory.borrow()[word])
    }

    fn compare_exchange(&self, address: u64, expected: u64, new: u64) -> bool {
        let (place, value, times) = self.meanwhile.get();
        let Some(word) = Self::word(address) else { return false };
        let word = &mut self.memory.borrow_mut()[word];
        if place == address && times > 0 {
            *word ^= value;
            self.meanwhile.set((place, value, times - 1));
        }
        let done = *word == expected;
        if done {
            *word = new;
            self.marked.borrow_mut().push((address, expected, new));
        }
        done
    }

    fn frame(&self, pfn: Pfn) -> Option<Mfn> {
        Self::index(pfn.get()).map(|_| Mfn::new((pfn.get() + 1024) ^ 0x15))
    }
}

impl Tables for Machine {
    fn entry(&self, table: Mfn, slot: usize) -> u64 {
        self.pool.borrow()[Self::slot(table, slot)]
    }

    fn set_entry(&self, table: Mfn, slot: usize, entry: u64) {
        self.pool.borrow_mut()[Self::slot(table, slot)] = entry;
    }

    fn clear(&self, table: Mfn) {
        let first = Self::slot(table, 0);
        self.pool.borrow_mut()[first..first + ENTRIES].fill(0);
    }
}

/// A translation that the processor remembers.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    page: VirtAddr,
    frame: Mfn,
    rights: Rights,
}

/// How an access ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The processor made it, to this guest-physical address.
    Made(u64),
    /// It is for the caller to decide.
    Left(Outcome),
}

#[derive(Debug)]
struct World {
    machine: Machine,
    shadow: Shadow,
    remembered: Vec<Remembered>,
    /// Faults of the last access.
    faults: u32,
}

fn pool(tables: usize, records: usize) -> Pool {
    let frames = (POOL..POOL + tables as u64).map(Mfn::new).collect();
    Pool { frames, records, seed: 0x1234 }
}

fn template(first: u64) -> Template {
    core::array::from_fn(|slot| if slot < 2 { entry(first + slot as u64, P | A | RW) } else { 0 })
}

impl World {
    fn new(tables: usize, records: usize) -> Self {
        let machine = Machine::new(tables);
        let pool = pool(tables, records);
        let shadow = Shadow::new(&machine, pool, template(9000), PROTECTED, 1 << 12).unwrap();
        Self { machine, shadow, remembered: Vec::new(), faults: 0 }
    }

    /// A world in which root 1 leads by slots 0 of tables 3, 5 and 7 to pages 10, 11, 12, ... of the guest's, which
    /// everybody may write.
    fn mapped() -> Self {
        let world = Self::new(16, FEWEST_RECORDS + 32);
        for (table, next) in [(1, 3), (3, 5), (5, 7)] {
            world.machine.poke(table, 0, entry(next, OPEN));
        }
        (0..8).for_each(|slot| world.machine.poke(7, slot, entry(10 + slot as u64, OPEN)));
        world
    }

    fn discharge(&mut self, flush: Flush) {
        match flush.what {
            FlushWhat::Nothing => {}
            FlushWhat::Page(page) => self.remembered.retain(|entry| entry.page != page.page()),
            FlushWhat::All => self.remembered.clear(),
        }
    }

    /// The guest loads CR3.
    fn load_cr3(&mut self, cr3: u64) {
        let flush = self.shadow.load_cr3(&self.machine, cr3);
        assert_eq!(flush, Flush::DOMAIN);
        self.discharge(flush);
    }

    fn set_controls(&mut self, write_protect: bool, no_execute: bool) {
        let flush = self.shadow.set_controls(&self.machine, write_protect, no_execute);
        self.discharge(flush);
    }

    fn invlpg(&mut self, address: u64) {
        let flush = self.shadow.invlpg(&self.machine, address);
        self.discharge(flush);
    }

    fn untrace(&mut self, pfn: u64) {
        let flush = self.shadow.untrace(&self.machine, Pfn::new(pfn));
        self.discharge(flush);
    }

    fn mark(&mut self, pfn: u64) -> bool {
        match self.shadow.mark(&self.machine, Pfn::new(pfn)) {
            Ok(flush) => self.discharge(flush),
            Err(TooMany) => return false,
        }
        true
    }

    fn is_traced(&self, pfn: u64) -> bool {
        self.shadow.is_traced(Pfn::new(pfn))
    }

    /// Writes a word as the emulator does, or as the guest may by itself.
    fn write(&mut self, address: u64, value: u64) {
        let word = Machine::word(address).unwrap();
        let old = core::mem::replace(&mut self.machine.memory.borrow_mut()[word], value);
        if self.is_traced(address >> 12) {
            let flush = self.shadow.guest_wrote(&self.machine, address, old, value);
            self.discharge(flush);
        }
    }

    /// Writes a table's entry.
    fn edit(&mut self, pfn: u64, slot: usize, value: u64) {
        self.write(word(pfn, slot), value);
    }

    /// What the processor finds on its walk: the real CR0.WP and EFER.NXE are 1.
    fn translate(&mut self, address: VirtAddr, usage: Use) -> Result<Mfn, u32> {
        let page = address.page();
        let hit = self.remembered.iter().position(|entry| entry.page == page);
        if let Some(entry) = hit.map(|at| self.remembered[at]) {
            if entry.rights.allow(usage, PROTECTED) {
                return Ok(entry.frame);
            }
            // A fault forgets what it faulted on.
            self.remembered.retain(|entry| entry.page != page);
        }
        let code = match usage.access {
            Access::Read => 0,
            Access::Write => Fault::WRITE,
            Access::Fetch => Fault::FETCH,
        } | if usage.user { Fault::USER } else { 0 };
        if !VirtAddr::is_guest(address.get()) {
            // The hypervisor's tables are none of this test's.
            return Err(code);
        }
        let (mut frame, mut rights) = (self.shadow.root(), Rights::ALL);
        for level in Level::DOWN {
            let found = Pte(self.machine.entry(frame, address.slot(level)));
            if !found.present() {
                return Err(code);
            }
            assert!(found.has(Pte::A), "{found:?} of {level:?} would be written by the processor");
            let unknown = P | RW | US | NX | Pte::FRAME | A | if level == Level::L1 { D } else { 0 };
            assert_eq!(found.0 & !unknown, 0, "{found:?} of {level:?}");
            rights = rights.below(found);
            frame = found.frame();
        }
        if !rights.allow(usage, PROTECTED) {
            return Err(code | Fault::PRESENT);
        }
        self.remembered.push(Remembered { page, frame, rights });
        Ok(frame)
    }

    /// An access of the guest's, with the faults that it takes.
    fn touch(&mut self, address: VirtAddr, usage: Use) -> End {
        self.machine.marked.borrow_mut().clear();
        for faults in 0..4 {
            self.faults = faults;
            let code = match self.translate(address, usage) {
                Ok(frame) => {
                    let pfn = Machine::guest_frame(frame).expect("a frame of the guest's");
                    return End::Made(pfn.get() << 12 | address.page_offset() as u64);
                }
                Err(code) => code,
            };
            assert_eq!(Use::from_error_code(code), usage);
            let answer = self.shadow.fault(&self.machine, address, usage);
            self.discharge(answer.flush);
            if answer.outcome != Outcome::Retry {
                self.faults += 1;
                return End::Left(answer.outcome);
            }
        }
        panic!("{usage:?} of {address} does not get on");
    }

    /// An access that succeeds, and the faults that it took.
    #[track_caller]
    fn made(&mut self, address: VirtAddr, usage: Use) -> (u64, u32) {
        match self.touch(address, usage) {
            End::Made(address) => (address, self.faults),
            End::Left(outcome) => panic!("{usage:?} of {address}: {outcome:?}"),
        }
    }

    /// An access that does not.
    #[track_caller]
    fn left(&mut self, address: VirtAddr, usage: Use) -> Outcome {
        match self.touch(address, usage) {
            End::Made(made) => panic!("{usage:?} of {address} reached {made:#x}"),
            End::Left(outcome) => outcome,
        }
    }

    /// The shadow's entry for an address.
    fn leaf(&self, address: VirtAddr) -> Pte {
        let mut found = Pte::new(self.shadow.root(), P);
        for level in Level::DOWN {
            if !found.present() {
                return Pte(0);
            }
            found = Pte(self.machine.entry(found.frame(), address.slot(level)));
        }
        found
    }
}
