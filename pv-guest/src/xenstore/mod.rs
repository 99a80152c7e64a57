//! Xenstore: the tree of small texts in which a domain finds what it has, and by which it is asked to stop.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;

use paravane_abi::io::xenstore::MessageType;
use pv_guest_logic::xenstore_connection::{Connection, Message};
use pv_guest_logic::xenstore_shutdown::{NODE, Shutdown, TOKEN, Wish};
use spin::Mutex;

use crate::errno::{Errno, Result};
use crate::event::{self, Port};
use crate::mm::addr::{PAGE, Pfn};
use crate::power;
use crate::process::wait::WaitQueue;

/// Events kept for those who look for them.
const EVENTS_MAX: usize = 64;

struct Store {
    connection: Connection<&'static [AtomicU32]>,
    port: Port,
    /// Requests that somebody waits for, and what was answered.
    wanted: BTreeSet<u32>,
    replies: BTreeMap<u32, Result<Vec<u8>>>,
    /// Paths and tokens of what has changed.
    events: VecDeque<(Vec<u8>, Vec<u8>)>,
    shutdown: Shutdown,
}

static STORE: Mutex<Option<Store>> = Mutex::new(None);
static ANSWERED: WaitQueue = WaitQueue::new();

impl Store {
    /// Asks for something whose answer matters to nobody, or to [`Self::shutdown`].
    fn send(&mut self, kind: MessageType, parts: &[&[u8]]) -> u32 {
        self.connection.ask(kind, 0, parts).expect("these requests are short")
    }

    /// Moves messages until there are no more. What the domain is to do now, if it was asked to stop.
    fn serve(&mut self) -> Option<Wish> {
        let mut wish = None;
        // A ring whose indices make no sense has nothing more to say.
        while self.connection.exchange() == Ok(true) {
            while let Some(message) = self.connection.message() {
                wish = wish.or(self.take(message));
            }
            event::notify(self.port);
        }
        wish
    }

    fn take(&mut self, message: Message) -> Option<Wish> {
        match message {
            Message::Event(_, token) if token == TOKEN => {
                if self.shutdown.changed() {
                    let id = self.send(MessageType::Read, &[NODE]);
                    self.shutdown.reads(id);
                }
            }
            Message::Event(path, token) => {
                if self.events.len() == EVENTS_MAX {
                    self.events.pop_front();
                }
                self.events.push_back((path, token));
            }
            Message::Reply(id, answer) => {
                if let Some(wish) = self.shutdown.done(id) {
                    return Some(wish);
                }
                let value = answer.as_deref().unwrap_or_default();
                if let Some(wish) = self.shutdown.value(id, value) {
                    let id = self.send(MessageType::Write, &[NODE]);
                    self.shutdown.clears(id, wish);
                }
                if self.wanted.remove(&id) {
                    self.replies.insert(id, answer);
                }
            }
        }
        None
    }
}

/// Starts using the ring in this frame, where there is one, and listens for requests to stop.
pub fn init(page: Option<Pfn>, port: u32) {
    let (Some(page), Some(port)) = (page, Some(port).filter(|port| *port != 0)) else { return };
    // SAFETY: the frame is reserved for this ring and mapped for good, and both ends access it atomically.
    let memory = unsafe { core::slice::from_raw_parts(page.bytes().cast::<AtomicU32>(), PAGE as usize / 4) };
    let mut store = Store {
        connection: Connection::new(memory),
        port: Port(port),
        wanted: BTreeSet::new(),
        replies: BTreeMap::new(),
        events: VecDeque::new(),
        shutdown: Shutdown::default(),
    };
    store.send(MessageType::Watch, &[NODE, TOKEN, b"\0"]);
    for feature in [&b"control/feature-poweroff\0"[..], b"control/feature-reboot\0"] {
        store.send(MessageType::Write, &[feature, b"1"]);
    }
    *STORE.lock() = Some(store);
    event::handle(Port(port), on_event);
    on_event();
}

/// Whether there is a xenstore.
pub fn present() -> bool {
    STORE.lock().is_some()
}

/// Runs in the upcall, and after a request.
fn on_event() {
    let wish = STORE.lock().as_mut().and_then(Store::serve);
    match wish {
        Some(Wish::PowerOff) => power::power_off(),
        Some(Wish::Reboot) => power::reboot(),
        None => ANSWERED.wake_all(),
    }
}

/// Asks, and waits for the answer. Transaction 0 is none; texts in `parts` carry their NULs.
pub fn request(kind: MessageType, transaction: u32, parts: &[&[u8]]) -> Result<Vec<u8>> {
    let id = {
        let mut store = STORE.lock();
        let store = store.as_mut().ok_or(Errno::ENODEV)?;
        let id = store.connection.ask(kind, transaction, parts).map_err(|_| Errno::E2BIG)?;
        store.wanted.insert(id);
        id
    };
    on_event();
    let answer = ANSWERED.wait_uninterrupted(|| STORE.lock().as_mut()?.replies.remove(&id));
    answer.ok_or(Errno::EIO)?
}

/// The token of the oldest event that nobody has seen, with its path.
pub fn event() -> Option<(Vec<u8>, Vec<u8>)> {
    STORE.lock().as_mut()?.events.pop_front()
}
