//! Operations 6 to 11 of `mmuext_op`, which flush translations (xen/include/public/xen.h): `MMUEXT_TLB_FLUSH_LOCAL`,
//! `MMUEXT_INVLPG_LOCAL`, `MMUEXT_TLB_FLUSH_MULTI`, `MMUEXT_INVLPG_MULTI`, `MMUEXT_TLB_FLUSH_ALL`, `MMUEXT_INVLPG_ALL`.
//!
//! Forget everything, or the page of the address in the first argument; on this vcpu, on the vcpus whose bits are set in the
//! bitmap at the address in the second argument, or on all vcpus. What entries say by then is what is seen afterwards. An
//! address where no guest has memory is no error. `topics/flush_visibility` has what other vcpus see.
//!
//! Refused: a bitmap that cannot be read (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{
    MMUEXT_INVLPG_ALL, MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_MULTI, MMUEXT_TLB_FLUSH_ALL,
    MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_TLB_FLUSH_MULTI,
};
use pv_probe::hypercall::mmuext;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::remapped;
use crate::trial::Trial;

/// Operation 6.
pub const TLB_FLUSH_LOCAL: Row = Row::operation(
    "mmuext_op",
    "tlb_flush_local",
    &[Case::good("seen", "a changed entry is in effect", |t| seen(t, MMUEXT_TLB_FLUSH_LOCAL)), ARGUMENTS[0]],
)
.no_refusal("it has no arguments");

/// Operation 7.
pub const INVLPG_LOCAL: Row = Row::operation(
    "mmuext_op",
    "invlpg_local",
    &[Case::good("seen", "a changed entry is in effect", |t| seen(t, MMUEXT_INVLPG_LOCAL)), ARGUMENTS[1]],
)
.no_refusal("there is nothing to flush where no guest has memory");

/// Operation 8.
pub const TLB_FLUSH_MULTI: Row = Row::operation(
    "mmuext_op",
    "tlb_flush_multi",
    &[
        Case::good("seen", "a changed entry is in effect", |t| seen(t, MMUEXT_TLB_FLUSH_MULTI)),
        Case::good("bits", "bits of vcpus that there are not mean nothing", |t| {
            bits(t, MMUEXT_TLB_FLUSH_MULTI)
        }),
        Case::refusal("bitmap", "bitmaps that cannot be read", |t| bitmap(t, MMUEXT_TLB_FLUSH_MULTI)),
    ],
);

/// Operation 9.
pub const INVLPG_MULTI: Row = Row::operation(
    "mmuext_op",
    "invlpg_multi",
    &[
        Case::good("seen", "a changed entry is in effect", |t| seen(t, MMUEXT_INVLPG_MULTI)),
        Case::good("bits", "bits of vcpus that there are not mean nothing", |t| bits(t, MMUEXT_INVLPG_MULTI)),
        Case::refusal("bitmap", "bitmaps that cannot be read", |t| bitmap(t, MMUEXT_INVLPG_MULTI)),
    ],
);

/// Operation 10.
pub const TLB_FLUSH_ALL: Row = Row::operation(
    "mmuext_op",
    "tlb_flush_all",
    &[Case::good("seen", "a changed entry is in effect", |t| seen(t, MMUEXT_TLB_FLUSH_ALL)), ARGUMENTS[2]],
)
.no_refusal("it has no arguments");

/// Operation 11.
pub const INVLPG_ALL: Row = Row::operation(
    "mmuext_op",
    "invlpg_all",
    &[Case::good("seen", "a changed entry is in effect", |t| seen(t, MMUEXT_INVLPG_ALL)), ARGUMENTS[3]],
)
.no_refusal("there is nothing to flush where no guest has memory");

/// Of the operations without a bitmap.
const ARGUMENTS: [Case; 4] = [
    Case::good("arguments", "any arguments do", |t| arguments(t, MMUEXT_TLB_FLUSH_LOCAL)),
    Case::good("arguments", "any arguments do", |t| arguments(t, MMUEXT_INVLPG_LOCAL)),
    Case::good("arguments", "any arguments do", |t| arguments(t, MMUEXT_TLB_FLUSH_ALL)),
    Case::good("arguments", "any arguments do", |t| arguments(t, MMUEXT_INVLPG_ALL)),
];

fn seen(t: &mut Trial, command: u32) -> Verdict {
    let vcpus = 1u64;
    remapped(t, |va| mmuext(command, va, &raw const vcpus as u64));
    Ok(())
}

fn arguments(t: &mut Trial, command: u32) -> Verdict {
    for (name, address) in pointers::UNUSABLE.into_iter().chain([("null", 0), ("last", u64::MAX)]) {
        t.succeeds(name, mmuext(command, address, address));
    }
    Ok(())
}

fn bits(t: &mut Trial, command: u32) -> Verdict {
    for (name, vcpus) in [("none", 0u64), ("own", 1), ("others", !1), ("all", u64::MAX)] {
        t.succeeds(name, mmuext(command, 0x1000, &raw const vcpus as u64));
    }
    Ok(())
}

fn bitmap(t: &mut Trial, command: u32) -> Verdict {
    for (name, address) in pointers::UNUSABLE.into_iter().chain([("null", 0)]) {
        t.refused(name, Errno::EINVAL, || mmuext(command, 0x1000, address));
    }
    Ok(())
}
