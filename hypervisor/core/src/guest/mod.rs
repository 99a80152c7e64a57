//! What happens between the running guest and the hypervisor outside hypercalls: its exceptions, the
//! instructions that are emulated for it, the events it is given, and its end.

mod console;
mod deliver;
mod emulation;
mod exception;
mod keys;
mod ldt;
mod load;
mod nmi;
mod recount;
mod ring;
mod runnable;
mod switch;
mod timers;
mod view;
mod xenstore;

pub use console::TYPED_MAX;
pub use exception::{EXIT_FAULT, VECTOR_SYSCALL, VECTOR_SYSCALL32};
pub use view::Processor;
