//! The whole of what is decided at run time: all domains, the frame table, and which vcpu runs.
//!
//! One lock, the caller's, stands around it. An entry from a guest calls one of [`Hypervisor::hypercall`],
//! [`Hypervisor::exception`] or [`Hypervisor::timer_interrupt`], and then [`Hypervisor::prepare_return`] says
//! what the processor does next. The running vcpu's general registers stand on the entry stack and are passed
//! in; all other state is here.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::ring1::Ring1Counters;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::addr::{DomainId, Mfn, PAGE_SHIFT};
use crate::calls::Stop;
use crate::descriptor::{Policy, RESERVED_ENTRIES, reserved_gdt_page};
use crate::domain::{Domain, InfoPlace, SharedPages, Vcpu};
use crate::frame::FrameTable;
use crate::guest::{Processor, TYPED_MAX};
use crate::guest_memory::{Access, GuestMemory};
use crate::machine::Machine;
use crate::pagetable::Budget;
use crate::time::Clock;

/// What the processor does after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Returns to the guest with the registers it was given.
    Guest,
    /// Waits for an interrupt; no vcpu can run.
    Idle,
    /// Stops the machine.
    Leave(Leave),
}

/// Why the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The last domain powered off.
    PowerOff,
    /// The last domain asked to be started again.
    Reboot,
    /// The last domain crashed.
    Crash,
}

/// All of it.
pub struct Hypervisor<M> {
    /// The machine.
    pub machine: M,
    /// Every frame.
    pub frames: FrameTable,
    /// Every domain.
    pub domains: Vec<Domain>,
    /// The clock all domains' time comes from.
    pub clock: Clock,
    /// What has happened so far.
    pub counters: Ring1Counters,
    /// What the processor is.
    pub processor: Processor,
    /// The descriptors that every ring-1 guest has besides its own.
    pub(crate) reserved_gdt: [u64; RESERVED_ENTRIES],
    /// Whether ring-3 code segments are marked present (invariant 8).
    pub(crate) user_code_present: bool,
    /// Typed on the serial port and not yet taken by a guest.
    pub(crate) typed: VecDeque<u8>,
    /// A guest's console output on its way to the serial port.
    pub(crate) output: Vec<u8>,
    /// What is left of the running multicall's bounded step: its calls share one.
    pub(crate) step: Budget,
    /// The next return must look whether the running vcpu may run at all: it has blocked, or its domain has
    /// stopped, since the last one.
    pub(crate) attention: bool,
    /// Where the running vcpu's `vcpu_info` is, for the look at every return.
    pub(crate) info: InfoPlace,
    /// Index of the domain whose vcpu runs.
    pub(crate) running_domain: usize,
    /// Number of the vcpu that runs.
    pub(crate) running_vcpu: usize,
    /// The deadline that the machine's timer is armed for, in system time.
    pub(crate) armed: Option<u64>,
}

impl<M: Machine> Hypervisor<M> {
    /// A hypervisor without domains.
    pub fn new(machine: M, frames: FrameTable, clock: Clock) -> Self {
        Self {
            processor: Processor::detect(&machine),
            reserved_gdt: reserved_gdt_page(Policy::Ring1, [0; 2]),
            user_code_present: true,
            typed: VecDeque::with_capacity(TYPED_MAX),
            output: Vec::new(),
            machine,
            frames,
            domains: Vec::new(),
            clock,
            counters: Ring1Counters::default(),
            step: Budget::HYPERCALL,
            attention: true,
            info: InfoPlace { frame: Mfn::new(0), offset: 0, registered: false },
            running_domain: 0,
            running_vcpu: 0,
            armed: None,
        }
    }

    /// Index of the running domain.
    #[inline]
    pub(crate) fn current_domain(&self) -> usize {
        self.running_domain
    }

    /// The running domain.
    #[inline]
    pub(crate) fn domain(&self) -> &Domain {
        &self.domains[self.running_domain]
    }

    /// The running domain.
    #[inline]
    pub(crate) fn domain_mut(&mut self) -> &mut Domain {
        &mut self.domains[self.running_domain]
    }

    /// The running vcpu.
    #[inline]
    pub(crate) fn vcpu(&self) -> &Vcpu {
        &self.domain().vcpus[self.running_vcpu]
    }

    /// The running vcpu.
    #[inline]
    pub(crate) fn vcpu_mut(&mut self) -> &mut Vcpu {
        let vcpu = self.running_vcpu;
        &mut self.domain_mut().vcpus[vcpu]
    }

    /// Where a domain stands in the list.
    pub(crate) fn domain_index(&self, id: DomainId) -> Option<usize> {
        self.domains.iter().position(|domain| domain.id == id)
    }

    /// The pages shared with the running domain.
    #[inline]
    pub(crate) fn shared(&self) -> SharedPages<'_, M> {
        SharedPages::new(&self.frames, &self.machine, self.domain().id)
    }

    /// The running domain's memory as its kernel sees it.
    #[inline]
    pub(crate) fn kernel_memory(&self) -> Option<GuestMemory<'_, M>> {
        let domain = self.domain();
        let root: Mfn = self.vcpu().paging.base()?;
        Some(GuestMemory::kernel(&self.frames, &self.machine, domain.id, root))
    }

    /// Reads a structure of the guest kernel's.
    #[inline]
    pub(crate) fn read_guest<T: FromBytes + IntoBytes>(&self, address: u64) -> Result<T, Stop> {
        let memory = self.kernel_memory().ok_or(Errno::EFAULT)?;
        Ok(memory.read(address)?)
    }

    /// Reads bytes of the guest kernel's.
    pub(crate) fn read_guest_bytes(&self, address: u64, bytes: &mut [u8]) -> Result<(), Stop> {
        let memory = self.kernel_memory().ok_or(Errno::EFAULT)?;
        Ok(memory.copy_from_guest(address, bytes)?)
    }

    /// Writes a structure, of at most a page, to the guest kernel's memory: all of it or none.
    #[inline]
    pub(crate) fn write_guest<T: IntoBytes + Immutable>(&self, address: u64, value: &T) -> Result<(), Stop> {
        let memory = self.kernel_memory().ok_or(Errno::EFAULT)?;
        let last = address.wrapping_add(size_of::<T>() as u64 - 1);
        if (address ^ last) >> PAGE_SHIFT != 0 {
            memory.translate(last, Access::Write)?;
        }
        Ok(memory.write(address, value)?)
    }
}
