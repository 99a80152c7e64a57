//! FIFO event channels: event words, the control block, and a guest's side of the queues.
//!
//! The 2-level ABI has 4096 ports and no order. Under the FIFO ABI a domain has up to
//! [`EVTCHN_FIFO_NR_CHANNELS`] ports and each vcpu [`EVTCHN_FIFO_MAX_QUEUES`] queues, one per priority, 0 the highest.
//!
//! # Memory
//!
//! Both kinds of page are the guest's, given by mfn, and stay its own writable memory:
//!
//! - a *control block* per vcpu ([`EvtchnFifoControlBlock`]), 8-byte aligned within a page. The first
//!   [`EVTCHNOP_INIT_CONTROL`] changes the domain from the 2-level ABI to this one;
//! - the *event array*, a page of [`WORDS_PER_PAGE`] event words at a time by [`EVTCHNOP_EXPAND_ARRAY`], at most
//!   [`MAX_ARRAY_PAGES`]. A port without an event word cannot be delivered; its event is kept until the page comes.
//!
//! [`EVTCHNOP_RESET`] of the domain itself returns it to the 2-level ABI.
//!
//! # Who changes which bit
//!
//! | bit | hypervisor | guest |
//! |---|---|---|
//! | `PENDING` | sets it when the event is raised | clears it before it handles the event |
//! | `MASKED` | clears it in [`EVTCHNOP_UNMASK`] | sets it; clears it while neither `BUSY` nor `PENDING` is set |
//! | `LINKED` | sets it when it queues the port | clears it, together with the link, when it takes the port off |
//! | `BUSY` | sets and clears it around a change of the link | never |
//! | link | the next port in the queue; 0 at the tail | clears it with `LINKED` |
//!
//! A queue begins at `head[priority]` of the control block and follows the links. The hypervisor sets bit `priority` of
//! `ready` when it puts a port on an empty queue, and then raises the upcall.
//!
//! All of it changes under the guest's hands, so every change is one atomic operation.
//!
//! # Examples
//!
//! ```
//! use core::sync::atomic::{AtomicU32, Ordering};
//! use paravane_abi::event::fifo::{ControlBlock, EventWord, Queues};
//!
//! // A guest gives the hypervisor a control block and an array; here they are ordinary memory.
//! let control = ControlBlock::default();
//! let array: Vec<AtomicU32> = (0..1024).map(|_| AtomicU32::new(0)).collect();
//! let mut queues = Queues::new();
//!
//! // The hypervisor raises port 5 at priority 7.
//! array[5].store(EventWord::PENDING | EventWord::LINKED, Ordering::Release);
//! control.head[7].store(5, Ordering::Release);
//! control.ready.store(1 << 7, Ordering::Release);
//!
//! // The upcall takes what is ready and not masked.
//! let mut seen = Vec::new();
//! queues.drain(&control, &array[..], |port| seen.push(port));
//! assert_eq!(seen, [5]);
//! assert_eq!(array[5].load(Ordering::Acquire), 0);
//! ```

use super::{
    EVTCHN_FIFO_BUSY, EVTCHN_FIFO_LINK_MASK, EVTCHN_FIFO_LINKED, EVTCHN_FIFO_MASKED, EVTCHN_FIFO_MAX_QUEUES,
    EVTCHN_FIFO_NR_CHANNELS, EVTCHN_FIFO_PENDING, EvtchnFifoControlBlock,
};
use core::sync::atomic::{AtomicU32, Ordering};

#[cfg(doc)]
use super::{EVTCHNOP_EXPAND_ARRAY, EVTCHNOP_INIT_CONTROL, EVTCHNOP_RESET, EVTCHNOP_UNMASK};

/// Event words in a page of the event array.
pub const WORDS_PER_PAGE: u32 = 4096 / 4;
/// Pages an event array can have; one more is refused with `ENOSPC`.
pub const MAX_ARRAY_PAGES: u32 = EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE;
/// Largest offset of a control block in its page.
pub const MAX_CONTROL_OFFSET: u32 = 4096 - size_of::<EvtchnFifoControlBlock>() as u32;

/// The page of the event array that holds a port's word.
pub const fn page_of_port(port: u32) -> u32 {
    port / WORDS_PER_PAGE
}

/// The place of a port's word in its page, in words.
pub const fn slot_of_port(port: u32) -> u32 {
    port % WORDS_PER_PAGE
}

/// A FIFO event word as it was read: flags in the top four bits, the next port in the low 17.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EventWord(pub u32);

impl EventWord {
    /// The event was raised and not yet taken.
    pub const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
    /// The event is not queued when it is raised.
    pub const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
    /// The port is in a queue.
    pub const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;
    /// The hypervisor is about to change the link; the mask must not be cleared.
    pub const BUSY: u32 = 1 << EVTCHN_FIFO_BUSY;
    /// The next port.
    pub const LINK: u32 = EVTCHN_FIFO_LINK_MASK;

    /// Whether the event is pending.
    pub const fn is_pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }

    /// Whether the event is masked.
    pub const fn is_masked(self) -> bool {
        self.0 & Self::MASKED != 0
    }

    /// Whether the port is in a queue.
    pub const fn is_linked(self) -> bool {
        self.0 & Self::LINKED != 0
    }

    /// Whether the hypervisor is changing the link.
    pub const fn is_busy(self) -> bool {
        self.0 & Self::BUSY != 0
    }

    /// The next port in the queue, 0 at the tail.
    pub const fn link(self) -> u32 {
        self.0 & Self::LINK
    }

    /// The word with another next port and `BUSY` clear, as the hypervisor links a tail. Bits of `port` outside the
    /// link are ignored.
    #[must_use]
    pub const fn linked_to(self, port: u32) -> Self {
        Self(self.0 & !(Self::BUSY | Self::LINK) | port & Self::LINK)
    }

    /// The word taken off its queue, as the guest leaves it.
    #[must_use]
    pub const fn unlinked(self) -> Self {
        Self(self.0 & !(Self::LINKED | Self::LINK))
    }
}

/// A live control block, shared with the hypervisor: 72 bytes laid out as [`EvtchnFifoControlBlock`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct ControlBlock {
    /// A bit per queue that is not empty.
    pub ready: AtomicU32,
    /// Zero.
    pub reserved: AtomicU32,
    /// First port of each queue.
    pub head: [AtomicU32; EVTCHN_FIFO_MAX_QUEUES as usize],
}

static_assertions::assert_eq_size!(ControlBlock, EvtchnFifoControlBlock);
static_assertions::assert_eq_align!(ControlBlock, EvtchnFifoControlBlock);
static_assertions::const_assert_eq!(core::mem::offset_of!(ControlBlock, head), 8);

/// Where event words are.
pub trait EventArray {
    /// A port's word; `None` when the array does not reach that far.
    fn word(&self, port: u32) -> Option<&AtomicU32>;
}

impl EventArray for [AtomicU32] {
    fn word(&self, port: u32) -> Option<&AtomicU32> {
        self.get(port as usize)
    }
}

/// Pages of the array, in order of their ports.
impl EventArray for [&[AtomicU32; WORDS_PER_PAGE as usize]] {
    fn word(&self, port: u32) -> Option<&AtomicU32> {
        let page = self.get(page_of_port(port) as usize)?;
        page.get(slot_of_port(port) as usize)
    }
}

/// Masks a port.
pub fn mask(word: &AtomicU32) {
    word.fetch_or(EventWord::MASKED, Ordering::AcqRel);
}

/// Clears a port's mask if no event is lost by it: `false` means that the event is pending, and
/// [`EVTCHNOP_UNMASK`] must do it. While the hypervisor holds the word busy, the function spins.
#[must_use = "an event may be waiting for EVTCHNOP_unmask"]
pub fn unmask(word: &AtomicU32) -> bool {
    loop {
        let old = EventWord(word.load(Ordering::Acquire));
        if old.is_pending() {
            return false;
        }
        if !old.is_busy() {
            let new = old.0 & !EventWord::MASKED;
            if word.compare_exchange_weak(old.0, new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        core::hint::spin_loop();
    }
}

/// A vcpu's place in each of its queues; one per vcpu, used by that vcpu with its upcall masked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// The next port of a queue this vcpu has begun; 0 when it starts at the control block's head.
    heads: [u32; EVTCHN_FIFO_MAX_QUEUES as usize],
}

impl Queues {
    /// Queues not begun.
    pub const fn new() -> Self {
        Self { heads: [0; EVTCHN_FIFO_MAX_QUEUES as usize] }
    }

    /// Takes every port off the ready queues, highest priority first, and calls `handle` with each that is pending and not
    /// masked, its pending bit cleared. A port that is pending and masked stays pending; its unmasking queues it again.
    ///
    /// Returns when nothing is ready. A port the array does not reach, which only a broken link can name, ends its queue.
    pub fn drain(
        &mut self,
        control: &ControlBlock,
        array: &(impl EventArray + ?Sized),
        mut handle: impl FnMut(u32),
    ) {
        let mut ready = control.ready.swap(0, Ordering::AcqRel);
        while ready != 0 {
            let queue = ready.trailing_zeros();
            let Some(head) = self.heads.get_mut(queue as usize) else {
                ready &= !(1 << queue);
                continue;
            };
            if *head == 0 {
                *head = control.head[queue as usize].load(Ordering::Acquire);
            }
            let port = *head;
            let word = array.word(port).filter(|_| port != 0);
            *head = word.map_or(0, unlink);
            if *head == 0 {
                ready &= !(1 << queue);
            }
            if word.is_some_and(take_pending) {
                handle(port);
            }
            ready |= control.ready.swap(0, Ordering::AcqRel);
        }
    }
}

/// Takes a port off its queue; gives the next one.
fn unlink(word: &AtomicU32) -> u32 {
    let unlinked = |old| Some(EventWord(old).unlinked().0);
    match word.fetch_update(Ordering::AcqRel, Ordering::Acquire, unlinked) {
        Ok(old) | Err(old) => EventWord(old).link(),
    }
}

/// Clears the pending bit of a port that is not masked; gives whether there was one.
fn take_pending(word: &AtomicU32) -> bool {
    if EventWord(word.load(Ordering::Acquire)).is_masked() {
        return false;
    }
    EventWord(word.fetch_and(!EventWord::PENDING, Ordering::AcqRel)).is_pending()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        control: ControlBlock,
        array: Vec<AtomicU32>,
        tails: [u32; 16],
    }

    impl World {
        fn new() -> Self {
            let array = (0..2048).map(|_| AtomicU32::new(0)).collect();
            Self { control: ControlBlock::default(), array, tails: [0; 16] }
        }

        /// What the hypervisor does when nothing else moves.
        fn raise(&mut self, port: u32, priority: usize) {
            let word = &self.array[port as usize];
            let old = EventWord(word.fetch_or(EventWord::PENDING, Ordering::AcqRel));
            if old.is_masked() || old.is_linked() {
                return;
            }
            word.fetch_or(EventWord::LINKED, Ordering::AcqRel);
            let tail = &self.array[self.tails[priority] as usize];
            let last = EventWord(tail.load(Ordering::Acquire));
            if self.tails[priority] != 0 && self.tails[priority] != port && last.is_linked() {
                tail.store(last.linked_to(port).0, Ordering::Release);
            } else {
                self.control.head[priority].store(port, Ordering::Release);
                self.control.ready.fetch_or(1 << priority, Ordering::AcqRel);
            }
            self.tails[priority] = port;
        }

        fn drain(&self, queues: &mut Queues) -> Vec<u32> {
            let mut seen = Vec::new();
            queues.drain(&self.control, &self.array[..], |port| seen.push(port));
            seen
        }
    }

    #[test]
    fn queues_are_drained_in_order_of_priority_and_arrival() {
        let (mut world, mut queues) = (World::new(), Queues::new());
        for (port, priority) in [(9, 7), (4, 7), (1030, 15), (6, 0), (5, 7), (4, 7)] {
            world.raise(port, priority);
        }
        assert_eq!(world.drain(&mut queues), [6, 9, 4, 5, 1030]);
        assert_eq!(world.drain(&mut queues), []);
        assert!(world.array.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        world.raise(5, 7);
        world.raise(4, 7);
        assert_eq!(world.drain(&mut queues), [5, 4]);
        assert_eq!(queues, Queues::new());
    }

    #[test]
    fn a_masked_event_waits_for_its_unmasking() {
        let (mut world, mut queues) = (World::new(), Queues::new());
        mask(&world.array[3]);
        world.raise(3, 7);
        assert_eq!(world.drain(&mut queues), []);
        assert!(!unmask(&world.array[3]), "the hypervisor must queue it");
        world.array[3].fetch_and(!EventWord::MASKED, Ordering::AcqRel);
        world.raise(3, 7);
        // Masked after it was queued: taken off, left pending.
        world.raise(8, 7);
        mask(&world.array[8]);
        assert_eq!(world.drain(&mut queues), [3]);
        assert_eq!(world.array[8].load(Ordering::Relaxed), EventWord::PENDING | EventWord::MASKED);
        mask(&world.array[2]);
        assert!(unmask(&world.array[2]));
        assert_eq!(world.array[2].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_handler_may_raise_more() {
        let (mut world, mut queues) = (World::new(), Queues::new());
        world.raise(2, 7);
        let mut seen = Vec::new();
        let World { control, array, .. } = &world;
        queues.drain(control, &array[..], |port| {
            seen.push(port);
            if port == 2 {
                array[7].store(EventWord::PENDING | EventWord::LINKED, Ordering::Release);
                control.head[1].store(7, Ordering::Release);
                control.ready.fetch_or(2, Ordering::AcqRel);
            }
        });
        assert_eq!(seen, [2, 7]);
    }

    #[test]
    fn broken_queues_end() {
        let (world, mut queues) = (World::new(), Queues::new());
        world.control.ready.store(u32::MAX, Ordering::Relaxed);
        world.control.head[3].store(99_999, Ordering::Relaxed);
        world.array[1].store(EventWord::PENDING | EventWord::LINKED | 2, Ordering::Relaxed);
        world.array[2].store(EventWord::LINKED | 1, Ordering::Relaxed);
        world.control.head[4].store(1, Ordering::Relaxed);
        assert_eq!(
            world.drain(&mut queues),
            [1],
            "a circle of links ends where a word is not linked any more"
        );
    }

    #[test]
    fn words_have_four_flags_and_a_link() {
        let word = EventWord(EventWord::PENDING | EventWord::LINKED | EventWord::BUSY | 0x1_2345);
        assert!(word.is_pending() && word.is_linked() && word.is_busy() && !word.is_masked());
        assert_eq!(word.link(), 0x1_2345);
        assert_eq!(
            word.linked_to(u32::MAX),
            EventWord(EventWord::PENDING | EventWord::LINKED | EventWord::LINK)
        );
        assert_eq!(word.unlinked(), EventWord(EventWord::PENDING | EventWord::BUSY));
        assert_eq!((page_of_port(131_071), slot_of_port(131_071)), (MAX_ARRAY_PAGES - 1, WORDS_PER_PAGE - 1));
        assert_eq!((MAX_ARRAY_PAGES, MAX_CONTROL_OFFSET), (128, 4024));
    }

    #[test]
    fn pages_of_words_are_an_array() {
        let pages: Vec<[AtomicU32; 1024]> = (0..2).map(|_| [const { AtomicU32::new(0) }; 1024]).collect();
        let pages: Vec<&[AtomicU32; 1024]> = pages.iter().collect();
        pages[1][6].store(77, Ordering::Relaxed);
        assert_eq!(pages[..].word(1030).map(|word| word.load(Ordering::Relaxed)), Some(77));
        assert!(pages[..].word(2048).is_none());
    }
}
