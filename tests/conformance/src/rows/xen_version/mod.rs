//! `xen_version(command, answer)`, call 17 (xen/include/public/version.h, features.h): who the hypervisor is, and what it can
//! do. The command is a C `int`: the upper half of its register is not looked at.
//!
//! An answer has a fixed size; texts end with a NUL within it, and what lies behind the answer is not written.
//!
//! Refused: commands that there are not (`ENOSYS`), answers that cannot be written (`EFAULT`).

mod build_id;
mod capabilities;
mod changeset;
mod commandline;
mod compile_info;
mod extraversion;
mod get_features;
mod guest_handle;
mod pagesize;
mod platform_parameters;
mod version;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_PAGESIZE;
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::refusals::at;
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &version::ROW,
    &extraversion::ROW,
    &compile_info::ROW,
    &capabilities::ROW,
    &changeset::ROW,
    &platform_parameters::ROW,
    &get_features::ROW,
    &pagesize::ROW,
    &guest_handle::ROW,
    &commandline::ROW,
    &build_id::ROW,
];

/// The call besides its sub-operations.
const ROW: Row = Row::call(
    "xen_version",
    &[
        Case::good("command-width", "the upper half of the command's register means nothing", command_width),
        Case::refusal("unknown", "commands that there are not, before the answer is looked at", unknown),
    ],
);

fn command_width(t: &mut Trial) -> Verdict {
    t.result("pagesize", raw(CALL, [u64::from(XENVER_PAGESIZE) | 0x5a5a << 32, 0, 0, 0, 0]), 4096);
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    for command in [11, 12, 0x5a5a, 0x7fff_ffff, u32::MAX] {
        t.refused(format_args!("command-{command:#x}"), Errno::ENOSYS, || at(CALL, command)(0));
    }
    Ok(())
}

/// What stands where an answer will be.
const BEFORE: u8 = 0xa5;

/// An answer of so many bytes, behind which nothing was written.
fn answer<const N: usize>(t: &mut Trial, command: u32) -> Result<[u8; N], Stop> {
    let mut place = Place::<N> { bytes: [BEFORE; N], behind: [BEFORE; 16] };
    let result = t.unchanged("answer", || at(CALL, command)(&raw mut place as u64));
    t.succeeds("answer", result);
    t.holds("answer.end", place.behind == [BEFORE; 16]);
    if result == 0 { Ok(place.bytes) } else { Err(Stop::Error("the answer", result)) }
}

#[repr(C)]
struct Place<const N: usize> {
    bytes: [u8; N],
    behind: [u8; 16],
}

/// The text of a field: it ends with a NUL, and the rest of the field is NULs too.
fn text<'a>(t: &mut Trial, what: &str, field: &'a [u8]) -> &'a [u8] {
    let length = field.iter().position(|byte| *byte == 0);
    t.holds(format_args!("{what}.ends"), length.is_some());
    let (text, rest) = field.split_at(length.unwrap_or(field.len()));
    t.holds(format_args!("{what}.padded"), rest.iter().all(|byte| *byte == 0));
    t.holds(format_args!("{what}.readable"), text.iter().all(|byte| (b' '..=b'~').contains(byte)));
    text
}
