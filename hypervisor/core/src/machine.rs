//! What the decisions need of a processor and its devices. `hypervisor/machine` implements it on hardware,
//! `fake_machine` in memory.

use crate::addr::Mfn;
use crate::descriptor::Gate;
use crate::flush::Tlb;
use crate::memory::Memory;

/// Guest pages of descriptor table that a vcpu can show (Xen: 7168 entries before the reserved ones).
pub const GUEST_GDT_PAGES: usize = 14;

/// A segment base that a guest may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentBase {
    /// FS, as programs see it.
    Fs,
    /// GS, as programs see it.
    GsUser,
    /// GS, as a ring-3 guest kernel sees it; plain storage for a ring-1 kernel.
    GsKernel,
}

/// The processor the hypervisor is running on, as far as the running vcpu shapes it.
///
/// Every method acts on this processor at once; none can fail, because every argument has been checked:
/// addresses are canonical, descriptors sanitised, frames referenced.
pub trait Processor {
    /// Sets the stack on which ring 1 is entered from ring 3: TSS.RSP1 and the `syscall` frame.
    fn set_kernel_stack(&mut self, pointer: u64);

    /// Sets where `syscall` enters ring 1; `None` sends it to the hypervisor.
    fn set_syscall_entry(&mut self, entry: Option<u64>);

    /// Installs a gate that leads from ring 3 to ring 1 directly, or takes it away.
    fn set_direct_gate(&mut self, vector: u8, gate: Option<Gate>);

    /// Shows the vcpu's descriptor frames in the first pages of the GDT.
    fn show_gdt(&mut self, frames: &[Option<Mfn>; GUEST_GDT_PAGES]);

    /// Marks the ring-3 code segments of the reserved page present or not (invariant 8).
    fn set_user_code_present(&mut self, present: bool);

    /// Writes a segment base.
    fn set_segment_base(&mut self, which: SegmentBase, base: u64);

    /// Reads a segment base. A program may have changed it with `wrfsbase`, so the processor is asked.
    fn segment_base(&self, which: SegmentBase) -> u64;

    /// Loads GS with a selector in the user's view; the null selector when the given one cannot be loaded.
    fn load_user_gs(&mut self, selector: u16);

    /// Sets or clears CR0.TS.
    fn set_task_switched(&mut self, set: bool);

    /// Writes a debug register; 4 and 5 are never passed.
    fn set_debug_register(&mut self, index: u8, value: u64);

    /// Reads DR6, which a trap has just filled.
    fn debug_status(&self) -> u64;

    /// Flushes made through [`Tlb`] so far: of everything, and of one page.
    fn flushes(&self) -> [u64; 2];

    /// CPUID as the processor answers it: EAX, EBX, ECX, EDX.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4];

    /// The time-stamp counter.
    fn tsc(&self) -> u64;

    /// Asks for a timer interrupt after so many nanoseconds; `None` for no interrupt.
    fn arm_timer(&mut self, nanoseconds: Option<u64>);

    /// Writes bytes of a guest's console to the serial port.
    fn console_write(&mut self, bytes: &[u8]);

    /// The next byte typed on the serial port.
    fn console_read(&mut self) -> Option<u8>;
}

/// Everything below the decisions.
pub trait Machine: Memory + Tlb + Processor {}

impl<T: Memory + Tlb + Processor> Machine for T {}
