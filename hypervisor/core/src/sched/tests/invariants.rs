//! Random histories. The simulator checks after every event that nobody runs twice or where it may not, nobody is lost,
//! no processor idles while somebody it could run waits, and every processor will look again when somebody waits.

use super::*;
use std::vec::Vec;

fn parameters(dice: &mut Dice, cpus: usize, pools: &[PoolId]) -> Parameters {
    let weight = [1, 64, 256, 512, 65_535][dice.roll(5) as usize];
    let cap = [0, 0, 0, 5, 50, 130][dice.roll(6) as usize];
    let affinity = if dice.roll(2) == 0 { CpuSet::ANY } else { CpuSet::from_bits(dice.roll(1 << cpus)) };
    Parameters { weight, cap, cpus: affinity, pool: pools[dice.roll(pools.len() as u64) as usize] }
}

fn behaviour(dice: &mut Dice) -> Does {
    match dice.roll(5) {
        0 => Does::Spin,
        1 => Does::SpinYielding { every: 1 + dice.roll(MS) },
        2 => Does::Tick { period: MS + dice.roll(20 * MS), work: 1 + dice.roll(2 * MS) },
        3 => Does::Storm { run: 1 + dice.roll(500_000), rest: 1 + dice.roll(500_000) },
        _ => Does::Told,
    }
}

fn history(seed: u64) {
    let mut dice = Dice::new(seed);
    let cpus = 1 + dice.roll(8) as usize;
    let mut sim = Sim::new(cpus);
    let mut pools = Vec::from([PoolId::ZERO]);
    sim.delay = [0, 5_000, 2 * MS][dice.roll(3) as usize];
    let mut next_vcpu = 0;
    for _ in 0..60 {
        let id = 1 + dice.roll(5) as u16;
        match dice.roll(12) {
            0 | 1 => {
                let parameters = parameters(&mut dice, cpus, &pools);
                let _ = sim.sched.add_domain(dom(id), &parameters, sim.now);
            }
            2..=5 => {
                next_vcpu = (next_vcpu + 1) % 24;
                let key = key(id, next_vcpu);
                // A vcpu that is there, or has no processor to be on, is refused; that is checked elsewhere.
                if sim.sched.clone().add_vcpu(key, sim.now).is_ok() {
                    sim.vcpu(key, behaviour(&mut dice));
                }
            }
            6 => {
                if let Ok(look) = sim.sched.remove_domain(dom(id), sim.now) {
                    sim.guests.retain(|key, _| key.domain != dom(id));
                    sim.tell(look);
                }
            }
            7 => {
                let parameters = parameters(&mut dice, cpus, &pools);
                if let Ok(look) = sim.sched.set_parameters(dom(id), &parameters, sim.now) {
                    sim.tell(look);
                }
            }
            8 => {
                let policy = [PoolPolicy::Credit, PoolPolicy::Null][dice.roll(2) as usize];
                if let Ok((id, look)) = sim.sched.create_pool(CpuSet::from_bits(dice.roll(1 << cpus)), policy)
                {
                    pools.push(id);
                    sim.tell(look);
                }
            }
            9 => {
                let at = dice.roll(pools.len() as u64) as usize;
                if let Ok(look) = sim.sched.destroy_pool(pools[at]) {
                    pools.remove(at);
                    sim.tell(look);
                }
            }
            10 => {
                if let Ok(look) = sim.sched.pause(dom(id)) {
                    sim.tell(look);
                    sim.run(dice.roll(5 * MS));
                    let look = sim.sched.unpause(dom(id), sim.now).unwrap();
                    sim.tell(look);
                }
            }
            _ => {
                let told: Vec<VcpuKey> = sim.guests.keys().copied().collect();
                if !told.is_empty() {
                    let key = told[dice.roll(told.len() as u64) as usize];
                    match dice.roll(3) {
                        0 => sim.wake(key),
                        1 => sim.sleep(key),
                        _ => sim.remove_vcpu(key),
                    }
                }
            }
        }
        sim.run(dice.roll(8 * MS));
    }
    // Whoever wants to run does, within the bound: nobody starves whatever the history was.
    sim.delay = 0;
    let eager: Vec<VcpuKey> =
        sim.guests.iter().filter(|(_, g)| matches!(g.does, Does::Spin)).map(|(k, _)| *k).collect();
    eager.iter().for_each(|key| sim.wake(*key));
    sim.settle();
    let before: Vec<u64> = eager.iter().map(|key| sim.guests[key].ran).collect();
    sim.run(OVERDUE_NS + sim.guests.len() as u64 * 62 * MS);
    for (key, before) in eager.iter().zip(before) {
        assert!(sim.guests[key].ran > before, "seed {seed}: {key:?} starves; {}", sim.summary());
    }
}

#[test]
fn random_histories_keep_what_must_always_hold() {
    for seed in 0..150 {
        let outcome = std::panic::catch_unwind(|| history(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn random_weights_give_their_shares() {
    for seed in 0..12 {
        let mut dice = Dice::new(1000 + seed);
        let cpus = 1 + dice.roll(4) as usize;
        let weights: Vec<u16> = (0..2 + dice.roll(4)).map(|_| 64 + dice.roll(1000) as u16).collect();
        let mut sim = Sim::new(cpus);
        for (id, w) in (1..).zip(&weights) {
            sim.domain(id, cpus as u32, &weight(*w), Does::Spin);
        }
        sim.run(6000 * MS);
        let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        for (id, w) in (1..).zip(&weights) {
            let should = sim.now * cpus as u64 * u64::from(*w) / sum;
            assert_near(
                sim.ran(id),
                should,
                5,
                &std::format!("seed {seed}, weights {weights:?}, {cpus} CPUs"),
            );
        }
    }
}

#[test]
fn picks_allocate_nothing_and_need_no_order() {
    // Asking again and again at the same time changes nothing.
    let mut sim = Sim::new(2);
    (1..4).for_each(|id| sim.domain(id, 2, &weight(256), Does::Spin));
    sim.run(100 * MS);
    for cpu in [0, 1, 1, 0] {
        let first = sim.sched.pick(cpu, sim.now);
        let again = sim.sched.pick(cpu, sim.now);
        assert_eq!((first.vcpu, first.until), (again.vcpu, again.until));
    }
    // A clock that goes back is taken for one that stands.
    let first = sim.sched.pick(0, sim.now);
    assert_eq!(sim.sched.pick(0, sim.now - 50 * MS).until, first.until);
}
