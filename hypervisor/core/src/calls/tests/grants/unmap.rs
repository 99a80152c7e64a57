//! Taking mappings away.

use super::*;
use crate::domain::Shutdown;
use crate::pagetable::{Budget, DomainMemory, Teardown};
use paravane_abi::hypercall::HYPERVISOR_GRANT_TABLE_OP;

fn replace(lending: &mut Lending, handle: u32, host_addr: u64, new_addr: u64) -> i16 {
    let request = GnttabUnmapAndReplace { host_addr, new_addr, handle, status: 99, pad: 0 };
    let status = lending.one(GNTTABOP_UNMAP_AND_REPLACE, &request).status;
    lending.check();
    status
}

#[test]
fn handles_that_name_no_mapping() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    assert_eq!(lending.unmap(0, WINDOW, 0), GNTST_BAD_HANDLE, "none was made yet");
    let handle = lending.mapped(HOST, 9, WINDOW);
    for bad in [handle + 1, 255, 256, u32::MAX] {
        assert_eq!(lending.unmap(bad, WINDOW, 0), GNTST_BAD_HANDLE);
        assert_eq!(replace(&mut lending, bad, WINDOW, WINDOW + 0x1000), GNTST_BAD_HANDLE);
    }
    // Another domain's handles are its own.
    lending.world.act_as(2);
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_BAD_HANDLE);
    lending.world.act_as(1);
    assert_eq!(lending.unmap(handle, 0, 0), GNTST_OKAY, "nothing asked");
    assert_eq!(lending.entry(WINDOW).frame(), frame);
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_BAD_HANDLE, "twice");
}

#[test]
fn the_entry_must_be_the_mapping_with_its_rights() {
    let mut lending = Lending::new(1);
    let (frame, other) = (lending.frame(0, 0), lending.frame(0, 1));
    lending.lend(9, 0, frame);
    lending.lend(10, 0, other);
    let (read, write) = (lending.mapped(HOST | READ, 9, WINDOW), lending.mapped(HOST, 9, WINDOW + 0x1000));
    let elsewhere = lending.mapped(HOST, 10, WINDOW + 0x2000);
    let before = lending.snapshot();
    let wrong = [
        // The right frame without, or with more than, the rights (XSA-234).
        (write, WINDOW),
        (read, WINDOW + 0x1000),
        // Another frame; one's own page; nothing; no place.
        (write, WINDOW + 0x2000),
        (elsewhere, WINDOW + 0x1000),
        (write, WINDOW + 0x3000),
        (write, NO_TABLE),
        (write, 0xffff_8000_0000_0000),
    ];
    for (handle, address) in wrong {
        assert_eq!(lending.unmap(handle, address, 0), GNTST_GENERAL_ERROR, "{handle} {address:#x}");
    }
    assert!(lending.snapshot() == before);
    // Two mappings of the same frame with the same rights are alike.
    let third = lending.mapped(HOST, 9, WINDOW + 0x3000);
    assert_eq!(lending.unmap(third, WINDOW + 0x1000, 0), GNTST_OKAY);
    assert_eq!(lending.unmap(write, WINDOW + 0x3000, 0), GNTST_OKAY);
}

#[test]
fn another_mapping_can_take_the_place() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let handle = lending.mapped(HOST, 9, WINDOW);
    let own = lending.entry(WINDOW + 0x1000);
    let counts = lending.counts(own.frame());
    assert_eq!(replace(&mut lending, handle, WINDOW, WINDOW + 0x1000), GNTST_OKAY);
    assert_eq!((lending.entry(WINDOW), lending.entry(WINDOW + 0x1000)), (own, Pte(0)));
    assert_eq!((lending.counts(own.frame()), lending.counts(frame)), (counts, (1, 0)));
    assert_eq!(lending.marks(0, 9), 0);
    // Another grant's mapping can move as well, and without a new address this is an unmapping.
    let first = lending.mapped(HOST, 9, WINDOW);
    let second = lending.mapped(HOST, 9, WINDOW + 0x1000);
    assert_eq!(replace(&mut lending, first, WINDOW, WINDOW + 0x1000), GNTST_OKAY);
    assert_eq!(replace(&mut lending, second, WINDOW, 0), GNTST_OKAY);
    assert_eq!((lending.entry(WINDOW), lending.counts(frame)), (Pte(0), (1, 0)));
}

#[test]
fn a_replacement_that_is_refused_moves_nothing() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let handle = lending.mapped(HOST, 9, WINDOW);
    let place = lending.entry_address(WINDOW + 0x4000);
    let by_place = lending.mapped(HOST | GNTMAP_CONTAINS_PTE, 9, place);
    let before = lending.snapshot();
    let entries = |lending: &Lending| (0..6).map(|n| lending.entry(WINDOW + 0x1000 * n)).collect::<Vec<_>>();
    let were = entries(&lending);
    let wrong = [
        (handle, WINDOW, NO_TABLE),
        (handle, WINDOW, 0xffff_8000_0000_0000),
        (handle, WINDOW, WINDOW),
        (handle, WINDOW + 0x1000, WINDOW + 0x2000),
        (by_place, place, WINDOW + 0x2000),
    ];
    for (handle, address, new) in wrong {
        assert_eq!(replace(&mut lending, handle, address, new), GNTST_GENERAL_ERROR, "{address:#x} {new:#x}");
    }
    assert!(lending.snapshot() == before && entries(&lending) == were);
    assert_eq!(replace(&mut lending, handle, 0, WINDOW + 0x2000), GNTST_OKAY, "nothing asked");
    assert!(lending.snapshot() == before && entries(&lending) == were);
}

#[test]
fn the_cpus_forget_before_the_lender_learns() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let handle = lending.mapped(HOST, 9, WINDOW);
    lending.world.hv.machine.fake.fill();
    assert!(lending.world.hv.machine.fake.holds(1, WINDOW));
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
    assert!(!lending.world.hv.machine.fake.holds(1, WINDOW));
}

#[test]
fn long_batches_of_unmaps() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    let count = 250;
    let requests: Vec<_> = (0..count)
        .map(|n| {
            lending.lend(9 + n, 0, frame);
            let handle = lending.map(DEVICE | READ, 9 + n, 0).handle;
            GnttabUnmapGrantRef { dev_bus_addr: frame.address(), handle, ..Default::default() }
        })
        .collect();
    assert_eq!(lending.counts(frame), (1 + count, 0));
    lending.world.put(LIST, requests.as_slice());
    let before = lending.world.preempted;
    let list = [GNTTABOP_UNMAP_GRANT_REF.into(), LIST, u64::from(count)];
    assert_eq!(lending.world.call(HYPERVISOR_GRANT_TABLE_OP, &list), 0);
    assert!(lending.world.preempted > before);
    assert_eq!((lending.counts(frame), lending.grants(1).mappings()), ((1, 0), 0));
    assert!(
        (0..u64::from(count)).all(|n| lending.world.get::<GnttabUnmapGrantRef>(LIST + 24 * n).status == 0)
    );
    lending.check();
}

/// The first domain dies, whole: its frames, its table, its record.
fn bury_the_lender(lending: &mut Lending) {
    let hv = &mut lending.world.hv;
    while hv.release_grants(0, &mut Budget::new(8192)).is_err() {}
    let memory: DomainMemory = hv.domains[0].memory.clone();
    for frame in [hv.domains[0].console.frame, hv.domains[0].store.frame] {
        hv.frames.put_writable(&hv.machine, frame);
        hv.frames.put_ref(&hv.machine, frame);
    }
    lending.world.act_as(0);
    let hv = &mut lending.world.hv;
    while hv.paging(Budget::HYPERCALL).drop_bases().is_err() {}
    let mut teardown = Teardown::new();
    while teardown.run(&mut hv.frames, &hv.machine, &memory, &mut Budget::new(8192)).is_err() {}
    assert_eq!(Teardown::remaining(&hv.frames, &memory), 0);
    assert!(hv.frames.close_account(memory.id));
    let mut domain = hv.domains.remove(0);
    domain.grants.destroy(&mut hv.frames, &hv.machine);
    lending.world.act_as(0);
}

#[test]
fn a_mapping_of_a_domain_that_is_gone_ends_the_one_that_lost_its_entry() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let kept = lending.mapped(HOST, 9, WINDOW);
    lending.world.map(WINDOW, 0);
    bury_the_lender(&mut lending);
    lending.check();
    assert_eq!(lending.map(HOST, 9, WINDOW).status, GNTST_BAD_DOMAIN);
    let request = GnttabUnmapGrantRef { host_addr: WINDOW, handle: kept, ..Default::default() };
    lending.world.put(ARG, &request);
    let mut regs =
        lending.world.regs_for(HYPERVISOR_GRANT_TABLE_OP, &[GNTTABOP_UNMAP_GRANT_REF.into(), ARG, 1]);
    lending.world.hv.hypercall(&mut regs);
    assert_eq!(lending.world.domain().shutdown, Some(Shutdown::Crash));
    // Its own end finds nothing to let go of.
    let hv = &mut lending.world.hv;
    while hv.release_grants(0, &mut Budget::new(8192)).is_err() {}
    assert_eq!(lending.grants(0).mappings(), 0);
    lending.check();
}
