//! Devices: `physdev_op` (`xen/physdev.h`), the part a PV guest calls.

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::physdev_op::*;

xen_constants! {
    /// In [`PhysdevIrqStatusQuery::flags`]: the guest must end the interrupt.
    pub const XENIRQSTAT_NEEDS_EOI: u32 = 1 << 0 => XENIRQSTAT_needs_eoi;
    /// In [`PhysdevIrqStatusQuery::flags`]: guests share the interrupt.
    pub const XENIRQSTAT_SHARED: u32 = 1 << 1 => XENIRQSTAT_shared;
}

/// Argument of [`PHYSDEVOP_EOI`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevEoi {
    /// Interrupt.
    pub irq: u32,
}

/// Argument of [`PHYSDEVOP_PIRQ_EOI_GMFN_V1`] and [`PHYSDEVOP_PIRQ_EOI_GMFN_V2`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevPirqEoiGmfn {
    /// mfn of a page of bits.
    pub gmfn: u64,
}

/// Argument of [`PHYSDEVOP_IRQ_STATUS_QUERY`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevIrqStatusQuery {
    /// Interrupt.
    pub irq: u32,
    /// Out: `XENIRQSTAT_*`.
    pub flags: u32,
}

/// Argument of [`PHYSDEVOP_SET_IOPL`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevSetIopl {
    /// Least privileged ring that may use ports, as the guest sees rings: 0 to 3.
    pub iopl: u32,
}

/// Argument of [`PHYSDEVOP_SET_IOBITMAP`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevSetIobitmap {
    /// Virtual address of the bitmap; a clear bit lets user mode use the port.
    pub bitmap: u64,
    /// Ports it covers.
    pub nr_ports: u32,
    /// Padding.
    pub pad: u32,
}

xen_structs! {
    "struct physdev_eoi" = PhysdevEoi { irq }
    "struct physdev_pirq_eoi_gmfn" = PhysdevPirqEoiGmfn { gmfn }
    "struct physdev_irq_status_query" = PhysdevIrqStatusQuery { irq, flags }
    "struct physdev_set_iopl" = PhysdevSetIopl { iopl }
    "struct physdev_set_iobitmap" = PhysdevSetIobitmap { bitmap, nr_ports } pad { pad }
}
