use super::*;
use crate::addr::Level;
use crate::fake_machine::FakeMachine;
use crate::flush::{Flush, FlushWhat, FlushWho};
use std::vec::Vec;

const D1: DomainId = DomainId(1);
const D2: DomainId = DomainId(2);
const FRAMES: usize = 16;

fn world() -> (FakeMachine, FrameTable) {
    let (machine, mut frames) = FakeMachine::with_frames(FRAMES, 1, 4);
    assert!(frames.open_account(D1, 6));
    assert!(frames.open_account(D2, 20));
    (machine, frames)
}

fn page(machine: &FakeMachine, frames: &mut FrameTable) -> Mfn {
    frames.alloc_domain(machine, D1).unwrap()
}

fn info(frames: &FrameTable, frame: Mfn) -> FrameInfo {
    *frames.info(frame).unwrap()
}

#[test]
fn memory_map_decides_whose_a_frame_is() {
    let mut frames = FrameTable::new(vec_of(8));
    frames.add_hypervisor(Mfn::new(2)..Mfn::new(4));
    frames.add_ram(Mfn::new(1)..Mfn::new(6));
    // What was named once stays, and what is past the end is ignored.
    frames.add_hypervisor(Mfn::new(5)..Mfn::new(100));
    frames.add_ram(Mfn::new(6)..Mfn::new(100));
    let owners: Vec<Owner> = (0..8).map(|n| info(&frames, Mfn::new(n)).owner()).collect();
    use Owner::{Free, Hypervisor, NotRam};
    assert_eq!(owners, [NotRam, Free, Hypervisor, Hypervisor, Free, Free, Hypervisor, Hypervisor]);
    assert_eq!(frames.free_frames(), 3);
    assert_eq!(frames.len(), 8);
    assert!(!frames.is_empty() && FrameTable::new(vec_of(0)).is_empty());
    assert!(frames.info(Mfn::new(8)).is_none());
    assert_eq!(frames.into_storage().len(), 8);
}

fn vec_of(count: usize) -> &'static mut [FrameInfo] {
    std::vec![FrameInfo::NOT_RAM; count].leak()
}

#[test]
fn low_frames_go_first() {
    let (machine, mut frames) = world();
    assert_eq!(page(&machine, &mut frames), Mfn::new(4));
    assert_eq!(frames.alloc_hypervisor(&machine), Some(Mfn::new(5)));
    assert_eq!(frames.free_frames(), 10);
    assert_eq!(frames.free_list().next(), Some(Mfn::new(6)));
}

#[test]
fn allocation_zeroes_what_the_former_owner_left() {
    let (machine, mut frames) = world();
    let frame = frames.alloc_domain(&machine, D2).unwrap();
    for index in [0, 17, 511] {
        machine.poke(frame, index, 0x5ec2e7);
    }
    assert!(frames.release_allocation(&machine, frame, D2));
    for owner in 0..3 {
        let again = match owner {
            0 => frames.alloc_domain(&machine, D1).unwrap(),
            1 => frames.alloc_hypervisor(&machine).unwrap(),
            _ => frames.alloc_shared(&machine, D1).unwrap(),
        };
        assert_eq!(again, frame);
        assert_eq!(machine.nonzero(frame).count(), 0, "owner {owner}");
        machine.poke(frame, 3, 1);
        match owner {
            0 => assert!(frames.release_allocation(&machine, frame, D1)),
            1 => assert!(frames.free_hypervisor(&machine, frame)),
            _ => assert!(frames.release_shared(&machine, frame)),
        }
    }
}

#[test]
fn a_domain_gets_no_more_than_its_maximum() {
    let (machine, mut frames) = world();
    let all: Vec<Mfn> = (0..6).map(|_| page(&machine, &mut frames)).collect();
    assert_eq!(frames.alloc_domain(&machine, D1), Err(AllocError::OverLimit));
    assert_eq!(frames.account(D1).unwrap().allocated, 6);
    assert!(frames.set_max(D1, 7));
    assert!(frames.alloc_domain(&machine, D1).is_ok());
    assert!(frames.release_allocation(&machine, all[0], D1));
    assert_eq!(frames.account(D1).unwrap().allocated, 6);
    // A shared page of the hypervisor's is not counted.
    assert!(frames.set_max(D1, 6));
    assert!(frames.alloc_shared(&machine, D1).is_ok());
    assert_eq!(frames.account(D1).unwrap().allocated, 6);
    assert!(!frames.set_max(DomainId(9), 1));
}

#[test]
fn memory_ends() {
    let (machine, mut frames) = world();
    while frames.alloc_domain(&machine, D2).is_ok() {}
    assert_eq!(frames.free_frames(), 0);
    assert_eq!(frames.alloc_domain(&machine, D2), Err(AllocError::OutOfMemory));
    assert_eq!(frames.alloc_shared(&machine, D2), Err(AllocError::OutOfMemory));
    assert_eq!(frames.alloc_hypervisor(&machine), None);
    assert_eq!(frames.alloc_domain(&machine, DomainId(3)), Err(AllocError::NoDomain));
    assert_eq!(frames.alloc_shared(&machine, DomainId(3)), Err(AllocError::NoDomain));
    assert_eq!(frames.account(D2).unwrap().allocated, 12);
}

#[test]
fn accounts_open_once_and_close_when_nothing_is_left() {
    let (machine, mut frames) = world();
    assert!(!frames.open_account(D1, 1));
    let frame = page(&machine, &mut frames);
    assert!(!frames.close_account(D1));
    frames.get_ref(frame, D1).unwrap();
    assert!(frames.release_allocation(&machine, frame, D1));
    assert!(!frames.close_account(D1), "a reference still keeps the frame");
    frames.put_ref(&machine, frame);
    let shared = frames.alloc_shared(&machine, D1).unwrap();
    assert!(!frames.close_account(D1), "a shared page is there");
    assert!(frames.release_shared(&machine, shared));
    assert!(frames.close_account(D1));
    assert!(!frames.close_account(D1));
    assert_eq!(frames.accounts().len(), 1);
}

#[test]
fn references_are_for_the_owner_and_keep_the_frame() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    assert_eq!(frames.get_ref(frame, D2), Err(RefError::NotOwner));
    assert_eq!(frames.get_ref(Mfn::new(0), D1), Err(RefError::NotOwner), "the hypervisor's");
    assert_eq!(frames.get_ref(Mfn::new(15), D1), Err(RefError::NotOwner), "free");
    assert_eq!(frames.get_ref(Mfn::new(16), D1), Err(RefError::NotRam));
    assert_eq!(frames.get_ref(Mfn::new(u64::MAX >> 12), D1), Err(RefError::NotRam));
    frames.get_ref(frame, D1).unwrap();
    assert_eq!(info(&frames, frame).refs(), 2);
    assert!(frames.release_allocation(&machine, frame, D1));
    assert!(!frames.release_allocation(&machine, frame, D1), "given up already");
    assert_eq!(info(&frames, frame).owner(), Owner::Domain(D1));
    assert!(!info(&frames, frame).allocated());
    frames.put_ref(&machine, frame);
    assert_eq!(info(&frames, frame).owner(), Owner::Free);
    assert_eq!(frames.free_frames(), 12);
    let not_ram = Mfn::new(0);
    let mut empty = FrameTable::new(vec_of(1));
    assert_eq!(empty.get_ref(not_ram, D1), Err(RefError::NotRam));
}

#[test]
fn counts_are_refused_before_they_wrap() {
    const { assert!(refs::COUNT_LIMIT > u32::MAX - 100) };
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    frames.frame_mut(frame).unwrap().refs = refs::COUNT_LIMIT - 1;
    assert_eq!(frames.get_ref(frame, D1), Ok(()));
    assert_eq!(frames.get_ref(frame, D1), Err(RefError::Overflow));
    assert_eq!(info(&frames, frame).refs(), refs::COUNT_LIMIT);

    frames.get_writable(&machine, frame).unwrap();
    frames.frame_mut(frame).unwrap().type_count = refs::COUNT_LIMIT - 1;
    assert_eq!(frames.get_writable(&machine, frame), Ok(()));
    assert_eq!(frames.get_writable(&machine, frame), Err(TypeError::Overflow));
    assert_eq!(info(&frames, frame).type_count(), refs::COUNT_LIMIT);
}

#[test]
fn only_its_owner_releases_an_allocation() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    assert!(!frames.release_allocation(&machine, frame, D2));
    assert!(!frames.release_allocation(&machine, Mfn::new(99), D1));
    assert!(!frames.free_hypervisor(&machine, frame));
    assert!(!frames.free_hypervisor(&machine, Mfn::new(99)));
    assert!(!frames.release_shared(&machine, frame));
    assert!(!frames.release_shared(&machine, Mfn::new(99)));
    let shared = frames.alloc_shared(&machine, D1).unwrap();
    assert!(!frames.release_allocation(&machine, shared, D1), "the hypervisor still writes it");
    assert!(info(&frames, shared).shared());
    assert_eq!(info(&frames, shared).type_count(), 1);
    let own = frames.alloc_hypervisor(&machine).unwrap();
    frames.get_ref_held(own);
    assert!(!frames.free_hypervisor(&machine, own), "referred to");
}

#[test]
fn a_shared_page_lasts_as_long_as_it_is_mapped() {
    let (machine, mut frames) = world();
    let shared = frames.alloc_shared(&machine, D1).unwrap();
    assert_eq!(frames.begin_type(&machine, shared, FrameType::L1), Err(TypeError::InUse));
    frames.get_ref(shared, D1).unwrap();
    frames.get_writable(&machine, shared).unwrap();
    assert!(frames.release_shared(&machine, shared));
    assert!(!frames.release_shared(&machine, shared));
    assert_eq!(info(&frames, shared).owner(), Owner::Domain(D1));
    frames.put_writable(&machine, shared);
    frames.put_ref(&machine, shared);
    assert_eq!(info(&frames, shared).owner(), Owner::Free);
    assert_eq!(frames.account(D1).unwrap().allocated, 0);
}

#[test]
fn a_frame_has_one_type_at_a_time() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    frames.get_writable(&machine, frame).unwrap();
    for kind in [FrameType::L1, FrameType::L2, FrameType::L3, FrameType::L4, FrameType::SegDesc] {
        assert_eq!(frames.begin_type(&machine, frame, kind), Err(TypeError::InUse));
    }
    frames.put_writable(&machine, frame);
    assert_eq!(frames.begin_type(&machine, frame, FrameType::L2), Ok(Begun::Validate));
    assert_eq!(frames.begin_type(&machine, frame, FrameType::L2), Err(TypeError::InUse), "in the making");
    assert_eq!(frames.get_writable(&machine, frame), Err(TypeError::InUse));
    frames.finish_validation(frame);
    assert!(info(&frames, frame).is_in_use_as(FrameType::L2));
    assert_eq!(frames.begin_type(&machine, frame, FrameType::L2), Ok(Begun::Held));
    assert_eq!(frames.begin_release(frame), Released::Done);
    assert_eq!(frames.begin_release(frame), Released::Invalidate);
    assert!(!info(&frames, frame).is_in_use_as(FrameType::L2));
    frames.end_type(&machine, frame);
    assert_eq!(frames.get_writable(&machine, frame), Ok(()));
    assert_eq!(frames.get_writable(&machine, Mfn::new(99)), Err(TypeError::NoFrame));
}

#[test]
fn a_change_of_type_flushes_what_may_be_stale_and_nothing_else() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    let flushes = || machine.counters().full_flushes;
    let change = |frames: &mut FrameTable, kind| {
        let before = flushes();
        match frames.begin_type(&machine, frame, kind) {
            Ok(Begun::Validate) => frames.finish_validation(frame),
            other => assert_eq!(other, Ok(Begun::Held)),
        }
        flushes() - before
    };
    assert_eq!(change(&mut frames, FrameType::Writable), 0, "it was nothing before");
    frames.put_writable(&machine, frame);
    assert_eq!(change(&mut frames, FrameType::Writable), 0, "the same again");
    frames.put_writable(&machine, frame);
    assert_eq!(change(&mut frames, FrameType::L1), 1, "a writable mapping may be cached");
    assert_eq!(frames.begin_release(frame), Released::Invalidate);
    frames.end_type(&machine, frame);
    Flush { what: FlushWhat::All, who: FlushWho::ThisCpu }.discharge(&machine, D1);
    assert_eq!(change(&mut frames, FrameType::Writable), 0, "flushed since");
    assert_eq!(info(&frames, frame).stamp() + 1, machine.flush_clock());
}

#[test]
fn reallocation_flushes_what_may_be_stale() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    assert!(frames.release_allocation(&machine, frame, D1));
    let before = machine.counters().full_flushes;
    assert_eq!(frames.alloc_domain(&machine, D2), Ok(frame));
    assert_eq!(machine.counters().full_flushes, before + 1);
    assert!(frames.release_allocation(&machine, frame, D2));
    Flush { what: FlushWhat::All, who: FlushWho::ThisCpu }.discharge(&machine, D1);
    let before = machine.counters().full_flushes;
    assert_eq!(frames.alloc_domain(&machine, D2), Ok(frame));
    assert_eq!(machine.counters().full_flushes, before);
}

#[test]
fn a_partial_state_keeps_its_frame_and_type() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    assert_eq!(frames.begin_type(&machine, frame, FrameType::L3), Ok(Begun::Validate));
    let up = Partial { index: 300, child: true, direction: Direction::Up };
    frames.park(frame, up, false);
    assert_eq!(info(&frames, frame).refs(), 2);
    assert_eq!(info(&frames, frame).partial(), Some(up));
    assert!(frames.release_allocation(&machine, frame, D1));
    assert_eq!(info(&frames, frame).owner(), Owner::Domain(D1));
    assert_eq!(frames.get_writable(&machine, frame), Err(TypeError::InUse));
    assert_eq!(frames.begin_type(&machine, frame, FrameType::L2), Err(TypeError::InUse));
    assert_eq!(frames.begin_type(&machine, frame, FrameType::L3), Ok(Begun::Resume(up)));
    assert_eq!(info(&frames, frame).partial(), None);
    let down = Partial { index: 512, child: false, direction: Direction::Down };
    frames.park(frame, down, true);
    assert_eq!(info(&frames, frame).refs(), 1, "the reference was handed on");
    assert_eq!(frames.unpark(frame), Some(down));
    assert_eq!(frames.unpark(frame), None);
    frames.end_type(&machine, frame);
    frames.put_ref(&machine, frame);
    assert_eq!(info(&frames, frame).owner(), Owner::Free);
}

#[test]
fn abandoned_validation_leaves_no_type() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    assert_eq!(frames.begin_type(&machine, frame, FrameType::L1), Ok(Begun::Validate));
    frames.abandon_validation(frame);
    assert_eq!((info(&frames, frame).kind(), info(&frames, frame).type_count()), (FrameType::None, 0));
    assert_eq!(frames.get_writable(&machine, frame), Ok(()));
}

#[test]
fn pins_go_on_once_and_off_once() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    assert!(!frames.unpin(frame));
    assert!(frames.pin(frame) && info(&frames, frame).pinned());
    assert!(!frames.pin(frame));
    assert!(frames.unpin(frame) && !info(&frames, frame).pinned());
    assert!(!frames.unpin(frame));
    assert!(!frames.pin(Mfn::new(99)));
}

#[test]
fn writers_are_made_for_what_may_be_written() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    assert!(frames.writable(frame, D1).is_none(), "no use as writable");
    assert!(frames.hypervisor_writer(frame).is_none());
    assert!(frames.hypervisor_writer(Mfn::new(0)).is_some());
    assert!(frames.hypervisor_writer(Mfn::new(15)).is_none(), "free");
    assert!(frames.writable(Mfn::new(0), D1).is_none());
    frames.get_writable(&machine, frame).unwrap();
    assert_eq!(frames.writable(frame, D1).unwrap().frame(), frame);
    assert!(frames.writable(frame, D2).is_none());
    assert!(frames.table_writer(frame, Level::L1).is_none());
    frames.put_writable(&machine, frame);
    assert!(frames.writable(frame, D1).is_none(), "no use left");
    assert_eq!(frames.begin_type(&machine, frame, FrameType::L2), Ok(Begun::Validate));
    assert!(frames.writable(frame, D1).is_none());
    assert!(frames.table_writer(frame, Level::L2).is_some());
    assert!(frames.table_writer(frame, Level::L1).is_none());
    assert!(frames.segdesc_writer(frame).is_none());
    frames.abandon_validation(frame);
    assert!(frames.table_writer(frame, Level::L2).is_none());
    assert_eq!(frames.begin_type(&machine, frame, FrameType::L2), Ok(Begun::Validate));
    frames.finish_validation(frame);
    assert_eq!(frames.begin_release(frame), Released::Invalidate);
    frames.end_type(&machine, frame);
    assert_eq!(info(&frames, frame).kind(), FrameType::L2);
    assert!(frames.table_writer(frame, Level::L2).is_none(), "it only was a table");
    assert_eq!(frames.begin_type(&machine, frame, FrameType::SegDesc), Ok(Begun::Validate));
    assert!(frames.segdesc_writer(frame).is_some());
    frames.finish_validation(frame);
    frames.put_segdesc(&machine, frame);
    assert!(frames.segdesc_writer(frame).is_none());
}

#[test]
fn modules_can_be_given_back_after_use() {
    let (machine, mut frames) = world();
    frames.release_hypervisor_range(&machine, Mfn::new(1)..Mfn::new(100));
    assert_eq!(frames.free_frames(), 15);
    assert_eq!(info(&frames, Mfn::new(0)).owner(), Owner::Hypervisor);
    assert_eq!(frames.alloc_hypervisor(&machine), Some(Mfn::new(1)));
}

#[test]
fn what_is_lent_can_be_mapped_by_others() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    assert!(frames.is_mappable_by(frame, D1) && !frames.is_mappable_by(frame, D2));
    frames.mark_lent(frame);
    assert!(frames.is_mappable_by(frame, D1) && frames.is_mappable_by(frame, D2));
    // The mark is one of several, and goes with the frame's owner.
    assert!(info(&frames, frame).allocated());
    assert!(frames.release_allocation(&machine, frame, D1));
    assert_eq!(page(&machine, &mut frames), frame);
    assert!(!frames.is_mappable_by(frame, D2));
    let hypervisors = frames.alloc_hypervisor(&machine).unwrap();
    frames.mark_lent(hypervisors);
    assert!(!frames.is_mappable_by(hypervisors, D1) && !frames.is_mappable_by(Mfn::new(1 << 40), D1));
}

#[test]
fn frames_of_a_closing_account_are_heard_of_when_they_go() {
    let (machine, mut frames) = world();
    let (first, second) = (page(&machine, &mut frames), page(&machine, &mut frames));
    assert!(frames.release_allocation(&machine, first, D1));
    assert!(!frames.take_closing_freed(), "nobody waits for it");
    frames.start_closing(D1);
    let others = frames.alloc_domain(&machine, D2).unwrap();
    assert!(frames.release_allocation(&machine, others, D2));
    assert!(!frames.take_closing_freed(), "another account's");
    assert!(frames.release_allocation(&machine, second, D1));
    assert!(frames.take_closing_freed());
    assert!(!frames.take_closing_freed(), "asked once");
}

#[test]
fn headroom_counts_what_is_given_in_return() {
    let (machine, mut frames) = world();
    for _ in 0..5 {
        page(&machine, &mut frames);
    }
    assert!(frames.has_headroom(D1, D2) && frames.has_headroom(D1, D1));
    page(&machine, &mut frames);
    assert!(!frames.has_headroom(D1, D2));
    assert!(frames.has_headroom(D1, D1), "it has one less by then");
    assert!(frames.set_max(D1, 5));
    assert!(!frames.has_headroom(D1, D1));
    assert!(!frames.has_headroom(DomainId(9), D1));
}

#[test]
fn a_frame_is_given_with_its_contents_and_counted() {
    let (machine, mut frames) = world();
    let frame = page(&machine, &mut frames);
    machine.poke(frame, 5, 0x1e57);
    frames.mark_lent(frame);
    let allocated = |frames: &FrameTable, domain| frames.account(domain).unwrap().allocated;
    assert!(!frames.give(&machine, frame, D2, D1), "not the giver's");
    assert!(!frames.give(&machine, frame, D1, DomainId(9)), "nobody's account");
    frames.get_ref(frame, D1).unwrap();
    assert!(!frames.give(&machine, frame, D1, D2), "in use");
    frames.put_ref(&machine, frame);
    assert_eq!((allocated(&frames, D1), allocated(&frames, D2)), (1, 0));
    let flushes = machine.counters().full_flushes;
    assert!(frames.give(&machine, frame, D1, D2));
    assert!(machine.counters().full_flushes > flushes, "somebody may remember how to reach it");
    assert_eq!((allocated(&frames, D1), allocated(&frames, D2)), (0, 1));
    assert!(frames.is_owned_by(frame, D2) && !frames.is_mappable_by(frame, D1));
    assert_eq!(machine.read_word(frame, 5), 0x1e57);
    assert_eq!(info(&frames, frame).kind(), FrameType::None);
    let shared = frames.alloc_shared(&machine, D2).unwrap();
    assert!(!frames.give(&machine, shared, D2, D1), "the hypervisor's");
}

#[test]
fn a_shared_page_is_unmapped_while_only_its_allocation_holds_it() {
    let (machine, mut frames) = world();
    let (shared, own) = (frames.alloc_shared(&machine, D1).unwrap(), page(&machine, &mut frames));
    assert!(frames.is_unmapped_shared(shared) && !frames.is_unmapped_shared(own));
    assert!(frames.is_unused(own, D1) && !frames.is_unused(own, D2) && !frames.is_unused(shared, D1));
    frames.get_ref(shared, D1).unwrap();
    frames.get_ref(own, D1).unwrap();
    assert!(!frames.is_unmapped_shared(shared) && !frames.is_unused(own, D1));
    assert!(frames.release_shared(&machine, shared));
    assert!(!frames.is_unmapped_shared(shared), "given up, but referred to");
}
