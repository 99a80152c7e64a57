//! The side that uses what is lent.

use core::sync::atomic::Ordering;

use alloc::vec::Vec;
use paravane_abi::event::{EVTCHNOP_BIND_INTERDOMAIN, EvtchnBindInterdomain};
use pv_guest_logic::flow::{Control, Digest, MAGIC, Signal, WORDS};

use super::{CONTROL, Moved, Peer, SLOTS, Trouble, control, peer, wait_ns};
use crate::event;
use crate::grant::Gref;
use crate::grant::foreign::{MAX_COPIES, Mapped, copy};
use crate::mm::addr::Pfn;
use crate::mm::frames;
use crate::mm::place::Place;

#[unsafe(link_section = ".bss.page")]
static CONTROL_PLACE: Place<1> = Place::new();
#[unsafe(link_section = ".bss.page")]
static SLOT_PLACES: Place<{ SLOTS as usize }> = Place::new();

/// Tries a hundredth of a second apart: the other domain may still be booting.
const TRIES: u32 = 6000;

fn empty<const N: usize>(place: &Place<N>) -> Result<(), Trouble> {
    (0..N).try_for_each(|index| place.clear(index)).map_err(|refused| Trouble::Event(refused.0))
}

/// The shared page, once the other domain lends it and has filled it.
fn find(peer: u16) -> Result<(Mapped, &'static Control), Trouble> {
    empty(&CONTROL_PLACE)?;
    let mut latest = Trouble::Word("never tried");
    for _ in 0..TRIES {
        match Mapped::new(peer, CONTROL, CONTROL_PLACE.page(0), true) {
            Ok(mapped) => {
                // SAFETY: unmapped by `run` after its last use.
                let control = unsafe { control(mapped.address()) };
                for _ in 0..TRIES {
                    if control.magic.load(Ordering::Acquire) == MAGIC {
                        return Ok((mapped, control));
                    }
                    wait_ns(10_000_000);
                }
                return Err(Trouble::Word("the shared page stays empty"));
            }
            Err(failed) => latest = failed.into(),
        }
        wait_ns(10_000_000);
    }
    Err(latest)
}

/// Adds the words of a page to a digest.
fn read(address: u64, digest: &mut Digest) {
    let words = address as *const u64;
    for index in 0..WORDS {
        // SAFETY: the page is mapped; its owner may write it meanwhile, hence volatile.
        digest.add(unsafe { words.add(index).read_volatile() });
    }
}

struct Ring {
    peer: u16,
    first: u32,
    mapped: Vec<Mapped>,
    /// Where copies go.
    own: Vec<Pfn>,
    /// The first page that is copied and not read in place.
    copied_from: u64,
    digest: Digest,
}

impl Ring {
    fn new(peer: u16, first: u32, total: u64) -> Result<Self, Trouble> {
        empty(&SLOT_PLACES)?;
        let map = |slot: u32| {
            Mapped::new(peer, Gref(first + slot), SLOT_PLACES.page(slot as usize), false)
                .map_err(Trouble::from)
        };
        let mapped = (0..SLOTS).map(map).collect::<Result<_, _>>()?;
        let frame = |_| frames::alloc().ok_or(Trouble::Word("no frame is free"));
        let own = (0..MAX_COPIES).map(frame).collect::<Result<_, _>>()?;
        Ok(Self { peer, first, mapped, own, copied_from: total / 2, digest: Digest::new() })
    }

    fn take(&mut self, first: u64, count: u64) -> Result<(), Trouble> {
        let slot = |page: u64| (page % u64::from(SLOTS)) as u32;
        let pages = first..first + count;
        let in_place = pages.clone().take_while(|&page| page < self.copied_from);
        for page in in_place {
            read(self.mapped[slot(page) as usize].address(), &mut self.digest);
        }
        let rest = pages.start.max(self.copied_from)..pages.end;
        if rest.is_empty() {
            return Ok(());
        }
        let pairs = rest.clone().zip(&self.own).map(|(page, &pfn)| (Gref(self.first + slot(page)), pfn));
        copy(self.peer, pairs)?;
        for (_, pfn) in rest.zip(&self.own) {
            read(pfn.direct(), &mut self.digest);
        }
        Ok(())
    }
}

pub(super) fn run() -> Result<Moved, Trouble> {
    let peer = peer()?;
    let (page, control) = find(peer)?;
    if control.slots.load(Ordering::Relaxed) != SLOTS {
        return Err(Trouble::Word("the other side has another number of slots"));
    }
    let total = control.total.load(Ordering::Relaxed);
    let remote_port = control.port.load(Ordering::Relaxed);
    let mut bind = EvtchnBindInterdomain { remote_dom: peer, remote_port, ..Default::default() };
    event::call(EVTCHNOP_BIND_INTERDOMAIN, &mut bind).map_err(|refused| Trouble::Event(refused.0))?;
    let signal = Peer::new(bind.local_port);
    let mut ring = Ring::new(peer, control.first_gref.load(Ordering::Relaxed), total)?;
    let taken = control.consume(&signal, MAX_COPIES as u64, |first, count| ring.take(first, count))?;
    taken?;
    // The producer's digest follows its last page.
    let mut theirs = 0;
    for _ in 0..TRIES {
        theirs = control.digest.load(Ordering::SeqCst);
        if theirs != 0 {
            break;
        }
        wait_ns(1_000_000);
    }
    let agree = theirs == ring.digest.0;
    control.verdict.store(if agree { 1 } else { 2 }, Ordering::SeqCst);
    signal.notify();
    let digest = ring.digest.0;
    ring.mapped.into_iter().try_for_each(Mapped::unmap)?;
    page.unmap()?;
    if agree {
        Ok(Moved { pages: total, digest, events: signal.sent.get() })
    } else {
        Err(Trouble::Word("the other side has another digest"))
    }
}
