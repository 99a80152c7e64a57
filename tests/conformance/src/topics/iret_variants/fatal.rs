//! Contexts that cannot be read, and a program without page tables.

use paravane_abi::hypercall::HYPERVISOR_IRET;
use pv_probe::memory::{DATA, PAGE, WINDOW, map_new};
use pv_probe::{guard, ring, user};

use crate::case::{Case, Rings, Verdict};
use crate::code::kernel;
use crate::rows::pointers;
use crate::trial::Trial;

/// A page at the end of which a context would begin.
const MAPPED: u64 = WINDOW + 0x3300_0000;

/// The cases.
pub const CASES: &[Case] = &[
    Case::fatal("stack-not-mapped", "RSP where nothing is mapped", |_| at(MAPPED + PAGE)),
    Case::fatal("stack-null", "RSP 0", |_| at(0)),
    Case::fatal("stack-hypervisor", "RSP in the hypervisor's range", |_| at(pointers::HYPERVISOR)),
    Case::fatal("stack-not-canonical", "RSP that is no address", |_| at(pointers::NOT_CANONICAL)),
    Case::fatal("stack-straddles", "a context whose end is not mapped", straddles),
    Case::fatal("no-program-tables", "a program, when new_user_baseptr was not called", no_tables)
        .rings(Rings::Three("kernel and programs share their tables in ring 1")),
];

/// Calls `iret` with this stack pointer.
fn at(stack: u64) -> Verdict {
    let [a, b] = ring::hypercall();
    // mov rsp, rdi; mov eax, 23; the call
    kernel(&[0x48, 0x89, 0xfc, 0xb8, HYPERVISOR_IRET as u8, 0, 0, 0, a, b], stack);
    Ok(())
}

fn straddles(_: &mut Trial) -> Verdict {
    map_new(MAPPED, DATA);
    at(MAPPED + PAGE - 64)
}

fn no_tables(_: &mut Trial) -> Verdict {
    // SAFETY: no program runs.
    unsafe { guard::leave(&user::frame(), &[0; 15]) };
    Ok(())
}
