//! Ports and registers of the processor, each by its own instruction.

use core::arch::asm;

/// Model-specific registers (SDM volume 4, table 2-2).
pub mod msr {
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const SFMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
}

/// Writes a byte to a port.
pub fn out(port: u16, value: u8) {
    // SAFETY: the devices are this kernel's.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) };
}

/// Reads a byte from a port.
pub fn input(port: u16) -> u8 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) };
    value
}

/// Writes a model-specific register.
pub fn wrmsr(index: u32, value: u64) {
    // SAFETY: the callers write what this kernel runs with.
    unsafe {
        asm!("wrmsr", in("ecx") index, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    }
}

/// Reads a model-specific register.
pub fn rdmsr(index: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the callers read those that exist.
    unsafe { asm!("rdmsr", in("ecx") index, out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

macro_rules! read {
    ($register:literal, $name:ident) => {
        #[doc = concat!("Reads ", $register, ".")]
        pub fn $name() -> u64 {
            let value;
            // SAFETY: reads a register.
            unsafe { asm!(concat!("mov {}, ", $register), out(reg) value, options(nostack)) };
            value
        }
    };
}

macro_rules! write {
    ($register:literal, $name:ident) => {
        #[doc = concat!("Writes ", $register, ".")]
        pub fn $name(value: u64) {
            // SAFETY: the callers write what this kernel runs with.
            unsafe { asm!(concat!("mov ", $register, ", {}"), in(reg) value, options(nostack)) };
        }
    };
}

read!("cr0", cr0);
read!("cr2", cr2);
read!("cr4", cr4);
write!("cr0", set_cr0);
write!("cr3", set_cr3);
write!("cr4", set_cr4);
write!("cr8", set_cr8);
write!("dr7", set_dr7);

/// Forgets one translation.
pub fn invlpg(va: u64) {
    // SAFETY: a translation that is forgotten is made anew.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack)) };
}

/// CS as it reads: with RPL 1 where somebody pretends that this is ring 0.
pub fn cs() -> u16 {
    let cs: u64;
    // SAFETY: reads a selector.
    unsafe { asm!("mov {0:r}, cs", out(reg) cs, options(nomem, nostack, preserves_flags)) };
    cs as u16
}
