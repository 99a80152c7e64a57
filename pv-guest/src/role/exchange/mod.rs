//! Two domains move a gigabyte from one to the other, through grants and events, and compare digests.
//!
//! `role=exchange-a peer=N` produces and lends, `role=exchange-b peer=N` consumes; `N` is the other's domid. All that the
//! consumer must know besides is that the shared page is the producer's grant [`CONTROL`], the first that is not reserved: port and
//! further grants stand in that page. The first half of the pages is read where the slots are mapped, the second half is
//! copied by the hypervisor. `mib=` sets the amount, `grants=` the producer's table version.

mod consumer;
mod producer;

use core::cell::Cell;
use core::fmt;

use paravane_abi::grant::GNTTAB_NR_RESERVED_ENTRIES;
use pv_guest_logic::flow::{Broken, Control, Signal};
use pv_guest_logic::options;
use pv_guest_logic::role::Role;

use super::{NS_PER_S, report};
use crate::boot;
use crate::cpu_ops::machine;
use crate::event::{self, Port};
use crate::grant::{Failed, Gref};
use crate::mm::addr::PAGE;
use crate::time::monotonic_ns;

/// The grant of the shared page.
const CONTROL: Gref = Gref(GNTTAB_NR_RESERVED_ENTRIES);
/// Slots in the ring.
const SLOTS: u32 = 32;

/// Why it went wrong.
enum Trouble {
    Grant(Failed),
    Event(i64),
    Flow(Broken),
    Word(&'static str),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(failed) => write!(f, "{failed}"),
            Self::Event(code) => write!(f, "an event channel or a mapping is refused with {code}"),
            Self::Flow(Broken::Stalled) => write!(f, "the other side does nothing"),
            Self::Flow(Broken::Nonsense) => write!(f, "the other side writes nonsense"),
            Self::Word(words) => write!(f, "{words}"),
        }
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        Self::Grant(failed)
    }
}

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Self {
        Self::Flow(broken)
    }
}

/// The other domain, by an event channel.
struct Peer {
    port: Port,
    sent: Cell<u64>,
}

impl Peer {
    fn new(port: u32) -> Self {
        event::handle(Port(port), || ());
        Self { port: Port(port), sent: Cell::new(0) }
    }
}

/// Blocks until an event comes, or until some time has passed.
fn wait_ns(ns: u64) {
    machine().set_timer(Some(monotonic_ns() + ns));
    machine().idle();
}

impl Signal for Peer {
    fn notify(&self) {
        self.sent.set(self.sent.get() + 1);
        event::notify(self.port);
    }

    fn wait(&self) {
        wait_ns(NS_PER_S);
    }
}

/// The other domain's number.
fn peer() -> Result<u16, Trouble> {
    options::number(boot::cmdline(), "peer")
        .and_then(|peer| u16::try_from(peer).ok())
        .ok_or(Trouble::Word("peer= names no domain"))
}

/// What a side found: pages, digest, events sent.
struct Moved {
    pages: u64,
    digest: u64,
    events: u64,
}

fn tell(role: Role, outcome: Result<Moved, Trouble>) {
    match outcome {
        Ok(Moved { pages, digest, events }) => report(
            role,
            true,
            format_args!(
                "{} KiB, digest {digest:016x} at both ends, {events} events sent",
                pages * (PAGE / 1024)
            ),
        ),
        Err(trouble) => report(role, false, format_args!("{trouble}")),
    }
}

/// The lending side.
pub fn produce() {
    tell(Role::ExchangeA, producer::run());
}

/// The using side.
pub fn consume() {
    tell(Role::ExchangeB, consumer::run());
}

/// The shared page at an address.
///
/// # Safety
/// The page stays mapped for writing as long as the reference is used; all accesses are atomic.
unsafe fn control(address: u64) -> &'static Control {
    // SAFETY: as the caller says; any bytes are a valid `Control`.
    unsafe { &*(address as *const Control) }
}
