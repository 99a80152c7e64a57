//! `memory_op(exchange, request)`, sub-operation 11 (xen/include/public/memory.h, `struct xen_memory_exchange`): exchanges
//! extents for others of another size or place, as many pages. The domain names the machine frames that it gives, which
//! nothing may use, and the guest frames that it wants backed, over which the new machine frames are written. How many of
//! the extents given were exchanged is told in the request, whatever the answer.
//!
//! Refused: commands that say that something was done (`EINVAL`), requests that cannot be read (`EFAULT`), extents of more
//! than 2^9 pages (`EPERM`), sides of different size or domain, sizes that overflow, more exchanged than there is (`EINVAL`),
//! lists where no guest has memory (`EFAULT`), a node that must be the one (`EINVAL`), domains that there are not (`ESRCH`)
//! and others than the caller (`EPERM`), frames that are in use or not the domain's (`EINVAL`), when there is no memory
//! (`ENOMEM`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{MemoryExchange, XENMEM_EXCHANGE, XENMEMF_EXACT_NODE_REQUEST, xenmemf_node};
use pv_probe::hypercall::map;
use pv_probe::memory::{self, DATA, NX, l1_for};

use super::frames::{PLACE, ask, continued, extents, is_usable, of_the_hypervisor, pages, settle};
use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::pointers::{HYPERVISOR, NO_FRAME, NOT_CANONICAL, NOTHING};
use crate::rows::refusals::{self, NO_DOMAIN};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "exchange",
    &[
        Case::good("frame", "a frame for another", frame),
        Case::good(
            "join-and-split",
            "two frames for an extent of two, and that for two frames",
            join_and_split,
        ),
        Case::good("many", "more extents than one step of the hypervisor does", many),
        Case::good("goes-on", "extents that the request says were exchanged are left", goes_on),
        Case::good("done-before", "a request that says that all was exchanged", done_before),
        Case::refusal("in-use", "a frame that is mapped", in_use),
        Case::refusal("not-its-own", "frames that are not the domain's, between two that are", not_its_own),
        Case::refusal("twice", "a frame given twice for an extent", twice),
        Case::refusal("no-low-memory", "frames of so few address bits that there are none", no_low_memory),
        Case::refusal("sizes", "sides of different sizes, and sizes that overflow", sizes),
        Case::refusal("orders", "extents that are too large, before all else", orders),
        Case::refusal("too-many-done", "more exchanged than there is", too_many_done),
        Case::refusal("domains", "different domains, and one that there is not", domains),
        Case::refusal("other-domain", "another domain", other_domain).role(Role::Pair),
        Case::refusal("lists", "lists where no guest has memory, and where nothing is mapped", lists),
        Case::refusal("exact-node", "a node that must be the one", exact_node),
        Case::refusal("continued", "a command that says that something was done", started),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_EXCHANGE, 0))
        }),
    ],
);

/// Frames for as many guest frames, which are written over.
fn request(given: &mut [u64], given_order: u32, taken: &mut [u64], taken_order: u32) -> MemoryExchange {
    MemoryExchange {
        input: extents(given, given_order),
        output: extents(taken, taken_order),
        nr_exchanged: 0,
    }
}

/// A request for one frame, changed, that is refused and exchanges nothing.
fn refused(t: &mut Trial, what: &str, error: Errno, change: impl FnOnce(&mut MemoryExchange)) {
    let pfn = memory::take();
    let (mut given, mut taken) = ([memory::mfn(pfn)], [pfn]);
    let mut request = request(&mut given, 0, &mut taken, 0);
    change(&mut request);
    let told = request.nr_exchanged;
    t.refused(what, error, || ask(XENMEM_EXCHANGE, &mut request));
    t.holds(format_args!("{what}.told"), request.nr_exchanged == told);
    t.holds(format_args!("{what}.list-kept"), taken == [pfn]);
    t.holds(format_args!("{what}.frame-kept"), is_usable(memory::mfn(pfn)));
}

fn frame(t: &mut Trial) -> Verdict {
    let pfn = memory::take();
    let old = memory::mfn(pfn);
    let before = pages();
    let (mut given, mut taken) = ([old], [pfn]);
    let mut request = request(&mut given, 0, &mut taken, 0);
    t.succeeds("exchange", ask(XENMEM_EXCHANGE, &mut request));
    t.equal("exchanged", request.nr_exchanged, 1);
    t.result("pages", pages() - before, 0);
    t.holds("another", taken[0] != old && given == [old]);
    t.holds("machphys", memory::m2p(taken[0]) == pfn);
    t.holds("usable", is_usable(taken[0]));
    t.holds("old-gone", !is_usable(old));
    settle(t, pfn, taken[0]);
    Ok(())
}

fn join_and_split(t: &mut Trial) -> Verdict {
    let pfns = [memory::take(), memory::take()];
    let before = pages();
    let (mut given, mut taken) = (pfns.map(memory::mfn), [0x10_0000]);
    let mut join = request(&mut given, 0, &mut taken, 1);
    t.succeeds("join", ask(XENMEM_EXCHANGE, &mut join));
    t.equal("join.exchanged", join.nr_exchanged, 2);
    t.holds("join.aligned", taken[0].is_multiple_of(2));
    t.holds("join.machphys", [0, 1].iter().all(|index| memory::m2p(taken[0] + index) == 0x10_0000 + index));
    let (mut given, mut taken) = (taken, pfns);
    let mut split = request(&mut given, 1, &mut taken, 0);
    t.succeeds("split", ask(XENMEM_EXCHANGE, &mut split));
    t.equal("split.exchanged", split.nr_exchanged, 1);
    t.holds("split.machphys", [0, 1].into_iter().all(|index| memory::m2p(taken[index]) == pfns[index]));
    t.holds("split.usable", is_usable(taken[0]) && is_usable(taken[1]));
    t.result("pages", pages() - before, 0);
    for (pfn, frame) in pfns.into_iter().zip(taken) {
        settle(t, pfn, frame);
    }
    Ok(())
}

fn many(t: &mut Trial) -> Verdict {
    const COUNT: usize = 160;
    let pfns: [u16; COUNT] = core::array::from_fn(|_| memory::take() as u16);
    let mut given: [u64; COUNT] = core::array::from_fn(|index| memory::mfn(pfns[index].into()));
    let mut taken: [u64; COUNT] = core::array::from_fn(|index| pfns[index].into());
    let before = pages();
    let mut request = request(&mut given, 0, &mut taken, 0);
    t.succeeds("exchange", ask(XENMEM_EXCHANGE, &mut request));
    t.equal("exchanged", request.nr_exchanged, COUNT as u64);
    t.result("pages", pages() - before, 0);
    let known = |index: usize| memory::m2p(taken[index]) == u64::from(pfns[index]);
    t.holds("machphys", (0..COUNT).all(known));
    t.holds("usable", [0, 1, 63, 64, 65, 158, 159].into_iter().all(|index| is_usable(taken[index])));
    for (pfn, frame) in pfns.into_iter().zip(taken) {
        memory::set_mfn(pfn.into(), frame);
    }
    Ok(())
}

fn goes_on(t: &mut Trial) -> Verdict {
    let pfns = [memory::take(), memory::take()];
    let (mut given, mut taken) = (pfns.map(memory::mfn), pfns);
    let mut request = request(&mut given, 0, &mut taken, 0);
    request.nr_exchanged = 1;
    t.succeeds("exchange", ask(XENMEM_EXCHANGE, &mut request));
    t.equal("exchanged", request.nr_exchanged, 2);
    t.holds("first-kept", taken[0] == pfns[0] && is_usable(memory::mfn(pfns[0])));
    t.holds("second", memory::m2p(taken[1]) == pfns[1] && is_usable(taken[1]));
    settle(t, pfns[1], taken[1]);
    Ok(())
}

fn done_before(t: &mut Trial) -> Verdict {
    let pfn = memory::take();
    let (mut given, mut taken) = ([memory::mfn(pfn)], [pfn]);
    let mut request = request(&mut given, 0, &mut taken, 0);
    request.nr_exchanged = 1;
    let result = t.unchanged("exchange", || ask(XENMEM_EXCHANGE, &mut request));
    t.succeeds("exchange", result);
    t.holds("kept", taken == [pfn] && is_usable(memory::mfn(pfn)));
    Ok(())
}

fn in_use(t: &mut Trial) -> Verdict {
    let pfn = memory::take();
    l1_for(PLACE);
    t.need("a mapping", map(PLACE, memory::mfn(pfn) << 12 | DATA | NX))?;
    // SAFETY: the frame is this case's.
    unsafe { memory::write(PLACE, 0x5a5a) };
    let (mut given, mut taken) = ([memory::mfn(pfn)], [pfn]);
    let mut request = request(&mut given, 0, &mut taken, 0);
    t.refused("mapped", Errno::EINVAL, || ask(XENMEM_EXCHANGE, &mut request));
    t.equal("exchanged", request.nr_exchanged, 0);
    // SAFETY: as above.
    t.equal("contents", unsafe { memory::read(PLACE) }, 0x5a5a);
    t.succeeds("unmap", map(PLACE, 0));
    t.holds("list-kept", taken == [pfn]);
    Ok(())
}

fn not_its_own(t: &mut Trial) -> Verdict {
    for (name, other) in [("no-frame", NO_FRAME), ("hypervisor", of_the_hypervisor()?)] {
        let pfns = [memory::take(), memory::take()];
        let mut given = [memory::mfn(pfns[0]), other, memory::mfn(pfns[1])];
        let mut taken = [pfns[0], 0x10_0000, pfns[1]];
        let before = pages();
        let mut request = request(&mut given, 0, &mut taken, 0);
        t.fails(name, ask(XENMEM_EXCHANGE, &mut request), Errno::EINVAL);
        t.equal(format_args!("{name}.exchanged"), request.nr_exchanged, 1);
        t.result(format_args!("{name}.pages"), pages() - before, 0);
        t.holds(format_args!("{name}.first"), memory::m2p(taken[0]) == pfns[0] && is_usable(taken[0]));
        t.holds(format_args!("{name}.rest-kept"), taken[1..] == [0x10_0000, pfns[1]] && is_usable(given[2]));
        settle(t, pfns[0], taken[0]);
    }
    Ok(())
}

fn twice(t: &mut Trial) -> Verdict {
    let pfn = memory::take();
    let (mut given, mut taken) = ([memory::mfn(pfn); 2], [pfn]);
    let mut request = request(&mut given, 0, &mut taken, 1);
    t.refused("frame", Errno::EINVAL, || ask(XENMEM_EXCHANGE, &mut request));
    t.equal("exchanged", request.nr_exchanged, 0);
    t.holds("kept", taken == [pfn] && is_usable(memory::mfn(pfn)));
    Ok(())
}

fn no_low_memory(t: &mut Trial) -> Verdict {
    refused(t, "bits-14", Errno::ENOMEM, |request| request.output.mem_flags = 14);
    Ok(())
}

fn sizes(t: &mut Trial) -> Verdict {
    refused(t, "more-taken", Errno::EINVAL, |request| request.output.nr_extents = 2);
    refused(t, "larger-taken", Errno::EINVAL, |request| request.output.extent_order = 1);
    refused(t, "none-given", Errno::EINVAL, |request| request.input.nr_extents = 0);
    refused(t, "overflow-given", Errno::EINVAL, |request| {
        (request.input.nr_extents, request.input.extent_order) = ((1 << 63) + 1, 1);
        (request.output.nr_extents, request.output.extent_order) = (1, 1);
    });
    refused(t, "overflow-taken", Errno::EINVAL, |request| {
        (request.input.nr_extents, request.input.extent_order) = (1, 1);
        (request.output.nr_extents, request.output.extent_order) = ((1 << 63) + 1, 1);
    });
    Ok(())
}

fn orders(t: &mut Trial) -> Verdict {
    refused(t, "given", Errno::EPERM, |request| request.input.extent_order = 10);
    refused(t, "taken", Errno::EPERM, |request| request.output.extent_order = 10);
    refused(t, "largest", Errno::EPERM, |request| request.input.extent_order = u32::MAX);
    refused(t, "before-done", Errno::EPERM, |request| {
        (request.input.extent_order, request.nr_exchanged) = (10, 5);
    });
    Ok(())
}

fn too_many_done(t: &mut Trial) -> Verdict {
    refused(t, "two-of-one", Errno::EINVAL, |request| request.nr_exchanged = 2);
    refused(t, "largest", Errno::EINVAL, |request| request.nr_exchanged = u64::MAX);
    Ok(())
}

fn domains(t: &mut Trial) -> Verdict {
    refused(t, "different", Errno::EINVAL, |request| request.output.domid = NO_DOMAIN);
    refused(t, "nobody", Errno::ESRCH, |request| {
        (request.input.domid, request.output.domid) = (NO_DOMAIN, NO_DOMAIN);
    });
    Ok(())
}

fn other_domain(t: &mut Trial) -> Verdict {
    refused(t, "other", Errno::EPERM, |request| {
        (request.input.domid, request.output.domid) = (pair::peer(), pair::peer());
    });
    pair::meet(t.side())
}

fn lists(t: &mut Trial) -> Verdict {
    for (name, address) in [("hypervisor", HYPERVISOR), ("not-canonical", NOT_CANONICAL)] {
        refused(t, name, Errno::EFAULT, |request| request.input.extent_start = address);
        // The places are looked at before the frames, and the domain after them.
        refused(t, name, Errno::EFAULT, |request| {
            request.output.extent_start = address;
            (request.input.domid, request.output.domid) = (NO_DOMAIN, NO_DOMAIN);
        });
    }
    refused(t, "nothing", Errno::EFAULT, |request| request.input.extent_start = NOTHING);
    Ok(())
}

fn exact_node(t: &mut Trial) -> Verdict {
    refused(t, "taken", Errno::EINVAL, |request| {
        request.output.mem_flags = XENMEMF_EXACT_NODE_REQUEST | xenmemf_node(0);
    });
    Ok(())
}

fn started(t: &mut Trial) -> Verdict {
    for done in [1, 0x5a5a] {
        let what = format_args!("done-{done:#x}");
        t.refused(what, Errno::EINVAL, || continued(XENMEM_EXCHANGE, done)(0));
    }
    Ok(())
}
