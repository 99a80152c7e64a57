//! Control registers, TS, XCR0, debug registers, caches and counters, as the kernel may use them.

use paravane_abi::hypercall::{HYPERVISOR_FPU_TASKSWITCH, HYPERVISOR_GET_DEBUGREG, HYPERVISOR_SET_DEBUGREG};
use paravane_abi::trap::vector;
use pv_probe::hypercall::raw;
use pv_probe::memory;

use crate::case::{Case, Rings, Stop, Verdict};
use crate::code;
use crate::code::{self as run_code, Came, Half, fault_address, kernel, program, set_fault_address};
use crate::topics::cpuid_of::forced_cpuid;
use crate::trial::Trial;

const TS: u64 = 1 << 3;
const OSXSAVE: u64 = 1 << 18;

/// The cases.
pub const CASES: &[Case] = &[
    Case::good(
        "read-cr0",
        "protection, paging, write protection and numeric errors are on, TS is not",
        read_cr0,
    ),
    Case::good("cr0-task-switched", "TS can be set and cleared by mov", cr0_ts),
    Case::refusal("cr0-others", "no other bit of CR0 can be changed", cr0_others),
    Case::good("clts", "clts clears what fpu_taskswitch has set", clts),
    Case::good("cr2", "CR2 is the latest page fault's address, or what was written; arch.cr2 follows", cr2),
    Case::good("read-cr3", "CR3 is the root's machine address", read_cr3),
    Case::good("write-cr3", "CR3 can be loaded with the root in use", write_cr3),
    Case::refusal("write-cr3-bad", "CR3 takes no frame that is no root", write_cr3_bad),
    Case::good("read-cr4", "PAE, OSFXSR and OSXMMEXCPT are on; global pages are not shown", read_cr4),
    Case::good("cr4-some", "DE can be set in CR4", cr4_de),
    Case::good("cr4-time-stamp", "TSD in CR4 takes rdtsc from programs", cr4_tsd),
    Case::good("cr4-others", "other bits of CR4 are ignored", cr4_others),
    Case::good("smsw", "the machine status word can be read", smsw)
        .rings(Rings::Three("UMIP is on while a kernel in ring 1 runs")),
    Case::good("wbinvd", "the kernel may flush caches", |t| passes(t, Half::Kernel, code!("wbinvd"))),
    Case::good("rdtsc-kernel", "the kernel reads the time stamp", |t| grows(t, Half::Kernel)),
    Case::good("rdtsc-program", "a program reads it too", |t| grows(t, Half::Program)),
    Case::good("debug-register", "a debug register by mov is that of the hypercalls", debug_register),
    Case::refusal("debug-register-bad", "no breakpoint in the hypervisor by mov", debug_register_bad),
    Case::good("xgetbv", "XCR0 can be read by both halves", xgetbv),
    Case::good("xsetbv", "XCR0 can be loaded by the kernel", xsetbv),
    Case::refusal("xsetbv-no-x87", "XCR0 without the x87", |t| xsetbv_bad(t, 0, 2)),
    Case::refusal("xsetbv-none", "XCR0 of 0", |t| xsetbv_bad(t, 0, 0)),
    Case::refusal("xsetbv-unknown", "XCR0 with a component that there is not", |t| {
        xsetbv_bad(t, 0, 1 << 62 | 3)
    }),
    Case::refusal("xsetbv-other", "another extended control register", |t| xsetbv_bad(t, 1, 3)),
    Case::refusal("xsetbv-hidden", "xsetbv while CR4.OSXSAVE is clear", xsetbv_hidden),
    Case::good(
        "flags-and-registers",
        "an emulated instruction leaves other registers and flags alone",
        others,
    ),
];

/// What an instruction gives in RAX, if it raises nothing.
fn value(came: &Came) -> Result<u64, Stop> {
    if came.caught.vector == u64::from(vector::UD) {
        return Ok(came.caught.registers[0]);
    }
    Err(Stop::Error("the instruction raised", came.caught.vector as i64))
}

fn cr0() -> Result<u64, Stop> {
    value(&kernel(code!("mov rax, cr0"), 0))
}

fn cr4() -> Result<u64, Stop> {
    value(&kernel(code!("mov rax, cr4"), 0))
}

fn set_cr4(value: u64) -> Came {
    kernel(code!("mov cr4, rdi"), value)
}

/// Runs code that should raise nothing: behind it lies a `ud2`.
fn passes(t: &mut Trial, half: Half, code: &[u8]) -> Verdict {
    run_code::run(half, code, 0).expect(t, vector::UD, None, code.len() as u64);
    Ok(())
}

fn read_cr0(t: &mut Trial) -> Verdict {
    const SHOWN: u64 = 0x8001_0021;
    let value = cr0()?;
    t.equal("set", value & (SHOWN | TS), SHOWN);
    Ok(())
}

fn cr0_ts(t: &mut Trial) -> Verdict {
    let before = cr0()?;
    kernel(code!("mov cr0, rdi"), before | TS).expect(t, vector::UD, None, 3);
    t.equal("set", cr0()? ^ before, TS);
    kernel(code!("fnop"), 0).expect(t, vector::NM, None, 0);
    t.equal("after-fault", cr0()? ^ before, 0);
    kernel(code!("mov cr0, rdi"), before | TS);
    kernel(code!("mov cr0, rdi"), before).expect(t, vector::UD, None, 3);
    kernel(code!("fnop"), 0).expect(t, vector::UD, None, 2);
    Ok(())
}

fn cr0_others(t: &mut Trial) -> Verdict {
    let before = cr0()?;
    for bit in [0, 1, 2, 4, 5, 16, 18, 29, 30, 31, 32, 63] {
        let came = kernel(code!("mov cr0, rdi"), before ^ 1 << bit);
        t.raises(format_args!("{bit}"), &came.caught, vector::GP.into(), Some(0));
    }
    t.equal("after", cr0()? ^ before, 0);
    Ok(())
}

fn clts(t: &mut Trial) -> Verdict {
    for argument in [1u64, 2, 1 << 31] {
        t.need("fpu_taskswitch", raw(HYPERVISOR_FPU_TASKSWITCH, [argument, 0, 0, 0, 0]))?;
        t.equal(format_args!("{argument:x}.set"), cr0()? & TS, TS);
        passes(t, Half::Kernel, code!("clts"))?;
        t.equal(format_args!("{argument:x}.cleared"), cr0()? & TS, 0);
        passes(t, Half::Kernel, code!("fnop"))?;
    }
    Ok(())
}

fn cr2(t: &mut Trial) -> Verdict {
    kernel(code!("mov cr2, rdi"), 0xffff_8000_0000_0678).expect(t, vector::UD, None, 3);
    t.equal("written", fault_address(), 0xffff_8000_0000_0678);
    kernel(code!("mov rax, [rdi]"), 0x1_2345);
    t.equal("after-fault", value(&kernel(code!("mov rax, cr2"), 0))?, 0x1_2345);
    // What the guest writes to the shared page is its own affair.
    set_fault_address(0x1234_5000);
    t.equal("beside", value(&kernel(code!("mov rax, cr2"), 0))?, 0x1_2345);
    Ok(())
}

fn read_cr3(t: &mut Trial) -> Verdict {
    let value = value(&kernel(code!("mov rax, cr3"), 0))?;
    t.holds("frame", value >> 12 == memory::root());
    t.equal("low", value & 0xfff, 0);
    Ok(())
}

fn write_cr3(t: &mut Trial) -> Verdict {
    let root = memory::root() << 12;
    kernel(code!("mov cr3, rdi"), root).expect(t, vector::UD, None, 3);
    t.holds("still", value(&kernel(code!("mov rax, cr3"), 0))? == root);
    Ok(())
}

fn write_cr3_bad(t: &mut Trial) -> Verdict {
    let data = memory::mfn(memory::pfn_at(pv_probe::boot::start().info_address)) << 12;
    for (name, value) in [("null", 0), ("data", data), ("no-frame", 0xff_ffff_f000), ("all", u64::MAX)] {
        let came = t.unchanged(name, || kernel(code!("mov cr3, rdi"), value));
        t.raises(name, &came.caught, vector::GP.into(), Some(0));
    }
    Ok(())
}

fn read_cr4(t: &mut Trial) -> Verdict {
    t.equal("cr4", cr4()?, 0x660);
    Ok(())
}

fn cr4_de(t: &mut Trial) -> Verdict {
    let before = cr4()?;
    set_cr4(before | 8).expect(t, vector::UD, None, 3);
    t.equal("set", cr4()? ^ before, 8);
    set_cr4(before).expect(t, vector::UD, None, 3);
    t.equal("cleared", cr4()? ^ before, 0);
    Ok(())
}

fn cr4_tsd(t: &mut Trial) -> Verdict {
    let before = cr4()?;
    set_cr4(before | 4);
    t.equal("set", cr4()? ^ before, 4);
    let came = program(code!("rdtsc"), 0);
    t.raises("program", &came.caught, vector::GP.into(), Some(0));
    passes(t, Half::Kernel, code!("rdtsc"))?;
    set_cr4(before);
    passes(t, Half::Program, code!("rdtsc"))
}

fn cr4_others(t: &mut Trial) -> Verdict {
    let before = cr4()?;
    for bit in [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 13, 17, 20, 21, 22, 31, 32, 63] {
        let came = set_cr4(before ^ 1 << bit);
        t.raises(format_args!("{bit}"), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{bit}.after"), cr4()? ^ before, 0);
    }
    Ok(())
}

fn smsw(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        let came = run_code::run(half, code!("smsw ax"), 0);
        t.raises(half.name(), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{}.protected", half.name()), came.caught.registers[0] & 1, 1);
    }
    Ok(())
}

fn grows(t: &mut Trial, half: Half) -> Verdict {
    let code =
        code!("rdtsc", "shl rdx, 32", "lea r12, [rax + rdx]", "rdtsc", "shl rdx, 32", "lea r13, [rax + rdx]");
    let came = run_code::run(half, code, 0);
    t.raises("read", &came.caught, vector::UD.into(), None);
    let [first, second] = [11, 12].map(|index: usize| came.caught.registers[index]);
    t.holds("grows", second > first && first > 0);
    Ok(())
}

fn debug_register(t: &mut Trial) -> Verdict {
    kernel(code!("mov dr1, rdi"), 0x1234_5678).expect(t, vector::UD, None, 3);
    t.result("by-call", raw(HYPERVISOR_GET_DEBUGREG, [1, 0, 0, 0, 0]), 0x1234_5678);
    t.succeeds("set", raw(HYPERVISOR_SET_DEBUGREG, [1, 0x8765_4321, 0, 0, 0]));
    t.equal("by-instruction", value(&kernel(code!("mov rax, dr1"), 0))?, 0x8765_4321);
    t.equal("status", value(&kernel(code!("mov rax, dr6"), 0))? & 0xf, 0);
    t.equal("control", value(&kernel(code!("mov rax, dr7"), 0))?, 0x400);
    t.succeeds("back", raw(HYPERVISOR_SET_DEBUGREG, [1, 0, 0, 0, 0]));
    Ok(())
}

fn debug_register_bad(t: &mut Trial) -> Verdict {
    for (name, code, value) in [
        ("hypervisor", code!("mov dr0, rdi"), 0xffff_8000_0000_0000u64),
        ("not-canonical", code!("mov dr0, rdi"), 0x8000_0000_0000),
        ("general-detect", code!("mov dr7, rdi"), 0x2400),
    ] {
        let came = kernel(code, value);
        t.raises(name, &came.caught, vector::GP.into(), Some(0));
    }
    t.result("after", raw(HYPERVISOR_GET_DEBUGREG, [0, 0, 0, 0, 0]), 0);
    Ok(())
}

/// Whether the processor has XSAVE at all.
fn need_xsave() -> Verdict {
    if forced_cpuid(1, 0).ecx & 1 << 26 == 0 {
        return Err(Stop::Skip("the processor has no XSAVE"));
    }
    Ok(())
}

/// XCR0, or the exception.
fn xcr0(half: Half) -> Came {
    run_code::run(half, code!("xor ecx, ecx", "xgetbv", "shl rdx, 32", "or rax, rdx"), 0)
}

fn set_xcr0(number: u64, value: u64) -> Came {
    let code = match number {
        0 => code!("mov rax, rdi", "mov rdx, rdi", "shr rdx, 32", "xor ecx, ecx", "xsetbv"),
        _ => code!("mov rax, rdi", "mov rdx, rdi", "shr rdx, 32", "mov ecx, 1", "xsetbv"),
    };
    kernel(code, value)
}

fn xgetbv(t: &mut Trial) -> Verdict {
    need_xsave()?;
    for half in [Half::Kernel, Half::Program] {
        t.equal(half.name(), value(&xcr0(half))? & 1, 1);
    }
    Ok(())
}

fn xsetbv(t: &mut Trial) -> Verdict {
    need_xsave()?;
    let (cr4, before) = (cr4()?, value(&xcr0(Half::Kernel))?);
    set_cr4(cr4 | OSXSAVE);
    t.equal("shown", self::cr4()? & OSXSAVE, OSXSAVE);
    for value in [1, 3, 7] {
        let came = set_xcr0(0, value);
        t.raises(format_args!("{value}"), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{value}.after"), self::value(&xcr0(Half::Kernel))?, value);
        t.equal(format_args!("{value}.program"), self::value(&xcr0(Half::Program))?, value);
    }
    set_xcr0(0, before);
    set_cr4(cr4);
    Ok(())
}

fn xsetbv_bad(t: &mut Trial, number: u64, value: u64) -> Verdict {
    need_xsave()?;
    let (cr4, before) = (cr4()?, self::value(&xcr0(Half::Kernel))?);
    set_cr4(cr4 | OSXSAVE);
    let came = set_xcr0(number, value);
    set_cr4(cr4);
    t.raises("kernel", &came.caught, vector::GP.into(), Some(0));
    t.equal("after", self::value(&xcr0(Half::Kernel))? ^ before, 0);
    Ok(())
}

fn xsetbv_hidden(t: &mut Trial) -> Verdict {
    need_xsave()?;
    let came = set_xcr0(0, 3);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    t.equal("rip", came.caught.frame()[0].wrapping_sub(came.start), 12);
    Ok(())
}

fn others(t: &mut Trial) -> Verdict {
    let code = code!(
        "mov ebx, 0x11",
        "mov ecx, 0x22",
        "mov edx, 0x33",
        "mov r11d, 0x44",
        "mov r15d, 0x55",
        "stc",
        "mov rax, cr0",
        "ud2"
    );
    let came = kernel(code, 0);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    t.equal("rbx", came.caught.registers[1], 0x11);
    t.equal("rcx", came.caught.pushed[0], 0x22);
    t.equal("rdx", came.caught.registers[3], 0x33);
    t.equal("r11", came.caught.pushed[1], 0x44);
    t.equal("r15", came.caught.registers[14], 0x55);
    t.equal("carry", came.caught.frame()[2] & 1, 1);
    Ok(())
}
