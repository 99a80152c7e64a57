//! Exceptions: those a program causes end it or are repaired; those the kernel causes are repaired at the few
//! instructions that may fault, and end the kernel elsewhere.

use core::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use paravane_abi::trap::vector;

use crate::arch::entry::{self, EXCEPTIONS};
use crate::arch::extable;
use crate::arch::frame::{Frame, VECTOR_EVENT};
use crate::cpu_ops::{TrapEntry, facts, machine};
use crate::mm::addr::USER_END;
use crate::mm::fault;
use crate::process::{self, signal};
use crate::{cpu, fs};

const NAMES: [&str; 22] = [
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualization",
    "control protection",
];

const DEVICE_NOT_AVAILABLE: u64 = 7;
const NMI: u64 = 2;
/// A bare machine's interrupts.
const FIRST_INTERRUPT: u64 = 0x20;
const LAST_INTERRUPT: u64 = 0x2f;
const DOUBLE_FAULT: u64 = 8;
static NMIS: AtomicU64 = AtomicU64::new(0);

/// The handlers of all exceptions, and the two that programs may raise on purpose; and the system call
/// vector, a direct gate in ring 1.
pub fn table() -> impl Iterator<Item = TrapEntry> {
    let exceptions = (0..EXCEPTIONS).map(|vector| {
        // Breakpoint and overflow have instructions of their own for ring 3.
        let dpl = if vector == 3 || vector == 4 { 3 } else { 0 };
        TrapEntry { vector: vector as u8, dpl, address: (facts().entries.trap)(vector) }
    });
    exceptions.chain([TrapEntry { vector: 0x80, dpl: 3, address: facts().entries.int80 as *const () as u64 }])
}

/// Installs the handlers of the first CPU.
pub fn init() {
    machine().set_traps(&table().collect::<ArrayVec<_, { EXCEPTIONS + 1 }>>());
    machine().set_entries(
        entry::event_entry_address(),
        entry::failsafe_entry_address(),
        facts().entries.syscall as *const () as u64,
    );
}

/// Non-maskable interrupts since boot.
pub fn nmis() -> u64 {
    NMIS.load(Ordering::Relaxed)
}

/// An exception's name.
pub fn name(vector: u64) -> &'static str {
    usize::try_from(vector).ok().and_then(|vector| NAMES.get(vector)).copied().unwrap_or("unknown exception")
}

#[unsafe(no_mangle)]
extern "C" fn trap_dispatch(frame: &mut Frame) {
    let _lock = cpu::lock::enter();
    match frame.vector {
        VECTOR_EVENT | FIRST_INTERRUPT..=LAST_INTERRUPT => machine().interrupt(frame.vector),
        number if number == u64::from(vector::PF) => page_fault(frame),
        DEVICE_NOT_AVAILABLE => machine().enable_fpu(),
        NMI => _ = NMIS.fetch_add(1, Ordering::Relaxed),
        // Not a program's: what it did could not be reported to this kernel, which is what is broken.
        DOUBLE_FAULT => panic!("double fault\n{frame:?}"),
        _ if frame.is_from_user() => user_fault(frame, None),
        _ => kernel_fault(frame, None),
    }
}

fn page_fault(frame: &mut Frame) {
    let address = machine().fault_address();
    if address < USER_END && fault::handle(address, frame.error).is_ok() {
        return;
    }
    if frame.is_from_user() {
        user_fault(frame, Some(address));
    } else if !fault::was_stale(address, frame.error) {
        kernel_fault(frame, Some(address));
    }
}

fn user_fault(frame: &Frame, address: Option<u64>) {
    let signal = match frame.vector {
        0 | 16 | 19 => signal::SIGFPE,
        1 | 3 => signal::SIGTRAP,
        6 => signal::SIGILL,
        17 => signal::SIGBUS,
        _ => signal::SIGSEGV,
    };
    let process = process::current();
    if signal::is_fatal(process, signal) {
        let (vector, address) = (frame.vector, address.unwrap_or(0));
        fs::proc::record_fault(process.pid, vector, frame.error, frame.rip, address);
        log::info!(
            "{}[{}]: {} at {:#x}, address {address:#x}, error {:#x}: killed by signal {signal}",
            process.name.lock().as_str(),
            process.pid,
            name(vector),
            frame.rip,
            frame.error,
        );
    }
    signal::force(process, signal);
}

fn kernel_fault(frame: &mut Frame, address: Option<u64>) {
    if extable::fix_up(frame) {
        return;
    }
    match address {
        Some(address) => panic!("kernel {} at address {address:#x}\n{frame:?}", name(frame.vector)),
        None => panic!("kernel {}\n{frame:?}", name(frame.vector)),
    }
}
