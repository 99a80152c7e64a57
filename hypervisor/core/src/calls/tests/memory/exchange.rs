//! XENMEM_exchange.

use super::*;
use crate::fake_machine::FakeMachine;

/// Where new extents are listed.
const OUT: u64 = LIST + 0x8000;

fn exchange(given: (u64, u32), taken: (u64, u32)) -> MemoryExchange {
    MemoryExchange {
        input: of_order(LIST, given.0, given.1),
        output: of_order(OUT, taken.0, taken.1),
        nr_exchanged: 0,
    }
}

fn world() -> World {
    let mut world = World::with_spare_frames(1, 2200);
    world.set_up();
    world
}

impl World {
    fn exchange(&mut self, request: &MemoryExchange) -> i64 {
        self.op(HYPERVISOR_MEMORY_OP, XENMEM_EXCHANGE, request)
    }

    fn exchanged(&self) -> u64 {
        self.get::<MemoryExchange>(ARG).nr_exchanged
    }

    /// Refused before the first chunk, with nothing changed, not even the number exchanged.
    #[track_caller]
    fn not_exchanged(&mut self, request: &MemoryExchange, error: Errno) {
        let free = self.hv.frames.free_frames();
        self.op_refused(HYPERVISOR_MEMORY_OP, XENMEM_EXCHANGE, request, error);
        assert_eq!(self.exchanged(), request.nr_exchanged);
        assert_eq!(self.hv.frames.free_frames(), free);
    }
}

#[test]
fn small_ones_become_large_and_large_ones_small() {
    let mut world = world();
    for (given, taken) in [(0, 0), (0, 5), (5, 0), (3, 3), (2, 6), (6, 1)] {
        let (frames, free) = (64u64, world.hv.frames.free_frames());
        // The domain's maximum is no hindrance: it has as much as before.
        let pfns: Vec<u64> = (0..frames >> given).map(|n| 20_000 + (n << given)).collect();
        world.set_max(PAGES + frames);
        world.put(LIST, pfns.as_slice());
        assert_eq!(
            world.change(XENMEM_POPULATE_PHYSMAP, &of_order(LIST, frames >> given, given)),
            pfns.len() as i64
        );
        let old: Vec<u64> = (0..frames >> given).map(|n| world.get(LIST + 8 * n)).collect();
        old.iter().for_each(|frame| world.hv.machine.fake.poke(Mfn::new(*frame), 9, 0x5ec2e7));
        let pfns: Vec<u64> = (0..frames >> taken).map(|n| 30_000 + (n << taken)).collect();
        world.put(OUT, pfns.as_slice());
        let request = exchange((frames >> given, given), (frames >> taken, taken));
        assert_eq!(world.exchange(&request), 0, "{given} for {taken}");
        assert_eq!(world.exchanged(), frames >> given);
        for (n, pfn) in pfns.iter().enumerate() {
            let first: u64 = world.get(OUT + 8 * n as u64);
            assert_eq!(first % (1 << taken), 0);
            for index in 0..1 << taken {
                let frame = Mfn::new(first + index);
                assert!(world.hv.frames.is_unused(frame, world.domain().id));
                assert_eq!(world.m2p(frame), Pfn::new(pfn + index));
                assert_eq!(world.hv.machine.fake.nonzero(frame).count(), 0, "nothing of its former owner's");
            }
        }
        assert_eq!((world.allocated(), world.hv.frames.free_frames()), (PAGES + frames, free - frames));
        world.check_free();
        let back = MemoryReservation { extent_start: OUT, ..request.output };
        assert_eq!(world.change(XENMEM_DECREASE_RESERVATION, &back), (frames >> taken) as i64);
    }
}

#[test]
fn what_is_wrong_is_said_in_order() {
    let mut world = World::with_domains(2);
    world.set_up();
    world.list(1030..1034);
    let good = exchange((4, 0), (4, 0));
    let mut all = good;
    // Each fault is hidden by those that follow.
    all.input.domid = 2;
    all.output.domid = 2;
    world.not_exchanged(&all, Errno::EPERM);
    all.input.domid = 9;
    all.output.domid = 9;
    world.not_exchanged(&all, Errno::ESRCH);
    all.output.mem_flags = xenmemf_node(1) | XENMEMF_EXACT_NODE_REQUEST;
    world.not_exchanged(&all, Errno::EINVAL);
    all.output.extent_start = BAD[3];
    world.not_exchanged(&all, Errno::EFAULT);
    let sizes: [fn(&mut MemoryExchange); 6] = [
        |request| request.output.domid = 1,
        |request| request.nr_exchanged = 5,
        |request| request.nr_exchanged = u64::MAX,
        |request| request.output.nr_extents = 5,
        |request| (request.input.nr_extents, request.output.nr_extents) = (1 << 63 | 4, 4),
        |request| (request.input.extent_order, request.input.nr_extents) = (1, 1 << 63 | 2),
    ];
    for change in sizes {
        let mut request = all;
        change(&mut request);
        world.not_exchanged(&request, Errno::EINVAL);
        request.input.extent_order = 10;
        world.not_exchanged(&request, Errno::EPERM);
        (request.input.extent_order, request.output.extent_order) = (0, u32::MAX);
        world.not_exchanged(&request, Errno::EPERM);
    }
    let continued = u64::from(XENMEM_EXCHANGE) | 1 << MEMOP_EXTENT_SHIFT;
    world.refused(HYPERVISOR_MEMORY_OP, &[continued, HOLE], Errno::EINVAL);
    // Nothing left to do is no fault, whatever the lists are.
    let done = MemoryExchange { nr_exchanged: 4, ..good };
    world.put(
        ARG,
        &MemoryExchange { output: MemoryReservation { extent_start: BAD[3], ..done.output }, ..done },
    );
    assert_eq!(world.untouched(HYPERVISOR_MEMORY_OP, &[XENMEM_EXCHANGE.into(), ARG]), 0);
}

#[test]
fn ranges_are_checked_whole_from_where_the_guest_says_it_is() {
    // XSA-212: the number done is the guest's word, and moves the place that is written.
    let mut world = world();
    let wide = 1u64 << 40;
    for (list, nr_exchanged) in [
        (0xffff_7fff_ffff_fff8, 0),
        (0xffff_8000_0000_0000 - 8 * (wide - 1), wide - 1),
        (0xffff_8040_0000_0000 - 8 * (wide - 2), wide - 2),
        (0u64.wrapping_sub(8 * (wide - 4)), wide - 4),
        (0xffff_8800_0000_0000 - 8, wide - 1),
        (1 << 47, 3),
    ] {
        for is_input in [false, true] {
            let mut request = exchange((wide, 0), (wide, 0));
            let side = if is_input { &mut request.input } else { &mut request.output };
            side.extent_start = list;
            request.nr_exchanged = nr_exchanged;
            world.not_exchanged(&request, Errno::EFAULT);
        }
    }
    // The offset is scaled by the orders, and may not overflow on the way.
    let request =
        MemoryExchange { nr_exchanged: 1 << 54, ..exchange((1 << 54 | 1, 9), ((1 << 54 | 1) << 9, 0)) };
    world.not_exchanged(&request, Errno::EFAULT);
    let mut request = exchange((u64::MAX, 0), (u64::MAX, 0));
    request.nr_exchanged = u64::MAX - 1;
    world.not_exchanged(&request, Errno::EFAULT);
}

#[test]
fn the_chunks_before_a_bad_one_are_done() {
    let mut world = World::with_domains(2);
    world.set_up();
    let frames = world.list(1030..1034);
    world.put(LIST + 24, &world.foreign().get());
    world.put(OUT, &[30_000u64, 40_000]);
    let free = world.hv.frames.free_frames();
    assert_eq!(world.exchange(&exchange((4, 0), (2, 1))), Errno::EINVAL.to_ret());
    assert_eq!((world.exchanged(), world.hv.frames.free_frames()), (2, free));
    let first = Mfn::new(world.get(OUT));
    assert!(world.hv.frames.is_unused(first, world.domain().id));
    assert_eq!(world.m2p(first), Pfn::new(30_000));
    assert_eq!(world.get::<u64>(OUT + 8), 40_000);
    assert!(world.hv.frames.is_unused(frames[2], world.domain().id), "the good frame of the bad chunk");
    assert_eq!((world.m2p(frames[2]), world.allocated()), (Pfn::new(1032), PAGES));
    world.check_free();
}

#[test]
fn each_use_of_a_frame_keeps_it() {
    let mut world = World::with_domains(2);
    world.set_up();
    let end = world.hv.frames.len() as u64;
    let own = world.frame(1031).get();
    let free = world.hv.frames.free_list().next().unwrap().get();
    for bad in [
        world.mfn(LIST + 0x6000).get(),
        world.vcpu().paging.base().unwrap().get(),
        world.domain().shared_info.get(),
        world.domain().console.frame.get(),
        world.foreign().get(),
        own,
        0,
        3,
        end,
        u64::MAX,
        free,
    ] {
        world.put(LIST, &[own, bad]);
        world.put(OUT, &30_000u64);
        world.hv.machine.fake.poke(Mfn::new(own), 5, 0x1234);
        world.not_exchanged(&exchange((2, 0), (1, 1)), Errno::EINVAL);
        assert_eq!(
            world.hv.machine.read_word(Mfn::new(own), 5),
            0x1234,
            "a frame given back keeps its contents"
        );
        assert_eq!(world.m2p(Mfn::new(own)), Pfn::new(1031));
    }
}

#[test]
fn what_a_frame_was_is_flushed_before_it_is_something_else() {
    // A frame that was a page table a moment ago may still be in a processor's TLB when its exchange fails, and when it
    // becomes a table again.
    let mut world = World::with_domains(2);
    world.set_up();
    let place = LIST + 0x7000;
    let frame = world.mfn(place);
    let machine: &FakeMachine = &world.hv.machine.fake;
    machine.fill();
    world.map(place, 0);
    world.put(LIST, &[frame.get(), 0]);
    world.put(OUT, &30_000u64);
    world.not_exchanged(&exchange((2, 0), (1, 1)), Errno::EINVAL);
    world.map(READ_ONLY, frame.address() | Pte::P);
    let pinned = [0u64, frame.get(), 0];
    world.put(ARG, &pinned);
    assert_eq!(world.call(HYPERVISOR_MMUEXT_OP, &[ARG, 1, 0, DOMID_SELF.into()]), 0);
    let stale = world.hv.machine.fake.stale(&world.hv.frames);
    assert!(stale.is_empty(), "{:?}", stale[0]);
    world.audit();
}

#[test]
fn without_memory_for_the_new_the_old_stay() {
    let mut world = World::new();
    let free = world.hv.frames.free_frames();
    assert!(free < 64, "{free}");
    world.list(1024..1088);
    let pfns: Vec<u64> = (0..64).map(|n| 40_000 + n).collect();
    world.put(OUT, pfns.as_slice());
    world.not_exchanged(&exchange((64, 0), (1, 6)), Errno::ENOMEM);
    // Some of the new ones could be had, and are free again.
    world.set_max(PAGES + free);
    assert_eq!(world.change(XENMEM_INCREASE_RESERVATION, &of_order(LIST, 1, 3)), 1);
    let taken = (free - 8 - 5) as i64;
    assert_eq!(world.change(XENMEM_INCREASE_RESERVATION, &reservation(0, taken as u64)), taken);
    world.not_exchanged(&exchange((1, 3), (8, 0)), Errno::ENOMEM);
    assert_eq!(world.hv.frames.free_frames(), 5);
    // Nor is there any where it is asked to be.
    world.list(1024..1026);
    let mut request = exchange((1, 0), (1, 0));
    for bits in [1, 12, 13, 20] {
        request.output.mem_flags = bits;
        world.not_exchanged(&request, Errno::ENOMEM);
    }
    request.output.mem_flags = 32;
    assert_eq!(world.exchange(&request), 0);
    world.check_free();
}

#[test]
fn it_goes_on_where_it_stopped() {
    let mut world = world();
    world.set_max(PAGES + 2048);
    let pfns: Vec<u64> = (0..1024).map(|n| 50_000 + n).collect();
    world.put(LIST, pfns.as_slice());
    assert_eq!(world.change(XENMEM_POPULATE_PHYSMAP, &reservation(LIST, 1024)), 1024);
    world.put(OUT, &[60_000u64, 61_000]);
    let before = world.preempted;
    assert_eq!(world.exchange(&exchange((1024, 0), (2, 9))), 0);
    assert_eq!((world.exchanged(), world.preempted - before), (1024, 1));
    // From the middle, as a guest may ask itself: the second extent alone.
    let firsts: [u64; 2] = world.get(OUT);
    world.put(LIST, &firsts);
    world.put(OUT, &[70_000u64, 71_000]);
    let request = MemoryExchange { nr_exchanged: 1, ..exchange((2, 9), (2, 9)) };
    assert_eq!(world.exchange(&request), 0);
    assert_eq!((world.exchanged(), world.get::<u64>(OUT)), (2, 70_000));
    assert_eq!(world.m2p(Mfn::new(world.get(OUT + 8))), Pfn::new(71_000));
    assert_eq!(world.m2p(Mfn::new(firsts[0])), Pfn::new(60_000), "the first one is as it was");
    world.check_free();
}

#[test]
fn lists_that_end_early_say_how_far_it_came() {
    let mut world = world();
    let frames = world.list(1024..1030);
    // What is given: two words before the hole.
    let hole = HOLE - 16;
    world.put(hole, &[frames[0].get(), frames[1].get()]);
    world.put(OUT, &[30_000u64, 30_001, 30_002, 30_003]);
    let mut request = exchange((4, 0), (4, 0));
    request.input.extent_start = hole;
    assert_eq!(world.exchange(&request), Errno::EFAULT.to_ret());
    assert_eq!(world.exchanged(), 2);
    assert_eq!(world.get::<[u64; 2]>(OUT + 16), [30_002, 30_003]);
    world.check_free();
    // What is taken: the frames are exchanged, but where the list ends nobody learns for which.
    let allocated = world.allocated();
    world.put(LIST, &[frames[2].get(), frames[3].get(), frames[4].get()]);
    world.put(hole, &[31_000u64, 31_001]);
    let mut request = exchange((3, 0), (3, 0));
    request.output.extent_start = hole;
    assert_eq!(world.exchange(&request), Errno::EFAULT.to_ret());
    assert_eq!((world.exchanged(), world.allocated()), (2, allocated));
    assert!(
        !world.hv.frames.is_owned_by(frames[4], world.domain().id) || world.m2p(frames[4]) == Pfn::INVALID
    );
    world.audit();
    // A read-only list can be read, not written.
    world.put(LIST, &[frames[5].get()]);
    let mut request = exchange((1, 0), (1, 0));
    request.output.extent_start = READ_ONLY;
    assert_eq!(world.exchange(&request), Errno::EFAULT.to_ret());
    assert_eq!((world.exchanged(), world.allocated()), (0, allocated));
    world.audit();
}

#[test]
fn the_answer_must_be_writable() {
    let mut world = world();
    world.list(1024..1026);
    let mut request = exchange((2, 0), (2, 0));
    request.input.domid = 9;
    let words = zerocopy::IntoBytes::as_bytes(&request);
    for (index, word) in words.chunks(8).enumerate() {
        let value = u64::from_le_bytes(word.try_into().unwrap());
        world.hv.machine.fake.poke(world.mfn(READ_ONLY), index, value);
    }
    // Xen tells how far it came even in a refusal; where it cannot, that is the answer.
    world.refused(HYPERVISOR_MEMORY_OP, &[XENMEM_EXCHANGE.into(), READ_ONLY], Errno::EFAULT);
}
