//! Shared words and the hypervisor's lock, made of loom's parts.
//!
//! Every access is one step, and all steps have one order, since each is a read-modify-write. That is what x86 gives
//! the protocol: all changes but one are locked instructions, through which nothing passes, and a plain load follows
//! such an instruction wherever its order matters (taking the hypervisor's lock is one, too). The exception is the
//! guest's byte store that clears the pending flag, and it is followed by a locked exchange. Loom's sequentially
//! consistent fences would say the same in finer grain, but it does not explore what they hide from it.

use loom::sync::Mutex;
use loom::sync::atomic::Ordering::{AcqRel, Relaxed};
use loom::sync::atomic::{AtomicU32, AtomicU64};
use paravane_abi::shared_info::{SharedInfo, VcpuInfo};
use paravane_core::addr::{DomainId, Mfn};
use paravane_core::event::{GuestWords, Place, Port, PortTable, Raised, Sent, SharedWords, VcpuId};
use std::mem::offset_of;

/// Ports 1 to 3 are used.
pub const PORTS: usize = 4;

const SHARED: Mfn = Mfn::new(0);
const CONTROL: Mfn = Mfn::new(1);
const ARRAY: Mfn = Mfn::new(2);

/// First words of the bitmaps.
pub const PENDING: Place = Place { frame: SHARED, offset: offset_of!(SharedInfo, evtchn_pending) };
pub const MASK: Place = Place { frame: SHARED, offset: offset_of!(SharedInfo, evtchn_mask) };
/// The vcpu's `vcpu_info`: pending flag and selector.
pub const INFO: Place = Place { frame: SHARED, offset: offset_of!(SharedInfo, vcpu_info) };
pub const SELECTOR: Place =
    Place { frame: SHARED, offset: INFO.offset + offset_of!(VcpuInfo, evtchn_pending_sel) };
/// The control block: its ready bits.
pub const READY: Place = Place { frame: CONTROL, offset: 0 };

/// The head of a queue.
pub fn head(priority: usize) -> Place {
    READY.plus(8 + 4 * priority)
}

/// A port's event word.
pub fn event_word(port: Port) -> Place {
    Place { frame: ARRAY, offset: 4 * port as usize }
}

/// A domain's words; only those that the tests touch exist.
pub struct Words(Vec<(Place, AtomicU64)>);

impl Words {
    fn new() -> Self {
        let mut places = vec![PENDING, MASK, INFO, SELECTOR, READY];
        places.extend([0, 2, 6].map(head));
        places.extend([0, 2].map(event_word));
        Self(places.into_iter().map(|place| (place, AtomicU64::new(0))).collect())
    }

    fn word(&self, at: Place) -> &AtomicU64 {
        let place = Place { offset: at.offset / 8 * 8, ..at };
        &self.0.iter().find(|(known, _)| *known == place).expect("a word of the model").1
    }

    /// Sets bits; what the word was.
    pub fn set(&self, at: Place, bits: u64) -> u64 {
        self.word(at).fetch_or(bits, AcqRel)
    }

    /// Clears bits; what the word was.
    pub fn clear(&self, at: Place, bits: u64) -> u64 {
        self.word(at).fetch_and(!bits, AcqRel)
    }
}

impl GuestWords for Words {
    fn load(&self, at: Place) -> u64 {
        self.set(at, 0)
    }

    fn compare_exchange(&self, at: Place, expected: u64, new: u64) -> Result<(), u64> {
        self.word(at).compare_exchange(expected, new, AcqRel, AcqRel).map(|_| ())
    }
}

impl SharedWords for Words {
    fn shared_info(&self) -> Mfn {
        SHARED
    }

    fn vcpu_info(&self, _: VcpuId) -> Place {
        INFO
    }
}

/// What the hypervisor's lock guards.
pub struct Hypervisor {
    pub table: PortTable,
    pub blocked: bool,
}

impl Hypervisor {
    fn wake(&mut self, raised: Raised) {
        if raised.notify == Some(0) {
            self.blocked = false;
        }
    }
}

/// A domain with one vcpu.
pub struct Machine {
    pub words: Words,
    /// What the senders have to say, by port.
    said: [AtomicU32; PORTS],
    hypervisor: Mutex<Hypervisor>,
}

impl Machine {
    /// A domain with its ports bound, in one form or the other.
    pub fn new(fifo: bool) -> Self {
        let words = Words::new();
        let mut table = PortTable::new(DomainId(1), 1, 63);
        if fifo {
            table.init_control(&words, 0, READY).expect("the first control block");
            table.expand_array(ARRAY).expect("the first page");
        }
        for port in 1..PORTS as u32 {
            assert_eq!(table.bind_ipi(&words, 0), Ok(port));
        }
        let hypervisor = Mutex::new(Hypervisor { table, blocked: false });
        Self { words, said: Default::default(), hypervisor }
    }

    /// Enters the hypervisor.
    pub fn call<T>(&self, act: impl FnOnce(&mut Hypervisor, &Words) -> T) -> T {
        let mut hypervisor = self.hypervisor.lock().expect("nobody panics");
        act(&mut hypervisor, &self.words)
    }

    /// Another vcpu has something to say and sends an event.
    pub fn say(&self, port: Port, what: u32) {
        self.said[port as usize].store(what, Relaxed);
        self.call(|hypervisor, words| {
            let Ok(Sent::Local(raised)) = hypervisor.table.send(words, port) else {
                panic!("{port} not sent")
            };
            hypervisor.wake(raised);
        });
    }

    /// What was said last, as the guest sees it.
    pub fn heard(&self, port: Port) -> u32 {
        self.said[port as usize].load(Relaxed)
    }

    /// EVTCHNOP_unmask.
    pub fn unmask(&self, port: Port) {
        self.call(|hypervisor, words| {
            let raised = hypervisor.table.unmask(words, port).expect("a valid port");
            hypervisor.wake(raised);
        });
    }

    /// SCHEDOP_block: sleeps unless an upcall is pending.
    pub fn block(&self) {
        self.call(|hypervisor, words| hypervisor.blocked = words.load(INFO) & 0xff == 0);
    }
}
