//! The first instructions: the hypervisor enters at `_start` with RSI = start_info and a small stack, and further vcpus
//! at `cpu_start` on the stack that was made for them.

use core::arch::global_asm;

use super::stack::{STACK_SIZE, StackInfo};

global_asm!(
    // The first CPU's own stack, which ends with its block.
    ".pushsection .bss.page, \"aw\", @nobits",
    "    .balign {size}",
    "    .skip {size} - {info}",
    ".global boot_stack_info",
    "boot_stack_info:",
    "    .skip {info}",
    ".popsection",
    ".pushsection .text.start, \"ax\", @progbits",
    ".global _start",
    "_start:",
    "    cld",
    "    lea rsp, [rip + boot_stack_info]",
    "    xor ebp, ebp",
    "    mov rdi, rsi",
    "    call kernel_main",
    "    ud2",
    ".global cpu_start",
    "cpu_start:",
    "    cld",
    "    xor ebp, ebp",
    "    call cpu_main",
    "    ud2",
    ".popsection",
    size = const STACK_SIZE,
    info = const size_of::<StackInfo>(),
);

unsafe extern "C" {
    static boot_stack_info: u8;
    fn cpu_start();
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

/// The block of the boot stack.
pub fn boot_stack() -> &'static StackInfo {
    // SAFETY: the symbol names a block's worth of zeroed memory, which is a valid block, only accessed through atomics.
    unsafe { &*(&raw const boot_stack_info).cast() }
}

/// Where a further vcpu starts.
pub fn cpu_start_address() -> u64 {
    cpu_start as *const () as u64
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
