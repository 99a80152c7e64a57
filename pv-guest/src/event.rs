//! Event channels, two-level: the hypervisor sets a port's pending bit, the bit of its word in the selector, and the
//! vcpu's pending flag, and calls the upcall.

use core::sync::atomic::{AtomicUsize, Ordering};

use paravane_abi::event::{
    EVTCHNOP_BIND_VIRQ, EVTCHNOP_SEND, EVTCHNOP_UNMASK, EvtchnBindVirq, EvtchnSend, EvtchnUnmask, VIRQ_TIMER,
};

use crate::cpu_ops::hypercall::{check, event_channel_op};
use crate::cpu_ops::{Refused, Shared};
use crate::process;

/// A port number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u32);

/// Ports this kernel handles; all others stay masked.
const HANDLERS: usize = 64;

static TABLE: [AtomicUsize; HANDLERS] = [const { AtomicUsize::new(0) }; HANDLERS];

fn call<T>(command: u32, argument: &mut T) -> Result<u64, Refused> {
    // SAFETY: each caller below passes the command's own struct, which lives until the call returns.
    check(unsafe { event_channel_op(command, core::ptr::from_mut(argument).cast()) })
}

/// Sets what happens at a port's events, and lets them through.
pub fn handle(port: Port, handler: fn()) {
    let slot = TABLE.get(port.0 as usize).expect("the first ports of a domain are small numbers");
    slot.store(handler as usize, Ordering::Relaxed);
    let mut unmask = EvtchnUnmask { port: port.0 };
    call(EVTCHNOP_UNMASK, &mut unmask).expect("a bound port can be unmasked");
}

/// Raises the event at the other end of a port.
pub fn notify(port: Port) {
    let mut send = EvtchnSend { port: port.0 };
    call(EVTCHNOP_SEND, &mut send).expect("a bound port can be notified");
}

/// Starts the timer's events.
pub fn init() {
    let mut bind = EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: 0, port: 0 };
    call(EVTCHNOP_BIND_VIRQ, &mut bind).expect("a vcpu has a timer");
    handle(Port(bind.port), process::tick);
}

/// The upcall. Runs with events masked; what comes meanwhile sets the pending flag again.
pub fn upcall() {
    while Shared::pending().swap(0, Ordering::SeqCst) != 0 {
        let mut words = Shared::pending_words().swap(0, Ordering::SeqCst);
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            let mask = Shared::event_mask(word).load(Ordering::SeqCst);
            let mut bits = Shared::event_pending(word).load(Ordering::SeqCst) & !mask;
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                Shared::event_pending(word).fetch_and(!(1 << bit), Ordering::SeqCst);
                run(word * 64 + bit as usize);
            }
        }
    }
}

fn run(port: usize) {
    let handler = TABLE.get(port).map_or(0, |slot| slot.load(Ordering::Relaxed));
    if handler != 0 {
        // SAFETY: only `handle` stores to the table, and what it stores is a `fn()`.
        let handler: fn() = unsafe { core::mem::transmute(handler) };
        handler();
    }
}
