//! `memory_op(increase_reservation, request)`, sub-operation 0 (xen/include/public/memory.h, `struct xen_memory_reservation`):
//! adds extents to the domain, and writes their first frames to the list. What guest frames they are is for the guest to say.
//!
//! Nothing is an error: the answer is how many extents were done. None are for requests that cannot be read, domains that
//! there are not and others than the caller, extents of more than 2^9 pages, no extents or 2^26 of them, lists where no guest
//! has memory, fewer than 13 address bits, a node that must be the one, and when the domain has all that it may have.

use paravane_abi::memory::XENMEM_INCREASE_RESERVATION;

use super::frames::{ask, continued, decrease, extents, given_back, is_usable, pages, room, settle};
use super::reservation;
use crate::case::{Case, Role, Row, Stop, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "increase_reservation",
    &[
        Case::good("frame", "a frame, which the list names and which can be used", frame),
        Case::good("extent", "an extent of two frames, aligned to its size", extent),
        Case::good("goes-on", "extents that the command says were done are left", goes_on),
        Case::refusal("limit", "a domain that has all the memory it may have", limit),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            reservation::unreadable(t, XENMEM_INCREASE_RESERVATION)
        }),
        Case::refusal("no-domain", "domains that there are not", |t| {
            reservation::no_domain(t, XENMEM_INCREASE_RESERVATION)
        }),
        Case::refusal("other-domain", "another domain", |t| {
            reservation::other_domain(t, XENMEM_INCREASE_RESERVATION)
        })
        .role(Role::Pair),
        Case::refusal("orders", "extents that are too large", |t| {
            reservation::orders(t, XENMEM_INCREASE_RESERVATION)
        }),
        Case::refusal("counts", "no extents, and too many", |t| {
            reservation::counts(t, XENMEM_INCREASE_RESERVATION)
        }),
        Case::refusal("lists", "lists where no guest has memory", |t| {
            reservation::lists(t, XENMEM_INCREASE_RESERVATION)
        }),
        Case::refusal("address-bits", "fewer address bits than a page has", |t| {
            reservation::address_bits(t, XENMEM_INCREASE_RESERVATION)
        }),
        Case::refusal("exact-node", "a node that must be the one", |t| {
            reservation::exact_node(t, XENMEM_INCREASE_RESERVATION)
        }),
        Case::refusal("done-before", "commands that say that all is done", |t| {
            reservation::done_before(t, XENMEM_INCREASE_RESERVATION)
        }),
    ],
);

fn increase(list: &mut [u64], order: u32) -> i64 {
    ask(XENMEM_INCREASE_RESERVATION, &mut extents(list, order))
}

fn frame(t: &mut Trial) -> Verdict {
    let [pfn] = given_back()?;
    let before = pages();
    let mut list = [u64::MAX];
    t.result("done", increase(&mut list, 0), 1);
    t.result("pages", pages() - before, 1);
    t.holds("usable", is_usable(list[0]));
    settle(t, pfn, list[0]);
    Ok(())
}

fn extent(t: &mut Trial) -> Verdict {
    let [first, second] = given_back()?;
    let before = pages();
    let mut list = [u64::MAX];
    t.result("done", increase(&mut list, 1), 1);
    t.result("pages", pages() - before, 2);
    t.holds("aligned", list[0].is_multiple_of(2));
    t.holds("usable", is_usable(list[0]) && is_usable(list[0] + 1));
    settle(t, first, list[0]);
    settle(t, second, list[0] + 1);
    Ok(())
}

fn goes_on(t: &mut Trial) -> Verdict {
    let [pfn] = given_back()?;
    let before = pages();
    let mut list = [u64::MAX; 3];
    let request = extents(&mut list, 0);
    t.result("done", continued(XENMEM_INCREASE_RESERVATION, 2)(&raw const request as u64), 3);
    t.result("pages", pages() - before, 1);
    t.holds("left", list[0] == u64::MAX && list[1] == u64::MAX);
    t.holds("usable", is_usable(list[2]));
    settle(t, pfn, list[2]);
    Ok(())
}

fn limit(t: &mut Trial) -> Verdict {
    let room = usize::try_from(room()).unwrap_or(usize::MAX);
    let mut all = [u64::MAX; 512];
    let Some(rest) = all.get_mut(..room) else {
        return Err(Stop::Skip("the domain may have more memory than fits a list of a page"));
    };
    if room != 0 {
        t.holds("filled", increase(rest, 0) == room as i64);
    }
    let mut list = [u64::MAX; 2];
    let done = t.unchanged("one", || increase(&mut list[..1], 0));
    t.result("one", done, 0);
    let done = t.unchanged("extent", || increase(&mut list, 1));
    t.result("extent", done, 0);
    t.holds("list-kept", list == [u64::MAX; 2]);
    // With room for one of two, one is done.
    let [pfn] = given_back()?;
    t.result("two", increase(&mut list, 0), 1);
    t.holds("second-kept", list[1] == u64::MAX);
    settle(t, pfn, list[0]);
    for frame in rest {
        let given = decrease(&mut [*frame], 0);
        if given != 1 {
            return Err(Stop::Error("giving a frame back", given));
        }
    }
    Ok(())
}
