//! `grant_table_op(cmd, args, count)`, call 20 (xen/include/public/grant_table.h): lending frames, and using what others lend.
//!
//! `args` is a list of `count` requests, each of which gets a status of its own; the call itself gives 0 when all were looked at. What two
//! domains do with each other is in `grants-between-domains`; here a domain lends to itself, which is no different.
//!
//! Refused: an operation that there is not (`ENOSYS`), a negative count, and bits of the operation's number that tell how far a call has
//! come, which only `GNTTABOP_cache_flush` has (`EINVAL`); a list that cannot be read (`EFAULT`).

mod cache_flush;
pub mod copy;
mod dump_table;
mod get_status_frames;
pub mod get_version;
pub mod map_grant_ref;
mod query_size;
pub mod set_version;
mod setup_table;
mod swap_grant_ref;
pub mod transfer;
mod unmap_and_replace;
mod unmap_grant_ref;

use paravane_abi::errno::Errno;
use paravane_abi::grant::{
    GNTTABOP_COPY, GNTTABOP_MAP_GRANT_REF, GTF_READING, GTF_WRITING, GnttabMapGrantRef, GrantEntryV1,
};
use paravane_abi::hypercall::HYPERVISOR_GRANT_TABLE_OP;
use pv_probe::grants;
use pv_probe::hypercall::{grant_operations, raw};
use pv_probe::memory::{DATA, NX, PAGE, WINDOW, l1_for, map_new, mfn, write};

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &map_grant_ref::ROW,
    &unmap_grant_ref::ROW,
    &setup_table::ROW,
    &dump_table::ROW,
    &transfer::ROW,
    &copy::ROW,
    &query_size::ROW,
    &unmap_and_replace::ROW,
    &set_version::ROW,
    &get_status_frames::ROW,
    &get_version::ROW,
    &swap_grant_ref::ROW,
    &cache_flush::ROW,
];

const ROW: Row = Row::call(
    "grant_table_op",
    &[
        Case::good("empty", "a list without requests", empty),
        Case::refusal("unknown", "operations that there are not", unknown),
        Case::refusal("negative", "a negative count", negative),
        Case::refusal("progress", "bits that tell how far a call has come", progress),
    ],
);

/// References that the cases use.
pub const REFERENCE: u32 = 20;

/// Where the cases map.
const PLACES: u64 = WINDOW + 0x4000_0000;

/// A call.
pub fn call(command: u32, address: u64, count: u64) -> i64 {
    raw(HYPERVISOR_GRANT_TABLE_OP, [command.into(), address, count, 0, 0])
}

/// One request: the call's result.
pub fn one<T>(command: u32, request: &mut T) -> i64 {
    grant_operations(command, core::slice::from_mut(request))
}

/// A place for a mapping, with the table that it needs and nothing there.
pub fn place(index: u64) -> u64 {
    let address = PLACES + index * PAGE;
    l1_for(address);
    address
}

/// A new frame of this domain's, mapped at a place, with a word in it: its address and number.
pub fn page(index: u64, content: u64) -> (u64, u64) {
    let address = place(index);
    let frame = mfn(map_new(address, DATA | NX));
    // SAFETY: mapped now, and the cases' own.
    unsafe { write(address, content) };
    (address, frame)
}

/// Takes a mapping of a page away that was not made by a grant.
///
/// # Errors
/// An end of the case as an error.
pub fn drop_page(t: &mut Trial, address: u64) -> Verdict {
    t.need("unmap", pv_probe::hypercall::map(address, 0))
}

/// Whether an entry says that it is in use, for reading and for writing.
pub fn uses(reference: u32) -> (bool, bool) {
    let flags = grants::read(reference).flags;
    (flags & GTF_READING != 0, flags & GTF_WRITING != 0)
}

/// Clears an entry.
pub fn clear(reference: u32) {
    grants::write(reference, GrantEntryV1::default());
}

/// The lists that no operation can read.
fn unreadable(t: &mut Trial, command: u32) {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || call(command, address, 1));
    }
}

fn empty(t: &mut Trial) -> Verdict {
    grants::prepare();
    let requests = [GnttabMapGrantRef { status: 77, ..Default::default() }];
    t.succeeds("map", call(GNTTABOP_MAP_GRANT_REF, requests.as_ptr() as u64, 0));
    t.succeeds("unmapped", call(GNTTABOP_MAP_GRANT_REF, pointers::NOTHING, 0));
    t.same("untouched", requests[0].status, 77);
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 8];
    for (name, command) in [("first", 13), ("hundred", 100), ("last", 0xfff)] {
        t.refused(name, Errno::ENOSYS, || call(command, argument.as_mut_ptr() as u64, 1));
    }
    Ok(())
}

fn negative(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 8];
    for (name, count) in [("minus-one", 0xffff_ffff), ("least", 0x8000_0000)] {
        t.refused(name, Errno::EINVAL, || call(GNTTABOP_COPY, argument.as_mut_ptr() as u64, count));
    }
    // It is looked at before the operation is.
    t.refused("unknown", Errno::EINVAL, || call(100, 0, 0xffff_ffff));
    Ok(())
}

fn progress(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 8];
    for (name, command) in [("map", GNTTABOP_MAP_GRANT_REF), ("copy", GNTTABOP_COPY), ("unknown", 100)] {
        let command = command | 1 << 12;
        t.refused(name, Errno::EINVAL, || call(command, argument.as_mut_ptr() as u64, 1));
    }
    Ok(())
}
