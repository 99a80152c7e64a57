//! Segment selectors and the reserved part of the GDT (`xen/arch-x86/xen.h`, `xen/arch-x86/xen-x86_64.h`).
//!
//! A guest's GDT has at most 14 pages of its own; what follows belongs to the hypervisor and holds the flat segments
//! below, which every guest may load without installing a GDT.

use crate::macros::xen_constants;

xen_constants! {
    /// First GDT page, in pages of 4096 bytes, that belongs to the hypervisor.
    pub const FIRST_RESERVED_GDT_PAGE: u64 = 14;
    /// First GDT byte that belongs to the hypervisor.
    pub const FIRST_RESERVED_GDT_BYTE: u64 = FIRST_RESERVED_GDT_PAGE * 4096;
    /// First GDT entry, of 8 bytes, that belongs to the hypervisor.
    pub const FIRST_RESERVED_GDT_ENTRY: u64 = FIRST_RESERVED_GDT_BYTE / 8;
    /// Flat 32-bit code, ring 3.
    pub const FLAT_RING3_CS32: u16 = 0xe023;
    /// Flat 64-bit code, ring 3.
    pub const FLAT_RING3_CS64: u16 = 0xe033;
    /// Flat data for 32-bit code, ring 3.
    pub const FLAT_RING3_DS32: u16 = 0xe02b;
    /// The null selector: 64-bit code needs no data segment.
    pub const FLAT_RING3_DS64: u16 = 0;
    /// Flat stack for 32-bit code, ring 3.
    pub const FLAT_RING3_SS32: u16 = 0xe02b;
    /// Flat stack for 64-bit code, ring 3.
    pub const FLAT_RING3_SS64: u16 = 0xe02b;
    /// Code selector a 64-bit guest kernel starts with.
    pub const FLAT_KERNEL_CS: u16 = FLAT_RING3_CS64;
    /// Stack selector a 64-bit guest kernel starts with.
    pub const FLAT_KERNEL_SS: u16 = FLAT_RING3_SS64;
    /// Data selector a 64-bit guest kernel starts with.
    pub const FLAT_KERNEL_DS: u16 = FLAT_RING3_DS64;
    /// Code selector for a 64-bit guest program.
    pub const FLAT_USER_CS: u16 = FLAT_RING3_CS64;
    /// Stack selector for a 64-bit guest program.
    pub const FLAT_USER_SS: u16 = FLAT_RING3_SS64;
    /// Data selector for a 64-bit guest program.
    pub const FLAT_USER_DS: u16 = FLAT_RING3_DS64;
}

/// Most entries a guest's own GDT may have.
pub const MAX_GUEST_GDT_ENTRIES: u64 = FIRST_RESERVED_GDT_ENTRY;

/// Most entries an LDT may have.
pub const MAX_LDT_ENTRIES: u64 = 8192;

/// The requested privilege level of a selector.
pub const fn rpl(selector: u16) -> u16 {
    selector & 3
}

/// The descriptor index of a selector.
pub const fn index(selector: u16) -> u16 {
    selector >> 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_segments_lie_in_the_reserved_part() {
        for selector in [FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_DS32] {
            assert!(u64::from(index(selector)) >= FIRST_RESERVED_GDT_ENTRY);
            assert_eq!(rpl(selector), 3);
        }
    }
}
