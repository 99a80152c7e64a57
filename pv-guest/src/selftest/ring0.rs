//! The table for a kernel in ring 0: what elsewhere faults or is emulated is done. Where a hypervisor pretends ring 0 to this
//! kernel, it must look the same.

use super::probe::{self, Regs};
use super::rows::{
    CONTROL, Expect, INVALID_OPCODE, PORT, PROTECTION, Row, WRITE_CR2, WRITE_FS_BASE, XSETBV, completes,
    done, fault, msr, rax, value, zeros,
};
use crate::arch::cpuid;
use crate::cpu_ops::{machine, native};
use crate::time::monotonic_ns;

/// The page attribute table, of which every machine's lower half is that of the reset.
const MSR_PAT: u64 = 0x277;
const PAT_LOW: u64 = 0x0007_0406;
/// The selector of the task state, which is busy.
const TASK: u64 = 0x28;

/// Nanoseconds until the interrupt that ends a halt.
const SOON: u64 = 1_000_000;

/// Registers behind which an operand of `lgdt` or `lidt` is.
fn operand(memory: [u64; 2]) -> Regs {
    Regs { memory, ..zeros() }
}

/// The instruction exists where `cpuid` says so.
fn access_prevention() -> Expect {
    const SMAP: u32 = 1 << 20;
    if cpuid::shown(7, 0)[1] & SMAP != 0 { Expect::Emulated(done) } else { Expect::Fault(INVALID_OPCODE) }
}

/// The rows.
pub const ROWS: [&[Row]; 3] = [OWN, &CONTROL, &XSETBV];

/// What switches interrupts on switches them off again.
const OWN: &[Row] = &[
    completes("cli", probe::cli, zeros, done),
    completes("sti", probe::sti_cli, zeros, done),
    completes(
        "hlt",
        probe::sti_hlt_cli,
        || {
            machine().set_timer(Some(monotonic_ns() + SOON));
            zeros()
        },
        done,
    ),
    completes("in", probe::in_al, || Regs { rdx: PORT, ..zeros() }, |_, after| after.rax & 0xff == 0xff),
    completes("out", probe::out_al, || Regs { rdx: PORT, ..zeros() }, done),
    WRITE_CR2,
    completes("mov-from-cr2", probe::read_cr2, zeros, |_, after| after.rax == 0x1234_5000),
    // Not what `sgdt` and `sidt` have stored: outside ring 0 that is somebody else's.
    completes("lgdt", probe::lgdt, || operand(native::table_pointers()[0]), done),
    completes("lidt", probe::lidt, || operand(native::table_pointers()[1]), done),
    completes("lldt", probe::lldt, zeros, done),
    Row { start: || rax(TASK), ..fault("ltr", probe::ltr, PROTECTION) },
    completes("sgdt", probe::sgdt, zeros, done),
    completes("sidt", probe::sidt, zeros, done),
    completes("sldt", probe::sldt, zeros, done),
    completes("str", probe::str, zeros, done),
    completes("rdmsr", probe::rdmsr, || msr(MSR_PAT, 0), |_, after| value(after) & 0xffff_ffff == PAT_LOW),
    WRITE_FS_BASE,
    completes("invlpg", probe::invlpg, zeros, done),
    completes("wbinvd", probe::wbinvd, zeros, done),
    completes("swapgs", probe::swapgs_twice, zeros, done),
    Row { expect: Expect::Depends(access_prevention), ..completes("stac", probe::stac_clac, zeros, done) },
];
