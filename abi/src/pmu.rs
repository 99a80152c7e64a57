//! Performance counters (`xen/pmu.h`, `xen/arch-x86/pmu.h`): `xenpmu_op`.
//!
//! A vcpu gives the hypervisor a page for its [`XenPmuData`] by [`XENPMU_INIT`] and is told of an overflow by
//! `VIRQ_XENPMU`. Xen answers every one of these calls with `EOPNOTSUPP` unless it was started with `vpmu`.

use crate::macros::{xen_constants, xen_structs, zeroed_default};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::xenpmu_op::*;

xen_constants! {
    /// Major version of the interface.
    pub const XENPMU_VER_MAJ: u32 = 0;
    /// Minor version of the interface.
    pub const XENPMU_VER_MIN: u32 = 1;
    /// Mode: off.
    pub const XENPMU_MODE_OFF: u64 = 0;
    /// Mode: each domain counts for itself.
    pub const XENPMU_MODE_SELF: u64 = 1 << 0;
    /// Mode: the control domain counts for the hypervisor too.
    pub const XENPMU_MODE_HV: u64 = 1 << 1;
    /// Mode: the control domain counts for all.
    pub const XENPMU_MODE_ALL: u64 = 1 << 2;
    /// Feature: Intel's branch trace store.
    pub const XENPMU_FEATURE_INTEL_BTS: u64 = 1 << 0;
    /// Feature: only cycles and instructions.
    pub const XENPMU_FEATURE_IPC_ONLY: u64 = 1 << 1;
    /// Feature: only Intel's architectural events.
    pub const XENPMU_FEATURE_ARCH_ONLY: u64 = 1 << 2;
    /// In [`XenPmuArch::pmu_flags`]: the registers are in the page, not in the processor.
    pub const PMU_CACHED: u64 = 1 << 0;
    /// In [`XenPmuArch::pmu_flags`]: taken in user mode.
    pub const PMU_SAMPLE_USER: u64 = 1 << 1;
    /// In [`XenPmuArch::pmu_flags`]: taken in real mode.
    pub const PMU_SAMPLE_REAL: u64 = 1 << 2;
    /// In [`XenPmuArch::pmu_flags`]: taken in a PV guest.
    pub const PMU_SAMPLE_PV: u64 = 1 << 3;
}

/// Argument of `xenpmu_op`: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenPmuParams {
    /// In or out: [`XENPMU_VER_MAJ`].
    pub version_maj: u32,
    /// In or out: [`XENPMU_VER_MIN`].
    pub version_min: u32,
    /// In or out: mode, features, or the page's mfn.
    pub val: u64,
    /// Vcpu.
    pub vcpu: u32,
    /// Unused.
    pub pad: u32,
}

/// Registers where a sample was taken: 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenPmuRegs {
    /// RIP.
    pub ip: u64,
    /// RSP.
    pub sp: u64,
    /// RFLAGS.
    pub flags: u64,
    /// Code selector.
    pub cs: u16,
    /// Stack selector.
    pub ss: u16,
    /// Privilege level.
    pub cpl: u8,
    /// Unused.
    pub pad: [u8; 3],
}

/// A counter of Intel's and what it counts: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenPmuCntrPair {
    /// Count.
    pub counter: u64,
    /// What it counts.
    pub control: u64,
}

/// Intel's registers: 64 bytes, then the counters. At the place of [`XenPmuArch::c`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenPmuIntelCtxt {
    /// Offset of the fixed counters from here, in bytes.
    pub fixed_counters: u32,
    /// Offset of the [`XenPmuCntrPair`]s from here, in bytes.
    pub arch_counters: u32,
    /// IA32_PERF_GLOBAL_CTRL.
    pub global_ctrl: u64,
    /// IA32_PERF_GLOBAL_OVF_CTRL.
    pub global_ovf_ctrl: u64,
    /// IA32_PERF_GLOBAL_STATUS.
    pub global_status: u64,
    /// IA32_FIXED_CTR_CTRL.
    pub fixed_ctrl: u64,
    /// IA32_DS_AREA.
    pub ds_area: u64,
    /// IA32_PEBS_ENABLE.
    pub pebs_enable: u64,
    /// IA32_DEBUGCTL.
    pub debugctl: u64,
}

/// AMD's registers: 8 bytes, then the registers. At the place of [`XenPmuArch::c`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct XenPmuAmdCtxt {
    /// Offset of the counters from here, in bytes.
    pub counters: u32,
    /// Offset of the controls from here, in bytes.
    pub ctrls: u32,
}

/// The x86 part of [`XenPmuData`]: 208 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenPmuArch {
    /// Where the sample was taken.
    pub regs: XenPmuRegs,
    /// Room for more registers.
    pub regs_pad: [u8; 32],
    /// `PMU_*`.
    pub pmu_flags: u64,
    /// The local vector table's entry; its mask bit is loaded into the processor.
    pub lapic_lvtpc: u32,
    /// Padding.
    pub lapic_pad: u32,
    /// A [`XenPmuIntelCtxt`] or a [`XenPmuAmdCtxt`].
    pub c: [u64; 16],
}

/// A vcpu's page of counters: 224 bytes, then registers at the offsets it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenPmuData {
    /// Vcpu the sample is of.
    pub vcpu_id: u32,
    /// CPU; for others than the control domain, the vcpu.
    pub pcpu_id: u32,
    /// Domain the sample is of.
    pub domain_id: u16,
    /// Unused.
    pub pad: [u8; 6],
    /// The x86 part.
    pub pmu: XenPmuArch,
}

zeroed_default!(XenPmuArch, XenPmuData);

xen_structs! {
    "struct xen_pmu_params" = XenPmuParams {
        version_maj = "version.maj", version_min = "version.min", val, vcpu, pad,
    }
    "struct xen_pmu_regs" = XenPmuRegs { ip, sp, flags, cs, ss, cpl, pad }
    "struct xen_pmu_cntr_pair" = XenPmuCntrPair { counter, control }
    "struct xen_pmu_intel_ctxt" = XenPmuIntelCtxt {
        fixed_counters, arch_counters, global_ctrl, global_ovf_ctrl, global_status, fixed_ctrl, ds_area, pebs_enable,
        debugctl,
    }
    "struct xen_pmu_amd_ctxt" = XenPmuAmdCtxt { counters, ctrls }
    "struct xen_pmu_arch" = XenPmuArch { regs = "r.regs", pmu_flags, lapic_lvtpc = "l.lapic_lvtpc", c } pad {
        regs_pad, lapic_pad
    }
    "struct xen_pmu_data" = XenPmuData { vcpu_id, pcpu_id, domain_id, pad, pmu }
}
