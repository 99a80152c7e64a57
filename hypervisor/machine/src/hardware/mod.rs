//! The real machine behind `core`'s traits: frames through the direct map, the processors' tables and
//! registers, the clock and the serial port.

mod memory;
mod processor;
mod tlb;

use alloc::vec::Vec;
use core::cell::Cell;

use paravane_abi::mmu::MACH2PHYS_VIRT_START;
use paravane_abi::pte::PteFlags;
use paravane_core::addr::{DomainId, ENTRIES, Mfn};

use paravane_core::emulate::Mode;
use paravane_core::machine::Live;

use crate::cpu::fpu::Method;
use crate::cpu::local::{self, Local};
use crate::direct_map;
use crate::entry::area::EntryArea;

/// A table that guests run on: a copy of the current guest's L4 with the hypervisor's slots (invariant 1).
struct Root {
    /// Its physical address.
    physical: u64,
    /// The guest L4 that it is a copy of.
    loaded: Cell<Option<Mfn>>,
}

impl Root {
    fn word(&self, slot: usize) -> *mut u64 {
        assert!(slot < ENTRIES, "L4 slot {slot}");
        direct_map::pointer::<u64>(self.physical + slot as u64 * 8)
    }
}

/// One processor, as far as the hypervisor's lock guards it.
pub struct Cpu {
    local: &'static Local,
    /// The tables that guests run on here: that of kernels, which in ring 1 serves their programs too, and that of
    /// programs under a kernel in ring 3.
    roots: [Root; 2],
    /// Which of them, and which GS base, is the live one.
    live: Cell<Live>,
    /// Whose vcpu it runs.
    running: Cell<Option<(DomainId, u32)>>,
    area: EntryArea,
    user_code_present: Cell<bool>,
    /// What XCR0 holds.
    xcr0: Cell<u64>,
}

impl Cpu {
    /// Takes over what boot has laid out. The roots must hold the hypervisor's slots already.
    pub fn new(local: &'static Local, roots: [u64; 2], area: EntryArea) -> Self {
        Self {
            local,
            roots: roots.map(|physical| Root { physical, loaded: Cell::new(None) }),
            live: Cell::new(Live::Shared),
            running: Cell::new(None),
            area,
            user_code_present: Cell::new(true),
            xcr0: Cell::new(Method::detect().all()),
        }
    }

    /// The table for a half of the guest.
    const fn root(&self, half: Mode) -> &Root {
        match half {
            Mode::Kernel => &self.roots[0],
            Mode::User => &self.roots[1],
        }
    }

    /// Shows the M2P to ring 3 on the kernels' table, or only to ring 1.
    fn show_m2p(&self, to_ring3: bool) {
        let slot = self.root(Mode::Kernel).word((MACH2PHYS_VIRT_START >> 39 & 511) as usize);
        // SAFETY: this processor's own root, which nobody walks while ring 0 runs on its own.
        unsafe {
            let entry = slot.read_volatile() & !PteFlags::USER.bits();
            slot.write_volatile(entry | if to_ring3 { PteFlags::USER.bits() } else { 0 });
        }
    }

    /// Hides the M2P from the kernels' table, or has it there.
    fn hide_m2p(&self, hidden: bool) {
        let slot = self.root(Mode::Kernel).word((MACH2PHYS_VIRT_START >> 39 & 511) as usize);
        // SAFETY: as above. The entry leads to the same table as ever, or nowhere.
        unsafe {
            let entry = slot.read_volatile() & !PteFlags::PRESENT.bits();
            slot.write_volatile(entry | if hidden { 0 } else { PteFlags::PRESENT.bits() });
        }
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
    /// How they save x87 and vector state.
    fpu: Method,
    /// The processors have TSC_AUX.
    has_tsc_aux: bool,
    /// Flushes asked for: of everything, of one page.
    flushes: [Cell<u64>; 2],
}

impl Hardware {
    /// The machine with these processors, by number.
    pub fn new(end: Mfn, m2p: u64, cpus: Vec<Cpu>) -> Self {
        let has_tsc_aux = crate::cpu::has_tsc_aux();
        Self { end, m2p, cpus, fpu: Method::detect(), has_tsc_aux, flushes: [Cell::new(0), Cell::new(0)] }
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
