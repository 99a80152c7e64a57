use super::{Discrepancy, Holding};
use crate::addr::{DomainId, Level, Mfn};
use crate::fake_machine::Stale;
use crate::frame::{Direction, FrameType, Partial};
use crate::pagetable::tests::world::{BASE, RO, RW, World};
use crate::pagetable::{PagingPolicy, Pte};
use std::string::ToString;
use std::vec::Vec;

/// What the audit says after something was broken; each in words as well.
fn wrong(world: &World) -> Vec<Discrepancy> {
    let found = world.audit();
    assert!(!found.is_empty(), "nothing noticed");
    for discrepancy in &found {
        assert!(discrepancy.to_string().len() > 10);
    }
    found
}

fn entry_complaints(world: &World) -> Vec<&'static str> {
    let what = |discrepancy| match discrepancy {
        Discrepancy::Entry { what, .. } => Some(what),
        _ => None,
    };
    wrong(world).into_iter().filter_map(what).collect()
}

#[test]
fn lost_and_forgotten_references_show() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    world.frames.get_ref(tree.l2, world.domain.id).unwrap();
    assert_eq!(wrong(&world), [Discrepancy::References { frame: tree.l2, recorded: 3, counted: 2 }]);
    world.holdings.push(Holding::Reference(tree.l2));
    assert_eq!(world.audit(), []);
    world.holdings.push(Holding::Reference(tree.l2));
    assert_eq!(wrong(&world), [Discrepancy::References { frame: tree.l2, recorded: 3, counted: 4 }]);
}

#[test]
fn lost_and_forgotten_uses_show() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    world.frames.get_writable(&world.machine, tree.pages[0]).unwrap();
    let frame = tree.pages[0];
    let uses = |recorded, counted| Discrepancy::Uses { frame, kind: FrameType::Writable, recorded, counted };
    assert_eq!(wrong(&world), [uses(2, 1)]);
    world.frames.put_writable(&world.machine, frame);
    world.holdings.push(Holding::Writable(frame));
    assert!(wrong(&world).contains(&uses(1, 2)));
    world.holdings[0] = Holding::Descriptors(frame);
    let used_as = FrameType::SegDesc;
    assert!(wrong(&world).contains(&Discrepancy::WrongUse { frame, kind: FrameType::Writable, used_as }));
    world.holdings[0] = Holding::Reference(Mfn::new(1000));
    let nowhere = Discrepancy::Record { frame: Mfn::new(1000), what: "held, but no such frame" };
    assert_eq!(wrong(&world), [nowhere]);
}

#[test]
fn entries_no_guest_may_have_show() {
    let cases = [
        (Pte::G, "global"),
        (Pte::PS, "large, or with cache attributes"),
        (1 << 3, "large, or with cache attributes"),
        (1 << 4, "large, or with cache attributes"),
    ];
    for (bit, what) in cases {
        for level in 0..4 {
            let mut world = World::ring1();
            let tree = world.boot(1);
            let (table, index) = [(tree.l1, 0), (tree.l2, 0), (tree.l3, 0), (tree.l4, 1)][level];
            let entry = world.entry(table, index).0;
            world.machine.poke(table, index, entry | bit);
            assert_eq!(entry_complaints(&world), [what]);
        }
    }
    let mut world = World::ring1();
    let tree = world.boot(1);
    for slot in [256, 271] {
        world.machine.poke(tree.l4, slot, 1 << 9);
        assert_eq!(entry_complaints(&world), ["in a reserved slot"]);
        world.machine.poke(tree.l4, slot, 0);
    }
    world.machine.poke(tree.l4, 255, 1 << 9);
    assert_eq!(world.audit(), []);
    let foreign = world.foreign_page();
    world.machine.poke(tree.l1, 9, Pte::new(foreign, RO).0);
    assert_eq!(entry_complaints(&world), ["another domain's frame, no grant on record"]);
    world.machine.poke(tree.l1, 9, Pte::new(Mfn::new(64), RO).0);
    assert_eq!(entry_complaints(&world), ["no such frame"]);
    world.machine.poke(tree.l1, 9, 0);
    let raw = world.page();
    world.machine.poke(tree.l3, 9, Pte::new(raw, RO).0);
    assert_eq!(entry_complaints(&world), ["a table that is not valid"]);
}

#[test]
fn supervisor_entries_of_a_ring_3_domain_show() {
    let mut world = World::new(PagingPolicy::Ring3);
    let tree = world.boot(1);
    let entry = world.entry(tree.l2, 0).0;
    world.machine.poke(tree.l2, 0, entry & !Pte::US);
    assert_eq!(entry_complaints(&world), ["supervisor in a domain whose kernel runs in ring 3"]);
}

#[test]
fn records_that_contradict_themselves_show() {
    let complaints = |world: &World| {
        let what = |discrepancy| match discrepancy {
            Discrepancy::Record { what, .. } => Some(what),
            _ => None,
        };
        wrong(world).into_iter().filter_map(what).collect::<Vec<_>>()
    };
    let mut world = World::ring1();
    let frame = world.page();
    assert!(world.frames.pin(frame));
    assert_eq!(complaints(&world), ["pinned, but no table"]);
    world.frames.unpin(frame);
    world.frames.begin_type(&world.machine, frame, FrameType::L2).unwrap();
    assert_eq!(complaints(&world), ["in use, but neither valid nor partial"]);
    world.frames.park(frame, Partial { index: 3, child: true, direction: Direction::Up }, false);
    assert_eq!(complaints(&world), ["its partial child is not present"]);
    world.frames.unpark(frame);
    world.frames.abandon_validation(frame);
    world.frames.begin_type(&world.machine, frame, FrameType::L1).unwrap();
    world.frames.park(frame, Partial { index: 3, child: false, direction: Direction::Up }, false);
    assert_eq!(complaints(&world), ["partial in an impossible way"]);
    world.frames.unpark(frame);
    world.frames.abandon_validation(frame);
    world.frames.begin_type(&world.machine, frame, FrameType::SegDesc).unwrap();
    world.frames.park(frame, Partial { index: 3, child: false, direction: Direction::Up }, false);
    assert!(complaints(&world).contains(&"partial, but no table"));
}

#[test]
fn a_stale_writable_mapping_shows() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let frame = tree.pages[0];
    // As if an update had neither flushed nor stamped: the entry goes, the count goes, the type changes.
    world.machine.fill();
    world.machine.poke(tree.l1, 0, 0);
    world.frames.put_writable(&world.machine, frame);
    world.frames.put_ref(&world.machine, frame);
    assert_eq!(world.machine.stale(&world.frames), []);
    assert_eq!(world.paging().pin(frame, Level::L1), Ok(()));
    assert_eq!(world.machine.stale(&world.frames), [], "the stamp made the pin flush");
    world.machine.poke(tree.l1, 1, Pte::new(frame, RW).0);
    world.machine.fill();
    let address = BASE + 0x1000;
    assert_eq!(world.machine.stale(&world.frames), [Stale::WritableTable { cpu: 0, address, frame }]);
    world.machine.poke(tree.l1, 1, Pte::new(Mfn::new(2), RO).0);
    world.machine.fill();
    let frame = Mfn::new(2);
    assert_eq!(
        world.machine.stale(&world.frames),
        [Stale::ForeignPage { cpu: 0, by: DomainId(1), address, frame, writable: false }]
    );
}

#[test]
fn stale_tables_and_roots_show() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    world.machine.poke(tree.l2, 9, Pte::new(tree.pages[0], RO).0);
    world.machine.fill();
    let frame = tree.pages[0];
    assert_eq!(world.machine.stale(&world.frames), [Stale::NoTable { cpu: 0, frame, level: Level::L1 }]);
    world.machine.poke(tree.l2, 9, 0);
    world.paging().set_base(tree.l4).unwrap();
    world.machine.poke(tree.l4, 300, Pte::new(tree.l3, RO).0);
    assert_eq!(world.machine.stale(&world.frames), [Stale::Root { cpu: 0, slot: 300 }]);
}
