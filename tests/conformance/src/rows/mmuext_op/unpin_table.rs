//! `MMUEXT_UNPIN_TABLE`, operation 4 of `mmuext_op` (xen/include/public/xen.h).
//!
//! Undoes a pin. A table that nothing else uses is an ordinary page then, and lets go of what it names; one that an entry
//! or a base pointer uses stays a table until that is gone.
//!
//! Refused: frames that are not this domain's or not pinned (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_UNPIN_TABLE};
use pv_probe::hypercall::mmuext;
use pv_probe::memory::{DATA, peek};

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{BEYOND, LOW, entry, filled, frame, hypervisor_frame, pinnable, places, writable};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "mmuext_op",
    "unpin_table",
    &[
        Case::good("free", "a table that is used nowhere is a page again, and lets go of its pages", free),
        Case::good("used", "a table that is used stays one", used),
        Case::good("contents", "the entries stay where they are", contents),
        Case::refusal("not-pinned", "pages, and tables that are used and not pinned", not_pinned),
        Case::refusal("twice", "a table that is not pinned any more", twice),
        Case::refusal("frames", "frames that are not this domain's", frames),
    ],
);

fn unpin(frame: u64) -> i64 {
    mmuext(MMUEXT_UNPIN_TABLE, frame, 0)
}

fn free(t: &mut Trial) -> Verdict {
    let page = frame();
    let table = filled(&[(1, entry(page, DATA))]);
    t.need("pin", mmuext(MMUEXT_PIN_L1_TABLE, table, 0))?;
    t.refused("page-held", Errno::EINVAL, || pinnable(page));
    t.succeeds("unpin", unpin(table));
    t.succeeds("writable", writable(table));
    t.succeeds("page-free", pinnable(page));
    Ok(())
}

fn used(t: &mut Trial) -> Verdict {
    let l1 = frame();
    let l2 = filled(&[(0, entry(l1, DATA))]);
    t.need("pin-l1", mmuext(MMUEXT_PIN_L1_TABLE, l1, 0))?;
    t.need("pin-l2", mmuext(MMUEXT_PIN_L2_TABLE, l2, 0))?;
    t.succeeds("unpin-l1", unpin(l1));
    t.refused("l1-held", Errno::EBUSY, || writable(l1));
    t.succeeds("unpin-l2", unpin(l2));
    t.succeeds("l1-free", writable(l1));
    Ok(())
}

fn contents(t: &mut Trial) -> Verdict {
    let table = filled(&[(3, 0x5000), (511, 0x7000)]);
    t.need("pin", mmuext(MMUEXT_PIN_L1_TABLE, table, 0))?;
    t.succeeds("unpin", unpin(table));
    t.equal("first", peek(table, 3), 0x5000);
    t.equal("last", peek(table, 511), 0x7000);
    Ok(())
}

fn not_pinned(t: &mut Trial) -> Verdict {
    let page = frame();
    t.refused("page", Errno::EINVAL, || unpin(page));
    t.refused("table", Errno::EINVAL, || unpin(places()));
    Ok(())
}

fn twice(t: &mut Trial) -> Verdict {
    let table = frame();
    t.need("pin", mmuext(MMUEXT_PIN_L1_TABLE, table, 0))?;
    t.succeeds("first", unpin(table));
    t.refused("second", Errno::EINVAL, || unpin(table));
    Ok(())
}

fn frames(t: &mut Trial) -> Verdict {
    for (name, frame) in
        [("low", LOW), ("beyond", BEYOND), ("none", pointers::NO_FRAME), ("hypervisor", hypervisor_frame())]
    {
        t.refused(name, Errno::EINVAL, || unpin(frame));
    }
    Ok(())
}
