//! `memory_op(machphys_mfn_list, request)`, sub-operation 5 (xen/include/public/memory.h, `struct xen_machphys_mfn_list`): the
//! first frames of the machine-to-physical table's 2 MiB extents, as many as there is room for.
//!
//! Refused: requests and lists that cannot be used (`EFAULT`), commands that say that something was done (`ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{MachphysMfnList, XENMEM_MACHPHYS_MFN_LIST};

use super::frames::{ask, continued, is_usable};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers::UNUSABLE;
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "machphys_mfn_list",
    &[
        Case::good("all", "each extent's first frame, aligned to 2 MiB or not the domain's", all),
        Case::good("room", "no more than there is room for", room),
        Case::good("no-room", "nothing without room, wherever the list is", no_room),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_MACHPHYS_MFN_LIST, 0))
        }),
        Case::refusal("lists", "lists that cannot be written", lists),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_MACHPHYS_MFN_LIST, 1))
        }),
    ],
);

/// What stands where frames will be.
const BEFORE: u64 = 0x5a5a_5a5a_5a5a_5a5a;

fn list(max_extents: u32, list: u64) -> MachphysMfnList {
    MachphysMfnList { max_extents, extent_start: list, nr_extents: 0x5a, ..Default::default() }
}

fn all(t: &mut Trial) -> Verdict {
    let mut frames = [BEFORE; 64];
    let mut request = list(64, frames.as_mut_ptr() as u64);
    t.succeeds("told", ask(XENMEM_MACHPHYS_MFN_LIST, &mut request));
    let count = request.nr_extents as usize;
    t.holds("count", (1..=64).contains(&count));
    let (told, rest) = frames.split_at(count.min(64));
    t.holds("rest-kept", rest.iter().all(|frame| *frame == BEFORE));
    t.holds("not-the-domain's", told.iter().all(|frame| !is_usable(*frame)));
    Ok(())
}

fn room(t: &mut Trial) -> Verdict {
    let mut frames = [BEFORE; 2];
    let mut request = list(1, frames.as_mut_ptr() as u64);
    t.succeeds("told", ask(XENMEM_MACHPHYS_MFN_LIST, &mut request));
    t.equal("count", request.nr_extents.into(), 1);
    t.holds("first", frames[0] != BEFORE);
    t.holds("second-kept", frames[1] == BEFORE);
    Ok(())
}

fn no_room(t: &mut Trial) -> Verdict {
    for (name, address) in [("null", 0)].into_iter().chain(UNUSABLE) {
        let mut request = list(0, address);
        t.succeeds(name, ask(XENMEM_MACHPHYS_MFN_LIST, &mut request));
        t.equal(format_args!("{name}.count"), request.nr_extents.into(), 0);
    }
    Ok(())
}

fn lists(t: &mut Trial) -> Verdict {
    for (name, address) in UNUSABLE {
        let request = list(1, address);
        refusals::request(t, name, Errno::EFAULT, request, continued(XENMEM_MACHPHYS_MFN_LIST, 0))?;
    }
    Ok(())
}
