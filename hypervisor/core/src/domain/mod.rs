//! Domains and their vcpus: what the hypervisor remembers of a guest.
//!
//! State is kept in architectural form (selectors, descriptors, addresses as the guest gave them): what a
//! processor is loaded with is worked out from it when a vcpu starts to run, and nowhere else.

mod shared;
mod vcpu;

pub use shared::{Bits, SharedPages, upcall};
pub use vcpu::{Callback, Callbacks, InfoPlace, Nmi, RunState, TRAPS, Vcpu};

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::addr::{DomainId, Mfn};
use crate::build::{Action, Actions, Plan};
use crate::console::LineBuffer;
use crate::descriptor::Policy;
use crate::event::{Port, PortTable};
use crate::grant::GrantTable;
use crate::pagetable::DomainMemory;
use crate::pc::Pc;
use paravane_abi::memory::E820Entry;

/// Why a domain stopped, by its own account or the hypervisor's (`SHUTDOWN_*`, `xen/sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Power off.
    PowerOff,
    /// Start again.
    Reboot,
    /// Suspend.
    Suspend,
    /// It crashed, or the hypervisor crashed it.
    Crash,
    /// Its watchdog fired.
    Watchdog,
    /// Soft reset.
    SoftReset,
}

impl Shutdown {
    /// The reason a guest gives, by its number; an unknown one is refused.
    pub fn from_reason(reason: u32) -> Option<Self> {
        Some(match reason {
            0 => Self::PowerOff,
            1 => Self::Reboot,
            2 => Self::Suspend,
            3 => Self::Crash,
            4 => Self::Watchdog,
            5 => Self::SoftReset,
            _ => return None,
        })
    }

    /// What was configured to follow.
    pub fn action(self, actions: &Actions) -> Action {
        match self {
            // Nothing here can resume a suspended domain: it is over.
            Self::PowerOff | Self::Suspend => actions.on_poweroff,
            Self::Reboot | Self::SoftReset => actions.on_reboot,
            Self::Crash => actions.on_crash,
            Self::Watchdog => actions.on_watchdog,
        }
    }
}

/// Watchdog timers of a domain (Xen's NR_DOMAIN_WATCHDOG_TIMERS).
pub const WATCHDOGS: usize = 2;

/// How far a domain's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its vcpus may run.
    Running,
    /// It has stopped, and waits for what was configured.
    Stopped,
    /// It has stopped and is kept as it is.
    Preserved,
    /// What it had is being given back; it can be named no more.
    Dying,
}

/// A ring of a domain's that the hypervisor serves.
#[derive(Clone, Copy, Debug)]
pub struct RingPlace {
    /// The frame of the ring page.
    pub frame: Mfn,
    /// The guest's end of the event channel.
    pub port: Port,
    /// A reference and a use as writable are held of the frame: until the domain dies.
    pub held: bool,
}

/// One guest.
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// Its name, for the log.
    pub name: String,
    /// Where its kernel runs; the paging policy follows from it.
    pub policy: Policy,
    /// Its part of the paging state.
    pub memory: DomainMemory,
    /// Event channels.
    pub ports: PortTable,
    /// What it lends, and what it maps of others'.
    pub grants: GrantTable,
    /// Its vcpus, by number.
    pub vcpus: Vec<Vcpu>,
    /// The shared-info page.
    pub shared_info: Mfn,
    /// The console ring.
    pub console: RingPlace,
    /// The ring to xenstore.
    pub store: RingPlace,
    /// Its page of interrupts that need an end, held as its rings are (`PHYSDEVOP_pirq_eoi_gmfn_v2`).
    pub eoi_page: Option<Mfn>,
    /// What it has printed of a line, while another domain has the console.
    pub lines: LineBuffer,
    /// `VMASST_TYPE_*` bits that are on.
    pub vm_assist: u64,
    /// Set when it has stopped.
    pub shutdown: Option<Shutdown>,
    /// How far its life has come.
    pub life: Life,
    /// What follows when it stops.
    pub actions: Actions,
    /// How long its vcpus have run, in nanoseconds: known when they are through.
    pub ran: u64,
    /// How often it has been started again.
    pub restarts: u32,
    /// What it was built by, and is built by again.
    pub plan: Arc<Plan<'static>>,
    /// When its watchdog timers bite, in system time (`SCHEDOP_watchdog`).
    pub watchdogs: [Option<u64>; WATCHDOGS],
    /// What makes it a PC, if it is one.
    pub(crate) pc: Option<Box<Pc>>,
    /// Its memory map, as it is told when it asks (`XENMEM_memory_map`).
    pub memory_map: Vec<E820Entry>,
}

impl Domain {
    /// The vcpu with a number.
    pub fn vcpu(&self, id: u32) -> Option<&Vcpu> {
        self.vcpus.get(id as usize)
    }

    /// Whether its vcpus may run.
    pub fn may_run(&self) -> bool {
        self.life == Life::Running && self.shutdown.is_none()
    }
}
