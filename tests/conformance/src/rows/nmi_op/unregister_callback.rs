//! `XENNMI_unregister_callback` (nmi.h): takes the handler away; non-maskable events are lost from then on. There is no argument.

use paravane_abi::nmi::XENNMI_UNREGISTER_CALLBACK;
use paravane_abi::trap::vector;
use pv_probe::guard::{RETURNED, stub};

use super::call;
use super::register_callback::register;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::vcpu_op::send_nmi::{end_handler, to_self};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "nmi_op",
    "unregister_callback",
    &[
        Case::good("takes-away", "non-maskable events are lost", takes_away),
        Case::good("no-argument", "whatever stands for one is not looked at", no_argument),
    ],
)
.no_refusal("there is no argument, and a handler need not be there");

fn takes_away(t: &mut Trial) -> Verdict {
    t.succeeds("unregister", call(XENNMI_UNREGISTER_CALLBACK, 0));
    t.equal("lost", to_self().vector, RETURNED);
    t.succeeds("register", register(stub(vector::NMI.into())));
    t.raises("nmi", &to_self(), vector::NMI.into(), None);
    t.raises("return", &end_handler(), vector::UD.into(), None);
    Ok(())
}

fn no_argument(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.succeeds(name, call(XENNMI_UNREGISTER_CALLBACK, address));
    }
    Ok(())
}
