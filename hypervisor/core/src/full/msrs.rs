//! The model-specific registers a kernel uses. What is not here is answered as for a PV guest ([`crate::msr`]), whose
//! table has the rest of what kernels look for; Xen's own registers do not exist.

use super::Host;
use super::control::checked_efer;
use super::state::{FullCpu, efer};
use super::step::Effect;
use crate::addr::VirtAddr;
use crate::emulate::Fault;
use crate::msr::{self, MsrEffect, MsrView};
use core::ops::RangeInclusive;

/// MSR numbers (SDM volume 4, table 2-2; APM volume 2, appendix A).
mod index {
    pub const TSC: u32 = 0x10;
    pub const APIC_BASE: u32 = 0x1b;
    pub const MTRR_CAP: u32 = 0xfe;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const PAT: u32 = 0x277;
    pub const MTRR_DEFAULT_TYPE: u32 = 0x2ff;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const SFMASK: u32 = 0xc000_0084;
}
use index::*;

/// Xen's, and other hypervisors'.
const HYPERVISORS: RangeInclusive<u32> = 0x4000_0000..=0x4000_ffff;
/// The local APIC at its usual address, switched off, on the boot processor: there is none.
const APIC_BASE_VALUE: u64 = 0xfee0_0000 | 1 << 8;
/// MTRRs on, none there, write-back by default.
const MTRR_DEFAULT_VALUE: u64 = 1 << 11 | 6;

pub(super) fn view(cpu: &FullCpu) -> MsrView {
    MsrView {
        vendor: cpu.model.vendor,
        vcpu: 0,
        fs_base: cpu.fs_base,
        gs_base: cpu.gs_base,
        gs_base_inactive: cpu.kernel_gs_base,
        efer: cpu.efer,
        tsc_aux: cpu.tsc_aux,
        has_tsc_aux: cpu.model.tsc_aux,
        misc_enable: cpu.model.misc_enable,
        microcode: cpu.model.microcode,
        protection_handler: true,
    }
}

/// `rdmsr`.
pub(super) fn read(cpu: &FullCpu, host: &impl Host, index: u32) -> Result<u64, Fault> {
    Ok(match index {
        TSC => host.tsc(),
        APIC_BASE => APIC_BASE_VALUE,
        MTRR_CAP => 0,
        MTRR_DEFAULT_TYPE => MTRR_DEFAULT_VALUE,
        SYSENTER_CS => cpu.sysenter_cs,
        SYSENTER_ESP => cpu.sysenter_esp,
        SYSENTER_EIP => cpu.sysenter_eip,
        PAT => cpu.pat,
        EFER => cpu.efer,
        STAR => cpu.star,
        LSTAR => cpu.lstar,
        CSTAR => cpu.cstar,
        SFMASK => cpu.sfmask,
        _ if HYPERVISORS.contains(&index) => return Err(Fault::PROTECTION),
        _ => msr::read(index, &view(cpu), || host.tsc(), || false).map_err(|_| Fault::PROTECTION)?,
    })
}

/// Each byte one of the types that exist (SDM volume 3, 11.12.2).
fn valid_pat(value: u64) -> bool {
    value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7))
}

/// `wrmsr`.
pub(super) fn write(cpu: &mut FullCpu, index: u32, value: u64) -> Result<Effect, Fault> {
    let refused_if = |bad: bool| if bad { Err(Fault::PROTECTION) } else { Ok(()) };
    let non_canonical = !VirtAddr::is_canonical(value);
    match index {
        // The counter is the machine's: `rdtsc` does not trap, so an offset could not be shown everywhere.
        TSC => {}
        APIC_BASE => refused_if(value != APIC_BASE_VALUE)?,
        MTRR_DEFAULT_TYPE => refused_if(value != MTRR_DEFAULT_VALUE)?,
        SYSENTER_CS => cpu.sysenter_cs = value,
        SYSENTER_ESP | SYSENTER_EIP | LSTAR | CSTAR => {
            refused_if(non_canonical)?;
            match index {
                SYSENTER_ESP => cpu.sysenter_esp = value,
                SYSENTER_EIP => cpu.sysenter_eip = value,
                LSTAR => cpu.lstar = value,
                _ => cpu.cstar = value,
            }
        }
        PAT => {
            refused_if(!valid_pat(value))?;
            cpu.pat = value;
        }
        EFER => {
            let new = checked_efer(cpu, value)?;
            let paging = (new ^ cpu.efer) & efer::NXE != 0;
            let changed = new != cpu.efer;
            cpu.efer = new;
            return Ok(if changed { Effect::Control { paging, fpu: false } } else { Effect::None });
        }
        STAR => cpu.star = value,
        SFMASK => {
            refused_if(value >> 32 != 0)?;
            cpu.sfmask = value;
        }
        _ if HYPERVISORS.contains(&index) => return Err(Fault::PROTECTION),
        _ => return shared(cpu, index, value),
    }
    Ok(Effect::None)
}

/// Writes that a PV guest may make too.
fn shared(cpu: &mut FullCpu, index: u32, value: u64) -> Result<Effect, Fault> {
    match msr::write(index, value, &view(cpu)).map_err(|_| Fault::PROTECTION)? {
        MsrEffect::Ignored => return Ok(Effect::None),
        MsrEffect::FsBase(base) => cpu.fs_base = base,
        MsrEffect::GsBase(base) => cpu.gs_base = base,
        MsrEffect::GsBaseInactive(base) => {
            cpu.kernel_gs_base = base;
            return Ok(Effect::None);
        }
        MsrEffect::TscAux(value) => {
            cpu.tsc_aux = value;
            return Ok(Effect::TscAux);
        }
        MsrEffect::HypercallPage(_) => return Err(Fault::PROTECTION),
    }
    Ok(Effect::Bases)
}
