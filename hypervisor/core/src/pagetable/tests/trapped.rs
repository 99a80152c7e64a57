use super::world::{BASE, RO, RW, World};
use crate::addr::Mfn;
use crate::frame::FrameType;
use crate::pagetable::tests::world::Tree;
use crate::pagetable::{PtWrite, Pte};
use paravane_abi::errno::Errno;

/// A booted world whose L1 is mapped read-only at page 8.
fn world() -> (World, Tree, u64) {
    let mut world = World::ring1();
    let tree = world.tree(2);
    world.set(tree.l1, 8, tree.l1, RO);
    assert_eq!(world.paging().set_base(tree.l4), Ok(()));
    world.check();
    (world, tree, BASE + 8 * 0x1000)
}

#[test]
fn only_a_read_only_mapping_of_an_own_l1_is_a_trapped_write() {
    let (mut world, tree, at) = world();
    assert_eq!(world.paging().trapped_table(at), Some(tree.l1));
    assert_eq!(world.paging().trapped_table(BASE), None, "a writable page");
    assert_eq!(world.paging().trapped_table(BASE + 0x3000), None, "not mapped");
    assert_eq!(world.paging().trapped_table(BASE + (1 << 30)), None, "no L2");
    assert_eq!(world.paging().trapped_table(0xffff_8000_0000_0000), None);
    world.machine.poke(tree.l1, 3, Pte::new(tree.l1, Pte::US).0);
    assert_eq!(world.paging().trapped_table(BASE + 0x3000), None, "not present, whatever it names");
    let plain = world.page();
    for (index, frame) in [(9, plain), (10, tree.l2), (11, tree.l4)] {
        let entry = Pte::new(frame, RO).0;
        assert_eq!(world.paging().emulate_pt_write(at + index * 8, 8, entry, None), PtWrite::Done);
        assert_eq!(world.paging().trapped_table(BASE + index * 0x1000), None, "{frame}");
    }
    world.check();
}

#[test]
fn a_plain_store_is_a_checked_update() {
    let (mut world, tree, at) = world();
    let page = world.page();
    assert_eq!(world.paging().emulate_pt_write(at + 16, 8, Pte::new(page, RW).0, None), PtWrite::Done);
    world.check();
    assert_eq!(world.entry(tree.l1, 2), Pte::new(page, RW));
    assert!(world.info(page).is_in_use_as(FrameType::Writable));
    let bad = Pte::new(tree.l2, RW).0;
    assert_eq!(world.paging().emulate_pt_write(at + 16, 8, bad, None), PtWrite::Refused(Errno::EBUSY));
    let bad = Pte::new(Mfn::new(64), RW).0;
    assert_eq!(world.paging().emulate_pt_write(at + 16, 8, bad, None), PtWrite::Refused(Errno::EPERM));
    assert_eq!(world.entry(tree.l1, 2), Pte::new(page, RW));
    world.check();
}

#[test]
fn an_exchange_sees_what_changed() {
    let (mut world, tree, at) = world();
    let old = world.entry(tree.l1, 0).0;
    let exchange = |world: &mut World, width, new, old| {
        let outcome = world.paging().emulate_pt_write(at, width, new, Some(old));
        world.check();
        outcome
    };
    assert_eq!(exchange(&mut world, 8, 0, old | Pte::D), PtWrite::Mismatch(old));
    assert_eq!(exchange(&mut world, 8, 0, old), PtWrite::Done);
    assert_eq!(world.entry(tree.l1, 0), Pte(0));
    assert_eq!(world.info(tree.pages[0]).type_count(), 0);
    assert_eq!(exchange(&mut world, 8, old, 0), PtWrite::Done);
    // `lock and $0xfd` on the lowest byte takes RW off.
    let byte = old & 0xff;
    assert_eq!(exchange(&mut world, 1, byte & !Pte::RW, byte ^ 0x40), PtWrite::Mismatch(byte));
    assert_eq!(exchange(&mut world, 1, byte & !Pte::RW, byte), PtWrite::Done);
    let second = world.paging().emulate_pt_write(at + 1, 1, 0, Some(0xee));
    assert_eq!(second, PtWrite::Mismatch(old >> 8 & 0xff), "in the place of the access");
    assert_eq!(world.entry(tree.l1, 0), Pte(old & !Pte::RW));
    assert_eq!(world.info(tree.pages[0]).type_count(), 0);
    assert_eq!(world.info(tree.pages[0]).refs(), 2);
}

#[test]
fn narrow_stores_change_their_bytes_only() {
    let (mut world, tree, at) = world();
    world.machine.poke(tree.l1, 20, 0);
    let at = at + 20 * 8;
    for (offset, width, value) in [(0, 1, 0xa2), (1, 1, 0xb3), (2, 2, 0xc4d5), (4, 4, 0xe6f7_0819)] {
        let done =
            world.paging().emulate_pt_write(at + offset, width, value | 0xff << (width * 8 % 64), None);
        assert_eq!(done, PtWrite::Done);
    }
    assert_eq!(world.entry(tree.l1, 20), Pte(0xe6f7_0819_c4d5_b3a2));
    assert_eq!(world.paging().read_trapped(at + 4, 4), Some(0xe6f7_0819));
    assert_eq!(world.paging().read_trapped(at + 1, 1), Some(0xb3));
    assert_eq!(world.paging().read_trapped(at, 8), Some(0xe6f7_0819_c4d5_b3a2));
    world.check();
}

#[test]
fn marks_a_cpu_sets_meanwhile_are_not_lost() {
    let (mut world, tree, at) = world();
    let old = world.entry(tree.l1, 0).0;
    // One byte, beside the one that changes meanwhile: bit 9 goes on, and D stays.
    world.machine.set_meanwhile(tree.l1, 0, Pte::A | Pte::D);
    assert_eq!(world.paging().emulate_pt_write(at + 1, 1, old >> 8 | 2, None), PtWrite::Done);
    assert_eq!(world.entry(tree.l1, 0), Pte(old | Pte::A | Pte::D | 1 << 9));
    world.check();
    let old = world.entry(tree.l1, 1).0;
    world.machine.set_meanwhile(tree.l1, 1, Pte::D);
    let lost = world.paging().emulate_pt_write(at + 8, 8, 0, Some(old));
    assert_eq!(lost, PtWrite::Mismatch(old | Pte::D));
    assert_eq!(world.info(tree.pages[1]).type_count(), 1);
    world.check();
}

#[test]
fn odd_widths_and_alignments_are_the_guests_fault() {
    let (mut world, tree, at) = world();
    let before = world.entry(tree.l1, 0);
    for (offset, width) in [(0, 0), (0, 3), (0, 16), (4, 8), (2, 4), (1, 2)] {
        let refused = world.paging().emulate_pt_write(at + offset, width, 0, None);
        assert_eq!(refused, PtWrite::Refused(Errno::EINVAL), "{width} bytes at {offset}");
        assert_eq!(world.paging().read_trapped(at + offset, width), None);
    }
    assert_eq!(world.paging().emulate_pt_write(BASE, 8, 0, None), PtWrite::Refused(Errno::EFAULT));
    assert_eq!(world.entry(tree.l1, 0), before);
}
