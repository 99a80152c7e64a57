//! Event channels, two-level: the hypervisor sets a port's pending bit, the bit of its word in the selector, and the
//! vcpu's pending flag, and calls the upcall.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use paravane_abi::event::{
    EVTCHNOP_SEND, EVTCHNOP_UNMASK, EvtchnSend, EvtchnUnmask, mask_of_port, word_of_port,
};

use crate::cpu;
use crate::cpu_ops::hypercall::{check, event_channel_op};
use crate::cpu_ops::{EVENT_WORDS, Refused, Shared};

/// A port number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u32);

/// Ports this kernel can handle; all others stay masked.
const HANDLERS: usize = 1024;

/// What happens at a port's events, and on which CPU.
struct Slot {
    handler: AtomicUsize,
    cpu: AtomicU32,
}

static TABLE: [Slot; HANDLERS] =
    [const { Slot { handler: AtomicUsize::new(0), cpu: AtomicU32::new(0) } }; HANDLERS];

/// Makes an event channel call.
pub fn call<T>(command: u32, argument: &mut T) -> Result<u64, Refused> {
    // SAFETY: each caller passes the command's own struct, which lives until the call returns.
    check(unsafe { event_channel_op(command, core::ptr::from_mut(argument).cast()) })
}

/// Masks all ports, as a kernel must that starts: those it was given may be unmasked.
pub fn init() {
    (0..EVENT_WORDS).for_each(|word| Shared::event_mask(word).store(u64::MAX, Ordering::SeqCst));
}

/// Sets what happens on the first CPU at a port's events, and lets them through.
pub fn handle(port: Port, handler: fn()) {
    handle_on(port, 0, handler);
}

/// Sets what happens at the events of a port that is bound to a CPU, and lets them through.
pub fn handle_on(port: Port, cpu: u32, handler: fn()) {
    let slot = TABLE.get(port.0 as usize).expect("a domain's ports are small numbers");
    slot.cpu.store(cpu, Ordering::Relaxed);
    slot.handler.store(handler as usize, Ordering::Relaxed);
    let mut unmask = EvtchnUnmask { port: port.0 };
    call(EVTCHNOP_UNMASK, &mut unmask).expect("a bound port can be unmasked");
}

/// Masks a port and forgets its handler.
pub fn forget(port: Port) {
    mask(port);
    if let Some(slot) = TABLE.get(port.0 as usize) {
        slot.handler.store(0, Ordering::Relaxed);
    }
}

/// Masks a port.
pub fn mask(port: Port) {
    Shared::event_mask(word_of_port(port.0)).fetch_or(mask_of_port(port.0), Ordering::SeqCst);
}

/// Forgets a pending event of a masked port.
pub fn clear(port: Port) {
    Shared::event_pending(word_of_port(port.0)).fetch_and(!mask_of_port(port.0), Ordering::SeqCst);
}

/// Raises the event at the other end of a port.
pub fn notify(port: Port) {
    let mut send = EvtchnSend { port: port.0 };
    call(EVTCHNOP_SEND, &mut send).expect("a bound port can be notified");
}

/// The upcall. Runs with events masked; what comes meanwhile sets the pending flag again.
pub fn upcall() {
    let cpu = cpu::this();
    let state = cpu.state();
    while state.pending().swap(0, Ordering::SeqCst) != 0 {
        let mut words = state.pending_words().swap(0, Ordering::SeqCst);
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            run_word(cpu.id(), word);
        }
    }
}

/// Handles what is pending in a word for this CPU: the bitmap is the domain's, and other CPUs' ports are theirs.
fn run_word(cpu: u32, word: usize) {
    let mask = Shared::event_mask(word).load(Ordering::SeqCst);
    let mut bits = Shared::event_pending(word).load(Ordering::SeqCst) & !mask;
    while bits != 0 {
        let bit = bits.trailing_zeros();
        bits &= bits - 1;
        let Some(slot) = TABLE.get(word * 64 + bit as usize) else { continue };
        let handler = slot.handler.load(Ordering::Relaxed);
        if handler == 0 || slot.cpu.load(Ordering::Relaxed) != cpu {
            continue;
        }
        Shared::event_pending(word).fetch_and(!(1 << bit), Ordering::SeqCst);
        // SAFETY: only `handle_on` and `forget` store to the table: a `fn()` or 0.
        let handler: fn() = unsafe { core::mem::transmute(handler) };
        handler();
    }
}
