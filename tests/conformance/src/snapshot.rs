//! What a domain can see of its own state, digested: a refusal leaves it as it was.

use core::mem::offset_of;

use paravane_abi::event::{EVTCHNOP_STATUS, EVTCHNSTAT_CLOSED, EvtchnStatus};
use paravane_abi::hypercall as nr;
use paravane_abi::memory::{MemoryDomain, XENMEM_CURRENT_RESERVATION};
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::pte;
use paravane_abi::shared_info::{SharedInfo, VcpuInfo};
use paravane_abi::vcpu::VCPUOP_IS_UP;
use pv_probe::boot::start;
use pv_probe::grants;
use pv_probe::hypercall::{operation, raw};
use pv_probe::memory::{self, A, D, PAGE, PS, Reader};

/// Ports that are looked at: more than a case binds.
const PORTS: u32 = 48;

/// Vcpus that are looked at.
const VCPUS: u64 = 4;

/// The parts, and what they are called.
const PARTS: [&str; 7] =
    ["page tables", "the shared page", "event channels", "memory", "debug registers", "vcpus", "grants"];

/// A digest of each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot([u64; PARTS.len()]);

/// The first part that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference(pub &'static str);

impl Snapshot {
    /// Looks at everything.
    #[must_use]
    pub fn take() -> Self {
        Self([tables(), shared(), ports(), frames(), debug_registers(), vcpus(), grants()])
    }

    /// The first part in which another differs.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        let part = self.0.iter().zip(&other.0).position(|(before, after)| before != after)?;
        Some(Difference(PARTS[part]))
    }
}

/// FNV-1a by words: fast, and nobody tries to fool it.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

impl Digest {
    /// Of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a word.
    pub const fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.0 ^= self.0 >> 29;
    }

    /// The digest.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

/// Every entry of every table of the running address space, but accessed and dirty bits and the hypervisor's slots.
fn tables() -> u64 {
    let mut digest = Digest::new();
    table(&mut digest, memory::root(), 4, 0);
    digest.value()
}

fn table(digest: &mut Digest, frame: u64, level: u32, va: u64) {
    // A table is read while those below it are: each level has a window.
    let reader = Reader::open(frame, level as usize);
    for index in 0..512 {
        let entry = reader.word(index);
        let va = match level {
            4 => pte::address(index, 0, 0, 0),
            _ => va | (index as u64) << (12 + 9 * (level - 1)),
        };
        let windows = level == 1 && memory::is_window(va);
        if entry == 0 || windows || (level == 4 && (256..272).contains(&index)) {
            continue;
        }
        digest.add(va ^ u64::from(level));
        digest.add(entry & !(A | D));
        if level > 1 && pte::is_present(entry) && (level == 4 || entry & PS == 0) {
            table(digest, pte::mfn(entry), level - 1, va);
        }
    }
}

/// The shared page, but for what changes by itself: time, and the ports of console and xenstore.
fn shared() -> u64 {
    let mut digest = Digest::new();
    let page = memory::shared().cast::<u64>();
    // SAFETY: a word of the page, which the hypervisor writes too.
    let word = |index: usize| unsafe { page.add(index).read_volatile() };
    let first = offset_of!(SharedInfo, evtchn_pending) / 8;
    let masks = offset_of!(SharedInfo, evtchn_mask) / 8;
    let arch = offset_of!(SharedInfo, arch) / 8;
    for vcpu in 0..VCPUS as usize {
        let place = vcpu * size_of::<VcpuInfo>() / 8;
        // The mask; whether something is pending is told by the ports.
        digest.add(word(place) >> 8 & 0xff);
    }
    let info = &start().info;
    let served =
        [info.store_evtchn, info.console_evtchn].map(|port| (port as usize / 64, 1u64 << (port % 64)));
    let others = |index: usize| {
        served.iter().filter(|(place, _)| *place == index).fold(u64::MAX, |kept, (_, bit)| kept & !bit)
    };
    for index in 0..masks - first {
        digest.add(word(first + index) & others(index));
        digest.add(word(masks + index));
    }
    (arch..size_of::<SharedInfo>() / 8).for_each(|index| digest.add(word(index)));
    digest.value()
}

fn ports() -> u64 {
    let mut digest = Digest::new();
    for port in 0..PORTS {
        let mut status = EvtchnStatus { dom: DOMID_SELF, port, ..Default::default() };
        let result = operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_STATUS, &mut status);
        digest.add(result as u64);
        digest.add(u64::from(status.status) << 32 | u64::from(status.vcpu));
        if status.status != EVTCHNSTAT_CLOSED {
            digest.add(u64::from(status.u[0]) << 32 | u64::from(status.u[1]));
        }
    }
    digest.value()
}

/// How much there is, and whether each frame still knows its number.
fn frames() -> u64 {
    let mut digest = Digest::new();
    let mut domain = MemoryDomain { domid: DOMID_SELF };
    digest.add(operation(nr::HYPERVISOR_MEMORY_OP, XENMEM_CURRENT_RESERVATION, &mut domain) as u64);
    for pfn in 0..start().info.nr_pages {
        let frame = memory::mfn(pfn);
        digest.add(frame);
        digest.add(memory::m2p(frame));
    }
    digest.value()
}

fn debug_registers() -> u64 {
    let mut digest = Digest::new();
    for register in [0, 1, 2, 3, 6, 7] {
        digest.add(raw(nr::HYPERVISOR_GET_DEBUGREG, [register, 0, 0, 0, 0]) as u64);
    }
    digest.value()
}

fn vcpus() -> u64 {
    let mut digest = Digest::new();
    for vcpu in 0..VCPUS {
        digest.add(raw(nr::HYPERVISOR_VCPU_OP, [VCPUOP_IS_UP.into(), vcpu, 0, 0, 0]) as u64);
    }
    digest.value()
}

/// The grant table's first frame, if it is mapped.
fn grants() -> u64 {
    let mut digest = Digest::new();
    if grants::is_prepared() {
        for index in 0..PAGE / 8 {
            // SAFETY: the frame is mapped there.
            digest.add(unsafe { ((grants::TABLE + index * 8) as *const u64).read_volatile() });
        }
    }
    digest.value()
}
