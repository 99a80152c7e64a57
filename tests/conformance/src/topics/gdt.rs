//! Descriptors of the cases' own.

use paravane_abi::hypercall::{HYPERVISOR_SET_GDT, HYPERVISOR_UPDATE_DESCRIPTOR};
use pv_probe::hypercall::raw;
use pv_probe::memory::{mfn, take};

use crate::case::{Stop, Verdict};

/// Data, writable, base 0, limit 4 GiB, level 3, accessed (SDM volume 3, 3.4.5).
pub const DATA: u64 = 0x00cf_f300_0000_ffff;
/// 64-bit code, readable, level 3, accessed.
pub const CODE64: u64 = 0x00af_fb00_0000_ffff;
/// Data that is not present.
pub const NOT_PRESENT: u64 = DATA & !(1 << 47);

/// A descriptor with another level.
#[must_use]
pub const fn with_level(descriptor: u64, level: u64) -> u64 {
    descriptor & !(3 << 45) | level << 45
}

/// A descriptor of data with a base below 4 GiB.
#[must_use]
pub const fn with_base(descriptor: u64, base: u64) -> u64 {
    descriptor & !0xff00_00ff_ffff_0000 | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56
}

/// A page of descriptors in use as the guest's GDT.
#[derive(Debug)]
pub struct Gdt {
    frame: u64,
}

impl Gdt {
    /// Puts these descriptors in a page, each with its index, and gives it to the hypervisor.
    ///
    /// # Errors
    /// When the hypervisor refuses.
    pub fn install(descriptors: &[(u64, u64)]) -> Result<Self, Stop> {
        let gdt = Self { frame: mfn(take()) };
        for &(index, descriptor) in descriptors {
            gdt.set(index, descriptor)?;
        }
        let frames = [gdt.frame];
        match raw(HYPERVISOR_SET_GDT, [frames.as_ptr() as u64, 512, 0, 0, 0]) {
            0 => Ok(gdt),
            result => Err(Stop::Error("set_gdt", result)),
        }
    }

    /// Changes a descriptor.
    ///
    /// # Errors
    /// When the hypervisor refuses.
    pub fn set(&self, index: u64, descriptor: u64) -> Verdict {
        match raw(HYPERVISOR_UPDATE_DESCRIPTOR, [(self.frame << 12) | (index * 8), descriptor, 0, 0, 0]) {
            0 => Ok(()),
            result => Err(Stop::Error("update_descriptor", result)),
        }
    }

    /// Takes the guest's part of the GDT away.
    ///
    /// # Errors
    /// When the hypervisor refuses.
    pub fn remove(self) -> Verdict {
        let frames = [0u64];
        match raw(HYPERVISOR_SET_GDT, [frames.as_ptr() as u64, 0, 0, 0, 0]) {
            0 => Ok(()),
            result => Err(Stop::Error("set_gdt", result)),
        }
    }
}
