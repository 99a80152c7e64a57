//! What the tests of Paravane share: exit statuses, the reader of a guest's console, the debug-stub and
//! pseudo-terminal drivers, the conformance suite from outside, and the scenarios that run a whole machine under QEMU.

pub mod compare;
pub mod conformance;
pub mod console;
pub mod driver;
pub mod elf;
pub mod oracle;
pub mod rsp;
pub mod scenario;
pub mod source;
pub mod status;
pub mod trace;
pub mod walks;
