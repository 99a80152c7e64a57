//! A program's registers are its own: all general registers, the flags, x87, MXCSR and the vector registers are filled,
//! something enters the kernel or the hypervisor, or another program runs that fills them with something else, and all are
//! looked at.
#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::arch::x86_64::__cpuid;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};
use ulib::process::{self, Disposition, Status, set_signal, signal};
use ulib::report::Report;
use ulib::{Args, sys};

ulib::entry!(main);

const MS: u64 = 1_000_000;
/// Nanoseconds that each of two programs spins.
const SPIN: u64 = 60 * MS;
const RAX: usize = 0;
const RCX: usize = 1;
const RBX: usize = 3;
const R11: usize = 11;
const R15: usize = 15;
/// The place behind the general registers.
const RFLAGS: usize = 16;
/// CF, PF, AF, ZF, SF, DF, OF: what a program may set without an effect on anybody but itself.
const FLAGS: u64 = 0xcd5;
const GETPID: u64 = 39;
/// An address that no program has mapped.
const UNMAPPED: u64 = 0x10;
const NAMES: [&str; 17] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "rflags",
];

/// The general registers by number, and RFLAGS.
type General = [u64; 17];

/// All that a program can keep in registers: the general ones and the flags, 512 bytes as FXSAVE has them, and YMM0 to YMM15.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Picture {
    legacy: [u8; 512],
    ymm: [[u8; 32]; 16],
    general: General,
}

#[repr(C, align(64))]
struct Trial {
    before: Picture,
    after: Picture,
    /// Whether there are YMM registers.
    avx: u64,
}

impl Picture {
    /// Different for every seed, in every register.
    fn patterned(seed: u8) -> Self {
        let byte = |at: usize| (at as u8).wrapping_mul(151) ^ seed.wrapping_mul(29) ^ 0x5a;
        let mut picture = Self { legacy: [0; 512], ymm: [[0; 32]; 16], general: [0; 17] };
        for (n, register) in picture.ymm.iter_mut().enumerate() {
            *register = core::array::from_fn(|at| byte(32 * n + at));
            picture.legacy[160 + 16 * n..][..16].copy_from_slice(&register[..16]);
        }
        for n in 0..8 {
            for at in 0..10 {
                picture.legacy[32 + 16 * n + at] = byte(at + 10 * n + 7);
            }
        }
        // x87's control word, status (top and C0), tags; MXCSR: all exceptions masked, rounding by the seed.
        picture.legacy[..5].copy_from_slice(&[0x7f, 0x02, 0x00, 0x01 | (seed & 7) << 3, 0xff]);
        picture.legacy[24..26].copy_from_slice(&[0x80, 0x1f | (seed & 3) << 5]);
        // No canonical addresses.
        picture.general = core::array::from_fn(|n| 1 << 63 | u64::from(byte(n)) << 40 | n as u64);
        picture.general[RFLAGS] = FLAGS | 0x202;
        picture
    }

    /// What of the 512 bytes is compared: not the pointers to the last x87 instruction, nor what is reserved.
    fn compared(at: usize) -> bool {
        let in_register = (32..160).contains(&at) && (at - 32) % 16 < 10;
        at < 5 || (24..28).contains(&at) || in_register || (160..416).contains(&at)
    }
}

/// Fills the registers, executes a step, and stores them.
#[unsafe(naked)]
unsafe extern "C" fn execute(_: &mut Trial, _: unsafe extern "C" fn()) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rsi",
        "push rdi",
        "mov [rdi + {before} + 4 * 8], rsp",
        "fxrstor64 [rdi]",
        "cmp qword ptr [rdi + {avx}], 0",
        "je 2f",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovups ymm\\n, [rdi + {ymm} + \\n * 32]",
        ".endr",
        "2: push qword ptr [rdi + {before} + 16 * 8]",
        "popfq",
        ".irp n, 8, 9, 10, 11, 12, 13, 14, 15",
        "mov r\\n, [rdi + {before} + \\n * 8]",
        ".endr",
        "mov rax, [rdi + {before}]",
        "mov rcx, [rdi + {before} + 1 * 8]",
        "mov rdx, [rdi + {before} + 2 * 8]",
        "mov rbx, [rdi + {before} + 3 * 8]",
        "mov rbp, [rdi + {before} + 5 * 8]",
        "mov rsi, [rdi + {before} + 6 * 8]",
        "mov rdi, [rdi + {before} + 7 * 8]",
        "call [rsp + 8]",
        "pushfq",
        "push rdi",
        "mov rdi, [rsp + 16]",
        "mov [rdi + {after}], rax",
        "mov [rdi + {after} + 1 * 8], rcx",
        "mov [rdi + {after} + 2 * 8], rdx",
        "mov [rdi + {after} + 3 * 8], rbx",
        "mov [rdi + {after} + 5 * 8], rbp",
        "mov [rdi + {after} + 6 * 8], rsi",
        ".irp n, 8, 9, 10, 11, 12, 13, 14, 15",
        "mov [rdi + {after} + \\n * 8], r\\n",
        ".endr",
        "pop qword ptr [rdi + {after} + 7 * 8]",
        "pop qword ptr [rdi + {after} + 16 * 8]",
        "mov [rdi + {after} + 4 * 8], rsp",
        "cld",
        "fxsave64 [rdi + {second}]",
        "cmp qword ptr [rdi + {avx}], 0",
        "je 3f",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovups [rdi + {second} + {ymm} + \\n * 32], ymm\\n",
        ".endr",
        "vzeroupper",
        // What Rust counts on: x87 empty, both control words at their defaults.
        "3: fninit",
        "push 0x1f80",
        "ldmxcsr [rsp]",
        "add rsp, 24",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        before = const offset_of!(Trial, before) + offset_of!(Picture, general),
        after = const offset_of!(Trial, after) + offset_of!(Picture, general),
        second = const offset_of!(Trial, after),
        ymm = const offset_of!(Picture, ymm),
        avx = const offset_of!(Trial, avx),
    )
}

/// How often [`spin`] goes round.
static ROUNDS: AtomicU64 = AtomicU64::new(0);

macro_rules! steps {
    ($($name:ident: $($line:literal),* $(; $operand:ident)?)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!($($line,)* "ret", $(rounds = sym $operand)?)
        }
    )*};
}

steps! {
    spin: "2: dec qword ptr [rip + {rounds}]", "jnz 2b"; ROUNDS
    system_call: "syscall"
    gate: "int 0x80"
    store: "mov byte ptr [rbx], 1"
    divide: "div r15d"
    breakpoint: "int3"
    overflow: "int 4"
    undefined: "ud2"
    privileged: "hlt"
    selector: "mov ds, r15d"
    // A signal's handler goes on here: the stack is as it was when the step was called.
    go_on: "nop"
}

/// Exceptions that become a signal: RBX is an address, R15 a divisor and a selector.
const EXCEPTIONS: [(&str, usize, unsafe extern "C" fn(), u64, u64); 8] = [
    ("#DE", signal::SIGFPE, divide, 0, 0),
    ("#BP", signal::SIGTRAP, breakpoint, 0, 0),
    ("#OF", signal::SIGSEGV, overflow, 0, 0),
    ("#UD", signal::SIGILL, undefined, 0, 0),
    ("#GP of an address", signal::SIGSEGV, store, 1 << 63, 0),
    ("#GP of an instruction", signal::SIGSEGV, privileged, 0, 0),
    ("#GP of a selector", signal::SIGSEGV, selector, 0, 0xfff7),
    ("#PF", signal::SIGSEGV, store, UNMAPPED, 0),
];

/// The first register that is not what it was, but for those that may change.
fn differs(trial: &Trial, changes: &[usize]) -> Option<&'static str> {
    let (before, after) = (&trial.before, &trial.after);
    let mask = |n: usize| if n == RFLAGS { FLAGS } else { !0 };
    let differs = |n: &usize| (before.general[*n] ^ after.general[*n]) & mask(*n) != 0;
    let general = (0..NAMES.len()).find(|n| differs(n) && !changes.contains(n));
    if let Some(n) = general {
        return Some(NAMES[n]);
    }
    if (0..512).any(|at| Picture::compared(at) && before.legacy[at] != after.legacy[at]) {
        return Some("x87, MXCSR or XMM");
    }
    (trial.avx != 0 && before.ymm != after.ymm).then_some("YMM")
}

fn has_avx() -> bool {
    const OSXSAVE_AVX: u32 = 1 << 27 | 1 << 28;
    if __cpuid(1).ecx & OSXSAVE_AVX != OSXSAVE_AVX {
        return false;
    }
    let low: u32;
    // SAFETY: OSXSAVE is set, so that XGETBV of XCR0 can be executed.
    unsafe { core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _, options(nomem, nostack)) };
    low & 6 == 6
}

fn run(seed: u8, step: unsafe extern "C" fn(), prepare: impl FnOnce(&mut General)) -> Trial {
    let before = Picture::patterned(seed);
    let mut trial = Trial { before, after: before, avx: u64::from(has_avx()) };
    prepare(&mut trial.before.general);
    // SAFETY: the steps return with the stack as it was; MXCSR has no reserved bit.
    unsafe { execute(&mut trial, step) };
    trial
}

/// Spins with all registers full, for so long by the clock. The steps in between are short against a slice of time.
fn spin_for(seed: u8, nanoseconds: u64) -> Option<&'static str> {
    const ROUNDS_AT_ONCE: u64 = 400_000;
    let end = sys::monotonic_ns() + nanoseconds;
    while sys::monotonic_ns() < end {
        ROUNDS.store(ROUNDS_AT_ONCE, Ordering::Relaxed);
        let trial = run(seed, spin, |_| ());
        if let Some(register) = differs(&trial, &[RFLAGS]) {
            return Some(register);
        }
    }
    None
}

/// A page fault that the kernel repairs.
fn fault(report: &mut Report) {
    match sys::mmap_anonymous(4096, sys::PROT_READ | sys::PROT_WRITE) {
        Ok(page) => {
            let trial = run(5, store, |general| general[RBX] = page as u64);
            // SAFETY: the page was just mapped, and nobody else knows it.
            let stored = unsafe { page.read() } == 1;
            let lost = differs(&trial, &[]);
            report.check(
                "registers-page-fault",
                stored && lost.is_none(),
                format_args!("all kept: {lost:?}, stored {stored}"),
            );
        }
        Err(error) => report.check("registers-page-fault", false, format_args!("{error}")),
    }
}

/// Exceptions of which the kernel makes a signal, whose handler goes on behind the instruction.
fn exceptions(report: &mut Report) {
    let mut lost = None;
    for (name, number, step, rbx, r15) in EXCEPTIONS {
        let set = set_signal(number, Disposition::GoOnAt(go_on as *const () as usize));
        let trial = run(6, step, |general| (general[RBX], general[R15]) = (rbx, r15));
        let register = differs(&trial, &[]);
        let reset = set_signal(number, Disposition::Default);
        if register.is_some() || set.is_err() || reset.is_err() {
            lost = lost.or(Some((name, register)));
        }
    }
    report.check(
        "registers-exceptions",
        lost.is_none(),
        format_args!("all kept by {} exceptions: {lost:?}", EXCEPTIONS.len()),
    );
}

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    // On one CPU, which both programs share.
    let all = sys::affinity();
    let _ = sys::set_affinity(all & all.wrapping_neg());
    let child = process::spawn(|| i32::from(spin_for(1, SPIN).is_some()));
    let own = spin_for(2, SPIN);
    let status = child.and_then(process::wait);
    report.check(
        "registers-shared",
        own.is_none() && status == Ok(Status::Exited(0)),
        format_args!("two programs in turns, avx {}: {own:?}, {status:?}", has_avx()),
    );
    let pid = |general: &mut General| general[RAX] = GETPID;
    let syscall = differs(&run(3, system_call, pid), &[RAX, RCX, R11]);
    report.check(
        "registers-syscall",
        syscall.is_none(),
        format_args!("all kept but rax, rcx, r11: {syscall:?}"),
    );
    // Both kinds of system call share an exit, which keeps neither RCX nor R11.
    let gate = differs(&run(4, gate, pid), &[RAX, RCX, R11]);
    report.check("registers-int80", gate.is_none(), format_args!("all kept but rax, rcx, r11: {gate:?}"));
    fault(&mut report);
    exceptions(&mut report);
    report.code()
}
