//! `VCPUOP_up` (vcpu.h): a vcpu that is initialised may run. One that is up stays so.
//!
//! Refused: a vcpu that is not initialised (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::vcpu::VCPUOP_UP;
use pv_probe::vcpus;

use super::{call, spare};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "up",
    &[
        Case::good("again", "the caller itself, which is up", again),
        Case::good("no-argument", "whatever stands for one is not looked at", no_argument),
        Case::refusal("not-initialised", "a vcpu that is not initialised", not_initialised),
    ],
);

fn again(t: &mut Trial) -> Verdict {
    let result = t.unchanged("up", || vcpus::up(0));
    t.succeeds("up", result);
    Ok(())
}

fn no_argument(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.succeeds(name, call(VCPUOP_UP, 0, address));
    }
    Ok(())
}

fn not_initialised(t: &mut Trial) -> Verdict {
    let vcpu = spare()?;
    t.refused("up", Errno::EINVAL, || vcpus::up(vcpu));
    Ok(())
}
