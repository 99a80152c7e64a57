//! Shares follow weights, work is conserved, nobody starves, nobody runs for free.

use super::*;
use std::println;

/// Runs domains of these weights, each with `vcpus` that spin, and checks each share within 5 percent.
fn shares(cpus: usize, weights: &[u16], vcpus: u32, seconds: u64) {
    let mut sim = Sim::new(cpus);
    for (id, w) in (1..).zip(weights) {
        sim.domain(id, vcpus, &weight(*w), Does::Spin);
    }
    sim.run(seconds * 1000 * MS);
    println!("{}", sim.summary());
    let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    for (id, w) in (1..).zip(weights) {
        let should = sim.now * cpus as u64 * u64::from(*w) / sum;
        assert_near(sim.ran(id), should, 5, &std::format!("d{id} of weight {w} on {cpus} CPUs"));
        let counted = sim.sched.domain_time(dom(id)).unwrap();
        assert!(sim.ran(id) - counted <= 30 * MS * cpus as u64, "{counted} is too long ago");
        // The vcpus of one domain are equals.
        for vcpu in 0..vcpus {
            assert_near(sim.guest(id, vcpu).ran, sim.ran(id) / u64::from(vcpus), 10, "a vcpu in its domain");
        }
    }
}

#[test]
fn shares_follow_weights_on_one_cpu() {
    shares(1, &[256, 512, 1024], 1, 2);
    shares(1, &[1024, 512, 256], 1, 2);
    shares(1, &[256, 256, 256], 1, 3);
    shares(1, &[100, 300], 1, 2);
}

#[test]
fn shares_follow_weights_on_four_cpus() {
    shares(4, &[256, 512, 1024], 4, 2);
    shares(4, &[1024, 256, 512], 4, 2);
    shares(4, &[256; 4], 4, 3);
}

#[test]
fn a_weight_is_the_domains_whatever_the_number_of_its_vcpus() {
    for cpus in [1, 2] {
        let mut sim = Sim::new(cpus);
        sim.domain(1, 2, &weight(256), Does::Spin);
        sim.domain(2, 6, &weight(512), Does::Spin);
        sim.run(3000 * MS);
        assert_near(sim.ran(1) * 2, sim.ran(2), 5, &sim.summary());
    }
}

#[test]
fn what_one_cannot_use_the_others_share_by_weight() {
    // Four processors: one vcpu of great weight fills one; the rest is shared 1:2.
    let mut sim = Sim::new(4);
    sim.domain(1, 1, &weight(65_535), Does::Spin);
    sim.domain(2, 4, &weight(256), Does::Spin);
    sim.domain(3, 4, &weight(512), Does::Spin);
    sim.run(3000 * MS);
    assert_near(sim.ran(1), sim.now, 1, &sim.summary());
    assert_near(sim.ran(2), sim.now, 5, &sim.summary());
    assert_near(sim.ran(3), 2 * sim.now, 5, &sim.summary());
    // It did not save anything up for when it can use more.
    sim.vcpu(key(1, 1), Does::Spin);
    sim.domain(4, 1, &weight(65_535), Does::Spin);
    let before = sim.ran(2);
    sim.run(1000 * MS);
    assert!(sim.ran(2) > before + 200 * MS, "{}", sim.summary());
}

#[test]
fn vcpus_move_so_that_all_get_the_same() {
    for (cpus, domains) in [(2, 3), (4, 5), (3, 7), (8, 9)] {
        let mut sim = Sim::new(cpus);
        (1..=domains).for_each(|id| sim.domain(id, 1, &weight(256), Does::Spin));
        sim.run(4000 * MS);
        for id in 1..=domains {
            assert_near(sim.ran(id), sim.now * cpus as u64 / u64::from(domains), 5, &sim.summary());
        }
    }
}

#[test]
fn no_processor_idles_while_someone_could_run() {
    // The simulator checks that at every event; here is that the time adds up.
    let mut sim = Sim::new(4);
    sim.domain(1, 3, &weight(1), Does::Spin);
    sim.domain(2, 4, &weight(65_535), Does::Storm { run: 3 * MS, rest: 5 * MS });
    sim.run(2000 * MS);
    assert!(sim.ran(1) + sim.ran(2) > 4 * sim.now - 4 * MS - sim.now / 2, "{}", sim.summary());
    let mut alone = Sim::new(4);
    alone.domain(1, 4, &weight(1), Does::Spin);
    alone.run(2000 * MS);
    assert_eq!(alone.ran(1), 4 * alone.now);
    assert!(alone.picks <= 16, "nobody else is there to look for: {}", alone.summary());
}

#[test]
fn sleeping_before_each_tick_is_not_free() {
    // Xen's credit scheduler looks at who runs every 10 ms: who slept just then ran for nothing.
    let mut sim = Sim::new(1);
    sim.domain(1, 1, &weight(256), Does::Storm { run: 9_900_000, rest: 100_000 });
    sim.domain(2, 1, &weight(256), Does::Spin);
    sim.run(3000 * MS);
    assert!(sim.ran(1) <= sim.ran(2) * 105 / 100, "{}", sim.summary());
    assert!(sim.ran(1) * 100 >= sim.ran(2) * 90, "{}", sim.summary());
}

#[test]
fn nobody_starves_whatever_the_weights() {
    for cpus in [1, 2] {
        let mut sim = Sim::new(cpus);
        (1..=3).for_each(|id| sim.domain(id, 2, &weight(65_535), Does::Spin));
        sim.domain(4, 2, &weight(1), Does::Spin);
        sim.domain(5, 3, &weight(65_535), Does::Storm { run: MS / 5, rest: MS / 10 });
        sim.run(10_000 * MS);
        let waiting = 11;
        let bound = OVERDUE_NS + waiting * (30 * MS + 30 * MS + MS);
        for (key, guest) in &sim.guests {
            assert!(guest.ran > 0, "{key:?} never ran: {}", sim.summary());
            assert!(guest.longest_wait < bound, "{key:?} waited {} ms", guest.longest_wait / MS);
        }
        // Nor does what the light one gets matter to the heavy ones.
        assert!(sim.ran(4) < sim.now / 50, "{}", sim.summary());
    }
}

#[test]
fn one_that_slept_has_not_saved_up_and_one_that_ran_alone_does_not_pay() {
    let mut sim = Sim::new(1);
    sim.domain(1, 1, &weight(256), Does::Spin);
    sim.domain(2, 1, &weight(256), Does::Told);
    sim.run(60_000 * MS);
    sim.wake(key(2, 0));
    sim.settle();
    for second in 0..3 {
        let before = (sim.ran(1), sim.ran(2));
        sim.run(1000 * MS);
        let (one, two) = (sim.ran(1) - before.0, sim.ran(2) - before.1);
        assert_near(one, 500 * MS, 12, &std::format!("second {second}: {two}"));
    }
    // The other way round: who ran alone sleeps, and comes back when the newcomer has run a little.
    sim.sleep(key(2, 0));
    sim.settle();
    sim.run(60_000 * MS);
    sim.sleep(key(1, 0));
    sim.wake(key(2, 0));
    sim.settle();
    sim.run(10 * MS);
    sim.wake(key(1, 0));
    sim.settle();
    let before = sim.ran(1);
    sim.run(1000 * MS);
    assert_near(sim.ran(1) - before, 500 * MS, 12, &sim.summary());
}

#[test]
fn a_yield_lets_the_others_go_first() {
    let mut sim = Sim::new(1);
    sim.domain(1, 1, &weight(256), Does::SpinYielding { every: 100_000 });
    sim.domain(2, 1, &weight(256), Does::Spin);
    sim.run(3000 * MS);
    // Each yield gives the other a whole turn.
    assert!(sim.ran(1) * 20 < sim.ran(2), "{}", sim.summary());
    let mut alone = Sim::new(1);
    alone.domain(1, 1, &weight(256), Does::SpinYielding { every: 100_000 });
    alone.run(100 * MS);
    assert_eq!(alone.ran(1), alone.now);
}

#[test]
fn a_yielding_vcpu_waits_for_its_sibling() {
    let mut sim = Sim::new(1);
    sim.domain(1, 1, &weight(256), Does::SpinYielding { every: 50_000 });
    sim.vcpu(key(1, 1), Does::Spin);
    sim.run(1000 * MS);
    assert!(sim.guest(1, 1).ran > 900 * MS, "{}", sim.summary());
}

#[test]
fn weights_can_change() {
    let mut sim = Sim::new(1);
    sim.domain(1, 1, &weight(256), Does::Spin);
    sim.domain(2, 1, &weight(256), Does::Spin);
    sim.run(2000 * MS);
    let look = sim.sched.set_parameters(dom(2), &weight(768), sim.now).unwrap();
    sim.tell(look);
    sim.settle();
    let before = (sim.ran(1), sim.ran(2));
    sim.run(2000 * MS);
    assert_near(sim.ran(2) - before.1, 1500 * MS, 5, &sim.summary());
    assert_near(sim.ran(1) - before.0, 500 * MS, 10, &sim.summary());
}

#[test]
fn disjoint_affinities_do_not_spoil_shares() {
    // Five on processor 0, two of weights 1 and 2 on processor 1: the latter run far ahead, and still 1:2.
    let mut sim = Sim::new(2);
    (1..=5).for_each(|id| sim.domain(id, 1, &on(&[0]), Does::Spin));
    sim.domain(6, 1, &on(&[1]), Does::Spin);
    sim.domain(7, 1, &Parameters { weight: 512, ..on(&[1]) }, Does::Spin);
    sim.run(5000 * MS);
    assert_near(sim.ran(6), sim.now / 3, 5, &sim.summary());
    assert_near(sim.ran(7), sim.now * 2 / 3, 5, &sim.summary());
    // One more, allowed everywhere, starves neither side.
    sim.domain(8, 2, &weight(256), Does::Spin);
    let before: std::vec::Vec<u64> = (0..9).map(|id| sim.ran(id)).collect();
    sim.run(5000 * MS);
    for (id, share) in [(1u16, 150), (6, 200), (7, 400)] {
        let ran = sim.ran(id) - before[usize::from(id)];
        assert!(ran > 5000 * MS * share / 1000, "d{id} ran {} ms", ran / MS);
    }
}
