//! The console's ring (xen/include/public/io/console.h, `struct xencons_interface`).
//!
//! A page with 1024 bytes of input, 2048 of output, and the indices of both: in_cons at 3072, in_prod at 3076, out_cons at
//! 3080, out_prod at 3084. Indices only grow; their places in the rings are their lowest bits. Who has written raises the
//! port; the other end takes what is there, moves its index, and raises the port in turn.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use paravane_abi::event::{EVTCHNOP_SEND, EvtchnSend};
use paravane_abi::hypercall::HYPERVISOR_EVENT_CHANNEL_OP;
use paravane_abi::start_info::StartFlags;
use pv_probe::boot::{VIRT_BASE, start};
use pv_probe::hypercall::{operation, yield_now};
use pv_probe::memory::{PAGE, m2p, shared};

use crate::case::{Case, Row, Stop, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "console-ring",
    &[
        Case::good("indices", "as many bytes wait as fit", indices),
        Case::good("consumed", "the other end takes what is written", consumed),
        Case::good("event", "the other end raises the port when it has taken something", event),
        Case::good("wraps", "bytes across the end of the ring", wraps),
        Case::good("input-empty", "no input but what somebody types", input),
    ],
);

const IN_CONS: usize = 3072;
const IN_PROD: usize = 3076;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;
const OUT: usize = 1024;

/// Times that the processor is given away before the other end is taken for dead.
const PATIENCE: u32 = 200_000;

fn page() -> Result<u64, Stop> {
    let info = &start().info;
    if info.start_flags().contains(StartFlags::INITDOMAIN) || info.console_mfn == 0 {
        return Err(Stop::Skip("the first domain has no ring"));
    }
    // What is looked at is the pending bit alone: an upcall would come in the way of whatever runs next.
    let port = info.console_evtchn;
    // SAFETY: a word of the shared page, by an atomic.
    let masks = unsafe { &*(&raw mut (*shared()).evtchn_mask).cast::<AtomicU64>().add(port as usize / 64) };
    masks.fetch_or(1 << (port % 64), Ordering::SeqCst);
    Ok(VIRT_BASE + m2p(info.console_mfn) * PAGE)
}

fn index(page: u64, offset: usize) -> &'static AtomicU32 {
    // SAFETY: the builder mapped the page for good, and both ends reach the indices by atomics.
    unsafe { &*((page + offset as u64) as *const AtomicU32) }
}

fn get(page: u64, offset: usize) -> u32 {
    index(page, offset).load(Ordering::SeqCst)
}

fn notify(t: &mut Trial) -> Verdict {
    let mut send = EvtchnSend { port: start().info.console_evtchn };
    t.need("send", operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut send))
}

/// Waits until everything is taken.
fn drained(page: u64) -> bool {
    (0..PATIENCE).any(|_| {
        yield_now();
        get(page, OUT_CONS) == get(page, OUT_PROD)
    })
}

/// Writes line ends, which nobody takes for anything else.
fn put(t: &mut Trial, page: u64, count: u32) -> Result<u32, Stop> {
    if !drained(page) {
        return Err(Stop::Error("the other end takes nothing", 0));
    }
    let first = get(page, OUT_PROD);
    for offset in 0..count {
        let place = OUT + (first.wrapping_add(offset) % 2048) as usize;
        let byte = if offset + 1 == count { b'\n' } else { b' ' };
        // SAFETY: a byte of the ring between the producer and the consumer, which is this end's.
        unsafe { ((page + place as u64) as *mut u8).write_volatile(byte) };
    }
    index(page, OUT_PROD).store(first.wrapping_add(count), Ordering::SeqCst);
    notify(t)?;
    Ok(first)
}

fn indices(t: &mut Trial) -> Verdict {
    let page = page()?;
    t.holds("output", get(page, OUT_PROD).wrapping_sub(get(page, OUT_CONS)) <= 2048);
    t.holds("input", get(page, IN_PROD).wrapping_sub(get(page, IN_CONS)) <= 1024);
    Ok(())
}

fn consumed(t: &mut Trial) -> Verdict {
    let page = page()?;
    let first = put(t, page, 5)?;
    let taken = drained(page);
    t.same("taken", taken, true);
    t.equal("index", get(page, OUT_CONS).wrapping_sub(first).into(), 5);
    Ok(())
}

fn event(t: &mut Trial) -> Verdict {
    let page = page()?;
    let port = start().info.console_evtchn;
    // SAFETY: a word of the shared page.
    let word = unsafe { &*(&raw mut (*shared()).evtchn_pending).cast::<AtomicU64>().add(port as usize / 64) };
    let bit = 1u64 << (port % 64);
    if !drained(page) {
        return Err(Stop::Error("the other end takes nothing", 0));
    }
    word.fetch_and(!bit, Ordering::SeqCst);
    put(t, page, 3)?;
    let raised = (0..PATIENCE).any(|_| {
        yield_now();
        word.load(Ordering::SeqCst) & bit != 0
    });
    t.same("raised", raised, true);
    Ok(())
}

fn wraps(t: &mut Trial) -> Verdict {
    let page = page()?;
    if !drained(page) {
        return Err(Stop::Error("the other end takes nothing", 0));
    }
    // To just before the end of the ring, then across.
    let place = get(page, OUT_PROD) % 2048;
    let mut rest = 2046u32.wrapping_sub(place) % 2048;
    while rest > 0 {
        let part = rest.min(100);
        put(t, page, part)?;
        rest -= part;
    }
    let first = put(t, page, 6)?;
    // What the case says may go the same way, so it says nothing in between.
    let (taken, index) = (drained(page), get(page, OUT_CONS).wrapping_sub(first));
    t.equal("place", u64::from(first % 2048), 2046);
    t.same("taken", taken, true);
    t.equal("index", index.into(), 6);
    Ok(())
}

fn input(t: &mut Trial) -> Verdict {
    let page = page()?;
    t.equal("waiting", get(page, IN_PROD).wrapping_sub(get(page, IN_CONS)).into(), 0);
    Ok(())
}
