//! Memory reservation: `memory_op` (`xen/memory.h`).

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::memory_op::*;

xen_constants! {
    /// In [`MemoryReservation::mem_flags`]: back pages when they are first touched.
    pub const XENMEMF_POPULATE_ON_DEMAND: u32 = 1 << 16 => XENMEMF_populate_on_demand;
    /// In [`MemoryReservation::mem_flags`]: from the given node or not at all.
    pub const XENMEMF_EXACT_NODE_REQUEST: u32 = 1 << 17 => XENMEMF_exact_node_request;
    /// In [`MemoryReservation::mem_flags`]: the node is a virtual one.
    pub const XENMEMF_VNODE: u32 = 1 << 18 => XENMEMF_vnode;
    /// In [`AddToPhysmap::space`]: the shared-info page.
    pub const XENMAPSPACE_SHARED_INFO: u32 = 0 => XENMAPSPACE_shared_info;
    /// In [`AddToPhysmap::space`]: a page of the grant table.
    pub const XENMAPSPACE_GRANT_TABLE: u32 = 1 => XENMAPSPACE_grant_table;
    /// In [`AddToPhysmap::space`]: a frame of the domain.
    pub const XENMAPSPACE_GMFN: u32 = 2 => XENMAPSPACE_gmfn;
    /// In [`AddToPhysmap::space`]: a range of frames of the domain.
    pub const XENMAPSPACE_GMFN_RANGE: u32 = 3 => XENMAPSPACE_gmfn_range;
    /// In [`AddToPhysmapBatch::space`]: a frame of another domain.
    pub const XENMAPSPACE_GMFN_FOREIGN: u32 = 4 => XENMAPSPACE_gmfn_foreign;
    /// In [`AddToPhysmap::space`]: device memory; Arm.
    pub const XENMAPSPACE_DEV_MMIO: u32 = 5 => XENMAPSPACE_dev_mmio;
    /// In [`AddToPhysmap::idx`]: a page of the grant table's status array.
    pub const XENMAPIDX_GRANT_TABLE_STATUS: u64 = 0x8000_0000 => XENMAPIDX_grant_table_status;
    /// In [`MemAcquireResource::kind`]: an I/O request server's frames.
    pub const XENMEM_RESOURCE_IOREQ_SERVER: u16 = 0 => XENMEM_resource_ioreq_server;
    /// In [`MemAcquireResource::kind`]: a grant table's frames.
    pub const XENMEM_RESOURCE_GRANT_TABLE: u16 = 1 => XENMEM_resource_grant_table;
    /// In [`MemAcquireResource::kind`]: a trace buffer.
    pub const XENMEM_RESOURCE_VMTRACE_BUF: u16 = 2 => XENMEM_resource_vmtrace_buf;
    /// In [`MemAcquireResource::id`]: the shared entries.
    pub const XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED: u32 = 0 => XENMEM_resource_grant_table_id_shared;
    /// In [`MemAcquireResource::id`]: the status array.
    pub const XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS: u32 = 1 => XENMEM_resource_grant_table_id_status;
    /// In [`ReservedDeviceMemoryMap::flags`]: every device's regions.
    pub const XENMEM_RDM_ALL: u32 = 1;
}

/// The [`MemoryReservation::mem_flags`] that name a NUMA node; only a privileged domain's are heeded.
pub const fn xenmemf_node(node: u8) -> u32 {
    (node as u32 + 1) << 8
}

/// In [`MemoryReservation::mem_flags`]: most bits a machine address may have; 0 for any.
pub const XENMEMF_ADDRESS_BITS_MASK: u32 = 0xff;

/// Bit at which the call's continuation state starts in `memory_op`'s command; the command itself lies below.
///
/// Xen uses it to resume a preempted call; a guest passes plain commands.
pub const MEMOP_EXTENT_SHIFT: u32 = 6;
/// The command in `memory_op`'s first argument.
pub const MEMOP_COMMAND_MASK: u64 = (1 << MEMOP_EXTENT_SHIFT) - 1;

/// Extents to take or give: 32 bytes, Xen's `struct xen_memory_reservation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MemoryReservation {
    /// Virtual address of an array of frame numbers (u64): mfns to give, or pfns to fill, over which mfns are written.
    pub extent_start: u64,
    /// Number of extents.
    pub nr_extents: u64,
    /// Binary logarithm of an extent's pages, which also aligns it.
    pub extent_order: u32,
    /// `XENMEMF_*`.
    pub mem_flags: u32,
    /// Domain, `DOMID_SELF` for oneself.
    pub domid: u16,
    /// Padding.
    pub pad: [u16; 3],
}

/// Argument of [`XENMEM_EXCHANGE`]: 72 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MemoryExchange {
    /// Extents to give, by mfn.
    pub input: MemoryReservation,
    /// Extents to take: pfns, over which mfns are written. As many pages as `input`.
    pub output: MemoryReservation,
    /// Out: input extents exchanged. Zero it first.
    pub nr_exchanged: u64,
}

/// Argument of [`XENMEM_CURRENT_RESERVATION`] and others: 2 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MemoryDomain {
    /// Domain, `DOMID_SELF` for oneself.
    pub domid: u16,
}

/// Argument of [`XENMEM_MACHPHYS_MFN_LIST`]: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MachphysMfnList {
    /// Room in the array.
    pub max_extents: u32,
    /// Padding.
    pub pad0: u32,
    /// Virtual address of the array of mfns (u64).
    pub extent_start: u64,
    /// Out: entries written.
    pub nr_extents: u32,
    /// Padding.
    pub pad1: u32,
}

/// Argument of [`XENMEM_MACHPHYS_MAPPING`]: 24 bytes, all of it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MachphysMapping {
    /// First address of the machine-to-physical table.
    pub v_start: u64,
    /// First address after it.
    pub v_end: u64,
    /// Largest mfn that can be looked up.
    pub max_mfn: u64,
}

/// Argument of [`XENMEM_MEMORY_MAP`] and [`XENMEM_MACHINE_MEMORY_MAP`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MemoryMap {
    /// In: entries there is room for. Out: entries written.
    pub nr_entries: u32,
    /// Padding.
    pub pad: u32,
    /// Virtual address of an array of [`E820Entry`].
    pub buffer: u64,
}

/// A memory-map entry: 20 bytes, as the BIOS gives it (INT 0x15, EAX = 0xe820).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, packed(4))]
pub struct E820Entry {
    /// First address.
    pub addr: u64,
    /// Size in bytes.
    pub size: u64,
    /// `E820_*`.
    pub kind: u32,
}

/// In [`E820Entry::kind`]: ordinary memory.
pub const E820_RAM: u32 = 1;
/// In [`E820Entry::kind`]: reserved.
pub const E820_RESERVED: u32 = 2;
/// In [`E820Entry::kind`]: ACPI tables, reclaimable.
pub const E820_ACPI: u32 = 3;
/// In [`E820Entry::kind`]: ACPI non-volatile storage.
pub const E820_NVS: u32 = 4;
/// In [`E820Entry::kind`]: memory with errors.
pub const E820_UNUSABLE: u32 = 5;

static_assertions::const_assert_eq!(size_of::<E820Entry>(), 20);

/// Argument of [`XENMEM_ADD_TO_PHYSMAP`]: 24 bytes. A PV guest has no physmap and is refused with `EACCES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct AddToPhysmap {
    /// Domain.
    pub domid: u16,
    /// Pages of a range.
    pub size: u16,
    /// `XENMAPSPACE_*`.
    pub space: u32,
    /// Which page of the space.
    pub idx: u64,
    /// Where it is to appear: pfn.
    pub gpfn: u64,
}

/// Argument of [`XENMEM_ADD_TO_PHYSMAP_BATCH`]: 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct AddToPhysmapBatch {
    /// Domain.
    pub domid: u16,
    /// `XENMAPSPACE_*`.
    pub space: u16,
    /// Pages.
    pub size: u16,
    /// The other domain, of foreign frames; else 0.
    pub foreign_domid: u16,
    /// Virtual address of an array of indices into the space (u64).
    pub idxs: u64,
    /// Virtual address of an array of pfns (u64).
    pub gpfns: u64,
    /// Virtual address of an array that receives an error number (i32) for each.
    pub errs: u64,
}

/// Argument of [`XENMEM_REMOVE_FROM_PHYSMAP`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RemoveFromPhysmap {
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub pad: [u16; 3],
    /// pfn.
    pub gpfn: u64,
}

/// Argument of [`XENMEM_SET_MEMORY_MAP`]: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ForeignMemoryMap {
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub pad: [u16; 3],
    /// The map.
    pub map: MemoryMap,
}

/// Argument of [`XENMEM_SET_POD_TARGET`] and [`XENMEM_GET_POD_TARGET`]: 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PodTarget {
    /// Pages to have.
    pub target_pages: u64,
    /// Out: pages.
    pub tot_pages: u64,
    /// Out: pages in reserve.
    pub pod_cache_pages: u64,
    /// Out: pages still without a frame.
    pub pod_entries: u64,
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub pad: [u16; 3],
}

/// Argument of [`XENMEM_ACCESS_OP`]: 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MemAccessOp {
    /// What to do.
    pub op: u8,
    /// Kind of access.
    pub access: u8,
    /// Domain.
    pub domid: u16,
    /// Pages.
    pub nr: u32,
    /// First pfn.
    pub pfn: u64,
    /// Virtual address of an array of pfns (u64).
    pub pfn_list: u64,
    /// Virtual address of an array of kinds (u8).
    pub access_list: u64,
}

/// A range of memory of a virtual NUMA node: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VmemRange {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Unused.
    pub flags: u32,
    /// Node.
    pub nid: u32,
}

/// Argument of [`XENMEM_GET_VNUMAINFO`]: 40 bytes. `ENOBUFS` means that the numbers were too small and are now right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VnumaTopologyInfo {
    /// Domain.
    pub domid: u16,
    /// Zero.
    pub pad: u16,
    /// In: room, in nodes. Out: nodes.
    pub nr_vnodes: u32,
    /// In: room, in vcpus. Out: vcpus.
    pub nr_vcpus: u32,
    /// In: room, in ranges. Out: ranges.
    pub nr_vmemranges: u32,
    /// Virtual address of `nr_vnodes` times `nr_vnodes` distances (u32).
    pub vdistance: u64,
    /// Virtual address of an array with the node of each vcpu (u32).
    pub vcpu_to_vnode: u64,
    /// Virtual address of an array of [`VmemRange`].
    pub vmemrange: u64,
}

/// A region of memory that a device needs at its own address: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ReservedDeviceMemory {
    /// First pfn.
    pub start_pfn: u64,
    /// Pages.
    pub nr_pages: u64,
}

/// Argument of [`XENMEM_RESERVED_DEVICE_MEMORY_MAP`]: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ReservedDeviceMemoryMap {
    /// [`XENMEM_RDM_ALL`] or 0.
    pub flags: u32,
    /// In: room, in regions. Out: regions.
    pub nr_entries: u32,
    /// Virtual address of an array of [`ReservedDeviceMemory`].
    pub buffer: u64,
    /// The device asked about.
    pub dev: crate::physdev::PhysdevPciDevice,
    /// Padding.
    pub pad: u32,
}

/// Argument of [`XENMEM_ACQUIRE_RESOURCE`]: 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MemAcquireResource {
    /// Domain whose resource it is; not the caller.
    pub domid: u16,
    /// `XENMEM_RESOURCE_*`.
    pub kind: u16,
    /// Which of that kind.
    pub id: u32,
    /// Frames; 0, with a null list, asks how many there are.
    pub nr_frames: u32,
    /// Zero.
    pub pad: u32,
    /// First frame of the resource.
    pub frame: u64,
    /// Virtual address of an array of mfns (u64).
    pub frame_list: u64,
}

xen_structs! {
    "struct xen_memory_reservation" = MemoryReservation {
        extent_start, nr_extents, extent_order, mem_flags, domid,
    } pad { pad }
    "struct xen_memory_exchange" = MemoryExchange { input = "in", output = "out", nr_exchanged }
    "struct xen_memory_domain" = MemoryDomain { domid }
    "struct xen_machphys_mfn_list" = MachphysMfnList { max_extents, extent_start, nr_extents } pad { pad0, pad1 }
    "struct xen_machphys_mapping" = MachphysMapping { v_start, v_end, max_mfn }
    "struct xen_memory_map" = MemoryMap { nr_entries, buffer } pad { pad }
    "struct xen_add_to_physmap" = AddToPhysmap { domid, size, space, idx, gpfn }
    "struct xen_add_to_physmap_batch" = AddToPhysmapBatch {
        domid, space, size, foreign_domid = "u.foreign_domid", idxs, gpfns, errs,
    }
    "struct xen_remove_from_physmap" = RemoveFromPhysmap { domid, gpfn } pad { pad }
    "struct xen_foreign_memory_map" = ForeignMemoryMap { domid, map } pad { pad }
    "struct xen_pod_target" = PodTarget { target_pages, tot_pages, pod_cache_pages, pod_entries, domid } pad { pad }
    "struct xen_mem_access_op" = MemAccessOp { op, access, domid, nr, pfn, pfn_list, access_list }
    "struct xen_vmemrange" = VmemRange { start, end, flags, nid }
    "struct xen_vnuma_topology_info" = VnumaTopologyInfo {
        domid, pad, nr_vnodes, nr_vcpus, nr_vmemranges, vdistance, vcpu_to_vnode, vmemrange,
    }
    "struct xen_reserved_device_memory" = ReservedDeviceMemory { start_pfn, nr_pages }
    "struct xen_reserved_device_memory_map" = ReservedDeviceMemoryMap {
        flags, nr_entries, buffer, dev,
    } pad { pad }
    "struct xen_mem_acquire_resource" = MemAcquireResource {
        domid, kind = "type", id, nr_frames, pad, frame, frame_list,
    }
}
