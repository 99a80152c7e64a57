//! `memory_op(memory_map, request)`, sub-operation 9 (xen/include/public/memory.h, `struct xen_memory_map`): the domain's memory
//! map, as it was given one, by who built it or by itself; as many entries as there is room for.
//!
//! Refused: requests and buffers that cannot be used (`EFAULT`), domains without a map, and commands that say that something
//! was done (both `ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{E820_RAM, E820Entry, MemoryMap, XENMEM_MEMORY_MAP};

use super::frames::{ask, continued};
use super::set_memory_map::{Kept, entry, set};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers::UNUSABLE;
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "memory_map",
    &[
        Case::good("built", "who built the domain gave it a map, or none", built),
        Case::good("room", "no more entries than there is room for", room),
        Case::good("no-room", "no entry without room, wherever the buffer is", no_room),
        Case::refusal("none", "a domain without a map", none),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_MEMORY_MAP, 0))
        }),
        Case::refusal("buffers", "buffers that cannot be written", buffers),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_MEMORY_MAP, 1))
        }),
    ],
);

fn built(t: &mut Trial) -> Verdict {
    let mut map = [E820Entry::default(); 128];
    let mut request = MemoryMap { nr_entries: 128, pad: 0, buffer: map.as_mut_ptr() as u64 };
    let result = ask(XENMEM_MEMORY_MAP, &mut request);
    let none = result == Errno::ENOSYS.to_ret() && request.nr_entries == 128;
    let has_memory = map.iter().any(|entry| entry.kind == E820_RAM && { entry.size } != 0);
    t.holds("map-or-none", none || (result == 0 && has_memory));
    Ok(())
}

fn room(t: &mut Trial) -> Verdict {
    let kept = Kept::new();
    let entries = [entry(0), entry(1), entry(2)];
    t.succeeds("set", set(&entries));
    for room in [1, 2, 3, 5] {
        let mut map = [entry(7); 5];
        let mut request = MemoryMap { nr_entries: room, pad: 0, buffer: map.as_mut_ptr() as u64 };
        t.succeeds(format_args!("room-{room}"), ask(XENMEM_MEMORY_MAP, &mut request));
        let count = room.min(3) as usize;
        t.equal(format_args!("room-{room}.count"), request.nr_entries.into(), count as u64);
        t.holds(format_args!("room-{room}.entries"), map[..count] == entries[..count]);
        t.holds(format_args!("room-{room}.rest-kept"), map[count..].iter().all(|it| *it == entry(7)));
    }
    kept.restore(t)
}

fn no_room(t: &mut Trial) -> Verdict {
    let kept = Kept::new();
    t.succeeds("set", set(&[entry(0)]));
    for (name, buffer) in [("null", 0)].into_iter().chain(UNUSABLE) {
        let mut request = MemoryMap { nr_entries: 0, pad: 0, buffer };
        t.succeeds(name, ask(XENMEM_MEMORY_MAP, &mut request));
        t.equal(format_args!("{name}.count"), request.nr_entries.into(), 0);
    }
    kept.restore(t)
}

fn none(t: &mut Trial) -> Verdict {
    let kept = Kept::new();
    t.succeeds("set", set(&[]));
    let mut map = [entry(7)];
    let request = MemoryMap { nr_entries: 1, pad: 0, buffer: map.as_mut_ptr() as u64 };
    refusals::request(t, "map", Errno::ENOSYS, request, continued(XENMEM_MEMORY_MAP, 0))?;
    t.holds("buffer-kept", map == [entry(7)]);
    kept.restore(t)
}

fn buffers(t: &mut Trial) -> Verdict {
    let kept = Kept::new();
    t.succeeds("set", set(&[entry(0)]));
    for (name, buffer) in UNUSABLE {
        let request = MemoryMap { nr_entries: 1, pad: 0, buffer };
        refusals::request(t, name, Errno::EFAULT, request, continued(XENMEM_MEMORY_MAP, 0))?;
    }
    kept.restore(t)
}
