//! `mmuext_op(operations, count, done, domain)`, call 26 (xen/include/public/xen.h, `struct mmuext_op`).
//!
//! The first argument is an array of operations, each a command and two arguments. They are done in order until one is
//! refused; the third argument, unless it is null, is the address of a number that receives how many were done. The last
//! argument is the domain whose frames are meant: `DOMID_SELF`, or one that the caller has power over.
//!
//! Refused: an array that cannot be read (`EFAULT`); a command that there is not (`ENOSYS`); a domain that there is not, and
//! the caller's own number (`ESRCH`); domains that the caller has no power over (`EPERM`), even without an operation.

mod cache;
mod clear_page;
mod copy_page;
mod flushes;
mod new_baseptr;
mod new_user_baseptr;
mod pins;
mod set_ldt;
mod supers;
mod unpin_table;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_MMUEXT_OP;
use paravane_abi::mmu::{
    DOMID_IO, DOMID_SELF, DOMID_XEN, MMUEXT_CLEAR_PAGE, MMUEXT_PIN_L1_TABLE, MMUEXT_TLB_FLUSH_LOCAL,
    MMUEXT_UNPIN_TABLE, MmuextOp,
};
use pv_probe::hypercall::raw;
use pv_probe::memory::{PAGE, peek, poke};

use super::tables::{Mapped, frame, own_number, writable};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The call's rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &pins::L1,
    &pins::L2,
    &pins::L3,
    &pins::L4,
    &unpin_table::ROW,
    &new_baseptr::ROW,
    &flushes::TLB_FLUSH_LOCAL,
    &flushes::INVLPG_LOCAL,
    &flushes::TLB_FLUSH_MULTI,
    &flushes::INVLPG_MULTI,
    &flushes::TLB_FLUSH_ALL,
    &flushes::INVLPG_ALL,
    &cache::FLUSH_CACHE,
    &set_ldt::ROW,
    &new_user_baseptr::ROW,
    &clear_page::ROW,
    &copy_page::ROW,
    &cache::FLUSH_CACHE_GLOBAL,
    &supers::MARK_SUPER,
    &supers::UNMARK_SUPER,
];

/// What the call does besides its operations.
const ROW: Row = Row::call(
    "mmuext_op",
    &[
        Case::good("count", "the number of operations done is told", count),
        Case::good(
            "count-unwritable",
            "a number that cannot be stored is lost, not refused",
            count_unwritable,
        ),
        Case::good("nothing", "no operations are no error", nothing),
        Case::good("order", "operations are done in order: a pin and its undoing", order),
        Case::good("long", "thousands of operations are done by one call, and counted", long),
        Case::refusal("pointers", "arrays that cannot be read", unreadable),
        Case::refusal("nothing-nowhere", "no operations, where no guest has memory", nowhere),
        Case::refusal("end-unreadable", "what can be read is done, up to where it cannot", end_unreadable),
        Case::refusal("stops", "the first refusal ends the call: what stands before is done", stops),
        Case::refusal("unknown", "commands that there are not", unknown),
        Case::refusal("nobody", "domains that there are not, and the caller's own number", nobody),
        Case::refusal("hypervisor", "the hypervisor's and devices' frames", hypervisor),
    ],
);

/// Operations, with a count.
fn operate(operations: &[MmuextOp], domain: u32) -> (i64, u32) {
    let mut done = u32::MAX;
    let arguments =
        [operations.as_ptr() as u64, operations.len() as u64, &raw mut done as u64, domain.into(), 0];
    (raw(HYPERVISOR_MMUEXT_OP, arguments), done)
}

fn own(operations: &[MmuextOp]) -> (i64, u32) {
    operate(operations, DOMID_SELF.into())
}

const fn flush() -> MmuextOp {
    MmuextOp::new(MMUEXT_TLB_FLUSH_LOCAL, 0, 0)
}

const fn clear(frame: u64) -> MmuextOp {
    MmuextOp::new(MMUEXT_CLEAR_PAGE, frame, 0)
}

fn count(t: &mut Trial) -> Verdict {
    let operations = [flush(); 5];
    for count in [1, 2, 5] {
        let (result, done) = own(&operations[..count]);
        t.succeeds(format_args!("{count}"), result);
        t.equal(format_args!("{count}.done"), done.into(), count as u64);
    }
    Ok(())
}

fn count_unwritable(t: &mut Trial) -> Verdict {
    let operation = flush();
    for (name, address) in pointers::UNUSABLE.into_iter().chain([("null", 0)]) {
        let arguments = [&raw const operation as u64, 1, address, DOMID_SELF.into(), 0];
        t.succeeds(name, raw(HYPERVISOR_MMUEXT_OP, arguments));
    }
    Ok(())
}

fn nothing(t: &mut Trial) -> Verdict {
    for (name, address) in [("null", 0), ("nothing", pointers::NOTHING)] {
        let mut done = 77u32;
        let arguments = [address, 0, &raw mut done as u64, DOMID_SELF.into(), 0];
        t.succeeds(name, raw(HYPERVISOR_MMUEXT_OP, arguments));
        t.equal(format_args!("{name}.done"), done.into(), 0);
    }
    Ok(())
}

fn order(t: &mut Trial) -> Verdict {
    let frame = frame();
    let pin = MmuextOp::new(MMUEXT_PIN_L1_TABLE, frame, 0);
    let unpin = MmuextOp::new(MMUEXT_UNPIN_TABLE, frame, 0);
    t.succeeds("pin-unpin", own(&[pin, unpin, pin, unpin]).0);
    t.succeeds("free", writable(frame));
    let (result, done) = own(&[unpin, pin]);
    t.fails("unpin-pin", result, Errno::EINVAL);
    t.equal("unpin-pin.done", done.into(), 0);
    t.succeeds("still-free", writable(frame));
    Ok(())
}

/// Operations of a long call.
static MANY: [MmuextOp; 3000] = [const { MmuextOp::new(MMUEXT_TLB_FLUSH_LOCAL, 0, 0) }; 3000];

fn long(t: &mut Trial) -> Verdict {
    let (result, done) = own(&MANY);
    t.succeeds("call", result);
    t.equal("done", done.into(), MANY.len() as u64);
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE.into_iter().chain([("null", 0)]) {
        let arguments = [address, 1, 0, DOMID_SELF.into(), 0];
        t.refused(name, Errno::EFAULT, || raw(HYPERVISOR_MMUEXT_OP, arguments));
    }
    Ok(())
}

fn nowhere(t: &mut Trial) -> Verdict {
    for (name, address) in [("hypervisor", pointers::HYPERVISOR), ("not-canonical", pointers::NOT_CANONICAL)]
    {
        t.refused(name, Errno::EFAULT, || raw(HYPERVISOR_MMUEXT_OP, [address, 0, 0, DOMID_SELF.into(), 0]));
    }
    Ok(())
}

fn end_unreadable(t: &mut Trial) -> Verdict {
    let target = frame();
    poke(target, 5, 0x1234);
    let page = Mapped::new(0, frame());
    let last = page.address() + PAGE - size_of::<MmuextOp>() as u64;
    // SAFETY: within the page; behind it nothing is mapped.
    unsafe { (last as *mut MmuextOp).write(clear(target)) };
    let mut done = 77u32;
    let arguments = [last, 2, &raw mut done as u64, DOMID_SELF.into(), 0];
    t.refused("call", Errno::EFAULT, || raw(HYPERVISOR_MMUEXT_OP, arguments));
    t.equal("done", done.into(), 1);
    t.equal("word", peek(target, 5), 0);
    Ok(())
}

fn stops(t: &mut Trial) -> Verdict {
    let (first, last) = (frame(), frame());
    poke(first, 0, 1);
    poke(last, 0, 1);
    let operations = [clear(first), flush(), clear(pointers::NO_FRAME), clear(last)];
    let mut done = 0;
    t.refused("call", Errno::EINVAL, || {
        let (result, count) = own(&operations);
        done = count;
        result
    });
    t.equal("done", done.into(), 2);
    t.equal("first", peek(first, 0), 0);
    t.equal("last", peek(last, 0), 1);
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    // 14 was never given.
    for command in [14, 21, 99, u32::MAX] {
        let operation = MmuextOp::new(command, 0, 0);
        t.refused(format_args!("{command:x}"), Errno::ENOSYS, || own(&[operation]).0);
    }
    Ok(())
}

fn nobody(t: &mut Trial) -> Verdict {
    let own = own_number(t)?;
    for (name, domain) in [("unknown", 7777), ("reserved", 0x7ff5), ("own", own)] {
        t.refused(name, Errno::ESRCH, || operate(&[flush()], domain.into()).0);
        t.refused(format_args!("{name}.nothing"), Errno::ESRCH, || operate(&[], domain.into()).0);
    }
    Ok(())
}

fn hypervisor(t: &mut Trial) -> Verdict {
    for (name, domain) in [("hypervisor", DOMID_XEN), ("devices", DOMID_IO)] {
        t.refused(name, Errno::EPERM, || operate(&[flush()], domain.into()).0);
        t.refused(format_args!("{name}.nothing"), Errno::EPERM, || operate(&[], domain.into()).0);
    }
    Ok(())
}
