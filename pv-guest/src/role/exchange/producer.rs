//! The side that lends.

use core::sync::atomic::Ordering;

use alloc::vec::Vec;
use paravane_abi::event::{EVTCHNOP_ALLOC_UNBOUND, EvtchnAllocUnbound};
use paravane_abi::mmu::DOMID_SELF;
use pv_guest_logic::flow::{Digest, MAGIC, content};
use pv_guest_logic::options;

use super::{CONTROL, Moved, Peer, SLOTS, Trouble, control, peer, wait_ns};
use crate::boot;
use crate::event;
use crate::grant::{Gref, Table};
use crate::mm::addr::{PAGE, Pfn};
use crate::mm::frames;

/// Pages in a MiB.
const PAGES_PER_MIB: u64 = (1 << 20) / PAGE;

fn frame() -> Result<Pfn, Trouble> {
    frames::alloc_zeroed().ok_or(Trouble::Word("no frame is free"))
}

/// Writes a page's content into a frame.
fn fill(pfn: Pfn, page: u64, digest: &mut Digest) {
    let words = pfn.bytes().cast::<u64>();
    for (index, word) in content(page).enumerate() {
        digest.add(word);
        // SAFETY: a word of this kernel's own frame, which the other domain only reads; it may do so meanwhile.
        unsafe { words.add(index).write_volatile(word) };
    }
}

pub(super) fn run() -> Result<Moved, Trouble> {
    let peer = peer()?;
    let total = options::number(boot::cmdline(), "mib").unwrap_or(1024) * PAGES_PER_MIB;
    let version = options::number(boot::cmdline(), "grants").unwrap_or(1);
    let mut table = Table::open(version as u32)?;
    let mut port = EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: peer, port: 0 };
    event::call(EVTCHNOP_ALLOC_UNBOUND, &mut port).map_err(|refused| Trouble::Event(refused.0))?;
    let signal = Peer::new(port.port);
    let page = frame()?;
    // SAFETY: the frame is this kernel's for good, and is accessed atomically by both sides.
    let control = unsafe { control(page.direct()) };
    if table.lend(peer, page, true) != CONTROL {
        return Err(Trouble::Word("the shared page has another grant than it should"));
    }
    let slots: Vec<Pfn> = (0..SLOTS).map(|_| frame()).collect::<Result<_, _>>()?;
    let grefs: Vec<Gref> = slots.iter().map(|&slot| table.lend(peer, slot, false)).collect();
    control.port.store(port.port, Ordering::Relaxed);
    control.slots.store(SLOTS, Ordering::Relaxed);
    control.first_gref.store(grefs[0].0, Ordering::Relaxed);
    control.total.store(total, Ordering::Relaxed);
    control.magic.store(MAGIC, Ordering::Release);

    let mut digest = Digest::new();
    let sent = control.produce(&signal, |slot, page| {
        fill(slots[slot], page, &mut digest);
        Ok::<(), Trouble>(())
    })?;
    sent?;
    control.digest.store(digest.0, Ordering::SeqCst);
    if control.wait_for(&control.verdict, &signal)? != 1 {
        return Err(Trouble::Word("the other side has another digest"));
    }
    end_loans(&table, grefs.into_iter().chain([CONTROL]))?;
    Ok(Moved { pages: total, digest: digest.0, events: signal.sent.get() })
}

/// Ends all loans, waiting for the other side to let go of the frames.
fn end_loans(table: &Table, grefs: impl Iterator<Item = Gref>) -> Result<(), Trouble> {
    const TRIES: u32 = 1000;
    for gref in grefs {
        let mut tries = 0;
        while !table.end(gref) {
            tries += 1;
            if tries == TRIES {
                return Err(Trouble::Word("the other side keeps a frame"));
            }
            wait_ns(10_000_000);
        }
    }
    Ok(())
}
