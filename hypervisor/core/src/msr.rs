//! Model-specific registers of a PV guest: Xen's answers for a domain without devices.

use crate::addr::VirtAddr;

/// The CPU's maker, where an MSR depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Vendor {
    Intel,
    Amd,
    Other,
}

/// What MSR reads and writes depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsrView {
    /// The CPU's maker.
    pub vendor: Vendor,
    /// The vcpu's number; 0 is the boot processor.
    pub vcpu: u32,
    /// The live FS base.
    pub fs_base: u64,
    /// The live GS base.
    pub gs_base: u64,
    /// The GS base of the half of the guest that is not running.
    pub gs_base_inactive: u64,
    /// The hardware's EFER.
    pub efer: u64,
    /// The vcpu's TSC_AUX.
    pub tsc_aux: u32,
    /// Whether the guest sees RDTSCP or RDPID.
    pub has_tsc_aux: bool,
    /// The hardware's MISC_ENABLE, where it has one.
    pub misc_enable: Option<u64>,
    /// The hardware's microcode revision MSR, where it has one.
    pub microcode: Option<u64>,
    /// Whether the guest has a #GP handler yet.
    pub protection_handler: bool,
}

/// What a permitted write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrEffect {
    /// Nothing.
    Ignored,
    /// Sets the live FS base.
    FsBase(u64),
    /// Sets the live GS base.
    GsBase(u64),
    /// Sets the inactive GS base.
    GsBaseInactive(u64),
    /// Sets TSC_AUX.
    TscAux(u32),
    /// Fills this frame with the hypercall page, if the guest may write it; else #GP.
    HypercallPage(u64),
}

/// The access raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// MSR numbers (SDM volume 4; APM volume 2, appendix A).
mod index {
    use core::ops::RangeInclusive;

    pub const TSC: u32 = 0x10;
    pub const PLATFORM_ID: u32 = 0x17;
    pub const APIC_BASE: u32 = 0x1b;
    pub const FEATURE_CONTROL: u32 = 0x3a;
    pub const MICROCODE_REVISION: u32 = 0x8b;
    pub const INTEL_COUNTERS: RangeInclusive<u32> = 0xc1..=0xc8;
    pub const PLATFORM_INFO: u32 = 0xce;
    pub const MPERF: u32 = 0xe7;
    pub const APERF: u32 = 0xe8;
    pub const MISC_FEATURES_ENABLES: u32 = 0x140;
    pub const MCG_CAP: u32 = 0x179;
    pub const MCG_STATUS: u32 = 0x17a;
    pub const MCG_CTL: u32 = 0x17b;
    pub const INTEL_SELECTORS: RangeInclusive<u32> = 0x186..=0x18d;
    pub const PERF_STATUS: u32 = 0x198;
    pub const PERF_CTL: u32 = 0x199;
    pub const THERM_CONTROL: u32 = 0x19a;
    pub const THERM_STATUS: u32 = 0x19c;
    pub const MISC_ENABLE: u32 = 0x1a0;
    pub const ENERGY_PERF_BIAS: u32 = 0x1b0;
    pub const PAT: u32 = 0x277;
    pub const MC_CTL2: RangeInclusive<u32> = 0x280..=0x29f;
    pub const INTEL_FIXED_COUNTERS: RangeInclusive<u32> = 0x309..=0x30b;
    pub const PERF_CAPABILITIES: u32 = 0x345;
    pub const INTEL_GLOBAL_COUNTERS: RangeInclusive<u32> = 0x38d..=0x390;
    /// The registers of Xen's two banks: control, status, address, miscellaneous, each.
    pub const MC_BANKS: RangeInclusive<u32> = 0x400..=0x407;
    pub const XEN_HYPERCALL_PAGE: u32 = 0x4000_0000;
    pub const XEN: RangeInclusive<u32> = 0x4000_0000..=0x4000_02ff;
    pub const EFER: u32 = 0xc000_0080;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
    pub const K7_COUNTERS: RangeInclusive<u32> = 0xc001_0000..=0xc001_0007;
    pub const HWCR: u32 = 0xc001_0015;
    pub const NB_CFG: u32 = 0xc001_001f;
    pub const FID_VID: RangeInclusive<u32> = 0xc001_0041..=0xc001_0042;
    pub const MMIO_CONF_BASE: u32 = 0xc001_0058;
    pub const PSTATES: RangeInclusive<u32> = 0xc001_0061..=0xc001_006b;
    pub const FAM15_COUNTERS: RangeInclusive<u32> = 0xc001_0200..=0xc001_020b;
    pub const DE_CFG: u32 = 0xc001_1029;
}
use index::*;

/// The page attribute table every PV guest sees. Guests build page-table entries by it, so it cannot differ.
pub const PAT_VALUE: u64 = 0x0000_0501_0007_0406;

/// APIC base at its reset address, enabled.
const APIC_BASE_VALUE: u64 = 0xfee0_0000 | 1 << 11;
const APIC_BASE_BOOT_PROCESSOR: u64 = 1 << 8;
const FEATURE_CONTROL_LOCKED: u64 = 1;
const DE_CFG_LFENCE_SERIALISES: u64 = 1 << 1;
/// Machine-check banks that a guest sees, and MCG_SER_P with MCG_TES_P, which an Intel guest sees too (SDM volume 3, 16.3.1.1).
const MC_BANK_COUNT: u64 = 2;
const MCG_INTEL: u64 = 1 << 24 | 1 << 11;
/// SCE, LME, LMA, NXE and FFXSR. SVME and what is newer stay hidden.
const EFER_SHOWN: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11 | 1 << 14;

fn shown_misc_enable(native: u64) -> u64 {
    const PERFORMANCE_MONITORING: u64 = 1 << 7;
    const MONITOR: u64 = 1 << 18;
    const NO_BRANCH_TRACE: u64 = 1 << 11;
    const NO_PEBS: u64 = 1 << 12;
    const NO_XTPR: u64 = 1 << 23;
    (native & !(PERFORMANCE_MONITORING | MONITOR)) | NO_BRANCH_TRACE | NO_PEBS | NO_XTPR
}

fn intel_counters(index: u32) -> bool {
    INTEL_COUNTERS.contains(&index)
        || INTEL_SELECTORS.contains(&index)
        || INTEL_FIXED_COUNTERS.contains(&index)
        || INTEL_GLOBAL_COUNTERS.contains(&index)
}

fn amd_counters(index: u32) -> bool {
    K7_COUNTERS.contains(&index) || FAM15_COUNTERS.contains(&index)
}

fn machine_check(index: u32) -> bool {
    matches!(index, MCG_CAP | MCG_STATUS | MCG_CTL) || MC_CTL2.contains(&index) || MC_BANKS.contains(&index)
}

/// The first register of a bank, whose bits all stand.
fn bank_control(index: u32) -> bool {
    MC_BANKS.contains(&index) && index & 3 == 0
}

/// Reads an MSR. `tsc` reads the time stamp counter; `exists` asks the hardware whether it has this MSR.
///
/// Before the guest has a #GP handler, reads of MSRs the hardware has give 0 instead of a fault nobody could
/// handle (as `xen.h` promises at `trap_info`).
pub fn read(
    index: u32,
    view: &MsrView,
    tsc: impl FnOnce() -> u64,
    exists: impl FnOnce() -> bool,
) -> Result<u64, Refused> {
    if index == TSC {
        return Ok(tsc());
    }
    match known(index, view) {
        Some(value) => Ok(value),
        None if !view.protection_handler && index >> 16 != 0x4000 && exists() => Ok(0),
        None => Err(Refused),
    }
}

fn known(index: u32, view: &MsrView) -> Option<u64> {
    let intel = view.vendor == Vendor::Intel;
    let amd = view.vendor == Vendor::Amd;
    match index {
        APIC_BASE if view.vcpu == 0 => Some(APIC_BASE_VALUE | APIC_BASE_BOOT_PROCESSOR),
        APIC_BASE => Some(APIC_BASE_VALUE),
        FS_BASE => Some(view.fs_base),
        GS_BASE => Some(view.gs_base),
        KERNEL_GS_BASE => Some(view.gs_base_inactive),
        TSC_AUX => view.has_tsc_aux.then_some(view.tsc_aux as u64),
        EFER => Some(view.efer & EFER_SHOWN),
        PAT => Some(PAT_VALUE),
        MISC_ENABLE => view.misc_enable.map(shown_misc_enable),
        MICROCODE_REVISION => view.microcode,
        PLATFORM_INFO | MISC_FEATURES_ENABLES | PERF_CAPABILITIES | NB_CFG | XEN_HYPERCALL_PAGE => Some(0),
        FEATURE_CONTROL => intel.then_some(FEATURE_CONTROL_LOCKED),
        PLATFORM_ID | PERF_STATUS | PERF_CTL | THERM_STATUS => intel.then_some(0),
        HWCR => amd.then_some(0),
        DE_CFG => amd.then_some(DE_CFG_LFENCE_SERIALISES),
        _ if FID_VID.contains(&index) || PSTATES.contains(&index) => amd.then_some(0),
        _ if intel_counters(index) => intel.then_some(0),
        _ if amd_counters(index) => amd.then_some(0),
        MCG_CAP => Some(MC_BANK_COUNT | if intel { MCG_INTEL } else { 0 }),
        _ if bank_control(index) => Some(u64::MAX),
        _ if machine_check(index) => Some(0),
        _ => None,
    }
}

/// Checks a write and says what it does. Many MSRs accept anything without effect, for guests that write them
/// unconditionally.
pub fn write(index: u32, value: u64, view: &MsrView) -> Result<MsrEffect, Refused> {
    let intel = view.vendor == Vendor::Intel;
    let amd = view.vendor == Vendor::Amd;
    let ignored = |accepted: bool| if accepted { Ok(MsrEffect::Ignored) } else { Err(Refused) };
    match index {
        FS_BASE | GS_BASE | KERNEL_GS_BASE if !VirtAddr::is_canonical(value) => Err(Refused),
        FS_BASE => Ok(MsrEffect::FsBase(value)),
        GS_BASE => Ok(MsrEffect::GsBase(value)),
        KERNEL_GS_BASE => Ok(MsrEffect::GsBaseInactive(value)),
        TSC_AUX if view.has_tsc_aux && value >> 32 == 0 => Ok(MsrEffect::TscAux(value as u32)),
        XEN_HYPERCALL_PAGE if value & 0xfff == 0 => Ok(MsrEffect::HypercallPage(value >> 12)),
        // Linux writes back what it read.
        EFER => ignored(value == view.efer & EFER_SHOWN),
        MISC_ENABLE => ignored(view.misc_enable.is_some()),
        MICROCODE_REVISION => ignored(intel && value == 0),
        MISC_FEATURES_ENABLES => ignored(value == 0),
        MPERF | APERF => ignored(intel || amd),
        THERM_CONTROL | ENERGY_PERF_BIAS => ignored(intel),
        NB_CFG => ignored(true),
        HWCR | MMIO_CONF_BASE => ignored(amd),
        // No guest changes it, and OpenBSD does not survive a refusal.
        DE_CFG => ignored(amd),
        MCG_CAP => ignored(true),
        // An error's registers can be cleared alone.
        _ if MC_BANKS.contains(&index) => ignored(bank_control(index) || value == 0),
        _ if XEN.contains(&index) => Err(Refused),
        _ if FID_VID.contains(&index) || PSTATES.contains(&index) => ignored(amd),
        _ if intel_counters(index) => ignored(intel),
        _ if amd_counters(index) => ignored(amd),
        _ => ignored(machine_check(index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(vendor: Vendor) -> MsrView {
        MsrView {
            vendor,
            vcpu: 0,
            fs_base: 0x1000,
            gs_base: 0x2000,
            gs_base_inactive: 0x3000,
            efer: 0x1d01,
            tsc_aux: 7,
            has_tsc_aux: true,
            misc_enable: Some(1 << 7 | 1),
            microcode: Some(0x1234),
            protection_handler: true,
        }
    }

    fn get(index: u32, view: &MsrView) -> Result<u64, Refused> {
        read(index, view, || 99, || true)
    }

    #[test]
    fn reads_give_xens_values() {
        let amd = view(Vendor::Amd);
        for (index, value) in [
            (0x10, 99),
            (0x1b, 0xfee0_0900),
            (0x8b, 0x1234),
            (0x277, 0x0000_0501_0007_0406),
            (0x1a0, 1 | 1 << 11 | 1 << 12 | 1 << 23),
            (0xc000_0080, 0xd01),
            (0xc000_0100, 0x1000),
            (0xc000_0101, 0x2000),
            (0xc000_0102, 0x3000),
            (0xc000_0103, 7),
            (0xc001_0000, 0),
            (0xc001_0007, 0),
            (0xc001_0015, 0),
            (0xc001_1029, 2),
            (0x4000_0000, 0),
            (0x179, 2),
            (0x400, u64::MAX),
            (0x401, 0),
        ] {
            assert_eq!(get(index, &amd), Ok(value), "{index:#x}");
        }
        let second = MsrView { vcpu: 1, ..amd };
        assert_eq!(get(0x1b, &second), Ok(0xfee0_0800));
    }

    #[test]
    fn unknown_reads_fault_once_the_guest_can_handle_it() {
        let amd = view(Vendor::Amd);
        assert_eq!(get(0xc001_0055, &amd), Err(Refused));
        assert_eq!(get(0x1234_5678, &amd), Err(Refused));
        assert_eq!(get(0x198, &amd), Err(Refused));
        let early = MsrView { protection_handler: false, ..amd };
        assert_eq!(get(0xc001_0055, &early), Ok(0));
        assert_eq!(read(0xc001_0055, &early, || 0, || false), Err(Refused));
        assert_eq!(get(0x4000_0001, &early), Err(Refused));
    }

    #[test]
    fn vendors_see_their_own_registers() {
        let (intel, amd, other) = (view(Vendor::Intel), view(Vendor::Amd), view(Vendor::Other));
        for index in [0xc1, 0x186, 0x309, 0x38f, 0x198, 0x19c] {
            assert_eq!(get(index, &intel), Ok(0), "{index:#x}");
            assert_eq!(get(index, &amd), Err(Refused), "{index:#x}");
        }
        for index in [0xc001_0041, 0xc001_0063, 0xc001_0200] {
            assert_eq!(get(index, &amd), Ok(0), "{index:#x}");
            assert_eq!(get(index, &intel), Err(Refused), "{index:#x}");
            assert_eq!(get(index, &other), Err(Refused), "{index:#x}");
        }
        assert_eq!(get(0x3a, &intel), Ok(1));
        assert_eq!(write(0xc1, 5, &intel), Ok(MsrEffect::Ignored));
        assert_eq!(write(0xc1, 5, &other), Err(Refused));
    }

    #[test]
    fn bases_must_be_canonical() {
        let view = view(Vendor::Intel);
        for bad in [0x8000_0000_0000, 0xffff_7fff_ffff_ffff] {
            for index in [0xc000_0100, 0xc000_0101, 0xc000_0102] {
                assert_eq!(write(index, bad, &view), Err(Refused));
            }
        }
        assert_eq!(write(0xc000_0100, u64::MAX, &view), Ok(MsrEffect::FsBase(u64::MAX)));
        assert_eq!(write(0xc000_0101, 0, &view), Ok(MsrEffect::GsBase(0)));
        assert_eq!(write(0xc000_0102, 5, &view), Ok(MsrEffect::GsBaseInactive(5)));
    }

    #[test]
    fn writes_that_would_change_the_machine_are_refused() {
        let view = view(Vendor::Intel);
        assert_eq!(write(0xc000_0080, 0xd01, &view), Ok(MsrEffect::Ignored));
        assert_eq!(write(0xc000_0080, 0x1d01, &view), Err(Refused));
        for index in [0x10, 0x1b, 0x277, 0x79, 0xc000_0081, 0xc000_0082, 0x174, 0x4000_0001] {
            assert_eq!(write(index, 0, &view), Err(Refused), "{index:#x}");
        }
        assert_eq!(write(0x8b, 0, &view), Ok(MsrEffect::Ignored));
        assert_eq!(write(0x8b, 1, &view), Err(Refused));
        assert_eq!(write(0x179, 3, &view), Ok(MsrEffect::Ignored));
        for (index, value, taken) in
            [(0x400, 1, true), (0x401, 1, false), (0x401, 0, true), (0x408, 0, false)]
        {
            assert_eq!(write(index, value, &view).is_ok(), taken, "{index:#x}");
        }
        assert_eq!(write(0xc000_0103, 1 << 32, &view), Err(Refused));
        assert_eq!(write(0xc000_0103, 3, &view), Ok(MsrEffect::TscAux(3)));
        assert_eq!(write(0x4000_0000, 0x5001, &view), Err(Refused));
        assert_eq!(write(0x4000_0000, 0x5000, &view), Ok(MsrEffect::HypercallPage(5)));
    }
}
