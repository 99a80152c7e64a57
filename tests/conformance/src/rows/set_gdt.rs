//! `set_gdt(frames, entries)`, call 2 (xen/include/public/xen.h; arch-x86/xen.h, `FIRST_RESERVED_GDT_ENTRY`).
//!
//! The first argument is an array of machine frames, one for each 512 of the second, at most 7168: what follows in the table
//! is the hypervisor's. Each frame becomes a page of descriptors: every descriptor in it must be one that a guest may have,
//! and while the frame is in use nothing may map it for writing. The table before it is let go of.
//!
//! Refused: too many entries (`EINVAL`); an array that cannot be read (`EFAULT`); frames that are not this domain's, that are
//! mapped for writing or tables, or that hold a descriptor no guest may have (`EINVAL`). The old table stays then.

use core::arch::asm;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_SET_GDT;
use paravane_abi::segment::MAX_GUEST_GDT_ENTRIES;
use pv_probe::hypercall::raw;
use pv_probe::memory::root;

use super::tables::{BEYOND, LOW, Mapped, filled, frame, pinnable, writable};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "set_gdt",
    &[
        Case::good("shown", "selectors find the new table's descriptors", shown),
        Case::good("shorter", "descriptors behind the frames given are gone", shorter),
        Case::good("nothing", "no entries take the table away, whatever the pointer", nothing),
        Case::good("most", "as many entries as there may be, the same frame for all", most),
        Case::good("held", "a frame in use cannot be mapped for writing or made a table", held),
        Case::good("let-go", "a frame that is not in use any more can", let_go),
        Case::refusal("too-many", "one entry more than there may be", too_many),
        Case::refusal("pointers", "arrays that cannot be read", unreadable),
        Case::refusal("frames", "frames that are not this domain's", frames),
        Case::refusal("in-use", "frames that are mapped for writing, or tables", in_use),
        Case::refusal("descriptors", "frames with descriptors that no guest may have", descriptors),
        Case::refusal(
            "second-frame",
            "the first of two frames is let go of when the second is refused",
            second,
        ),
        Case::refusal("old-stays", "the table before stays in use", old_stays),
    ],
);

/// Data of privilege level 3, accessed, 16-bit, with this limit in bytes.
const fn data(limit: u64) -> u64 {
    limit | 0x0000_f300_0000_0000
}

fn set(frames: &[u64], entries: u64) -> i64 {
    raw(HYPERVISOR_SET_GDT, [frames.as_ptr() as u64, entries, 0, 0, 0])
}

/// Takes the table away, as it was at the start.
fn clear() {
    set(&[], 0);
}

/// The limit of a selector, if `lsl` finds one.
pub fn limit(selector: u64) -> Option<u64> {
    let (limit, found): (u64, u8);
    // SAFETY: reads a descriptor.
    unsafe {
        asm!("lsl {0:e}, {1:e}", "setz {2}", inout(reg) 0u64 => limit, in(reg) selector, out(reg_byte) found);
    }
    (found != 0).then_some(limit)
}

/// The selector of a descriptor, RPL 3.
const fn selector(index: u64) -> u64 {
    index << 3 | 3
}

fn shown(t: &mut Trial) -> Verdict {
    let frames = [filled(&[(2, data(0x1234))]), filled(&[(511, data(0x4321))])];
    t.same("before", limit(selector(2)), None);
    t.succeeds("set", set(&frames, 1024));
    t.same("first-frame", limit(selector(2)), Some(0x1234));
    t.same("second-frame", limit(selector(1023)), Some(0x4321));
    t.same("empty", limit(selector(3)), None);
    clear();
    Ok(())
}

fn shorter(t: &mut Trial) -> Verdict {
    let frames = [filled(&[(2, data(0x1234))]), filled(&[(0, data(0x4321))])];
    t.succeeds("two-frames", set(&frames, 513));
    t.same("second-frame", limit(selector(512)), Some(0x4321));
    t.succeeds("one-frame", set(&frames, 512));
    t.same("first-frame", limit(selector(2)), Some(0x1234));
    t.same("second-frame-gone", limit(selector(512)), None);
    clear();
    t.succeeds("second-frame-free", writable(frames[1]));
    Ok(())
}

fn nothing(t: &mut Trial) -> Verdict {
    t.succeeds("set", set(&[filled(&[(2, data(0x1234))])], 512));
    t.succeeds("null", raw(HYPERVISOR_SET_GDT, [0; 5]));
    t.same("gone", limit(selector(2)), None);
    t.succeeds("nothing-there", raw(HYPERVISOR_SET_GDT, [pointers::NOTHING, 0, 0, 0, 0]));
    Ok(())
}

fn most(t: &mut Trial) -> Verdict {
    let frame = filled(&[(511, data(0x7fff))]);
    t.succeeds("set", set(&[frame; 14], MAX_GUEST_GDT_ENTRIES));
    t.same("last", limit(selector(MAX_GUEST_GDT_ENTRIES - 1)), Some(0x7fff));
    clear();
    t.succeeds("free", writable(frame));
    Ok(())
}

fn held(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.succeeds("set", set(&[frame], 1));
    t.refused("writable", Errno::EBUSY, || writable(frame));
    t.refused("table", Errno::EINVAL, || pinnable(frame));
    clear();
    Ok(())
}

fn let_go(t: &mut Trial) -> Verdict {
    let (first, second) = (frame(), frame());
    t.succeeds("first", set(&[first], 1));
    t.succeeds("second", set(&[second], 1));
    t.succeeds("first-writable", writable(first));
    t.succeeds("first-table", pinnable(first));
    clear();
    t.succeeds("second-writable", writable(second));
    Ok(())
}

fn too_many(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, entries) in [("one-more", MAX_GUEST_GDT_ENTRIES + 1), ("all-bits", 0xffff_ffff)] {
        t.refused(name, Errno::EINVAL, || set(&[frame; 15], entries));
    }
    t.succeeds("frame", writable(frame));
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || raw(HYPERVISOR_SET_GDT, [address, 1, 0, 0, 0]));
    }
    Ok(())
}

fn frames(t: &mut Trial) -> Verdict {
    for (name, frame) in
        [("low", LOW), ("beyond", BEYOND), ("none", pointers::NO_FRAME), ("all-bits", u64::MAX)]
    {
        t.refused(name, Errno::EINVAL, || set(&[frame], 1));
    }
    Ok(())
}

fn in_use(t: &mut Trial) -> Verdict {
    t.refused("table", Errno::EINVAL, || set(&[root()], 1));
    let frame = frame();
    let mapped = Mapped::new(0, frame);
    t.refused("writable", Errno::EINVAL, || set(&[frame], 1));
    drop(mapped);
    t.succeeds("unmapped", set(&[frame], 1));
    clear();
    Ok(())
}

fn descriptors(t: &mut Trial) -> Verdict {
    for (name, descriptor) in [
        ("task-state", 0x0000_8900_0000_0067),
        ("local-table", 0x0000_8200_0000_ffff),
        ("interrupt-gate", 0x0000_ee00_e033_0000),
        ("hypervisor-gate", 0x0000_ec00_e008_0000),
    ] {
        let frame = filled(&[(0, data(1)), (511, descriptor)]);
        t.refused(name, Errno::EINVAL, || set(&[frame], 1));
        t.succeeds(format_args!("{name}.frame"), writable(frame));
    }
    Ok(())
}

fn second(t: &mut Trial) -> Verdict {
    let first = frame();
    t.refused("set", Errno::EINVAL, || set(&[first, root()], 513));
    t.succeeds("first-writable", writable(first));
    t.succeeds("first-table", pinnable(first));
    Ok(())
}

fn old_stays(t: &mut Trial) -> Verdict {
    let old = filled(&[(2, data(0x1234))]);
    t.succeeds("set", set(&[old], 512));
    t.refused("refused", Errno::EINVAL, || set(&[frame(), LOW], 1024));
    t.same("still", limit(selector(2)), Some(0x1234));
    t.refused("held", Errno::EBUSY, || writable(old));
    clear();
    Ok(())
}
