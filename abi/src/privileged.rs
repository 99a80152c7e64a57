//! The calls of privileged domains (`xen/platform.h`, `xen/sysctl.h`, `xen/domctl.h`), as far as any domain can get.
//!
//! `platform_op`, `sysctl` and `domctl` take one struct that names the operation and the version of the interface. A domain
//! without the privilege gets, in this order: `EFAULT` when the struct cannot be read, `EACCES` when the version is
//! not the hypervisor's, `ESRCH` (`domctl`) when the domain does not exist, and `EPERM`. These versions change with every
//! release of Xen; these are 4.17's. The operations themselves are for tools; those that build PV domains are in
//! [`domctl`](crate::domctl).

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

xen_constants! {
    /// In [`PlatformOp::interface_version`].
    pub const XENPF_INTERFACE_VERSION: u32 = 0x0300_0001;
    /// In [`Sysctl::interface_version`].
    pub const XEN_SYSCTL_INTERFACE_VERSION: u32 = 0x15;
    /// In [`Domctl::interface_version`].
    pub const XEN_DOMCTL_INTERFACE_VERSION: u32 = 0x15;
    /// In [`Domctl::cmd`]: makes a domain; the only operation without one to name.
    pub const XEN_DOMCTL_CREATEDOMAIN: u32 = 1 => XEN_DOMCTL_createdomain;
    /// In [`Domctl::cmd`]: tells about a domain, or the next one that exists.
    pub const XEN_DOMCTL_GETDOMAININFO: u32 = 5 => XEN_DOMCTL_getdomaininfo;
    /// In [`Domctl::cmd`]: logs dirty pages; the one operation `arch_1` goes on with.
    pub const XEN_DOMCTL_SHADOW_OP: u32 = 10 => XEN_DOMCTL_shadow_op;
}

/// Argument of `platform_op`: 136 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PlatformOp {
    /// `XENPF_*`.
    pub cmd: u32,
    /// [`XENPF_INTERFACE_VERSION`].
    pub interface_version: u32,
    /// The operation's own argument.
    pub u: [u64; 16],
}

/// Argument of `sysctl`: 136 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Sysctl {
    /// `XEN_SYSCTL_*`.
    pub cmd: u32,
    /// [`XEN_SYSCTL_INTERFACE_VERSION`].
    pub interface_version: u32,
    /// The operation's own argument.
    pub u: [u64; 16],
}

/// Argument of `domctl`: 144 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Domctl {
    /// `XEN_DOMCTL_*`.
    pub cmd: u32,
    /// [`XEN_DOMCTL_INTERFACE_VERSION`].
    pub interface_version: u32,
    /// Domain.
    pub domain: u16,
    /// Unused.
    pub pad: [u16; 3],
    /// The operation's own argument.
    pub u: [u64; 16],
}

/// Most buffers of a `dm_op`.
pub const DM_OP_BUFFERS_MAX: u32 = 2;

/// A buffer of `dm_op`'s: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DmOpBuf {
    /// Virtual address.
    pub h: u64,
    /// Bytes.
    pub size: u64,
}

xen_structs! {
    "struct xen_platform_op" = PlatformOp { cmd, interface_version, u }
    "struct xen_sysctl" = Sysctl { cmd, interface_version, u }
    "struct xen_domctl" = Domctl { cmd, interface_version, domain, pad = "_pad", u }
    "struct xen_dm_op_buf" = DmOpBuf { h, size }
}
