//! `memory_op(machine_memory_map, request)`, sub-operation 10 (xen/include/public/memory.h, `struct xen_memory_map`): the
//! machine's memory map.
//!
//! Refused: commands that say that something was done (`ENOSYS`), then a domain without the privilege, before the request is
//! looked at (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{E820Entry, MemoryMap, XENMEM_MACHINE_MEMORY_MAP};

use super::frames::continued;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "machine_memory_map",
    &[
        Case::refusal("pointers", "it is refused before its request is looked at", |t| {
            refusals::whatever(t, Errno::EPERM, continued(XENMEM_MACHINE_MEMORY_MAP, 0))
        }),
        Case::refusal("privilege", "a request with room", privilege),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_MACHINE_MEMORY_MAP, 1))
        }),
    ],
);

fn privilege(t: &mut Trial) -> Verdict {
    let mut map = [E820Entry::default(); 64];
    let request = MemoryMap { nr_entries: 64, pad: 0, buffer: map.as_mut_ptr() as u64 };
    refusals::request(t, "room", Errno::EPERM, request, continued(XENMEM_MACHINE_MEMORY_MAP, 0))?;
    t.holds("buffer-kept", map == [E820Entry::default(); 64]);
    Ok(())
}
