//! Every privileged act of this kernel, behind one trait.
//!
//! `native` implements [`CpuOps`] by the processor's own instructions, `pv` by asking a hypervisor. The machines on which it
//! asks are each described in a file of their own, so that the files can be read side by side: [`ring1`], Paravane's
//! extension, and [`ring3`], Xen's own ABI. The kernel finds out which it is on before it does anything else: a bare machine
//! and a hypervisor enter it at different places. Whatever depends on the machine asks its [`Facts`].

pub mod hypercall;
pub mod native;
pub mod pv;
mod ring1;
mod ring3;
mod shared;

use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use paravane_abi::ring1::Ring1Counters;

use crate::arch;
use crate::cpu::CpuSet;
use crate::mm::addr::Mfn;

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

/// The root tables of an address space.
#[derive(Clone, Copy, Debug)]
pub struct Roots {
    /// The one the kernel runs on, and programs too where they have none of their own.
    pub kernel: Mfn,
    /// The one programs run on, without the kernel's half.
    pub user: Option<Mfn>,
}

/// What changes when another process runs.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Its root tables.
    pub roots: Roots,
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
pub trait CpuOps: Sync {
    /// Loads root tables.
    fn load_base(&self, roots: Roots);
    /// Loads root tables, kernel stack and segment bases of the next process, together.
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
    /// Has the next use of the FPU raise that fault.
    fn take_fpu(&self);
    /// Sets a debug register.
    fn set_debug_register(&self, number: u32, value: u64) -> Result<(), Refused>;
    /// Handles an interrupt, or the upcall that stands for those that are pending; `vector` is the frame's.
    fn interrupt(&self, vector: u64);

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

/// Selectors of code and stack.
#[derive(Clone, Copy, Debug)]
pub struct Selectors {
    /// CS.
    pub code: u16,
    /// SS.
    pub stack: u16,
}

/// Where programs enter the kernel, and how it returns to whatever a frame describes.
pub struct Entries {
    /// The stub of an exception.
    pub trap: fn(usize) -> u64,
    /// The entry of `syscall`.
    pub syscall: unsafe extern "C" fn(),
    /// The entry of `int 0x80`.
    pub int80: unsafe extern "C" fn(),
    /// The last instructions of a return, RSP at the return frame.
    pub exit: unsafe extern "C" fn(),
}

/// What is so on a machine, as far as the rest of the kernel has to know.
pub struct Facts {
    /// Its name in the design's table.
    pub name: &'static str,
    /// The ring this kernel runs in, as far as it can be made to believe it.
    pub ring: u32,
    /// The ring that its code selector tells, whatever it is made to believe: reading CS traps nowhere.
    pub shown_ring: u32,
    /// The selectors this kernel runs with.
    pub selectors: Selectors,
    /// What frames show of them when they interrupted this kernel, and what a return to it asks for.
    pub shown: Selectors,
    /// The selectors programs run with.
    pub user: Selectors,
    /// There is a hypervisor that takes hypercalls: event channels, grants, further vcpus, memory to be given and taken.
    pub hypercalls: bool,
    /// The machine checks what is in page tables, so nobody else may write them.
    pub checked_tables: bool,
    /// Programs run on a root table of their own, because paging does not keep them from the kernel's half.
    pub user_roots: bool,
    /// Every entry must mask events: otherwise what interrupts a program leaves them unmasked.
    pub entries_mask: bool,
    /// The stubs.
    pub entries: Entries,
    /// Done once, before anything else is asked of the machine.
    pub start: fn(),
    /// `cpuid` of a leaf and subleaf as this kernel is to see it: EAX, EBX, ECX, EDX.
    pub cpuid: fn(u32, u32) -> [u32; 4],
    /// The hypervisor's counts of what it did for this guest, where it counts.
    pub counters: Option<fn() -> Ring1Counters>,
    /// Pages of the hypervisor's that no program may touch, by name.
    pub hidden: &'static [(&'static str, u64)],
    /// What the lines of the self-test about this kernel's own ring begin with.
    pub test_prefix: &'static str,
    /// Parts of the self-test that are about something this machine does not have, and why it has not.
    pub not_applicable: &'static [(&'static str, &'static str)],
}

impl Facts {
    /// Why a part of the self-test is not applicable; `None` when it is.
    pub fn why_not(&self, part: &str) -> Option<&'static str> {
        self.not_applicable.iter().find(|(name, _)| *name == part).map(|(_, why)| *why)
    }
}

/// A machine: its acts, and what is so on it.
pub struct Machine {
    ops: &'static dyn CpuOps,
    facts: &'static Facts,
}

static MACHINE: AtomicPtr<Machine> = AtomicPtr::new(ptr::from_ref(&ring1::MACHINE).cast_mut());

/// Finds out on which machine this kernel runs that a hypervisor has started: the ring that it was put into says so.
/// Called once, before anything else.
pub fn choose() {
    let ring1 = arch::current_ring() == ring1::MACHINE.facts.ring;
    set(if ring1 { &ring1::MACHINE } else { &ring3::MACHINE });
}

/// This kernel was entered on a bare machine, or on what is meant to look like one. Called once, before anything else.
pub fn choose_native() {
    let machine = &native::MACHINE;
    set(if arch::current_ring() == machine.facts.shown_ring { machine } else { &native::EMULATED });
}

/// Names the machine, once, before anything else.
fn set(machine: &'static Machine) {
    MACHINE.store(ptr::from_ref(machine).cast_mut(), Ordering::Relaxed);
    arch::entry::set_exit(machine.facts.entries.exit);
    (machine.facts.start)();
}

#[inline(always)]
fn chosen() -> &'static Machine {
    // SAFETY: the pointer is that of one of the statics.
    unsafe { &*MACHINE.load(Ordering::Relaxed) }
}

/// The machine.
#[inline(always)]
pub fn machine() -> &'static dyn CpuOps {
    chosen().ops
}

/// What is so on the machine.
#[inline(always)]
pub fn facts() -> &'static Facts {
    chosen().facts
}
