//! Runs what may go wrong on a PC, as [`guard`](crate::guard) does under a PV hypervisor: every gate, and every entry of
//! `syscall` and `sysenter`, leads to a stub that stores what came, and goes back to where the guarded code was started.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use crate::guard::{Regs, Start};
use crate::say;

/// [`Ended::vector`] of a `syscall` by LSTAR, by CSTAR, and of a `sysenter`.
pub const SYSCALL: u64 = 0x101;
/// By CSTAR.
pub const SYSCALL32: u64 = 0x102;
/// By SYSENTER_EIP.
pub const SYSENTER: u64 = 0x103;

/// How guarded code ended.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
#[allow(missing_docs)]
pub struct Ended {
    armed: u64,
    core_sp: u64,
    /// The vector, or one of the numbers above.
    pub vector: u64,
    /// The error code, or 0.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub regs: Regs,
}

#[repr(C)]
struct Place(UnsafeCell<Ended>);

// SAFETY: there is one processor.
unsafe impl Sync for Place {}

#[unsafe(no_mangle)]
static native_guard: Place = Place(UnsafeCell::new(Ended {
    armed: 0,
    core_sp: 0,
    vector: 0,
    error: 0,
    rip: 0,
    cs: 0,
    rflags: 0,
    rsp: 0,
    ss: 0,
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
}));

unsafe extern "C" {
    static native_stubs: u8;
    static native_syscall: u8;
    static native_syscall32: u8;
    static native_sysenter: u8;
    fn native_guarded_start(start: *const Start);
}

/// Bytes between two stubs.
const STUB: u64 = 16;

/// The stub of a vector.
pub fn stub(vector: u8) -> u64 {
    &raw const native_stubs as u64 + u64::from(vector) * STUB
}

/// The stubs of `syscall`, of the 32-bit one, and of `sysenter`.
pub fn system_calls() -> [u64; 3] {
    [&raw const native_syscall as u64, &raw const native_syscall32 as u64, &raw const native_sysenter as u64]
}

/// Starts guarded code and says how it ended.
pub fn run(start: &Start) -> Ended {
    // SAFETY: every way back restores what this function's caller needs; what guarded code does to memory is the attack's
    // affair.
    unsafe {
        native_guarded_start(start);
        native_guard.0.get().read_volatile()
    }
}

/// Called by the stubs when nothing was guarded: this kernel itself is broken.
#[unsafe(no_mangle)]
extern "C" fn native_unguarded(ended: &Ended) -> ! {
    crate::print::step();
    let Ended { vector, error, rip, cs, rflags, rsp, .. } = ended;
    let cr2 = super::registers::cr2();
    say!(
        "attack: unguarded entry: vector {vector} error {error:#x} rip {rip:#x} cs {cs:#x} rflags {rflags:#x} \
         rsp {rsp:#x} cr2 {cr2:#x}"
    );
    super::exit::crash()
}

const fn reg(offset: usize) -> usize {
    offset_of!(Ended, regs) + offset
}

global_asm!(
    ".pushsection .bss.page, \"aw\", @nobits",
    "    .balign 4096",
    "    .skip 4096",
    "native_stub_stack:",
    ".popsection",
    ".macro NATIVE_SAVE",
    "    mov [rip + native_guard + {rax_}], rax",
    "    mov [rip + native_guard + {rbx_}], rbx",
    "    mov [rip + native_guard + {rcx_}], rcx",
    "    mov [rip + native_guard + {rdx_}], rdx",
    "    mov [rip + native_guard + {rsi_}], rsi",
    "    mov [rip + native_guard + {rdi_}], rdi",
    "    mov [rip + native_guard + {rbp_}], rbp",
    "    mov [rip + native_guard + {r8_}], r8",
    "    mov [rip + native_guard + {r9_}], r9",
    "    mov [rip + native_guard + {r10_}], r10",
    "    mov [rip + native_guard + {r11_}], r11",
    "    mov [rip + native_guard + {r12_}], r12",
    "    mov [rip + native_guard + {r13_}], r13",
    "    mov [rip + native_guard + {r14_}], r14",
    "    mov [rip + native_guard + {r15_}], r15",
    ".endm",
    // `syscall` and `sysenter` push nothing.
    ".macro NATIVE_CALL kind",
    "    NATIVE_SAVE",
    "    mov [rip + native_guard + {rsp_}], rsp",
    "    mov qword ptr [rip + native_guard + {vector}], \\kind",
    "    mov qword ptr [rip + native_guard + {error}], 0",
    "    mov [rip + native_guard + {rip_}], rcx",
    "    mov qword ptr [rip + native_guard + {cs}], 3",
    "    mov [rip + native_guard + {rflags}], r11",
    "    mov qword ptr [rip + native_guard + {ss}], 0",
    "    jmp native_stored",
    ".endm",
    ".pushsection .text.native_stubs, \"ax\", @progbits",
    "    .balign 16",
    ".global native_stubs",
    "native_stubs:",
    ".set number, 0",
    ".rept 256",
    "    .balign 16",
    // push 0, where the processor pushes no error code.
    ".if (number != 8) && ((number < 10) || (number > 14)) && (number != 17) && (number != 21)",
    "    .byte 0x6a, 0",
    ".endif",
    // push number
    "    .byte 0x68",
    "    .long number",
    "    jmp native_common",
    ".set number, number + 1",
    ".endr",
    "native_common:",
    "    NATIVE_SAVE",
    "    pop qword ptr [rip + native_guard + {vector}]",
    "    pop qword ptr [rip + native_guard + {error}]",
    "    pop qword ptr [rip + native_guard + {rip_}]",
    "    pop qword ptr [rip + native_guard + {cs}]",
    "    pop qword ptr [rip + native_guard + {rflags}]",
    "    pop qword ptr [rip + native_guard + {rsp_}]",
    "    pop qword ptr [rip + native_guard + {ss}]",
    "native_stored:",
    "    cld",
    "    lea rsp, [rip + native_stub_stack]",
    "    push 2",
    "    popfq",
    "    lea rdi, [rip + native_guard]",
    "    cmp qword ptr [rdi + {armed}], 0",
    "    mov qword ptr [rdi + {armed}], 0",
    "    je 2f",
    "    mov rsp, [rdi + {core_sp}]",
    "    pop r15",
    "    pop r14",
    "    pop r13",
    "    pop r12",
    "    pop rbp",
    "    pop rbx",
    "    ret",
    "2:  call native_unguarded",
    "    ud2",
    ".global native_syscall",
    "native_syscall:",
    "    NATIVE_CALL {syscall}",
    ".global native_syscall32",
    "native_syscall32:",
    "    NATIVE_CALL {syscall32}",
    ".global native_sysenter",
    "native_sysenter:",
    "    NATIVE_CALL {sysenter}",
    ".global native_guarded_start",
    "native_guarded_start:",
    "    push rbx",
    "    push rbp",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    mov [rip + native_guard + {core_sp}], rsp",
    "    mov qword ptr [rip + native_guard + {armed}], 1",
    "    push qword ptr [rdi + 32]",
    "    push qword ptr [rdi + 24]",
    "    push qword ptr [rdi + 16]",
    "    push qword ptr [rdi + 8]",
    "    push qword ptr [rdi]",
    "    add rdi, 40",
    "    mov rax, [rdi]",
    "    mov rbx, [rdi + 8]",
    "    mov rcx, [rdi + 16]",
    "    mov rdx, [rdi + 24]",
    "    mov rsi, [rdi + 32]",
    "    mov rbp, [rdi + 48]",
    "    mov r8, [rdi + 56]",
    "    mov r9, [rdi + 64]",
    "    mov r10, [rdi + 72]",
    "    mov r11, [rdi + 80]",
    "    mov r12, [rdi + 88]",
    "    mov r13, [rdi + 96]",
    "    mov r14, [rdi + 104]",
    "    mov r15, [rdi + 112]",
    "    mov rdi, [rdi + 40]",
    "    iretq",
    ".popsection",
    armed = const offset_of!(Ended, armed),
    core_sp = const offset_of!(Ended, core_sp),
    vector = const offset_of!(Ended, vector),
    error = const offset_of!(Ended, error),
    rip_ = const offset_of!(Ended, rip),
    cs = const offset_of!(Ended, cs),
    rflags = const offset_of!(Ended, rflags),
    rsp_ = const offset_of!(Ended, rsp),
    ss = const offset_of!(Ended, ss),
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
    syscall = const SYSCALL,
    syscall32 = const SYSCALL32,
    sysenter = const SYSENTER,
);
