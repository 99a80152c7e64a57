//! The last step of boot: the frame table, the domains, and the first guest instruction.

use paravane_core::addr::Mfn;
use paravane_core::boot::BootInfo;
use paravane_core::build::plan::Plan;
use paravane_core::cmdline::Options;
use paravane_core::frame::{FrameInfo, FrameTable};
use paravane_core::hypervisor::Hypervisor;
use paravane_core::time::Clock;
use paravane_core::trace::Trace;

use crate::boot::memory_map::{FRAME_SIZE, MemoryMap, Range};
use crate::hardware::Hardware;
use crate::{clock, direct_map, handlers, heap};

/// Builds the domains that the modules describe and runs them.
///
/// # Panics
/// When there is no domain to run: there is nothing else to do.
pub fn start(hardware: Hardware, memory: &mut MemoryMap, info: &BootInfo<'static>, options: &Options) -> ! {
    if options.audit {
        extend_heap_for_audit(memory);
    }
    let plans = Plan::all(&info.modules).unwrap_or_else(|error| panic!("no domain can be built: {error}"));
    let needed: u64 = plans.iter().map(Plan::heap_bytes).sum();
    assert!(needed == 0 || heap::extend(memory, needed.next_multiple_of(FRAME_SIZE)), "no RAM for the heap");
    let frames = frame_table(memory);
    let clock = Clock::new(clock::tsc_khz() * 1000, clock::tsc()).expect("calibration found a frequency");
    let wallclock = (clock::wall_clock(), 0);
    let settings = options.scheduling();
    let mut hypervisor = Hypervisor::new(hardware, frames, clock, wallclock, settings);
    hypervisor.trace = Trace::new(options.trace);
    hypervisor.configure_consoles(options);
    // The decoder's tables are made on first use: now, not in a guest's first fault.
    paravane_core::emulate::prepare();
    for plan in plans {
        let (name, memory, kind, entry) = (
            plan.config.name.clone(),
            plan.config.memory_kib >> 10,
            plan.machine.name(),
            plan.image.notes.entry,
        );
        match hypervisor.construct(plan) {
            Ok(()) => log::info!("domain '{name}': {memory} MiB, {kind}, entry {entry:#x}"),
            Err(error) => panic!("domain '{name}' cannot be built: {error}"),
        }
    }
    log::info!("{} frames free", hypervisor.frames.free_frames());
    handlers::run(hypervisor)
}

/// Bytes that a recount needs for each frame.
const AUDIT_BYTES: u64 = 128;

/// A recount keeps a record of every frame: too much for the heap that is enough for all else.
fn extend_heap_for_audit(memory: &mut MemoryMap) {
    let bytes = (memory.end() / FRAME_SIZE * AUDIT_BYTES).next_multiple_of(FRAME_SIZE);
    if !heap::extend(memory, bytes) {
        log::warn!("audit: no memory for it");
    }
}

/// The table of all frames: what boot took is the hypervisor's, the rest is free.
fn frame_table(memory: &mut MemoryMap) -> FrameTable {
    let count = Mfn::containing(memory.end()).index();
    let bytes = (count * size_of::<FrameInfo>()) as u64;
    let storage = memory.allocate(bytes.next_multiple_of(4096), 4096).expect("no RAM for the frame table");
    let records = direct_map::pointer::<FrameInfo>(storage);
    // SAFETY: the range was just allocated for exactly this; every record is written before the slice is made,
    // and nothing else refers to it.
    let table = unsafe {
        for index in 0..count {
            records.add(index).write(FrameInfo::NOT_RAM);
        }
        FrameTable::new(core::slice::from_raw_parts_mut(records, count))
    };
    sort_frames(table, memory)
}

fn sort_frames(mut table: FrameTable, memory: &MemoryMap) -> FrameTable {
    let frames = |range: &Range| Mfn::containing(range.start)..Mfn::containing(range.end);
    // What lies outside RAM (device registers among the reserved ranges) has a record only if RAM lies above.
    for taken in memory.taken() {
        for ram in memory.ownable() {
            if let Some(part) = taken.intersection(&ram) {
                table.add_hypervisor(frames(&part));
            }
        }
    }
    for ram in memory.ownable() {
        table.add_ram(frames(&ram));
    }
    table
}
