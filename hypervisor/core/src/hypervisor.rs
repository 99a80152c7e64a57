//! The whole of what is decided at run time: all domains, the frame table, and who runs where.
//!
//! One lock, the caller's, stands around it; a processor that has taken the lock calls [`Hypervisor::enter`]
//! first. An entry from a guest calls one of [`Hypervisor::hypercall`], [`Hypervisor::exception`] or
//! [`Hypervisor::timer_interrupt`], and then [`Hypervisor::prepare_return`] says what the processor does next.
//! The running vcpu's general registers stand on the entry stack and are passed in; all other state is here.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use paravane_abi::errno::Errno;
use paravane_abi::ring1::Ring1Counters;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::addr::{DomainId, Mfn, PAGE_SHIFT};
use crate::calls::Stop;
use crate::console::Terminal;
use crate::cpu::Cpu;
use crate::descriptor::{Policy, RESERVED_ENTRIES, reserved_gdt_page};
use crate::domain::{Domain, SharedPages, Vcpu};
use crate::frame::FrameTable;
use crate::guest::{Processor, TYPED_MAX};
use crate::guest_memory::{Access, GuestMemory};
use crate::lifecycle::Job;
use crate::machine::Machine;
use crate::pagetable::Budget;
use crate::sched::{Scheduler, Settings};
use crate::time::Clock;
use crate::trace::Trace;
use crate::xenstore::Xenstore;

/// What the processor does after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Returns to the guest with the registers it was given.
    Guest,
    /// Waits for an interrupt; no vcpu can run here.
    Idle,
    /// Gives up the lock, takes the interrupts that wait, and asks again: there is work left that is no guest's.
    Work,
    /// Stops the machine.
    Leave(Leave),
}

/// Why the machine stops: the worst that any domain's end stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leave {
    /// The domains powered off.
    PowerOff,
    /// A domain asked to be started again.
    Reboot,
    /// A domain crashed.
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
    /// The time since 1970 at system time 0: seconds, nanoseconds.
    pub wallclock: (u64, u32),
    /// What has happened so far.
    pub counters: Ring1Counters,
    /// What the processors are.
    pub processor: Processor,
    /// Who runs where.
    pub(crate) sched: Scheduler,
    /// The processor that has the lock.
    pub(crate) here: Cpu,
    /// All processors by number. The entry of the one that has the lock is out of date.
    pub(crate) cpus: Vec<Cpu>,
    /// Domains to be built and destroyed, in order.
    pub(crate) jobs: VecDeque<Job>,
    /// Frames that were free before there was a domain.
    pub(crate) baseline: u64,
    /// Who ran where.
    pub trace: Trace,
    /// Destructions that wait for other domains to unmap frames.
    pub(crate) lent: Vec<Job>,
    /// The worst end of a domain so far.
    pub(crate) verdict: Leave,
    /// The descriptors that every ring-1 guest has besides its own.
    pub(crate) reserved_gdt: [u64; RESERVED_ENTRIES],
    /// Typed on the serial port and not yet taken by a guest.
    pub(crate) typed: VecDeque<u8>,
    /// A guest's console output on its way to the serial port.
    pub(crate) output: Vec<u8>,
    /// Who has the console, and what guests may print beside.
    pub(crate) terminal: Terminal,
    /// Where guests find what they have and are told what to do.
    pub(crate) store: Xenstore,
    /// What is left of the running multicall's bounded step: its calls share one.
    pub(crate) step: Budget,
}

impl<M: Machine> Hypervisor<M> {
    /// A hypervisor without domains, for all processors that `machine` has. `wallclock` is the time since 1970
    /// at system time 0.
    pub fn new(
        mut machine: M,
        frames: FrameTable,
        clock: Clock,
        wallclock: (u64, u32),
        settings: Settings,
    ) -> Self {
        let count = machine.cpus();
        Self {
            processor: Processor::detect(&mut machine),
            sched: Scheduler::new(count, settings),
            here: Cpu::new(machine.this_cpu()),
            cpus: (0..count).map(Cpu::new).collect(),
            jobs: VecDeque::new(),
            baseline: frames.free_frames(),
            trace: Trace::default(),
            lent: Vec::new(),
            verdict: Leave::PowerOff,
            reserved_gdt: reserved_gdt_page(Policy::Ring1, [0; 2]),
            typed: VecDeque::with_capacity(TYPED_MAX),
            output: Vec::new(),
            terminal: Terminal::default(),
            machine,
            frames,
            domains: Vec::new(),
            clock,
            wallclock,
            counters: Ring1Counters::default(),
            store: Xenstore::new(),
            step: Budget::HYPERCALL,
        }
    }

    /// Says which processor has taken the lock.
    #[inline]
    pub fn enter(&mut self) {
        let number = self.machine.this_cpu();
        if number != self.here.number {
            self.change_cpu(number);
        }
    }

    #[cold]
    fn change_cpu(&mut self, number: usize) {
        let arriving = mem::replace(&mut self.cpus[number], Cpu::new(number));
        let left = mem::replace(&mut self.here, arriving);
        let place = left.number;
        self.cpus[place] = left;
    }

    /// A processor's state, whichever it is.
    pub(crate) fn cpu(&self, number: usize) -> &Cpu {
        if number == self.here.number { &self.here } else { &self.cpus[number] }
    }

    /// As [`Self::cpu`], to change.
    pub(crate) fn cpu_mut(&mut self, number: usize) -> &mut Cpu {
        if number == self.here.number { &mut self.here } else { &mut self.cpus[number] }
    }

    /// All processors.
    pub(crate) fn all_cpus(&self) -> impl Iterator<Item = &Cpu> {
        (0..self.cpus.len()).map(|number| self.cpu(number))
    }

    /// Index of the running domain.
    #[inline]
    pub(crate) fn current_domain(&self) -> usize {
        self.here.domain
    }

    /// The running domain.
    #[inline]
    pub(crate) fn domain(&self) -> &Domain {
        &self.domains[self.here.domain]
    }

    /// The running domain.
    #[inline]
    pub(crate) fn domain_mut(&mut self) -> &mut Domain {
        &mut self.domains[self.here.domain]
    }

    /// The running vcpu.
    #[inline]
    pub(crate) fn vcpu(&self) -> &Vcpu {
        &self.domain().vcpus[self.here.vcpu]
    }

    /// The running vcpu.
    #[inline]
    pub(crate) fn vcpu_mut(&mut self) -> &mut Vcpu {
        let vcpu = self.here.vcpu;
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
        self.memory_of(self.here.domain, self.here.vcpu)
    }

    /// A vcpu's memory as its kernel sees it.
    #[inline]
    pub(crate) fn memory_of(&self, domain: usize, vcpu: usize) -> Option<GuestMemory<'_, M>> {
        let domain = &self.domains[domain];
        let root: Mfn = domain.vcpus[vcpu].paging.base()?;
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
