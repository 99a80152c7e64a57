//! `memory_op(machphys_mapping, answer)`, sub-operation 12 (xen/include/public/memory.h, `struct xen_machphys_mapping`): where
//! the machine-to-physical table is, and the largest frame that it may be asked for.
//!
//! Refused: answers that cannot be written (`EFAULT`), commands that say that something was done (`ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{MachphysMapping, XENMEM_MACHPHYS_MAPPING};
use paravane_abi::mmu::{MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START};
use pv_probe::boot::start;
use pv_probe::memory;

use super::frames::{ask, continued};
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "machphys_mapping",
    &[
        Case::good("place", "the first 256 GiB of the hypervisor's range", place),
        Case::good(
            "largest",
            "every frame of the domain is in the table, and the table's end is not",
            largest,
        ),
        Case::refusal("pointers", "answers that cannot be written", |t| {
            refusals::pointers(t, continued(XENMEM_MACHPHYS_MAPPING, 0))
        }),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_MACHPHYS_MAPPING, 1))
        }),
    ],
);

fn place(t: &mut Trial) -> Verdict {
    let mut answer = MachphysMapping::default();
    t.succeeds("told", ask(XENMEM_MACHPHYS_MAPPING, &mut answer));
    t.equal("start", answer.v_start, MACH2PHYS_VIRT_START);
    t.equal("end", answer.v_end, MACH2PHYS_VIRT_END);
    Ok(())
}

fn largest(t: &mut Trial) -> Verdict {
    let mut answer = MachphysMapping::default();
    t.succeeds("told", ask(XENMEM_MACHPHYS_MAPPING, &mut answer));
    t.holds("enough", (0..start().info.nr_pages).all(|pfn| memory::mfn(pfn) <= answer.max_mfn));
    t.holds("in-range", answer.v_start + answer.max_mfn * 8 < answer.v_end);
    Ok(())
}
