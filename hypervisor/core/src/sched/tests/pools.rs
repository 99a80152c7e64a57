//! Partitions and affinity.

use super::*;
use std::vec::Vec;

fn set(cpus: &[usize]) -> CpuSet {
    cpus.iter().copied().collect()
}

fn pool(sim: &mut Sim, cpus: &[usize], policy: PoolPolicy) -> PoolId {
    let (id, look) = sim.sched.create_pool(set(cpus), policy).unwrap();
    sim.tell(look);
    sim.settle();
    id
}

#[test]
fn affinity_is_kept() {
    let mut sim = Sim::new(3);
    sim.domain(1, 2, &on(&[1]), Does::Spin);
    sim.domain(2, 1, &on(&[1, 2]), Does::Spin);
    sim.run(1000 * MS);
    // The simulator checks every pick; nobody used processor 0, and d2 went where it was alone.
    assert_eq!(sim.ran(1), sim.now);
    assert_eq!(sim.ran(2), sim.now);
    let look = sim.sched.set_parameters(dom(1), &on(&[0, 1]), sim.now).unwrap();
    sim.tell(look);
    sim.settle();
    let before = sim.ran(1);
    sim.run(1000 * MS);
    assert_eq!(sim.ran(1) - before, 2000 * MS, "{}", sim.summary());
    let look = sim.sched.set_parameters(dom(1), &on(&[2]), sim.now).unwrap();
    sim.tell(look);
    sim.settle();
    let before = (sim.ran(1), sim.ran(2));
    sim.run(1000 * MS);
    assert_eq!((sim.ran(1) - before.0, sim.ran(2) - before.1), (1000 * MS, 1000 * MS), "{}", sim.summary());
}

#[test]
fn pools_share_nothing() {
    let mut sim = Sim::new(4);
    let other = pool(&mut sim, &[2, 3], PoolPolicy::Credit);
    sim.domain(1, 4, &weight(65_535), Does::Spin);
    sim.domain(2, 1, &Parameters { pool: other, weight: 1, ..Parameters::default() }, Does::Spin);
    sim.run(1000 * MS);
    assert_eq!((sim.ran(1), sim.ran(2)), (2 * sim.now, sim.now), "processor 3 stays idle");
    assert_eq!(sim.sched.destroy_pool(other), Err(Error::Busy));
    assert_eq!(sim.sched.destroy_pool(PoolId::ZERO), Err(Error::Busy));
    let look = sim.sched.set_parameters(dom(2), &weight(1), sim.now).unwrap();
    sim.tell(look);
    let look = sim.sched.destroy_pool(other).unwrap();
    sim.tell(look);
    sim.settle();
    let before = (sim.ran(1), sim.now);
    sim.run(1000 * MS);
    assert!(sim.ran(1) - before.0 > 3900 * MS, "{}", sim.summary());
    assert_eq!(sim.sched.destroy_pool(other), Err(Error::NoPool));
}

#[test]
fn the_null_policy_gives_a_processor_to_each_vcpu() {
    let mut sim = Sim::new(4);
    let null = pool(&mut sim, &[1, 2, 3], PoolPolicy::Null);
    let own = Parameters { pool: null, cap: 1, ..Parameters::default() };
    sim.domain(1, 2, &own, Does::Tick { period: 10 * MS, work: MS });
    sim.domain(2, 8, &weight(65_535), Does::Spin);
    let first = sim.picks;
    sim.run(1000 * MS);
    let homes: Vec<_> = (0..2).map(|vcpu| sim.sched.last_cpu(key(1, vcpu)).unwrap()).collect();
    assert_eq!(homes, [1, 2]);
    assert_eq!((sim.guest(1, 0).latest, sim.guest(1, 1).latest), (0, 0));
    assert!(sim.picks - first < 600, "no timer besides: {}", sim.summary());
    // One processor is left: a domain that needs two is refused, and so is a third vcpu after that.
    sim.sched.add_domain(dom(3), &own, sim.now).unwrap();
    sim.sched.add_vcpu(key(3, 0), sim.now).unwrap();
    assert_eq!(sim.sched.add_vcpu(key(3, 1), sim.now), Err(Error::NoCpu));
    assert_eq!(sim.sched.set_parameters(dom(2), &own, sim.now), Err(Error::NoCpu));
    assert_eq!(sim.sched.parameters(dom(2)), Some(weight(65_535)), "a refusal changes nothing");
    // It is there again when the vcpu is gone.
    assert!(sim.sched.remove_domain(dom(3), sim.now).unwrap().is_empty());
    sim.sched.add_domain(dom(4), &own, sim.now).unwrap();
    sim.vcpu(key(4, 0), Does::Spin);
    sim.run(100 * MS);
    assert_eq!(sim.sched.running_on(key(4, 0)), Some(3));
    // A domain can leave, and take part in sharing again.
    let look = sim.sched.set_parameters(dom(4), &weight(65_535), sim.now).unwrap();
    sim.tell(look);
    sim.settle();
    assert_ne!(sim.sched.running_on(key(4, 0)), Some(3));
    sim.run(1000 * MS);
}

#[test]
fn domains_move_between_pools_while_they_run() {
    let mut sim = Sim::new(4);
    let credit = pool(&mut sim, &[1], PoolPolicy::Credit);
    let null = pool(&mut sim, &[2, 3], PoolPolicy::Null);
    sim.delay = 40_000;
    sim.domain(1, 2, &weight(256), Does::Spin);
    sim.domain(2, 2, &weight(256), Does::Storm { run: 20_000, rest: 30_000 });
    sim.domain(3, 1, &Parameters { pool: credit, ..Parameters::default() }, Does::Spin);
    let mut dice = Dice::new(7);
    for _ in 0..400 {
        let id = 1 + dice.roll(3) as u16;
        let target = [PoolId::ZERO, credit, null][dice.roll(3) as usize];
        let parameters = Parameters { pool: target, ..Parameters::default() };
        if let Ok(look) = sim.sched.set_parameters(dom(id), &parameters, sim.now) {
            sim.tell(look);
        }
        sim.run(dice.roll(3 * MS));
    }
}

#[test]
fn refusals() {
    let mut sched = Scheduler::new(4, Settings::default());
    let refused =
        |sched: &mut Scheduler, parameters: &Parameters| sched.add_domain(dom(1), parameters, 0).unwrap_err();
    assert_eq!(refused(&mut sched, &weight(0)), Error::Weight);
    assert_eq!(refused(&mut sched, &on(&[4, 5])), Error::NoCpu);
    assert_eq!(refused(&mut sched, &on(&[])), Error::NoCpu);
    let (other, _) = sched.create_pool(set(&[3]), PoolPolicy::Null).unwrap();
    assert_eq!(refused(&mut sched, &Parameters { pool: other, ..on(&[0, 1, 2]) }), Error::NoCpu);
    let _ = sched.destroy_pool(other).unwrap();
    assert_eq!(refused(&mut sched, &Parameters { pool: other, ..Parameters::default() }), Error::NoPool);
    sched.add_domain(dom(1), &on(&[2]), 0).unwrap();
    assert_eq!(refused(&mut sched, &weight(1)), Error::Exists);
    sched.add_vcpu(key(1, 5), 0).unwrap();
    assert_eq!(sched.add_vcpu(key(1, 5), 0), Err(Error::Exists));
    assert_eq!(sched.add_vcpu(key(2, 0), 0), Err(Error::NoDomain));
    assert_eq!(sched.add_vcpu(VcpuKey { vcpu: 1, ..VcpuKey::WORKER }, 0), Err(Error::NoDomain));
    for cpus in [set(&[]), set(&[0, 1, 2, 3]), set(&[4]), set(&[2]), set(&[2, 3])] {
        assert_eq!(sched.create_pool(cpus, PoolPolicy::Credit), Err(Error::NoCpu), "{cpus}");
    }
    assert_eq!(sched.pool_cpus(PoolId::ZERO), CpuSet::first_of(4));
    // What is not there is not woken, and what is awake not again.
    assert!(sched.wake(key(1, 0), 0).is_empty() && sched.wake(key(9, 9), 0).is_empty());
    assert_eq!(sched.wake(key(1, 5), 0), set(&[2]));
    assert!(sched.wake(key(1, 5), 0).is_empty());
    assert!(Settings::new(0, 1000).is_none() && Settings::new(1001, 1000).is_none());
    assert!(Settings::new(30, 99).is_none() && Settings::new(30, 500_001).is_none());
    assert_eq!(Settings::new(30, 1000), Some(Settings::default()));
}

#[test]
fn a_vcpu_stays_where_it_is_until_its_processor_has_looked() {
    let mut sched = Scheduler::new(2, Settings::default());
    sched.add_domain(dom(1), &weight(256), 0).unwrap();
    sched.add_vcpu(key(1, 0), 0).unwrap();
    assert_eq!(sched.wake(key(1, 0), 0), set(&[0]));
    assert_eq!(sched.pick(0, 0).vcpu, Some(key(1, 0)));
    assert_eq!(sched.sleep(key(1, 0), 5), set(&[0]));
    // Processor 0 still has its registers: processor 1 must not take it.
    assert!(sched.wake(key(1, 0), 6).is_empty());
    assert_eq!(sched.pick(1, 7).vcpu, None);
    assert_eq!(sched.running_on(key(1, 0)), Some(0));
    assert_eq!(sched.pick(0, 8), Pick { vcpu: Some(key(1, 0)), until: None, look: CpuSet::EMPTY });
    // The same for a pause, and for removal.
    assert_eq!(sched.pause(dom(1)), Ok(set(&[0])));
    assert_eq!(sched.pick(1, 9).vcpu, None);
    assert_eq!(sched.pick(0, 9).vcpu, None);
    assert_eq!(sched.running_on(key(1, 0)), None);
    assert_eq!(sched.unpause(dom(1), 10), Ok(set(&[0])), "where it ran before");
    assert_eq!(sched.pick(0, 10).vcpu, Some(key(1, 0)));
    assert_eq!(sched.remove_domain(dom(1), 12), Ok(set(&[0])));
    assert_eq!(sched.pick(0, 12).vcpu, None);
    assert_eq!(sched.running_on(key(1, 0)), None);
}
