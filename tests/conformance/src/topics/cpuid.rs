//! CPUID as Xen shows it to its guests (xen/include/public/arch-x86/cpuid.h), by the forced-emulation prefix.
//!
//! Leaves from 0x40000000 are the hypervisor's: the last leaf and the signature, Xen's version, the hypercall page, time, and what
//! is for HVM and for PV. The processor's own leaves show what a PV guest can use: nothing of virtualization, paging modes
//! and protections that are Xen's own, topology, power and performance counters. The processor does not fault on `cpuid`
//! itself, so that programs see the machine's leaves.

use core::arch::x86_64::CpuidResult;

use paravane_abi::cpuid::{LEAF_HVM, LEAF_HYPERCALL, LEAF_PV, LEAF_TSC, LEAF_VERSION, XEN_CPUID_FIRST_LEAF};
use paravane_abi::start_info::StartFlags;
use paravane_abi::trap::vector;
use pv_probe::boot::start;

use crate::case::{Case, Rings, Row, Stop, Verdict};
use crate::code;
use crate::code::{Half, run};
use crate::topics::clock;
use crate::topics::cpuid_of::forced_cpuid;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "cpuid",
    &[
        Case::good("signature", "the last leaf and XenVMMXenVMM", signature),
        Case::good("version", "Xen 4.17", version),
        Case::good(
            "hypercall-page",
            "one page, by MSR 0x40000000; updates of page tables can keep A and D",
            hypercall_page,
        ),
        Case::good("time", "the frequency is that of the clock", time),
        Case::good("hvm-leaf", "nothing for HVM guests", hvm),
        Case::good("pv-leaf", "the width of machine addresses", pv),
        Case::good("beyond-hypervisor", "zeroes behind the hypervisor's last leaf", beyond_hypervisor),
        Case::good("no-extension", "no leaves of Paravane's in ring 3", no_extension)
            .rings(Rings::Three("a kernel in ring 1 has them")),
        Case::good("vendor", "the vendor in both ranges", vendor),
        Case::good("hypervisor-bit", "there is a hypervisor", |t| bit(t, 1, 'c', 31, true)),
        Case::good("basic-features", "features that every x86-64 has", basic),
        Case::good("no-vmx", "no VMX", |t| bit(t, 1, 'c', 5, false)),
        Case::good("no-svm", "no SVM", |t| bit(t, 0x8000_0001, 'c', 2, false)),
        Case::good("no-pcid", "no PCID", |t| bit(t, 1, 'c', 17, false)),
        Case::good("no-x2apic-timer", "no TSC-deadline timer", |t| bit(t, 1, 'c', 24, false)),
        Case::good("no-monitor", "no MONITOR", |t| bit(t, 1, 'c', 3, false)),
        Case::good("no-smep", "no SMEP", |t| bit(t, 7, 'b', 7, false)),
        Case::good("no-smap", "no SMAP", |t| bit(t, 7, 'b', 20, false)),
        Case::good("no-invpcid", "no INVPCID", |t| bit(t, 7, 'b', 10, false)),
        Case::good("no-umip", "no UMIP", |t| bit(t, 7, 'c', 2, false)),
        Case::good("no-protection-keys", "no protection keys", |t| bit(t, 7, 'c', 3, false)),
        Case::good("no-five-levels", "no five levels of tables", |t| bit(t, 7, 'c', 16, false)),
        Case::good("no-paging-modes", "no large-page, PAE or global-page differences", paging),
        Case::good("no-power", "leaves of MONITOR and power are zeroes", |t| zeroes(t, &[5, 6])),
        Case::good("no-counters", "the leaf of performance counters is zeroes", |t| zeroes(t, &[0xa])),
        Case::good("no-topology", "the leaves of topology are zeroes", |t| zeroes(t, &[0xb, 0x1f])),
        Case::good("no-virtualization", "the leaves of SVM and of encryption are zeroes", |t| {
            zeroes(t, &[0x8000_000a, 0x8000_001f])
        }),
        Case::good("beyond-basic", "zeroes behind the last leaf", beyond_basic),
        Case::good("apic-number", "vcpu 0 has APIC number 0", apic),
        Case::good("by-program", "a program sees the same by the prefix", by_program),
        Case::good("native", "cpuid itself does not fault", native),
    ],
);

fn registers(leaf: &CpuidResult) -> [u64; 4] {
    [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx].map(u64::from)
}

fn signature(t: &mut Trial) -> Verdict {
    let leaf = forced_cpuid(XEN_CPUID_FIRST_LEAF, 0);
    t.equal("last", leaf.eax.into(), 0x4000_0005);
    t.equal("ebx", leaf.ebx.into(), 0x566e_6558);
    t.equal("ecx", leaf.ecx.into(), 0x6558_4d4d);
    t.equal("edx", leaf.edx.into(), 0x4d4d_566e);
    Ok(())
}

fn version(t: &mut Trial) -> Verdict {
    let leaf = forced_cpuid(LEAF_VERSION, 0);
    t.equal("eax", leaf.eax.into(), 4 << 16 | 17);
    t.same("others", registers(&leaf)[1..] == [0; 3], true);
    Ok(())
}

fn hypercall_page(t: &mut Trial) -> Verdict {
    let leaf = forced_cpuid(LEAF_HYPERCALL, 0);
    t.same("registers", registers(&leaf), [1, 0x4000_0000, 1, 0]);
    Ok(())
}

fn time(t: &mut Trial) -> Verdict {
    if start().info.start_flags().contains(StartFlags::INITDOMAIN) {
        return Err(Stop::Skip("Xen tells its first domain no frequency"));
    }
    let khz = u128::from(forced_cpuid(LEAF_TSC, 0).ecx);
    let clock = clock::read();
    // Ticks of a millisecond: 10^6 ns are ticks * 2^shift * mul / 2^32.
    let ticks = (1_000_000u128 << 32) / u128::from(clock.tsc_to_system_mul);
    let ticks = if clock.tsc_shift < 0 { ticks << -clock.tsc_shift } else { ticks >> clock.tsc_shift };
    t.holds("frequency", khz.abs_diff(ticks) <= ticks / 100);
    Ok(())
}

fn hvm(t: &mut Trial) -> Verdict {
    t.same("registers", registers(&forced_cpuid(LEAF_HVM, 0)), [0; 4]);
    Ok(())
}

fn pv(t: &mut Trial) -> Verdict {
    let leaf = forced_cpuid(LEAF_PV, 0);
    t.holds("width", (20..=52).contains(&(leaf.ebx & 0xff)));
    t.equal(
        "rest",
        (u64::from(leaf.ebx) >> 8) | registers(&leaf)[0] | registers(&leaf)[2] | registers(&leaf)[3],
        0,
    );
    Ok(())
}

fn zeroes(t: &mut Trial, leaves: &[u32]) -> Verdict {
    for &leaf in leaves {
        t.same(format_args!("{leaf:x}"), registers(&forced_cpuid(leaf, 0)), [0; 4]);
    }
    Ok(())
}

fn beyond_hypervisor(t: &mut Trial) -> Verdict {
    zeroes(t, &[0x4000_0006, 0x4000_00ff])
}

fn no_extension(t: &mut Trial) -> Verdict {
    zeroes(t, &[0x4000_0100, 0x4000_0101])
}

fn vendor(t: &mut Trial) -> Verdict {
    let [_, b, c, d] = registers(&forced_cpuid(0, 0));
    let [_, eb, ec, ed] = registers(&forced_cpuid(0x8000_0000, 0));
    t.holds("some", b != 0 && c != 0 && d != 0);
    // Intel's processors have it in the first alone.
    t.holds("same", [eb, ec, ed] == [b, c, d] || [eb, ec, ed] == [0; 3]);
    Ok(())
}

/// A bit of a register of a leaf, which is there or is not.
fn bit(t: &mut Trial, leaf: u32, register: char, bit: u32, there: bool) -> Verdict {
    let [a, b, c, d] = registers(&forced_cpuid(leaf, 0));
    let value = match register {
        'a' => a,
        'b' => b,
        'c' => c,
        _ => d,
    };
    t.same("bit", value & 1 << bit != 0, there);
    Ok(())
}

fn basic(t: &mut Trial) -> Verdict {
    // FPU, TSC, MSR, PAE, CX8, CMOV, FXSR, SSE and SSE2; SYSCALL, NX and long mode.
    const STANDARD: u64 = 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 15 | 1 << 24 | 1 << 25 | 1 << 26;
    const EXTENDED: u64 = 1 << 11 | 1 << 20 | 1 << 29;
    t.equal("standard", registers(&forced_cpuid(1, 0))[3] & STANDARD, STANDARD);
    t.equal("extended", registers(&forced_cpuid(0x8000_0001, 0))[3] & EXTENDED, EXTENDED);
    Ok(())
}

fn paging(t: &mut Trial) -> Verdict {
    let [.., d] = registers(&forced_cpuid(1, 0));
    // VME, PSE, PGE and PSE-36: how the machine is paged is not the guest's affair.
    for (name, bit) in [("vme", 1), ("pse", 3), ("pge", 13), ("pse36", 17)] {
        t.same(name, d & 1 << bit != 0, false);
    }
    Ok(())
}

fn beyond_basic(t: &mut Trial) -> Verdict {
    let last = forced_cpuid(0, 0).eax;
    t.holds("last", (1..0x100).contains(&last));
    zeroes(t, &[0x100, 0x1000, 0x3fff_ffff])?;
    let extended = forced_cpuid(0x8000_0000, 0).eax;
    t.holds("extended", (0x8000_0008..0x8000_0100).contains(&extended));
    zeroes(t, &[0x8000_0100, 0x8000_1000])
}

fn apic(t: &mut Trial) -> Verdict {
    let leaf = forced_cpuid(1, 0);
    t.equal("number", u64::from(leaf.ebx >> 24), 0);
    t.holds("cache-line", leaf.ebx >> 8 & 0xff > 0);
    Ok(())
}

fn by_program(t: &mut Trial) -> Verdict {
    for (name, number, code) in [
        ("features", 1u32, code!("mov eax, 1", "xor ecx, ecx", "ud2", ".ascii \"xen\"", "cpuid")),
        (
            "extended",
            0x8000_0001,
            code!("mov eax, 0x80000001", "xor ecx, ecx", "ud2", ".ascii \"xen\"", "cpuid"),
        ),
        ("more", 7, code!("mov eax, 7", "xor ecx, ecx", "ud2", ".ascii \"xen\"", "cpuid")),
    ] {
        let [a, b, c, d] = registers(&forced_cpuid(number, 0));
        let came = run(Half::Program, code, 0);
        t.raises(name, &came.caught, vector::UD.into(), None);
        let caught = &came.caught;
        let seen = [caught.registers[0], caught.registers[1], caught.pushed[0], caught.registers[3]];
        // OSXSAVE is told to kernels alone, and MTRRs to the kernel of the first domain.
        let (own, mtrr) = (if number == 1 { 1 << 27 } else { 0 }, if number == 7 { 0 } else { 1 << 12 });
        let same = [a, b, c & !own, d & !mtrr] == [seen[0], seen[1], seen[2] & !own, seen[3] & !mtrr];
        t.holds(format_args!("{name}.same"), same);
        if number == 1 {
            t.same("osxsave", (c & own == (c & 1 << 26) << 1, seen[2] & own), (true, 0));
        }
    }
    Ok(())
}

fn native(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        let came = run(half, code!("xor eax, eax", "xor ecx, ecx", "cpuid"), 0);
        t.raises(half.name(), &came.caught, vector::UD.into(), None);
        t.holds(format_args!("{}.last", half.name()), came.caught.registers[0] > 0);
    }
    Ok(())
}
