//! The flags of an entry that both sides change at the same time.
//!
//! The granting domain may write any word of its table at any moment. What is decided from an entry is decided
//! from one read of it, and stands only if the entry was still that when the hypervisor's own flags were set:
//! in version 1 by one compare-exchange, in version 2 by setting the status, a full barrier, and a second look.
//! A domain that keeps changing an entry is told that it is unstable after [`ATTEMPTS`]; nothing here repeats
//! without bound.

use super::Pins;
use paravane_abi::grant::{
    GTF_ACCEPT_TRANSFER, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_SUB_PAGE, GTF_TRANSFER_COMMITTED,
    GTF_TRANSFER_COMPLETED, GTF_TRANSITIVE, GTF_TYPE_MASK, GTF_WRITING,
};

/// How often a compare-exchange on an entry is tried (Xen's number).
pub const ATTEMPTS: u32 = 5;

/// The words of one entry that both sides change.
pub trait EntryWords {
    /// Flags, and the domain from bit 16 on, in one read that acquires: what the owner wrote before them is seen.
    fn header(&self) -> u32;

    /// Replaces the header if it is `expected`; the error is what it was.
    fn exchange_header(&self, expected: u32, new: u32) -> Result<(), u32>;

    /// Sets flags in the header, whatever else changes.
    fn set_header_flags(&self, flags: u16);

    /// Clears flags in the header, whatever else changes.
    fn clear_header_flags(&self, flags: u16);

    /// Sets flags in the status of a version 2 entry.
    fn set_status(&self, flags: u16);

    /// Clears flags in the status of a version 2 entry.
    fn clear_status(&self, flags: u16);

    /// A full barrier: what was written before it is seen by whoever writes what is read after it.
    fn barrier(&self);
}

/// An entry is not, or is no longer, what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What an entry is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The domain that uses it.
    pub grantee: u16,
    /// It only reads.
    pub readonly: bool,
    /// It maps the frame, which parts of frames and transitive entries do not allow.
    pub mapping: bool,
    /// The entry is in use already: who may use it, and for what, was settled then.
    pub pinned: bool,
}

const fn flags_of(header: u32) -> u16 {
    header as u16
}

const fn domain_of(header: u32) -> u16 {
    (header >> 16) as u16
}

impl Use {
    /// Whether an entry that is not in use yet is lent to the grantee in a form it can use.
    const fn fits(self, header: u32, transitive: bool) -> bool {
        let mask = if self.mapping { GTF_TYPE_MASK | GTF_SUB_PAGE } else { GTF_TYPE_MASK };
        let kind = flags_of(header) & mask;
        let kind_fits = kind == GTF_PERMIT_ACCESS || (transitive && !self.mapping && kind == GTF_TRANSITIVE);
        kind_fits && domain_of(header) == self.grantee
    }

    const fn writes_read_only(self, header: u32) -> bool {
        !self.readonly && flags_of(header) & GTF_READONLY != 0
    }

    const fn marks(self) -> u16 {
        if self.readonly { GTF_READING } else { GTF_READING | GTF_WRITING }
    }
}

/// Claims an entry of a version 1 table: sets `GTF_reading`, and `GTF_writing` for a use that writes, in the
/// entry itself.
pub fn claim_v1(words: &impl EntryWords, wanted: Use) -> Result<(), Refused> {
    let mut header = words.header();
    for _ in 0..ATTEMPTS {
        if (!wanted.pinned && !wanted.fits(header, false)) || wanted.writes_read_only(header) {
            return Err(Refused);
        }
        match words.exchange_header(header, header | u32::from(wanted.marks())) {
            Ok(()) => return Ok(()),
            Err(now) => header = now,
        }
    }
    Err(Refused)
}

/// Claims an entry of a version 2 table: sets the flags in its status, and looks again.
pub fn claim_v2(words: &impl EntryWords, wanted: Use) -> Result<(), Refused> {
    let header = words.header();
    if (!wanted.pinned && !wanted.fits(header, true)) || wanted.writes_read_only(header) {
        return Err(Refused);
    }
    words.set_status(wanted.marks());
    words.barrier();
    let header = words.header();
    if wanted.pinned {
        // Only a first use that writes comes here.
        if flags_of(header) & GTF_READONLY != 0 {
            words.clear_status(GTF_WRITING);
            return Err(Refused);
        }
    } else if !wanted.fits(header, true) || wanted.writes_read_only(header) {
        words.clear_status(GTF_READING | GTF_WRITING);
        return Err(Refused);
    }
    Ok(())
}

/// Clears the flags of a use that has ended, as far as the uses that are left do not justify them. `v2`: they
/// stand in the status.
pub fn release(words: &impl EntryWords, v2: bool, left: Pins, readonly: bool) {
    let mut flags = if left.any() { 0 } else { GTF_READING };
    if !readonly && !left.writers() {
        flags |= GTF_WRITING;
    }
    match (flags, v2) {
        (0, _) => {}
        (_, false) => words.clear_header_flags(flags),
        (_, true) => words.clear_status(flags),
    }
}

/// Commits an entry to a transfer: nothing but the type and the giver may stand in it.
pub fn commit_transfer(words: &impl EntryWords, giver: u16) -> Result<(), Refused> {
    let wanted = u32::from(GTF_ACCEPT_TRANSFER) | u32::from(giver) << 16;
    let mut header = words.header();
    for _ in 0..ATTEMPTS {
        if header != wanted {
            return Err(Refused);
        }
        match words.exchange_header(header, header | u32::from(GTF_TRANSFER_COMMITTED)) {
            Ok(()) => return Ok(()),
            Err(now) => header = now,
        }
    }
    Err(Refused)
}

/// Tells the receiver that the frame in its entry is the one it was given.
pub fn complete_transfer(words: &impl EntryWords) {
    words.set_header_flags(GTF_TRANSFER_COMPLETED);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::{Cell, RefCell};
    use std::vec::Vec;

    /// An entry whose owner writes the next of some headers before every access of a kind.
    struct Racing {
        header: Cell<u32>,
        status: Cell<u16>,
        before_exchange: RefCell<Vec<u32>>,
        after_status: Cell<Option<u32>>,
    }

    impl Racing {
        fn new(flags: u16, domain: u16) -> Self {
            Self {
                header: Cell::new(u32::from(flags) | u32::from(domain) << 16),
                status: Cell::new(0),
                before_exchange: RefCell::default(),
                after_status: Cell::new(None),
            }
        }

        fn flags(&self) -> u16 {
            flags_of(self.header.get())
        }
    }

    impl EntryWords for Racing {
        fn header(&self) -> u32 {
            self.header.get()
        }

        fn exchange_header(&self, expected: u32, new: u32) -> Result<(), u32> {
            if let Some(next) = self.before_exchange.borrow_mut().pop() {
                self.header.set(next);
            }
            let now = self.header.get();
            if now != expected {
                return Err(now);
            }
            self.header.set(new);
            Ok(())
        }

        fn set_header_flags(&self, flags: u16) {
            self.header.set(self.header.get() | u32::from(flags));
        }

        fn clear_header_flags(&self, flags: u16) {
            self.header.set(self.header.get() & !u32::from(flags));
        }

        fn set_status(&self, flags: u16) {
            self.status.set(self.status.get() | flags);
        }

        fn clear_status(&self, flags: u16) {
            self.status.set(self.status.get() & !flags);
        }

        fn barrier(&self) {
            if let Some(next) = self.after_status.take() {
                self.header.set(next);
            }
        }
    }

    const READ: Use = Use { grantee: 2, readonly: true, mapping: true, pinned: false };
    const WRITE: Use = Use { readonly: false, ..READ };

    #[test]
    fn version_1_marks_the_entry_itself() {
        let entry = Racing::new(GTF_PERMIT_ACCESS, 2);
        assert_eq!(claim_v1(&entry, READ), Ok(()));
        assert_eq!(entry.flags(), GTF_PERMIT_ACCESS | GTF_READING);
        assert_eq!(claim_v1(&entry, Use { pinned: true, ..WRITE }), Ok(()));
        assert_eq!(entry.flags(), GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING);
        assert_eq!(entry.status.get(), 0);
    }

    #[test]
    fn version_2_marks_the_status() {
        let entry = Racing::new(GTF_PERMIT_ACCESS, 2);
        assert_eq!(claim_v2(&entry, READ), Ok(()));
        assert_eq!((entry.flags(), entry.status.get()), (GTF_PERMIT_ACCESS, GTF_READING));
        assert_eq!(claim_v2(&entry, Use { pinned: true, ..WRITE }), Ok(()));
        assert_eq!((entry.flags(), entry.status.get()), (GTF_PERMIT_ACCESS, GTF_READING | GTF_WRITING));
    }

    #[test]
    fn what_is_not_lent_is_not_marked() {
        let refused = [
            (0, 2, READ),
            (GTF_ACCEPT_TRANSFER, 2, READ),
            (GTF_TRANSITIVE, 2, READ),
            (GTF_PERMIT_ACCESS, 3, READ),
            (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 2, READ),
            (GTF_PERMIT_ACCESS | GTF_READONLY, 2, WRITE),
            (GTF_PERMIT_ACCESS | GTF_READONLY, 2, Use { pinned: true, ..WRITE }),
        ];
        for (flags, domain, wanted) in refused {
            let entry = Racing::new(flags, domain);
            assert_eq!(claim_v1(&entry, wanted), Err(Refused), "{flags:#x} {wanted:?}");
            assert_eq!(claim_v2(&entry, wanted), Err(Refused), "{flags:#x} {wanted:?}");
            assert_eq!((entry.flags(), entry.status.get()), (flags, 0));
        }
    }

    #[test]
    fn copies_may_use_parts_and_in_version_2_what_is_passed_on() {
        let copy = Use { mapping: false, ..READ };
        let part = Racing::new(GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 2);
        assert_eq!(claim_v2(&part, copy), Ok(()));
        let passed_on = Racing::new(GTF_TRANSITIVE, 2);
        assert_eq!(claim_v2(&passed_on, copy), Ok(()));
        assert_eq!(claim_v1(&Racing::new(GTF_TRANSITIVE, 2), copy), Err(Refused));
    }

    #[test]
    fn an_entry_that_never_rests_is_refused_after_five_tries() {
        for (changes, end) in [(4, Ok(())), (5, Err(Refused)), (50, Err(Refused))] {
            let entry = Racing::new(GTF_PERMIT_ACCESS, 2);
            // Bits that mean nothing here, so that only the changing is wrong.
            let churn = (0..changes).map(|n| 0x2_0001 | 1 << (9 + n % 7)).collect();
            entry.before_exchange.replace(churn);
            assert_eq!(claim_v1(&entry, READ), end, "{changes} changes");
            let left = entry.before_exchange.borrow().len();
            assert_eq!(left, (changes as usize).saturating_sub(5));
            assert_eq!(entry.flags() & GTF_READING != 0, end.is_ok());
        }
    }

    #[test]
    fn version_1_sees_an_entry_withdrawn_at_the_last_moment() {
        for last in [0, 0x3_0001, 0x2_0005] {
            let entry = Racing::new(GTF_PERMIT_ACCESS, 2);
            entry.before_exchange.replace([last].into());
            assert_eq!(claim_v1(&entry, WRITE), Err(Refused), "{last:#x}");
            assert_eq!(entry.header.get(), last);
        }
    }

    #[test]
    fn version_2_looks_again_after_the_status() {
        for last in [0, 0x3_0001, 0x2_0005, 0x2_0101] {
            let entry = Racing::new(GTF_PERMIT_ACCESS, 2);
            entry.after_status.set(Some(last));
            assert_eq!(claim_v2(&entry, WRITE), Err(Refused), "{last:#x}");
            assert_eq!((entry.header.get(), entry.status.get()), (last, 0));
        }
        // In use for reading, and made read-only while a writer comes.
        let entry = Racing::new(GTF_PERMIT_ACCESS, 2);
        entry.status.set(GTF_READING);
        entry.after_status.set(Some(0x2_0005));
        assert_eq!(claim_v2(&entry, Use { pinned: true, ..WRITE }), Err(Refused));
        assert_eq!(entry.status.get(), GTF_READING);
    }

    #[test]
    fn flags_go_with_the_last_use_that_justifies_them() {
        let (read, write) = (Pins::host(true), Pins::host(false));
        let both = GTF_READING | GTF_WRITING;
        for (left, readonly, remain) in [
            (Pins::NONE, false, 0),
            (Pins::NONE, true, GTF_WRITING),
            (read, false, GTF_READING),
            (read, true, both),
            (write, false, both),
            (Pins::device(false), false, both),
            (Pins::device(true), false, GTF_READING),
        ] {
            let entry = Racing::new(GTF_PERMIT_ACCESS | both, 2);
            entry.status.set(both);
            release(&entry, false, left, readonly);
            assert_eq!((entry.flags(), entry.status.get()), (GTF_PERMIT_ACCESS | remain, both));
            release(&entry, true, left, readonly);
            assert_eq!((entry.flags(), entry.status.get()), (GTF_PERMIT_ACCESS | remain, remain));
        }
    }

    #[test]
    fn a_transfer_needs_the_type_alone() {
        let entry = Racing::new(GTF_ACCEPT_TRANSFER, 2);
        assert_eq!(commit_transfer(&entry, 2), Ok(()));
        assert_eq!(entry.flags(), GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED);
        assert_eq!(commit_transfer(&entry, 2), Err(Refused), "committed already");
        complete_transfer(&entry);
        assert_eq!(entry.flags(), GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED | GTF_TRANSFER_COMPLETED);
        for (flags, domain) in
            [(GTF_ACCEPT_TRANSFER, 3), (GTF_PERMIT_ACCESS, 2), (GTF_ACCEPT_TRANSFER | 0x20, 2)]
        {
            let entry = Racing::new(flags, domain);
            assert_eq!(commit_transfer(&entry, 2), Err(Refused));
            assert_eq!(entry.flags(), flags);
        }
        let entry = Racing::new(GTF_ACCEPT_TRANSFER, 2);
        entry.before_exchange.replace([0].into());
        assert_eq!(commit_transfer(&entry, 2), Err(Refused));
        assert_eq!(entry.flags(), 0);
    }
}
