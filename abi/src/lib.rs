//! Xen 4.17's public x86-64 PV interface.
#![no_std]
