//! The boot-time domain builder: from boot modules to a domain's first memory contents.
//!
//! The steps, each in a file of its own: [`bundle`] splits the boot module QEMU passes, [`devicetree`] says what
//! to build, [`elf`] reads a kernel and its notes, [`layout`] decides where everything lies, [`populate`] writes it; a guest
//! that is to believe itself on a PC has [`pc`] for the last two.
//! [`Plan`] strings them together: [`Plan::all`] does everything that can fail, before a single frame is taken;
//! [`Plan::populate`] cannot fail.

pub mod bundle;
pub mod devicetree;
pub mod elf;
#[cfg(any(test, feature = "fake"))]
pub mod fake_kernel;
pub mod fdt;
pub mod layout;
pub mod pc;
pub mod plan;
pub mod policy;
pub mod populate;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod validation;

pub use devicetree::{DomainConfig, MachineKind};
pub use pc::PcStart;
pub use plan::{Arrangement, BuildError, Plan, Start};
pub use policy::{Action, Actions, Share};
pub use populate::{Identity, Populate, RingPorts, StartOfDay};
