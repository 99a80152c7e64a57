//! Messages between domains (`xen/argo.h`): `argo_op`.
//!
//! A domain registers rings that other domains send to; the hypervisor copies. Xen has it only where it was built with Argo
//! (Debian's is not) and started with `argo=1`; elsewhere the call does not exist or is refused with
//! `EOPNOTSUPP`. Paravane has no Argo.

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

xen_constants! {
    /// Registers a ring: an [`XenArgoRegisterRing`], an array of mfns (u64), their number, flags.
    pub const XEN_ARGO_OP_REGISTER_RING: u32 = 1 => XEN_ARGO_OP_register_ring;
    /// Unregisters a ring: an [`XenArgoUnregisterRing`].
    pub const XEN_ARGO_OP_UNREGISTER_RING: u32 = 2 => XEN_ARGO_OP_unregister_ring;
    /// Sends: an [`XenArgoSendAddr`], an array of [`XenArgoIov`], their number, the message's type.
    pub const XEN_ARGO_OP_SENDV: u32 = 3 => XEN_ARGO_OP_sendv;
    /// Asks for an event when rings have room: an [`XenArgoRingData`] and its entries.
    pub const XEN_ARGO_OP_NOTIFY: u32 = 4 => XEN_ARGO_OP_notify;
    /// When a ring is registered: refuse one that exists already.
    pub const XEN_ARGO_REGISTER_FLAG_FAIL_EXIST: u32 = 1;
    /// Any domain may send.
    pub const XEN_ARGO_DOMID_ANY: u16 = 0x7ff4;
    /// Most bytes of a ring.
    pub const XEN_ARGO_MAX_RING_SIZE: u64 = 0x100_0000;
    /// Most parts of a message.
    pub const XEN_ARGO_MAXIOV: u32 = 8;
    /// Messages in a ring take a multiple of this many bytes.
    pub const XEN_ARGO_MSG_SLOT_SIZE: u32 = 0x10;
    /// In [`XenArgoRingDataEnt::flags`]: the ring exists.
    pub const XEN_ARGO_RING_EXISTS: u16 = 1 << 0;
    /// In [`XenArgoRingDataEnt::flags`]: more than one domain may send to it.
    pub const XEN_ARGO_RING_SHARED: u16 = 1 << 1;
    /// In [`XenArgoRingDataEnt::flags`]: it is empty.
    pub const XEN_ARGO_RING_EMPTY: u16 = 1 << 2;
    /// In [`XenArgoRingDataEnt::flags`]: there may be room enough.
    pub const XEN_ARGO_RING_SUFFICIENT: u16 = 1 << 3;
    /// In [`XenArgoRingDataEnt::flags`]: there can never be room enough.
    pub const XEN_ARGO_RING_EMSGSIZE: u16 = 1 << 4;
    /// In [`XenArgoRingDataEnt::flags`]: too many wait for room.
    pub const XEN_ARGO_RING_EBUSY: u16 = 1 << 5;
}

/// A part of a message: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenArgoIov {
    /// Virtual address.
    pub iov_hnd: u64,
    /// Bytes.
    pub iov_len: u32,
    /// Zero.
    pub pad: u32,
}

/// An end of a message's way: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenArgoAddr {
    /// Argo's own kind of port.
    pub aport: u32,
    /// Domain.
    pub domain_id: u16,
    /// Zero.
    pub pad: u16,
}

/// Both ends of a message's way: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenArgoSendAddr {
    /// From.
    pub src: XenArgoAddr,
    /// To.
    pub dst: XenArgoAddr,
}

/// What a ring begins with: 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenArgoRing {
    /// Where the domain reads next; atomic.
    pub rx_ptr: u32,
    /// Where the hypervisor writes next; atomic.
    pub tx_ptr: u32,
    /// Unused.
    pub reserved: [u8; 56],
}

/// Argument of [`XEN_ARGO_OP_REGISTER_RING`]: 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenArgoRegisterRing {
    /// Port.
    pub aport: u32,
    /// Who may send, or [`XEN_ARGO_DOMID_ANY`].
    pub partner_id: u16,
    /// Zero.
    pub pad: u16,
    /// Bytes.
    pub len: u32,
}

/// Argument of [`XEN_ARGO_OP_UNREGISTER_RING`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenArgoUnregisterRing {
    /// Port.
    pub aport: u32,
    /// Who might send.
    pub partner_id: u16,
    /// Zero.
    pub pad: u16,
}

/// A ring asked about: 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenArgoRingDataEnt {
    /// Which.
    pub ring: XenArgoAddr,
    /// Out: `XEN_ARGO_RING_*`.
    pub flags: u16,
    /// Zero.
    pub pad: u16,
    /// Bytes to send.
    pub space_required: u32,
    /// Out: bytes of the largest message.
    pub max_message_size: u32,
}

/// Argument of [`XEN_ARGO_OP_NOTIFY`]: 8 bytes, then the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenArgoRingData {
    /// How many [`XenArgoRingDataEnt`]s follow.
    pub nent: u32,
    /// Zero.
    pub pad: u32,
}

/// What a message in a ring begins with: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenArgoRingMessageHeader {
    /// Bytes, with this header.
    pub len: u32,
    /// From.
    pub source: XenArgoAddr,
    /// The sender's choice.
    pub message_type: u32,
}

xen_structs! {
    "xen_argo_iov_t" = XenArgoIov { iov_hnd, iov_len, pad }
    "xen_argo_addr_t" = XenArgoAddr { aport, domain_id, pad }
    "xen_argo_send_addr_t" = XenArgoSendAddr { src, dst }
    "xen_argo_ring_t" = XenArgoRing { rx_ptr, tx_ptr, reserved }
    "xen_argo_register_ring_t" = XenArgoRegisterRing { aport, partner_id, pad, len }
    "xen_argo_unregister_ring_t" = XenArgoUnregisterRing { aport, partner_id, pad }
    "xen_argo_ring_data_ent_t" = XenArgoRingDataEnt { ring, flags, pad, space_required, max_message_size }
    "xen_argo_ring_data_t" = XenArgoRingData { nent, pad }
    "struct xen_argo_ring_message_header" = XenArgoRingMessageHeader { len, source, message_type }
}
