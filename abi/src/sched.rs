//! Scheduling: `sched_op` (`xen/sched.h`).

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::sched_op::*;

xen_constants! {
    /// Power off.
    pub const SHUTDOWN_POWEROFF: u32 = 0 => SHUTDOWN_poweroff;
    /// Restart.
    pub const SHUTDOWN_REBOOT: u32 = 1 => SHUTDOWN_reboot;
    /// Suspend; the third argument of the call is the start-info page's mfn.
    pub const SHUTDOWN_SUSPEND: u32 = 2 => SHUTDOWN_suspend;
    /// The guest crashed.
    pub const SHUTDOWN_CRASH: u32 = 3 => SHUTDOWN_crash;
    /// A watchdog ran out.
    pub const SHUTDOWN_WATCHDOG: u32 = 4 => SHUTDOWN_watchdog;
    /// Reset what the hypervisor holds for the domain; memory and vcpus stay.
    pub const SHUTDOWN_SOFT_RESET: u32 = 5 => SHUTDOWN_soft_reset;
    /// Largest reason.
    pub const SHUTDOWN_MAX: u32 = 5;
}

/// Argument of [`SCHEDOP_SHUTDOWN`] and [`SCHEDOP_SHUTDOWN_CODE`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SchedShutdown {
    /// `SHUTDOWN_*`.
    pub reason: u32,
}

/// Argument of [`SCHEDOP_POLL`]: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SchedPoll {
    /// Virtual address of an array of ports (u32).
    pub ports: u64,
    /// Number of ports, at most 128.
    pub nr_ports: u32,
    /// Padding.
    pub pad: u32,
    /// System time in nanoseconds to stop waiting at; 0 for never.
    pub timeout: u64,
}

/// Argument of [`SCHEDOP_REMOTE_SHUTDOWN`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SchedRemoteShutdown {
    /// Domain to shut down.
    pub domain_id: u16,
    /// Padding.
    pub pad: u16,
    /// `SHUTDOWN_*`.
    pub reason: u32,
}

/// Argument of [`SCHEDOP_WATCHDOG`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SchedWatchdog {
    /// 0 to set one, else its number.
    pub id: u32,
    /// Seconds; 0 stops it.
    pub timeout: u32,
}

/// Argument of [`SCHEDOP_PIN_OVERRIDE`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SchedPinOverride {
    /// CPU, or a negative number to undo.
    pub pcpu: i32,
}

xen_structs! {
    "struct sched_shutdown" = SchedShutdown { reason }
    "struct sched_poll" = SchedPoll { ports, nr_ports, timeout } pad { pad }
    "struct sched_remote_shutdown" = SchedRemoteShutdown { domain_id, reason } pad { pad }
    "struct sched_watchdog" = SchedWatchdog { id, timeout }
    "struct sched_pin_override" = SchedPinOverride { pcpu }
}
