//! Frames that one domain gives to another.

use paravane_abi::grant::{
    GNTST_GENERAL_ERROR, GNTST_OKAY, GTF_ACCEPT_TRANSFER, GTF_TRANSFER_COMMITTED, GTF_TRANSFER_COMPLETED,
};
use paravane_abi::hypercall::HYPERVISOR_MEMORY_OP;
use paravane_abi::memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::grants;
use pv_probe::hypercall::{map, operation};
use pv_probe::memory::{self, DATA, NX, m2p, mfn, read, take};

use crate::case::{Case, Role, Row, Verdict};
use crate::pair::{meet, peer, receive, send};
use crate::rows::grant_table_op::transfer::{accept, give, reservation};
use crate::rows::grant_table_op::{REFERENCE, clear, drop_page, page, place};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "grants-between-domains-transfers",
    &[
        Case::good("given", "the frame is the receiver's, with what was in it", given).role(Role::Pair),
        Case::refusal(
            "not-accepted",
            "to an entry that accepts from somebody else; the frame is lost",
            not_accepted,
        )
        .role(Role::Pair),
    ],
);

/// Gives a frame of this domain's back to the hypervisor.
fn release(t: &mut Trial, pfn: u64) -> Verdict {
    let mut extent = mfn(pfn);
    let mut request = MemoryReservation {
        extent_start: &raw mut extent as u64,
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Default::default()
    };
    t.need("release", operation(HYPERVISOR_MEMORY_OP, XENMEM_DECREASE_RESERVATION, &mut request) - 1)
}

fn given(t: &mut Trial) -> Verdict {
    grants::prepare();
    let side = t.side();
    if !side.is_left() {
        // Room for the frame.
        let pfn = take();
        release(t, pfn)?;
        let before = reservation();
        accept(REFERENCE, peer(), pfn);
        send(side, 0)?;
        receive(side)?;
        let entry = grants::read(REFERENCE);
        let done = GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED | GTF_TRANSFER_COMPLETED;
        t.equal("flags", entry.flags.into(), done.into());
        memory::set_mfn(pfn, entry.frame.into());
        t.holds("m2p", m2p(entry.frame.into()) == pfn);
        t.equal("more", reservation() - before, 1);
        let there = place(1);
        t.succeeds("map", map(there, u64::from(entry.frame) << 12 | DATA | NX));
        // SAFETY: mapped just now.
        t.equal("content", unsafe { read(there) }, 0x9191);
        clear(REFERENCE);
        return drop_page(t, there);
    }
    let (address, frame) = page(0, 0x9191);
    let pfn = m2p(frame);
    drop_page(t, address)?;
    receive(side)?;
    let before = reservation();
    let status = give(t, frame, peer(), REFERENCE)?;
    t.same("status", status, GNTST_OKAY);
    t.equal("less", before - reservation(), 1);
    send(side, 0)?;
    memory::populate(pfn);
    Ok(())
}

fn not_accepted(t: &mut Trial) -> Verdict {
    grants::prepare();
    let side = t.side();
    if !side.is_left() {
        accept(REFERENCE, crate::rows::event_channel_op::NOBODY, 0);
        meet(side)?;
        meet(side)?;
        t.equal("flags", grants::read(REFERENCE).flags.into(), GTF_ACCEPT_TRANSFER.into());
        clear(REFERENCE);
        return Ok(());
    }
    meet(side)?;
    let pfn = take();
    let before = reservation();
    let status = give(t, mfn(pfn), peer(), REFERENCE)?;
    t.same("status", status, GNTST_GENERAL_ERROR);
    t.equal("lost", before - reservation(), 1);
    memory::populate(pfn);
    meet(side)
}
