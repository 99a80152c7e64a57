//! Where programs' memory lies.

/// Bytes in a page.
pub const PAGE: u64 = paravane_abi::pte::PAGE_SIZE;
/// The lowest address that may be mapped, so that null pointers fault.
pub const USER_START: u64 = 0x1_0000;
/// The first address past what ring 3 may map; the last page stays unused, as on Linux (`sysret` past it faults).
pub const USER_END: u64 = 0x7fff_ffff_f000;

/// Rounds up to a page.
pub const fn page_up(value: u64) -> u64 {
    value.next_multiple_of(PAGE)
}

/// Rounds down to a page.
pub const fn page_down(value: u64) -> u64 {
    value & !(PAGE - 1)
}
