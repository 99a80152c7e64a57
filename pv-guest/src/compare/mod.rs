//! The kernel's part of `cargo xtask compare`: operations that a kernel does, each counted on the machine it runs on. The
//! names are those of the list in `tests/src/compare/operations.rs`; the rest of that list is counted by a program.

mod acts;
pub mod marks;
mod measure;

use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

use paravane_abi::pte;

use crate::arch::cpuid;
use crate::cpu::{self, CpuSet};
use crate::cpu_ops::hypercall::raw_null_hypercall;
use crate::cpu_ops::{MapOp, facts, machine};
use crate::errno::{Errno, Result};
use crate::mm::addr::{PAGE, Pfn};
use crate::mm::table::{KERNEL_RW, Root};
use crate::mm::{frames, kernel_root};
use crate::process;
use crate::selftest::{is_readable, set_iopl};
use measure::line;

/// A user address far from what programs map, where a table has room for a batch.
const PLACE: u64 = 0x6100_0000_0000;
/// Entries of a batch.
const BATCH: u64 = 128;
/// An address of the kernel's half at which nothing is mapped.
const NOTHING: u64 = 0xffff_ff00_0000_0000;
/// A port behind which no machine has a device.
const PORT: u16 = 0x2e9;
/// What stands for a timer that was asked for and did not come yet.
const ASKED: u64 = 1;

/// Pages to be mapped, and another address space to go to.
struct Stage {
    frames: [Pfn; 2],
    other: Root,
}

impl Stage {
    fn set() -> Result<Self> {
        let frame = || frames::alloc_zeroed().ok_or(Errno::ENOMEM);
        let frames = [frame()?, frame()?];
        let other = Root::new(kernel_root())?;
        let space = process::current().space.lock();
        for n in 0..BATCH {
            space.root().map(PLACE + n * PAGE, pte::entry(frames[0].mfn().0, KERNEL_RW))?;
        }
        Ok(Self { frames, other })
    }

    /// The changes that set the first entries of the batch to a value.
    fn changes(count: u64, entry: u64) -> Vec<MapOp> {
        let space = process::current().space.lock();
        let leaf = |n| space.root().leaf(PLACE + n * PAGE).expect("the stage mapped it");
        (0..count).map(|n| leaf(n).set(entry)).collect()
    }

    /// Entries that map pages: the first frame, and used, so that the processor and whoever walks tables for it knows them.
    fn live(&self, count: u64) {
        apply(&Self::changes(count, self.entry(0)), true);
        for n in 0..count {
            assert!(is_readable(PLACE + n * PAGE), "the stage is mapped");
        }
    }

    fn entry(&self, frame: usize) -> u64 {
        pte::entry(self.frames[frame].mfn().0, KERNEL_RW)
    }

    fn strike(self) {
        apply(&Self::changes(BATCH, 0), true);
        self.frames.into_iter().for_each(frames::release);
        self.other.destroy();
    }
}

/// Makes changes to the stage's tables, and forgets what was read of them if asked.
fn apply(changes: &[MapOp], forget: bool) {
    machine().map(changes).expect("the comparison's own entries");
    if forget {
        machine().flush_all(CpuSet::EMPTY);
    }
}

/// Exceptions of the kernel's own, from the instruction to the handler and back.
fn exceptions(out: &mut dyn Write) -> fmt::Result {
    let mut nothing = || ();
    line(out, "int3", &mut nothing, &mut acts::breakpoint)?;
    line(out, "divide-error", &mut nothing, &mut acts::divide_error)?;
    line(out, "kernel-page-fault", &mut nothing, &mut || {
        is_readable(NOTHING);
    })
}

/// Page tables and what the processor remembers of them.
fn tables(out: &mut dyn Write, stage: &Stage) -> fmt::Result {
    for (name, count) in [("pte-write", 1), ("pte-write-batch", BATCH)] {
        let other = Stage::changes(count, stage.entry(1));
        line(out, name, &mut || stage.live(count), &mut || apply(&other, false))?;
    }
    let own = process::current().space.lock().root().mfns();
    let other = stage.other.mfns();
    line(out, "address-space-switch", &mut || machine().load_base(own), &mut || machine().load_base(other))?;
    machine().load_base(own);
    let mut nothing = || ();
    line(out, "invlpg", &mut nothing, &mut || machine().flush_one(PLACE, CpuSet::EMPTY))?;
    line(out, "full-flush", &mut nothing, &mut || machine().flush_all(CpuSet::EMPTY))
}

/// Instructions that only ring 0 executes.
fn instructions(out: &mut dyn Write) -> fmt::Result {
    let mut nothing = || ();
    // Under a hypervisor a kernel asks for its ports first; without, nobody refuses.
    let asks = facts().hypercalls;
    if asks {
        set_iopl(1);
    }
    line(out, "in", &mut nothing, &mut || acts::port_in(PORT))?;
    line(out, "out", &mut nothing, &mut || acts::port_out(PORT))?;
    if asks {
        set_iopl(0);
    }
    let base = acts::read_msr();
    line(out, "rdmsr", &mut nothing, &mut || {
        acts::read_msr();
    })?;
    line(out, "wrmsr", &mut nothing, &mut || acts::write_msr(base))?;
    line(out, "cpuid", &mut nothing, &mut || {
        cpuid::shown(0, 0);
    })?;
    let control = acts::read_control();
    line(out, "cr-read", &mut nothing, &mut || {
        acts::read_control();
    })?;
    line(out, "cr-write", &mut nothing, &mut || acts::write_control(control))
}

/// Interrupts: masking them, and one of the timer's from asking for it to its end.
fn interrupts(out: &mut dyn Write) -> fmt::Result {
    let was_masked = machine().mask_events();
    let mut nothing = || ();
    line(out, "interrupts-off-on", &mut || machine().unmask_events(), &mut || {
        machine().mask_events();
        machine().unmask_events();
    })?;
    machine().mask_events();
    let armed = &cpu::this().armed;
    line(out, "timer-interrupt", &mut nothing, &mut || {
        armed.store(ASKED, Ordering::Relaxed);
        machine().set_timer(Some(ASKED));
        // The time is over already; the handler sets another one.
        while armed.load(Ordering::Relaxed) == ASKED {
            machine().unmask_events();
            machine().mask_events();
        }
    })?;
    machine().restore_events(was_masked);
    Ok(())
}

/// Counts, a line for each operation.
pub fn report(out: &mut dyn Write) -> fmt::Result {
    let stage = match Stage::set() {
        Ok(stage) => stage,
        Err(error) => return writeln!(out, "FAILED compare no stage: {error:?}"),
    };
    if facts().hypercalls {
        line(out, "null-hypercall", &mut || (), &mut || {
            raw_null_hypercall();
        })?;
    }
    exceptions(out)?;
    tables(out, &stage)?;
    instructions(out)?;
    interrupts(out)?;
    stage.strike();
    Ok(())
}
