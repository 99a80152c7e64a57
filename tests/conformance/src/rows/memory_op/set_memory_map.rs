//! `memory_op(set_memory_map, request)`, sub-operation 13 (xen/include/public/memory.h, `struct xen_foreign_memory_map`): sets a
//! domain's memory map; a domain may set its own. No entries take the map away.
//!
//! Refused: requests that cannot be read (`EFAULT`), more than 1024 entries (`EINVAL`), domains that there are not (`ESRCH`) and
//! others than the caller (`EPERM`), entries that cannot be read (`EFAULT`), commands that say that something was done
//! (`ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{
    E820_RAM, E820Entry, ForeignMemoryMap, MemoryMap, XENMEM_MEMORY_MAP, XENMEM_SET_MEMORY_MAP,
};
use paravane_abi::mmu::DOMID_SELF;

use super::frames::{ask, continued};
use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::pointers::UNUSABLE;
use crate::rows::refusals::{self, NO_DOMAIN, own_domain};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "set_memory_map",
    &[
        Case::good("read-back", "the map is what was set", read_back),
        Case::good("own-number", "the domain may name itself by its number", own_number),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_SET_MEMORY_MAP, 0))
        }),
        Case::refusal("too-many", "more entries than a map has, before the domain is looked for", too_many),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("other-domain", "another domain", other_domain).role(Role::Pair),
        Case::refusal("entries", "entries that cannot be read, which leave the map as it is", entries),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_SET_MEMORY_MAP, 1))
        }),
    ],
);

/// An entry like no other.
pub(super) fn entry(number: u64) -> E820Entry {
    E820Entry { addr: number << 20, size: 0x5000 + number, kind: E820_RAM }
}

fn request(domid: u16, nr_entries: u32, buffer: u64) -> ForeignMemoryMap {
    ForeignMemoryMap { domid, pad: [0; 3], map: MemoryMap { nr_entries, pad: 0, buffer } }
}

/// Sets the domain's own map.
pub(super) fn set(map: &[E820Entry]) -> i64 {
    let mut request = request(DOMID_SELF, map.len() as u32, map.as_ptr() as u64);
    ask(XENMEM_SET_MEMORY_MAP, &mut request)
}

/// Reads it: how many entries, or the error.
fn get(map: &mut [E820Entry]) -> Result<usize, i64> {
    let (nr_entries, buffer) = (map.len() as u32, map.as_mut_ptr() as u64);
    let mut request = MemoryMap { nr_entries, pad: 0, buffer };
    match ask(XENMEM_MEMORY_MAP, &mut request) {
        0 => Ok(request.nr_entries as usize),
        error => Err(error),
    }
}

/// The map that the domain had before a case.
pub(super) struct Kept {
    map: [E820Entry; 64],
    used: usize,
}

impl Kept {
    /// Remembers it.
    pub(super) fn new() -> Self {
        let mut map = [E820Entry::default(); 64];
        let used = get(&mut map).unwrap_or(0);
        Self { map, used }
    }

    /// Sets it again.
    pub(super) fn restore(&self, t: &mut Trial) -> Verdict {
        t.need("the map that was there", set(&self.map[..self.used]))
    }
}

fn read_back(t: &mut Trial) -> Verdict {
    let kept = Kept::new();
    let entries = [entry(1), entry(2), entry(3)];
    t.succeeds("set", set(&entries));
    let mut map = [E820Entry::default(); 4];
    t.same("count", get(&mut map), Ok(3));
    t.holds("entries", map[..3] == entries);
    t.succeeds("fewer", set(&entries[1..2]));
    t.same("fewer.count", get(&mut map), Ok(1));
    t.holds("fewer.entries", map[0] == entries[1]);
    kept.restore(t)
}

fn own_number(t: &mut Trial) -> Verdict {
    let kept = Kept::new();
    let map = [entry(5)];
    let mut request = request(own_domain()?, 1, map.as_ptr() as u64);
    t.succeeds("set", ask(XENMEM_SET_MEMORY_MAP, &mut request));
    let mut read = [E820Entry::default(); 2];
    t.same("count", get(&mut read), Ok(1));
    t.holds("entry", read[0] == map[0]);
    kept.restore(t)
}

fn too_many(t: &mut Trial) -> Verdict {
    for (name, count) in [("one-more", 1025), ("largest", u32::MAX)] {
        let request = request(NO_DOMAIN, count, 0);
        refusals::request(t, name, Errno::EINVAL, request, continued(XENMEM_SET_MEMORY_MAP, 0))?;
    }
    // As many as a map has are not too many.
    let request = request(NO_DOMAIN, 1024, 0);
    refusals::request(t, "most", Errno::ESRCH, request, continued(XENMEM_SET_MEMORY_MAP, 0))
}

fn no_domain(t: &mut Trial) -> Verdict {
    let request = request(NO_DOMAIN, 1, 0);
    refusals::request(t, "nobody", Errno::ESRCH, request, continued(XENMEM_SET_MEMORY_MAP, 0))
}

fn other_domain(t: &mut Trial) -> Verdict {
    let request = request(pair::peer(), 1, 0);
    refusals::request(t, "other", Errno::EPERM, request, continued(XENMEM_SET_MEMORY_MAP, 0))?;
    pair::meet(t.side())
}

fn entries(t: &mut Trial) -> Verdict {
    let kept = Kept::new();
    t.succeeds("set", set(&[entry(6)]));
    for (name, address) in UNUSABLE {
        let request = request(DOMID_SELF, 1, address);
        refusals::request(t, name, Errno::EFAULT, request, continued(XENMEM_SET_MEMORY_MAP, 0))?;
    }
    let mut read = [E820Entry::default(); 2];
    t.same("count", get(&mut read), Ok(1));
    t.holds("entry", read[0] == entry(6));
    kept.restore(t)
}
