//! What is different in ring 3, where Xen's ABI puts a kernel: programs enter it through the hypervisor alone, which pushes
//! a bounce frame, and it returns through the hypervisor, which knows then that a program runs again and which table
//! and event mask it runs with.
//!
//! Exceptions and events come by the stubs of [`entry`](super::entry): their frames are the same.

use core::arch::global_asm;

use paravane_abi::hypercall::{HYPERVISOR_IRET, SLOT_SIZE};
use paravane_abi::regs::VGCF_IN_SYSCALL;

use super::entry::{SYSCALL_SLOTS, SYSCALL_WORK, restore_system_call, save_system_call};

unsafe extern "C" {
    /// `syscall` and `int 0x80`, which look alike.
    pub fn ring3_system_call();
    /// The hypervisor takes the return frame at RSP, and the event mask from RFLAGS in it.
    pub fn exit_by_hypercall();
}

global_asm!(
    ".pushsection .text.entry, \"ax\", @progbits",
    // On the stack: RCX, R11, then the return frame. Both registers are the caller's to lose.
    ".balign 16",
    ".global ring3_system_call",
    "ring3_system_call:",
    "    pop rcx",
    "    pop r11",
    save_system_call!(),
    "    cld",
    "    mov rcx, r10",
    "    cmp rax, {slots}",
    "    jae 4f",
    "    call [SYSCALL_TABLE + rax * 8]",
    "2:  cmp byte ptr [rsp + {syscall_work}], 0",
    "    jne 5f",
    restore_system_call!(),
    // RCX and R11 need not come back: the hypervisor may use the quick way.
    "    push {in_syscall}",
    "    jmp hypercall_page + {iret}",
    "4:  mov rax, -38", // ENOSYS
    "    jmp 2b",
    "5:  mov [rsp], rax",
    "    call complete_syscall_frame",
    "    jmp frame_return",
    ".global exit_by_hypercall",
    "exit_by_hypercall:",
    "    push 0",
    "    jmp hypercall_page + {iret}",
    ".popsection",
    slots = const SYSCALL_SLOTS,
    syscall_work = const SYSCALL_WORK,
    in_syscall = const VGCF_IN_SYSCALL,
    iret = const HYPERVISOR_IRET * SLOT_SIZE as u64,
);
