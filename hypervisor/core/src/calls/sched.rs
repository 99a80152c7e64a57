//! sched_op: giving up the processor, and stopping.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::sched_op::SchedCommand;
use paravane_abi::sched::{SchedPoll, SchedRemoteShutdown, SchedShutdown, SchedWatchdog};

use super::{Answer, Call, Stop};
use crate::addr::DomainId;
use crate::domain::{Bits, RunState, Shutdown};
use crate::event::{POLL_PORTS_MAX, Poll};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// `sched_op`.
    pub(super) fn sched_op(&mut self, call: &mut Call<'_>) -> Answer {
        let pointer = call.args[1];
        match SchedCommand::from_number(call.args[0] as u32).ok_or(Errno::ENOSYS)? {
            SchedCommand::YieldCpu => {
                let key = self.key(self.here.domain, self.here.vcpu);
                let look = self.sched.yield_now(key);
                self.look_again(look);
                Ok(0)
            }
            SchedCommand::Block => {
                self.block();
                Ok(0)
            }
            SchedCommand::Poll => self.poll(pointer),
            SchedCommand::Shutdown => {
                let request: SchedShutdown = self.read_guest(pointer)?;
                self.shut_down(request.reason)
            }
            // A note of why a suspended domain went; nothing here reads it.
            SchedCommand::ShutdownCode => {
                let _: SchedShutdown = self.read_guest(pointer)?;
                Ok(0)
            }
            SchedCommand::RemoteShutdown => {
                let request: SchedRemoteShutdown = self.read_guest(pointer)?;
                let known = self.domain_index(DomainId(request.domain_id)).is_some();
                Err(if known { Errno::EPERM } else { Errno::ESRCH }.into())
            }
            SchedCommand::Watchdog => {
                let request: SchedWatchdog = self.read_guest(pointer)?;
                Ok(self.set_watchdog(request.id, request.timeout)?)
            }
            SchedCommand::PinOverride => Err(Errno::EPERM.into()),
        }
    }

    /// Unmasks events and sleeps until one is pending. Both happen before the vcpu can be looked at again,
    /// so no event is lost in between.
    fn block(&mut self) {
        let place = self.vcpu().info;
        self.shared().set_upcall_mask(place, false);
        if !self.shared().upcall(place).0 {
            self.vcpu_mut().state = RunState::Blocked;
            self.refresh(self.here.domain, self.here.vcpu);
        }
    }

    fn poll(&mut self, pointer: u64) -> Answer {
        let request: SchedPoll = self.read_guest(pointer)?;
        if request.nr_ports > POLL_PORTS_MAX {
            return Err(Errno::EINVAL.into());
        }
        // An event that can be delivered ends a poll before it begins.
        let (pending, masked) = self.shared().upcall(self.vcpu().info);
        if pending && !masked {
            return Ok(0);
        }
        let mut ports = [0u32; POLL_PORTS_MAX as usize];
        let ports = &mut ports[..request.nr_ports as usize];
        for (index, port) in ports.iter_mut().enumerate() {
            *port = self.read_guest(request.ports.wrapping_add(4 * index as u64))?;
        }
        let domain = self.domain();
        let bits = Bits::of(&self.frames, &self.machine, domain);
        match domain.ports.poll(&bits, ports)? {
            Poll::Ready => Ok(0),
            Poll::Wait(wait) => {
                let vcpu = self.vcpu_mut();
                vcpu.state = RunState::Blocked;
                vcpu.poll = Some(wait);
                self.refresh(self.here.domain, self.here.vcpu);
                if request.timeout != 0 {
                    self.arm_poll_timeout(request.timeout);
                }
                Ok(0)
            }
        }
    }

    pub(super) fn shut_down(&mut self, reason: u32) -> Answer {
        // Xen keeps the low byte and takes any; its tools end a domain whose reason they do not know.
        let shutdown = Shutdown::from_reason(reason & 0xff).unwrap_or(Shutdown::Crash);
        let id = self.domain().id;
        match shutdown {
            Shutdown::Crash => log::warn!("{id} says that it has crashed"),
            _ => log::info!("{id} shuts down: {shutdown:?}"),
        }
        self.stop_domain(self.here.domain, shutdown);
        Err(Stop::REPLACED)
    }
}
