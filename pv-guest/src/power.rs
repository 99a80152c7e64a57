//! The ends of a run.

use crate::console;
use crate::cpu_ops::hypercall::iret_after_pushes;
use crate::cpu_ops::{StopReason, machine};

/// Ends the run well.
pub fn power_off() -> ! {
    console::drain();
    machine().stop(StopReason::PowerOff)
}

/// Starts again.
pub fn reboot() -> ! {
    console::drain();
    machine().stop(StopReason::Reboot)
}

/// Ends the run badly.
pub fn crash() -> ! {
    console::drain();
    machine().stop(StopReason::Crash)
}

/// Raises an exception with a stack pointer that is the hypervisor's: there is nowhere to put the frame, and the
/// hypervisor ends the domain with a report.
pub fn break_contract() -> ! {
    fault_on(paravane_abi::ring1::ENTRY_AREA)
}

/// Raises an exception with a stack pointer in the kernel's own root table, which the kernel can read where it is mapped with
/// all memory, and nobody but the hypervisor can write: the report walks to it.
pub fn stack_in_table() -> ! {
    fault_on(crate::mm::kernel_root().direct() + 0x800)
}

fn fault_on(stack: u64) -> ! {
    console::drain();
    // SAFETY: the domain is over.
    unsafe {
        core::arch::asm!("mov rsp, {}", "ud2", in(reg) stack, options(noreturn));
    }
}

/// Returns by hypercall 23 with a stack pointer at which nothing is mapped: the frame cannot be read, and the hypervisor
/// ends the domain.
pub fn return_from_nowhere() -> ! {
    /// The lowest page of the programs' half of the address space, where nothing is ever mapped.
    const NOWHERE: u64 = 0x1000;
    console::drain();
    // SAFETY: the domain is over.
    unsafe {
        core::arch::asm!("mov rsp, {}", "jmp {}", in(reg) NOWHERE, in(reg) iret_after_pushes(), options(noreturn))
    }
}
