//! Page-table entries (Intel SDM volume 3, 4.5; AMD APM volume 2, 5.3).
//!
//! Under PV paging a guest writes real entries, of machine frames, through hypercalls. The bit layout is the CPU's; which
//! bits a guest may set is the hypervisor's choice.

use bitflags::bitflags;

bitflags! {
    /// Flags of an entry, at any level.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PteFlags: u64 {
        /// Present.
        const PRESENT = 1 << 0;
        /// Writable.
        const RW = 1 << 1;
        /// Reachable from ring 3.
        const USER = 1 << 2;
        /// Write-through.
        const PWT = 1 << 3;
        /// Cache disabled.
        const PCD = 1 << 4;
        /// Accessed.
        const ACCESSED = 1 << 5;
        /// Dirty; L1 entries (and superpages).
        const DIRTY = 1 << 6;
        /// In L2 and L3: a superpage. PV guests may not set it.
        const PSE = 1 << 7;
        /// In L1: the high bit of the page-attribute index.
        const PAT = 1 << 7;
        /// Global. PV guests may not rely on it.
        const GLOBAL = 1 << 8;
        /// The guest's own use, bit 9.
        const AVAIL0 = 1 << 9;
        /// The guest's own use, bit 10.
        const AVAIL1 = 1 << 10;
        /// The guest's own use, bit 11.
        const AVAIL2 = 1 << 11;
        /// No execution.
        const NX = 1 << 63;
    }
}

/// Bytes in a page, and in a page table.
pub const PAGE_SIZE: u64 = 4096;
/// Binary logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Entries in a page table of any level.
pub const ENTRIES: usize = 512;
/// The bits of an entry that hold the frame's machine address: 12 to 51.
pub const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;
/// Bits 52 to 62: ignored by the CPU, or protection keys; not part of [`PteFlags`].
pub const AVAILABLE_HIGH_MASK: u64 = 0x7ff0_0000_0000_0000;
/// The largest mfn an entry can hold.
pub const MAX_MFN: u64 = ADDRESS_MASK >> PAGE_SHIFT;

impl PteFlags {
    /// Flags of an intermediate table in a guest: present, writable, user, accessed, dirty.
    pub const TABLE: Self =
        Self::PRESENT.union(Self::RW).union(Self::USER).union(Self::ACCESSED).union(Self::DIRTY);
}

/// The entry that maps `mfn` with `flags`; address bits beyond [`MAX_MFN`] are dropped.
pub const fn entry(mfn: u64, flags: PteFlags) -> u64 {
    (mfn << PAGE_SHIFT) & ADDRESS_MASK | flags.bits()
}

/// The mfn an entry maps, present or not.
pub const fn mfn(entry: u64) -> u64 {
    (entry & ADDRESS_MASK) >> PAGE_SHIFT
}

/// The flags of an entry, bits without a name dropped.
pub const fn flags(entry: u64) -> PteFlags {
    PteFlags::from_bits_truncate(entry)
}

/// Whether the entry is present.
pub const fn is_present(entry: u64) -> bool {
    entry & PteFlags::PRESENT.bits() != 0
}

/// The index into the table of `level` (1 to 4) that translates `va`.
///
/// # Panics
///
/// If `level` is not 1 to 4.
pub const fn index(va: u64, level: u32) -> usize {
    assert!(matches!(level, 1..=4));
    (va >> (PAGE_SHIFT + 9 * (level - 1))) as usize & (ENTRIES - 1)
}

/// Whether bits 48 to 63 of `va` repeat bit 47.
pub const fn is_canonical(va: u64) -> bool {
    ((va << 16) as i64 >> 16) as u64 == va
}

/// The canonical address that four table indices lead to.
pub const fn address(l4: usize, l3: usize, l2: usize, l1: usize) -> u64 {
    let mask = ENTRIES - 1;
    let va = ((l4 & mask) as u64) << 39
        | ((l3 & mask) as u64) << 30
        | ((l2 & mask) as u64) << 21
        | ((l1 & mask) as u64) << 12;
    ((va << 16) as i64 >> 16) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_apart_again() {
        let flags_in = PteFlags::TABLE | PteFlags::NX;
        let pte = entry(MAX_MFN, flags_in);
        assert_eq!(mfn(pte), MAX_MFN);
        assert_eq!(flags(pte), flags_in);
        assert!(is_present(pte));
        assert_eq!(entry(MAX_MFN + 1, PteFlags::empty()), 0);
        assert_eq!(ADDRESS_MASK & AVAILABLE_HIGH_MASK, 0);
        assert_eq!(ADDRESS_MASK & PteFlags::all().bits(), 0);
    }

    #[test]
    fn indices_and_addresses_are_inverse() {
        for va in
            [0, 0x1000, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0xffff_ffff_ffff_f000, 0xffff_ffff_8020_1000]
        {
            assert_eq!(address(index(va, 4), index(va, 3), index(va, 2), index(va, 1)), va);
        }
        assert_eq!(index(0xffff_8000_0000_0000, 4), 256);
    }

    #[test]
    fn canonical_addresses_end_at_bit_47() {
        assert!(is_canonical(0x7fff_ffff_ffff) && is_canonical(0xffff_8000_0000_0000));
        assert!(!is_canonical(0x8000_0000_0000) && !is_canonical(0xffff_7fff_ffff_ffff));
    }

    #[test]
    #[should_panic]
    fn level_5_is_refused() {
        index(0, 5);
    }
}
