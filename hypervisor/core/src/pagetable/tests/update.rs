use super::world::{BASE, RO, RW, World, refused};
use crate::addr::{Level, Mfn, Pfn};
use crate::frame::FrameType;
use crate::memory::Memory;
use crate::pagetable::{MapOwner, OpError, Pte};
use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMU_MACHPHYS_UPDATE, MMU_PT_UPDATE_PRESERVE_AD, MmuUpdate};

fn update_as(
    world: &mut World,
    table: Mfn,
    index: usize,
    wish: Pte,
    command: u64,
    owner: MapOwner,
) -> Result<(), OpError> {
    let ptr = table.address() + index as u64 * 8 + command;
    let result = world.paging().update(MmuUpdate { ptr, val: wish.0 }, owner);
    world.check();
    result
}

fn update(world: &mut World, table: Mfn, index: usize, wish: Pte) -> Result<(), OpError> {
    update_as(world, table, index, wish, 0, MapOwner::Own)
}

#[test]
fn an_l1_entry_moves_its_references_along() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let page = world.page();
    assert_eq!(update(&mut world, tree.l1, 0, Pte::new(page, RW)), Ok(()));
    assert!(world.info(page).is_in_use_as(FrameType::Writable));
    assert_eq!(world.info(tree.pages[0]).type_count(), 0);
    assert_eq!(world.info(tree.pages[0]).refs(), 1);
    assert_eq!(update(&mut world, tree.l1, 0, Pte::new(page, RO)), Ok(()));
    assert_eq!((world.info(page).type_count(), world.info(page).refs()), (0, 2));
    assert_eq!(update(&mut world, tree.l1, 0, Pte(0)), Ok(()));
    assert_eq!(world.info(page).refs(), 1);
    assert_eq!(world.entry(tree.l1, 0), Pte(0));
}

#[test]
fn a_refused_l1_entry_changes_nothing() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let foreign = world.foreign_page();
    let before = world.entry(tree.l1, 0);
    let cases = [
        (Pte::new(foreign, RO), Errno::EBUSY),
        (Pte::new(Mfn::new(1), RO), Errno::EBUSY),
        (Pte::new(tree.l1, RW), Errno::EBUSY),
        (Pte::new(Mfn::new(64), RO), Errno::EPERM),
        (Pte::new(Mfn::new(Pte::NO_FRAME), RO), Errno::EINVAL),
        (Pte::new(tree.pages[1], RW | Pte::PS), Errno::EINVAL),
        (Pte::new(tree.pages[1], RW | 1 << 4), Errno::EINVAL),
    ];
    for (wish, error) in cases {
        assert_eq!(update(&mut world, tree.l1, 0, wish), refused(error), "{wish:?}");
        assert_eq!(world.entry(tree.l1, 0), before);
    }
}

#[test]
fn harmless_bits_change_without_touching_references() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let page = tree.pages[0];
    // At the limit no further reference can be had, so this passes only without taking one.
    let all = RW | Pte::A | Pte::D | Pte::NX | Pte::AVAIL | Pte::AVAIL_HIGH;
    for flags in [all, RW & !Pte::US, RW | Pte::G] {
        assert_eq!(update(&mut world, tree.l1, 0, Pte::new(page, flags)), Ok(()));
        assert_eq!(world.entry(tree.l1, 0), Pte::new(page, flags & !Pte::G));
        assert_eq!((world.info(page).type_count(), world.info(page).refs()), (1, 2));
    }
}

#[test]
fn a_writable_page_becomes_a_table_only_after_its_last_mapping() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let page = tree.pages[0];
    assert_eq!(update(&mut world, tree.l1, 9, Pte::new(page, RW)), Ok(()));
    assert_eq!(update(&mut world, tree.l1, 0, Pte(0)), Ok(()));
    assert_eq!(world.paging().pin(page, Level::L1), refused(Errno::EINVAL));
    assert_eq!(update(&mut world, tree.l1, 9, Pte(0)), Ok(()));
    assert!(world.machine.holds(0, BASE), "the guest did not flush");
    // The check at the end of each update has the CPUs cache all they can, and finds nothing stale.
    assert_eq!(world.paging().pin(page, Level::L1), Ok(()));
    assert!(!world.machine.holds(0, BASE), "so the change of type did");
    world.check();
}

#[test]
fn upper_entries_take_and_release_tables() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let l1 = world.page();
    assert_eq!(update(&mut world, tree.l2, 7, Pte::new(l1, RW)), Ok(()));
    assert!(world.info(l1).is_in_use_as(FrameType::L1));
    let (l2, l3) = (world.page(), world.page());
    assert_eq!(update(&mut world, tree.l3, 7, Pte::new(l2, RW)), Ok(()));
    assert_eq!(update(&mut world, tree.l4, 7, Pte::new(l3, RW)), Ok(()));
    assert!(world.info(l2).is_in_use_as(FrameType::L2) && world.info(l3).is_in_use_as(FrameType::L3));
    for (table, child) in [(tree.l2, l1), (tree.l3, l2), (tree.l4, l3)] {
        assert_eq!(update(&mut world, table, 7, Pte(0)), Ok(()));
        assert_eq!((world.info(child).type_count(), world.info(child).refs()), (0, 1));
    }
}

#[test]
fn a_refused_upper_entry_changes_nothing() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let foreign = world.foreign_page();
    let bad = world.page();
    world.set(bad, 4, Mfn::new(64), RW);
    for (table, index) in [(tree.l2, 0), (tree.l3, 0), (tree.l4, 1)] {
        let before = world.entry(table, index);
        for (wish, error) in [
            (Pte::new(foreign, RW), Errno::EINVAL),
            (Pte::new(Mfn::new(0), RW), Errno::EINVAL),
            (Pte::new(Mfn::new(64), RW), Errno::EINVAL),
            (Pte::new(tree.pages[0], RW), Errno::EINVAL),
            (Pte::new(table, RO), Errno::EINVAL),
            (Pte::new(world.page(), RW | Pte::PS), Errno::EINVAL),
            (Pte::new(world.page(), RW | Pte::G), Errno::EINVAL),
        ] {
            assert_eq!(update(&mut world, table, index, wish), refused(error), "{wish:?} in {table}");
            assert_eq!(world.entry(table, index), before);
        }
    }
    assert_eq!(update(&mut world, tree.l2, 0, Pte::new(bad, RW)), refused(Errno::EPERM));
    assert_eq!(world.info(bad).refs(), 1);
}

#[test]
fn reserved_slots_refuse_entries() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    for slot in [256, 257, 271] {
        for wish in [Pte(0), Pte::new(tree.l3, RW)] {
            assert_eq!(update(&mut world, tree.l4, slot, wish), refused(Errno::EINVAL), "slot {slot}");
        }
    }
    for slot in [0, 255, 272, 511] {
        assert_eq!(update(&mut world, tree.l4, slot, Pte::new(tree.l3, RW)), Ok(()), "slot {slot}");
    }
}

#[test]
fn roots_follow_their_l4() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    assert_eq!(world.on(1, 1 << 20).set_base(tree.l4), Ok(()));
    let changes = world.machine.counters().root_changes;
    // check() compares the roots with the L4 after each update.
    assert_eq!(update(&mut world, tree.l4, 300, Pte::new(tree.l3, RO)), Ok(()));
    assert_eq!(update(&mut world, tree.l4, 300, Pte::new(tree.l3, RO | Pte::NX)), Ok(()));
    assert_eq!(update(&mut world, tree.l4, 300, Pte(0)), Ok(()));
    assert_eq!(world.machine.counters().root_changes, changes + 3);
    assert_eq!(world.machine.touch(1, BASE, true, false), Some(tree.pages[0]));
}

#[test]
fn a_changed_upper_entry_flushes_the_domain_if_it_was_present() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let l1 = world.page();
    let flushes = |world: &World| world.machine.counters().full_flushes;
    let before = flushes(&world);
    assert_eq!(update(&mut world, tree.l2, 3, Pte::new(l1, RW)), Ok(()));
    assert_eq!(flushes(&world), before, "it was not present");
    assert_eq!(update(&mut world, tree.l2, 3, Pte::new(l1, RO)), Ok(()));
    assert_eq!(flushes(&world), before + 1);
    assert_eq!(update(&mut world, tree.l2, 3, Pte::new(l1, RO)), Ok(()));
    assert_eq!(flushes(&world), before + 1, "it did not change");
    assert_eq!(update(&mut world, tree.l2, 3, Pte(0)), Ok(()));
    assert_eq!(flushes(&world), before + 2);
}

#[test]
fn preserve_ad_keeps_what_the_cpu_set() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    assert_eq!(world.machine.touch(0, BASE, true, false), Some(tree.pages[0]));
    let marks = Pte::A | Pte::D;
    // The CPU had the translation cached, so it set nothing; as if it had:
    let entry = world.entry(tree.l1, 0).0;
    world.machine.poke(tree.l1, 0, entry | marks);
    let wish = Pte::new(tree.pages[0], RW | Pte::NX);
    assert_eq!(update_as(&mut world, tree.l1, 0, wish, MMU_PT_UPDATE_PRESERVE_AD, MapOwner::Own), Ok(()));
    assert_eq!(world.entry(tree.l1, 0).0, wish.0 | marks);
    assert_eq!(update(&mut world, tree.l1, 0, wish), Ok(()));
    assert_eq!(world.entry(tree.l1, 0), wish);
    let entry = world.entry(tree.l2, 0).0 | Pte::A;
    world.machine.poke(tree.l2, 0, entry);
    let wish = Pte::new(tree.l1, RO);
    assert_eq!(update_as(&mut world, tree.l2, 0, wish, MMU_PT_UPDATE_PRESERVE_AD, MapOwner::Own), Ok(()));
    assert_eq!(world.entry(tree.l2, 0).0, wish.0 | Pte::A);
}

#[test]
fn preserve_ad_keeps_what_a_cpu_sets_meanwhile() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let keep = |world: &mut World, table, index, wish| {
        update_as(world, table, index, wish, MMU_PT_UPDATE_PRESERVE_AD, MapOwner::Own)
    };
    let wish = Pte::new(tree.pages[0], RW | Pte::A);
    world.machine.set_meanwhile(tree.l1, 0, Pte::A | Pte::D);
    assert_eq!(keep(&mut world, tree.l1, 0, wish), Ok(()));
    assert_eq!(world.entry(tree.l1, 0).0, wish.0 | Pte::D);
    // Set before as well as asked for: it stays set.
    assert_eq!(keep(&mut world, tree.l1, 0, wish), Ok(()));
    assert_eq!(world.entry(tree.l1, 0).0, wish.0 | Pte::D);
    world.machine.set_meanwhile(tree.l2, 0, Pte::A);
    assert_eq!(keep(&mut world, tree.l2, 0, Pte::new(tree.l1, RO)), Ok(()));
    assert_eq!(world.entry(tree.l2, 0), Pte::new(tree.l1, RO | Pte::A));
    // What no CPU does: the entry is left, and what was taken for the new one is given back.
    let page = world.page();
    let l1 = world.page();
    let before = world.entry(tree.l1, 0);
    world.machine.set_meanwhile(tree.l1, 0, 1 << 9);
    assert_eq!(keep(&mut world, tree.l1, 0, Pte::new(page, RW)), refused(Errno::EBUSY));
    assert_eq!(world.entry(tree.l1, 0), Pte(before.0 | 1 << 9));
    assert_eq!((world.info(page).refs(), world.info(page).type_count()), (1, 0));
    world.machine.set_meanwhile(tree.l2, 0, 1 << 9);
    assert_eq!(keep(&mut world, tree.l2, 0, Pte::new(l1, RW)), refused(Errno::EBUSY));
    assert_eq!((world.info(l1).refs(), world.info(l1).type_count()), (1, 0));
    world.machine.set_meanwhile(tree.l2, 0, 1 << 10);
    assert_eq!(keep(&mut world, tree.l2, 0, Pte::new(tree.l1, RW)), refused(Errno::EBUSY));
}

#[test]
fn pages_that_are_no_tables_are_written_as_asked() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let plain = world.page();
    for frame in [plain, tree.pages[0]] {
        assert_eq!(update(&mut world, frame, 5, Pte(0x1234_5679)), Ok(()));
        assert_eq!(world.entry(frame, 5), Pte(0x1234_5679));
    }
    assert_eq!(world.info(plain).type_count(), 0);
    assert_eq!(world.info(tree.pages[0]).type_count(), 1);
    let foreign = world.foreign_page();
    for frame in [foreign, Mfn::new(0), Mfn::new(63), Mfn::new(64)] {
        assert_eq!(update(&mut world, frame, 5, Pte(1)), refused(Errno::EINVAL));
    }
    assert_eq!(world.paging().hold_descriptors(plain, |_| Some(0)), Ok(()));
    world.holdings.push(crate::audit::Holding::Descriptors(plain));
    assert_eq!(update(&mut world, plain, 5, Pte(0)), refused(Errno::EINVAL));
}

#[test]
fn device_memory_is_nobodys_yet() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let io = MapOwner::Io;
    for (wish, error) in [
        (Pte::new(Mfn::new(0xfee00), RW), Errno::EPERM),
        (Pte::new(Mfn::new(0), RO), Errno::EBUSY),
        (Pte::new(tree.pages[0], RO), Errno::EBUSY),
    ] {
        assert_eq!(update_as(&mut world, tree.l1, 9, wish, 0, io), refused(error), "{wish:?}");
    }
    assert_eq!(update_as(&mut world, tree.l1, 9, Pte(0), 0, io), Ok(()));
    assert_eq!(update_as(&mut world, tree.l2, 9, Pte(0), 0, io), refused(Errno::EINVAL));
    let m2p = update_as(&mut world, tree.l1, 0, Pte(5), MMU_MACHPHYS_UPDATE, io);
    assert_eq!(m2p, refused(Errno::EINVAL));
}

#[test]
fn the_m2p_is_the_owners_to_set() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let own = MapOwner::Own;
    assert_eq!(update_as(&mut world, tree.pages[0], 77, Pte(42), MMU_MACHPHYS_UPDATE, own), Ok(()));
    assert_eq!(world.machine.m2p(tree.pages[0]), Pfn::new(42));
    let foreign = world.foreign_page();
    for frame in [foreign, Mfn::new(2), Mfn::new(100)] {
        let result = update_as(&mut world, frame, 0, Pte(42), MMU_MACHPHYS_UPDATE, own);
        assert_eq!(result, refused(Errno::EINVAL));
    }
    assert_eq!(world.machine.m2p(foreign), Pfn::INVALID);
}

#[test]
fn unknown_commands_are_enosys() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    for command in 4..8 {
        let result = update_as(&mut world, tree.l1, 0, Pte(0), command, MapOwner::Own);
        assert_eq!(result, refused(Errno::ENOSYS));
    }
    assert!(world.entry(tree.l1, 0).present());
    assert_eq!(update_as(&mut world, tree.l1, 0, Pte(0), 3, MapOwner::Own), Ok(()));
}

#[test]
fn a_large_subtree_is_attached_in_steps_and_detached_in_steps() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let (l3, l2, l1) = (world.page(), world.page(), world.page());
    world.set(l3, 0, l2, RW);
    world.set(l3, 511, l2, RW);
    world.set(l2, 0, l1, RW);
    world.set(l2, 511, l1, RW);
    let request = MmuUpdate { ptr: tree.l4.address() + 8 * 9, val: Pte::new(l3, RW).0 };
    let (result, times) = world.repeat(|paging| paging.update(request, MapOwner::Own));
    assert_eq!(result, Ok(()));
    assert!(times > 500, "{times}");
    assert!(world.info(l1).is_in_use_as(FrameType::L1));
    let request = MmuUpdate { val: 0, ..request };
    let (result, times) = world.repeat(|paging| paging.update(request, MapOwner::Own));
    assert_eq!((result, times), (Ok(()), 1));
    assert_eq!(world.entry(tree.l4, 9), Pte(0));
    assert_eq!(world.vcpus[0].pending(), Some(l3));
    let (result, times) = world.repeat(|paging| paging.finish_pending());
    assert_eq!(result, Ok(()));
    assert!(times > 500, "{times}");
    assert_eq!((world.info(l3).refs(), world.info(l1).type_count()), (1, 0));
}
