//! The first instructions: the hypervisor enters at `_start` with RSI = start_info and a small stack.

use core::arch::global_asm;

/// The boot process's stack, which the idle loop keeps.
const BOOT_STACK: usize = 32 * 1024;

global_asm!(
    ".pushsection .bss.page, \"aw\", @nobits",
    "    .balign 4096",
    "boot_stack:",
    "    .skip {size}",
    ".global boot_stack_top",
    "boot_stack_top:",
    ".popsection",
    ".pushsection .text.start, \"ax\", @progbits",
    ".global _start",
    "_start:",
    "    cld",
    "    lea rsp, [rip + boot_stack_top]",
    "    xor ebp, ebp",
    "    mov rdi, rsi",
    "    call kernel_main",
    "    ud2",
    ".popsection",
    size = const BOOT_STACK,
);

unsafe extern "C" {
    static boot_stack_top: u8;
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

/// The end of the boot stack.
pub fn stack_top() -> u64 {
    &raw const boot_stack_top as u64
}

/// The image's extent: start, end of text, end of read-only data, end. All page-aligned.
pub fn image() -> [u64; 4] {
    [
        &raw const __image_start as u64,
        &raw const __text_end as u64,
        &raw const __rodata_end as u64,
        &raw const __image_end as u64,
    ]
}
