//! `physdev_op_compat(request)`, call 19 (xen/include/public/physdev.h, `struct physdev_op`): the form of `physdev_op` before
//! interface version 0x30202. The request has the command in its first word and the command's own request at offset 8, and
//! does what the newer form does with these.
//!
//! Refused: requests that cannot be read, all 24 bytes of them (`EFAULT`), commands that there are not (`ENOSYS`), and what the
//! newer form refuses, with its codes.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP_COMPAT;
use paravane_abi::physdev::*;
use pv_probe::hypercall::raw;
use pv_probe::memory::{self, DATA, NX, PAGE, WINDOW, map_new};

use crate::case::{Case, Row, Verdict};
use crate::rows::physdev_op::ports::{Access, PORT, kernel_may, kernel_may_not};
use crate::rows::pointers::HYPERVISOR;
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "physdev_op_compat",
    &[
        Case::good("set-iopl", "sets the I/O privilege level, as the newer form does", set_iopl),
        Case::good("answer", "an answer is written behind the command", answer),
        Case::refusal("pointers", "requests that cannot be read", |t| refusals::pointers(t, call)),
        Case::refusal("short", "a request that the end of a page cuts", short),
        Case::refusal("unknown", "commands that there are not", unknown),
        Case::refusal("newer-codes", "what the newer form refuses", newer_codes),
    ],
);

/// Where a page is, and nothing behind it.
const PLACE: u64 = WINDOW + 0x6200_0000;

fn call(address: u64) -> i64 {
    raw(HYPERVISOR_PHYSDEV_OP_COMPAT, [address, 0, 0, 0, 0])
}

fn ask(request: &mut PhysdevOp) -> i64 {
    call(&raw mut *request as u64)
}

fn set_level(level: u64) -> i64 {
    ask(&mut PhysdevOp { cmd: PHYSDEVOP_SET_IOPL, pad: 0, u: [level, 0] })
}

fn set_iopl(t: &mut Trial) -> Verdict {
    t.succeeds("level-1", set_level(1));
    kernel_may(t, "with-1", Access::Byte, PORT);
    t.succeeds("level-0", set_level(0));
    kernel_may_not(t, "with-0", Access::Byte, PORT);
    Ok(())
}

fn answer(t: &mut Trial) -> Verdict {
    let mut request = PhysdevOp { cmd: PHYSDEVOP_IRQ_STATUS_QUERY, pad: 0, u: [3 | 0xffff << 48, 0x5a] };
    t.succeeds("status", ask(&mut request));
    t.equal("flags", request.u[0] >> 32 & 3, XENIRQSTAT_NEEDS_EOI.into());
    t.equal("behind", request.u[1], 0x5a);
    Ok(())
}

fn short(t: &mut Trial) -> Verdict {
    if memory::entry_at(PLACE, 1) == 0 {
        map_new(PLACE, DATA | NX);
    }
    let address = PLACE + PAGE - 16;
    for (index, word) in [u64::from(PHYSDEVOP_SET_IOPL), 1].into_iter().enumerate() {
        // SAFETY: the page is this case's.
        unsafe { memory::write(address + index as u64 * 8, word) };
    }
    t.refused("request", Errno::EFAULT, || call(address));
    kernel_may_not(t, "level", Access::Byte, PORT);
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    for (name, cmd) in [("zero", 0), ("gap", 18), ("gone", PHYSDEVOP_FREE_IRQ_VECTOR), ("largest", u32::MAX)]
    {
        refusals::request(t, name, Errno::ENOSYS, PhysdevOp { cmd, ..Default::default() }, call)?;
    }
    Ok(())
}

fn newer_codes(t: &mut Trial) -> Verdict {
    for (name, cmd, first, error) in [
        ("iopl", PHYSDEVOP_SET_IOPL, 4, Errno::EINVAL),
        ("ports", PHYSDEVOP_SET_IOBITMAP, HYPERVISOR, Errno::EINVAL),
        ("apic", PHYSDEVOP_APIC_READ, 0xfec0_0000, Errno::EPERM),
        ("eoi", PHYSDEVOP_EOI, u64::MAX, Errno::EINVAL),
    ] {
        refusals::request(t, name, error, PhysdevOp { cmd, pad: 0, u: [first, 0] }, call)?;
    }
    Ok(())
}
