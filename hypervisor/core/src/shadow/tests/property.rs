//! Random sequences of what a guest does with its tables, against the [reference](super::reference).

use super::reference::{Way, ways};
use super::*;
use std::collections::BTreeMap;
use std::thread;

const SEQUENCES: u64 = 10_000;
const OPERATIONS: usize = 50;
/// The slots that tables have entries in; at the root, besides, one of the hypervisor's.
const SLOTS: [usize; 3] = [0, 1, 511];

/// A seeded generator (splitmix64): the same sequences on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn flag(&mut self, chance: u64, bits: u64) -> u64 {
        if self.percent(chance) { bits } else { 0 }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// An operation, or how it ended, and how often.
type Tally = BTreeMap<&'static str, u64>;

struct Sequence<'a> {
    world: World,
    random: Random,
    tally: &'a mut Tally,
    /// Words of tables out of step that the guest changed: when, where, from what.
    history: Vec<(usize, u64, u64)>,
    now: usize,
    /// When the guest last loaded CR3.
    loaded: usize,
    /// When it last invalidated a page.
    invalidated: BTreeMap<u64, usize>,
    template: u64,
    /// Addresses used of late.
    recent: Vec<VirtAddr>,
}

impl<'a> Sequence<'a> {
    fn new(seed: u64, tally: &'a mut Tally) -> Self {
        let mut random = Random(seed);
        let tables = random.pick(&[4, 5, 7, 12]);
        let records = random.pick(&[FEWEST_RECORDS, FEWEST_RECORDS + 3, FEWEST_RECORDS + 100]);
        let mut world = World::new(tables, records);
        if records == FEWEST_RECORDS + 3 {
            // Marks, most of frames that are not there, so that there is hardly room for more.
            (0..64).for_each(|pfn| assert!(world.mark(18 + pfn)));
        }
        let (history, invalidated) = (Vec::new(), BTreeMap::new());
        let (now, loaded, template, recent) = (1, 0, 9000, Vec::new());
        let mut sequence = Self { world, random, tally, history, now, loaded, invalidated, template, recent };
        for table in 1..10 {
            for slot in SLOTS {
                let value = sequence.entry(table);
                sequence.world.machine.poke(table, slot, value);
            }
        }
        sequence
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// A value for a table's entry: most often a sensible one for a table of that number.
    fn entry(&mut self, table: u64) -> u64 {
        let random = &mut self.random;
        let mut flags = random.flag(98, P) | random.flag(94, RW) | random.flag(94, US);
        flags |= random.flag(50, A) | random.flag(50, D) | random.flag(2, NX);
        flags |= random.flag(20, 0x118) | random.flag(20, 0x7f0 << 48 | 0xe00);
        let pfn = match table {
            _ if random.percent(6) => random.below(30),
            1 | 2 => 3 + random.below(2),
            3..=6 if random.percent(15) => {
                flags |= PS | random.flag(10, 1 << 12);
                random.pick(&[0, 512])
            }
            3 | 4 => 5 + random.below(2),
            5 | 6 => 7 + random.below(3),
            _ if random.percent(25) => 1 + random.below(9),
            _ => 10 + random.below(8),
        };
        // Now and then a frame, or a reserved bit, that no guest of ours has.
        let any = 1 << (13 + random.below(39));
        pfn << 12 | flags | if random.percent(50) { random.flag(1, any) } else { 0 }
    }

    fn address(&mut self) -> VirtAddr {
        if !self.recent.is_empty() && self.random.percent(60) {
            return self.random.pick(&self.recent);
        }
        let [l3, l2, l1] =
            [(); 3].map(|()| if self.random.percent(50) { 0 } else { self.random.pick(&SLOTS) });
        let root = if self.random.percent(2) { 256 } else { self.random.pick(&SLOTS) };
        let address = VirtAddr::new(va([root, l3, l2, l1]).get() | self.random.below(512) << 3).unwrap();
        self.recent.push(address);
        if self.recent.len() > 6 {
            self.recent.remove(0);
        }
        address
    }

    fn step(&mut self) {
        self.now += 1;
        match self.random.below(100) {
            0..32 => self.edit(),
            32..72 => {
                let address = self.address();
                self.access(address);
            }
            72..80 => self.invlpg(),
            80..88 => self.load_cr3(),
            88..91 => {
                let (wp, nxe) = (self.random.percent(60), self.random.percent(75));
                self.world.set_controls(wp, nxe);
                self.count("controls");
            }
            91..96 => {
                // One that is a table, most often.
                let any = 1 + self.random.below(9);
                let table = (any..10).find(|&pfn| self.world.is_traced(pfn)).unwrap_or(any);
                self.world.untrace(table);
                self.count("untrace");
            }
            96..98 => {
                let pfn = Pfn::new(1 + self.random.below(20));
                if self.random.percent(50) && self.world.mark(pfn.get()) {
                    self.count("mark");
                } else {
                    self.world.shadow.unmark(pfn);
                    self.count("unmark");
                }
            }
            _ => {
                self.template += 2;
                let flush = self.world.shadow.set_template(&self.world.machine, template(self.template));
                self.world.discharge(flush);
                self.count("template");
            }
        }
    }

    fn edit(&mut self) {
        let table = match self.world.shadow.loose.first() {
            Some(pfn) if (1..10).contains(&pfn.get()) && self.random.percent(40) => pfn.get(),
            _ => 1 + self.random.below(9),
        };
        let slot = if self.random.percent(5) { 256 } else { self.random.pick(&SLOTS) };
        let value = if self.random.percent(70) {
            self.entry(table)
        } else {
            // A mark is cleared, or a right changes: what guests do most.
            let bits = self.random.pick(&[A, D, A, D, A | D, RW, US, P, PS, 1 << 9]);
            self.world.machine.peek(table, slot) ^ bits
        };
        let traced = self.world.is_traced(table);
        self.count(if traced { "edit of a traced table" } else { "edit of another table" });
        let out_of_step = self.history.len();
        self.store(word(table, slot), value);
        if self.history.len() > out_of_step && !self.recent.is_empty() {
            let address = self.random.pick(&self.recent);
            self.access(address);
        }
    }

    /// The guest's word changes: seen if the frame is traced, unseen else.
    fn store(&mut self, address: u64, value: u64) {
        let record = self.world.shadow.frames.of(Pfn::new(address >> 12));
        if record.is_some_and(|record| record.loose) {
            self.history.push((self.now, address, self.world.machine.read(address).unwrap()));
            self.count("edit out of step");
        }
        self.world.write(address, value);
    }

    fn invlpg(&mut self) {
        let address = self.address();
        self.world.invlpg(address.get());
        self.invalidated.insert(address.page().get(), self.now);
        self.count("invlpg");
        self.access(address);
    }

    fn load_cr3(&mut self) {
        let cr3 = match self.random.below(50) {
            0 => self.random.below(30) << 12,
            1 => self.random.below(u64::MAX),
            _ => (1 + self.random.below(2)) << 12 | self.random.flag(20, 0x18),
        };
        self.world.load_cr3(cr3);
        self.loaded = self.now;
        self.count("load of CR3");
        if self.random.percent(50) {
            let address = self.address();
            self.access(address);
        }
    }

    /// The values that a word may be cached with when `page` is used: what it had since the page was forgotten.
    fn values(&self, page: u64, place: u64) -> Vec<u64> {
        let since = self.loaded.max(self.invalidated.get(&page).copied().unwrap_or(0));
        let mut values = vec![self.world.machine.read(place).unwrap_or(u64::MAX)];
        let older = self.history.iter().filter(|&&(when, at, _)| at == place && when > since);
        older.for_each(|&(_, _, old)| values.push(old));
        values.sort_unstable();
        values.dedup();
        values
    }

    fn ways(&self, address: VirtAddr) -> Vec<Way> {
        let (nxe, root) = (self.world.shadow.controls.no_execute, self.world.shadow.cr3);
        ways(&|place| self.values(address.page().get(), place), nxe, root, address.get())
    }

    /// The one way there is now.
    fn fresh(&self, address: VirtAddr) -> Way {
        let (nxe, root) = (self.world.shadow.controls.no_execute, self.world.shadow.cr3);
        let now = |place| vec![self.world.machine.read(place).unwrap_or(u64::MAX)];
        ways(&now, nxe, root, address.get()).pop().unwrap()
    }

    fn access(&mut self, address: VirtAddr) {
        let usage = self.random.pick(&USES);
        for _ in 0..3 {
            if self.access_once(address, usage) {
                return;
            }
        }
        panic!("{usage:?} of {address} goes on being left");
    }

    /// One access and what comes of it. False when a table was let go and the access is to be made again.
    fn access_once(&mut self, address: VirtAddr, usage: Use) -> bool {
        let Controls { write_protect: wp, no_execute: nxe, .. } = self.world.shadow.controls;
        let fresh = self.fresh(address);
        let ways = if self.history.is_empty() { vec![fresh.clone()] } else { self.ways(address) };
        let end = self.world.touch(address, usage);
        let expected = fresh.of(usage, wp, nxe);
        if !VirtAddr::is_guest(address.get()) {
            assert_eq!(end, End::Left(Outcome::Reserved));
            assert_eq!(self.world.machine.marked.borrow().len(), 0);
            self.count("reserved");
            return true;
        }
        self.check_marks(&fresh, usage, end);
        let made = match end {
            End::Made(made) => made,
            End::Left(Outcome::Fault(code)) => {
                assert_eq!(Err(code), expected, "{usage:?} of {address}");
                self.count("true fault");
                return true;
            }
            End::Left(Outcome::Mmio(place)) => {
                assert_eq!(Ok(place), expected, "{usage:?} of {address}");
                assert_eq!(self.world.machine.frame(Pfn::new(place >> 12)), None);
                self.count("no memory");
                return true;
            }
            End::Left(Outcome::TracedWrite(write)) => {
                assert_eq!(Ok(write.address), expected, "{usage:?} of {address}");
                assert_eq!(usage.access, Access::Write);
                return self.traced(write, usage);
            }
            End::Left(Outcome::Reserved | Outcome::Retry) => panic!("{end:?} of {address}"),
        };
        if expected == Ok(made) {
            if ways.len() == 1 {
                let dirty = if usage.access == Access::Write { D } else { 0 };
                for &(place, _, level) in &fresh.entries {
                    let leaf = place == fresh.entries.last().unwrap().0 && level < 4;
                    let must = if leaf { A | dirty } else { A };
                    let now = self.world.machine.read(place).unwrap_or(u64::MAX);
                    assert_eq!(now & must, must, "{usage:?} of {address}: level {level} is not marked");
                }
            }
            self.count(if self.world.faults == 0 { "made at once" } else { "made after a hidden fault" });
        } else {
            let allowed = ways.iter().any(|way| way.of(usage, wp, nxe) == Ok(made));
            assert!(allowed, "{usage:?} of {address} reached {made:#x}, not {expected:x?} of {fresh:x?}");
            self.count("made as it was before");
        }
        if usage.access == Access::Write {
            assert!(!self.world.is_traced(made >> 12), "{address}: {made:#x} was written unseen");
            self.write(made);
        }
        true
    }

    /// What an access marks: entries on the way, once it is allowed, and nothing else.
    fn check_marks(&self, fresh: &Way, usage: Use, end: End) {
        let marked = self.world.machine.marked.borrow();
        if let End::Left(Outcome::Fault(_)) = end {
            assert_eq!(marked[..], [], "a refused access left a mark");
        }
        for &(place, old, new) in marked.iter() {
            let level = fresh.entries.iter().rev().find(|way| way.0 == place).expect("a word on the way").2;
            let leaf = level == fresh.entries.last().unwrap().2;
            let may = if leaf && usage.access == Access::Write { A | D } else { A };
            // A table on the way at two levels is marked twice.
            let twice = fresh.entries.iter().filter(|way| way.0 == place).count() > 1;
            assert!(new & !old & !(may | if twice { D } else { 0 }) == 0 && old & !new == 0);
        }
        if let End::Left(Outcome::Mmio(_) | Outcome::TracedWrite(_)) = end {
            let last = fresh.entries.last().unwrap();
            for &(place, ..) in &fresh.entries {
                let dirty = if place == last.0 && usage.access == Access::Write { D } else { 0 };
                let now = self.world.machine.read(place).unwrap_or(u64::MAX);
                assert_eq!(now & (A | dirty), A | dirty, "{end:?} with marks missing");
            }
        }
    }

    fn traced(&mut self, write: TracedWrite, usage: Use) -> bool {
        let pfn = write.address >> 12;
        assert!(self.world.is_traced(pfn) && (write.marked || !usage.user), "{write:?}");
        if write.table && !write.marked && self.random.percent(40) {
            self.world.untrace(pfn);
            self.count("traced write that is let go");
            return false;
        }
        self.count(if write.table { "traced write of a table" } else { "traced write of a marked frame" });
        self.write(write.address);
        true
    }

    /// The guest's word becomes something that may be an entry.
    fn write(&mut self, address: u64) {
        let value = self.entry(address >> 12);
        self.store(address, value);
    }

    /// All frames come back.
    fn end(self) {
        let counters = self.world.shadow.counters();
        let tally = self.tally;
        for (what, count) in [
            ("shadow tables made", counters.made),
            ("shadow tables given up", counters.given_up),
            ("entries dropped", counters.dropped),
            ("entries protected", counters.protected),
            ("overflows", counters.overflows),
        ] {
            *tally.entry(what).or_default() += count;
        }
        let mut frames = self.world.shadow.release();
        frames.sort_unstable();
        let all: Vec<Mfn> = (POOL..POOL + frames.len() as u64).map(Mfn::new).collect();
        assert_eq!(frames.len() * ENTRIES, self.world.machine.pool.borrow().len());
        assert_eq!(frames, all);
    }
}

fn run(seeds: impl Iterator<Item = u64>) -> Tally {
    let mut tally = Tally::new();
    for seed in seeds {
        // Printed when one of the assertions fails, which have no idea of it.
        let named = Named(seed);
        let mut sequence = Sequence::new(seed, &mut tally);
        for operation in 0..OPERATIONS {
            sequence.step();
            if operation == (seed % OPERATIONS as u64) as usize {
                sequence.world.audit();
            }
        }
        sequence.world.audit();
        sequence.end();
        core::mem::forget(named);
    }
    tally
}

/// Says which sequence it was that failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        std::eprintln!("sequence {} failed", self.0);
    }
}

#[test]
fn random_sequences_agree_with_the_reference() {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut tally = Tally::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| scope.spawn(move || run((worker..SEQUENCES).step_by(threads as usize))))
            .collect();
        for worker in workers {
            for (what, count) in worker.join().expect("a sequence failed; its message is above") {
                *tally.entry(what).or_default() += count;
            }
        }
    });
    for (what, count) in &tally {
        std::println!("{count:9} {what}");
    }
    for what in [
        "edit of a traced table",
        "edit of another table",
        "edit out of step",
        "invlpg",
        "load of CR3",
        "controls",
        "untrace",
        "mark",
        "unmark",
        "template",
        "reserved",
        "true fault",
        "no memory",
        "made at once",
        "made after a hidden fault",
        "made as it was before",
        "traced write of a table",
        "traced write of a marked frame",
        "traced write that is let go",
        "shadow tables made",
        "shadow tables given up",
        "entries dropped",
        "entries protected",
        "overflows",
    ] {
        let least = if what.starts_with("traced write") || what.starts_with("made as") { 200 } else { 1000 };
        assert!(tally.get(what).copied().unwrap_or(0) >= least, "too few: {what}");
    }
}
