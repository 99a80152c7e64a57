use super::world::{RO, RW, World, refused};
use crate::addr::{Level, Mfn};
use crate::frame::{Direction, FrameType, Partial};
use crate::pagetable::{OpError, PagingPolicy, Pte};
use paravane_abi::errno::Errno;

#[test]
fn pinning_an_l4_types_the_whole_tree() {
    let mut world = World::ring1();
    let tree = world.tree(3);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    world.check();
    for (frame, kind) in [
        (tree.l4, FrameType::L4),
        (tree.l3, FrameType::L3),
        (tree.l2, FrameType::L2),
        (tree.l1, FrameType::L1),
    ] {
        assert!(world.info(frame).is_in_use_as(kind), "{kind:?}");
        assert_eq!(world.info(frame).type_count(), 1);
        assert_eq!(world.info(frame).refs(), 2);
    }
    for &page in &tree.pages {
        assert!(world.info(page).is_in_use_as(FrameType::Writable));
    }
    assert!(world.info(tree.l4).pinned() && !world.info(tree.l3).pinned());
}

#[test]
fn unpinning_gives_everything_back() {
    let mut world = World::ring1();
    let tree = world.tree(3);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    assert_eq!(world.paging().unpin(tree.l4), Ok(()));
    world.check();
    for frame in [tree.l4, tree.l3, tree.l2, tree.l1, tree.pages[0], tree.pages[2]] {
        assert_eq!((world.info(frame).type_count(), world.info(frame).refs()), (0, 1), "{frame}");
    }
    assert_eq!(world.paging().unpin(tree.l4), refused(Errno::EINVAL));
}

#[test]
fn slots_that_are_reserved_in_an_l4_are_like_others_below_it() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    let (l2, l1) = (world.page(), world.page());
    world.set(tree.l3, 256, l2, RW);
    world.set(l2, 271, l1, RW);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    world.check();
    assert!(world.info(l2).is_in_use_as(FrameType::L2) && world.info(l1).is_in_use_as(FrameType::L1));
    assert_eq!(world.paging().unpin(tree.l4), Ok(()));
    world.check();
    for frame in [l2, l1] {
        assert_eq!((world.info(frame).type_count(), world.info(frame).refs()), (0, 1), "{frame}");
    }
}

#[test]
fn every_level_can_be_pinned_and_only_once() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    for (frame, level) in
        [(tree.l1, Level::L1), (tree.l2, Level::L2), (tree.l3, Level::L3), (tree.l4, Level::L4)]
    {
        assert_eq!(world.paging().pin(frame, level), Ok(()));
        assert_eq!(world.paging().pin(frame, level), refused(Errno::EINVAL), "{level:?} again");
        world.check();
    }
    // The pins below keep their tables when the root goes.
    assert_eq!(world.paging().unpin(tree.l4), Ok(()));
    assert!(world.info(tree.l3).is_in_use_as(FrameType::L3));
    for frame in [tree.l3, tree.l2, tree.l1] {
        assert_eq!(world.paging().unpin(frame), Ok(()));
        world.check();
    }
}

#[test]
fn what_is_not_the_domains_is_no_table() {
    let mut world = World::ring1();
    let foreign = world.foreign_page();
    for frame in [foreign, Mfn::new(0), Mfn::new(63), Mfn::new(64), Mfn::new(1 << 40)] {
        for level in Level::DOWN {
            assert_eq!(world.paging().pin(frame, level), refused(Errno::EINVAL), "{frame}");
        }
        assert_eq!(world.paging().unpin(frame), refused(Errno::EINVAL), "{frame}");
    }
    world.check();
}

#[test]
fn a_table_in_use_takes_no_other_type() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    for (frame, level) in [
        (tree.l4, Level::L3),
        (tree.l3, Level::L2),
        (tree.l2, Level::L1),
        (tree.l1, Level::L2),
        (tree.pages[0], Level::L1),
    ] {
        assert_eq!(world.paging().pin(frame, level), refused(Errno::EINVAL));
    }
    world.check();
}

#[test]
fn a_page_mapped_writable_anywhere_is_no_table() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    // The L1 maps the L2 writable: the tree would contain its own key.
    world.set(tree.l1, 7, tree.l2, RW);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), refused(Errno::EBUSY));
    world.check();
    world.set(tree.l1, 7, tree.l2, RO);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    world.check();
}

#[test]
fn a_table_that_maps_itself_read_only_can_go_again() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    world.set(tree.l1, 3, tree.l1, RO);
    world.set(tree.l1, 4, tree.l4, RO);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    world.check();
    assert_eq!(world.info(tree.l1).refs(), 3);
    assert_eq!(world.paging().unpin(tree.l4), Ok(()));
    world.check();
    assert_eq!(world.info(tree.l1).refs(), 1);
}

#[test]
fn no_table_names_its_own_level() {
    for level in [Level::L2, Level::L3, Level::L4] {
        let mut world = World::ring1();
        let tree = world.tree(1);
        let table = match level {
            Level::L2 => tree.l2,
            Level::L3 => tree.l3,
            _ => tree.l4,
        };
        world.set(table, 9, table, RO);
        assert_eq!(world.paging().pin(table, level), refused(Errno::EINVAL), "{level:?}: itself");
        world.check();
        world.machine.poke(table, 9, 0);
        let twin = world.page();
        world.set(twin, 5, table, RO);
        assert_eq!(world.paging().pin(table, level), Ok(()));
        assert_eq!(world.paging().pin(twin, level), refused(Errno::EINVAL), "{level:?}: a twin");
        world.check();
    }
}

#[test]
fn entries_for_what_the_domain_may_not_map_are_refused() {
    let mut world = World::ring1();
    let foreign = world.foreign_page();
    let tree = world.tree(1);
    let cases = [
        (foreign, Errno::EBUSY),
        (Mfn::new(0), Errno::EBUSY),
        (Mfn::new(63), Errno::EBUSY),
        (Mfn::new(64), Errno::EPERM),
        (Mfn::new(0xfee00), Errno::EPERM),
        (Mfn::new(Pte::NO_FRAME), Errno::EINVAL),
    ];
    for (frame, error) in cases {
        world.set(tree.l1, 5, frame, RO);
        assert_eq!(world.paging().pin(tree.l1, Level::L1), refused(error), "{frame}");
        // Its parents fail with the same error, and hold nothing afterwards.
        assert_eq!(world.paging().pin(tree.l4, Level::L4), refused(error), "{frame}");
        world.check();
        assert_eq!(world.info(tree.l4).type_count(), 0);
    }
    // Further up, whatever is no table of the domain's is EINVAL.
    world.machine.poke(tree.l1, 5, 0);
    for (table, level) in [(tree.l2, Level::L2), (tree.l3, Level::L3), (tree.l4, Level::L4)] {
        for (frame, _) in cases {
            world.set(table, 500, frame, RO);
            assert_eq!(world.paging().pin(table, level), refused(Errno::EINVAL), "{frame}");
            world.check();
            world.machine.poke(table, 500, 0);
        }
    }
}

#[test]
fn large_pages_and_cache_attributes_are_refused_in_tables() {
    for bit in [Pte::PS, 1 << 3, 1 << 4] {
        for level in Level::DOWN {
            let mut world = World::ring1();
            let tree = world.tree(1);
            let table = [tree.l1, tree.l2, tree.l3, tree.l4][level as usize - 1];
            let target = tree.pages[0];
            world.set(table, 400, target, RO | bit);
            assert_eq!(
                world.paging().pin(tree.l4, Level::L4),
                refused(Errno::EINVAL),
                "{bit:#x} in {level:?}"
            );
            world.check();
        }
    }
}

#[test]
fn validation_strips_global_and_marks_the_root() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    world.set(tree.l1, 0, tree.pages[0], RW | Pte::G);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    world.check();
    assert_eq!(world.entry(tree.l1, 0), Pte::new(tree.pages[0], RW));
    assert!(world.entry(tree.l4, 1).has(Pte::A), "CPUs walk a copy and can't set it");
    assert!(!world.entry(tree.l3, 0).has(Pte::A));
}

#[test]
fn ring_3_pages_are_user_pages_at_every_level() {
    let mut world = World::new(PagingPolicy::Ring3);
    let tree = world.tree(1);
    for (table, index) in [(tree.l4, 1), (tree.l3, 0), (tree.l2, 0), (tree.l1, 0)] {
        let entry = world.entry(table, index).0;
        world.machine.poke(table, index, entry & !Pte::US);
    }
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    world.check();
    assert!(world.entry(tree.l1, 0).has(Pte::US | Pte::GUEST_KERNEL));
    assert!(world.entry(tree.l4, 1).has(Pte::US) && !world.entry(tree.l4, 1).has(Pte::GUEST_KERNEL));
}

#[test]
fn reserved_slots_are_emptied_and_ignored() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    let foreign = world.foreign_page();
    for slot in 256..=271 {
        world.set(tree.l4, slot, foreign, RW | Pte::PS);
    }
    world.set(tree.l4, 255, tree.l3, RW);
    world.set(tree.l4, 272, tree.l3, RW);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    world.check();
    for slot in 256..=271 {
        assert_eq!(world.entry(tree.l4, slot), Pte(0), "slot {slot}");
    }
    assert_eq!(world.info(tree.l3).type_count(), 3);
}

#[test]
fn entries_that_are_not_present_are_notes() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    let note = !Pte::P;
    for table in [tree.l1, tree.l2, tree.l3, tree.l4] {
        world.machine.poke(table, 300, note);
    }
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    world.check();
    assert_eq!(world.entry(tree.l1, 300), Pte(note));
    assert_eq!(world.entry(tree.l4, 300), Pte(note));
}

#[test]
fn an_l1_may_have_several_parents() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    world.set(tree.l2, 8, tree.l1, RW);
    let twin = world.page();
    world.set(twin, 0, tree.l1, RW);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    assert_eq!(world.paging().pin(twin, Level::L2), Ok(()));
    world.check();
    assert_eq!(world.info(tree.l1).type_count(), 3);
    assert_eq!(world.paging().unpin(tree.l4), Ok(()));
    world.check();
    assert_eq!(world.info(tree.l1).type_count(), 1);
    assert!(world.info(tree.pages[0]).is_in_use_as(FrameType::Writable));
}

#[test]
fn a_table_that_fails_is_released_from_where_it_failed() {
    let mut world = World::ring1();
    let tree = world.tree(2);
    let bad = world.page();
    world.set(bad, 0, Mfn::new(0), RO);
    // Good at 0 and 100, bad at 200, good at 300, which must not be looked at.
    world.set(tree.l2, 100, tree.l1, RW);
    world.set(tree.l2, 200, bad, RW);
    world.set(tree.l2, 300, tree.l1, RW);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), refused(Errno::EBUSY));
    world.check();
    for frame in [tree.l4, tree.l3, tree.l2, tree.l1, bad] {
        assert_eq!((world.info(frame).type_count(), world.info(frame).refs()), (0, 1), "{frame}");
    }
    assert_eq!(world.vcpus[0].pending(), None);
}

#[test]
fn validation_goes_on_where_it_stopped() {
    let mut world = World::ring1();
    let tree = world.tree(2);
    world.set(tree.l4, 511, tree.l3, RW);
    world.set(tree.l2, 511, tree.l1, RW);
    let (result, times) = world.repeat(|paging| paging.pin(tree.l4, Level::L4));
    assert_eq!(result, Ok(()));
    assert!(times > 1000, "{times} calls of one step each");
    assert_eq!(world.info(tree.l4).partial(), None);
    assert_eq!(world.info(tree.l4).refs(), 2);
    let (result, times) = world.repeat(|paging| paging.unpin(tree.l4));
    assert_eq!(result, Ok(()));
    assert_eq!(times, 1, "the rest is pending");
    assert_eq!(world.vcpus[0].pending(), Some(tree.l4));
    let (result, times) = world.repeat(|paging| paging.finish_pending());
    assert_eq!(result, Ok(()));
    assert!(times > 1000, "{times} calls of one step each");
    for frame in [tree.l4, tree.l3, tree.l2, tree.l1] {
        assert_eq!((world.info(frame).type_count(), world.info(frame).refs()), (0, 1), "{frame}");
    }
}

#[test]
fn every_table_on_the_path_is_partial_when_the_budget_ends() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    // Steps: two entries of the L4, one each of L3 and L2, 512 for the L1.
    assert_eq!(world.on(0, 4).pin(tree.l4, Level::L4), Err(OpError::Again));
    world.check();
    let up = |index, child| Some(Partial { index, child, direction: Direction::Up });
    assert_eq!(world.info(tree.l4).partial(), up(1, true));
    assert_eq!(world.info(tree.l3).partial(), up(0, true));
    assert_eq!(world.info(tree.l2).partial(), up(1, false));
    assert!(world.info(tree.l1).is_in_use_as(FrameType::L1));
    assert_eq!(world.info(tree.l4).refs(), 2);
}

#[test]
fn an_abandoned_validation_can_be_taken_up_by_another_vcpu() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    assert_eq!(world.on(0, 4).pin(tree.l4, Level::L4), Err(OpError::Again));
    assert_eq!(world.on(1, 1 << 20).pin(tree.l4, Level::L4), Ok(()));
    world.check();
    assert_eq!(world.on(0, 4).pin(tree.l4, Level::L4), refused(Errno::EINVAL), "pinned already");
    world.check();
}

#[test]
fn part_of_an_abandoned_tree_can_be_used() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    assert_eq!(world.on(0, 4).pin(tree.l4, Level::L4), Err(OpError::Again));
    // The L3, partial as well, becomes somebody's own.
    assert_eq!(world.on(1, 1 << 20).pin(tree.l3, Level::L3), Ok(()));
    world.check();
    assert_eq!(world.info(tree.l3).type_count(), 1);
    assert_eq!(world.on(1, 1 << 20).unpin(tree.l3), Ok(()));
    world.check();
    // Its frame can't go: the L4's state holds it. But it can become something else, which fails the L4.
    assert_eq!(world.on(1, 1 << 20).pin(tree.l3, Level::L1), Ok(()));
    assert_eq!(world.on(0, 1 << 20).pin(tree.l4, Level::L4), refused(Errno::EINVAL));
    world.check();
    assert_eq!(world.info(tree.l4).type_count(), 0);
    assert_eq!(world.info(tree.l3).refs(), 2, "its allocation and its pin");
}

#[test]
fn a_partial_table_is_neither_written_nor_retyped() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    assert_eq!(world.on(0, 4).pin(tree.l4, Level::L4), Err(OpError::Again));
    let request = paravane_abi::mmu::MmuUpdate { ptr: tree.l4.address(), val: 0 };
    let owner = crate::pagetable::MapOwner::Own;
    assert_eq!(world.paging().update(request, owner), refused(Errno::EINVAL));
    assert_eq!(world.paging().pin(tree.l4, Level::L3), refused(Errno::EINVAL));
    assert_eq!(world.paging().unpin(tree.l4), refused(Errno::EINVAL));
    assert_eq!(world.paging().hold_writable(tree.l4), Err(Errno::EINVAL));
    assert_eq!(world.paging().hold_descriptors(tree.l4, Some), Err(Errno::EINVAL));
    world.check();
}

#[test]
fn a_failure_found_late_is_undone_in_steps() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    world.set(tree.l3, 400, Mfn::new(0), RO);
    world.set(tree.l2, 77, tree.l1, RW);
    let (result, times) = world.repeat(|paging| paging.pin(tree.l4, Level::L4));
    assert_eq!(result, Err(Errno::EINVAL));
    assert!(times > 800, "{times}");
    // The refusal came with the tables below still to be released.
    assert_eq!(world.vcpus[0].pending(), Some(tree.l4));
    assert!(world.info(tree.l4).partial().is_some());
    // Another operation finishes that first.
    let (result, times) = world.repeat(|paging| paging.pin(tree.l1, Level::L1));
    assert_eq!(result, Ok(()));
    assert!(times > 300, "{times}");
    assert_eq!(world.vcpus[0].pending(), None);
    assert_eq!(world.info(tree.l4).refs(), 1);
    assert_eq!(world.info(tree.l1).type_count(), 1);
}

#[test]
fn a_pending_release_that_another_vcpu_reversed_is_dropped() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    assert_eq!(world.paging().pin(tree.l4, Level::L4), Ok(()));
    assert_eq!(world.on(0, 1).unpin(tree.l4), Ok(()));
    assert_eq!(world.vcpus[0].pending(), Some(tree.l4));
    assert_eq!(world.on(1, 1 << 20).pin(tree.l4, Level::L4), Ok(()));
    world.check();
    assert_eq!(world.on(0, 1).finish_pending(), Ok(()));
    world.check();
    assert!(world.info(tree.l4).is_in_use_as(FrameType::L4));
    assert_eq!(world.on(1, 1 << 20).unpin(tree.l4), Ok(()));
    world.check();
    assert_eq!(world.info(tree.l4).refs(), 1);
}

#[test]
fn descriptor_pages_are_checked_and_kept_from_writers() {
    let mut world = World::ring1();
    let (gdt, tree) = (world.page(), world.boot(1));
    world.machine.poke(gdt, 1, 7);
    world.machine.poke(gdt, 511, 9);
    assert_eq!(world.paging().hold_descriptors(gdt, |word| (word != 9).then_some(word)), Err(Errno::EINVAL));
    world.check();
    assert_eq!(world.info(gdt).refs(), 1);
    assert_eq!(world.paging().hold_descriptors(gdt, |word| Some(word & !1)), Ok(()));
    world.holdings.push(crate::audit::Holding::Descriptors(gdt));
    world.check();
    assert_eq!((world.entry(gdt, 1), world.entry(gdt, 511)), (Pte(6), Pte(8)));
    let wish = Pte::new(gdt, RW).0;
    let request = paravane_abi::mmu::MmuUpdate { ptr: tree.l1.address() + 8 * 9, val: wish };
    let owner = crate::pagetable::MapOwner::Own;
    assert_eq!(world.paging().update(request, owner), refused(Errno::EBUSY));
    // Held again, it is not checked again; it goes when both are back.
    assert_eq!(world.paging().hold_descriptors(gdt, |_| None), Ok(()));
    world.paging().drop_descriptors(gdt);
    assert!(world.info(gdt).is_in_use_as(FrameType::SegDesc));
    world.check();
    world.paging().drop_descriptors(gdt);
    world.holdings.clear();
    world.check();
    assert_eq!(world.paging().update(request, owner), Ok(()));
    world.check();
    let foreign = world.foreign_page();
    assert_eq!(world.paging().hold_descriptors(foreign, Some), Err(Errno::EINVAL));
    assert_eq!(world.paging().hold_descriptors(tree.l1, Some), Err(Errno::EINVAL));
    world.check();
}

#[test]
fn descriptors_are_updated_through_the_check() {
    let mut world = World::ring1();
    let (gdt, tree) = (world.page(), world.boot(1));
    let at = |frame: Mfn, index: u64| frame.address() + index * 8;
    let even = |word: u64| (word != 13).then_some(word & !1);
    assert_eq!(world.paging().update_descriptor(at(gdt, 3), 5, even), Ok(()));
    assert_eq!(world.entry(gdt, 3), Pte(4), "a page that is nothing yet");
    assert_eq!(world.paging().hold_descriptors(gdt, even), Ok(()));
    world.holdings.push(crate::audit::Holding::Descriptors(gdt));
    assert_eq!(world.paging().update_descriptor(at(gdt, 511), 7, even), Ok(()));
    assert_eq!(world.entry(gdt, 511), Pte(6));
    assert_eq!(world.paging().update_descriptor(at(gdt, 511), 13, even), Err(Errno::EINVAL));
    assert_eq!(world.paging().update_descriptor(at(gdt, 3) + 4, 2, even), Err(Errno::EINVAL));
    assert_eq!(world.paging().update_descriptor(at(tree.l1, 0), 2, even), Err(Errno::EINVAL));
    let foreign = world.foreign_page();
    assert_eq!(world.paging().update_descriptor(at(foreign, 0), 2, even), Err(Errno::EINVAL));
    assert_eq!(world.entry(gdt, 511), Pte(6));
    world.check();
}
