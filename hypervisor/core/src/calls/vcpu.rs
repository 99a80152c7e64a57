//! vcpu_op: a vcpu's state, areas and timers.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::vcpu_op::VcpuCommand;
use paravane_abi::shared_info::{VcpuInfo, VcpuTimeInfo};
use paravane_abi::vcpu::*;

use super::{Answer, Call, Stop, is_guest_range};
use crate::addr::{Mfn, PAGE_SIZE};
use crate::domain::{Bits, InfoPlace, Shutdown};
use crate::event;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

impl<M: Machine> Hypervisor<M> {
    /// `vcpu_op`.
    pub(super) fn vcpu_op(&mut self, call: &mut Call<'_>) -> Answer {
        let (number, pointer) = (call.args[1] as u32, call.args[2]);
        if self.domain().vcpu(number).is_none() {
            return Err(Errno::ENOENT.into());
        }
        match VcpuCommand::from_number(call.args[0] as u32).ok_or(Errno::ENOSYS)? {
            VcpuCommand::Initialise => self.initialise_vcpu(number, pointer),
            VcpuCommand::Up => self.vcpu_up(number),
            VcpuCommand::Down => self.vcpu_down(number),
            VcpuCommand::IsUp => Ok(u64::from(self.domain().vcpu(number).is_some_and(|vcpu| vcpu.up))),
            VcpuCommand::GetRunstateInfo => {
                let info = self.runstate_info(number);
                self.write_guest(pointer, &info)?;
                Ok(0)
            }
            VcpuCommand::RegisterRunstateMemoryArea => {
                let request: VcpuRegisterRunstateMemoryArea = self.read_guest(pointer)?;
                if !is_guest_range(request.addr, size_of::<VcpuRunstateInfo>() as u64) {
                    return Err(Errno::EFAULT.into());
                }
                self.domain_mut().vcpus[number as usize].runstate_area = request.addr;
                // This once it is the caller's address, whose vcpu it is: one that is down has no address space.
                let _ = self.write_guest(request.addr, &self.runstate_info(number));
                Ok(0)
            }
            VcpuCommand::SetPeriodicTimer => self.set_periodic(number, pointer),
            VcpuCommand::StopPeriodicTimer => {
                self.domain_mut().vcpus[number as usize].timers.stop_periodic();
                self.timers_changed(self.here.domain, number as usize);
                Ok(0)
            }
            VcpuCommand::SetSingleshotTimer => self.set_singleshot(number, pointer),
            VcpuCommand::StopSingleshotTimer => {
                self.check_current(number)?;
                self.vcpu_mut().timers.stop_singleshot();
                self.program_timer();
                Ok(0)
            }
            VcpuCommand::RegisterVcpuInfo => self.register_vcpu_info(number, pointer),
            VcpuCommand::RegisterVcpuTimeMemoryArea => {
                let request: VcpuRegisterTimeMemoryArea = self.read_guest(pointer)?;
                if !is_guest_range(request.addr, size_of::<VcpuTimeInfo>() as u64) {
                    return Err(Errno::EFAULT.into());
                }
                self.domain_mut().vcpus[number as usize].time_area = request.addr;
                let _ = self.write_guest(request.addr, &self.clock.time_info(0));
                Ok(0)
            }
            // No vcpu is pinned to a processor.
            VcpuCommand::GetPhysid => Err(Errno::EINVAL.into()),
            VcpuCommand::SendNmi if pointer != 0 => Err(Errno::EINVAL.into()),
            VcpuCommand::SendNmi => {
                self.send_nmi(number as usize);
                Ok(0)
            }
        }
    }

    fn check_current(&self, number: u32) -> Result<(), Stop> {
        if number as usize == self.here.vcpu { Ok(()) } else { Err(Errno::EINVAL.into()) }
    }

    fn vcpu_up(&mut self, number: u32) -> Answer {
        let (domain, number) = (self.here.domain, number as usize);
        let vcpu = &mut self.domain_mut().vcpus[number];
        if !vcpu.initialised {
            return Err(Errno::EINVAL.into());
        }
        vcpu.up = true;
        self.refresh(domain, number);
        Ok(0)
    }

    /// The last vcpu that goes down takes the domain with it.
    fn vcpu_down(&mut self, number: u32) -> Answer {
        let (domain, number) = (self.here.domain, number as usize);
        let vcpus = &mut self.domain_mut().vcpus;
        let others = vcpus.iter().enumerate().any(|(n, vcpu)| n != number && vcpu.up);
        if !others {
            self.stop_domain(domain, Shutdown::PowerOff);
            return Ok(0);
        }
        // What it waits for, it goes on waiting for when it comes up again.
        vcpus[number].up = false;
        self.refresh(domain, number);
        Ok(0)
    }

    fn runstate_info(&self, number: u32) -> VcpuRunstateInfo {
        let runstate = &self.domain().vcpus[number as usize].runstate;
        runstate.read(self.now())
    }

    fn set_periodic(&mut self, number: u32, pointer: u64) -> Answer {
        let request: VcpuSetPeriodicTimer = self.read_guest(pointer)?;
        let now = self.now();
        let vcpu = &mut self.domain_mut().vcpus[number as usize];
        if vcpu.timers.set_periodic(request.period_ns, now)? {
            self.raise_virq(self.current_domain(), 0, number);
        }
        self.timers_changed(self.here.domain, number as usize);
        Ok(0)
    }

    fn set_singleshot(&mut self, number: u32, pointer: u64) -> Answer {
        self.check_current(number)?;
        let request: VcpuSetSingleshotTimer = self.read_guest(pointer)?;
        let now = self.now();
        // VCPU_SSHOTTMR_future once meant -ETIME for a time in the past; Xen's stable 4.17 ignores it, as vcpu.h
        // allows, and fires at once.
        if self.vcpu_mut().timers.set_singleshot(request.timeout_abs_ns, now) {
            self.raise_virq(self.current_domain(), 0, number);
        }
        self.program_timer();
        Ok(0)
    }

    /// Moves a vcpu's `vcpu_info` to a frame of the guest's, which is held as writable from then on.
    fn register_vcpu_info(&mut self, number: u32, pointer: u64) -> Answer {
        let request: VcpuRegisterVcpuInfo = self.read_guest(pointer)?;
        let offset = request.offset as usize;
        let old = self.domain().vcpus[number as usize].info;
        if offset > PAGE_SIZE - size_of::<VcpuInfo>() || !offset.is_multiple_of(align_of::<VcpuInfo>()) {
            return Err(Errno::ENXIO.into());
        }
        // Another vcpu's only while it is down.
        let vcpu = &self.domain().vcpus[number as usize];
        if old.registered || (number as usize != self.here.vcpu && vcpu.up) {
            return Err(Errno::EINVAL.into());
        }
        let frame = Mfn::new(request.mfn);
        self.paging(Budget::HYPERCALL).hold_writable(frame)?;
        let new = InfoPlace { frame, offset, registered: true };
        self.shared().copy_info(old, new);
        self.domain_mut().vcpus[number as usize].info = new;
        if number as usize == self.here.vcpu {
            self.here.info = new;
        } else if let Some(cpu) = self.cpu_of(self.here.domain, number as usize) {
            self.cpu_mut(cpu).info = new;
        }
        // An event may have gone to the old place just before: the guest looks at everything once.
        let bits = Bits::of(&self.frames, &self.machine, self.domain());
        event::mark_all_pending(&bits, number);
        Ok(0)
    }
}
