//! Interrupts between CPUs: an event channel of each kind per CPU.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use paravane_abi::event::{
    EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE, EvtchnBindIpi, EvtchnBindVirq, EvtchnClose,
    VIRQ_TIMER,
};

use super::{Cpu, CpuSet, get, lock, online, this};
use crate::cpu_ops::machine;
use crate::event::{self, Port};
use crate::process;

/// Kinds of interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Ipi {
    /// Look at what to run.
    Reschedule,
    /// Run a function.
    Call,
    /// Stop for good.
    Stop,
    /// The kernel lock is yours. Always masked: waited for with a poll, and never delivered.
    Kick,
}

/// Kinds, and the timer.
pub const PORTS: usize = 5;
const TIMER: usize = 4;

impl Cpu {
    /// The port of a kind.
    pub fn port(&self, ipi: Ipi) -> Port {
        Port(self.ports[ipi as usize].load(Ordering::Relaxed))
    }

    fn bind(&self, ipi: Ipi, handler: Option<fn()>) {
        let mut bind = EvtchnBindIpi { vcpu: self.id(), ..EvtchnBindIpi::default() };
        event::call(EVTCHNOP_BIND_IPI, &mut bind).expect("a CPU can have event channels");
        self.ports[ipi as usize].store(bind.port, Ordering::Relaxed);
        match handler {
            Some(handler) => event::handle_on(Port(bind.port), self.id(), handler),
            None => event::mask(Port(bind.port)),
        }
    }

    /// Gives the CPU its event channels.
    pub fn bind_ports(&self) {
        let mut timer = EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: self.id(), port: 0 };
        event::call(EVTCHNOP_BIND_VIRQ, &mut timer).expect("a vcpu has a timer");
        self.ports[TIMER].store(timer.port, Ordering::Relaxed);
        event::handle_on(Port(timer.port), self.id(), process::tick);
        self.bind(Ipi::Reschedule, Some(process::sched::interrupted));
        self.bind(Ipi::Call, Some(called));
        self.bind(Ipi::Stop, Some(stopped));
        self.bind(Ipi::Kick, None);
    }

    /// Takes its event channels away. The CPU is down.
    pub fn close_ports(&self) {
        for port in &self.ports {
            let mut close = EvtchnClose { port: port.swap(0, Ordering::Relaxed) };
            event::forget(Port(close.port));
            event::call(EVTCHNOP_CLOSE, &mut close).expect("a bound port can be closed");
        }
    }
}

/// Interrupts a CPU.
pub fn send(cpu: &Cpu, ipi: Ipi) {
    event::notify(cpu.port(ipi));
}

static FUNCTION: AtomicUsize = AtomicUsize::new(0);
static CALLED: AtomicU64 = AtomicU64::new(0);

/// Runs a function on other CPUs, and returns when all have run it. The kernel lock is given up meanwhile.
pub fn call_others(function: fn()) -> CpuSet {
    let others = online().without(this().id());
    FUNCTION.store(function as usize, Ordering::SeqCst);
    CALLED.store(others.0, Ordering::SeqCst);
    others.iter().for_each(|id| send(get(id), Ipi::Call));
    lock::without(|| {
        while CALLED.load(Ordering::SeqCst) != 0 {
            machine().yield_cpu();
        }
    });
    others
}

/// Runs a function that this CPU was asked to run. Also called by a CPU that goes down, which takes no more events.
pub(super) fn called() {
    let bit = CpuSet::one(this().id()).0;
    if CALLED.load(Ordering::SeqCst) & bit == 0 {
        return;
    }
    // SAFETY: `call_others` stored a `fn()` before it set this CPU's bit.
    let function: fn() = unsafe { core::mem::transmute(FUNCTION.load(Ordering::SeqCst)) };
    function();
    CALLED.fetch_and(!bit, Ordering::SeqCst);
}

/// Stops all other CPUs as soon as they take events. For the end.
pub fn stop_others() {
    online().without(this().id()).iter().for_each(|id| send(get(id), Ipi::Stop));
}

fn stopped() {
    loop {
        super::hotplug::vcpu_down(this().id());
    }
}
