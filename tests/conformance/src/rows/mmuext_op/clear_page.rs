//! `MMUEXT_CLEAR_PAGE`, operation 16 of `mmuext_op` (xen/include/public/xen.h).
//!
//! Fills a frame with zeroes, whether it is mapped or not.
//!
//! Refused: frames that are not this domain's, and those in use as tables or descriptors (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_SET_GDT;
use paravane_abi::mmu::{MMUEXT_CLEAR_PAGE, MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE};
use pv_probe::hypercall::{mmuext, raw};
use pv_probe::memory::{peek, root};

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{BEYOND, LOW, Mapped, filled, frame, hypervisor_frame, pinnable, places};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "mmuext_op",
    "clear_page",
    &[
        Case::good("cleared", "every word is 0 then", cleared),
        Case::good("mapped", "a page that is mapped shows it", mapped),
        Case::good("let-go", "the frame can become a table afterwards", let_go),
        Case::refusal("frames", "frames that are not this domain's", frames),
        Case::refusal("tables", "tables in use, and pinned ones", tables),
        Case::refusal("descriptors", "descriptors in use", descriptors),
    ],
);

fn clear(frame: u64) -> i64 {
    mmuext(MMUEXT_CLEAR_PAGE, frame, 0)
}

fn cleared(t: &mut Trial) -> Verdict {
    let frame = filled(&[(0, 1), (255, u64::MAX), (511, 1 << 63)]);
    t.succeeds("clear", clear(frame));
    t.equal("words", (0..512).map(|index| peek(frame, index)).fold(0, |all, word| all | word), 0);
    Ok(())
}

fn mapped(t: &mut Trial) -> Verdict {
    let page = filled(&[(5, 0x1234)]);
    let mapped = Mapped::new(0, page);
    t.reads("before", mapped.address() + 40, 0x1234);
    t.succeeds("clear", clear(page));
    t.reads("after", mapped.address() + 40, 0);
    Ok(())
}

fn let_go(t: &mut Trial) -> Verdict {
    let frame = filled(&[(5, u64::MAX)]);
    t.succeeds("clear", clear(frame));
    t.succeeds("table", pinnable(frame));
    Ok(())
}

fn frames(t: &mut Trial) -> Verdict {
    for (name, frame) in
        [("low", LOW), ("beyond", BEYOND), ("none", pointers::NO_FRAME), ("hypervisor", hypervisor_frame())]
    {
        t.refused(name, Errno::EINVAL, || clear(frame));
    }
    Ok(())
}

fn tables(t: &mut Trial) -> Verdict {
    t.refused("root", Errno::EINVAL, || clear(root()));
    t.refused("l1", Errno::EINVAL, || clear(places()));
    let pinned = frame();
    t.need("pin", mmuext(MMUEXT_PIN_L1_TABLE, pinned, 0))?;
    t.refused("pinned", Errno::EINVAL, || clear(pinned));
    t.need("unpin", mmuext(MMUEXT_UNPIN_TABLE, pinned, 0))?;
    t.succeeds("unpinned", clear(pinned));
    Ok(())
}

fn descriptors(t: &mut Trial) -> Verdict {
    let frame = filled(&[(5, 0x0000_f300_0000_1234)]);
    t.need("set_gdt", raw(HYPERVISOR_SET_GDT, [&raw const frame as u64, 512, 0, 0, 0]))?;
    t.refused("clear", Errno::EINVAL, || clear(frame));
    t.equal("descriptor", peek(frame, 5), 0x0000_f300_0000_1234);
    raw(HYPERVISOR_SET_GDT, [0; 5]);
    Ok(())
}
