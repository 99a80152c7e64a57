//! Numbers that are easy to confuse, each with a type of its own: machine frames, guest frames, virtual
//! addresses, domain identifiers, page-table levels.

use core::fmt;

/// log2 of the page size.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// Entries of a page table of any level.
pub const ENTRIES: usize = 512;
/// First L4 slot a guest may not use (Xen's `HYPERVISOR_VIRT_START`).
pub const RESERVED_FIRST_SLOT: usize = 256;
/// Last L4 slot a guest may not use.
pub const RESERVED_LAST_SLOT: usize = 271;
/// First address of the reserved slots.
pub const RESERVED_START: u64 = 0xffff_8000_0000_0000;
/// First address above the reserved slots.
pub const RESERVED_END: u64 = 0xffff_8800_0000_0000;
/// End of the lower half of the canonical addresses.
const LOWER_END: u64 = 1 << 47;

/// Whether an L4 slot belongs to the hypervisor in every mode.
#[inline]
pub const fn is_reserved_slot(slot: usize) -> bool {
    slot >= RESERVED_FIRST_SLOT && slot <= RESERVED_LAST_SLOT
}

/// A machine frame number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Mfn(u64);

impl Mfn {
    /// The frame with this number.
    #[inline]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The frame that holds a machine address.
    #[inline]
    pub const fn containing(machine_address: u64) -> Self {
        Self(machine_address >> PAGE_SHIFT)
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as an index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The machine address of the frame's first byte.
    #[inline]
    pub const fn address(self) -> u64 {
        self.0 << PAGE_SHIFT
    }

    /// The frame `n` further up.
    #[inline]
    pub const fn add(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl fmt::Debug for Mfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mfn {:#x}", self.0)
    }
}

impl fmt::Display for Mfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A guest pseudo-physical frame number: what the guest calls its frames. Never trusted, only passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// The M2P value of a frame that no guest frame stands for.
    pub const INVALID: Self = Self(u64::MAX);

    /// The guest frame with this number.
    #[inline]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A canonical virtual address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// `address` when bits 63 to 47 are all alike (SDM vol. 1, 3.3.7.1).
    #[inline]
    pub const fn new(address: u64) -> Option<Self> {
        if Self::is_canonical(address) { Some(Self(address)) } else { None }
    }

    /// The address a guest names, when it is canonical and outside the reserved slots.
    #[inline]
    pub const fn guest(address: u64) -> Option<Self> {
        if Self::is_guest(address) { Some(Self(address)) } else { None }
    }

    /// Whether bits 63 to 47 are all alike.
    #[inline]
    pub const fn is_canonical(address: u64) -> bool {
        (((address << 16) as i64) >> 16) as u64 == address
    }

    /// Whether a guest may use the address: canonical and outside the reserved slots.
    #[inline]
    pub const fn is_guest(address: u64) -> bool {
        address < LOWER_END || address >= RESERVED_END
    }

    /// The address.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset in the page.
    #[inline]
    pub const fn page_offset(self) -> usize {
        (self.0 & (PAGE_SIZE as u64 - 1)) as usize
    }

    /// The address of the page's first byte.
    #[inline]
    pub const fn page(self) -> Self {
        Self(self.0 & !(PAGE_SIZE as u64 - 1))
    }

    /// The slot a table of `level` uses for this address.
    #[inline]
    pub const fn slot(self, level: Level) -> usize {
        ((self.0 >> level.shift()) & (ENTRIES as u64 - 1)) as usize
    }
}

impl fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Display for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// A domain's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DomainId(pub u16);

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}

/// The level of a page table; an L1 table's entries map pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Entries map pages.
    L1 = 1,
    /// Entries name L1 tables.
    L2 = 2,
    /// Entries name L2 tables.
    L3 = 3,
    /// The root: entries name L3 tables.
    L4 = 4,
}

impl Level {
    /// All levels from the root down.
    pub const DOWN: [Self; 4] = [Self::L4, Self::L3, Self::L2, Self::L1];

    /// The level the entries of a table of this level name; none for L1.
    #[inline]
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::L1 => None,
            Self::L2 => Some(Self::L1),
            Self::L3 => Some(Self::L2),
            Self::L4 => Some(Self::L3),
        }
    }

    /// The lowest address bit that selects an entry.
    #[inline]
    pub const fn shift(self) -> u32 {
        PAGE_SHIFT + 9 * (self as u32 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_addresses_end_where_bit_47_begins() {
        for good in [0, 0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX] {
            assert!(VirtAddr::is_canonical(good), "{good:#x}");
        }
        for bad in [0x8000_0000_0000, 0xffff_7fff_ffff_ffff, 0x1_0000_0000_0000, 1 << 63] {
            assert!(VirtAddr::new(bad).is_none(), "{bad:#x}");
        }
    }

    #[test]
    fn the_guest_has_all_but_slots_256_to_271() {
        for slot in 0..ENTRIES {
            let low = (slot as u64) << 39;
            let address = if slot < 256 { low } else { low | 0xffff_0000_0000_0000 };
            let va = VirtAddr::new(address).unwrap();
            assert_eq!(va.slot(Level::L4), slot);
            assert_eq!(VirtAddr::is_guest(address), !is_reserved_slot(slot), "slot {slot}");
            assert_eq!(VirtAddr::guest(address + ((1 << 39) - 1)).is_some(), !is_reserved_slot(slot));
        }
        assert!(VirtAddr::guest(LOWER_END).is_none());
        assert!(VirtAddr::guest(RESERVED_START - 1).is_none());
    }

    #[test]
    fn slots_take_nine_bits_each() {
        let va = VirtAddr::new((1 << 39) | (2 << 30) | (3 << 21) | (4 << 12) | 5).unwrap();
        assert_eq!(Level::DOWN.map(|level| va.slot(level)), [1, 2, 3, 4]);
        assert_eq!(va.page_offset(), 5);
        assert_eq!(va.page().get(), va.get() - 5);
        assert_eq!(Level::L1.below(), None);
        assert_eq!(Level::L4.below(), Some(Level::L3));
    }
}
