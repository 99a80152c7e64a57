//! `EVTCHNOP_bind_virq` (event_channel.h): a port for a virtual interrupt.
//!
//! Some are a vcpu's (`VIRQ_TIMER`, `VIRQ_DEBUG`), and each vcpu may bind them once; the others are the domain's, bound once
//! and on vcpu 0. Anybody may bind those that only a control domain is sent.
//!
//! Refused: a number past the last, and a global one on another vcpu than 0 (`EINVAL`); a vcpu that there is not (`ENOENT`);
//! one that is bound (`EEXIST`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHNOP_BIND_VIRQ, EVTCHNSTAT_VIRQ, NR_VIRQS, VIRQ_ARGO, VIRQ_DEBUG, VIRQ_DOM_EXC, VIRQ_TBUF,
    VIRQ_XENOPROF,
};
use pv_probe::events;

use super::{NO_VCPU, answer, close_all, got, needs_vcpu, status_of, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "bind_virq",
    &[
        Case::good("binds", "a vcpu's interrupt and a global one", binds),
        Case::good("other-vcpu", "an interrupt of vcpu 1, beside that of vcpu 0", other_vcpu),
        Case::good("again", "one whose port was closed is to be had again", again),
        Case::good("quiet", "a port of an interrupt that nobody raises is not pending", quiet),
        Case::refusal("twice", "an interrupt that is bound", twice),
        Case::refusal("global-on-vcpu-1", "a global interrupt on another vcpu than 0", global),
        Case::refusal("no-interrupt", "numbers past the last", no_interrupt),
        Case::refusal("no-vcpu", "a vcpu that there is not", no_vcpu),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_BIND_VIRQ);
            Ok(())
        }),
    ],
);

fn binds(t: &mut Trial) -> Verdict {
    for (name, virq) in [("vcpus", VIRQ_DEBUG), ("global", VIRQ_DOM_EXC), ("profiler", VIRQ_XENOPROF)] {
        let port = got(name, events::bind_virq(virq, 0))?;
        let status = status_of(port)?;
        t.equal(format_args!("{name}.kind"), status.status.into(), EVTCHNSTAT_VIRQ.into());
        t.equal(format_args!("{name}.number"), status.u[0].into(), virq.into());
        t.equal(format_args!("{name}.vcpu"), status.vcpu.into(), 0);
        close_all(t, &[port]);
    }
    Ok(())
}

fn other_vcpu(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    let first = got("that of vcpu 0", events::bind_virq(VIRQ_DEBUG, 0))?;
    let second = events::bind_virq(VIRQ_DEBUG, 1);
    t.succeeds("bind", answer(second));
    let second = got("that of vcpu 1", second)?;
    t.equal("vcpu", status_of(second)?.vcpu.into(), 1);
    t.equal("first.vcpu", status_of(first)?.vcpu.into(), 0);
    close_all(t, &[first, second]);
    Ok(())
}

fn again(t: &mut Trial) -> Verdict {
    for (name, virq) in [("vcpus", VIRQ_DEBUG), ("global", VIRQ_TBUF)] {
        for _ in 0..2 {
            let port = events::bind_virq(virq, 0);
            t.succeeds(name, answer(port));
            close_all(t, &[got(name, port)?]);
        }
    }
    Ok(())
}

fn quiet(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_virq(VIRQ_ARGO, 0))?;
    t.holds("pending", !events::is_pending(port));
    t.holds("upcall", !events::is_upcall_pending(0));
    close_all(t, &[port]);
    Ok(())
}

fn twice(t: &mut Trial) -> Verdict {
    for (name, virq) in [("vcpus", VIRQ_DEBUG), ("global", VIRQ_TBUF)] {
        let port = got(name, events::bind_virq(virq, 0))?;
        t.refused(name, Errno::EEXIST, || answer(events::bind_virq(virq, 0)));
        close_all(t, &[port]);
    }
    Ok(())
}

fn global(t: &mut Trial) -> Verdict {
    // A vcpu that there is not is not even looked at.
    for (name, virq, vcpu) in
        [("vcpu-1", VIRQ_DOM_EXC, 1), ("tbuf", VIRQ_TBUF, 1), ("no-vcpu", VIRQ_DOM_EXC, NO_VCPU)]
    {
        t.refused(name, Errno::EINVAL, || answer(events::bind_virq(virq, vcpu)));
    }
    Ok(())
}

fn no_interrupt(t: &mut Trial) -> Verdict {
    for (name, virq) in [("next", NR_VIRQS), ("negative", u32::MAX)] {
        t.refused(name, Errno::EINVAL, || answer(events::bind_virq(virq, 0)));
    }
    Ok(())
}

fn no_vcpu(t: &mut Trial) -> Verdict {
    t.refused("bind", Errno::ENOENT, || answer(events::bind_virq(VIRQ_DEBUG, NO_VCPU)));
    Ok(())
}
