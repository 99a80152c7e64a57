//! `MMUEXT_NEW_USER_BASEPTR`, operation 15 of `mmuext_op` (xen/include/public/xen.h).
//!
//! Sets the L4 that this vcpu's programs run on; 0 for none, and then nothing returns to a program. The table is held as long
//! as it is set. A kernel in ring 1 shares one L4 with its programs and has no such table.
//!
//! Refused: frames that are not this domain's, are mapped for writing or are tables of another level (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE};
use paravane_abi::pte;
use paravane_abi::trap::vector;
use pv_probe::hypercall::{mmuext, set_entry};
use pv_probe::memory::{DATA, WINDOW, entry_at};
use pv_probe::user;

use crate::case::{Case, Rings, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{BEYOND, LOW, Mapped, entry, filled, frame, hypervisor_frame, places, writable};
use crate::trial::Trial;

const RING3: Rings = Rings::Three("a kernel in ring 1 shares its table with its programs");

/// The row.
pub const ROW: Row = Row::operation(
    "mmuext_op",
    "new_user_baseptr",
    &[
        Case::good("used", "programs run on it: what it does not map, they do not see", used).rings(RING3),
        Case::good("kernel", "the kernel's table stays as it is", kernel).rings(RING3),
        Case::good("held", "a table that is set is one, though it is not pinned", held).rings(RING3),
        Case::good("none", "0 takes it away, again and again", none),
        Case::refusal("frames", "frames that are not this domain's", frames).rings(RING3),
        Case::refusal("in-use", "frames that are mapped for writing, or tables of another level", in_use)
            .rings(RING3),
        Case::refusal("ring-1", "any table of a kernel in ring 1", ring_1)
            .rings(Rings::One("a kernel in ring 3 has such a table")),
    ],
);

fn load(frame: u64) -> i64 {
    mmuext(MMUEXT_NEW_USER_BASEPTR, frame, 0)
}

/// A table with the programs' pages, and the window's if they are to see it.
fn table(window: bool) -> u64 {
    user::prepare();
    let slot = |va| (pte::index(va, 4), entry_at(va, 4));
    if window { filled(&[slot(user::CODE), slot(WINDOW)]) } else { filled(&[slot(user::CODE)]) }
}

/// A program that reads the window's first page of the cases, and what comes of it: it is not mapped there.
fn reads(address: u64) -> pv_probe::guard::Caught {
    // mov rax, [rbx]; ud2
    let mut registers = [0; 15];
    registers[1] = address;
    user::run(&[0x48, 0x8b, 0x03, 0x0f, 0x0b], &registers)
}

fn used(t: &mut Trial) -> Verdict {
    let page = Mapped::with(0, entry(filled(&[(0, 0x77)]), DATA));
    let before = user::root();
    for (name, window) in [("with", true), ("without", false)] {
        t.succeeds(name, load(table(window)));
        let caught = reads(page.address());
        if window {
            t.raises(format_args!("{name}.program"), &caught, vector::UD.into(), None);
            t.equal(format_args!("{name}.word"), caught.registers[0], 0x77);
        } else {
            t.raises(format_args!("{name}.program"), &caught, vector::PF.into(), Some(4));
        }
    }
    t.succeeds("back", load(before));
    Ok(())
}

fn kernel(t: &mut Trial) -> Verdict {
    let page = Mapped::new(0, filled(&[(0, 0x78)]));
    t.succeeds("load", load(table(false)));
    t.reads("kernel", page.address(), 0x78);
    t.succeeds("back", load(user::root()));
    Ok(())
}

fn held(t: &mut Trial) -> Verdict {
    let other = table(true);
    t.succeeds("load", load(other));
    t.refused("writable", Errno::EBUSY, || writable(other));
    t.succeeds("again", load(other));
    t.succeeds("back", load(user::root()));
    t.succeeds("free", writable(other));
    Ok(())
}

fn none(t: &mut Trial) -> Verdict {
    user::prepare();
    t.succeeds("none", load(0));
    t.succeeds("none-again", load(0));
    if user::root() != 0 {
        t.succeeds("back", load(user::root()));
    }
    t.raises("program", &user::run(&[0x0f, 0x0b], &[0; 15]), vector::UD.into(), None);
    Ok(())
}

fn frames(t: &mut Trial) -> Verdict {
    user::prepare();
    for (name, frame) in
        [("low", LOW), ("beyond", BEYOND), ("none", pointers::NO_FRAME), ("hypervisor", hypervisor_frame())]
    {
        t.refused(name, Errno::EINVAL, || load(frame));
    }
    t.raises("program", &user::run(&[0x0f, 0x0b], &[0; 15]), vector::UD.into(), None);
    Ok(())
}

fn in_use(t: &mut Trial) -> Verdict {
    user::prepare();
    t.refused("l1", Errno::EINVAL, || load(places()));
    let other = frame();
    let page = Mapped::new(0, other);
    t.refused("writable", Errno::EINVAL, || load(other));
    drop(page);
    t.succeeds("entry", set_entry(other, 3, entry(BEYOND, DATA)));
    t.refused("below", Errno::EINVAL, || load(other));
    t.succeeds("free", writable(other));
    Ok(())
}

fn ring_1(t: &mut Trial) -> Verdict {
    let other = frame();
    t.need("pin", mmuext(MMUEXT_PIN_L4_TABLE, other, 0))?;
    t.refused("load", Errno::EOPNOTSUPP, || load(other));
    t.need("unpin", mmuext(MMUEXT_UNPIN_TABLE, other, 0))
}
