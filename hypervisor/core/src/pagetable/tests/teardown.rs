use super::world::{RO, RW, World};
use crate::addr::{Level, Mfn};
use crate::pagetable::{Budget, OpError, Teardown};

fn baseline() -> u64 {
    World::ring1().frames.free_frames()
}

/// Takes the vcpus' tables away and then the domain's memory, a step at a time; returns the calls made.
fn tear_down(world: &mut World, steps: u32) -> u32 {
    let mut calls = 0;
    for vcpu in 0..2 {
        loop {
            calls += 1;
            let done = world.on(vcpu, steps).drop_bases();
            world.check();
            match done {
                Ok(()) => break,
                Err(OpError::Again) => {}
                Err(OpError::Refused(error)) => panic!("{error}"),
            }
        }
    }
    let mut teardown = Teardown::new();
    loop {
        calls += 1;
        let World { frames, machine, domain, .. } = world;
        let done = teardown.run(frames, machine, domain, &mut Budget::new(steps));
        world.check();
        match done {
            Ok(()) => return calls,
            Err(OpError::Again) => {}
            Err(OpError::Refused(error)) => panic!("{error}"),
        }
    }
}

#[test]
fn a_domains_end_frees_everything() {
    for steps in [1 << 20, 100, 1] {
        let mut world = World::ring1();
        let tree = world.boot(4);
        assert_eq!(world.on(1, 1 << 20).set_base(tree.l4), Ok(()));
        world.paging().pin(tree.l1, Level::L1).unwrap();
        let shared = world.frames.alloc_shared(&world.machine, world.domain.id).unwrap();
        let map = crate::pagetable::Pte::new(shared, RW).0;
        let request = paravane_abi::mmu::MmuUpdate { ptr: tree.l1.address() + 8 * 100, val: map };
        world.paging().update(request, crate::pagetable::MapOwner::Own).unwrap();
        let foreign = world.foreign_page();
        let calls = tear_down(&mut world, steps);
        // A call for each vcpu and one for the rest, when the budget suffices.
        let expected = if steps == 1 {
            100..100_000
        } else if steps == 100 {
            4..1000
        } else {
            3..4
        };
        assert!(expected.contains(&calls), "{calls} calls of {steps} steps");
        assert_eq!(world.frames.free_frames(), baseline() - 1, "the other domain's page stays");
        assert_eq!(Teardown::remaining(&world.frames, &world.domain), 0);
        assert_eq!(world.frames.account(world.domain.id).unwrap().allocated, 0);
        assert!(world.frames.close_account(world.domain.id));
        assert!(world.frames.release_allocation(&world.machine, foreign, world.other.id));
        assert_eq!(world.frames.free_frames(), baseline());
    }
}

#[test]
fn abandoned_validations_and_releases_do_not_outlive_the_domain() {
    for stop_at in [1, 2, 3, 4, 5, 600, 1100] {
        let mut world = World::ring1();
        let first = world.tree(2);
        world.set(first.l3, 17, first.l2, RO);
        assert_eq!(world.on(0, stop_at).pin(first.l4, Level::L4), Err(OpError::Again));
        let second = world.tree(2);
        assert_eq!(world.on(1, 1 << 20).pin(second.l4, Level::L4), Ok(()));
        assert_eq!(world.on(1, stop_at).unpin(second.l4), Ok(()));
        world.check();
        tear_down(&mut world, 3);
        assert_eq!(world.frames.free_frames(), baseline(), "stopped after {stop_at}");
    }
}

#[test]
fn what_is_still_held_stays_until_it_is_dropped() {
    let mut world = World::ring1();
    let info = world.page();
    assert_eq!(world.paging().hold_writable(info), Ok(()));
    world.holdings.push(crate::audit::Holding::Writable(info));
    world.boot(1);
    tear_down(&mut world, 1 << 20);
    assert_eq!(Teardown::remaining(&world.frames, &world.domain), 1);
    assert!(!world.frames.close_account(world.domain.id));
    world.paging().drop_writable(info);
    world.holdings.clear();
    world.check();
    assert_eq!(Teardown::remaining(&world.frames, &world.domain), 0);
    assert_eq!(world.frames.free_frames(), baseline());
}

#[test]
fn allocations_given_up_while_mapped_go_with_the_mapping() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    for &frame in &[tree.pages[0], tree.l1, tree.l4] {
        assert!(world.frames.release_allocation(&world.machine, frame, world.domain.id));
        world.check();
        assert!(world.frames.is_owned_by(frame, world.domain.id));
    }
    tear_down(&mut world, 50);
    assert_eq!(world.frames.free_frames(), baseline());
    assert!(!world.frames.is_owned_by(Mfn::new(4), world.domain.id));
}

#[test]
fn plain_frames_are_given_up_a_budget_at_a_time() {
    let mut world = World::ring1();
    for _ in 0..40 {
        world.page();
    }
    let mut teardown = Teardown::new();
    let mut calls = 1;
    let World { frames, machine, domain, .. } = &mut world;
    while teardown.run(frames, machine, domain, &mut Budget::new(10)) == Err(OpError::Again) {
        calls += 1;
    }
    // One step for each of the 64 frames.
    assert_eq!(calls, 7);
    // Without any budget there is still progress.
    let mut teardown = Teardown::new();
    assert_eq!(teardown.run(frames, machine, domain, &mut Budget::new(0)), Err(OpError::Again));
    assert_ne!(teardown, Teardown::new());
    world.check();
    assert_eq!(world.frames.free_frames(), baseline());
}
