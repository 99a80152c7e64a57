//! Random sequences of everything a guest can do to its page tables, with a recount of all state and a
//! look for stale translations after every operation.

mod ops;
mod random;
mod tally;
mod world;

use ops::{Kind, Op};
use paravane_abi::errno::Errno;
use random::Random;
use std::thread;
use tally::{End, Tally};
use world::World;

const SEQUENCES: u64 = 10_000;
const OPERATIONS: usize = 50;

/// Every error the paging interface gives; EAGAIN stands for a compare-exchange that found something
/// else, ENOENT for nothing there to drop.
const ERRORS: [Errno; 11] = [
    Errno::EPERM,
    Errno::ENOENT,
    Errno::ESRCH,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EACCES,
    Errno::EFAULT,
    Errno::EBUSY,
    Errno::EINVAL,
    Errno::ENOSYS,
    Errno::EOPNOTSUPP,
];

/// Operations worth more of the time: those that build, change and release tables.
const FREQUENT: [Kind; 16] = [
    Kind::UpdateL1,
    Kind::UpdateL1,
    Kind::UpdateUpper,
    Kind::UpdateUpper,
    Kind::UpdateVa,
    Kind::PinL2,
    Kind::PinL3,
    Kind::PinL4,
    Kind::Unpin,
    Kind::Unpin,
    Kind::NewBase,
    Kind::Batch,
    Kind::GuestWrite,
    Kind::PtExchange,
    Kind::Decrease,
    Kind::Populate,
];

fn choose(world: &World, vcpu: usize, random: &mut Random) -> Kind {
    if world.vcpus[vcpu].base().is_none() && random.percent(70) {
        return Kind::NewBase;
    }
    match random.pick(Kind::ALL) {
        // It ends much else.
        Kind::DropBases if random.percent(80) => Kind::NewBase,
        _ if random.percent(50) => random.pick(&FREQUENT),
        kind => kind,
    }
}

fn run_sequence(seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random);
    world.check(&|| format!("sequence {seed}, at the start"));
    for number in 0..OPERATIONS {
        let vcpu = if random.percent(70) { 0 } else { 1 };
        let kind = choose(&world, vcpu, &mut random);
        let what = || format!("sequence {seed}, operation {number}, {kind:?} on vcpu {vcpu}");
        let mut op = Op::random(kind, &world, &mut random);
        let mut steps = random.pick(&[1, 2, 5, 40, 600, 2000, u32::MAX, u32::MAX]);

        // A partial table may be finished or undone on the way, and what is pending is released first.
        let quiet = !world.any_partial() && world.vcpus[vcpu].pending().is_none();
        let before = quiet.then(|| world.counts());
        let mut end = op.perform(&mut world, vcpu, steps);
        world.check(&what);
        tally.count(kind, end);
        if let (End::Refused(error), Some(before)) = (end, before)
            && may_compare(kind, error)
            && !world.any_partial()
        {
            let changed = world.counts().differing(&before);
            assert!(changed.is_empty(), "{}: refused, yet changed {changed:?}", what());
            tally.compared += 1;
        }
        tally.left_pending += u64::from(world.vcpus[vcpu].pending().is_some());
        if end == End::Again {
            if random.percent(50) {
                tally.abandoned += 1;
                continue;
            }
            let mut times = 0;
            while end == End::Again {
                steps = steps.saturating_mul(2).max(steps);
                end = op.perform(&mut world, vcpu, steps);
                world.check(&what);
                times += 1;
                assert!(times < 100, "{} does not end", what());
            }
            tally.resumed += 1;
        }
    }
    world.tear_down(&mut random, &|| format!("sequence {seed}, at the end"));
}

/// Whether a refusal must leave every count as it was. A batch has done what came before the refusal, and
/// `update_va_mapping` changes the entry before it finds that it can't read the vcpus to flush.
fn may_compare(kind: Kind, error: Errno) -> bool {
    let flush = matches!(kind, Kind::UpdateVa | Kind::UpdateVaOther) && error == Errno::EFAULT;
    kind != Kind::Batch && !flush
}

#[test]
fn random_sequences_keep_every_invariant() {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let tally = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for seed in (worker..SEQUENCES).step_by(threads as usize) {
                        run_sequence(seed, &mut tally);
                    }
                    tally
                })
            })
            .collect();
        let mut all = Tally::default();
        for worker in workers {
            all.merge(&worker.join().expect("a sequence failed; its message is above"));
        }
        all
    });
    println!("{tally}");
    assert_eq!(tally.total(), SEQUENCES * OPERATIONS as u64);
    assert!(tally.of(None, "done") * 100 >= tally.total() * 30, "too few operations succeed");
    for &kind in Kind::ALL {
        let never =
            matches!(kind, Kind::UnknownUpdate | Kind::UnknownExt | Kind::FlushCache | Kind::MarkSuper);
        assert!(never || tally.of(Some(kind), "done") > 100, "{kind:?} does not succeed");
        assert!(kind_total(&tally, kind) > 0, "{kind:?} does not occur");
    }
    for error in ERRORS {
        assert!(tally.of(None, error.name()) > 0, "{error} does not occur");
    }
    assert!(tally.of(None, "again") > 1000 && tally.resumed > 500 && tally.abandoned > 500);
    assert!(tally.left_pending > 500 && tally.compared > 10_000);
}

fn kind_total(tally: &Tally, kind: Kind) -> u64 {
    let errors: u64 = ERRORS.iter().map(|error| tally.of(Some(kind), error.name())).sum();
    errors + tally.of(Some(kind), "done") + tally.of(Some(kind), "again")
}
