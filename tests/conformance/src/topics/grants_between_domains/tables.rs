//! Tables of another domain, and one's own while another uses it.

use paravane_abi::errno::Errno;
use paravane_abi::grant::{
    GNTST_EAGAIN, GNTST_OKAY, GNTST_PERMISSION_DENIED, GNTTABOP_GET_STATUS_FRAMES, GNTTABOP_QUERY_SIZE,
    GNTTABOP_SETUP_TABLE, GNTTABOP_SWAP_GRANT_REF, GnttabGetStatusFrames, GnttabQuerySize, GnttabSetupTable,
    GnttabSwapGrantRef,
};
use pv_probe::grants;

use super::{lend, map, take_back};
use crate::case::{Case, Role, Row, Verdict};
use crate::pair::{peer, receive, send};
use crate::rows::grant_table_op::get_version::get;
use crate::rows::grant_table_op::set_version::set;
use crate::rows::grant_table_op::{REFERENCE, one, place};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "grants-between-domains-tables",
    &[
        Case::refusal(
            "others-table",
            "another domain's table is not to be had, measured or asked about",
            others,
        )
        .role(Role::Pair),
        Case::refusal("version-in-use", "while another has something mapped the version stays", version)
            .role(Role::Pair),
        Case::refusal("swap-in-use", "an entry that another has mapped stays where it is", swap)
            .role(Role::Pair),
    ],
);

fn others(t: &mut Trial) -> Verdict {
    let mut frames = [0u64];
    let frame_list = frames.as_mut_ptr() as u64;
    let mut setup = GnttabSetupTable { dom: peer(), nr_frames: 1, frame_list, ..Default::default() };
    t.succeeds("setup", one(GNTTABOP_SETUP_TABLE, &mut setup));
    t.same("setup.status", setup.status, GNTST_PERMISSION_DENIED);
    t.equal("untouched", frames[0], 0);
    let mut size = GnttabQuerySize { dom: peer(), ..Default::default() };
    t.succeeds("size", one(GNTTABOP_QUERY_SIZE, &mut size));
    t.same("size.status", size.status, GNTST_PERMISSION_DENIED);
    let mut status = GnttabGetStatusFrames { nr_frames: 1, dom: peer(), status: 0, frame_list };
    t.succeeds("status-frames", one(GNTTABOP_GET_STATUS_FRAMES, &mut status));
    t.same("status-frames.status", status.status, GNTST_PERMISSION_DENIED);
    t.fails("version", get(peer()).0, Errno::EPERM);
    Ok(())
}

/// The left tries something while the right has mapped what is lent.
fn while_mapped(t: &mut Trial, attempt: impl FnOnce(&mut Trial)) -> Verdict {
    let (address, _) = lend(t, 1, false)?;
    let side = t.side();
    if side.is_left() {
        receive(side)?;
        attempt(t);
        send(side, 0)?;
    } else {
        let there = place(1);
        let handle = map(t, there, 0);
        send(side, 0)?;
        receive(side)?;
        t.same("unmap", grants::unmap(handle, there), GNTST_OKAY);
    }
    take_back(t, address)
}

fn version(t: &mut Trial) -> Verdict {
    while_mapped(t, |t| {
        let (result, told) = t.unchanged("set", || set(2));
        t.fails("set", result, Errno::EBUSY);
        t.equal("told", told.into(), 1);
    })
}

fn swap(t: &mut Trial) -> Verdict {
    while_mapped(t, |t| {
        let (ref_a, ref_b) = (REFERENCE + 1, REFERENCE);
        let mut request = GnttabSwapGrantRef { ref_a, ref_b, status: 77, pad: 0 };
        let result = t.unchanged("swap", || one(GNTTABOP_SWAP_GRANT_REF, &mut request));
        t.same("swap", (result, request.status), (0, GNTST_EAGAIN));
    })
}
