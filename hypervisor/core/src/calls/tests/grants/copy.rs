//! Copying: the four combinations, what limits them, and entries that are passed on.

use super::*;
use paravane_abi::mmu::DOMID_SELF;

const FROM: u16 = GNTCOPY_SOURCE_GREF;
const TO: u16 = GNTCOPY_DEST_GREF;

fn by_reference(domid: u16, reference: u32, offset: u16) -> GnttabCopyPtr {
    // The upper half means nothing.
    GnttabCopyPtr { u: 0xdead_0000_0000_0000 | u64::from(reference), domid, offset, pad: 0 }
}

fn by_frame(frame: Mfn, offset: u16) -> GnttabCopyPtr {
    GnttabCopyPtr { u: frame.get(), domid: DOMID_SELF, offset, pad: 0 }
}

impl Lending {
    fn copy(&mut self, flags: u16, source: GnttabCopyPtr, dest: GnttabCopyPtr, len: u16) -> i16 {
        let before = self.counts_of_frames();
        let request = GnttabCopy { source, dest, len, flags, status: 99, pad: 0xffff };
        let status = self.one(GNTTABOP_COPY, &request).status;
        assert!(self.counts_of_frames() == before, "a copy keeps nothing");
        self.check();
        status
    }

    fn counts_of_frames(&self) -> (Vec<(Owner, u32, u32)>, Vec<u16>) {
        let marks = (0..32).flat_map(|n| [self.marks(0, n), self.marks(2, n)]).collect();
        (self.snapshot().0, marks)
    }

    fn bytes(&self, frame: Mfn) -> Vec<u8> {
        let mut bytes = std::vec![0; 4096];
        self.world.hv.machine.read_bytes(frame, 0, &mut bytes);
        bytes
    }

    /// Fills a frame with a pattern of its own.
    fn fill(&self, frame: Mfn, seed: u8) {
        for n in 0..512u64 {
            let byte = |at: u64| (n * 8 + at) as u8 ^ (n as u8).rotate_left(3) ^ seed;
            let word = (0..8).fold(0, |word, at| word | u64::from(byte(at)) << (8 * at));
            self.world.hv.machine.fake.poke(frame, n as usize, word);
        }
    }
}

#[test]
fn all_four_combinations() {
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        let (lent, other, own, second) =
            (lending.frame(0, 0), lending.frame(2, 0), lending.frame(1, 0), lending.frame(1, 1));
        lending.lend(9, GTF_READONLY, lent);
        lending.lend(10, 0, lent);
        lending.write(2, 11, (GTF_PERMIT_ACCESS, 2), 0, other.get());
        lending.fill(lent, 1);
        let pattern = lending.bytes(lent);

        assert_eq!(lending.copy(FROM, by_reference(1, 9, 3), by_frame(own, 5), 4000), GNTST_OKAY);
        assert_eq!(lending.bytes(own)[5..4005], pattern[3..4003]);
        assert_eq!(lending.bytes(own)[..5], [0; 5]);
        assert_eq!(lending.copy(0, by_frame(own, 0), by_frame(second, 0), 4096), GNTST_OKAY);
        assert_eq!(lending.bytes(second), lending.bytes(own));
        assert_eq!(lending.copy(FROM | TO, by_reference(1, 9, 0), by_reference(3, 11, 0), 4096), GNTST_OKAY);
        assert_eq!(lending.bytes(other), pattern);
        lending.fill(own, 2);
        assert_eq!(lending.copy(TO, by_frame(own, 7), by_reference(1, 10, 8), 1), GNTST_OKAY);
        assert_eq!(lending.bytes(lent)[8], lending.bytes(own)[7]);
        assert_eq!(lending.bytes(lent)[9..], pattern[9..]);
        assert_eq!(lending.copy(0, by_frame(own, 4095), by_frame(own, 0), 0), GNTST_OKAY, "nothing");
    }
}

#[test]
fn within_one_frame() {
    let mut lending = Lending::new(1);
    let own = lending.frame(1, 0);
    lending.fill(own, 1);
    let pattern = lending.bytes(own);
    assert_eq!(lending.copy(0, by_frame(own, 0), by_frame(own, 100), 3000), GNTST_OKAY);
    assert_eq!(lending.bytes(own)[100..3100], pattern[..3000]);
}

#[test]
fn copies_that_are_refused() {
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        let (lent, own) = (lending.frame(0, 0), lending.frame(1, 0));
        lending.lend(9, 0, lent);
        lending.lend(10, GTF_READONLY, lent);
        lending.write(0, 11, (GTF_PERMIT_ACCESS, 3), 0, lent.get());
        lending.write(0, 12, (GTF_PERMIT_ACCESS, 2), 0, own.get());
        let table = lending.world.entry(WINDOW, Level::L1).0;
        let theirs = lending.grants(0).shared()[0];
        let (entries, past_end) = (512 / version, Mfn::new(lending.world.hv.frames.len() as u64));
        let frame = |domid| GnttabCopyPtr { domid, ..by_frame(own, 0) };
        let cases = [
            // Only oneself is named with a frame, and not by number.
            (0, frame(2), by_frame(own, 0), GNTST_PERMISSION_DENIED),
            (0, frame(1), by_frame(own, 0), GNTST_PERMISSION_DENIED),
            // Whether there is the domain is looked at first.
            (0, by_frame(own, 0), frame(9), GNTST_BAD_DOMAIN),
            // The source is looked at first.
            (FROM, by_reference(9, 9, 0), frame(1), GNTST_BAD_DOMAIN),
            (FROM, by_reference(1, 9, 0), frame(1), GNTST_PERMISSION_DENIED),
            (TO, by_frame(past_end, 0), by_reference(9, 9, 0), GNTST_BAD_DOMAIN),
            (TO, by_frame(past_end, 0), by_reference(1, u32::MAX, 0), GNTST_BAD_PAGE),
            (FROM, by_reference(1, entries, 0), by_frame(own, 0), GNTST_BAD_GNTREF),
            (FROM, by_reference(1, 13, 0), by_frame(own, 0), GNTST_GENERAL_ERROR),
            (FROM, by_reference(1, 11, 0), by_frame(own, 0), GNTST_GENERAL_ERROR),
            (FROM, by_reference(1, 12, 0), by_frame(own, 0), GNTST_BAD_PAGE),
            (TO, by_frame(own, 0), by_reference(1, 10, 0), GNTST_GENERAL_ERROR),
            (0, by_frame(lent, 0), by_frame(own, 0), GNTST_BAD_PAGE),
            (0, by_frame(Mfn::new(0), 0), by_frame(own, 0), GNTST_BAD_PAGE),
            (0, by_frame(own, 0), by_frame(theirs, 0), GNTST_BAD_PAGE),
            // A table is read, not written.
            (0, by_frame(own, 0), by_frame(table, 0), GNTST_GENERAL_ERROR),
        ];
        for (flags, source, dest, status) in cases {
            let before = lending.bytes(lent);
            assert_eq!(lending.copy(flags, source, dest, 8), status, "{flags} {source:x?} {dest:x?}");
            assert!(lending.bytes(lent) == before && lending.bytes(own) == std::vec![0; 4096]);
        }
        assert_eq!(lending.copy(0, by_frame(table, 0), by_frame(own, 0), 8), GNTST_OKAY);
    }
}

#[test]
fn bounds_of_the_page() {
    let mut lending = Lending::new(1);
    let (own, second) = (lending.frame(1, 0), lending.frame(1, 1));
    lending.fill(own, 1);
    for (from, to, len) in
        [(1, 0, 4096), (0, 1, 4096), (4096, 0, 1), (0, 0xffff, 1), (0, 0, 0xffff), (0xffff, 0xffff, 0xffff)]
    {
        let status = lending.copy(0, by_frame(own, from), by_frame(second, to), len);
        assert_eq!(status, GNTST_BAD_COPY_ARG, "{from} {to} {len}");
    }
    assert_eq!(
        lending.copy(0, by_frame(own, 4096), by_frame(second, 0), 0),
        GNTST_OKAY,
        "nothing, from the end"
    );
    assert_eq!(lending.bytes(second), std::vec![0; 4096]);
}

#[test]
fn parts_of_frames() {
    let mut lending = Lending::new(2);
    let (lent, own) = (lending.frame(0, 0), lending.frame(1, 0));
    lending.fill(lent, 1);
    // Bytes 100 to 299.
    lending.write(0, 9, (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 2), 100 | 200 << 16, lent.get());
    for (offset, len, status) in [
        (100, 200, GNTST_OKAY),
        (299, 1, GNTST_OKAY),
        (300, 0, GNTST_OKAY),
        (99, 1, GNTST_GENERAL_ERROR),
        (100, 201, GNTST_GENERAL_ERROR),
        (301, 0, GNTST_GENERAL_ERROR),
        (0, 4096, GNTST_GENERAL_ERROR),
        (4000, 4096, GNTST_BAD_COPY_ARG),
    ] {
        assert_eq!(
            lending.copy(FROM, by_reference(1, 9, offset), by_frame(own, 0), len),
            status,
            "{offset} {len}"
        );
        let dest = by_reference(1, 9, offset);
        assert_eq!(lending.copy(TO, by_frame(own, 0), dest, len), status, "{offset} {len}");
    }
    // A part past the end of the page lends no more than the page.
    lending.write(0, 9, (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 2), 0xffff_0000 | 4095, lent.get());
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 4095), by_frame(own, 0), 2), GNTST_BAD_COPY_ARG);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 4095), by_frame(own, 0), 1), GNTST_OKAY);
}

#[test]
fn copies_beside_mappings() {
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        let (lent, own) = (lending.frame(0, 0), lending.frame(1, 0));
        lending.lend(9, 0, lent);
        let handle = lending.mapped(HOST | READ, 9, WINDOW);
        // Withdrawn and lent to another, the entry is still in use by the one who has it mapped.
        let marks = lending.marks(0, 9);
        lending.write(0, 9, (GTF_PERMIT_ACCESS | marks, 3), 0, 0);
        assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64), GNTST_OKAY);
        assert_eq!(lending.marks(0, 9), GTF_READING);
        // A copy that writes looks at the entry again, and it lends something else by now.
        assert_eq!(lending.copy(TO, by_frame(own, 0), by_reference(1, 9, 0), 64), GNTST_BAD_PAGE);
        let other = lending.frame(0, 1);
        lending.write(0, 9, (GTF_PERMIT_ACCESS | marks, 2), 0, other.get());
        assert_eq!(lending.copy(TO, by_frame(own, 0), by_reference(1, 9, 0), 64), GNTST_GENERAL_ERROR);
        lending.write(0, 9, (GTF_PERMIT_ACCESS | marks, 2), 0, lent.get());
        assert_eq!(lending.copy(TO, by_frame(own, 0), by_reference(1, 9, 0), 64), GNTST_OKAY);
        lending.world.act_as(2);
        assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(lent, 0), 64), GNTST_GENERAL_ERROR);
        lending.world.act_as(1);
        for _ in 1..128 {
            lending.map(HOST | READ, 9, WINDOW);
        }
        assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64), GNTST_GENERAL_ERROR);
        assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
        assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64), GNTST_OKAY);
    }
}

#[test]
fn a_use_whose_frame_is_gone() {
    let mut lending = Lending::new(1);
    let (lent, own) = (lending.frame(0, 0), lending.frame(1, 0));
    lending.lend(9, 0, lent);
    lending.mapped(HOST | READ, 9, WINDOW);
    lending.world.map(WINDOW, 0);
    let id = lending.world.hv.domains[0].id;
    let hv = &mut lending.world.hv;
    assert!(hv.frames.release_allocation(&hv.machine, lent, id));
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64), GNTST_BAD_DOMAIN);
}

/// The third domain lends entry 20 to the first, which passes it on as its entry 9 to the second.
fn passed_on(flags: u16) -> (Lending, Mfn, Mfn) {
    let mut lending = Lending::new(2);
    let (lent, own) = (lending.frame(2, 0), lending.frame(1, 0));
    lending.fill(lent, 1);
    lending.write(2, 20, (GTF_PERMIT_ACCESS | flags, 1), 10 | 20 << 16, lent.get());
    lending.write(0, 9, (GTF_TRANSITIVE, 2), 3, 20);
    (lending, lent, own)
}

#[test]
fn entries_that_are_passed_on() {
    let (mut lending, lent, own) = passed_on(0);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 4096), GNTST_OKAY);
    assert_eq!(lending.bytes(own), lending.bytes(lent));
    lending.fill(own, 9);
    assert_eq!(lending.copy(TO, by_frame(own, 0), by_reference(1, 9, 0), 4096), GNTST_OKAY);
    assert_eq!(lending.bytes(own), lending.bytes(lent));
    assert_eq!(lending.map(HOST | READ, 9, WINDOW).status, GNTST_GENERAL_ERROR, "not to be mapped");
    // A part of a frame, and one that is only read.
    let (mut lending, ..) = passed_on(GTF_SUB_PAGE | GTF_READONLY);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 10), by_frame(own, 0), 20), GNTST_OKAY);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 9), by_frame(own, 0), 1), GNTST_GENERAL_ERROR);
    assert_eq!(lending.copy(TO, by_frame(own, 0), by_reference(1, 9, 10), 1), GNTST_GENERAL_ERROR);
    // Read-only on the way.
    let (mut lending, ..) = passed_on(0);
    lending.write(0, 9, (GTF_TRANSITIVE | GTF_READONLY, 2), 3, 20);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 1), GNTST_OKAY);
    assert_eq!(lending.copy(TO, by_frame(own, 0), by_reference(1, 9, 0), 1), GNTST_GENERAL_ERROR);
}

#[test]
fn back_to_the_one_who_lends() {
    let (mut lending, ..) = passed_on(0);
    lending.write(0, 9, (GTF_TRANSITIVE, 3), 3, 20);
    lending.world.act_as(2);
    let own = lending.frame(2, 1);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64), GNTST_OKAY);
}

#[test]
fn what_is_not_passed_on() {
    let cases: [(u32, u64, &str); 4] = [
        (1, 20, "to itself"),
        (9, 20, "to nobody"),
        (3, 21, "to nothing"),
        (2, 20, "to what is lent to another"),
    ];
    for (domain, reference, what) in cases {
        let (mut lending, _, own) = passed_on(0);
        lending.write(0, 9, (GTF_TRANSITIVE, 2), domain, reference);
        assert_eq!(
            lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64),
            GNTST_GENERAL_ERROR,
            "{what}"
        );
    }
    let (mut lending, _, own) = passed_on(0);
    lending.write(0, 9, (GTF_TRANSITIVE, 2), 3, 600);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64), GNTST_BAD_GNTREF);
    // Twice over, even where every step by itself is allowed.
    let (mut lending, _, own) = passed_on(0);
    lending.write(2, 21, (GTF_TRANSITIVE, 1), 3, 20);
    lending.write(0, 9, (GTF_TRANSITIVE, 2), 3, 21);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64), GNTST_GENERAL_ERROR);
    // Version 1 passes nothing on.
    let mut lending = Lending::new(1);
    lending.write(0, 9, (GTF_TRANSITIVE, 2), 3, 20);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64), GNTST_GENERAL_ERROR);
}

#[test]
fn an_entry_that_became_one_passed_on_while_mapped() {
    let (mut lending, _, own) = passed_on(0);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    lending.mapped(HOST, 9, WINDOW);
    lending.write(0, 9, (GTF_TRANSITIVE, 2), 3, 20);
    assert_eq!(lending.copy(FROM, by_reference(1, 9, 0), by_frame(own, 0), 64), GNTST_EAGAIN);
}
