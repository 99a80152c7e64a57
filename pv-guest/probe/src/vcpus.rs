//! The other vcpus: functions that run there at the same time, each guarded as by [`guard`](crate::guard::guarded), on a stack
//! of the vcpu's own.
//!
//! A vcpu is initialised when it gets its first function (or by [`initialise`], with another context). Between functions it
//! is down, and so it has no part in what a case looks at. Its events are masked when a function begins.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use paravane_abi::hypercall as nr;
use paravane_abi::regs::rflags;
use paravane_abi::trap::{TrapFlags, TrapInfo};
use paravane_abi::vcpu::{
    VCPUOP_DOWN, VCPUOP_INITIALISE, VCPUOP_IS_UP, VCPUOP_UP, VGCF_IN_KERNEL, VcpuGuestContext, mfn_to_cr3,
};

use crate::guard::{Caught, EVENT, FAILSAFE, RETURNED, SYSCALL};
use crate::hypercall::{raw, vcpu_operation, yield_now};
use crate::memory::{PAGE, Page, root, vcpu_info};
use crate::{ring, say};

/// Vcpus there is room for, vcpu 0 among them.
pub const MAX: usize = 4;

/// Stubs, one for each vector and callback.
const STUBS: usize = SYSCALL as usize + 1;
/// Bytes of a stub.
const STUB: u64 = 16;
/// Words of the stack that are written down.
const WORDS: usize = 12;
/// Pages of a stack.
const STACK: usize = 4;

/// Times that the processor is given away before a vcpu is taken for dead: about half a minute.
const PATIENCE: u32 = 500_000;

/// States of a vcpu.
const IDLE: u64 = 0;
const GIVEN: u64 = 1;
const RUNNING: u64 = 2;
const DONE: u64 = 3;

/// What a vcpu works with; its GS base is the address.
#[repr(C)]
struct Record {
    /// The address, so that `gs:0` is a pointer.
    own: UnsafeCell<u64>,
    /// RSP to return to.
    rsp: UnsafeCell<u64>,
    /// Not 0 while a function runs.
    guarded: UnsafeCell<u64>,
    caught: UnsafeCell<Caught>,
    state: AtomicU64,
    function: AtomicU64,
    argument: AtomicU64,
}

// SAFETY: cells are written by the vcpu alone while its state is RUNNING, and read by vcpu 0 when it is DONE.
unsafe impl Sync for Record {}

impl Record {
    const fn new() -> Self {
        let caught = Caught { registers: [0; 15], rflags: 0, rsp: 0, vector: 0, pushed: [0; WORDS] };
        Self {
            own: UnsafeCell::new(0),
            rsp: UnsafeCell::new(0),
            guarded: UnsafeCell::new(0),
            caught: UnsafeCell::new(caught),
            state: AtomicU64::new(IDLE),
            function: AtomicU64::new(0),
            argument: AtomicU64::new(0),
        }
    }
}

static RECORDS: [Record; MAX] = [const { Record::new() }; MAX];
static STACKS: [[Page; STACK]; MAX] = [const { [const { Page::new() }; STACK] }; MAX];
/// A bit for each vcpu that is initialised.
static INITIALISED: AtomicU32 = AtomicU32::new(1);

global_asm!(
    ".pushsection .text.probe_vcpus, \"ax\", @progbits",
    ".balign 16",
    ".global probe_vcpu_stubs",
    "probe_vcpu_stubs:",
    ".set probe_vcpu_vector, 0",
    ".rept {stubs}",
    "    .byte 0x68", // push imm32
    "    .long probe_vcpu_vector",
    "    jmp probe_vcpu_catch",
    "    .balign 16",
    "    .set probe_vcpu_vector, probe_vcpu_vector + 1",
    ".endr",
    // [RSP] is the vector, what the hypervisor pushed lies above.
    "probe_vcpu_catch:",
    "    push rax",
    "    pushfq",
    "    mov rax, gs:[0]",
    "    lea rax, [rax + {caught}]",
    "    pop qword ptr [rax + {rflags}]",
    "    pop qword ptr [rax]",
    "    mov [rax + 8], rbx",
    "    mov [rax + 16], rcx",
    "    mov [rax + 24], rdx",
    "    mov [rax + 32], rsi",
    "    mov [rax + 40], rdi",
    "    mov [rax + 48], rbp",
    "    mov [rax + 56], r8",
    "    mov [rax + 64], r9",
    "    mov [rax + 72], r10",
    "    mov [rax + 80], r11",
    "    mov [rax + 88], r12",
    "    mov [rax + 96], r13",
    "    mov [rax + 104], r14",
    "    mov [rax + 112], r15",
    "    cld",
    "    pop qword ptr [rax + {vector}]",
    "    mov [rax + {rsp}], rsp",
    "    mov rsi, rsp",
    "    lea rdi, [rax + {pushed}]",
    "    mov ecx, {words}",
    "    rep movsq",
    "    mov eax, 1",
    "    mov rdx, gs:[0]",
    "    cmp qword ptr [rdx + {guarded}], 0",
    "    jne 2f",
    "    mov rdi, rdx",
    "    and rsp, -16",
    "    call probe_vcpu_unexpected",
    // fn(function: RDI, argument: RSI) -> RAX: 0 when the function returned.
    ".global probe_vcpu_guarded",
    "probe_vcpu_guarded:",
    "    push rbx",
    "    push rbp",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    pushfq",
    "    mov rdx, gs:[0]",
    "    mov [rdx + {saved_rsp}], rsp",
    "    mov qword ptr [rdx + {guarded}], 1",
    "    mov rax, rdi",
    "    mov rdi, rsi",
    "    call rax",
    "    mov rdx, gs:[0]",
    "    mov [rdx + {caught}], rax",
    "    xor eax, eax",
    "2:  mov rsp, [rdx + {saved_rsp}]",
    "    mov qword ptr [rdx + {guarded}], 0",
    "    popfq",
    "    pop r15",
    "    pop r14",
    "    pop r13",
    "    pop r12",
    "    pop rbp",
    "    pop rbx",
    "    ret",
    // The first instructions of a vcpu.
    ".global probe_vcpu_start",
    "probe_vcpu_start:",
    "    xor ebp, ebp",
    "    mov rdi, gs:[0]",
    "    call probe_vcpu_main",
    "    ud2",
    ".popsection",
    stubs = const STUBS,
    caught = const offset_of!(Record, caught),
    saved_rsp = const offset_of!(Record, rsp),
    guarded = const offset_of!(Record, guarded),
    rflags = const offset_of!(Caught, rflags),
    vector = const offset_of!(Caught, vector),
    rsp = const offset_of!(Caught, rsp),
    pushed = const offset_of!(Caught, pushed),
    words = const WORDS,
);

unsafe extern "C" {
    fn probe_vcpu_stubs();
    fn probe_vcpu_start();
    fn probe_vcpu_guarded(function: u64, argument: u64) -> u64;
}

/// What a vcpu does: its functions, one by one.
#[unsafe(no_mangle)]
extern "C" fn probe_vcpu_main(record: &'static Record) -> ! {
    let number = number_of(record);
    loop {
        if record.state.load(Ordering::SeqCst) != GIVEN {
            // Whoever gives it something brings it up, again and again until it has begun.
            raw(nr::HYPERVISOR_VCPU_OP, [VCPUOP_DOWN.into(), number, 0, 0, 0]);
            continue;
        }
        record.state.store(RUNNING, Ordering::SeqCst);
        mask_events(number as usize, true);
        let (function, argument) =
            (record.function.load(Ordering::SeqCst), record.argument.load(Ordering::SeqCst));
        // SAFETY: a function that `start` was given, and the stubs restore what the convention keeps.
        if unsafe { probe_vcpu_guarded(function, argument) } == 0 {
            // SAFETY: this vcpu writes the cell while the state is RUNNING.
            unsafe { (*record.caught.get()).vector = RETURNED };
        }
        record.state.store(DONE, Ordering::SeqCst);
    }
}

/// Reached when something is raised outside of a function.
#[unsafe(no_mangle)]
extern "C" fn probe_vcpu_unexpected(record: &'static Record) -> ! {
    // SAFETY: the stub has written it, on this vcpu.
    let caught = unsafe { record.caught.get().read_volatile() };
    say!("vcpu {}: {}", number_of(record), caught.seen(0, 0));
    panic!("unexpected on another vcpu")
}

fn number_of(record: &Record) -> u64 {
    let first = (&raw const RECORDS) as u64;
    (core::ptr::from_ref(record) as u64 - first) / size_of::<Record>() as u64
}

/// Masks or unmasks a vcpu's events, by the byte alone.
pub fn mask_events(vcpu: usize, masked: bool) {
    // SAFETY: a byte of the vcpu's part of the shared page, and one write of it.
    unsafe { (&raw mut (*vcpu_info(vcpu)).evtchn_upcall_mask).write_volatile(masked.into()) };
}

/// Whether the domain has a vcpu of this number.
pub fn exists(vcpu: u32) -> bool {
    raw(nr::HYPERVISOR_VCPU_OP, [VCPUOP_IS_UP.into(), vcpu.into(), 0, 0, 0]) >= 0
}

/// Whether a vcpu is up.
pub fn is_up(vcpu: u32) -> bool {
    raw(nr::HYPERVISOR_VCPU_OP, [VCPUOP_IS_UP.into(), vcpu.into(), 0, 0, 0]) == 1
}

/// Whether a vcpu is initialised, which happens once.
pub fn is_initialised(vcpu: u32) -> bool {
    INITIALISED.load(Ordering::SeqCst) & 1 << vcpu != 0
}

/// The context with which a vcpu begins: this kernel's tables, its record as GS base, the stubs of other vcpus as handlers.
#[must_use]
pub fn context(vcpu: u32) -> VcpuGuestContext {
    let place = vcpu as usize;
    let record = core::ptr::from_ref(&RECORDS[place]) as u64;
    // SAFETY: nobody else writes it, and it is always the same.
    unsafe { RECORDS[place].own.get().write_volatile(record) };
    let stub = |vector: u64| probe_vcpu_stubs as *const () as u64 + vector * STUB;
    let top = STACKS[place][0].address() + STACK as u64 * PAGE;
    let mut context = VcpuGuestContext { flags: VGCF_IN_KERNEL, ..Default::default() };
    context.user_regs.rip = probe_vcpu_start as *const () as u64;
    context.user_regs.rsp = top;
    context.user_regs.rflags = rflags::FIXED;
    context.user_regs.cs = ring::code();
    context.user_regs.ss = ring::stack();
    for (vector, trap) in (0..64).zip(&mut context.trap_ctxt) {
        *trap = TrapInfo::new(vector, TrapFlags::empty(), ring::code(), stub(vector.into()));
    }
    context.kernel_ss = ring::stack().into();
    context.kernel_sp = top;
    context.ctrlreg[3] = mfn_to_cr3(root());
    context.event_callback_eip = stub(EVENT);
    context.failsafe_callback_eip = stub(FAILSAFE);
    context.syscall_callback_eip = stub(SYSCALL);
    // In ring 1 kernel and programs have one GS base, which goes by the programs' name.
    *if ring::is_1() { &mut context.gs_base_user } else { &mut context.gs_base_kernel } = record;
    context
}

/// Initialises a vcpu: the call's result.
pub fn initialise(vcpu: u32, context: &mut VcpuGuestContext) -> i64 {
    let result = vcpu_operation(VCPUOP_INITIALISE, vcpu, context);
    if result == 0 {
        INITIALISED.fetch_or(1 << vcpu, Ordering::SeqCst);
    }
    result
}

/// Brings a vcpu up: the call's result.
pub fn up(vcpu: u32) -> i64 {
    raw(nr::HYPERVISOR_VCPU_OP, [VCPUOP_UP.into(), vcpu.into(), 0, 0, 0])
}

/// Has a vcpu run a function, and returns once it has begun.
///
/// The function is called with the argument, runs while this vcpu goes on, and must leave memory alone that is not its own to
/// write. What it raises ends it.
pub fn start(vcpu: u32, function: extern "C" fn(u64) -> u64, argument: u64) {
    let record = &RECORDS[vcpu as usize];
    let state = record.state.load(Ordering::SeqCst);
    assert!(vcpu != 0 && (state == IDLE || state == DONE), "vcpu {vcpu} has something to do");
    if !is_initialised(vcpu) {
        let result = initialise(vcpu, &mut context(vcpu));
        assert!(result == 0, "vcpu {vcpu} cannot be initialised: {result}");
    }
    record.function.store(function as usize as u64, Ordering::SeqCst);
    record.argument.store(argument, Ordering::SeqCst);
    record.state.store(GIVEN, Ordering::SeqCst);
    for _ in 0..PATIENCE {
        let result = up(vcpu);
        assert!(result == 0, "vcpu {vcpu} does not come up: {result}");
        if record.state.load(Ordering::SeqCst) != GIVEN {
            return;
        }
        yield_now();
    }
    panic!("vcpu {vcpu} does not run");
}

/// Whether a vcpu has come to the end of its function.
pub fn is_done(vcpu: u32) -> bool {
    RECORDS[vcpu as usize].state.load(Ordering::SeqCst) == DONE
}

/// Waits for the end of a vcpu's function, and until the vcpu is down: what the function raised, or that it returned
/// ([`RETURNED`], with its result as RAX). Nothing when it goes on and on.
pub fn finish(vcpu: u32) -> Option<Caught> {
    for _ in 0..PATIENCE {
        if is_done(vcpu) && !is_up(vcpu) {
            // SAFETY: the vcpu has written it, and is down.
            return Some(unsafe { RECORDS[vcpu as usize].caught.get().read_volatile() });
        }
        yield_now();
    }
    None
}

/// Runs a function on a vcpu to its end.
pub fn run(vcpu: u32, function: extern "C" fn(u64) -> u64, argument: u64) -> Option<Caught> {
    start(vcpu, function, argument);
    finish(vcpu)
}
