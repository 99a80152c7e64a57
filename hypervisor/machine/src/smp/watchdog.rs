//! The watchdog: every processor looks at the others at each tick of its timer, and while it waits for the
//! hypervisor's lock. One that does not come out of the hypervisor is the end of it, with a report.
//!
//! A processor is looked at by others only: with a single one nobody looks, since there is no source of NMIs that
//! every machine has (`docs/caveats.md`).

use core::sync::atomic::{AtomicU64, Ordering};

use paravane_core::lock::Rank;
use paravane_core::watchdog::{Sight, Stuck, Watchdog};

use crate::clock;
use crate::cpu::local::{self, Local, Lock};

/// Looks in the time of a timeout.
const LOOKS: u64 = 8;

/// Nanoseconds from look to look; 0 while nobody looks.
static PERIOD: AtomicU64 = AtomicU64::new(0);
/// The TSC at the latest look.
static LATEST: AtomicU64 = AtomicU64::new(0);

static NOTES: Lock<Option<Watchdog>> = Lock::new(Rank::Watchdog, None);

/// Begins to watch, if the command line asks for it: from now on no processor is in the hypervisor for long.
pub fn start(seconds: Option<u32>) {
    let Some(seconds) = seconds else { return };
    let cpus = local::all().len();
    if cpus < 2 {
        return log::warn!("watchdog: there is no second processor to look at the first");
    }
    let timeout = u64::from(seconds).saturating_mul(clock::tsc_khz()).saturating_mul(1000);
    *NOTES.lock() = Some(Watchdog::new(cpus, timeout, clock::tsc()));
    PERIOD.store(u64::from(seconds) * 1_000_000_000 / LOOKS, Ordering::Release);
    log::info!("watchdog: {seconds} s");
}

/// Watches no more: what comes now may take its time.
pub fn stop() {
    PERIOD.store(0, Ordering::Release);
}

/// How long this processor's timer may be silent, in nanoseconds.
pub fn period() -> Option<u64> {
    Some(PERIOD.load(Ordering::Acquire)).filter(|period| *period != 0)
}

/// This processor's timer has fired: arms it again for the next look, and looks. No lock is held.
pub fn tick() {
    if period().is_some() {
        clock::arm(None);
        look();
    }
}

/// Looks at the others, if that is due. No lock is held.
///
/// # Panics
/// When one is stuck.
pub fn look() {
    let Some(period) = period() else { return };
    let (now, latest) = (clock::tsc(), LATEST.load(Ordering::Relaxed));
    // Half a period: two timers never agree to the tick.
    let due = latest.saturating_add(period / 2 * (clock::tsc_khz() / 1000) / 1000);
    if now < due || LATEST.compare_exchange(latest, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return;
    }
    // Another processor looks just now: that is as good.
    let Some(mut notes) = NOTES.try_lock() else { return };
    let this = local::this_cpu();
    let sights = local::all().iter().map(|local| sight(local, this));
    let stuck = notes.as_mut().and_then(|watchdog| watchdog.look(now, sights));
    drop(notes);
    if let Some(Stuck { cpu, ticks }) = stuck {
        panic!("watchdog: CPU {cpu} has been in the hypervisor for {} ms", ticks / clock::tsc_khz());
    }
}

fn sight(local: &Local, this: usize) -> Sight {
    let rests = local.idle.load(Ordering::Relaxed) || local.waits.load(Ordering::Relaxed);
    Sight { turns: local.turns(), busy: local.number() != this && local.in_guest.since() == 0 && !rests }
}
