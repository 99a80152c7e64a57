//! `MMUEXT_PIN_L1_TABLE` to `MMUEXT_PIN_L4_TABLE`, operations 0 to 3 of `mmuext_op` (xen/include/public/xen.h).
//!
//! Makes a frame a page table of the level: every entry is checked as if it were written now, and tables that it names become
//! tables of the level below. It stays one until it is unpinned, whether an address space uses it or not.
//!
//! Refused: frames that are not this domain's, are mapped for writing, hold descriptors, are tables of another level or
//! pinned already (`EINVAL`); tables with an entry that could not be written, by the code that writing it would give.

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{
    MMUEXT_CLEAR_PAGE, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE,
    MMUEXT_UNPIN_TABLE,
};
use paravane_abi::pte;
use pv_probe::hypercall::{mmuext, set_entry};
use pv_probe::memory::{A, DATA, G, P, PS, READ, RW, US, peek, poke, root};

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{
    BEYOND, LOW, Mapped, entry, filled, frame, hypervisor_frame, pinnable, places, slot, writable,
};
use crate::trial::Trial;

/// Operation 0.
pub const L1: Row = Row::operation(
    "mmuext_op",
    "pin_l1_table",
    &[
        Case::good("empty", "a frame of zeroes: it cannot be written any more", l1_empty),
        Case::good("holds", "its entries hold what they name, all 512 of them", l1_holds),
        Case::good("read-only", "a frame that is mapped for reading can be pinned", l1_read_only),
        Case::refusal("frames", "frames that are not this domain's", |t| frames(t, MMUEXT_PIN_L1_TABLE)),
        Case::refusal("writable", "a frame that is mapped for writing", |t| mapped(t, MMUEXT_PIN_L1_TABLE)),
        Case::refusal("twice", "a table that is pinned", |t| twice(t, MMUEXT_PIN_L1_TABLE)),
        Case::refusal("itself-writable", "a table that maps itself for writing", l1_itself),
        Case::refusal("entries", "tables with an entry that could not be written", l1_entries),
        Case::refusal(
            "last-entry",
            "the last entry is looked at, and what others hold is let go of",
            l1_last,
        ),
        Case::refusal("level", "a table of another level", |t| level(t, MMUEXT_PIN_L1_TABLE)),
    ],
);

/// Operation 1.
pub const L2: Row = Row::operation(
    "mmuext_op",
    "pin_l2_table",
    &[
        Case::good("below", "what it names becomes an L1", |t| below(t, MMUEXT_PIN_L2_TABLE)),
        Case::refusal("frames", "frames that are not this domain's", |t| frames(t, MMUEXT_PIN_L2_TABLE)),
        Case::refusal("writable", "a frame that is mapped for writing", |t| mapped(t, MMUEXT_PIN_L2_TABLE)),
        Case::refusal("twice", "a table that is pinned", |t| twice(t, MMUEXT_PIN_L2_TABLE)),
        Case::refusal("entries", "entries no guest may have", |t| entries(t, MMUEXT_PIN_L2_TABLE)),
        Case::refusal("far-below", "what is wrong in an L1 is told, and nothing held", |t| {
            far(t, MMUEXT_PIN_L2_TABLE)
        }),
        Case::refusal("level", "a table of another level", |t| level(t, MMUEXT_PIN_L2_TABLE)),
    ],
);

/// Operation 2.
pub const L3: Row = Row::operation(
    "mmuext_op",
    "pin_l3_table",
    &[
        Case::good("below", "what it names becomes an L2", |t| below(t, MMUEXT_PIN_L3_TABLE)),
        Case::refusal("frames", "frames that are not this domain's", |t| frames(t, MMUEXT_PIN_L3_TABLE)),
        Case::refusal("writable", "a frame that is mapped for writing", |t| mapped(t, MMUEXT_PIN_L3_TABLE)),
        Case::refusal("twice", "a table that is pinned", |t| twice(t, MMUEXT_PIN_L3_TABLE)),
        Case::refusal("entries", "entries no guest may have", |t| entries(t, MMUEXT_PIN_L3_TABLE)),
        Case::refusal("far-below", "what is wrong in an L1 is told, and nothing held", |t| {
            far(t, MMUEXT_PIN_L3_TABLE)
        }),
        Case::refusal("level", "a table of another level", |t| level(t, MMUEXT_PIN_L3_TABLE)),
    ],
);

/// Operation 3.
pub const L4: Row = Row::operation(
    "mmuext_op",
    "pin_l4_table",
    &[
        Case::good("below", "what it names becomes an L3", |t| below(t, MMUEXT_PIN_L4_TABLE)),
        Case::good("accessed", "its entries are marked accessed", l4_accessed),
        Case::good("reserved-slots", "what stands in the hypervisor's slots is not looked at", l4_reserved),
        Case::refusal("frames", "frames that are not this domain's", |t| frames(t, MMUEXT_PIN_L4_TABLE)),
        Case::refusal("writable", "a frame that is mapped for writing", |t| mapped(t, MMUEXT_PIN_L4_TABLE)),
        Case::refusal("twice", "a table that is pinned", |t| twice(t, MMUEXT_PIN_L4_TABLE)),
        Case::refusal("entries", "entries no guest may have", |t| entries(t, MMUEXT_PIN_L4_TABLE)),
        Case::refusal("far-below", "what is wrong in an L1 is told, and nothing held", |t| {
            far(t, MMUEXT_PIN_L4_TABLE)
        }),
        Case::refusal("level", "a table of another level", |t| level(t, MMUEXT_PIN_L4_TABLE)),
    ],
);

fn pin(command: u32, frame: u64) -> i64 {
    mmuext(command, frame, 0)
}

fn unpin(frame: u64) -> i64 {
    mmuext(MMUEXT_UNPIN_TABLE, frame, 0)
}

fn l1_empty(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.succeeds("pin", pin(MMUEXT_PIN_L1_TABLE, frame));
    t.refused("writable", Errno::EBUSY, || writable(frame));
    t.succeeds("unpin", unpin(frame));
    t.succeeds("free", writable(frame));
    Ok(())
}

fn l1_holds(t: &mut Trial) -> Verdict {
    let page = frame();
    let table = frame();
    for index in 0..512 {
        poke(table, index, entry(page, if index == 511 { DATA } else { READ }));
    }
    t.succeeds("pin", pin(MMUEXT_PIN_L1_TABLE, table));
    t.refused("page-held", Errno::EINVAL, || pinnable(page));
    t.succeeds("last-away", set_entry(table, 511, 0));
    t.succeeds("page-read-only", pinnable(page));
    t.succeeds("unpin", unpin(table));
    t.succeeds("page-free", pinnable(page));
    Ok(())
}

fn l1_read_only(t: &mut Trial) -> Verdict {
    let frame = frame();
    let page = Mapped::with(0, entry(frame, READ));
    t.succeeds("pin", pin(MMUEXT_PIN_L1_TABLE, frame));
    t.succeeds("entry", set_entry(frame, 3, 0x5000));
    t.reads("seen", page.address() + 24, 0x5000);
    t.succeeds("unpin", unpin(frame));
    Ok(())
}

fn frames(t: &mut Trial, command: u32) -> Verdict {
    for (name, frame) in [
        ("low", LOW),
        ("beyond", BEYOND),
        ("none", pointers::NO_FRAME),
        ("all-bits", u64::MAX),
        ("hypervisor", hypervisor_frame()),
    ] {
        t.refused(name, Errno::EINVAL, || pin(command, frame));
    }
    Ok(())
}

fn mapped(t: &mut Trial, command: u32) -> Verdict {
    let frame = frame();
    let page = Mapped::new(0, frame);
    t.refused("mapped", Errno::EINVAL, || pin(command, frame));
    drop(page);
    t.succeeds("unmapped", pin(command, frame));
    t.succeeds("unpin", unpin(frame));
    Ok(())
}

fn twice(t: &mut Trial, command: u32) -> Verdict {
    let frame = frame();
    t.succeeds("first", pin(command, frame));
    t.refused("second", Errno::EINVAL, || pin(command, frame));
    t.succeeds("unpin", unpin(frame));
    // The second try holds nothing.
    t.succeeds("free", writable(frame));
    Ok(())
}

fn l1_itself(t: &mut Trial) -> Verdict {
    let frame = frame();
    poke(frame, 0, entry(frame, DATA));
    t.refused("writable", Errno::EBUSY, || pin(MMUEXT_PIN_L1_TABLE, frame));
    poke(frame, 0, entry(frame, READ));
    t.succeeds("read-only", pin(MMUEXT_PIN_L1_TABLE, frame));
    t.succeeds("unpin", unpin(frame));
    t.succeeds("free", writable(frame));
    Ok(())
}

fn l1_entries(t: &mut Trial) -> Verdict {
    let page = frame();
    for (name, value, error) in [
        ("beyond", entry(BEYOND, DATA), Errno::EPERM),
        ("none", entry(pointers::NO_FRAME, DATA), Errno::EINVAL),
        ("hypervisor", entry(hypervisor_frame(), READ), Errno::EBUSY),
        ("root-writable", entry(root(), DATA), Errno::EBUSY),
        ("cache-disabled", entry(page, DATA | 1 << 4), Errno::EINVAL),
    ] {
        let table = filled(&[(0, entry(page, DATA)), (200, value)]);
        t.refused(name, error, || pin(MMUEXT_PIN_L1_TABLE, table));
        t.succeeds(format_args!("{name}.free"), writable(table));
    }
    Ok(())
}

fn l1_last(t: &mut Trial) -> Verdict {
    let page = frame();
    let table = filled(&[(0, entry(page, DATA)), (511, entry(root(), DATA))]);
    t.refused("pin", Errno::EBUSY, || pin(MMUEXT_PIN_L1_TABLE, table));
    t.succeeds("page-free", pinnable(page));
    t.equal("entry", peek(table, 511) ^ entry(root(), DATA), 0);
    Ok(())
}

/// The operation that pins one level less.
const fn lower(command: u32) -> u32 {
    command - 1
}

fn below(t: &mut Trial, command: u32) -> Verdict {
    let lower_table = frame();
    let table = filled(&[(7, entry(lower_table, DATA)), (300, entry(lower_table, DATA))]);
    t.succeeds("pin", pin(command, table));
    t.refused("writable", Errno::EBUSY, || writable(table));
    t.refused("below-writable", Errno::EBUSY, || writable(lower_table));
    t.succeeds("below-pin", pin(lower(command), lower_table));
    t.succeeds("unpin", unpin(table));
    t.succeeds("free", writable(table));
    t.refused("below-pinned", Errno::EBUSY, || writable(lower_table));
    t.succeeds("below-unpin", unpin(lower_table));
    t.succeeds("below-free", writable(lower_table));
    Ok(())
}

fn entries(t: &mut Trial, command: u32) -> Verdict {
    let lower_table = frame();
    for (name, value) in [
        ("beyond", entry(BEYOND, DATA)),
        ("none", entry(pointers::NO_FRAME, DATA)),
        ("low", entry(LOW, DATA)),
        ("hypervisor", entry(hypervisor_frame(), READ)),
        ("large", entry(lower_table, DATA | PS)),
        ("global", entry(lower_table, DATA | G)),
        ("cache-disabled", entry(lower_table, DATA | 1 << 4)),
    ] {
        let table = filled(&[(0, entry(lower_table, DATA)), (200, value)]);
        t.refused(name, Errno::EINVAL, || pin(command, table));
        t.succeeds(format_args!("{name}.free"), writable(table));
        t.succeeds(format_args!("{name}.below-free"), writable(lower_table));
    }
    Ok(())
}

fn far(t: &mut Trial, command: u32) -> Verdict {
    let page = frame();
    let l1 = filled(&[(0, entry(page, DATA)), (9, entry(BEYOND, DATA))]);
    let mut table = l1;
    let mut tables = [l1; 4];
    let levels = &mut tables[..=command as usize];
    for above in &mut levels[1..] {
        // A sound table stands before the unsound one.
        table = filled(&[(0, entry(frame(), DATA)), (1, entry(table, DATA))]);
        *above = table;
    }
    t.refused("pin", Errno::EPERM, || pin(command, table));
    for (level, table) in levels.iter().enumerate() {
        t.succeeds(format_args!("free.{}", level + 1), writable(*table));
    }
    t.succeeds("page-free", pinnable(page));
    Ok(())
}

fn level(t: &mut Trial, command: u32) -> Verdict {
    let own = if command == MMUEXT_PIN_L1_TABLE { root() } else { places() };
    t.refused("in-use", Errno::EINVAL, || pin(command, own));
    let other = if command == MMUEXT_PIN_L4_TABLE { MMUEXT_PIN_L1_TABLE } else { command + 1 };
    let table = frame();
    t.succeeds("pin-other", pin(other, table));
    t.refused("pinned", Errno::EINVAL, || pin(command, table));
    t.succeeds("unpin-other", unpin(table));
    // A former L4 has what the hypervisor left in its slots.
    t.succeeds("clear", mmuext(MMUEXT_CLEAR_PAGE, table, 0));
    t.succeeds("pin", pin(command, table));
    t.succeeds("unpin", unpin(table));
    Ok(())
}

fn l4_accessed(t: &mut Trial) -> Verdict {
    let l3 = frame();
    let table = filled(&[(3, entry(l3, P | RW | US))]);
    t.succeeds("pin", pin(MMUEXT_PIN_L4_TABLE, table));
    t.flags("entry", slot(table, 3), P | RW | US | A, P | RW | US | A);
    t.succeeds("unpin", unpin(table));
    Ok(())
}

fn l4_reserved(t: &mut Trial) -> Verdict {
    let table = filled(&[(256, entry(BEYOND, DATA)), (271, entry(BEYOND, DATA))]);
    t.succeeds("pin", pin(MMUEXT_PIN_L4_TABLE, table));
    for index in [256, 271] {
        t.holds("gone", pte::mfn(slot(table, index)) != BEYOND);
    }
    t.succeeds("unpin", unpin(table));
    Ok(())
}
