//! Page-table updates: `mmu_update`, `update_va_mapping`, `mmuext_op` (`xen/xen.h`), and the reserved address range.

use crate::macros::{xen_constants, xen_structs};
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::mmu_update::*;
pub use crate::hypercall::mmuext_op::*;

xen_constants! {
    /// No flush.
    pub const UVMF_NONE: u64 = 0;
    /// Flush whole TLBs.
    pub const UVMF_TLB_FLUSH: u64 = 1;
    /// Flush one address.
    pub const UVMF_INVLPG: u64 = 2;
    /// The bits that say what to flush.
    pub const UVMF_FLUSHTYPE_MASK: u64 = 3;
    /// Flush on the vcpus of a bitmap, whose virtual address is ORed in (so it is 8-byte aligned).
    pub const UVMF_MULTI: u64 = 0;
    /// Flush on this vcpu: [`UVMF_MULTI`] with a null bitmap.
    pub const UVMF_LOCAL: u64 = 0;
    /// Flush on every vcpu.
    pub const UVMF_ALL: u64 = 1 << 2;
    /// First address the hypervisor reserves in every guest.
    pub const HYPERVISOR_VIRT_START: u64 = 0xffff_8000_0000_0000;
    /// First address after the reserved range.
    pub const HYPERVISOR_VIRT_END: u64 = 0xffff_8800_0000_0000;
    /// Address of the machine-to-physical table, an array of u64 pfns indexed by mfn, read-only to the guest.
    pub const MACH2PHYS_VIRT_START: u64 = 0xffff_8000_0000_0000;
    /// First address after the largest machine-to-physical table.
    pub const MACH2PHYS_VIRT_END: u64 = 0xffff_8040_0000_0000;
    /// Entries of the largest machine-to-physical table.
    pub const MACH2PHYS_NR_ENTRIES: u64 = (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) >> 3;
    /// First domain number that is not an ordinary domain's.
    pub const DOMID_FIRST_RESERVED: u16 = 0x7ff0;
    /// The calling domain.
    pub const DOMID_SELF: u16 = 0x7ff0;
    /// Owner of I/O frames.
    pub const DOMID_IO: u16 = 0x7ff1;
    /// Owner of the hypervisor's frames.
    pub const DOMID_XEN: u16 = 0x7ff2;
    /// Owner of shared copy-on-write frames.
    pub const DOMID_COW: u16 = 0x7ff3;
    /// No owner.
    pub const DOMID_INVALID: u16 = 0x7ff4;
    /// The idle domain.
    pub const DOMID_IDLE: u16 = 0x7fff;
    /// Bits of a domain number.
    pub const DOMID_MASK: u16 = 0x7fff;
}

bitflags! {
    /// Flags of `update_va_mapping`, without the vcpu bitmap's address.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct UvmFlags: u64 {
        /// [`UVMF_TLB_FLUSH`].
        const TLB_FLUSH = UVMF_TLB_FLUSH;
        /// [`UVMF_INVLPG`].
        const INVLPG = UVMF_INVLPG;
        /// [`UVMF_ALL`].
        const ALL = UVMF_ALL;
    }
}

/// First L4 slot the hypervisor reserves.
pub const FIRST_RESERVED_L4_SLOT: usize = 256;
/// Last L4 slot the hypervisor reserves.
pub const LAST_RESERVED_L4_SLOT: usize = 271;

/// The bits of [`MmuUpdate::ptr`] that hold the command.
pub const MMU_COMMAND_MASK: u64 = 3;

/// An element of `mmu_update`: 16 bytes, Xen's `struct mmu_update`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MmuUpdate {
    /// Machine address of the page-table entry, 8-byte aligned, or-ed with the command in bits 0 and 1.
    pub ptr: u64,
    /// The new entry; for [`MMU_MACHPHYS_UPDATE`] the new pfn.
    pub val: u64,
}

impl MmuUpdate {
    /// An update of the entry at machine address `entry` under `MMU_*` command `command`.
    pub const fn new(entry: u64, command: u64, val: u64) -> Self {
        Self { ptr: entry & !MMU_COMMAND_MASK | command & MMU_COMMAND_MASK, val }
    }

    /// The `MMU_*` command.
    pub const fn command(&self) -> u64 {
        self.ptr & MMU_COMMAND_MASK
    }

    /// The machine address, command bits cleared. Xen refuses entries that are then not 8-byte aligned.
    pub const fn address(&self) -> u64 {
        self.ptr & !MMU_COMMAND_MASK
    }
}

/// An element of `mmuext_op`: 24 bytes, Xen's `struct mmuext_op`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MmuextOp {
    /// `MMUEXT_*`.
    pub cmd: u32,
    /// Padding.
    pub pad: u32,
    /// An mfn or a linear address, as the command has it.
    pub arg1: u64,
    /// A number of entries (low 32 bits), the address of a vcpu bitmap, or a source mfn, as the command has it.
    pub arg2: u64,
}

impl MmuextOp {
    /// An operation whose arguments are `arg1` and `arg2`; 0 for those the command does not have.
    pub const fn new(cmd: u32, arg1: u64, arg2: u64) -> Self {
        Self { cmd, pad: 0, arg1, arg2 }
    }

    /// [`MmuextOp::arg2`] as a number of entries.
    pub const fn nr_ents(&self) -> u32 {
        self.arg2 as u32
    }
}

/// The two domains in the last argument of `mmu_update`: who owns the data frames, and who the page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignDomains {
    /// Owner of mapped frames.
    pub frames: u16,
    /// Owner of page tables.
    pub tables: u16,
}

impl ForeignDomains {
    /// The caller for both.
    pub const SELF: Self = Self { frames: DOMID_SELF, tables: DOMID_SELF };

    /// Bits 0 to 15 are the frames' owner; bits 16 to 31 are 0 for the caller, else the tables' owner plus 1.
    pub const fn from_arg(arg: u32) -> Self {
        let tables = match (arg >> 16) as u16 {
            0 => DOMID_SELF,
            owner => owner - 1,
        };
        Self { frames: arg as u16, tables }
    }

    /// The argument that [`ForeignDomains::from_arg`] reads.
    pub const fn to_arg(self) -> u32 {
        let tables = if self.tables == DOMID_SELF { 0 } else { self.tables as u32 + 1 };
        tables << 16 | self.frames as u32
    }
}

xen_structs! {
    "struct mmu_update" = MmuUpdate { ptr, val }
    "struct mmuext_op" = MmuextOp { cmd, arg1, arg2 } pad { pad }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_and_address_share_a_word() {
        let update = MmuUpdate::new(0x1234_5678, MMU_PT_UPDATE_PRESERVE_AD, 7);
        assert_eq!((update.address(), update.command()), (0x1234_5678, MMU_PT_UPDATE_PRESERVE_AD));
        let unaligned = MmuUpdate::new(0x1234_567f, MMU_NORMAL_PT_UPDATE, 7);
        assert_eq!((unaligned.address(), unaligned.command()), (0x1234_567c, MMU_NORMAL_PT_UPDATE));
    }

    #[test]
    fn foreign_domains_round_trip() {
        assert_eq!(ForeignDomains::from_arg(u32::from(DOMID_SELF)), ForeignDomains::SELF);
        assert_eq!(ForeignDomains::SELF.to_arg(), u32::from(DOMID_SELF));
        let both = ForeignDomains { frames: DOMID_IO, tables: 0 };
        assert_eq!(both.to_arg(), 0x0001_7ff1);
        assert_eq!(ForeignDomains::from_arg(both.to_arg()), both);
    }

    #[test]
    fn the_reserved_range_is_the_reserved_slots() {
        let slot = |va: u64| ((va >> 39) & 511) as usize;
        assert_eq!(slot(HYPERVISOR_VIRT_START), FIRST_RESERVED_L4_SLOT);
        assert_eq!(slot(HYPERVISOR_VIRT_END - 1), LAST_RESERVED_L4_SLOT);
        assert_eq!(slot(crate::ring1::ENTRY_AREA), 257);
    }
}
