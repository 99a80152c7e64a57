//! A stream of pages from one domain to another, through a ring of slots: the words both sides share, and the order in
//! which they are read and written.
//!
//! A side that can't go on says so, looks once more, and waits; whoever then makes room or brings pages sees that and sends
//! an event. Events come in the middle of the ring, not with every page.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// In [`Control::magic`], once everything else is set.
pub const MAGIC: u64 = u64::from_le_bytes(*b"exchange");
/// Words in a page.
pub const WORDS: usize = 512;

/// The page both sides share. It starts as zeros.
#[derive(Default)]
#[repr(C)]
pub struct Control {
    /// [`MAGIC`], when the producer is ready.
    pub magic: AtomicU64,
    /// The producer's event channel port.
    pub port: AtomicU32,
    /// Slots in the ring.
    pub slots: AtomicU32,
    /// The grant of the first slot; the others follow.
    pub first_gref: AtomicU32,
    producer_waits: AtomicU32,
    consumer_waits: AtomicU32,
    /// The consumer's verdict: 0 none yet, 1 the digests agree, 2 they differ.
    pub verdict: AtomicU32,
    /// Pages to send in all.
    pub total: AtomicU64,
    produced: AtomicU64,
    consumed: AtomicU64,
    /// The producer's digest, when it has sent all.
    pub digest: AtomicU64,
}

/// How a side tells the other, and waits to be told.
pub trait Signal {
    /// Raises an event at the other side.
    fn notify(&self);
    /// Waits for an event, or a while.
    fn wait(&self);
}

/// Why a stream ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nothing came from the other side for too long.
    Stalled,
    /// The other side wrote numbers that cannot be.
    Nonsense,
}

/// Waits in a row without progress.
const PATIENCE: u32 = 120;

/// Waits until `ready` gives something, saying in `flag` that it waits.
fn wait_until<T>(
    flag: &AtomicU32,
    signal: &impl Signal,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T, Broken> {
    for _ in 0..PATIENCE {
        if let Some(value) = ready() {
            flag.store(0, Ordering::SeqCst);
            return Ok(value);
        }
        // What is said here before the last look is seen by whoever changes what is looked at.
        flag.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if ready().is_none() {
            signal.wait();
        }
    }
    Err(Broken::Stalled)
}

fn tell(flag: &AtomicU32, signal: &impl Signal) {
    fence(Ordering::SeqCst);
    if flag.swap(0, Ordering::SeqCst) != 0 {
        signal.notify();
    }
}

impl Control {
    /// Sends all pages: `fill` puts page `n` into slot `n % slots`.
    pub fn produce<E>(
        &self,
        signal: &impl Signal,
        mut fill: impl FnMut(usize, u64) -> Result<(), E>,
    ) -> Result<Result<(), E>, Broken> {
        let slots = u64::from(self.slots.load(Ordering::Relaxed));
        let total = self.total.load(Ordering::Relaxed);
        for page in 0..total {
            let filled = || match page.checked_sub(self.consumed.load(Ordering::SeqCst)) {
                Some(filled) if filled <= slots => Ok(filled),
                _ => Err(Broken::Nonsense),
            };
            let filled = wait_until(&self.producer_waits, signal, || match filled() {
                Ok(filled) if filled == slots => None,
                answer => Some(answer),
            })??;
            if let Err(error) = fill((page % slots) as usize, page) {
                return Ok(Err(error));
            }
            self.produced.store(page + 1, Ordering::SeqCst);
            if filled + 1 >= slots / 2 || page + 1 == total {
                tell(&self.consumer_waits, signal);
            }
        }
        Ok(Ok(()))
    }

    /// Takes all pages: `take` gets the number of the first one there and how many there are, at most `batch`.
    pub fn consume<E>(
        &self,
        signal: &impl Signal,
        batch: u64,
        mut take: impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<Result<(), E>, Broken> {
        // Copied once: the other side can change its words at any time.
        let slots = u64::from(self.slots.load(Ordering::Relaxed));
        let total = self.total.load(Ordering::Relaxed);
        let mut page = 0;
        while page < total {
            let there = wait_until(&self.consumer_waits, signal, || {
                match self.produced.load(Ordering::SeqCst).checked_sub(page) {
                    Some(0) => None,
                    Some(there) if there <= slots => Some(Ok(there)),
                    _ => Some(Err(Broken::Nonsense)),
                }
            })??;
            let count = there.min(batch);
            if let Err(error) = take(page, count) {
                return Ok(Err(error));
            }
            page += count;
            self.consumed.store(page, Ordering::SeqCst);
            if there - count <= slots / 2 {
                tell(&self.producer_waits, signal);
            }
        }
        Ok(Ok(()))
    }

    /// Waits for a word that the other side sets to something else than 0.
    pub fn wait_for(&self, word: &AtomicU32, signal: &impl Signal) -> Result<u32, Broken> {
        let nobody = AtomicU32::new(0);
        wait_until(&nobody, signal, || Some(word.load(Ordering::SeqCst)).filter(|&value| value != 0))
    }
}

/// The words of a page, which depend on its number.
pub fn content(page: u64) -> impl Iterator<Item = u64> {
    let mut state = page.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ MAGIC;
    (0..WORDS).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    })
}

/// A digest of words in order (FNV-1a, by words).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub u64);

impl Digest {
    /// Of nothing.
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// And one more word.
    pub fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    /// An event channel: a pending flag at each end.
    #[derive(Default)]
    struct Channel {
        pending: Mutex<[bool; 2]>,
        changed: Condvar,
        sent: AtomicU64,
    }

    struct End(Arc<Channel>, usize);

    impl Signal for End {
        fn notify(&self) {
            self.0.sent.fetch_add(1, Ordering::Relaxed);
            self.0.pending.lock().unwrap()[1 - self.1] = true;
            self.0.changed.notify_all();
        }

        fn wait(&self) {
            // Longer than the test may take: a lost event shows as a test that does not end in time.
            let limit = Duration::from_secs(1);
            let pending = self.0.pending.lock().unwrap();
            let (mut pending, _) =
                self.0.changed.wait_timeout_while(pending, limit, |pending| !pending[self.1]).unwrap();
            pending[self.1] = false;
        }
    }

    fn control(slots: u32, total: u64) -> Control {
        let control = Control::default();
        control.slots.store(slots, Ordering::Relaxed);
        control.total.store(total, Ordering::Relaxed);
        control
    }

    #[test]
    fn all_pages_arrive_in_order() {
        for slots in [1, 2, 8] {
            let control = Arc::new(control(slots, 5000));
            let ring: Arc<Vec<AtomicU64>> = Arc::new((0..slots).map(|_| AtomicU64::new(0)).collect());
            let channel = Arc::new(Channel::default());
            let (ours, theirs) = (End(channel.clone(), 0), End(channel.clone(), 1));
            let (sender, slots_of) = (control.clone(), ring.clone());
            let producer = std::thread::spawn(move || {
                sender.produce(&ours, |slot, page| {
                    slots_of[slot].store(page + 1, Ordering::Relaxed);
                    Ok::<(), ()>(())
                })
            });
            let mut next = 0;
            let taken = control.consume(&theirs, 3, |first, count| {
                assert_eq!(first, next);
                for page in first..first + count {
                    let slot = (page % u64::from(slots)) as usize;
                    assert_eq!(ring[slot].load(Ordering::Relaxed), page + 1);
                }
                next += count;
                Ok::<(), ()>(())
            });
            assert_eq!((taken, producer.join().unwrap(), next), (Ok(Ok(())), Ok(Ok(())), 5000));
            // With room for some, events come no more often than twice for half a ring.
            let sent = channel.sent.load(Ordering::Relaxed);
            assert!(slots < 8 || sent <= 2 * 5000 / 4 + 2, "{sent} events for 5000 pages");
        }
    }

    #[test]
    fn nonsense_from_the_other_side_ends_the_stream() {
        struct Never;
        impl Signal for Never {
            fn notify(&self) {}
            fn wait(&self) {}
        }
        let nothing = |_, _| Ok::<(), ()>(());
        let ahead = control(4, 10);
        ahead.produced.store(5, Ordering::Relaxed);
        assert_eq!(ahead.consume(&Never, 1, nothing), Err(Broken::Nonsense));
        let eaten = control(4, 10);
        eaten.consumed.store(1, Ordering::Relaxed);
        assert_eq!(eaten.produce(&Never, |_, _| Ok::<(), ()>(())), Err(Broken::Nonsense));
        assert_eq!(control(4, 10).consume(&Never, 1, nothing), Err(Broken::Stalled));
        assert_eq!(control(4, 10).produce(&Never, |_, _| Ok::<(), ()>(())), Err(Broken::Stalled));
    }

    #[test]
    fn digests_tell_content_and_order() {
        let of = |pages: &[u64]| {
            let mut digest = Digest::new();
            pages.iter().flat_map(|&page| content(page)).for_each(|word| digest.add(word));
            digest
        };
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[1]), of(&[2]));
        assert_eq!(content(7).count(), WORDS);
    }
}
