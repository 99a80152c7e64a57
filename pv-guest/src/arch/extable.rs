//! Instructions that may fault, and where to go on when they do.
//!
//! Assembly that touches user memory or tries a privileged instruction adds a pair of addresses to `.ex_table`; the
//! exception handlers look the faulting RIP up and resume at the second address.

use core::sync::atomic::{AtomicU64, Ordering};

use super::frame::Frame;
use crate::cpu_ops::facts;

#[repr(C)]
struct Entry {
    from: u64,
    to: u64,
}

unsafe extern "C" {
    static __ex_table_start: Entry;
    static __ex_table_end: Entry;
}

static LAST_VECTOR: AtomicU64 = AtomicU64::new(0);
static LAST_ERROR: AtomicU64 = AtomicU64::new(0);
static LAST_FLAGS: AtomicU64 = AtomicU64::new(0);

fn table() -> &'static [Entry] {
    let start = &raw const __ex_table_start;
    let end = &raw const __ex_table_end;
    // SAFETY: the linker script places both symbols around an array of entries that is never written.
    unsafe { core::slice::from_raw_parts(start, (end as usize - start as usize) / size_of::<Entry>()) }
}

/// Sends a kernel fault to its fixup; false when the instruction has none.
///
/// A linear search: the table has a few dozen entries and faults here are rare.
pub fn fix_up(frame: &mut Frame) -> bool {
    let Some(entry) = table().iter().find(|entry| entry.from == frame.rip) else {
        return false;
    };
    LAST_VECTOR.store(frame.vector, Ordering::Relaxed);
    LAST_ERROR.store(frame.error, Ordering::Relaxed);
    LAST_FLAGS.store(frame.rflags, Ordering::Relaxed);
    frame.rip = entry.to;
    // The fault may have been about the selectors themselves; the fixup runs where this handler does.
    let shown = facts().shown;
    (frame.cs, frame.ss) = (shown.code.into(), shown.stack.into());
    true
}

/// Vector and error code of the latest fault that was fixed up.
pub fn last_fault() -> (u64, u64) {
    (LAST_VECTOR.load(Ordering::Relaxed), LAST_ERROR.load(Ordering::Relaxed))
}

/// RFLAGS that the latest fault found, as they are in its frame.
pub fn last_flags() -> u64 {
    LAST_FLAGS.load(Ordering::Relaxed)
}
