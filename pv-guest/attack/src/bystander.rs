//! A domain that does no harm: it fills its memory with a pattern, sleeps while the first domain attacks, and looks what has
//! become of the pattern when that domain is gone.

use paravane_abi::event::{EVTCHNOP_BIND_INTERDOMAIN, EvtchnBindInterdomain};
use paravane_abi::hypercall as nr;
use paravane_abi::sched::{SCHEDOP_POLL, SchedPoll};
use pv_attack_logic::digest::Digest;

use crate::fuzz::system_time;
use crate::hypercall::{map, operation};
use crate::memory::{KERNEL, NX, PAGE, READ, WINDOW, memory, mfn};
use crate::say;

/// The first domain that attacks.
const FIRST: u16 = 1;
/// Frames behind the core that are left alone: the window's tables.
const KEPT: u64 = 64;
/// Nanoseconds between two looks whether the attacker is still there.
const NAP: u64 = 200_000_000;
/// No such domain (Xen's errno.h).
const ESRCH: i64 = -3;

/// What lies in a word of a frame.
fn pattern(frame: u64, index: u64) -> u64 {
    (frame << 9 | index).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5a5a_1234_0000_0000
}

/// Calls `act` with each frame, mapped at the window.
fn each(flags: u64, mut act: impl FnMut(u64, *mut u64)) -> u64 {
    let frames = memory().first_free + KEPT..memory().nr_pages;
    let count = frames.end - frames.start;
    for frame in frames.map(mfn) {
        let result = map(WINDOW, frame << 12 | flags | NX);
        assert!(result == 0, "frame {frame:#x} of the bystander: {result}");
        act(frame, WINDOW as *mut u64);
    }
    assert!(map(WINDOW, 0) == 0);
    count * PAGE
}

/// Sleeps a little. No event wakes this domain: none of its ports is listed.
fn nap() {
    let mut poll = SchedPoll { timeout: system_time() + NAP, ..SchedPoll::default() };
    operation(nr::HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &mut poll);
}

/// Whether a domain exists: a port that it does not offer is refused in another way than a domain that there is not.
fn exists(domain: u16) -> bool {
    let mut bind = EvtchnBindInterdomain { remote_dom: domain, ..EvtchnBindInterdomain::default() };
    operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &mut bind) != ESRCH
}

/// Writes, waits, looks, and says whether anything has changed. The first digest is of what was written, not of what
/// was read back, so nothing that happens meanwhile is missed.
pub fn watch(attackers: u16) {
    let mut written = Digest::new();
    each(KERNEL, |frame, page| {
        for index in 0..512 {
            let word = pattern(frame, index);
            written.add(word);
            // SAFETY: the window maps the frame.
            unsafe { page.add(index as usize).write_volatile(word) };
        }
    });
    say!("bystander: digest {written} before");
    while (FIRST..=attackers).any(exists) {
        nap();
    }
    let (mut found, mut wrong) = (Digest::new(), 0);
    let bytes = each(READ, |frame, page| {
        for index in 0..512 {
            // SAFETY: as above.
            let word = unsafe { page.add(index as usize).read_volatile() };
            wrong += u64::from(word != pattern(frame, index));
            found.add(word);
        }
    });
    let verdict = if found == written && wrong == 0 { "ok" } else { "FAILED" };
    say!("{verdict} bystander digest {found} after, {wrong} words of {bytes} bytes changed");
}
