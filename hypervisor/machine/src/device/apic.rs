//! The local APIC: its timer in one-shot mode, the virtual wire that brings the 8259s' interrupts in, and
//! interrupts from processor to processor.

use crate::cpu::msr;
use crate::direct_map;

/// The register page's physical address after reset (Intel SDM vol. 3, 11.4.1), on every processor.
pub const PHYSICAL_BASE: u64 = 0xfee0_0000;

/// The timer's vector.
pub const VECTOR_TIMER: u8 = 0xf0;
/// From another processor: look what there is to do.
pub const VECTOR_RESCHEDULE: u8 = 0xf1;
/// From another processor: forget your translations.
pub const VECTOR_FLUSH: u8 = 0xf2;
/// The spurious-interrupt vector.
pub const VECTOR_SPURIOUS: u8 = 0xff;

const END_OF_INTERRUPT: u64 = 0xb0;
const SPURIOUS: u64 = 0xf0;
const COMMAND_LOW: u64 = 0x300;
const COMMAND_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LVT_LINT0: u64 = 0x350;
const LVT_LINT1: u64 = 0x360;
const TIMER_INITIAL: u64 = 0x380;
const TIMER_CURRENT: u64 = 0x390;
const TIMER_DIVIDE: u64 = 0x3e0;

const MASKED: u32 = 1 << 16;
const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_INIT: u32 = 5 << 8;
const DELIVERY_START_UP: u32 = 6 << 8;
const DELIVERY_EXTINT: u32 = 7 << 8;
const DELIVERY_PENDING: u32 = 1 << 12;
const LEVEL_ASSERT: u32 = 1 << 14;
const DIVIDE_BY_1: u32 = 0xb;

/// IA32_APIC_BASE (SDM vol. 3, 11.4.4 and 11.12.1): this processor booted.
const BASE_BOOT: u64 = 1 << 8;
/// x2APIC mode.
const BASE_X2APIC: u64 = 1 << 10;
/// The APIC is on.
const BASE_ENABLE: u64 = 1 << 11;

/// Reads of the command register before an interrupt that is not accepted is given up: far longer than a bus
/// transaction takes.
const SEND_LIMIT: u32 = 1_000_000;

fn write(register: u64, value: u32) {
    // SAFETY: the register page is mapped uncached at this address of the direct map.
    unsafe { direct_map::pointer::<u32>(PHYSICAL_BASE + register).write_volatile(value) }
}

fn read(register: u64) -> u32 {
    // SAFETY: as in `write`.
    unsafe { direct_map::pointer::<u32>(PHYSICAL_BASE + register).read_volatile() }
}

/// Enables this processor's APIC. On the one that boots the 8259s are wired through LINT0 and NMI through LINT1;
/// on the others both are masked.
pub fn initialise() {
    let boots = set_base();
    write(SPURIOUS, 0x100 | u32::from(VECTOR_SPURIOUS));
    write(LVT_LINT0, if boots { DELIVERY_EXTINT } else { MASKED });
    write(LVT_LINT1, if boots { DELIVERY_NMI } else { MASKED });
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    stop_free_running();
}

/// Has the registers where they are mapped: firmware may have moved them, or left the APIC off or in x2APIC mode,
/// which only leads back to xAPIC mode through off. Returns whether this processor is the one that booted.
fn set_base() -> bool {
    let found = msr::read(msr::APIC_BASE);
    let wanted = PHYSICAL_BASE | BASE_ENABLE | found & BASE_BOOT;
    if found & BASE_X2APIC != 0 {
        msr::write(msr::APIC_BASE, found & !(BASE_X2APIC | BASE_ENABLE));
    }
    if found != wanted {
        msr::write(msr::APIC_BASE, wanted);
        let now = msr::read(msr::APIC_BASE);
        assert!(now == wanted, "the local APIC cannot be put in xAPIC mode: {now:#x} instead of {wanted:#x}");
    }
    found & BASE_BOOT != 0
}

/// Writes the command register, and waits until the interrupt has gone out.
fn send(apic_id: u8, command: u32) {
    write(COMMAND_HIGH, u32::from(apic_id) << 24);
    write(COMMAND_LOW, command);
    for _ in 0..SEND_LIMIT {
        if read(COMMAND_LOW) & DELIVERY_PENDING == 0 {
            return;
        }
        core::hint::spin_loop();
    }
    log::error!("the local APIC does not send to {apic_id:#x}: command {command:#x}");
}

/// Interrupts another processor.
pub fn send_interrupt(apic_id: u8, vector: u8) {
    send(apic_id, LEVEL_ASSERT | u32::from(vector));
}

/// Raises a non-maskable interrupt on another processor.
pub fn send_nmi(apic_id: u8) {
    send(apic_id, LEVEL_ASSERT | DELIVERY_NMI);
}

/// Puts another processor into the state after reset.
pub fn send_init(apic_id: u8) {
    send(apic_id, LEVEL_ASSERT | DELIVERY_INIT);
}

/// Starts a processor after INIT at a frame below 1 MiB, in real mode.
pub fn send_start_up(apic_id: u8, physical: u64) {
    send(apic_id, LEVEL_ASSERT | DELIVERY_START_UP | (physical >> 12) as u32);
}

/// Starts the counter at its highest value without interrupts, for calibration.
pub fn start_free_running() {
    write(LVT_TIMER, MASKED | u32::from(VECTOR_TIMER));
    write(TIMER_INITIAL, u32::MAX);
}

/// Stops the counter, and lets it interrupt again.
pub fn stop_free_running() {
    arm(0);
    write(LVT_TIMER, u32::from(VECTOR_TIMER));
}

/// Ticks left on the counter.
pub fn remaining() -> u32 {
    read(TIMER_CURRENT)
}

/// Asks for one interrupt after `ticks` of the counter; 0 asks for none.
pub fn arm(ticks: u32) {
    write(TIMER_INITIAL, ticks);
}

/// Acknowledges the interrupt being handled.
pub fn acknowledge() {
    write(END_OF_INTERRUPT, 0);
}
