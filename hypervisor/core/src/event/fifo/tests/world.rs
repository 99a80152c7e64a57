//! A domain with queues, whose guest is `paravane_abi`'s.

use crate::addr::{DomainId, Mfn};
use crate::event::{
    GuestWords, Place, Port, PortTable, Raised, Sent, SharedBits, SharedWords, VcpuId, audit,
};
use core::cell::Cell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use paravane_abi::errno::Errno;
use paravane_abi::event::fifo::{ControlBlock, EventWord, Queues, WORDS_PER_PAGE};
use paravane_abi::shared_info::{SharedInfo, VcpuInfo};
use std::vec::Vec;

pub const VCPUS: usize = 2;
/// Frame 0 is the shared-info page; then come the vcpus' control blocks and the event words.
const CONTROL: usize = 1;
const ARRAY: usize = 16;

/// What the guest does each time the hypervisor is about to change a word.
pub type Meddler = fn(&Memory, Place);

/// The guest's pages.
pub struct Memory {
    shared: Vec<AtomicU64>,
    pub controls: [ControlBlock; VCPUS],
    pub array: Vec<AtomicU32>,
    /// Called before a compare-exchange, as often as it says.
    pub meddler: Cell<Option<Meddler>>,
    pub exchanges: Cell<u32>,
}

impl Memory {
    fn halves(&self, at: Place) -> (&AtomicU32, &AtomicU32) {
        let index = at.offset / 8;
        let frame = at.frame.index();
        if frame >= ARRAY {
            let word = (frame - ARRAY) * WORDS_PER_PAGE as usize + index * 2;
            return (&self.array[word], &self.array[word + 1]);
        }
        let control = &self.controls[frame - CONTROL];
        match index {
            0 => (&control.ready, &control.reserved),
            _ => (&control.head[index * 2 - 2], &control.head[index * 2 - 1]),
        }
    }

    pub fn word(&self, port: Port) -> EventWord {
        EventWord(self.array[port as usize].load(SeqCst))
    }

    pub fn mask(&self, port: Port) {
        paravane_abi::event::fifo::mask(&self.array[port as usize]);
    }

    pub fn upcall_pending(&self, vcpu: VcpuId) -> bool {
        self.load(self.vcpu_info(vcpu)) & 0xff != 0
    }

    /// Masks a port in the two-level form.
    pub fn mask_bit(&self, port: Port) {
        let word = offset_of!(SharedInfo, evtchn_mask) / 8 + port as usize / 64;
        self.shared[word].fetch_or(1 << (port % 64), SeqCst);
    }

    pub fn poke_pending(&self, port: Port) {
        let word = offset_of!(SharedInfo, evtchn_pending) / 8 + port as usize / 64;
        self.shared[word].fetch_or(1 << (port % 64), SeqCst);
    }
}

impl GuestWords for Memory {
    fn load(&self, at: Place) -> u64 {
        if at.frame.index() == 0 {
            return self.shared[at.offset / 8].load(SeqCst);
        }
        let (low, high) = self.halves(at);
        u64::from(low.load(SeqCst)) | u64::from(high.load(SeqCst)) << 32
    }

    fn compare_exchange(&self, at: Place, expected: u64, new: u64) -> Result<(), u64> {
        self.exchanges.set(self.exchanges.get() + 1);
        if let Some(meddle) = self.meddler.get() {
            meddle(self, at);
        }
        if at.frame.index() == 0 {
            return self.shared[at.offset / 8].compare_exchange(expected, new, SeqCst, SeqCst).map(|_| ());
        }
        let now = self.load(at);
        if now != expected {
            return Err(now);
        }
        let (low, high) = self.halves(at);
        low.store(new as u32, SeqCst);
        high.store((new >> 32) as u32, SeqCst);
        Ok(())
    }
}

impl SharedWords for Memory {
    fn shared_info(&self) -> Mfn {
        Mfn::new(0)
    }

    fn vcpu_info(&self, vcpu: VcpuId) -> Place {
        let offset = offset_of!(SharedInfo, vcpu_info) + vcpu as usize * size_of::<VcpuInfo>();
        Place { frame: Mfn::new(0), offset }
    }
}

pub struct World {
    pub table: PortTable,
    pub memory: Memory,
    queues: [Queues; VCPUS],
}

impl World {
    /// A domain in the two-level form.
    pub fn new() -> Self {
        Self::with_table(DomainId(1), 2047)
    }

    pub fn with_table(id: DomainId, port_max: Port) -> Self {
        let memory = Memory {
            shared: (0..512).map(|_| AtomicU64::new(0)).collect(),
            controls: Default::default(),
            array: (0..2 * WORDS_PER_PAGE).map(|_| AtomicU32::new(0)).collect(),
            meddler: Cell::new(None),
            exchanges: Cell::new(0),
        };
        let table = PortTable::new(id, VCPUS as u32, port_max);
        Self { table, memory, queues: Default::default() }
    }

    /// A domain with queues for every vcpu, and a page of event words.
    pub fn fifo() -> Self {
        let mut world = Self::new();
        (0..VCPUS as u32).for_each(|vcpu| world.control(vcpu));
        assert_eq!(world.expand(), []);
        world
    }

    pub fn control(&mut self, vcpu: VcpuId) {
        self.try_control(vcpu).unwrap();
    }

    pub fn try_control(&mut self, vcpu: VcpuId) -> Result<(), Errno> {
        let place = Place { frame: Mfn::new(CONTROL as u64 + u64::from(vcpu)), offset: 0 };
        self.table.init_control(&self.memory, vcpu, place)
    }

    /// Adds a page of event words; what is raised by it.
    pub fn expand(&mut self) -> Vec<Raised> {
        let all = self.try_expand().unwrap();
        self.check();
        all
    }

    pub fn try_expand(&mut self) -> Result<Vec<Raised>, Errno> {
        let pages = self.table.held_frames().filter(|frame| frame.index() >= ARRAY).count();
        let mut from = self.table.expand_array(Mfn::new((ARRAY + pages) as u64))?;
        let mut all = Vec::new();
        while let Some(raised) = self.table.raise_held(&self.memory, from) {
            all.push(raised);
            from = raised.port + 1;
        }
        Ok(all)
    }

    pub fn ipi(&mut self, vcpu: VcpuId) -> Port {
        self.table.bind_ipi(&self.memory, vcpu).unwrap()
    }

    pub fn send(&mut self, port: Port) -> Raised {
        let Ok(Sent::Local(raised)) = self.table.send(&self.memory, port) else { panic!("{port} not sent") };
        self.check();
        raised
    }

    /// As [`Self::send`], when it does not matter who is woken.
    pub fn raise(&mut self, port: Port) {
        let _ = self.send(port);
    }

    pub fn unmask(&mut self, port: Port) -> Raised {
        let raised = self.table.unmask(&self.memory, port).unwrap();
        self.check();
        raised
    }

    /// The guest's upcall on a vcpu, in the two-level form.
    pub fn take_two_level(&mut self, vcpu: VcpuId) -> Vec<Port> {
        let memory = &self.memory;
        memory.update(memory.vcpu_info(vcpu), |word| word & !0xff);
        let selector = memory.vcpu_info(vcpu).plus(offset_of!(VcpuInfo, evtchn_pending_sel));
        let selected = memory.update(selector, |_| 0);
        let mut seen = Vec::new();
        for port in (0..4096).filter(|port| selected >> (port / 64) & 1 != 0) {
            if memory.is_pending(port) && !memory.is_masked(port) {
                memory.clear_pending(port);
                seen.push(port);
            }
        }
        seen
    }

    /// The guest's upcall on a vcpu, in the FIFO form.
    pub fn take(&mut self, vcpu: VcpuId) -> Vec<Port> {
        let mut seen = Vec::new();
        let memory = &self.memory;
        memory.update(memory.vcpu_info(vcpu), |word| word & !0xff);
        let control = &memory.controls[vcpu as usize];
        self.queues[vcpu as usize].drain(control, &memory.array[..], |port| seen.push(port));
        seen
    }

    /// The guest clears its pages for the next time.
    pub fn clear_queues(&mut self) {
        self.queues = Default::default();
        self.memory.controls = Default::default();
        self.memory.array.iter().for_each(|word| word.store(0, SeqCst));
    }

    pub fn check(&self) {
        audit(&[&self.table]).unwrap();
    }
}
