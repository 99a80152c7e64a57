//! Runs what may go wrong: code of any ring with any registers, and hypercalls with any arguments. Whatever happens,
//! exception, event or system call, comes back here as a value.
//!
//! Every way into this kernel leads to a stub that stores what the hypervisor or the processor passed, in a [`Guard`] of
//! the vcpu, and goes back to where the guarded code was started. Each vcpu has stubs and a trap table of its own, so a
//! stub knows its guard without a register that guarded code could have changed.
//!
//! In ring 1 guarded code starts by this kernel's own `iretq`. In ring 3 it starts by the hypercall, since the hypervisor
//! must know which half runs; a system call comes with a frame there, by a stub like an exception's.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use paravane_abi::hypercall::HYPERVISOR_IRET;
use paravane_abi::ring1::{USER_CS64, USER_RSP_SLOT, USER_SS};

use crate::ring::{self, Half};

/// Vcpus that have stubs.
pub const VCPUS: usize = 4;
/// Exceptions with a stub.
pub const EXCEPTIONS: usize = 32;
/// [`Guard::vector`] when nothing was raised: a hypercall that returned.
pub const NOTHING: u64 = u64::MAX;
/// [`Guard::vector`] of an event upcall.
pub const EVENT: u64 = 0x100;
/// [`Guard::vector`] of a `syscall`.
pub const SYSCALL: u64 = 0x101;
/// [`Guard::vector`] of a 32-bit `syscall`.
pub const SYSCALL32: u64 = 0x102;
/// [`Guard::vector`] of the failsafe callback.
pub const FAILSAFE: u64 = 0x103;
/// [`Guard::vector`] of an `int 0x80`, by direct gate in ring 1.
pub const INT80: u64 = 0x180;

/// All general registers but RSP.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Regs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
}

/// What guarded code starts with: the frame of an `iretq`, and registers.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Start {
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub regs: Regs,
}

impl Start {
    /// The kernel at an address with a stack.
    pub fn kernel(rip: u64, rsp: u64) -> Self {
        let (cs, ss) = (ring::shown_code(), ring::stack().into());
        Self { rip, cs, rflags: 0x202, rsp, ss, regs: Regs::default() }
    }

    /// A 64-bit program at an address with a stack.
    pub fn user(rip: u64, rsp: u64) -> Self {
        let (cs, ss) = (USER_CS64.into(), USER_SS.into());
        Self { rip, cs, rflags: 0x202, rsp, ss, regs: Regs::default() }
    }
}

/// What a stub stored, and where it goes back to.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Guard {
    armed: u64,
    core_sp: u64,
    /// Where the vcpu's event mask is.
    mask: u64,
    /// The exception, or one of the numbers above.
    pub vector: u64,
    /// The error code, or 0; DS for the failsafe callback.
    pub error: u64,
    /// RIP in the frame.
    pub rip: u64,
    /// CS in the frame, the event mask beside it.
    pub cs: u64,
    /// RFLAGS in the frame.
    pub rflags: u64,
    /// RSP in the frame.
    pub rsp: u64,
    /// SS in the frame.
    pub ss: u64,
    /// RFLAGS that the stub started with.
    pub entry_flags: u64,
    /// RSP that the stub started with.
    pub entry_sp: u64,
    /// The registers of the guarded code.
    pub regs: Regs,
}

impl Guard {
    const EMPTY: Self = Self {
        armed: 0,
        core_sp: 0,
        mask: 0,
        vector: NOTHING,
        error: 0,
        rip: 0,
        cs: 0,
        rflags: 0,
        rsp: 0,
        ss: 0,
        entry_flags: 0,
        entry_sp: 0,
        regs: Regs {
            rax: 0,
            rbx: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            rbp: 0,
            r8: 0,
            r9: 0,
            r10: 0,
            r11: 0,
            r12: 0,
            r13: 0,
            r14: 0,
            r15: 0,
        },
    };

    /// Who was interrupted.
    pub fn half(&self) -> Half {
        Half::of(self.cs)
    }
}

#[repr(C)]
struct Guards(UnsafeCell<[Guard; VCPUS]>);

// SAFETY: each vcpu uses the guard of its own number.
unsafe impl Sync for Guards {}

#[unsafe(no_mangle)]
static guards: Guards = Guards(UnsafeCell::new([Guard::EMPTY; VCPUS]));

unsafe extern "C" {
    /// Addresses of the stubs: for each vcpu the exceptions, then event, syscall, syscall32, failsafe, int80, and the forms
    /// of syscall and int80 that find a bounce frame.
    static stub_table: [[u64; EXCEPTIONS + 7]; VCPUS];
    fn guarded_start(guard: *mut Guard, start: *const Start);
    fn guarded_hypercall(guard: *mut Guard, regs: *const Regs);
}

/// A vcpu's stub: an exception's number, or [`EXCEPTIONS`] and up for event, `syscall`, 32-bit `syscall`, failsafe and
/// `int 0x80`.
pub fn stub(vcpu: usize, index: usize) -> u64 {
    // SAFETY: a constant array in this file's assembly; the indices are checked.
    unsafe { stub_table[vcpu][index] }
}

/// The stub for `syscall` in the ring this kernel runs in.
pub fn system_call_stub(vcpu: usize) -> u64 {
    stub(vcpu, EXCEPTIONS + if ring::is_3() { 5 } else { 1 })
}

/// The stub for `int 0x80` in the ring this kernel runs in.
pub fn int80_stub(vcpu: usize) -> u64 {
    stub(vcpu, EXCEPTIONS + if ring::is_3() { 6 } else { 4 })
}

fn guard(vcpu: usize) -> *mut Guard {
    assert!(vcpu < VCPUS);
    // SAFETY: within the array.
    unsafe { guards.0.get().cast::<Guard>().add(vcpu) }
}

/// Says where a vcpu's event mask is: guarded code may clear it, and what comes back has it set.
pub fn initialise(vcpu: usize, mask: u64) {
    // SAFETY: the vcpu runs nothing guarded now.
    unsafe { (&raw mut (*guard(vcpu)).mask).write_volatile(mask) };
}

/// Starts guarded code on a vcpu (the one that calls) and says how it ended.
pub fn run_on(vcpu: usize, start: &Start) -> Guard {
    let guard = guard(vcpu);
    // SAFETY: every way back into this kernel restores what this function's caller needs; what the guarded code does
    // to memory is the test's affair.
    unsafe {
        guarded_start(guard, start);
        guard.read_volatile()
    }
}

/// Starts guarded code on vcpu 0.
pub fn run(start: &Start) -> Guard {
    run_on(0, start)
}

/// A hypercall on a vcpu, guarded: number in RAX, arguments in RDI, RSI, RDX, R10, R8, R9.
pub fn hypercall_on(vcpu: usize, regs: &Regs) -> Guard {
    let guard = guard(vcpu);
    // SAFETY: as in `run_on`.
    unsafe {
        guarded_hypercall(guard, regs);
        guard.read_volatile()
    }
}

/// A guarded hypercall on vcpu 0.
pub fn hypercall(number: u64, arguments: [u64; 6]) -> Guard {
    let [rdi, rsi, rdx, r10, r8, r9] = arguments;
    hypercall_on(0, &Regs { rax: number, rdi, rsi, rdx, r10, r8, r9, ..Regs::default() })
}

/// Called by the stubs when nothing was guarded: this kernel itself is broken.
#[unsafe(no_mangle)]
extern "C" fn unguarded(guard: &Guard) -> ! {
    crate::print::step();
    crate::print::line(format_args!("attack: unguarded entry: {guard:x?}"));
    crate::hypercall::shutdown(paravane_abi::sched::SHUTDOWN_CRASH)
}

const fn reg(offset: usize) -> usize {
    offset_of!(Guard, regs) + offset
}

global_asm!(
    // Vector and frame pointer in hand: the guard in R11, the frame's RIP word at RCX. Flags still as at entry.
    ".macro TO_GUARD cpu",
    "    mov [rip + guards + \\cpu * {size} + {entry_sp}], rsp",
    "    lea rsp, [rip + stub_stacks + \\cpu * 4096 + 4096]",
    "    pushfq",
    "    pop qword ptr [rip + guards + \\cpu * {size} + {entry_flags}]",
    ".endm",
    // All of a `Regs` at RDI but RAX, RCX and R11.
    ".macro LOAD_REGISTERS",
    "    mov rbx, [rdi + 8]",
    "    mov rdx, [rdi + 24]",
    "    mov rsi, [rdi + 32]",
    "    mov rbp, [rdi + 48]",
    "    mov r8, [rdi + 56]",
    "    mov r9, [rdi + 64]",
    "    mov r10, [rdi + 72]",
    "    mov r12, [rdi + 88]",
    "    mov r13, [rdi + 96]",
    "    mov r14, [rdi + 104]",
    "    mov r15, [rdi + 112]",
    "    mov rdi, [rdi + 40]",
    ".endm",
    ".macro STUB cpu, vec, words",
    "stub_\\cpu\\()_\\vec:",
    "    TO_GUARD \\cpu",
    "    lea r11, [rip + guards + \\cpu * {size}]",
    "    mov ecx, \\vec",
    "    mov [r11 + {vector}], rcx",
    "    mov ecx, \\words",
    "    jmp bounced",
    ".pushsection .rodata.stub_table, \"a\", @progbits",
    "    .quad stub_\\cpu\\()_\\vec",
    ".popsection",
    ".endm",
    ".macro STUBS cpu",
    ".irp vec, 0, 1, 2, 3, 4, 5, 6, 7",
    "    STUB \\cpu, \\vec, 0",
    ".endr",
    "    STUB \\cpu, 8, 1",
    "    STUB \\cpu, 9, 0",
    ".irp vec, 10, 11, 12, 13, 14",
    "    STUB \\cpu, \\vec, 1",
    ".endr",
    "    STUB \\cpu, 15, 0",
    "    STUB \\cpu, 16, 0",
    "    STUB \\cpu, 17, 1",
    ".irp vec, 18, 19, 20",
    "    STUB \\cpu, \\vec, 0",
    ".endr",
    "    STUB \\cpu, 21, 1",
    ".irp vec, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, {event}",
    "    STUB \\cpu, \\vec, 0",
    ".endr",
    "syscall_\\cpu:",
    "    TO_GUARD \\cpu",
    "    push rcx",
    "    push r11",
    "    lea r11, [rip + guards + \\cpu * {size}]",
    "    pop qword ptr [r11 + {rflags}]",
    "    pop qword ptr [r11 + {rip_}]",
    "    mov qword ptr [r11 + {vector}], {syscall}",
    "    jmp called",
    ".pushsection .rodata.stub_table, \"a\", @progbits",
    "    .quad syscall_\\cpu",
    ".popsection",
    "    STUB \\cpu, {syscall32}, 0",
    "    STUB \\cpu, {failsafe}, 4",
    "int80_\\cpu:",
    "    TO_GUARD \\cpu",
    "    mov [rip + guards + \\cpu * {size} + {rcx_}], rcx",
    "    mov [rip + guards + \\cpu * {size} + {r11_}], r11",
    "    lea r11, [rip + guards + \\cpu * {size}]",
    "    mov qword ptr [r11 + {vector}], {int80}",
    "    mov rcx, [r11 + {entry_sp}]",
    "    jmp pushed",
    ".pushsection .rodata.stub_table, \"a\", @progbits",
    "    .quad int80_\\cpu",
    ".popsection",
    "    STUB \\cpu, {syscall}, 0",
    "    STUB \\cpu, {int80}, 0",
    ".endm",
    ".pushsection .bss.page, \"aw\", @nobits",
    "    .balign 4096",
    "stub_stacks:",
    "    .skip 4096 * {cpus}",
    ".popsection",
    ".pushsection .rodata.stub_table, \"a\", @progbits",
    "    .balign 8",
    ".global stub_table",
    "stub_table:",
    ".popsection",
    ".pushsection .text.stubs, \"ax\", @progbits",
    ".irp cpu, 0, 1, 2, 3",
    "    STUBS \\cpu",
    ".endr",
    // A bounce frame at entry_sp: RCX, R11, an error code or four selectors, RIP, CS, RFLAGS, RSP, SS. ECX: how many words
    // there are before RIP.
    "bounced:",
    "    mov [r11 + {rax_}], rax",
    "    mov eax, ecx",
    "    mov rcx, [r11 + {entry_sp}]",
    "    push qword ptr [rcx]",
    "    pop qword ptr [r11 + {rcx_}]",
    "    push qword ptr [rcx + 8]",
    "    pop qword ptr [r11 + {r11_}]",
    "    add rcx, 16",
    "    mov qword ptr [r11 + {error}], 0",
    "    test eax, eax",
    "    jz 7f",
    "    push qword ptr [rcx]",
    "    pop qword ptr [r11 + {error}]",
    "    lea rcx, [rcx + rax * 8]",
    "7:  mov rax, [r11 + {rax_}]",
    "pushed:",
    "    push qword ptr [rcx]",
    "    pop qword ptr [r11 + {rip_}]",
    "    push qword ptr [rcx + 8]",
    "    pop qword ptr [r11 + {cs}]",
    "    push qword ptr [rcx + 16]",
    "    pop qword ptr [r11 + {rflags}]",
    "    push qword ptr [rcx + 24]",
    "    pop qword ptr [r11 + {rsp_}]",
    "    push qword ptr [rcx + 32]",
    "    pop qword ptr [r11 + {ss}]",
    "store:",
    "    mov [r11 + {rax_}], rax",
    "    mov [r11 + {rbx_}], rbx",
    "    mov [r11 + {rdx_}], rdx",
    "    mov [r11 + {rsi_}], rsi",
    "    mov [r11 + {rdi_}], rdi",
    "    mov [r11 + {rbp_}], rbp",
    "    mov [r11 + {r8_}], r8",
    "    mov [r11 + {r9_}], r9",
    "    mov [r11 + {r10_}], r10",
    "    mov [r11 + {r12_}], r12",
    "    mov [r11 + {r13_}], r13",
    "    mov [r11 + {r14_}], r14",
    "    mov [r11 + {r15_}], r15",
    "    push 2",
    "    popfq",
    "    mov rcx, [r11 + {mask}]",
    "    mov byte ptr [rcx], 1",
    "    cmp qword ptr [r11 + {armed}], 0",
    "    mov qword ptr [r11 + {armed}], 0",
    "    je 2f",
    "    mov rsp, [r11 + {core_sp}]",
    "back:",
    "    pop r15",
    "    pop r14",
    "    pop r13",
    "    pop r12",
    "    pop rbp",
    "    pop rbx",
    "    ret",
    "2:  and rsp, -16",
    "    mov rdi, r11",
    "    call unguarded",
    "    ud2",
    "called:",
    "    mov qword ptr [r11 + {error}], 0",
    "    mov qword ptr [r11 + {cs}], 3",
    "    push rax",
    "    mov rax, {rsp_slot}",
    "    push qword ptr [rax]",
    "    pop qword ptr [r11 + {rsp_}]",
    "    pop rax",
    "    jmp store",
    ".global guarded_start",
    "guarded_start:",
    "    push rbx",
    "    push rbp",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    mov [rdi + {core_sp}], rsp",
    "    mov qword ptr [rdi + {armed}], 1",
    "    push qword ptr [rsi + 32]",
    "    push qword ptr [rsi + 24]",
    "    cmp byte ptr [rip + kernel_in_ring3], 0",
    "    jne 3f",
    "    push qword ptr [rsi + 16]",
    "    push qword ptr [rsi + 8]",
    "    push qword ptr [rsi]",
    "    lea rdi, [rsi + 40]",
    "    mov rax, [rdi]",
    "    mov rcx, [rdi + 16]",
    "    mov r11, [rdi + 80]",
    "    LOAD_REGISTERS",
    "    iretq",
    // An `IretContext`. The kernel goes on with events masked, as it does in ring 1.
    "3:  mov rax, [rsi + 16]",
    "    mov rcx, [rsi + 8]",
    "    mov edx, ecx",
    "    not edx",
    "    test edx, 3",
    "    jz 4f",
    "    and rax, ~0x200",
    "4:  push rax",
    "    push rcx",
    "    push qword ptr [rsi]",
    "    push 0",
    "    lea rdi, [rsi + 40]",
    "    push qword ptr [rdi + 16]",
    "    push qword ptr [rdi + 80]",
    "    push qword ptr [rdi]",
    "    LOAD_REGISTERS",
    "    mov eax, {iret}",
    "    syscall",
    "    ud2",
    ".global guarded_hypercall",
    "guarded_hypercall:",
    "    push rbx",
    "    push rbp",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    mov [rdi + {core_sp}], rsp",
    "    mov qword ptr [rdi + {vector}], -1",
    "    mov qword ptr [rdi + {armed}], 1",
    "    mov rbx, rdi",
    "    mov rax, [rsi]",
    "    mov rdx, [rsi + 24]",
    "    mov r8, [rsi + 56]",
    "    mov r9, [rsi + 64]",
    "    mov r10, [rsi + 72]",
    "    mov rdi, [rsi + 40]",
    "    mov rsi, [rsi + 32]",
    "    cmp byte ptr [rip + kernel_in_ring3], 0",
    "    jne 5f",
    "    int 0x82",
    "    jmp 6f",
    "5:  syscall",
    "6:  mov rcx, [rbx + {mask}]",
    "    mov byte ptr [rcx], 1",
    "    mov [rbx + {rax_}], rax",
    "    mov qword ptr [rbx + {armed}], 0",
    "    jmp back",
    ".popsection",
    size = const size_of::<Guard>(),
    cpus = const VCPUS,
    armed = const offset_of!(Guard, armed),
    core_sp = const offset_of!(Guard, core_sp),
    mask = const offset_of!(Guard, mask),
    vector = const offset_of!(Guard, vector),
    error = const offset_of!(Guard, error),
    rip_ = const offset_of!(Guard, rip),
    cs = const offset_of!(Guard, cs),
    rflags = const offset_of!(Guard, rflags),
    rsp_ = const offset_of!(Guard, rsp),
    ss = const offset_of!(Guard, ss),
    entry_flags = const offset_of!(Guard, entry_flags),
    entry_sp = const offset_of!(Guard, entry_sp),
    rax_ = const reg(offset_of!(Regs, rax)),
    rbx_ = const reg(offset_of!(Regs, rbx)),
    rcx_ = const reg(offset_of!(Regs, rcx)),
    rdx_ = const reg(offset_of!(Regs, rdx)),
    rsi_ = const reg(offset_of!(Regs, rsi)),
    rdi_ = const reg(offset_of!(Regs, rdi)),
    rbp_ = const reg(offset_of!(Regs, rbp)),
    r8_ = const reg(offset_of!(Regs, r8)),
    r9_ = const reg(offset_of!(Regs, r9)),
    r10_ = const reg(offset_of!(Regs, r10)),
    r11_ = const reg(offset_of!(Regs, r11)),
    r12_ = const reg(offset_of!(Regs, r12)),
    r13_ = const reg(offset_of!(Regs, r13)),
    r14_ = const reg(offset_of!(Regs, r14)),
    r15_ = const reg(offset_of!(Regs, r15)),
    rsp_slot = const USER_RSP_SLOT,
    iret = const HYPERVISOR_IRET,
    event = const EVENT,
    syscall = const SYSCALL,
    syscall32 = const SYSCALL32,
    failsafe = const FAILSAFE,
    int80 = const INT80,
);
