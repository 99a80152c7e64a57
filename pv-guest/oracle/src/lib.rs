//! A kernel for ring 3 that observes its hypervisor. It boots as the first domain of Xen and as a domain of Paravane;
//! `case=NAME` on its command line makes it run one case, without it all are run. A case prints what it sees, one value a
//! line, `oracle: CASE.NAME = VALUE`; `cargo xtask oracle` boots both hypervisors and compares the lines
//! (`docs/oracle.md`).
//!
//! A value says the same on both when both behave alike: frames are told by the guest's numbers, addresses as distances
//! from where something begins. Where configuration makes a difference all the same, the case has the reason beside it
//! ([`case::Explained`]).
#![no_std]

pub mod case;
pub mod cases;
pub mod kernel;
