//! The other processors: which there are, and how they come up.

pub mod stop;
pub mod watchdog;

use alloc::vec::Vec;
use core::arch::global_asm;
use core::slice;
use core::sync::atomic::{AtomicU64, Ordering};

use paravane_core::acpi;
use paravane_core::cmdline::Options;

use crate::boot::memory_map::MemoryMap;
use crate::cpu::local::{self, Local};
use crate::cpu::{self, interrupts};
use crate::device::apic;
use crate::{clock, direct_map, handlers};

global_asm!(include_str!("trampoline.S"));

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
}

/// Root of the tables of the processor that is being started; `trampoline.S` reads it.
#[unsafe(no_mangle)]
static processor_root: AtomicU64 = AtomicU64::new(0);
/// Top of its stack.
#[unsafe(no_mangle)]
static processor_stack: AtomicU64 = AtomicU64::new(0);

/// After INIT a processor gets so long before it is started (SDM vol. 3, 9.4.4.1).
const AFTER_INIT: u64 = 10_000;
/// A first start-up interrupt may be lost: after so long another is sent.
const AFTER_START_UP: u64 = 200;
/// A processor that has not come up after so long is left out. An emulator on a busy host is slow.
const ARRIVAL: u64 = 5_000_000;

/// Local APIC IDs of the processors to use, this one first.
///
/// The tables of ACPI are read where the firmware put them: the boot tables, which map the first 4 GiB, must
/// still be loaded.
pub fn discover(rsdp: Option<u64>, options: &Options) -> Vec<u8> {
    let this = (core::arch::x86_64::__cpuid(1).ebx >> 24) as u8;
    let mut ids = Vec::from([this]);
    if options.maxcpus > 1 {
        match acpi::processors(rsdp, physical) {
            Ok(found) => ids.extend(found.into_iter().filter(|id| *id != this)),
            Err(error) => log::warn!("one processor is used: ACPI: {error}"),
        }
    }
    if ids.len() > options.maxcpus {
        log::info!("{} processors of {} are left out", ids.len() - options.maxcpus, ids.len());
        ids.truncate(options.maxcpus);
    }
    ids
}

/// Bytes of physical memory as firmware left them.
fn physical(address: u64, length: usize) -> Option<&'static [u8]> {
    address.checked_add(length as u64).filter(|end| *end <= 1 << 32)?;
    // SAFETY: the boot tables map the first 4 GiB. The hypervisor's own memory is RAM that firmware keeps no tables
    // in, and what is no memory reads as ones.
    Some(unsafe { slice::from_raw_parts(direct_map::pointer::<u8>(address), length) })
}

/// A processor to start.
#[derive(Clone, Copy)]
pub struct Candidate {
    /// Its words.
    pub local: &'static Local,
    /// Root of its tables.
    pub root: u64,
    /// Top of its stack.
    pub stack: u64,
}

/// Starts processors one after the other, and returns those that came up, in order.
pub fn start(memory: &MemoryMap, candidates: &[Candidate]) -> Vec<&'static Local> {
    if candidates.is_empty() {
        return Vec::new();
    }
    let Some(page) = memory.start_up_frame() else {
        log::warn!("one processor is used: no memory below 640 KiB for the others to start in");
        return Vec::new();
    };
    copy_trampoline(page);
    candidates.iter().filter(|candidate| start_one(candidate, page)).map(|it| it.local).collect()
}

fn copy_trampoline(page: u64) {
    let (start, end) = (&raw const trampoline_start, &raw const trampoline_end);
    // SAFETY: both are in the image, in this order, less than a frame apart; the page is RAM that nobody uses.
    unsafe {
        let bytes = end.offset_from_unsigned(start);
        core::ptr::copy_nonoverlapping(start, direct_map::pointer::<u8>(page), bytes);
    }
}

fn start_one(candidate: &Candidate, page: u64) -> bool {
    let local = candidate.local;
    processor_root.store(candidate.root, Ordering::SeqCst);
    processor_stack.store(candidate.stack, Ordering::SeqCst);
    apic::send_init(local.apic_id);
    clock::wait_until(AFTER_INIT, || false);
    apic::send_start_up(local.apic_id, page);
    let arrived = || local.arrived.load(Ordering::Acquire);
    if !clock::wait_until(AFTER_START_UP, arrived) {
        apic::send_start_up(local.apic_id, page);
    }
    if !clock::wait_until(ARRIVAL, arrived) {
        // Should it come up after all, it would use the stack of the next one.
        apic::send_init(local.apic_id);
        log::warn!("the processor with APIC ID {} does not start", local.apic_id);
        return false;
    }
    compare_clocks(local);
    true
}

/// Lets a processor go on, and checks roughly that its TSC agrees with this one's: it is read between two
/// readings here. All time is computed from the TSC, whichever processor reads it.
fn compare_clocks(local: &Local) {
    let before = clock::tsc();
    local.released.store(true, Ordering::SeqCst);
    while local.tsc.load(Ordering::SeqCst) == 0 {
        core::hint::spin_loop();
    }
    let (there, after) = (local.tsc.load(Ordering::SeqCst), clock::tsc());
    if !(before..=after).contains(&there) {
        let off = if there < before { there.wrapping_sub(before) } else { there - after } as i64;
        log::warn!("the TSC of processor {} is off by {off} ticks or more: time will jump", local.number());
    }
}

/// The first Rust function of another processor, on its own stack and tables.
#[unsafe(no_mangle)]
extern "C" fn processor_main() -> ! {
    cpu::initialise();
    let local = local::this();
    interrupts::load_tables(local.writable_gdt);
    interrupts::write_syscall_registers();
    apic::initialise();
    local.arrived.store(true, Ordering::Release);
    while !local.released.load(Ordering::SeqCst) {
        core::hint::spin_loop();
    }
    local.tsc.store(clock::tsc(), Ordering::SeqCst);
    handlers::join()
}
