//! `physdev_op(pci_mmcfg_reserved, request)`, sub-operation 24 (xen/include/public/physdev.h, `struct physdev_pci_mmcfg_reserved`).
//!
//! Tells where a segment's PCI configuration space is.
//!
//! Refused to a domain without devices before the request is read: `EPERM`.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_PCI_MMCFG_RESERVED, PhysdevPciMmcfgReserved};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "pci_mmcfg_reserved",
    &[
        Case::refusal("refused-first", "it is refused before the request is looked at", |t| {
            refusals::whatever(t, Errno::EPERM, at(CALL, PHYSDEVOP_PCI_MMCFG_RESERVED))
        }),
        Case::refusal("privilege", "a request that makes sense", |t| {
            refusals::request(
                t,
                "privilege",
                Errno::EPERM,
                PhysdevPciMmcfgReserved {
                    address: 0xb000_0000,
                    end_bus: 0xff,
                    flags: 1,
                    ..Default::default()
                },
                at(CALL, PHYSDEVOP_PCI_MMCFG_RESERVED),
            )
        }),
    ],
);
