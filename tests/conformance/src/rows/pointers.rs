//! Addresses that no call can use.

/// An address of the hypervisor's.
pub const HYPERVISOR: u64 = 0xffff_8100_0000_0000;
/// An address where nothing is mapped.
pub const NOTHING: u64 = 0x7000_0000_0000;
/// No canonical address.
pub const NOT_CANONICAL: u64 = 0x8000_0000_0000;
/// A frame beyond all memory.
pub const NO_FRAME: u64 = 0xff_ffff_ffff;

/// Those that give `EFAULT`. Null is not among them, since some calls give it a meaning.
pub const UNUSABLE: [(&str, u64); 3] =
    [("nothing", NOTHING), ("hypervisor", HYPERVISOR), ("not-canonical", NOT_CANONICAL)];
