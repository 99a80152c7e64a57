//! The few devices a hypervisor cannot do without.

pub mod apic;
pub mod exit;
pub mod io_apic;
pub mod pic;
pub mod pit;
pub mod serial;
