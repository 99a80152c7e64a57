//! What taking and giving extents have in common: whatever is wrong, the answer is how many extents were done.

use paravane_abi::memory::{
    MemoryReservation, XENMEM_DECREASE_RESERVATION, XENMEMF_EXACT_NODE_REQUEST, xenmemf_node,
};
use pv_probe::memory;

use super::frames::{ask, continued, extents, given_back, regain, settle};
use crate::case::Verdict;
use crate::pair;
use crate::rows::pointers::{HYPERVISOR, NOT_CANONICAL, UNUSABLE};
use crate::rows::refusals::NO_DOMAIN;
use crate::trial::Trial;

/// A change to a good request.
type Change = fn(&mut MemoryReservation);

/// Requests of one extent that are not done, each made of a good one by a change. In the end the good one is done.
fn not_done(t: &mut Trial, command: u32, changes: &[(&str, Change)]) -> Verdict {
    // With a frame given back, room is not what lacks.
    let [spare] = given_back()?;
    let give = command == XENMEM_DECREASE_RESERVATION;
    let own = if give { memory::take() } else { spare };
    let word = if give { memory::mfn(own) } else { spare };
    let mut list = [word];
    for (name, change) in changes {
        let mut request = extents(&mut list, 0);
        change(&mut request);
        let done = t.unchanged(name, || ask(command, &mut request));
        t.result(name, done, 0);
        t.holds(format_args!("{name}.list-kept"), list == [word]);
    }
    t.result("good", ask(command, &mut extents(&mut list, 0)), 1);
    if give {
        return regain(t, &[own, spare]);
    }
    settle(t, spare, list[0]);
    Ok(())
}

/// Domains that there are not.
pub fn no_domain(t: &mut Trial, command: u32) -> Verdict {
    not_done(
        t,
        command,
        &[
            ("nobody", |request| request.domid = NO_DOMAIN),
            ("io", |request| request.domid = 0x7ff1),
            ("hypervisor", |request| request.domid = 0x7ff2),
        ],
    )
}

/// The other domain of a pair.
pub fn other_domain(t: &mut Trial, command: u32) -> Verdict {
    not_done(t, command, &[("other", |request| request.domid = pair::peer())])?;
    pair::meet(t.side())
}

/// Extents of more than 2 MiB.
pub fn orders(t: &mut Trial, command: u32) -> Verdict {
    not_done(
        t,
        command,
        &[
            ("ten", |request| request.extent_order = 10),
            ("thirty-two", |request| request.extent_order = 32),
            ("largest", |request| request.extent_order = u32::MAX),
        ],
    )
}

/// No extents, and more than can be counted on the way.
pub fn counts(t: &mut Trial, command: u32) -> Verdict {
    not_done(
        t,
        command,
        &[
            ("none", |request| request.nr_extents = 0),
            ("two-to-the-26", |request| request.nr_extents = 1 << 26),
            ("largest", |request| request.nr_extents = u64::MAX),
        ],
    )
}

/// Lists where no guest has memory.
pub fn lists(t: &mut Trial, command: u32) -> Verdict {
    not_done(
        t,
        command,
        &[
            ("hypervisor", |request| request.extent_start = HYPERVISOR),
            ("not-canonical", |request| request.extent_start = NOT_CANONICAL),
        ],
    )
}

/// Fewer address bits than a page has.
pub fn address_bits(t: &mut Trial, command: u32) -> Verdict {
    not_done(
        t,
        command,
        &[("one", |request| request.mem_flags = 1), ("page", |request| request.mem_flags = 12)],
    )
}

/// A node that must be the one, from a domain that may not choose.
pub fn exact_node(t: &mut Trial, command: u32) -> Verdict {
    not_done(
        t,
        command,
        &[("first", |request| request.mem_flags = XENMEMF_EXACT_NODE_REQUEST | xenmemf_node(0))],
    )
}

/// Requests that cannot be read: the answer is what the command said was done.
pub fn unreadable(t: &mut Trial, command: u32) -> Verdict {
    for (name, address) in [("null", 0)].into_iter().chain(UNUSABLE) {
        let done = t.unchanged(name, || continued(command, 0)(address));
        t.result(name, done, 0);
        let done = t.unchanged(name, || continued(command, 7)(address));
        t.result(format_args!("{name}.seven-done"), done, 7);
    }
    Ok(())
}

/// A command that says that all or more is done.
pub fn done_before(t: &mut Trial, command: u32) -> Verdict {
    let mut list = [memory::mfn(memory::take())];
    let request = extents(&mut list, 0);
    for done in [1, 2, 0x3ff_ffff] {
        let what = format_args!("done-{done:#x}");
        let result = t.unchanged(what, || continued(command, done)(&raw const request as u64));
        t.result(format_args!("done-{done:#x}"), result, done as i64);
    }
    Ok(())
}
