//! The real machine behind `core`'s traits: frames through the direct map, the processors' tables and
//! registers, the clock and the serial port.

mod memory;
mod processor;
mod tlb;

use alloc::vec::Vec;
use core::cell::Cell;

use paravane_core::addr::{DomainId, ENTRIES, Mfn};

use crate::cpu::local::{self, Local};
use crate::direct_map;
use crate::entry::area::EntryArea;

/// One processor, as far as the hypervisor's lock guards it.
pub struct Cpu {
    local: &'static Local,
    /// Physical address of the table that guests run on here: a copy of the current guest's L4 with the
    /// hypervisor's slots (invariant 1).
    guest_root: u64,
    /// The guest L4 that `guest_root` is a copy of.
    loaded: Cell<Option<Mfn>>,
    /// Whose vcpu it runs.
    running: Cell<Option<(DomainId, u32)>>,
    area: EntryArea,
    user_code_present: Cell<bool>,
}

impl Cpu {
    /// Takes over what boot has laid out. `guest_root` must hold the hypervisor's slots already.
    pub fn new(local: &'static Local, guest_root: u64, area: EntryArea) -> Self {
        Self {
            local,
            guest_root,
            loaded: Cell::new(None),
            running: Cell::new(None),
            area,
            user_code_present: Cell::new(true),
        }
    }

    fn root_word(&self, slot: usize) -> *mut u64 {
        assert!(slot < ENTRIES, "L4 slot {slot}");
        direct_map::pointer::<u64>(self.guest_root + slot as u64 * 8)
    }

    /// Whether it runs a vcpu of the domain's whose bit is set.
    fn runs(&self, domain: DomainId, vcpus: u64) -> bool {
        self.running.get().is_some_and(|(id, vcpu)| id == domain && vcpus >> vcpu & 1 != 0)
    }
}

/// The processors with the memory of the machine.
pub struct Hardware {
    /// One past the last frame of RAM.
    end: Mfn,
    /// Physical address of the machine-to-physical table.
    m2p: u64,
    /// By number.
    cpus: Vec<Cpu>,
    /// The processors have TSC_AUX.
    has_tsc_aux: bool,
    /// Flushes asked for: of everything, of one page.
    flushes: [Cell<u64>; 2],
}

impl Hardware {
    /// The machine with these processors, by number.
    pub fn new(end: Mfn, m2p: u64, cpus: Vec<Cpu>) -> Self {
        let has_tsc_aux = crate::cpu::has_tsc_aux();
        Self { end, m2p, cpus, has_tsc_aux, flushes: [Cell::new(0), Cell::new(0)] }
    }

    /// The processor this runs on.
    #[inline]
    fn this(&self) -> &Cpu {
        &self.cpus[local::this_cpu()]
    }

    #[inline]
    fn this_mut(&mut self) -> &mut Cpu {
        &mut self.cpus[local::this_cpu()]
    }
}
