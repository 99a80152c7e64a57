//! What neither the kernel nor a program may do, and what only the kernel may.

use paravane_abi::trap::vector;

use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{Half, run};
use crate::trial::Trial;

/// A case: both halves, or programs alone, are refused at the instruction.
macro_rules! refused {
    ($name:literal, $halves:expr, $vector:ident, $($line:literal),+) => {
        Case::refusal($name, concat!(stringify!($vector), " for ", $($line, "; "),+), |t| {
            refused(t, $halves, vector::$vector, code!($($line),+))
        })
    };
}

const BOTH: &[Half] = &[Half::Kernel, Half::Program];
const PROGRAM: &[Half] = &[Half::Program];

/// The cases. The first instruction is the one.
pub const CASES: &[Case] = &[
    refused!("hlt", BOTH, GP, "hlt"),
    refused!("lgdt", BOTH, GP, "lgdt [rsp]"),
    refused!("lidt", BOTH, GP, "lidt [rsp]"),
    refused!("lldt", BOTH, GP, "lldt ax"),
    refused!("ltr", BOTH, GP, "ltr ax"),
    refused!("invlpg", BOTH, GP, "invlpg [rsp]"),
    refused!("invd", BOTH, GP, "invd"),
    refused!("swapgs", BOTH, GP, "swapgs"),
    refused!("sysret", BOTH, GP, "sysretq"),
    refused!("lmsw", BOTH, GP, "lmsw ax"),
    refused!("cli", BOTH, GP, "cli"),
    refused!("sti", BOTH, GP, "sti"),
    refused!("in-immediate", BOTH, GP, "in al, 0x80"),
    refused!("out-immediate", BOTH, GP, "out 0x80, al"),
    refused!("ins", BOTH, GP, "insb"),
    refused!("outs", BOTH, GP, "outsb"),
    refused!("read-cr8", BOTH, GP, "mov rax, cr8"),
    refused!("write-cr8", BOTH, GP, "mov cr8, rax"),
    refused!("vmcall", BOTH, UD, "vmcall"),
    refused!("vmmcall", BOTH, UD, "vmmcall"),
    refused!("program-read-cr0", PROGRAM, GP, "mov rax, cr0"),
    refused!("program-read-cr2", PROGRAM, GP, "mov rax, cr2"),
    refused!("program-read-cr3", PROGRAM, GP, "mov rax, cr3"),
    refused!("program-read-cr4", PROGRAM, GP, "mov rax, cr4"),
    refused!("program-write-cr0", PROGRAM, GP, "mov cr0, rax"),
    refused!("program-write-cr3", PROGRAM, GP, "mov cr3, rax"),
    refused!("program-clts", PROGRAM, GP, "clts"),
    refused!("program-wbinvd", PROGRAM, GP, "wbinvd"),
    refused!("program-read-dr", PROGRAM, GP, "mov rax, dr0"),
    refused!("program-write-dr", PROGRAM, GP, "mov dr0, rax"),
    refused!("program-rdmsr", PROGRAM, GP, "rdmsr"),
    refused!("program-wrmsr", PROGRAM, GP, "wrmsr"),
    Case::refusal("rdpmc", "performance counters", rdpmc),
    Case::refusal("far-return-to-ring-0", "retf to a selector of ring 0", far_return),
    Case::refusal("iretq-to-ring-0", "iretq to a selector of ring 0", iretq),
];

fn refused(t: &mut Trial, halves: &[Half], number: u8, code: &[u8]) -> Verdict {
    let error = vector::has_error_code(number).then_some(0);
    for half in halves {
        let came = run(*half, code, 0);
        came.expect(t, number, error, 0);
    }
    Ok(())
}

fn rdpmc(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        run(half, code!("xor ecx, ecx", "rdpmc"), 0).expect(t, vector::GP, Some(0), 2);
    }
    Ok(())
}

/// Raised at the last instruction, with some words on the stack.
fn with_words(t: &mut Trial, code: &[u8], back: u64, error: u64) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        let came = run(half, code, 0);
        let name = half.name();
        t.raises(name, &came.caught, vector::GP.into(), Some(error));
        let rip = came.caught.frame()[0].wrapping_sub(came.start);
        t.equal(format_args!("{name}.rip"), rip, code.len() as u64 - back);
    }
    Ok(())
}

fn far_return(t: &mut Trial) -> Verdict {
    with_words(t, code!("push 0xe008", "push 0", "retfq"), 2, 0xe008)
}

fn iretq(t: &mut Trial) -> Verdict {
    with_words(t, code!("push 0", "push 0", "push 2", "push 0xe008", "push 0", "iretq"), 2, 0xe008)
}
