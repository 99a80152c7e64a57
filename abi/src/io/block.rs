//! Disks (`xen/io/blkif.h`): a ring of requests that name granted pages.
//!
//! The frontend's folder is `device/vbd/<number>`, the backend's `backend/vbd/<domain>/<number>`. Numbers in xenstore are
//! decimal texts.
//!
//! | key | whose | what |
//! |---|---|---|
//! | `sectors` | backend | size, in units of `sector-size` |
//! | `sector-size` | backend | bytes, a power of two from 512; more than 512 only if the frontend has `feature-large-sector-size` |
//! | `physical-sector-size` | backend | bytes the device writes at once |
//! | `info` | backend | `VDISK_*` bits |
//! | `mode` | backend | `r` or `w` |
//! | `feature-barrier`, `feature-flush-cache`, `feature-discard` | backend | 1: [`BLKIF_OP_WRITE_BARRIER`], [`BLKIF_OP_FLUSH_DISKCACHE`], [`BLKIF_OP_DISCARD`] are understood |
//! | `discard-granularity`, `discard-alignment`, `discard-secure` | backend | bytes, bytes, 0 or 1 |
//! | `feature-max-indirect-segments` | backend | segments an indirect request may have |
//! | `max-ring-page-order` | backend | binary logarithm of the ring's most pages |
//! | `multi-queue-max-queues` | backend | most rings |
//! | `feature-persistent` | both | 1: grants stay mapped |
//! | `ring-ref`, or `ring-ref0`... and `ring-page-order` | frontend | grants of the ring |
//! | `event-channel` | frontend | port |
//! | `protocol` | frontend | [`PROTOCOL_X86_64`](super::PROTOCOL_X86_64) |
//! | `multi-queue-num-queues` | frontend | rings; `ring-ref` and `event-channel` are then in `queue-<n>` |
//! | `virtual-device`, `device-type` | frontend | number and kind, written by the tools |
//!
//! Sectors in requests are of `sector-size` bytes where the frontend has `feature-large-sector-size`, else of 512.
//! [`ring`](super::ring) has an example.

use crate::macros::{xen_constants, xen_structs, zeroed_default};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::ring::SharedRing;

xen_constants! {
    /// Read.
    pub const BLKIF_OP_READ: u8 = 0;
    /// Write.
    pub const BLKIF_OP_WRITE: u8 = 1;
    /// Write, after all earlier writes are on the disk and before any later one is.
    pub const BLKIF_OP_WRITE_BARRIER: u8 = 2;
    /// Put all finished writes on the disk.
    pub const BLKIF_OP_FLUSH_DISKCACHE: u8 = 3;
    /// Taken by old drivers for other purposes.
    pub const BLKIF_OP_RESERVED_1: u8 = 4;
    /// The sectors are of no more use; a [`BlkifRequestDiscard`].
    pub const BLKIF_OP_DISCARD: u8 = 5;
    /// A read or write with its segments in pages of their own; a [`BlkifRequestIndirect`].
    pub const BLKIF_OP_INDIRECT: u8 = 6;
    /// Segments of a direct request.
    pub const BLKIF_MAX_SEGMENTS_PER_REQUEST: usize = 11;
    /// Pages of segments of an indirect request.
    pub const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST: usize = 8;
    /// In [`BlkifRequestDiscard::flag`]: make the sectors unreadable for good.
    pub const BLKIF_DISCARD_SECURE: u8 = 1 << 0;
    /// In [`BlkifResponse::status`]: the operation is not supported.
    pub const BLKIF_RSP_EOPNOTSUPP: i16 = -2;
    /// In [`BlkifResponse::status`]: it failed.
    pub const BLKIF_RSP_ERROR: i16 = -1;
    /// In [`BlkifResponse::status`]: done.
    pub const BLKIF_RSP_OKAY: i16 = 0;
    /// In the key `info`: a CD drive.
    pub const VDISK_CDROM: u32 = 0x1;
    /// In the key `info`: the medium can be taken out.
    pub const VDISK_REMOVABLE: u32 = 0x2;
    /// In the key `info`: not writable.
    pub const VDISK_READONLY: u32 = 0x4;
}

/// Segments in a page of them.
pub const SEGMENTS_PER_INDIRECT_PAGE: usize = 4096 / size_of::<BlkifRequestSegment>();

/// A part of a request's data: 8 bytes, Xen's `struct blkif_request_segment`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BlkifRequestSegment {
    /// Grant of the page.
    pub gref: u32,
    /// First sector of it.
    pub first_sect: u8,
    /// Last sector of it.
    pub last_sect: u8,
    /// Padding.
    pub pad: u16,
}

impl BlkifRequestSegment {
    /// Sectors of the page that take part; `None` when the last comes before the first, or lies past a page of
    /// 512-byte sectors.
    pub const fn sectors(&self) -> Option<u8> {
        if self.first_sect > self.last_sect || self.last_sect > 7 {
            return None;
        }
        Some(self.last_sect - self.first_sect + 1)
    }
}

/// A request: 112 bytes, Xen's `struct blkif_request`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BlkifRequest {
    /// `BLKIF_OP_*`.
    pub operation: u8,
    /// Segments, at most [`BLKIF_MAX_SEGMENTS_PER_REQUEST`]; 0 only for a flush or barrier.
    pub nr_segments: u8,
    /// The `virtual-device` number.
    pub handle: u16,
    /// Padding.
    pub pad: u32,
    /// The frontend's own, repeated in the response.
    pub id: u64,
    /// First sector on the disk.
    pub sector_number: u64,
    /// The segments.
    pub seg: [BlkifRequestSegment; BLKIF_MAX_SEGMENTS_PER_REQUEST],
}

/// A [`BlkifRequest`] of operation [`BLKIF_OP_DISCARD`], otherwise laid out: 32 bytes, Xen's
/// `struct blkif_request_discard`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BlkifRequestDiscard {
    /// [`BLKIF_OP_DISCARD`].
    pub operation: u8,
    /// [`BLKIF_DISCARD_SECURE`] or 0.
    pub flag: u8,
    /// The `virtual-device` number.
    pub handle: u16,
    /// Padding.
    pub pad: u32,
    /// The frontend's own.
    pub id: u64,
    /// First sector on the disk.
    pub sector_number: u64,
    /// Sectors.
    pub nr_sectors: u64,
}

/// A [`BlkifRequest`] of operation [`BLKIF_OP_INDIRECT`], otherwise laid out: 64 bytes, Xen's
/// `struct blkif_request_indirect`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BlkifRequestIndirect {
    /// [`BLKIF_OP_INDIRECT`].
    pub operation: u8,
    /// [`BLKIF_OP_READ`] or [`BLKIF_OP_WRITE`].
    pub indirect_op: u8,
    /// Segments in all pages together.
    pub nr_segments: u16,
    /// Padding.
    pub pad0: u32,
    /// The frontend's own.
    pub id: u64,
    /// First sector on the disk.
    pub sector_number: u64,
    /// The `virtual-device` number.
    pub handle: u16,
    /// Padding.
    pub pad1: u16,
    /// Grants of pages full of [`BlkifRequestSegment`]s, [`SEGMENTS_PER_INDIRECT_PAGE`] in each.
    pub indirect_grefs: [u32; BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST],
    /// Padding.
    pub pad2: u32,
}

/// A response: 16 bytes, Xen's `struct blkif_response`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BlkifResponse {
    /// The request's.
    pub id: u64,
    /// The request's.
    pub operation: u8,
    /// Padding.
    pub pad0: u8,
    /// `BLKIF_RSP_*`.
    pub status: i16,
    /// Padding.
    pub pad1: u32,
}

/// An entry of the ring: 112 bytes, Xen's `union blkif_sring_entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct BlkifSringEntry(pub [u8; 112]);

zeroed_default!(BlkifSringEntry);

/// The ring's shared part with its first entry, Xen's `struct blkif_sring`.
pub type BlkifSring = SharedRing<BlkifSringEntry>;

impl BlkifRequest {
    /// The segments in use; `None` when the request says it has more than fit.
    pub fn segments(&self) -> Option<&[BlkifRequestSegment]> {
        self.seg.get(..usize::from(self.nr_segments))
    }

    /// The request as a discard, if that is its operation.
    pub fn as_discard(&self) -> Option<BlkifRequestDiscard> {
        let (discard, _) = BlkifRequestDiscard::read_from_prefix(self.as_bytes()).ok()?;
        (self.operation == BLKIF_OP_DISCARD).then_some(discard)
    }

    /// The request as an indirect one, if that is its operation.
    pub fn as_indirect(&self) -> Option<BlkifRequestIndirect> {
        let (indirect, _) = BlkifRequestIndirect::read_from_prefix(self.as_bytes()).ok()?;
        (self.operation == BLKIF_OP_INDIRECT).then_some(indirect)
    }

    /// The request that begins with these bytes and is zero after them.
    fn from_prefix(bytes: &[u8]) -> Self {
        let mut request = Self::new_zeroed();
        for (to, from) in request.as_mut_bytes().iter_mut().zip(bytes) {
            *to = *from;
        }
        request
    }
}

impl From<BlkifRequestDiscard> for BlkifRequest {
    fn from(discard: BlkifRequestDiscard) -> Self {
        Self::from_prefix(discard.as_bytes())
    }
}

impl From<BlkifRequestIndirect> for BlkifRequest {
    fn from(indirect: BlkifRequestIndirect) -> Self {
        Self::from_prefix(indirect.as_bytes())
    }
}

xen_structs! {
    "struct blkif_request_segment" = BlkifRequestSegment { gref, first_sect, last_sect } pad { pad }
    "struct blkif_request" = BlkifRequest {
        operation, nr_segments, handle, id, sector_number, seg,
    } pad { pad }
    "struct blkif_request_discard" = BlkifRequestDiscard {
        operation, flag, handle, id, sector_number, nr_sectors,
    } pad { pad }
    "struct blkif_request_indirect" = BlkifRequestIndirect {
        operation, indirect_op, nr_segments, id, sector_number, handle, indirect_grefs,
    } pad { pad0, pad1, pad2 }
    "struct blkif_response" = BlkifResponse { id, operation, status } pad { pad0, pad1 }
    "struct blkif_sring" = BlkifSring {
        req_prod, req_event, rsp_prod, rsp_event, pvt, pad = "__pad", ring,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::{entries, entry_size};
    use super::*;

    #[test]
    fn a_page_has_32_requests() {
        assert_eq!(entry_size::<BlkifRequest, BlkifResponse>(), size_of::<BlkifSringEntry>());
        assert_eq!(entries::<BlkifRequest, BlkifResponse>(4096), 32);
        assert_eq!(SEGMENTS_PER_INDIRECT_PAGE, 512);
    }

    #[test]
    fn other_layouts_overlay_a_request() {
        let discard = BlkifRequestDiscard {
            operation: BLKIF_OP_DISCARD,
            flag: BLKIF_DISCARD_SECURE,
            id: 7,
            sector_number: 8,
            nr_sectors: 0x1_0000_0002,
            ..Default::default()
        };
        let request = BlkifRequest::from(discard);
        assert_eq!((request.id, request.sector_number, request.seg[0].gref), (7, 8, 2));
        assert_eq!((request.as_discard(), request.as_indirect()), (Some(discard), None));
        let indirect = BlkifRequestIndirect {
            operation: BLKIF_OP_INDIRECT,
            indirect_op: BLKIF_OP_WRITE,
            nr_segments: 600,
            indirect_grefs: [1, 2, 3, 4, 5, 6, 7, 8],
            ..Default::default()
        };
        let request = BlkifRequest::from(indirect);
        assert_eq!((request.as_indirect(), request.as_discard()), (Some(indirect), None));
    }

    #[test]
    fn what_a_hostile_end_writes_is_checked() {
        let request = |nr_segments| BlkifRequest { nr_segments, ..Default::default() };
        assert_eq!(request(11).segments().map(<[_]>::len), Some(11));
        assert_eq!(request(12).segments(), None);
        let segment =
            |first_sect, last_sect| BlkifRequestSegment { first_sect, last_sect, ..Default::default() };
        assert_eq!(segment(0, 7).sectors(), Some(8));
        assert_eq!(
            (segment(3, 3).sectors(), segment(3, 2).sectors(), segment(0, 8).sectors()),
            (Some(1), None, None)
        );
    }
}
