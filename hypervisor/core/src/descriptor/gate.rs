//! IDT gates (SDM volume 3, section 6.14.1), and which of a guest's traps need no hypervisor.

use super::{Policy, RING1_CS64};
use crate::addr::VirtAddr;
use paravane_abi::ring1::{DIRECT_GATE_FIRST, DIRECT_GATE_LAST};
use paravane_abi::trap::TrapInfo;

/// A 16-byte IDT entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate(pub [u64; 2]);

const INTERRUPT: u64 = 0xe;
const TRAP: u64 = 0xf;

impl Gate {
    /// An entry that raises #NP when used.
    pub const ABSENT: Gate = Gate([0, 0]);

    /// A gate that clears IF on entry. `ist` 0 means no stack switch by table.
    pub const fn interrupt(target: u64, selector: u16, dpl: u8, ist: u8) -> Gate {
        Gate::new(target, selector, dpl, ist, INTERRUPT)
    }

    /// A gate that leaves IF as it is.
    pub const fn trap(target: u64, selector: u16, dpl: u8, ist: u8) -> Gate {
        Gate::new(target, selector, dpl, ist, TRAP)
    }

    const fn new(target: u64, selector: u16, dpl: u8, ist: u8, kind: u64) -> Gate {
        const PRESENT: u64 = 1 << 47;
        let low = (target & 0xffff)
            | ((selector as u64) << 16)
            | (((ist & 7) as u64) << 32)
            | (kind << 40)
            | (((dpl & 3) as u64) << 45)
            | PRESENT
            | (((target >> 16) & 0xffff) << 48);
        Gate([low, target >> 32])
    }

    /// Where the gate leads.
    pub const fn target(self) -> u64 {
        (self.0[0] & 0xffff) | (((self.0[0] >> 48) & 0xffff) << 16) | (self.0[1] << 32)
    }

    /// The code selector it loads.
    pub const fn selector(self) -> u16 {
        (self.0[0] >> 16) as u16
    }

    /// The least privileged ring that may use it by `int n`.
    pub const fn dpl(self) -> u8 {
        ((self.0[0] >> 45) & 3) as u8
    }

    /// The interrupt stack table slot, 0 for none.
    pub const fn ist(self) -> u8 {
        ((self.0[0] >> 32) & 7) as u8
    }

    /// Whether it leaves IF as it is.
    pub const fn is_trap(self) -> bool {
        (self.0[0] >> 40) & 0xf == TRAP
    }

    /// Whether it is present.
    pub const fn is_present(self) -> bool {
        (self.0[0] >> 47) & 1 == 1
    }
}

/// Vectors that may lead from ring 3 to ring 1 without the hypervisor: none that a CPU or the hypervisor raises
/// by itself, so that nothing but an `int n` of the guest's own can use them.
const DIRECT: core::ops::RangeInclusive<u8> = DIRECT_GATE_FIRST..=DIRECT_GATE_LAST;

/// The gate that leads directly from ring 3 to a ring-1 kernel's handler, if the trap qualifies.
///
/// Only with DPL 3 and without event masking (a CPU cannot set the mask byte). It is a trap gate: an interrupt
/// gate would let a guest run with IF clear. The kernel's own 64-bit segment is used whatever selector the
/// guest names, as for bounced traps.
pub fn direct_gate(policy: Policy, trap: &TrapInfo) -> Option<Gate> {
    let qualifies = policy == Policy::Ring1
        && DIRECT.contains(&trap.vector)
        && trap.dpl() == 3
        && !trap.masks_events()
        && trap.address != 0
        && VirtAddr::is_guest(trap.address);
    qualifies.then(|| Gate::trap(trap.address, RING1_CS64, 3, 0))
}
