//! The ELF notes by which a domain builder learns what this kernel is (xen/include/public/elfnote.h), the page the
//! hypervisor fills with hypercall stubs, and the first instructions.

use core::arch::global_asm;

use paravane_abi::{elfnote, ring1};

/// What guest-physical address 0 is mapped at.
pub const VIRT_BASE: u64 = 0xffff_c000_0000_0000;

/// Bytes of the stack that everything but the test subjects runs on.
const CORE_STACK: usize = 64 * 1024;

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
    "    XEN_NOTE_STR {xen_version}, \"xen-3.0\"",
    "    XEN_NOTE_STR {guest_os}, \"paravane-attack\"",
    "    XEN_NOTE_STR {guest_version}, \"0.1\"",
    "    XEN_NOTE_STR {loader}, \"generic\"",
    "    XEN_NOTE_STR {pae_mode}, \"yes\"",
    "    XEN_NOTE_STR {features}, \"pae_pgdir_above_4gb\"",
    "    .long 9, 8, {modes}",
    "    .asciz \"Paravane\"",
    "    .balign 4",
    "    .quad {ring1}",
    // The entries of a PC, at their physical addresses.
    "    XEN_NOTE_QUAD {phys32}, native_start32 + {physical}",
    "    .long 9, 8, {phys64}",
    "    .asciz \"Paravane\"",
    "    .balign 4",
    "    .quad native_start64 + {physical}",
    ".popsection",
    ".pushsection .text.hypercall_page, \"ax\", @progbits",
    "    .balign 4096",
    "    .global hypercall_page",
    "hypercall_page:",
    "    .fill 4096, 1, 0xcc",
    ".popsection",
    ".pushsection .bss.page, \"aw\", @nobits",
    "    .balign 4096",
    "core_stack:",
    "    .skip {stack}",
    ".global core_stack_top",
    "core_stack_top:",
    ".popsection",
    ".pushsection .text.start, \"ax\", @progbits",
    ".global _start",
    "_start:",
    "    cld",
    "    lea rsp, [rip + core_stack_top]",
    "    xor ebp, ebp",
    "    mov rdi, rsi",
    "    call kernel_main",
    "    ud2",
    ".popsection",
    entry = const elfnote::XEN_ELFNOTE_ENTRY,
    hypercall_page = const elfnote::XEN_ELFNOTE_HYPERCALL_PAGE,
    virt_base = const elfnote::XEN_ELFNOTE_VIRT_BASE,
    base = const VIRT_BASE,
    paddr_offset = const elfnote::XEN_ELFNOTE_PADDR_OFFSET,
    xen_version = const elfnote::XEN_ELFNOTE_XEN_VERSION,
    guest_os = const elfnote::XEN_ELFNOTE_GUEST_OS,
    guest_version = const elfnote::XEN_ELFNOTE_GUEST_VERSION,
    loader = const elfnote::XEN_ELFNOTE_LOADER,
    pae_mode = const elfnote::XEN_ELFNOTE_PAE_MODE,
    features = const elfnote::XEN_ELFNOTE_FEATURES,
    modes = const ring1::NOTE_TYPE_MODES,
    ring1 = const ring1::MODE_PV_RING1,
    stack = const CORE_STACK,
    phys32 = const elfnote::XEN_ELFNOTE_PHYS32_ENTRY,
    phys64 = const ring1::NOTE_TYPE_PHYS64_ENTRY,
    physical = const 0u64.wrapping_sub(VIRT_BASE) as i64,
);

unsafe extern "C" {
    static hypercall_page: u8;
}

/// The page with the hypervisor's stubs.
pub fn hypercall_page_address() -> u64 {
    &raw const hypercall_page as u64
}
