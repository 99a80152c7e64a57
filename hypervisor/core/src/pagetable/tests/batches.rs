use super::world::{BASE, RO, RW, Tree, World};
use crate::addr::{Mfn, PAGE_SIZE};
use crate::memory::Memory;
use crate::pagetable::{CallOutcome, MMU_UPDATE_PREEMPTED, Pte};
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::mmuext_op::MmuextCommand;
use paravane_abi::mmu::{
    DOMID_IO, DOMID_SELF, DOMID_XEN, ForeignDomains, MmuUpdate, MmuextOp, UVMF_ALL, UVMF_INVLPG, UVMF_LOCAL,
    UVMF_NONE, UVMF_TLB_FLUSH,
};
use zerocopy::IntoBytes;

const SELF: u32 = DOMID_SELF as u32;
/// Where the tests put the count of requests done: the end of page 1.
const DONE: u64 = BASE + 0x1ff8;

/// Writes requests to the first page.
fn put<T: IntoBytes + zerocopy::Immutable>(world: &World, requests: &[T]) {
    world.memory().write_slice(BASE, requests).unwrap();
}

fn done(world: &World) -> u32 {
    world.memory().read(DONE).unwrap()
}

fn failure(error: Errno) -> CallOutcome {
    CallOutcome::Return(error.to_ret())
}

fn update(table: Mfn, index: usize, entry: Pte) -> MmuUpdate {
    MmuUpdate { ptr: table.address() + index as u64 * 8, val: entry.0 }
}

#[test]
fn a_batch_does_its_requests_in_order() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let page = world.page();
    // The second depends on the first, the fourth on the third.
    let requests = [
        update(tree.l1, 100, Pte::new(page, RW)),
        update(page, 7, Pte(77)),
        update(tree.l1, 100, Pte(0)),
        update(tree.l2, 5, Pte::new(page, RW)),
    ];
    put(&world, &requests);
    // Entry 7 of the page is not present, so the page can become an L1.
    let requests_76 = update(page, 7, Pte(76));
    world.memory().write_element(BASE, 1, &requests_76).unwrap();
    assert_eq!(world.paging().mmu_update(BASE, 4, DONE, SELF), CallOutcome::Return(0));
    world.check();
    assert_eq!(done(&world), 4);
    assert_eq!(world.entry(tree.l2, 5), Pte::new(page, RW));
    assert_eq!(world.entry(page, 7), Pte(76));
}

#[test]
fn a_batch_ends_at_the_first_refusal_and_tells_how_far_it_came() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    put(
        &world,
        &[
            update(tree.l1, 100, Pte::new(tree.pages[0], RO)),
            update(tree.l1, 101, Pte::new(tree.l2, RW)),
            update(tree.l1, 102, Pte::new(tree.pages[0], RO)),
        ],
    );
    assert_eq!(world.paging().mmu_update(BASE, 3, DONE, SELF), failure(Errno::EBUSY));
    world.check();
    assert_eq!(done(&world), 1);
    assert!(world.entry(tree.l1, 100).present() && !world.entry(tree.l1, 102).present());
    // No place for the count is asked for, or it can't be written.
    assert_eq!(world.paging().mmu_update(BASE, 1, 0, SELF), CallOutcome::Return(0));
    assert_eq!(world.paging().mmu_update(BASE, 1, 12, SELF), CallOutcome::Return(0));
}

#[test]
fn requests_that_cannot_be_read_are_efault() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let at = BASE + 2 * PAGE_SIZE as u64 - 32;
    let request = update(tree.l1, 100, Pte::new(tree.pages[0], RO));
    world.memory().write_slice(at, &[request, request]).unwrap();
    assert_eq!(world.paging().mmu_update(at, 3, BASE, SELF), failure(Errno::EFAULT));
    assert_eq!(world.memory().read::<u32>(BASE), Ok(2), "the two that could be read were done");
    for bad in [0, 0xffff_8000_0000_0000, 1 << 47, u64::MAX - 8, 0xffff_87ff_ffff_fff8] {
        assert_eq!(world.paging().mmu_update(bad, 1, 0, SELF), failure(Errno::EFAULT), "{bad:#x}");
        assert_eq!(world.paging().mmuext_op(bad, 1, 0, SELF), failure(Errno::EFAULT), "{bad:#x}");
    }
    // As many as can be asked for: the first is refused, and none after it is looked at.
    assert_eq!(world.paging().mmu_update(BASE, u32::MAX >> 1, 0, SELF), failure(Errno::EINVAL));
    assert_eq!(world.on(1, 100).mmu_update(BASE, 1, 0, SELF), failure(Errno::EFAULT), "no base table");
    world.check();
}

#[test]
fn many_requests_cross_chunks_and_pages() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let at = BASE + PAGE_SIZE as u64 - 16 * 20 + 8;
    for index in 0..50 {
        let request = update(tree.l1, 100 + index, Pte::new(tree.pages[0], RO | (index as u64) << 52));
        world.memory().write_element(at, index as u64, &request).unwrap();
    }
    assert_eq!(world.paging().mmu_update(at, 50, DONE, SELF), CallOutcome::Return(0));
    world.check();
    assert_eq!(done(&world), 50);
    for index in 0..50 {
        assert_eq!(world.entry(tree.l1, 100 + index).0 >> 52, index as u64);
    }
}

#[test]
fn a_long_batch_is_continued_and_counts_on() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    for index in 0..40 {
        let request = update(tree.l1, 100 + index, Pte::new(tree.pages[0], RO));
        world.memory().write_element(BASE, index as u64, &request).unwrap();
    }
    let mut args = [BASE, 40, DONE, u64::from(SELF)];
    let mut calls = 0;
    loop {
        calls += 1;
        // Enough for two requests.
        let outcome = world.on(0, 20).mmu_update(args[0], args[1] as u32, args[2], args[3] as u32);
        world.check();
        assert_eq!(done(&world), (calls * 2).min(40));
        match outcome {
            CallOutcome::Return(value) => break assert_eq!(value, 0),
            CallOutcome::Continue(next) => {
                assert_eq!(next[0], args[0] + 32);
                assert_eq!(next[1] as u32, (40 - calls * 2) | MMU_UPDATE_PREEMPTED);
                assert_eq!(next[2..], args[2..]);
                args = next;
            }
        }
    }
    assert_eq!(calls, 20);
}

/// Makes a call with its continuations, a few steps each; returns the value and the number of calls.
fn run(
    world: &mut World,
    steps: u32,
    mut args: [u64; 4],
    call: impl Fn(&mut crate::pagetable::Paging<'_, crate::fake_machine::FakeMachine>, [u64; 4]) -> CallOutcome,
) -> (i64, u32) {
    for calls in 1..10_000 {
        let outcome = call(&mut world.on(0, steps), args);
        world.check();
        match outcome {
            CallOutcome::Return(value) => return (value, calls),
            CallOutcome::Continue(next) => args = next,
        }
    }
    panic!("no end");
}

fn mmuext_args(
    paging: &mut crate::pagetable::Paging<'_, crate::fake_machine::FakeMachine>,
    args: [u64; 4],
) -> CallOutcome {
    paging.mmuext_op(args[0], args[1] as u32, args[2], args[3] as u32)
}

fn second_tree(world: &mut World) -> Tree {
    let tree = world.tree(1);
    world.set(tree.l4, 400, tree.l3, RW);
    tree
}

#[test]
fn pins_and_unpins_are_continued_to_their_end() {
    let mut world = World::ring1();
    world.boot(2);
    let other = second_tree(&mut world);
    let op = |command: MmuextCommand| MmuextOp::new(command.number(), other.l4.get(), 0);
    put(&world, &[op(MmuextCommand::PinL4Table), op(MmuextCommand::UnpinTable)]);
    let (value, calls) = run(&mut world, 1, [BASE, 2, DONE, u64::from(SELF)], mmuext_args);
    assert_eq!((value, done(&world)), (0, 2));
    assert!(calls > 1000, "{calls}");
    assert_eq!(world.vcpus[0].pending(), None, "the last release was finished as well");
    assert_eq!((world.info(other.l4).refs(), world.info(other.l4).type_count()), (1, 0));
}

#[test]
fn a_refusal_with_something_left_to_release_arrives_after_the_release() {
    let mut world = World::ring1();
    world.boot(2);
    let other = second_tree(&mut world);
    world.set(other.l4, 450, Mfn::new(0), RO);
    let pin = MmuextOp::new(MmuextCommand::PinL4Table.number(), other.l4.get(), 0);
    put(&world, &[pin, pin]);
    let (value, calls) = run(&mut world, 1, [BASE, 2, DONE, u64::from(SELF)], mmuext_args);
    assert_eq!((value, done(&world)), (Errno::EINVAL.to_ret(), 0));
    assert!(calls > 1000, "{calls}");
    assert_eq!(world.vcpus[0].pending(), None);
    assert_eq!((world.info(other.l4).refs(), world.info(other.l4).type_count()), (1, 0));
}

#[test]
fn a_guest_that_forges_a_continuation_gets_only_its_own_number_back() {
    let mut world = World::ring1();
    world.boot(2);
    for domain in [0, 5, u32::MAX] {
        let outcome = world.paging().mmuext_op(0, MMU_UPDATE_PREEMPTED, 0, domain);
        assert_eq!(outcome, CallOutcome::Return(i64::from(domain as i32)));
    }
    // With a count, it only makes the reported number wrong.
    world.memory().write(DONE, &41u32).unwrap();
    put(&world, &[MmuextOp::new(MmuextCommand::TlbFlushLocal.number(), 0, 0)]);
    assert_eq!(world.paging().mmuext_op(BASE, 1 | MMU_UPDATE_PREEMPTED, DONE, SELF), CallOutcome::Return(0));
    assert_eq!(done(&world), 42);
    world.check();
}

#[test]
fn no_place_for_the_count_is_not_address_0() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    // The guest has a page at address 0 and asks for no count.
    world.set(tree.l4, 0, tree.l3, RW);
    world.paging().set_base(tree.l4).unwrap();
    world.memory().write(0, &[0u64, 41]).unwrap();
    put(&world, &[MmuextOp::new(MmuextCommand::TlbFlushLocal.number(), 0, 0)]);
    let before = world.memory().read::<u64>(0).unwrap();
    let again = 1 | MMU_UPDATE_PREEMPTED;
    assert_eq!(world.paging().mmuext_op(BASE, again, 0, SELF), CallOutcome::Return(0));
    assert_eq!(world.memory().read::<u64>(0), Ok(before));
}

#[test]
fn a_call_finishes_what_an_earlier_one_left() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let other = second_tree(&mut world);
    world.paging().pin(other.l4, crate::addr::Level::L4).unwrap();
    world.on(0, 1).unpin(other.l4).unwrap();
    put(&world, &[update(tree.l1, 100, Pte(0))]);
    let args = [BASE, 1, DONE, u64::from(SELF)];
    let outcome = world.on(0, 1).mmu_update(BASE, 1, DONE, SELF);
    assert_eq!(outcome, CallOutcome::Continue(args), "nothing done yet, so nothing marked");
    let (value, _) = run(&mut world, 100, args, |paging, args| {
        paging.mmu_update(args[0], args[1] as u32, args[2], args[3] as u32)
    });
    assert_eq!((value, done(&world)), (0, 1));
    assert_eq!(world.info(other.l4).refs(), 1);
}

#[test]
fn other_domains_are_out_of_reach() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    put(&world, &[update(tree.l1, 100, Pte::new(tree.pages[0], RO))]);
    let domains = |frames: u16, tables: u16| ForeignDomains { frames, tables }.to_arg();
    for (arg, error) in [
        (domains(2, DOMID_SELF), Errno::EPERM),
        (domains(DOMID_XEN, DOMID_SELF), Errno::EPERM),
        (domains(3, DOMID_SELF), Errno::ESRCH),
        (domains(1, DOMID_SELF), Errno::ESRCH),
        (domains(DOMID_IO, DOMID_SELF), Errno::EBUSY),
        (domains(DOMID_SELF, 2), Errno::EPERM),
        (domains(DOMID_SELF, 3), Errno::ESRCH),
    ] {
        assert_eq!(world.paging().mmu_update(BASE, 1, DONE, arg), failure(error), "{arg:#x}");
        assert!(!world.entry(tree.l1, 100).present());
    }
    assert_eq!(world.paging().mmu_update(BASE, 1, DONE, domains(DOMID_SELF, 1)), CallOutcome::Return(0));
    put(&world, &[MmuextOp::new(MmuextCommand::TlbFlushLocal.number(), 0, 0)]);
    for (arg, error) in
        [(DOMID_IO, Errno::EPERM), (2, Errno::EPERM), (3, Errno::ESRCH), (DOMID_XEN, Errno::EPERM)]
    {
        for count in [0, 1] {
            assert_eq!(world.paging().mmuext_op(BASE, count, 0, u32::from(arg)), failure(error));
        }
    }
    // Without a request, a domain that there is not is refused all the same, and one out of reach is not asked for.
    for (arg, outcome) in [
        (domains(3, DOMID_SELF), failure(Errno::ESRCH)),
        (domains(1, DOMID_SELF), failure(Errno::ESRCH)),
        (domains(DOMID_SELF, 4), failure(Errno::ESRCH)),
        (domains(2, DOMID_SELF), CallOutcome::Return(0)),
    ] {
        assert_eq!(world.paging().mmu_update(BASE, 0, DONE, arg), outcome, "{arg:#x}");
    }
    world.check();
}

#[test]
fn update_va_mapping_finds_its_entry() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let page = world.page();
    let va = BASE + 100 * PAGE_SIZE as u64;
    let entry = Pte::new(page, RW).0;
    assert_eq!(world.paging().update_va_mapping(va + 5, entry, UVMF_NONE), CallOutcome::Return(0));
    world.check();
    assert_eq!(world.entry(tree.l1, 100), Pte(entry));
    for (bad, entry, error) in [
        (va, Pte::new(tree.l4, RW).0, Errno::EBUSY),
        (va, Pte::new(Mfn::new(64), RW).0, Errno::EPERM),
        (BASE + (1 << 21), entry, Errno::EINVAL),
        (BASE + (1 << 39), entry, Errno::EINVAL),
        (0xffff_8000_0000_0000, entry, Errno::EINVAL),
        (1 << 47, entry, Errno::EINVAL),
    ] {
        assert_eq!(world.paging().update_va_mapping(bad, entry, 0), failure(error), "{bad:#x}");
    }
    for (domain, outcome) in [
        (DOMID_SELF, CallOutcome::Return(0)),
        (DOMID_IO, failure(Errno::EPERM)),
        (2, failure(Errno::EPERM)),
        (9, failure(Errno::ESRCH)),
    ] {
        let entry = Pte::new(page, RO).0;
        assert_eq!(world.paging().update_va_mapping(va, 0, 0), CallOutcome::Return(0));
        assert_eq!(world.paging().update_va_mapping_otherdomain(va, entry, 0, domain), outcome);
    }
    assert_eq!(world.on(1, 1).update_va_mapping(va, entry, 0), failure(Errno::EINVAL), "no base table");
    world.check();
}

#[test]
fn update_va_mapping_flushes_as_told() {
    let mut world = World::ring1();
    let tree = world.boot(3);
    assert_eq!(world.on(1, 1 << 20).set_base(tree.l4), Ok(()));
    let bitmap = World::word(2, 0);
    let next = BASE + PAGE_SIZE as u64;
    let cases = [
        (UVMF_NONE, [true; 4]),
        (UVMF_NONE | UVMF_ALL, [true; 4]),
        (UVMF_TLB_FLUSH | UVMF_LOCAL, [false, false, true, true]),
        (UVMF_TLB_FLUSH | UVMF_ALL, [false; 4]),
        (UVMF_TLB_FLUSH | bitmap, [true, true, false, false]),
        (UVMF_INVLPG | UVMF_LOCAL, [false, true, true, true]),
        (UVMF_INVLPG | UVMF_ALL, [false, true, false, true]),
        (UVMF_INVLPG | bitmap, [true, true, false, true]),
        (3, [true; 4]),
    ];
    for (flags, held) in cases {
        world.machine.poke(tree.pages[2], 0, 2);
        world.machine.fill();
        let entry = world.entry(tree.l1, 0).0 ^ Pte::NX;
        assert_eq!(world.paging().update_va_mapping(BASE, entry, flags), CallOutcome::Return(0));
        let holds = |cpu, address| world.machine.holds(cpu, address);
        assert_eq!([holds(0, BASE), holds(0, next), holds(1, BASE), holds(1, next)], held, "{flags:#x}");
    }
    // A bitmap that can't be read: the entry is changed all the same.
    let entry = world.entry(tree.l1, 0).0 ^ Pte::NX;
    let outcome = world.paging().update_va_mapping(BASE, entry, UVMF_TLB_FLUSH | 0x123_4568);
    assert_eq!(outcome, failure(Errno::EFAULT));
    assert_eq!(world.machine.read_word(tree.l1, 0), entry);
}
