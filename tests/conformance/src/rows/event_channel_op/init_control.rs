//! `EVTCHNOP_init_control` (event_channel.h): gives a vcpu a control block of FIFO queues, in a page of the domain's; the first
//! changes the domain to the FIFO form. `EVTCHNOP_reset` changes it back. How the queues work is in `fifo-events`.
//!
//! Refused: a vcpu that there is not (`ENOENT`); an offset from which the block of 72 bytes would cross the page's end or that is
//! no multiple of 8, a page that is not the domain's or cannot be written, and a second block of one vcpu (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHN_FIFO_LINK_BITS, EVTCHNOP_INIT_CONTROL, EvtchnInitControl};
use pv_probe::events::{self, call};
use pv_probe::memory::{mfn, root, take};

use super::{NO_VCPU, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "init_control",
    &[
        Case::good("link-bits", "the answer tells how many bits a link has", link_bits),
        Case::good("last-offset", "a block at the end of its page", last_offset),
        Case::refusal("offset", "blocks that cross the page's end or are not aligned", offset),
        Case::refusal("no-vcpu", "vcpus that there are not, whatever else is wrong", no_vcpu),
        Case::refusal("page", "no page, and one of page tables", page),
        Case::refusal("twice", "a second block of one vcpu", twice),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_INIT_CONTROL);
            Ok(())
        }),
    ],
);

fn init(vcpu: u32, control_gfn: u64, offset: u32) -> (i64, u8) {
    let mut request = EvtchnInitControl { control_gfn, offset, vcpu, ..Default::default() };
    let result = call(EVTCHNOP_INIT_CONTROL, &mut request);
    (result, request.link_bits)
}

fn link_bits(t: &mut Trial) -> Verdict {
    let (result, bits) = init(0, mfn(take()), 0);
    t.succeeds("init", result);
    t.equal("bits", bits.into(), EVTCHN_FIFO_LINK_BITS.into());
    t.need("reset", events::reset())
}

fn last_offset(t: &mut Trial) -> Verdict {
    t.succeeds("init", init(0, mfn(take()), 4096 - 72).0);
    t.need("reset", events::reset())
}

fn offset(t: &mut Trial) -> Verdict {
    let frame = mfn(take());
    for (name, offset) in [("past-end", 4096 - 64), ("far", u32::MAX - 7), ("four", 4), ("odd", 1)] {
        t.refused(name, Errno::EINVAL, || init(0, frame, offset).0);
    }
    Ok(())
}

fn no_vcpu(t: &mut Trial) -> Verdict {
    let frame = mfn(take());
    t.refused("far", Errno::ENOENT, || init(NO_VCPU, frame, 0).0);
    t.refused("nor-offset", Errno::ENOENT, || init(u32::MAX, frame, 3).0);
    Ok(())
}

fn page(t: &mut Trial) -> Verdict {
    for (name, frame) in [("none", pointers::NO_FRAME), ("tables", root())] {
        t.refused(name, Errno::EINVAL, || init(0, frame, 0).0);
    }
    Ok(())
}

fn twice(t: &mut Trial) -> Verdict {
    let frame = mfn(take());
    t.need("init", init(0, frame, 0).0)?;
    t.fails("same", init(0, frame, 0).0, Errno::EINVAL);
    t.fails("another", init(0, frame, 128).0, Errno::EINVAL);
    t.need("reset", events::reset())
}
