//! Domains that die while they lend or map.

use super::*;
use crate::addr::DomainId;
use crate::build::Action;
use crate::domain::Domain;
use crate::domain::{Life, Shutdown};
use crate::frame::Owner;
use crate::pagetable::{Budget, OpError, Teardown};
use paravane_abi::mmu::DOMID_SELF;

impl Lending {
    /// The steps of a domain's end up to its frames; how many there were.
    fn end(&mut self, domain: usize, steps: u32) -> u32 {
        let mut count = 0;
        while self.world.hv.release_grants(domain, &mut Budget::new(steps)) == Err(OpError::Again) {
            count += 1;
        }
        self.world.act_as(domain);
        let hv = &mut self.world.hv;
        while hv.paging(Budget::new(steps)).drop_bases().is_err() {}
        let memory = hv.domains[domain].memory.clone();
        let mut teardown = Teardown::new();
        while teardown.run(&mut hv.frames, &hv.machine, &memory, &mut Budget::new(steps)).is_err() {}
        count
    }

    /// A domain powers off and is destroyed, as far as that goes.
    fn stop(&mut self, domain: usize) {
        self.world.hv.stop_domain(domain, Shutdown::PowerOff);
        self.work();
    }

    fn work(&mut self) {
        for _ in 0..10_000 {
            if self.world.hv.jobs.is_empty() {
                return;
            }
            self.world.hv.work();
        }
        panic!("the work never ends");
    }

    /// Frames a domain still has, besides its console's and its xenstore ring's, which are held to the last.
    fn remaining(&self, domain: usize) -> usize {
        Teardown::remaining(&self.world.hv.frames, &self.world.hv.domains[domain].memory) - 2
    }

    /// Takes the rest of a domain none of whose frames is left away.
    fn forget(&mut self, domain: usize) {
        assert_eq!(self.remaining(domain), 0);
        let Domain { console, store, .. } = &self.world.hv.domains[domain];
        let rings = [console.frame, store.frame];
        let hv = &mut self.world.hv;
        for frame in rings {
            hv.frames.put_writable(&hv.machine, frame);
            hv.frames.put_ref(&hv.machine, frame);
        }
        let mut gone = self.world.hv.domains.remove(domain);
        let hv = &mut self.world.hv;
        hv.forget_share(gone.id, 0);
        assert!(hv.frames.close_account(gone.id));
        gone.grants.destroy(&mut hv.frames, &hv.machine);
        self.world.act_as(0);
        self.check();
    }
}

/// Frames of the hypervisor's.
fn hypervisors(lending: &Lending) -> usize {
    let frames = &lending.world.hv.frames;
    (0..frames.len() as u64)
        .filter(|frame| frames.info(Mfn::new(*frame)).is_some_and(|info| info.owner() == Owner::Hypervisor))
        .count()
}

#[test]
fn what_it_mapped_is_let_go_in_bounded_steps() {
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        let base = hypervisors(&lending);
        let frames = [0, 1].map(|n| lending.frame(0, n));
        for n in 0..200u32 {
            lending.lend(9 + n, 0, frames[n as usize % 2]);
            let flags = [HOST, HOST | READ, DEVICE, DEVICE | READ, HOST | DEVICE][n as usize % 5];
            assert_eq!(lending.map(flags, 9 + n, WINDOW + 0x1000 * u64::from(n % 16)).status, GNTST_OKAY);
        }
        lending.check();
        let free = lending.world.hv.frames.free_frames();
        let steps = lending.end(1, 100);
        assert!(steps > 20, "{steps} steps");
        assert!((0..200).all(|n| lending.marks(0, 9 + n) == 0));
        assert_eq!(frames.map(|frame| lending.counts(frame)), [(1, 0); 2]);
        assert_eq!(lending.grants(1).mappings(), 0);
        lending.forget(1);
        // All its memory, its table, the records of its entries and its mappings.
        assert_eq!(hypervisors(&lending), base - 4);
        assert!(lending.world.hv.frames.free_frames() > free + 1100);
    }
}

#[test]
fn between_the_steps_all_counts_agree() {
    let mut lending = Lending::new(2);
    let frame = lending.frame(0, 0);
    for n in 0..40 {
        lending.lend(9 + n, 0, frame);
        lending.map(
            if n % 2 == 0 { HOST } else { DEVICE | READ },
            9 + n,
            WINDOW + 0x1000 * u64::from(n % 16),
        );
    }
    let mut steps = 0;
    while lending.world.hv.release_grants(1, &mut Budget::new(1)) == Err(OpError::Again) {
        lending.check();
        steps += 1;
    }
    assert!(steps >= 40);
    lending.check();
    assert_eq!(
        lending.world.hv.release_grants(1, &mut Budget::new(1)),
        Ok(()),
        "again, as often as one likes"
    );
}

#[test]
fn what_others_mapped_of_its_frames_stays_until_they_unmap() {
    for version in [1, 2] {
        let mut lending = Lending::new(version);
        let (frame, other) = (lending.frame(0, 0), lending.frame(0, 1));
        let table = lending.grants(0).shared()[0];
        for (reference, lent) in [(9, frame), (10, other), (11, table)] {
            lending.lend(reference, 0, lent);
        }
        let first = lending.mapped(HOST, 9, WINDOW);
        let second = lending.mapped(DEVICE | READ, 10, 0);
        let third = lending.mapped(HOST | READ, 11, WINDOW + 0x1000);
        lending.mapped(HOST, 9, WINDOW + 0x2000);
        lending.end(0, 8192);
        lending.world.act_as(1);
        lending.check();
        assert_eq!(lending.remaining(0), 3);
        // Nothing new, by whatever call.
        assert_eq!(lending.map(HOST, 9, WINDOW + 0x3000).status, GNTST_BAD_DOMAIN);
        let own = lending.frame(1, 0).get();
        let copy = GnttabCopy {
            source: GnttabCopyPtr { u: 9, domid: 1, offset: 0, pad: 0 },
            dest: GnttabCopyPtr { u: own, domid: DOMID_SELF, offset: 0, pad: 0 },
            len: 8,
            flags: GNTCOPY_SOURCE_GREF,
            ..Default::default()
        };
        assert_eq!(lending.one(GNTTABOP_COPY, &copy).status, GNTST_BAD_DOMAIN);
        let give = GnttabTransfer { mfn: own, domid: 1, reference: 12, ..Default::default() };
        assert_eq!(lending.one(GNTTABOP_TRANSFER, &give).status, GNTST_GENERAL_ERROR);
        assert_eq!(lending.unmap(second, 0, other.address()), GNTST_OKAY);
        assert_eq!(lending.unmap(third, WINDOW + 0x1000, 0), GNTST_OKAY);
        assert_eq!(lending.unmap(first, WINDOW, 0), GNTST_OKAY);
        assert_eq!(lending.remaining(0), 1);
        // The last entry goes without its mapping being unmapped.
        lending.world.map(WINDOW + 0x2000, 0);
        lending.forget(0);
        assert_eq!(lending.grants(0).mappings(), 1);
    }
}

#[test]
fn a_number_used_again_is_another_domain() {
    let mut lending = Lending::new(1);
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    lending.mapped(HOST, 9, WINDOW);
    lending.world.map(WINDOW, 0);
    lending.end(0, 8192);
    lending.forget(0);
    // A new domain 1 lends by the same entry.
    lending.world.construct(1, |_| {});
    let last = lending.world.hv.domains.len() - 1;
    lending.world.hv.domains.swap(0, last);
    lending.world.act_as(last);
    let lent = lending.frame(0, 0);
    lending.lend(9, 0, lent);
    let handle = lending.mapped(HOST, 9, WINDOW);
    assert_eq!(handle, 1, "the old mapping has its handle still");
    lending.end(last, 8192);
    assert_eq!((lending.marks(0, 9), lending.counts(lent)), (0, (1, 0)));
    lending.check();
}

#[test]
fn two_that_map_each_others_frames() {
    let mut lending = Lending::new(1);
    let frames = [lending.frame(0, 0), lending.frame(1, 0)];
    lending.lend(9, 0, frames[0]);
    lending.write(1, 9, (GTF_PERMIT_ACCESS, 1), 0, frames[1].get());
    lending.mapped(HOST, 9, WINDOW);
    lending.world.act_as(0);
    let request =
        GnttabMapGrantRef { host_addr: WINDOW, flags: HOST, reference: 9, dom: 2, ..Default::default() };
    assert_eq!(lending.one(GNTTABOP_MAP_GRANT_REF, &request).status, GNTST_OKAY);
    lending.end(0, 8192);
    lending.check();
    assert_eq!((lending.remaining(0), lending.remaining(1) > 1), (1, true));
    lending.end(1, 8192);
    assert_eq!((lending.remaining(0), lending.remaining(1)), (0, 0));
    lending.check();
    lending.forget(1);
    lending.forget(0);
}

#[test]
fn a_destroyed_domain_is_kept_until_the_last_frame_is_unmapped() {
    for by_hand in [false, true] {
        let mut lending = Lending::new(1);
        let (frame, other) = (lending.frame(0, 0), lending.frame(0, 1));
        lending.lend(9, 0, frame);
        lending.lend(10, 0, other);
        let first = lending.mapped(HOST, 9, WINDOW);
        let second = lending.mapped(DEVICE | HOST | READ, 10, WINDOW + 0x1000);
        lending.stop(0);
        assert_eq!((lending.world.hv.domains.len(), lending.world.hv.domains[0].life), (3, Life::Dying));
        lending.check();
        assert_eq!(lending.unmap(first, WINDOW, 0), GNTST_OKAY);
        assert_eq!(lending.unmap(second, 0, other.address()), GNTST_OKAY);
        lending.work();
        assert_eq!(lending.world.hv.domains.len(), 3);
        if by_hand {
            // The guest takes the entry away itself.
            lending.world.map(WINDOW + 0x1000, 0);
        } else {
            assert_eq!(lending.unmap(second, WINDOW + 0x1000, 0), GNTST_OKAY);
        }
        lending.work();
        assert_eq!(lending.world.hv.domains.len(), 2);
        assert_eq!(lending.world.hv.current_domain(), 0, "the running one moved up");
        lending.check();
        lending.stop(1);
        assert_eq!(lending.world.hv.domains.len(), 1);
        lending.check();
    }
}

#[test]
fn all_frames_come_back_whoever_dies_first() {
    for order in [[0, 0], [1, 0]] {
        let mut lending = Lending::new(2);
        let frames = [lending.frame(0, 0), lending.frame(1, 0)];
        lending.lend(9, 0, frames[0]);
        lending.write(1, 9, (GTF_PERMIT_ACCESS, 1), 0, frames[1].get());
        lending.mapped(HOST, 9, WINDOW);
        lending.mapped(DEVICE, 9, 0);
        lending.world.act_as(0);
        let request =
            GnttabMapGrantRef { host_addr: WINDOW, flags: HOST, reference: 9, dom: 2, ..Default::default() };
        assert_eq!(lending.one(GNTTABOP_MAP_GRANT_REF, &request).status, GNTST_OKAY);
        lending.world.act_as(2);
        for (dead, domain) in order.into_iter().enumerate() {
            // The first to die stays on the list for the other's sake.
            let index = if dead == 1 && order[0] == 0 { 1 } else { domain };
            lending.stop(index);
            lending.check();
        }
        assert_eq!(lending.world.hv.domains.len(), 1);
        lending.stop(0);
        assert_eq!(lending.world.hv.domains.len(), 1, "it runs");
        lending.world.hv.here.busy = false;
        lending.world.hv.retire_if_still(0);
        lending.work();
        assert_eq!(
            (lending.world.hv.domains.len(), lending.world.hv.frames.free_frames()),
            (0, lending.world.free)
        );
    }
}

/// Lending whose first domain is started again when it asks for it.
fn restarting() -> Lending {
    let mut lending = Lending::new(1);
    let domain = &mut lending.world.hv.domains[0];
    let config = &mut std::sync::Arc::get_mut(&mut domain.plan).expect("nobody else has the plan").config;
    (config.actions.on_reboot, config.restarts) = (Action::Restart, 10);
    domain.actions = config.actions;
    lending
}

fn numbers(lending: &Lending) -> Vec<(u16, Life)> {
    lending.world.hv.domains.iter().map(|domain| (domain.id.0, domain.life)).collect()
}

#[test]
fn one_whose_frames_are_never_unmapped_is_started_again_under_another_number() {
    let mut lending = restarting();
    let frame = lending.frame(0, 0);
    lending.lend(9, 0, frame);
    let handle = lending.mapped(HOST, 9, WINDOW);
    lending.world.hv.stop_domain(0, Shutdown::Reboot);
    lending.work();
    lending.check();
    let alive = Life::Running;
    assert_eq!(numbers(&lending), [(1, Life::Dying), (2, alive), (3, alive), (4, alive)]);
    assert_eq!(lending.world.hv.domains[3].restarts, 1);
    // What was lent is still the one before's, which goes with it.
    assert_eq!(lending.map(HOST, 9, WINDOW + 0x1000).status, GNTST_BAD_DOMAIN);
    assert_eq!(lending.unmap(handle, WINDOW, 0), GNTST_OKAY);
    lending.work();
    lending.check();
    assert_eq!(numbers(&lending), [(2, alive), (3, alive), (4, alive)]);
    // Its own number is free again.
    lending.world.hv.stop_domain(2, Shutdown::Reboot);
    lending.work();
    lending.check();
    assert_eq!(numbers(&lending), [(2, alive), (3, alive), (1, alive)]);
    assert_eq!(lending.world.hv.domains[2].restarts, 2);
}

#[test]
fn one_that_needs_the_memory_that_is_still_mapped_waits_for_it() {
    let mut lending = restarting();
    let lent: [Mfn; 8] = core::array::from_fn(|n| lending.frame(0, n as u64));
    let handles = [0, 1, 2, 3, 4, 5, 6, 7].map(|n: u32| {
        lending.lend(9 + n, 0, lent[n as usize]);
        lending.mapped(HOST, 9 + n, WINDOW + 0x1000 * u64::from(n))
    });
    let hv = &mut lending.world.hv;
    while hv.frames.alloc_hypervisor(&hv.machine).is_some() {}
    hv.stop_domain(0, Shutdown::Reboot);
    lending.work();
    assert_eq!(lending.world.hv.domains.len(), 3, "there is no memory for another");
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(lending.world.hv.domains[0].life, Life::Dying, "{n}");
        let request =
            GnttabUnmapGrantRef { host_addr: WINDOW + 0x1000 * n as u64, handle, ..Default::default() };
        assert_eq!(lending.one(GNTTABOP_UNMAP_GRANT_REF, &request).status, GNTST_OKAY);
        lending.work();
    }
    let running = lending.world.hv.domains.iter().filter(|domain| domain.life == Life::Running);
    assert_eq!(running.map(|domain| domain.restarts).max(), Some(1));
    assert!(lending.world.hv.domain_index(DomainId(2)).is_some_and(|index| index < 3));
}

#[test]
fn a_mapping_that_takes_the_place_of_the_last_one_is_noticed() {
    let mut lending = Lending::new(1);
    let (frame, other) = (lending.frame(0, 0), lending.frame(2, 0));
    lending.lend(9, 0, frame);
    lending.mapped(HOST, 9, WINDOW);
    lending.write(2, 9, (GTF_PERMIT_ACCESS, 2), 0, other.get());
    lending.stop(0);
    assert_eq!(lending.world.hv.domains.len(), 3);
    let request =
        GnttabMapGrantRef { host_addr: WINDOW, flags: HOST, reference: 9, dom: 3, ..Default::default() };
    assert_eq!(lending.one(GNTTABOP_MAP_GRANT_REF, &request).status, GNTST_OKAY);
    lending.work();
    assert_eq!(lending.world.hv.domains.len(), 2);
    lending.check();
}
