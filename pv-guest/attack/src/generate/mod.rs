//! What the fuzzer tries: calls, structures, page-table entries, instructions, derived from random numbers and what is
//! known of the domain. Nothing here touches memory: the structures of a call come as bytes for one page, with pointers
//! into it, and the caller places them.
//!
//! Values are biased to what makes a difference: frames of every kind, borders of every range, counts that fit and
//! counts that do not. Some things would only end the fuzzer itself and are left out: they are named where that is done.

pub mod calls;
pub mod instructions;
pub mod structures;

use crate::random::Random;

/// Frames that the fuzzer may do anything with.
pub const ARENA: usize = 128;
/// The first of them that is mapped read-only at the start of an epoch, so that it can become a table.
pub const ARENA_READ_ONLY: usize = 48;
/// Pages of the window that has the arena at its beginning.
pub const WINDOW_PAGES: u64 = 512;
/// L4 slots of the core's root that the fuzzer may change.
pub const SLOTS: [u64; 12] = [1, 2, 3, 4, 5, 6, 300, 301, 302, 303, 304, 305];
/// The L4 slot of the core, which no root may lose.
pub const CORE_SLOT: u64 = 384;
/// Bytes that a call's structures may have.
pub const SCRATCH: usize = 4096;
/// Where in them lists begin that structures point to.
pub const LISTS: usize = 2048;
/// Where a count of what was done is stored.
pub const DONE: u64 = 4000;

/// The first of [`World::foreign`] that could become the domain's: those before are no free memory.
pub const NEVER_OWN: usize = 6;

/// What the generators know of the domain.
#[derive(Clone, Debug)]
pub struct World {
    /// Address of the page for structures; the page behind it may be written too, and there is nothing behind that.
    pub scratch: u64,
    /// Address of the window.
    pub window: u64,
    /// The frames that the fuzzer owns.
    pub arena: [u64; ARENA],
    /// The core's root and the two tables below it. Not its L1s: a view of one is enough to change it, as a write to it is
    /// emulated.
    pub tables: [u64; 3],
    /// Roots that run the core as its own does, pinned.
    pub roots: [u64; 2],
    /// The L1 of the window.
    pub window_l1: u64,
    /// Frames that are not the domain's.
    pub foreign: [u64; 16],
    /// Addresses of the hypervisor's.
    pub reserved: [u64; 12],
    /// An address with code that ends guarded ring 1.
    pub code: u64,
    /// Programs' code and data pages.
    pub user: [u64; 2],
    /// The FIFO form of events is in use, so that blocking may have no end.
    pub fifo: bool,
    /// Other vcpus write the structures while the hypervisor reads them.
    pub contested: bool,
    /// Every other step is a long batch of calls.
    pub batches: bool,
    /// System time now, roughly.
    pub now: u64,
}

impl World {
    /// A frame's number.
    pub fn frame(&self, random: &mut Random) -> u64 {
        match random.below(24) {
            0 => random.pick(&self.tables),
            1 => random.pick(&self.foreign),
            // Not the roots: one that is unpinned and emptied would take the core with it.
            3 => random.sized() | 1 << 28,
            4 => self.window_l1,
            _ => self.own(random),
        }
    }

    /// A frame of the arena's.
    pub fn own(&self, random: &mut Random) -> u64 {
        self.arena[random.below(ARENA as u64) as usize]
    }

    /// A frame of the arena's that may be a table.
    pub fn own_table(&self, random: &mut Random) -> u64 {
        let count = (ARENA - ARENA_READ_ONLY) as u64;
        self.arena[ARENA_READ_ONLY + random.below(count) as usize]
    }

    /// A page-table entry of any level.
    pub fn entry(&self, random: &mut Random) -> u64 {
        const HARMLESS: [u64; 8] = [1 << 5, 1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 52, 1 << 63, 1 << 62];
        const REFUSED: [u64; 5] = [1 << 3, 1 << 4, 1 << 7, 1 << 8, 1 << 51];
        if random.once_in(8) {
            return if random.once_in(2) { 0 } else { random.next() & !1 };
        }
        let frame = if random.once_in(2) { self.own_table(random) } else { self.frame(random) };
        let mut entry = (frame << 12 & 0x000f_ffff_ffff_f000) | 1;
        if random.once_in(2) {
            entry |= 1 << 1;
        }
        if random.once_in(3) {
            entry |= 1 << 2;
        }
        for _ in 0..random.below(4) {
            entry |= random.pick(&HARMLESS);
        }
        if random.once_in(16) {
            entry |= random.pick(&REFUSED);
        }
        entry
    }

    /// The machine address of a page-table entry.
    pub fn entry_address(&self, random: &mut Random) -> u64 {
        let index = random.below(512);
        let (table, index) = match random.below(32) {
            0..=4 => (self.window_l1, ARENA as u64 + random.below(WINDOW_PAGES - ARENA as u64)),
            5 | 6 => (self.tables[0], random.pick(&SLOTS)),
            7 => (self.tables[0], 256 + random.below(16)),
            8 | 9 => (random.pick(&self.roots), if index == CORE_SLOT { 0 } else { index }),
            10 => (random.pick(&self.foreign), index),
            11 => (self.own(random), index),
            // Few tables and few entries, so that what one step writes another meets.
            _ => (self.own_table(random), if random.once_in(4) { index } else { index % 8 }),
        };
        let odd = if random.once_in(64) { random.below(8) } else { 0 };
        (table << 12 | index << 3) + odd
    }

    /// An address in the window: the arena's pages, views of tables, nothing.
    pub fn window_address(&self, random: &mut Random) -> u64 {
        let page = if random.once_in(3) { random.below(WINDOW_PAGES) } else { random.below(ARENA as u64) };
        let offset = match random.below(4) {
            0 => 0,
            1 => random.below(512) * 8,
            2 => 4096 - random.below(16),
            _ => random.below(4096),
        };
        self.window + page * 4096 + offset
    }

    /// An address that is mostly wrong.
    pub fn bad_address(&self, random: &mut Random) -> u64 {
        match random.below(8) {
            0 => 0,
            1 => random.below(4096),
            2 => (1 << 47) - random.below(16),
            3 => (1 << 47) + random.below(1 << 20),
            4 => u64::MAX - random.below(64),
            5 | 6 => random.pick(&self.reserved) + random.below(4096),
            _ => self.window_address(random),
        }
    }

    /// A domain's number.
    pub fn domain(&self, random: &mut Random) -> u64 {
        const OTHERS: [u64; 9] = [0, 2, 3, 0x7ff0, 0x7ff1, 0x7ff2, 0x7ff3, 0x7ff4, 0x7fff];
        match random.below(10) {
            0 => random.pick(&OTHERS),
            1 => 1,
            2 if random.once_in(4) => random.next() & 0xffff,
            _ => 0x7ff0,
        }
    }

    /// A word for a register of guarded code in ring 1: never an address of the core's.
    pub fn word(&self, random: &mut Random) -> u64 {
        match random.below(6) {
            0 => self.window_address(random),
            1 => self.bad_address(random),
            2 => self.entry(random),
            3 => random.below(64),
            4 => self.frame(random),
            _ => random.sized(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A world of recognisable numbers.
    pub fn world() -> World {
        World {
            scratch: 0xffff_8900_0000_0000,
            window: 0xffff_8880_0000_0000,
            arena: core::array::from_fn(|index| 0x1000 + index as u64),
            tables: core::array::from_fn(|index| 0x800 + index as u64),
            roots: [0x900, 0x901],
            window_l1: 0x910,
            foreign: core::array::from_fn(|index| 0x2_0000 + index as u64),
            reserved: [0xffff_8000_0000_0000; 12],
            code: 0xffff_c000_0050_0000,
            user: [0x40_0000, 0x40_1000],
            fifo: false,
            contested: false,
            batches: false,
            now: 1_000_000,
        }
    }

    #[test]
    fn the_core_keeps_its_place_in_every_root() {
        let (world, mut random) = (world(), Random::new(1));
        for _ in 0..200_000 {
            let address = world.entry_address(&mut random) & !7;
            let (table, index) = (address >> 12, address >> 3 & 511);
            if table == world.tables[0] {
                assert!(SLOTS.contains(&index) || (256..272).contains(&index), "slot {index}");
            }
            if world.roots.contains(&table) {
                assert_ne!(index, CORE_SLOT);
            }
            assert!(!world.tables[1..].contains(&table), "a table of the core's");
            if table == world.window_l1 {
                assert!(index >= ARENA as u64);
            }
        }
    }

    #[test]
    fn most_frames_are_ones_own_and_some_are_not() {
        let (world, mut random) = (world(), Random::new(2));
        assert!((0..100_000).all(|_| !world.roots.contains(&world.frame(&mut random))));
        let frames: Vec<u64> = (0..10_000).map(|_| world.frame(&mut random)).collect();
        let own = frames.iter().filter(|frame| world.arena.contains(frame)).count();
        let foreign = frames.iter().filter(|frame| world.foreign.contains(frame)).count();
        assert!(own > 7000 && foreign > 200, "{own} {foreign}");
    }

    #[test]
    fn words_are_never_the_cores() {
        let (world, mut random) = (world(), Random::new(3));
        for _ in 0..100_000 {
            let word = world.word(&mut random);
            assert_ne!(word >> 39 & 511, if word >> 47 == 0x1_ffff { CORE_SLOT } else { 512 }, "{word:#x}");
        }
    }
}
