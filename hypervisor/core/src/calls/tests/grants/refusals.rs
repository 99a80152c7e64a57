//! Mappings that are refused, each with its status, and nothing changed.

use super::*;
use crate::grant::GrantLimits;
use crate::pagetable::Budget;
use paravane_abi::mmu::DOMID_SELF;

/// A request to map is refused with this status and leaves no trace.
fn refused(lending: &mut Lending, request: &GnttabMapGrantRef, status: i16) {
    let before = lending.snapshot();
    let entry = lending.entry(WINDOW);
    let done = lending.one(GNTTABOP_MAP_GRANT_REF, request);
    assert_eq!(done.status, status, "{request:x?}");
    assert_eq!(done, GnttabMapGrantRef { status, ..*request });
    assert_eq!(lending.entry(WINDOW), entry);
    assert!(lending.snapshot() == before, "{request:x?} left a trace");
    lending.check();
}

/// A domain that has room for mappings already, so that making it is no trace.
fn lending(version: u32) -> (Lending, Mfn, GnttabMapGrantRef) {
    let mut lending = Lending::new(version);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let handle = lending.mapped(HOST, 9, WINDOW + 0x9000);
    assert_eq!(lending.unmap(handle, WINDOW + 0x9000, 0), GNTST_OKAY);
    let request =
        GnttabMapGrantRef { host_addr: WINDOW, flags: HOST, reference: 9, dom: 1, ..Default::default() };
    (lending, frame, request)
}

#[test]
fn requests_that_name_nothing() {
    for version in [1, 2] {
        let (mut lending, _, request) = lending(version);
        let entries = 512 / version;
        let cases = [
            (GnttabMapGrantRef { flags: 0, ..request }, GNTST_BAD_GNTREF),
            (GnttabMapGrantRef { flags: !(HOST | DEVICE), dom: 77, ..request }, GNTST_BAD_GNTREF),
            (GnttabMapGrantRef { dom: 4, ..request }, GNTST_BAD_DOMAIN),
            (GnttabMapGrantRef { dom: DOMID_SELF, ..request }, GNTST_BAD_DOMAIN),
            (GnttabMapGrantRef { dom: 0x7ff1, ..request }, GNTST_BAD_DOMAIN),
            (GnttabMapGrantRef { reference: entries, ..request }, GNTST_BAD_GNTREF),
            (GnttabMapGrantRef { reference: u32::MAX, ..request }, GNTST_BAD_GNTREF),
            (GnttabMapGrantRef { reference: 10, ..request }, GNTST_GENERAL_ERROR),
            (GnttabMapGrantRef { dom: 3, ..request }, GNTST_GENERAL_ERROR),
        ];
        for (request, status) in cases {
            refused(&mut lending, &request, status);
        }
    }
}

#[test]
fn entries_that_do_not_lend() {
    for version in [1, 2] {
        let (mut lending, frame, request) = lending(version);
        let entries = [
            (GTF_INVALID, 2),
            (GTF_ACCEPT_TRANSFER, 2),
            (GTF_TRANSITIVE, 2),
            (GTF_PERMIT_ACCESS, 3),
            (GTF_PERMIT_ACCESS, 1),
            (GTF_PERMIT_ACCESS, 0x7ff0),
            (GTF_PERMIT_ACCESS | GTF_READONLY, 2),
            (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 2),
        ];
        for entry in entries {
            lending.write(0, 9, entry, 0, frame.get());
            refused(&mut lending, &request, GNTST_GENERAL_ERROR);
        }
    }
}

#[test]
fn frames_that_are_not_the_lenders() {
    for version in [1, 2] {
        let (mut lending, _, request) = lending(version);
        let end = lending.world.hv.frames.len() as u64;
        let others = lending.frame(1, 0).get();
        let free = lending.world.hv.frames.free_list().next().unwrap().get();
        for frame in [0, others, free, end, u32::MAX.into()] {
            lending.write(0, 9, (GTF_PERMIT_ACCESS, 2), 0, frame);
            for flags in [HOST, HOST | READ, DEVICE, DEVICE | HOST] {
                refused(&mut lending, &GnttabMapGrantRef { flags, ..request }, GNTST_BAD_PAGE);
            }
        }
        if version == 2 {
            for frame in [u64::MAX, 1 << 40, 1 << 52] {
                lending.write(0, 9, (GTF_PERMIT_ACCESS, 2), 0, frame);
                refused(&mut lending, &request, GNTST_BAD_PAGE);
            }
        }
    }
}

#[test]
fn places_without_an_l1_entry_of_ones_own() {
    let (mut lending, frame, request) = lending(1);
    for host_addr in [NO_TABLE, 0, 0xffff_8000_0000_0000, 0x8000_0000_0000, u64::MAX] {
        // The last page has no table either.
        for flags in [HOST, HOST | READ, HOST | DEVICE] {
            refused(&mut lending, &GnttabMapGrantRef { host_addr, flags, ..request }, GNTST_GENERAL_ERROR);
        }
    }
    let place = lending.entry_address(WINDOW);
    let (l2, index) = lending.world.entry(WINDOW, Level::L2);
    lending.world.act_as(2);
    let others = lending.entry_address(WINDOW);
    lending.world.act_as(1);
    let own_page = lending.frame(1, 0).address();
    let upper = l2.address() + 8 * index as u64;
    let past_end = (lending.world.hv.frames.len() as u64) << 12;
    let flags = HOST | GNTMAP_CONTAINS_PTE;
    let places = [place + 4, place + 1, others, own_page, upper, frame.address(), past_end, !7, 0];
    for host_addr in places {
        refused(&mut lending, &GnttabMapGrantRef { host_addr, flags, ..request }, GNTST_GENERAL_ERROR);
    }
}

#[test]
fn entries_in_use_by_another_or_too_often() {
    for version in [1, 2] {
        let (mut lending, frame, request) = lending(version);
        lending.mapped(HOST | READ, 9, WINDOW + 0x1000);
        // The entry is rewritten for another domain while it is in use.
        lending.write(0, 9, (GTF_PERMIT_ACCESS | lending.marks(0, 9), 3), 0, frame.get());
        lending.world.act_as(2);
        let first = lending.map(HOST | READ, 9, WINDOW);
        assert_eq!(first.status, GNTST_GENERAL_ERROR, "room is made, and the request refused");
        refused(&mut lending, &request, GNTST_GENERAL_ERROR);
        lending.world.act_as(1);
        for n in 1..128 {
            let done = lending.map(HOST | READ, 9, WINDOW + 0x1000);
            assert_eq!(done.status, GNTST_OKAY, "{n}");
        }
        refused(&mut lending, &GnttabMapGrantRef { flags: HOST | READ, ..request }, GNTST_GENERAL_ERROR);
        // Other kinds are counted apart.
        lending.write(0, 9, (GTF_PERMIT_ACCESS | lending.marks(0, 9), 2), 0, frame.get());
        lending.mapped(HOST, 9, WINDOW + 0x1000);
        lending.mapped(DEVICE | READ, 9, 0);
    }
}

#[test]
fn no_room_for_another_mapping() {
    let (mut lending, frame, request) = lending(1);
    let limits = GrantLimits { maptrack_frames: 1, ..GrantLimits::XEN };
    let hv = &mut lending.world.hv;
    while hv.release_grants(1, &mut Budget::new(8192)).is_err() {}
    hv.domains[1].grants.destroy(&mut hv.frames, &hv.machine);
    let id = hv.domains[1].id;
    hv.domains[1].grants = GrantTable::with_first_frame(id, limits, &mut hv.frames, &hv.machine).unwrap();
    for n in 0..256 {
        lending.lend(9 + n, 0, frame);
        assert_eq!(lending.map(HOST, 9 + n, WINDOW + 0x1000).handle, n);
    }
    lending.check();
    refused(&mut lending, &request, GNTST_NO_SPACE);
    // Before anything is looked at in the entry.
    refused(&mut lending, &GnttabMapGrantRef { reference: u32::MAX, ..request }, GNTST_NO_SPACE);
    refused(&mut lending, &GnttabMapGrantRef { dom: 9, ..request }, GNTST_BAD_DOMAIN);
    assert_eq!(lending.unmap(255, WINDOW + 0x1000, 0), GNTST_OKAY);
    assert_eq!(lending.map(HOST, 9, WINDOW).handle, 255);
}

#[test]
fn no_memory_for_the_record_of_mappings() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let hv = &mut lending.world.hv;
    let mut taken = Vec::new();
    while let Some(frame) = hv.frames.alloc_hypervisor(&hv.machine) {
        taken.push(frame);
    }
    assert!(!taken.is_empty());
    assert_eq!(lending.map(HOST, 9, WINDOW).status, GNTST_NO_SPACE);
    lending.check();
    let hv = &mut lending.world.hv;
    assert!(hv.frames.free_hypervisor(&hv.machine, taken[0]));
    lending.mapped(HOST, 9, WINDOW);
}
