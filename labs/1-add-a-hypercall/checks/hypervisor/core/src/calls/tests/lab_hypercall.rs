//! What lab 1 is graded by. Numbers and layouts stand here as the text gives them, whatever names they got.

use super::world::*;
use crate::addr::{Level, Mfn, PAGE_SIZE};
use crate::frame::Owner;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{Argument, HYPERVISOR_MMUEXT_OP, ROWS};
use paravane_abi::mmu::{MMUEXT_PIN_L1_TABLE, MmuextOp};
use paravane_abi::ring1::Ring1Counters;
use std::fmt::Debug;
use std::vec::Vec;

const CALL: u64 = 48;
const OPERATION: u64 = 16;
const MOST: usize = 64;
/// Where the list is put, and how it must be aligned.
const WORDS: u64 = LIST;
const ALIGN: u64 = 512;

/// Says what was wanted, and what came.
#[track_caller]
fn same<T: PartialEq + Debug>(what: &str, saw: T, expected: T) {
    assert!(saw == expected, "{what}: expected {expected:x?}, saw {saw:x?}");
}

/// The same of results, which are read in decimals.
#[track_caller]
fn gave(what: &str, saw: i64, expected: i64) {
    assert!(saw == expected, "{what}: expected {expected}, saw {saw}");
}

/// The request: the list's address, the count in the low half of the second word, the flags in the high half.
fn request(list: u64, count: u32, flags: u32) -> [u64; 2] {
    [list, u64::from(count) | u64::from(flags) << 32]
}

/// Puts list and request, and calls.
fn ask(world: &mut World, frames: &[u64]) -> i64 {
    world.put(WORDS, frames);
    world.put(ARG, &request(WORDS, frames.len() as u32, 0));
    world.call(CALL, &[OPERATION, ARG])
}

/// The list as it is in memory.
fn words(world: &World, count: usize) -> Vec<u64> {
    let mut words = std::vec![0u64; count];
    world.memory().read_slice(WORDS, &mut words).expect("the list is readable");
    words
}

/// What the books say of a frame, in the form of an answer.
fn truth(world: &World, frame: u64) -> u64 {
    let info = world.hv.frames.info(Mfn::new(frame)).expect("a frame");
    match info.type_count() {
        0 => 0,
        uses => info.kind() as u64 | u64::from(uses) << 32,
    }
}

/// Frames whose owner is so.
fn frames(world: &World, is: impl Fn(Owner) -> bool) -> Vec<u64> {
    let all = 0..world.hv.frames.len() as u64;
    all.filter(|frame| world.hv.frames.info(Mfn::new(*frame)).is_some_and(|info| is(info.owner()))).collect()
}

fn own(world: &World) -> Vec<u64> {
    let id = world.domain().id;
    frames(world, |owner| owner == Owner::Domain(id))
}

/// A call that is refused with this error and leaves everything as it was.
#[track_caller]
fn refused(world: &mut World, what: &str, error: Errno) {
    let answer = world.untouched(CALL, &[OPERATION, ARG]);
    assert!(
        answer == error.to_ret(),
        "{what}: expected -{} ({}), saw {answer}",
        error.name(),
        error.to_ret()
    );
}

#[test]
fn the_table_has_the_row() {
    let call = ROWS.iter().find(|row| row.number == CALL).expect("ring1_op is there");
    let row = call.sub_operations.iter().find(|row| row.number == OPERATION);
    let row = row.expect("expected a row of sub-operation 16 under ring1_op, saw none");
    same("its name", row.name, "frame_types");
    same("its argument", row.argument, Argument::Both);
    for error in [Errno::E2BIG, Errno::EFAULT, Errno::EINVAL, Errno::EPERM] {
        assert!(
            row.errors.contains(&error),
            "expected {} among its errors, saw {:?}",
            error.name(),
            row.errors
        );
    }
}

#[test]
fn it_tells_types_and_uses() {
    let mut world = World::new();
    let mut all = own(&world);
    // In an order of their own, in lists of every length.
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for at in (1..all.len()).rev() {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        all.swap(at, (seed >> 33) as usize % (at + 1));
    }
    let (mut rest, mut length) = (all.as_slice(), 0);
    while !rest.is_empty() {
        length = length % MOST + 1;
        let (list, others) = rest.split_at(length.min(rest.len()));
        gave("the result", ask(&mut world, list), 0);
        let truths: Vec<u64> = list.iter().map(|frame| truth(&world, *frame)).collect();
        same("the words of frames as the books have them", words(&world, list.len()), truths);
        rest = others;
    }
    let tables = Level::DOWN.map(|level| world.entry(LIST, level).0.get());
    let list =
        [tables[0], tables[1], tables[2], tables[3], world.mfn(LIST).get(), world.mfn(READ_ONLY).get()];
    gave("the result", ask(&mut world, &list), 0);
    let types: Vec<u64> = words(&world, 6).iter().map(|word| word & 0xff).collect();
    same("types of L4, L3, L2, L1, a writable and a read-only page", types, [4, 3, 2, 1, 6, 0].to_vec());
}

#[test]
fn it_counts_what_changes() {
    let mut world = World::new();
    let (page, other) = (LIST + 0x4000, LIST + 0x5000);
    let frame = world.mfn(page).get();
    let told = |world: &mut World| {
        gave("the result", ask(world, &[frame]), 0);
        words(world, 1)[0]
    };
    same("a page mapped writable once", told(&mut world), 6 | 1 << 32);
    world.map(other, frame << 12 | 3);
    same("twice", told(&mut world), 6 | 2 << 32);
    world.put(page, &[0u8; PAGE_SIZE]);
    world.map(page, frame << 12 | 1);
    world.map(other, 0);
    same("read-only", told(&mut world), 0);
    world.put(ARG, &MmuextOp::new(MMUEXT_PIN_L1_TABLE, frame, 0));
    gave("pinning it", world.call(HYPERVISOR_MMUEXT_OP, &[ARG, 1, 0, 0x7ff0]), 0);
    same("pinned as an L1 table", told(&mut world), 1 | 1 << 32);
    // What lies behind the count is the guest's, and so is all of it when nothing is asked.
    world.put(WORDS, &[frame, 7, 8]);
    world.put(ARG, &request(WORDS, 1, 0));
    gave("the result", world.call(CALL, &[OPERATION, ARG]), 0);
    same("words behind the count", words(&world, 3)[1..].to_vec(), [7, 8].to_vec());
    for list in [WORDS, HOLE & !(ALIGN - 1), 0] {
        world.put(ARG, &request(list, 0, 0));
        gave("asking for nothing, wherever the list is", world.untouched(CALL, &[OPERATION, ARG]), 0);
    }
}

#[test]
fn wrong_requests_are_refused() {
    let mut world = World::new();
    let list: Vec<u64> = own(&world).into_iter().take(80).collect();
    world.put(WORDS, list.as_slice());
    for flags in [1, 2, 1 << 31, u32::MAX] {
        world.put(ARG, &request(WORDS, 4, flags));
        refused(&mut world, "flags that mean nothing", Errno::EINVAL);
        world.put(ARG, &request(WORDS, 4000, flags));
        refused(&mut world, "flags, before the count", Errno::EINVAL);
    }
    for off in [1, 8, 64, 256, 504] {
        world.put(ARG, &request(WORDS + off, 1, 0));
        refused(&mut world, "a list that is not aligned", Errno::EINVAL);
        world.put(ARG, &request(HOLE + off, 65, 0));
        refused(&mut world, "alignment, before the count", Errno::EINVAL);
    }
    for count in [65, 80, 512, 1 << 16, 1 << 29, 1 << 31, u32::MAX] {
        world.put(ARG, &request(WORDS, count, 0));
        refused(&mut world, "too many", Errno::E2BIG);
        world.put(ARG, &request(HOLE, count, 0));
        refused(&mut world, "the count, before the list is read", Errno::E2BIG);
    }
    gave("the most", ask(&mut world, &list[..MOST]), 0);
}

#[test]
fn bad_pointers_are_efault() {
    let mut world = World::new();
    let frame = world.mfn(LIST).get();
    world.put(WORDS, &[frame; MOST]);
    // The request's own address. One in a page that is there may reach into one that is not.
    for pointer in BAD.into_iter().chain([HOLE - 8, u64::MAX - 7, u64::MAX]) {
        let answer = world.untouched(CALL, &[OPERATION, pointer]);
        gave(&std::format!("the request at {pointer:#x}"), answer, Errno::EFAULT.to_ret());
    }
    // The list's address, in a request that can be read.
    let lists = BAD.into_iter().map(|pointer| pointer & !(ALIGN - 1));
    for list in lists.filter(|list| *list != HOLE - ALIGN).chain([u64::MAX - 511, 1 << 63, HOLE + 0xe00]) {
        world.put(ARG, &request(list, 3, 0));
        refused(&mut world, "a list that cannot be read", Errno::EFAULT);
    }
    // Readable, and full of good frames, but not to be written.
    let filler = world.mfn(READ_ONLY);
    (0..MOST).for_each(|at| world.hv.machine.fake.poke(filler, at, frame));
    world.put(ARG, &request(READ_ONLY, MOST as u32, 0));
    refused(&mut world, "a list that cannot be written", Errno::EFAULT);
    world.put(ARG, &request(READ_ONLY, MOST as u32, 1));
    refused(&mut world, "the flags, before the list", Errno::EINVAL);
}

#[test]
fn others_frames_are_eperm() {
    let mut world = World::with_domains(2);
    world.set_up();
    let (one, two) = (world.hv.domains[0].id, world.hv.domains[1].id);
    let theirs = frames(&world, |owner| owner == Owner::Domain(two));
    let nobodys = frames(&world, |owner| owner == Owner::Free || owner == Owner::NotRam);
    let hypervisors = frames(&world, |owner| owner == Owner::Hypervisor);
    let mine = frames(&world, |owner| owner == Owner::Domain(one));
    let none =
        [world.hv.frames.len() as u64, 1 << 32, 1 << 52, u64::MAX, mine[0] | 1 << 32, mine[0] | 1 << 40];
    let samples = [&theirs, &nobodys, &hypervisors].map(|all| all.iter().step_by(all.len() / 5 + 1));
    for frame in samples.into_iter().flatten().copied().chain(none) {
        world.put(WORDS, &[mine[0], frame, mine[1]]);
        world.put(ARG, &request(WORDS, 3, 0));
        refused(&mut world, &std::format!("frame {frame:#x}"), Errno::EPERM);
    }
    assert!(!hypervisors.is_empty() && !nobodys.is_empty(), "the world has all kinds");
}

#[test]
fn a_refusal_leaves_no_trace() {
    let mut world = World::with_domains(2);
    world.set_up();
    let good = own(&world);
    let bad = world.hv.frames.len() as u64;
    for at in 0..MOST {
        let mut list: Vec<u64> = good[..MOST].to_vec();
        list[at] = bad;
        world.put(WORDS, list.as_slice());
        world.put(ARG, &request(WORDS, MOST as u32, 0));
        refused(&mut world, &std::format!("one bad frame, at {at}"), Errno::EPERM);
        same("the list behind a refusal", words(&world, MOST), list);
    }
    gave("and it still answers", ask(&mut world, &good[..MOST]), 0);
}

#[test]
fn other_callers_are_refused() {
    let mut world = World::new();
    for operation in [1, 2, 15, 17, 0x1000, u64::from(u32::MAX)] {
        world.put(ARG, &request(WORDS, 1, 0));
        let answer = world.untouched(CALL, &[operation, ARG]);
        gave(&std::format!("sub-operation {operation}, which there is not"), answer, Errno::ENOSYS.to_ret());
    }
    gave("the counters", world.call(CALL, &[0, ARG]), 0);
    assert!(world.get::<Ring1Counters>(ARG).hypercalls > 0, "expected counts, saw none");
    gave("the counters' own errors", world.untouched(CALL, &[0, HOLE]), Errno::EFAULT.to_ret());
    // The number is 32 bits wide, as those of other calls are.
    let frame = world.mfn(LIST).get();
    world.put(WORDS, &[frame]);
    world.put(ARG, &request(WORDS, 1, 0));
    gave("bits above 31", world.call(CALL, &[1 << 40 | OPERATION, ARG]), 0);
    let mut world = super::ring3::world();
    let frame = world.mfn(LIST).get();
    world.put(WORDS, &[frame]);
    world.put(ARG, &request(WORDS, 1, 0));
    gave("a kernel in ring 3", world.call(CALL, &[OPERATION, ARG]), Errno::EPERM.to_ret());
    same("its list", words(&world, 1), [frame].to_vec());
}
