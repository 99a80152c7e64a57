//! Grant tables (`xen/grant_table.h`): lending frames to other domains.
//!
//! A domain names the frames it lends, and to whom, in a table it shares with the hypervisor. The number of an entry, a
//! *grant reference*, is all the other domain is told: with it, it asks the hypervisor to map the frame, to copy from or
//! to it, or to give a frame away. While the frame is in use the hypervisor has flags set in the entry.
//!
//! The table has one of two forms. In version 1 an entry has 8 bytes ([`GrantEntryV1`]) and the hypervisor sets its flags
//! in the entry itself; in version 2 it has 16 ([`GrantEntryV2`], [`GrantEntryV2SubPage`], [`GrantEntryV2Transitive`]),
//! and the hypervisor's flags stand in an array of their own, a [`GrantStatus`] each.
//!
//! Entries are changed by both sides at the same time:
//!
//! - to lend a frame: write the domain and the frame, then, after a write barrier, the flags;
//! - to end it, version 1: replace the flags by 0 with a compare-exchange that expects neither [`GTF_READING`] nor
//!   [`GTF_WRITING`];
//! - to end it, version 2: write 0 to the flags, make a full barrier, and look that neither is set in the status; if one
//!   is, the frame is still in use until both are clear.

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::grant_table_op::*;

xen_constants! {
    /// Entries at the start of a table that outlive a change of its version.
    pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
    /// The reserved entry of the console ring.
    pub const GNTTAB_RESERVED_CONSOLE: u32 = 0;
    /// The reserved entry of the xenstore ring.
    pub const GNTTAB_RESERVED_XENSTORE: u32 = 1;
    /// Type of an entry: lends nothing.
    pub const GTF_INVALID: u16 = 0 => GTF_invalid;
    /// Type of an entry: the domain may map and copy the frame.
    pub const GTF_PERMIT_ACCESS: u16 = 1 => GTF_permit_access;
    /// Type of an entry: the domain may give a frame.
    pub const GTF_ACCEPT_TRANSFER: u16 = 2 => GTF_accept_transfer;
    /// Type of an entry, version 2: the domain may copy what a third domain lends this one.
    pub const GTF_TRANSITIVE: u16 = 3 => GTF_transitive;
    /// The type in an entry's flags.
    pub const GTF_TYPE_MASK: u16 = 3 => GTF_type_mask;
    /// Access: reading only. The guest's.
    pub const GTF_READONLY: u16 = 1 << 2 => GTF_readonly;
    /// Access: in use for reading. The hypervisor's.
    pub const GTF_READING: u16 = 1 << 3 => GTF_reading;
    /// Access: in use for writing. The hypervisor's.
    pub const GTF_WRITING: u16 = 1 << 4 => GTF_writing;
    /// Access: PWT in mappings of device memory.
    pub const GTF_PWT: u16 = 1 << 5 => GTF_PWT;
    /// Access: PCD in mappings of device memory.
    pub const GTF_PCD: u16 = 1 << 6 => GTF_PCD;
    /// Access: PAT in mappings of device memory.
    pub const GTF_PAT: u16 = 1 << 7 => GTF_PAT;
    /// Access, version 2: part of the frame, and copies only.
    pub const GTF_SUB_PAGE: u16 = 1 << 8 => GTF_sub_page;
    /// Transfer: the entry must not be changed until [`GTF_TRANSFER_COMPLETED`] is set. The hypervisor's.
    pub const GTF_TRANSFER_COMMITTED: u16 = 1 << 2 => GTF_transfer_committed;
    /// Transfer: the entry's frame is the one received. The hypervisor's.
    pub const GTF_TRANSFER_COMPLETED: u16 = 1 << 3 => GTF_transfer_completed;
    /// In [`GnttabMapGrantRef::flags`]: for devices.
    pub const GNTMAP_DEVICE_MAP: u32 = 1 << 0 => GNTMAP_device_map;
    /// In [`GnttabMapGrantRef::flags`]: for CPUs.
    pub const GNTMAP_HOST_MAP: u32 = 1 << 1 => GNTMAP_host_map;
    /// In [`GnttabMapGrantRef::flags`]: without the right to write.
    pub const GNTMAP_READONLY: u32 = 1 << 2 => GNTMAP_readonly;
    /// In [`GnttabMapGrantRef::flags`]: for user mode too.
    pub const GNTMAP_APPLICATION_MAP: u32 = 1 << 3 => GNTMAP_application_map;
    /// In [`GnttabMapGrantRef::flags`]: the address is that of the page-table entry, in machine memory.
    pub const GNTMAP_CONTAINS_PTE: u32 = 1 << 4 => GNTMAP_contains_pte;
    /// In [`GnttabMapGrantRef::flags`]: bits for the entry's available bits 9 to 11, from bit 16 on.
    pub const GNTMAP_GUEST_AVAIL_MASK: u32 = !0 << 16 => GNTMAP_guest_avail_mask;
    /// In [`GnttabCopy::flags`]: the source is a grant reference, not a frame of one's own.
    pub const GNTCOPY_SOURCE_GREF: u16 = 1 << 0 => GNTCOPY_source_gref;
    /// In [`GnttabCopy::flags`]: the destination is a grant reference, not a frame of one's own.
    pub const GNTCOPY_DEST_GREF: u16 = 1 << 1 => GNTCOPY_dest_gref;
    /// In [`GnttabCacheFlush::op`]: write back.
    pub const GNTTAB_CACHE_CLEAN: u32 = 1 << 0;
    /// In [`GnttabCacheFlush::op`]: discard.
    pub const GNTTAB_CACHE_INVAL: u32 = 1 << 1;
    /// In [`GnttabCacheFlush::op`]: named by grant reference. Xen has not built it.
    pub const GNTTAB_CACHE_SOURCE_GREF: u32 = 1 << 31;
    /// Status: done.
    pub const GNTST_OKAY: i16 = 0 => GNTST_okay;
    /// Status: refused for a reason that has no number of its own.
    pub const GNTST_GENERAL_ERROR: i16 = -1 => GNTST_general_error;
    /// Status: no such domain.
    pub const GNTST_BAD_DOMAIN: i16 = -2 => GNTST_bad_domain;
    /// Status: no such entry, or nothing asked.
    pub const GNTST_BAD_GNTREF: i16 = -3 => GNTST_bad_gntref;
    /// Status: no such mapping.
    pub const GNTST_BAD_HANDLE: i16 = -4 => GNTST_bad_handle;
    /// Status: the list could not be written.
    pub const GNTST_BAD_VIRT_ADDR: i16 = -5 => GNTST_bad_virt_addr;
    /// Status: not the device address of the mapping.
    pub const GNTST_BAD_DEV_ADDR: i16 = -6 => GNTST_bad_dev_addr;
    /// Status: no room in the I/O MMU.
    pub const GNTST_NO_DEVICE_SPACE: i16 = -7 => GNTST_no_device_space;
    /// Status: not allowed.
    pub const GNTST_PERMISSION_DENIED: i16 = -8 => GNTST_permission_denied;
    /// Status: no frame that this can be done with.
    pub const GNTST_BAD_PAGE: i16 = -9 => GNTST_bad_page;
    /// Status: a copy past the end of a page.
    pub const GNTST_BAD_COPY_ARG: i16 = -10 => GNTST_bad_copy_arg;
    /// Status: the receiver cannot name a frame so far up.
    pub const GNTST_ADDRESS_TOO_BIG: i16 = -11 => GNTST_address_too_big;
    /// Status: not done now; try again.
    pub const GNTST_EAGAIN: i16 = -12 => GNTST_eagain;
    /// Status: no room for another mapping.
    pub const GNTST_NO_SPACE: i16 = -13 => GNTST_no_space;
}

/// The hypervisor's flags of a version 2 entry, [`GTF_READING`] and [`GTF_WRITING`]: 2 bytes, Xen's `grant_status_t`.
/// They stand in the frames that [`GNTTABOP_GET_STATUS_FRAMES`] names, in the order of the entries.
pub type GrantStatus = u16;

/// An entry of a version 1 table: 8 bytes, Xen's `struct grant_entry_v1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GrantEntryV1 {
    /// `GTF_*`.
    pub flags: u16,
    /// The domain that may use the entry.
    pub domid: u16,
    /// Access: the mfn lent. Transfer: the pfn that a frame is for, and, when it has come, its mfn.
    pub frame: u32,
}

/// What entries of both versions start with: 4 bytes, Xen's `struct grant_entry_header`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GrantEntryHeader {
    /// `GTF_*`.
    pub flags: u16,
    /// The domain that may use the entry.
    pub domid: u16,
}

/// An entry of a version 2 table for a whole frame: 16 bytes, Xen's `union grant_entry_v2` by its member `full_page`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GrantEntryV2 {
    /// Flags and domain.
    pub hdr: GrantEntryHeader,
    /// Padding.
    pub pad0: u32,
    /// As [`GrantEntryV1::frame`].
    pub frame: u64,
}

/// An entry of a version 2 table with [`GTF_SUB_PAGE`]: 16 bytes, the union's member `sub_page`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GrantEntryV2SubPage {
    /// Flags and domain.
    pub hdr: GrantEntryHeader,
    /// First byte lent.
    pub page_off: u16,
    /// Bytes lent.
    pub length: u16,
    /// The mfn.
    pub frame: u64,
}

/// An entry of a version 2 table of type [`GTF_TRANSITIVE`]: 16 bytes, the union's member `transitive`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct GrantEntryV2Transitive {
    /// Flags and domain.
    pub hdr: GrantEntryHeader,
    /// The domain that lends.
    pub trans_domid: u16,
    /// Padding.
    pub pad0: u16,
    /// The reference in that domain's table.
    pub gref: u32,
    /// Padding.
    pub pad1: u32,
}

/// Argument of [`GNTTABOP_MAP_GRANT_REF`], an array: 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabMapGrantRef {
    /// Where to map: a virtual address, or with [`GNTMAP_CONTAINS_PTE`] the entry's machine address.
    pub host_addr: u64,
    /// `GNTMAP_*`.
    pub flags: u32,
    /// The reference.
    pub reference: u32,
    /// The domain that lends, by its number.
    pub dom: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Out: what to unmap by.
    pub handle: u32,
    /// Out: the frame's machine address.
    pub dev_bus_addr: u64,
}

/// Argument of [`GNTTABOP_UNMAP_GRANT_REF`], an array: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabUnmapGrantRef {
    /// Where it is mapped, as it was given; 0 to leave the CPUs' mapping.
    pub host_addr: u64,
    /// The frame's machine address; 0 to leave the devices' mapping.
    pub dev_bus_addr: u64,
    /// The mapping's handle.
    pub handle: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad: u16,
}

/// Argument of [`GNTTABOP_SETUP_TABLE`]: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabSetupTable {
    /// Domain.
    pub dom: u16,
    /// Padding.
    pub pad0: u16,
    /// Frames the table is to have at least, and mfns wanted.
    pub nr_frames: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad1: [u16; 3],
    /// Virtual address of an array of u64 for the mfns.
    pub frame_list: u64,
}

/// Argument of [`GNTTABOP_DUMP_TABLE`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabDumpTable {
    /// Domain.
    pub dom: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
}

/// Argument of [`GNTTABOP_TRANSFER`], an array: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabTransfer {
    /// The mfn to give away. It is lost unless the status is [`GNTST_BAD_PAGE`].
    pub mfn: u64,
    /// The receiver.
    pub domid: u16,
    /// Padding.
    pub pad0: u16,
    /// Its entry of type [`GTF_ACCEPT_TRANSFER`].
    pub reference: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad1: [u16; 3],
}

/// One side of a copy: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabCopyPtr {
    /// The reference, of which the upper half means nothing, or the mfn.
    pub u: u64,
    /// The domain that lends; `DOMID_SELF` for an mfn.
    pub domid: u16,
    /// First byte.
    pub offset: u16,
    /// Padding.
    pub pad: u32,
}

impl GnttabCopyPtr {
    /// The side as a grant reference.
    #[must_use]
    pub const fn reference(&self) -> u32 {
        self.u as u32
    }
}

/// Argument of [`GNTTABOP_COPY`], an array: 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabCopy {
    /// From.
    pub source: GnttabCopyPtr,
    /// To.
    pub dest: GnttabCopyPtr,
    /// Bytes.
    pub len: u16,
    /// `GNTCOPY_*`.
    pub flags: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad: u16,
}

/// Argument of [`GNTTABOP_QUERY_SIZE`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabQuerySize {
    /// Domain.
    pub dom: u16,
    /// Padding.
    pub pad0: u16,
    /// Out: frames the table has.
    pub nr_frames: u32,
    /// Out: frames it may have.
    pub max_nr_frames: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad1: u16,
}

/// Argument of [`GNTTABOP_UNMAP_AND_REPLACE`], an array: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabUnmapAndReplace {
    /// Where it is mapped.
    pub host_addr: u64,
    /// The address whose mapping moves there.
    pub new_addr: u64,
    /// The mapping's handle.
    pub handle: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad: u16,
}

/// Argument of [`GNTTABOP_SET_VERSION`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabSetVersion {
    /// The version wanted. Out: the version there is.
    pub version: u32,
}

/// Argument of [`GNTTABOP_GET_STATUS_FRAMES`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabGetStatusFrames {
    /// How many mfns are wanted.
    pub nr_frames: u32,
    /// Domain.
    pub dom: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Virtual address of an array of u64 for the mfns.
    pub frame_list: u64,
}

/// Argument of [`GNTTABOP_GET_VERSION`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabGetVersion {
    /// Domain.
    pub dom: u16,
    /// Padding.
    pub pad: u16,
    /// Out: the version.
    pub version: u32,
}

/// Argument of [`GNTTABOP_SWAP_GRANT_REF`], an array: 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabSwapGrantRef {
    /// An entry of one's own.
    pub ref_a: u32,
    /// Another.
    pub ref_b: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad: u16,
}

/// Argument of [`GNTTABOP_CACHE_FLUSH`], an array: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GnttabCacheFlush {
    /// The frame's machine address.
    pub a: u64,
    /// First byte.
    pub offset: u16,
    /// Bytes.
    pub length: u16,
    /// `GNTTAB_CACHE_*`.
    pub op: u32,
}

xen_structs! {
    "struct grant_entry_v1" = GrantEntryV1 { flags, domid, frame }
    "struct grant_entry_header" = GrantEntryHeader { flags, domid }
    "union grant_entry_v2" = GrantEntryV2 { hdr = "full_page.hdr", pad0 = "full_page.pad0", frame = "full_page.frame" }
    "union grant_entry_v2" = GrantEntryV2SubPage {
        hdr = "sub_page.hdr", page_off = "sub_page.page_off", length = "sub_page.length", frame = "sub_page.frame"
    }
    "union grant_entry_v2" = GrantEntryV2Transitive {
        hdr = "transitive.hdr", trans_domid = "transitive.trans_domid", pad0 = "transitive.pad0", gref = "transitive.gref"
    } pad { pad1 }
    "struct gnttab_map_grant_ref" = GnttabMapGrantRef {
        host_addr, flags, reference = "ref", dom, status, handle, dev_bus_addr
    }
    "struct gnttab_unmap_grant_ref" = GnttabUnmapGrantRef { host_addr, dev_bus_addr, handle, status } pad { pad }
    "struct gnttab_setup_table" = GnttabSetupTable { dom, nr_frames, status, frame_list } pad { pad0, pad1 }
    "struct gnttab_dump_table" = GnttabDumpTable { dom, status }
    "struct gnttab_transfer" = GnttabTransfer { mfn, domid, reference = "ref", status } pad { pad0, pad1 }
    "struct gnttab_copy_ptr" = GnttabCopyPtr { u, domid, offset } pad { pad }
    "struct gnttab_copy" = GnttabCopy { source, dest, len, flags, status } pad { pad }
    "struct gnttab_query_size" = GnttabQuerySize { dom, nr_frames, max_nr_frames, status } pad { pad0, pad1 }
    "struct gnttab_unmap_and_replace" = GnttabUnmapAndReplace { host_addr, new_addr, handle, status } pad { pad }
    "struct gnttab_set_version" = GnttabSetVersion { version }
    "struct gnttab_get_status_frames" = GnttabGetStatusFrames { nr_frames, dom, status, frame_list }
    "struct gnttab_get_version" = GnttabGetVersion { dom, pad, version }
    "struct gnttab_swap_grant_ref" = GnttabSwapGrantRef { ref_a, ref_b, status } pad { pad }
    "struct gnttab_cache_flush" = GnttabCacheFlush { a, offset, length, op }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_version_2_entry_overlap() {
        let part = GrantEntryV2SubPage {
            hdr: GrantEntryHeader { flags: GTF_PERMIT_ACCESS | GTF_SUB_PAGE, domid: 7 },
            page_off: 0x123,
            length: 0x456,
            frame: 0x789a,
        };
        let whole = GrantEntryV2::read_from_bytes(part.as_bytes()).unwrap();
        assert_eq!((whole.hdr, whole.frame, whole.pad0), (part.hdr, part.frame, 0x0456_0123));
        let transitive = GrantEntryV2Transitive::read_from_bytes(part.as_bytes()).unwrap();
        assert_eq!((transitive.trans_domid, transitive.gref), (0x123, 0x789a));
    }

    #[test]
    fn a_version_1_entry_starts_with_the_header() {
        let entry = GrantEntryV1 { flags: GTF_PERMIT_ACCESS | GTF_READONLY, domid: 3, frame: 0x1234 };
        let (header, _) = GrantEntryHeader::read_from_prefix(entry.as_bytes()).unwrap();
        assert_eq!((header.flags, header.domid), (5, 3));
    }

    #[test]
    fn the_upper_half_of_a_reference_means_nothing() {
        assert_eq!(GnttabCopyPtr { u: 0xffff_ffff_0000_0005, ..GnttabCopyPtr::default() }.reference(), 5);
    }
}
