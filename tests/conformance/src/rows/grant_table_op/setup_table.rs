//! `GNTTABOP_setup_table` (grant_table.h, `struct gnttab_setup_table`): has the table grow to so many frames, if it has fewer, and lists
//! the frames.
//!
//! Refused: another count than 1 (`EINVAL`), a struct that cannot be read or a list that no guest may have (`EFAULT`). Statuses: a domain that
//! there is not (`GNTST_bad_domain`), more frames than there may be (`GNTST_general_error`), a list that cannot be written
//! (`GNTST_bad_virt_addr`).

use paravane_abi::errno::Errno;
use paravane_abi::grant::{
    GNTST_BAD_DOMAIN, GNTST_BAD_VIRT_ADDR, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTTABOP_SETUP_TABLE,
    GnttabSetupTable,
};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::grants;
use pv_probe::memory::{entry_at, table_at};

use super::query_size::size;
use super::{call, one, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::{NOBODY, own_number};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "setup_table",
    &[
        Case::good("lists", "the frame that is mapped as the table", lists),
        Case::good("by-number", "oneself by number", by_number),
        Case::good("grows", "the table has so many frames afterwards, and does not shrink", grows),
        Case::good("no-frames", "a list of none", no_frames),
        Case::good("most", "as many frames as the table may have", most),
        Case::refusal("too-many", "one frame more", too_many),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("count", "other counts than 1", count),
        Case::refusal("list", "lists that cannot be written", list),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, GNTTABOP_SETUP_TABLE);
            Ok(())
        }),
    ],
);

/// Frames that the table may have, as `xl.cfg`'s max_grant_frames is by default.
const MOST: usize = 64;

fn setup(dom: u16, frames: &mut [u64]) -> (i64, i16) {
    setup_at(dom, frames.as_mut_ptr() as u64, frames.len() as u32)
}

fn setup_at(dom: u16, frame_list: u64, nr_frames: u32) -> (i64, i16) {
    let mut request = GnttabSetupTable { dom, nr_frames, frame_list, status: 77, ..Default::default() };
    let result = one(GNTTABOP_SETUP_TABLE, &mut request);
    (result, request.status)
}

fn lists(t: &mut Trial) -> Verdict {
    grants::prepare();
    let mut frames = [0];
    t.same("setup", setup(DOMID_SELF, &mut frames), (0, GNTST_OKAY));
    let entry = entry_at(grants::TABLE, 1);
    t.holds("frame", paravane_abi::pte::mfn(entry) == frames[0]);
    t.holds("table", table_at(grants::TABLE, 1).is_some());
    Ok(())
}

fn by_number(t: &mut Trial) -> Verdict {
    let own = own_number()?;
    t.same("setup", setup(own, &mut [0]), (0, GNTST_OKAY));
    Ok(())
}

fn grows(t: &mut Trial) -> Verdict {
    let mut frames = [0; 4];
    t.same("four", setup(DOMID_SELF, &mut frames), (0, GNTST_OKAY));
    t.holds("distinct", (1..4).all(|index| frames[index] != 0 && !frames[..index].contains(&frames[index])));
    t.holds("size", size()?.nr_frames >= 4);
    let mut again = [0; 2];
    t.same("two", setup(DOMID_SELF, &mut again), (0, GNTST_OKAY));
    t.holds("the-same", again == frames[..2]);
    t.holds("not-smaller", size()?.nr_frames >= 4);
    Ok(())
}

fn no_frames(t: &mut Trial) -> Verdict {
    t.same("setup", setup(DOMID_SELF, &mut []), (0, GNTST_OKAY));
    Ok(())
}

fn most(t: &mut Trial) -> Verdict {
    t.equal("may-have", size()?.max_nr_frames.into(), MOST as u64);
    t.same("setup", setup(DOMID_SELF, &mut [0; MOST]), (0, GNTST_OKAY));
    t.equal("has", size()?.nr_frames.into(), MOST as u64);
    Ok(())
}

fn too_many(t: &mut Trial) -> Verdict {
    let mut frames = [0; MOST + 1];
    let answer = t.unchanged("setup", || setup(DOMID_SELF, &mut frames));
    t.same("setup", answer, (0, GNTST_GENERAL_ERROR));
    t.equal("untouched", frames[0], 0);
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    let answer = t.unchanged("setup", || setup(NOBODY, &mut [0]));
    t.same("setup", answer, (0, GNTST_BAD_DOMAIN));
    Ok(())
}

fn count(t: &mut Trial) -> Verdict {
    let mut frames = [0u64];
    let request = GnttabSetupTable {
        dom: DOMID_SELF,
        nr_frames: 1,
        frame_list: frames.as_mut_ptr() as u64,
        ..Default::default()
    };
    let requests = [request; 2];
    for count in [0, 2] {
        let address = requests.as_ptr() as u64;
        t.refused(format_args!("count-{count}"), Errno::EINVAL, || {
            call(GNTTABOP_SETUP_TABLE, address, count)
        });
    }
    Ok(())
}

fn list(t: &mut Trial) -> Verdict {
    t.refused("hypervisor", Errno::EFAULT, || setup_at(DOMID_SELF, pointers::HYPERVISOR, 1).0);
    t.refused("not-canonical", Errno::EFAULT, || setup_at(DOMID_SELF, pointers::NOT_CANONICAL, 1).0);
    let answer = t.unchanged("nothing", || setup_at(DOMID_SELF, pointers::NOTHING, 1));
    t.same("nothing", answer, (0, GNTST_BAD_VIRT_ADDR));
    Ok(())
}
