//! Every way into the kernel after boot: exceptions and events by bounce frame, `syscall`, and `int 0x80` by direct gate;
//! and the ways back out, each ending in this kernel's own `iretq` in ring 1; what is different in ring 3 is in
//! [`entry_ring3`](super::entry_ring3), and what is different on a bare machine in
//! [`cpu_ops::native`](crate::cpu_ops::native).
//!
//! Ring 1 leaves the event mask set for good, so nothing interrupts these stubs. FS and GS are never touched.
//! Between a system call's entry and exit only the registers that Rust code may clobber are saved; handlers that need
//! the rest (fork, exec, a signal) build the full [`Frame`] through [`full_frame_handler!`](crate::full_frame_handler).
//!
//! A return to ring 3 is always made from the same depth, so what waits for it is found at a fixed distance from RSP, in
//! the [`StackInfo`](super::stack::StackInfo) above the frame.
//!
//! Both kinds of system call return with RCX and R11 undefined, so that they share one exit path.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::ring1;

use super::frame::{Frame, VECTOR_EVENT, VECTOR_SYSCALL};
use super::stack::WORK_OFFSET;

/// A system call's implementation; the arguments are those of Linux's convention, the result goes to RAX.
pub type Handler = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> i64;

/// Slots in `SYSCALL_TABLE`.
pub const SYSCALL_SLOTS: usize = 512;

/// What a system call's entry stores: a [`Frame`] from its `rax`.
pub const SYSCALL_FRAME_SIZE: usize = size_of::<Frame>() - core::mem::offset_of!(Frame, rax);

/// From the part that a system call's entry stores to what waits for the return.
pub const SYSCALL_WORK: usize = SYSCALL_FRAME_SIZE + WORK_OFFSET;

/// Exceptions with a stub.
pub const EXCEPTIONS: usize = 32;

pub use super::entry_ring3::{exit_by_hypercall, ring3_system_call};

unsafe extern "C" {
    /// Addresses of the exception stubs, by vector.
    static trap_stub_table: [u64; EXCEPTIONS];
    fn event_entry();
    fn failsafe_entry();
    /// `syscall` into ring 1.
    pub fn syscall_entry();
    /// `int 0x80` into ring 1.
    pub fn int80_entry();
    /// The return frame at RSP is what the processor takes.
    pub fn exit_by_iretq();
    /// The address of the last instructions of a return.
    static return_exit: AtomicU64;
    /// Where a new process's first switch returns to: finishes the switch and restores the [`Frame`] at RSP.
    pub fn process_start();
}

/// The address of an exception's stub.
pub fn trap_stub(vector: usize) -> u64 {
    // SAFETY: the table is a constant array in this file's assembly; the index is checked by the slice.
    unsafe { trap_stub_table[vector] }
}

/// The event upcall's entry.
pub fn event_entry_address() -> u64 {
    event_entry as *const () as u64
}

/// The failsafe callback's entry.
pub fn failsafe_entry_address() -> u64 {
    failsafe_entry as *const () as u64
}

/// Sets how returns end on this machine.
pub fn set_exit(exit: unsafe extern "C" fn()) {
    // SAFETY: a word of this file's assembly, in the data section, which is accessed here and by the stubs alone.
    unsafe { return_exit.store(exit as *const () as u64, Ordering::Relaxed) };
}

/// Makes a system call handler that receives the caller's whole [`Frame`](crate::arch::frame::Frame).
///
/// The stub drops its return address into the shared exit path, completes the frame below the part that the entry has
/// saved, and leaves through the full exit. The function's result becomes the caller's RAX.
#[macro_export]
macro_rules! full_frame_handler {
    ($stub:ident, $function:path) => {
        #[doc = concat!("System call stub of `", stringify!($function), "`, which takes the whole frame.")]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $stub(_: u64, _: u64, _: u64, _: u64, _: u64, _: u64) -> i64 {
            extern "C" fn locked(frame: &mut $crate::arch::frame::Frame) -> i64 {
                let _lock = $crate::cpu::lock::enter();
                $function(frame)
            }
            core::arch::naked_asm!(
                "add rsp, 8",
                "call complete_syscall_frame",
                "mov rdi, rsp",
                "call {function}",
                "mov [rsp + {rax}], rax",
                "jmp frame_return",
                function = sym locked,
                rax = const core::mem::offset_of!($crate::arch::frame::Frame, rax),
            )
        }
    };
}

/// A stub for each exception, by an assembler's macro that takes the vector and whether there is an error code.
macro_rules! exception_stubs {
    ($stub:literal) => {
        concat!(
            ".irp vec, 0, 1, 2, 3, 4, 5, 6, 7\n",
            $stub,
            " \\vec, 0\n.endr\n",
            $stub,
            " 8, 1\n",
            $stub,
            " 9, 0\n",
            ".irp vec, 10, 11, 12, 13, 14\n",
            $stub,
            " \\vec, 1\n.endr\n",
            $stub,
            " 15, 0\n",
            $stub,
            " 16, 0\n",
            $stub,
            " 17, 1\n",
            ".irp vec, 18, 19, 20\n",
            $stub,
            " \\vec, 0\n.endr\n",
            $stub,
            " 21, 1\n",
            ".irp vec, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n",
            $stub,
            " \\vec, 0\n.endr"
        )
    };
}

/// What a system call's entry stores below the return frame: a [`Frame`] from its `rax`.
macro_rules! save_system_call {
    () => {
        "push rdi\npush rsi\npush rdx\npush r10\npush r8\npush r9\npush rax"
    };
}

/// Undoes [`save_system_call`], but for the result.
macro_rules! restore_system_call {
    () => {
        "add rsp, 8\npop r9\npop r8\npop r10\npop rdx\npop rsi\npop rdi"
    };
}

pub(crate) use {exception_stubs, restore_system_call, save_system_call};

global_asm!(
    // Exceptions. On the stack: RCX, R11, error code for some vectors, then the return frame.
    ".macro TRAP_STUB vec, has_error",
    "trap_stub_\\vec:",
    "    pop rcx",
    "    pop r11",
    "    .if \\has_error",
    "    xchg rdi, [rsp]",
    "    .else",
    "    push rdi",
    "    xor edi, edi",
    "    .endif",
    "    push rsi",
    "    mov esi, \\vec",
    "    jmp trap_common",
    ".pushsection .rodata.trap_stubs, \"a\", @progbits",
    "    .quad trap_stub_\\vec",
    ".popsection",
    ".endm",
    ".pushsection .rodata.trap_stubs, \"a\", @progbits",
    "    .balign 8",
    ".global trap_stub_table",
    "trap_stub_table:",
    ".popsection",
    ".pushsection .text.entry, \"ax\", @progbits",
    exception_stubs!("TRAP_STUB"),
    ".global event_entry",
    "event_entry:",
    "    pop rcx",
    "    pop r11",
    "    push rdi",
    "    xor edi, edi",
    "    push rsi",
    "    mov esi, {vector_event}",
    // Falls through. RDI and RSI are saved and hold the error code and the vector.
    ".global trap_common",
    "trap_common:",
    "    push rdx",
    "    push r10",
    "    push r8",
    "    push r9",
    "    push rax",
    "    push rdi",
    "    push rsi",
    "    push rcx",
    "    push r11",
    "    push rbx",
    "    push rbp",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    cld",
    "    mov rdi, rsp",
    "    call trap_dispatch",
    // The full exit: RSP points at a Frame.
    ".global frame_return",
    "frame_return:",
    // This kernel's own selector has bit 1 of RPL clear, in ring 3 too as frames show it; only a return to ring 3 looks for work.
    "    test byte ptr [rsp + {cs}], 2",
    "    jz 2f",
    "    cmp byte ptr [rsp + {frame_work}], 0",
    "    jne 3f",
    "2:  pop r15",
    "    pop r14",
    "    pop r13",
    "    pop r12",
    "    pop rbp",
    "    pop rbx",
    "    pop r11",
    "    pop rcx",
    "    add rsp, 16",
    "    pop rax",
    "    pop r9",
    "    pop r8",
    "    pop r10",
    "    pop rdx",
    "    pop rsi",
    "    pop rdi",
    "    jmp [rip + return_exit]",
    ".pushsection .data.return_exit, \"aw\", @progbits",
    "    .balign 8",
    ".global return_exit",
    "return_exit:",
    "    .quad exit_by_iretq",
    ".popsection",
    ".global exit_by_iretq",
    "exit_by_iretq:",
    "    iretq",
    "3:  mov rdi, rsp",
    "    call return_work",
    "    jmp frame_return",
    ".global process_start",
    "process_start:",
    "    call process_started",
    "    jmp frame_return",
    // Completes a Frame below a system call's saved part. Entered by call, with RSP where the part begins but for the
    // return address; clobbers RAX.
    ".global complete_syscall_frame",
    "complete_syscall_frame:",
    "    pop rax",
    "    push 0",
    "    push {vector_syscall}",
    "    push rcx",
    "    push r11",
    "    push rbx",
    "    push rbp",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    jmp rax",
    // `syscall` arrives with RSP = this process's kernel stack, RCX = RIP, R11 = RFLAGS, the rest the user's.
    ".balign 16",
    ".global syscall_entry",
    "syscall_entry:",
    "    push {user_ss}",
    "    push rcx",
    "    push r11",
    "    push {user_cs}",
    "    push rcx",
    "    mov rcx, {user_rsp_slot}",
    "    mov rcx, [rcx]",
    "    mov [rsp + 24], rcx",
    save_system_call!(),
    "    mov rcx, r10",
    "    cmp rax, {slots}",
    "    jae 4f",
    "    call [SYSCALL_TABLE + rax * 8]",
    "syscall_exit:",
    "    cmp byte ptr [rsp + {syscall_work}], 0",
    "    jne 5f",
    restore_system_call!(),
    "    iretq",
    "4:  mov rax, -38", // ENOSYS
    "    jmp syscall_exit",
    "5:  mov [rsp], rax",
    "    call complete_syscall_frame",
    "    jmp 3b",
    // `int 0x80` comes straight from ring 3: the CPU has pushed the return frame; the trap gate leaves DF alone.
    ".balign 16",
    ".global int80_entry",
    "int80_entry:",
    save_system_call!(),
    "    cld",
    "    mov rcx, r10",
    "    cmp rax, {slots}",
    "    jae 4b",
    "    call [SYSCALL_TABLE + rax * 8]",
    "    cmp byte ptr [rsp + {syscall_work}], 0",
    "    jne 5b",
    restore_system_call!(),
    "    iretq",
    // A return to ring 3 failed on a segment this kernel never loads: RCX, R11, DS, ES, FS, GS, then the frame.
    ".global failsafe_entry",
    "failsafe_entry:",
    "    mov rdi, rsp",
    "    call failsafe_reached",
    "    ud2",
    ".popsection",
    vector_event = const VECTOR_EVENT,
    vector_syscall = const VECTOR_SYSCALL,
    cs = const core::mem::offset_of!(Frame, cs),
    user_ss = const ring1::USER_SS,
    user_cs = const ring1::USER_CS64,
    user_rsp_slot = const ring1::USER_RSP_SLOT,
    slots = const SYSCALL_SLOTS,
    frame_work = const size_of::<Frame>() + WORK_OFFSET,
    syscall_work = const SYSCALL_WORK,
);

#[unsafe(no_mangle)]
extern "C" fn failsafe_reached(words: &[u64; 11]) -> ! {
    panic!("failsafe callback: rcx, r11, ds, es, fs, gs, rip, cs, rflags, rsp, ss = {words:x?}");
}
