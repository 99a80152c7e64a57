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
use pv_probe::memory::{PAGE, events_masked, mask_events};
use pv_probe::{ring, user};

use super::tables::{Mapped, frame};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "set_trap_table",
    &[
        Case::good("replaces", "an entry replaces its vector's handler, and leaves the others", replaces),
        Case::good("null", "a null pointer takes all handlers away", null),
        Case::good("empty", "a list of nothing changes nothing", empty),
        Case::good("last-counts", "of several entries for a vector the last one counts", last_counts),
        Case::good("long", "a list is not limited to the number of vectors", long),
        Case::good("masks", "a handler is entered with events masked if its flags say so", masks),
        Case::good("privilege", "int n of a program reaches a handler of privilege level 3", privilege),
        Case::refusal("pointers", "arrays that cannot be read", unreadable),
        Case::refusal("end-unreadable", "an array whose end cannot be read", end_unreadable),
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

fn empty(t: &mut Trial) -> Verdict {
    let behind = [END, handler(vector::UD, stub(vector::DE.into())), END];
    t.succeeds("set", set(&behind));
    t.raises("invalid-opcode", &invalid_opcode(), vector::UD.into(), None);
    Ok(())
}

fn last_counts(t: &mut Trial) -> Verdict {
    let entries = [vector::DE, vector::OF, vector::BR].map(|to| handler(vector::UD, stub(to.into())));
    t.succeeds("set", set(&[entries[0], entries[1], entries[2], END]));
    t.raises("invalid-opcode", &invalid_opcode(), vector::BR.into(), None);
    Ok(())
}

fn long(t: &mut Trial) -> Verdict {
    let mut entries = [handler(vector::UD, stub(vector::DE.into())); 300];
    entries[298] = handler(vector::UD, stub(vector::OF.into()));
    entries[299] = END;
    t.succeeds("set", set(&entries));
    t.raises("invalid-opcode", &invalid_opcode(), vector::OF.into(), None);
    Ok(())
}

fn masks(t: &mut Trial) -> Verdict {
    for (name, flags, want) in
        [("without", TrapFlags::empty(), false), ("with", TrapFlags::MASK_EVENTS, true)]
    {
        let entry = TrapInfo::new(vector::UD, flags, ring::code(), stub(vector::UD.into()));
        t.succeeds(name, set(&[entry, END]));
        mask_events(false);
        let caught = invalid_opcode();
        t.same(format_args!("{name}.masked"), events_masked(), want);
        mask_events(true);
        t.raises(format_args!("{name}.invalid-opcode"), &caught, vector::UD.into(), None);
    }
    Ok(())
}

fn privilege(t: &mut Trial) -> Verdict {
    // In ring 1 the entry that masks is the one with a frame as in ring 3 (paravane_abi::ring1).
    let flags = TrapFlags::DPL3 | TrapFlags::MASK_EVENTS;
    t.succeeds("set", set(&[TrapInfo::new(0x80, flags, ring::code(), stub(0x50)), END]));
    // int 0x80
    t.raises("interrupt", &user::run(&[0xcd, 0x80], &[0; 15]), 0x50, None);
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || raw(HYPERVISOR_SET_TRAP_TABLE, [address, 0, 0, 0, 0]));
    }
    Ok(())
}

fn end_unreadable(t: &mut Trial) -> Verdict {
    let page = Mapped::new(0, frame());
    let last = page.address() + PAGE - size_of::<TrapInfo>() as u64;
    // SAFETY: within the page; behind it nothing is mapped.
    unsafe { (last as *mut TrapInfo).write(handler(vector::UD, stub(vector::DE.into()))) };
    t.refused("set", Errno::EFAULT, || raw(HYPERVISOR_SET_TRAP_TABLE, [last, 0, 0, 0, 0]));
    t.raises("first-entry", &invalid_opcode(), vector::DE.into(), None);
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
