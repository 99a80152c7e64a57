//! Where a guest has its queues: control blocks, pages of event words, and the change from the two-level form.

use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::event::fifo::{MAX_ARRAY_PAGES, MAX_CONTROL_OFFSET, WORDS_PER_PAGE};

use super::{Fifo, QUEUES, QueueId, Queues};
use crate::addr::Mfn;
use crate::event::bits::{Raised, SharedBits};
use crate::event::form::Form;
use crate::event::table::Entry;
use crate::event::words::Place;
use crate::event::{Port, PortTable, TWO_LEVEL_PORTS, VcpuId};

impl Fifo {
    /// Queues for so many vcpus, none of which has a control block, without a page of event words.
    fn new(vcpus: usize, ports: usize) -> Result<Self, Errno> {
        let mut queues = Vec::new();
        queues.try_reserve(vcpus).map_err(|_| Errno::ENOMEM)?;
        queues.resize(vcpus, Queues::default());
        let mut fifo = Self { vcpus: queues, array: Vec::new(), ports: Vec::new() };
        fifo.reserve(ports)?;
        Ok(fifo)
    }

    /// All frames that are held.
    fn frames(&self) -> impl Iterator<Item = Mfn> + '_ {
        let controls = self.vcpus.iter().filter_map(|queues| queues.control);
        controls.map(|place| place.frame).chain(self.array.iter().copied())
    }

    /// Checks what is remembered against itself and the ports; where it is wrong, and how.
    pub(in crate::event) fn audit(
        &self,
        vcpus: usize,
        entries: &[Entry],
    ) -> Result<(), (usize, &'static str)> {
        if self.vcpus.len() != vcpus {
            return Err((0, "not every vcpu has queues"));
        }
        if self.ports.len() != entries.len() {
            return Err((0, "not every port has a priority"));
        }
        if self.array.len() > MAX_ARRAY_PAGES as usize {
            return Err((0, "there are more event words than ports"));
        }
        for (port, state) in self.ports.iter().enumerate() {
            let priority = usize::from(state.priority.max(state.last.priority));
            if priority >= QUEUES || state.last.vcpu as usize >= vcpus {
                return Err((port, "the port has a queue that does not exist"));
            }
            if state.held && (self.word(port as Port).is_some() || !entries[port].is_bound()) {
                return Err((port, "an event is held back for no reason"));
            }
        }
        for (vcpu, queues) in self.vcpus.iter().enumerate() {
            for (priority, &tail) in queues.tails.iter().enumerate().filter(|(_, tail)| **tail != 0) {
                let queue = QueueId { vcpu: vcpu as VcpuId, priority: priority as u8 };
                let known = self.ports.get(tail as usize).is_some_and(|state| state.last == queue);
                if !known || self.word(tail).is_none() {
                    return Err((tail as usize, "a queue ends in a port that was not put there"));
                }
            }
        }
        Ok(())
    }
}

impl PortTable {
    /// Whether a vcpu may have a control block at an offset (in bytes) of some page; all that can be said before
    /// the page is looked at. ENOENT: no such vcpu. EINVAL: the block would cross the page's end or is not aligned to
    /// 8 bytes, or the vcpu has one.
    pub fn check_control(&self, vcpu: VcpuId, offset: u32) -> Result<(), Errno> {
        self.check_vcpu(vcpu)?;
        let has_one = match &self.form {
            Form::TwoLevel => false,
            Form::Fifo(fifo) => fifo.vcpus[vcpu as usize].control.is_some(),
        };
        if offset > MAX_CONTROL_OFFSET || !offset.is_multiple_of(8) || has_one {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// EVTCHNOP_init_control: a vcpu's queue heads are at a place, whose frame is held from now on. The domain's first
    /// changes it to the FIFO form: what is pending in the bitmaps waits until the page with its port's word comes.
    pub fn init_control(&mut self, bits: &impl SharedBits, vcpu: VcpuId, place: Place) -> Result<(), Errno> {
        self.check_control(vcpu, place.offset as u32)?;
        if let Form::TwoLevel = self.form {
            let mut fifo = Fifo::new(self.virqs.len(), self.entries.len())?;
            for (port, _) in self.entries.iter().enumerate().filter(|(_, entry)| entry.is_bound()) {
                fifo.ports[port].held = bits.is_pending(port as Port);
            }
            self.form = Form::Fifo(fifo);
        }
        if let Form::Fifo(fifo) = &mut self.form {
            fifo.vcpus[vcpu as usize].control = Some(place);
        }
        Ok(())
    }

    /// Whether another page of event words may come: EOPNOTSUPP in the two-level form, ENOSPC after the last.
    pub fn check_array(&self) -> Result<(), Errno> {
        match &self.form {
            Form::TwoLevel => Err(Errno::EOPNOTSUPP),
            Form::Fifo(fifo) if fifo.array.len() >= MAX_ARRAY_PAGES as usize => Err(Errno::ENOSPC),
            Form::Fifo(_) => Ok(()),
        }
    }

    /// EVTCHNOP_expand_array: a frame has the words of the next ports, and is held from now on. Returns the first of
    /// these ports; [`Self::raise_held`] then lets the events go that waited for them.
    pub fn expand_array(&mut self, frame: Mfn) -> Result<Port, Errno> {
        self.check_array()?;
        let Form::Fifo(fifo) = &mut self.form else { return Err(Errno::EOPNOTSUPP) };
        let first = fifo.array.len() as Port * WORDS_PER_PAGE;
        fifo.array.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        fifo.array.push(frame);
        Ok(first)
    }

    /// Raises the lowest port from `from` on whose event waited for its word and need not any more.
    pub fn raise_held(&mut self, bits: &impl SharedBits, from: Port) -> Option<Raised> {
        let Form::Fifo(fifo) = &mut self.form else { return None };
        let mut waiting = fifo.ports.iter().enumerate().skip(from as usize);
        let port = waiting.find(|(_, state)| state.held)?.0 as Port;
        fifo.word(port)?;
        fifo.ports[port as usize].held = false;
        Some(fifo.set_pending(bits, port, self.entries[port as usize].vcpu))
    }

    /// The frames of control blocks and event words, each held by a reference and a use as writable.
    pub fn held_frames(&self) -> impl Iterator<Item = Mfn> + '_ {
        let fifo = match &self.form {
            Form::TwoLevel => None,
            Form::Fifo(fifo) => Some(fifo),
        };
        fifo.into_iter().flat_map(Fifo::frames)
    }

    /// Goes back to the two-level form. Nobody has looked at its bits since it was left: one from then, of a port or a
    /// selector, would swallow the first event that comes through it. The frames are the caller's to give back.
    pub(in crate::event) fn leave_fifo(&mut self, bits: &impl SharedBits) -> Vec<Mfn> {
        if let Form::TwoLevel = self.form {
            return Vec::new();
        }
        let frames = self.held_frames().collect();
        self.form = Form::TwoLevel;
        for port in 1..TWO_LEVEL_PORTS.min(self.entries.len() as Port) {
            bits.clear_pending(port);
        }
        for vcpu in 0..self.virqs.len() as VcpuId {
            bits.clear_selector(vcpu);
        }
        frames
    }
}
