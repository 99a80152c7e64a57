//! Acts of the comparison that are one instruction each, as a kernel on a bare machine executes it. Under a hypervisor they
//! fault and are emulated, or lead back as an exception.

use core::arch::asm;

/// A breakpoint, handled by going on behind it.
pub fn breakpoint() {
    // SAFETY: the exception resumes behind the instruction, which is where it was anyway.
    unsafe {
        asm!(
            "int3",
            "2:",
            ".pushsection .ex_table, \"a\", @progbits",
            ".quad 2b, 2b",
            ".popsection",
            options(nostack),
        );
    }
}

/// A division by zero, handled by going on behind it.
pub fn divide_error() {
    // SAFETY: the exception resumes at 3.
    unsafe {
        asm!(
            "xor ecx, ecx",
            "2: div ecx",
            "3:",
            ".pushsection .ex_table, \"a\", @progbits",
            ".quad 2b, 3b",
            ".popsection",
            out("eax") _,
            out("ecx") _,
            out("edx") _,
            options(nostack),
        );
    }
}

/// Sends a byte to a port.
pub fn port_out(port: u16) {
    // SAFETY: nobody listens at the port that the comparison names.
    unsafe { asm!("out dx, al", in("al") 0u8, in("dx") port, options(nostack)) };
}

/// Reads a byte from a port.
pub fn port_in(port: u16) {
    // SAFETY: as above.
    unsafe { asm!("in al, dx", out("al") _, in("dx") port, options(nostack)) };
}

/// FS base, a register that programs own and this kernel does not use.
const FS_BASE: u32 = 0xc000_0100;

/// Reads it.
pub fn read_msr() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register that every 64-bit processor has.
    unsafe { asm!("rdmsr", in("ecx") FS_BASE, out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes it.
pub fn write_msr(base: u64) {
    // SAFETY: the comparison writes what was there.
    unsafe {
        asm!("wrmsr", in("ecx") FS_BASE, in("eax") base as u32, in("edx") (base >> 32) as u32, options(nostack));
    }
}

/// Reads CR0.
pub fn read_control() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nostack)) };
    value
}

/// Writes CR0.
pub fn write_control(value: u64) {
    // SAFETY: the comparison writes what was there.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack)) };
}
