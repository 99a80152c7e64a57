//! Mapping grants, and what a mapping is.

use super::*;
use crate::addr::DomainId;
use crate::calls::tests::world::{BAD, stale};
use crate::fake_machine::Stale;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::mmu::*;
use paravane_abi::multicall::MulticallEntry;
use std::vec;

#[test]
fn a_mapping_is_an_l1_entry_with_the_rights_asked_for() {
    const BOTH: u16 = GTF_READING | GTF_WRITING;
    const PTE: u64 = Pte::P | Pte::A | Pte::D | Pte::NX;
    let cases = [
        (0, PTE | Pte::RW, BOTH),
        (READ, PTE, GTF_READING),
        (GNTMAP_APPLICATION_MAP, PTE | Pte::RW | Pte::US, BOTH),
        (READ | 5 << 16, PTE | 5 << 9, GTF_READING),
        // Of the bits the guest may choose there are three, and unknown flags mean nothing.
        (READ | 0xffff_ffe0, PTE | 7 << 9, GTF_READING),
    ];
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        let frame = lending.frame(0, 0);
        lending.world.hv.machine.fake.poke(frame, 5, 0x1234);
        let before = lending.counts(frame);
        for (flags, bits, marks) in cases {
            lending.lend(9, 0, frame);
            let done = lending.map(HOST | flags, 9, WINDOW);
            assert_eq!((done.status, done.dev_bus_addr), (GNTST_OKAY, frame.address()));
            assert_eq!(lending.entry(WINDOW), Pte::new(frame, bits), "{flags:#x}");
            assert_eq!(lending.marks(0, 9), marks);
            let uses = u32::from(bits & Pte::RW != 0);
            assert_eq!(lending.counts(frame), (before.0 + 1, before.1 + uses));
            lending.check();
            assert_eq!(lending.unmap(done.handle, WINDOW, 0), GNTST_OKAY);
            assert_eq!(lending.entry(WINDOW), Pte(0));
            assert_eq!((lending.marks(0, 9), lending.counts(frame)), (0, before));
        }
    }
}

#[test]
fn both_domains_see_the_same_bytes() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    lending.mapped(HOST, 9, WINDOW);
    assert_eq!(lending.world.hv.machine.fake.touch(1, WINDOW, true, false), Some(frame));
    // Hypercall arguments may stand there as well, as on Xen.
    lending.world.put(WINDOW + 8, &0x77u64);
    assert_eq!(lending.world.hv.machine.read_word(frame, 1), 0x77);
    assert_eq!(lending.world.get::<u64>(WINDOW + 8), 0x77);
}

#[test]
fn a_processor_may_remember_what_is_mapped_and_no_more() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let handle = lending.mapped(HOST, 9, WINDOW);
    let hv = &lending.world.hv;
    hv.machine.fake.fill();
    let (cpu, by, address, writable) = (1, DomainId(2), WINDOW, true);
    let page = Stale::ForeignPage { cpu, by, address, frame, writable };
    assert_eq!((hv.machine.fake.stale(&hv.frames), stale(hv)), (vec![page.clone()], vec![]));
    // Behind the hypervisor's back: what would be remembered if unmapping did not flush.
    let slot = lending.entry(WINDOW);
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
    assert_eq!(stale(&lending.world.hv), []);
    let (table, index) = lending.world.entry(WINDOW, Level::L1);
    lending.world.hv.machine.fake.poke(table, index, slot.0);
    lending.world.hv.machine.fake.fill();
    assert_eq!(stale(&lending.world.hv), [page]);
}

#[test]
fn an_entry_by_its_machine_address() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let place = lending.entry_address(WINDOW);
    let handle = lending.mapped(HOST | GNTMAP_CONTAINS_PTE, 9, place);
    assert_eq!(lending.entry(WINDOW).frame(), frame);
    // What it was made by is what it is unmapped by.
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_GENERAL_ERROR);
    assert_eq!(lending.unmap(handle, place, 0), GNTST_OKAY);
    assert_eq!(lending.entry(WINDOW), Pte(0));
}

#[test]
fn one_entry_many_uses() {
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        let frame = lending.frame(0, 0);
        lending.lend(9, 0, frame);
        let reads: Vec<u32> = (0..3).map(|n| lending.mapped(HOST | READ, 9, WINDOW + 0x1000 * n)).collect();
        assert_eq!(lending.marks(0, 9), GTF_READING);
        let writes: Vec<u32> = (3..5).map(|n| lending.mapped(HOST, 9, WINDOW + 0x1000 * n)).collect();
        assert_eq!(lending.marks(0, 9), GTF_READING | GTF_WRITING);
        assert_eq!(reads.iter().chain(&writes).copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        // In use, it is what it was when it was first used, whatever the entry says now.
        let other = lending.frame(0, 1);
        lending.write(0, 9, (GTF_INVALID | lending.marks(0, 9), 3), 0, other.get());
        let more = lending.mapped(HOST | READ, 9, WINDOW + 0x5000);
        assert_eq!(lending.entry(WINDOW + 0x5000).frame(), frame);
        for (n, handle) in [(3, writes[0]), (0, reads[0]), (4, writes[1])] {
            assert_eq!(lending.unmap(handle, WINDOW + 0x1000 * n, 0), GNTST_OKAY);
        }
        assert_eq!(lending.marks(0, 9), GTF_READING);
        for (n, handle) in [(1, reads[1]), (2, reads[2]), (5, more)] {
            assert_eq!(lending.unmap(handle, WINDOW + 0x1000 * n, 0), GNTST_OKAY);
        }
        assert_eq!(lending.marks(0, 9), 0);
        assert_eq!(lending.map(HOST, 9, WINDOW).status, GNTST_GENERAL_ERROR, "withdrawn meanwhile");
    }
}

#[test]
fn writers_need_the_entry_writable_at_the_time() {
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        let frame = lending.frame(0, 0);
        lending.lend(9, GTF_READONLY, frame);
        let handle = lending.mapped(HOST | READ, 9, WINDOW);
        assert_eq!(lending.map(HOST, 9, WINDOW + 0x1000).status, GNTST_GENERAL_ERROR);
        assert_eq!(lending.marks(0, 9), GTF_READING);
        assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
    }
}

#[test]
fn a_domain_may_map_its_own_grants() {
    let mut lending = Lending::new(1);
    lending.world.act_as(0);
    let frame = lending.frame(0, 0);
    lending.write(0, 9, (GTF_PERMIT_ACCESS, 1), 0, frame.get());
    let handle = lending.mapped(HOST, 9, WINDOW);
    assert_eq!(lending.entry(WINDOW).frame(), frame);
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
}

#[test]
fn a_shared_page_can_be_lent_on() {
    let mut lending = Lending::new(1);
    let table = lending.grants(0).shared()[0];
    lending.lend(9, 0, table);
    let handle = lending.mapped(HOST, 9, WINDOW);
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
}

#[test]
fn mappings_for_devices_hold_the_frame_without_an_entry() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let before = lending.counts(frame);
    let device = lending.mapped(DEVICE, 9, NO_TABLE);
    assert_eq!(lending.counts(frame), (before.0 + 1, before.1 + 1));
    let both = lending.mapped(DEVICE | HOST | READ, 9, WINDOW);
    assert_eq!(lending.counts(frame), (before.0 + 3, before.1 + 1));
    let bus = frame.address();
    assert_eq!(lending.unmap(both, WINDOW, bus + 0x1000), GNTST_BAD_DEV_ADDR);
    assert_eq!(lending.entry(WINDOW).frame(), frame, "neither half went");
    assert_eq!(lending.unmap(both, 0, bus), GNTST_OKAY);
    assert_eq!(lending.counts(frame), (before.0 + 2, before.1 + 1));
    // The half that is gone is gone; the handle stays for the other.
    assert_eq!(lending.unmap(both, 0, bus), GNTST_OKAY);
    assert_eq!(lending.unmap(both, 0, 0), GNTST_OKAY);
    assert_eq!(lending.counts(frame), (before.0 + 2, before.1 + 1));
    assert_eq!(lending.unmap(both, WINDOW, 12345), GNTST_OKAY);
    assert_eq!(lending.unmap(both, WINDOW, 0), GNTST_BAD_HANDLE);
    assert_eq!(lending.unmap(device, 0, bus), GNTST_OKAY);
    assert_eq!((lending.counts(frame), lending.marks(0, 9)), (before, 0));
}

#[test]
fn what_was_mapped_there_is_let_go() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let own = lending.entry(WINDOW).frame();
    let before = lending.counts(own);
    lending.mapped(HOST, 9, WINDOW);
    assert_eq!(lending.counts(own), (before.0 - 1, before.1 - 1));
    // The mapping that is mapped over is lost, but on record.
    let second = lending.mapped(HOST, 9, WINDOW);
    assert_eq!(lending.counts(frame), (2, 1));
    assert_eq!(lending.unmap(second, WINDOW, 0), GNTST_OKAY);
    assert_eq!((lending.counts(frame), lending.grants(1).mappings()), ((1, 0), 1));
    assert_eq!(lending.marks(0, 9), GTF_READING | GTF_WRITING);
}

#[test]
fn a_frame_lent_for_writing_becomes_no_table_and_a_table_is_not_lent_for_writing() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let handle = lending.mapped(HOST, 9, WINDOW);
    let pin = |lending: &mut Lending| {
        lending.world.act_as(0);
        let op = MmuextOp { cmd: MMUEXT_PIN_L1_TABLE, pad: 0, arg1: frame.get(), arg2: 0 };
        lending.world.put(ARG, &op);
        let end = lending.world.call(HYPERVISOR_MMUEXT_OP, &[ARG, 1, 0, DOMID_SELF.into()]);
        lending.world.act_as(1);
        lending.check();
        end
    };
    assert_eq!(pin(&mut lending), Errno::EINVAL.to_ret());
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
    assert_eq!(pin(&mut lending), 0);
    assert_eq!(lending.map(HOST, 9, WINDOW).status, GNTST_GENERAL_ERROR);
    assert_eq!(lending.map(DEVICE, 9, WINDOW).status, GNTST_GENERAL_ERROR);
    assert_eq!((lending.marks(0, 9), lending.counts(frame)), (0, (2, 1)));
    let handle = lending.mapped(HOST | READ, 9, WINDOW);
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
}

#[test]
fn entries_of_others_frames_come_by_grants_alone() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    lending.mapped(HOST | READ, 9, WINDOW);
    let entry = lending.entry(WINDOW);
    let update = |lending: &mut Lending, address: u64, entry: u64| {
        let end = lending.world.call(HYPERVISOR_UPDATE_VA_MAPPING, &[address, entry, 2]);
        lending.check();
        end
    };
    assert_eq!(update(&mut lending, WINDOW + 0x1000, entry.0), Errno::EBUSY.to_ret());
    assert_eq!(update(&mut lending, WINDOW, entry.0 | Pte::RW), Errno::EBUSY.to_ret());
    assert_eq!(lending.entry(WINDOW), entry);
    // Bits that give no right to the frame are the guest's.
    let harmless = entry.0 & !(Pte::A | Pte::NX) | Pte::US | 1 << 10;
    assert_eq!(update(&mut lending, WINDOW, harmless), 0);
    assert_eq!(lending.entry(WINDOW), Pte(harmless));
    // An entry that is not present holds nothing, and can't be made present again.
    assert_eq!(update(&mut lending, WINDOW, entry.0 & !Pte::P), 0);
    assert_eq!(lending.counts(frame), (1, 0));
    assert_eq!(update(&mut lending, WINDOW, entry.0), Errno::EBUSY.to_ret());
}

#[test]
fn an_entry_that_the_guest_took_away_leaves_the_mapping_on_record() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let handle = lending.mapped(HOST, 9, WINDOW);
    lending.world.map(WINDOW, 0);
    assert_eq!((lending.counts(frame), lending.marks(0, 9)), ((1, 0), GTF_READING | GTF_WRITING));
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_GENERAL_ERROR);
    // The frame may go, the entry stays in use, and leads nowhere any more.
    lending.world.act_as(0);
    let id = lending.world.domain().id;
    let hv = &mut lending.world.hv;
    assert!(hv.frames.release_allocation(&hv.machine, frame, id));
    lending.world.act_as(1);
    assert_eq!(lending.map(HOST, 9, WINDOW).status, GNTST_GENERAL_ERROR);
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_GENERAL_ERROR);
    lending.check();
}

#[test]
fn a_frame_that_its_owner_gave_up_lives_as_long_as_the_mapping() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let handle = lending.mapped(HOST, 9, WINDOW);
    let id = lending.world.hv.domains[0].id;
    let hv = &mut lending.world.hv;
    let free = hv.frames.free_frames();
    assert!(hv.frames.release_allocation(&hv.machine, frame, id));
    assert_eq!(hv.frames.free_frames(), free);
    lending.check();
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
    assert_eq!(lending.world.hv.frames.free_frames(), free + 1);
}

#[test]
fn long_batches_go_on_with_the_rest() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    let requests: Vec<_> = (0..120)
        .map(|n| {
            lending.lend(9 + n as u32, 0, frame);
            let (flags, reference) = (HOST | READ, 9 + n as u32);
            let host_addr = WINDOW + 0x1000 * (n % 16);
            GnttabMapGrantRef { host_addr, flags, reference, dom: 1, ..Default::default() }
        })
        .collect();
    lending.world.put(LIST, requests.as_slice());
    let list = [GNTTABOP_MAP_GRANT_REF.into(), LIST, 120];
    let before = lending.world.preempted;
    assert_eq!(lending.world.call(HYPERVISOR_GRANT_TABLE_OP, &list), 0);
    lending.check();
    // 121 elements would cost two bounded steps' worth.
    let again: Vec<_> = requests.iter().cycle().take(300).copied().collect();
    lending.world.put(LIST, again.as_slice());
    let list = [GNTTABOP_MAP_GRANT_REF.into(), LIST, 300];
    assert_eq!(lending.world.call(HYPERVISOR_GRANT_TABLE_OP, &list), 0);
    assert!(lending.world.preempted > before, "300 elements in one step");
    let done: Vec<GnttabMapGrantRef> = (0..300).map(|n| lending.world.get(LIST + 32 * n)).collect();
    let bad: Vec<_> = done
        .iter()
        .enumerate()
        .filter(|(n, done)| (done.status, done.handle) != (0, 120 + *n as u32))
        .collect();
    assert!(bad.is_empty(), "{bad:x?}");
    assert_eq!(lending.grants(1).mappings(), 420);
    lending.check();
}

#[test]
fn a_list_that_cannot_be_written_is_seen_before_anything_is_mapped() {
    let mut lending = Lending::new(1);
    lending.world.set_up();
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let before = lending.snapshot();
    for bad in BAD {
        for command in 0..=12 {
            if matches!(command, 2 | 3 | 6 | 8 | 9 | 10) {
                continue;
            }
            let end = lending.world.call(HYPERVISOR_GRANT_TABLE_OP, &[command, bad, 1]);
            assert_eq!(end, Errno::EFAULT.to_ret(), "{command} {bad:#x}");
            // An empty list must begin where a guest may have memory; what is there does not matter.
            let end = lending.world.call(HYPERVISOR_GRANT_TABLE_OP, &[command, bad, 0]);
            let guest = crate::addr::VirtAddr::is_guest(bad);
            assert_eq!(end, if guest { 0 } else { Errno::EFAULT.to_ret() }, "{command} {bad:#x}");
        }
    }
    assert_eq!(lending.snapshot(), before);
    // The second element lies on no page: the first is done.
    let request =
        GnttabMapGrantRef { host_addr: WINDOW, flags: HOST, reference: 9, dom: 1, ..Default::default() };
    let list = crate::calls::tests::world::HOLE - 32;
    lending.world.put(list, &request);
    let end = lending.world.call(HYPERVISOR_GRANT_TABLE_OP, &[GNTTABOP_MAP_GRANT_REF.into(), list, 2]);
    assert_eq!(end, Errno::EFAULT.to_ret());
    assert_eq!(lending.world.get::<GnttabMapGrantRef>(list).status, GNTST_OKAY);
    lending.check();
}

#[test]
fn in_a_multicall_the_calls_share_one_step() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    for n in 0..100 {
        lending.lend(9 + n, 0, frame);
    }
    let request =
        |n: u32| GnttabMapGrantRef { flags: DEVICE | READ, reference: 9 + n, dom: 1, ..Default::default() };
    let requests: Vec<_> = (0..300).map(|n| request(n % 100)).collect();
    lending.world.put(LIST, requests.as_slice());
    let entry = |count: u64, list: u64| MulticallEntry {
        op: HYPERVISOR_GRANT_TABLE_OP,
        result: 77,
        args: [GNTTABOP_MAP_GRANT_REF.into(), list, count, 0, 0, 0],
    };
    let calls = [entry(200, LIST), entry(0x8000_0000, LIST), entry(100, LIST + 200 * 32)];
    lending.world.put(ARG, &calls);
    let before = lending.world.preempted;
    assert_eq!(lending.world.call(HYPERVISOR_MULTICALL, &[ARG, 3]), 0);
    assert!(
        lending.world.preempted > before + 1,
        "300 elements in {} steps",
        lending.world.preempted - before
    );
    let done: [MulticallEntry; 3] = lending.world.get(ARG);
    assert_eq!(done.map(|call| call.result as i64), [0, Errno::EINVAL.to_ret(), 0]);
    let handles: Vec<u32> =
        (0..300).map(|n| lending.world.get::<GnttabMapGrantRef>(LIST + 32 * n).handle).collect();
    assert_eq!(handles, (0..300).collect::<Vec<_>>());
    assert_eq!((lending.counts(frame), lending.grants(1).mappings()), ((301, 0), 300));
    lending.check();
}

#[test]
fn reserved_entries_stay_in_use_through_a_change_of_version() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(3, 0, frame);
    let (read, write) = (lending.mapped(HOST | READ, 3, WINDOW), lending.mapped(HOST, 3, WINDOW + 0x1000));
    lending.world.act_as(0);
    lending.set_version(2);
    assert_eq!(lending.marks(0, 3), GTF_READING | GTF_WRITING);
    lending.world.act_as(1);
    assert_eq!(lending.unmap(write, WINDOW + 0x1000, 0), GNTST_OKAY);
    assert_eq!(lending.marks(0, 3), GTF_READING);
    lending.world.act_as(0);
    lending.set_version(1);
    lending.world.act_as(1);
    assert_eq!(lending.marks(0, 3), GTF_READING);
    let again = lending.mapped(HOST, 3, WINDOW + 0x1000);
    for (handle, address) in [(read, WINDOW), (again, WINDOW + 0x1000)] {
        assert_eq!(lending.unmap(handle, address, 0), GNTST_OKAY);
    }
    assert_eq!(lending.marks(0, 3), 0);
    // Past the reserved ones an entry in use keeps the version.
    lending.lend(8, 0, frame);
    lending.mapped(HOST | READ, 8, WINDOW);
    lending.world.act_as(0);
    lending.world.put(ARG, &GnttabSetVersion { version: 2 });
    assert_eq!(lending.op(GNTTABOP_SET_VERSION, 1), Errno::EBUSY.to_ret());
    assert_eq!(lending.world.get::<GnttabSetVersion>(ARG).version, 1);
    lending.check();
}
