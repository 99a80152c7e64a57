//! The other vcpus: each runs what vcpu 0 gives it, on a stack of its own, with stubs of its own.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use paravane_abi::hypercall as nr;
use paravane_abi::vcpu::{
    VCPUOP_INITIALISE, VCPUOP_IS_UP, VCPUOP_UP, VGCF_IN_KERNEL, VcpuGuestContext, mfn_to_cr3,
};

use crate::entries::{kernel_stack, traps};
use crate::guard::{self, EXCEPTIONS, VCPUS, stub};
use crate::hypercall::raw;
use crate::memory::{event_mask, memory};
use crate::ring;

/// Bytes of a vcpu's stack.
const STACK: usize = 32 * 1024;

#[repr(C, align(4096))]
struct Stacks(UnsafeCell<[[u8; STACK]; VCPUS]>);

// SAFETY: each vcpu has its own.
unsafe impl Sync for Stacks {}

#[unsafe(link_section = ".bss.page")]
static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK]; VCPUS]));

struct Context(UnsafeCell<VcpuGuestContext>);

// SAFETY: vcpu 0 alone fills it, one vcpu after the other.
unsafe impl Sync for Context {}

/// All bytes zero, which is what every field begins with.
static CONTEXT: Context = Context(UnsafeCell::new(
    // SAFETY: plain numbers, for which zero is a value.
    unsafe { core::mem::zeroed() },
));

/// What a vcpu is given to do: a function of its number, or 0.
static WORK: [AtomicUsize; VCPUS] = [const { AtomicUsize::new(0) }; VCPUS];
/// Set when a vcpu's work is to end.
static STOP: AtomicBool = AtomicBool::new(false);
/// Vcpus that run, this one among them.
static RUNNING: AtomicUsize = AtomicUsize::new(1);

global_asm!(
    ".pushsection .text.secondary, \"ax\", @progbits",
    ".global secondary_start",
    "secondary_start:",
    "    cld",
    "    xor ebp, ebp",
    "    call secondary_main",
    "    ud2",
    ".popsection",
);

unsafe extern "C" {
    fn secondary_start();
}

/// What another vcpu is told to do: it gets its number, and ends when [`stopping`] says so.
pub type Work = fn(usize);

#[unsafe(no_mangle)]
extern "C" fn secondary_main(vcpu: usize) -> ! {
    loop {
        let work = WORK[vcpu].load(Ordering::Acquire);
        if work == 0 {
            spin_loop();
            continue;
        }
        // SAFETY: only `give` stores here, and what it stores is a `Work`.
        let work: Work = unsafe { core::mem::transmute(work) };
        work(vcpu);
        WORK[vcpu].store(0, Ordering::Release);
    }
}

fn start(vcpu: usize) -> bool {
    // SAFETY: vcpu 0 alone comes here, and the hypervisor copies the context.
    let context = unsafe { &mut *CONTEXT.0.get() };
    context.flags = VGCF_IN_KERNEL;
    context.user_regs.rip = secondary_start as *const () as u64;
    context.user_regs.cs = ring::code();
    context.user_regs.ss = ring::stack();
    context.user_regs.rflags = 0x202;
    context.user_regs.rsp = STACKS.0.get() as u64 + ((vcpu + 1) * STACK) as u64;
    context.user_regs.rdi = vcpu as u64;
    for trap in traps(vcpu).iter().filter(|trap| trap.address != 0) {
        context.trap_ctxt[usize::from(trap.vector)] = *trap;
    }
    context.kernel_ss = ring::stack().into();
    context.kernel_sp = kernel_stack(vcpu);
    context.ctrlreg[3] = mfn_to_cr3(memory().l4);
    // The programs' table; in ring 1 there is none of their own.
    context.ctrlreg[1] = if ring::is_3() { mfn_to_cr3(memory().user_l4) } else { 0 };
    context.event_callback_eip = stub(vcpu, EXCEPTIONS);
    context.syscall_callback_eip = guard::system_call_stub(vcpu);
    context.failsafe_callback_eip = stub(vcpu, EXCEPTIONS + 3);
    guard::initialise(vcpu, core::ptr::from_ref(event_mask(vcpu)) as u64);
    event_mask(vcpu).store(1, Ordering::SeqCst);
    let pointer = CONTEXT.0.get() as u64;
    let call = |command: u32, pointer: u64| {
        raw(nr::HYPERVISOR_VCPU_OP, [command.into(), vcpu as u64, pointer, 0, 0])
    };
    call(VCPUOP_IS_UP, 0) == 0 && call(VCPUOP_INITIALISE, pointer) == 0 && call(VCPUOP_UP, 0) == 0
}

/// Starts the vcpus that there are; how many run, this one among them.
pub fn start_all() -> usize {
    let running = RUNNING.load(Ordering::Relaxed);
    if running > 1 {
        return running;
    }
    let mut count = 1;
    while count < VCPUS && start(count) {
        count += 1;
    }
    RUNNING.store(count, Ordering::Relaxed);
    count
}

/// Whether the work is to end.
pub fn stopping() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Gives all other vcpus something to do.
pub fn give(work: Work) {
    STOP.store(false, Ordering::Relaxed);
    for slot in &WORK[1..RUNNING.load(Ordering::Relaxed)] {
        slot.store(work as usize, Ordering::Release);
    }
}

/// Has them end it, and waits.
pub fn gather() {
    STOP.store(true, Ordering::Relaxed);
    for slot in &WORK[1..RUNNING.load(Ordering::Relaxed)] {
        while slot.load(Ordering::Acquire) != 0 {
            spin_loop();
        }
    }
}
