//! The calls of HVM domains that a PV domain can make (`xen/hvm/hvm_op.h`): `hvm_op`.
//!
//! [`HVMOP_GET_TIME`] works anywhere. What concerns a domain of the HVM kind is refused with `EINVAL` for one that is not.

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::hvm_op::*;

xen_constants! {
    /// One past the largest [`HvmParam::index`].
    pub const HVM_NR_PARAMS: u32 = 39;
    /// Bits of a trace event's number that a guest may choose.
    pub const TRC_SUBCLS_SHIFT: u32 = 12;
}

/// Argument of [`HVMOP_SET_PARAM`] and [`HVMOP_GET_PARAM`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HvmParam {
    /// Domain.
    pub domid: u16,
    /// Unused.
    pub pad: u16,
    /// Which.
    pub index: u32,
    /// In or out: value.
    pub value: u64,
}

/// Argument of [`HVMOP_PAGETABLE_DYING`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HvmPagetableDying {
    /// Domain.
    pub domid: u16,
    /// Unused.
    pub pad: [u16; 3],
    /// Physical address of the top table.
    pub gpa: u64,
}

/// Argument of [`HVMOP_GET_TIME`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HvmGetTime {
    /// Out: system time in nanoseconds since the hypervisor started.
    pub now: u64,
}

/// Argument of [`HVMOP_XENTRACE`]: 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HvmXentrace {
    /// Number, below `1 << TRC_SUBCLS_SHIFT`.
    pub event: u16,
    /// Bytes of `extra` in use.
    pub extra_bytes: u16,
    /// What to write besides.
    pub extra: [u8; 28],
}

/// Argument of [`HVMOP_GET_MEM_TYPE`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HvmGetMemType {
    /// Domain.
    pub domid: u16,
    /// Out: `HVMMEM_*`.
    pub mem_type: u16,
    /// Unused.
    pub pad: [u16; 2],
    /// pfn.
    pub pfn: u64,
}

/// Argument of [`HVMOP_SET_EVTCHN_UPCALL_VECTOR`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HvmEvtchnUpcallVector {
    /// Vcpu.
    pub vcpu: u32,
    /// Vector.
    pub vector: u8,
    /// Padding.
    pub pad: [u8; 3],
}

xen_structs! {
    "struct xen_hvm_param" = HvmParam { domid, pad, index, value }
    "struct xen_hvm_pagetable_dying" = HvmPagetableDying { domid, pad, gpa }
    "struct xen_hvm_get_time" = HvmGetTime { now }
    "struct xen_hvm_xentrace" = HvmXentrace { event, extra_bytes, extra }
    "struct xen_hvm_get_mem_type" = HvmGetMemType { domid, mem_type, pad, pfn }
    "struct xen_hvm_evtchn_upcall_vector" = HvmEvtchnUpcallVector { vcpu, vector } pad { pad }
}
