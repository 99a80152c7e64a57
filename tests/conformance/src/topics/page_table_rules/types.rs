//! What a frame is used as: a table of one level, descriptors, or a page that is written.

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{
    MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE,
};
use pv_probe::hypercall::{code, map, mmuext, set_entry};
use pv_probe::memory::{A, DATA, NX, P, READ, US, root};

use crate::case::{Case, Explained, Row, Verdict, because};
use crate::rows::tables::{Mapped, entry, frame, pinnable, place, store, writable};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "page-table-rules-types",
    &[
        Case::good("read-only-view", "a table of any level may be mapped for reading", read_only_view),
        Case::good(
            "read-only-stays",
            "a mapping for reading that a page has may stay when it becomes a table",
            stays,
        ),
        Case::good("again", "a page may be a table, be written, and be a table again", again),
        Case::good("below", "a table names tables of the next level alone, of four levels", below),
        Case::refusal("writable-view", "a table of any level mapped for writing", writable_view),
        Case::refusal("made-writable", "RW for a mapping for reading that a table has", made_writable),
        Case::refusal("of-a-writable-page", "a table of any level that is mapped for writing", of_writable),
        Case::refusal("no-other-level", "a table as one of another level", no_other_level),
        Case::refusal("recursive-writable", "a table that names itself, with RW", recursive_writable),
        Case::good(
            "recursive-read-only",
            "a table that names itself, for reading: an option",
            recursive_read_only,
        )
        .explained(&[Explained { value: "level.*", reason: because::BUILD }]),
    ],
);

const PINS: [u32; 4] = [MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE];

/// An empty table of each level, pinned.
struct Tables([u64; 4]);

impl Tables {
    fn new() -> Self {
        Self(PINS.map(|pin| {
            let frame = frame();
            let result = mmuext(pin, frame, 0);
            assert!(result == 0, "pin {pin}: {result}");
            frame
        }))
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        for frame in self.0 {
            mmuext(MMUEXT_UNPIN_TABLE, frame, 0);
        }
    }
}

fn read_only_view(t: &mut Trial) -> Verdict {
    let tables = Tables::new();
    for (level, frame) in (1..).zip(tables.0) {
        let view = Mapped::with(30, entry(frame, READ | NX));
        t.reads(format_args!("l{level}"), view.address() + 8, 0);
    }
    let view = Mapped::with(30, entry(root(), READ | NX));
    t.holds("root", pv_probe::memory::entry_at(view.address(), 1) & P != 0);
    Ok(())
}

fn stays(t: &mut Trial) -> Verdict {
    let frame = frame();
    let view = Mapped::with(30, entry(frame, READ | NX));
    for (level, pin) in (1..).zip(PINS) {
        t.succeeds(format_args!("l{level}.pin"), mmuext(pin, frame, 0));
        t.reads(format_args!("l{level}.read"), view.address(), 0);
        t.succeeds(format_args!("l{level}.unpin"), mmuext(MMUEXT_UNPIN_TABLE, frame, 0));
        t.raises(format_args!("l{level}.write"), &store(view.address()), 14, Some(3));
    }
    Ok(())
}

fn again(t: &mut Trial) -> Verdict {
    let frame = frame();
    for round in 0..4 {
        t.succeeds(format_args!("table.{round}"), pinnable(frame));
        t.succeeds(format_args!("page.{round}"), writable(frame));
    }
    Ok(())
}

fn below(t: &mut Trial) -> Verdict {
    let tables = Tables::new();
    for upper in 1..4usize {
        for (index, lower) in tables.0.iter().enumerate() {
            let want = if index + 1 == upper { 0 } else { Errno::EINVAL.to_ret() };
            if index == upper {
                // Itself: another case.
                continue;
            }
            let result = set_entry(tables.0[upper], 3, entry(*lower, DATA));
            t.result(format_args!("l{}.names-l{}", upper + 1, index + 1), result, want);
            set_entry(tables.0[upper], 3, 0);
        }
    }
    Ok(())
}

fn writable_view(t: &mut Trial) -> Verdict {
    let tables = Tables::new();
    for (level, frame) in (1..).zip(tables.0) {
        t.refused(format_args!("l{level}"), Errno::EBUSY, || writable(frame));
        t.refused(format_args!("l{level}.kernel"), Errno::EBUSY, || {
            map(place(30), entry(frame, DATA & !US | NX))
        });
    }
    t.refused("root", Errno::EBUSY, || writable(root()));
    Ok(())
}

fn made_writable(t: &mut Trial) -> Verdict {
    let tables = Tables::new();
    for (level, frame) in (1..).zip(tables.0) {
        let view = Mapped::with(30, entry(frame, READ | NX));
        t.refused(format_args!("l{level}"), Errno::EBUSY, || map(view.address(), entry(frame, DATA | NX)));
        // Everything but RW may change.
        t.succeeds(
            format_args!("l{level}.other-bits"),
            map(view.address(), entry(frame, P | US | A | 1 << 9)),
        );
    }
    Ok(())
}

fn of_writable(t: &mut Trial) -> Verdict {
    let frame = frame();
    let page = Mapped::new(30, frame);
    for (level, pin) in (1..).zip(PINS) {
        t.refused(format_args!("l{level}"), Errno::EINVAL, || mmuext(pin, frame, 0));
    }
    drop(page);
    // A second mapping counts as much as the first.
    let first = Mapped::new(30, frame);
    let second = Mapped::new(31, frame);
    drop(first);
    t.refused("second", Errno::EINVAL, || pinnable(frame));
    drop(second);
    t.succeeds("none", pinnable(frame));
    Ok(())
}

fn no_other_level(t: &mut Trial) -> Verdict {
    let tables = Tables::new();
    for (level, frame) in (1..).zip(tables.0) {
        for (other, pin) in (1..).zip(PINS) {
            if level != other {
                t.refused(format_args!("l{level}.as-l{other}"), Errno::EINVAL, || mmuext(pin, frame, 0));
            }
        }
    }
    Ok(())
}

fn recursive_writable(t: &mut Trial) -> Verdict {
    let tables = Tables::new();
    for (level, table) in (2..).zip(&tables.0[1..]) {
        t.refused(format_args!("l{level}"), Errno::EINVAL, || set_entry(*table, 5, entry(*table, DATA)));
    }
    t.refused("root", Errno::EINVAL, || set_entry(root(), 300, entry(root(), DATA)));
    Ok(())
}

fn recursive_read_only(t: &mut Trial) -> Verdict {
    let tables = Tables::new();
    for (level, table) in (2..).zip(&tables.0[1..]) {
        let result = set_entry(*table, 5, entry(*table, READ));
        t.observe(format_args!("level.{level}"), code(result));
        t.succeeds(format_args!("clear.{level}"), set_entry(*table, 5, 0));
    }
    Ok(())
}
