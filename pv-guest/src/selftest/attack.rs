//! Attacks that ring 1 can try on the hypervisor's own way in and out. Each once stopped the hypervisor, or could
//! have; the guest must get an exception or an error, and everything must go on.

use core::arch::naked_asm;
use core::fmt::Write;
use core::sync::atomic::Ordering;

use paravane_abi::hypercall as nr;
use paravane_abi::mmu::{DOMID_SELF, MMU_NORMAL_PT_UPDATE, MmuUpdate};
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::ring1::{RING1_CS64, RING1_SS};
use paravane_abi::vcpu::SEGBASE_GS_USER_SEL;

use super::set_iopl;
use crate::arch::extable;
use crate::cpu_ops::hypercall::{self, set_gdt};
use crate::cpu_ops::{Shared, pv};
use crate::mm::addr::Pfn;
use crate::mm::frames;

/// #GP.
const PROTECTION: u64 = 13;
/// Selectors that belong to the hypervisor: its code and data, the task state.
const HYPERVISOR_SELECTORS: [u64; 3] = [0xe008, 0xe010, 0xe040];
/// Where the non-canonical addresses begin.
const NOT_CANONICAL: u64 = 0x8000_0000_0000;
/// Ring 3's code segments.
const RING3_CODE64: u64 = 0xe033;
const RING3_CODE32: u64 = 0xe023;
/// A flat data segment for ring 3.
const DATA: u64 = 0x00cf_f300_0000_ffff;
/// Entry 1 of the GDT, RPL 3.
const SELECTOR: u64 = 0x0b;
/// Present, accessed, dirty, never executed.
const READ_ONLY: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 63;
const WRITABLE: u64 = READ_ONLY | 1 << 1;

fn line(out: &mut dyn Write, good: bool, name: &str, detail: core::fmt::Arguments<'_>) {
    let verdict = if good { "ok" } else { "FAILED" };
    // The reader's buffer takes everything.
    let _ = writeln!(out, "{verdict} attack.{name} {detail}");
}

/// The `iret` hypercall with this RIP (0: a run of `cli` that has a fixup), CS and SS; 1 when the return faulted, 0
/// when it went where it was sent.
#[unsafe(naked)]
unsafe extern "C" fn iret_to(_rip: u64, _cs: u64, _ss: u64) -> u64 {
    naked_asm!(
        "lea rax, [rip + 2f]",
        "test rdi, rdi",
        "cmovz rdi, rax",
        "mov r8, rsp",
        "pushfq",
        "pop r9",
        "and rsp, -16",
        "push rdx",
        "push r8",
        "push r9",
        "push rsi",
        "push rdi",
        "push 0",
        "push 0",
        "push 0",
        "push 0",
        "mov eax, 23",
        "int 0x82",
        "2: cli",
        "cli",
        "cli",
        "cli",
        "xor eax, eax",
        "ret",
        "3: mov eax, 1",
        "ret",
        ".pushsection .ex_table, \"a\", @progbits",
        ".quad 2b, 3b",
        ".quad {not_canonical}, 3b",
        ".popsection",
        not_canonical = const NOT_CANONICAL,
    )
}

/// Returns that the processor refuses are the guest's exceptions, at the RIP that was asked for, and nothing at that
/// RIP is executed or emulated.
fn refused_returns(out: &mut dyn Write) {
    let (code, stack) = (u64::from(RING1_CS64), u64::from(RING1_SS));
    let mut attempt = |name: &str, rip: u64, cs: u64, ss: u64| {
        // SAFETY: both ways out resume here with the stack as it was.
        let faulted = unsafe { iret_to(rip, cs, ss) };
        let (vector, error) = extable::last_fault();
        let good = faulted == 1 && vector == PROTECTION;
        line(out, good, name, format_args!("vector {vector} error {error:#x}"));
    };
    attempt("iret-null-code", 0, 0, stack);
    attempt("iret-not-canonical", NOT_CANONICAL, code, stack);
    for selector in HYPERVISOR_SELECTORS {
        attempt("iret-hypervisor-code", 0, selector, stack);
        attempt("iret-hypervisor-stack", 0, code, selector);
    }
}

/// `iret` to good selectors works: the tests above fail for the right reason.
fn accepted_return(out: &mut dyn Write) {
    // SAFETY: as above.
    let faulted = unsafe { iret_to(0, RING1_CS64.into(), RING1_SS.into()) };
    line(out, faulted == 0, "iret-good", format_args!("arrives"));
}

fn call<const N: usize>(op: u64, arguments: [u64; N]) -> MulticallEntry {
    let mut entry = MulticallEntry { op, ..Default::default() };
    entry.args[..N].copy_from_slice(&arguments);
    entry
}

/// A page of descriptors with a data segment at entry 1, which this kernel cannot write any more.
fn descriptor_page() -> Option<Pfn> {
    let page = frames::alloc_zeroed()?;
    // SAFETY: the page is this function's, mapped writable in the direct map, and 512 words long.
    unsafe { page.bytes().cast::<u64>().add(1).write(DATA) };
    pv::update_va_mapping(page.direct(), page.mfn().address() | READ_ONLY).ok()?;
    Some(page)
}

/// Loads GS from one GDT, exchanges the GDT, ruins the page that was the first, and loads GS again, all without
/// leaving the hypervisor: if it still saw the first page, its own load would fault in ring 0.
fn exchanged_gdt(out: &mut dyn Write) {
    let (Some(first), Some(second)) = (descriptor_page(), descriptor_page()) else {
        return line(out, false, "gdt-exchange", format_args!("no pages"));
    };
    let (first_list, second_list) = ([first.mfn().0], [second.mfn().0]);
    let ruin = MmuUpdate { ptr: (first.mfn().address() + 8) | MMU_NORMAL_PT_UPDATE, val: 0 };
    let select = call(nr::HYPERVISOR_SET_SEGMENT_BASE, [SEGBASE_GS_USER_SEL.into(), SELECTOR]);
    let mut calls = [
        call(nr::HYPERVISOR_SET_GDT, [(&raw const first_list) as u64, 512]),
        select,
        call(nr::HYPERVISOR_SET_GDT, [(&raw const second_list) as u64, 512]),
        call(nr::HYPERVISOR_MMU_UPDATE, [(&raw const ruin) as u64, 1, 0, DOMID_SELF.into()]),
        select,
    ];
    // SAFETY: the calls and what they point to live until the call returns; GS is not this kernel's.
    let result = unsafe { hypercall::multicall(calls.as_mut_ptr(), calls.len() as u32) };
    let refused = calls.iter().filter(|call| call.result != 0).count();
    let selector: u16;
    // SAFETY: reads GS, then gives the null selector and this kernel's empty GDT back.
    let emptied = unsafe {
        core::arch::asm!("mov {0:x}, gs", "mov gs, {1:e}", out(reg) selector, in(reg) 0);
        set_gdt(core::ptr::null(), 0)
    };
    for page in [first, second] {
        let restored = pv::update_va_mapping(page.direct(), page.mfn().address() | WRITABLE);
        if restored.is_ok() {
            frames::release(page);
        }
    }
    let good = result == 0 && refused == 0 && emptied == 0 && u64::from(selector) == SELECTOR;
    line(out, good, "gdt-exchange", format_args!("{refused} calls refused, GS {selector:#x}"));
}

/// Loads GS with ring 3's code segments while they are marked not present, because an event is pending and masked.
fn hidden_code_in_gs(out: &mut dyn Write) {
    let (pending, was) = (Shared::pending(), Shared::pending().load(Ordering::Relaxed));
    let mut refused = 0;
    for selector in [RING3_CODE64, RING3_CODE32] {
        pending.store(1, Ordering::Relaxed);
        // This kernel masks events for good; the call's return marks the segments, the next one loads GS.
        hypercall::raw_null_hypercall();
        // SAFETY: GS is the programs'; the null selector is loaded below.
        refused += unsafe { hypercall::set_segment_base(SEGBASE_GS_USER_SEL, selector) };
    }
    pending.store(was, Ordering::Relaxed);
    // SAFETY: as above.
    let emptied = unsafe { hypercall::set_segment_base(SEGBASE_GS_USER_SEL, 0) };
    line(out, refused == 0 && emptied == 0, "gs-hidden-code", format_args!("{refused} refused"));
}

/// All attacks, a line for each.
pub fn report(out: &mut dyn Write) {
    if !set_iopl(1) {
        return line(out, false, "iopl", format_args!("cannot be set"));
    }
    accepted_return(out);
    refused_returns(out);
    exchanged_gdt(out);
    hidden_code_in_gs(out);
    if !set_iopl(0) {
        line(out, false, "iopl", format_args!("cannot be set back"));
    }
}
