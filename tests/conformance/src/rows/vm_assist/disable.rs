//! `VMASST_CMD_disable`, command 1 of `vm_assist` (xen/include/public/xen.h).
//!
//! Turns a type off, or leaves it off. Without `VMASST_TYPE_writable_pagetables`, as at the start, a write of a page table by
//! its mapping for reading is the kernel's page fault.
//!
//! Refused: types that there are not (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::trap::vector;
use paravane_abi::vm_assist::{VMASST_CMD_DISABLE, VMASST_CMD_ENABLE, VMASST_TYPE_ARCHITECTURAL_IOPL};
use pv_probe::guard::RETURNED;
use pv_probe::memory::{NX, READ};

use super::{NONE, TYPES, call, nothing, set_level, shown_level};
use crate::case::{Case, Rings, Row, Verdict};
use crate::rows::tables::{EmulatedWrites, Mapped, STORED, entry, places, store};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vm_assist",
    "disable",
    &[
        Case::good("types", "every type that a 64-bit guest may name", types),
        Case::good("iopl-hidden", "frames do not show the I/O privilege level any more", hidden),
        Case::good("page-tables", "writes of page tables are emulated no more", page_tables)
            .rings(Rings::Three("in ring 1 they always are")),
        Case::refusal("unknown", "types that there are not", unknown),
    ],
);

fn types(t: &mut Trial) -> Verdict {
    for kind in TYPES {
        t.succeeds(format_args!("{kind}"), call(VMASST_CMD_DISABLE, kind));
        t.succeeds(format_args!("{kind}.on"), call(VMASST_CMD_ENABLE, kind));
        t.succeeds(format_args!("{kind}.off"), call(VMASST_CMD_DISABLE, kind));
    }
    Ok(())
}

fn hidden(t: &mut Trial) -> Verdict {
    t.need("set_iopl", set_level(1))?;
    t.equal("at-first", shown_level(), 0);
    t.succeeds("enable", call(VMASST_CMD_ENABLE, VMASST_TYPE_ARCHITECTURAL_IOPL));
    t.equal("enabled", shown_level(), 1);
    t.succeeds("disable", call(VMASST_CMD_DISABLE, VMASST_TYPE_ARCHITECTURAL_IOPL));
    t.equal("disabled", shown_level(), 0);
    nothing();
    t.need("set_iopl", set_level(0))
}

fn page_tables(t: &mut Trial) -> Verdict {
    let page = Mapped::with(3, entry(places(), READ | NX));
    t.raises("at-first", &store(page.address() + 100 * 8), vector::PF.into(), Some(3));
    let emulated = EmulatedWrites::on();
    t.raises("enabled", &store(page.address() + 100 * 8), RETURNED, None);
    t.reads("written", page.address() + 100 * 8, STORED);
    // SAFETY: the case's table; an entry that is not present.
    unsafe { pv_probe::memory::write(page.address() + 100 * 8, 0) };
    drop(emulated);
    t.raises("disabled", &store(page.address() + 100 * 8), vector::PF.into(), Some(3));
    t.reads("unchanged", page.address() + 100 * 8, 0);
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    for kind in NONE {
        t.refused(format_args!("{kind:x}"), Errno::EINVAL, || call(VMASST_CMD_DISABLE, kind));
    }
    Ok(())
}
