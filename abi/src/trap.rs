//! Trap tables: `set_trap_table` (`xen/arch-x86/xen.h`).

use crate::macros::xen_structs;
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// In [`TrapInfo::flags`]: the least privileged ring from which `int n` may reach the entry.
pub const TI_DPL_MASK: u8 = 3;
/// In [`TrapInfo::flags`]: mask events on entry.
pub const TI_MASK_EVENTS: u8 = 1 << 2;

bitflags! {
    /// [`TrapInfo::flags`] as a set.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TrapFlags: u8 {
        /// The descriptor privilege level's low bit.
        const DPL_LOW = 1 << 0;
        /// The descriptor privilege level's high bit.
        const DPL_HIGH = 1 << 1;
        /// [`TI_MASK_EVENTS`].
        const MASK_EVENTS = TI_MASK_EVENTS;
        /// Ring 3 may use it: DPL 3.
        const DPL3 = TI_DPL_MASK;
    }
}

/// Vectors in a trap table.
pub const VECTORS: usize = 256;

/// A trap-table entry: 16 bytes, Xen's `struct trap_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct TrapInfo {
    /// Vector.
    pub vector: u8,
    /// [`TI_DPL_MASK`], [`TI_MASK_EVENTS`]; other bits are ignored.
    pub flags: u8,
    /// Code selector of the handler.
    pub cs: u16,
    /// Padding.
    pub pad: [u8; 4],
    /// Virtual address of the handler; 0 ends an array, and in a table means no handler.
    pub address: u64,
}

impl TrapInfo {
    /// An entry.
    pub const fn new(vector: u8, flags: TrapFlags, cs: u16, address: u64) -> Self {
        Self { vector, flags: flags.bits(), cs, pad: [0; 4], address }
    }

    /// The least privileged ring from which `int n` may reach the entry.
    pub const fn dpl(&self) -> u8 {
        self.flags & TI_DPL_MASK
    }

    /// Whether events are masked on entry.
    pub const fn masks_events(&self) -> bool {
        self.flags & TI_MASK_EVENTS != 0
    }
}

/// Exception vectors (Intel SDM volume 3, 6.3.1; AMD APM volume 2, 8.2).
pub mod vector {
    /// Divide error.
    pub const DE: u8 = 0;
    /// Debug.
    pub const DB: u8 = 1;
    /// Non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// Breakpoint.
    pub const BP: u8 = 3;
    /// Overflow.
    pub const OF: u8 = 4;
    /// Bound range exceeded.
    pub const BR: u8 = 5;
    /// Invalid opcode.
    pub const UD: u8 = 6;
    /// Device not available.
    pub const NM: u8 = 7;
    /// Double fault.
    pub const DF: u8 = 8;
    /// Invalid TSS.
    pub const TS: u8 = 10;
    /// Segment not present.
    pub const NP: u8 = 11;
    /// Stack fault.
    pub const SS: u8 = 12;
    /// General protection.
    pub const GP: u8 = 13;
    /// Page fault.
    pub const PF: u8 = 14;
    /// x87 floating point.
    pub const MF: u8 = 16;
    /// Alignment check.
    pub const AC: u8 = 17;
    /// Machine check.
    pub const MC: u8 = 18;
    /// SIMD floating point.
    pub const XM: u8 = 19;
    /// Virtualization.
    pub const VE: u8 = 20;
    /// Control protection.
    pub const CP: u8 = 21;

    /// Whether the CPU pushes an error code for the exception.
    pub const fn has_error_code(vector: u8) -> bool {
        matches!(vector, DF | TS | NP | SS | GP | PF | AC | CP)
    }
}

xen_structs! {
    "struct trap_info" = TrapInfo { vector, flags, cs, address } pad { pad }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_apart() {
        let entry = TrapInfo::new(0x80, TrapFlags::DPL3, 0xe033, 0x1000);
        assert_eq!((entry.dpl(), entry.masks_events()), (3, false));
        let entry = TrapInfo::new(vector::PF, TrapFlags::MASK_EVENTS, 0xe033, 0x1000);
        assert_eq!((entry.dpl(), entry.masks_events()), (0, true));
    }

    #[test]
    fn eight_exceptions_have_error_codes() {
        let with: Vec<u8> = (0..32).filter(|&v| vector::has_error_code(v)).collect();
        assert_eq!(with, [8, 10, 11, 12, 13, 14, 17, 21]);
    }
}
