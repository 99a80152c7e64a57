//! `memory_op(decrease_reservation, request)`, sub-operation 1 (xen/include/public/memory.h, `struct xen_memory_reservation`):
//! gives extents back, by the machine frames in the list. A frame that is still in use goes with its last use.
//!
//! Nothing is an error: the answer is how many extents were done before the first that could not be, because the list cannot
//! be read there, or because a frame is not the domain's. None are for requests that cannot be read, domains that there are
//! not and others than the caller, extents of more than 2^9 pages, no extents or 2^26 of them, and lists where no guest has
//! memory.

use paravane_abi::memory::XENMEM_DECREASE_RESERVATION;
use pv_probe::hypercall::map;
use pv_probe::memory::{self, DATA, NX, PAGE, l1_for};

use super::frames::{
    PLACE, continued, decrease, extents, given_back, is_usable, of_the_hypervisor, pages, populate, regain,
    settle,
};
use super::reservation;
use crate::case::{Case, Role, Row, Verdict};
use crate::rows::pointers::{NO_FRAME, NOTHING};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "decrease_reservation",
    &[
        Case::good("frames", "frames, which are not the domain's then", frames),
        Case::good("extent", "an extent of two frames", extent),
        Case::good("mapped", "a frame that is mapped goes when it is mapped no more", mapped),
        Case::good("goes-on", "extents that the command says were done are left", goes_on),
        Case::refusal("no-frame", "a frame that no machine has, between two of the domain's", no_frame),
        Case::refusal("not-its-own", "a frame of the hypervisor's, between two of the domain's", not_its_own),
        Case::refusal("twice", "a frame given twice", twice),
        Case::refusal("list-unmapped", "a list that is not mapped", list_unmapped),
        Case::refusal("list-end", "a list whose end is not mapped", list_end),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            reservation::unreadable(t, XENMEM_DECREASE_RESERVATION)
        }),
        Case::refusal("no-domain", "domains that there are not", |t| {
            reservation::no_domain(t, XENMEM_DECREASE_RESERVATION)
        }),
        Case::refusal("other-domain", "another domain", |t| {
            reservation::other_domain(t, XENMEM_DECREASE_RESERVATION)
        })
        .role(Role::Pair),
        Case::refusal("orders", "extents that are too large", |t| {
            reservation::orders(t, XENMEM_DECREASE_RESERVATION)
        }),
        Case::refusal("counts", "no extents, and too many", |t| {
            reservation::counts(t, XENMEM_DECREASE_RESERVATION)
        }),
        Case::refusal("lists", "lists where no guest has memory", |t| {
            reservation::lists(t, XENMEM_DECREASE_RESERVATION)
        }),
        Case::refusal("address-bits", "fewer address bits than a page has", |t| {
            reservation::address_bits(t, XENMEM_DECREASE_RESERVATION)
        }),
        Case::refusal("exact-node", "a node that must be the one", |t| {
            reservation::exact_node(t, XENMEM_DECREASE_RESERVATION)
        }),
        Case::refusal("done-before", "commands that say that all is done", |t| {
            reservation::done_before(t, XENMEM_DECREASE_RESERVATION)
        }),
    ],
);

fn frames(t: &mut Trial) -> Verdict {
    let pfns = [memory::take(), memory::take()];
    let before = pages();
    let mut list = pfns.map(memory::mfn);
    t.result("done", decrease(&mut list, 0), 2);
    t.result("pages", before - pages(), 2);
    t.holds("list-kept", list == pfns.map(memory::mfn));
    t.holds("gone", !is_usable(list[0]) && !is_usable(list[1]));
    regain(t, &pfns)
}

fn extent(t: &mut Trial) -> Verdict {
    let pfns: [u64; 2] = given_back()?;
    let mut list = [pfns[0]];
    t.result("taken", populate(&mut list, 1), 1);
    let before = pages();
    t.result("done", decrease(&mut list, 1), 1);
    t.result("pages", before - pages(), 2);
    t.holds("gone", !is_usable(list[0]) && !is_usable(list[0] + 1));
    regain(t, &pfns)
}

fn mapped(t: &mut Trial) -> Verdict {
    let pfn = memory::take();
    l1_for(PLACE);
    t.need("a mapping", map(PLACE, memory::mfn(pfn) << 12 | DATA | NX))?;
    // SAFETY: the frame is this case's.
    unsafe { memory::write(PLACE, 0x5a5a) };
    let before = pages();
    t.result("done", decrease(&mut [memory::mfn(pfn)], 0), 1);
    t.result("pages-mapped", before - pages(), 0);
    // SAFETY: as above.
    t.equal("contents", unsafe { memory::read(PLACE) }, 0x5a5a);
    t.succeeds("unmap", map(PLACE, 0));
    t.result("pages-unmapped", before - pages(), 1);
    regain(t, &[pfn])
}

fn goes_on(t: &mut Trial) -> Verdict {
    let pfns = [memory::take(), memory::take()];
    let before = pages();
    let mut list = pfns.map(memory::mfn);
    let request = extents(&mut list, 0);
    t.result("done", continued(XENMEM_DECREASE_RESERVATION, 1)(&raw const request as u64), 2);
    t.result("pages", before - pages(), 1);
    t.holds("first-kept", is_usable(list[0]));
    regain(t, &pfns[1..])
}

/// Two frames of the domain's, and another between them.
fn between(t: &mut Trial, other: u64) -> Verdict {
    let pfns = [memory::take(), memory::take()];
    let before = pages();
    let mut list = [memory::mfn(pfns[0]), other, memory::mfn(pfns[1])];
    t.result("done", decrease(&mut list, 0), 1);
    t.result("pages", before - pages(), 1);
    t.holds("last-kept", is_usable(list[2]));
    let done = t.unchanged("first", || decrease(&mut [other, list[2]], 0));
    t.result("first", done, 0);
    regain(t, &pfns[..1])
}

fn no_frame(t: &mut Trial) -> Verdict {
    between(t, NO_FRAME)
}

fn not_its_own(t: &mut Trial) -> Verdict {
    let other = of_the_hypervisor()?;
    between(t, other)
}

fn twice(t: &mut Trial) -> Verdict {
    let pfn = memory::take();
    let before = pages();
    t.result("done", decrease(&mut [memory::mfn(pfn); 2], 0), 1);
    t.result("pages", before - pages(), 1);
    regain(t, &[pfn])
}

fn list_unmapped(t: &mut Trial) -> Verdict {
    let mut request = extents(&mut [0], 0);
    request.extent_start = NOTHING;
    let address = &raw const request as u64;
    let done = t.unchanged("list", || continued(XENMEM_DECREASE_RESERVATION, 0)(address));
    t.result("list", done, 0);
    Ok(())
}

fn list_end(t: &mut Trial) -> Verdict {
    let (holder, pfn) = (memory::take(), memory::take());
    l1_for(PLACE);
    t.need("a page for the list", map(PLACE, memory::mfn(holder) << 12 | DATA | NX))?;
    let start = PLACE + PAGE - 8;
    // SAFETY: the page is this case's.
    unsafe { memory::write(start, memory::mfn(pfn)) };
    let mut request = extents(&mut [0; 2], 0);
    request.extent_start = start;
    t.result("done", continued(XENMEM_DECREASE_RESERVATION, 0)(&raw const request as u64), 1);
    t.succeeds("unmap", map(PLACE, 0));
    let mut again = [pfn];
    t.result("taken", populate(&mut again, 0), 1);
    settle(t, pfn, again[0]);
    Ok(())
}
