//! Behaviours a domain turns on or off: `vm_assist` (`xen/xen.h`).

use crate::macros::xen_constants;

pub use crate::hypercall::vm_assist::*;

xen_constants! {
    /// 32-bit guests: simulate 4 GiB segment limits.
    pub const VMASST_TYPE_4GB_SEGMENTS: u32 = 0 => VMASST_TYPE_4gb_segments;
    /// 32-bit guests: tell when that happens.
    pub const VMASST_TYPE_4GB_SEGMENTS_NOTIFY: u32 = 1 => VMASST_TYPE_4gb_segments_notify;
    /// Emulate the writes of page tables that a kernel makes by mappings for reading.
    pub const VMASST_TYPE_WRITABLE_PAGETABLES: u32 = 2 => VMASST_TYPE_writable_pagetables;
    /// 32-bit guests: top-level tables may lie above 4 GiB.
    pub const VMASST_TYPE_PAE_EXTENDED_CR3: u32 = 3 => VMASST_TYPE_pae_extended_cr3;
    /// The guest's I/O privilege level is the one in its RFLAGS.
    pub const VMASST_TYPE_ARCHITECTURAL_IOPL: u32 = 4 => VMASST_TYPE_architectural_iopl;
    /// Mark runstate updates by `XEN_RUNSTATE_UPDATE`.
    pub const VMASST_TYPE_RUNSTATE_UPDATE_FLAG: u32 = 5 => VMASST_TYPE_runstate_update_flag;
    /// Hide the machine-to-physical table from user mode.
    pub const VMASST_TYPE_M2P_STRICT: u32 = 32 => VMASST_TYPE_m2p_strict;
}
