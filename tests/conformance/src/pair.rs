//! Two domains that run the same case at the same time, and the page by which they keep in step.
//!
//! The left lends the page to the right by the first free grant reference, so a hypervisor must have grants before a pair
//! can try anything. Each side has a word that counts its messages and one for the latest of them; nobody waits for ever.

use core::sync::atomic::{AtomicU64, Ordering};

use pv_probe::boot::option;
use pv_probe::grants;
use pv_probe::hypercall::yield_now;
use pv_probe::memory::{DATA, NX, WINDOW, l1_for, map_new, mfn};

use crate::case::Stop;

/// The side that a domain plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// There is one domain.
    Alone,
    /// The one that lends the page.
    Left,
    /// The one that takes it.
    Right,
}

impl Side {
    /// What stands before the names of values that it observes.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Alone => "",
            Self::Left => "left.",
            Self::Right => "right.",
        }
    }

    /// Whether it is the left one.
    #[must_use]
    pub const fn is_left(self) -> bool {
        matches!(self, Self::Left)
    }
}

/// Where the page is mapped, on both sides.
const ADDRESS: u64 = WINDOW + 0x2000_0000;

/// Times that the processor is given away before the other is taken for dead: about a minute.
const PATIENCE: u32 = 1_000_000;

/// The page's address, 0 until it is there.
static PAGE: AtomicU64 = AtomicU64::new(0);

/// This side's count of messages sent and received.
static SENT: AtomicU64 = AtomicU64::new(0);
static RECEIVED: AtomicU64 = AtomicU64::new(0);

/// The other domain's number, from the command line.
#[must_use]
pub fn peer() -> u16 {
    option("peer").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Makes the page and lends it, or takes it.
///
/// # Errors
/// When the other side does not come.
pub fn connect(side: Side) -> Result<(), Stop> {
    grants::prepare();
    match side {
        Side::Alone => return Ok(()),
        Side::Left => {
            let pfn = map_new(ADDRESS, DATA | NX);
            grants::permit(grants::FIRST, peer(), mfn(pfn), false);
        }
        Side::Right => {
            l1_for(ADDRESS);
            let mut status = -1;
            for _ in 0..PATIENCE {
                status = grants::map_reference(peer(), grants::FIRST, ADDRESS, 0).status;
                if status == 0 {
                    break;
                }
                yield_now();
            }
            if status != 0 {
                return Err(Stop::Error("the other side lends no page", status.into()));
            }
        }
    }
    PAGE.store(ADDRESS, Ordering::Relaxed);
    meet(side)
}

/// A word of the page: of each side the count, then the latest message.
fn word(side: Side, index: usize) -> &'static AtomicU64 {
    let place = if side.is_left() { index } else { 8 + index };
    let page = PAGE.load(Ordering::Relaxed);
    assert!(page != 0, "no other side");
    // SAFETY: the page is mapped for good, and both sides reach it by atomics alone.
    unsafe { &*((page as *const AtomicU64).add(place)) }
}

const fn other(side: Side) -> Side {
    if side.is_left() { Side::Right } else { Side::Left }
}

/// Sends a number; the other side receives in the same order.
///
/// # Errors
/// When the other side does not take what it was sent before.
pub fn send(side: Side, message: u64) -> Result<(), Stop> {
    let sent = SENT.load(Ordering::Relaxed);
    wait("the other side takes nothing", || word(other(side), 2).load(Ordering::SeqCst) == sent)?;
    word(side, 1).store(message, Ordering::SeqCst);
    word(side, 0).store(sent + 1, Ordering::SeqCst);
    SENT.store(sent + 1, Ordering::Relaxed);
    Ok(())
}

/// Receives a number.
///
/// # Errors
/// When the other side sends none.
pub fn receive(side: Side) -> Result<u64, Stop> {
    let received = RECEIVED.load(Ordering::Relaxed);
    wait("the other side sends nothing", || word(other(side), 0).load(Ordering::SeqCst) > received)?;
    let message = word(other(side), 1).load(Ordering::SeqCst);
    RECEIVED.store(received + 1, Ordering::Relaxed);
    word(side, 2).store(received + 1, Ordering::SeqCst);
    Ok(message)
}

/// Waits until both sides are here.
///
/// # Errors
/// When the other side does not come.
pub fn meet(side: Side) -> Result<(), Stop> {
    send(side, 0)?;
    receive(side).map(|_| ())
}

fn wait(what: &'static str, mut done: impl FnMut() -> bool) -> Result<(), Stop> {
    for _ in 0..PATIENCE {
        if done() {
            return Ok(());
        }
        yield_now();
    }
    Err(Stop::Error(what, 0))
}
