//! `MMUEXT_COPY_PAGE`, operation 17 of `mmuext_op` (xen/include/public/xen.h).
//!
//! Copies the frame in the second argument to that in the first. The source may be in use for anything.
//!
//! Refused: frames that are not this domain's, and as a destination those in use as tables or descriptors (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::mmu::MMUEXT_COPY_PAGE;
use pv_probe::hypercall::mmuext;
use pv_probe::memory::{A, D, peek, root};

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{BEYOND, LOW, Mapped, filled, frame, hypervisor_frame, places, slot, writable};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "mmuext_op",
    "copy_page",
    &[
        Case::good("copied", "every word is the source's, which stays", copied),
        Case::good("itself", "a frame may be copied to itself", itself),
        Case::good("table", "a table may be the source", table),
        Case::good("mapped", "pages that are mapped show it", mapped),
        Case::refusal("sources", "sources that are not this domain's", sources),
        Case::refusal("destinations", "destinations that are not this domain's", destinations),
        Case::refusal("tables", "tables in use as a destination", tables),
    ],
);

fn copy(to: u64, from: u64) -> i64 {
    mmuext(MMUEXT_COPY_PAGE, to, from)
}

fn copied(t: &mut Trial) -> Verdict {
    let (from, to) = (filled(&[(0, 1), (100, 2), (511, 3)]), filled(&[(50, 9)]));
    t.succeeds("copy", copy(to, from));
    t.holds("same", (0..512).all(|index| peek(to, index) == peek(from, index)));
    t.equal("source", peek(from, 511), 3);
    Ok(())
}

fn itself(t: &mut Trial) -> Verdict {
    let frame = filled(&[(100, 2)]);
    t.succeeds("copy", copy(frame, frame));
    t.equal("word", peek(frame, 100), 2);
    t.succeeds("free", writable(frame));
    Ok(())
}

fn table(t: &mut Trial) -> Verdict {
    let to = frame();
    t.succeeds("copy", copy(to, root()));
    // The hypervisor's slots aside.
    let same = |index| (peek(to, index) ^ slot(root(), index)) & !(A | D) == 0;
    t.holds("same", (0..256).chain(272..512).all(same));
    Ok(())
}

fn mapped(t: &mut Trial) -> Verdict {
    let (from, to) = (frame(), frame());
    let (source, destination) = (Mapped::new(0, from), Mapped::new(1, to));
    // SAFETY: the case's page.
    unsafe { pv_probe::memory::write(source.address() + 8, 0x1234) };
    t.succeeds("copy", copy(to, from));
    t.reads("read", destination.address() + 8, 0x1234);
    Ok(())
}

fn sources(t: &mut Trial) -> Verdict {
    let to = filled(&[(3, 0x33)]);
    for (name, frame) in
        [("low", LOW), ("beyond", BEYOND), ("none", pointers::NO_FRAME), ("hypervisor", hypervisor_frame())]
    {
        t.refused(name, Errno::EINVAL, || copy(to, frame));
        t.equal(format_args!("{name}.word"), peek(to, 3), 0x33);
    }
    Ok(())
}

fn destinations(t: &mut Trial) -> Verdict {
    let from = frame();
    for (name, frame) in
        [("low", LOW), ("beyond", BEYOND), ("none", pointers::NO_FRAME), ("hypervisor", hypervisor_frame())]
    {
        t.refused(name, Errno::EINVAL, || copy(frame, from));
    }
    t.succeeds("source-free", writable(from));
    Ok(())
}

fn tables(t: &mut Trial) -> Verdict {
    let from = frame();
    t.refused("root", Errno::EINVAL, || copy(root(), from));
    t.refused("l1", Errno::EINVAL, || copy(places(), from));
    t.refused("root-to-itself", Errno::EINVAL, || copy(root(), root()));
    Ok(())
}
