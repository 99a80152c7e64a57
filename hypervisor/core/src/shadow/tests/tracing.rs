//! Writes to page tables, seen and unseen.

use super::*;

fn page(slot: usize) -> VirtAddr {
    va([0, 0, 0, slot])
}

/// Besides, the guest maps its tables from slot 20 of the L1 on: table N by slot 20 + N.
fn with_tables() -> World {
    let world = World::mapped();
    for table in 1..10 {
        world.machine.poke(7, 20 + table as usize, entry(table, OPEN));
    }
    world
}

fn table_page(table: usize, slot: usize) -> VirtAddr {
    VirtAddr::new(page(20 + table).get() + slot as u64 * 8).unwrap()
}

#[test]
fn a_table_in_use_is_mapped_read_only() {
    let mut world = with_tables();
    // Table 8 is a page like others until it is used as a table.
    assert_eq!(world.made(table_page(8, 0), KERNEL_WRITE).1, 1);
    assert!(world.leaf(table_page(8, 0)).writable());
    world.machine.poke(5, 1, entry(8, OPEN));
    world.edit(8, 0, entry(12, OPEN));
    world.made(va([0, 0, 1, 0]), USER_READ);
    assert!(world.is_traced(8) && !world.leaf(table_page(8, 0)).writable());
    world.audit();
    // And it is so for who maps it later.
    world.machine.poke(7, 40, entry(8, OPEN));
    let write = TracedWrite { address: 8 << 12 | 24, table: true, marked: false, writes: 0 };
    let address = VirtAddr::new(page(40).get() + 24).unwrap();
    assert_eq!(world.left(address, KERNEL_WRITE), Outcome::TracedWrite(write));
    assert_eq!(world.machine.peek(7, 40), entry(8, OPEN | A | D), "marked for who emulates it");
    assert_eq!(world.made(address, KERNEL_READ).1, 0, "it can be read");
    assert_eq!(world.shadow.counters().traced, 1);
}

#[test]
fn a_table_at_every_level_is_traced() {
    let mut world = with_tables();
    world.made(page(0), USER_READ);
    for table in [1, 3, 5, 7] {
        assert!(world.is_traced(table));
        let left = world.left(table_page(table as usize, 0), KERNEL_WRITE);
        assert!(matches!(left, Outcome::TracedWrite(TracedWrite { table: true, .. })), "{left:?}");
    }
    for other in [2, 4, 6, 8, 10] {
        assert!(!world.is_traced(other));
    }
    world.audit();
}

#[test]
fn a_write_that_takes_something_away_is_felt_at_once() {
    for (level, table) in [1, 3, 5, 7].into_iter().enumerate() {
        for bits in [P, RW, US, NX, A, 1 << 14] {
            let mut world = with_tables();
            world.made(page(0), USER_WRITE);
            world.edit(table, 0, world.machine.peek(table, 0) ^ bits);
            assert_eq!(world.leaf(page(0)), Pte(0), "{bits:#x} at {level}");
            assert!(world.remembered.is_empty(), "the processor was told");
            world.audit();
        }
    }
    let mut world = with_tables();
    world.machine.poke(5, 1, OPEN | PS);
    world.made(va([0, 0, 1, 12]), USER_READ);
    world.edit(5, 1, OPEN | A);
    assert_eq!(world.leaf(va([0, 0, 1, 12])), Pte(0), "a large page became a table");
    world.made(page(0), USER_WRITE);
    world.edit(7, 0, entry(10, OPEN | A));
    assert_eq!(world.made(page(0), USER_WRITE).1, 1, "D is set anew");
    assert_eq!(world.machine.peek(7, 0), entry(10, OPEN | A | D));
}

#[test]
fn a_write_that_takes_nothing_away_costs_no_shadow() {
    let mut world = with_tables();
    world.made(page(0), USER_WRITE);
    for table in [1, 3, 5, 7] {
        let old = world.machine.peek(table, 0);
        world.edit(table, 0, old | 0xe18 | 0x7ff << 52 | D);
        world.edit(table, 0, old);
    }
    assert_eq!(world.shadow.counters().dropped, 3, "D in the upper entries, which means nothing there");
    // An entry that appears had no shadow.
    let dropped = world.shadow.counters().dropped;
    world.edit(7, 30, entry(10, OPEN));
    assert_eq!(world.shadow.counters().dropped, dropped);
    assert_eq!(world.shadow.counters().table_writes, 9);
    world.audit();
}

#[test]
fn a_table_at_two_levels_is_dropped_at_both() {
    let mut world = with_tables();
    // Table 5 is an L2, and the L1 below itself.
    world.machine.poke(5, 511, entry(5, OPEN));
    world.made(page(0), USER_READ);
    world.made(va([0, 0, 511, 0]), USER_READ);
    assert_eq!(world.leaf(va([0, 0, 511, 0])).frame(), world.machine.frame(Pfn::new(7)).unwrap());
    world.audit();
    world.edit(5, 0, 0);
    assert_eq!([world.leaf(page(0)), world.leaf(va([0, 0, 511, 0]))], [Pte(0); 2]);
    world.audit();
}

#[test]
fn tables_that_map_themselves_end() {
    let mut world = World::new(16, FEWEST_RECORDS + 32);
    world.machine.poke(1, 0, entry(1, OPEN));
    world.machine.poke(1, 511, entry(1, OPEN));
    for slots in [[0, 0, 0, 0], [511, 511, 511, 511], [0, 511, 0, 511]] {
        assert_eq!(world.made(va(slots), KERNEL_READ).0, 1 << 12);
        assert!(matches!(world.left(va(slots), KERNEL_WRITE), Outcome::TracedWrite(_)));
        world.audit();
    }
    assert_eq!(world.shadow.counters().made, 4);
}

#[test]
fn an_untraced_table_is_a_translation_cache() {
    let mut world = with_tables();
    world.made(page(0), USER_WRITE);
    assert!(matches!(world.left(table_page(7, 0), KERNEL_WRITE), Outcome::TracedWrite(_)));
    world.untrace(7);
    // Although the table maps itself, the write gets on.
    assert_eq!(world.made(table_page(7, 0), KERNEL_WRITE), (7 << 12, 1));
    world.edit(7, 0, entry(11, P));
    assert_eq!(world.made(page(0), USER_WRITE), (10 << 12, 0), "as it was");
    world.invlpg(page(0).get());
    assert!(!world.leaf(table_page(7, 0)).writable());
    assert_eq!(world.left(page(0), USER_WRITE), Outcome::Fault(7));
    world.made(page(1), USER_READ);
    assert!(world.is_traced(7), "it is a table again");
    world.audit();
}

#[test]
fn every_invalidation_ends_being_untraced() {
    for how in 0..3 {
        let mut world = with_tables();
        world.made(page(0), USER_WRITE);
        world.untrace(7);
        world.edit(7, 0, entry(11, OPEN));
        match how {
            0 => world.load_cr3(1 << 12),
            1 => world.load_cr3(2 << 12),
            // Of another page: more is forgotten than was asked for.
            _ => world.invlpg(0x7000_0000),
        }
        world.audit();
        world.load_cr3(1 << 12);
        assert_eq!(world.made(page(0), USER_READ).0, 11 << 12, "{how}");
        assert!(world.is_traced(7));
    }
}

#[test]
fn a_root_can_be_untraced() {
    let mut world = with_tables();
    world.made(page(0), USER_READ);
    world.untrace(1);
    let root = world.shadow.root();
    assert_eq!(world.made(table_page(1, 0), KERNEL_WRITE).0, 1 << 12);
    world.edit(1, 0, 0);
    assert_eq!(world.made(page(0), USER_READ).1, 0);
    world.invlpg(0);
    assert_eq!((world.shadow.root(), world.is_traced(1)), (root, true), "in its frame as before");
    assert_eq!(world.left(page(0), USER_READ), Outcome::Fault(4));
    world.audit();
}

#[test]
fn a_fault_corrects_what_is_out_of_step_on_its_way() {
    let mut world = with_tables();
    world.made(page(0), USER_READ);
    world.untrace(5);
    world.machine.poke(8, 1, entry(12, OPEN));
    world.edit(5, 0, entry(8, OPEN));
    assert_eq!(world.made(page(0), USER_READ).0, 10 << 12);
    assert_eq!(world.made(page(1), USER_READ).0, 12 << 12);
    assert_eq!(world.left(page(0), USER_READ), Outcome::Fault(4), "gone with it");
    world.audit();
}

#[test]
fn no_more_than_four_tables_are_out_of_step() {
    let mut world = with_tables();
    for table in [8, 9] {
        world.machine.poke(5, table, entry(table as u64, OPEN));
        world.machine.poke(table as u64, 0, entry(12, OPEN));
        world.made(va([0, 0, table, 0]), USER_READ);
    }
    world.made(page(0), USER_READ);
    for table in [1, 3, 5, 7, 7] {
        world.untrace(table);
    }
    assert_eq!((world.shadow.loose.len(), world.shadow.counters().given_up), (4, 0));
    world.untrace(8);
    assert_eq!((&world.shadow.loose[..], world.shadow.counters().given_up), (&[Pfn::new(8)][..], 3));
    world.made(page(0), USER_READ);
    assert!(world.is_traced(1) && world.is_traced(7));
    world.audit();
}

#[test]
fn a_program_that_writes_a_table_is_not_asked() {
    let mut world = with_tables();
    world.made(page(0), USER_READ);
    assert_eq!(world.made(table_page(7, 9), USER_WRITE).0, 7 << 12 | 72);
    assert!(!world.is_traced(7));
    assert_eq!(world.shadow.counters().untraced, 1);
    world.invlpg(0);
    assert!(!world.is_traced(7), "until it is used as one");
    world.made(page(0), USER_READ);
    assert!(world.is_traced(7));
    world.audit();
}

#[test]
fn writes_since_a_table_was_used_are_counted() {
    let mut world = with_tables();
    world.made(page(0), USER_READ);
    (0..5).for_each(|slot| world.edit(7, 100 + slot, 0));
    let count = |world: &World| world.shadow.frames.of(Pfn::new(7)).unwrap().writes;
    assert_eq!(count(&world), 5);
    world.made(page(1), USER_READ);
    assert_eq!(count(&world), 0);
}

#[test]
fn marked_frames_are_traced_until_they_are_not() {
    let mut world = with_tables();
    world.made(page(0), USER_WRITE);
    assert!(world.mark(10) && world.mark(10));
    assert!(!world.leaf(page(0)).writable());
    let write = TracedWrite { address: 10 << 12, table: false, marked: true, writes: 0 };
    for usage in [KERNEL_WRITE, USER_WRITE] {
        assert_eq!(world.left(page(0), usage), Outcome::TracedWrite(write));
    }
    world.untrace(10);
    assert_eq!(world.left(page(0), KERNEL_WRITE), Outcome::TracedWrite(write), "that is for tables");
    world.audit();
    world.shadow.unmark(Pfn::new(10));
    world.made(page(0), USER_WRITE);
    world.audit();
    // A marked frame without memory is as good as any.
    (0..63).for_each(|pfn| assert!(world.mark(1 << 40 | pfn)));
    assert!(world.mark(u64::MAX));
    assert!(!world.mark(10) && world.mark(u64::MAX));
    world.audit();
}

#[test]
fn many_aliases_and_many_parents_are_taken_back_at_once() {
    let mut world = with_tables();
    for slot in 100..200 {
        world.machine.poke(7, slot, entry(12, OPEN));
        world.machine.poke(5, slot, entry(7, OPEN));
    }
    for slot in 100..200 {
        world.made(page(slot), USER_WRITE);
        world.made(va([0, 0, slot, 0]), USER_READ);
        let aliases = world.shadow.frames.of(Pfn::new(12)).unwrap().writable.length;
        assert!((1..=ALIASES).contains(&aliases));
        if slot % 16 == 0 {
            world.audit();
        }
    }
    assert_eq!(world.shadow.counters().protected, u64::from(ALIASES));
    assert!(world.shadow.counters().dropped >= u64::from(PARENTS));
    // A write across two of them gets on.
    world.made(page(198), USER_WRITE);
    world.made(page(199), USER_WRITE);
    assert_eq!(world.made(page(198), USER_WRITE).1, 0);
    world.audit();
}
