//! Putting a port at the end of a queue whose beginning the guest takes off at the same time.

use core::mem::offset_of;

use paravane_abi::event::fifo::EventWord;
use paravane_abi::event::{EVTCHN_FIFO_BUSY, EvtchnFifoControlBlock};

use super::{Fifo, QueueId};
use crate::event::bits::SharedBits;
use crate::event::words::{GuestWords, Place};
use crate::event::{Port, VcpuId};

/// How often setting a link is tried once the word is marked busy. An honest guest can then change it four times:
/// mask it, unmask it if it had begun to, clear the pending bit, take it off.
const LINK_TRIES: u32 = 4;

impl Fifo {
    /// Appends a port, whose linked bit has just been set, to its queue of a vcpu. Returns the vcpu if its pending
    /// flag was clear before.
    pub(super) fn enqueue(
        &mut self,
        bits: &impl SharedBits,
        control: Place,
        port: Port,
        vcpu: VcpuId,
    ) -> Option<VcpuId> {
        let state = &mut self.ports[port as usize];
        let queue = QueueId { vcpu, priority: state.priority };
        let last = core::mem::replace(&mut state.last, queue);
        // The tail of its last queue, it had been taken off: that queue is empty. Now the word looks linked again,
        // and what is put on the old queue next must not follow it into the new one.
        let old_tail = self.tail(last);
        if *old_tail == port {
            *old_tail = 0;
        }
        let tail = core::mem::replace(self.tail(queue), port);
        let appended = tail != 0 && self.word(tail).is_some_and(|word| set_link(bits, word, port));
        if appended {
            return None;
        }
        let head = offset_of!(EvtchnFifoControlBlock, head) + usize::from(queue.priority) * size_of::<u32>();
        bits.store32(control.plus(head), port);
        let ready = control.plus(offset_of!(EvtchnFifoControlBlock, ready));
        let was_ready = bits.set_bit(ready, queue.priority.into());
        (!was_ready && !bits.test_and_set_upcall(vcpu)).then_some(vcpu)
    }

    fn tail(&mut self, queue: QueueId) -> &mut Port {
        &mut self.vcpus[queue.vcpu as usize].tails[usize::from(queue.priority)]
    }
}

/// Makes the tail of a queue name the port after it. `false`: the tail has been taken off, so the queue is empty.
///
/// When the first try fails, the busy bit keeps the guest from clearing the mask, the one change it could make again
/// and again. If the word goes on changing even so, the port counts as appended: the guest broke the rule, and the
/// event is lost to it.
fn set_link(bits: &impl GuestWords, word: Place, port: Port) -> bool {
    if let Some(result) = try_link(bits, word, port) {
        return result;
    }
    bits.set_bit(word, EVTCHN_FIFO_BUSY);
    let result = (0..LINK_TRIES).find_map(|_| try_link(bits, word, port));
    if result != Some(true) {
        bits.clear_bit(word, EVTCHN_FIFO_BUSY);
    }
    result.unwrap_or(true)
}

/// One try; it clears the busy bit when it succeeds. [`None`]: the word changed meanwhile.
fn try_link(bits: &impl GuestWords, word: Place, port: Port) -> Option<bool> {
    let old = EventWord(bits.load32(word));
    if !old.is_linked() {
        return Some(false);
    }
    bits.compare_exchange32(word, old.0, old.linked_to(port).0).ok().map(|()| true)
}
