//! Faults, and what the shadow says after them.

use super::*;

fn page(slot: usize) -> VirtAddr {
    va([0, 0, 0, slot])
}

#[test]
fn a_first_access_fills_its_path_and_the_next_is_free() {
    let mut world = World::mapped();
    assert_eq!(world.made(page(0), USER_READ), (10 << 12, 1));
    assert_eq!(world.made(page(0), USER_READ), (10 << 12, 0));
    // Its neighbour needs the leaf only; nothing is filled that was not asked for.
    assert_eq!(world.leaf(page(1)), Pte(0));
    assert_eq!(world.made(page(1), USER_READ), (11 << 12, 1));
    assert_eq!(world.shadow.counters().made, 4);
    assert_eq!(world.shadow.counters().hidden, 2);
    world.audit();
}

#[test]
fn a_leaf_is_writable_once_the_page_is_dirty() {
    let mut world = World::mapped();
    world.made(page(0), KERNEL_READ);
    assert_eq!(world.machine.peek(7, 0), entry(10, OPEN | A));
    assert_eq!(world.leaf(page(0)).0 & (RW | US), US);
    assert_eq!(world.made(page(0), KERNEL_WRITE).1, 1);
    assert_eq!(world.machine.peek(7, 0), entry(10, OPEN | A | D));
    assert_eq!(world.leaf(page(0)).0 & !Pte::FRAME, OPEN | A | D);
    // A page that is dirty already costs one fault.
    world.machine.poke(7, 1, entry(11, OPEN | D));
    world.made(page(1), KERNEL_READ);
    assert_eq!(world.made(page(1), USER_WRITE).1, 0);
    world.audit();
}

#[test]
fn the_guests_rights_are_taken_over_at_each_level() {
    for (level, table) in [1, 3, 5, 7].into_iter().enumerate() {
        for bit in [RW, US, NX] {
            let mut world = World::mapped();
            let old = world.machine.peek(table, 0);
            world.machine.poke(table, 0, old ^ bit);
            world.machine.poke(7, 0, world.machine.peek(7, 0) | D);
            world.made(page(0), KERNEL_READ);
            let write = Outcome::Fault(3);
            for (usage, refused) in [(KERNEL_WRITE, write), (USER_READ, Outcome::Fault(5))] {
                if (usage.access == Access::Write) == (bit == RW) && bit != NX {
                    assert_eq!(world.left(page(0), usage), refused, "bit {bit:#x} at {level}");
                }
            }
            if bit == NX {
                assert_eq!(world.left(page(0), KERNEL_FETCH), Outcome::Fault(17));
            }
            world.audit();
        }
    }
}

#[test]
fn what_the_guest_may_not_know_of_is_left_out() {
    let mut world = World::mapped();
    let own = Pte::G | 0x18 | PS | 0xe00 | 0x7ff << 52;
    world.machine.poke(7, 0, entry(10, OPEN | own));
    world.made(page(0), USER_WRITE);
    assert_eq!(world.leaf(page(0)).0 & !Pte::FRAME, OPEN | A | D);
}

#[test]
fn true_faults_are_told_with_the_guests_error_code() {
    let mut world = World::mapped();
    assert_eq!(world.left(page(9), USER_WRITE), Outcome::Fault(6));
    world.machine.poke(7, 9, entry(10, P));
    assert_eq!(world.left(page(9), USER_WRITE), Outcome::Fault(7));
    world.machine.poke(7, 9, entry(10, P | 1 << 41));
    assert_eq!(world.left(page(9), KERNEL_READ), Outcome::Fault(9));
    world.set_controls(true, false);
    assert_eq!(world.left(page(10), USER_FETCH), Outcome::Fault(4));
    let counters = world.shadow.counters();
    assert_eq!((counters.faults, counters.hidden), (4, 0));
}

#[test]
fn addresses_without_memory_are_told_after_being_marked() {
    let mut world = World::mapped();
    world.machine.poke(7, 9, entry(0xfee00, OPEN));
    let address = VirtAddr::new(page(9).get() + 0xf0).unwrap();
    assert_eq!(world.left(address, KERNEL_WRITE), Outcome::Mmio(0xfee0_00f0));
    assert_eq!(world.machine.peek(7, 9), entry(0xfee00, OPEN | A | D));
    assert_eq!(world.shadow.counters().mmio, 1);
    world.audit();
}

#[test]
fn the_hypervisors_slots_are_not_the_guests() {
    let mut world = World::mapped();
    for slot in [256, 257, 271] {
        world.machine.poke(1, slot, entry(3, OPEN));
        for usage in USES {
            assert_eq!(world.left(va([slot, 0, 0, 0]), usage), Outcome::Reserved);
        }
    }
    assert_eq!(world.machine.peek(1, 256), entry(3, OPEN), "not even marked");
    for slot in [255, 272] {
        world.machine.poke(1, slot, entry(3, OPEN));
        world.made(va([slot, 0, 0, 0]), USER_READ);
    }
    // A write to such an entry changes nothing either.
    world.edit(1, 256, entry(5, OPEN));
    world.audit();
}

#[test]
fn large_pages_are_mapped_in_small_ones() {
    let mut world = World::mapped();
    world.machine.poke(5, 1, OPEN | PS);
    world.machine.poke(5, 2, 512 << 12 | OPEN | PS | D);
    assert_eq!(world.made(va([0, 0, 1, 12]), USER_READ), (12 << 12, 1));
    assert_eq!(world.left(va([0, 0, 1, 100]), USER_READ), Outcome::Mmio(100 << 12));
    // Its D bit is in the L2 entry, and serves for all of it.
    assert_eq!(world.made(va([0, 0, 1, 12]), USER_WRITE).1, 1);
    assert_eq!(world.machine.peek(5, 1), OPEN | PS | A | D);
    assert_eq!(world.made(va([0, 0, 1, 13]), USER_READ), (13 << 12, 1));
    assert_eq!(world.made(va([0, 0, 1, 13]), USER_WRITE).1, 0);
    assert_eq!(world.made(va([0, 0, 2, 3]), USER_WRITE), (515 << 12, 1));
    // Frame 7 in it is a page table.
    world.made(page(0), USER_READ);
    assert!(matches!(world.left(va([0, 0, 1, 7]), KERNEL_WRITE), Outcome::TracedWrite(_)));
    world.made(va([0, 0, 1, 7]), USER_READ);
    world.audit();
}

#[test]
fn a_page_of_a_gibibyte_shares_its_tables_with_others() {
    let mut world = World::mapped();
    world.machine.poke(3, 1, OPEN | PS);
    world.machine.poke(5, 1, P | US | PS);
    assert_eq!(world.made(va([0, 1, 0, 12]), USER_WRITE), (12 << 12, 1));
    assert_eq!(world.made(va([0, 1, 1, 2]), USER_READ), (514 << 12, 1));
    let made = world.shadow.counters().made;
    assert_eq!(world.made(va([0, 0, 1, 12]), USER_READ), (12 << 12, 1));
    assert_eq!(world.shadow.counters().made, made + 1, "the L2 below slot 0 of the L3");
    assert_eq!(world.left(va([0, 0, 1, 12]), USER_WRITE), Outcome::Fault(7), "with rights of its own");
    world.machine.poke(3, 2, P | US | PS);
    world.made(va([0, 2, 0, 12]), USER_READ);
    world.load_cr3(1 << 12);
    assert_eq!(world.made(va([0, 1, 0, 12]), USER_WRITE).1, 0);
    world.audit();
}

#[test]
fn a_program_and_a_kernel_without_wp_take_turns() {
    let mut world = World::mapped();
    world.set_controls(false, true);
    world.machine.poke(7, 0, entry(10, P | US));
    assert_eq!(world.made(page(0), USER_READ).1, 1);
    assert_eq!(world.made(page(0), KERNEL_WRITE).1, 1);
    assert_eq!(world.machine.peek(7, 0), entry(10, P | US | A | D));
    assert_eq!(world.leaf(page(0)).0 & (RW | US), RW, "the kernel's");
    assert_eq!(world.made(page(0), KERNEL_WRITE).1, 0);
    assert_eq!(world.made(page(0), KERNEL_READ).1, 0);
    assert_eq!(world.left(page(0), USER_WRITE), Outcome::Fault(7));
    assert_eq!(world.made(page(0), USER_READ).1, 1);
    assert_eq!(world.leaf(page(0)).0 & (RW | US), US);
    world.audit();
    // Under WP nothing of that is used.
    world.set_controls(true, true);
    assert_eq!(world.left(page(0), KERNEL_WRITE), Outcome::Fault(3));
    world.audit();
}

#[test]
fn without_wp_rights_from_above_are_in_the_leaf() {
    let mut world = World::mapped();
    world.set_controls(false, true);
    // By one way the program may write, by another read, by the third it may nothing.
    world.machine.poke(3, 1, entry(5, P | US));
    world.machine.poke(3, 2, entry(5, P | RW));
    world.made(va([0, 0, 0, 0]), USER_WRITE);
    world.made(va([0, 1, 0, 0]), USER_READ);
    assert_eq!(world.left(va([0, 1, 0, 0]), USER_WRITE), Outcome::Fault(7));
    assert_eq!(world.left(va([0, 2, 0, 0]), USER_READ), Outcome::Fault(5));
    world.made(va([0, 2, 0, 0]), KERNEL_WRITE);
    world.made(va([0, 1, 0, 0]), KERNEL_WRITE);
    assert_eq!(world.made(va([0, 0, 0, 0]), USER_WRITE).1, 0);
    world.audit();
}

#[test]
fn a_fault_with_nothing_to_fill_is_tried_again() {
    let mut world = World::mapped();
    world.made(page(0), USER_WRITE);
    let answer = world.shadow.fault(&world.machine, page(0), USER_WRITE);
    assert_eq!(answer, Answer { outcome: Outcome::Retry, flush: Flush::NONE });
    // Nor does what only allows more ask for a flush.
    world.made(page(1), USER_READ);
    let answer = world.shadow.fault(&world.machine, page(1), USER_WRITE);
    assert_eq!(answer, Answer { outcome: Outcome::Retry, flush: Flush::NONE });
}

#[test]
fn a_contended_walk_is_tried_again() {
    let mut world = World::mapped();
    world.machine.meanwhile.set((7 << 12, 1 << 9, 20));
    assert_eq!(world.made(page(0), USER_READ), (10 << 12, 3));
}

#[test]
fn what_takes_a_right_away_from_an_entry_asks_for_a_flush() {
    let mut world = World::mapped();
    world.set_controls(false, true);
    world.machine.poke(7, 0, entry(12, P | US | D));
    // By another way, which leads through the same leaf.
    world.machine.poke(5, 1, entry(7, OPEN));
    world.made(va([0, 0, 1, 0]), KERNEL_WRITE);
    let answer = world.shadow.fault(&world.machine, page(0), USER_READ);
    // The frame could become a page table, and no list of writable slots would lead here.
    assert_eq!(answer, Answer { outcome: Outcome::Retry, flush: Flush::DOMAIN });
    // The same further up: a large page that is no longer dirty, its table being out of step.
    let mut world = World::mapped();
    world.machine.poke(5, 1, OPEN | PS);
    world.made(va([0, 0, 1, 12]), USER_WRITE);
    world.untrace(5);
    world.edit(5, 1, OPEN | PS | A);
    let answer = world.shadow.fault(&world.machine, va([0, 0, 1, 13]), USER_READ);
    assert_eq!(answer, Answer { outcome: Outcome::Retry, flush: Flush::DOMAIN });
}

#[test]
fn another_frame_in_an_entry_asks_for_a_flush() {
    let mut world = World::mapped();
    world.made(page(0), USER_WRITE);
    world.machine.poke(5, 1, entry(7, OPEN));
    world.untrace(7);
    world.edit(7, 0, entry(11, OPEN));
    let answer = world.shadow.fault(&world.machine, va([0, 0, 1, 0]), USER_WRITE);
    // Page 10 could become a page table while the processor remembers that it is writable.
    assert_eq!(answer, Answer { outcome: Outcome::Retry, flush: Flush::DOMAIN });
}
