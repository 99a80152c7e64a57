//! The acts of the lesson, each as a function that does nothing else.

use core::arch::asm;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::console::CONSOLEIO_WRITE;
use paravane_abi::mmu::{DOMID_SELF, MMUEXT_NEW_BASEPTR, MmuextOp, UVMF_NONE};

use crate::cpu_ops::{Shared, hypercall};

/// What the latest act read, or its status.
static RESULT: AtomicU64 = AtomicU64::new(0);

/// Takes the result of the latest act.
pub fn result() -> u64 {
    RESULT.swap(u64::MAX, Ordering::Relaxed)
}

fn keep(value: u64) {
    RESULT.store(value, Ordering::Relaxed);
}

/// Loads the root in frame `mfn`, by hypercall.
pub extern "C" fn load_base_call(mfn: u64, _: u64) {
    let op = MmuextOp::new(MMUEXT_NEW_BASEPTR, mfn, 0);
    // SAFETY: the lesson passes a checked root that shares the kernel's half.
    keep(unsafe { hypercall::mmuext_op(&op, 1, ptr::null_mut(), u32::from(DOMID_SELF)) } as u64);
}

/// The same by `mov cr3`.
pub extern "C" fn load_base_trap(mfn: u64, _: u64) {
    // SAFETY: as above; the instruction faults and is emulated.
    unsafe { asm!("mov cr3, {}", in(reg) mfn << 12, options(nostack)) };
    keep(0);
}

/// Reads the fault address where a paravirtual kernel finds it: in the shared page.
pub extern "C" fn read_cr2_call(_: u64, _: u64) {
    keep(Shared::fault_address());
}

/// The same by `mov` from CR2.
pub extern "C" fn read_cr2_trap(_: u64, _: u64) {
    let value: u64;
    // SAFETY: reads a register; the instruction faults and is emulated.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nostack)) };
    keep(value);
}

/// Sets the FS base, by hypercall.
pub extern "C" fn fs_base_call(base: u64, _: u64) {
    // SAFETY: this kernel does not use FS; the lesson puts the program's base back.
    keep(unsafe { hypercall::set_segment_base(paravane_abi::vcpu::SEGBASE_FS, base) } as u64);
}

/// The same by `wrmsr`.
pub extern "C" fn fs_base_trap(base: u64, _: u64) {
    const FS_BASE: u32 = 0xc000_0100;
    // SAFETY: as above; the instruction faults and is emulated.
    unsafe {
        asm!("wrmsr", in("ecx") FS_BASE, in("eax") base as u32, in("edx") (base >> 32) as u32, options(nostack));
    }
    keep(0);
}

/// Masks events as a paravirtual kernel does: by a store.
pub extern "C" fn mask_call(_: u64, _: u64) {
    Shared::mask().store(1, Ordering::Relaxed);
}

/// Asks for the same by `cli`.
pub extern "C" fn mask_trap(_: u64, _: u64) {
    // SAFETY: the instruction faults and is emulated.
    unsafe { asm!("cli", options(nostack)) };
}

/// Puts the byte at an address on the machine's console, by hypercall.
pub extern "C" fn port_call(address: u64, _: u64) {
    // SAFETY: one byte of the lesson's, which lives until the call returns.
    keep(unsafe { hypercall::console_io(CONSOLEIO_WRITE, 1, address as *mut u8) } as u64);
}

/// Sends one byte to a port.
pub extern "C" fn port_trap(byte: u64, port: u64) {
    // SAFETY: the port is not this domain's; the instruction faults and is emulated.
    unsafe { asm!("out dx, al", in("al") byte as u8, in("dx") port as u16, options(nostack)) };
    keep(0);
}

/// Reads a port, to see who answers.
pub fn read_port(port: u16) -> u8 {
    let value: u8;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", out("al") value, in("dx") port, options(nostack)) };
    value
}

/// Writes the entry that maps an address, by hypercall.
pub extern "C" fn write_entry_call(va: u64, entry: u64) {
    // SAFETY: the lesson remaps an address of its own between frames of its own.
    keep(unsafe { hypercall::update_va_mapping(va, entry, UVMF_NONE) } as u64);
}

/// Writes an entry by a store to its table, which is read-only.
pub extern "C" fn write_entry_trap(place: u64, entry: u64) {
    // SAFETY: the place is an entry of a live table of the lesson's; the store faults and is emulated.
    unsafe { asm!("mov [{}], {}", in(reg) place, in(reg) entry, options(nostack)) };
    keep(0);
}

/// Reads the first word of the FS segment.
pub fn read_fs() -> u64 {
    let value: u64;
    // SAFETY: the lesson points the base at a word of its own.
    unsafe { asm!("mov {}, fs:[0]", out(reg) value, options(nostack, readonly)) };
    value
}
