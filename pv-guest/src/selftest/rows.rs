//! The table: every privileged instruction, what it starts with, and what it must do in the kernel's ring of this ABI.
//!
//! In rings 1 and 3, what completes was emulated by the hypervisor, as Xen emulates it for a PV kernel; the rest keeps the processor's
//! own exception.

use super::probe::{self, Outcome, Probe, Regs};
use crate::arch::fpu;
use crate::cpu_ops::{Shared, facts};
use crate::process;

pub(super) const INVALID_OPCODE: u64 = 6;
pub(super) const PROTECTION: u64 = 13;

/// MSR number of the FS base.
const MSR_FS_BASE: u64 = 0xc000_0100;
/// An MSR that reads alike on every machine of this ABI: the page attribute table.
const MSR_PAT: u64 = 0x277;
const PAT_VALUE: u64 = 0x0000_0501_0007_0406;
/// A port behind which a domain without devices finds nothing.
pub(super) const PORT: u64 = 0x2e9;

/// What is expected.
#[derive(Clone, Copy)]
pub enum Expect {
    /// This vector.
    Fault(u64),
    /// It completes, emulated or, in ring 0, by itself, and this holds of the registers before and after.
    Emulated(fn(&Regs, &Regs) -> bool),
    /// What the processor has switched on decides.
    Depends(fn() -> Expect),
}

/// The virtual I/O privilege level a row needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Iopl {
    /// The level of the start of the day.
    Zero,
    /// The level that counts for the kernel.
    One,
}

/// One row.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its name in the report.
    pub name: &'static str,
    /// The instruction.
    pub probe: Probe,
    /// The I/O privilege level.
    pub iopl: Iopl,
    /// Registers before.
    pub start: fn() -> Regs,
    /// What must happen.
    pub expect: Expect,
}

pub(super) fn zeros() -> Regs {
    Regs::default()
}

pub(super) fn rax(rax: u64) -> Regs {
    Regs { rax, ..Regs::default() }
}

/// What a control register reads as, for rows that write the same value back.
fn current(read: Probe) -> Regs {
    let mut regs = Regs::default();
    probe::run(read, &mut regs);
    regs
}

pub(super) fn msr(number: u64, value: u64) -> Regs {
    Regs { rcx: number, rax: value & 0xffff_ffff, rdx: value >> 32, ..Regs::default() }
}

pub(super) fn value(regs: &Regs) -> u64 {
    regs.rdx << 32 | regs.rax & 0xffff_ffff
}

pub(super) fn done(_: &Regs, _: &Regs) -> bool {
    true
}

fn mask_kept(_: &Regs, _: &Regs) -> bool {
    // `cli` and `sti` change nothing: a kernel that used them could not be told what `popf` did.
    Shared::mask().load(core::sync::atomic::Ordering::SeqCst) == 1
}

fn root_machine_address() -> u64 {
    process::current().space.lock().root().pfn().mfn().address()
}

/// Reads a register through another probe and compares it with what was written.
fn reads_back(read: Probe, mask: u64) -> impl Fn(&Regs) -> bool {
    move |before| {
        let mut regs = Regs::default();
        probe::run(read, &mut regs) == Outcome::Completed && (regs.rax ^ before.rax) & mask == 0
    }
}

const CR0_PE_PG: u64 = 1 | 1 << 31;
const CR4_PAE: u64 = 1 << 5;

pub(super) const fn fault(name: &'static str, probe: Probe, vector: u64) -> Row {
    Row { name, probe, iopl: Iopl::Zero, start: zeros, expect: Expect::Fault(vector) }
}

const fn depends(name: &'static str, probe: Probe, expect: fn() -> Expect) -> Row {
    Row { name, probe, iopl: Iopl::Zero, start: zeros, expect: Expect::Depends(expect) }
}

/// User-mode instruction prevention (CR4.UMIP) covers every ring but 0, and covers all five instructions or none. A
/// hypervisor may leave it off, as Xen does for these guests: then they complete in every ring. Ring 0 does not feel it, and asks
/// CR4.
pub fn prevention() -> bool {
    const CR4_UMIP: u64 = 1 << 11;
    if facts().ring == 0 {
        return current(probe::read_cr4).rax & CR4_UMIP != 0;
    }
    probe::run(probe::smsw, &mut zeros()) == Outcome::Fault(PROTECTION)
}

fn prevented() -> Expect {
    if prevention() { Expect::Fault(PROTECTION) } else { Expect::Emulated(done) }
}

/// Whether this kernel's CR4.OSXSAVE is set: without it XSETBV is undefined, whatever the hypervisor itself uses.
fn has_xsave() -> bool {
    const OSXSAVE: u64 = 1 << 18;
    current(probe::read_cr4).rax & OSXSAVE != 0
}

/// All that this kernel has chosen.
fn all_of_xcr0() -> Regs {
    rax(fpu::xcr0().unwrap_or(0))
}

fn with_xsave() -> Expect {
    if has_xsave() { Expect::Emulated(done) } else { Expect::Fault(INVALID_OPCODE) }
}

fn refused() -> Expect {
    Expect::Fault(if has_xsave() { PROTECTION } else { INVALID_OPCODE })
}

const fn xsetbv(name: &'static str, start: fn() -> Regs, expect: fn() -> Expect) -> Row {
    Row { start, ..depends(name, probe::xsetbv, expect) }
}

pub(super) const fn completes(
    name: &'static str,
    probe: Probe,
    start: fn() -> Regs,
    check: fn(&Regs, &Regs) -> bool,
) -> Row {
    Row { name, probe, iopl: Iopl::Zero, start, expect: Expect::Emulated(check) }
}

const fn with_iopl(row: Row) -> Row {
    Row { iopl: Iopl::One, ..row }
}

/// Those about XCR0, which are alike in every ring.
pub(super) const XSETBV: [Row; 7] = [
    xsetbv("xsetbv", all_of_xcr0, with_xsave),
    xsetbv("xsetbv-x87", || rax(1), with_xsave),
    xsetbv("xsetbv-back", all_of_xcr0, with_xsave),
    xsetbv("xsetbv-without-x87", || rax(6), refused),
    xsetbv("xsetbv-avx-without-sse", || rax(5), refused),
    xsetbv("xsetbv-high", || Regs { rdx: 1 << 30, ..rax(7) }, refused),
    xsetbv("xsetbv-other", || Regs { rcx: 1, ..rax(1) }, refused),
];

/// Those about CR0, CR3, CR4 and the debug registers, which are alike in every ring.
pub(super) const CONTROL: [Row; 11] = [
    completes("clts", probe::clts, zeros, |_, _| current(probe::read_cr0).rax & 8 == 0),
    completes("mov-from-cr0", probe::read_cr0, zeros, |_, after| after.rax & CR0_PE_PG == CR0_PE_PG),
    completes(
        "mov-to-cr0",
        probe::write_cr0,
        || current(probe::read_cr0),
        |before, _| reads_back(probe::read_cr0, u64::MAX)(before),
    ),
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
];

pub(super) const WRITE_CR2: Row = completes(
    "mov-to-cr2",
    probe::write_cr2,
    || rax(0x1234_5000),
    |before, _| reads_back(probe::read_cr2, u64::MAX)(before),
);

pub(super) const WRITE_FS_BASE: Row = completes(
    "wrmsr",
    probe::wrmsr,
    || msr(MSR_FS_BASE, saved_fs_base()),
    |before, _| {
        let mut regs = msr(MSR_FS_BASE, 0);
        probe::run(probe::rdmsr, &mut regs) == Outcome::Completed && value(&regs) == value(before)
    },
);

/// The rows, where a hypervisor is known of.
pub const ROWS: [&[Row]; 3] = [OWN, &CONTROL, &XSETBV];

const OWN: &[Row] = &[
    fault("cli", probe::cli, PROTECTION),
    fault("sti", probe::sti, PROTECTION),
    with_iopl(completes("cli-iopl1", probe::cli, zeros, mask_kept)),
    with_iopl(completes("sti-iopl1", probe::sti, zeros, mask_kept)),
    fault("hlt", probe::hlt, PROTECTION),
    fault("in", probe::in_al, PROTECTION),
    fault("out", probe::out_al, PROTECTION),
    with_iopl(completes(
        "in-iopl1",
        probe::in_al,
        || Regs { rdx: PORT, ..zeros() },
        |_, after| after.rax & 0xff == 0xff,
    )),
    with_iopl(completes("out-iopl1", probe::out_al, || Regs { rdx: PORT, ..zeros() }, done)),
    completes("mov-from-cr2", probe::read_cr2, zeros, |_, after| after.rax == Shared::fault_address()),
    WRITE_CR2,
    fault("lgdt", probe::lgdt, PROTECTION),
    fault("lidt", probe::lidt, PROTECTION),
    fault("lldt", probe::lldt, PROTECTION),
    fault("ltr", probe::ltr, PROTECTION),
    depends("sgdt", probe::sgdt, prevented),
    depends("sidt", probe::sidt, prevented),
    depends("sldt", probe::sldt, prevented),
    depends("str", probe::str, prevented),
    completes("rdmsr", probe::rdmsr, || msr(MSR_PAT, 0), |_, after| value(after) == PAT_VALUE),
    WRITE_FS_BASE,
    // A hypercall does this.
    fault("invlpg", probe::invlpg, PROTECTION),
    completes("wbinvd", probe::wbinvd, zeros, done),
    fault("swapgs", probe::swapgs, PROTECTION),
    fault("sysretq", probe::sysretq, PROTECTION),
    fault("stac", probe::stac, INVALID_OPCODE),
];

/// The FS base to write back: the program's own.
fn saved_fs_base() -> u64 {
    process::current().fs_base()
}
