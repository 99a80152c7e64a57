//! `vm_assist(command, type)`, call 21 (xen/include/public/xen.h).
//!
//! Turns one of the ways in which the hypervisor helps a kernel on or off, for the whole domain. Most of them are of no
//! consequence to a 64-bit guest, and are taken all the same.
//!
//! Refused: types that there are not for such a guest (`EINVAL`), which is looked at first, and other commands (`ENOSYS`).

mod disable;
mod enable;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{HYPERVISOR_PHYSDEV_OP, HYPERVISOR_VM_ASSIST};
use paravane_abi::physdev::{PHYSDEVOP_SET_IOPL, PhysdevSetIopl};
use paravane_abi::vm_assist::{
    VMASST_CMD_DISABLE, VMASST_TYPE_4GB_SEGMENTS, VMASST_TYPE_4GB_SEGMENTS_NOTIFY,
    VMASST_TYPE_ARCHITECTURAL_IOPL, VMASST_TYPE_M2P_STRICT, VMASST_TYPE_PAE_EXTENDED_CR3,
    VMASST_TYPE_RUNSTATE_UPDATE_FLAG, VMASST_TYPE_WRITABLE_PAGETABLES,
};
use pv_probe::guard::guarded;
use pv_probe::hypercall::{operation, raw};

use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The call's rows.
pub const ROWS: &[&Row] = &[&ROW, &enable::ROW, &disable::ROW];

/// What the call does besides its commands.
const ROW: Row = Row::call(
    "vm_assist",
    &[
        Case::refusal("unknown", "commands that there are not", unknown),
        Case::refusal("type-first", "of an unknown command the type is looked at first", type_first),
    ],
);

/// All types that a 64-bit guest may name.
const TYPES: [u32; 7] = [
    VMASST_TYPE_4GB_SEGMENTS,
    VMASST_TYPE_4GB_SEGMENTS_NOTIFY,
    VMASST_TYPE_WRITABLE_PAGETABLES,
    VMASST_TYPE_PAE_EXTENDED_CR3,
    VMASST_TYPE_ARCHITECTURAL_IOPL,
    VMASST_TYPE_RUNSTATE_UPDATE_FLAG,
    VMASST_TYPE_M2P_STRICT,
];

/// Some that there are not.
const NONE: [u32; 9] = [6, 7, 8, 31, 33, 63, 64, 1 << 31, u32::MAX];

fn call(command: u32, kind: u32) -> i64 {
    raw(HYPERVISOR_VM_ASSIST, [command.into(), kind.into(), 0, 0, 0])
}

/// As at the start: this kernel enables nothing.
fn nothing() {
    for kind in TYPES {
        call(VMASST_CMD_DISABLE, kind);
    }
}

/// This vcpu's I/O privilege level.
fn set_level(level: u32) -> i64 {
    operation(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOPL, &mut PhysdevSetIopl { iopl: level })
}

fn unknown(t: &mut Trial) -> Verdict {
    for command in [2, 3, 77, u32::MAX] {
        t.refused(format_args!("{command:x}"), Errno::ENOSYS, || call(command, VMASST_TYPE_4GB_SEGMENTS));
    }
    Ok(())
}

fn type_first(t: &mut Trial) -> Verdict {
    for kind in NONE {
        t.refused(format_args!("{kind:x}"), Errno::EINVAL, || call(77, kind));
    }
    Ok(())
}

extern "C" fn invalid_opcode() -> u64 {
    // SAFETY: the guard takes the exception.
    unsafe { core::arch::asm!("ud2") };
    0
}

/// The I/O privilege level in the frame of an exception of the kernel's.
fn shown_level() -> u64 {
    // SAFETY: one `ud2`.
    let caught = unsafe { guarded(invalid_opcode as *const () as u64, 0) };
    caught.frame()[2] >> 12 & 3
}
