//! What lab 2 is graded by.

use super::lab_attack::attack;
use super::lab_stage::{Guest, PRESENT, PageFault, Stage, WRITABLE};
use super::world::{ARG, World};
use crate::addr::{Level, Mfn};
use crate::memory::Memory;
use crate::pagetable::Pte;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::mmu::{
    MMU_PT_UPDATE_PRESERVE_AD, MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE, MmuUpdate, MmuextOp,
};
use std::fmt::Debug;
use std::format;
use std::time::{SystemTime, UNIX_EPOCH};
use std::vec::Vec;

const SEEDS: [u64; 4] = [0x9e37_79b9_7f4a_7c15, 0x0bad_5eed, 7, 0xfeed_f00d_dead];

/// xorshift64*: small, and the same on every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What no earlier run had. All else is the same in each.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// The attack on a secret that no earlier run had: what it was, what was seen, and the victim's frame.
fn attacked(seed: u64) -> (Stage, u64, u64, Mfn) {
    let mut dice = Dice(seed);
    let mut stage = Stage::new();
    let secret = dice.next() ^ now();
    let which = dice.below(1000) as usize;
    let victim = stage.hide(secret, which);
    let seen = attack(&mut stage, victim.get());
    (stage, secret, seen, victim)
}

#[test]
fn the_attack_reads_the_secret() {
    for seed in SEEDS {
        let (stage, secret, seen, victim) = attacked(seed);
        let calls = &stage.answers;
        assert!(
            seen == secret,
            "expected {secret:#x} of frame {victim}, saw {seen:#x}; the calls gave {calls:?}"
        );
    }
}

/// Says what was wanted, and what came.
#[track_caller]
fn same<T: PartialEq + Debug>(what: &str, saw: T, expected: T) {
    assert!(saw == expected, "{what}: expected {expected:x?}, saw {saw:x?}");
}

/// The books say what is counted from the tables anew.
#[track_caller]
fn agree(stage: &Stage, what: &str) {
    if let Some(wrong) = stage.world.hv.recount().first() {
        panic!("behind {what}: expected that the books agree with the tables, saw {wrong}");
    }
}

#[test]
fn the_attack_is_refused() {
    for seed in SEEDS {
        let (stage, secret, seen, victim) = attacked(seed);
        assert!(seen != secret, "expected a refusal, saw the secret of frame {victim}");
        let calls = &stage.answers;
        let refused = calls.iter().any(|answer| *answer < 0);
        assert!(refused, "expected a call that is refused, saw {calls:?}: this attack tries nothing");
        agree(&stage, &format!("an attack whose calls gave {calls:?}"));
    }
}

/// A way to write an L1 entry.
type Way = fn(&mut Stage, u64, u64) -> i64;

/// By a call, by another, with A and D kept, and by a store that faults and is done by the hypervisor.
const WAYS: [(&str, Way); 4] = [
    ("mmu_update", |stage, address, value| stage.mmu_update(stage.entry_of(address, 1), value)),
    ("MMU_PT_UPDATE_PRESERVE_AD", |stage, address, value| {
        stage.update(stage.entry_of(address, 1), MMU_PT_UPDATE_PRESERVE_AD, value)
    }),
    ("update_va_mapping", |stage, address, value| stage.update_va_mapping(address, value)),
    ("a trapped store", |stage, address, value| {
        let entry = stage.entry_of(address, 1);
        let table = table_at(stage, Mfn::containing(entry));
        match stage.store(table + (entry & 0xfff), value) {
            Ok(()) => 0,
            Err(PageFault) => Errno::EBUSY.to_ret(),
        }
    }),
];

/// Where the builder mapped a table, read-only.
fn table_at(stage: &Stage, table: Mfn) -> u64 {
    let base = stage.world.shape.base();
    let mut all = (0..stage.world.shape.mapped).map(|page| base + (page << 12));
    all.find(|address| stage.frame_at(*address) == Some(table.get())).expect("the builder maps its tables")
}

fn l1_entry(stage: &Stage, address: u64) -> u64 {
    let (table, index) = stage.world.entry(address, Level::L1);
    stage.world.hv.machine.read_word(table, index)
}

#[test]
fn every_way_in_is_closed() {
    for (name, way) in WAYS {
        for level in 1..=4 {
            // Other harmless bits may change with it.
            for more in [0, Pte::A | Pte::D, Pte::NX, Pte::US | Pte::AVAIL] {
                let mut stage = Stage::new();
                let window = stage.page(0);
                let table = stage.entry_of(window, level) & !0xfff;
                same("a table mapped read-only", stage.update_va_mapping(window, table | PRESENT), 0);
                let before = l1_entry(&stage, window);
                let answer = way(&mut stage, window, table | PRESENT | WRITABLE | more);
                let what = format!("an L{level} table made writable by {name}, with {more:#x}");
                let (after, marks) = (l1_entry(&stage, window), Pte::A | Pte::D);
                same(&what, answer, Errno::EBUSY.to_ret());
                same(&format!("the entry behind {what}"), after & !marks, before & !marks);
                agree(&stage, &what);
            }
        }
    }
}

fn mmuext(stage: &mut Stage, command: u32, frame: u64) -> i64 {
    stage.world.op_mmuext(MmuextOp::new(command, frame, 0))
}

impl World {
    /// One extended operation.
    fn op_mmuext(&mut self, op: MmuextOp) -> i64 {
        self.put(ARG, &op);
        self.call(HYPERVISOR_MMUEXT_OP, &[ARG, 1, 0, 0x7ff0])
    }
}

#[test]
fn what_is_given_up_is_given_back() {
    for (name, way) in WAYS {
        let mut stage = Stage::new();
        let page = stage.page(2);
        let frame = stage.frame_at(page).expect("it is mapped");
        let uses = |stage: &Stage| stage.world.hv.frames.info(Mfn::new(frame)).expect("a frame").type_count();
        same("uses of a page mapped writable once", uses(&stage), 1);
        let what = format!("a page made read-only by {name}");
        same(&what, way(&mut stage, page, frame << 12 | PRESENT), 0);
        same(&format!("uses of {what}"), uses(&stage), 0);
        agree(&stage, &what);
        same(&format!("pinning {what}"), mmuext(&mut stage, MMUEXT_PIN_L1_TABLE, frame), 0);
        // Pinned now: writable it must not become.
        let answer = way(&mut stage, page, frame << 12 | PRESENT | WRITABLE);
        same(&format!("a pinned table made writable by {name}"), answer, Errno::EBUSY.to_ret());
        same("unpinning it", mmuext(&mut stage, MMUEXT_UNPIN_TABLE, frame), 0);
        let answer = way(&mut stage, page, frame << 12 | PRESENT | WRITABLE);
        same(&format!("what is no table any more, made writable by {name}"), (answer, uses(&stage)), (0, 1));
        agree(&stage, name);
    }
}

#[test]
fn what_was_right_still_works() {
    for (name, way) in WAYS {
        let mut stage = Stage::new();
        let page = stage.page(3);
        let frame = stage.frame_at(page).expect("it is mapped");
        let info = |stage: &Stage| *stage.world.hv.frames.info(Mfn::new(frame)).expect("a frame");
        let refs = info(&stage).refs();
        for flags in [Pte::NX, Pte::A | Pte::D, Pte::US, Pte::AVAIL | Pte::AVAIL_HIGH, 0] {
            let value = frame << 12 | PRESENT | WRITABLE | flags;
            let what = format!("flags {flags:#x} by {name}");
            same(&what, way(&mut stage, page, value), 0);
            same(
                &format!("references and uses behind {what}"),
                (info(&stage).refs(), info(&stage).type_count()),
                (refs, 1),
            );
        }
        for writable in [0, WRITABLE, 0, WRITABLE] {
            let what = format!("a page's RW, set to {writable} by {name}");
            same(&what, way(&mut stage, page, frame << 12 | PRESENT | writable), 0);
            let uses = u32::from(writable != 0);
            same(&format!("uses as writable behind {what}"), info(&stage).type_count(), uses);
        }
        agree(&stage, name);
    }
    // Above L1 the bit decides nothing about the table that is named: it may change, up and down.
    let mut stage = Stage::new();
    let page = stage.page(3);
    for level in [2, 3, 4] {
        let entry = stage.entry_of(page, level);
        let (table, index) = (Mfn::containing(entry), (entry as usize & 0xfff) / 8);
        let old = stage.world.hv.machine.read_word(table, index);
        // In one call: between the two the kernel could not write its next request.
        let updates = [old & !WRITABLE, old | WRITABLE].map(|value| MmuUpdate::new(entry, 0, value));
        stage.world.put(ARG, updates.as_slice());
        let answer = stage.world.call(HYPERVISOR_MMU_UPDATE, &[ARG, 2, 0, 0x7ff0]);
        same(&format!("an L{level} entry's RW cleared and set again"), answer, 0);
    }
    agree(&stage, "changes of upper entries");
}

#[test]
fn whatever_a_guest_does() {
    let mut dice = Dice(SEEDS[0]);
    let mut stage = Stage::new();
    let pages: Vec<u64> = (0..6).map(|n| stage.page(n)).collect();
    let mut frames: Vec<u64> = pages.iter().filter_map(|page| stage.frame_at(*page)).collect();
    frames.extend((1..=4).map(|level| stage.entry_of(pages[0], level) >> 12));
    frames.push(stage.hide(1, 5).get());
    for step in 0..400 {
        let page = pages[dice.below(pages.len() as u64) as usize];
        let frame = frames[dice.below(frames.len() as u64) as usize];
        // Mostly the frame that is there, with other bits.
        let frame = if dice.below(3) > 0 { stage.frame_at(page).unwrap_or(frame) } else { frame };
        let bits = dice.next() & (Pte::P | Pte::RW | Pte::US | Pte::A | Pte::D | Pte::NX);
        let (name, way) = WAYS[dice.below(WAYS.len() as u64) as usize];
        let value = frame << 12 | bits | if dice.below(4) > 0 { PRESENT } else { 0 };
        let answer = way(&mut stage, page, value);
        if dice.below(8) == 0 {
            let command = if dice.below(2) == 0 { MMUEXT_PIN_L1_TABLE } else { MMUEXT_UNPIN_TABLE };
            mmuext(&mut stage, command, frames[dice.below(6) as usize]);
        }
        agree(&stage, &format!("step {step}: {name} wrote {value:#x}, which gave {answer}"));
    }
}
