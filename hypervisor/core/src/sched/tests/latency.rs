//! Who wakes is served soon, whoever else wants to.

use super::*;
use std::println;

const HZ_100: Does = Does::Tick { period: 10 * MS, work: 100_000 };

/// Runs 3 s and checks that d1's vcpu 0 missed less than 1 percent of its ticks. Returns the latest, in microseconds.
#[track_caller]
fn ticks(mut sim: Sim) -> u64 {
    sim.run(3_000 * MS);
    let guest = sim.guest(1, 0);
    println!(
        "{} of {} missed, latest {} us; {}",
        guest.missed,
        guest.ticks,
        guest.latest / 1000,
        sim.summary()
    );
    assert!(guest.ticks >= 299, "{} ticks", guest.ticks);
    assert!(guest.missed * 100 < guest.ticks, "{} of {} ticks missed", guest.missed, guest.ticks);
    guest.latest / 1000
}

fn with_ticker(cpus: usize) -> Sim {
    let mut sim = Sim::new(cpus);
    sim.domain(1, 1, &weight(256), HZ_100);
    sim
}

#[test]
fn a_timer_is_heard_beside_hogs() {
    for (cpus, hogs) in [(1, 1), (1, 3), (1, 10), (2, 3), (4, 10)] {
        let mut sim = with_ticker(cpus);
        (2..2 + hogs).for_each(|id| sim.domain(id, cpus as u32, &weight(256), Does::Spin));
        let latest = ticks(sim);
        assert!(latest <= 1000, "no later than the rate limit: {latest}");
    }
}

#[test]
fn a_timer_is_heard_beside_heavier_hogs() {
    let mut sim = with_ticker(1);
    (2..5).for_each(|id| sim.domain(id, 2, &weight(4096), Does::Spin));
    ticks(sim);
}

#[test]
fn a_timer_is_heard_in_a_storm_of_wakes() {
    for (run, rest) in [(50_000, 10_000), (400_000, 50_000), (2 * MS, 10_000), (9 * MS, 1000)] {
        for (domains, vcpus) in [(1, 1), (1, 12), (4, 3)] {
            let mut sim = with_ticker(1);
            (2..2 + domains).for_each(|id| sim.domain(id, vcpus, &weight(256), Does::Storm { run, rest }));
            sim.domain(30, 1, &weight(256), Does::Spin);
            ticks(sim);
        }
    }
}

#[test]
fn a_timer_is_heard_in_a_storm_on_four_cpus() {
    for (run, rest) in [(200_000, 10_000), (2 * MS, 10_000)] {
        let mut sim = with_ticker(4);
        (2..6).for_each(|id| sim.domain(id, 6, &weight(256), Does::Storm { run, rest }));
        (6..10).for_each(|id| sim.domain(id, 4, &weight(256), Does::Spin));
        ticks(sim);
    }
}

#[test]
fn a_timer_is_heard_when_all_tick_at_once() {
    // Eight domains that all wake at the same time, and hogs.
    let mut sim = with_ticker(1);
    (2..9).for_each(|id| sim.domain(id, 1, &weight(256), Does::Tick { period: 10 * MS, work: 500_000 }));
    (9..12).for_each(|id| sim.domain(id, 1, &weight(256), Does::Spin));
    ticks(sim);
}

#[test]
fn a_timer_is_heard_beside_spinning_siblings() {
    // Its own domain uses up its share: it still hears its interrupts.
    for cpus in [1, 2] {
        let mut sim = with_ticker(cpus);
        (1..4).for_each(|vcpu| sim.vcpu(key(1, vcpu), Does::Spin));
        (2..4).for_each(|id| sim.domain(id, 3, &weight(256), Does::Spin));
        ticks(sim);
    }
}

#[test]
fn a_storm_gets_no_more_than_its_share() {
    for (run, rest) in [(50_000, 1_000), (500_000, 1_000), (5 * MS, 1_000)] {
        let mut sim = Sim::new(1);
        sim.domain(1, 8, &weight(256), Does::Storm { run, rest });
        sim.domain(2, 1, &weight(256), Does::Spin);
        sim.run(3000 * MS);
        assert!(sim.ran(1) * 100 <= sim.ran(2) * 105, "{}", sim.summary());
        assert!(sim.switches < 3000 * 20 * 2, "{}", sim.summary());
    }
}

#[test]
fn the_rate_limit_bounds_switching() {
    let mut sim = Sim::new(1);
    sim.domain(1, 16, &weight(256), Does::Storm { run: 1_000, rest: 1_000 });
    sim.domain(2, 1, &weight(256), Does::Spin);
    sim.run(200 * MS);
    // The hog runs at least 1 ms each time it is picked.
    assert!(sim.ran(2) >= 80 * MS, "{}", sim.summary());
}

#[test]
fn an_idle_processor_takes_who_wakes_at_once() {
    let mut sim = with_ticker(2);
    sim.domain(2, 1, &weight(65_535), Does::Spin);
    assert_eq!(ticks(sim), 0);
}

#[test]
fn housekeeping_is_nobodys_burden() {
    let mut sim = with_ticker(1);
    (2..4).for_each(|id| sim.domain(id, 1, &weight(256), Does::Spin));
    let look = sim.sched.wake(VcpuKey::WORKER, 0);
    sim.tell(look);
    sim.settle();
    sim.run(3000 * MS);
    assert_eq!(sim.guest(1, 0).missed, 0);
    let worker = sim.sched.vcpu_time(VcpuKey::WORKER).unwrap();
    assert_near(worker, sim.now / 3, 6, "a share like any other's");
    let look = sim.sched.sleep(VcpuKey::WORKER, sim.now);
    sim.tell(look);
    sim.settle();
    sim.run(1000 * MS);
    assert!(sim.sched.vcpu_time(VcpuKey::WORKER).unwrap() <= worker + 30 * MS);
    assert_eq!(sim.sched.remove_domain(VcpuKey::WORKER.domain, sim.now), Err(Error::NoDomain));
}
