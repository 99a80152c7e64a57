//! event_channel_op: ports, and waking whoever waits for them.

use paravane_abi::errno::Errno;
use paravane_abi::event::*;
use paravane_abi::hypercall::event_channel_op::EventCommand;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Answer, Call, Stop};
use crate::addr::DomainId;
use crate::domain::{Bits, Domain, RunState};
use crate::event::{self, Backend, Channel, PortTable, Raised, Reset, Sent, resolve};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// Ports closed in one bounded step of a reset.
const RESET_STEP: u32 = 64;
/// `EVTCHNOP_reset_cont`: a reset that goes on. Xen keeps it out of its public header but takes it.
const RESET_CONTINUED: u32 = 14;

impl<M: Machine> Hypervisor<M> {
    /// `event_channel_op`.
    pub(super) fn event_channel_op(&mut self, call: &mut Call<'_>) -> Answer {
        let pointer = call.args[1];
        if call.args[0] as u32 == RESET_CONTINUED {
            return self.reset_ports(pointer, call);
        }
        match EventCommand::from_number(call.args[0] as u32).ok_or(Errno::ENOSYS)? {
            EventCommand::BindInterdomain => self.bind_interdomain(pointer),
            EventCommand::BindVirq => self.answer_in_place(pointer, |ports, request: &mut EvtchnBindVirq| {
                request.port = ports.bind_virq(request.virq, request.vcpu)?;
                Ok(())
            }),
            // No domain has been given a physical interrupt.
            EventCommand::BindPirq => {
                let _: EvtchnBindPirq = self.read_guest(pointer)?;
                Err(Errno::EPERM.into())
            }
            EventCommand::BindIpi => self.answer_in_place(pointer, |ports, request: &mut EvtchnBindIpi| {
                request.port = ports.bind_ipi(request.vcpu)?;
                Ok(())
            }),
            EventCommand::AllocUnbound => self.alloc_unbound(pointer),
            EventCommand::Close => {
                let request: EvtchnClose = self.read_guest(pointer)?;
                let (ports, bits) = self.ports_and_bits();
                let peer = ports.close(&bits, request.port)?;
                if let Some(closed) = peer {
                    self.tell_peer(closed);
                }
                Ok(0)
            }
            EventCommand::Send => {
                let request: EvtchnSend = self.read_guest(pointer)?;
                self.send_event(request.port)
            }
            EventCommand::Status => self.port_status(pointer),
            EventCommand::BindVcpu => {
                let request: EvtchnBindVcpu = self.read_guest(pointer)?;
                self.domain_mut().ports.bind_vcpu(request.port, request.vcpu)?;
                Ok(0)
            }
            EventCommand::Unmask => {
                let request: EvtchnUnmask = self.read_guest(pointer)?;
                let (ports, bits) = self.ports_and_bits();
                let raised = ports.unmask(&bits, request.port)?;
                self.wake(raised);
                Ok(0)
            }
            EventCommand::Reset => self.reset_ports(pointer, call),
            EventCommand::SetPriority => {
                let request: EvtchnSetPriority = self.read_guest(pointer)?;
                Err(self.domain().ports.set_priority(request.port).into())
            }
            // FIFO events: a guest told ENOSYS here keeps to the two-level form.
            EventCommand::InitControl | EventCommand::ExpandArray => Err(Errno::ENOSYS.into()),
        }
    }

    /// Reads a request, lets the port table answer into it, and writes it back. The place is checked for
    /// writing before anything is allocated.
    fn answer_in_place<T>(
        &mut self,
        pointer: u64,
        answer: impl FnOnce(&mut PortTable, &mut T) -> Result<(), Errno>,
    ) -> Answer
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable,
    {
        let mut request: T = self.read_guest(pointer)?;
        self.write_guest(pointer, &request)?;
        answer(&mut self.domain_mut().ports, &mut request)?;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    fn alloc_unbound(&mut self, pointer: u64) -> Answer {
        let caller = self.domain().id;
        let mut request: EvtchnAllocUnbound = self.read_guest(pointer)?;
        self.write_guest(pointer, &request)?;
        if resolve(request.dom, caller) != caller {
            let known = self.domain_index(DomainId(request.dom)).is_some();
            return Err(if known { Errno::EPERM } else { Errno::ESRCH }.into());
        }
        let remote = resolve(request.remote_dom, caller);
        request.port = self.domain_mut().ports.alloc_unbound(remote)?;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    fn bind_interdomain(&mut self, pointer: u64) -> Answer {
        let mut request: EvtchnBindInterdomain = self.read_guest(pointer)?;
        self.write_guest(pointer, &request)?;
        let remote = resolve(request.remote_dom, self.domain().id);
        let remote_index = self.domain_index(remote).ok_or(Errno::ESRCH)?;
        let (port, raised) = self.connect(remote_index, request.remote_port)?;
        request.local_port = port;
        self.wake(raised);
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    /// Binds a new port of the running domain to one of `remote`'s.
    fn connect(&mut self, remote: usize, remote_port: event::Port) -> Result<(event::Port, Raised), Errno> {
        let local = self.current_domain();
        let Self { frames, machine, domains, .. } = self;
        if local == remote {
            let Domain { id, ports, vcpus, shared_info, .. } = &mut domains[local];
            let bits = Bits::new(frames, machine, *id, *shared_info, vcpus);
            return event::bind_interdomain(ports, &bits, None, remote_port);
        }
        let (first, second) = domains.split_at_mut(local.max(remote));
        let (here, there) = if local < remote {
            (&mut first[local], &mut second[0])
        } else {
            (&mut second[0], &mut first[remote])
        };
        let Domain { id, ports, vcpus, shared_info, .. } = here;
        let bits = Bits::new(frames, machine, *id, *shared_info, vcpus);
        event::bind_interdomain(ports, &bits, Some(&mut there.ports), remote_port)
    }

    /// Sends an event through a port of the running domain.
    pub(crate) fn send_event(&mut self, port: event::Port) -> Answer {
        let (ports, bits) = self.ports_and_bits();
        match ports.send(&bits, port)? {
            Sent::Local(raised) => self.wake(raised),
            Sent::Remote(send) => {
                if let Some(index) = self.domain_index(send.domain) {
                    let there = &self.domains[index];
                    let bits = Bits::of(&self.frames, &self.machine, there);
                    let raised = there.ports.deliver(&bits, send);
                    self.wake_in(index, raised);
                }
            }
            Sent::Backend(Backend::Console) => self.serve_console(self.current_domain()),
            Sent::Dropped => {}
        }
        Ok(0)
    }

    fn port_status(&mut self, pointer: u64) -> Answer {
        let mut request: EvtchnStatus = self.read_guest(pointer)?;
        let caller = self.domain().id;
        let domain = resolve(request.dom, caller);
        if domain != caller {
            let known = self.domain_index(domain).is_some();
            return Err(if known { Errno::EPERM } else { Errno::ESRCH }.into());
        }
        let status = self.domain().ports.status(request.port)?;
        request.vcpu = status.vcpu;
        let (kind, detail) = match status.channel {
            Channel::Free | Channel::Reserved => (EVTCHNSTAT_CLOSED, [0, 0]),
            Channel::Unbound { remote } => (EVTCHNSTAT_UNBOUND, [remote.0.into(), 0]),
            Channel::Interdomain { remote, port } => (EVTCHNSTAT_INTERDOMAIN, [remote.0.into(), port]),
            // Xen shows what the hypervisor holds as a channel that waits for its other end.
            Channel::Backend(_) => (EVTCHNSTAT_UNBOUND, [0, 0]),
            Channel::Virq(virq) => (EVTCHNSTAT_VIRQ, [virq, 0]),
            Channel::Ipi => (EVTCHNSTAT_IPI, [0, 0]),
        };
        request.status = kind;
        request.u = detail;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    fn reset_ports(&mut self, pointer: u64, call: &mut Call<'_>) -> Answer {
        let request: EvtchnReset = self.read_guest(pointer)?;
        let domain = resolve(request.dom, self.domain().id);
        if domain != self.domain().id {
            let known = self.domain_index(domain).is_some();
            return Err(if known { Errno::EPERM } else { Errno::ESRCH }.into());
        }
        let resuming = call.args[0] as u32 == RESET_CONTINUED;
        call.args[0] = u64::from(RESET_CONTINUED);
        let mut peers = alloc::vec::Vec::new();
        let (ports, bits) = self.ports_and_bits();
        let outcome = ports.reset(&bits, resuming, RESET_STEP, |closed| peers.push(closed));
        for closed in peers {
            self.tell_peer(closed);
        }
        match outcome? {
            Reset::Done => Ok(0),
            Reset::Preempted => Err(Stop::AGAIN),
        }
    }

    fn tell_peer(&mut self, closed: event::PeerClosed) {
        if let Some(index) = self.domain_index(closed.domain) {
            self.domains[index].ports.peer_closed(closed);
        }
    }

    fn ports_and_bits(&mut self) -> (&mut PortTable, Bits<'_, M>) {
        let index = self.current_domain();
        let Domain { id, ports, vcpus, shared_info, .. } = &mut self.domains[index];
        (ports, Bits::new(&self.frames, &self.machine, *id, *shared_info, vcpus))
    }

    /// Wakes the vcpu of the running domain that an event is for, and those that poll.
    pub(crate) fn wake(&mut self, raised: Raised) {
        self.wake_in(self.current_domain(), raised);
    }

    /// As [`Self::wake`], in any domain.
    pub(crate) fn wake_in(&mut self, domain: usize, raised: Raised) {
        for vcpu in &mut self.domains[domain].vcpus {
            let polled = vcpu.poll.is_some_and(|poll| poll.woken_by(&raised));
            if vcpu.state == RunState::Blocked && (polled || raised.notify == Some(vcpu.id)) {
                vcpu.state = RunState::Runnable;
                // The timeout went with the poll; the next one may have none.
                vcpu.poll = None;
                vcpu.timers.set_poll(None);
            }
        }
    }
}
