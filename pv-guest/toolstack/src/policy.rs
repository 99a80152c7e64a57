//! What a domain sees of the processor, as far as Xen leaves it to the tools.

use alloc::vec;
use core::arch::x86_64::__cpuid;

use paravane_abi::domctl::{
    CpuidLeaf, DomctlCpuPolicy, TscInfo, XEN_DOMCTL_GET_CPU_POLICY, XEN_DOMCTL_SET_CPU_POLICY,
    XEN_DOMCTL_SETTSCINFO,
};

use crate::calls::{Refused, domctl};

/// Room for leaves. Xen 4.17 has about 110.
const LEAVES: usize = 512;

/// Leaf 1, EDX: several logical processors in a package.
const HTT: u32 = 1 << 28;
/// Leaf 0x80000001, ECX: these are cores.
const CMP_LEGACY: u32 = 1 << 1;
/// Leaf 0x80000007, EDX: the time-stamp counter keeps its frequency.
const INVARIANT_TSC: u32 = 1 << 8;

/// Sets what Xen's tools set for a PV domain: it sees the machine's topology, and may be moved to a machine whose counter runs
/// at another frequency.
pub fn apply(domain: u16) -> Result<(), Refused> {
    // Default mode, this machine's frequency, never resumed.
    domctl("settscinfo", XEN_DOMCTL_SETTSCINFO, domain, &TscInfo::default())?;
    let mut leaves = vec![CpuidLeaf::default(); LEAVES];
    let argument = |leaves: &mut [CpuidLeaf]| DomctlCpuPolicy {
        nr_leaves: leaves.len() as u32,
        leaves: leaves.as_mut_ptr() as u64,
        ..DomctlCpuPolicy::default()
    };
    let got = domctl("get_cpu_policy", XEN_DOMCTL_GET_CPU_POLICY, domain, &argument(&mut leaves))?;
    let count = got.argument::<DomctlCpuPolicy>().nr_leaves as usize;
    leaves.truncate(count);
    for leaf in &mut leaves {
        let (word, flag, on) = match leaf.leaf {
            1 => (&mut leaf.d, HTT, __cpuid(1).edx & HTT != 0),
            0x8000_0001 => (&mut leaf.c, CMP_LEGACY, __cpuid(0x8000_0001).ecx & CMP_LEGACY != 0),
            0x8000_0007 => (&mut leaf.d, INVARIANT_TSC, false),
            _ => continue,
        };
        *word = if on { *word | flag } else { *word & !flag };
    }
    domctl("set_cpu_policy", XEN_DOMCTL_SET_CPU_POLICY, domain, &argument(&mut leaves)).map(drop)
}
