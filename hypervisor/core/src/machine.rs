//! What the decisions need of a processor and its devices. `hypervisor/machine` implements it on hardware,
//! `fake_machine` in memory.

use crate::addr::{DomainId, Mfn};
use crate::descriptor::Gate;
use crate::flush::Tlb;
use crate::fpu::FpuState;
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

/// Which of a guest's tables it runs on, and which of its GS bases is the live one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Live {
    /// One table serves kernel and programs, and GS is the programs': a kernel in ring 1.
    #[default]
    Shared,
    /// The kernel's of each: a kernel in ring 3.
    Kernel,
    /// The programs' of each, under a kernel in ring 3.
    User,
}

/// The processors of the machine, and the one the hypervisor is running on, as far as the running vcpu shapes
/// it.
///
/// Every method but those that name a processor acts on this processor at once; none can fail, because every argument has been checked:
/// addresses are canonical, descriptors sanitised, frames referenced.
pub trait Processor {
    /// Processors that have come up, numbered from 0.
    fn cpus(&self) -> usize;

    /// The number of the processor this runs on.
    fn this_cpu(&self) -> usize;

    /// Makes another processor enter the hypervisor soon and look what it is to do. It does not wait.
    fn interrupt(&self, cpu: usize);

    /// Says which half of the guest runs from the next return on.
    fn set_live(&mut self, live: Live);

    /// Says whose vcpu this processor is about to run: flushes for it come here. `None`: nobody's.
    fn set_running(&mut self, vcpu: Option<(DomainId, u32)>);

    /// Saves all state components that are offered, whatever XCR0 holds; CR0.TS must be clear.
    fn save_fpu(&mut self, state: &mut FpuState);

    /// Loads all components that are offered, and XCR0; CR0.TS must be clear. The value is valid, and within what is
    /// offered.
    fn load_fpu(&mut self, state: &FpuState, xcr0: u64);

    /// Sets XCR0 alone, to a value as for [`Self::load_fpu`].
    fn set_xcr0(&mut self, xcr0: u64);

    /// Sets those bits of CR4 that act as the guest's kernel chose them, TSD and FSGSBASE, to those of a value. The
    /// processor has what the value asks for.
    fn set_guest_cr4(&mut self, value: u64);

    /// DS, ES, FS and GS as they are.
    fn data_selectors(&self) -> [u16; 4];

    /// Loads DS, ES, FS and GS. Each is null or names a segment that can be loaded from the GDT that is shown.
    /// Loading FS or GS changes its base, so bases are set afterwards.
    fn load_data_selectors(&mut self, selectors: [u16; 4]);

    /// Writes TSC_AUX, where the processor has it.
    fn set_tsc_aux(&mut self, value: u32);

    /// The word at `USER_RSP_SLOT`: RSP of the program whose `syscall` was the latest on this processor.
    fn user_rsp(&self) -> u64;

    /// Sets that word, which a kernel in ring 1 may be about to read.
    fn set_user_rsp(&mut self, rsp: u64);

    /// Sets the stack on which ring 1 is entered from ring 3: TSS.RSP1 and the `syscall` frame.
    fn set_kernel_stack(&mut self, pointer: u64);

    /// Sets where `syscall` enters ring 1; `None` sends it to the hypervisor.
    fn set_syscall_entry(&mut self, entry: Option<u64>);

    /// Installs a gate that leads from ring 3 to ring 1 directly, or takes it away.
    fn set_direct_gate(&mut self, vector: u8, gate: Option<Gate>);

    /// Says whether the guest knows of the hypervisor. One that does not has no hypercall, the interrupt they are made by
    /// being refused to ring 1 like any other; it sees no M2P; and its kernel executes pages that are for programs too, as a
    /// processor without SMEP lets it.
    fn show_hypervisor(&mut self, shown: bool);

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

    /// MSR 0x8b, the revision of the microcode. Asked of Intel's and AMD's processors alone, which all have it.
    fn microcode(&self) -> u64;

    /// The time-stamp counter.
    fn tsc(&self) -> u64;

    /// Asks for a timer interrupt after so many nanoseconds; `None` for no interrupt.
    fn arm_timer(&mut self, nanoseconds: Option<u64>);

    /// Writes bytes of the guest that has the console to the serial port, as they are.
    fn console_write(&mut self, bytes: &[u8]);

    /// Writes whole lines of a guest's that does not have the console, each with its end: beside a line that stands
    /// unfinished on the serial port, not in it.
    fn console_lines(&mut self, lines: &[u8]);

    /// The next byte typed on the serial port.
    fn console_read(&mut self) -> Option<u8>;
}

/// Everything below the decisions.
pub trait Machine: Memory + Tlb + Processor {}

impl<T: Memory + Tlb + Processor> Machine for T {}
