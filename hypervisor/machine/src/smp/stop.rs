//! Stopping all processors but one, so that what the last one says is whole, and true while it is said.

use core::sync::atomic::{AtomicUsize, Ordering};

use x86_64::instructions::{hlt, interrupts};

use crate::clock;
use crate::cpu::local::{self, Local};
use crate::device::apic;
use crate::entry::Frame;

/// Nobody has asked the others to stop.
const NOBODY: usize = usize::MAX;

/// The processor that goes on alone.
static ALONE: AtomicUsize = AtomicUsize::new(NOBODY);

/// Microseconds that the others get. One that takes no NMI is left as it is.
const STOP_LIMIT: u64 = 1_000_000;

/// What became of a wish to go on alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// The others have been stopped.
    First,
    /// This processor has asked before: something went wrong while it was alone.
    Again,
}

/// Stops the other processors. Does not return on a processor that another one is stopping.
pub fn others() -> Alone {
    interrupts::disable();
    // Before the list is published nobody else runs, and this processor may not know its number.
    let all = local::all();
    let this = if all.is_empty() { 0 } else { local::this_cpu() };
    match ALONE.compare_exchange(NOBODY, this, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {}
        Err(first) if first == this => return Alone::Again,
        Err(_) => loop {
            hlt();
        },
    }
    let others = || all.iter().filter(|local| local.number() != this);
    others().for_each(|local| apic::send_nmi(local.apic_id));
    clock::wait_until(STOP_LIMIT, || others().all(|local| local.stopped_at().is_some()));
    Alone::First
}

/// An NMI has come: stops here if that is what it asks for. One that the machine has sent to the processor that goes
/// on alone is not, or what that one has to say would end there.
pub fn on_nmi(frame: &Frame) {
    let alone = ALONE.load(Ordering::SeqCst);
    if alone == NOBODY || alone == local::this_cpu() {
        return;
    }
    let local: &Local = local::this();
    local.stop(frame.rip);
    loop {
        interrupts::disable();
        hlt();
    }
}
