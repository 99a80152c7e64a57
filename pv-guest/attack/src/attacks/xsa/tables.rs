//! Advisories on page tables and types.

use paravane_abi::mmu::{
    MMU_PT_UPDATE_PRESERVE_AD, MMUEXT_INVLPG_ALL, MMUEXT_INVLPG_LOCAL, MMUEXT_PIN_L1_TABLE,
    MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE,
};

use super::{Report, Row};
use crate::hypercall::{map, mmu_update, mmuext, set_entry};
use crate::memory::{A, D, KERNEL, PCD, PS, PWT, READ, RW, US, USER, WINDOW, fill, memory, peek, take};
use crate::ring;

/// See the module.
pub const ROWS: &[Row] = &[
    Row {
        name: "xsa-148",
        reason: "the fast path for harmless bits let PS and RW of an L2 entry change: a writable superpage over page tables",
        run: xsa_148,
    },
    Row {
        name: "xsa-182",
        reason: "the fast path let RW of a self-mapping L3 or L4 entry change: page tables that can be written",
        run: xsa_182,
    },
    Row {
        name: "xsa-240",
        reason: "linear page tables chained to unbounded depth; here a table names tables one level down only",
        run: xsa_240,
    },
    Row {
        name: "xsa-309",
        reason: "linear page tables whose counts were reset; here there are none",
        run: xsa_240,
    },
    Row {
        name: "xsa-243",
        reason: "a linear table that outlives its release; here there are none",
        run: xsa_240,
    },
    Row { name: "xsa-279", reason: "a flush of a non-canonical address after a failed update", run: xsa_279 },
    Row {
        name: "xsa-402",
        reason: "mappings of RAM that are not coherent: cache attributes are refused",
        run: xsa_402,
    },
    Row {
        name: "xsa-299",
        reason: "tables validated in part were mishandled when the work was taken up again",
        run: xsa_299,
    },
    Row { name: "xsa-291", reason: "a type that was kept after its validation had failed", run: xsa_291 },
];

const EINVAL: i64 = -22;

fn xsa_148(report: &mut Report) {
    let (table, l1) = (take(), take());
    report.result("an L2 entry", set_entry(table, 0, l1 << 12 | KERNEL), 0);
    report.result("PS before it is a table", set_entry(table, 0, l1 << 12 | KERNEL | PS), 0);
    report.refused("validating PS", mmuext(MMUEXT_PIN_L2_TABLE, table, 0));
    report.result("without PS", set_entry(table, 0, l1 << 12 | KERNEL), 0);
    report.result("pinning", mmuext(MMUEXT_PIN_L2_TABLE, table, 0), 0);
    for value in [l1 << 12 | KERNEL | PS, l1 << 12 | READ | PS, KERNEL | PS, l1 << 12 | USER | PS] {
        for command in [0, MMU_PT_UPDATE_PRESERVE_AD] {
            report.result("PS", mmu_update(table << 12 | command, value), EINVAL);
        }
    }
    // In ring 3 US is set in every entry.
    let own = A | D | if ring::is_3() { US } else { 0 };
    report.check(
        format_args!("the entry is {:#x}", peek(table, 0)),
        peek(table, 0) & !own == l1 << 12 | KERNEL & !own,
    );
    report.result("RW off", set_entry(table, 0, l1 << 12 | READ), 0);
    report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, table, 0), 0);
}

fn xsa_182(report: &mut Report) {
    let root = memory().l4;
    for flags in [READ, KERNEL, USER] {
        report.result("a root in itself", set_entry(root, 300, root << 12 | flags), EINVAL);
    }
    report.check(format_args!("slot 300 is {:#x}", peek(root, 300)), peek(root, 300) == 0);
    for (level, command) in [(2, MMUEXT_PIN_L2_TABLE), (3, MMUEXT_PIN_L3_TABLE), (4, MMUEXT_PIN_L4_TABLE)] {
        let table = take();
        for flags in [READ, KERNEL] {
            fill(table, |index| if index == 5 { table << 12 | flags } else { 0 });
            let result = mmuext(command, table, 0);
            report.check(format_args!("level {level} in itself: {result}"), result < 0);
            // A failed validation must leave nothing.
            report.result("mapping it", map(WINDOW, table << 12 | KERNEL), 0);
            report.result("unmapping it", map(WINDOW, 0), 0);
        }
    }
}

fn xsa_240(report: &mut Report) {
    for command in [MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE] {
        let chain: [u64; 6] = core::array::from_fn(|_| take());
        for table in chain {
            report.result("an empty table", mmuext(command, table, 0), 0);
        }
        for pair in chain.windows(2) {
            for flags in [READ, KERNEL] {
                report.refused("a table of its own level", set_entry(pair[0], 1, pair[1] << 12 | flags));
                report.refused("the other way", set_entry(pair[1], 1, pair[0] << 12 | flags));
            }
        }
        // One that is filled beforehand.
        let filled = take();
        fill(filled, |index| if index == 1 { chain[5] << 12 | READ } else { 0 });
        report.refused("a table of its own level, validated", mmuext(command, filled, 0));
        report.refused("an entry of its own level", set_entry(chain[0], 2, chain[0] << 12 | READ));
        for table in chain {
            report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, table, 0), 0);
        }
    }
}

fn xsa_279(report: &mut Report) {
    for va in [1u64 << 47, 0x8000_0000_0000_0000, 0xffff_7fff_ffff_f000, u64::MAX, 0xffff_8000_0000_0000] {
        for command in [MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_ALL] {
            let result = mmuext(command, va, 0);
            report.check(format_args!("flushing {va:#x}: {result}"), result <= 0);
        }
        for flags in 0..8 {
            let arguments = [va, take_once() << 12 | KERNEL, flags, 0, 0];
            let result =
                crate::hypercall::raw(paravane_abi::hypercall::HYPERVISOR_UPDATE_VA_MAPPING, arguments);
            report
                .check(format_args!("mapping {va:#x} with {flags}: {result}"), result < 0 || va == u64::MAX);
        }
    }
}

fn take_once() -> u64 {
    memory().l4
}

fn xsa_402(report: &mut Report) {
    let page = take();
    for bits in [PWT, PCD, PWT | PCD, PS, PS | PWT, PS | PCD | PWT] {
        report.result("in an L1", map(WINDOW, page << 12 | KERNEL | bits), EINVAL);
        report.refused("in an L4", set_entry(memory().l4, 300, page << 12 | KERNEL | bits));
        fill(page, |index| if index == 7 { memory().console << 12 | READ | bits } else { 0 });
        report.refused("validated", mmuext(MMUEXT_PIN_L1_TABLE, page, 0));
    }
}

fn xsa_299(report: &mut Report) {
    // An L2 whose second half is bad: the first half's tables are validated and must be let go again.
    let (table, l1, bad) = (take(), take(), take());
    fill(bad, |index| if index == 511 { READ | PCD } else { 0 });
    for round in 0..8 {
        fill(table, |index| match index {
            300 => bad << 12 | KERNEL,
            index if index < 300 => l1 << 12 | KERNEL,
            _ => 0,
        });
        report.refused("a bad table", mmuext(MMUEXT_PIN_L2_TABLE, table, 0));
        report.result("what was validated is free", map(WINDOW, l1 << 12 | KERNEL), 0);
        report.result("unmapping it", map(WINDOW, 0), 0);
        if round % 2 == 0 {
            fill(table, |index| if index < 300 { l1 << 12 | KERNEL } else { 0 });
            report.result("mended", mmuext(MMUEXT_PIN_L2_TABLE, table, 0), 0);
            report.refused("in use", map(WINDOW, l1 << 12 | KERNEL));
            report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, table, 0), 0);
        }
    }
}

fn xsa_291(report: &mut Report) {
    for command in [MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE] {
        let table = take();
        fill(table, |index| if index == 100 { RW | 1 | 0xffff_ffff << 12 } else { 0 });
        report.refused("a bad table", mmuext(command, table, 0));
        report.refused("it was not pinned", mmuext(MMUEXT_UNPIN_TABLE, table, 0));
        report.result("mapping it", map(WINDOW, table << 12 | KERNEL), 0);
        report.result("unmapping it", map(WINDOW, 0), 0);
        fill(table, |_| 0);
        report.result("another use", mmuext(MMUEXT_PIN_L1_TABLE, table, 0), 0);
        report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, table, 0), 0);
    }
}
