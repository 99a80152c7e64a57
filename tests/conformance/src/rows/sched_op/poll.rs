//! `SCHEDOP_poll` (sched.h, `struct sched_poll`): sleeps until one of up to 128 ports is pending, masked or not, or until a system time.
//!
//! It returns at once when an event could be delivered to the vcpu (unmasked and pending) or a port is pending; ports are looked
//! at in their order, and none after the first that is pending. Timeout 0 is none, one that has passed ends the sleep at once.
//!
//! Refused: a struct or list that cannot be read (`EFAULT`); more than 128 ports, and a port that is closed or not the domain's
//! (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::sched::{SCHEDOP_POLL, SchedPoll};
use pv_probe::guard::{EVENT, guarded};
use pv_probe::time::{self, MILLISECOND, SLACK};
use pv_probe::{events, memory, vcpus};

use super::{call, unreadable};
use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::{CLOSED, NO_PORTS, close_all, got, needs_vcpu};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "sched_op",
    "poll",
    &[
        Case::good("pending", "a pending port ends it, though it is masked", pending),
        Case::good("timeout", "without an event it ends at its time", timeout),
        Case::good("timeout-passed", "a time that has passed ends it at once", passed),
        Case::good("no-ports", "without ports it is a sleep", no_ports),
        Case::good("most-ports", "128 ports, of which the last is pending", most_ports),
        Case::good("first-counts", "what is no port is not seen behind a pending one", first_counts),
        Case::good(
            "deliverable",
            "an event that can be delivered ends it before the ports are looked at",
            deliverable,
        ),
        Case::good("woken-by-vcpu", "an event that another vcpu sends ends it", by_vcpu),
        Case::good("woken-masked", "an event for a masked port ends it too", by_masked),
        Case::refusal("too-many", "129 ports", too_many),
        Case::refusal("no-port", "ports that are closed or do not exist", no_port),
        Case::refusal("unmasked", "with events unmasked and none pending ports are looked at", unmasked),
        Case::refusal("list", "lists that cannot be read", list),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, SCHEDOP_POLL);
            Ok(())
        }),
    ],
);

fn poll_at(ports: u64, nr_ports: u32, timeout: u64) -> i64 {
    let request = SchedPoll { ports, nr_ports, timeout, ..Default::default() };
    call(SCHEDOP_POLL, &raw const request as u64)
}

fn poll(ports: &[u32], timeout: u64) -> i64 {
    poll_at(ports.as_ptr() as u64, ports.len() as u32, timeout)
}

/// So late that a poll which runs into it has failed.
fn late() -> u64 {
    time::now() + 10_000 * MILLISECOND
}

/// Ends a case with what it found about a poll that should not have lasted.
fn soon(t: &mut Trial, what: &str, result: i64, end: u64) {
    t.succeeds(what, result);
    t.holds(format_args!("{what}.soon"), time::now() < end - 5_000 * MILLISECOND);
}

fn pending(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    events::set_mask(port, true);
    t.need("send", events::send(port))?;
    let end = late();
    soon(t, "poll", poll(&[port], end), end);
    t.holds("still-pending", events::is_pending(port));
    close_all(t, &[port]);
    Ok(())
}

fn timeout(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    let end = time::now() + 3 * SLACK;
    t.succeeds("poll", poll(&[port], end));
    let now = time::now();
    t.holds("not-before", now + SLACK >= end);
    t.holds("soon", now < end + 500 * MILLISECOND);
    close_all(t, &[port]);
    Ok(())
}

fn passed(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    let before = time::now();
    t.succeeds("poll", poll(&[port], 1));
    t.holds("soon", time::now() < before + 500 * MILLISECOND);
    close_all(t, &[port]);
    Ok(())
}

fn no_ports(t: &mut Trial) -> Verdict {
    events::settle();
    let end = time::now() + 3 * SLACK;
    t.succeeds("poll", poll(&[], end));
    // Every event of the domain's ends such a poll, a masked one too: whoever serves the console raises some.
    let early = (0..).take_while(|_| time::now() + SLACK < end && poll(&[], end) == 0).take(20).count();
    t.holds("waits", early < 20);
    Ok(())
}

fn most_ports(t: &mut Trial) -> Verdict {
    events::settle();
    let quiet = got("a port for oneself", events::alloc_unbound(DOMID_SELF))?;
    let port = got("bind", events::bind_ipi(0))?;
    t.need("send", events::send(port))?;
    let mut ports = [quiet; 128];
    ports[127] = port;
    let end = late();
    soon(t, "poll", poll(&ports, end), end);
    close_all(t, &[quiet, port]);
    Ok(())
}

fn first_counts(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    events::set_mask(port, true);
    t.need("send", events::send(port))?;
    t.succeeds("behind", poll(&[port, CLOSED, u32::MAX], 1));
    t.fails("before", poll(&[CLOSED, port], 1), Errno::EINVAL);
    close_all(t, &[port]);
    Ok(())
}

/// Polls a port with events unmasked.
extern "C" fn poll_unmasked(port: u64) -> u64 {
    // Where the counter is emulated, reading it is an entry as well.
    let end = late();
    memory::mask_events(false);
    let result = poll(&[port as u32], end);
    memory::mask_events(true);
    result as u64
}

fn deliverable(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.need("send", events::send(port))?;
    // SAFETY: the function makes calls and returns, or an event ends it.
    let caught = unsafe { guarded(poll_unmasked as *const () as u64, CLOSED.into()) };
    t.raises("poll", &caught, EVENT, None);
    // RAX is the call's result when the event is delivered: the closed port was not looked at.
    t.equal("result", caught.registers[0], 0);
    close_all(t, &[port]);
    Ok(())
}

/// Sends, some milliseconds later.
extern "C" fn send_later(port: u64) -> u64 {
    time::wait_on(1, 5 * MILLISECOND);
    events::send(port as u32) as u64
}

fn woken(t: &mut Trial, masked: bool) -> Verdict {
    needs_vcpu(1)?;
    events::settle();
    let ports = [got("quiet", events::bind_ipi(0))?, got("bind", events::bind_ipi(0))?];
    events::set_mask(ports[1], masked);
    for (name, list) in [("one", &ports[1..]), ("two", &ports[..])] {
        vcpus::start(1, send_later, ports[1].into());
        let end = late();
        soon(t, name, poll(list, end), end);
        vcpus::finish(1).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
        t.same("pending", ports.map(events::is_pending), [false, true]);
        events::clear(ports[1]);
        events::acknowledge(0);
    }
    close_all(t, &ports);
    Ok(())
}

fn by_vcpu(t: &mut Trial) -> Verdict {
    woken(t, false)
}

fn by_masked(t: &mut Trial) -> Verdict {
    woken(t, true)
}

fn too_many(t: &mut Trial) -> Verdict {
    let port = got("bind", events::bind_ipi(0))?;
    t.need("send", events::send(port))?;
    let ports = [port; 129];
    t.refused("poll", Errno::EINVAL, || poll(&ports, 1));
    t.refused("all-ones", Errno::EINVAL, || poll_at(ports.as_ptr() as u64, u32::MAX, 1));
    close_all(t, &[port]);
    Ok(())
}

fn no_port(t: &mut Trial) -> Verdict {
    events::settle();
    for (name, port) in [("nobodys", 0), ("closed", CLOSED)].into_iter().chain(NO_PORTS) {
        t.refused(name, Errno::EINVAL, || poll(&[port], 1));
    }
    Ok(())
}

fn unmasked(t: &mut Trial) -> Verdict {
    events::settle();
    let caught = t.unchanged("poll", || {
        // SAFETY: the function makes calls and returns.
        unsafe { guarded(poll_unmasked as *const () as u64, CLOSED.into()) }
    });
    t.fails("poll", caught.registers[0] as i64, Errno::EINVAL);
    Ok(())
}

fn list(t: &mut Trial) -> Verdict {
    events::settle();
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || poll_at(address, 1, 1));
    }
    Ok(())
}
