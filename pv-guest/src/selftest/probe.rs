//! One privileged instruction at a time, in a frame that survives whatever it does.

use core::arch::{asm, naked_asm};

use crate::arch::extable;

/// Registers an instruction starts with and leaves, and memory for its operand.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Regs {
    /// RAX.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// What RDI + 24 points to.
    pub memory: [u64; 2],
}

/// A probe: runs its instruction with the registers given; 0 when the instruction completed, 1 when it faulted.
pub type Probe = unsafe extern "C" fn(&mut Regs) -> u64;

macro_rules! probes {
    ($($name:ident: $instruction:literal;)*) => {$(
        #[doc = concat!("`", $instruction, "`")]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name(_: &mut Regs) -> u64 {
            naked_asm!(
                "push rbx",
                "push rdi",
                "mov rax, [rdi]",
                "mov rcx, [rdi + 8]",
                "mov rdx, [rdi + 16]",
                concat!("2: ", $instruction),
                "pop rdi",
                "mov [rdi], rax",
                "mov [rdi + 8], rcx",
                "mov [rdi + 16], rdx",
                "pop rbx",
                "xor eax, eax",
                "ret",
                "3: pop rdi",
                "pop rbx",
                "mov eax, 1",
                "ret",
                ".pushsection .ex_table, \"a\", @progbits",
                ".quad 2b, 3b",
                ".popsection",
            )
        }
    )*};
}

probes! {
    cli: "cli";
    sti: "sti";
    hlt: "hlt";
    in_al: "in al, dx";
    out_al: "out dx, al";
    clts: "clts";
    read_cr0: "mov rax, cr0";
    read_cr2: "mov rax, cr2";
    read_cr3: "mov rax, cr3";
    read_cr4: "mov rax, cr4";
    write_cr0: "mov cr0, rax";
    write_cr2: "mov cr2, rax";
    write_cr3: "mov cr3, rax";
    write_cr4: "mov cr4, rax";
    read_dr0: "mov rax, dr0";
    write_dr0: "mov dr0, rax";
    read_dr7: "mov rax, dr7";
    write_dr7: "mov dr7, rax";
    lgdt: "lgdt [rdi + 24]";
    lidt: "lidt [rdi + 24]";
    lldt: "lldt ax";
    ltr: "ltr ax";
    sgdt: "sgdt [rdi + 24]";
    sidt: "sidt [rdi + 24]";
    sldt: "sldt eax";
    str: "str eax";
    lar: "lar ecx, eax";
    load_ds: "mov ds, eax";
    rdfsbase: "rdfsbase rax";
    rdtsc: "rdtsc";
    wrfsbase: "wrfsbase rax";
    rdmsr: "rdmsr";
    wrmsr: "wrmsr";
    invlpg: "invlpg [rdi]";
    wbinvd: "wbinvd";
    sti_cli: "sti\nnop\ncli";
    sti_hlt_cli: "sti\nhlt\ncli";
    swapgs: "swapgs";
    swapgs_twice: "swapgs\nswapgs";
    sysretq: "sysretq";
    stac: "stac";
    stac_clac: "stac\nclac";
    smsw: "smsw eax";
    xsetbv: "xsetbv";
}

/// What an instruction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It completed, executed or emulated.
    Completed,
    /// It raised this vector.
    Fault(u64),
}

/// Runs a probe.
pub fn run(probe: Probe, regs: &mut Regs) -> Outcome {
    // SAFETY: a fault resumes inside the probe; the callers' rows are instructions that this kernel must not be able to do
    // harm with, which is what they test.
    match unsafe { probe(regs) } {
        0 => Outcome::Completed,
        _ => Outcome::Fault(extable::last_fault().0),
    }
}

/// Whether a byte can be read and written back.
pub fn is_writable(address: u64) -> bool {
    let refused: u64;
    // SAFETY: both accesses resume at 5 when they fault. A byte of a stack of ring 0 that is written back unchanged is
    // dead while ring 1 runs, so an interrupt in between does no harm.
    unsafe {
        asm!(
            "2: mov {byte}, [{address}]",
            "3: mov [{address}], {byte}",
            "xor {refused:e}, {refused:e}",
            "jmp 6f",
            "5: mov {refused:e}, 1",
            "6:",
            ".pushsection .ex_table, \"a\", @progbits",
            ".quad 2b, 5b",
            ".quad 3b, 5b",
            ".popsection",
            byte = out(reg_byte) _,
            address = in(reg) address,
            refused = lateout(reg) refused,
        );
    }
    refused == 0
}

/// Whether a byte can be read.
pub fn is_readable(address: u64) -> bool {
    let refused: u64;
    // SAFETY: the access resumes at 5 when it faults.
    unsafe {
        asm!(
            "2: mov {byte}, [{address}]",
            "xor {refused:e}, {refused:e}",
            "jmp 6f",
            "5: mov {refused:e}, 1",
            "6:",
            ".pushsection .ex_table, \"a\", @progbits",
            ".quad 2b, 5b",
            ".popsection",
            byte = out(reg_byte) _,
            address = in(reg) address,
            refused = lateout(reg) refused,
            options(readonly),
        );
    }
    refused == 0
}
