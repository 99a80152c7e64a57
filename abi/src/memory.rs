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

xen_structs! {
    "struct xen_memory_reservation" = MemoryReservation {
        extent_start, nr_extents, extent_order, mem_flags, domid,
    } pad { pad }
    "struct xen_memory_exchange" = MemoryExchange { input = "in", output = "out", nr_exchanged }
    "struct xen_memory_domain" = MemoryDomain { domid }
    "struct xen_machphys_mfn_list" = MachphysMfnList { max_extents, extent_start, nr_extents } pad { pad0, pad1 }
    "struct xen_machphys_mapping" = MachphysMapping { v_start, v_end, max_mfn }
    "struct xen_memory_map" = MemoryMap { nr_entries, buffer } pad { pad }
}
