//! What touches no machine: the host tests it, and the test driver reads the names of the attacks from it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod digest;
pub mod fatal;
pub mod generate;
pub mod options;
pub mod pc;
pub mod random;
pub mod rings;
pub mod tally;
