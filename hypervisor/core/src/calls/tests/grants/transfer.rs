//! Giving frames away.

use super::*;
use crate::addr::Pfn;
use paravane_abi::hypercall::HYPERVISOR_GRANT_TABLE_OP;
use paravane_abi::mmu::DOMID_SELF;

const ACCEPTED: u16 = GTF_ACCEPT_TRANSFER;
const COMPLETED: u16 = GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED | GTF_TRANSFER_COMPLETED;

impl Lending {
    /// The running domain gives a frame to the first for its entry 9.
    fn give(&mut self, mfn: Mfn, domid: u16, reference: u32) -> i16 {
        let request = GnttabTransfer { mfn: mfn.get(), domid, reference, status: 99, ..Default::default() };
        let status = self.one(GNTTABOP_TRANSFER, &request).status;
        self.check();
        status
    }

    /// Header and frame of an entry of the first domain's.
    fn entry_9(&self) -> (u32, u64) {
        let (frame, index) = self.place(0, 9);
        let word = |n| self.world.hv.machine.read_word(frame, index + n);
        match self.grants(0).version() {
            Version::V1 => (word(0) as u32, word(0) >> 32),
            Version::V2 => (word(0) as u32, word(1)),
        }
    }

    fn allocated(&self, domain: u16) -> u64 {
        self.world.hv.frames.account(crate::addr::DomainId(domain)).unwrap().allocated
    }

    /// Makes room for one frame in the first domain.
    fn make_room(&mut self) {
        let gone = self.frame(0, 7);
        let id = self.world.hv.domains[0].id;
        let hv = &mut self.world.hv;
        assert!(hv.frames.release_allocation(&hv.machine, gone, id));
    }
}

#[test]
fn a_frame_changes_hands_with_what_is_in_it() {
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        lending.make_room();
        lending.write(0, 9, (ACCEPTED, 2), 0, 0x456);
        let frame = lending.frame(1, 0);
        lending.world.hv.machine.fake.poke(frame, 3, 0x1234);
        let (first, second) = (lending.allocated(1), lending.allocated(2));
        assert_eq!(lending.give(frame, 1, 9), GNTST_OKAY);
        assert_eq!(lending.entry_9(), (u32::from(COMPLETED) | 2 << 16, frame.get()));
        assert_eq!((lending.allocated(1), lending.allocated(2)), (first + 1, second - 1));
        assert!(lending.world.hv.frames.is_owned_by(frame, crate::addr::DomainId(1)));
        assert_eq!(lending.world.hv.machine.m2p(frame), Pfn::new(0x456));
        assert_eq!(lending.world.hv.machine.read_word(frame, 3), 0x1234);
        // It is the other's now, and the entry is used up.
        assert_eq!(lending.give(frame, 1, 9), GNTST_BAD_PAGE);
    }
}

#[test]
fn nobody_reaches_it_by_what_a_cpu_remembers() {
    let mut lending = Lending::new(1);
    lending.make_room();
    lending.write(0, 9, (ACCEPTED, 2), 0, 0);
    let frame = lending.frame(1, 0);
    for flags in [Pte::P | Pte::RW, Pte::P] {
        lending.world.map(WINDOW, frame.address() | flags);
        lending.world.hv.machine.fake.fill();
        // Without a flush of its own.
        let args = [WINDOW, 0, 0];
        assert_eq!(lending.world.call(paravane_abi::hypercall::HYPERVISOR_UPDATE_VA_MAPPING, &args), 0);
        assert!(lending.world.hv.machine.fake.holds(1, WINDOW));
    }
    assert_eq!(lending.give(frame, 1, 9), GNTST_OKAY);
    assert!(!lending.world.hv.machine.fake.holds(1, WINDOW));
}

#[test]
fn frames_that_cannot_be_given_stay() {
    let mut lending = Lending::new(1);
    lending.make_room();
    lending.write(0, 9, (ACCEPTED, 2), 0, 0);
    let mapped = lending.entry(WINDOW).frame();
    let table = lending.world.entry(WINDOW, Level::L1).0;
    let shared = lending.grants(1).shared()[0];
    let others = lending.frame(2, 0);
    let console = lending.world.domain().console.frame;
    let past_end = Mfn::new(lending.world.hv.frames.len() as u64);
    let lent = lending.frame(1, 1);
    lending.write(1, 5, (GTF_PERMIT_ACCESS, 3), 0, lent.get());
    lending.world.act_as(2);
    let request = GnttabMapGrantRef { flags: DEVICE | READ, reference: 5, dom: 2, ..Default::default() };
    assert_eq!(lending.one(GNTTABOP_MAP_GRANT_REF, &request).status, GNTST_OKAY);
    lending.world.act_as(1);
    let before = lending.snapshot();
    for frame in [mapped, table, shared, others, console, past_end, lent, Mfn::new(0), Mfn::new(u64::MAX)] {
        assert_eq!(lending.give(frame, 1, 9), GNTST_BAD_PAGE, "{frame}");
        assert!(lending.snapshot() == before, "{frame}");
    }
}

#[test]
fn a_frame_that_is_not_taken_is_lost() {
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        lending.make_room();
        let cases = [
            ((ACCEPTED, 2), 7, 9, GNTST_BAD_DOMAIN),
            ((ACCEPTED, 2), DOMID_SELF, 9, GNTST_BAD_DOMAIN),
            ((ACCEPTED, 2), 1, 512 / version, GNTST_GENERAL_ERROR),
            ((ACCEPTED, 2), 1, 10, GNTST_GENERAL_ERROR),
            ((ACCEPTED, 3), 1, 9, GNTST_GENERAL_ERROR),
            ((GTF_PERMIT_ACCESS, 2), 1, 9, GNTST_GENERAL_ERROR),
            ((ACCEPTED | GTF_TRANSFER_COMMITTED, 2), 1, 9, GNTST_GENERAL_ERROR),
            ((ACCEPTED | 0x8000, 2), 1, 9, GNTST_GENERAL_ERROR),
        ];
        for (n, (entry, domid, reference, status)) in cases.into_iter().enumerate() {
            lending.write(0, 9, entry, 0, 0x456);
            let was = lending.entry_9();
            let frame = lending.frame(1, n as u64);
            let (free, second) = (lending.world.hv.frames.free_frames(), lending.allocated(2));
            assert_eq!(lending.give(frame, domid, reference), status, "{entry:x?} {domid:#x} {reference}");
            assert_eq!(lending.entry_9(), was);
            assert_eq!((lending.world.hv.frames.free_frames(), lending.allocated(2)), (free + 1, second - 1));
        }
    }
}

#[test]
fn a_receiver_with_all_it_may_have_takes_none() {
    let mut lending = Lending::new(1);
    lending.write(0, 9, (ACCEPTED, 2), 0, 0x456);
    let frame = lending.frame(1, 0);
    let was = lending.entry_9();
    assert_eq!(lending.give(frame, 1, 9), GNTST_GENERAL_ERROR);
    assert_eq!(lending.entry_9(), was);
    // It gives to itself even so: it has one less meanwhile.
    lending.world.act_as(0);
    lending.write(0, 9, (ACCEPTED, 1), 0, 0x456);
    let frame = lending.frame(0, 0);
    assert_eq!(lending.give(frame, 1, 9), GNTST_OKAY);
    assert_eq!(lending.entry_9().1, frame.get());
}

#[test]
fn a_list_of_frames() {
    let mut lending = Lending::new(1);
    for n in 0..3 {
        let gone = lending.frame(0, 10 + n);
        let id = lending.world.hv.domains[0].id;
        let hv = &mut lending.world.hv;
        assert!(hv.frames.release_allocation(&hv.machine, gone, id));
        lending.write(0, 20 + n as u32, (ACCEPTED, 2), 0, 0);
    }
    let frames = [0, 1, 2, 3].map(|n| lending.frame(1, n));
    let requests: Vec<_> = frames
        .iter()
        .enumerate()
        .map(|(n, frame)| GnttabTransfer {
            mfn: frame.get(),
            domid: 1,
            reference: 20 + n as u32,
            ..Default::default()
        })
        .collect();
    lending.world.put(LIST, requests.as_slice());
    let list = [GNTTABOP_TRANSFER.into(), LIST, 4];
    assert_eq!(lending.world.call(HYPERVISOR_GRANT_TABLE_OP, &list), 0);
    let statuses = [0, 1, 2, 3].map(|n| lending.world.get::<GnttabTransfer>(LIST + 24 * n).status);
    assert_eq!(statuses, [0, 0, 0, GNTST_GENERAL_ERROR]);
    lending.check();
}
