//! `XENNMI_register_callback` (nmi.h, `struct xennmi_callback`): the handler of trap 2, entered with events masked.
//!
//! Refused: a struct that cannot be read (`EFAULT`), an address that is not canonical (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::nmi::{XENNMI_REGISTER_CALLBACK, XennmiCallback};
use paravane_abi::trap::vector;
use pv_probe::guard::stub;

use super::call;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::vcpu_op::send_nmi::{end_handler, to_self};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "nmi_op",
    "register_callback",
    &[
        Case::good("replaces", "non-maskable events enter at the new address", replaces),
        Case::refusal("not-canonical", "an address that is not canonical; the handler stays", not_canonical),
        Case::refusal("pointers", "structs that cannot be read", unreadable),
    ],
);

/// Registers an address: the result.
pub fn register(handler_address: u64) -> i64 {
    let request = XennmiCallback { handler_address, ..Default::default() };
    call(XENNMI_REGISTER_CALLBACK, &raw const request as u64)
}

fn replaces(t: &mut Trial) -> Verdict {
    t.succeeds("register", register(stub(40)));
    t.raises("nmi", &to_self(), 40, None);
    t.raises("return", &end_handler(), vector::UD.into(), None);
    Ok(())
}

fn not_canonical(t: &mut Trial) -> Verdict {
    t.refused("register", Errno::EINVAL, || register(pointers::NOT_CANONICAL));
    t.raises("nmi", &to_self(), vector::NMI.into(), None);
    t.raises("return", &end_handler(), vector::UD.into(), None);
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || call(XENNMI_REGISTER_CALLBACK, address));
    }
    Ok(())
}
