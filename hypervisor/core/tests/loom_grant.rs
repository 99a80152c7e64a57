//! Every interleaving of the hypervisor's half of a grant entry with its owner's: the flags by which one says "in
//! use" and the other "no longer lent". When the owner has taken a grant back by the rules of Xen's header, nobody
//! uses the page any more, and when it has not, everything it wrote before it lent the page is seen.
//!
//! The hypervisor's calls are under its lock, as they are in life. The page is a cell whose accesses the model
//! orders: one that is not ordered after the other is a failure.

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;
use paravane_abi::grant::{GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING};
use paravane_core::grant::Pins;
use paravane_core::grant::entry::{EntryWords, Use, claim_v1, claim_v2, release};

/// Switches away from a thread that could go on, at most, in one run.
const PREEMPTIONS: usize = 3;
const GRANTEE: u16 = 2;
const LENT: u32 = GTF_PERMIT_ACCESS as u32 | (GRANTEE as u32) << 16;
const MARKS: u32 = (GTF_READING | GTF_WRITING) as u32;
const FRAME: u32 = 0x1234;

fn explore(scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(scenario);
}

/// One entry, the page it lends, and what the hypervisor knows of it.
struct Entry {
    v2: bool,
    /// Whether the hypervisor makes its barrier.
    careful: bool,
    header: AtomicU32,
    status: AtomicU32,
    frame: AtomicU32,
    /// The page, once for each user: what users do to each other is not the point.
    pages: [UnsafeCell<u32>; 2],
    pins: Mutex<Pins>,
}

impl EntryWords for Entry {
    fn header(&self) -> u32 {
        self.header.load(Ordering::Acquire)
    }

    fn exchange_header(&self, expected: u32, new: u32) -> Result<(), u32> {
        self.header.compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst).map(|_| ())
    }

    fn set_header_flags(&self, flags: u16) {
        self.header.fetch_or(flags.into(), Ordering::SeqCst);
    }

    fn clear_header_flags(&self, flags: u16) {
        self.header.fetch_and(!u32::from(flags), Ordering::SeqCst);
    }

    fn set_status(&self, flags: u16) {
        self.status.fetch_or(flags.into(), Ordering::SeqCst);
    }

    fn clear_status(&self, flags: u16) {
        self.status.fetch_and(!u32::from(flags), Ordering::SeqCst);
    }

    fn barrier(&self) {
        if self.careful {
            fence(Ordering::SeqCst);
        }
    }
}

impl Entry {
    fn new(v2: bool, header: u32) -> Self {
        Self {
            v2,
            careful: true,
            header: AtomicU32::new(header),
            status: AtomicU32::new(0),
            frame: AtomicU32::new(if header == 0 { 0 } else { FRAME }),
            pages: [UnsafeCell::new(0), UnsafeCell::new(0)],
            pins: Mutex::new(Pins::NONE),
        }
    }

    /// The hypervisor's call that maps. Whether it did.
    fn map(&self, readonly: bool) -> bool {
        let mut pins = self.pins.lock().unwrap();
        let wanted = Use { grantee: GRANTEE, readonly, mapping: true, pinned: pins.any() };
        if !wanted.pinned || (!readonly && !pins.writers()) {
            let claimed = if self.v2 { claim_v2(self, wanted) } else { claim_v1(self, wanted) };
            if claimed.is_err() {
                return false;
            }
            assert_eq!(self.frame.load(Ordering::Relaxed), FRAME, "lent before the frame was written");
        }
        *pins = pins.plus(Pins::host(readonly));
        true
    }

    /// The hypervisor's call that unmaps; the translations are flushed.
    fn unmap(&self, readonly: bool) {
        let mut pins = self.pins.lock().unwrap();
        *pins = pins.minus(Pins::host(readonly));
        release(self, self.v2, *pins, readonly);
    }

    /// Another domain uses the grant once.
    fn use_once(&self, user: usize, readonly: bool) -> bool {
        if !self.map(readonly) {
            return false;
        }
        if readonly {
            self.pages[user].with(|page| assert!(!page.is_null()));
        } else {
            self.pages[user].with_mut(|page| assert!(!page.is_null()));
        }
        self.unmap(readonly);
        true
    }

    /// The owner has the page to itself.
    fn reuse(&self) {
        self.pages.iter().for_each(|page| page.with_mut(|page| assert!(!page.is_null())));
    }

    /// The owner reads what nobody writes.
    fn read(&self) {
        self.pages.iter().for_each(|page| page.with(|page| assert!(!page.is_null())));
    }

    /// The owner ends the grant, by the rules of the version. Whether it is ended.
    fn take_back(&self) -> bool {
        if self.v2 {
            self.header.store(0, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            return self.status.load(Ordering::Acquire) & MARKS == 0;
        }
        let now = self.header.load(Ordering::Relaxed);
        now & MARKS == 0 && self.header.compare_exchange(now, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The owner lets others only read from now on. Whether nobody writes any more.
    fn make_read_only(&self) -> bool {
        if self.v2 {
            self.header.fetch_or(GTF_READONLY.into(), Ordering::SeqCst);
            fence(Ordering::SeqCst);
            return self.status.load(Ordering::Acquire) & u32::from(GTF_WRITING) == 0;
        }
        let now = self.header.load(Ordering::Relaxed);
        let new = now | u32::from(GTF_READONLY);
        now & u32::from(GTF_WRITING) == 0
            && self.header.compare_exchange(now, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// When nobody uses it, nothing says that anybody does.
    fn check_quiet(&self) {
        assert!(!self.pins.lock().unwrap().any());
        assert_eq!((self.header() | self.status.load(Ordering::Relaxed)) & MARKS, 0);
    }
}

/// Lets users use the entry, one after the other each, while the owner acts.
fn share(entry: Entry, users: &'static [&'static [bool]], owner: fn(&Entry)) {
    let entry = Arc::new(entry);
    let users: Vec<_> = users
        .iter()
        .enumerate()
        .map(|(user, uses)| {
            let entry = entry.clone();
            thread::spawn(move || uses.iter().filter(|readonly| entry.use_once(user, **readonly)).count())
        })
        .collect();
    owner(&entry);
    users.into_iter().for_each(|user| {
        user.join().expect("it has used it");
    });
    entry.check_quiet();
}

/// The owner takes the grant back, trying twice, and uses the page itself.
fn take_back_and_reuse(entry: &Entry) {
    if entry.take_back() || entry.take_back() {
        entry.reuse();
    }
}

const READER: &[&[bool]] = &[&[true]];
const WRITER: &[&[bool]] = &[&[false]];
const BOTH: &[&[bool]] = &[&[true], &[false]];
const TWICE: &[&[bool]] = &[&[false, true]];

#[test]
fn a_grant_that_was_taken_back_is_used_by_nobody() {
    for v2 in [false, true] {
        for users in [READER, WRITER, BOTH, TWICE] {
            explore(move || share(Entry::new(v2, LENT), users, take_back_and_reuse));
        }
    }
}

#[test]
fn a_grant_made_read_only_is_written_by_nobody() {
    for v2 in [false, true] {
        for users in [WRITER, BOTH, TWICE] {
            explore(move || {
                share(Entry::new(v2, LENT), users, |entry| {
                    if entry.make_read_only() {
                        entry.read();
                    }
                });
            });
        }
    }
}

#[test]
fn what_was_written_before_lending_is_seen() {
    for v2 in [false, true] {
        explore(move || {
            share(Entry::new(v2, 0), BOTH, |entry| {
                entry.reuse();
                entry.frame.store(FRAME, Ordering::Relaxed);
                entry.header.store(LENT, Ordering::Release);
            });
        });
    }
}

#[test]
fn a_grant_is_taken_back_and_given_again() {
    for v2 in [false, true] {
        explore(move || {
            share(Entry::new(v2, LENT), WRITER, |entry| {
                if entry.take_back() {
                    entry.reuse();
                    entry.header.store(LENT, Ordering::Release);
                }
            });
        });
    }
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_model_misses_no_missing_barrier() {
    explore(|| {
        let entry = Entry { careful: false, ..Entry::new(true, LENT) };
        share(entry, WRITER, take_back_and_reuse);
    });
}
