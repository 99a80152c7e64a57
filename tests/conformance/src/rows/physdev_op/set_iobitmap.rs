//! `physdev_op(set_iobitmap, request)`, sub-operation 7 (xen/include/public/physdev.h, `struct physdev_set_iobitmap`): the
//! vcpu's I/O permission bitmap, a bit for each port below `nr_ports`, in the kernel's memory. Whom the privilege level
//! does not let execute a port instruction, the bitmap does when the bits of all its ports are clear. It is read at each
//! instruction; where it cannot be read, its bits count as set.
//!
//! Refused: requests that cannot be read (`EFAULT`), more than 65536 ports, and bitmaps where no guest has memory, though
//! never at the moment (both `EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::PHYSDEVOP_SET_IOBITMAP;
use pv_probe::memory::{self, Page};

use super::ports::{
    Access, PORT, kernel_may, kernel_may_not, program_may, program_may_not, set_bitmap, set_level,
};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers::{HYPERVISOR, NOTHING};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "set_iobitmap",
    &[
        Case::good("clear-bit", "a clear bit lets a program use its port, and no other", clear_bit),
        Case::good("kernel", "the bitmap is for a kernel of level 0 as well", kernel),
        Case::good("wide", "a wide access needs the bits of all its ports", wide),
        Case::good("end", "the last port that the bitmap covers may be used, the one behind it may not", end),
        Case::good("live", "the bitmap is read at each instruction", live),
        Case::good("none", "a bitmap of no ports takes the permission away", none),
        Case::good("unreadable", "a bitmap that is not mapped counts as set bits", unreadable),
        Case::good("all-ports", "a bitmap may cover 65536 ports", all_ports),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_SET_IOBITMAP))
        }),
        Case::refusal("too-many", "more ports than there are, which leave the bitmap as it is", too_many),
        Case::refusal("place", "a bitmap in the hypervisor's range", place),
    ],
);

/// Bits for the ports below 32768; the next page is of no account.
static BITMAP: Page = Page::new();

/// Forbids all ports but these.
fn allow(ports: &[u16]) -> u64 {
    for index in 0..512 {
        let clear = |mask: u64, port: &u16| {
            if usize::from(port / 64) == index { mask & !(1 << (port % 64)) } else { mask }
        };
        // SAFETY: the page is this file's.
        unsafe { memory::write(BITMAP.address() + index as u64 * 8, ports.iter().fold(u64::MAX, clear)) };
    }
    BITMAP.address()
}

/// Takes the bitmap away.
fn done(t: &mut Trial) -> Verdict {
    t.succeeds("taken-away", set_bitmap(0, 0));
    Ok(())
}

fn clear_bit(t: &mut Trial) -> Verdict {
    t.succeeds("set", set_bitmap(allow(&[PORT + 3]), 0x400));
    program_may_not(t, "before", Access::Byte, PORT + 2);
    program_may(t, "allowed", Access::Byte, PORT + 3);
    program_may(t, "allowed.write", Access::Out, PORT + 3);
    program_may_not(t, "behind", Access::Byte, PORT + 4);
    done(t)
}

fn kernel(t: &mut Trial) -> Verdict {
    t.succeeds("level-0", set_level(0));
    t.succeeds("set", set_bitmap(allow(&[PORT]), 0x400));
    kernel_may(t, "allowed", Access::Byte, PORT);
    kernel_may_not(t, "behind", Access::Byte, PORT + 1);
    done(t)
}

fn wide(t: &mut Trial) -> Verdict {
    // The ports of the last access lie in two bytes of the bitmap.
    t.succeeds("set", set_bitmap(allow(&[PORT, PORT + 1, PORT + 6, PORT + 7, PORT + 8, PORT + 9]), 0x400));
    program_may(t, "word", Access::Word, PORT);
    program_may_not(t, "long", Access::Long, PORT);
    program_may_not(t, "word.second", Access::Word, PORT + 1);
    program_may(t, "long.two-bytes", Access::Long, PORT + 6);
    program_may_not(t, "long.two-bytes.last", Access::Long, PORT + 7);
    done(t)
}

fn end(t: &mut Trial) -> Verdict {
    let bitmap = allow(&[PORT + 4, PORT + 5, PORT + 6]);
    t.succeeds("set", set_bitmap(bitmap, u32::from(PORT) + 6));
    program_may(t, "last", Access::Byte, PORT + 5);
    program_may_not(t, "behind", Access::Byte, PORT + 6);
    program_may(t, "last-word", Access::Word, PORT + 4);
    program_may_not(t, "across", Access::Word, PORT + 5);
    done(t)
}

fn live(t: &mut Trial) -> Verdict {
    t.succeeds("set", set_bitmap(allow(&[]), 0x400));
    program_may_not(t, "forbidden", Access::Byte, PORT);
    allow(&[PORT]);
    program_may(t, "allowed", Access::Byte, PORT);
    done(t)
}

fn none(t: &mut Trial) -> Verdict {
    t.succeeds("set", set_bitmap(allow(&[PORT]), 0x400));
    program_may(t, "allowed", Access::Byte, PORT);
    done(t)?;
    program_may_not(t, "without", Access::Byte, PORT);
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    t.succeeds("set", set_bitmap(NOTHING, 0x400));
    program_may_not(t, "program", Access::Byte, PORT);
    kernel_may_not(t, "kernel", Access::Byte, PORT);
    done(t)
}

fn all_ports(t: &mut Trial) -> Verdict {
    t.succeeds("set", set_bitmap(allow(&[PORT]), 0x1_0000));
    program_may(t, "allowed", Access::Byte, PORT);
    done(t)
}

fn too_many(t: &mut Trial) -> Verdict {
    let bitmap = allow(&[PORT]);
    t.succeeds("set", set_bitmap(bitmap, 0x400));
    for count in [0x1_0001, u32::MAX] {
        t.refused(format_args!("ports-{count:#x}"), Errno::EINVAL, || set_bitmap(0, count));
    }
    program_may(t, "allowed", Access::Byte, PORT);
    done(t)
}

fn place(t: &mut Trial) -> Verdict {
    t.refused("set", Errno::EINVAL, || set_bitmap(HYPERVISOR, 0x400));
    t.refused("no-ports", Errno::EINVAL, || set_bitmap(HYPERVISOR, 0));
    Ok(())
}
