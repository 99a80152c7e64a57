//! Processors and vcpus that do something, in simulated time. After every event it checks what must always hold.

use super::*;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

/// What a vcpu does with the time it gets.
#[derive(Clone, Copy, Debug)]
pub enum Does {
    /// Runs for ever.
    Spin,
    /// Runs, giving way every so often.
    SpinYielding { every: u64 },
    /// Runs for `work` at every multiple of `period`.
    Tick { period: u64, work: u64 },
    /// Runs for `run`, sleeps for `rest`, at once again.
    Storm { run: u64, rest: u64 },
    /// Nothing: the test wakes it and puts it to sleep.
    Told,
}

/// One vcpu's state.
#[derive(Clone, Debug)]
pub struct Guest {
    pub does: Does,
    awake: bool,
    /// What it has left to run before it sleeps or yields.
    left: u64,
    /// When it wakes, or its next tick.
    alarm: Option<u64>,
    /// The tick it has not begun to serve.
    unserved: Option<u64>,
    pub ticks: u64,
    pub missed: u64,
    pub latest: u64,
    /// Time it ran, by the simulator's own clock.
    pub ran: u64,
    /// Longest it was awake without running.
    pub longest_wait: u64,
    waiting_since: u64,
}

#[derive(Clone, Copy, Default)]
struct Place {
    runs: Option<VcpuKey>,
    until: Option<u64>,
    /// When it gets to look again, having been told to.
    looks: Option<u64>,
}

pub struct Sim {
    pub sched: Scheduler,
    pub now: u64,
    pub guests: BTreeMap<VcpuKey, Guest>,
    places: Vec<Place>,
    /// How long an interrupt takes.
    pub delay: u64,
    pub switches: u64,
    pub picks: u64,
}

impl Sim {
    pub fn new(cpus: usize) -> Self {
        let sched = Scheduler::new(cpus, Settings::default());
        let mut sim = Self {
            sched,
            now: 0,
            guests: BTreeMap::new(),
            places: std::vec![Place::default(); cpus],
            delay: 0,
            switches: 0,
            picks: 0,
        };
        for cpu in 0..cpus {
            sim.pick(cpu);
        }
        sim
    }

    /// Adds a domain whose vcpus all do the same, and starts them.
    pub fn domain(&mut self, id: u16, vcpus: u32, parameters: &Parameters, does: Does) {
        self.sched.add_domain(dom(id), parameters, self.now).unwrap();
        for vcpu in 0..vcpus {
            self.vcpu(key(id, vcpu), does);
        }
    }

    pub fn vcpu(&mut self, key: VcpuKey, does: Does) {
        self.sched.add_vcpu(key, self.now).unwrap();
        let mut guest = Guest {
            does,
            awake: false,
            left: u64::MAX,
            alarm: None,
            unserved: None,
            ticks: 0,
            missed: 0,
            latest: 0,
            ran: 0,
            longest_wait: 0,
            waiting_since: 0,
        };
        match does {
            Does::Tick { period, .. } => guest.alarm = Some(self.now + period),
            Does::Told => {}
            _ => guest.alarm = Some(self.now),
        }
        self.guests.insert(key, guest);
    }

    pub fn wake(&mut self, key: VcpuKey) {
        let guest = self.guests.get_mut(&key).unwrap();
        if !guest.awake {
            guest.awake = true;
            guest.waiting_since = self.now;
            guest.left = match guest.does {
                Does::Spin | Does::Told => u64::MAX,
                Does::SpinYielding { every } => every,
                Does::Tick { work, .. } => work,
                Does::Storm { run, .. } => run,
            };
        }
        let look = self.sched.wake(key, self.now);
        self.tell(look);
    }

    pub fn sleep(&mut self, key: VcpuKey) {
        self.guests.get_mut(&key).unwrap().awake = false;
        let look = self.sched.sleep(key, self.now);
        self.tell_now(look);
    }

    pub fn remove_vcpu(&mut self, key: VcpuKey) {
        self.guests.remove(&key);
        let look = self.sched.remove_vcpu(key, self.now);
        self.tell_now(look);
    }

    pub fn tell(&mut self, look: CpuSet) {
        for cpu in look.iter() {
            let at = self.now + self.delay;
            let looks = &mut self.places[cpu].looks;
            *looks = Some(looks.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// For what the processor itself does: it looks at once.
    fn tell_now(&mut self, look: CpuSet) {
        look.iter().for_each(|cpu| self.places[cpu].looks = Some(self.now));
    }

    fn pick(&mut self, cpu: usize) {
        self.picks += 1;
        let pick = self.sched.pick(cpu, self.now);
        assert!(!pick.look.contains(cpu), "a processor tells itself");
        assert!(pick.until.is_none_or(|until| until > self.now), "asks again at once: {pick:?}");
        let place = &mut self.places[cpu];
        let before = place.runs;
        *place = Place { runs: pick.vcpu, until: pick.until, looks: None };
        if before != pick.vcpu {
            self.switches += 1;
            if let Some(guest) = before.and_then(|key| self.guests.get_mut(&key)) {
                guest.waiting_since = self.now;
            }
        }
        let elsewhere = self.places.iter().filter(|place| place.runs.is_some() && place.runs == pick.vcpu);
        assert!(elsewhere.count() <= 1, "{:?} runs twice", pick.vcpu);
        if let Some(key) = pick.vcpu {
            assert_eq!(self.sched.running_on(key), Some(cpu));
            let parameters = self.sched.parameters(key.domain).unwrap();
            assert!(parameters.cpus.contains(cpu), "{key:?} is not allowed on {cpu}");
            assert!(self.sched.pool_cpus(parameters.pool).contains(cpu), "{key:?} is of another pool");
            if let Some(guest) = self.guests.get_mut(&key) {
                assert!(guest.awake, "{key:?} is asleep");
                if before != Some(key) {
                    guest.longest_wait = guest.longest_wait.max(self.now - guest.waiting_since);
                }
                if let Some(due) = guest.unserved.take() {
                    guest.latest = guest.latest.max(self.now - due);
                }
            }
        }
        self.tell(pick.look);
    }

    /// When something happens next.
    fn next(&self) -> Option<u64> {
        let places = self.places.iter().flat_map(|place| {
            let done =
                place.runs.and_then(|key| self.guests.get(&key)).map(|g| self.now.saturating_add(g.left));
            [place.until, place.looks, done.filter(|at| *at != u64::MAX)]
        });
        places.chain(self.guests.values().map(|guest| guest.alarm)).flatten().min()
    }

    fn advance(&mut self, to: u64) {
        let passed = to - self.now;
        for place in &self.places {
            if let Some(guest) = place.runs.and_then(|key| self.guests.get_mut(&key)) {
                guest.ran += passed;
                if guest.left != u64::MAX {
                    guest.left -= passed;
                }
            }
        }
        self.now = to;
    }

    fn ring(&mut self, key: VcpuKey) {
        let now = self.now;
        let guest = self.guests.get_mut(&key).unwrap();
        guest.alarm = None;
        if let Does::Tick { period, .. } = guest.does {
            guest.alarm = Some(now + period);
            guest.ticks += 1;
            if guest.unserved.replace(now).is_some() {
                guest.missed += 1;
            }
            if self.places.iter().any(|place| place.runs == Some(key)) {
                guest.unserved = None;
            }
        }
        self.wake(key);
    }

    /// A vcpu has run as long as it wanted to.
    fn done(&mut self, key: VcpuKey) {
        let now = self.now;
        let guest = self.guests.get_mut(&key).unwrap();
        match guest.does {
            Does::SpinYielding { every } => {
                guest.left = every;
                let look = self.sched.yield_now(key);
                return self.tell_now(look);
            }
            Does::Storm { rest, .. } => guest.alarm = Some(now + rest),
            _ => {}
        }
        self.sleep(key);
    }

    /// Runs for so long.
    pub fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.advance(at);
            let now = self.now;
            let done: Vec<VcpuKey> = self.places.iter().filter_map(|place| place.runs).collect();
            for key in done {
                if self.guests.get(&key).is_some_and(|guest| guest.awake && guest.left == 0) {
                    self.done(key);
                }
            }
            let ringing: Vec<VcpuKey> = self
                .guests
                .iter()
                .filter(|(_, g)| g.alarm.is_some_and(|at| at <= now))
                .map(|(k, _)| *k)
                .collect();
            ringing.into_iter().for_each(|key| self.ring(key));
            self.settle();
        }
        self.advance(end);
    }

    /// Lets everybody look who has to, then checks.
    pub fn settle(&mut self) {
        let now = self.now;
        let due = |place: &Place| {
            place.looks.or(place.until).is_some_and(|at| at <= now) || place.until.is_some_and(|at| at <= now)
        };
        for round in 0.. {
            assert!(round < 1000, "the processors keep each other busy at {now}: {:#?}", self.sched);
            let Some(cpu) = self.places.iter().position(due) else { break };
            self.pick(cpu);
        }
        self.check();
    }

    /// What holds whenever everybody who was told has looked.
    fn check(&self) {
        let sched = &self.sched;
        for (cpu, place) in self.places.iter().enumerate() {
            let said = sched.cpus[cpu].current.and_then(|slot| sched.key(slot));
            assert!(said == place.runs || place.looks.is_some(), "{cpu} runs {:?}, not {said:?}", place.runs);
        }
        if self.places.iter().any(|place| place.looks.is_some()) {
            return;
        }
        for (key, guest) in &self.guests {
            let slot = sched.slot(*key).unwrap_or_else(|| panic!("{key:?} is lost"));
            let unit = sched.unit(slot).unwrap();
            assert_eq!(unit.awake, guest.awake, "{key:?}");
            let member = sched.member(slot.member).unwrap();
            if !unit.waits() || !member.ready() {
                continue;
            }
            for cpu in sched.allowed(slot.member).iter() {
                let place = &self.places[cpu];
                if sched.policy(member.pool) == PoolPolicy::Null {
                    assert!(unit.own != Some(cpu), "{key:?} waits for its own");
                    continue;
                }
                assert!(
                    place.runs.is_some(),
                    "{cpu} idles while {key:?} waits at {}: {:?} {:#?}",
                    self.now,
                    place.until,
                    sched
                );
                assert!(place.until.is_some(), "{cpu} never looks while {key:?} waits at {}", self.now);
            }
        }
    }

    pub fn guest(&self, id: u16, vcpu: u32) -> &Guest {
        &self.guests[&key(id, vcpu)]
    }

    /// What a domain's vcpus ran, by the simulator's clock.
    pub fn ran(&self, id: u16) -> u64 {
        self.guests.iter().filter(|(key, _)| key.domain == dom(id)).map(|(_, guest)| guest.ran).sum()
    }

    pub fn summary(&self) -> String {
        let mut text = format!("{} picks, {} switches in {} ms:", self.picks, self.switches, self.now / MS);
        for (key, guest) in &self.guests {
            text += &format!(" {}v{} {} ms;", key.domain, key.vcpu, guest.ran / MS);
        }
        text
    }
}
