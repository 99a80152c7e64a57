//! The machine `native`: no hypervisor. The kernel is in ring 0 of a PC and does every privileged act by the processor's own
//! instruction: the columns of the other machines beside this one show what each of these became.
//!
//! One CPU. Interrupts are off in the kernel but where it waits for one, as on the other machines the event mask stays
//! set; they are switched by `cli` and `sti`, never by `popf`, which does nothing where this kernel is not in ring 0 and
//! nobody hears of it. For the same reason frames are made of constants, not of CS as it reads.

mod boot;
mod calibrate;
mod control;
mod descriptors;
mod entry;
mod exit;
mod pic;
mod pit;
pub mod serial;
mod tables;

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use x86_64::registers::model_specific::Msr;

use super::{
    Context, CpuOps, Entries, Facts, Machine, MapOp, Refused, Roots, SegmentBase, Selectors, StopReason,
    TrapEntry,
};
use crate::arch::{cpuid, entry as shared_entry};
use crate::cpu::{self, CpuSet};
use crate::mm::addr::USER_END;
pub use descriptors::{LOCAL_TABLE, TASK, TASK_SIZE, pointers as table_pointers};
pub use exit::configure as configure_exit;
pub use tables::{image_entry, load_root};

/// Selectors of the descriptor table: `sysret` wants the program's stack segment right before its code segment, and both
/// behind a place that it does not use.
pub const KERNEL: Selectors = Selectors { code: 0x08, stack: 0x10 };
pub const USER: Selectors = Selectors { code: 0x23, stack: 0x1b };

/// The machine.
pub static MACHINE: Machine = Machine { ops: &Native, facts: &FACTS };
/// The machine `trap`: a hypervisor that pretends to be that machine, and that this kernel knows by nothing but CS. It does
/// nothing else on it than on the bare one.
pub static EMULATED: Machine = Machine { ops: &Native, facts: &EMULATED_FACTS };

const NO_HYPERVISOR: &str = "there is no hypervisor";

static FACTS: Facts = facts("native", 0);
static EMULATED_FACTS: Facts = facts("trap", 1);

const fn facts(name: &'static str, shown_ring: u32) -> Facts {
    Facts {
        name,
        ring: 0,
        shown_ring,
        selectors: KERNEL,
        shown: KERNEL,
        user: USER,
        hypercalls: false,
        checked_tables: false,
        user_roots: false,
        // Every gate is one that masks.
        entries_mask: false,
        entries: Entries {
            syscall: entry::native_syscall,
            int80: shared_entry::int80_entry,
            exit: shared_entry::exit_by_iretq,
            trap: entry::trap_stub,
        },
        start,
        cpuid: cpuid::plain,
        counters: None,
        hidden: &[],
        test_prefix: "priv.ring0",
        not_applicable: &[
            ("entry-area", NO_HYPERVISOR),
            ("m2p", NO_HYPERVISOR),
            ("ldt", "this kernel has none, and asks nobody for one"),
            ("nmi", "this kernel cannot send itself one"),
            ("attack", NO_HYPERVISOR),
            ("registers.hypercalls", NO_HYPERVISOR),
            ("registers.hypercall-instruction", NO_HYPERVISOR),
            ("registers.event", NO_HYPERVISOR),
            ("registers.iret", NO_HYPERVISOR),
            ("bench.null-hypercall", NO_HYPERVISOR),
        ],
    }
}

fn start() {
    control::init();
    descriptors::init();
    pic::init();
    calibrate::init();
}

/// A bare machine.
struct Native;

/// Whether interrupts are off as far as this kernel has switched them. RFLAGS.IF is not asked: outside ring 0 it reads as
/// what the processor's owner has made it.
static MASKED: AtomicBool = AtomicBool::new(true);
/// The system time of the timer's deadline; `u64::MAX` for none.
static DEADLINE: AtomicU64 = AtomicU64::new(u64::MAX);
/// Interrupts taken.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

const MSR_FS_BASE: u32 = 0xc000_0100;
const MSR_GS_BASE: u32 = 0xc000_0101;
/// Vectors of interrupts begin here, behind those of exceptions.
const FIRST_IRQ: u64 = 0x20;
const EINVAL: i64 = -22;

/// Interrupts taken since boot.
pub fn interrupts() -> u64 {
    INTERRUPTS.load(Ordering::Relaxed)
}

fn set_base(register: u32, base: u64) {
    // SAFETY: the base of a segment that this kernel does not use; the caller has checked that it is canonical.
    unsafe { Msr::new(register).write(base) };
}

fn switch_interrupts(on: bool) {
    MASKED.store(!on, Ordering::Relaxed);
    // SAFETY: every vector that can come has a gate, and kernel code that allows interrupts expects them.
    unsafe {
        if on {
            // The instruction behind `sti` is still executed without.
            asm!("sti", "nop", options(nostack));
        } else {
            asm!("cli", options(nostack));
        }
    }
}

/// The timer's interrupt. The counter reaches no further than 55 ms: a deadline that is further away is gone on with.
fn timer_expired() {
    let deadline = DEADLINE.load(Ordering::Relaxed);
    match deadline.checked_sub(calibrate::system_time()) {
        None | Some(0) => {
            DEADLINE.store(u64::MAX, Ordering::Relaxed);
            crate::process::tick();
        }
        Some(_) if deadline == u64::MAX => {}
        Some(left) => pit::start(left),
    }
}

impl CpuOps for Native {
    fn load_base(&self, roots: Roots) {
        load_root(roots.kernel);
        cpu::this().set_root(roots.kernel);
    }

    fn switch_context(&self, next: &Context) {
        descriptors::set_kernel_stack(next.kernel_stack);
        self.load_base(next.roots);
        for (register, base) in [(MSR_FS_BASE, next.fs_base), (MSR_GS_BASE, next.gs_base)] {
            if let Some(base) = base {
                set_base(register, base);
            }
        }
    }

    fn set_kernel_stack(&self, top: u64) {
        descriptors::set_kernel_stack(top);
    }

    fn map(&self, ops: &[MapOp]) -> Result<(), Refused> {
        ops.iter().for_each(tables::apply);
        Ok(())
    }

    fn flush_one(&self, va: u64, _: CpuSet) {
        tables::flush_one(va);
    }

    fn flush_all(&self, _: CpuSet) {
        tables::flush_all();
    }

    fn fault_address(&self) -> u64 {
        control::cr2()
    }

    fn mask_events(&self) -> bool {
        let was_masked = MASKED.load(Ordering::Relaxed);
        switch_interrupts(false);
        was_masked
    }

    fn unmask_events(&self) {
        switch_interrupts(true);
    }

    fn restore_events(&self, was_masked: bool) {
        if !was_masked {
            switch_interrupts(true);
        }
    }

    fn idle(&self) {
        // SAFETY: as for `switch_interrupts`. Nothing comes between `sti` and `hlt`, so no interrupt is waited for in vain.
        unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
    }

    fn yield_cpu(&self) {
        core::hint::spin_loop();
    }

    fn set_traps(&self, traps: &[TrapEntry]) {
        traps.iter().for_each(descriptors::set_gate);
    }

    fn set_entries(&self, _event: u64, _failsafe: u64, syscall: u64) {
        control::set_syscall_entry(syscall);
    }

    fn set_segment_base(&self, which: SegmentBase, base: u64) -> Result<(), Refused> {
        if base >= USER_END {
            return Err(Refused(EINVAL));
        }
        let register = match which {
            SegmentBase::Fs => MSR_FS_BASE,
            SegmentBase::Gs => MSR_GS_BASE,
        };
        set_base(register, base);
        Ok(())
    }

    fn enable_fpu(&self) {
        control::clear_task_switched();
    }

    fn take_fpu(&self) {
        control::set_task_switched();
    }

    fn set_debug_register(&self, number: u32, value: u64) -> Result<(), Refused> {
        if control::set_debug_register(number, value) { Ok(()) } else { Err(Refused(EINVAL)) }
    }

    fn interrupt(&self, vector: u64) {
        let line = (vector - FIRST_IRQ) as u8;
        if !pic::acknowledge(line) {
            return;
        }
        INTERRUPTS.fetch_add(1, Ordering::Relaxed);
        match line {
            pit::IRQ => timer_expired(),
            serial::IRQ => crate::console::on_event(),
            _ => {}
        }
    }

    fn system_time(&self) -> u64 {
        calibrate::system_time()
    }

    fn wall_clock_base(&self) -> u64 {
        calibrate::wall_clock_base()
    }

    fn set_timer(&self, deadline: Option<u64>) {
        DEADLINE.store(deadline.unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(deadline) = deadline {
            pit::start(deadline.saturating_sub(calibrate::system_time()));
        }
    }

    fn emergency_write(&self, bytes: &[u8]) {
        serial::write(bytes);
    }

    fn stop(&self, reason: StopReason) -> ! {
        exit::leave(reason)
    }
}
