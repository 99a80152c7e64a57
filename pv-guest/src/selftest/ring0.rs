//! The table for a kernel in ring 0: what elsewhere faults or is emulated is done. Where a hypervisor pretends ring 0 to this
//! kernel, it must look the same.

use super::probe::{self, Outcome, Regs};
use super::rows::{
    CR0_PE_PG, CR4_PAE, Expect, INVALID_OPCODE, MSR_FS_BASE, PORT, PROTECTION, Row, XSETBV, completes,
    current, done, fault, msr, rax, reads_back, root_machine_address, saved_fs_base, value, zeros,
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

fn fs_base_is(before: &Regs, _: &Regs) -> bool {
    let mut regs = msr(MSR_FS_BASE, 0);
    probe::run(probe::rdmsr, &mut regs) == Outcome::Completed && value(&regs) == value(before)
}

/// The rows. What switches interrupts on switches them off again.
pub const ROWS: &[Row] = &[
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
    completes("clts", probe::clts, zeros, |_, _| current(probe::read_cr0).rax & 8 == 0),
    completes("mov-from-cr0", probe::read_cr0, zeros, |_, after| after.rax & CR0_PE_PG == CR0_PE_PG),
    completes(
        "mov-to-cr0",
        probe::write_cr0,
        || current(probe::read_cr0),
        |before, _| reads_back(probe::read_cr0, u64::MAX)(before),
    ),
    completes(
        "mov-to-cr2",
        probe::write_cr2,
        || rax(0x1234_5000),
        |before, _| reads_back(probe::read_cr2, u64::MAX)(before),
    ),
    completes("mov-from-cr2", probe::read_cr2, zeros, |_, after| after.rax == 0x1234_5000),
    completes("mov-from-cr3", probe::read_cr3, zeros, |_, after| after.rax == root_machine_address()),
    completes(
        "mov-to-cr3",
        probe::write_cr3,
        || rax(root_machine_address()),
        |before, _| reads_back(probe::read_cr3, u64::MAX)(before),
    ),
    completes("mov-from-cr4", probe::read_cr4, zeros, |_, after| after.rax & CR4_PAE != 0),
    completes(
        "mov-to-cr4",
        probe::write_cr4,
        || current(probe::read_cr4),
        |before, _| reads_back(probe::read_cr4, u64::MAX)(before),
    ),
    completes(
        "mov-to-dr0",
        probe::write_dr0,
        || rax(0x5678_0000),
        |before, _| reads_back(probe::read_dr0, u64::MAX)(before),
    ),
    completes("mov-from-dr0", probe::read_dr0, zeros, |_, after| after.rax == 0x5678_0000),
    completes(
        "mov-to-dr7",
        probe::write_dr7,
        || rax(0x400),
        |before, _| reads_back(probe::read_dr7, u64::MAX)(before),
    ),
    completes("mov-from-dr7", probe::read_dr7, zeros, |_, after| after.rax == 0x400),
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
    completes("wrmsr", probe::wrmsr, || msr(MSR_FS_BASE, saved_fs_base()), fs_base_is),
    completes("invlpg", probe::invlpg, zeros, done),
    completes("wbinvd", probe::wbinvd, zeros, done),
    completes("swapgs", probe::swapgs_twice, zeros, done),
    Row { expect: Expect::Depends(access_prevention), ..completes("stac", probe::stac_clac, zeros, done) },
    XSETBV[0],
    XSETBV[1],
    XSETBV[2],
    XSETBV[3],
    XSETBV[4],
    XSETBV[5],
    XSETBV[6],
];
