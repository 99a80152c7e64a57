//! A minimal toolstack: the first domain of Xen's that builds the others.
//!
//! It is booted with Paravane's boot archive as its module, makes of it the domains that Paravane would make, in the way of
//! Xen's own tools, serves their consoles, and ends the machine when they have ended.
#![no_std]
#![no_main]

extern crate alloc;

mod calls;
mod console;
mod create;
mod foreign;
mod guests;
mod heap;
mod policy;
mod start;

use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering};

use paravane_abi::elfnote;
use paravane_abi::sched::SHUTDOWN_CRASH;
use pv_probe::hypercall;
use pv_probe::say;

use start::{Start, VIRT_BASE};

/// Bytes of the stack.
const STACK: usize = 256 * 1024;

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
    // Without notes about them, the module and the p2m lie in the first mapping.
    ".pushsection .note.xen, \"a\", @note",
    "    .balign 4",
    "    XEN_NOTE_QUAD {entry}, _start",
    "    XEN_NOTE_QUAD {virt_base}, {base}",
    "    XEN_NOTE_QUAD {paddr_offset}, 0",
    "    XEN_NOTE_STR {xen_version}, \"xen-3.0\"",
    "    XEN_NOTE_STR {guest_os}, \"paravane-toolstack\"",
    "    XEN_NOTE_STR {guest_version}, \"0.1\"",
    "    XEN_NOTE_STR {loader}, \"generic\"",
    "    XEN_NOTE_STR {pae_mode}, \"yes\"",
    "    XEN_NOTE_STR {features}, \"dom0\"",
    ".popsection",
    ".pushsection .bss.stack, \"aw\", @nobits",
    "    .balign 4096",
    "    .skip {stack}",
    "toolstack_stack_top:",
    ".popsection",
    ".pushsection .text.start, \"ax\", @progbits",
    ".global _start",
    // RSI is the address of start_info.
    "_start:",
    "    cld",
    "    lea rsp, [rip + toolstack_stack_top]",
    "    xor ebp, ebp",
    "    mov rdi, rsi",
    "    call toolstack_main",
    "    ud2",
    ".popsection",
    entry = const elfnote::XEN_ELFNOTE_ENTRY,
    virt_base = const elfnote::XEN_ELFNOTE_VIRT_BASE,
    base = const VIRT_BASE,
    paddr_offset = const elfnote::XEN_ELFNOTE_PADDR_OFFSET,
    xen_version = const elfnote::XEN_ELFNOTE_XEN_VERSION,
    guest_os = const elfnote::XEN_ELFNOTE_GUEST_OS,
    guest_version = const elfnote::XEN_ELFNOTE_GUEST_VERSION,
    loader = const elfnote::XEN_ELFNOTE_LOADER,
    pae_mode = const elfnote::XEN_ELFNOTE_PAE_MODE,
    features = const elfnote::XEN_ELFNOTE_FEATURES,
    stack = const STACK,
);

/// Reports and ends the domain as crashed.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    // A panic inside the report would repeat for ever.
    if !PANICKING.swap(true, Ordering::SeqCst) {
        say!("toolstack: panic: {info}");
    }
    hypercall::shutdown(SHUTDOWN_CRASH)
}

/// Entered from `_start` on the image's stack.
#[unsafe(no_mangle)]
extern "C" fn toolstack_main(start_info: u64) -> ! {
    // SAFETY: RSI held the address of start_info, and this is the one call.
    let start = unsafe { Start::new(start_info) };
    match guests::run(&start) {
        Ok(reason) => hypercall::shutdown(reason),
        Err(error) => {
            say!("toolstack: {error}");
            hypercall::shutdown(SHUTDOWN_CRASH)
        }
    }
}
