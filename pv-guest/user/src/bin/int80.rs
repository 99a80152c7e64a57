//! `int 0x80`: the same calls through a gate that leads from ring 3 to the kernel directly; every register
//! but RAX, RCX and R11 survives, by either way.
#![no_std]
#![no_main]

use core::arch::asm;
use ulib::report::Report;
use ulib::sys::{self, nr};
use ulib::{Args, Errno};

ulib::entry!(main);

fn int80(number: usize, a: usize, b: usize, c: usize) -> sys::Result<usize> {
    let ret: isize;
    // SAFETY: used with getpid, write of a live buffer, and an unknown number only.
    unsafe {
        asm!("int 0x80", inlateout("rax") number as isize => ret, in("rdi") a, in("rsi") b, in("rdx") c,
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    sys::check(ret)
}

macro_rules! preserved {
    ($entry:literal) => {{
        let (mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h, mut i, mut j) =
            (1u64, 2u64, 3u64, 4u64, 5u64, 6u64, 7u64, 8u64, 9u64, 10u64);
        let bx: u64;
        let bp: u64;
        // SAFETY: getpid touches no memory; RBX and RBP are restored.
        unsafe {
            asm!("push rbx", "push rbp", "mov ebx, 11", "mov ebp, 12", $entry,
                 "mov rax, rbx", "mov rcx, rbp", "pop rbp", "pop rbx",
                 inlateout("rax") nr::GETPID as u64 => bx, lateout("rcx") bp, lateout("r11") _,
                 inout("rdi") a, inout("rsi") b, inout("rdx") c, inout("r8") d, inout("r9") e,
                 inout("r10") f, inout("r12") g, inout("r13") h, inout("r14") i, inout("r15") j);
        }
        [a, b, c, d, e, f, g, h, i, j, bx, bp] == core::array::from_fn(|index| index as u64 + 1)
    }};
}

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    let pid = int80(nr::GETPID, 0, 0, 0);
    let text = b"int80: written through the gate\n";
    let written = int80(nr::WRITE, 1, text.as_ptr() as usize, text.len());
    let unknown = int80(511, 0, 0, 0);
    report.check(
        "int80",
        pid == Ok(sys::getpid()) && written == Ok(text.len()) && unknown == Err(Errno::ENOSYS),
        format_args!("getpid and write agree with syscall; unknown call: ENOSYS"),
    );
    let (gate, instruction) = (preserved!("int 0x80"), preserved!("syscall"));
    report.check(
        "registers",
        gate && instruction,
        format_args!("12 registers survive int 0x80: {gate}, syscall: {instruction}"),
    );
    report.code()
}
