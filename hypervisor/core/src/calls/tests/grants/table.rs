//! The table itself: frames, size, version, status frames, swapping.

use crate::addr::Mfn;
use crate::calls::tests::world::{ARG, BAD, LIST, World};
use crate::memory::Memory;
use crate::pagetable::Pte;
use paravane_abi::errno::Errno;
use paravane_abi::grant::*;
use paravane_abi::hypercall::{HYPERVISOR_GRANT_TABLE_OP, HYPERVISOR_UPDATE_VA_MAPPING};
use paravane_abi::mmu::DOMID_SELF;
use std::vec::Vec;

fn call(world: &mut World, command: u32, count: u64) -> i64 {
    world.call(HYPERVISOR_GRANT_TABLE_OP, &[command.into(), ARG, count])
}

fn setup(world: &mut World, dom: u16, nr_frames: u32, frame_list: u64) -> i16 {
    world.put(ARG, &GnttabSetupTable { dom, nr_frames, status: 99, frame_list, ..Default::default() });
    assert_eq!(call(world, GNTTABOP_SETUP_TABLE, 1), 0);
    world.get::<GnttabSetupTable>(ARG).status
}

fn listed(world: &World, count: usize) -> Vec<Mfn> {
    (0..count).map(|n| Mfn::new(world.get(LIST + 8 * n as u64))).collect()
}

fn query(world: &mut World, dom: u16) -> GnttabQuerySize {
    world.put(ARG, &GnttabQuerySize { dom, status: 99, ..Default::default() });
    assert_eq!(call(world, GNTTABOP_QUERY_SIZE, 1), 0);
    world.get(ARG)
}

fn set_version(world: &mut World, version: u32) -> (i64, u32) {
    world.put(ARG, &GnttabSetVersion { version });
    (call(world, GNTTABOP_SET_VERSION, 0), world.get(ARG))
}

/// The mfns of the status frames asked for, or the status.
fn status_frames(world: &mut World, nr_frames: u32) -> Result<Vec<Mfn>, i16> {
    let request = GnttabGetStatusFrames { nr_frames, dom: DOMID_SELF, status: 99, frame_list: LIST };
    world.put(ARG, &request);
    assert_eq!(call(world, GNTTABOP_GET_STATUS_FRAMES, 1), 0);
    match world.get::<GnttabGetStatusFrames>(ARG).status {
        GNTST_OKAY => Ok(listed(world, nr_frames as usize)),
        status => Err(status),
    }
}

#[test]
fn a_domain_starts_with_one_frame_of_64_and_version_1() {
    let mut world = World::with_domains(2);
    for dom in [DOMID_SELF, 1] {
        let size = query(&mut world, dom);
        assert_eq!((size.status, size.nr_frames, size.max_nr_frames), (GNTST_OKAY, 1, 64));
        world.put(ARG, &GnttabGetVersion { dom, ..Default::default() });
        assert_eq!(call(&mut world, GNTTABOP_GET_VERSION, 77), 0);
        assert_eq!(world.get::<GnttabGetVersion>(ARG).version, 1);
    }
    world.audit();
}

#[test]
fn tables_of_others_are_not_shown() {
    let mut world = World::with_domains(2);
    for (dom, status, error) in
        [(2, GNTST_PERMISSION_DENIED, Errno::EPERM), (3, GNTST_BAD_DOMAIN, Errno::ESRCH)]
    {
        assert_eq!(setup(&mut world, dom, 1, LIST), status);
        assert_eq!(query(&mut world, dom).status, status);
        let request = GnttabGetStatusFrames { nr_frames: 0, dom, status: 99, frame_list: LIST };
        world.put(ARG, &request);
        assert_eq!(call(&mut world, GNTTABOP_GET_STATUS_FRAMES, 1), 0);
        assert_eq!(world.get::<GnttabGetStatusFrames>(ARG).status, status);
        world.put(ARG, &GnttabGetVersion { dom, ..Default::default() });
        let args = [GNTTABOP_GET_VERSION.into(), ARG, 1];
        world.refused(HYPERVISOR_GRANT_TABLE_OP, &args, error);
    }
}

#[test]
fn the_table_grows_to_what_is_asked_and_can_be_mapped_writable() {
    let mut world = World::with_spare_frames(1, 400);
    assert_eq!(setup(&mut world, DOMID_SELF, 3, LIST), GNTST_OKAY);
    let first = listed(&world, 3);
    assert_eq!(query(&mut world, DOMID_SELF).nr_frames, 3);
    assert_eq!(setup(&mut world, DOMID_SELF, 64, LIST), GNTST_OKAY);
    assert_eq!(listed(&world, 3), first);
    assert_eq!(setup(&mut world, DOMID_SELF, 0, LIST), GNTST_OKAY);
    assert_eq!(query(&mut world, DOMID_SELF).nr_frames, 64);
    assert!(world.preempted > 3, "64 frames in {} steps", world.preempted);
    for frame in first {
        world.map(LIST + 0x1000, frame.address() | Pte::P | Pte::RW);
        world.put(LIST + 0x1000, &7u64);
        assert_eq!(world.hv.machine.read_word(frame, 0), 7);
        world.audit();
    }
}

#[test]
fn a_table_that_cannot_grow_stays_as_it_is() {
    let mut world = World::bare();
    let free = world.hv.frames.free_frames();
    for (nr_frames, list) in [(65, LIST), (u32::MAX, LIST), (64, LIST)] {
        assert_eq!(setup(&mut world, DOMID_SELF, nr_frames, list), GNTST_GENERAL_ERROR, "{nr_frames}");
        assert_eq!(query(&mut world, DOMID_SELF).nr_frames, 1);
        assert_eq!(world.hv.frames.free_frames(), free);
    }
    world.audit();
}

#[test]
fn lists_that_cannot_be_written() {
    let mut world = World::new();
    for bad in BAD {
        let request =
            GnttabSetupTable { dom: DOMID_SELF, nr_frames: 1, frame_list: bad, ..Default::default() };
        world.put(ARG, &request);
        let answer = call(&mut world, GNTTABOP_SETUP_TABLE, 1);
        let in_range = crate::addr::VirtAddr::is_guest(bad);
        assert_eq!(answer, if in_range { 0 } else { Errno::EFAULT.to_ret() }, "{bad:#x}");
        if in_range {
            assert_eq!(world.get::<GnttabSetupTable>(ARG).status, GNTST_BAD_VIRT_ADDR);
        }
        for command in [GNTTABOP_SETUP_TABLE, GNTTABOP_QUERY_SIZE, GNTTABOP_SET_VERSION, GNTTABOP_GET_VERSION]
        {
            let args = [command.into(), bad, 1];
            world.refused(HYPERVISOR_GRANT_TABLE_OP, &args, Errno::EFAULT);
        }
    }
    for command in [GNTTABOP_SETUP_TABLE, GNTTABOP_QUERY_SIZE, GNTTABOP_GET_STATUS_FRAMES] {
        for count in [0, 2] {
            let args = [command.into(), ARG, count];
            world.refused(HYPERVISOR_GRANT_TABLE_OP, &args, Errno::EINVAL);
        }
    }
}

#[test]
fn commands_that_are_none() {
    let mut world = World::new();
    let refused = [
        (GNTTABOP_DUMP_TABLE, 1, Errno::ENOSYS),
        (13, 1, Errno::ENOSYS),
        (0xfff, 1, Errno::ENOSYS),
        (13, 0x8000_0000, Errno::EINVAL),
        (GNTTABOP_QUERY_SIZE, 0xffff_ffff, Errno::EINVAL),
        (GNTTABOP_QUERY_SIZE | 0x1000, 1, Errno::EINVAL),
        (13 | 0x8000_0000, 1, Errno::EINVAL),
    ];
    for (command, count, error) in refused {
        let args = [command.into(), ARG, count];
        world.refused(HYPERVISOR_GRANT_TABLE_OP, &args, error);
    }
}

#[test]
fn versions_change_and_the_reserved_entries_stay() {
    let mut world = World::bare();
    assert_eq!(set_version(&mut world, 3), (Errno::EINVAL.to_ret(), 1));
    assert_eq!(set_version(&mut world, 0), (Errno::EINVAL.to_ret(), 1));
    assert_eq!(set_version(&mut world, 1), (0, 1));
    assert_eq!(status_frames(&mut world, 1), Err(GNTST_GENERAL_ERROR));
    assert_eq!(setup(&mut world, DOMID_SELF, 1, LIST), GNTST_OKAY);
    let table = listed(&world, 1)[0];
    let entry = |n: u64, flags: u16| u64::from(flags) | 2 << 16 | (0x100 + n) << 32;
    for n in 0..20u64 {
        world.hv.machine.fake.poke(table, n as usize, entry(n, GTF_PERMIT_ACCESS | GTF_READING));
    }
    world.hv.machine.fake.poke(table, 3, entry(3, GTF_ACCEPT_TRANSFER));
    assert_eq!(set_version(&mut world, 2), (0, 2));
    let status = status_frames(&mut world, 1).unwrap()[0];
    assert_eq!(status_frames(&mut world, 2), Err(GNTST_GENERAL_ERROR));
    let words = |world: &World, n| {
        (world.hv.machine.read_word(table, 2 * n), world.hv.machine.read_word(table, 2 * n + 1))
    };
    for n in 0..8usize {
        let flags = if n == 3 { GTF_ACCEPT_TRANSFER } else { GTF_PERMIT_ACCESS };
        assert_eq!(words(&world, n), (u64::from(flags) | 2 << 16, 0x100 + n as u64), "{n}");
    }
    assert_eq!(words(&world, 8), (0, 0));
    assert_eq!(world.hv.machine.read_word(status, 0), 0x0000_0008_0008_0008);
    assert_eq!(world.hv.machine.read_word(status, 1), 0x0008_0008_0008_0008);
    world.audit();
    // Entries that version 1 cannot have.
    for (first, second) in [(u64::from(GTF_TRANSITIVE), 0), (u64::from(GTF_PERMIT_ACCESS), 1 << 32)] {
        let old = words(&world, 1);
        world.hv.machine.fake.poke(table, 2, first);
        world.hv.machine.fake.poke(table, 3, second);
        assert_eq!(set_version(&mut world, 1), (Errno::ERANGE.to_ret(), 2));
        world.hv.machine.fake.poke(table, 2, old.0);
        world.hv.machine.fake.poke(table, 3, old.1);
    }
    assert_eq!(set_version(&mut world, 1), (0, 1));
    for n in 0..8u64 {
        let expected = if n == 3 { 0 } else { entry(n, GTF_PERMIT_ACCESS | GTF_READING) };
        assert_eq!(world.hv.machine.read_word(table, n as usize), expected, "{n}");
    }
    assert_eq!(world.hv.machine.read_word(table, 8), 0);
    assert_eq!(world.domain().grants.status(), []);
    world.audit();
}

#[test]
fn status_frames_that_are_mapped_do_not_go() {
    let mut world = World::bare();
    assert_eq!(set_version(&mut world, 2), (0, 2));
    let status = status_frames(&mut world, 1).unwrap()[0];
    for writable in [0, Pte::RW] {
        world.map(LIST + 0x1000, status.address() | Pte::P | writable);
        assert_eq!(set_version(&mut world, 1), (Errno::EBUSY.to_ret(), 2));
        assert_eq!(status_frames(&mut world, 1), Ok([status].into()));
    }
    world.map(LIST + 0x1000, 0);
    assert_eq!(set_version(&mut world, 1), (0, 1));
    // It was given back: it can't be mapped any more.
    let entry = status.address() | Pte::P;
    assert_eq!(world.call(HYPERVISOR_UPDATE_VA_MAPPING, &[LIST + 0x1000, entry, 0]), Errno::EBUSY.to_ret());
    world.audit();
}

#[test]
fn a_version_2_table_grows_with_its_status_frames() {
    let mut world = World::with_spare_frames(1, 400);
    assert_eq!(set_version(&mut world, 2), (0, 2));
    assert_eq!(setup(&mut world, DOMID_SELF, 9, LIST), GNTST_OKAY);
    let frames = status_frames(&mut world, 2).unwrap();
    assert_eq!(status_frames(&mut world, 3), Err(GNTST_GENERAL_ERROR));
    assert_ne!(frames[0], frames[1]);
    world.audit();
}

#[test]
fn entries_are_swapped() {
    for version in [1, 2] {
        let mut world = World::bare();
        assert_eq!(set_version(&mut world, version), (0, version));
        assert_eq!(setup(&mut world, DOMID_SELF, 1, LIST), GNTST_OKAY);
        let table = listed(&world, 1)[0];
        let words = version as usize;
        for n in 0..words {
            world.hv.machine.fake.poke(table, 10 * words + n, 0x1111 + n as u64);
            world.hv.machine.fake.poke(table, 11 * words + n, 0x2222 + n as u64);
        }
        if version == 2 {
            let status = status_frames(&mut world, 1).unwrap()[0];
            world.hv.machine.fake.poke(status, 2, 0x1818_0018_0008_0077);
        }
        let entries = 512 / version;
        let swaps = [(10, 11), (10, 10), (entries, 10), (10, entries), (u32::MAX, u32::MAX)];
        let requests = swaps.map(|(ref_a, ref_b)| GnttabSwapGrantRef { ref_a, ref_b, status: 99, pad: 0 });
        world.put(ARG, &requests);
        assert_eq!(call(&mut world, GNTTABOP_SWAP_GRANT_REF, 5), 0);
        let done: [GnttabSwapGrantRef; 5] = world.get(ARG);
        let bad = GNTST_BAD_GNTREF;
        assert_eq!(done.map(|done| done.status), [0, 0, bad, bad, bad]);
        for n in 0..words {
            assert_eq!(world.hv.machine.read_word(table, 10 * words + n), 0x2222 + n as u64);
            assert_eq!(world.hv.machine.read_word(table, 11 * words + n), 0x1111 + n as u64);
        }
        if version == 2 {
            let status = status_frames(&mut world, 1).unwrap()[0];
            assert_eq!(world.hv.machine.read_word(status, 2), 0x0018_1818_0008_0077);
        }
        world.audit();
    }
}
