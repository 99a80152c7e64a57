//! `fpu_taskswitch(set)`, call 5 (xen/include/public/xen.h).
//!
//! Sets CR0.TS for any number but 0, and clears it for 0: a kernel that switches its tasks' floating-point state lazily.
//! With TS set the next floating-point instruction raises #NM, which clears TS: the handler need not call back.
//!
//! Nothing is refused.

use core::arch::asm;

use paravane_abi::hypercall::HYPERVISOR_FPU_TASKSWITCH;
use paravane_abi::trap::vector;
use pv_probe::guard::{Caught, RETURNED, guarded};
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "fpu_taskswitch",
    &[
        Case::good("set", "TS is set: CR0 shows it, and floating point raises #NM", set),
        Case::good("any-number", "any number but 0 sets it, of the low 32 bits", any_number),
        Case::good("cleared", "0 clears it", cleared),
        Case::good("once", "#NM clears it", once),
    ],
)
.no_refusal("it takes any number");

const TS: u64 = 1 << 3;

fn switch(set: u64) -> i64 {
    raw(HYPERVISOR_FPU_TASKSWITCH, [set, 0, 0, 0, 0])
}

fn shown() -> u64 {
    let cr0: u64;
    // SAFETY: emulated; reading has no effect.
    unsafe { asm!("mov {}, cr0", out(reg) cr0) };
    cr0 & TS
}

extern "C" fn instruction() -> u64 {
    // SAFETY: changes nothing.
    unsafe { asm!("fnop") };
    1
}

fn floating_point() -> Caught {
    // SAFETY: an instruction without an effect.
    unsafe { guarded(instruction as *const () as u64, 0) }
}

fn set(t: &mut Trial) -> Verdict {
    t.equal("before", shown(), 0);
    t.succeeds("call", switch(1));
    t.equal("shown", shown(), TS);
    t.raises("floating-point", &floating_point(), vector::NM.into(), None);
    switch(0);
    Ok(())
}

fn any_number(t: &mut Trial) -> Verdict {
    for (name, number, want) in
        [("2", 2, TS), ("high-bit", 1 << 31, TS), ("all-bits", u64::MAX, TS), ("beyond-32", 1 << 32, 0)]
    {
        switch(0);
        t.succeeds(name, switch(number));
        t.equal(format_args!("{name}.shown"), shown(), want);
    }
    switch(0);
    Ok(())
}

fn cleared(t: &mut Trial) -> Verdict {
    t.succeeds("set", switch(1));
    t.succeeds("clear", switch(0));
    t.equal("shown", shown(), 0);
    t.raises("floating-point", &floating_point(), RETURNED, None);
    t.succeeds("again", switch(0));
    Ok(())
}

fn once(t: &mut Trial) -> Verdict {
    t.succeeds("set", switch(1));
    t.raises("first", &floating_point(), vector::NM.into(), None);
    t.equal("shown", shown(), 0);
    t.raises("second", &floating_point(), RETURNED, None);
    Ok(())
}
