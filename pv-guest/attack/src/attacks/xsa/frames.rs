//! Advisories on frames that change hands, references and translations that outlive them, and work that cannot be
//! interrupted.

use paravane_abi::grant::{GNTTABOP_TRANSFER, GnttabTransfer};
use paravane_abi::hypercall as nr;
use paravane_abi::memory::{MemoryExchange, MemoryReservation, XENMEM_DECREASE_RESERVATION, XENMEM_EXCHANGE};
use paravane_abi::mmu::{
    DOMID_SELF, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE,
    MMUEXT_UNPIN_TABLE, UVMF_NONE,
};

use super::super::address::HYPERVISOR;
use super::super::subject;
use super::{Report, Row};
use crate::guard;
use crate::hypercall::{counters, map, mmuext, operation, raw, set_entry};
use crate::memory::{KERNEL, NX, PAGE, READ, USER, WINDOW, fill, l1_for, memory, peek, take};

/// See the module.
pub const ROWS: &[Row] = &[
    Row {
        name: "xsa-212",
        reason: "XENMEM_exchange checked the list's beginning and not where it goes on: its results anywhere in the hypervisor",
        run: xsa_212,
    },
    Row {
        name: "xsa-214",
        reason: "a page given away kept its type: a page table in another domain's hands",
        run: xsa_214,
    },
    Row { name: "xsa-217", reason: "a page given away while somebody still had it mapped", run: xsa_217 },
    Row { name: "xsa-287", reason: "a page stolen in the middle of becoming a table", run: xsa_287 },
    Row {
        name: "xsa-219",
        reason: "an emulated write to the table that maps its own operand lost a reference",
        run: xsa_219,
    },
    Row {
        name: "xsa-401",
        reason: "a page becomes a table while a writable translation of it is still cached",
        run: xsa_401,
    },
    Row { name: "xsa-241", reason: "a translation that outlives the frame it leads to", run: xsa_241 },
    Row { name: "xsa-286", reason: "a changed L2 entry with the old tables still walked", run: xsa_286 },
    Row { name: "xsa-242", reason: "unlocking a page dropped the last reference of its type", run: xsa_242 },
    Row { name: "xsa-264", reason: "validation of page tables that nothing interrupts", run: xsa_264 },
    Row {
        name: "xsa-290",
        reason: "validation and release that nothing interrupts, at the middle levels",
        run: xsa_264,
    },
    Row {
        name: "xsa-310",
        reason: "a table validated in part, let go, used again, and left when the domain ends",
        run: xsa_310,
    },
];

fn xsa_212(report: &mut Report) {
    let own = take();
    let inside = &raw const own as u64;
    let reservation = |extent_start: u64, nr_extents: u64| MemoryReservation {
        extent_start,
        nr_extents,
        domid: DOMID_SELF,
        ..MemoryReservation::default()
    };
    for target in HYPERVISOR {
        for nr_exchanged in [0, 1, target.wrapping_sub(inside) / 8, u64::MAX, 1 << 60] {
            for (input, output) in [(inside, target), (target, inside), (inside, inside), (target, target)] {
                for extents in [1, 2, u64::MAX, nr_exchanged.wrapping_add(1)] {
                    let mut exchange = MemoryExchange {
                        input: reservation(input, extents),
                        output: reservation(output, extents),
                        nr_exchanged,
                    };
                    let result = operation(nr::HYPERVISOR_MEMORY_OP, XENMEM_EXCHANGE, &mut exchange);
                    let fair = (input, output, extents, nr_exchanged) == (inside, inside, 1, 0);
                    report.check(
                        format_args!(
                            "{nr_exchanged:#x} of {extents:#x} from {input:#x} to {output:#x}: {result}"
                        ),
                        result < 0 || fair || extents == nr_exchanged,
                    );
                }
            }
        }
    }
}

/// Gives a frame to a domain; the status.
fn transfer(frame: u64, domid: u16) -> i64 {
    let mut transfer =
        GnttabTransfer { mfn: frame, domid, reference: 8, status: 1, ..GnttabTransfer::default() };
    let pointer = &raw mut transfer as u64;
    let result = raw(nr::HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_TRANSFER.into(), pointer, 1, 0, 0]);
    if result < 0 { result } else { transfer.status.into() }
}

const RECEIVERS: [u16; 6] = [0, 1, 2, DOMID_SELF, 0x7ff2, 0x7fff];

fn xsa_214(report: &mut Report) {
    for command in [MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE] {
        let table = take();
        report.result("pinning", mmuext(command, table, 0), 0);
        for receiver in RECEIVERS {
            report.refused("giving a table away", transfer(table, receiver));
        }
        report.refused("it is a table still", map(WINDOW, table << 12 | KERNEL));
        report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, table, 0), 0);
    }
    for frame in [memory().l4, memory().window, memory().shared] {
        for receiver in RECEIVERS {
            report.refused("giving a page in use away", transfer(frame, receiver));
        }
    }
}

fn xsa_217(report: &mut Report) {
    let frame = take();
    report.result("a mapping", map(WINDOW, frame << 12 | KERNEL), 0);
    report.result("another", map(WINDOW + PAGE, frame << 12 | READ), 0);
    for receiver in RECEIVERS {
        report.refused("giving a mapped page away", transfer(frame, receiver));
    }
    for (page, name) in [(WINDOW, "the first"), (WINDOW + PAGE, "the second")] {
        let mut start = subject::kernel(&[0x48, 0x8b, 0x07]); // mov rax, [rdi]
        start.regs.rdi = page;
        let end = guard::run(&start);
        report.check(
            format_args!("{name} mapping: vector {:#x}", end.vector),
            end.vector == subject::BREAKPOINT,
        );
        report.result("taking it out", map(page, 0), 0);
    }
}

fn xsa_287(report: &mut Report) {
    // A table that fails to validate, and one that is taken as two things at once.
    let (table, page) = (take(), take());
    fill(table, |index| match index {
        0 => page << 12 | KERNEL,
        511 => 0xff_ffff << 12 | KERNEL,
        _ => 0,
    });
    report.refused("a bad table", mmuext(MMUEXT_PIN_L1_TABLE, table, 0));
    report.result("the page it had is free", mmuext(MMUEXT_PIN_L1_TABLE, page, 0), 0);
    for frame in [table, page] {
        let mut list = frame;
        let mut request = MemoryReservation {
            extent_start: &raw mut list as u64,
            nr_extents: 1,
            domid: DOMID_SELF,
            ..MemoryReservation::default()
        };
        let done = operation(nr::HYPERVISOR_MEMORY_OP, XENMEM_DECREASE_RESERVATION, &mut request);
        report.check(format_args!("giving {frame:#x} back: {done}"), (0..=1).contains(&done));
    }
    // The pinned one is held by its pin alone now: a table until that goes, nobody's afterwards.
    report.refused("it is a table still", map(WINDOW, page << 12 | KERNEL));
    report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, page, 0), 0);
    report.refused("it is this domain's no more", map(WINDOW, page << 12 | KERNEL));
    report.refused("nor is the other", map(WINDOW, table << 12 | KERNEL));
}

fn xsa_219(report: &mut Report) {
    // The window's L1 mapped through itself: a write there changes the entry that the write goes through.
    let table = memory().window;
    for (code, name) in [
        (&[0x48, 0xc7, 0x07, 0, 0, 0, 0][..], "mov"),
        (&[0x48, 0x87, 0x07], "xchg"),
        (&[0xf0, 0x48, 0x0f, 0xb1, 0x0f], "lock cmpxchg"),
        (&[0xf0, 0x48, 0x21, 0x07], "lock and"),
        (&[0x48, 0xff, 0x07], "inc"),
    ] {
        report.result("a view of the table", map(WINDOW + 7 * PAGE, table << 12 | READ | NX), 0);
        for rax in [0, table << 12 | KERNEL, !0, take() << 12 | KERNEL] {
            let mut start = subject::kernel(code);
            start.regs.rdi = WINDOW + 7 * PAGE + 7 * 8;
            start.regs.rax = rax;
            start.regs.rcx = 0;
            let end = guard::run(&start);
            report.check(format_args!("{name}: vector {:#x}", end.vector), matches!(end.vector, 3 | 14));
            let entry = peek(table, 7);
            report.check(
                format_args!("{name} made {entry:#x}"),
                entry & 3 != 3 || entry >> 12 & 0xff_ffff_ffff != table,
            );
        }
    }
    report.result("taking the view out", map(WINDOW + 7 * PAGE, 0), 0);
}

/// Writes a word through a mapping that may be gone; the vector of its end.
fn write(address: u64, word: u64) -> u64 {
    let mut start = subject::kernel(&[0x48, 0x89, 0x07]); // mov [rdi], rax
    start.regs.rdi = address;
    start.regs.rax = word;
    guard::run(&start).vector
}

fn remap_quietly(va: u64, entry: u64) -> i64 {
    raw(nr::HYPERVISOR_UPDATE_VA_MAPPING, [va, entry, UVMF_NONE, 0, 0])
}

fn xsa_401(report: &mut Report) {
    for round in 0..16 {
        let frame = take();
        let page = WINDOW + round * PAGE;
        report.result("a mapping", map(page, frame << 12 | KERNEL), 0);
        report.check(format_args!("a write"), write(page, 0) == subject::BREAKPOINT);
        // No flush is asked for: the processor may keep the translation.
        let entry = if round % 2 == 0 { 0 } else { frame << 12 | READ };
        report.result("taking the right away", remap_quietly(page, entry), 0);
        report.result("a table of it", mmuext(MMUEXT_PIN_L1_TABLE, frame, 0), 0);
        let vector = write(page, 0xff_ffff << 12 | KERNEL);
        // Where it can be read the write is emulated, checked and refused; else it faults.
        report.check(format_args!("a write by the old translation: vector {vector:#x}"), vector == 14);
        report.check(format_args!("the table has {:#x}", peek(frame, 0)), peek(frame, 0) == 0);
        report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, frame, 0), 0);
        report.result("unmapping", map(page, 0), 0);
    }
}

fn xsa_241(report: &mut Report) {
    for _ in 0..16 {
        let frame = take();
        report.result("a mapping", map(WINDOW, frame << 12 | KERNEL), 0);
        report.check(format_args!("a write"), write(WINDOW, 1) == subject::BREAKPOINT);
        report.result("taking it out quietly", remap_quietly(WINDOW, 0), 0);
        let mut list = frame;
        let mut request = MemoryReservation {
            extent_start: &raw mut list as u64,
            nr_extents: 1,
            domid: DOMID_SELF,
            ..MemoryReservation::default()
        };
        let done = operation(nr::HYPERVISOR_MEMORY_OP, XENMEM_DECREASE_RESERVATION, &mut request);
        report.result("giving it back", done, 1);
        let vector = write(WINDOW, 2);
        report.check(format_args!("a write by the old translation: vector {vector:#x}"), vector == 14);
        report.refused("it is another's", map(WINDOW, frame << 12 | KERNEL));
    }
}

fn xsa_286(report: &mut Report) {
    // An L2 of its own whose entry moves from one L1 to another; nobody asks for a flush.
    let va = WINDOW + (4 << 21);
    let first = l1_for(va);
    let (one, other) = (take(), take());
    fill(one, |_| 1);
    fill(other, |_| 2);
    report.result("the first page", set_entry(first, 0, one << 12 | KERNEL), 0);
    let second = take();
    fill(second, |index| if index == 0 { other << 12 | KERNEL } else { 0 });
    // The L2 that the walk goes through: the root's slot 273, then the L3's first entry.
    let l3 = peek(memory().l4, 273) >> 12 & 0xff_ffff_ffff;
    let l2 = peek(l3, 0) >> 12 & 0xff_ffff_ffff;
    for round in 0..8 {
        let (table, word) = if round % 2 == 0 { (first, 1) } else { (second, 2) };
        report.result("the L2 entry", set_entry(l2, 4, table << 12 | USER), 0);
        let mut start = subject::kernel(&[0x48, 0x8b, 0x07]); // mov rax, [rdi]
        start.regs.rdi = va;
        let end = guard::run(&start);
        report.check(
            format_args!("round {round}: RAX {:#x}, vector {:#x}", end.regs.rax, end.vector),
            end.vector == subject::BREAKPOINT && end.regs.rax == word,
        );
    }
    report.result("taking it out", set_entry(l2, 4, 0), 0);
    report.check(format_args!("it is gone"), write(va, 0) == 14);
}

fn xsa_242(report: &mut Report) {
    // An L1 that a table names stays one, pinned or not.
    let (l2, l1) = (take(), take());
    fill(l2, |index| if index == 0 { l1 << 12 | KERNEL } else { 0 });
    report.result("the L2", mmuext(MMUEXT_PIN_L2_TABLE, l2, 0), 0);
    for _ in 0..8 {
        report.result("pinning the L1", mmuext(MMUEXT_PIN_L1_TABLE, l1, 0), 0);
        report.result("unpinning it", mmuext(MMUEXT_UNPIN_TABLE, l1, 0), 0);
        report.refused("unpinning it again", mmuext(MMUEXT_UNPIN_TABLE, l1, 0));
        report.refused("it can be written", map(WINDOW, l1 << 12 | KERNEL));
        // Views of it come and go, and writes to it are emulated.
        report.result("a view", map(WINDOW, l1 << 12 | READ), 0);
        report.check(format_args!("an emulated write"), write(WINDOW, 0) == subject::BREAKPOINT);
        report.result("taking the view out", map(WINDOW, 0), 0);
    }
    report.result("unpinning the L2", mmuext(MMUEXT_UNPIN_TABLE, l2, 0), 0);
    report.result("it is free", map(WINDOW, l1 << 12 | KERNEL), 0);
    report.result("unmapping", map(WINDOW, 0), 0);
}

fn xsa_264(report: &mut Report) {
    const TABLES: usize = 96;
    let (page, l2, l3, l4) = (take(), take(), take(), take());
    let l1s: [u64; TABLES] = core::array::from_fn(|_| take());
    for l1 in l1s {
        fill(l1, |_| page << 12 | READ);
    }
    fill(l2, |index| l1s[index % TABLES] << 12 | KERNEL);
    fill(l3, |_| l2 << 12 | KERNEL);
    fill(l4, |index| if index < 256 { l3 << 12 | KERNEL } else { 0 });
    for (command, table) in [(MMUEXT_PIN_L2_TABLE, l2), (MMUEXT_PIN_L3_TABLE, l3), (MMUEXT_PIN_L4_TABLE, l4)]
    {
        for (what, command) in [("pinning", command), ("unpinning", MMUEXT_UNPIN_TABLE)] {
            let before = counters();
            let result = mmuext(command, table, 0);
            let after = counters();
            report.result(what, result, 0);
            let Some((before, after)) = before.zip(after) else { continue };
            let since = after.since(&before);
            // The call and the reading of the counts are two; work of tens of thousands of entries is interrupted and
            // called again.
            report.check(
                format_args!("{what}: {} entries, so nothing interrupted it", since.total_entries),
                since.total_entries > 4,
            );
        }
    }
    report.result("all is free", map(WINDOW, l1s[0] << 12 | KERNEL), 0);
    report.result("unmapping", map(WINDOW, 0), 0);
}

fn xsa_310(report: &mut Report) {
    // Bad deep down, in the last table of the last: what came before is validated, let go, validated again.
    let (l1, bad, l2, l3, l4) = (take(), take(), take(), take(), take());
    fill(bad, |index| if index == 511 { READ | 1 << 4 } else { 0 });
    let fill_l2 = || fill(l2, |index| (if index == 511 { bad } else { l1 }) << 12 | KERNEL);
    fill(l3, |index| if index == 511 || index == 0 { l2 << 12 | KERNEL } else { 0 });
    fill(l4, |index| if index == 511 || index == 1 { l3 << 12 | KERNEL } else { 0 });
    for _ in 0..4 {
        fill_l2();
        for (command, table) in
            [(MMUEXT_PIN_L4_TABLE, l4), (MMUEXT_PIN_L3_TABLE, l3), (MMUEXT_PIN_L2_TABLE, l2)]
        {
            report.refused("a tree with a bad leaf", mmuext(command, table, 0));
            report.refused("it was not pinned", mmuext(MMUEXT_UNPIN_TABLE, table, 0));
        }
        report.result("an L1 of it", mmuext(MMUEXT_PIN_L1_TABLE, l2, 0), 0);
        report.result("unpinning that", mmuext(MMUEXT_UNPIN_TABLE, l2, 0), 0);
    }
    report.result("the L1 is free", map(WINDOW, l1 << 12 | KERNEL), 0);
    report.result("unmapping", map(WINDOW, 0), 0);
    // As an L1 its entries may have got G in ring 3, which no L2 may have.
    fill_l2();
    // Left as it is: the domain's end has to let go of it, and the audit counts.
    fill(bad, |_| 0);
    report.result("mended", mmuext(MMUEXT_PIN_L4_TABLE, l4, 0), 0);
}
