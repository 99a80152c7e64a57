//! `kexec_op(command, request)`, call 37 (xen/include/public/kexec.h): loads another kernel in the hypervisor's place.
//!
//! Refused to a domain without the privilege before anything is looked at: `EPERM`.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_KEXEC_OP as CALL;

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "kexec_op",
    &[
        Case::refusal("pointers", "it is refused before its request is looked at", |t| {
            refusals::whatever(t, Errno::EPERM, at(CALL, 0))
        }),
        Case::refusal("commands", "commands known and unknown", commands),
    ],
);

fn commands(t: &mut Trial) -> Verdict {
    for command in [0, 1, 2, 3, 4, 5, 6, 0x5a5a, u32::MAX] {
        refusals::request(
            t,
            format_args!("command-{command:#x}"),
            Errno::EPERM,
            [command, 0, 0, 0],
            at(CALL, command),
        )?;
    }
    Ok(())
}
