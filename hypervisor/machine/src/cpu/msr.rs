//! Model-specific registers: the few the hypervisor sets, and reads that may fault.

use x86_64::registers::model_specific::Msr;

/// Revision of the microcode.
pub const MICROCODE_REVISION: u32 = 0x8b;
/// Target selectors of `syscall` and `sysret`.
pub const STAR: u32 = 0xc000_0081;
/// Entry point of 64-bit `syscall`.
pub const LSTAR: u32 = 0xc000_0082;
/// Entry point of `syscall` from compatibility mode.
pub const CSTAR: u32 = 0xc000_0083;
/// RFLAGS bits that `syscall` clears.
pub const SFMASK: u32 = 0xc000_0084;
/// Base of FS.
pub const FS_BASE: u32 = 0xc000_0100;
/// Base of GS.
pub const GS_BASE: u32 = 0xc000_0101;
/// What `swapgs` exchanges with the base of GS.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// Selector that `sysenter` enters; zero makes it fault.
pub const SYSENTER_CS: u32 = 0x174;
/// What RDTSCP and RDPID return beside the time, where they exist.
pub const TSC_AUX: u32 = 0xc000_0103;
/// Where the local APIC's registers are, and in which mode it is.
pub const APIC_BASE: u32 = 0x1b;
/// Page-attribute table.
pub const PAT: u32 = 0x277;

/// Writes an MSR that every long-mode processor has.
pub fn write(register: u32, value: u64) {
    // SAFETY: only called with the registers named above and values checked by the caller; none of them can
    // break memory safety while ring 0 keeps to addresses it has mapped.
    unsafe { Msr::new(register).write(value) }
}

/// Reads an MSR that every long-mode processor has.
pub fn read(register: u32) -> u64 {
    // SAFETY: reading the registers named above has no effect.
    unsafe { Msr::new(register).read() }
}
