//! CPUID as a PV guest's kernel sees it through the forced-emulation prefix.
//!
//! Features are an allow-list: a bit this file does not name is hidden, so that no CPU to come shows a guest
//! something that cannot work in rings 1 or 3 or that this hypervisor does not switch.

use crate::descriptor::Policy;
use crate::fpu::{XState, component};
use paravane_abi::{cpuid as xen, ring1};

/// One answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CpuidLeaf {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// What a domain's answers depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidPolicy {
    /// Where the kernel runs; ring-1 domains see the extension's leaves.
    pub kernel: Policy,
    /// Xen version the interface is compatible with: major, minor.
    pub version: (u16, u16),
    /// Whether the kernel may set CR4.FSGSBASE (XSA-293: the hardware's must follow the guest's).
    pub fsgsbase: bool,
    /// Whether the TSC is invariant and the domain never moves.
    pub invariant_tsc: bool,
    /// TSC frequency the guest sees.
    pub tsc_khz: u32,
    /// Multiplier from TSC ticks to nanoseconds, a 32-bit fraction.
    pub tsc_to_ns: u32,
    /// Power of two that goes with the multiplier.
    pub tsc_shift: i8,
    /// Width in bits of the highest address of the machine's memory. Above 44, Linux asks for grant table version 2.
    pub machine_address_bits: u8,
    /// The state components that are offered. Without any, XSAVE is hidden with all that needs it.
    pub xstate: XState,
    /// XCR0 as it is.
    pub xcr0: u64,
    /// Whether OSXSAVE shows.
    pub osxsave: bool,
}

const MAX_BASIC: u32 = 0xd;
const MAX_EXTENDED: u32 = 0x8000_0008;

/// Bits by position.
const fn bits<const N: usize>(positions: [u32; N]) -> u32 {
    let (mut mask, mut n) = (0, 0);
    while n < N {
        mask |= 1 << positions[n];
        n += 1;
    }
    mask
}

/// SSE3, PCLMULQDQ, SSSE3, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, RDRAND.
const LEAF_1_ECX: u32 = bits([0, 1, 9, 13, 19, 20, 22, 23, 25, 30]);
const HYPERVISOR: u32 = 1 << 31;
/// FPU, DE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MCA, CMOV, PAT, CLFLUSH, ACPI, MMX, FXSR, SSE, SSE2, SS, HTT. No VME,
/// PSE, PGE, MTRR, PSE36: they mean page sizes, global pages and registers a PV guest does not have.
const LEAF_1_EDX: u32 = bits([0, 2, 4, 5, 6, 7, 8, 9, 11, 14, 15, 16, 19, 22, 23, 24, 25, 26, 27, 28]);
/// SYSENTER, which AMD's processors do not have in long mode (APM volume 3, SYSENTER).
const SEP: u32 = 1 << 11;
/// EBX of leaf 0 on AMD's processors: `Auth`.
const AMD: u32 = 0x6874_7541;
/// BMI1, FDP_EXCP_ONLY, BMI2, ERMS, NO_FPU_SEL, RDSEED, ADX, CLFLUSHOPT, CLWB, SHA.
const LEAF_7_EBX: u32 = bits([3, 6, 8, 9, 13, 18, 19, 23, 24, 29]);
const FSGSBASE: u32 = 1 << 0;
/// GFNI, RDPID, MOVDIRI, MOVDIR64B.
const LEAF_7_ECX: u32 = bits([8, 22, 27, 28]);
/// FSRM, MD_CLEAR, SERIALIZE.
const LEAF_7_EDX: u32 = bits([4, 10, 14]);
/// FZRM, FSRS, FSRCS.
const LEAF_7_1_EAX: u32 = bits([10, 11, 12]);
/// LAHF, CMP_LEGACY, ABM, SSE4A, MISALIGNSSE, 3DNOWPREFETCH.
const EXTENDED_1_ECX: u32 = bits([0, 1, 5, 6, 7, 8]);
/// SYSCALL, NX, MMXEXT, FFXSR, RDTSCP, LM, 3DNOWEXT, 3DNOW; 1 GiB pages are hidden.
const EXTENDED_1_EDX: u32 = bits([11, 20, 22, 25, 27, 29, 30, 31]);
const RDTSCP: u32 = 1 << 27;
/// Leaf 1 EDX bits that AMD repeats in leaf 0x80000001.
const EXTENDED_1_EDX_SHARED: u32 = 0x0183_f3ff;
const INVARIANT_TSC: u32 = 1 << 8;
/// CLZERO, RSTR_FP_ERR_PTRS.
const EXTENDED_8_EBX: u32 = bits([0, 2]);
const OSXSAVE: u32 = 1 << 27;
/// XSAVEOPT, XSAVEC, XGETBV with ECX = 1; no XSAVES, which saves to where IA32_XSS says.
const LEAF_D_1_EAX: u32 = bits([0, 1, 2]);
const XSAVEC: u32 = 1 << 1;

/// Features that need a state component, and all that needs them: of leaf 1 ECX, leaf 7 EBX, ECX and EDX, leaf 7.1 EAX,
/// and leaf 0x80000001 ECX.
#[derive(Clone, Copy, Default)]
struct Vector {
    one: u32,
    seven: [u32; 3],
    seven_1: u32,
    extended_1: u32,
}

/// XSAVE.
const NEEDS_XSAVE: Vector = Vector { one: bits([26]), seven: [0; 3], seven_1: 0, extended_1: 0 };
/// FMA, AVX, F16C; AVX2; VAES, VPCLMULQDQ; AVX_VNNI; XOP, FMA4.
const NEEDS_AVX: Vector = Vector {
    one: bits([12, 28, 29]),
    seven: [bits([5]), bits([9, 10]), 0],
    seven_1: bits([4]),
    extended_1: bits([11, 16]),
};
/// AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; 4VNNIW, 4FMAPS, FP16; BF16.
const NEEDS_AVX512: Vector = Vector {
    one: 0,
    seven: [bits([16, 17, 21, 26, 27, 28, 30, 31]), bits([1, 6, 11, 12, 14]), bits([2, 3, 23])],
    seven_1: bits([5]),
    extended_1: 0,
};

impl Vector {
    /// What these components allow.
    fn with(offered: u64) -> Self {
        [(component::LEGACY, NEEDS_XSAVE), (component::AVX, NEEDS_AVX), (component::AVX512, NEEDS_AVX512)]
            .into_iter()
            .filter(|(needed, _)| offered & needed == *needed)
            .fold(Self::default(), |all, (_, more)| Self {
                one: all.one | more.one,
                seven: [0, 1, 2].map(|n| all.seven[n] | more.seven[n]),
                seven_1: all.seven_1 | more.seven_1,
                extended_1: all.extended_1 | more.extended_1,
            })
    }
}

/// The guest's answer. `native` executes the instruction.
pub fn filter(
    leaf: u32,
    subleaf: u32,
    native: impl Fn(u32, u32) -> CpuidLeaf,
    policy: &CpuidPolicy,
) -> CpuidLeaf {
    match leaf {
        0..=MAX_BASIC => basic(leaf, subleaf, native, policy),
        0x4000_0000..=0x4000_00ff => hypervisor(leaf, subleaf, native, policy),
        0x4000_0100..=0x4000_01ff if policy.kernel == Policy::Ring1 => extension(leaf),
        0x8000_0000..=MAX_EXTENDED => extended(leaf, native, policy),
        // Beyond the limits all vendors' guests get AMD's answer, zeros.
        _ => CpuidLeaf::default(),
    }
}

fn basic(leaf: u32, subleaf: u32, native: impl Fn(u32, u32) -> CpuidLeaf, policy: &CpuidPolicy) -> CpuidLeaf {
    let limits = native(0, 0);
    if leaf > limits.eax {
        return CpuidLeaf::default();
    }
    let vector = Vector::with(policy.xstate.mask);
    match leaf {
        0 => CpuidLeaf { eax: limits.eax.min(MAX_BASIC), ..limits },
        1 => {
            let raw = native(1, 0);
            let hidden = if limits.ebx == AMD { SEP } else { 0 };
            CpuidLeaf {
                eax: raw.eax,
                // The initial APIC number would be that of whatever CPU answers.
                ebx: raw.ebx & 0x00ff_ffff,
                ecx: (raw.ecx & (LEAF_1_ECX | vector.one))
                    | HYPERVISOR
                    | if policy.osxsave { OSXSAVE } else { 0 },
                edx: raw.edx & LEAF_1_EDX & !hidden,
            }
        }
        2 | 4 => native(leaf, subleaf),
        7 if subleaf == 0 => {
            let raw = native(7, 0);
            let optional = if policy.fsgsbase { FSGSBASE } else { 0 };
            CpuidLeaf {
                eax: raw.eax.min(1),
                ebx: raw.ebx & (LEAF_7_EBX | optional | vector.seven[0]),
                ecx: raw.ecx & (LEAF_7_ECX | vector.seven[1]),
                edx: raw.edx & (LEAF_7_EDX | vector.seven[2]),
            }
        }
        7 if subleaf == 1 && native(7, 0).eax >= 1 => {
            CpuidLeaf { eax: native(7, 1).eax & (LEAF_7_1_EAX | vector.seven_1), ..CpuidLeaf::default() }
        }
        0xd => extended_state(subleaf, native, policy),
        // Serial number, MONITOR, thermal, counters, topology: nothing a guest may use.
        _ => CpuidLeaf::default(),
    }
}

/// Leaf 0xD: the components that are offered and their places.
fn extended_state(subleaf: u32, native: impl Fn(u32, u32) -> CpuidLeaf, policy: &CpuidPolicy) -> CpuidLeaf {
    let state = &policy.xstate;
    let zero = CpuidLeaf::default();
    match subleaf {
        _ if state.mask == 0 => zero,
        0 => CpuidLeaf {
            eax: state.mask as u32,
            ebx: state.size(policy.xcr0) as u32,
            ecx: state.size(state.mask) as u32,
            edx: (state.mask >> 32) as u32,
        },
        1 => {
            let eax = native(0xd, 1).eax & LEAF_D_1_EAX;
            let compacted = if eax & XSAVEC != 0 { state.compacted_size(policy.xcr0) as u32 } else { 0 };
            CpuidLeaf { eax, ebx: compacted, ..zero }
        }
        _ => state.extended(subleaf).map_or(zero, |component| CpuidLeaf {
            eax: component.size,
            ebx: component.offset,
            ecx: u32::from(component.aligned) << 1,
            edx: 0,
        }),
    }
}

fn extended(leaf: u32, native: impl Fn(u32, u32) -> CpuidLeaf, policy: &CpuidPolicy) -> CpuidLeaf {
    let limits = native(0x8000_0000, 0);
    if leaf > limits.eax {
        return CpuidLeaf::default();
    }
    let raw = native(leaf, 0);
    match leaf & 0xff {
        0 => CpuidLeaf { eax: limits.eax.min(MAX_EXTENDED), ..limits },
        1 => CpuidLeaf {
            ecx: raw.ecx & (EXTENDED_1_ECX | Vector::with(policy.xstate.mask).extended_1),
            edx: raw.edx & (EXTENDED_1_EDX | (EXTENDED_1_EDX_SHARED & LEAF_1_EDX)),
            ..raw
        },
        2..=6 => raw,
        7 => CpuidLeaf {
            edx: if policy.invariant_tsc { raw.edx & INVARIANT_TSC } else { 0 },
            ..CpuidLeaf::default()
        },
        8 => CpuidLeaf {
            // 48 bits of linear address: five-level paging is hidden.
            eax: (raw.eax & 0xff) | 48 << 8,
            ebx: raw.ebx & EXTENDED_8_EBX,
            ..CpuidLeaf::default()
        },
        _ => CpuidLeaf::default(),
    }
}

/// Xen's leaves (`xen/arch-x86/cpuid.h`).
fn hypervisor(
    leaf: u32,
    subleaf: u32,
    native: impl Fn(u32, u32) -> CpuidLeaf,
    policy: &CpuidPolicy,
) -> CpuidLeaf {
    let zero = CpuidLeaf::default();
    match leaf {
        xen::XEN_CPUID_FIRST_LEAF => {
            let (ebx, ecx, edx) = xen::signature_registers(xen::SIGNATURE);
            CpuidLeaf { eax: xen::XEN_CPUID_FIRST_LEAF + xen::XEN_CPUID_MAX_NUM_LEAVES, ebx, ecx, edx }
        }
        xen::LEAF_VERSION => {
            let (major, minor) = policy.version;
            CpuidLeaf { eax: (major as u32) << 16 | minor as u32, ..zero }
        }
        xen::LEAF_HYPERCALL => CpuidLeaf {
            eax: 1,
            ebx: 0x4000_0000,
            ecx: xen::XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD,
            edx: 0,
        },
        xen::LEAF_TSC => tsc(subleaf, native(0x8000_0001, 0).edx & RDTSCP != 0, policy),
        xen::LEAF_PV if subleaf == 0 => CpuidLeaf { ebx: policy.machine_address_bits as u32, ..zero },
        _ => zero,
    }
}

/// The guest's TSC is the hardware's: neither emulated nor offset.
fn tsc(subleaf: u32, rdtscp: bool, policy: &CpuidPolicy) -> CpuidLeaf {
    let zero = CpuidLeaf::default();
    match subleaf {
        0 => {
            const SAFE: u32 = 1 << 1;
            let safe = if policy.invariant_tsc { SAFE } else { 0 };
            CpuidLeaf { eax: safe | u32::from(rdtscp) << 2, ecx: policy.tsc_khz, ..zero }
        }
        1 => CpuidLeaf { ecx: policy.tsc_to_ns, edx: policy.tsc_shift as u8 as u32, ..zero },
        2 => CpuidLeaf { eax: policy.tsc_khz, ..zero },
        _ => zero,
    }
}

/// The ring-1 extension's leaves.
fn extension(leaf: u32) -> CpuidLeaf {
    match leaf {
        ring1::CPUID_LEAF_SIGNATURE => {
            let (ebx, ecx, edx) = ring1::signature_registers();
            CpuidLeaf { eax: ring1::CPUID_LEAF_MAX, ebx, ecx, edx }
        }
        ring1::CPUID_LEAF_VERSION => CpuidLeaf { eax: ring1::INTERFACE_VERSION, ..CpuidLeaf::default() },
        _ => CpuidLeaf::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CpuidPolicy = CpuidPolicy {
        kernel: Policy::Ring1,
        version: (4, 17),
        fsgsbase: false,
        invariant_tsc: true,
        tsc_khz: 2_000_000,
        tsc_to_ns: 0x8000_0000,
        tsc_shift: -1,
        machine_address_bits: 40,
        xstate: XState::NONE,
        xcr0: component::LEGACY,
        osxsave: false,
    };

    /// A CPU with every feature there will ever be.
    fn everything(leaf: u32, _: u32) -> CpuidLeaf {
        match leaf {
            0 => CpuidLeaf { eax: 0x20, ebx: 1, ecx: 2, edx: 3 },
            0x8000_0000 => CpuidLeaf { eax: 0x8000_0026, ebx: 1, ecx: 2, edx: 3 },
            _ => CpuidLeaf { eax: !0, ebx: !0, ecx: !0, edx: !0 },
        }
    }

    fn ask(leaf: u32, subleaf: u32) -> CpuidLeaf {
        filter(leaf, subleaf, everything, &POLICY)
    }

    #[test]
    fn limits_are_cut() {
        assert_eq!(ask(0, 0), CpuidLeaf { eax: 0xd, ebx: 1, ecx: 2, edx: 3 });
        assert_eq!(ask(0x8000_0000, 0).eax, 0x8000_0008);
        for leaf in [5, 6, 0xa, 0xb, 0xd, 0xe, 0x14, 0x20, 0x8000_0009, 0x8000_001d, 0x2000_0000, u32::MAX] {
            assert_eq!(ask(leaf, 0), CpuidLeaf::default(), "{leaf:#x}");
        }
        let small = |leaf, _| CpuidLeaf { eax: if leaf == 0 { 1 } else { !0 }, ..CpuidLeaf::default() };
        assert_eq!(filter(0, 0, small, &POLICY).eax, 1);
        assert_eq!(filter(7, 0, small, &POLICY), CpuidLeaf::default());
    }

    #[test]
    fn what_cannot_work_is_hidden() {
        let one = ask(1, 0);
        // MONITOR, VMX, FMA, PCID, x2APIC, TSC deadline, XSAVE, OSXSAVE, AVX, F16C.
        for bit in [3, 5, 12, 17, 21, 24, 26, 27, 28, 29] {
            assert_eq!(one.ecx & 1 << bit, 0, "leaf 1 ECX bit {bit}");
        }
        // VME, PSE, MTRR, PGE, PSE36.
        for bit in [1, 3, 12, 13, 17] {
            assert_eq!(one.edx & 1 << bit, 0, "leaf 1 EDX bit {bit}");
        }
        let seven = ask(7, 0);
        // FSGSBASE, AVX2, SMEP, INVPCID, RTM, MPX, AVX512F, SMAP; the vectors as there is no XSAVE here.
        for bit in [0, 5, 7, 10, 11, 14, 16, 20] {
            assert_eq!(seven.ebx & 1 << bit, 0, "leaf 7 EBX bit {bit}");
        }
        // UMIP, PKU, CET_SS, LA57, PKS.
        for bit in [2, 3, 7, 16, 31] {
            assert_eq!(seven.ecx & 1 << bit, 0, "leaf 7 ECX bit {bit}");
        }
        // CET_IBT, IBRSB, ARCH_CAPS.
        for bit in [20, 26, 29] {
            assert_eq!(seven.edx & 1 << bit, 0, "leaf 7 EDX bit {bit}");
        }
        assert_eq!(ask(7, 1), CpuidLeaf { eax: 0x1c00, ..CpuidLeaf::default() });
        assert_eq!(ask(7, 2), CpuidLeaf::default());
        let extended = ask(0x8000_0001, 0);
        assert_eq!(extended.ecx & (1 << 2 | 1 << 22 | 1 << 26), 0);
        assert_eq!(extended.edx & (1 << 26 | 1 << 3 | 1 << 13 | 1 << 12 | 1 << 17), 0);
    }

    #[test]
    fn what_a_kernel_needs_is_kept() {
        let one = ask(1, 0);
        for bit in [0, 4, 5, 6, 8, 11, 15, 16, 22, 24, 25, 26, 27] {
            assert_ne!(one.edx & 1 << bit, 0, "leaf 1 EDX bit {bit}");
        }
        assert_ne!(one.ecx & 1 << 13, 0);
        assert_eq!(one.ebx >> 24, 0);
        let extended = ask(0x8000_0001, 0);
        for bit in [11, 20, 27, 29] {
            assert_ne!(extended.edx & 1 << bit, 0, "leaf 0x80000001 EDX bit {bit}");
        }
        assert_eq!(ask(0x8000_0008, 0).eax >> 8, 48);
        assert_eq!(ask(0x8000_0007, 0).edx, 1 << 8);
        // Nothing the CPU lacks is invented but the hypervisor bit.
        let none = |leaf, _| CpuidLeaf { eax: if leaf == 0 { 0x20 } else { 0 }, ..CpuidLeaf::default() };
        let empty = filter(1, 0, none, &POLICY);
        assert_eq!((empty.ecx, empty.edx), (1 << 31, 0));
    }

    #[test]
    fn amd_has_no_sysenter_in_long_mode() {
        let amd = |leaf, subleaf| match leaf {
            0 => CpuidLeaf { eax: 0x10, ebx: AMD, ecx: 0x444d_4163, edx: 0x6974_6e65 },
            _ => everything(leaf, subleaf),
        };
        assert_eq!(filter(1, 0, amd, &POLICY).edx & SEP, 0);
    }

    #[test]
    fn hypervisor_leaves_say_xen() {
        let first = ask(0x4000_0000, 0);
        assert_eq!(
            first,
            CpuidLeaf { eax: 0x4000_0005, ebx: 0x566e_6558, ecx: 0x6558_4d4d, edx: 0x4d4d_566e }
        );
        assert_eq!(ask(0x4000_0001, 0).eax, 4 << 16 | 17);
        assert_eq!(ask(0x4000_0002, 0), CpuidLeaf { eax: 1, ebx: 0x4000_0000, ecx: 1, edx: 0 });
        // RDTSCP is there, and the TSC is safe.
        assert_eq!(ask(0x4000_0003, 0), CpuidLeaf { eax: 0b110, ecx: 2_000_000, ..CpuidLeaf::default() });
        assert_eq!(ask(0x4000_0003, 1).edx, 0xff);
        assert_eq!(ask(0x4000_0004, 0), CpuidLeaf::default());
        assert_eq!(ask(0x4000_0005, 0).ebx, 40);
        assert_eq!(ask(0x4000_0006, 0), CpuidLeaf::default());
    }

    #[test]
    fn only_ring_1_domains_see_the_extension() {
        assert_eq!(ask(0x4000_0100, 0).eax, 0x4000_0101);
        assert_eq!(ask(0x4000_0101, 0).eax, 1);
        assert_eq!(ask(0x4000_0102, 0), CpuidLeaf::default());
        let xen = CpuidPolicy { kernel: Policy::Ring3, ..POLICY };
        for leaf in 0x4000_0100..0x4000_0110 {
            assert_eq!(filter(leaf, 0, everything, &xen), CpuidLeaf::default());
        }
    }

    /// A policy that offers what a processor with all features and these components allows.
    fn offering(mask: u64) -> CpuidPolicy {
        let xstate = XState::detect(crate::fpu::tests::processor(mask, !0, !0));
        CpuidPolicy { xstate, xcr0: 3, ..POLICY }
    }

    #[test]
    fn features_follow_the_state_they_need() {
        // Leaf 1 ECX; leaf 7 EBX, ECX, EDX; leaf 7.1 EAX; leaf 0x80000001 ECX: what comes with each set.
        let xsave = [1 << 26, 0, 0, 0, 0, 0];
        let avx = [1 << 12 | 1 << 28 | 1 << 29, 1 << 5, 3 << 9, 0, 1 << 4, 1 << 11 | 1 << 16];
        let avx512 = [0, 0xdc23_0000, 0x5842, 0x0080_000c, 1 << 5, 0];
        let ask = |policy: &CpuidPolicy| {
            let ask = |leaf, subleaf| filter(leaf, subleaf, everything, policy);
            let seven = ask(7, 0);
            let first = [ask(1, 0).ecx, seven.ebx, seven.ecx, seven.edx];
            [first[0], first[1], first[2], first[3], ask(7, 1).eax, ask(0x8000_0001, 0).ecx]
        };
        let mut shown = ask(&POLICY);
        for (mask, more) in [(3, xsave), (7, avx), (0xe7, avx512)] {
            for (word, more) in shown.iter_mut().zip(more) {
                assert_eq!(*word & more, 0, "{more:#x} without {mask:#x}");
                *word |= more;
            }
            assert_eq!(ask(&offering(mask)), shown, "{mask:#x}");
        }
    }

    #[test]
    fn leaf_d_tells_what_is_offered_and_its_places() {
        let policy = offering(!(1 << 63));
        let at = |subleaf, xcr0| filter(0xd, subleaf, everything, &CpuidPolicy { xcr0, ..policy });
        assert_eq!(at(0, 3), CpuidLeaf { eax: 0xe7, ebx: 576, ecx: 2688, edx: 0 });
        assert_eq!((at(0, 7).ebx, at(0, 0xe7).ebx), (832, 2688));
        assert_eq!(at(1, 7), CpuidLeaf { eax: 7, ebx: 832, ..CpuidLeaf::default() }, "no XSAVES");
        assert_eq!(at(2, 3), CpuidLeaf { eax: 256, ebx: 576, ..CpuidLeaf::default() });
        assert_eq!(at(7, 3), CpuidLeaf { eax: 1024, ebx: 1664, ..CpuidLeaf::default() });
        for subleaf in [3, 4, 8, 9, 17, 62, 63, u32::MAX] {
            assert_eq!(at(subleaf, 7), CpuidLeaf::default(), "{subleaf}");
        }
        let plain = |leaf, _| CpuidLeaf { eax: if leaf == 0 { 0xd } else { 1 }, ..CpuidLeaf::default() };
        assert_eq!(filter(0xd, 1, plain, &policy), CpuidLeaf { eax: 1, ..CpuidLeaf::default() });
        for subleaf in 0..64 {
            assert_eq!(filter(0xd, subleaf, everything, &POLICY), CpuidLeaf::default());
        }
    }

    #[test]
    fn osxsave_is_the_callers_affair() {
        assert_eq!(filter(1, 0, everything, &offering(7)).ecx & 1 << 27, 0);
        let on = CpuidPolicy { osxsave: true, ..offering(7) };
        assert_ne!(filter(1, 0, everything, &on).ecx & 1 << 27, 0);
    }

    #[test]
    fn fsgsbase_follows_the_policy() {
        let with = CpuidPolicy { fsgsbase: true, ..POLICY };
        assert_eq!(filter(7, 0, everything, &with).ebx & 1, 1);
    }
}
