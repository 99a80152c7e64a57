//! `VMASST_CMD_enable`, command 0 of `vm_assist` (xen/include/public/xen.h).
//!
//! Turns a type on, or leaves it on. With `VMASST_TYPE_architectural_iopl` frames show the I/O privilege level in RFLAGS, and
//! the `iret` hypercall takes it from there.
//!
//! Refused: types that there are not (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::vm_assist::{VMASST_CMD_ENABLE, VMASST_TYPE_ARCHITECTURAL_IOPL};
use pv_probe::user;

use super::{NONE, TYPES, call, nothing, set_level};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vm_assist",
    "enable",
    &[
        Case::good("types", "every type that a 64-bit guest may name", types),
        Case::good("iopl-shown", "frames of the kernel show the I/O privilege level", shown),
        Case::good("iopl-taken", "a program's frame shows the one its iret gave", taken),
        Case::refusal("unknown", "types that there are not", unknown),
    ],
);

fn types(t: &mut Trial) -> Verdict {
    for kind in TYPES {
        t.succeeds(format_args!("{kind}"), call(VMASST_CMD_ENABLE, kind));
        t.succeeds(format_args!("{kind}.again"), call(VMASST_CMD_ENABLE, kind));
    }
    nothing();
    Ok(())
}

fn shown(t: &mut Trial) -> Verdict {
    t.succeeds("enable", call(VMASST_CMD_ENABLE, VMASST_TYPE_ARCHITECTURAL_IOPL));
    for level in [1, 3, 0] {
        t.need("set_iopl", set_level(level))?;
        t.equal(format_args!("level.{level}"), super::shown_level(), level.into());
    }
    nothing();
    t.need("set_iopl", set_level(0))
}

fn taken(t: &mut Trial) -> Verdict {
    t.succeeds("enable", call(VMASST_CMD_ENABLE, VMASST_TYPE_ARCHITECTURAL_IOPL));
    user::prepare();
    // ud2
    user::place(&[0x0f, 0x0b]);
    for level in [2u64, 0] {
        let mut frame = user::frame();
        frame[6] |= level << 12;
        // SAFETY: the program is one `ud2`.
        let caught = unsafe { pv_probe::guard::leave(&frame, &[0; 15]) };
        t.equal(format_args!("level.{level}"), caught.frame()[2] >> 12 & 3, level);
    }
    nothing();
    t.need("set_iopl", set_level(0))
}

fn unknown(t: &mut Trial) -> Verdict {
    for kind in NONE {
        t.refused(format_args!("{kind:x}"), Errno::EINVAL, || call(VMASST_CMD_ENABLE, kind));
    }
    Ok(())
}
