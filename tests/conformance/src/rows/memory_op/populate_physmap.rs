//! `memory_op(populate_physmap, request)`, sub-operation 6 (xen/include/public/memory.h, `struct xen_memory_reservation`): backs
//! guest frames with new extents, whose first machine frames are written over the guest frames in the list; the
//! machine-to-physical table says which guest frames they are.
//!
//! Nothing is an error: the answer is how many extents were done. None are for requests that cannot be read, domains that
//! there are not and others than the caller, extents of more than 2^9 pages, no extents or 2^26 of them, lists where no guest
//! has memory, fewer than 13 address bits, a node that must be the one, population on demand, and when the domain has all
//! that it may have.

use paravane_abi::hypercall::HYPERVISOR_MEMORY_OP;
use paravane_abi::memory::{
    XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP, XENMEMF_POPULATE_ON_DEMAND,
};
use pv_probe::hypercall::{entry, map, multicall};
use pv_probe::memory::{self, DATA, NX, PAGE, Page, l1_for};

use super::frames::{
    PLACE, ask, continued, decrease, extents, given_back, is_usable, pages, populate, regain, room, settle,
};
use super::reservation;
use crate::case::{Case, Role, Row, Stop, Verdict};
use crate::rows::pointers::NOTHING;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "populate_physmap",
    &[
        Case::good("frame", "a frame, which the list names and the table knows", frame),
        Case::good("extent", "an extent of eight frames, aligned to its size", extent),
        Case::good("many", "more extents than one step of the hypervisor does", many),
        Case::good("batched", "many extents by calls of a batch, given back and taken", batched),
        Case::good("goes-on", "extents that the command says were done are left", goes_on),
        Case::good("low", "a frame whose address has few bits, or none", low),
        Case::refusal("limit", "a domain that has all the memory it may have", limit),
        Case::refusal("on-demand", "population on demand, which is for HVM domains", on_demand),
        Case::refusal("list-unmapped", "a list that is not mapped", list_unmapped),
        Case::refusal("list-end", "a list whose end is not mapped", list_end),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            reservation::unreadable(t, XENMEM_POPULATE_PHYSMAP)
        }),
        Case::refusal("no-domain", "domains that there are not", |t| {
            reservation::no_domain(t, XENMEM_POPULATE_PHYSMAP)
        }),
        Case::refusal("other-domain", "another domain", |t| {
            reservation::other_domain(t, XENMEM_POPULATE_PHYSMAP)
        })
        .role(Role::Pair),
        Case::refusal("orders", "extents that are too large", |t| {
            reservation::orders(t, XENMEM_POPULATE_PHYSMAP)
        }),
        Case::refusal("counts", "no extents, and too many", |t| {
            reservation::counts(t, XENMEM_POPULATE_PHYSMAP)
        }),
        Case::refusal("lists", "lists where no guest has memory", |t| {
            reservation::lists(t, XENMEM_POPULATE_PHYSMAP)
        }),
        Case::refusal("address-bits", "fewer address bits than a page has", |t| {
            reservation::address_bits(t, XENMEM_POPULATE_PHYSMAP)
        }),
        Case::refusal("exact-node", "a node that must be the one", |t| {
            reservation::exact_node(t, XENMEM_POPULATE_PHYSMAP)
        }),
        Case::refusal("done-before", "commands that say that all is done", |t| {
            reservation::done_before(t, XENMEM_POPULATE_PHYSMAP)
        }),
    ],
);

fn frame(t: &mut Trial) -> Verdict {
    let [pfn] = given_back()?;
    let before = pages();
    let mut list = [pfn];
    t.result("done", populate(&mut list, 0), 1);
    t.result("pages", pages() - before, 1);
    t.holds("machphys", memory::m2p(list[0]) == pfn);
    t.holds("usable", is_usable(list[0]));
    settle(t, pfn, list[0]);
    Ok(())
}

fn extent(t: &mut Trial) -> Verdict {
    // Eight guest frames in a row, so that the table says what the guest's list does.
    let pfns: [u64; 8] = given_back()?;
    let first = 0x10_0000;
    let before = pages();
    let mut list = [first];
    t.result("done", populate(&mut list, 3), 1);
    t.result("pages", pages() - before, 8);
    t.holds("aligned", list[0].is_multiple_of(8));
    t.holds("machphys", (0..8).all(|index| memory::m2p(list[0] + index) == first + index));
    t.holds("usable", (0..8).all(|index| is_usable(list[0] + index)));
    for (index, pfn) in (0..).zip(pfns) {
        settle(t, pfn, list[0] + index);
    }
    Ok(())
}

/// A list of as many extents as a page has room for.
static LIST: Page = Page::new();

/// Extents of the list.
const MANY: usize = 512;

fn word(index: usize) -> u64 {
    // SAFETY: within the page.
    unsafe { memory::read(LIST.address() + index as u64 * 8) }
}

fn set_word(index: usize, value: u64) {
    // SAFETY: within the page, which is this file's.
    unsafe { memory::write(LIST.address() + index as u64 * 8, value) };
}

fn many(t: &mut Trial) -> Verdict {
    let mut pfns = [0u16; MANY];
    for (index, pfn) in pfns.iter_mut().enumerate() {
        *pfn = memory::take() as u16;
        set_word(index, memory::mfn((*pfn).into()));
    }
    let before = pages();
    let mut request = extents(&mut [], 0);
    (request.extent_start, request.nr_extents) = (LIST.address(), MANY as u64);
    t.result("given", ask(XENMEM_DECREASE_RESERVATION, &mut request), MANY as i64);
    t.result("pages-given", before - pages(), MANY as i64);
    for (index, pfn) in pfns.iter().enumerate() {
        set_word(index, (*pfn).into());
    }
    t.result("taken", ask(XENMEM_POPULATE_PHYSMAP, &mut request), MANY as i64);
    t.result("pages-taken", before - pages(), 0);
    let known = |(index, pfn): (usize, &u16)| memory::m2p(word(index)) == u64::from(*pfn);
    t.holds("machphys", pfns.iter().enumerate().all(known));
    t.holds("usable", [0, 1, 255, 510, 511].into_iter().all(|index| is_usable(word(index))));
    for (index, pfn) in pfns.iter().enumerate() {
        memory::set_mfn((*pfn).into(), word(index));
    }
    Ok(())
}

fn batched(t: &mut Trial) -> Verdict {
    const COUNT: usize = 160;
    let pfns: [u16; COUNT] = core::array::from_fn(|_| memory::take() as u16);
    let mut given: [u64; COUNT] = core::array::from_fn(|index| memory::mfn(pfns[index].into()));
    let mut taken: [u64; COUNT] = core::array::from_fn(|index| pfns[index].into());
    let before = pages();
    let requests = [extents(&mut given, 0), extents(&mut taken, 0)];
    let calls = [XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP];
    let mut calls: [_; 2] = core::array::from_fn(|index| {
        entry(HYPERVISOR_MEMORY_OP, [calls[index].into(), &raw const requests[index] as u64])
    });
    t.succeeds("batch", multicall(&mut calls));
    t.equal("given", calls[0].result, COUNT as u64);
    t.equal("taken", calls[1].result, COUNT as u64);
    t.result("pages", pages() - before, 0);
    let known = |index: usize| memory::m2p(taken[index]) == u64::from(pfns[index]);
    t.holds("machphys", (0..COUNT).all(known));
    for (pfn, frame) in pfns.into_iter().zip(taken) {
        memory::set_mfn(pfn.into(), frame);
    }
    Ok(())
}

fn goes_on(t: &mut Trial) -> Verdict {
    let [pfn] = given_back()?;
    let before = pages();
    let mut list = [u64::MAX, u64::MAX, pfn];
    let request = extents(&mut list, 0);
    t.result("done", continued(XENMEM_POPULATE_PHYSMAP, 2)(&raw const request as u64), 3);
    t.result("pages", pages() - before, 1);
    t.holds("left", list[0] == u64::MAX && list[1] == u64::MAX);
    t.holds("machphys", memory::m2p(list[2]) == pfn);
    settle(t, pfn, list[2]);
    Ok(())
}

fn low(t: &mut Trial) -> Verdict {
    const BITS: u32 = 26;
    let [pfn] = given_back()?;
    let mut list = [pfn];
    let mut request = extents(&mut list, 0);
    request.mem_flags = BITS;
    // Whether there is such a frame depends on the machine.
    let done = ask(XENMEM_POPULATE_PHYSMAP, &mut request);
    t.holds("done", done == 0 || (done == 1 && list[0] >> (BITS - 12) == 0));
    if done == 1 {
        settle(t, pfn, list[0]);
        return Ok(());
    }
    regain(t, &[pfn])
}

fn limit(t: &mut Trial) -> Verdict {
    let room = usize::try_from(room()).unwrap_or(usize::MAX);
    if room >= MANY {
        return Err(Stop::Skip("the domain may have more memory than fits a list of a page"));
    }
    let first = 0x10_0000;
    for index in 0..=room {
        set_word(index, first + index as u64);
    }
    let mut request = extents(&mut [], 0);
    (request.extent_start, request.nr_extents) = (LIST.address(), room as u64 + 1);
    t.holds("done", ask(XENMEM_POPULATE_PHYSMAP, &mut request) == room as i64);
    t.holds("last-kept", word(room) == first + room as u64);
    let mut one = [first];
    let done = t.unchanged("one", || populate(&mut one, 0));
    t.result("one", done, 0);
    let done = t.unchanged("extent", || populate(&mut one, 9));
    t.result("extent", done, 0);
    for index in 0..room {
        let given = decrease(&mut [word(index)], 0);
        if given != 1 {
            return Err(Stop::Error("giving a frame back", given));
        }
    }
    Ok(())
}

fn on_demand(t: &mut Trial) -> Verdict {
    let [pfn] = given_back()?;
    let mut list = [pfn];
    let mut request = extents(&mut list, 0);
    request.mem_flags = XENMEMF_POPULATE_ON_DEMAND;
    let done = t.unchanged("flag", || ask(XENMEM_POPULATE_PHYSMAP, &mut request));
    t.result("flag", done, 0);
    t.holds("list-kept", list == [pfn]);
    regain(t, &[pfn])
}

fn list_unmapped(t: &mut Trial) -> Verdict {
    let [pfn] = given_back()?;
    let mut request = extents(&mut [0], 0);
    request.extent_start = NOTHING;
    let done = t.unchanged("list", || ask(XENMEM_POPULATE_PHYSMAP, &mut request));
    t.result("list", done, 0);
    regain(t, &[pfn])
}

fn list_end(t: &mut Trial) -> Verdict {
    let pfns: [u64; 2] = given_back()?;
    let holder = memory::take();
    l1_for(PLACE);
    t.need("a page for the list", map(PLACE, memory::mfn(holder) << 12 | DATA | NX))?;
    let start = PLACE + PAGE - 8;
    // SAFETY: the page is this case's.
    unsafe { memory::write(start, pfns[0]) };
    let mut request = extents(&mut [0; 2], 0);
    request.extent_start = start;
    let before = pages();
    t.result("done", ask(XENMEM_POPULATE_PHYSMAP, &mut request), 1);
    t.result("pages", pages() - before, 1);
    // SAFETY: as above.
    let frame = unsafe { memory::read(start) };
    t.succeeds("unmap", map(PLACE, 0));
    t.holds("usable", is_usable(frame));
    settle(t, pfns[0], frame);
    regain(t, &pfns[1..])
}
