//! What of the hypervisor ring 1 can read, before and after. A kernel in ring 3 can read nothing, and asks it for its
//! version alone.

use paravane_abi::ring1::{ENTRY_AREA, ENTRY_CODE_OFFSET, ENTRY_GDT_OFFSET, ENTRY_IDT_OFFSET};

use super::Report;
use crate::hypercall;
use crate::memory::PAGE;
use crate::ring;

/// Descriptors of ring 3's code in the reserved page, which are marked absent while an event waits.
const CHANGING: [usize; 2] = [4, 6];
/// The present bit of a descriptor.
const PRESENT: u64 = 1 << 47;
/// The first page of the GDT that is the hypervisor's.
const RESERVED: u64 = ENTRY_AREA + ENTRY_GDT_OFFSET + 14 * PAGE;

/// Sums over the hypervisor's descriptors, gates and entry code.
pub struct Watch {
    descriptors: u64,
    gates: u64,
    code: u64,
    version: i64,
}

fn fold(sum: u64, word: u64) -> u64 {
    (sum ^ word).wrapping_mul(0x100_0000_01b3)
}

fn word(page: u64, index: usize) -> u64 {
    // SAFETY: pages of the entry area that ring 1 can read.
    unsafe { (page as *const u64).add(index).read_volatile() }
}

fn now() -> Watch {
    if ring::is_3() {
        return Watch { descriptors: 0, gates: 0, code: 0, version: hypercall::null() };
    }
    let descriptors = (0..512).fold(1, |sum, index| {
        let mask = if CHANGING.contains(&index) { !PRESENT } else { !0 };
        fold(sum, word(RESERVED, index) & mask)
    });
    let gates = (0..512).fold(1, |sum, index| fold(sum, word(ENTRY_AREA + ENTRY_IDT_OFFSET, index)));
    let code = (0..512).fold(1, |sum, index| fold(sum, word(ENTRY_AREA + ENTRY_CODE_OFFSET, index)));
    Watch { descriptors, gates, code, version: hypercall::null() }
}

impl Watch {
    /// Looks for the first time.
    pub fn begin() -> Self {
        now()
    }

    /// Looks again: nothing has changed, and the hypervisor answers.
    pub fn look(&self, report: &mut Report) {
        let now = now();
        report.check(
            format_args!("the hypervisor's descriptors have changed"),
            now.descriptors == self.descriptors,
        );
        report.check(format_args!("the hypervisor's gates have changed"), now.gates == self.gates);
        report.check(format_args!("the entry code has changed"), now.code == self.code);
        report.check(format_args!("the null call gives {}", now.version), now.version == self.version);
    }
}
