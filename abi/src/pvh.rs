//! The PVH boot protocol (`xen/arch-x86/hvm/start_info.h`): how QEMU, Xen and others start a kernel that carries the
//! `XEN_ELFNOTE_PHYS32_ENTRY` note.
//!
//! The kernel starts in 32-bit protected mode with paging off and EBX = physical address of [`HvmStartInfo`]. Addresses
//! are physical; 0 means absent.

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

xen_constants! {
    /// [`HvmStartInfo::magic`].
    pub const XEN_HVM_START_MAGIC_VALUE: u32 = 0x336e_c578;
    /// Ordinary memory.
    pub const XEN_HVM_MEMMAP_TYPE_RAM: u32 = 1;
    /// Reserved.
    pub const XEN_HVM_MEMMAP_TYPE_RESERVED: u32 = 2;
    /// ACPI tables, reclaimable.
    pub const XEN_HVM_MEMMAP_TYPE_ACPI: u32 = 3;
    /// ACPI non-volatile storage.
    pub const XEN_HVM_MEMMAP_TYPE_NVS: u32 = 4;
    /// Memory with errors.
    pub const XEN_HVM_MEMMAP_TYPE_UNUSABLE: u32 = 5;
    /// Memory that is not enabled.
    pub const XEN_HVM_MEMMAP_TYPE_DISABLED: u32 = 6;
    /// Persistent memory.
    pub const XEN_HVM_MEMMAP_TYPE_PMEM: u32 = 7;
}

/// The start-of-day structure: 56 bytes, Xen's `struct hvm_start_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HvmStartInfo {
    /// [`XEN_HVM_START_MAGIC_VALUE`].
    pub magic: u32,
    /// 0, or 1 when the memory map's fields exist.
    pub version: u32,
    /// `SIF_*`.
    pub flags: u32,
    /// Number of modules.
    pub nr_modules: u32,
    /// Physical address of an array of [`HvmModlistEntry`].
    pub modlist_paddr: u64,
    /// Physical address of the command line, NUL terminated.
    pub cmdline_paddr: u64,
    /// Physical address of ACPI's RSDP.
    pub rsdp_paddr: u64,
    /// Physical address of an array of [`HvmMemmapTableEntry`] (version 1).
    pub memmap_paddr: u64,
    /// Number of memory-map entries; 0 when there is no map (version 1).
    pub memmap_entries: u32,
    /// Zero.
    pub reserved: u32,
}

/// A boot module: 32 bytes, Xen's `struct hvm_modlist_entry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HvmModlistEntry {
    /// Physical address.
    pub paddr: u64,
    /// Size in bytes.
    pub size: u64,
    /// Physical address of its command line, NUL terminated.
    pub cmdline_paddr: u64,
    /// Zero.
    pub reserved: u64,
}

/// A range of the memory map: 24 bytes, Xen's `struct hvm_memmap_table_entry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HvmMemmapTableEntry {
    /// Physical address of the first byte.
    pub addr: u64,
    /// Size in bytes.
    pub size: u64,
    /// `XEN_HVM_MEMMAP_TYPE_*`.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

impl HvmStartInfo {
    /// Whether the magic is right.
    pub const fn has_magic(&self) -> bool {
        self.magic == XEN_HVM_START_MAGIC_VALUE
    }

    /// Where the memory map lies and how many entries it has, if there is one.
    pub const fn memory_map(&self) -> Option<(u64, u32)> {
        if self.version >= 1 && self.memmap_paddr != 0 && self.memmap_entries != 0 {
            Some((self.memmap_paddr, self.memmap_entries))
        } else {
            None
        }
    }
}

xen_structs! {
    "struct hvm_start_info" = HvmStartInfo {
        magic, version, flags, nr_modules, modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr, memmap_entries,
        reserved,
    }
    "struct hvm_modlist_entry" = HvmModlistEntry { paddr, size, cmdline_paddr, reserved }
    "struct hvm_memmap_table_entry" = HvmMemmapTableEntry { addr, size, kind = "type", reserved }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_0_has_no_memory_map() {
        let mut info = HvmStartInfo { memmap_paddr: 0x1000, memmap_entries: 3, ..Default::default() };
        assert_eq!(info.memory_map(), None);
        info.version = 1;
        assert_eq!(info.memory_map(), Some((0x1000, 3)));
        info.memmap_entries = 0;
        assert_eq!(info.memory_map(), None);
        assert!(!info.has_magic());
    }
}
