//! `GNTTABOP_get_status_frames` (grant_table.h, `struct gnttab_get_status_frames`): lists the frames where the uses of a version 2 table's entries
//! are told. In version 1 there are none.
//!
//! Refused: another count than 1 (`EINVAL`), a struct that cannot be read or a list that no guest may have (`EFAULT`). Statuses: a domain that
//! there is not (`GNTST_bad_domain`), more frames than there are (`GNTST_general_error`), a list that cannot be written
//! (`GNTST_bad_virt_addr`).

use paravane_abi::errno::Errno;
use paravane_abi::grant::{
    GNTST_BAD_DOMAIN, GNTST_BAD_VIRT_ADDR, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTTABOP_GET_STATUS_FRAMES,
    GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING, GnttabGetStatusFrames, GrantEntryHeader, GrantEntryV2,
};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::grants;
use pv_probe::hypercall::map;
use pv_probe::memory::{NX, READ};

use super::set_version::{entry, set};
use super::{REFERENCE, call, drop_page, one, page, place, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::{NOBODY, own_number};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "get_status_frames",
    &[
        Case::good("lists", "a frame, which can be mapped and tells of a use", lists),
        Case::good("none", "a list of none, in version 1 too", none),
        Case::good(
            "mapped-is-kept",
            "while a status frame is mapped there is no way back to version 1",
            kept,
        ),
        Case::refusal("version-1", "in version 1 there are none", version_1),
        Case::refusal("too-many", "more than there are", too_many),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("count", "other counts than 1", count),
        Case::refusal("list", "lists that cannot be written", list),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, GNTTABOP_GET_STATUS_FRAMES);
            Ok(())
        }),
    ],
);

fn get_at(dom: u16, frame_list: u64, nr_frames: u32) -> (i64, i16) {
    let mut request = GnttabGetStatusFrames { nr_frames, dom, status: 77, frame_list };
    let result = one(GNTTABOP_GET_STATUS_FRAMES, &mut request);
    (result, request.status)
}

/// Lists frames: the result and the status.
pub fn get(frames: &mut [u64]) -> (i64, i16) {
    get_at(DOMID_SELF, frames.as_mut_ptr() as u64, frames.len() as u32)
}

fn lists(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 1);
    t.need("version 2", set(2).0)?;
    let mut frames = [0];
    t.same("get", get(&mut frames), (0, GNTST_OKAY));
    let window = place(2);
    t.succeeds("map-status", map(window, frames[0] << 12 | READ | NX));
    let hdr = GrantEntryHeader { flags: GTF_PERMIT_ACCESS, domid: own };
    // SAFETY: the frame is mapped, and entries of version 2 have 16 bytes.
    unsafe { entry(REFERENCE).write_volatile(GrantEntryV2 { hdr, pad0: 0, frame }) };
    // SAFETY: the status frame is mapped, 2 bytes for each entry.
    let status = || unsafe { (window as *const u16).add(REFERENCE as usize).read_volatile() };
    t.equal("before", status().into(), 0);
    let mapped = grants::map_reference(own, REFERENCE, place(1), 0);
    t.same("map", mapped.status, GNTST_OKAY);
    t.equal("in-use", status().into(), (GTF_READING | GTF_WRITING).into());
    t.same("unmap", grants::unmap(mapped.handle, place(1)), GNTST_OKAY);
    t.equal("after", status().into(), 0);
    drop_page(t, window)?;
    t.need("version 1", set(1).0)?;
    drop_page(t, address)
}

fn none(t: &mut Trial) -> Verdict {
    grants::prepare();
    t.same("get", get(&mut []), (0, GNTST_OKAY));
    Ok(())
}

fn kept(t: &mut Trial) -> Verdict {
    grants::prepare();
    t.need("version 2", set(2).0)?;
    let mut frames = [0];
    t.same("get", get(&mut frames), (0, GNTST_OKAY));
    let window = place(2);
    t.need("map-status", map(window, frames[0] << 12 | READ | NX))?;
    t.fails("mapped", set(1).0, Errno::EBUSY);
    drop_page(t, window)?;
    t.same("unmapped", set(1), (0, 1));
    Ok(())
}

fn version_1(t: &mut Trial) -> Verdict {
    grants::prepare();
    let answer = t.unchanged("get", || get(&mut [0]));
    t.same("get", answer, (0, GNTST_GENERAL_ERROR));
    Ok(())
}

fn too_many(t: &mut Trial) -> Verdict {
    grants::prepare();
    t.need("version 2", set(2).0)?;
    let answer = t.unchanged("get", || get(&mut [0; 100]));
    t.same("get", answer, (0, GNTST_GENERAL_ERROR));
    t.need("version 1", set(1).0)
}

fn no_domain(t: &mut Trial) -> Verdict {
    let mut frames = [0u64];
    let answer = t.unchanged("get", || get_at(NOBODY, frames.as_mut_ptr() as u64, 1));
    t.same("get", answer, (0, GNTST_BAD_DOMAIN));
    Ok(())
}

fn count(t: &mut Trial) -> Verdict {
    let requests = [GnttabGetStatusFrames { dom: DOMID_SELF, ..Default::default() }; 2];
    for count in [0, 2] {
        let address = requests.as_ptr() as u64;
        let what = format_args!("count-{count}");
        t.refused(what, Errno::EINVAL, || call(GNTTABOP_GET_STATUS_FRAMES, address, count));
    }
    Ok(())
}

fn list(t: &mut Trial) -> Verdict {
    grants::prepare();
    t.refused("hypervisor", Errno::EFAULT, || get_at(DOMID_SELF, pointers::HYPERVISOR, 1).0);
    t.need("version 2", set(2).0)?;
    let answer = t.unchanged("nothing", || get_at(DOMID_SELF, pointers::NOTHING, 1));
    t.same("nothing", answer, (0, GNTST_BAD_VIRT_ADDR));
    t.need("version 1", set(1).0)
}
