//! Every privileged instruction, run in ring 3: each kills its process by the expected vector, and `popf`
//! leaves the interrupt flag alone.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use core::arch::asm;
use ulib::process::Status;
use ulib::report::Report;
use ulib::text::field_number;
use ulib::trap::{self, vector};
use ulib::{Args, file};

ulib::entry!(main);

/// One instruction and the exception it must raise.
struct Row {
    name: &'static str,
    vector: u64,
    /// The other exception a machine may raise instead; mostly the same one.
    or: u64,
    run: fn(),
}

/// A row whose instruction runs with RAX, RDX 0, RCX the number of EFER, and RDI at writable memory.
macro_rules! row {
    ($name:literal, $vector:expr, $($line:literal),+) => {
        Row { name: $name, vector: $vector, or: $vector, run: || {
            let mut memory = [0u64; 4];
            // SAFETY: runs in a process forked to be killed by it; should the instruction pass, it stores at
            // most into `memory` or changes the CPU, which the row then reports.
            unsafe {
                asm!($($line),+, inout("rax") 0u64 => _, inout("rcx") 0xc000_0080u64 => _,
                     inout("rdx") 0u64 => _, inout("rdi") memory.as_mut_ptr() => _);
            }
        } }
    };
}

const GP: u64 = vector::GENERAL_PROTECTION;
const UD: u64 = vector::INVALID_OPCODE;

// Vectors: SDM volume 2, "Protected Mode Exceptions" of each instruction, at CPL 3 with IOPL 0 and
// CR4.UMIP set, but for what `main` says of the latter. STAC and CLAC raise #UD above CPL 0, not #GP.
static ROWS: [Row; 49] = [
    row!("cli", GP, "cli"),
    row!("sti", GP, "sti"),
    row!("hlt", GP, "hlt"),
    row!("in", GP, "in al, 0x80"),
    row!("in-dx", GP, "mov edx, 0x3f8", "in al, dx"),
    row!("out", GP, "out 0x80, al"),
    row!("out-dx", GP, "mov edx, 0x3f8", "out dx, al"),
    row!("insb", GP, "mov edx, 0x3f8", "insb"),
    row!("clts", GP, "clts"),
    row!("mov-from-cr0", GP, "mov rax, cr0"),
    row!("mov-to-cr0", GP, "mov cr0, rax"),
    row!("mov-from-cr2", GP, "mov rax, cr2"),
    row!("mov-to-cr2", GP, "mov cr2, rax"),
    row!("mov-from-cr3", GP, "mov rax, cr3"),
    row!("mov-to-cr3", GP, "mov cr3, rax"),
    row!("mov-from-cr4", GP, "mov rax, cr4"),
    row!("mov-to-cr4", GP, "mov cr4, rax"),
    row!("mov-from-cr8", GP, "mov rax, cr8"),
    row!("mov-to-cr8", GP, "mov cr8, rax"),
    row!("lmsw", GP, "lmsw ax"),
    row!("smsw", GP, "smsw [rdi]"),
    row!("mov-from-dr0", GP, "mov rax, dr0"),
    row!("mov-to-dr0", GP, "mov dr0, rax"),
    row!("mov-from-dr7", GP, "mov rax, dr7"),
    row!("mov-to-dr7", GP, "mov dr7, rax"),
    row!("lgdt", GP, "lgdt [rdi]"),
    row!("lidt", GP, "lidt [rdi]"),
    row!("lldt", GP, "lldt ax"),
    row!("ltr", GP, "ltr ax"),
    row!("sgdt", GP, "sgdt [rdi]"),
    row!("sidt", GP, "sidt [rdi]"),
    row!("sldt", GP, "sldt [rdi]"),
    row!("str", GP, "str [rdi]"),
    row!("rdmsr", GP, "rdmsr"),
    row!("wrmsr", GP, "wrmsr"),
    row!("invlpg", GP, "invlpg [rdi]"),
    row!("invd", GP, "invd"),
    row!("wbinvd", GP, "wbinvd"),
    row!("swapgs", GP, "swapgs"),
    row!("sysretq", GP, "mov rcx, rdi", "sysretq"),
    row!("stac", UD, "stac"),
    row!("clac", UD, "clac"),
    row!("ud2", UD, "ud2"),
    row!("int3", vector::BREAKPOINT, "int3"),
    // The hypercall gate has DPL 1, and the hypervisor's own vectors have DPL 0. QEMU 7.2 pushes the vector times 16, not 8,
    // as error code, by which Xen takes 0x82 for 4, a vector that programs may raise.
    Row { or: vector::OVERFLOW, ..row!("int-0x82", GP, "int 0x82") },
    row!("int-0x20", GP, "int 0x20"),
    row!("int-0x0e", GP, "int 0x0e"),
    // Ring 1's and ring 0's segments, from ring 3.
    row!("load-ring1-data", GP, "mov eax, 0xe071", "mov ss, eax"),
    row!(
        "iret-to-ring1",
        GP,
        "mov rax, rsp",
        "push 0xe071",
        "push rax",
        "push 0x202",
        "push 0xe069",
        "push rdi",
        "iretq"
    ),
];

/// XSETBV without CR4.OSXSAVE is undefined in every ring on a processor (SDM volume 2, XSETBV); QEMU 7.2 looks
/// at the privilege level first, and so does Xen, but with the guest's CR4 in place of the processor's.
fn xsetbv() -> Row {
    Row {
        name: "xsetbv",
        vector: GP,
        or: UD,
        run: || {
            // SAFETY: as in `row!`; XCR0 number 0, value 1 (x87 only) would be valid in ring 0.
            unsafe { asm!("xsetbv", in("ecx") 0, in("eax") 1, in("edx") 0) };
        },
    }
}

/// What user-mode instruction prevention covers (SDM volume 3, 2.5, CR4.UMIP).
const PREVENTED: [&str; 5] = ["smsw", "sgdt", "sidt", "sldt", "str"];

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    let xsetbv = xsetbv();
    // A hypervisor may leave the prevention off; the kernel has found out, in its own ring.
    let prevention = field_number(&file::read_text("/proc/ring").unwrap_or_default(), "prevention");
    for row in ROWS.iter().chain([&xsetbv]) {
        let mut name = String::from("priv.ring3.");
        name.push_str(row.name);
        let outcome = trap::provoke(|| {
            (row.run)();
            0
        });
        match outcome {
            Ok((Status::Exited(0), _)) if prevention == Some(0) && PREVENTED.contains(&row.name) => {
                report.check(&name, true, format_args!("completed: nothing prevents it here"));
            }
            Ok((Status::Killed(signal), Some(fault)))
                if signal == trap::signal_of(fault.vector)
                    && [row.vector, row.or].contains(&fault.vector)
                    && (prevention == Some(1) || !PREVENTED.contains(&row.name)) =>
            {
                report.check(&name, true, format_args!("vector {}", fault.vector));
            }
            outcome => report.check(&name, false, format_args!("wanted vector {}: {outcome:?}", row.vector)),
        }
    }
    let (before, after) = popf();
    let kept = u64::from(after & IF != 0);
    report.check("priv.ring3.popf", before & after & IF != 0, format_args!("no trap, IF stays {kept}"));
    report.code()
}

const IF: u64 = 1 << 9;

/// The flags before and after `popf` tries to clear IF. At CPL 3 with IOPL 0 it ignores the bit silently
/// (SDM volume 2, POPF).
fn popf() -> (u64, u64) {
    let (before, after): (u64, u64);
    // SAFETY: changes no flag but IF, which the CPU keeps.
    unsafe {
        asm!("pushfq", "mov {0}, [rsp]", "btr qword ptr [rsp], 9", "popfq", "pushfq", "pop {1}",
             out(reg) before, out(reg) after);
    }
    (before, after)
}
