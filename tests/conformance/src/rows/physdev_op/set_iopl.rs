//! `physdev_op(set_iopl, request)`, sub-operation 6 (xen/include/public/physdev.h, `struct physdev_set_iopl`): the vcpu's
//! virtual I/O privilege level. The kernel counts as ring 1, or as ring 0 with the assist `architectural_iopl`, and
//! programs as ring 3; who is no less privileged than the level may execute port instructions. A port that the domain was
//! not given reads as ones, in as many bits as were asked for, and takes what is written.
//!
//! Refused: requests that cannot be read (`EFAULT`), levels above 3 (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::PHYSDEVOP_SET_IOPL;

use super::ports::{
    Access, BEFORE, PORT, kernel_may, kernel_may_not, program_may, program_may_not, set_level,
};
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "set_iopl",
    &[
        Case::good("kernel", "level 1 is enough for the kernel, 0 is not", kernel),
        Case::good("program", "programs need level 3", program),
        Case::good(
            "reads",
            "ports of no device read as ones, and leave the rest of RAX as the processor would",
            reads,
        ),
        Case::good("writes", "ports of no device can be written", writes),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_SET_IOPL))
        }),
        Case::refusal("too-high", "levels above 3, which leave the level as it is", too_high),
    ],
);

fn kernel(t: &mut Trial) -> Verdict {
    kernel_may_not(t, "before", Access::Byte, PORT);
    t.succeeds("level-1", set_level(1));
    kernel_may(t, "with-1", Access::Byte, PORT);
    t.succeeds("level-0", set_level(0));
    kernel_may_not(t, "with-0", Access::Byte, PORT);
    kernel_may_not(t, "with-0.write", Access::Out, PORT);
    Ok(())
}

fn program(t: &mut Trial) -> Verdict {
    t.succeeds("level-2", set_level(2));
    program_may_not(t, "with-2", Access::Byte, PORT);
    t.succeeds("level-3", set_level(3));
    program_may(t, "with-3", Access::Byte, PORT);
    program_may(t, "with-3.write", Access::Out, PORT);
    t.succeeds("level-0", set_level(0));
    program_may_not(t, "with-0", Access::Byte, PORT);
    Ok(())
}

fn reads(t: &mut Trial) -> Verdict {
    t.succeeds("level-1", set_level(1));
    for (name, access, want) in [
        ("byte", Access::Byte, BEFORE | 0xff),
        ("word", Access::Word, BEFORE | 0xffff),
        ("long", Access::Long, 0xffff_ffff),
    ] {
        let caught = access.by_kernel(PORT);
        t.equal(name, caught.registers[0], want);
    }
    t.succeeds("level-0", set_level(0));
    Ok(())
}

fn writes(t: &mut Trial) -> Verdict {
    t.succeeds("level-1", set_level(1));
    kernel_may(t, "byte", Access::Out, PORT);
    t.succeeds("level-0", set_level(0));
    Ok(())
}

fn too_high(t: &mut Trial) -> Verdict {
    t.succeeds("level-1", set_level(1));
    for level in [4, 0x100, u32::MAX] {
        t.refused(format_args!("level-{level:#x}"), Errno::EINVAL, || set_level(level));
    }
    kernel_may(t, "with-1", Access::Byte, PORT);
    t.succeeds("level-0", set_level(0));
    t.refused("level-4", Errno::EINVAL, || set_level(4));
    kernel_may_not(t, "with-0", Access::Byte, PORT);
    Ok(())
}
