//! An event channel for cases that need something to be pending.

use paravane_abi::event::{
    EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE, EVTCHNOP_SEND, EvtchnBindIpi, EvtchnBindVirq,
    EvtchnClose, EvtchnSend, VIRQ_TIMER,
};
use paravane_abi::hypercall::HYPERVISOR_EVENT_CHANNEL_OP;
use pv_probe::hypercall::operation;
use pv_probe::memory::{shared, vcpu_info};

use crate::case::Stop;

/// A port of vcpu 0's, closed with the value; nothing of it stays pending.
#[derive(Debug)]
pub struct Port(u32);

impl Port {
    /// One that this domain sends to itself.
    ///
    /// # Errors
    /// When there is none.
    pub fn bind() -> Result<Self, Stop> {
        let mut bind = EvtchnBindIpi { vcpu: 0, port: 0 };
        match operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &mut bind) {
            0 => Ok(Self(bind.port)),
            result => Err(Stop::Error("bind_ipi", result)),
        }
    }

    /// The timer's.
    ///
    /// # Errors
    /// When it is bound already.
    pub fn timer() -> Result<Self, Stop> {
        let mut bind = EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: 0, port: 0 };
        match operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, &mut bind) {
            0 => Ok(Self(bind.port)),
            result => Err(Stop::Error("bind_virq", result)),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.0
    }

    /// Raises its event.
    pub fn send(&self) -> i64 {
        operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut EvtchnSend { port: self.0 })
    }

    /// Whether its event is pending.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        // SAFETY: a word of the shared page.
        unsafe { self.word().read_volatile() & 1 << (self.0 % 64) != 0 }
    }

    fn word(&self) -> *mut u64 {
        assert!(self.0 < 4096);
        // SAFETY: within the array, by the line above.
        unsafe { (&raw mut (*shared()).evtchn_pending).cast::<u64>().add(self.0 as usize / 64) }
    }

    /// Takes the event: pending no more, and nor is anything else.
    pub fn clear(&self) {
        // SAFETY: words of the shared page; ports that others raise meanwhile stay as they are.
        unsafe {
            let bits = &*self.word().cast::<core::sync::atomic::AtomicU64>();
            bits.fetch_and(!(1 << (self.0 % 64)), core::sync::atomic::Ordering::SeqCst);
            (&raw mut (*vcpu_info(0)).evtchn_pending_sel).write_volatile(0);
            (&raw mut (*vcpu_info(0)).evtchn_upcall_pending).write_volatile(0);
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, &mut EvtchnClose { port: self.0 });
        self.clear();
    }
}

/// `evtchn_upcall_pending`.
pub fn upcall_pending() -> bool {
    // SAFETY: a byte of the shared page.
    unsafe { (&raw const (*vcpu_info(0)).evtchn_upcall_pending).read_volatile() != 0 }
}

/// `evtchn_pending_sel`.
pub fn selector() -> u64 {
    // SAFETY: a word of the shared page.
    unsafe { (&raw const (*vcpu_info(0)).evtchn_pending_sel).read_volatile() }
}

/// The address of `evtchn_upcall_mask`.
pub fn mask_address() -> u64 {
    // SAFETY: an address within the shared page.
    unsafe { &raw const (*vcpu_info(0)).evtchn_upcall_mask as u64 }
}
