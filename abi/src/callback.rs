//! Entry points of the guest kernel: `callback_op` (`xen/callback.h`).

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::callback_op::*;

xen_constants! {
    /// Events.
    pub const CALLBACKTYPE_EVENT: u16 = 0 => CALLBACKTYPE_event;
    /// Guest state that cannot be restored.
    pub const CALLBACKTYPE_FAILSAFE: u16 = 1 => CALLBACKTYPE_failsafe;
    /// `syscall` by a 64-bit program.
    pub const CALLBACKTYPE_SYSCALL: u16 = 2 => CALLBACKTYPE_syscall;
    /// 32-bit hypervisors only.
    pub const CALLBACKTYPE_SYSENTER_DEPRECATED: u16 = 3 => CALLBACKTYPE_sysenter_deprecated;
    /// NMIs.
    pub const CALLBACKTYPE_NMI: u16 = 4 => CALLBACKTYPE_nmi;
    /// `sysenter` by a program.
    pub const CALLBACKTYPE_SYSENTER: u16 = 5 => CALLBACKTYPE_sysenter;
    /// `syscall` by a 32-bit program.
    pub const CALLBACKTYPE_SYSCALL32: u16 = 7 => CALLBACKTYPE_syscall32;
    /// In [`CallbackRegister::flags`]: mask events on entry. Those for events and NMIs always do.
    pub const CALLBACKF_MASK_EVENTS: u16 = 1 => CALLBACKF_mask_events;
}

/// Argument of [`CALLBACKOP_REGISTER`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CallbackRegister {
    /// `CALLBACKTYPE_*`.
    pub kind: u16,
    /// [`CALLBACKF_MASK_EVENTS`] or 0.
    pub flags: u16,
    /// Padding.
    pub pad: u32,
    /// Virtual address.
    pub address: u64,
}

impl CallbackRegister {
    /// A registration of `address` for `CALLBACKTYPE_*` `kind`.
    pub const fn new(kind: u16, flags: u16, address: u64) -> Self {
        Self { kind, flags, pad: 0, address }
    }
}

/// Argument of [`CALLBACKOP_UNREGISTER`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CallbackUnregister {
    /// `CALLBACKTYPE_*`.
    pub kind: u16,
    /// Unused.
    pub unused: u16,
}

xen_structs! {
    "struct callback_register" = CallbackRegister { kind = "type", flags, address } pad { pad }
    "struct callback_unregister" = CallbackUnregister { kind = "type", unused = "_unused" }
}
