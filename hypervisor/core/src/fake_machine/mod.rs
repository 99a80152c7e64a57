//! A machine in memory, for tests: frames as arrays of words, and CPUs that remember every translation
//! they could have cached until they are told to forget it.
//!
//! The CPUs are the strict part. After [`FakeMachine::fill`] a CPU holds each translation its root
//! reaches, as a real one might by speculation; [`FakeMachine::stale`] then lists what they hold of frames
//! that have become something else. A real machine shows a missing flush once in a million runs, this one
//! every time.

mod cpu;

pub use cpu::Stale;

use crate::addr::{DomainId, ENTRIES, Mfn, PAGE_SIZE, Pfn};
use crate::emulate::Mode;
use crate::flush::{Flush, FlushWhat, FlushWho, RootChange, Tlb};
use crate::frame::{FrameInfo, FrameTable};
use crate::memory::{FrameWriter, Memory};
use crate::pagetable::Ldt;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use cpu::Cpu;

/// How often the machine was asked for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Complete flushes of a CPU.
    pub full_flushes: u64,
    /// Flushes of one page on a CPU.
    pub page_flushes: u64,
    /// L4 entries copied into roots.
    pub root_changes: u64,
    /// Changes of base tables.
    pub base_changes: u64,
}

/// Words of a frame that are looked at together.
const GROUP: usize = 32;

std::thread_local! {
    /// Storage of frame tables, which can't be freed.
    static SPARE: RefCell<Vec<&'static mut [FrameInfo]>> = const { RefCell::new(Vec::new()) };
}

/// The machine. CPU N runs vcpu N of whatever domain was last put there.
#[derive(Debug)]
pub struct FakeMachine {
    words: Vec<Cell<u64>>,
    m2p: Vec<Cell<Pfn>>,
    cpus: RefCell<Vec<Cpu>>,
    current: Cell<usize>,
    clock: Cell<u64>,
    counters: Cell<Counters>,
    meanwhile: Cell<Option<(Mfn, usize, u64)>>,
}

impl FakeMachine {
    /// A machine of so many frames and CPUs; the first CPU is the one that runs.
    pub fn new(frames: usize, cpus: usize) -> Self {
        Self {
            words: vec![Cell::new(0); frames * ENTRIES],
            m2p: vec![Cell::new(Pfn::INVALID); frames],
            cpus: RefCell::new((0..cpus).map(|_| Cpu::new()).collect()),
            current: Cell::new(0),
            clock: Cell::new(1),
            counters: Cell::new(Counters::default()),
            meanwhile: Cell::new(None),
        }
    }

    /// A machine and a frame table over it, in which all frames from `first_free` on are free, those
    /// before it the hypervisor's.
    pub fn with_frames(frames: usize, cpus: usize, first_free: usize) -> (Self, FrameTable) {
        let used = SPARE.with_borrow_mut(|spare| {
            let fitting = spare.iter().position(|storage| storage.len() == frames)?;
            Some(spare.swap_remove(fitting))
        });
        let storage = used.unwrap_or_else(|| Box::leak(vec![FrameInfo::NOT_RAM; frames].into_boxed_slice()));
        let mut table = FrameTable::new(storage);
        table.add_hypervisor(Mfn::new(0)..Mfn::new(first_free as u64));
        table.add_ram(Mfn::new(0)..Mfn::new(frames as u64));
        (Self::new(frames, cpus), table)
    }

    /// Takes back the table of a machine that is no more, for the next one: who makes machines without end needs
    /// the memory again.
    pub fn recycle(table: FrameTable) {
        SPARE.with_borrow_mut(|spare| spare.push(table.into_storage()));
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.m2p.len()
    }

    /// Number of CPUs.
    pub fn cpus(&self) -> usize {
        self.cpus.borrow().len()
    }

    /// Makes `cpu` the one that runs what follows.
    pub fn switch_to(&self, cpu: usize) {
        assert!(cpu < self.cpus(), "no CPU {cpu}");
        self.current.set(cpu);
    }

    /// The CPU that runs leaves its guest to do something else, or goes to one.
    pub fn set_away(&self, away: bool) {
        self.cpus.borrow_mut()[self.current.get()].set_away(away);
    }

    /// The CPU that runs.
    pub fn current(&self) -> usize {
        self.current.get()
    }

    /// Whether a CPU runs a vcpu of this domain.
    pub fn runs(&self, cpu: usize, domain: DomainId) -> bool {
        self.cpus.borrow()[cpu].runs(domain)
    }

    /// The LDT as a CPU was told of it.
    pub fn ldt(&self, cpu: usize) -> Ldt {
        self.cpus.borrow()[cpu].ldt.clone()
    }

    /// What was asked for so far.
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }

    /// Writes a word as a guest does through a writable mapping: nobody is asked.
    pub fn poke(&self, frame: Mfn, index: usize, value: u64) {
        self.word(frame, index).set(value);
    }

    /// Lets a CPU set bits of a word just before the next compare-exchange of it: what happens when a
    /// table is walked at the same time.
    pub fn set_meanwhile(&self, frame: Mfn, index: usize, bits: u64) {
        self.meanwhile.set(Some((frame, index, bits)));
    }

    /// The words of a frame that are not zero.
    pub fn nonzero(&self, frame: Mfn) -> impl Iterator<Item = (usize, u64)> + '_ {
        // Most tables are nearly empty, and each comparison costs a call when the code is built for fuzzing.
        let any = |group: &[Cell<u64>]| group.iter().fold(0, |any, word| any | word.get()) != 0;
        let groups = self.words_of(frame).chunks(GROUP).enumerate().filter(move |(_, group)| any(group));
        let words = groups.flat_map(|(number, group)| (number * GROUP..).zip(group.iter().map(Cell::get)));
        words.filter(|(_, word)| *word != 0)
    }

    /// A copy of a frame's words.
    pub fn snapshot(&self, frame: Mfn) -> Vec<u64> {
        self.words_of(frame).iter().map(Cell::get).collect()
    }

    fn words_of(&self, frame: Mfn) -> &[Cell<u64>] {
        let start = frame.index() * ENTRIES;
        &self.words[start..start + ENTRIES]
    }

    fn word(&self, frame: Mfn, index: usize) -> &Cell<u64> {
        assert!(frame.index() < self.frames() && index < ENTRIES, "word {index} of {frame}");
        &self.words[frame.index() * ENTRIES + index]
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    fn flush_cpu(&self, cpu: &mut Cpu) {
        self.clock.set(self.clock.get() + 1);
        cpu.flush_all(self.clock.get());
        self.count(|counters| counters.full_flushes += 1);
    }

    /// Lets every CPU that has a root cache all it can reach.
    pub fn fill(&self) {
        for cpu in self.cpus.borrow_mut().iter_mut() {
            cpu.fill(self);
        }
    }

    /// Lets a CPU use an address as its guest would: from the TLB if it is there, else by a walk that
    /// sets A and D. Returns the frame, or nothing when the CPU would fault.
    pub fn touch(&self, cpu: usize, address: u64, write: bool, user: bool) -> Option<Mfn> {
        self.cpus.borrow_mut()[cpu].touch(self, address, write, user)
    }

    /// What the CPUs still hold of frames that are something else now.
    pub fn stale(&self, frames: &FrameTable) -> Vec<Stale> {
        let mut found = Vec::new();
        for (number, cpu) in self.cpus.borrow().iter().enumerate() {
            cpu.stale(number, self, frames, &mut found);
        }
        found
    }

    /// Whether a CPU holds a translation of this page.
    pub fn holds(&self, cpu: usize, address: u64) -> bool {
        self.cpus.borrow()[cpu].holds(address)
    }
}

impl Memory for FakeMachine {
    fn read_word(&self, frame: Mfn, index: usize) -> u64 {
        self.word(frame, index).get()
    }

    fn read_bytes(&self, frame: Mfn, offset: usize, bytes: &mut [u8]) {
        assert!(offset + bytes.len() <= PAGE_SIZE, "{} bytes at {offset} of {frame}", bytes.len());
        for (at, byte) in (offset..).zip(bytes) {
            *byte = self.word(frame, at / 8).get().to_le_bytes()[at % 8];
        }
    }

    fn write_word(&self, frame: &FrameWriter<'_>, index: usize, value: u64) {
        self.word(frame.frame(), index).set(value);
    }

    fn compare_exchange_word(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u64,
        new: u64,
    ) -> Result<(), u64> {
        let word = self.word(frame.frame(), index);
        if let Some((walked, at, bits)) = self.meanwhile.get()
            && (walked, at) == (frame.frame(), index)
        {
            word.set(word.get() | bits);
            self.meanwhile.set(None);
        }
        if word.get() != expected {
            return Err(word.get());
        }
        word.set(new);
        Ok(())
    }

    fn compare_exchange_half(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u32,
        new: u32,
    ) -> Result<(), u32> {
        let shift = index % 2 * 32;
        let others = !(u64::from(u32::MAX) << shift);
        let place = |whole: u64, half: u32| whole & others | u64::from(half) << shift;
        let whole = self.read_word(frame.frame(), index / 2);
        let was = place(whole, expected);
        self.compare_exchange_word(frame, index / 2, was, place(whole, new))
            .map_err(|now| (now >> shift) as u32)
    }

    fn set_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64 {
        let word = self.word(frame.frame(), index);
        word.replace(word.get() | bits)
    }

    fn clear_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64 {
        let word = self.word(frame.frame(), index);
        word.replace(word.get() & !bits)
    }

    fn copy_bytes(
        &self,
        to: &FrameWriter<'_>,
        to_offset: usize,
        from: Mfn,
        from_offset: usize,
        length: usize,
    ) {
        let mut bytes = vec![0; length];
        self.read_bytes(from, from_offset, &mut bytes);
        self.write_bytes(to, to_offset, &bytes);
    }

    fn write_bytes(&self, frame: &FrameWriter<'_>, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= PAGE_SIZE, "{} bytes at {offset} of {frame:?}", bytes.len());
        let words = self.words_of(frame.frame());
        let (mut at, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(8 - at % 8));
            let mut parts = words[at / 8].get().to_le_bytes();
            parts[at % 8..][..now.len()].copy_from_slice(now);
            words[at / 8].set(u64::from_le_bytes(parts));
            (at, bytes) = (at + now.len(), later);
        }
    }

    fn zero(&self, frame: &FrameWriter<'_>) {
        self.words_of(frame.frame()).iter().for_each(|word| word.set(0));
    }

    fn copy_frame(&self, to: &FrameWriter<'_>, from: Mfn) {
        let words = self.words_of(to.frame()).iter().zip(self.words_of(from));
        words.for_each(|(to, from)| to.set(from.get()));
    }

    fn m2p(&self, frame: Mfn) -> Pfn {
        self.m2p[frame.index()].get()
    }

    fn set_m2p(&self, frame: Mfn, pfn: Pfn) {
        self.m2p[frame.index()].set(pfn);
    }

    fn m2p_extent(&self, extent: u64) -> Mfn {
        // The table is in no frame of this machine; these lie past its end.
        Mfn::new((1 << 20) + 512 * extent)
    }
}

impl Tlb for FakeMachine {
    fn flush_clock(&self) -> u64 {
        self.clock.get()
    }

    fn flush_stale(&self, stamp: u64) {
        for cpu in self.cpus.borrow_mut().iter_mut() {
            if cpu.last_flush() <= stamp {
                self.flush_cpu(cpu);
            }
        }
    }

    fn flush(&self, domain: DomainId, flush: Flush) {
        for (number, cpu) in self.cpus.borrow_mut().iter_mut().enumerate() {
            let meant = match flush.who {
                FlushWho::ThisCpu => number == self.current.get(),
                FlushWho::Vcpus(vcpus) => cpu.runs(domain) && vcpus >> number & 1 != 0,
                FlushWho::Domain => cpu.runs(domain),
            };
            match flush.what {
                FlushWhat::All if meant => self.flush_cpu(cpu),
                FlushWhat::Page(va) if meant => {
                    cpu.flush_page(va.get());
                    self.count(|counters| counters.page_flushes += 1);
                }
                _ => {}
            }
        }
    }

    fn root_changed(&self, domain: DomainId, change: RootChange) {
        self.count(|counters| counters.root_changes += 1);
        for cpu in self.cpus.borrow_mut().iter_mut().filter(|cpu| cpu.runs(domain)) {
            cpu.root_changed(change);
        }
    }

    fn base_changed(&self, domain: DomainId, half: Mode, l4: Option<Mfn>) {
        self.count(|counters| counters.base_changes += 1);
        let mut cpus = self.cpus.borrow_mut();
        let cpu = &mut cpus[self.current.get()];
        cpu.load(domain, half, l4, self);
        // Loading CR3 is a complete flush, as no entry is global.
        self.flush_cpu(cpu);
    }

    fn ldt_changed(&self, ldt: &Ldt) {
        self.cpus.borrow_mut()[self.current.get()].ldt = ldt.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pagetable::Pte;

    #[test]
    fn a_cpu_that_left_its_guest_holds_nothing() {
        let (machine, frames) = FakeMachine::with_frames(16, 1, 4);
        let [l4, l3, l2, l1, page] = [5, 6, 7, 8, 9].map(Mfn::new);
        for (table, entry) in [(l4, l3), (l3, l2), (l2, l1), (l1, page)] {
            machine.poke(table, 0, entry.address() | Pte::P | Pte::RW | Pte::US);
        }
        machine.base_changed(DomainId(1), Mode::Kernel, Some(l4));
        machine.fill();
        assert!(machine.holds(0, 0));
        machine.set_away(true);
        assert!(!machine.holds(0, 0));
        machine.fill();
        assert!(!machine.holds(0, 0), "by speculation neither");
        // What its root is a copy of may be no table any more.
        machine.poke(l4, 0, 0);
        assert_eq!(machine.stale(&frames), []);
        machine.set_away(false);
        assert_eq!(machine.stale(&frames), [Stale::Root { cpu: 0, slot: 0 }]);
    }
}
