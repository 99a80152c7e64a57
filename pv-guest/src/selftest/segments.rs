//! What CR4 decides: segment bases by instructions, the time-stamp counter; and what a kernel in ring 3 has besides: a table of descriptors of its own, and interrupts
//! that nothing masks.

use core::fmt::Write;
use core::ptr;

use paravane_abi::mmu::{DOMID_SELF, MMUEXT_SET_LDT, MmuextOp};
use paravane_abi::trap::vector;
use paravane_abi::vcpu::VCPUOP_SEND_NMI;

use super::line;
use super::probe::{self, Outcome, Regs};
use crate::arch::{cpuid, extable};
use crate::cpu;
use crate::cpu_ops::{hypercall, pv};
use crate::mm::addr::Pfn;
use crate::mm::frames;
use crate::trap;

/// A flat data segment as a kernel writes it: of ring 0, and never used.
const DATA: u64 = 0x00cf_9200_0000_ffff;
/// The same of ring 3, and not present.
const NOT_PRESENT: u64 = DATA & !(1 << 47) | 3 << 45;
/// What `lar` says of the first: present, of ring 3, and used.
const RIGHTS: u64 = 0x00c0_f300;
/// `lar` leaves the rest undefined.
const RIGHTS_MASK: u64 = 0x00f0_ff00;
/// Descriptors of a page.
const ENTRIES: u64 = 512;
/// Selects a descriptor of the LDT, RPL 3.
const fn selector(entry: u64) -> u64 {
    entry << 3 | 7
}
/// Present, accessed, dirty, never executed.
const READ_ONLY: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 63;
const WRITABLE: u64 = READ_ONLY | 1 << 1;
const EINVAL: i64 = -22;
const UNDEFINED: Outcome = Outcome::Fault(vector::UD as u64);

fn set_ldt(address: u64, entries: u64) -> i64 {
    let op = MmuextOp::new(MMUEXT_SET_LDT, address, entries);
    // SAFETY: this kernel uses no selector of an LDT.
    unsafe { hypercall::mmuext_op(&op, 1, ptr::null_mut(), u32::from(DOMID_SELF)) }
}

/// Loads DS; the fault's vector and error code, if there is one.
fn load(selector: u64) -> Option<(u64, u64)> {
    let mut regs = Regs { rax: selector, ..Regs::default() };
    match probe::run(probe::load_ds, &mut regs) {
        Outcome::Completed => None,
        Outcome::Fault(_) => Some(extable::last_fault()),
    }
}

/// What `lar` says of a selector, 0 if nothing.
fn rights(selector: u64) -> u64 {
    let mut regs = Regs { rax: selector, ..Regs::default() };
    probe::run(probe::lar, &mut regs);
    regs.rcx & RIGHTS_MASK
}

/// The fault of a selector: the error code is the selector without its RPL.
fn fault(vector: u8, entry: u64) -> Option<(u64, u64)> {
    Some((vector.into(), selector(entry) & !3))
}

fn map(page: Pfn, flags: u64) -> bool {
    pv::update_va_mapping(page.direct(), page.mfn().address() | flags).is_ok()
}

/// Checks in turn; the first that does not hold.
fn first_lost(checks: &[(&'static str, bool)]) -> Option<&'static str> {
    checks.iter().find(|(_, good)| !good).map(|(name, _)| *name)
}

/// A page of descriptors: the first is nothing, then one of data, and one that is not present.
pub fn ldt(out: &mut dyn Write) {
    let Some(page) = frames::alloc_zeroed() else {
        return line(out, false, "ldt", format_args!("no page"));
    };
    let descriptors: *mut u64 = page.bytes().cast();
    // SAFETY: the page is this function's, mapped writable in the direct map, and 512 words long.
    unsafe {
        descriptors.add(1).write(DATA);
        descriptors.add(2).write(NOT_PRESENT);
    }
    let checks = [
        ("it cannot be where it is not aligned", set_ldt(page.direct() + 8, ENTRIES) == EINVAL),
        ("it is set, while it can be written", set_ldt(page.direct(), ENTRIES) == 0),
        ("a page that can be written is none of it", load(selector(1)) == Some((vector::PF.into(), 0))),
        ("the page is made read-only", map(page, READ_ONLY)),
        ("a selector of it is loaded", load(selector(1)).is_none()),
        ("the descriptor is ring 3's and used", rights(selector(1)) == RIGHTS),
        ("one that is not present is not loaded", load(selector(2)) == fault(vector::NP, 2)),
        ("one that is nothing is not loaded", load(selector(0)) == fault(vector::GP, 0)),
        ("one behind the end is not loaded", load(selector(ENTRIES)) == fault(vector::GP, ENTRIES)),
        ("the page cannot be written while it is held", !map(page, WRITABLE)),
        ("DS is null again", load(0).is_none()),
        ("the LDT is taken away", set_ldt(0, 0) == 0),
        ("its selectors are gone", load(selector(1)) == fault(vector::GP, 1)),
        ("its page can be written", map(page, WRITABLE)),
    ];
    let lost = first_lost(&checks);
    if checks[checks.len() - 1].1 {
        frames::release(page);
    }
    line(
        out,
        lost.is_none(),
        "ldt",
        format_args!("{} checks, lost: {}", checks.len(), lost.unwrap_or("none")),
    );
}

/// `rdfsbase` and its like exist while this kernel's CR4 says so, where they are offered at all.
pub fn bases(out: &mut dyn Write) {
    const OFFERED: u32 = 1 << 0;
    const CR4_FSGSBASE: u64 = 1 << 16;
    let offered = cpuid::shown(7, 0)[1] & OFFERED != 0;
    let expected = if offered { Outcome::Completed } else { UNDEFINED };
    let mut cr4 = Regs::default();
    probe::run(probe::read_cr4, &mut cr4);
    let write = |value| probe::run(probe::write_cr4, &mut Regs { rax: value, ..Regs::default() });
    let mut base = Regs::default();
    let outcomes = [
        probe::run(probe::rdfsbase, &mut base),
        write(cr4.rax | CR4_FSGSBASE),
        probe::run(probe::rdfsbase, &mut base),
        probe::run(probe::wrfsbase, &mut base),
        write(cr4.rax),
        probe::run(probe::rdfsbase, &mut base),
    ];
    let wanted = [UNDEFINED, Outcome::Completed, expected, expected, Outcome::Completed, UNDEFINED];
    line(out, outcomes == wanted, "fsgsbase", format_args!("offered {offered}: {outcomes:?}"));
}

/// A kernel that keeps the time-stamp counter from programs reads it all the same: the hypervisor does it for it.
pub fn counter(out: &mut dyn Write) {
    const CR4_TSD: u64 = 1 << 2;
    let mut cr4 = Regs::default();
    probe::run(probe::read_cr4, &mut cr4);
    let read = || {
        let mut regs = Regs::default();
        let outcome = probe::run(probe::rdtsc, &mut regs);
        (outcome, regs.rdx << 32 | regs.rax)
    };
    let write = |value| probe::run(probe::write_cr4, &mut Regs { rax: value, ..Regs::default() });
    let mut set = Regs::default();
    let (before, written) = (read(), write(cr4.rax | CR4_TSD));
    probe::run(probe::read_cr4, &mut set);
    let (between, restored, after) = (read(), write(cr4.rax), read());
    let outcomes = [before.0, written, between.0, restored, after.0];
    let good = outcomes == [Outcome::Completed; 5]
        && set.rax == cr4.rax | CR4_TSD
        && before.1 < between.1
        && between.1 < after.1;
    line(out, good, "tsd", format_args!("cr4 {:#x}, {outcomes:?}", set.rax));
}

/// One is delivered at once, whatever is masked, and the next after it.
pub fn nmi(out: &mut dyn Write) {
    let (before, id) = (trap::nmis(), cpu::this().id());
    let mut argument = 0u64;
    // SAFETY: the handler counts.
    let send = |argument: *mut u64| unsafe { hypercall::vcpu_op(VCPUOP_SEND_NMI, id, argument.cast()) };
    let results = [send(&raw mut argument), send(ptr::null_mut()), send(ptr::null_mut())];
    let came = trap::nmis() - before;
    let good = results == [EINVAL, 0, 0] && came == 2;
    line(out, good, "nmi", format_args!("{came} came, sending gave {results:?}"));
}
