//! `CALLBACKOP_unregister` (callback.h, `struct callback_unregister`): takes the handler of non-maskable events away, and no other.
//!
//! Refused: a struct that cannot be read (`EFAULT`), other types (`EINVAL`), a type that there is not (`ENOSYS`).

use paravane_abi::callback::{
    CALLBACKOP_UNREGISTER, CALLBACKTYPE_EVENT, CALLBACKTYPE_FAILSAFE, CALLBACKTYPE_NMI, CALLBACKTYPE_SYSCALL,
    CALLBACKTYPE_SYSCALL32, CALLBACKTYPE_SYSENTER, CallbackUnregister,
};
use paravane_abi::errno::Errno;
use pv_probe::events;
use pv_probe::guard::{EVENT, RETURNED};

use super::{call, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::{close_all, got};
use crate::rows::vcpu_op::send_nmi::to_self;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "callback_op",
    "unregister",
    &[
        Case::good("nmi", "non-maskable events are lost", nmi),
        Case::refusal("others", "callbacks that a kernel cannot do without; they stay", others),
        Case::refusal("unknown-type", "types that there are not", unknown_type),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, CALLBACKOP_UNREGISTER);
            Ok(())
        }),
    ],
);

fn unregister(kind: u16) -> i64 {
    let request = CallbackUnregister { kind, ..Default::default() };
    call(CALLBACKOP_UNREGISTER, &raw const request as u64)
}

fn nmi(t: &mut Trial) -> Verdict {
    t.succeeds("unregister", unregister(CALLBACKTYPE_NMI));
    t.equal("lost", to_self().vector, RETURNED);
    t.succeeds("again", unregister(CALLBACKTYPE_NMI));
    Ok(())
}

fn others(t: &mut Trial) -> Verdict {
    let kinds = [
        CALLBACKTYPE_EVENT,
        CALLBACKTYPE_FAILSAFE,
        CALLBACKTYPE_SYSCALL,
        CALLBACKTYPE_SYSENTER,
        CALLBACKTYPE_SYSCALL32,
    ];
    for kind in kinds {
        t.fails(format_args!("type-{kind}"), unregister(kind), Errno::EINVAL);
    }
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.need("send", events::send(port))?;
    t.raises("event", &events::deliver(), EVENT, None);
    close_all(t, &[port]);
    Ok(())
}

fn unknown_type(t: &mut Trial) -> Verdict {
    for (name, kind) in [("three", 3), ("next", 8), ("all-ones", u16::MAX)] {
        t.refused(name, Errno::ENOSYS, || unregister(kind));
    }
    Ok(())
}
