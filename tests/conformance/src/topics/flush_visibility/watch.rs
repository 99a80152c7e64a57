//! A vcpu that looks at a page, or writes it, again and again.

use core::sync::atomic::{AtomicU64, Ordering};

use pv_probe::guard::Caught;
use pv_probe::hypercall::yield_now;
use pv_probe::memory;
use pv_probe::vcpus;

use crate::case::Stop;

/// What it saw last.
static SEEN: AtomicU64 = AtomicU64::new(0);
/// How often it has looked.
static ROUNDS: AtomicU64 = AtomicU64::new(0);
/// Whether it is to stop.
static STOP: AtomicU64 = AtomicU64::new(0);

/// Times that the processor is given away while the other vcpu does nothing.
const PATIENCE: u32 = 500_000;

/// What the writer writes: nothing that is present as an entry.
pub const WRITTEN: u64 = 0x3333_0000;

extern "C" fn read(address: u64) -> u64 {
    while STOP.load(Ordering::SeqCst) == 0 {
        // SAFETY: what comes of it is the guard's affair.
        SEEN.store(unsafe { memory::read(address) }, Ordering::SeqCst);
        ROUNDS.fetch_add(1, Ordering::SeqCst);
    }
    0
}

extern "C" fn write(address: u64) -> u64 {
    while STOP.load(Ordering::SeqCst) == 0 {
        // SAFETY: as above; the page is the case's.
        unsafe { memory::write(address, WRITTEN) };
        ROUNDS.fetch_add(1, Ordering::SeqCst);
    }
    0
}

/// Vcpu 1 at work on a page.
#[derive(Debug)]
pub struct Watch(());

impl Watch {
    /// Has it read the page.
    ///
    /// # Errors
    /// Where there is no such vcpu, or it does not run.
    pub fn reader(address: u64) -> Result<Self, Stop> {
        Self::start(read, address)
    }

    /// Has it write the page.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn writer(address: u64) -> Result<Self, Stop> {
        Self::start(write, address)
    }

    fn start(work: extern "C" fn(u64) -> u64, address: u64) -> Result<Self, Stop> {
        if !vcpus::exists(1) {
            return Err(Stop::Skip("the domain has one vcpu"));
        }
        STOP.store(0, Ordering::SeqCst);
        ROUNDS.store(0, Ordering::SeqCst);
        vcpus::start(1, work, address);
        let watch = Self(());
        if watch.goes_on() {
            return Ok(watch);
        }
        watch.end();
        Err(Stop::Error("vcpu 1 does not look", 0))
    }

    /// Waits until it has looked again, from the beginning: whether it has.
    pub fn goes_on(&self) -> bool {
        let want = ROUNDS.load(Ordering::SeqCst) + 3;
        for _ in 0..PATIENCE {
            if ROUNDS.load(Ordering::SeqCst) >= want {
                return true;
            }
            if vcpus::is_done(1) {
                return false;
            }
            yield_now();
        }
        false
    }

    /// What it sees now; nothing if it does not look any more.
    pub fn sees(&self) -> Option<u64> {
        self.goes_on().then(|| SEEN.load(Ordering::SeqCst))
    }

    /// Waits for the exception that is to end it; if it goes on without one, it is stopped.
    pub fn ends_by_itself(self) -> Option<Caught> {
        // As long as many looks take.
        for _ in 0..100 {
            if !self.goes_on() {
                break;
            }
        }
        self.end()
    }

    /// Stops it: what came of it.
    pub fn end(self) -> Option<Caught> {
        STOP.store(1, Ordering::SeqCst);
        vcpus::finish(1)
    }
}
