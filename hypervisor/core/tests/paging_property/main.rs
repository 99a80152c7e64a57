//! Random sequences of everything a guest can do to its page tables, with a recount of all state and a
//! look for stale translations after every operation.

mod ops;
mod random;
mod sequence;
mod tally;
mod world;

use ops::Kind;
use paravane_abi::errno::Errno;
use random::Random;
use sequence::run_sequence;
use std::thread;
use tally::Tally;

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

#[test]
fn random_sequences_keep_every_invariant() {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let tally = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for seed in (worker..SEQUENCES).step_by(threads as usize) {
                        let name = format!("sequence {seed}");
                        run_sequence(&name, &mut Random::new(seed), OPERATIONS, &mut tally);
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
