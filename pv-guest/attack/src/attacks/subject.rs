//! Code for attacks to run: bytes on a page of the kernel's or of the programs', with a stack.

use paravane_abi::hypercall as nr;

use crate::entries;
use crate::guard::{self, Guard, Start, VCPUS};
use crate::hypercall::raw;
use crate::memory::{Page, USER_CODE, USER_STACK, clear_events};
use crate::ring;

#[unsafe(link_section = ".bss.page")]
static CODE: Page = Page::new();
#[unsafe(link_section = ".bss.page")]
static STACK: Page = Page::new();

/// `int3`, which ends a subject that was not stopped before.
pub const END: u8 = 0xcc;
/// The vector of [`END`].
pub const BREAKPOINT: u64 = 3;

/// Code and stacks of the other vcpus' subjects.
#[unsafe(link_section = ".bss.page")]
static CODES: [Page; VCPUS] = [const { Page::new() }; VCPUS];
#[unsafe(link_section = ".bss.page")]
static STACKS: [Page; VCPUS] = [const { Page::new() }; VCPUS];

/// Places the kernel's code of a vcpu; where it is.
pub fn place_on(vcpu: usize, code: &[u8]) -> u64 {
    place(CODES[vcpu].address(), code);
    CODES[vcpu].address()
}

/// The end of the kernel's stack of a vcpu's subjects.
pub fn stack_on(vcpu: usize) -> u64 {
    STACKS[vcpu].address() + 4096 - 64
}

/// Where the kernel's code is placed.
pub fn kernel_code() -> u64 {
    CODE.address()
}

/// The end of the kernel's stack for subjects.
pub fn kernel_stack() -> u64 {
    STACK.address() + 4096 - 64
}

/// Places code, with [`END`] behind it.
pub fn place(at: u64, code: &[u8]) {
    for (index, byte) in code.iter().chain(&[END, END, END]).enumerate() {
        // SAFETY: pages for code, mapped writable.
        unsafe { (at as *mut u8).add(index).write_volatile(*byte) };
    }
}

/// The kernel at some code.
pub fn kernel(code: &[u8]) -> Start {
    place(kernel_code(), code);
    Start::kernel(kernel_code(), kernel_stack())
}

/// A program at some code, 64-bit.
pub fn user(code: &[u8]) -> Start {
    place(USER_CODE, code);
    Start::user(USER_CODE, USER_STACK - 64)
}

/// A program at some code, 32-bit.
pub fn user32(code: &[u8]) -> Start {
    Start { cs: paravane_abi::ring1::USER_CS32.into(), ..user(code) }
}

/// The kernel at its hypercall instruction.
pub fn hypercall() -> Start {
    kernel(&ring::hypercall())
}

/// The kernel at the `iret` hypercall, with this frame: RIP, CS, RFLAGS, RSP and SS. RAX, RCX and R11 will be 0.
pub fn iret(frame: [u64; 5]) -> Start {
    let mut start = hypercall();
    start.regs.rax = nr::HYPERVISOR_IRET;
    start.rsp -= 0x200;
    write_frame(start.rsp, &[0; 4]);
    write_frame(start.rsp + 32, &frame);
    start
}

/// Writes words on a subject's stack.
pub fn write_frame(at: u64, words: &[u64]) {
    for (index, word) in words.iter().enumerate() {
        // SAFETY: the subject's stack.
        unsafe { (at as *mut u64).add(index).write_volatile(*word) };
    }
}

/// Runs code as the kernel.
pub fn run_kernel(code: &[u8]) -> Guard {
    guard::run(&kernel(code))
}

/// Runs code as a program.
pub fn run_user(code: &[u8]) -> Guard {
    guard::run(&user(code))
}

/// Whether QEMU's own translator executes this: it says so in the processor's CPUID.
pub fn is_tcg() -> bool {
    let leaf = core::arch::x86_64::__cpuid(0x4000_0000);
    [leaf.ebx, leaf.ecx, leaf.edx] == [0x5447_4354, 0x4354_4743, 0x4743_5447]
}

/// Undoes what attacks leave behind; true when the hypervisor took all of it.
pub fn restore() -> bool {
    clear_events();
    let armed = entries::try_arm();
    for register in [0, 1, 2, 3, 6, 7] {
        let value = match register {
            6 => 0xffff_0ff0,
            7 => 0x400,
            _ => 0,
        };
        raw(nr::HYPERVISOR_SET_DEBUGREG, [register, value, 0, 0, 0]);
    }
    for which in 0..4 {
        raw(nr::HYPERVISOR_SET_SEGMENT_BASE, [which, 0, 0, 0, 0]);
    }
    // SAFETY: null selectors, which this kernel runs with.
    unsafe {
        core::arch::asm!("mov ds, {0:e}", "mov es, {0:e}", "mov fs, {0:e}", "mov gs, {0:e}", in(reg) 0);
    }
    armed && raw(nr::HYPERVISOR_SET_GDT, [0; 5]) == 0
}
