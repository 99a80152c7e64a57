//! A guest that changes words in the middle of the hypervisor's changes. Whatever it does, each call ends, and
//! the books stay right; what it loses is its own.

use super::world::{Memory, World};
use crate::event::{GuestWords, Place, Port};
use core::sync::atomic::Ordering::SeqCst;
use paravane_abi::event::fifo::EventWord;

const TAIL: Port = 1;

/// The tail of a queue is linked, and another port is sent while the guest does this at each change.
fn append(meddler: fn(&Memory, Place)) -> World {
    let mut world = World::fifo();
    let (tail, port) = (world.ipi(0), world.ipi(0));
    assert_eq!((tail, port), (TAIL, TAIL + 1));
    world.raise(tail);
    world.memory.exchanges.set(0);
    world.memory.meddler.set(Some(meddler));
    world.raise(port);
    world.memory.meddler.set(None);
    world
}

fn flip(memory: &Memory, bits: u32) {
    memory.array[TAIL as usize].fetch_xor(bits, SeqCst);
}

/// Exchanges of an undisturbed append: pending and linked bits, the link.
const QUIET: u32 = 3;

#[test]
fn a_quiet_guest_costs_three_exchanges() {
    let mut world = append(|_, _| {});
    assert_eq!(world.memory.exchanges.get(), QUIET);
    assert_eq!(world.memory.word(TAIL).link(), TAIL + 1);
    assert_eq!(world.take(0), [TAIL, TAIL + 1]);
}

#[test]
fn one_change_of_the_tail_is_waited_out() {
    // Masks the tail just before it is linked.
    let mut world = append(|memory, _| {
        if memory.exchanges.get() == QUIET {
            flip(memory, EventWord::MASKED);
        }
    });
    let word = world.memory.word(TAIL);
    assert!(word.is_masked() && !word.is_busy() && word.link() == TAIL + 1);
    assert_eq!(world.take(0), [TAIL + 1], "the masked one is passed over");
}

#[test]
fn a_tail_taken_off_meanwhile_makes_a_new_head() {
    for moment in 0..3 {
        // At the first try; at the second, after the word was marked busy; at the third.
        let mut world = append(match moment {
            0 => |memory, _| {
                if memory.exchanges.get() == QUIET {
                    flip(memory, EventWord::LINKED | EventWord::PENDING);
                }
            },
            1 => |memory, _| match memory.exchanges.get() {
                QUIET => flip(memory, EventWord::MASKED),
                4 => flip(memory, EventWord::LINKED | EventWord::MASKED),
                _ => {}
            },
            _ => |memory, _| match memory.exchanges.get() {
                QUIET | 5 => flip(memory, EventWord::MASKED),
                6 => flip(memory, EventWord::LINKED),
                _ => {}
            },
        });
        let word = world.memory.word(TAIL);
        assert!(!word.is_linked() && !word.is_busy() && word.link() == 0, "{moment}: {word:?}");
        assert_eq!(world.memory.controls[0].head[7].load(SeqCst), TAIL + 1);
        // A guest in the middle of the queue knows its next port to be none, and finds the head.
        assert_eq!(world.take(0), [TAIL + 1], "{moment}");
    }
}

#[test]
fn a_tail_that_never_rests_loses_what_follows() {
    let mut world = append(|memory, at| {
        if memory.exchanges.get() >= QUIET && at.frame.index() == 16 {
            flip(memory, EventWord::MASKED);
        }
    });
    assert!(world.memory.exchanges.get() < 4000, "{} exchanges", world.memory.exchanges.get());
    let port = TAIL + 1;
    assert!(world.memory.word(port).is_linked(), "counts as appended");
    // Once it rests it finds all that is sent afterwards.
    let next = world.ipi(1);
    world.raise(next);
    assert_eq!(world.take(1), [next]);
}

#[test]
fn a_word_that_is_never_the_same_ends_every_call() {
    let mut world = World::fifo();
    let port = world.ipi(0);
    let flips: [fn(&Memory, Place); 3] = [
        |memory, _| flip(memory, 1 << 20),
        // The neighbour in the same 64 bits, and the head and ready words.
        |memory, _| {
            memory.array[0].fetch_xor(1, SeqCst);
        },
        |memory, _| {
            memory.controls[0].head[6].fetch_xor(1, SeqCst);
            memory.controls[0].reserved.fetch_xor(1, SeqCst);
        },
    ];
    for meddler in flips {
        world.memory.meddler.set(Some(meddler));
        let before = world.memory.exchanges.get();
        world.raise(port);
        let _ = world.unmask(port);
        world.table.set_priority(port, 5).unwrap();
        world.raise(port);
        assert!(world.memory.exchanges.get() - before < 20_000);
        world.memory.meddler.set(None);
        let _ = world.take(0);
    }
    world.memory.array[1].store(0, SeqCst);
    world.raise(port);
    assert_eq!(world.take(0), [port], "the guest that stops has its events again");
}

#[test]
fn whatever_stands_in_the_words_calls_go_on() {
    let words = [
        0,
        u32::MAX,
        EventWord::LINKED | 1,
        EventWord::LINKED | EventWord::BUSY | 0x1_ffff,
        EventWord::PENDING | EventWord::MASKED | EventWord::BUSY,
        EventWord::PENDING | EventWord::LINKED | 2,
    ];
    for a in words {
        for b in words {
            let mut world = World::fifo();
            let ports = [world.ipi(0), world.ipi(0), world.ipi(1)];
            for round in 0..3 {
                for port in ports {
                    world.memory.array[ports[0] as usize].store(a, SeqCst);
                    world.memory.array[ports[1] as usize].store(b, SeqCst);
                    world.raise(port);
                    let _ = world.unmask(port);
                    world.table.set_priority(port, round * 5).unwrap();
                }
                world.memory.controls[0].ready.store(a, SeqCst);
                world.memory.controls[0].head[7].store(b, SeqCst);
                let _ = world.take(0);
            }
            for port in ports {
                assert_eq!(world.table.close(&world.memory, port), Ok(None));
            }
            world.check();
            assert_eq!(world.table.active(), 0);
        }
    }
}

#[test]
fn a_half_word_leaves_its_neighbour() {
    let world = World::fifo();
    let memory = &world.memory;
    let place = |offset| Place { frame: crate::addr::Mfn::new(16), offset };
    memory.store32(place(0), 0x1111_1111);
    memory.store32(place(4), 0x2222_2222);
    assert_eq!((memory.load32(place(0)), memory.load32(place(4))), (0x1111_1111, 0x2222_2222));
    assert_eq!(memory.load(place(4)), 0x2222_2222_1111_1111);
    assert_eq!(memory.compare_exchange32(place(4), 0x1111_1111, 0), Err(0x2222_2222));
    assert_eq!(memory.compare_exchange32(place(4), 0x2222_2222, 0x8000_0000), Ok(()));
    assert!(memory.bit(place(4), 31) && memory.clear_bit(place(4), 31) && !memory.set_bit(place(4), 0));
    assert_eq!(memory.load(place(0)), 0x0000_0001_1111_1111);
    // The neighbour changes once in the middle: no reason to fail.
    memory.exchanges.set(0);
    memory.meddler.set(Some(|memory, _| {
        if memory.exchanges.get() == 1 {
            memory.array[1].store(7, SeqCst);
        }
    }));
    assert_eq!(memory.compare_exchange32(place(0), 0x1111_1111, 5), Ok(()));
    assert_eq!((memory.load(place(0)), memory.exchanges.get()), (0x7_0000_0005, 2));
}
