//! The little that the cases need of a kernel: calls, memory, a guard that catches what they raise, and lines.

pub mod boot;
pub mod guard;
pub mod hypercall;
pub mod memory;
pub mod print;
pub mod user;
