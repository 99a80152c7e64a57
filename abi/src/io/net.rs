//! Network interfaces (`xen/io/netif.h`): a ring for each direction, and one for control.
//!
//! The frontend's folder is `device/vif/<number>`, the backend's `backend/vif/<domain>/<number>`.
//!
//! | key | whose | what |
//! |---|---|---|
//! | `mac` | frontend | address, written by the tools |
//! | `mtu` | frontend | bytes, 1500 where it is missing |
//! | `tx-ring-ref`, `rx-ring-ref` | frontend | grants of the rings, a page each |
//! | `event-channel`, or `event-channel-tx` and `event-channel-rx` | frontend | ports; two with `feature-split-event-channels` |
//! | `request-rx-copy` | frontend | 1: the backend copies into the pages offered, the only way left |
//! | `feature-rx-notify` | frontend | 1: it notifies when it offers pages |
//! | `feature-sg`, `feature-gso-tcpv4`, `feature-gso-tcpv6` | both | packets in several parts, and larger than the wire's |
//! | `feature-no-csum-offload`, `feature-ipv6-csum-offload` | both | who checks sums |
//! | `feature-multicast-control`, `request-multicast-control` | backend, frontend | multicast filtering |
//! | `feature-ctrl-ring` | backend | 1: `ctrl-ring-ref` and `event-channel-ctrl` are looked at |
//! | `multi-queue-max-queues`, `multi-queue-num-queues` | backend, frontend | rings and ports are then in `queue-<n>` |
//! | `carrier` | backend | 0: no link |
//!
//! # Transmitting
//!
//! A packet is a [`NetifTxRequest`] whose size is the *whole packet's*; then, if its flags say so, [`NetifExtraInfo`]s, each
//! in an entry of its own; then, while [`NETTXF_MORE_DATA`] is set, requests for the further parts. Each entry is answered
//! by a [`NetifTxResponse`], an extra's with [`NETIF_RSP_NULL`].
//!
//! # Receiving
//!
//! The frontend offers pages by [`NetifRxRequest`]s. A packet is a [`NetifRxResponse`] whose status is *that part's* size;
//! then extras, which overlay responses and so have no id; then further parts. Response *n* always stands in the entry
//! of request *n*.
//!
//! # Examples
//!
//! ```
//! use core::sync::atomic::AtomicU32;
//! use paravane_abi::io::net::{Extra, NETIF_RSP_OKAY, NETTXF_EXTRA_INFO, NetifExtraInfo, NetifTxRequest, NetifTxResponse};
//! use paravane_abi::io::net::XEN_NETIF_GSO_TYPE_TCPV4;
//! use paravane_abi::io::ring::Front;
//!
//! let page = [const { AtomicU32::new(0) }; 1024];
//! let mut transmit = Front::<_, NetifTxRequest, NetifTxResponse>::init(&page).expect("a page is large enough");
//! assert_eq!(transmit.capacity(), 256);
//!
//! // A large TCP packet in granted page 9, to be cut to pieces of 1448 bytes.
//! let packet = NetifTxRequest { gref: 9, offset: 0, flags: NETTXF_EXTRA_INFO, id: 1, size: 4000 };
//! let extra = NetifExtraInfo::new(Extra::Gso { size: 1448, kind: XEN_NETIF_GSO_TYPE_TCPV4, features: 0 }, false);
//! transmit.push(&packet).expect("the ring has room");
//! transmit.push(&extra.into()).expect("the ring has room");
//! assert!(transmit.publish());
//! ```

use crate::macros::{xen_constants, xen_structs, zeroed_default};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::ring::SharedRing;

xen_constants! {
    /// Parts of one packet that every backend takes.
    pub const XEN_NETIF_NR_SLOTS_MIN: u32 = 18;
    /// Most bytes of a packet to transmit.
    pub const XEN_NETIF_MAX_TX_SIZE: u32 = 0xffff;
    /// In [`NetifTxRequest::flags`]: the checksum is to be filled in.
    pub const NETTXF_CSUM_BLANK: u16 = 1 << 0 => NETTXF_csum_blank;
    /// In [`NetifTxRequest::flags`]: the data has been checked against the checksum.
    pub const NETTXF_DATA_VALIDATED: u16 = 1 << 1 => NETTXF_data_validated;
    /// In [`NetifTxRequest::flags`]: the next request goes on with the packet.
    pub const NETTXF_MORE_DATA: u16 = 1 << 2 => NETTXF_more_data;
    /// In [`NetifTxRequest::flags`]: extra info follows.
    pub const NETTXF_EXTRA_INFO: u16 = 1 << 3 => NETTXF_extra_info;
    /// In [`NetifRxResponse::flags`]: the data has been checked against the checksum.
    pub const NETRXF_DATA_VALIDATED: u16 = 1 << 0 => NETRXF_data_validated;
    /// In [`NetifRxResponse::flags`]: the checksum is to be filled in.
    pub const NETRXF_CSUM_BLANK: u16 = 1 << 1 => NETRXF_csum_blank;
    /// In [`NetifRxResponse::flags`]: the next response goes on with the packet.
    pub const NETRXF_MORE_DATA: u16 = 1 << 2 => NETRXF_more_data;
    /// In [`NetifRxResponse::flags`]: extra info follows.
    pub const NETRXF_EXTRA_INFO: u16 = 1 << 3 => NETRXF_extra_info;
    /// In [`NetifRxResponse::flags`]: an old form of segmentation.
    pub const NETRXF_GSO_PREFIX: u16 = 1 << 4 => NETRXF_gso_prefix;
    /// In [`NetifExtraInfo::kind`]: never used.
    pub const XEN_NETIF_EXTRA_TYPE_NONE: u8 = 0;
    /// In [`NetifExtraInfo::kind`]: segmentation.
    pub const XEN_NETIF_EXTRA_TYPE_GSO: u8 = 1;
    /// In [`NetifExtraInfo::kind`]: receive a multicast address.
    pub const XEN_NETIF_EXTRA_TYPE_MCAST_ADD: u8 = 2;
    /// In [`NetifExtraInfo::kind`]: receive it no more.
    pub const XEN_NETIF_EXTRA_TYPE_MCAST_DEL: u8 = 3;
    /// In [`NetifExtraInfo::kind`]: the packet's hash.
    pub const XEN_NETIF_EXTRA_TYPE_HASH: u8 = 4;
    /// One past the last kind.
    pub const XEN_NETIF_EXTRA_TYPE_MAX: u8 = 5;
    /// In [`NetifExtraInfo::flags`]: another follows.
    pub const XEN_NETIF_EXTRA_FLAG_MORE: u8 = 1 << 0;
    /// Segmentation: none.
    pub const XEN_NETIF_GSO_TYPE_NONE: u8 = 0;
    /// Segmentation: TCP over IPv4.
    pub const XEN_NETIF_GSO_TYPE_TCPV4: u8 = 1;
    /// Segmentation: TCP over IPv6.
    pub const XEN_NETIF_GSO_TYPE_TCPV6: u8 = 2;
    /// In a response's status: dropped.
    pub const NETIF_RSP_DROPPED: i16 = -2;
    /// In a response's status: failed.
    pub const NETIF_RSP_ERROR: i16 = -1;
    /// In a response's status: done.
    pub const NETIF_RSP_OKAY: i16 = 0;
    /// In a response's status: answers extra info, no request.
    pub const NETIF_RSP_NULL: i16 = 1;
    /// In [`XenNetifCtrlRequest::kind`]: never used.
    pub const XEN_NETIF_CTRL_TYPE_INVALID: u16 = 0;
    /// Gives the hash types the backend can compute.
    pub const XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS: u16 = 1;
    /// Chooses hash types: `data[0]`.
    pub const XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS: u16 = 2;
    /// Sets the hash key: `data[0]` grant of a page that begins with it, `data[1]` its bytes.
    pub const XEN_NETIF_CTRL_TYPE_SET_HASH_KEY: u16 = 3;
    /// Gives the most entries of the table from hashes to queues.
    pub const XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE: u16 = 4;
    /// Sets the table's entries: `data[0]`.
    pub const XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE: u16 = 5;
    /// Fills the table: `data[0]` grant, `data[1]` entries, `data[2]` first entry.
    pub const XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING: u16 = 6;
    /// Chooses the hash: `data[0]`.
    pub const XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM: u16 = 7;
    /// Gives how many grants of a queue, `data[0]`, can stay mapped.
    pub const XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE: u16 = 8;
    /// Keeps grants mapped: `data[0]` queue, `data[1]` grant of a page of [`XenNetifGref`]s, `data[2]` how many.
    pub const XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING: u16 = 9;
    /// Keeps them no more; the same data.
    pub const XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING: u16 = 10;
    /// In [`XenNetifCtrlResponse::status`]: done.
    pub const XEN_NETIF_CTRL_STATUS_SUCCESS: u32 = 0;
    /// In [`XenNetifCtrlResponse::status`]: not supported.
    pub const XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED: u32 = 1;
    /// In [`XenNetifCtrlResponse::status`]: some data is wrong.
    pub const XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER: u32 = 2;
    /// In [`XenNetifCtrlResponse::status`]: too much data.
    pub const XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW: u32 = 3;
    /// In [`XenNetifGref::flags`]: mapped for reading only.
    pub const XEN_NETIF_CTRLF_GREF_READONLY: u16 = 1 << 0 => XEN_NETIF_CTRLF_GREF_readonly;
    /// Hash over IPv4 addresses.
    pub const XEN_NETIF_CTRL_HASH_TYPE_IPV4: u32 = 1 << 0;
    /// Hash over IPv4 addresses and TCP ports.
    pub const XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP: u32 = 1 << 1;
    /// Hash over IPv6 addresses.
    pub const XEN_NETIF_CTRL_HASH_TYPE_IPV6: u32 = 1 << 2;
    /// Hash over IPv6 addresses and TCP ports.
    pub const XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP: u32 = 1 << 3;
    /// No hash.
    pub const XEN_NETIF_CTRL_HASH_ALGORITHM_NONE: u32 = 0;
    /// [`toeplitz`].
    pub const XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ: u32 = 1;
}

/// A request to transmit: 12 bytes, Xen's `struct netif_tx_request`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NetifTxRequest {
    /// Grant of the page.
    pub gref: u32,
    /// Offset of the data in it, in bytes.
    pub offset: u16,
    /// `NETTXF_*`.
    pub flags: u16,
    /// The frontend's own, repeated in the response.
    pub id: u16,
    /// Bytes: of the whole packet in its first request, of the part in others.
    pub size: u16,
}

/// Its response: 4 bytes, Xen's `struct netif_tx_response`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NetifTxResponse {
    /// The request's.
    pub id: u16,
    /// `NETIF_RSP_*`.
    pub status: i16,
}

/// A page to receive into: 8 bytes, Xen's `struct netif_rx_request`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NetifRxRequest {
    /// The frontend's own, repeated in the response.
    pub id: u16,
    /// Unused.
    pub pad: u16,
    /// Grant of the page.
    pub gref: u32,
}

/// A received part of a packet: 8 bytes, Xen's `struct netif_rx_response`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NetifRxResponse {
    /// The request's.
    pub id: u16,
    /// Offset of the data in the page, in bytes.
    pub offset: u16,
    /// `NETRXF_*`.
    pub flags: u16,
    /// Bytes, or a negative `NETIF_RSP_*`.
    pub status: i16,
}

/// Extra info, in the place of a request or response: 8 bytes, Xen's `struct netif_extra_info`.
///
/// The last 6 bytes mean what [`extra`](Self::extra) says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NetifExtraInfo {
    /// `XEN_NETIF_EXTRA_TYPE_*`.
    pub kind: u8,
    /// [`XEN_NETIF_EXTRA_FLAG_MORE`] or 0.
    pub flags: u8,
    /// By kind.
    pub u: [u16; 3],
}

/// What extra info says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Cut the packet into pieces.
    Gso {
        /// Most bytes of a piece's payload.
        size: u16,
        /// `XEN_NETIF_GSO_TYPE_*`.
        kind: u8,
        /// Zero.
        features: u16,
    },
    /// Receive packets for a multicast address.
    MulticastAdd([u8; 6]),
    /// Receive them no more.
    MulticastDelete([u8; 6]),
    /// The packet's hash.
    Hash {
        /// Number of the bit among the `XEN_NETIF_CTRL_HASH_TYPE_*`.
        kind: u8,
        /// `XEN_NETIF_CTRL_HASH_ALGORITHM_*`.
        algorithm: u8,
        /// The hash.
        value: u32,
    },
}

impl NetifExtraInfo {
    /// Extra info; `more` when another follows.
    pub fn new(extra: Extra, more: bool) -> Self {
        let (kind, bytes) = match extra {
            Extra::Gso { size, kind, features } => {
                let ([s0, s1], [f0, f1]) = (size.to_le_bytes(), features.to_le_bytes());
                (XEN_NETIF_EXTRA_TYPE_GSO, [s0, s1, kind, 0, f0, f1])
            }
            Extra::MulticastAdd(address) => (XEN_NETIF_EXTRA_TYPE_MCAST_ADD, address),
            Extra::MulticastDelete(address) => (XEN_NETIF_EXTRA_TYPE_MCAST_DEL, address),
            Extra::Hash { kind, algorithm, value } => {
                let [v0, v1, v2, v3] = value.to_le_bytes();
                (XEN_NETIF_EXTRA_TYPE_HASH, [kind, algorithm, v0, v1, v2, v3])
            }
        };
        let mut info = Self { kind, flags: if more { XEN_NETIF_EXTRA_FLAG_MORE } else { 0 }, u: [0; 3] };
        info.u.as_mut_bytes().copy_from_slice(&bytes);
        info
    }

    /// What it says; `None` for an unknown kind.
    pub fn extra(&self) -> Option<Extra> {
        let &[b0, b1, b2, b3, b4, b5] = self.u.as_bytes() else { return None };
        Some(match self.kind {
            XEN_NETIF_EXTRA_TYPE_GSO => Extra::Gso {
                size: u16::from_le_bytes([b0, b1]),
                kind: b2,
                features: u16::from_le_bytes([b4, b5]),
            },
            XEN_NETIF_EXTRA_TYPE_MCAST_ADD => Extra::MulticastAdd([b0, b1, b2, b3, b4, b5]),
            XEN_NETIF_EXTRA_TYPE_MCAST_DEL => Extra::MulticastDelete([b0, b1, b2, b3, b4, b5]),
            XEN_NETIF_EXTRA_TYPE_HASH => {
                Extra::Hash { kind: b0, algorithm: b1, value: u32::from_le_bytes([b2, b3, b4, b5]) }
            }
            _ => return None,
        })
    }

    /// Whether another follows.
    pub const fn has_more(&self) -> bool {
        self.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0
    }
}

impl From<NetifExtraInfo> for NetifTxRequest {
    /// The entry of the transmit ring that holds it.
    fn from(extra: NetifExtraInfo) -> Self {
        let mut request = Self::new_zeroed();
        for (to, from) in request.as_mut_bytes().iter_mut().zip(extra.as_bytes()) {
            *to = *from;
        }
        request
    }
}

impl From<NetifTxRequest> for NetifExtraInfo {
    /// The extra info in an entry of the transmit ring.
    fn from(request: NetifTxRequest) -> Self {
        Self::read_from_prefix(request.as_bytes()).map_or_else(|_| Self::default(), |(extra, _)| extra)
    }
}

impl From<NetifExtraInfo> for NetifRxResponse {
    /// The entry of the receive ring that holds it.
    fn from(extra: NetifExtraInfo) -> Self {
        zerocopy::transmute!(extra)
    }
}

impl From<NetifRxResponse> for NetifExtraInfo {
    /// The extra info in an entry of the receive ring.
    fn from(response: NetifRxResponse) -> Self {
        zerocopy::transmute!(response)
    }
}

/// A control request: 16 bytes, Xen's `struct xen_netif_ctrl_request`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenNetifCtrlRequest {
    /// The frontend's own, repeated in the response.
    pub id: u16,
    /// `XEN_NETIF_CTRL_TYPE_*`.
    pub kind: u16,
    /// By kind.
    pub data: [u32; 3],
}

/// Its response: 12 bytes, Xen's `struct xen_netif_ctrl_response`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenNetifCtrlResponse {
    /// The request's.
    pub id: u16,
    /// The request's.
    pub kind: u16,
    /// `XEN_NETIF_CTRL_STATUS_*`.
    pub status: u32,
    /// By kind.
    pub data: u32,
}

/// A grant to keep mapped: 8 bytes, Xen's `struct xen_netif_gref`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenNetifGref {
    /// The grant.
    pub gref: u32,
    /// [`XEN_NETIF_CTRLF_GREF_READONLY`] or 0.
    pub flags: u16,
    /// Out, in a deletion: `XEN_NETIF_CTRL_STATUS_*`.
    pub status: u16,
}

/// An entry of the transmit ring: 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct NetifTxSringEntry(pub [u8; 12]);

/// An entry of the receive ring: 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct NetifRxSringEntry(pub [u8; 8]);

/// An entry of the control ring: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct XenNetifCtrlSringEntry(pub [u8; 16]);

zeroed_default!(NetifTxSringEntry, NetifRxSringEntry, XenNetifCtrlSringEntry);

/// The transmit ring's shared part with its first entry, Xen's `struct netif_tx_sring`.
pub type NetifTxSring = SharedRing<NetifTxSringEntry>;
/// The receive ring's shared part with its first entry, Xen's `struct netif_rx_sring`.
pub type NetifRxSring = SharedRing<NetifRxSringEntry>;
/// The control ring's shared part with its first entry, Xen's `struct xen_netif_ctrl_sring`.
pub type XenNetifCtrlSring = SharedRing<XenNetifCtrlSringEntry>;

/// The Toeplitz hash of `data` under `key`, which counts as followed by zeros: for every bit of the data that is 1, the 32 bits
/// of the key that begin at the bit's own place, all XORed.
pub fn toeplitz(key: &[u8], data: &[u8]) -> u32 {
    let byte_of_key = |at: usize| u64::from(key.get(at).copied().unwrap_or(0));
    let mut hash = 0;
    for (place, &byte) in data.iter().enumerate() {
        let window = (0..5).fold(0, |window, next| window << 8 | byte_of_key(place + next));
        for bit in (0..8).filter(|bit| byte & 0x80 >> bit != 0) {
            hash ^= (window >> (8 - bit)) as u32;
        }
    }
    hash
}

xen_structs! {
    "struct netif_tx_request" = NetifTxRequest { gref, offset, flags, id, size }
    "struct netif_tx_response" = NetifTxResponse { id, status }
    "struct netif_rx_request" = NetifRxRequest { id, pad, gref }
    "struct netif_rx_response" = NetifRxResponse { id, offset, flags, status }
    "struct netif_extra_info" = NetifExtraInfo { kind = "type", flags, u }
    "struct xen_netif_ctrl_request" = XenNetifCtrlRequest { id, kind = "type", data }
    "struct xen_netif_ctrl_response" = XenNetifCtrlResponse { id, kind = "type", status, data }
    "struct xen_netif_gref" = XenNetifGref { gref = "ref", flags, status }
    "struct netif_tx_sring" = NetifTxSring { req_prod, req_event, rsp_prod, rsp_event, pvt, pad = "__pad", ring }
    "struct netif_rx_sring" = NetifRxSring { req_prod, req_event, rsp_prod, rsp_event, pvt, pad = "__pad", ring }
    "struct xen_netif_ctrl_sring" = XenNetifCtrlSring {
        req_prod, req_event, rsp_prod, rsp_event, pvt, pad = "__pad", ring,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::{entries, entry_size};
    use super::*;

    #[test]
    fn rings_of_a_page_have_256_entries() {
        assert_eq!(entry_size::<NetifTxRequest, NetifTxResponse>(), size_of::<NetifTxSringEntry>());
        assert_eq!(entry_size::<NetifRxRequest, NetifRxResponse>(), size_of::<NetifRxSringEntry>());
        assert_eq!(
            entry_size::<XenNetifCtrlRequest, XenNetifCtrlResponse>(),
            size_of::<XenNetifCtrlSringEntry>()
        );
        assert_eq!(entries::<NetifTxRequest, NetifTxResponse>(4096), 256);
        assert_eq!(entries::<NetifRxRequest, NetifRxResponse>(4096), 256);
    }

    #[test]
    fn extra_info_is_read_back() {
        let all = [
            Extra::Gso { size: 1448, kind: XEN_NETIF_GSO_TYPE_TCPV6, features: 0x102 },
            Extra::MulticastAdd([1, 0, 0x5e, 3, 4, 5]),
            Extra::MulticastDelete([1, 0, 0x5e, 3, 4, 6]),
            Extra::Hash { kind: 3, algorithm: 1, value: 0x1234_5678 },
        ];
        for (number, extra) in all.into_iter().enumerate() {
            let info = NetifExtraInfo::new(extra, number % 2 == 0);
            assert_eq!((info.extra(), info.has_more()), (Some(extra), number % 2 == 0));
            assert_eq!(NetifExtraInfo::from(NetifTxRequest::from(info)), info);
            assert_eq!(NetifExtraInfo::from(NetifRxResponse::from(info)), info);
        }
        assert_eq!(NetifExtraInfo { kind: 9, ..Default::default() }.extra(), None);
        let hash = NetifExtraInfo::new(all[3], false);
        assert_eq!(hash.as_bytes(), [4, 0, 3, 1, 0x78, 0x56, 0x34, 0x12]);
    }

    /// The vectors Microsoft publishes for receive-side scaling, IPv4: addresses alone, then with ports.
    #[test]
    fn the_hash_is_toeplitz() {
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let packet = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(toeplitz(&key, &packet[..8]), 0x323e_8fc2);
        assert_eq!(toeplitz(&key, &packet), 0x51cc_c178);
        assert_eq!(toeplitz(&key[..4], &[0x80, 0, 0, 0, 0]), 0x6d5a_56da);
        assert_eq!(toeplitz(&[], &packet), 0);
    }
}
