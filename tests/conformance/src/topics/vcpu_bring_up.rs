//! A second vcpu from nothing to running code (xen/include/public/vcpu.h).

use pv_probe::guard::RETURNED;
use pv_probe::vcpus;

use crate::case::{Case, Row, Stop, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "vcpu-bring-up",
    &[Case::good("runs", "a second vcpu runs a function and returns its result", runs)],
);

extern "C" fn double(argument: u64) -> u64 {
    argument * 2
}

extern "C" fn invalid_opcode(_: u64) -> u64 {
    // SAFETY: the guard catches it.
    unsafe { core::arch::asm!("ud2") };
    0
}

fn runs(t: &mut Trial) -> Verdict {
    if !vcpus::exists(1) {
        return Err(Stop::Skip("the domain has one vcpu"));
    }
    for argument in [21, 4] {
        let caught = vcpus::run(1, double, argument).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
        t.equal("vector", caught.vector, RETURNED);
        t.equal("result", caught.registers[0], argument * 2);
    }
    let caught = vcpus::run(1, invalid_opcode, 0).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    t.raises("ud2", &caught, 6, None);
    Ok(())
}
