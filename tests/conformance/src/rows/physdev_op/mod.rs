//! `physdev_op(command, request)`, call 33 (xen/include/public/physdev.h): devices, ports and interrupts.
//!
//! The command is a C `int`: the upper half of its register is not looked at. A domain that owns no devices may set its
//! vcpus' I/O privilege level and bitmap, and is refused nearly all else.
//!
//! Refused: commands that there are not (`ENOSYS`), whatever the request.

pub mod ports;

mod alloc_irq_vector;
mod apic_read;
mod apic_write;
mod dbgp_op;
mod eoi;
mod eoi_page;
mod free_irq_vector;
mod get_free_pirq;
mod irq_status_query;
mod irq_unmask_notify;
mod manage_pci_add;
mod manage_pci_add_ext;
mod manage_pci_remove;
mod map_pirq;
mod pci_device_add;
mod pci_device_remove;
mod pci_mmcfg_reserved;
mod pirq_eoi_gmfn_v1;
mod pirq_eoi_gmfn_v2;
mod prepare_msix;
mod release_msix;
mod restore_msi;
mod restore_msi_ext;
mod set_iobitmap;
mod set_iopl;
mod setup_gsi;
mod unmap_pirq;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_SET_IOPL, PhysdevSetIopl};
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::at;
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &irq_unmask_notify::ROW,
    &irq_status_query::ROW,
    &set_iopl::ROW,
    &set_iobitmap::ROW,
    &apic_read::ROW,
    &apic_write::ROW,
    &alloc_irq_vector::ROW,
    &free_irq_vector::ROW,
    &eoi::ROW,
    &map_pirq::ROW,
    &unmap_pirq::ROW,
    &manage_pci_add::ROW,
    &manage_pci_remove::ROW,
    &pirq_eoi_gmfn_v1::ROW,
    &restore_msi::ROW,
    &manage_pci_add_ext::ROW,
    &setup_gsi::ROW,
    &get_free_pirq::ROW,
    &pci_mmcfg_reserved::ROW,
    &pci_device_add::ROW,
    &pci_device_remove::ROW,
    &restore_msi_ext::ROW,
    &pirq_eoi_gmfn_v2::ROW,
    &dbgp_op::ROW,
    &prepare_msix::ROW,
    &release_msix::ROW,
];

/// The call besides its sub-operations.
const ROW: Row = Row::call(
    "physdev_op",
    &[
        Case::good("command-width", "the upper half of the command's register means nothing", command_width),
        Case::refusal("unknown", "commands that there are not, before the request is looked at", unknown),
    ],
);

fn command_width(t: &mut Trial) -> Verdict {
    let request = PhysdevSetIopl { iopl: 0 };
    let command = u64::from(PHYSDEVOP_SET_IOPL) | 0x5a5a << 32;
    t.succeeds("set-iopl", raw(CALL, [command, &raw const request as u64, 0, 0, 0]));
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    for command in [0, 3, 18, 22, 32, 0x7fff_ffff, u32::MAX] {
        t.refused(format_args!("command-{command:#x}"), Errno::ENOSYS, || at(CALL, command)(0));
    }
    Ok(())
}
