//! On the vcpu that asked for the flush.

use core::arch::asm;

use paravane_abi::hypercall::HYPERVISOR_UPDATE_VA_MAPPING;
use paravane_abi::mmu::{UVMF_ALL, UVMF_INVLPG, UVMF_LOCAL, UVMF_TLB_FLUSH};
use paravane_abi::pte;
use paravane_abi::vcpu::mfn_to_cr3;
use pv_probe::hypercall::{raw, set_entry};
use pv_probe::memory::{DATA, NX, READ, root};

use crate::case::{Case, Row, Verdict};
use crate::rows::tables::{Mapped, entry, filled, frame, hierarchy, place, places, remapped, store};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "flush-visibility",
    &[
        Case::good("page-local", "update_va_mapping with UVMF_INVLPG", |t| {
            mapping(t, UVMF_INVLPG | UVMF_LOCAL)
        }),
        Case::good("page-all", "update_va_mapping with UVMF_INVLPG | UVMF_ALL", |t| {
            mapping(t, UVMF_INVLPG | UVMF_ALL)
        }),
        Case::good("tlb-local", "update_va_mapping with UVMF_TLB_FLUSH", |t| {
            mapping(t, UVMF_TLB_FLUSH | UVMF_LOCAL)
        }),
        Case::good("tlb-all", "update_va_mapping with UVMF_TLB_FLUSH | UVMF_ALL", |t| {
            mapping(t, UVMF_TLB_FLUSH | UVMF_ALL)
        }),
        Case::good("page-multi", "update_va_mapping with UVMF_INVLPG and a bitmap", |t| {
            bitmap(t, UVMF_INVLPG)
        }),
        Case::good("tlb-multi", "update_va_mapping with UVMF_TLB_FLUSH and a bitmap", |t| {
            bitmap(t, UVMF_TLB_FLUSH)
        }),
        Case::good("other-page", "a flush of everything is one of other pages too", other_page),
        Case::good("base-pointer", "a write of CR3, which is emulated", base_pointer),
        Case::good("new", "where nothing was mapped, nothing need be flushed", new),
        Case::good("upper-replaced", "an L3 entry that names another table needs no flush", upper_replaced),
        Case::good("upper-read-only", "an L3 entry that loses RW needs no flush", upper_read_only),
    ],
)
.no_refusal("flushes are not refused: the calls' rows have what is");

fn update(va: u64, entry: u64, flags: u64) -> i64 {
    raw(HYPERVISOR_UPDATE_VA_MAPPING, [va, entry, flags, 0, 0])
}

/// Maps two pages in turn at an address: each is seen.
fn mapping(t: &mut Trial, flags: u64) -> Verdict {
    let frames = [filled(&[(0, 0xa)]), filled(&[(0, 0xb)])];
    let page = Mapped::new(20, frames[0]);
    t.reads("first", page.address(), 0xa);
    for round in 0..8usize {
        let value = entry(frames[(round + 1) % 2], DATA | NX);
        t.succeeds(format_args!("map.{round}"), update(page.address(), value, flags));
        t.reads(format_args!("read.{round}"), page.address(), 0xa + (round as u64 + 1) % 2);
    }
    t.succeeds("unmap", update(page.address(), 0, flags));
    t.does_not_read("unmapped", page.address());
    Ok(())
}

fn bitmap(t: &mut Trial, flush: u64) -> Verdict {
    let vcpus = 1u64;
    mapping(t, flush | &raw const vcpus as u64)
}

fn other_page(t: &mut Trial) -> Verdict {
    let other = Mapped::new(21, frame());
    remapped(t, |_| update(other.address(), other.entry(), UVMF_TLB_FLUSH));
    Ok(())
}

fn base_pointer(t: &mut Trial) -> Verdict {
    remapped(t, |_| {
        // SAFETY: emulated, and the table in use again.
        unsafe { asm!("mov cr3, {}", in(reg) mfn_to_cr3(root())) };
        0
    });
    Ok(())
}

fn new(t: &mut Trial) -> Verdict {
    let va = place(20);
    let page = filled(&[(0, 0x1234)]);
    t.does_not_read("before", va);
    t.succeeds("map", set_entry(places(), pte::index(va, 1), entry(page, DATA | NX)));
    t.reads("after", va, 0x1234);
    t.succeeds("unmap", set_entry(places(), pte::index(va, 1), 0));
    // The next user of the place does not see it any more.
    place(20);
    Ok(())
}

/// An address in the cases' window whose L3 entry is free, and the L3.
fn far() -> (u64, u64) {
    let va = place(0) + (5 << 30);
    (va, pte::mfn(pv_probe::memory::peek(root(), pte::index(va, 4))))
}

fn upper_replaced(t: &mut Trial) -> Verdict {
    let (va, l3) = far();
    let index = pte::index(va, 3);
    let tables = [0xa, 0xb].map(|word| {
        let table = hierarchy(va, entry(filled(&[(0, word)]), DATA));
        pte::mfn(pv_probe::memory::peek(table, index))
    });
    for round in 0..6usize {
        t.succeeds(format_args!("set.{round}"), set_entry(l3, index, entry(tables[round % 2], DATA)));
        t.reads(format_args!("read.{round}"), va, 0xa + round as u64 % 2);
    }
    t.succeeds("clear", set_entry(l3, index, 0));
    t.does_not_read("cleared", va);
    Ok(())
}

fn upper_read_only(t: &mut Trial) -> Verdict {
    let (va, l3) = far();
    let index = pte::index(va, 3);
    let table = pte::mfn(pv_probe::memory::peek(hierarchy(va, entry(frame(), DATA)), index));
    t.succeeds("set", set_entry(l3, index, entry(table, DATA)));
    t.raises("write", &store(va), pv_probe::guard::RETURNED, None);
    t.succeeds("protect", set_entry(l3, index, entry(table, READ)));
    t.raises("write-again", &store(va), 14, Some(3));
    t.succeeds("clear", set_entry(l3, index, 0));
    Ok(())
}
