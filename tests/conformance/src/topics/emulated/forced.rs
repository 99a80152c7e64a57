//! The forced-emulation prefix, and single steps over what is emulated.

use paravane_abi::hypercall::{HYPERVISOR_GET_DEBUGREG, HYPERVISOR_SET_DEBUGREG};
use paravane_abi::trap::vector;
use pv_probe::hypercall::raw;

use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{Half, kernel, run};
use crate::trial::Trial;

/// The cases.
pub const CASES: &[Case] = &[
    Case::good("kernel", "cpuid behind the prefix", |t| cpuid(t, Half::Kernel)),
    Case::good("program", "the same of a program", |t| cpuid(t, Half::Program)),
    Case::good("registers", "all but the four registers of cpuid are kept", registers),
    Case::refusal("prefix-alone", "the prefix before another instruction is an invalid opcode", prefix_alone),
    Case::refusal("part-of-prefix", "a part of the prefix is an invalid opcode", part),
    Case::good("step-cpuid", "a single step over cpuid ends behind it", |t| {
        step(t, code!("ud2", ".ascii \"xen\"", "cpuid", "nop"), 7)
    }),
    Case::good("step-read-cr0", "a single step over a read of CR0 ends behind it", |t| {
        step(t, code!("mov rax, cr0", "nop"), 3)
    }),
    Case::good("step-rdmsr", "a single step over rdmsr ends behind it", |t| {
        step(t, code!("rdmsr", "nop"), 2)
    }),
];

/// "XenV", "MMXe", "nVMM".
const SIGNATURE: [u64; 3] = [0x566e_6558, 0x6558_4d4d, 0x4d4d_566e];

fn cpuid(t: &mut Trial, half: Half) -> Verdict {
    let came = run(half, code!("mov eax, 0x40000000", "ud2", ".ascii \"xen\"", "cpuid"), 0);
    came.expect(t, vector::UD, None, 12);
    t.equal("ebx", came.caught.registers[1], SIGNATURE[0]);
    // RCX is in the frame, since entering a handler may change it.
    t.equal("ecx", came.caught.pushed[0], SIGNATURE[1]);
    t.equal("edx", came.caught.registers[3], SIGNATURE[2]);
    Ok(())
}

fn registers(t: &mut Trial) -> Verdict {
    let code = code!(
        "mov rax, -1",
        "mov rbx, -1",
        "mov rcx, -1",
        "mov rdx, -1",
        "mov esi, 0x11",
        "mov ebp, 0x22",
        "mov r8d, 0x33",
        "mov r11d, 0x44",
        "mov eax, 0x40000000",
        "ud2",
        ".ascii \"xen\"",
        "cpuid",
        "ud2"
    );
    let came = kernel(code, 0);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    let caught = &came.caught;
    // The upper halves of the four are cleared (SDM volume 2, CPUID).
    t.equal("upper", (caught.registers[1] | caught.pushed[0] | caught.registers[3]) >> 32, 0);
    t.equal("rsi", caught.registers[4], 0x11);
    t.equal("rbp", caught.registers[6], 0x22);
    t.equal("r8", caught.registers[7], 0x33);
    t.equal("r11", caught.pushed[1], 0x44);
    Ok(())
}

fn prefix_alone(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        run(half, code!("ud2", ".ascii \"xen\"", "nop"), 0).expect(t, vector::UD, None, 0);
    }
    Ok(())
}

fn part(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        run(half, code!("ud2", ".ascii \"xe\"", "cpuid"), 0).expect(t, vector::UD, None, 0);
    }
    Ok(())
}

/// TF is set by a `popfq`; the instruction behind that is the first to be stepped over.
fn step(t: &mut Trial, code: &[u8], length: u64) -> Verdict {
    const START: &[u8] = &[0xb9, 0, 1, 0, 0xc0, 0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d];
    let mut bytes = [0x90; 40];
    bytes[..START.len()].copy_from_slice(START);
    bytes[START.len()..START.len() + code.len()].copy_from_slice(code);
    t.need("set_debugreg", raw(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0, 0]))?;
    let came = kernel(&bytes, 0);
    t.raises("step", &came.caught, vector::DB.into(), None);
    t.equal("rip", came.caught.frame()[0].wrapping_sub(came.start), START.len() as u64 + length);
    t.equal("rflags", came.caught.frame()[2] & 0x100, 0x100);
    t.equal("status", raw(HYPERVISOR_GET_DEBUGREG, [6, 0, 0, 0, 0]) as u64 & 0xe00f, 0x4000);
    t.need("set_debugreg", raw(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0, 0]))
}
