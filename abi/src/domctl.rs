//! What a toolstack needs of `domctl` (`xen/domctl.h`) to build a PV domain, to watch it and to destroy it.
//!
//! The interface is for tools alone and changes with every release of Xen; this is that of 4.17, see
//! [`XEN_DOMCTL_INTERFACE_VERSION`]. Every argument is a part of [`Domctl::u`].
//!
//! # Examples
//!
//! ```
//! use paravane_abi::domctl::{GetDomainInfo, MaxMem, XEN_DOMCTL_MAX_MEM};
//! use paravane_abi::privileged::Domctl;
//!
//! let call = Domctl::with(XEN_DOMCTL_MAX_MEM, 7, &MaxMem { max_memkb: 65536 });
//! assert_eq!((call.domain, call.u[0]), (7, 65536));
//! // What comes back is read the same way.
//! assert_eq!(call.argument::<GetDomainInfo>().domain, 0);
//! ```

use crate::macros::{xen_constants, xen_structs};
use crate::privileged::{Domctl, XEN_DOMCTL_INTERFACE_VERSION};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

xen_constants! {
    /// In [`Domctl::cmd`]: gives back all that a domain has. Without an argument.
    pub const XEN_DOMCTL_DESTROYDOMAIN: u32 = 2 => XEN_DOMCTL_destroydomain;
    /// In [`Domctl::cmd`]: lets a domain run. Without an argument.
    pub const XEN_DOMCTL_UNPAUSEDOMAIN: u32 = 4 => XEN_DOMCTL_unpausedomain;
    /// In [`Domctl::cmd`]: the most memory a domain may have. [`MaxMem`].
    pub const XEN_DOMCTL_MAX_MEM: u32 = 11 => XEN_DOMCTL_max_mem;
    /// In [`Domctl::cmd`]: a vcpu's first state. [`DomctlVcpuContext`].
    pub const XEN_DOMCTL_SETVCPUCONTEXT: u32 = 12 => XEN_DOMCTL_setvcpucontext;
    /// In [`Domctl::cmd`]: makes the vcpus. [`MaxVcpus`].
    pub const XEN_DOMCTL_MAX_VCPUS: u32 = 15 => XEN_DOMCTL_max_vcpus;
    /// In [`Domctl::cmd`]: writes the hypercall page. [`HypercallInit`].
    pub const XEN_DOMCTL_HYPERCALL_INIT: u32 = 22 => XEN_DOMCTL_hypercall_init;
    /// In [`Domctl::cmd`]: 32 or 64 bits. [`AddressSize`].
    pub const XEN_DOMCTL_SET_ADDRESS_SIZE: u32 = 35 => XEN_DOMCTL_set_address_size;
    /// In [`Domctl::cmd`]: how the time-stamp counter is read. [`TscInfo`].
    pub const XEN_DOMCTL_SETTSCINFO: u32 = 60 => XEN_DOMCTL_settscinfo;
    /// In [`Domctl::cmd`]: the CPUID leaves and MSRs that a domain sees. [`DomctlCpuPolicy`].
    pub const XEN_DOMCTL_GET_CPU_POLICY: u32 = 82 => XEN_DOMCTL_get_cpu_policy;
    /// In [`Domctl::cmd`]: changes some of them. [`DomctlCpuPolicy`].
    pub const XEN_DOMCTL_SET_CPU_POLICY: u32 = 83 => XEN_DOMCTL_set_cpu_policy;
    /// In [`GetDomainInfo::flags`]: it is being destroyed.
    pub const XEN_DOMINF_DYING: u32 = 1 << 0 => XEN_DOMINF_dying;
    /// In [`GetDomainInfo::flags`]: it has stopped.
    pub const XEN_DOMINF_SHUTDOWN: u32 = 1 << 2 => XEN_DOMINF_shutdown;
    /// How far [`GetDomainInfo::flags`] is shifted to the right to get at the reason, `SHUTDOWN_*`.
    pub const XEN_DOMINF_SHUTDOWN_SHIFT: u32 = 16 => XEN_DOMINF_shutdownshift;
    /// The bits of the reason then.
    pub const XEN_DOMINF_SHUTDOWN_MASK: u32 = 255 => XEN_DOMINF_shutdownmask;
    /// [`CpuidLeaf::subleaf`] of a leaf that has none.
    pub const XEN_CPUID_NO_SUBLEAF: u32 = 0xffff_ffff;
}

impl Domctl {
    /// An operation on a domain, with its argument.
    ///
    /// # Panics
    /// When the argument is longer than 128 bytes, which none is.
    pub fn with<T: IntoBytes + Immutable>(cmd: u32, domain: u16, argument: &T) -> Self {
        let mut call =
            Self { cmd, interface_version: XEN_DOMCTL_INTERFACE_VERSION, domain, ..Self::default() };
        let bytes = argument.as_bytes();
        call.u.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        call
    }

    /// The argument, as the hypervisor left it.
    ///
    /// # Panics
    /// When it is longer than 128 bytes, which none is.
    pub fn argument<T: FromBytes>(&self) -> T {
        T::read_from_prefix(self.u.as_bytes()).map(|(argument, _)| argument).expect("arguments fit the union")
    }
}

/// A domain's x86 options: 8 bytes, Xen's `struct xen_arch_domainconfig`. All are 0 for a PV domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ArchDomainConfig {
    /// Devices of an HVM domain.
    pub emulation_flags: u32,
    /// Other options.
    pub misc_flags: u32,
}

/// Argument of [`XEN_DOMCTL_CREATEDOMAIN`](crate::privileged::XEN_DOMCTL_CREATEDOMAIN): 64 bytes. [`Domctl::domain`] is the
/// number asked for, or 0 for any, and the number given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CreateDomain {
    /// Security label.
    pub ssidref: u32,
    /// The domain's UUID.
    pub handle: [u8; 16],
    /// `XEN_DOMCTL_CDF_*`; 0 for a PV domain without devices.
    pub flags: u32,
    /// Options of the IOMMU.
    pub iommu_opts: u32,
    /// Number of vcpus.
    pub max_vcpus: u32,
    /// Highest event-channel port.
    pub max_evtchn_port: u32,
    /// Most frames of its grant table; below 0 for the default.
    pub max_grant_frames: i32,
    /// Most frames of its table of mapped grants; below 0 for the default.
    pub max_maptrack_frames: i32,
    /// Bits 0 to 3: the highest version of its grant table.
    pub grant_opts: u32,
    /// Bytes of each vcpu's trace buffer.
    pub vmtrace_size: u32,
    /// Its pool of processors.
    pub cpupool_id: u32,
    /// Options of the architecture.
    pub arch: ArchDomainConfig,
}

/// Argument of [`XEN_DOMCTL_GETDOMAININFO`](crate::privileged::XEN_DOMCTL_GETDOMAININFO), all of it filled in: 112 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GetDomainInfo {
    /// The domain: the one asked about, or the next.
    pub domain: u16,
    /// Unused.
    pub pad1: u16,
    /// `XEN_DOMINF_*`.
    pub flags: u32,
    /// Frames it has.
    pub tot_pages: u64,
    /// Most frames it may have.
    pub max_pages: u64,
    /// Frames claimed and not taken.
    pub outstanding_pages: u64,
    /// Frames shared by deduplication.
    pub shr_pages: u64,
    /// Frames paged out.
    pub paged_pages: u64,
    /// Frame of its shared-info page.
    pub shared_info_frame: u64,
    /// Nanoseconds its vcpus have run.
    pub cpu_time: u64,
    /// Vcpus that are up.
    pub nr_online_vcpus: u32,
    /// Highest number of a vcpu.
    pub max_vcpu_id: u32,
    /// Security label.
    pub ssidref: u32,
    /// The domain's UUID.
    pub handle: [u8; 16],
    /// Its pool of processors.
    pub cpupool: u32,
    /// Bits of its guest-physical addresses.
    pub gpaddr_bits: u8,
    /// Unused.
    pub pad2: [u8; 7],
    /// Options of the architecture.
    pub arch_config: ArchDomainConfig,
}

impl GetDomainInfo {
    /// The reason it gave or was given for having stopped (`SHUTDOWN_*`); `None` while it has not.
    pub const fn shutdown(&self) -> Option<u32> {
        match self.flags & XEN_DOMINF_SHUTDOWN {
            0 => None,
            _ => Some(self.flags >> XEN_DOMINF_SHUTDOWN_SHIFT & XEN_DOMINF_SHUTDOWN_MASK),
        }
    }
}

/// Argument of [`XEN_DOMCTL_MAX_MEM`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MaxMem {
    /// KiB.
    pub max_memkb: u64,
}

/// Argument of [`XEN_DOMCTL_SETVCPUCONTEXT`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DomctlVcpuContext {
    /// The vcpu.
    pub vcpu: u32,
    /// Padding.
    pub pad: u32,
    /// Virtual address of a [`VcpuGuestContext`](crate::vcpu::VcpuGuestContext).
    pub ctxt: u64,
}

/// Argument of [`XEN_DOMCTL_MAX_VCPUS`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MaxVcpus {
    /// The same number as at the domain's creation.
    pub max: u32,
}

/// Argument of [`XEN_DOMCTL_HYPERCALL_INIT`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HypercallInit {
    /// mfn of the page.
    pub gmfn: u64,
}

/// Argument of [`XEN_DOMCTL_SET_ADDRESS_SIZE`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct AddressSize {
    /// 32 or 64.
    pub size: u32,
}

/// Argument of [`XEN_DOMCTL_SETTSCINFO`]: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct TscInfo {
    /// 0: native where that is safe, else emulated.
    pub tsc_mode: u32,
    /// Its frequency in kHz; 0 for the machine's.
    pub gtsc_khz: u32,
    /// How often the domain has been resumed.
    pub incarnation: u32,
    /// Unused.
    pub pad: u32,
    /// How long it has run, in nanoseconds.
    pub elapsed_nsec: u64,
}

/// Argument of [`XEN_DOMCTL_GET_CPU_POLICY`] and [`XEN_DOMCTL_SET_CPU_POLICY`]: 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DomctlCpuPolicy {
    /// Number of leaves that there is room for, or that there are.
    pub nr_leaves: u32,
    /// The same for MSRs.
    pub nr_msrs: u32,
    /// Virtual address of an array of [`CpuidLeaf`].
    pub leaves: u64,
    /// Virtual address of an array of MSRs.
    pub msrs: u64,
    /// Out: the leaf that was refused.
    pub err_leaf: u32,
    /// Out: its subleaf.
    pub err_subleaf: u32,
    /// Out: the MSR that was refused.
    pub err_msr: u32,
    /// Padding.
    pub pad: u32,
}

/// A CPUID leaf: 24 bytes, Xen's `xen_cpuid_leaf_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CpuidLeaf {
    /// Its number.
    pub leaf: u32,
    /// Its subleaf, or [`XEN_CPUID_NO_SUBLEAF`].
    pub subleaf: u32,
    /// EAX.
    pub a: u32,
    /// EBX.
    pub b: u32,
    /// ECX.
    pub c: u32,
    /// EDX.
    pub d: u32,
}

xen_structs! {
    "struct xen_arch_domainconfig" = ArchDomainConfig { emulation_flags, misc_flags }
    "struct xen_domctl_createdomain" = CreateDomain {
        ssidref, handle, flags, iommu_opts, max_vcpus, max_evtchn_port, max_grant_frames, max_maptrack_frames, grant_opts,
        vmtrace_size, cpupool_id, arch,
    }
    "struct xen_domctl_getdomaininfo" = GetDomainInfo {
        domain, pad1, flags, tot_pages, max_pages, outstanding_pages, shr_pages, paged_pages, shared_info_frame, cpu_time,
        nr_online_vcpus, max_vcpu_id, ssidref, handle, cpupool, gpaddr_bits, pad2, arch_config,
    }
    "struct xen_domctl_max_mem" = MaxMem { max_memkb }
    "struct xen_domctl_vcpucontext" = DomctlVcpuContext { vcpu, ctxt } pad { pad }
    "struct xen_domctl_max_vcpus" = MaxVcpus { max }
    "struct xen_domctl_hypercall_init" = HypercallInit { gmfn }
    "struct xen_domctl_address_size" = AddressSize { size }
    "struct xen_domctl_tsc_info" = TscInfo { tsc_mode, gtsc_khz, incarnation, pad, elapsed_nsec }
    "struct xen_domctl_cpu_policy" = DomctlCpuPolicy {
        nr_leaves, nr_msrs, leaves, msrs, err_leaf, err_subleaf, err_msr,
    } pad { pad }
    "struct xen_cpuid_leaf" = CpuidLeaf { leaf, subleaf, a, b, c, d }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_of_those_alone_that_stopped() {
        let info = |flags| GetDomainInfo { flags, ..GetDomainInfo::default() };
        assert_eq!(info(3 << 16).shutdown(), None);
        assert_eq!(info(XEN_DOMINF_SHUTDOWN | 3 << 16).shutdown(), Some(3));
        assert_eq!(info(XEN_DOMINF_SHUTDOWN | 0xfe05 << 16).shutdown(), Some(5));
    }

    #[test]
    fn arguments_come_back() {
        let create = CreateDomain { max_vcpus: 3, max_grant_frames: -1, ..CreateDomain::default() };
        let call = Domctl::with(1, 9, &create);
        assert_eq!((call.cmd, call.interface_version, call.domain), (1, 0x15, 9));
        assert_eq!(call.argument::<CreateDomain>(), create);
    }
}
