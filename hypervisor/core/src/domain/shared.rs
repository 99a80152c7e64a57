//! The pages a guest and the hypervisor both write: `shared_info` and each vcpu's `vcpu_info`.
//!
//! They are the guest's to scribble on. Nothing is read from them but events, masks and the flags that say
//! what the guest wants delivered; every access is to one word, so a racing guest harms only itself.

use crate::addr::{DomainId, Mfn};
use crate::domain::{Domain, InfoPlace, Vcpu};
use crate::event::{GuestWords, Place, PortTable, SharedWords, UPCALL_PENDING, VcpuId};
use crate::frame::FrameTable;
use crate::machine::Machine;
use crate::memory::Memory;
use core::mem::offset_of;
use paravane_abi::shared_info::{ArchVcpuInfo, VcpuInfo, VcpuTimeInfo};
use zerocopy::IntoBytes;

const CR2: usize = offset_of!(VcpuInfo, arch) + offset_of!(ArchVcpuInfo, cr2);
const TIME: usize = offset_of!(VcpuInfo, time);

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

    /// Whether an upcall is pending, and whether it is masked.
    #[inline]
    pub fn upcall(&self, place: InfoPlace) -> (bool, bool) {
        upcall(self.machine, place)
    }

    /// Masks or unmasks upcalls.
    pub fn set_upcall_mask(&self, place: InfoPlace, masked: bool) {
        let value = if masked { MASKED } else { 0 };
        self.update(place.place(), |word| word & !UPCALL_MASK | value);
    }

    /// Tells the guest the address of a page fault.
    pub fn set_cr2(&self, place: InfoPlace, address: u64) {
        self.write(place, CR2, address.as_bytes());
    }

    /// Says that an event is pending, and masked.
    pub fn set_upcall_pending(&self, place: InfoPlace) {
        self.write(place, 0, &[1, 1]);
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
    pub fn write_shared(&self, frame: Mfn, offset: usize, bytes: &[u8]) {
        if let Some(writer) = self.frames.writable(frame, self.domain) {
            self.machine.write_bytes(&writer, offset, bytes);
        }
    }
}

/// The event bits of one domain.
pub struct Bits<'a, M> {
    pages: SharedPages<'a, M>,
    shared_info: Mfn,
    vcpus: &'a [Vcpu],
}

impl<'a, M: Machine> Bits<'a, M> {
    /// The bits of a domain, by its parts (its port table is borrowed elsewhere at the same time).
    pub fn new(
        frames: &'a FrameTable,
        machine: &'a M,
        domain: DomainId,
        shared_info: Mfn,
        vcpus: &'a [Vcpu],
    ) -> Self {
        Self { pages: SharedPages::new(frames, machine, domain), shared_info, vcpus }
    }

    /// The bits of a domain whose port table is only read.
    pub fn of(frames: &'a FrameTable, machine: &'a M, domain: &'a Domain) -> Self {
        Self::new(frames, machine, domain.id, domain.shared_info, &domain.vcpus)
    }
}

impl<M: Memory> GuestWords for SharedPages<'_, M> {
    #[inline]
    fn load(&self, at: Place) -> u64 {
        self.machine.read_word(at.frame, at.offset / 8)
    }

    #[inline]
    fn compare_exchange(&self, at: Place, expected: u64, new: u64) -> Result<(), u64> {
        // A frame that is not the guest's to write has none of its words.
        let Some(writer) = self.frames.writable(at.frame, self.domain) else { return Ok(()) };
        self.machine.compare_exchange_word(&writer, at.offset / 8, expected, new)
    }
}

impl<M: Machine> GuestWords for Bits<'_, M> {
    #[inline]
    fn load(&self, at: Place) -> u64 {
        self.pages.load(at)
    }

    #[inline]
    fn compare_exchange(&self, at: Place, expected: u64, new: u64) -> Result<(), u64> {
        self.pages.compare_exchange(at, expected, new)
    }
}

impl<M: Machine> SharedWords for Bits<'_, M> {
    #[inline]
    fn shared_info(&self) -> Mfn {
        self.shared_info
    }

    #[inline]
    fn vcpu_info(&self, vcpu: VcpuId) -> Place {
        self.vcpus[vcpu as usize].info.place()
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
