//! Roots, room, and the end.

use super::*;

fn page(slot: usize) -> VirtAddr {
    va([0, 0, 0, slot])
}

#[test]
fn a_pool_has_bounds() {
    let machine = Machine::new(4);
    for (tables, records) in
        [(FEWEST_TABLES - 1, 1000), (MOST_TABLES + 1, 1000), (FEWEST_TABLES, FEWEST_RECORDS - 1)]
    {
        let refused = Shadow::new(&machine, pool(tables, records), template(1), PROTECTED, 0).unwrap_err();
        assert_eq!((refused.frames.len(), refused.records), (tables, records));
    }
    let shadow = Shadow::new(&machine, pool(4, FEWEST_RECORDS), template(1), PROTECTED, 0).unwrap();
    assert_eq!(shadow.release(), pool(4, FEWEST_RECORDS).frames);
}

#[test]
fn coming_back_to_a_root_costs_nothing() {
    let mut world = World::mapped();
    let first = world.shadow.root();
    world.made(page(0), USER_WRITE);
    world.machine.poke(2, 0, entry(3, OPEN));
    world.load_cr3(2 << 12);
    assert_ne!(world.shadow.root(), first);
    assert_eq!(world.made(page(0), USER_WRITE).1, 1, "the root's entry is new");
    assert_eq!(world.shadow.counters().made, 5);
    world.load_cr3(1 << 12 | 0x18);
    assert_eq!((world.shadow.root(), world.shadow.cr3()), (first, 1 << 12 | 0x18));
    assert_eq!(world.made(page(0), USER_WRITE).1, 0);
    assert_eq!(world.shadow.counters().roots, 2);
    world.audit();
}

#[test]
fn a_table_written_while_another_root_is_loaded_is_in_step() {
    let mut world = World::mapped();
    world.made(page(0), USER_READ);
    world.load_cr3(2 << 12);
    assert!(world.is_traced(7));
    world.edit(7, 0, entry(12, OPEN));
    world.load_cr3(1 << 12);
    assert_eq!(world.made(page(0), USER_READ), (12 << 12, 1));
}

#[test]
fn every_root_has_the_hypervisors_slots() {
    let mut world = World::mapped();
    let slots = |world: &World| [256, 257, 271].map(|slot| world.machine.entry(world.shadow.root(), slot));
    assert_eq!(slots(&world), [template(9000)[0], template(9000)[1], 0]);
    world.load_cr3(2 << 12);
    assert_eq!(slots(&world), [template(9000)[0], template(9000)[1], 0]);
    let flush = world.shadow.set_template(&world.machine, template(7000));
    assert_eq!(flush, Flush::DOMAIN);
    assert_eq!(slots(&world)[0], template(7000)[0]);
    // The other root gets them when it is the root again; and after everything was given up.
    world.load_cr3(1 << 12);
    assert_eq!(slots(&world)[0], template(7000)[0]);
    world.shadow.give_up_all(&world.machine);
    assert_eq!(slots(&world)[0], template(7000)[0]);
}

#[test]
fn roots_may_be_anything() {
    let mut world = World::mapped();
    for cr3 in [u64::MAX, FRAMES << 12, 0xf_ffff_ffff_f000] {
        world.load_cr3(cr3);
        assert_eq!(world.left(page(0), KERNEL_READ), Outcome::Fault(9));
        world.audit();
    }
    world.load_cr3(7 << 12);
    world.touch(page(0), KERNEL_READ);
    world.audit();
}

#[test]
fn invlpg_asks_for_the_page() {
    let mut world = World::mapped();
    let flush = world.shadow.invlpg(&world.machine, 0x1234);
    assert_eq!(flush, Flush { what: FlushWhat::Page(page(1)), ..Flush::DOMAIN });
    for nothing in [0x8000_0000_0000, u64::MAX >> 1, 0xffff_8000_0000_0000, 0xffff_87ff_ffff_ffff] {
        assert_eq!(world.shadow.invlpg(&world.machine, nothing), Flush::NONE, "{nothing:#x}");
    }
    world.made(page(0), USER_READ);
    world.untrace(7);
    assert_eq!(world.shadow.invlpg(&world.machine, 1 << 63), Flush::DOMAIN, "a table was out of step");
}

#[test]
fn the_oldest_table_is_given_up_for_a_new_one() {
    let mut world = World::new(5, FEWEST_RECORDS + 32);
    for (table, slot, next) in [(1, 0, 3), (3, 0, 5), (5, 0, 7), (5, 1, 8), (5, 2, 9)] {
        world.machine.poke(table, slot, entry(next, OPEN));
    }
    (7..10).for_each(|table| world.machine.poke(table, 0, entry(table + 3, OPEN)));
    let at = |slot| va([0, 0, slot, 0]);
    world.made(at(0), USER_WRITE);
    world.made(at(1), USER_WRITE);
    assert_eq!(world.shadow.counters().given_up, 0);
    world.machine.poke(7, 1, entry(10, OPEN));
    world.made(va([0, 0, 0, 1]), USER_READ);
    world.made(at(2), USER_WRITE);
    assert_eq!(world.shadow.counters().given_up, 1);
    assert!(world.leaf(at(0)).present() && !world.leaf(at(1)).present(), "the one used before the others");
    assert!(!world.is_traced(8), "its frame is a page again");
    assert!(world.remembered.is_empty() || world.leaf(at(1)) == Pte(0));
    world.audit();
    let (_, faults) = world.made(at(1), USER_WRITE);
    assert_eq!(faults, 1);
    world.audit();
}

#[test]
fn a_path_fits_into_four_tables() {
    let mut world = World::new(4, FEWEST_RECORDS);
    for root in [1, 2] {
        world.machine.poke(root, 0, entry(root + 2, OPEN));
        world.machine.poke(root + 2, 0, entry(root + 4, OPEN));
        world.machine.poke(root + 4, 0, entry(root + 6, OPEN));
        world.machine.poke(root + 6, 0, entry(root + 10, OPEN));
    }
    for root in [1, 2, 1, 2] {
        world.load_cr3(root << 12);
        assert!(world.is_traced(1), "a root that is left is not the first to go");
        assert_eq!(world.made(page(0), USER_WRITE), ((root + 10) << 12, 1));
        world.audit();
    }
}

#[test]
fn more_frames_than_can_be_remembered_start_from_nothing() {
    let mut world = World::new(16, FEWEST_RECORDS);
    for (table, next) in [(1, 3), (3, 5), (5, 7)] {
        world.machine.poke(table, 0, entry(next, OPEN));
    }
    (0..64).for_each(|pfn| assert!(world.mark(1 << 30 | pfn)));
    let root = world.shadow.root();
    for round in 0..10 {
        let slot = round % 8;
        world.machine.poke(7, slot, entry(10 + slot as u64, OPEN));
        world.made(page(slot), USER_WRITE);
        assert_eq!(world.shadow.root(), root, "the processor has it loaded");
        world.audit();
    }
    assert!(world.shadow.counters().overflows >= 9);
    assert!((0..64).all(|pfn| world.is_traced(1 << 30 | pfn)), "marks stay");
}

#[test]
fn what_is_not_out_of_step_is_not_flushed_twice() {
    let mut world = World::mapped();
    world.made(page(0), USER_WRITE);
    let address = 7 << 12;
    let (old, new) = (world.machine.peek(7, 0), entry(10, P));
    world.machine.poke(7, 0, new);
    assert_eq!(world.shadow.guest_wrote(&world.machine, address, old, new), Flush::DOMAIN);
    assert_eq!(world.shadow.guest_wrote(&world.machine, address, new, new), Flush::NONE);
    // A frame that is no table.
    assert_eq!(world.shadow.guest_wrote(&world.machine, 10 << 12, old, new), Flush::NONE);
    assert_eq!(world.shadow.guest_wrote(&world.machine, !7, old, new), Flush::NONE);
    assert_eq!(world.shadow.counters().table_writes, 2);
}
