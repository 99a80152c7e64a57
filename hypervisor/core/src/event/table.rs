//! A domain's ports and what they are connected to. Error codes and their order follow Xen 4.17's
//! `xen/common/event_channel.c`, as observed by conformance cases.

use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::event::{NR_VIRQS, virq_is_per_vcpu};

use super::bits::{Raised, SharedBits};
use super::form::Form;
use super::{Backend, Channel, FIFO_PORTS, GROUP, Port, PortStatus, VcpuId};
use crate::addr::{DomainId, Mfn};

const VIRQS: usize = NR_VIRQS as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) channel: Channel,
    pub(super) vcpu: VcpuId,
}

impl Entry {
    const FREE: Self = Self { channel: Channel::Free, vcpu: 0 };

    /// Whether the guest has the port in use.
    pub(super) fn is_bound(&self) -> bool {
        !matches!(self.channel, Channel::Free | Channel::Reserved)
    }
}

/// The ports of one domain.
#[derive(Debug)]
pub struct PortTable {
    pub(super) domain: DomainId,
    /// Highest port number the domain may have.
    pub(super) port_max: Port,
    /// The valid ports: a multiple of [`GROUP`], only ever growing.
    pub(super) entries: Vec<Entry>,
    /// Per vcpu, the port bound to each VIRQ; 0 for none. Global VIRQs stand under vcpu 0.
    pub(super) virqs: Vec<[Port; VIRQS]>,
    /// Ports that are neither free nor reserved.
    pub(super) active: u32,
    /// Where a reset in progress goes on; 0 when there is none.
    pub(super) reset_at: Port,
    pub(super) dying: bool,
    /// How the guest keeps its events.
    pub(super) form: Form,
}

/// The far half of a send to another domain.
#[must_use = "the peer's domain must be told"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteSend {
    /// The peer's domain, whose table takes this to [`PortTable::deliver`].
    pub domain: DomainId,
    /// The peer.
    pub port: Port,
    /// The sender.
    pub from: (DomainId, Port),
}

/// The far half of closing a port that another domain is connected to.
#[must_use = "the peer's domain must be told"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerClosed {
    /// The peer's domain, whose table takes this to [`PortTable::peer_closed`].
    pub domain: DomainId,
    /// The peer.
    pub port: Port,
    /// The port that was closed.
    pub from: (DomainId, Port),
}

/// What a send led to.
#[must_use = "the receiver must be told"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A port of the same domain was raised.
    Local(Raised),
    /// A port of another domain is to be raised.
    Remote(RemoteSend),
    /// The hypervisor itself is the receiver.
    Backend(Backend),
    /// Nobody is bound; Xen drops such events without a word.
    Dropped,
}

/// How far closing all ports came.
#[must_use = "the frames are to be given back"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reset {
    /// All ports are closed, and the table has the two-level form. Each of the frames was held by a reference and a
    /// use as writable.
    Done {
        /// Those of control blocks and event words.
        frames: Vec<Mfn>,
    },
    /// The budget is used up: call again (a reset with `resuming`).
    Preempted,
}

impl PortTable {
    /// A table of a domain with so many vcpus. `port_max` is the highest port number it may use (`xl.cfg`'s
    /// max_event_channels, 1023 by default); the two-level form, which every domain begins with, has none above 4095.
    pub fn new(domain: DomainId, vcpus: u32, port_max: Port) -> Self {
        let mut entries = Vec::new();
        entries.resize(GROUP, Entry::FREE);
        entries[0].channel = Channel::Reserved;
        let mut virqs = Vec::new();
        virqs.resize(vcpus as usize, [0; VIRQS]);
        Self {
            domain,
            port_max: port_max.min(FIFO_PORTS - 1),
            entries,
            virqs,
            active: 0,
            reset_at: 0,
            dying: false,
            form: Form::TwoLevel,
        }
    }

    /// The domain the ports belong to.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// Ports in use. When a domain dies this must come back to 0.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// Whether a port could be allocated. What it grows by is grown when it is.
    pub fn check_room(&self, bits: &impl SharedBits) -> Result<(), Errno> {
        self.next_port(|port| self.form.is_busy(bits, port)).map(|_| ())
    }

    /// EVTCHNOP_alloc_unbound: a port that `remote` may bind to. Whether `remote` exists does not matter.
    pub fn alloc_unbound(&mut self, bits: &impl SharedBits, remote: DomainId) -> Result<Port, Errno> {
        self.bind(bits, Channel::Unbound { remote }, 0)
    }

    /// Connects a new port to the hypervisor, in a domain that is being made: no port of its has been used.
    pub fn bind_backend(&mut self, backend: Backend) -> Result<Port, Errno> {
        self.bind_unless(|_, _| false, Channel::Backend(backend), 0)
    }

    /// EVTCHNOP_bind_ipi.
    pub fn bind_ipi(&mut self, bits: &impl SharedBits, vcpu: VcpuId) -> Result<Port, Errno> {
        self.check_vcpu(vcpu)?;
        self.bind(bits, Channel::Ipi, vcpu)
    }

    /// EVTCHNOP_bind_virq. A global VIRQ must be bound on vcpu 0 (it can be moved later).
    pub fn bind_virq(&mut self, bits: &impl SharedBits, virq: u32, vcpu: VcpuId) -> Result<Port, Errno> {
        if virq >= NR_VIRQS || (is_global(virq) && vcpu != 0) {
            return Err(Errno::EINVAL);
        }
        self.check_vcpu(vcpu)?;
        if self.virqs[vcpu as usize][virq as usize] != 0 {
            return Err(Errno::EEXIST);
        }
        let port = self.bind(bits, Channel::Virq(virq), vcpu)?;
        self.virqs[vcpu as usize][virq as usize] = port;
        Ok(port)
    }

    /// EVTCHNOP_bind_vcpu: moves a port to another vcpu. IPIs and per-vcpu VIRQs stay where they were bound.
    pub fn bind_vcpu(&mut self, port: Port, vcpu: VcpuId) -> Result<(), Errno> {
        self.check_vcpu(vcpu)?;
        let entry = self.entry_mut(port)?;
        match entry.channel {
            Channel::Unbound { .. } | Channel::Interdomain { .. } | Channel::Backend(_) => entry.vcpu = vcpu,
            Channel::Virq(virq) if is_global(virq) => entry.vcpu = vcpu,
            Channel::Virq(_) | Channel::Ipi | Channel::Free | Channel::Reserved => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// EVTCHNOP_close. When a port of another domain was connected, that domain is to be told.
    pub fn close(&mut self, bits: &impl SharedBits, port: Port) -> Result<Option<PeerClosed>, Errno> {
        let Entry { channel, vcpu } = self.entry(port)?;
        let mut told = None;
        match channel {
            Channel::Free | Channel::Reserved => return Err(Errno::EINVAL),
            Channel::Unbound { .. } | Channel::Ipi | Channel::Backend(_) => {}
            Channel::Virq(virq) => {
                let line = if is_global(virq) { 0 } else { vcpu as usize };
                self.virqs[line][virq as usize] = 0;
            }
            Channel::Interdomain { remote, port: peer } => {
                told = Some(PeerClosed { domain: remote, port: peer, from: (self.domain, port) });
            }
        }
        // A stale pending bit would be the first event of whoever gets the port next.
        self.form.clear_pending(bits, port);
        self.entries[port as usize] = Entry::FREE;
        self.active -= 1;
        match told {
            Some(peer) if peer.domain == self.domain => {
                self.peer_closed(peer);
                Ok(None)
            }
            told => Ok(told),
        }
    }

    /// The far half of [`Self::close`]: the port goes back to unbound, its pending bit stays.
    pub fn peer_closed(&mut self, closed: PeerClosed) {
        let (remote, from) = closed.from;
        if let Ok(entry) = self.entry_mut(closed.port)
            && entry.channel == (Channel::Interdomain { remote, port: from })
        {
            entry.channel = Channel::Unbound { remote };
        }
    }

    /// EVTCHNOP_status.
    pub fn status(&self, port: Port) -> Result<PortStatus, Errno> {
        self.entry(port).map(|Entry { channel, vcpu }| PortStatus { channel, vcpu })
    }

    /// EVTCHNOP_send.
    pub fn send(&mut self, bits: &impl SharedBits, port: Port) -> Result<Sent, Errno> {
        let Entry { channel, vcpu } = self.entry(port)?;
        match channel {
            Channel::Interdomain { remote, port: peer } => {
                let send = RemoteSend { domain: remote, port: peer, from: (self.domain, port) };
                if remote == self.domain {
                    return Ok(Sent::Local(self.deliver(bits, send)));
                }
                Ok(Sent::Remote(send))
            }
            Channel::Ipi => Ok(Sent::Local(self.form.set_pending(bits, port, vcpu))),
            Channel::Backend(backend) => Ok(Sent::Backend(backend)),
            Channel::Unbound { .. } => Ok(Sent::Dropped),
            Channel::Free | Channel::Reserved | Channel::Virq(_) => Err(Errno::EINVAL),
        }
    }

    /// The far half of a send. The peer may have been closed in between: then nothing happens.
    pub fn deliver(&mut self, bits: &impl SharedBits, send: RemoteSend) -> Raised {
        let (remote, from) = send.from;
        match self.entry(send.port) {
            Ok(Entry { channel, vcpu }) if channel == (Channel::Interdomain { remote, port: from }) => {
                self.form.set_pending(bits, send.port, vcpu)
            }
            _ => Raised::nothing(send.port),
        }
    }

    /// Raises the port bound to a VIRQ, if any. A global VIRQ goes to the vcpu its port notifies, whatever `vcpu` is.
    pub fn raise_virq(&mut self, bits: &impl SharedBits, virq: u32, vcpu: VcpuId) -> Option<Raised> {
        let line = if is_global(virq) { 0 } else { vcpu as usize };
        let port = *self.virqs.get(line)?.get(virq as usize)?;
        let entry = self.entry(port).ok().filter(|entry| entry.channel == Channel::Virq(virq))?;
        Some(self.form.set_pending(bits, port, entry.vcpu))
    }

    /// Raises a port from the hypervisor's end. After the guest closed the port this does nothing.
    pub fn raise_backend(&mut self, bits: &impl SharedBits, port: Port, backend: Backend) -> Option<Raised> {
        let entry = self.entry(port).ok().filter(|entry| entry.channel == Channel::Backend(backend))?;
        Some(self.form.set_pending(bits, port, entry.vcpu))
    }

    /// EVTCHNOP_unmask. On a closed port this does nothing, without an error.
    pub fn unmask(&mut self, bits: &impl SharedBits, port: Port) -> Result<Raised, Errno> {
        let entry = self.entry(port)?;
        if !entry.is_bound() {
            return Ok(Raised::nothing(port));
        }
        Ok(self.form.unmask(bits, port, entry.vcpu))
    }

    /// EVTCHNOP_set_priority. ENOSYS: the two-level form has none. EACCES: the port is closed.
    pub fn set_priority(&mut self, port: Port, priority: u32) -> Result<(), Errno> {
        let bound = self.entry(port)?.is_bound();
        self.form.set_priority(port, bound, priority)
    }

    /// EVTCHNOP_reset: closes every port. `budget` bounds the ports looked at in one go; `told` gets what other
    /// domains are to be told. A second reset while one is preempted is refused (XSA-343).
    pub fn reset(
        &mut self,
        bits: &impl SharedBits,
        resuming: bool,
        budget: u32,
        mut told: impl FnMut(PeerClosed),
    ) -> Result<Reset, Errno> {
        let first = match (resuming, self.reset_at) {
            (false, 0) => 1,
            (false, _) => return Err(Errno::EBUSY),
            // Nothing to resume: the other reset has ended meanwhile.
            (true, 0) => return Err(Errno::EBUSY),
            (true, at) => at,
        };
        if !self.close_from(bits, first, budget, &mut told) {
            return Ok(Reset::Preempted);
        }
        // Ports opened behind the scan by another vcpu.
        if self.active != 0 {
            return Err(Errno::EAGAIN);
        }
        Ok(Reset::Done { frames: self.leave_fifo(bits) })
    }

    /// The domain dies: refuses new ports and closes those there are, `budget` in one go.
    pub fn destroy(
        &mut self,
        bits: &impl SharedBits,
        budget: u32,
        mut told: impl FnMut(PeerClosed),
    ) -> Reset {
        if !self.dying {
            self.dying = true;
            self.reset_at = 1;
        }
        if !self.close_from(bits, self.reset_at, budget, &mut told) {
            return Reset::Preempted;
        }
        Reset::Done { frames: self.leave_fifo(bits) }
    }

    /// Closes the ports from `first` on; whether it came to the last. Where it goes on is remembered.
    fn close_from(
        &mut self,
        bits: &impl SharedBits,
        first: Port,
        budget: u32,
        told: &mut impl FnMut(PeerClosed),
    ) -> bool {
        let end = self.entries.len() as Port;
        let stop = first.saturating_add(budget.max(1)).min(end);
        for port in first..stop {
            if self.active == 0 {
                break;
            }
            // A closed port is an error only to a guest that names it.
            if let Ok(Some(peer)) = self.close(bits, port) {
                told(peer);
            }
        }
        let done = stop >= end || self.active == 0;
        self.reset_at = if done { 0 } else { stop };
        done
    }

    /// The channel of a valid port.
    pub(super) fn entry(&self, port: Port) -> Result<Entry, Errno> {
        self.entries.get(port as usize).copied().ok_or(Errno::EINVAL)
    }

    fn entry_mut(&mut self, port: Port) -> Result<&mut Entry, Errno> {
        self.entries.get_mut(port as usize).ok_or(Errno::EINVAL)
    }

    pub(super) fn check_vcpu(&self, vcpu: VcpuId) -> Result<(), Errno> {
        if (vcpu as usize) < self.virqs.len() { Ok(()) } else { Err(Errno::ENOENT) }
    }

    /// Gives a free port a channel.
    fn bind(&mut self, bits: &impl SharedBits, channel: Channel, vcpu: VcpuId) -> Result<Port, Errno> {
        self.bind_unless(|form, port| form.is_busy(bits, port), channel, vcpu)
    }

    fn bind_unless(
        &mut self,
        busy: impl Fn(&Form, Port) -> bool,
        channel: Channel,
        vcpu: VcpuId,
    ) -> Result<Port, Errno> {
        let port = self.free_port(busy)?;
        self.occupy(port, Entry { channel, vcpu });
        Ok(port)
    }

    fn occupy(&mut self, port: Port, entry: Entry) {
        self.entries[port as usize] = entry;
        self.active += 1;
        self.form.open(port);
    }

    /// The lowest free port that is not busy, as Xen takes it: guests know the numbers of their first ports. It may
    /// lie just past the valid ones.
    fn next_port(&self, busy: impl Fn(Port) -> bool) -> Result<Port, Errno> {
        if self.dying {
            return Err(Errno::EINVAL);
        }
        let mut entries = self.entries.iter().enumerate();
        let free = entries.find(|(port, entry)| entry.channel == Channel::Free && !busy(*port as Port));
        let port = free.map_or(self.entries.len(), |(port, _)| port) as Port;
        if port > self.port_max || port >= self.form.ports_max() { Err(Errno::ENOSPC) } else { Ok(port) }
    }

    fn free_port(&mut self, busy: impl Fn(&Form, Port) -> bool) -> Result<Port, Errno> {
        let port = self.next_port(|port| busy(&self.form, port))?;
        if port as usize == self.entries.len() {
            let len = self.entries.len() + GROUP;
            self.entries.try_reserve(GROUP).map_err(|_| Errno::ENOMEM)?;
            self.form.reserve(len)?;
            self.entries.resize(len, Entry::FREE);
        }
        Ok(port)
    }
}

/// EVTCHNOP_bind_interdomain: connects a new port of `local` to an unbound one of `remote` (`None`: of `local`
/// itself). The new port is raised, because events sent to the unbound one were lost. A domain that dies has no
/// ports to offer any more, whatever its table still says.
pub fn bind_interdomain(
    local: &mut PortTable,
    bits: &impl SharedBits,
    remote: Option<&mut PortTable>,
    remote_port: Port,
) -> Result<(Port, Raised), Errno> {
    let accepts = Channel::Unbound { remote: local.domain };
    let remote_domain = remote.as_deref().map_or(local.domain, PortTable::domain);
    // Xen allocates first: a full table is reported before a bad peer.
    let port = local.free_port(|form, port| form.is_busy(bits, port))?;
    let peer_table = remote.as_deref().unwrap_or(local);
    let peer = peer_table.entry(remote_port)?;
    if peer.channel != accepts || peer_table.dying {
        return Err(Errno::EINVAL);
    }
    let channel = Channel::Interdomain { remote: remote_domain, port: remote_port };
    local.occupy(port, Entry { channel, vcpu: 0 });
    let back = Channel::Interdomain { remote: local.domain, port };
    let peer_table = match remote {
        Some(table) => table,
        None => &mut *local,
    };
    peer_table.entries[remote_port as usize].channel = back;
    Ok((port, local.form.set_pending(bits, port, 0)))
}

/// Whether a VIRQ belongs to the domain rather than to each vcpu.
pub(super) fn is_global(virq: u32) -> bool {
    !virq_is_per_vcpu(virq)
}
