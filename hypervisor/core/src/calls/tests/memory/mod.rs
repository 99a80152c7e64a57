//! memory_op: reservations, exchanges, and what a domain is told of memory.

mod exchange;
mod random;
mod told;

use super::world::*;
use crate::addr::{Mfn, Pfn};
use crate::memory::Memory;
use crate::pagetable::Pte;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::memory::*;
use paravane_abi::mmu::DOMID_SELF;
use std::vec::Vec;

const TAKES: [u32; 2] = [XENMEM_INCREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP];
const CHANGES: [u32; 3] = [XENMEM_INCREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP, XENMEM_DECREASE_RESERVATION];
const ASKED: [u32; 3] = [XENMEM_CURRENT_RESERVATION, XENMEM_MAXIMUM_RESERVATION, XENMEM_MAXIMUM_GPFN];

fn reservation(extent_start: u64, nr_extents: u64) -> MemoryReservation {
    MemoryReservation { extent_start, nr_extents, domid: DOMID_SELF, ..Default::default() }
}

fn of_order(extent_start: u64, nr_extents: u64, extent_order: u32) -> MemoryReservation {
    MemoryReservation { extent_order, ..reservation(extent_start, nr_extents) }
}

fn flagged(mem_flags: u32) -> MemoryReservation {
    MemoryReservation { mem_flags, ..reservation(LIST, 1) }
}

impl World {
    /// The frames it has, by its account.
    fn allocated(&self) -> u64 {
        self.hv.frames.account(self.domain().id).unwrap().allocated
    }

    fn set_max(&mut self, max: u64) {
        let id = self.domain().id;
        assert!(self.hv.frames.set_max(id, max));
    }

    fn change(&mut self, command: u32, request: &MemoryReservation) -> i64 {
        self.op(HYPERVISOR_MEMORY_OP, command, request)
    }

    /// A change that is refused whole: no extent is done, nothing is different.
    fn unchanged(&mut self, command: u32, request: &MemoryReservation) {
        self.put(ARG, request);
        let answer = self.untouched(HYPERVISOR_MEMORY_OP, &[command.into(), ARG]);
        assert_eq!(answer, 0, "{command} {request:?}");
    }

    /// The frames of guest frame numbers, put in the list.
    fn list(&mut self, pfns: impl Iterator<Item = u64>) -> Vec<Mfn> {
        let frames: Vec<Mfn> = pfns.map(|pfn| self.frame(pfn)).collect();
        let numbers: Vec<u64> = frames.iter().map(|frame| frame.get()).collect();
        self.put(LIST, numbers.as_slice());
        frames
    }

    fn m2p(&self, frame: Mfn) -> Pfn {
        self.hv.machine.m2p(frame)
    }

    /// A frame that another domain has.
    fn foreign(&self) -> Mfn {
        let id = self.hv.domains[1].id;
        let mut all = (0..self.hv.frames.len() as u64).map(Mfn::new);
        all.find(|frame| self.hv.frames.is_owned_by(*frame, id)).unwrap()
    }

    /// Every free frame stands for no page.
    fn check_free(&self) {
        for frame in self.hv.frames.free_list() {
            assert_eq!(self.m2p(frame), Pfn::INVALID, "{frame} is free");
        }
        self.audit();
    }
}

#[test]
fn memory_goes_out_and_comes_back() {
    let mut world = World::new();
    // 70 frames that nothing maps, in two steps; the 71st is no frame of the guest's.
    let frames: Vec<u64> = (1024..1094).map(|pfn| world.frame(pfn).get()).chain([1]).collect();
    world.put(LIST, frames.as_slice());
    let free = world.hv.frames.free_frames();
    assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &reservation(LIST, 71)), 70);
    assert_eq!((world.preempted, world.hv.frames.free_frames()), (1, free + 70));
    world.check_free();
    let request = MemoryDomain { domid: DOMID_SELF };
    assert_eq!(world.op(HYPERVISOR_MEMORY_OP, XENMEM_CURRENT_RESERVATION, &request), PAGES as i64 - 70);

    let pfns: Vec<u64> = (2000..2080).collect();
    world.put(LIST, pfns.as_slice());
    assert_eq!(world.change(XENMEM_POPULATE_PHYSMAP, &reservation(LIST, 80)), 70);
    world.check_free();
    for (index, pfn) in pfns.iter().enumerate().take(70) {
        let frame = Mfn::new(world.get(LIST + 8 * index as u64));
        assert!(world.hv.frames.is_owned_by(frame, world.domain().id));
        assert_eq!(world.m2p(frame), Pfn::new(*pfn));
    }
    assert_eq!(world.get::<u64>(LIST + 8 * 70), 2070, "no frame, no write");
}

#[test]
fn frames_taken_without_a_place_stand_for_none() {
    let mut world = World::new();
    world.list(1030..1032);
    assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &reservation(LIST, 2)), 2);
    assert_eq!(world.change(XENMEM_INCREASE_RESERVATION, &reservation(LIST, 1)), 1);
    let frame = Mfn::new(world.get(LIST));
    assert_eq!(world.m2p(frame), Pfn::INVALID);
    // Without a list the guest is not told which.
    assert_eq!(world.change(XENMEM_INCREASE_RESERVATION, &reservation(0, 1)), 1);
    assert_eq!(world.allocated(), PAGES);
    world.unchanged(XENMEM_POPULATE_PHYSMAP, &reservation(0, 1));
    world.audit();
}

#[test]
fn extents_that_cannot_be_done_are_not_done() {
    let mut world = World::with_domains(2);
    world.set_up();
    let frame = world.frame(1030).get();
    world.put(LIST, &[frame; 2]);
    let good = reservation(LIST, 1);
    let bad = [
        reservation(LIST, 0),
        reservation(LIST, u64::MAX),
        reservation(LIST, 1 << 26),
        reservation(HOLE, 1),
        reservation(READ_ONLY, 1),
        reservation(BAD[3], 1),
        reservation(BAD[5] - 8, 2),
        MemoryReservation { domid: 2, ..good },
        MemoryReservation { domid: 9, ..good },
        MemoryReservation { extent_order: 10, ..good },
        MemoryReservation { extent_order: 64, ..good },
        MemoryReservation { extent_order: u32::MAX, ..good },
        // From a node and no other, which only the privileged may ask for.
        flagged(xenmemf_node(0) | XENMEMF_EXACT_NODE_REQUEST),
    ];
    for (command, request) in CHANGES.into_iter().flat_map(|command| bad.map(|request| (command, request))) {
        world.unchanged(command, &request);
        // An extent beyond the last one: so many were done before.
        let resumed = u64::from(command) | 5 << MEMOP_EXTENT_SHIFT;
        world.put(ARG, &MemoryReservation { nr_extents: request.nr_extents.min(5), ..request });
        assert_eq!(world.untouched(HYPERVISOR_MEMORY_OP, &[resumed, ARG]), 5);
    }
    for command in TAKES {
        // Nothing lies so low.
        world.unchanged(command, &flagged(1));
        world.unchanged(command, &flagged(12));
        world.unchanged(command, &flagged(13));
    }
    world.unchanged(XENMEM_POPULATE_PHYSMAP, &flagged(XENMEMF_POPULATE_ON_DEMAND));
    // Of a frame given twice only one is given; a foreign one is not.
    let foreign = world.foreign().get();
    world.put(LIST + 8, &[frame, foreign]);
    assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &reservation(LIST, 2)), 1);
    world.unchanged(XENMEM_DECREASE_RESERVATION, &reservation(LIST + 16, 1));
    for command in ASKED {
        world.op_refused(HYPERVISOR_MEMORY_OP, command, &MemoryDomain { domid: 2 }, Errno::EPERM);
    }
}

#[test]
fn wishes_about_nodes_are_not_heeded() {
    let mut world = World::new();
    world.set_max(PAGES + 3);
    for flags in [xenmemf_node(3), XENMEMF_VNODE | XENMEMF_EXACT_NODE_REQUEST | xenmemf_node(7), 1 << 31] {
        assert_eq!(world.change(XENMEM_POPULATE_PHYSMAP, &flagged(flags)), 1, "{flags:#x}");
    }
}

#[test]
fn extents_are_contiguous_and_aligned() {
    let mut world = World::with_spare_frames(1, 2000);
    world.set_up();
    let free = world.hv.frames.free_frames();
    for order in 0..=9u32 {
        let pages = 1u64 << order;
        world.set_max(PAGES + 2 * pages);
        world.put(LIST, &[5000u64, 7000]);
        assert_eq!(world.change(XENMEM_POPULATE_PHYSMAP, &of_order(LIST, 2, order)), 2, "order {order}");
        let firsts: [u64; 2] = world.get(LIST);
        for (first, pfn) in firsts.into_iter().zip([5000, 7000]) {
            assert_eq!(first % pages, 0);
            for index in 0..pages {
                let frame = Mfn::new(first + index);
                assert!(world.hv.frames.is_unused(frame, world.domain().id));
                assert_eq!(world.m2p(frame), Pfn::new(pfn + index));
                assert_eq!(world.hv.machine.fake.nonzero(frame).count(), 0);
            }
        }
        assert_eq!(world.allocated(), PAGES + 2 * pages);
        world.audit();
        // Given back by the same numbers.
        assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &of_order(LIST, 2, order)), 2);
        assert_eq!((world.allocated(), world.hv.frames.free_frames()), (PAGES, free));
        world.check_free();
    }
}

#[test]
fn frames_lie_as_low_as_asked() {
    let mut world = World::with_spare_frames(1, 2000);
    world.set_up();
    world.set_max(PAGES + 500);
    // Everything below 1104 is taken: 1024 frames are 22 bits of address.
    for command in TAKES {
        world.unchanged(command, &flagged(22));
        world.unchanged(command, &MemoryReservation { extent_order: 9, ..flagged(22) });
    }
    for (bits, below) in [(23, 2048), (24, 3104), (32, 3104), (64, 3104), (255, 3104)] {
        world.put(LIST, &9000u64);
        assert_eq!(world.change(XENMEM_POPULATE_PHYSMAP, &flagged(bits)), 1, "{bits} bits");
        assert!(world.get::<u64>(LIST) < below);
    }
    // What lies low can be had again once it is free.
    let low = world.list(1..2)[0];
    world.map(crate::build::tests::BASE + 0x1000, 0);
    assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &reservation(LIST, 1)), 1);
    assert_eq!(world.change(XENMEM_INCREASE_RESERVATION, &flagged(22)), 1);
    assert_eq!(world.get::<u64>(LIST), low.get());
    world.audit();
}

#[test]
fn nobody_gets_more_than_the_maximum() {
    let mut world = World::with_spare_frames(1, 2000);
    world.set_up();
    for command in TAKES {
        world.unchanged(command, &reservation(LIST, 1));
    }
    world.set_max(PAGES + 20);
    world.put(LIST, &[7000u64; 6]);
    // All of an extent or none of it: two of eight, then four of one.
    assert_eq!(world.change(XENMEM_POPULATE_PHYSMAP, &of_order(LIST, 6, 3)), 2);
    assert_eq!(world.allocated(), PAGES + 16);
    assert_eq!(world.get::<[u64; 4]>(LIST + 16), [7000; 4]);
    assert_eq!(world.change(XENMEM_INCREASE_RESERVATION, &of_order(0, 6, 0)), 4);
    assert_eq!(world.allocated(), PAGES + 20);
    // A maximum below what it has takes nothing away, and gives nothing.
    world.set_max(5);
    for command in TAKES {
        assert_eq!(world.change(command, &reservation(LIST, 1)), 0);
    }
    let request = MemoryDomain { domid: DOMID_SELF };
    assert_eq!(world.op(HYPERVISOR_MEMORY_OP, XENMEM_MAXIMUM_RESERVATION, &request), 5);
    assert_eq!(world.op(HYPERVISOR_MEMORY_OP, XENMEM_CURRENT_RESERVATION, &request), PAGES as i64 + 20);
}

#[test]
fn memory_ends_where_it_ends() {
    let mut world = World::new();
    let free = world.hv.frames.free_frames();
    world.set_max(1 << 20);
    let taken = world.change(XENMEM_INCREASE_RESERVATION, &reservation(0, 1000));
    assert_eq!((taken as u64, world.hv.frames.free_frames()), (free, 0));
    world.unchanged(XENMEM_INCREASE_RESERVATION, &reservation(0, 1));
    world.audit();
}

#[test]
fn an_extent_is_given_back_whole_or_not_at_all() {
    let mut world = World::with_spare_frames(2, 600);
    world.set_up();
    world.set_max(PAGES + 8);
    assert_eq!(world.change(XENMEM_POPULATE_PHYSMAP, &of_order(LIST, 1, 3)), 1);
    let first = Mfn::new(world.get(LIST));
    let foreign = world.foreign();
    let shared = world.domain().shared_info;
    let end = world.hv.frames.len() as u64;
    // The extent of two that begins before a frame that cannot be given: another's, a shared page, none at all.
    for bad in [foreign.get() - 1, shared.get() - 1, shared.get(), end - 1, end, u64::MAX, u64::MAX - 1, 0, 3]
    {
        world.put(LIST, &bad);
        world.unchanged(XENMEM_DECREASE_RESERVATION, &of_order(LIST, 1, 1));
    }
    world.put(LIST, &first.get());
    assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &of_order(LIST, 1, 3)), 1);
    world.unchanged(XENMEM_DECREASE_RESERVATION, &of_order(LIST, 1, 3));
}

#[test]
fn a_frame_in_use_goes_with_its_last_use() {
    let mut world = World::new();
    let place = LIST + 0x5000;
    let frame = world.mfn(place);
    let pfn = world.m2p(frame);
    world.put(LIST, &frame.get());
    let free = world.hv.frames.free_frames();
    assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &reservation(LIST, 1)), 1);
    world.audit();
    assert_eq!(world.hv.frames.free_frames(), free, "it is mapped");
    assert_eq!(world.m2p(frame), pfn, "and still what it was");
    world.put(place, &77u64);
    // Given back once more it has nothing more to give, which is no failure on Xen.
    assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &reservation(LIST, 1)), 1);
    assert_eq!(world.allocated(), PAGES);
    world.map(place, 0);
    assert_eq!((world.hv.frames.free_frames(), world.allocated()), (free + 1, PAGES - 1));
    world.check_free();
    world.unchanged(XENMEM_DECREASE_RESERVATION, &reservation(LIST, 1));
}

#[test]
fn lists_end_where_they_cannot_be_used() {
    let mut world = World::new();
    world.set_max(PAGES + 20);
    // Two words before the hole, two before what is read-only: there are as many extents.
    let hole = HOLE - 16;
    for command in TAKES {
        world.put(hole, &[3000u64, 3001]);
        let before = world.allocated();
        assert_eq!(world.change(command, &reservation(hole, 5)), 2, "{command}");
        assert_eq!(world.allocated(), before + 2, "no frame was taken that nobody was told of");
        let read_only = READ_ONLY - 16;
        assert_eq!(world.change(command, &reservation(read_only, 5)), 2);
        assert_eq!(world.allocated(), before + 4);
    }
    // Words that lie across a page's end, the next one not being there.
    world.unchanged(XENMEM_POPULATE_PHYSMAP, &reservation(HOLE - 4, 1));
    let frames = world.list(1030..1032);
    world.put(hole, &[frames[0].get(), frames[1].get()]);
    assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &reservation(hole, 5)), 2);
    world.check_free();
}

#[test]
fn long_calls_are_made_in_steps() {
    let mut world = World::with_spare_frames(1, 3000);
    world.set_up();
    world.set_max(PAGES + 2048);
    let pfns: Vec<u64> = (0..4).map(|n| 10_000 + 512 * n).collect();
    world.put(LIST, pfns.as_slice());
    assert_eq!(world.change(XENMEM_POPULATE_PHYSMAP, &of_order(LIST, 4, 9)), 4);
    assert_eq!(world.preempted, 3, "a step for each extent of 2 MiB");
    assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &of_order(LIST, 4, 9)), 4);
    let before = world.preempted;
    assert_eq!(world.change(XENMEM_INCREASE_RESERVATION, &reservation(0, 1000)), 1000);
    assert_eq!(world.preempted - before, 1000_u32.div_ceil(64) - 1);
    world.check_free();
}
