//! Hypercalls, exceptions and events on a whole machine in memory: a domain built as at boot, whose kernel
//! fills registers and memory and calls.
//!
//! The world and the guest that does anything serve fuzz targets too, by the feature `fake`.

#[cfg(test)]
mod batches;
#[cfg(test)]
mod channels;
#[cfg(test)]
mod consoles;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod domains;
#[cfg(test)]
mod events;
#[cfg(test)]
mod exceptions;
#[cfg(test)]
mod fifo;
mod fuzz;
#[cfg(test)]
mod good;
#[cfg(test)]
mod grants;
#[cfg_attr(not(test), allow(dead_code))]
mod machine;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod pc;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod ring3;
#[cfg(test)]
mod segments;
#[cfg(test)]
mod switch;
#[cfg(test)]
mod timers;
#[cfg(test)]
mod vcpu_events;
#[cfg_attr(not(test), allow(dead_code))]
mod world;
#[cfg(test)]
mod xenstore;
#[cfg(test)]
mod xstate;

pub use fuzz::several_guests;
