//! `multicall(calls, count)`, call 13 (xen/include/public/xen.h, `struct multicall_entry`).
//!
//! Makes the calls of an array in order, and stores each one's result in its entry, whatever it is; what a call would be
//! refused by itself it is refused here, and those behind it are made. The call itself gives 0. It is interrupted when it
//! takes long, and goes on by itself. `topics/multicall_semantics` has what calls do to one another.
//!
//! Refused: an array that cannot be read, or written with results (`EFAULT`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{
    HYPERVISOR_FPU_TASKSWITCH, HYPERVISOR_MULTICALL, HYPERVISOR_SET_DEBUGREG, HYPERVISOR_XEN_VERSION,
};
use paravane_abi::multicall::MulticallEntry;
use pv_probe::hypercall::{entry, multicall, raw};
use pv_probe::memory::{NX, PAGE, READ};

use super::set_debugreg;
use super::tables::{self, Mapped, frame};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "multicall",
    &[
        Case::good("results", "each entry has its call's result", results),
        Case::good("nothing", "no calls are no error, wherever they would be", nothing),
        Case::good("many", "hundreds of calls all have results", many),
        Case::good("kept", "an entry's number stays", kept),
        Case::refusal("pointers", "arrays that cannot be read", unreadable),
        Case::refusal("nothing-nowhere", "no calls, where no guest has memory", nowhere),
        Case::refusal("end-unreadable", "calls that can be read are made", end_unreadable),
        Case::refusal("read-only", "an array that cannot be written: the call is made", read_only),
    ],
);

/// A call that gives the same number each time: the version's.
const fn version() -> MulticallEntry {
    MulticallEntry::new(HYPERVISOR_XEN_VERSION, [0; 6])
}

fn results(t: &mut Trial) -> Verdict {
    let want = raw(HYPERVISOR_XEN_VERSION, [0; 5]) as u64;
    let mut calls = [version(), entry(HYPERVISOR_FPU_TASKSWITCH, [0]), entry(55, [0]), version()];
    t.succeeds("call", multicall(&mut calls));
    t.same("first", calls[0].result == want, true);
    t.equal("second", calls[1].result, 0);
    t.fails("third", calls[2].result as i64, Errno::ENOSYS);
    t.same("fourth", calls[3].result == want, true);
    Ok(())
}

fn nothing(t: &mut Trial) -> Verdict {
    for (name, address) in [("null", 0), ("nothing", pointers::NOTHING)] {
        t.succeeds(name, raw(HYPERVISOR_MULTICALL, [address, 0, 0, 0, 0]));
    }
    Ok(())
}

fn many(t: &mut Trial) -> Verdict {
    let want = raw(HYPERVISOR_XEN_VERSION, [0; 5]) as u64;
    let mut calls = [version(); 200];
    t.succeeds("call", multicall(&mut calls));
    t.equal("results", calls.iter().filter(|call| call.result == want).count() as u64, 200);
    Ok(())
}

fn kept(t: &mut Trial) -> Verdict {
    let mut calls = [version(), entry(55, [1, 2, 3, 4, 5])];
    t.succeeds("call", multicall(&mut calls));
    t.equal("first", calls[0].op, HYPERVISOR_XEN_VERSION);
    t.equal("second", calls[1].op, 55);
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE.into_iter().chain([("null", 0)]) {
        for count in [1, 100] {
            t.refused(format_args!("{name}.{count}"), Errno::EFAULT, || {
                raw(HYPERVISOR_MULTICALL, [address, count, 0, 0, 0])
            });
        }
    }
    Ok(())
}

fn nowhere(t: &mut Trial) -> Verdict {
    for (name, address) in [("hypervisor", pointers::HYPERVISOR), ("not-canonical", pointers::NOT_CANONICAL)]
    {
        t.refused(name, Errno::EFAULT, || raw(HYPERVISOR_MULTICALL, [address, 0, 0, 0, 0]));
    }
    Ok(())
}

fn end_unreadable(t: &mut Trial) -> Verdict {
    let page = Mapped::new(0, frame());
    let last = page.address() + PAGE - size_of::<MulticallEntry>() as u64;
    // SAFETY: within the page; behind it nothing is mapped.
    unsafe { (last as *mut MulticallEntry).write(entry(HYPERVISOR_SET_DEBUGREG, [2, 0x1234])) };
    t.fails("call", raw(HYPERVISOR_MULTICALL, [last, 2, 0, 0, 0]), Errno::EFAULT);
    t.equal("made", set_debugreg::get(2), 0x1234);
    set_debugreg::clear();
    Ok(())
}

fn read_only(t: &mut Trial) -> Verdict {
    let list = frame();
    let page = Mapped::new(0, list);
    let call = entry(HYPERVISOR_SET_DEBUGREG, [2, 0x1234]);
    // SAFETY: within the case's page.
    unsafe { (page.address() as *mut MulticallEntry).write(call) };
    drop(page);
    let page = Mapped::with(0, tables::entry(list, READ | NX));
    t.fails("call", raw(HYPERVISOR_MULTICALL, [page.address(), 1, 0, 0, 0]), Errno::EFAULT);
    t.equal("made", set_debugreg::get(2), 0x1234);
    set_debugreg::clear();
    Ok(())
}
