//! The machine `pv-ring3`: Xen's own x86-64 ABI, on Paravane and on Xen. The kernel shares ring 3 with its programs, and
//! paging cannot tell them apart, so programs run on a root table without the kernel's half, and every way between the
//! two leads through the hypervisor.

use paravane_abi::mmu::MACH2PHYS_VIRT_START;
use paravane_abi::ring1::{USER_CS64, USER_SS};
use paravane_abi::segment::{FLAT_RING3_CS64, FLAT_RING3_SS64};
use paravane_abi::vm_assist::{VMASST_CMD_ENABLE, VMASST_TYPE_M2P_STRICT, VMASST_TYPE_WRITABLE_PAGETABLES};

use super::pv::Pv;
use super::{Entries, Facts, Machine, Selectors, hypercall};
use crate::arch::{cpuid, entry};

/// A frame shows ring 0 when this kernel was interrupted: that is how it tells itself from a program.
const SHOWN: Selectors = Selectors { code: FLAT_RING3_CS64 & !3, stack: FLAT_RING3_SS64 };

/// The machine.
pub static MACHINE: Machine = Machine { ops: &Pv, facts: &FACTS };

static FACTS: Facts = Facts {
    name: "pv-ring3",
    ring: 3,
    shown_ring: 3,
    selectors: Selectors { code: FLAT_RING3_CS64, stack: FLAT_RING3_SS64 },
    shown: SHOWN,
    user: Selectors { code: USER_CS64, stack: USER_SS },
    hypercalls: true,
    checked_tables: true,
    user_roots: true,
    // The mask alone decides whether this kernel is interrupted, and a program runs with it clear.
    entries_mask: true,
    entries: Entries {
        trap: entry::trap_stub,
        syscall: entry::ring3_system_call,
        int80: entry::ring3_system_call,
        exit: entry::exit_by_hypercall,
    },
    start,
    cpuid: cpuid::forced,
    counters: None,
    hidden: &[("machine-to-physical", MACH2PHYS_VIRT_START)],
    test_prefix: "priv.kernel",
    not_applicable: &[
        (
            "entry-area",
            "in ring 3 the hypervisor's pages are supervisor pages, and nothing of it is in reach",
        ),
        ("attack", "these are attacks of ring 1 on the way in and out that is made for it"),
    ],
};

/// Asks for what a domain that is not the first has to ask for: that stores to page tables are carried out, which the
/// lesson shows, and that programs cannot read the machine-to-physical table.
fn start() {
    for assist in [VMASST_TYPE_WRITABLE_PAGETABLES, VMASST_TYPE_M2P_STRICT] {
        // A hypervisor that does not know an assist has nothing to switch on.
        // SAFETY: assists change how this domain is treated, and nothing in its memory.
        let _ = unsafe { hypercall::vm_assist(VMASST_CMD_ENABLE, assist) };
    }
}
