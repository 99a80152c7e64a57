//! `xenpmu_op(command, parameters)`, call 40 (xen/include/public/pmu.h, `struct xen_pmu_params`): performance counters.
//!
//! Refused: everything, before anything is looked at, unless the hypervisor was told to offer counters (`EOPNOTSUPP`).

mod feature_get;
mod feature_set;
mod finish;
mod flush;
mod init;
mod lvtpc_set;
mod mode_get;
mod mode_set;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_XENPMU_OP as CALL;
use paravane_abi::pmu::XenPmuParams;

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &mode_get::ROW,
    &mode_set::ROW,
    &feature_get::ROW,
    &feature_set::ROW,
    &init::ROW,
    &finish::ROW,
    &lvtpc_set::ROW,
    &flush::ROW,
];

/// The call besides its sub-operations.
const ROW: Row = Row::call(
    "xenpmu_op",
    &[Case::refusal("unknown", "commands that there are not, like those that there are", unknown)],
);

fn unknown(t: &mut Trial) -> Verdict {
    for command in [8, 0x5a5a, u32::MAX] {
        t.refused(format_args!("command-{command:#x}"), Errno::EOPNOTSUPP, || at(CALL, command)(0));
    }
    Ok(())
}

/// A command, with parameters that cannot be read and with good ones.
fn refused(t: &mut Trial, command: u32) -> Verdict {
    refusals::whatever(t, Errno::EOPNOTSUPP, at(CALL, command))?;
    refusals::request(t, "parameters", Errno::EOPNOTSUPP, XenPmuParams::default(), at(CALL, command))
}
