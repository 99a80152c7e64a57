//! physdev_op: the I/O privilege level and bitmap, which any kernel may set, and devices, which no domain has.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::physdev_op::PhysdevCommand;
use paravane_abi::physdev::{
    MAP_PIRQ_TYPE_MULTI_MSI, PhysdevApic, PhysdevEoi, PhysdevGetFreePirq, PhysdevIrq, PhysdevIrqStatusQuery,
    PhysdevManagePci, PhysdevManagePciExt, PhysdevMapPirq, PhysdevPciDevice, PhysdevPciDeviceAdd,
    PhysdevPirqEoiGmfn, PhysdevSetIobitmap, PhysdevSetIopl, PhysdevSetupGsi, PhysdevUnmapPirq,
    XENIRQSTAT_NEEDS_EOI,
};
use zerocopy::{FromBytes, IntoBytes};

use super::event::NR_PIRQS;
use super::{Answer, Call, is_guest_range};
use crate::addr::Mfn;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

/// Interrupts of the machine, as Xen counts them on one with an I/O APIC of 24 inputs: a domain can name these, and 32 more.
pub(super) const NR_GSIS: u32 = 24;

/// Most ports an I/O bitmap can name (`PHYSDEVOP_set_iobitmap`).
const IO_PORTS: u32 = 65_536;
/// Bytes of a bitmap for all of them, which Xen wants to lie where a guest may have memory.
const IO_BITMAP_BYTES: u64 = IO_PORTS as u64 / 8;

impl<M: Machine> Hypervisor<M> {
    /// `physdev_op`. What concerns devices is refused after as much of a look as Xen takes.
    pub(super) fn physdev_op(&mut self, call: &mut Call<'_>) -> Answer {
        let pointer = call.args[1];
        match PhysdevCommand::from_number(call.args[0] as u32).ok_or(Errno::ENOSYS)? {
            PhysdevCommand::SetIopl => self.set_iopl(pointer),
            PhysdevCommand::SetIobitmap => self.set_io_bitmap(pointer),
            // Every interrupt of the domain is unmasked: there is none.
            PhysdevCommand::IrqUnmaskNotify => Ok(0),
            PhysdevCommand::IrqStatusQuery => self.irq_status(pointer),
            PhysdevCommand::Eoi => self.refuse::<PhysdevEoi>(pointer, Errno::EINVAL),
            PhysdevCommand::GetFreePirq => self.refuse::<PhysdevGetFreePirq>(pointer, Errno::ENOSPC),
            PhysdevCommand::ApicRead | PhysdevCommand::ApicWrite => {
                self.refuse::<PhysdevApic>(pointer, Errno::EPERM)
            }
            PhysdevCommand::AllocIrqVector => self.refuse::<PhysdevIrq>(pointer, Errno::EPERM),
            PhysdevCommand::MapPirq => {
                let request: PhysdevMapPirq = self.read_guest(pointer)?;
                if request.kind == MAP_PIRQ_TYPE_MULTI_MSI && request.table_base != 0 {
                    return Err(Errno::EINVAL.into());
                }
                self.no_pirq(request.domid)
            }
            PhysdevCommand::UnmapPirq => {
                let request: PhysdevUnmapPirq = self.read_guest(pointer)?;
                self.no_pirq(request.domid)
            }
            PhysdevCommand::ManagePciAdd | PhysdevCommand::ManagePciRemove => {
                self.refuse::<PhysdevManagePci>(pointer, Errno::EPERM)
            }
            PhysdevCommand::ManagePciAddExt => {
                let request: PhysdevManagePciExt = self.read_guest(pointer)?;
                let sane = request.is_extfn <= 1 && request.is_virtfn <= 1;
                Err(if sane { Errno::EPERM } else { Errno::EINVAL }.into())
            }
            PhysdevCommand::RestoreMsi => self.refuse::<PhysdevManagePci>(pointer, Errno::ENODEV),
            PhysdevCommand::RestoreMsiExt => self.refuse::<PhysdevPciDevice>(pointer, Errno::ENODEV),
            PhysdevCommand::SetupGsi => {
                let request: PhysdevSetupGsi = self.read_guest(pointer)?;
                let known = (0..NR_GSIS as i32).contains(&request.gsi);
                Err(if known { Errno::EPERM } else { Errno::EINVAL }.into())
            }
            PhysdevCommand::PciDeviceAdd => self.refuse::<PhysdevPciDeviceAdd>(pointer, Errno::EPERM),
            PhysdevCommand::PciDeviceRemove | PhysdevCommand::PrepareMsix | PhysdevCommand::ReleaseMsix => {
                self.refuse::<PhysdevPciDevice>(pointer, Errno::EPERM)
            }
            PhysdevCommand::PciMmcfgReserved | PhysdevCommand::DbgpOp => Err(Errno::EPERM.into()),
            PhysdevCommand::PirqEoiGmfnV1 | PhysdevCommand::PirqEoiGmfnV2 => self.set_eoi_page(pointer),
            PhysdevCommand::FreeIrqVector => Err(Errno::ENOSYS.into()),
        }
    }

    /// Refuses an operation whose argument Xen reads first.
    pub(super) fn refuse<T: FromBytes + IntoBytes>(&self, pointer: u64, error: Errno) -> Answer {
        let _: T = self.read_guest(pointer)?;
        Err(error.into())
    }

    /// Interrupts are a device model's or the control domain's to give, even to themselves.
    fn no_pirq(&self, domid: u16) -> Answer {
        self.find(domid)?;
        Err(Errno::EPERM.into())
    }

    /// No interrupt is shared, and a domain ends each by a call.
    fn irq_status(&mut self, pointer: u64) -> Answer {
        let mut request: PhysdevIrqStatusQuery = self.read_guest(pointer)?;
        if request.irq >= NR_PIRQS {
            return Err(Errno::EINVAL.into());
        }
        request.flags = XENIRQSTAT_NEEDS_EOI;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    /// Keeps a page for bits that nobody sets, since no interrupt comes: as on Xen, it stays in use until the domain dies.
    fn set_eoi_page(&mut self, pointer: u64) -> Answer {
        let request: PhysdevPirqEoiGmfn = self.read_guest(pointer)?;
        let frame = Mfn::new(request.gmfn);
        self.paging(Budget::HYPERCALL).hold_writable(frame)?;
        if self.domain().eoi_page.is_some() {
            self.paging(Budget::HYPERCALL).drop_writable(frame);
            return Err(Errno::EBUSY.into());
        }
        self.domain_mut().eoi_page = Some(frame);
        Ok(0)
    }

    fn set_iopl(&mut self, pointer: u64) -> Answer {
        let request: PhysdevSetIopl = self.read_guest(pointer)?;
        if request.iopl > 3 {
            return Err(Errno::EINVAL.into());
        }
        self.vcpu_mut().iopl = request.iopl as u8;
        Ok(0)
    }

    fn set_io_bitmap(&mut self, pointer: u64) -> Answer {
        let request: PhysdevSetIobitmap = self.read_guest(pointer)?;
        if request.nr_ports > IO_PORTS || !is_guest_range(request.bitmap, IO_BITMAP_BYTES) {
            return Err(Errno::EINVAL.into());
        }
        let vcpu = self.vcpu_mut();
        (vcpu.io_bitmap, vcpu.io_ports) = (request.bitmap, request.nr_ports);
        Ok(0)
    }
}
