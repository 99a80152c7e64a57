//! A cap holds, and takes nothing else.

use super::*;

fn one_second_of(sim: &mut Sim, id: u16) -> u64 {
    let before = sim.ran(id);
    sim.run(1000 * MS);
    sim.ran(id) - before
}

#[test]
fn a_cap_holds_within_5_percent_in_every_second() {
    for cap in [1, 5, 10, 25, 50, 90] {
        let mut sim = Sim::new(1);
        sim.domain(1, 1, &capped(cap), Does::Spin);
        for _ in 0..3 {
            let ran = one_second_of(&mut sim, 1);
            assert_near(ran, u64::from(cap) * 10 * MS, 5, &std::format!("cap {cap} of an idle CPU"));
        }
    }
}

#[test]
fn a_cap_holds_for_all_vcpus_together() {
    for (cpus, vcpus, cap) in [(4, 4, 50), (4, 4, 150), (4, 2, 120), (2, 4, 30), (1, 4, 40)] {
        let mut sim = Sim::new(cpus);
        sim.domain(1, vcpus, &capped(cap), Does::Spin);
        for _ in 0..3 {
            let ran = one_second_of(&mut sim, 1);
            assert_near(
                ran,
                u64::from(cap) * 10 * MS,
                5,
                &std::format!("{vcpus} vcpus, cap {cap}, {cpus} CPUs"),
            );
        }
    }
}

#[test]
fn a_cap_holds_beside_others_and_they_get_the_rest() {
    let mut sim = Sim::new(1);
    sim.domain(1, 1, &Parameters { weight: 1024, ..capped(20) }, Does::Spin);
    sim.domain(2, 1, &weight(256), Does::Spin);
    sim.run(100 * MS);
    for _ in 0..3 {
        let ran = one_second_of(&mut sim, 1);
        assert_near(ran, 200 * MS, 5, "20 percent beside a hog");
    }
    assert!(sim.ran(1) + sim.ran(2) > sim.now - MS, "{}", sim.summary());
}

#[test]
fn a_cap_holds_against_one_that_wakes_and_sleeps() {
    for (run, rest) in [(MS / 10, MS / 20), (3 * MS, MS), (50 * MS, MS)] {
        let mut sim = Sim::new(2);
        sim.domain(1, 2, &capped(30), Does::Storm { run, rest });
        for _ in 0..3 {
            let ran = one_second_of(&mut sim, 1);
            assert!(ran <= 315 * MS, "{} ms of 300", ran / MS);
            assert!(ran >= 285 * MS, "{} ms of 300", ran / MS);
        }
    }
}

#[test]
fn a_cap_above_what_the_vcpus_can_use_never_stops_them() {
    let mut sim = Sim::new(2);
    sim.domain(1, 1, &capped(100), Does::Spin);
    sim.domain(2, 1, &capped(65_535), Does::Spin);
    sim.run(1000 * MS);
    assert_eq!((sim.ran(1), sim.ran(2)), (sim.now, sim.now));
}

#[test]
fn a_cap_can_be_set_and_lifted() {
    let mut sim = Sim::new(1);
    sim.domain(1, 1, &weight(256), Does::Spin);
    sim.run(1000 * MS);
    for (cap, should) in [(10, 100), (0, 1000), (70, 700)] {
        let look = sim.sched.set_parameters(dom(1), &capped(cap), sim.now).unwrap();
        sim.tell(look);
        sim.settle();
        assert_near(one_second_of(&mut sim, 1), should * MS, 5, &std::format!("cap {cap}"));
    }
}

#[test]
fn a_capped_domain_sees_its_ticks() {
    let mut sim = Sim::new(1);
    sim.domain(1, 1, &capped(10), Does::Spin);
    sim.vcpu(key(1, 1), Does::Tick { period: 10 * MS, work: MS / 20 });
    sim.run(2000 * MS);
    assert!(sim.guest(1, 1).latest < 20 * MS, "{} ms late", sim.guest(1, 1).latest / MS);
}
