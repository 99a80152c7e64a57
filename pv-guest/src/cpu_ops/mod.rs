//! Every privileged act of this kernel, behind one trait.
//!
//! Each machine the kernel can run on implements [`CpuOps`] in a file of its own, so that the files can be read side by
//! side: `pv` asks a hypervisor. The machine is a zero-sized static, so calls dispatch at compile time.

pub mod hypercall;
pub mod pv;
mod shared;

use core::fmt;

use crate::cpu::CpuSet;
use crate::mm::addr::Mfn;

pub use pv::Pv;
pub use shared::{EVENT_WORDS, Shared, VcpuState};

/// The machine refused; the number it gave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub i64);

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {}", self.0)
    }
}

/// One change to page tables. A batch of them takes effect in order.
#[derive(Clone, Copy, Debug)]
pub enum MapOp {
    /// Set the last-level entry that maps `va` in the loaded address space, and forget its old translation.
    Mapping {
        /// The address.
        va: u64,
        /// The entry.
        entry: u64,
    },
    /// Set any page-table entry, wherever it is. Old translations stay until a flush.
    Entry {
        /// Machine address of the entry.
        at: u64,
        /// Its new value.
        value: u64,
    },
    /// Make a frame a root table and keep it so, checked, until it is released.
    KeepRoot(Mfn),
    /// Undo [`MapOp::KeepRoot`]: the tables below become ordinary frames again.
    ReleaseRoot(Mfn),
    /// Forget all translations on some CPUs, and on this one.
    FlushAll(CpuSet),
}

/// What changes when another process runs.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Its root table.
    pub root: Mfn,
    /// Where entries from ring 3 put their frames.
    pub kernel_stack: u64,
    /// FS base, when it differs from the one loaded.
    pub fs_base: Option<u64>,
    /// GS base, when it differs from the one loaded.
    pub gs_base: Option<u64>,
}

/// A user segment base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentBase {
    /// FS, the C library's thread pointer.
    Fs,
    /// GS as ring 3 sees it.
    Gs,
}

/// One exception vector's handler.
#[derive(Clone, Copy, Debug)]
pub struct TrapEntry {
    /// The vector.
    pub vector: u8,
    /// The least privileged ring that may raise it with an `int` instruction.
    pub dpl: u8,
    /// The handler.
    pub address: u64,
}

/// Why the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// All is done.
    PowerOff,
    /// Start again.
    Reboot,
    /// This kernel is broken.
    Crash,
}

/// What a machine does for the kernel. The calls that can be refused by a machine that checks return [`Refused`];
/// those that cannot be refused to a correct kernel panic instead.
pub trait CpuOps {
    /// The machine's name in the design's table.
    fn name(&self) -> &'static str;

    /// Loads a root table.
    fn load_base(&self, root: Mfn);
    /// Loads root table, kernel stack and segment bases of the next process, together.
    fn switch_context(&self, next: &Context);
    /// Sets where entries from ring 3 put their frames.
    fn set_kernel_stack(&self, top: u64);

    /// Changes page tables, in order; stops at the first refusal.
    fn map(&self, ops: &[MapOp]) -> Result<(), Refused>;
    /// Forgets one translation on some CPUs, and on this one.
    fn flush_one(&self, va: u64, cpus: CpuSet);
    /// Forgets all translations on some CPUs, and on this one.
    fn flush_all(&self, cpus: CpuSet);
    /// The address of the latest page fault.
    fn fault_address(&self) -> u64;

    /// Masks interrupts (events); returns whether they were masked already.
    fn mask_events(&self) -> bool;
    /// Unmasks them, and takes what is pending.
    fn unmask_events(&self);
    /// Undoes [`CpuOps::mask_events`].
    fn restore_events(&self, was_masked: bool);
    /// Waits until an interrupt has been handled.
    fn idle(&self);
    /// Lets other machines run first.
    fn yield_cpu(&self);

    /// Installs exception handlers.
    fn set_traps(&self, traps: &[TrapEntry]);
    /// Installs the entries for interrupts, failed returns to ring 3, and `syscall`.
    fn set_entries(&self, event: u64, failsafe: u64, syscall: u64);
    /// Sets a user segment base.
    fn set_segment_base(&self, which: SegmentBase, base: u64) -> Result<(), Refused>;
    /// Lets the FPU be used again after a device-not-available fault.
    fn enable_fpu(&self);

    /// Nanoseconds since the machine started.
    fn system_time(&self) -> u64;
    /// Nanoseconds since 1970 at system time 0.
    fn wall_clock_base(&self) -> u64;
    /// Asks for a timer interrupt on this CPU at a system time; `None` cancels.
    fn set_timer(&self, deadline: Option<u64>);

    /// Puts bytes on the machine's emergency console, which needs nothing set up.
    fn emergency_write(&self, bytes: &[u8]);
    /// Stops the machine.
    fn stop(&self, reason: StopReason) -> !;
}

/// The machine this kernel was built for; the choice at boot comes with the second implementation.
pub type Machine = Pv;

static MACHINE: Machine = Pv;

/// The machine.
#[inline(always)]
pub fn machine() -> &'static Machine {
    &MACHINE
}
