//! The shared-info page (`xen/xen.h`, `xen/arch-x86/xen.h`): events, time and per-vcpu state that guest and hypervisor
//! both write.
//!
//! The structs describe the layout. Live memory is shared with the other side, so access it through volatile or atomic
//! operations on the fields' addresses, never through a reference to a whole struct.

use crate::macros::{xen_constants, xen_structs, zeroed_default};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

xen_constants! {
    /// vcpus whose [`VcpuInfo`] lies in the shared-info page; others must register one by `VCPUOP_register_vcpu_info`.
    pub const XEN_LEGACY_MAX_VCPUS: usize = 32;
    /// In [`VcpuTimeInfo::flags`]: TSCs are synchronised across vcpus.
    pub const PVCLOCK_TSC_STABLE: u8 = 1 << 0 => XEN_PVCLOCK_TSC_STABLE_BIT;
    /// In [`VcpuTimeInfo::flags`]: the guest was stopped by its host.
    pub const PVCLOCK_GUEST_STOPPED: u8 = 1 << 1 => XEN_PVCLOCK_GUEST_STOPPED;
    /// In [`ArchSharedInfo::nmi_reason`]: I/O check, ISA port 0x61 bit 6.
    pub const XEN_NMIREASON_IO_ERROR: u64 = 1 << 0 => XEN_NMIREASON_io_error;
    /// In [`ArchSharedInfo::nmi_reason`]: PCI SERR, ISA port 0x61 bit 7.
    pub const XEN_NMIREASON_PCI_SERR: u64 = 1 << 1 => XEN_NMIREASON_pci_serr;
    /// In [`ArchSharedInfo::nmi_reason`]: an NMI of unknown cause.
    pub const XEN_NMIREASON_UNKNOWN: u64 = 1 << 2 => XEN_NMIREASON_unknown;
}

/// Parameters that turn TSC ticks into system time: 32 bytes, Xen's `struct vcpu_time_info`.
///
/// `version` is odd while the hypervisor writes; a reader reads it before and after, and retries unless both are the
/// same even number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuTimeInfo {
    /// Sequence number.
    pub version: u32,
    /// Padding.
    pub pad0: u32,
    /// TSC at the last update, in ticks.
    pub tsc_timestamp: u64,
    /// System time at the last update, in nanoseconds since the hypervisor started.
    pub system_time: u64,
    /// Nanoseconds per (shifted) tick, in units of 2^-32.
    pub tsc_to_system_mul: u32,
    /// How far left to shift a tick difference first; negative is to the right.
    pub tsc_shift: i8,
    /// `PVCLOCK_*`.
    pub flags: u8,
    /// Padding.
    pub pad1: [u8; 2],
}

impl VcpuTimeInfo {
    /// System time in nanoseconds at TSC value `tsc`. A `tsc` before the stamp counts as the stamp.
    ///
    /// The stamp may be a negative number: where Xen emulates the TSC, it counts from the domain's beginning, and the first
    /// stamp is from before it.
    pub const fn system_time_at(&self, tsc: u64) -> u64 {
        let delta = tsc.wrapping_sub(self.tsc_timestamp);
        let delta = if (delta as i64) < 0 { 0 } else { delta };
        let shift = self.tsc_shift.unsigned_abs() as u32;
        let shifted = match (self.tsc_shift < 0, shift < 64) {
            (_, false) => 0,
            (true, true) => delta >> shift,
            (false, true) => delta << shift,
        };
        let ns = (shifted as u128 * self.tsc_to_system_mul as u128) >> 32;
        self.system_time.wrapping_add(ns as u64)
    }

    /// The multiplier and shift for a TSC of `hz` ticks per second, the multiplier's top bit set for precision.
    ///
    /// `None` for 0 Hz.
    pub const fn scale_for_hz(hz: u64) -> Option<(u32, i8)> {
        if hz == 0 {
            return None;
        }
        // ns = ticks * 2^shift * mul / 2^32, so mul = 10^9 * 2^32 / (hz * 2^shift), kept in [2^31, 2^32).
        let mut shift: i8 = 0;
        let mut numerator = 1_000_000_000u128 << 32;
        let mut denominator = hz as u128;
        while numerator / denominator >= 1 << 32 {
            denominator <<= 1;
            shift += 1;
        }
        while numerator / denominator < 1 << 31 {
            numerator <<= 1;
            shift -= 1;
        }
        Some(((numerator / denominator) as u32, shift))
    }
}

/// The x86 part of [`VcpuInfo`]: 16 bytes, Xen's `struct arch_vcpu_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ArchVcpuInfo {
    /// The address of the latest page fault. PV guests read this, not CR2.
    pub cr2: u64,
    /// Padding.
    pub pad: u64,
}

/// A vcpu's shared state: 64 bytes, Xen's `struct vcpu_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuInfo {
    /// Non-zero: an event is pending. The hypervisor sets it, the guest clears it before it looks for events.
    pub evtchn_upcall_pending: u8,
    /// Non-zero: no upcall is delivered.
    pub evtchn_upcall_mask: u8,
    /// Padding.
    pub pad0: [u8; 6],
    /// A bit for each word of [`SharedInfo::evtchn_pending`] with an event for this vcpu.
    pub evtchn_pending_sel: u64,
    /// The x86 part.
    pub arch: ArchVcpuInfo,
    /// Time parameters.
    pub time: VcpuTimeInfo,
}

/// The x86 part of [`SharedInfo`]: 48 bytes, Xen's `struct arch_shared_info`. The guest writes it for tools that save or
/// inspect it; the hypervisor only `nmi_reason`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ArchSharedInfo {
    /// Number of valid p2m entries.
    pub max_pfn: u64,
    /// mfn of the p2m tree's top page; 0 not set up, all ones when only the linear p2m exists.
    pub pfn_to_mfn_frame_list_list: u64,
    /// `XEN_NMIREASON_*`.
    pub nmi_reason: u64,
    /// CR3-formatted root of the tables that map `p2m_vaddr`; 0 when the linear p2m is not published.
    pub p2m_cr3: u64,
    /// Virtual address of the linear p2m.
    pub p2m_vaddr: u64,
    /// Odd while the guest changes the linear p2m's mapping.
    pub p2m_generation: u64,
}

/// Words in each event bitmap: 64, of 64 bits.
pub const EVTCHN_WORDS: usize = 64;

/// The shared-info page's defined part: 3136 bytes, Xen's `struct shared_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SharedInfo {
    /// State of vcpus 0 to 31, until they register a place of their own.
    pub vcpu_info: [VcpuInfo; XEN_LEGACY_MAX_VCPUS],
    /// A bit per port: an event is pending. Set by the hypervisor, cleared by the guest.
    pub evtchn_pending: [u64; EVTCHN_WORDS],
    /// A bit per port: pending events cause no upcall. Written by the guest, and by `EVTCHNOP_unmask`.
    pub evtchn_mask: [u64; EVTCHN_WORDS],
    /// Sequence number of the wall clock, as [`VcpuTimeInfo::version`].
    pub wc_version: u32,
    /// Wall clock at system time 0: seconds since 1970-01-01, low half.
    pub wc_sec: u32,
    /// Wall clock at system time 0: nanoseconds.
    pub wc_nsec: u32,
    /// Seconds, high half.
    pub wc_sec_hi: u32,
    /// The x86 part.
    pub arch: ArchSharedInfo,
}

zeroed_default!(SharedInfo);

xen_structs! {
    "struct vcpu_time_info" = VcpuTimeInfo {
        version, pad0, tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift, flags, pad1,
    }
    "struct arch_vcpu_info" = ArchVcpuInfo { cr2, pad }
    "struct vcpu_info" = VcpuInfo {
        evtchn_upcall_pending, evtchn_upcall_mask, evtchn_pending_sel, arch, time,
    } pad { pad0 }
    "struct arch_shared_info" = ArchSharedInfo {
        max_pfn, pfn_to_mfn_frame_list_list, nmi_reason, p2m_cr3, p2m_vaddr, p2m_generation,
    }
    "struct shared_info" = SharedInfo {
        vcpu_info, evtchn_pending, evtchn_mask, wc_version, wc_sec, wc_nsec, wc_sec_hi, arch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(hz: u64) -> VcpuTimeInfo {
        let (mul, shift) = VcpuTimeInfo::scale_for_hz(hz).expect("hz is not 0");
        VcpuTimeInfo {
            tsc_timestamp: 1000,
            system_time: 5,
            tsc_to_system_mul: mul,
            tsc_shift: shift,
            ..Default::default()
        }
    }

    #[test]
    fn a_second_of_ticks_is_a_second() {
        for hz in [
            1,
            100,
            32_768,
            1_000_000,
            999_999_999,
            1_000_000_000,
            2_400_000_123,
            5_000_000_000,
            u64::MAX / 2,
        ] {
            let time = clock(hz);
            assert!(time.tsc_to_system_mul >= 1 << 31, "{hz} Hz loses precision");
            let ns = time.system_time_at(1000 + hz) - 5;
            assert!(ns.abs_diff(1_000_000_000) <= 2, "{hz} Hz: {ns} ns");
        }
        assert_eq!(VcpuTimeInfo::scale_for_hz(0), None);
    }

    #[test]
    fn time_never_runs_before_the_stamp() {
        assert_eq!(clock(1_000_000_000).system_time_at(0), 5);
        assert_eq!(clock(1_000_000_000).system_time_at(1000), 5);
    }

    #[test]
    fn a_stamp_may_be_from_before_the_counter_began() {
        let time = VcpuTimeInfo { tsc_timestamp: 500u64.wrapping_neg(), ..clock(1_000_000_000) };
        assert!(time.system_time_at(500).abs_diff(1005) <= 1, "{}", time.system_time_at(500));
    }

    #[test]
    fn absurd_shifts_give_no_ticks() {
        let time = VcpuTimeInfo { tsc_to_system_mul: u32::MAX, tsc_shift: -128, ..Default::default() };
        assert_eq!(time.system_time_at(u64::MAX), 0);
        let time = VcpuTimeInfo { tsc_to_system_mul: u32::MAX, tsc_shift: 127, ..Default::default() };
        assert_eq!(time.system_time_at(u64::MAX), 0);
    }
}
