//! Model-specific registers that the kernel reads and writes (what Xen 4.17 shows a PV domain without devices).
//!
//! Segment bases are the vcpu's own. EFER, PAT, TSC, APIC base and machine-check registers can be read; some writes are
//! taken and forgotten. Everything that the hypervisor keeps for itself is #GP: system call and debug registers,
//! x2APIC, VMX, SVM and memory types. Programs get #GP for all.

use paravane_abi::trap::vector;
use pv_probe::ring;

use crate::case::{Case, Rings, Row, Verdict};
use crate::code;
use crate::code::kernel;
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "msrs",
    &[
        Case::good("fs-base", "FS's base, all 64 bits of it", |t| base(t, FS_BASE)),
        Case::good("gs-base", "GS's base", |t| base(t, GS_BASE)),
        Case::good("inactive-gs-base", "the base of GS of the other half", |t| base(t, KERNEL_GS_BASE)),
        Case::good("bases-apart", "the three bases are three", apart)
            .rings(Rings::Three("ring 1 swaps no bases")),
        Case::refusal("fs-base-bad", "a base that is no address", |t| base_bad(t, FS_BASE)),
        Case::refusal("gs-base-bad", "the same of GS", |t| base_bad(t, GS_BASE)),
        Case::refusal("inactive-gs-base-bad", "the same of the other half's GS", |t| {
            base_bad(t, KERNEL_GS_BASE)
        }),
        Case::good("efer", "system calls, long mode and NX are on, and nothing else is shown", efer),
        Case::refusal("efer-others", "no bit of EFER can be changed", efer_others),
        Case::good("pat", "memory types as Xen has them", pat),
        Case::refusal("pat-others", "PAT cannot be changed", |t| refused_writes(t, &[0x277])),
        Case::good("time-stamp", "the time stamp can be read", time_stamp),
        Case::good("apic-base", "the APIC is where it always is, and enabled", apic_base),
        Case::refusal("apic-base-write", "and cannot be moved", |t| refused_writes(t, &[0x1b])),
        Case::refusal("system-calls", "registers of syscall", |t| {
            refused(t, &[0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084])
        }),
        Case::refusal("sysenter", "registers of sysenter", |t| refused(t, &[0x174, 0x175, 0x176])),
        Case::refusal("x2apic", "registers of the x2APIC", |t| refused(t, &[0x800, 0x802, 0x830, 0x80b])),
        Case::refusal("vmx", "registers of VMX", |t| refused(t, &[0x3a, 0x480, 0x48b, 0x491])),
        Case::refusal("svm", "registers of SVM", |t| refused(t, &[0xc001_0114, 0xc001_0117])),
        Case::refusal("debug-control", "branch records", |t| refused(t, &[0x1d9, 0x1db, 0x1c8])),
        Case::refusal("speculation", "speculation control that the processor does not show", |t| {
            refused(t, &[0x48, 0x49])
        }),
        Case::refusal("memory-types", "MTRRs", |t| refused(t, &[0x200, 0x201, 0x250, 0x2ff])),
        Case::refusal("microcode", "the trigger of microcode updates", |t| refused(t, &[0x79])),
        Case::refusal("hypervisors", "other numbers of the hypervisor's range", |t| {
            refused(t, &[0x4000_0001, 0x4000_0002, 0x4000_00ff])
        }),
        Case::refusal("unknown", "numbers that nobody has", |t| {
            refused(t, &[0x1234_5678, 0xdead_beef, 0xffff_ffff])
        }),
        Case::good("rcx-upper", "the upper half of RCX is not looked at", rcx_upper),
        Case::good("wrmsr-ignored", "system configuration can be written, to no effect", ignored),
    ],
);

const FS_BASE: u64 = 0xc000_0100;
const GS_BASE: u64 = 0xc000_0101;
const KERNEL_GS_BASE: u64 = 0xc000_0102;
const EFER: u64 = 0xc000_0080;

/// What a register reads as; `None` is #GP.
fn read(number: u64) -> Option<u64> {
    let came = kernel(code!("mov rcx, rdi", "rdmsr"), number);
    let [low, high] = [0, 3].map(|index: usize| came.caught.registers[index]);
    (came.caught.vector == u64::from(vector::UD)).then_some(high << 32 | low)
}

/// Whether a register takes a value.
fn write(number: u64, value: u64) -> bool {
    let request = [number, value];
    let code = code!("mov rcx, [rdi]", "mov eax, [rdi + 8]", "mov edx, [rdi + 12]", "wrmsr");
    kernel(code, request.as_ptr() as u64).caught.vector == u64::from(vector::UD)
}

fn base(t: &mut Trial, number: u64) -> Verdict {
    let before = read(number);
    for value in [0x1234_5678_9abcu64, 0xffff_9876_5432_1000, 0] {
        t.same(format_args!("{value:x}.taken"), write(number, value), true);
        t.same(format_args!("{value:x}.read"), read(number), Some(value));
    }
    write(number, before.unwrap_or(0));
    Ok(())
}

fn apart(t: &mut Trial) -> Verdict {
    let numbers = [FS_BASE, GS_BASE, KERNEL_GS_BASE];
    for (number, value) in numbers.into_iter().zip([0x1000u64, 0x2000, 0x3000]) {
        t.same(format_args!("{number:x}"), write(number, value), true);
    }
    t.same("read", numbers.map(read), [Some(0x1000), Some(0x2000), Some(0x3000)]);
    numbers.into_iter().for_each(|number| {
        write(number, 0);
    });
    t.holds("ring", !ring::is_1());
    Ok(())
}

fn base_bad(t: &mut Trial, number: u64) -> Verdict {
    let before = read(number);
    for value in [pointers::NOT_CANONICAL, 0x1234_5678_9abc_def0, 0xffff_7fff_ffff_ffff] {
        t.same(format_args!("{value:x}.taken"), write(number, value), false);
        t.same(format_args!("{value:x}.kept"), read(number) == before, true);
    }
    Ok(())
}

fn efer(t: &mut Trial) -> Verdict {
    t.same("value", read(EFER), Some(0xd01));
    t.same("same", write(EFER, 0xd01), true);
    Ok(())
}

fn efer_others(t: &mut Trial) -> Verdict {
    for bit in [0u32, 8, 10, 11, 12, 13, 14, 63] {
        t.same(format_args!("{bit}"), write(EFER, 0xd01 ^ 1 << bit), false);
    }
    t.same("after", read(EFER), Some(0xd01));
    Ok(())
}

fn pat(t: &mut Trial) -> Verdict {
    t.same("value", read(0x277), Some(0x0000_0501_0007_0406));
    Ok(())
}

/// Neither to read nor to write.
fn refused(t: &mut Trial, numbers: &[u64]) -> Verdict {
    for &number in numbers {
        t.same(format_args!("{number:x}.read"), read(number), None);
    }
    refused_writes(t, numbers)
}

fn refused_writes(t: &mut Trial, numbers: &[u64]) -> Verdict {
    for &number in numbers {
        t.same(format_args!("{number:x}.written"), write(number, u64::MAX), false);
        let came = kernel(code!("mov rcx, rdi", "mov rax, -1", "mov rdx, -1", "wrmsr"), number);
        t.raises(format_args!("{number:x}"), &came.caught, vector::GP.into(), Some(0));
    }
    Ok(())
}

fn time_stamp(t: &mut Trial) -> Verdict {
    let values = [read(0x10), read(0x10)];
    t.holds("read", values[0].is_some() && values[1].is_some());
    t.holds("grows", values[1] > values[0]);
    Ok(())
}

fn apic_base(t: &mut Trial) -> Verdict {
    let value = read(0x1b).unwrap_or(0);
    t.equal("address", value & 0xf_ffff_f000, 0xfee0_0000);
    t.equal("enabled", value & 0x800, 0x800);
    Ok(())
}

fn rcx_upper(t: &mut Trial) -> Verdict {
    t.same("efer", read(EFER | 0xffff_ffff_0000_0000), Some(0xd01));
    Ok(())
}

fn ignored(t: &mut Trial) -> Verdict {
    for number in [0xc001_001fu64, 0xc001_0015] {
        let before = read(number);
        t.holds(format_args!("{number:x}.read"), before.is_some());
        t.same(format_args!("{number:x}.taken"), write(number, before.unwrap_or(0) ^ 1), true);
        t.holds(format_args!("{number:x}.kept"), read(number) == before);
    }
    Ok(())
}
