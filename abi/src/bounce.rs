//! Bounce frames: what the hypervisor pushes on the guest kernel's stack to enter it.
//!
//! No header of Xen's declares them; the layout is what `xen/arch-x86/xen-x86_64.h` says of `iret` and what Xen does. From
//! user mode the frame starts at the stack that `stack_switch` set, from kernel mode at RSP; either is first rounded down
//! to 16 bytes. RSP then points to the frame's first field. Before returning, a guest pops RCX and R11, and the
//! error code if there is one.

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// CS as a frame holds it: the selector, and above it the upcall mask the vcpu had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SavedCs {
    /// Selector. Under Xen its RPL is 0 when the guest kernel was interrupted; see [`ring1`](crate::ring1).
    pub selector: u16,
    /// Zero.
    pub pad0: u16,
    /// `evtchn_upcall_mask` as it was.
    pub upcall_mask: u8,
    /// Zero.
    pub pad1: [u8; 3],
}

impl SavedCs {
    /// The selector and mask in a frame's word.
    pub const fn new(selector: u16, upcall_mask: u8) -> Self {
        Self { selector, pad0: 0, upcall_mask, pad1: [0; 3] }
    }

    /// The word as the stack holds it.
    pub const fn to_word(self) -> u64 {
        self.selector as u64 | (self.upcall_mask as u64) << 32
    }
}

/// The frame of events, `syscall` callbacks and exceptions without an error code: 56 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BounceFrame {
    /// RCX as it was.
    pub rcx: u64,
    /// R11 as it was.
    pub r11: u64,
    /// RIP as it was.
    pub rip: u64,
    /// CS and upcall mask as they were.
    pub cs: SavedCs,
    /// RFLAGS as they were, IF being the inverse of the upcall mask.
    pub rflags: u64,
    /// RSP as it was.
    pub rsp: u64,
    /// SS as it was.
    pub ss: u64,
}

/// The frame of exceptions with an error code: 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BounceFrameWithCode {
    /// RCX as it was.
    pub rcx: u64,
    /// R11 as it was.
    pub r11: u64,
    /// Error code.
    pub error_code: u64,
    /// RIP as it was.
    pub rip: u64,
    /// CS and upcall mask as they were.
    pub cs: SavedCs,
    /// RFLAGS as they were, IF being the inverse of the upcall mask.
    pub rflags: u64,
    /// RSP as it was.
    pub rsp: u64,
    /// SS as it was.
    pub ss: u64,
}

/// The frame of the failsafe callback, for guest state that cannot be restored: 88 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FailsafeFrame {
    /// RCX as it was.
    pub rcx: u64,
    /// R11 as it was.
    pub r11: u64,
    /// DS that the guest wanted.
    pub ds: u64,
    /// ES that the guest wanted.
    pub es: u64,
    /// FS that the guest wanted.
    pub fs: u64,
    /// GS that the guest wanted.
    pub gs: u64,
    /// RIP as it was.
    pub rip: u64,
    /// CS and upcall mask as they were.
    pub cs: SavedCs,
    /// RFLAGS as they were, IF being the inverse of the upcall mask.
    pub rflags: u64,
    /// RSP as it was.
    pub rsp: u64,
    /// SS as it was.
    pub ss: u64,
}

/// The frame the CPU pushes through a direct gate of [`ring1`](crate::ring1): 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GateFrame {
    /// RIP as it was.
    pub rip: u64,
    /// CS as it was.
    pub cs: u64,
    /// RFLAGS as they were.
    pub rflags: u64,
    /// RSP as it was.
    pub rsp: u64,
    /// SS as it was.
    pub ss: u64,
}

const_assert_eq!(size_of::<SavedCs>(), 8);
const_assert_eq!(size_of::<BounceFrame>(), 56);
const_assert_eq!(size_of::<BounceFrameWithCode>(), 64);
const_assert_eq!(size_of::<FailsafeFrame>(), 88);
const_assert_eq!(size_of::<GateFrame>(), 40);

/// Where a frame of `size` bytes starts when the stack pointer was `rsp`: below `rsp` rounded down to 16 bytes. `None` if
/// that would wrap.
pub const fn frame_start(rsp: u64, size: u64) -> Option<u64> {
    (rsp & !15).checked_sub(size)
}

impl BounceFrame {
    /// The frame with an error code.
    pub const fn with_code(self, error_code: u64) -> BounceFrameWithCode {
        let Self { rcx, r11, rip, cs, rflags, rsp, ss } = self;
        BounceFrameWithCode { rcx, r11, error_code, rip, cs, rflags, rsp, ss }
    }
}

/// Bits of a page fault's error code (Intel SDM volume 3, 4.7).
pub mod page_fault {
    /// The page was present: a protection violation.
    pub const PRESENT: u64 = 1 << 0;
    /// A write.
    pub const WRITE: u64 = 1 << 1;
    /// From user mode. In a frame of Xen's this tells guest user from guest kernel.
    pub const USER: u64 = 1 << 2;
    /// A reserved bit was set in an entry.
    pub const RESERVED: u64 = 1 << 3;
    /// An instruction fetch.
    pub const FETCH: u64 = 1 << 4;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_lies_in_bits_32_to_39() {
        let cs = SavedCs::new(0xe030, 1);
        assert_eq!(cs.to_word(), 0x0000_0001_0000_e030);
        assert_eq!(cs.as_bytes(), cs.to_word().to_le_bytes());
    }

    #[test]
    fn the_code_is_the_third_word() {
        let frame = BounceFrame { rip: 7, rsp: 9, ..Default::default() };
        let with = frame.with_code(0x55);
        assert_eq!(with.as_bytes()[16..24], 0x55u64.to_le_bytes());
        assert_eq!(with.as_bytes()[24..], frame.as_bytes()[16..]);
    }

    #[test]
    fn frames_start_aligned_stacks() {
        assert_eq!(frame_start(0x1008, 56), Some(0x1000 - 56));
        assert_eq!(frame_start(0x10, 56), None);
    }
}
