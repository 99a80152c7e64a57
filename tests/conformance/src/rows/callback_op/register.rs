//! `CALLBACKOP_register` (callback.h, `struct callback_register`): an address for a type of callback, and with `CALLBACKF_mask_events` that its
//! handler starts with events masked. The event callback's always does.
//!
//! Refused: a struct that cannot be read (`EFAULT`), an address that is not canonical (`EINVAL`, whatever the type), a type that there
//! is not for 64-bit guests (`ENOSYS`).

use paravane_abi::callback::{
    CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKTYPE_EVENT, CALLBACKTYPE_FAILSAFE, CALLBACKTYPE_NMI,
    CALLBACKTYPE_SYSCALL, CALLBACKTYPE_SYSCALL32, CALLBACKTYPE_SYSENTER, CallbackRegister,
};
use paravane_abi::errno::Errno;
use paravane_abi::regs::rflags;
use paravane_abi::trap::vector;
use pv_probe::guard::{Caught, EVENT, SYSCALL, leave, stub};
use pv_probe::{events, memory, user};

use super::{call, unreadable};
use crate::case::{Case, Rings, Row, Verdict};
use crate::rows::event_channel_op::{close_all, got};
use crate::rows::pointers;
use crate::rows::vcpu_op::send_nmi::{end_handler, to_self};
use crate::trial::Trial;

/// Ring 1's system calls enter by a frame of their own.
const FRAMES: Rings = Rings::Three("a system call enters ring 1 without a frame");

/// The row.
pub const ROW: Row = Row::operation(
    "callback_op",
    "register",
    &[
        Case::good("event", "events enter at the new address, and masked", event),
        Case::good("nmi", "non-maskable events enter at the new address", nmi),
        Case::good("syscall", "programs' system calls enter at the new address", syscall).rings(FRAMES),
        Case::good("syscall-masks", "a system call masks events with the flag, and not without", masks)
            .rings(FRAMES),
        Case::good("all-types", "every type that there is, and back", all_types),
        Case::refusal("not-canonical", "addresses that are not canonical; the old ones stay", not_canonical),
        Case::refusal("unknown-type", "types that there are not", unknown_type),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, CALLBACKOP_REGISTER);
            Ok(())
        }),
    ],
);

/// Registers an address: the result.
pub fn register(kind: u16, flags: u16, address: u64) -> i64 {
    let request = CallbackRegister { kind, flags, pad: 0, address };
    call(CALLBACKOP_REGISTER, &raw const request as u64)
}

/// A program's system call, with events unmasked before.
fn system_call() -> Caught {
    user::prepare();
    // syscall; ud2
    user::place(&[0x0f, 0x05, 0x0f, 0x0b]);
    let mut frame = user::frame();
    frame[6] |= rflags::IF;
    // SAFETY: the program touches its own pages.
    unsafe { leave(&frame, &[0; 15]) }
}

fn event(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    for (place, flags) in [(41, 0), (42, CALLBACKF_MASK_EVENTS)] {
        t.succeeds("register", register(CALLBACKTYPE_EVENT, flags, stub(place)));
        t.need("send", events::send(port))?;
        t.raises("event", &events::deliver(), place, None);
        t.holds("masked", memory::events_masked());
        events::settle();
    }
    close_all(t, &[port]);
    Ok(())
}

fn nmi(t: &mut Trial) -> Verdict {
    t.succeeds("register", register(CALLBACKTYPE_NMI, 0, stub(43)));
    t.raises("nmi", &to_self(), 43, None);
    t.raises("return", &end_handler(), vector::UD.into(), None);
    Ok(())
}

fn syscall(t: &mut Trial) -> Verdict {
    events::settle();
    t.raises("before", &system_call(), SYSCALL, None);
    t.succeeds("register", register(CALLBACKTYPE_SYSCALL, 0, stub(44)));
    t.raises("after", &system_call(), 44, None);
    memory::mask_events(true);
    Ok(())
}

fn masks(t: &mut Trial) -> Verdict {
    events::settle();
    for (name, flags) in [("with", CALLBACKF_MASK_EVENTS), ("without", 0)] {
        t.succeeds("register", register(CALLBACKTYPE_SYSCALL, flags, stub(SYSCALL)));
        t.raises("call", &system_call(), SYSCALL, None);
        t.same(name, memory::events_masked(), flags != 0);
        memory::mask_events(true);
    }
    Ok(())
}

fn all_types(t: &mut Trial) -> Verdict {
    for kind in [CALLBACKTYPE_SYSENTER, CALLBACKTYPE_SYSCALL32, CALLBACKTYPE_FAILSAFE, CALLBACKTYPE_NMI] {
        for flags in [CALLBACKF_MASK_EVENTS, 0] {
            t.succeeds(format_args!("type-{kind}"), register(kind, flags, stub(u64::from(kind))));
        }
    }
    Ok(())
}

fn not_canonical(t: &mut Trial) -> Verdict {
    let kinds = [
        CALLBACKTYPE_EVENT,
        CALLBACKTYPE_FAILSAFE,
        CALLBACKTYPE_SYSCALL,
        CALLBACKTYPE_NMI,
        CALLBACKTYPE_SYSENTER,
        CALLBACKTYPE_SYSCALL32,
        99,
    ];
    for kind in kinds {
        let what = format_args!("type-{kind}");
        t.fails(what, register(kind, 0, pointers::NOT_CANONICAL), Errno::EINVAL);
    }
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.need("send", events::send(port))?;
    t.raises("event", &events::deliver(), EVENT, None);
    close_all(t, &[port]);
    Ok(())
}

fn unknown_type(t: &mut Trial) -> Verdict {
    // 3 and 4 were types of 32-bit guests once.
    for (name, kind) in [("three", 3), ("next", 8), ("all-ones", u16::MAX)] {
        t.refused(name, Errno::ENOSYS, || register(kind, 0, stub(0)));
    }
    Ok(())
}
