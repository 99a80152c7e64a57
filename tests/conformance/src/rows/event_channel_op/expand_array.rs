//! `EVTCHNOP_expand_array` (event_channel.h): another page of 1024 event words, in the FIFO form (`fifo-events`). There are at most
//! 128.
//!
//! Refused: in the 2-level form (`EOPNOTSUPP`); a page that is not the domain's or cannot be written (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHNOP_EXPAND_ARRAY, EVTCHNOP_INIT_CONTROL, EvtchnExpandArray, EvtchnInitControl,
};
use pv_probe::events::{self, call};
use pv_probe::memory::{mfn, root, take};

use super::unreadable;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "expand_array",
    &[
        Case::good("grows", "page by page, and the same page may serve twice", grows),
        Case::good("full", "after 128 pages there is no room for another", full),
        Case::refusal("two-levels", "there are no event words in the 2-level form", two_levels),
        Case::refusal("page", "no page, and one of page tables", page),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_EXPAND_ARRAY);
            Ok(())
        }),
    ],
);

fn expand(array_gfn: u64) -> i64 {
    call(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn })
}

fn init(t: &mut Trial) -> Verdict {
    let mut request = EvtchnInitControl { control_gfn: mfn(take()), ..Default::default() };
    t.need("init", call(EVTCHNOP_INIT_CONTROL, &mut request))
}

fn grows(t: &mut Trial) -> Verdict {
    init(t)?;
    let frame = mfn(take());
    t.succeeds("first", expand(frame));
    t.succeeds("second", expand(mfn(take())));
    t.succeeds("the-first-again", expand(frame));
    t.need("reset", events::reset())
}

fn full(t: &mut Trial) -> Verdict {
    init(t)?;
    let frame = mfn(take());
    let taken = (0..200).take_while(|_| expand(frame) == 0).count();
    t.equal("pages", taken as u64, 128);
    t.fails("one-more", expand(frame), Errno::ENOSPC);
    t.need("reset", events::reset())
}

fn two_levels(t: &mut Trial) -> Verdict {
    let frame = mfn(take());
    t.refused("expand", Errno::EOPNOTSUPP, || expand(frame));
    Ok(())
}

fn page(t: &mut Trial) -> Verdict {
    init(t)?;
    for (name, frame) in [("none", pointers::NO_FRAME), ("tables", root())] {
        t.fails(name, expand(frame), Errno::EINVAL);
    }
    t.need("reset", events::reset())
}
