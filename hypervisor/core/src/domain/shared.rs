//! The pages a guest and the hypervisor both write: `shared_info` and each vcpu's `vcpu_info`.
//!
//! They are the guest's to scribble on. Nothing is read from them but events, masks and the flags that say
//! what the guest wants delivered; every access is to one word, so a racing guest harms only itself.

use crate::addr::DomainId;
use crate::domain::{Domain, InfoPlace, Vcpu};
use crate::event::{Port, PortTable, SharedBits, VcpuId};
use crate::frame::FrameTable;
use crate::machine::Machine;
use crate::memory::Memory;
use core::mem::offset_of;
use paravane_abi::shared_info::{ArchVcpuInfo, SharedInfo, VcpuInfo, VcpuTimeInfo};
use zerocopy::IntoBytes;

const PENDING_BITS: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK_BITS: usize = offset_of!(SharedInfo, evtchn_mask);
const SELECTOR: usize = offset_of!(VcpuInfo, evtchn_pending_sel);
const CR2: usize = offset_of!(VcpuInfo, arch) + offset_of!(ArchVcpuInfo, cr2);
const TIME: usize = offset_of!(VcpuInfo, time);

/// The byte of `vcpu_info`'s first word that says an upcall is due.
const UPCALL_PENDING: u64 = 0xff;
/// The byte that masks upcalls.
const UPCALL_MASK: u64 = 0xff00;
/// What the hypervisor stores there to mask them.
const MASKED: u64 = 0x0100;

/// Whether an upcall is pending at a place, and whether it is masked.
#[inline]
pub fn upcall(memory: &impl Memory, place: InfoPlace) -> (bool, bool) {
    let word = memory.read_word(place.frame, place.offset / 8);
    (word & UPCALL_PENDING != 0, word & UPCALL_MASK != 0)
}

/// Access to a domain's shared pages.
pub struct SharedPages<'a, M> {
    frames: &'a FrameTable,
    machine: &'a M,
    domain: DomainId,
}

impl<'a, M: Memory> SharedPages<'a, M> {
    /// Access for `domain`.
    #[inline]
    pub fn new(frames: &'a FrameTable, machine: &'a M, domain: DomainId) -> Self {
        Self { frames, machine, domain }
    }

    /// Changes a word of a shared frame in one atomic step; what it was.
    fn update(&self, frame: crate::addr::Mfn, offset: usize, change: impl Fn(u64) -> u64) -> u64 {
        let index = offset / 8;
        let Some(writer) = self.frames.writable(frame, self.domain) else { return 0 };
        let mut old = self.machine.read_word(frame, index);
        loop {
            let new = change(old);
            if new == old {
                return old;
            }
            match self.machine.compare_exchange_word(&writer, index, old, new) {
                Ok(()) => return old,
                Err(now) => old = now,
            }
        }
    }

    /// Sets a bit of a shared frame; what it was.
    fn set_bit(&self, frame: crate::addr::Mfn, offset: usize, bit: u32) -> bool {
        let flag = 1 << (bit % 64);
        self.update(frame, offset + bit as usize / 64 * 8, |word| word | flag) & flag != 0
    }

    /// Whether an upcall is pending, and whether it is masked.
    #[inline]
    pub fn upcall(&self, place: InfoPlace) -> (bool, bool) {
        upcall(self.machine, place)
    }

    /// Masks or unmasks upcalls.
    pub fn set_upcall_mask(&self, place: InfoPlace, masked: bool) {
        let value = if masked { MASKED } else { 0 };
        self.update(place.frame, place.offset, |word| word & !UPCALL_MASK | value);
    }

    /// Marks an upcall pending.
    pub fn set_upcall_pending(&self, place: InfoPlace) -> bool {
        let old =
            self.update(
                place.frame,
                place.offset,
                |word| {
                    if word & UPCALL_PENDING != 0 { word } else { word | 1 }
                },
            );
        old & UPCALL_PENDING != 0
    }

    /// Tells the guest the address of a page fault.
    pub fn set_cr2(&self, place: InfoPlace, address: u64) {
        self.write(place, CR2, address.as_bytes());
    }

    /// The address the guest was last told.
    pub fn cr2(&self, place: InfoPlace) -> u64 {
        self.machine.read_word(place.frame, (place.offset + CR2) / 8)
    }

    /// Publishes a time record: odd version, contents, even version (`struct vcpu_time_info`).
    pub fn publish_time(&self, place: InfoPlace, time: &VcpuTimeInfo) {
        let mut record = *time;
        let first = self.machine.read_word(place.frame, (place.offset + TIME) / 8) as u32;
        let odd = first | 1;
        self.write(place, TIME, odd.as_bytes());
        record.version = odd;
        self.write(place, TIME, record.as_bytes());
        self.write(place, TIME, odd.wrapping_add(1).as_bytes());
    }

    fn write(&self, place: InfoPlace, offset: usize, bytes: &[u8]) {
        if let Some(writer) = self.frames.writable(place.frame, self.domain) {
            self.machine.write_bytes(&writer, place.offset + offset, bytes);
        }
    }

    /// Copies a `vcpu_info` from one place to another.
    pub fn copy_info(&self, from: InfoPlace, to: InfoPlace) {
        let mut bytes = [0; size_of::<VcpuInfo>()];
        self.machine.read_bytes(from.frame, from.offset, &mut bytes);
        self.write(to, 0, &bytes);
    }

    /// Writes bytes of the `shared_info` page itself.
    pub fn write_shared(&self, frame: crate::addr::Mfn, offset: usize, bytes: &[u8]) {
        if let Some(writer) = self.frames.writable(frame, self.domain) {
            self.machine.write_bytes(&writer, offset, bytes);
        }
    }
}

/// The event bits of one domain.
pub struct Bits<'a, M> {
    pages: SharedPages<'a, M>,
    shared_info: crate::addr::Mfn,
    vcpus: &'a [Vcpu],
}

impl<'a, M: Machine> Bits<'a, M> {
    /// The bits of a domain, by its parts (its port table is borrowed elsewhere at the same time).
    pub fn new(
        frames: &'a FrameTable,
        machine: &'a M,
        domain: DomainId,
        shared_info: crate::addr::Mfn,
        vcpus: &'a [Vcpu],
    ) -> Self {
        Self { pages: SharedPages::new(frames, machine, domain), shared_info, vcpus }
    }

    /// The bits of a domain whose port table is only read.
    pub fn of(frames: &'a FrameTable, machine: &'a M, domain: &'a Domain) -> Self {
        Self::new(frames, machine, domain.id, domain.shared_info, &domain.vcpus)
    }

    fn bit(&self, base: usize, port: Port) -> bool {
        let word = self.pages.machine.read_word(self.shared_info, base / 8 + port as usize / 64);
        word >> (port % 64) & 1 != 0
    }

    fn clear(&self, base: usize, port: Port) -> bool {
        let flag = 1 << (port % 64);
        let offset = base + port as usize / 64 * 8;
        self.pages.update(self.shared_info, offset, |word| word & !flag) & flag != 0
    }
}

impl Domain {
    /// The domain's ports, and the memory it shares with them.
    pub fn events<'a, M: Machine>(
        &'a mut self,
        frames: &'a FrameTable,
        machine: &'a M,
    ) -> (&'a mut PortTable, Bits<'a, M>) {
        (&mut self.ports, Bits::new(frames, machine, self.id, self.shared_info, &self.vcpus))
    }
}

impl<M: Machine> SharedBits for Bits<'_, M> {
    fn test_and_set_pending(&self, port: Port) -> bool {
        self.pages.set_bit(self.shared_info, PENDING_BITS, port)
    }

    fn clear_pending(&self, port: Port) {
        self.clear(PENDING_BITS, port);
    }

    fn is_pending(&self, port: Port) -> bool {
        self.bit(PENDING_BITS, port)
    }

    fn is_masked(&self, port: Port) -> bool {
        self.bit(MASK_BITS, port)
    }

    fn test_and_clear_mask(&self, port: Port) -> bool {
        self.clear(MASK_BITS, port)
    }

    fn test_and_set_selector(&self, vcpu: VcpuId, word: u32) -> bool {
        let place = self.vcpus[vcpu as usize].info;
        self.pages.set_bit(place.frame, place.offset + SELECTOR, word)
    }

    fn test_and_set_upcall(&self, vcpu: VcpuId) -> bool {
        self.pages.set_upcall_pending(self.vcpus[vcpu as usize].info)
    }
}
