//! The observing kernel's first instructions, and the ELF notes by which a domain builder learns what it is
//! (xen/include/public/elfnote.h). All else is in the library.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering};

use paravane_abi::elfnote;
use paravane_abi::sched::SHUTDOWN_CRASH;
use pv_oracle::kernel::boot::{self, EntryRegisters, INIT_P2M, VIRT_BASE};
use pv_oracle::kernel::hypercall;
use pv_oracle::say;

/// Bytes of the stack that the cases run on.
const STACK: usize = 64 * 1024;

global_asm!(
    ".macro XEN_NOTE_QUAD type, value",
    "    .long 4, 8, \\type",
    "    .asciz \"Xen\"",
    "    .quad \\value",
    ".endm",
    ".macro XEN_NOTE_STR type, text",
    "    .long 4, 3f - 2f, \\type",
    "    .asciz \"Xen\"",
    "2:  .asciz \"\\text\"",
    "3:  .balign 4",
    ".endm",
    ".pushsection .note.xen, \"a\", @note",
    "    .balign 4",
    "    XEN_NOTE_QUAD {entry}, _start",
    "    XEN_NOTE_QUAD {hypercall_page}, hypercall_page",
    "    XEN_NOTE_QUAD {virt_base}, {base}",
    "    XEN_NOTE_QUAD {paddr_offset}, 0",
    "    XEN_NOTE_QUAD {init_p2m}, {p2m}",
    "    .long 4, 4, {mod_start_pfn}",
    "    .asciz \"Xen\"",
    "    .long 1",
    "    XEN_NOTE_STR {xen_version}, \"xen-3.0\"",
    "    XEN_NOTE_STR {guest_os}, \"paravane-oracle\"",
    "    XEN_NOTE_STR {guest_version}, \"0.1\"",
    "    XEN_NOTE_STR {loader}, \"generic\"",
    "    XEN_NOTE_STR {pae_mode}, \"yes\"",
    "    XEN_NOTE_STR {features}, \"pae_pgdir_above_4gb\"",
    ".popsection",
    ".pushsection .text.hypercall_page, \"ax\", @progbits",
    "    .balign 4096",
    "    .global hypercall_page",
    "hypercall_page:",
    "    .fill 4096, 1, 0x90",
    ".popsection",
    ".pushsection .bss.page, \"aw\", @nobits",
    "    .balign 4096",
    "    .skip {stack}",
    "oracle_stack_top:",
    ".popsection",
    ".pushsection .data.entry, \"aw\", @progbits",
    "    .balign 8",
    "    .global entry_registers",
    "entry_registers:",
    "    .fill {registers}, 8, 0",
    ".popsection",
    ".pushsection .text.start, \"ax\", @progbits",
    ".global _start",
    // Nothing is lost before it is written down; the stack is the builder's until the flags are.
    "_start:",
    "    mov [rip + entry_registers], rax",
    "    lea rax, [rip + entry_registers]",
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
    "    mov [rax + 120], rsp",
    "    pushfq",
    "    pop qword ptr [rax + 128]",
    "    mov word ptr [rax + 136], cs",
    "    mov word ptr [rax + 144], ss",
    "    mov word ptr [rax + 152], ds",
    "    mov word ptr [rax + 160], es",
    "    mov word ptr [rax + 168], fs",
    "    mov word ptr [rax + 176], gs",
    "    cld",
    "    lea rsp, [rip + oracle_stack_top]",
    "    xor ebp, ebp",
    "    call oracle_main",
    "    ud2",
    ".popsection",
    entry = const elfnote::XEN_ELFNOTE_ENTRY,
    hypercall_page = const elfnote::XEN_ELFNOTE_HYPERCALL_PAGE,
    virt_base = const elfnote::XEN_ELFNOTE_VIRT_BASE,
    base = const VIRT_BASE,
    paddr_offset = const elfnote::XEN_ELFNOTE_PADDR_OFFSET,
    init_p2m = const elfnote::XEN_ELFNOTE_INIT_P2M,
    p2m = const INIT_P2M,
    mod_start_pfn = const elfnote::XEN_ELFNOTE_MOD_START_PFN,
    xen_version = const elfnote::XEN_ELFNOTE_XEN_VERSION,
    guest_os = const elfnote::XEN_ELFNOTE_GUEST_OS,
    guest_version = const elfnote::XEN_ELFNOTE_GUEST_VERSION,
    loader = const elfnote::XEN_ELFNOTE_LOADER,
    pae_mode = const elfnote::XEN_ELFNOTE_PAE_MODE,
    features = const elfnote::XEN_ELFNOTE_FEATURES,
    stack = const STACK,
    registers = const EntryRegisters::COUNT,
);

unsafe extern "C" {
    static hypercall_page: u8;
    static __image_end: u8;
    static entry_registers: EntryRegisters;
}

/// Reports and ends the domain as crashed.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    // A panic inside the report would repeat for ever.
    if !PANICKING.swap(true, Ordering::SeqCst) {
        say!("oracle: panic: {info}");
    }
    hypercall::shutdown(SHUTDOWN_CRASH)
}

/// Entered from `_start` on the image's stack.
#[unsafe(no_mangle)]
extern "C" fn oracle_main() -> ! {
    // SAFETY: the first instructions have filled the registers, and this is the one call.
    unsafe { boot::run(entry_registers, &raw const hypercall_page as u64, &raw const __image_end as u64) }
}
