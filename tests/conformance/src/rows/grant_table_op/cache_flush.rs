//! `GNTTABOP_cache_flush` (grant_table.h, `struct gnttab_cache_flush`): writes back the caches of a part of a frame, one's own or one that is
//! mapped by a grant. The call fails with the first request that does.
//!
//! Refused: an offset or length past the page and unknown bits of the operation (`EINVAL`), no frame (`EINVAL`), a frame that is nobody's or
//! the hypervisor's (`EPERM`), throwing away what is not written back (`EOPNOTSUPP`: x86 cannot), a list that cannot be read (`EFAULT`).

use paravane_abi::errno::Errno;
use paravane_abi::grant::{
    GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL, GNTTAB_CACHE_SOURCE_GREF, GNTTABOP_CACHE_FLUSH, GnttabCacheFlush,
};

use super::{drop_page, one, page, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "cache_flush",
    &[
        Case::good("whole-page", "a whole page, and a byte", whole_page),
        Case::good("nothing", "no bytes, and nothing asked: whatever the frame", nothing),
        Case::good("both", "written back and thrown away", both),
        Case::refusal("past-end", "offsets and lengths past the page", past_end),
        Case::refusal("unknown-bits", "operations that there are not", unknown_bits),
        Case::refusal("throw-away", "what is not written back cannot be thrown away", throw_away),
        Case::refusal("no-frame", "no frame, and one of the hypervisor's", no_frame),
        Case::refusal("pointers", "lists that cannot be read", |t| {
            unreadable(t, GNTTABOP_CACHE_FLUSH);
            Ok(())
        }),
    ],
);

fn flush(frame: u64, offset: u16, length: u16, op: u32) -> i64 {
    let mut request = GnttabCacheFlush { a: frame << 12, offset, length, op };
    one(GNTTABOP_CACHE_FLUSH, &mut request)
}

fn whole_page(t: &mut Trial) -> Verdict {
    let (address, frame) = page(0, 1);
    t.succeeds("page", flush(frame, 0, 4096, GNTTAB_CACHE_CLEAN));
    t.succeeds("last-byte", flush(frame, 4095, 1, GNTTAB_CACHE_CLEAN));
    drop_page(t, address)
}

fn nothing(t: &mut Trial) -> Verdict {
    t.succeeds("no-bytes", flush(pointers::NO_FRAME, 0, 0, GNTTAB_CACHE_CLEAN));
    t.succeeds("no-operation", flush(pointers::NO_FRAME, 0, 8, 0));
    Ok(())
}

fn both(t: &mut Trial) -> Verdict {
    let (address, frame) = page(0, 1);
    t.succeeds("flush", flush(frame, 64, 128, GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL));
    drop_page(t, address)
}

fn past_end(t: &mut Trial) -> Verdict {
    let (address, frame) = page(0, 1);
    for (name, offset, length) in [("length", 0, 4097), ("sum", 1, 4096), ("offset", 4096, 0)] {
        t.refused(name, Errno::EINVAL, || flush(frame, offset, length, GNTTAB_CACHE_CLEAN));
    }
    drop_page(t, address)
}

fn unknown_bits(t: &mut Trial) -> Verdict {
    let (address, frame) = page(0, 1);
    for (name, op) in [("next", 4), ("by-reference", GNTTAB_CACHE_SOURCE_GREF | GNTTAB_CACHE_CLEAN)] {
        t.refused(name, Errno::EINVAL, || flush(frame, 0, 8, op));
    }
    drop_page(t, address)
}

fn throw_away(t: &mut Trial) -> Verdict {
    let (address, frame) = page(0, 1);
    t.refused("flush", Errno::EOPNOTSUPP, || flush(frame, 0, 4096, GNTTAB_CACHE_INVAL));
    drop_page(t, address)
}

fn no_frame(t: &mut Trial) -> Verdict {
    t.refused("none", Errno::EINVAL, || flush(pointers::NO_FRAME, 0, 8, GNTTAB_CACHE_CLEAN));
    Ok(())
}
