//! Events in the FIFO form (event_channel.h, `evtchn_fifo_control_block`; `EVTCHNOP_init_control`, `EVTCHNOP_expand_array`).
//!
//! Each port has a word of 32 bits: pending, masked, linked, busy, and the next port of its queue. A vcpu's control block has
//! a queue for each of 16 priorities: its first port, and a bit that says there is one. An event that comes sets the pending
//! bit; unless it is masked or linked, the port is linked behind the last one of its queue, and when the queue was empty its
//! bit is set and the vcpu told. The kernel takes ports off: it clears the linked bit and the link. Masking by the word's bit
//! holds events back; `EVTCHNOP_unmask` lets one go that is pending.
//!
//! An event that was pending in the 2-level form is not lost: it is raised when the page with its port's word comes. A closed
//! port is not given away while its word is linked.

use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHN_FIFO_LINKED, EVTCHN_FIFO_MASKED, EVTCHN_FIFO_PENDING, EVTCHNOP_EXPAND_ARRAY,
    EVTCHNOP_INIT_CONTROL, EVTCHNOP_SET_PRIORITY, EvtchnExpandArray, EvtchnInitControl, EvtchnSetPriority,
};
use pv_probe::boot::start;
use pv_probe::events::{self, Made, call};
use pv_probe::memory::{mfn, peek, poke, take};

use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::tables::pinnable;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "fifo-events",
    &[
        Case::good("queued", "an event puts its port at the head of its queue, and tells the vcpu", queued),
        Case::good("linked", "the next event's port is linked behind it", linked),
        Case::good("again", "an event that is pending already changes nothing", again),
        Case::good("priorities", "each priority has a queue of its own", priorities),
        Case::good("masked", "an event for a masked port is pending and no more", masked),
        Case::good("unmasked", "unmasking lets an event go that is pending, and only then", unmasked),
        Case::good("taken-off", "a queue that the kernel has emptied begins anew", taken_off),
        Case::good("moved", "another priority counts from the next event on", moved),
        Case::good("held", "what was pending in the 2-level form comes with the words", held),
        Case::good("closed", "a closed port is not pending, and nobody's while it is linked", closed),
        Case::good("let-go", "the pages are the domain's own again after a reset", let_go),
    ],
);

/// The priority of a port for which none was chosen.
const DEFAULT: u32 = 7;

const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;

/// The frames of vcpu 0's control block and of the first event words.
struct Fifo {
    control: u64,
    array: u64,
}

fn half(frame: u64, index: usize) -> u32 {
    (peek(frame, index / 2) >> (index % 2 * 32)) as u32
}

fn set_half(frame: u64, index: usize, value: u32) {
    let shift = index % 2 * 32;
    let others = peek(frame, index / 2) & !(0xffff_ffff << shift);
    poke(frame, index / 2, others | u64::from(value) << shift);
}

impl Fifo {
    /// Changes the domain to the FIFO form. The ports of console and xenstore are masked, so that nothing comes by itself.
    fn start(t: &mut Trial) -> Result<Self, Stop> {
        events::settle();
        let fifo = Self { control: mfn(take()), array: mfn(take()) };
        let mut request = EvtchnInitControl { control_gfn: fifo.control, ..Default::default() };
        t.need("init_control", call(EVTCHNOP_INIT_CONTROL, &mut request))?;
        fifo.expand(t)?;
        Ok(fifo)
    }

    fn expand(&self, t: &mut Trial) -> Verdict {
        let info = &start().info;
        for port in [info.store_evtchn, info.console_evtchn] {
            self.set_word(port, MASKED);
        }
        let mut request = EvtchnExpandArray { array_gfn: self.array };
        t.need("expand_array", call(EVTCHNOP_EXPAND_ARRAY, &mut request))
    }

    /// Back to the 2-level form.
    fn end(t: &mut Trial) -> Verdict {
        let reset = t.need("reset", events::reset());
        events::settle();
        reset
    }

    fn word(&self, port: u32) -> u32 {
        half(self.array, port as usize)
    }

    fn set_word(&self, port: u32, value: u32) {
        set_half(self.array, port as usize, value);
    }

    fn ready(&self) -> u32 {
        half(self.control, 0)
    }

    fn head(&self, priority: u32) -> u32 {
        half(self.control, 2 + priority as usize)
    }

    /// Takes everything off a queue, as a kernel does.
    fn take_all(&self, priority: u32) {
        set_half(self.control, 0, self.ready() & !(1 << priority));
        let mut port = self.head(priority);
        while port != 0 {
            let next = self.word(port) & !(PENDING | MASKED | LINKED);
            self.set_word(port, 0);
            port = next;
        }
        set_half(self.control, 2 + priority as usize, 0);
        events::acknowledge(0);
    }
}

fn set_priority(port: u32, priority: u32) -> i64 {
    call(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port, priority })
}

fn got(made: Made) -> Result<u32, Stop> {
    made.map_err(|error| Stop::Error("a port", error))
}

/// A port of vcpu 0's own, of this priority.
fn port(t: &mut Trial, priority: u32) -> Result<u32, Stop> {
    let port = got(events::bind_ipi(0))?;
    t.need("set_priority", set_priority(port, priority))?;
    Ok(port)
}

fn queued(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    let port = port(t, 3)?;
    t.equal("word-before", fifo.word(port).into(), 0);
    t.succeeds("send", events::send(port));
    t.equal("word", fifo.word(port).into(), (PENDING | LINKED).into());
    t.equal("ready", fifo.ready().into(), 1 << 3);
    t.holds("head", fifo.head(3) == port);
    t.holds("told", events::is_upcall_pending(0));
    t.holds("no-bit", !events::is_pending(port));
    Fifo::end(t)
}

fn linked(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    let ports = [port(t, 3)?, port(t, 3)?, port(t, 3)?];
    for port in ports {
        t.succeeds("send", events::send(port));
    }
    t.holds("head", fifo.head(3) == ports[0]);
    t.holds("first", fifo.word(ports[0]) == PENDING | LINKED | ports[1]);
    t.holds("second", fifo.word(ports[1]) == PENDING | LINKED | ports[2]);
    t.equal("last", fifo.word(ports[2]).into(), (PENDING | LINKED).into());
    t.equal("ready", fifo.ready().into(), 1 << 3);
    Fifo::end(t)
}

fn again(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    let ports = [port(t, 3)?, port(t, 3)?];
    for port in ports {
        t.succeeds("send", events::send(port));
    }
    events::acknowledge(0);
    t.succeeds("again", events::send(ports[0]));
    t.holds("head", fifo.head(3) == ports[0]);
    t.holds("word", fifo.word(ports[0]) == PENDING | LINKED | ports[1]);
    t.equal("last", fifo.word(ports[1]).into(), (PENDING | LINKED).into());
    t.holds("not-told", !events::is_upcall_pending(0));
    Fifo::end(t)
}

fn priorities(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    let ports = [(0, port(t, 0)?), (6, port(t, 6)?), (15, port(t, 15)?)];
    for (_, port) in ports {
        t.succeeds("send", events::send(port));
    }
    t.equal("ready", fifo.ready().into(), 1 | 1 << 6 | 1 << 15);
    for (priority, port) in ports {
        t.holds(format_args!("head.{priority}"), fifo.head(priority) == port);
        t.equal(format_args!("word.{priority}"), fifo.word(port).into(), (PENDING | LINKED).into());
    }
    Fifo::end(t)
}

fn masked(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    let port = port(t, 3)?;
    fifo.set_word(port, MASKED);
    t.succeeds("send", events::send(port));
    t.equal("word", fifo.word(port).into(), (PENDING | MASKED).into());
    t.equal("ready", fifo.ready().into(), 0);
    t.holds("not-told", !events::is_upcall_pending(0));
    Fifo::end(t)
}

fn unmasked(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    let port = port(t, 3)?;
    fifo.set_word(port, MASKED);
    t.succeeds("nothing", events::unmask(port));
    t.equal("nothing.word", fifo.word(port).into(), 0);
    t.equal("nothing.ready", fifo.ready().into(), 0);
    fifo.set_word(port, MASKED);
    t.succeeds("send", events::send(port));
    t.succeeds("unmask", events::unmask(port));
    t.equal("word", fifo.word(port).into(), (PENDING | LINKED).into());
    t.equal("ready", fifo.ready().into(), 1 << 3);
    t.holds("head", fifo.head(3) == port);
    t.holds("told", events::is_upcall_pending(0));
    Fifo::end(t)
}

fn taken_off(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    let ports = [port(t, 3)?, port(t, 3)?];
    for port in ports {
        t.succeeds("send", events::send(port));
    }
    fifo.take_all(3);
    t.succeeds("second", events::send(ports[1]));
    t.holds("head", fifo.head(3) == ports[1]);
    t.equal("ready", fifo.ready().into(), 1 << 3);
    t.holds("told", events::is_upcall_pending(0));
    t.succeeds("first", events::send(ports[0]));
    t.holds("link", fifo.word(ports[1]) == PENDING | LINKED | ports[0]);
    t.equal("last", fifo.word(ports[0]).into(), (PENDING | LINKED).into());
    Fifo::end(t)
}

fn moved(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    let port = port(t, 3)?;
    t.succeeds("send", events::send(port));
    t.succeeds("set_priority", set_priority(port, 5));
    t.holds("stays", fifo.head(3) == port && fifo.head(5) == 0);
    fifo.take_all(3);
    t.succeeds("again", events::send(port));
    t.equal("ready", fifo.ready().into(), 1 << 5);
    t.holds("head", fifo.head(5) == port && fifo.head(3) == 0);
    Fifo::end(t)
}

fn held(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got(events::bind_ipi(0))?;
    events::set_mask(port, true);
    t.succeeds("send", events::send(port));
    t.holds("bit", events::is_pending(port));
    let fifo = Fifo { control: mfn(take()), array: mfn(take()) };
    let mut request = EvtchnInitControl { control_gfn: fifo.control, ..Default::default() };
    t.need("init_control", call(EVTCHNOP_INIT_CONTROL, &mut request))?;
    t.equal("nothing-yet", fifo.ready().into(), 0);
    fifo.expand(t)?;
    t.equal("word", fifo.word(port).into(), (PENDING | LINKED).into());
    t.equal("ready", fifo.ready().into(), 1 << DEFAULT);
    t.holds("head", fifo.head(DEFAULT) == port);
    t.holds("told", events::is_upcall_pending(0));
    let end = Fifo::end(t);
    events::set_mask(port, false);
    end
}

fn closed(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    let port = port(t, 3)?;
    t.succeeds("send", events::send(port));
    t.succeeds("close", events::close(port));
    t.equal("word", fifo.word(port).into(), LINKED.into());
    let other = got(events::bind_ipi(0))?;
    t.holds("another-number", other != port);
    fifo.take_all(3);
    let same = got(events::bind_ipi(0))?;
    t.holds("the-number-again", same == port);
    t.equal("nothing-pending", fifo.word(same).into(), 0);
    Fifo::end(t)
}

fn let_go(t: &mut Trial) -> Verdict {
    let fifo = Fifo::start(t)?;
    t.fails("block-held", pinnable(fifo.control), Errno::EINVAL);
    t.fails("words-held", pinnable(fifo.array), Errno::EINVAL);
    let end = Fifo::end(t);
    for frame in [fifo.control, fifo.array] {
        (0..512).for_each(|index| poke(frame, index, 0));
    }
    t.succeeds("block", pinnable(fifo.control));
    t.succeeds("words", pinnable(fifo.array));
    end
}
