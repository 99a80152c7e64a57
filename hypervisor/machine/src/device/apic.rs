//! The local APIC: its timer in one-shot mode, and the virtual wire that brings the 8259s' interrupts in.

use crate::direct_map;

/// The register page's physical address after reset (Intel SDM vol. 3, 11.4.1).
pub const PHYSICAL_BASE: u64 = 0xfee0_0000;

/// The timer's vector.
pub const VECTOR_TIMER: u8 = 0xf0;
/// The spurious-interrupt vector.
pub const VECTOR_SPURIOUS: u8 = 0xff;

const END_OF_INTERRUPT: u64 = 0xb0;
const SPURIOUS: u64 = 0xf0;
const LVT_TIMER: u64 = 0x320;
const LVT_LINT0: u64 = 0x350;
const LVT_LINT1: u64 = 0x360;
const TIMER_INITIAL: u64 = 0x380;
const TIMER_CURRENT: u64 = 0x390;
const TIMER_DIVIDE: u64 = 0x3e0;

const MASKED: u32 = 1 << 16;
const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_EXTINT: u32 = 7 << 8;
const DIVIDE_BY_1: u32 = 0xb;

fn write(register: u64, value: u32) {
    // SAFETY: the register page is mapped uncached at this address of the direct map.
    unsafe { direct_map::pointer::<u32>(PHYSICAL_BASE + register).write_volatile(value) }
}

fn read(register: u64) -> u32 {
    // SAFETY: as in `write`.
    unsafe { direct_map::pointer::<u32>(PHYSICAL_BASE + register).read_volatile() }
}

/// Enables the APIC, with the 8259s wired through LINT0 and NMI through LINT1.
pub fn initialise() {
    write(SPURIOUS, 0x100 | u32::from(VECTOR_SPURIOUS));
    write(LVT_LINT0, DELIVERY_EXTINT);
    write(LVT_LINT1, DELIVERY_NMI);
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    write(LVT_TIMER, MASKED | u32::from(VECTOR_TIMER));
}

/// Starts the counter at its highest value without interrupts, for calibration.
pub fn start_free_running() {
    write(LVT_TIMER, MASKED | u32::from(VECTOR_TIMER));
    write(TIMER_INITIAL, u32::MAX);
}

/// Ticks left on the counter.
pub fn remaining() -> u32 {
    read(TIMER_CURRENT)
}

/// Asks for one interrupt after `ticks` of the counter; 0 asks for none.
pub fn arm(ticks: u32) {
    write(LVT_TIMER, u32::from(VECTOR_TIMER));
    write(TIMER_INITIAL, ticks);
}

/// Acknowledges the interrupt being handled.
pub fn acknowledge() {
    write(END_OF_INTERRUPT, 0);
}
