//! Three domains that lend, map, copy, give, edit page tables and tables of grants, and die, at random: after every
//! step all state is counted again, and no CPU remembers what it must not.

mod ops;

use super::super::fuzz::arguments::Random;
use super::*;
use crate::addr::DomainId;
use crate::calls::tests::world::{ARG, SMALL_PAGES, stale};
use crate::domain::Shutdown;
use crate::emulate::Mode;
use crate::flush::Tlb;
use crate::memory::Memory;
use ops::{Kind, Outcome};
use paravane_abi::hypercall::HYPERVISOR_MMU_UPDATE;
use paravane_abi::mmu::DOMID_SELF;
use std::collections::BTreeMap;
use std::println;
use std::string::String;
use std::{format, thread};

const SEQUENCES: u64 = 420;
const STEPS: usize = 250;

/// Frames of each domain that it plays with, besides those that are mapped.
const TOYS: u64 = 8;
/// Pages of each window.
const PAGES: u64 = 6;
/// A window of a table that the domain hooks in and out of its tree.
const LOOSE: u64 = 0xffff_ffff_80c0_0000;

/// A mapping as its maker remembers it.
#[derive(Clone, Copy)]
struct Made {
    handle: u32,
    address: u64,
    frame: Mfn,
    dom: u16,
    reference: u32,
}

/// The domains, and what each remembers.
struct Play {
    lending: Lending,
    random: Random,
    toys: Vec<Mfn>,
    /// The L1 table of each domain's loose window.
    loose: [Mfn; 3],
    made: [Vec<Made>; 3],
    /// Which domain is where on the list; none once it is dead.
    alive: [bool; 3],
    tally: BTreeMap<(Kind, String), u64>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut random = Random::Seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut lending = Lending { world: World::small(3, 40) };
        let (mut toys, mut loose) = (Vec::new(), [Mfn::new(0); 3]);
        for (domain, table) in loose.iter_mut().enumerate() {
            lending.world.act_as(domain);
            // Those past the initial mapping.
            let first = SMALL_PAGES - TOYS - 1;
            toys.extend((first..SMALL_PAGES - 1).map(|pfn| lending.world.frame(pfn)));
            *table = lending.world.frame(SMALL_PAGES - 1);
            lending.set_version(1 + random.below(2) as u32);
        }
        let made = Default::default();
        Self { lending, random, toys, loose, made, alive: [true; 3], tally: BTreeMap::new() }
    }

    /// Where a domain stands on the list: the dead that are not gone still stand there.
    fn index(&self, domain: usize) -> Option<usize> {
        let id = DomainId(domain as u16 + 1);
        self.lending.world.hv.domain_index(id)
    }

    fn act_as(&mut self, domain: usize) {
        let index = self.index(domain).expect("it lives");
        let hv = &mut self.lending.world.hv;
        (hv.here.domain, hv.here.vcpu) = (index, 0);
        hv.here.info = hv.vcpu().info;
        let (id, base) = (hv.domain().id, hv.vcpu().paging.base());
        let fake = &hv.machine.fake;
        fake.switch_to(domain);
        if !fake.runs(domain, id) {
            fake.base_changed(id, Mode::Kernel, base);
        }
    }

    fn step(&mut self, what: &dyn Fn() -> String) {
        let living: Vec<usize> = (0..3).filter(|n| self.alive[*n]).collect();
        let domain = self.random.of(&living);
        self.act_as(domain);
        let kind = Kind::choose(&mut self.random);
        let outcome = self.perform(kind, domain);
        let name = match outcome {
            Outcome::Done => "done".into(),
            Outcome::Status(status) => format!("status {status}"),
            Outcome::Error(error) => error.name().into(),
        };
        *self.tally.entry((kind, name)).or_default() += 1;
        self.audit(&|| format!("{}: {kind:?} by {domain}: {outcome:?}", what()));
    }

    fn audit(&self, what: &dyn Fn() -> String) {
        let hv = &self.lending.world.hv;
        let wrong = hv.recount();
        assert!(wrong.is_empty(), "{}: {}", what(), wrong[0]);
        let found = stale(hv);
        assert!(found.is_empty(), "{}: {:?}", what(), found[0]);
    }

    /// A domain dies, as far as that goes now.
    fn kill(&mut self, domain: usize) {
        let Some(index) = self.index(domain) else { return };
        self.alive[domain] = false;
        let fake = &self.lending.world.hv.machine.fake;
        fake.switch_to(domain);
        fake.base_changed(DomainId(domain as u16 + 1), Mode::Kernel, None);
        let hv = &mut self.lending.world.hv;
        hv.here.busy = false;
        hv.stop_domain(index, Shutdown::PowerOff);
        self.work();
    }

    fn work(&mut self) {
        while !self.lending.world.hv.jobs.is_empty() {
            self.lending.world.hv.work();
        }
    }
}

fn run(seed: u64) -> BTreeMap<(Kind, String), u64> {
    let mut play = Play::new(seed);
    let first_death = STEPS / 2 + play.random.below(STEPS as u64) as usize;
    for step in 0..STEPS {
        if step == first_death {
            let victim = play.random.below(3) as usize;
            play.kill(victim);
            play.audit(&|| format!("seed {seed}, step {step}: the end of {victim}"));
        }
        if step % 16 == 0 {
            play.lending.world.hv.machine.fake.fill();
        }
        play.step(&|| format!("seed {seed}, step {step}"));
        play.work();
    }
    for domain in 0..3 {
        play.kill(domain);
        play.audit(&|| format!("seed {seed}: the end of {domain}"));
    }
    let hv = &play.lending.world.hv;
    assert_eq!((hv.domains.len(), hv.frames.free_frames()), (0, play.lending.world.free), "seed {seed}");
    play.tally
}

#[test]
fn random_histories_keep_every_count() {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let tallies = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope
                    .spawn(move || (worker..SEQUENCES).step_by(threads as usize).map(run).collect::<Vec<_>>())
            })
            .collect();
        let join =
            |worker: thread::ScopedJoinHandle<'_, Vec<_>>| worker.join().expect("the message is above");
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    let mut tally: BTreeMap<(Kind, String), u64> = BTreeMap::new();
    for (key, count) in tallies.into_iter().flatten() {
        *tally.entry(key).or_default() += count;
    }
    report(&tally);
}

/// Prints what happened how often, and checks that everything did.
fn report(tally: &BTreeMap<(Kind, String), u64>) {
    let mut lines: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
    for ((kind, outcome), count) in tally {
        lines.entry(*kind).or_default().push(format!("{outcome} {count}"));
    }
    lines.iter().for_each(|(kind, counts)| println!("{:14} {}", format!("{kind:?}"), counts.join(", ")));
    let total: u64 = tally.values().sum();
    println!("{total} steps");
    assert!(total > 100_000);
    for kind in Kind::ALL {
        let done = tally.get(&(*kind, "done".into())).copied().unwrap_or(0);
        assert!(done > 100, "{kind:?} was done {done} times");
    }
    for status in [-1, -2, -3, -4, -6, -8, -9, -10, -12] {
        let name = format!("status {status}");
        assert!(tally.keys().any(|(_, outcome)| *outcome == name), "{name} does not occur");
    }
}

impl Lending {
    /// Writes an entry of a page table by machine address; what the call answers.
    fn update(&mut self, address: u64, entry: u64) -> i64 {
        self.world.put(ARG, &[address, entry]);
        self.world.call(HYPERVISOR_MMU_UPDATE, &[ARG, 1, 0, DOMID_SELF.into()])
    }
}
