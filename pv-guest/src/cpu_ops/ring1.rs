//! The machine `pv-ring1`: Paravane's extension of the Xen ABI. The kernel is in ring 1 and its pages are out of programs'
//! reach by paging, so both share a root table; `int 0x80` comes by a gate of the processor's, and returns are the
//! kernel's own `iretq`.

use paravane_abi::mmu::MACH2PHYS_VIRT_START;
use paravane_abi::ring1::{ENTRY_AREA, RING1_CS64, RING1_SS, USER_CS64, USER_RSP_SLOT, USER_SS};

use super::pv::Pv;
use super::{Entries, Facts, Machine, Selectors, hypercall};
use crate::arch::{cpuid, entry};

const SELECTORS: Selectors = Selectors { code: RING1_CS64, stack: RING1_SS };

/// The machine.
pub static MACHINE: Machine = Machine { ops: &Pv, facts: &FACTS };

static FACTS: Facts = Facts {
    name: "pv-ring1",
    ring: 1,
    shown_ring: 1,
    selectors: SELECTORS,
    shown: SELECTORS,
    user: Selectors { code: USER_CS64, stack: USER_SS },
    hypercalls: true,
    checked_tables: true,
    user_roots: false,
    // In ring 1 the mask stays set; and a gate that masks would lead through the hypervisor.
    entries_mask: false,
    entries: Entries {
        trap: entry::trap_stub,
        syscall: entry::syscall_entry,
        int80: entry::int80_entry,
        exit: entry::exit_by_iretq,
    },
    start: || (),
    cpuid: cpuid::forced,
    counters: Some(hypercall::read_counters),
    hidden: &[
        ("machine-to-physical", MACH2PHYS_VIRT_START),
        ("entry-area", ENTRY_AREA),
        ("entry-stack", USER_RSP_SLOT),
    ],
    test_prefix: "priv.ring1",
    not_applicable: &[
        ("ldt", "in ring 1 there is none"),
        ("nmi", "the next one waits for a return by hypercall, and in ring 1 this kernel returns by itself"),
    ],
};
