//! event_channel_op: ports, and waking whoever waits for them.

use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::event::*;
use paravane_abi::hypercall::event_channel_op::EventCommand;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Answer, Call, Stop};
use crate::addr::Mfn;
use crate::domain::Bits;
use crate::event::{self, Backend, Channel, Place, PortTable, Raised, Reset, Sent, resolve};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

/// Ports closed in one bounded step.
const PORTS_A_STEP: u32 = 64;
/// `EVTCHNOP_reset_cont`: a reset that goes on. Xen keeps it out of its public header but takes it.
const RESET_CONTINUED: u32 = 14;
/// Physical interrupts that a domain has numbers for, though none is given to any: in Xen, the 24 of the machine's
/// I/O APIC and `extra_guest_irqs`, 32 by default. A number past them is bad before it is forbidden.
pub(super) const NR_PIRQS: u32 = super::physdev::NR_GSIS + 32;

impl<M: Machine> Hypervisor<M> {
    /// `event_channel_op`.
    pub(super) fn event_channel_op(&mut self, call: &mut Call<'_>) -> Answer {
        let pointer = call.args[1];
        if call.args[0] as u32 == RESET_CONTINUED {
            return self.reset_ports(pointer, call);
        }
        match EventCommand::from_number(call.args[0] as u32).ok_or(Errno::ENOSYS)? {
            EventCommand::BindInterdomain => self.bind_interdomain(pointer),
            EventCommand::BindVirq => {
                self.answer_in_place(pointer, |ports, bits, request: &mut EvtchnBindVirq| {
                    request.port = ports.bind_virq(bits, request.virq, request.vcpu)?;
                    Ok(())
                })
            }
            EventCommand::BindPirq => {
                let request: EvtchnBindPirq = self.read_guest(pointer)?;
                Err(if request.pirq < NR_PIRQS { Errno::EPERM } else { Errno::EINVAL }.into())
            }
            EventCommand::BindIpi => {
                self.answer_in_place(pointer, |ports, bits, request: &mut EvtchnBindIpi| {
                    request.port = ports.bind_ipi(bits, request.vcpu)?;
                    Ok(())
                })
            }
            EventCommand::AllocUnbound => self.alloc_unbound(pointer),
            EventCommand::Close => {
                let request: EvtchnClose = self.read_guest(pointer)?;
                self.close_port(self.current_domain(), request.port)?;
                Ok(0)
            }
            EventCommand::Send => {
                let request: EvtchnSend = self.read_guest(pointer)?;
                self.send_event(self.current_domain(), request.port)
            }
            EventCommand::Status => self.port_status(pointer),
            EventCommand::BindVcpu => {
                let request: EvtchnBindVcpu = self.read_guest(pointer)?;
                self.domain_mut().ports.bind_vcpu(request.port, request.vcpu)?;
                Ok(0)
            }
            EventCommand::Unmask => {
                let request: EvtchnUnmask = self.read_guest(pointer)?;
                let index = self.current_domain();
                let (ports, bits) = self.events(index);
                let raised = ports.unmask(&bits, request.port)?;
                self.wake_in(index, raised);
                Ok(0)
            }
            EventCommand::Reset => self.reset_ports(pointer, call),
            EventCommand::SetPriority => {
                let request: EvtchnSetPriority = self.read_guest(pointer)?;
                self.domain_mut().ports.set_priority(request.port, request.priority)?;
                Ok(0)
            }
            EventCommand::InitControl => self.init_control(pointer),
            EventCommand::ExpandArray => self.expand_array(pointer),
        }
    }

    /// Reads a request, lets the port table answer into it, and writes it back. The place is checked for
    /// writing before anything is allocated.
    fn answer_in_place<T>(
        &mut self,
        pointer: u64,
        answer: impl FnOnce(&mut PortTable, &Bits<'_, M>, &mut T) -> Result<(), Errno>,
    ) -> Answer
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable,
    {
        let mut request: T = self.read_guest(pointer)?;
        self.write_guest(pointer, &request)?;
        let (ports, bits) = self.events(self.current_domain());
        answer(ports, &bits, &mut request)?;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    /// The domain that a request names: ESRCH when there is none.
    fn named_domain(&self, domid: u16) -> Result<usize, Errno> {
        self.domain_index(resolve(domid, self.domain().id)).ok_or(Errno::ESRCH)
    }

    /// Whether the caller may ask for something to be done to a domain: no domain has power over another
    /// (Xen's XSM_TARGET).
    fn check_target(&self, index: usize) -> Result<(), Errno> {
        if index == self.current_domain() { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn alloc_unbound(&mut self, pointer: u64) -> Answer {
        let mut request: EvtchnAllocUnbound = self.read_guest(pointer)?;
        self.write_guest(pointer, &request)?;
        let index = self.named_domain(request.dom)?;
        // Xen finds a port before it asks who wants it.
        let (ports, bits) = self.events(index);
        ports.check_room(&bits)?;
        self.check_target(index)?;
        let remote = resolve(request.remote_dom, self.domain().id);
        let (ports, bits) = self.events(index);
        request.port = ports.alloc_unbound(&bits, remote)?;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    fn bind_interdomain(&mut self, pointer: u64) -> Answer {
        let mut request: EvtchnBindInterdomain = self.read_guest(pointer)?;
        self.write_guest(pointer, &request)?;
        let remote = self.named_domain(request.remote_dom)?;
        let local = self.current_domain();
        let (port, raised) = self.connect(local, remote, request.remote_port)?;
        request.local_port = port;
        self.wake_in(local, raised);
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    /// Binds a new port of `local` to one of `remote`'s.
    pub(crate) fn connect(
        &mut self,
        local: usize,
        remote: usize,
        remote_port: event::Port,
    ) -> Result<(event::Port, Raised), Errno> {
        let Self { frames, machine, domains, .. } = self;
        if local == remote {
            let (ports, bits) = domains[local].events(frames, machine);
            return event::bind_interdomain(ports, &bits, None, remote_port);
        }
        let (first, second) = domains.split_at_mut(local.max(remote));
        let (here, there) = if local < remote {
            (&mut first[local], &mut second[0])
        } else {
            (&mut second[0], &mut first[remote])
        };
        let (ports, bits) = here.events(frames, machine);
        event::bind_interdomain(ports, &bits, Some(&mut there.ports), remote_port)
    }

    /// Sends an event through a port of a domain.
    pub(crate) fn send_event(&mut self, index: usize, port: event::Port) -> Answer {
        let (ports, bits) = self.events(index);
        match ports.send(&bits, port)? {
            Sent::Local(raised) => self.wake_in(index, raised),
            Sent::Remote(send) => {
                if let Some(there) = self.domain_index(send.domain) {
                    let (ports, bits) = self.events(there);
                    let raised = ports.deliver(&bits, send);
                    self.wake_in(there, raised);
                }
            }
            Sent::Backend(Backend::Console) => self.serve_console(index),
            Sent::Backend(Backend::Xenstore) => self.serve_xenstore(index),
            Sent::Dropped => {}
        }
        Ok(0)
    }

    /// Closes a port of a domain, at both ends.
    pub(crate) fn close_port(&mut self, index: usize, port: event::Port) -> Result<(), Errno> {
        let (ports, bits) = self.events(index);
        if let Some(closed) = ports.close(&bits, port)? {
            self.tell_peer(closed);
        }
        Ok(())
    }

    fn port_status(&mut self, pointer: u64) -> Answer {
        let mut request: EvtchnStatus = self.read_guest(pointer)?;
        let index = self.named_domain(request.dom)?;
        let status = self.domains[index].ports.status(request.port)?;
        self.check_target(index)?;
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
        let index = self.named_domain(request.dom)?;
        self.check_target(index)?;
        let resuming = call.args[0] as u32 == RESET_CONTINUED;
        call.args[0] = u64::from(RESET_CONTINUED);
        let mut peers = Vec::new();
        let (ports, bits) = self.events(index);
        let outcome = ports.reset(&bits, resuming, PORTS_A_STEP, |closed| peers.push(closed));
        peers.into_iter().for_each(|closed| self.tell_peer(closed));
        match outcome? {
            Reset::Done { frames } => {
                self.drop_event_frames(frames);
                Ok(0)
            }
            Reset::Preempted => Err(Stop::AGAIN),
        }
    }

    /// A bounded step of closing all ports of a domain that dies; whether it was the last.
    pub fn close_ports(&mut self, index: usize) -> bool {
        let mut peers = Vec::new();
        let (ports, bits) = self.events(index);
        let outcome = ports.destroy(&bits, PORTS_A_STEP, |closed| peers.push(closed));
        peers.into_iter().for_each(|closed| self.tell_peer(closed));
        match outcome {
            Reset::Done { frames } => {
                self.drop_event_frames(frames);
                true
            }
            Reset::Preempted => false,
        }
    }

    /// Gives back what control blocks and event words held.
    fn drop_event_frames(&mut self, frames: Vec<Mfn>) {
        for frame in frames {
            self.frames.put_writable(&self.machine, frame);
            self.frames.put_ref(&self.machine, frame);
        }
    }

    fn init_control(&mut self, pointer: u64) -> Answer {
        let mut request: EvtchnInitControl = self.read_guest(pointer)?;
        self.write_guest(pointer, &request)?;
        let frame = Mfn::new(request.control_gfn);
        self.domain().ports.check_control(request.vcpu, request.offset)?;
        self.paging(Budget::HYPERCALL).hold_writable(frame)?;
        let place = Place { frame, offset: request.offset as usize };
        let (ports, bits) = self.events(self.current_domain());
        if let Err(error) = ports.init_control(&bits, request.vcpu, place) {
            self.paging(Budget::HYPERCALL).drop_writable(frame);
            return Err(error.into());
        }
        request.link_bits = EVTCHN_FIFO_LINK_BITS as u8;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    fn expand_array(&mut self, pointer: u64) -> Answer {
        let request: EvtchnExpandArray = self.read_guest(pointer)?;
        let frame = Mfn::new(request.array_gfn);
        self.domain().ports.check_array()?;
        self.paging(Budget::HYPERCALL).hold_writable(frame)?;
        let mut from = match self.domain_mut().ports.expand_array(frame) {
            Ok(first) => first,
            Err(error) => {
                self.paging(Budget::HYPERCALL).drop_writable(frame);
                return Err(error.into());
            }
        };
        let index = self.current_domain();
        loop {
            let (ports, bits) = self.events(index);
            let Some(raised) = ports.raise_held(&bits, from) else { return Ok(0) };
            self.wake_in(index, raised);
            from = raised.port + 1;
        }
    }

    pub(crate) fn tell_peer(&mut self, closed: event::PeerClosed) {
        if let Some(index) = self.domain_index(closed.domain) {
            self.domains[index].ports.peer_closed(closed);
        }
    }

    /// A domain's ports and the memory it shares with them.
    pub(crate) fn events(&mut self, index: usize) -> (&mut PortTable, Bits<'_, M>) {
        self.domains[index].events(&self.frames, &self.machine)
    }
}
