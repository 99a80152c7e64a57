//! `update_descriptor(address, descriptor)`, call 10 (xen/include/public/xen.h).
//!
//! Writes a segment descriptor at a machine address: in a page of descriptors, which the processor may be using, or in one
//! that the guest could write itself. Code and data get the privilege level of the guest's kernel, a call gate level 0, so
//! that its use traps; what is not present is kept as it is.
//!
//! Refused, all by `EINVAL`: an address that is no multiple of 8; a frame that is not this domain's or is a page table; a
//! system segment, a gate to the hypervisor's code or with reserved bits.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{HYPERVISOR_SET_GDT, HYPERVISOR_UPDATE_DESCRIPTOR};
use pv_probe::hypercall::raw;
use pv_probe::memory::{peek, root};

use super::set_gdt::limit;
use super::tables::{BEYOND, LOW, Mapped, filled, frame, places, slot};
use crate::case::{Case, Rings, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

const RING3: Rings = Rings::Three("in ring 1 a kernel's segments have level 1, and there are no gates");

const RING1: Rings =
    Rings::One("in ring 3 a kernel's segments have level 3, and any code is as good as another");

/// The row.
pub const ROW: Row = Row::call(
    "update_descriptor",
    &[
        Case::good("data", "a data segment of level 3 is kept", data),
        Case::good("level", "levels become the kernel's", level).rings(RING3),
        Case::good("level-ring1", "levels become the kernel's, but data of level 3 stays", level_ring1)
            .rings(RING1),
        Case::refusal("code-ring1", "code that is not 64-bit, is conforming or of level 3", code_ring1)
            .rings(RING1),
        Case::good("not-present", "what is not present is kept as it is", not_present),
        Case::good("call-gate", "a call gate is kept with level 0", call_gate).rings(RING3),
        Case::good("in-use", "a table in use shows it at once", in_use),
        Case::good("mapped", "a page that is mapped for writing is written", mapped),
        Case::refusal("unaligned", "addresses that are no multiples of 8", unaligned),
        Case::refusal("frames", "frames that are not this domain's", frames),
        Case::refusal("tables", "page tables of every use", tables),
        Case::refusal("system", "system segments", system),
        Case::refusal("gates", "gates that no guest may have", gates),
        Case::refusal("in-use-refused", "a table in use keeps what it has", in_use_refused),
    ],
);

/// Data, accessed, of this level, 16-bit, of 64 KiB.
const fn segment(level: u64) -> u64 {
    0x0000_9300_0000_ffff | level << 45
}

fn update(frame: u64, index: u64, descriptor: u64) -> i64 {
    raw(HYPERVISOR_UPDATE_DESCRIPTOR, [frame << 12 | index << 3, descriptor, 0, 0, 0])
}

fn data(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.succeeds("first", update(frame, 0, segment(3)));
    t.succeeds("last", update(frame, 511, segment(3) | 0xff00_00ff_ffff_0000));
    t.equal("first.read", peek(frame, 0), segment(3));
    t.equal("last.read", peek(frame, 511), segment(3) | 0xff00_00ff_ffff_0000);
    t.equal("between", peek(frame, 1), 0);
    Ok(())
}

fn level(t: &mut Trial) -> Verdict {
    let frame = frame();
    for level in 0..4 {
        t.succeeds(format_args!("data.{level}"), update(frame, level, segment(level)));
        t.equal(format_args!("data.{level}.read"), peek(frame, level as usize), segment(3));
        // 64-bit code.
        let code = 0x0020_9b00_0000_0000 | level << 45;
        t.succeeds(format_args!("code.{level}"), update(frame, level, code));
        t.equal(format_args!("code.{level}.read"), peek(frame, level as usize), code | 3 << 45);
    }
    Ok(())
}

/// 64-bit code, accessed, of level 0.
const CODE64: u64 = 0x0020_9b00_0000_0000;

fn level_ring1(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (level, kept) in [(0, 1), (1, 1), (2, 1), (3, 3)] {
        t.succeeds(format_args!("data.{level}"), update(frame, level, segment(level)));
        t.equal(format_args!("data.{level}.read"), peek(frame, level as usize), segment(kept));
    }
    for level in 0..3 {
        t.succeeds(format_args!("code.{level}"), update(frame, level, CODE64 | level << 45));
        t.equal(format_args!("code.{level}.read"), peek(frame, level as usize), CODE64 | 1 << 45);
    }
    Ok(())
}

fn code_ring1(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, descriptor) in [
        ("16-bit", CODE64 & !(1 << 53)),
        ("32-bit", CODE64 & !(1 << 53) | 1 << 54),
        ("64-and-32-bit", CODE64 | 1 << 54),
        ("conforming", CODE64 | 1 << 42),
        ("level-3", CODE64 | 3 << 45),
    ] {
        t.refused(name, Errno::EINVAL, || update(frame, 0, descriptor));
        t.equal(format_args!("{name}.read"), peek(frame, 0), 0);
    }
    Ok(())
}

fn not_present(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, descriptor) in [
        ("nothing", 0),
        ("data", segment(0) & !(1 << 47)),
        ("task-state", 0x0000_0900_0000_0067),
        ("any", !(1 << 47)),
    ] {
        t.succeeds(name, update(frame, 5, descriptor));
        t.equal(format_args!("{name}.read"), peek(frame, 5), descriptor);
    }
    Ok(())
}

fn call_gate(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.succeeds("level-3", update(frame, 0, 0x1234_ec00_e033_5678));
    t.equal("level-3.read", peek(frame, 0), 0x1234_8c00_e033_5678);
    t.succeeds("level-0", update(frame, 1, 0x0000_8c00_0008_0000));
    t.equal("level-0.read", peek(frame, 1), 0x0000_8c00_000b_0000);
    Ok(())
}

fn set_gdt(frames: &[u64], entries: u64) -> i64 {
    raw(HYPERVISOR_SET_GDT, [frames.as_ptr() as u64, entries, 0, 0, 0])
}

fn in_use(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.need("set_gdt", set_gdt(&[frame], 512))?;
    t.same("before", limit(0x1b), None);
    t.succeeds("update", update(frame, 3, segment(3)));
    t.same("after", limit(0x1b), Some(0xffff));
    t.succeeds("away", update(frame, 3, 0));
    t.same("gone", limit(0x1b), None);
    set_gdt(&[], 0);
    Ok(())
}

fn mapped(t: &mut Trial) -> Verdict {
    let frame = frame();
    let page = Mapped::new(0, frame);
    t.succeeds("update", update(frame, 3, segment(3)));
    t.reads("read", page.address() + 24, segment(3));
    Ok(())
}

fn unaligned(t: &mut Trial) -> Verdict {
    let frame = frame();
    for offset in 1..8 {
        let address = frame << 12 | offset;
        t.refused(format_args!("{offset}"), Errno::EINVAL, || {
            raw(HYPERVISOR_UPDATE_DESCRIPTOR, [address, segment(3), 0, 0, 0])
        });
    }
    t.equal("first", peek(frame, 0), 0);
    t.equal("second", peek(frame, 1), 0);
    Ok(())
}

fn frames(t: &mut Trial) -> Verdict {
    for (name, frame) in [("low", LOW), ("beyond", BEYOND), ("none", pointers::NO_FRAME)] {
        t.refused(name, Errno::EINVAL, || update(frame, 0, segment(3)));
    }
    Ok(())
}

fn tables(t: &mut Trial) -> Verdict {
    t.refused("root", Errno::EINVAL, || update(root(), 300, segment(3)));
    let l1 = places();
    t.refused("l1", Errno::EINVAL, || update(l1, 300, 0));
    t.equal("l1.read", slot(l1, 300), 0);
    Ok(())
}

fn system(t: &mut Trial) -> Verdict {
    let frame = frame();
    for kind in [0x1, 0x2, 0x3, 0x5, 0x9, 0xb] {
        t.refused(format_args!("{kind:x}"), Errno::EINVAL, || {
            update(frame, 0, 0x0000_8000_0000_0067 | kind << 40)
        });
        t.equal(format_args!("{kind:x}.read"), peek(frame, 0), 0);
    }
    Ok(())
}

fn gates(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, gate) in [
        ("interrupt", 0x0000_ee00_e033_0000),
        ("trap", 0x0000_ef00_e033_0000),
        ("task", 0x0000_e500_0000_0000),
        ("call-hypervisor", 0x0000_ec00_e008_0000),
        ("call-reserved", 0x0000_ec01_e033_0000),
    ] {
        t.refused(name, Errno::EINVAL, || update(frame, 0, gate));
        t.equal(format_args!("{name}.read"), peek(frame, 0), 0);
    }
    Ok(())
}

fn in_use_refused(t: &mut Trial) -> Verdict {
    let frame = filled(&[(3, segment(3))]);
    t.need("set_gdt", set_gdt(&[frame], 512))?;
    t.refused("task-state", Errno::EINVAL, || update(frame, 3, 0x0000_8900_0000_0067));
    t.same("still", limit(0x1b), Some(0xffff));
    set_gdt(&[], 0);
    Ok(())
}
