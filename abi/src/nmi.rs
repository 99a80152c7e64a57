//! NMIs (`xen/nmi.h`): `nmi_op`, the older form of `callback_op` with `CALLBACKTYPE_nmi`.
//!
//! Why an NMI came is in [`ArchSharedInfo::nmi_reason`](crate::shared_info::ArchSharedInfo::nmi_reason), as
//! `XEN_NMIREASON_*` bits. A vcpu sends another one by `VCPUOP_send_nmi`.

use crate::macros::xen_structs;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::nmi_op::*;

/// Argument of [`XENNMI_REGISTER_CALLBACK`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XennmiCallback {
    /// Virtual address of the handler.
    pub handler_address: u64,
    /// Unused.
    pub pad: u64,
}

xen_structs! {
    "struct xennmi_callback" = XennmiCallback { handler_address, pad }
}
