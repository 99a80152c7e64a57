//! Advisories on event channels.

use paravane_abi::event::{
    EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE,
    EVTCHNOP_RESET, EVTCHNOP_SEND, EVTCHNOP_STATUS, EVTCHNOP_UNMASK, EvtchnAllocUnbound,
    EvtchnBindInterdomain, EvtchnBindIpi, EvtchnBindVirq, EvtchnClose, EvtchnReset, EvtchnSend, EvtchnStatus,
    EvtchnUnmask,
};
use paravane_abi::hypercall as nr;
use paravane_abi::mmu::DOMID_SELF;

use super::super::address::HYPERVISOR;
use super::{Report, Row};
use crate::hypercall::operation;
use crate::memory::clear_events;

/// See the module.
pub const ROWS: &[Row] = &[
    Row {
        name: "xsa-317",
        reason: "an allocation of a port that fails half way leaves a port nobody can close",
        run: xsa_317,
    },
    Row {
        name: "xsa-338",
        reason: "a port that was valid once is looked up when its record has gone",
        run: xsa_338,
    },
    Row { name: "xsa-343", reason: "a reset while events are under way", run: xsa_343 },
];

fn call<T>(command: u32, argument: &mut T) -> i64 {
    operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, command, argument)
}

fn allocate() -> Result<u32, i64> {
    let mut request = EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 };
    match call(EVTCHNOP_ALLOC_UNBOUND, &mut request) {
        0 => Ok(request.port),
        error => Err(error),
    }
}

fn close(port: u32) -> i64 {
    call(EVTCHNOP_CLOSE, &mut EvtchnClose { port })
}

/// Takes all ports there are; how many, and the last.
fn exhaust(report: &mut Report) -> (u32, u32) {
    let (mut count, mut last) = (0, 0);
    loop {
        match allocate() {
            Ok(port) => (count, last) = (count + 1, port.max(last)),
            Err(error) => {
                report.check(format_args!("no more: {error}"), error == -28);
                return (count, last);
            }
        }
        if count > 200_000 {
            report.check(format_args!("ports without end"), false);
            return (count, last);
        }
    }
}

fn reset() -> i64 {
    clear_events();
    call(EVTCHNOP_RESET, &mut EvtchnReset { dom: DOMID_SELF })
}

fn xsa_317(report: &mut Report) {
    report.result("a reset", reset(), 0);
    let (before, _) = exhaust(report);
    report.result("a reset", reset(), 0);
    for number in 0..200u32 {
        let dom = DOMID_SELF;
        for (what, result) in [
            (
                "a domain that is not",
                call(
                    EVTCHNOP_ALLOC_UNBOUND,
                    &mut EvtchnAllocUnbound { dom: 0x7f00, remote_dom: dom, port: 0 },
                ),
            ),
            (
                "a port that is not",
                call(
                    EVTCHNOP_BIND_INTERDOMAIN,
                    &mut EvtchnBindInterdomain {
                        remote_dom: dom,
                        remote_port: 1000 + number,
                        ..Default::default()
                    },
                ),
            ),
            (
                "a vcpu that is not",
                call(EVTCHNOP_BIND_IPI, &mut EvtchnBindIpi { vcpu: 64 + number, port: 0 }),
            ),
            (
                "a line that is not",
                call(EVTCHNOP_BIND_VIRQ, &mut EvtchnBindVirq { virq: 24 + number, vcpu: 0, port: 0 }),
            ),
        ] {
            report.refused(what, result);
        }
        let pointer = [EVTCHNOP_ALLOC_UNBOUND.into(), HYPERVISOR[1], 0, 0, 0];
        report.refused(
            "an argument that cannot be written",
            crate::hypercall::raw(nr::HYPERVISOR_EVENT_CHANNEL_OP, pointer),
        );
    }
    let (after, _) = exhaust(report);
    report.check(format_args!("{before} ports before, {after} afterwards"), before == after && before > 0);
    report.result("a reset", reset(), 0);
    report.note(format_args!("{before} ports"));
}

fn xsa_338(report: &mut Report) {
    let (_, last) = exhaust(report);
    for round in 0..3 {
        for port in [last, last - 1, 1, 64, 1000] {
            report.check(format_args!("closing {port}: {}", close(port)), true);
        }
        if round > 0 {
            report.result("a reset", reset(), 0);
        }
        for port in [last, last + 1, 1, u32::MAX, 4096, 1 << 17] {
            let send = call(EVTCHNOP_SEND, &mut EvtchnSend { port });
            let unmask = call(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port });
            let status =
                call(EVTCHNOP_STATUS, &mut EvtchnStatus { dom: DOMID_SELF, port, ..EvtchnStatus::default() });
            let closing = close(port);
            for (what, result) in [("send", send), ("unmask", unmask), ("status", status), ("close", closing)]
            {
                report.check(format_args!("{what} of {port}: {result}"), result <= 0);
            }
            if round > 0 {
                report.refused("sending to nobody", send);
            }
        }
    }
}

fn xsa_343(report: &mut Report) {
    for round in 0..32 {
        let mut ipi = EvtchnBindIpi { vcpu: 0, port: 0 };
        report.result("a port", call(EVTCHNOP_BIND_IPI, &mut ipi), 0);
        report.result("an event", call(EVTCHNOP_SEND, &mut EvtchnSend { port: ipi.port }), 0);
        for _ in 0..round * 8 {
            // More ports make the reset longer than one step.
            if allocate().is_err() {
                break;
            }
        }
        let mut again = EvtchnReset { dom: DOMID_SELF };
        // 14 is how a reset goes on, which is not for guests to begin with.
        let result = if round % 2 == 0 { call(EVTCHNOP_RESET, &mut again) } else { call(14, &mut again) };
        report.check(format_args!("the reset: {result}"), result == 0 || round % 2 == 1);
        let left = call(EVTCHNOP_SEND, &mut EvtchnSend { port: ipi.port });
        report.check(format_args!("the port afterwards: {left}"), left < 0 || round % 2 == 1);
        report.result("a reset", reset(), 0);
    }
}
