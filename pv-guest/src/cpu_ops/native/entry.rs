//! The ways into the kernel on a bare machine. The processor pushes what a hypervisor's bounce frame has but for RCX and
//! R11, so the stubs of exceptions differ from [`entry`](crate::arch::entry)'s by two instructions, and go on there.
//!
//! `syscall` changes neither RSP nor a segment's base. On one CPU the two words it takes, for the program's RSP and for the
//! kernel's stack, can lie at fixed addresses: nothing comes between, so neither `swapgs` nor a base of the kernel's own is
//! needed, and GS stays the program's.

use core::arch::global_asm;
use core::sync::atomic::AtomicU64;

use static_assertions::const_assert;

use crate::arch::entry::{EXCEPTIONS, SYSCALL_SLOTS, SYSCALL_WORK, exception_stubs, save_system_call};
use crate::mm::addr::USER_END;

// Where RCX is not canonical, `sysret` faults in ring 0 on the program's stack (CVE-2012-0217). What it returns to here is what
// `syscall` left: the address behind an instruction below `USER_END`. Whoever may change a frame returns by `iretq`.
const_assert!(USER_END < 1 << 47);

/// Interrupt lines with a stub.
const IRQS: usize = 16;

unsafe extern "C" {
    /// `syscall` into ring 0.
    pub fn native_syscall();
    /// Where `syscall` puts its frame.
    pub static native_stack_top: AtomicU64;
    /// Addresses of the stubs of exceptions and interrupts, by vector.
    static native_stub_table: [u64; EXCEPTIONS + IRQS];
}

/// The address of an exception's stub.
pub fn trap_stub(vector: usize) -> u64 {
    // SAFETY: the table is a constant array in this file's assembly; the index is checked by the slice.
    unsafe { native_stub_table[vector] }
}

/// The address of an interrupt line's stub.
pub fn irq_stub(line: usize) -> u64 {
    trap_stub(EXCEPTIONS + line)
}

global_asm!(
    ".macro NATIVE_STUB vec, has_error",
    "native_stub_\\vec:",
    "    .if \\has_error",
    "    xchg rdi, [rsp]",
    "    .else",
    "    push rdi",
    "    xor edi, edi",
    "    .endif",
    "    push rsi",
    "    mov esi, \\vec",
    "    jmp trap_common",
    ".pushsection .rodata.native_stubs, \"a\", @progbits",
    "    .quad native_stub_\\vec",
    ".popsection",
    ".endm",
    ".pushsection .rodata.native_stubs, \"a\", @progbits",
    "    .balign 8",
    ".global native_stub_table",
    "native_stub_table:",
    ".popsection",
    ".pushsection .bss.native_words, \"aw\", @nobits",
    "    .balign 8",
    ".global native_stack_top",
    "native_stack_top:",
    "    .skip 8",
    "native_user_rsp:",
    "    .skip 8",
    ".popsection",
    ".pushsection .text.entry, \"ax\", @progbits",
    exception_stubs!("NATIVE_STUB"),
    ".irp vec, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47",
    "    NATIVE_STUB \\vec, 0",
    ".endr",
    ".balign 16",
    ".global native_syscall",
    "native_syscall:",
    "    mov [rip + native_user_rsp], rsp",
    "    mov rsp, [rip + native_stack_top]",
    "    push {user_ss}",
    "    push qword ptr [rip + native_user_rsp]",
    "    push r11",
    "    push {user_cs}",
    "    push rcx",
    save_system_call!(),
    "    mov rcx, r10",
    "    cmp rax, {slots}",
    "    jae 4f",
    "    call [SYSCALL_TABLE + rax * 8]",
    "2:  cmp byte ptr [rsp + {syscall_work}], 0",
    "    jne 5f",
    "    mov r9, [rsp + 8]",
    "    mov r8, [rsp + 16]",
    "    mov r10, [rsp + 24]",
    "    mov rdx, [rsp + 32]",
    "    mov rsi, [rsp + 40]",
    "    mov rdi, [rsp + 48]",
    "    mov rcx, [rsp + 56]",
    "    mov r11, [rsp + 72]",
    "    mov rsp, [rsp + 80]",
    "    sysretq",
    "4:  mov rax, -38", // ENOSYS
    "    jmp 2b",
    "5:  mov [rsp], rax",
    "    call complete_syscall_frame",
    "    jmp frame_return",
    ".popsection",
    user_ss = const super::USER.stack,
    user_cs = const super::USER.code,
    slots = const SYSCALL_SLOTS,
    syscall_work = const SYSCALL_WORK,
);
