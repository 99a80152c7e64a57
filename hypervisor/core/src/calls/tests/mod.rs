//! Hypercalls, exceptions and events on a whole machine in memory: a domain built as at boot, whose kernel
//! fills registers and memory and calls.

mod batches;
mod channels;
mod crash;
mod domains;
mod events;
mod exceptions;
mod fifo;
mod fuzz;
mod good;
mod grants;
mod machine;
mod memory;
mod refusals;
mod refused;
mod ring3;
mod switch;
mod timers;
mod vcpu_events;
mod world;
