//! `hypfs_op(command, path, path_bytes, buffer, bytes)`, call 42 (xen/include/public/hypfs.h): the hypervisor's parameters,
//! as files.
//!
//! Refused to a domain without the privilege before anything is looked at: `EPERM`.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_HYPFS_OP as CALL;
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "hypfs_op",
    &[
        Case::refusal("pointers", "it is refused before its path is looked at", |t| {
            refusals::whatever(t, Errno::EPERM, at(CALL, READ))
        }),
        Case::refusal("commands", "commands known and unknown", commands),
        Case::refusal("read", "reading the root", read),
    ],
);

/// Reads a file or directory (`XEN_HYPFS_OP_read`).
const READ: u32 = 1;

fn commands(t: &mut Trial) -> Verdict {
    for command in [0, READ, 2, 3, u32::MAX] {
        t.refused(format_args!("command-{command:#x}"), Errno::EPERM, || at(CALL, command)(0));
    }
    Ok(())
}

fn read(t: &mut Trial) -> Verdict {
    let path = *b"/\0";
    let mut buffer = [0x5au8; 64];
    let (name, room) = (path.as_ptr() as u64, buffer.as_mut_ptr() as u64);
    t.refused("root", Errno::EPERM, || raw(CALL, [READ.into(), name, 2, room, 64]));
    t.holds("buffer-kept", buffer == [0x5a; 64]);
    Ok(())
}
