//! `xenoprof_op(command, request)`, call 31 (xen/include/public/xenoprof.h): profiling. Xen 4.17 has it unless it is built
//! without; later releases do not.
//!
//! Refused where it is: commands that there are not (`EINVAL`), then those of the domain that profiles, to others (`EPERM`).
//! Where it is not, everything (`ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_XENOPROF_OP as CALL;

use crate::case::{Case, Explained, Row, Verdict, because};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "xenoprof_op",
    &[
        Case::refusal("unknown", "commands that there are not", unknown).explained(EXPLAINED),
        Case::refusal("privileged", "commands of the domain that profiles", privileged).explained(EXPLAINED),
    ],
);

const EXPLAINED: &[Explained] = &[Explained { value: "*", reason: because::BUILD }];

/// Reserves the counters (`XENOPROF_reserve_counters`).
const RESERVE_COUNTERS: u32 = 5;

/// Whether the call is there: what a command that no version has is answered.
fn is_there() -> bool {
    at(CALL, u32::MAX)(0) != Errno::ENOSYS.to_ret()
}

fn unknown(t: &mut Trial) -> Verdict {
    let error = if is_there() { Errno::EINVAL } else { Errno::ENOSYS };
    for (name, command) in [("large", 0x5a5a), ("negative", u32::MAX)] {
        t.refused(name, error, || at(CALL, command)(0));
    }
    Ok(())
}

fn privileged(t: &mut Trial) -> Verdict {
    let error = if is_there() { Errno::EPERM } else { Errno::ENOSYS };
    refusals::whatever(t, error, at(CALL, RESERVE_COUNTERS))
}
