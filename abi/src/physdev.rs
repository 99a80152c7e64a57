//! Devices: `physdev_op` (`xen/physdev.h`).
//!
//! A domain without devices uses [`PHYSDEVOP_SET_IOPL`] and [`PHYSDEVOP_SET_IOBITMAP`] at most; the rest is for the domain that
//! owns the machine's devices, or one that was given some.

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::physdev_op::*;

xen_constants! {
    /// In [`PhysdevIrqStatusQuery::flags`]: the guest must end the interrupt.
    pub const XENIRQSTAT_NEEDS_EOI: u32 = 1 << 0 => XENIRQSTAT_needs_eoi;
    /// In [`PhysdevIrqStatusQuery::flags`]: guests share the interrupt.
    pub const XENIRQSTAT_SHARED: u32 = 1 << 1 => XENIRQSTAT_shared;
    /// In [`PhysdevMapPirq::kind`]: a message-signalled interrupt.
    pub const MAP_PIRQ_TYPE_MSI: i32 = 0;
    /// In [`PhysdevMapPirq::kind`]: a global system interrupt.
    pub const MAP_PIRQ_TYPE_GSI: i32 = 1;
    /// In [`PhysdevMapPirq::kind`]: not known.
    pub const MAP_PIRQ_TYPE_UNKNOWN: i32 = 2;
    /// In [`PhysdevMapPirq::kind`]: message-signalled, the segment in `bus`.
    pub const MAP_PIRQ_TYPE_MSI_SEG: i32 = 3;
    /// In [`PhysdevMapPirq::kind`]: several message-signalled ones.
    pub const MAP_PIRQ_TYPE_MULTI_MSI: i32 = 4;
    /// In [`PhysdevPciMmcfgReserved::flags`]: the firmware reserves the area.
    pub const XEN_PCI_MMCFG_RESERVED: u32 = 1;
    /// In [`PhysdevPciDeviceAdd::flags`]: an extended function.
    pub const XEN_PCI_DEV_EXTFN: u32 = 1;
    /// In [`PhysdevPciDeviceAdd::flags`]: a virtual function.
    pub const XEN_PCI_DEV_VIRTFN: u32 = 2;
    /// In [`PhysdevPciDeviceAdd::flags`]: the proximity domain follows.
    pub const XEN_PCI_DEV_PXM: u32 = 4;
    /// In [`PhysdevDbgpOp::op`]: the controller is about to be reset.
    pub const PHYSDEVOP_DBGP_RESET_PREPARE: u8 = 1;
    /// In [`PhysdevDbgpOp::op`]: it has been reset.
    pub const PHYSDEVOP_DBGP_RESET_DONE: u8 = 2;
    /// In [`PhysdevDbgpOp::bus`]: not known.
    pub const PHYSDEVOP_DBGP_BUS_UNKNOWN: u8 = 0;
    /// In [`PhysdevDbgpOp::bus`]: PCI.
    pub const PHYSDEVOP_DBGP_BUS_PCI: u8 = 1;
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

/// Argument of [`PHYSDEVOP_APIC_READ`] and [`PHYSDEVOP_APIC_WRITE`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevApic {
    /// Machine address of the I/O APIC.
    pub apic_physbase: u64,
    /// Register.
    pub reg: u32,
    /// In or out: value.
    pub value: u32,
}

/// Argument of [`PHYSDEVOP_ALLOC_IRQ_VECTOR`] and [`PHYSDEVOP_FREE_IRQ_VECTOR`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevIrq {
    /// Interrupt.
    pub irq: u32,
    /// In or out: vector.
    pub vector: u32,
}

/// Argument of [`PHYSDEVOP_MAP_PIRQ`]: 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevMapPirq {
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub pad0: u16,
    /// `MAP_PIRQ_TYPE_*`.
    pub kind: i32,
    /// The machine's number of the interrupt.
    pub index: i32,
    /// In or out: the domain's number of it.
    pub pirq: i32,
    /// PCI bus, and segment in the high half.
    pub bus: i32,
    /// PCI device and function.
    pub devfn: i32,
    /// Entry of the MSI-X table, or how many interrupts.
    pub entry_nr: i32,
    /// Padding.
    pub pad1: u32,
    /// Machine address of the MSI-X table.
    pub table_base: u64,
}

/// Argument of [`PHYSDEVOP_UNMAP_PIRQ`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevUnmapPirq {
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub pad: u16,
    /// The domain's number of the interrupt.
    pub pirq: i32,
}

/// Argument of [`PHYSDEVOP_MANAGE_PCI_ADD`], [`PHYSDEVOP_MANAGE_PCI_REMOVE`] and [`PHYSDEVOP_RESTORE_MSI`]: 2 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevManagePci {
    /// PCI bus.
    pub bus: u8,
    /// PCI device and function.
    pub devfn: u8,
}

/// Argument of [`PHYSDEVOP_MANAGE_PCI_ADD_EXT`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevManagePciExt {
    /// PCI bus.
    pub bus: u8,
    /// PCI device and function.
    pub devfn: u8,
    /// Padding.
    pub pad0: u16,
    /// 1 for an extended function.
    pub is_extfn: u32,
    /// 1 for a virtual function.
    pub is_virtfn: u32,
    /// The physical function of a virtual one.
    pub physfn: PhysdevManagePci,
    /// Padding.
    pub pad1: u16,
}

/// Argument of [`PHYSDEVOP_SETUP_GSI`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevSetupGsi {
    /// Global system interrupt.
    pub gsi: i32,
    /// 0 edge, 1 level.
    pub triggering: u8,
    /// 0 high, 1 low.
    pub polarity: u8,
    /// Padding.
    pub pad: u16,
}

/// Argument of [`PHYSDEVOP_GET_FREE_PIRQ`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevGetFreePirq {
    /// [`MAP_PIRQ_TYPE_GSI`] or [`MAP_PIRQ_TYPE_MSI`].
    pub kind: i32,
    /// Out: the number.
    pub pirq: u32,
}

/// Argument of [`PHYSDEVOP_PCI_MMCFG_RESERVED`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevPciMmcfgReserved {
    /// Machine address of the area.
    pub address: u64,
    /// PCI segment.
    pub segment: u16,
    /// First bus.
    pub start_bus: u8,
    /// Last bus.
    pub end_bus: u8,
    /// [`XEN_PCI_MMCFG_RESERVED`] or 0.
    pub flags: u32,
}

/// Argument of [`PHYSDEVOP_PCI_DEVICE_ADD`]: 12 bytes, then, with [`XEN_PCI_DEV_PXM`], the proximity domain (u32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevPciDeviceAdd {
    /// PCI segment.
    pub seg: u16,
    /// PCI bus.
    pub bus: u8,
    /// PCI device and function.
    pub devfn: u8,
    /// `XEN_PCI_DEV_*`.
    pub flags: u32,
    /// The physical function of a virtual one.
    pub physfn: PhysdevManagePci,
    /// Padding.
    pub pad: u16,
}

/// A PCI device, argument of [`PHYSDEVOP_PCI_DEVICE_REMOVE`] and others: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevPciDevice {
    /// PCI segment.
    pub seg: u16,
    /// PCI bus.
    pub bus: u8,
    /// PCI device and function.
    pub devfn: u8,
}

/// Argument of [`PHYSDEVOP_DBGP_OP`]: 6 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevDbgpOp {
    /// `PHYSDEVOP_DBGP_RESET_*`.
    pub op: u8,
    /// `PHYSDEVOP_DBGP_BUS_*`.
    pub bus: u8,
    /// The controller.
    pub pci: PhysdevPciDevice,
}

/// Argument of `physdev_op_compat`: 24 bytes. The argument of the operation lies at offset 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PhysdevOp {
    /// `PHYSDEVOP_*`.
    pub cmd: u32,
    /// Padding.
    pub pad: u32,
    /// The operation's own argument.
    pub u: [u64; 2],
}

xen_structs! {
    "struct physdev_eoi" = PhysdevEoi { irq }
    "struct physdev_pirq_eoi_gmfn" = PhysdevPirqEoiGmfn { gmfn }
    "struct physdev_irq_status_query" = PhysdevIrqStatusQuery { irq, flags }
    "struct physdev_set_iopl" = PhysdevSetIopl { iopl }
    "struct physdev_set_iobitmap" = PhysdevSetIobitmap { bitmap, nr_ports } pad { pad }
    "struct physdev_apic" = PhysdevApic { apic_physbase, reg, value }
    "struct physdev_irq" = PhysdevIrq { irq, vector }
    "struct physdev_map_pirq" = PhysdevMapPirq {
        domid, kind = "type", index, pirq, bus, devfn, entry_nr, table_base,
    } pad { pad0, pad1 }
    "struct physdev_unmap_pirq" = PhysdevUnmapPirq { domid, pirq } pad { pad }
    "struct physdev_manage_pci" = PhysdevManagePci { bus, devfn }
    "struct physdev_manage_pci_ext" = PhysdevManagePciExt {
        bus, devfn, is_extfn, is_virtfn, physfn,
    } pad { pad0, pad1 }
    "struct physdev_setup_gsi" = PhysdevSetupGsi { gsi, triggering, polarity } pad { pad }
    "struct physdev_get_free_pirq" = PhysdevGetFreePirq { kind = "type", pirq }
    "struct physdev_pci_mmcfg_reserved" = PhysdevPciMmcfgReserved { address, segment, start_bus, end_bus, flags }
    "struct physdev_pci_device_add" = PhysdevPciDeviceAdd { seg, bus, devfn, flags, physfn } pad { pad }
    "struct physdev_pci_device" = PhysdevPciDevice { seg, bus, devfn }
    "struct physdev_dbgp_op" = PhysdevDbgpOp { op, bus, pci = "u.pci" }
    "struct physdev_op" = PhysdevOp { cmd, u } pad { pad }
}
