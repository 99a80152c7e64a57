//! The small runtime that the user programs share.
#![no_std]
