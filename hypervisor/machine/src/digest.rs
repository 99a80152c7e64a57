//! Sums over what must stay as it is while guests run: the image's code and constants, the entry code, gates, descriptors,
//! and what the processor and entry code read of a processor's page. `paravane.audit` compares them at the end with what
//! they were before the first guest.
//!
//! Left out is what the hypervisor itself changes for the guest that runs: direct gates, the descriptors of ring 3's code
//! and of the LDT, RSP1 and the frame of `syscall`. What is left is the same on every processor.

use core::fmt;

use paravane_abi::ring1::{
    DIRECT_GATE_FIRST, DIRECT_GATE_LAST, ENTRY_AREA, ENTRY_CODE_OFFSET, ENTRY_GDT_OFFSET, ENTRY_IDT_OFFSET,
};
use paravane_core::descriptor::{LDT_ENTRIES, USER_CODE_ENTRIES, set_user_code_present};
use spin::Once;

use crate::boot::memory_map::FRAME_SIZE;
use crate::cpu::interrupts::VECTOR_HYPERCALL;
use crate::entry::area::{CPU_PAGE, CpuPage, GUEST_GDT_PAGES};

unsafe extern "C" {
    static __text_start: u8;
    static __rodata_end: u8;
    static __entry_size: u8;
}

/// The sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Code and constants of the image.
    image: u64,
    /// The entry area's code.
    entry: u64,
    /// The gates that are not a guest's.
    gates: u64,
    /// The reserved page of descriptors.
    descriptors: u64,
    /// Ring 0's stacks and handlers in a processor's page.
    processor: u64,
}

static FIRST: Once<Digest> = Once::new();

/// FNV-1a, by words (Fowler, Noll and Vo). It is not meant to withstand somebody who chooses what to write: what is
/// compared can't be written at all.
fn fold(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |sum, word| (sum ^ word).wrapping_mul(0x100_0000_01b3))
}

/// The words from one address to another, both mapped and aligned.
fn words(start: u64, end: u64) -> impl Iterator<Item = u64> {
    // SAFETY: the callers below name pages that are mapped in every address space of the hypervisor's.
    (start..end).step_by(8).map(|address| unsafe { (address as *const u64).read_volatile() })
}

/// Bits 45 and 46 of a gate: the ring that may use it.
const GATE_LEVEL: u64 = 3 << 45;

/// The gates that no guest chooses. Who may use that of hypercalls depends on the guest.
fn gates() -> u64 {
    let table = ENTRY_AREA + ENTRY_IDT_OFFSET;
    let direct = u64::from(DIRECT_GATE_FIRST)..=u64::from(DIRECT_GATE_LAST);
    fold((0..256).filter(|vector| !direct.contains(vector)).flat_map(|vector| {
        let gate = table + vector * 16;
        let level = if vector == u64::from(VECTOR_HYPERCALL) { GATE_LEVEL } else { 0 };
        words(gate, gate + 16).enumerate().map(move |(index, raw)| if index == 0 { raw | level } else { raw })
    }))
}

fn descriptors() -> u64 {
    let page = ENTRY_AREA + ENTRY_GDT_OFFSET + GUEST_GDT_PAGES as u64 * FRAME_SIZE;
    fold(words(page, page + FRAME_SIZE).enumerate().map(|(index, raw)| match index {
        _ if USER_CODE_ENTRIES.contains(&index) => set_user_code_present(raw, true),
        _ if LDT_ENTRIES.contains(&index) => 0,
        _ => raw,
    }))
}

fn processor() -> u64 {
    // SAFETY: this processor's page, mapped in every address space; its words are copied one by one.
    let page = unsafe { &*(CPU_PAGE as *const CpuPage) };
    let (rsp, ist) = (page.tss.rsp, page.tss.ist);
    let handlers = [page.guest_handler, page.hypercall_handler, page.ring0_handler, page.paranoid_handler];
    fold([rsp[0], u64::from(page.tss.io_map_base)].into_iter().chain(ist).chain(handlers))
}

fn now() -> Digest {
    let code = ENTRY_AREA + ENTRY_CODE_OFFSET;
    Digest {
        image: fold(words(&raw const __text_start as u64, &raw const __rodata_end as u64)),
        entry: fold(words(code, code + &raw const __entry_size as u64)),
        gates: gates(),
        descriptors: descriptors(),
        processor: processor(),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, entry, gates, descriptors, processor } = self;
        write!(f, "{:016x}", fold([*image, *entry, *gates, *descriptors, *processor].into_iter()))
    }
}

/// Takes the sums that count from now on.
pub fn remember() {
    FIRST.call_once(now);
}

/// Compares.
///
/// # Panics
/// When something has changed: somebody else writes the hypervisor's memory.
pub fn compare() {
    let Some(first) = FIRST.get() else { return };
    let now = now();
    assert!(now == *first, "audit: the hypervisor has changed: {now:x?}, before the first guest {first:x?}");
    log::info!("audit: the hypervisor is unchanged, digest {now}");
}
