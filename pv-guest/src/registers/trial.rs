//! One step between two pictures of the general registers, and the steps.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::hypercall::{HYPERVISOR_IRET, SLOT_SIZE};
use paravane_abi::regs::VGCF_IN_SYSCALL;

use crate::cpu_ops::{facts, hypercall};

/// Names of the general registers, by their number in instructions, and of the flags.
pub const NAMES: [&str; 17] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "rflags",
];
pub const RAX: usize = 0;
pub const RCX: usize = 1;
pub const RDX: usize = 2;
pub const RBX: usize = 3;
pub const RSI: usize = 6;
pub const RDI: usize = 7;
pub const R11: usize = 11;
/// The place behind the general registers.
pub const RFLAGS: usize = 16;
/// CF, PF, AF, ZF, SF, DF, OF: what a kernel may set without an effect on the hypervisor. DF is for the handlers to clear.
pub const FLAGS: u64 = 0xcd5;

/// The general registers by number, and RFLAGS.
pub type Picture = [u64; 17];

/// What a step finds, and what it leaves.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Trial {
    /// Before. RSP is what it is.
    pub before: Picture,
    /// After.
    pub after: Picture,
}

/// A pattern for a register. As an address it is not canonical, as a command it is none that exists.
pub const fn pattern(register: usize) -> u64 {
    1 << 63 | (register as u64 + 1) << 40 | (register as u64 + 1) << 20 | 0x3f
}

impl Trial {
    /// All registers have their patterns.
    pub fn new() -> Self {
        let mut before = [0; 17];
        for (register, value) in before.iter_mut().enumerate().take(RFLAGS) {
            *value = pattern(register);
        }
        // What `popf` does to IF outside ring 0 is nothing; in ring 0 interrupts stay off.
        before[RFLAGS] = FLAGS | if facts().ring == 0 { 2 } else { 0x202 };
        Self { before, after: [0; 17] }
    }

    /// Executes a step, which returns by `ret` with its stack as it was.
    pub fn run(&mut self, step: u64) {
        // SAFETY: the steps below, and the hypercall page's, come back with the stack as it was; `execute` gives every
        // register back that the compiler counts on.
        unsafe { execute(self, step) };
        self.after[RFLAGS] &= FLAGS;
        self.before[RFLAGS] &= FLAGS;
    }
}

#[unsafe(naked)]
unsafe extern "C" fn execute(_: &mut Trial, _: u64) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rsi",
        "push rdi",
        "mov [rdi + 4 * 8], rsp",
        "push qword ptr [rdi + 16 * 8]",
        "popfq",
        "mov rax, [rdi]",
        "mov rcx, [rdi + 1 * 8]",
        "mov rdx, [rdi + 2 * 8]",
        "mov rbx, [rdi + 3 * 8]",
        "mov rbp, [rdi + 5 * 8]",
        "mov rsi, [rdi + 6 * 8]",
        "mov r8, [rdi + 8 * 8]",
        "mov r9, [rdi + 9 * 8]",
        "mov r10, [rdi + 10 * 8]",
        "mov r11, [rdi + 11 * 8]",
        "mov r12, [rdi + 12 * 8]",
        "mov r13, [rdi + 13 * 8]",
        "mov r14, [rdi + 14 * 8]",
        "mov r15, [rdi + 15 * 8]",
        "mov rdi, [rdi + 7 * 8]",
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
        "mov [rdi + {after} + 8 * 8], r8",
        "mov [rdi + {after} + 9 * 8], r9",
        "mov [rdi + {after} + 10 * 8], r10",
        "mov [rdi + {after} + 11 * 8], r11",
        "mov [rdi + {after} + 12 * 8], r12",
        "mov [rdi + {after} + 13 * 8], r13",
        "mov [rdi + {after} + 14 * 8], r14",
        "mov [rdi + {after} + 15 * 8], r15",
        "pop qword ptr [rdi + {after} + 7 * 8]",
        "pop qword ptr [rdi + {after} + 16 * 8]",
        "mov [rdi + {after} + 4 * 8], rsp",
        "cld",
        "add rsp, 16",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        after = const core::mem::offset_of!(Trial, after),
    )
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident: $($line:literal),*;)*) => {$(
        $(#[$doc])*
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!($($line,)* "ret")
        }
    )*};
}

// The first label of a step that faults is where it does, the second where it goes on.
macro_rules! faulting {
    ($($(#[$doc:meta])* $name:ident: $($line:literal),* => $from:literal;)*) => {$(
        $(#[$doc])*
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                $($line,)*
                "3: ret",
                ".pushsection .ex_table, \"a\", @progbits",
                concat!(".quad ", $from, ", 3b"),
                ".popsection",
            )
        }
    )*};
}

steps! {
    /// A hypercall of a kernel in ring 1 without the page.
    raw_ring1: "int 0x82";
    /// Any Xen guest's.
    raw_ring3: "syscall";
    /// With TS set: #NM, whose handler clears it.
    x87: "fnop";
    read_cr0: "mov rax, cr0";
    plain_cpuid: "cpuid";
    forced_cpuid: "ud2", ".ascii \"xen\"", "cpuid";
    rdmsr: "rdmsr";
    wbinvd: "wbinvd";
}

faulting! {
    /// #DE, when R15 is 0.
    divide: "2: div r15d" => "2b";
    /// #BP.
    breakpoint: "int3" => "3b";
    /// #OF.
    overflow: "int 4" => "3b";
    /// #UD.
    undefined: "2: ud2" => "2b";
    /// #GP of an address.
    not_canonical: "2: cmp byte ptr [rbx], 0" => "2b";
    /// #GP of an instruction: it is ring 0's, where R15 is no selector for it.
    privileged: "2: ltr r15w" => "2b";
    /// #GP of a selector, R15.
    selector: "2: mov ds, r15d" => "2b";
    /// #DB, when a debug register says so.
    debug: "2: nop" => "2b";
    /// #MF, when x87 has an exception pending that it may raise.
    x87_error: "2: fwait" => "2b";
    /// #PF.
    not_present: "2: cmp byte ptr [-4096], 0" => "2b";
}

/// What frames show of this kernel's selectors, for the steps below.
static SELECTORS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// Where the hypercall is, and where it goes.
static IRET: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Prepares the steps that return by hypercall, and says where they go.
pub fn prepare(cs: u64, ss: u64) -> u64 {
    let behind = behind_iret as *const () as u64;
    SELECTORS[0].store(cs, Ordering::Relaxed);
    SELECTORS[1].store(ss, Ordering::Relaxed);
    IRET[0].store(slot(HYPERVISOR_IRET), Ordering::Relaxed);
    IRET[1].store(behind, Ordering::Relaxed);
    behind
}

// A frame of the `iret` hypercall, which goes to `behind_iret`, is built without a register; RSP is 8 lower behind it.
// Either the page's slot completes it, or the step itself, as the slot does (`struct iret_context`).
macro_rules! returns {
    ($($(#[$doc:meta])* $name:ident: $flags:expr, $($line:literal),*;)*) => {$(
        $(#[$doc])*
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                "push qword ptr [rip + {selectors} + 8]",
                "push rsp",
                "pushfq",
                "push qword ptr [rip + {selectors}]",
                "push qword ptr [rip + {iret} + 8]",
                "push {flags}",
                $($line,)*
                selectors = sym SELECTORS,
                iret = sym IRET,
                flags = const $flags,
            )
        }
    )*};
}

returns! {
    /// By the page.
    iret: 0, "jmp qword ptr [rip + {iret}]";
    /// By the page, as from a system call.
    iret_in_syscall: VGCF_IN_SYSCALL, "jmp qword ptr [rip + {iret}]";
    /// By ring 1's instruction.
    iret_ring1: 0, "push rcx", "push r11", "push rax", "mov eax, 23", "int 0x82";
    /// By ring 1's instruction, as from a system call.
    iret_in_syscall_ring1: VGCF_IN_SYSCALL, "push rcx", "push r11", "push rax", "mov eax, 23", "int 0x82";
    /// By any Xen guest's instruction.
    iret_ring3: 0, "push rcx", "push r11", "push rax", "mov eax, 23", "syscall";
    /// By any Xen guest's instruction, as from a system call.
    iret_in_syscall_ring3: VGCF_IN_SYSCALL, "push rcx", "push r11", "push rax", "mov eax, 23", "syscall";
}

#[unsafe(naked)]
unsafe extern "C" fn behind_iret() {
    naked_asm!("lea rsp, [rsp + 8]", "ret")
}

/// A hypercall's slot in the page, as a step.
pub fn slot(number: u64) -> u64 {
    hypercall::page() + number * SLOT_SIZE as u64
}
