//! The hypervisor's own console, which the first domain of a Xen host has in place of a ring: bytes go and come by hypercall,
//! and a virtual interrupt says that some have come.

use paravane_abi::console::CONSOLEIO_READ;
use paravane_abi::event::{EVTCHNOP_BIND_VIRQ, EvtchnBindVirq, VIRQ_CONSOLE};

use super::Backend;
use crate::cpu_ops::hypercall::{check, console_io};
use crate::cpu_ops::machine;
use crate::event::{self, Port};

/// Nothing but calls.
pub struct Calls;

/// The port of the interrupt.
pub fn bind() -> Port {
    let mut bind = EvtchnBindVirq { virq: VIRQ_CONSOLE, vcpu: 0, port: 0 };
    event::call(EVTCHNOP_BIND_VIRQ, &mut bind).expect("the first domain has the console's interrupt");
    Port(bind.port)
}

impl Backend for Calls {
    fn write(&self, bytes: &[u8]) {
        machine().emergency_write(bytes);
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        // SAFETY: the buffer lives until the call returns, and is as long as the call is told.
        let count = unsafe { console_io(CONSOLEIO_READ, buffer.len() as u32, buffer.as_mut_ptr()) };
        check(count).map_or(0, |count| (count as usize).min(buffer.len()))
    }

    fn has_read(&self) {}

    fn drain(&self) {}
}
