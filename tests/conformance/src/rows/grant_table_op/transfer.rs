//! `GNTTABOP_transfer` (grant_table.h, `struct gnttab_transfer`): gives a frame away, to a domain whose entry accepts one from the caller. The
//! entry then names the frame, and the machine-to-physical table has it as the guest frame that the entry named before.
//!
//! Statuses: a frame that is not the caller's or is used for anything (`GNTST_bad_page`); with any other refusal the frame is lost, as
//! grant_table.h says: a domain that there is not (`GNTST_bad_domain`), an entry that accepts nothing from the caller (`GNTST_general_error`).
//! A list that cannot be read is `EFAULT`.

use paravane_abi::grant::{
    GNTST_BAD_DOMAIN, GNTST_BAD_PAGE, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTTABOP_TRANSFER,
    GTF_ACCEPT_TRANSFER, GTF_TRANSFER_COMMITTED, GTF_TRANSFER_COMPLETED, GnttabTransfer, GrantEntryV1,
};
use paravane_abi::hypercall::HYPERVISOR_MEMORY_OP;
use paravane_abi::memory::{MemoryDomain, XENMEM_CURRENT_RESERVATION};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::grants;
use pv_probe::hypercall::operation;
use pv_probe::memory::{self, m2p, mfn, root, take};

use super::{REFERENCE, clear, drop_page, one, page, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::{NOBODY, own_number};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "transfer",
    &[
        Case::good("to-oneself", "a frame that one gives to oneself comes back", to_oneself),
        Case::refusal("in-use", "a frame that is mapped, and one of page tables", in_use),
        Case::refusal("not-ones-own", "frames that the domain does not have", not_own),
        Case::refusal("no-domain", "to a domain that there is not; the frame is lost", no_domain),
        Case::refusal("not-accepted", "to an entry that accepts nothing; the frame is lost", not_accepted),
        Case::refusal("past-table", "to an entry past the table; the frame is lost", past_table),
        Case::refusal("pointers", "lists that cannot be read", |t| {
            unreadable(t, GNTTABOP_TRANSFER);
            Ok(())
        }),
    ],
);

/// Gives a frame away: the status.
///
/// # Errors
/// An end of the case as an error.
pub fn give(t: &mut Trial, mfn: u64, domid: u16, reference: u32) -> Result<i16, crate::case::Stop> {
    let mut request = GnttabTransfer { mfn, domid, reference, status: 77, ..Default::default() };
    t.need("transfer", one(GNTTABOP_TRANSFER, &mut request))?;
    Ok(request.status)
}

/// Frames that this domain has.
pub fn reservation() -> u64 {
    operation(HYPERVISOR_MEMORY_OP, XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid: DOMID_SELF })
        as u64
}

/// An entry that accepts a frame from a domain, for a guest frame.
pub fn accept(reference: u32, domid: u16, pfn: u64) {
    grants::write(reference, GrantEntryV1 { flags: GTF_ACCEPT_TRANSFER, domid, frame: pfn as u32 });
}

fn to_oneself(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let pfn = take();
    let before = reservation();
    accept(REFERENCE, own, pfn);
    let status = give(t, mfn(pfn), own, REFERENCE)?;
    t.same("status", status, GNTST_OKAY);
    let entry = grants::read(REFERENCE);
    let done = GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED | GTF_TRANSFER_COMPLETED;
    t.equal("flags", entry.flags.into(), done.into());
    t.holds("frame", u64::from(entry.frame) == mfn(pfn));
    t.holds("m2p", m2p(mfn(pfn)) == pfn);
    t.holds("reservation", reservation() == before);
    clear(REFERENCE);
    Ok(())
}

fn in_use(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 1);
    accept(REFERENCE, own, 0);
    for (name, frame) in [("mapped", frame), ("tables", root())] {
        let status = t.unchanged(name, || {
            let mut request =
                GnttabTransfer { mfn: frame, domid: own, reference: REFERENCE, ..Default::default() };
            one(GNTTABOP_TRANSFER, &mut request);
            request.status
        });
        t.same(name, status, GNTST_BAD_PAGE);
    }
    t.equal("entry", grants::read(REFERENCE).flags.into(), GTF_ACCEPT_TRANSFER.into());
    clear(REFERENCE);
    drop_page(t, address)
}

fn not_own(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    accept(REFERENCE, own, 0);
    let status = give(t, pointers::NO_FRAME, own, REFERENCE)?;
    t.same("none", status, GNTST_BAD_PAGE);
    // The hypervisor's.
    let status = give(t, 1, own, REFERENCE)?;
    t.same("low", status, GNTST_BAD_PAGE);
    clear(REFERENCE);
    Ok(())
}

/// Gives a frame away for nothing, and gets another.
fn loses(t: &mut Trial, domid: u16, reference: u32, status: i16) -> Verdict {
    let pfn = take();
    let before = reservation();
    let got = give(t, mfn(pfn), domid, reference)?;
    t.same("status", got, status);
    t.equal("lost", before - reservation(), 1);
    memory::populate(pfn);
    t.holds("reservation", reservation() == before);
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    loses(t, NOBODY, REFERENCE, GNTST_BAD_DOMAIN)
}

fn not_accepted(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    clear(REFERENCE);
    loses(t, own, REFERENCE, GNTST_GENERAL_ERROR)?;
    accept(REFERENCE, NOBODY, 0);
    loses(t, own, REFERENCE, GNTST_GENERAL_ERROR)?;
    t.equal("entry", grants::read(REFERENCE).flags.into(), GTF_ACCEPT_TRANSFER.into());
    clear(REFERENCE);
    Ok(())
}

fn past_table(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    loses(t, own, 1 << 20, GNTST_GENERAL_ERROR)
}
