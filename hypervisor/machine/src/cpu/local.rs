//! What a processor keeps for itself, outside the hypervisor's lock.
//!
//! Others read these words without the lock, so all are atomic. A processor finds its own through its page in
//! the entry area, which every address space of its own maps at the same address.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use paravane_core::lock::{self, Held};
use paravane_core::shootdown::InGuest;
use spin::Once;

use crate::entry::area;

/// A processor's own words.
pub struct Local {
    /// Whether it is in a guest; `docs/soundness.md` has the protocol.
    pub in_guest: InGuest,
    number: AtomicUsize,
    /// What interrupts are sent to.
    pub apic_id: u8,
    /// Where its GDT can be written: for `ltr`, which sets a busy bit.
    pub writable_gdt: u64,
    /// Interrupts taken in ring 0, while idle, for the idle loop to look at.
    pub timer_fired: AtomicBool,
    /// As `timer_fired`, for the serial port.
    pub serial_fired: AtomicBool,
    /// Advances whenever it enters from a guest or wakes, and whenever it gets a lock it waited for.
    turns: AtomicU64,
    /// It sleeps until an interrupt.
    pub idle: AtomicBool,
    /// It waits for the hypervisor's lock.
    pub waits: AtomicBool,
    /// Ranks of the locks it holds, where they are checked.
    held: AtomicU64,
    /// It has come up, and waits to compare its TSC.
    pub arrived: AtomicBool,
    /// The one that started it lets it go on.
    pub released: AtomicBool,
    /// Its TSC when it was released.
    pub tsc: AtomicU64,
    /// Where it was stopped for good; 0 while it runs.
    stopped: AtomicU64,
}

/// A complete flush of any processor advances it. A processor's time is what it was at its latest one.
pub static FLUSH_CLOCK: AtomicU64 = AtomicU64::new(1);

impl Local {
    /// The words of a processor that has not started.
    pub const fn new(number: usize, apic_id: u8, writable_gdt: u64) -> Self {
        Self {
            in_guest: InGuest::new(AtomicU64::new(0)),
            number: AtomicUsize::new(number),
            apic_id,
            writable_gdt,
            timer_fired: AtomicBool::new(false),
            serial_fired: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            held: AtomicU64::new(0),
            arrived: AtomicBool::new(false),
            released: AtomicBool::new(false),
            tsc: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
        }
    }

    /// Its number; 0 is the one that booted.
    pub fn number(&self) -> usize {
        self.number.load(Ordering::Relaxed)
    }

    /// Gives it another number, before it does anything that has to do with numbers.
    pub fn renumber(&self, number: usize) {
        self.number.store(number, Ordering::Relaxed);
    }

    /// It stops for good, at this instruction.
    pub fn stop(&self, rip: u64) {
        self.stopped.store(rip.max(1), Ordering::SeqCst);
    }

    /// Where it was stopped, if it was.
    pub fn stopped_at(&self) -> Option<u64> {
        Some(self.stopped.load(Ordering::SeqCst)).filter(|rip| *rip != 0)
    }

    /// Called first thing after an entry from a guest.
    #[inline]
    pub fn entered(&self) {
        self.in_guest.entered();
        self.turn();
    }

    /// Notes that it goes on. Only the processor itself does so.
    #[inline]
    pub fn turn(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How often it has gone on.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Called last thing before an exit to a guest.
    #[inline]
    pub fn leaves(&self) {
        self.in_guest.leaves(&FLUSH_CLOCK);
    }
}

/// Whether the processors can find their own words.
static READY: AtomicBool = AtomicBool::new(false);

/// From now on [`this`] and [`this_cpu`] can be called: the first processor's entry area is mapped. The others do
/// not run before theirs is.
pub fn ready() {
    READY.store(true, Ordering::Release);
}

/// Where this processor keeps the ranks of its locks.
pub struct ThisCpu;

impl Held for ThisCpu {
    #[inline]
    fn with(look: impl FnOnce(&AtomicU64)) {
        if READY.load(Ordering::Acquire) {
            look(&this().held);
        }
    }
}

/// A lock with its place in the order of `core::lock`.
pub type Lock<T> = lock::Lock<T, ThisCpu>;
/// What it guards, while it is held.
pub type Guard<'a, T> = lock::Guard<'a, T, ThisCpu>;

static ALL: Once<Vec<&'static Local>> = Once::new();

/// Publishes the words of all processors that have come up, by number.
pub fn publish(all: Vec<&'static Local>) {
    ALL.call_once(|| all);
}

/// The words of all processors, by number; none before [`publish`].
pub fn all() -> &'static [&'static Local] {
    ALL.get().map_or(&[], Vec::as_slice)
}

/// This processor's. Its entry area must be mapped.
#[inline]
pub fn this() -> &'static Local {
    // SAFETY: every address space that ring 0 runs in after boot maps the processor's page there, and its word
    // leads to a value that is never freed.
    unsafe { &*(*(area::CPU_PAGE as *const area::CpuPage)).local }
}

/// This processor's number. Its entry area must be mapped.
#[inline]
pub fn this_cpu() -> usize {
    // SAFETY: as in `this`; the word is written before the page is used, and never after.
    unsafe { (*(area::CPU_PAGE as *const area::CpuPage)).number }
}
