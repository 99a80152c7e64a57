//! Control registers, debug registers, and the model-specific ones of `syscall` (SDM volume 3, 2.5 and 17.2; volume 2,
//! SYSCALL).

use core::arch::asm;

use x86_64::registers::model_specific::Msr;

const MSR_EFER: u32 = 0xc000_0080;
const EFER_SCE: u64 = 1 << 0;
const EFER_NXE: u64 = 1 << 11;
const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_SFMASK: u32 = 0xc000_0084;
/// `syscall` takes CS from bits 32 to 47, and SS 8 behind it; `sysret` takes SS 8 behind bits 48 to 63, and CS 16.
const STAR: u64 = (super::KERNEL.code as u64) << 32 | (super::USER.stack as u64 - 8) << 48;
/// What `syscall` clears: TF, IF, DF, IOPL, NT and AC.
const SYSCALL_CLEARS: u64 = 1 << 8 | 1 << 9 | 1 << 10 | 3 << 12 | 1 << 14 | 1 << 18;

/// PE, MP, ET, NE, WP, PG: no EM, no TS, caches on, and read-only pages are the kernel's too.
const CR0: u64 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | CR0_PG;
const CR0_PG: u64 = 1 << 31;
const CR0_TS: u64 = 1 << 3;
/// PAE, OSFXSR, OSXMMEXCPT.
const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10;

/// What loaders leave as they like.
pub fn init() {
    let mut efer = Msr::new(MSR_EFER);
    // SAFETY: this kernel's tables use bit 63 as NX alone, programs may use `syscall`, and nothing reads floating point before
    // it is switched on here.
    unsafe {
        efer.write(efer.read() | EFER_SCE | EFER_NXE);
        asm!("mov cr4, {}", in(reg) CR4, options(nostack));
        asm!("mov cr0, {}", in(reg) CR0, options(nostack));
        Msr::new(MSR_STAR).write(STAR);
        Msr::new(MSR_SFMASK).write(SYSCALL_CLEARS);
    }
}

/// Where programs' `syscall` leads.
pub fn set_syscall_entry(address: u64) {
    // SAFETY: the address is that of the entry stub.
    unsafe { Msr::new(MSR_LSTAR).write(address) };
}

/// The address of the latest page fault.
pub fn cr2() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack)) };
    value
}

/// Has the next use of floating point fault.
pub fn set_task_switched() {
    // SAFETY: the fault's handler clears it again.
    unsafe {
        asm!("mov {0}, cr0", "or {0}, {ts}", "mov cr0, {0}", out(reg) _, ts = const CR0_TS, options(nostack))
    };
}

/// Undoes [`set_task_switched`].
pub fn clear_task_switched() {
    // SAFETY: clears CR0.TS.
    unsafe { asm!("clts", options(nostack)) };
}

/// Sets DR0 or DR7, the ones this kernel uses; false for others.
pub fn set_debug_register(number: u32, value: u64) -> bool {
    // SAFETY: a breakpoint raises #DB, which has a handler.
    unsafe {
        match number {
            0 => asm!("mov dr0, {}", in(reg) value, options(nostack)),
            7 => asm!("mov dr7, {}", in(reg) value, options(nostack)),
            _ => return false,
        }
    }
    true
}
