//! `set_trap_table(traps)`, call 0 (xen/include/public/arch-x86/xen.h, `struct trap_info`).
//!
//! The argument is an array that an entry with address 0 ends. Each entry replaces the handler of its vector: the code
//! selector, with a privilege level that the guest may have, the address, and in the flags the least privileged ring from
//! which `int n` may reach it, and whether entering it masks events. A null pointer takes all handlers away.
//!
//! Refused: pointers that cannot be read (`EFAULT`), addresses that are not canonical (`EINVAL`). Entries before the refused
//! one have been replaced.

use core::arch::global_asm;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_SET_TRAP_TABLE;
use paravane_abi::trap::{TrapFlags, TrapInfo, vector};
use pv_probe::guard::{self, guarded, stub};
use pv_probe::hypercall::raw;
use pv_probe::ring;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "set_trap_table",
    &[
        Case::good("replaces", "an entry replaces its vector's handler, and leaves the others", replaces),
        Case::good("null", "a null pointer takes all handlers away", null),
        Case::refusal("pointers", "arrays that cannot be read", unreadable),
        Case::refusal("not-canonical", "an address that is not canonical", not_canonical),
    ],
);

global_asm!(
    ".pushsection .text.conformance_ud2, \"ax\", @progbits",
    "conformance_ud2:",
    "    ud2",
    ".popsection"
);

unsafe extern "C" {
    fn conformance_ud2();
}

fn set(table: &[TrapInfo]) -> i64 {
    raw(HYPERVISOR_SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0, 0])
}

fn handler(number: u8, address: u64) -> TrapInfo {
    TrapInfo::new(number, TrapFlags::empty(), ring::code(), address)
}

const END: TrapInfo = TrapInfo::new(0, TrapFlags::empty(), 0, 0);

/// Where an invalid opcode leads.
fn invalid_opcode() -> guard::Caught {
    // SAFETY: one `ud2`.
    unsafe { guarded(conformance_ud2 as *const () as u64, 0) }
}

fn replaces(t: &mut Trial) -> Verdict {
    // Another vector's stub tells by its number that the handler is in use; neither has an error code.
    t.succeeds("set", set(&[handler(vector::UD, stub(vector::DE.into())), END]));
    t.raises("invalid-opcode", &invalid_opcode(), vector::DE.into(), None);
    t.succeeds("back", set(&[handler(vector::UD, stub(vector::UD.into())), END]));
    t.raises("invalid-opcode-again", &invalid_opcode(), vector::UD.into(), None);
    Ok(())
}

fn null(t: &mut Trial) -> Verdict {
    t.succeeds("clear", raw(HYPERVISOR_SET_TRAP_TABLE, [0; 5]));
    guard::initialise();
    t.raises("invalid-opcode", &invalid_opcode(), vector::UD.into(), None);
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || raw(HYPERVISOR_SET_TRAP_TABLE, [address, 0, 0, 0, 0]));
    }
    Ok(())
}

fn not_canonical(t: &mut Trial) -> Verdict {
    let entries = [
        handler(vector::UD, stub(vector::DE.into())),
        handler(vector::BR, pointers::NOT_CANONICAL),
        handler(vector::OF, stub(0)),
        END,
    ];
    t.refused("set", Errno::EINVAL, || set(&entries));
    // What stands before the refused entry counts.
    t.raises("first-entry", &invalid_opcode(), vector::DE.into(), None);
    Ok(())
}
