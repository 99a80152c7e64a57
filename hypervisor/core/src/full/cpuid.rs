//! `cpuid` as a PC's processor answers it: with what [`Model`](super::Model) has, and nothing else.
//!
//! The instruction does not trap in ring 1 unless it was replaced, or the processor can be made to trap on it. Executed, it
//! tells of the machine's processor: of SMEP, say, which the virtual CR4 refuses.

use super::state::{FullCpu, cr4};
use crate::cpuid::{CpuidLeaf, CpuidPolicy, filter};
use crate::descriptor::Policy;
use crate::fpu::XState;

/// Hypervisors' leaves. A PC has none.
const HYPERVISORS: core::ops::RangeInclusive<u32> = 0x4000_0000..=0x4fff_ffff;
/// Leaf 1, ECX: leaves of a hypervisor are there.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, EDX, and on AMD's processors leaf 0x8000_0001 too: PSE and PGE, which a PC's page tables have.
const TABLES: u32 = 1 << 3 | 1 << 13;
/// The same: a local APIC that is switched on. Its base register says that it is off.
const APIC: u32 = 1 << 9;
/// Leaf 1, EDX: thermal control, several processors in a package.
const THERMAL_AND_THREADS: u32 = 1 << 22 | 1 << 28;
/// Leaf 1, EBX: logical processors of the package.
const PROCESSORS: u32 = 0xff << 16;
/// Leaf 4, EAX: processors that share the cache, processors of the package; each less one.
const SHARING: u32 = 0xffff_c000;
/// Leaf 7, ECX.
const UMIP: u32 = 1 << 2;
/// Leaf 0x8000_0001, EDX.
const NX: u32 = 1 << 20;
const RDTSCP: u32 = 1 << 27;

/// The answer. `native` executes the instruction.
pub(super) fn shown(
    cpu: &FullCpu,
    leaf: u32,
    subleaf: u32,
    native: impl Fn(u32, u32) -> CpuidLeaf,
) -> CpuidLeaf {
    if HYPERVISORS.contains(&leaf) {
        return CpuidLeaf::default();
    }
    let answer = filter(leaf, subleaf, &native, &policy(cpu, &native));
    match leaf {
        1 => CpuidLeaf {
            ebx: answer.ebx & !PROCESSORS | 1 << 16,
            ecx: answer.ecx & !HYPERVISOR,
            edx: answer.edx & !(APIC | THERMAL_AND_THREADS) | native(1, 0).edx & TABLES,
            ..answer
        },
        4 => CpuidLeaf { eax: answer.eax & !SHARING, ..answer },
        7 if subleaf == 0 && cpu.model.cr4 & cr4::UMIP != 0 => {
            CpuidLeaf { ecx: answer.ecx | native(7, 0).ecx & UMIP, ..answer }
        }
        0x8000_0001 => {
            let unless = |there, feature| if there { 0 } else { feature };
            let hidden = unless(cpu.model.no_execute, NX) | unless(cpu.model.tsc_aux, RDTSCP) | APIC;
            CpuidLeaf { edx: answer.edx & !hidden | native(0x8000_0001, 0).edx & TABLES, ..answer }
        }
        0x8000_0008 => CpuidLeaf { eax: answer.eax & !0xff | u32::from(cpu.model.physical_bits), ..answer },
        _ => answer,
    }
}

fn policy(cpu: &FullCpu, native: impl Fn(u32, u32) -> CpuidLeaf) -> CpuidPolicy {
    let mut xstate = XState::detect(|leaf, subleaf| {
        let CpuidLeaf { eax, ebx, ecx, edx } = native(leaf, subleaf);
        [eax, ebx, ecx, edx]
    });
    xstate.mask &= cpu.model.xcr0;
    CpuidPolicy {
        // The leaves that these are for are not a PC's.
        kernel: Policy::Ring3,
        version: (0, 0),
        tsc_khz: 0,
        tsc_to_ns: 0,
        tsc_shift: 0,
        machine_address_bits: 0,
        // As the processor says, since nothing stands between it and `rdtsc`.
        invariant_tsc: true,
        fsgsbase: cpu.model.cr4 & cr4::FSGSBASE != 0,
        xstate,
        xcr0: cpu.xcr0,
        osxsave: cpu.cr4 & cr4::OSXSAVE != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Model;
    use super::*;

    /// A processor with every feature there will ever be, and no XSAVE areas of use.
    fn everything(leaf: u32, _: u32) -> CpuidLeaf {
        match leaf {
            0 => CpuidLeaf { eax: 0x20, ebx: 1, ecx: 2, edx: 3 },
            0x8000_0000 => CpuidLeaf { eax: 0x8000_0026, ebx: 1, ecx: 2, edx: 3 },
            _ => CpuidLeaf { eax: !0, ebx: !0, ecx: !0, edx: !0 },
        }
    }

    fn cpu(model: Model) -> FullCpu {
        FullCpu::start(model, 0, 0, 0).0
    }

    /// Bits of CR4 by the leaf, the register (EBX 1, ECX 2) and the bit that tell of them (SDM volume 3, 2.5).
    const TOLD: [(u32, usize, u32, u64); 9] = [
        (1, 2, 17, 1 << 17),
        (1, 2, 5, 1 << 13),
        (7, 1, 0, cr4::FSGSBASE),
        (7, 1, 7, cr4::SMEP),
        (7, 1, 20, cr4::SMAP),
        (7, 2, 2, cr4::UMIP),
        (7, 2, 3, 1 << 22),
        (7, 2, 16, 1 << 12),
        (7, 2, 31, 1 << 24),
    ];

    /// What is told of can be switched on, and what cannot is not told of.
    #[test]
    fn no_feature_is_shown_that_cr4_refuses() {
        for left in [0, cr4::FSGSBASE, cr4::UMIP] {
            let cpu = cpu(Model { cr4: cr4::OFFERED & !left, ..Model::default() });
            for (leaf, register, bit, of_cr4) in TOLD {
                let CpuidLeaf { eax, ebx, ecx, edx } = shown(&cpu, leaf, 0, everything);
                let told = [eax, ebx, ecx, edx][register] >> bit & 1 != 0;
                assert_eq!(told, cpu.model.cr4 & of_cr4 != 0, "leaf {leaf:#x}, bit {bit}, CR4 {of_cr4:#x}");
            }
        }
    }

    /// What the processor lacks is not made up.
    #[test]
    fn nothing_is_shown_that_is_not_there() {
        let cpu = cpu(Model { xcr0: 7, ..Model::default() });
        let poor = |leaf: u32, _| match leaf {
            0 => CpuidLeaf { eax: 0x20, ..CpuidLeaf::default() },
            0x8000_0000 => CpuidLeaf { eax: 0x8000_0026, ..CpuidLeaf::default() },
            _ => CpuidLeaf::default(),
        };
        for leaf in [7, 0xd, 0x4000_0000, 0x8000_0001] {
            assert_eq!(shown(&cpu, leaf, 0, poor), CpuidLeaf::default(), "{leaf:#x}");
        }
        assert_eq!(shown(&cpu, 1, 0, poor), CpuidLeaf { ebx: 1 << 16, ..CpuidLeaf::default() });
    }

    /// A processor by itself: no hypervisor, no neighbours, no APIC that is on.
    #[test]
    fn it_is_alone() {
        let cpu = cpu(Model::default());
        let one = shown(&cpu, 1, 0, everything);
        assert_eq!((one.ebx >> 16, one.ecx & HYPERVISOR, one.edx & APIC), (1, 0, 0));
        assert_eq!(one.edx & TABLES, TABLES);
        assert_eq!(shown(&cpu, 4, 0, everything).eax & SHARING, 0);
        for leaf in [0x4000_0000, 0x4000_0100, 0x4fff_ffff, 0xb, 0x8000_001e] {
            assert_eq!(shown(&cpu, leaf, 0, everything), CpuidLeaf::default(), "{leaf:#x}");
        }
    }

    /// The widths and the optional features are the model's.
    #[test]
    fn the_extended_leaves_are_the_models() {
        let rich = cpu(Model { physical_bits: 40, ..Model::default() });
        let poor = cpu(Model { no_execute: false, tsc_aux: false, ..Model::default() });
        assert_eq!(shown(&rich, 0x8000_0008, 0, everything).eax, 48 << 8 | 40);
        for (cpu, there) in [(rich, true), (poor, false)] {
            let features = shown(&cpu, 0x8000_0001, 0, everything).edx;
            assert_eq!((features & NX != 0, features & RDTSCP != 0), (there, there));
            assert_eq!((features & APIC, features & TABLES), (0, TABLES));
        }
    }

    /// SDM volume 2, CPUID, leaf 1: OSXSAVE is CR4's bit.
    #[test]
    fn osxsave_follows_cr4() {
        let mut cpu = cpu(Model { xcr0: 7, ..Model::default() });
        let osxsave = |cpu: &FullCpu| shown(cpu, 1, 0, everything).ecx >> 27 & 1;
        assert_eq!(osxsave(&cpu), 0);
        cpu.cr4 |= cr4::OSXSAVE;
        assert_eq!(osxsave(&cpu), 1);
    }
}
