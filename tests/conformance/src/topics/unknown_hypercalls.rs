//! Numbers that are no hypercall's (xen/include/public/xen.h): holes of the table, numbers past its end, and those whose upper
//! half is not zero, since the number is a whole register. All are `ENOSYS`, and nothing happens: no argument is looked at,
//! and no register but the result changes, save those that the instruction changes by itself.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{HYPERVISOR_SCHED_OP, HYPERVISOR_XEN_VERSION};
use paravane_abi::sched::SCHEDOP_SHUTDOWN;
use pv_probe::hypercall::{entry, multicall, raw};

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "unknown-hypercalls",
    &[
        Case::refusal("holes", "numbers between those of calls", holes),
        Case::refusal("past-the-end", "numbers behind the last call", past_the_end),
        Case::refusal("huge", "numbers of more than 32 bits", huge),
        Case::refusal("upper-half", "numbers of calls with something above", upper_half),
        Case::refusal("arguments", "arguments that no call could use", arguments),
        Case::refusal("batched", "in a batch, whose other calls are made", batched),
    ],
);

fn refused(t: &mut Trial, number: u64) {
    t.refused(format_args!("number-{number:#x}"), Errno::ENOSYS, || raw(number, [0; 5]));
}

fn holes(t: &mut Trial) -> Verdict {
    for number in [11, 43, 44, 45, 46, 47] {
        refused(t, number);
    }
    Ok(())
}

fn past_the_end(t: &mut Trial) -> Verdict {
    for number in [56, 57, 63, 64, 65, 127, 128, 0xff, 0x100, 0x1000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        refused(t, number);
    }
    Ok(())
}

fn huge(t: &mut Trial) -> Verdict {
    for number in [1 << 32, 1 << 63, i64::MAX as u64, u64::MAX, u64::MAX - 37] {
        refused(t, number);
    }
    Ok(())
}

fn upper_half(t: &mut Trial) -> Verdict {
    for bit in [32, 40, 48, 62, 63] {
        let number = HYPERVISOR_XEN_VERSION | 1 << bit;
        t.refused(format_args!("version-bit-{bit}"), Errno::ENOSYS, || raw(number, [0; 5]));
    }
    // Were its lower half the number, this would be the domain's end.
    let number = HYPERVISOR_SCHED_OP | 1 << 32;
    let reason = 0u32;
    let end = [SCHEDOP_SHUTDOWN.into(), &raw const reason as u64, 0, 0, 0];
    t.refused("shutdown", Errno::ENOSYS, || raw(number, end));
    Ok(())
}

fn arguments(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::ENOSYS, || raw(47, [address; 5]));
    }
    t.refused("largest", Errno::ENOSYS, || raw(47, [u64::MAX; 5]));
    Ok(())
}

fn batched(t: &mut Trial) -> Verdict {
    let mut calls = [
        entry(47, [0u64; 5]),
        entry(HYPERVISOR_XEN_VERSION | 1 << 32, [0u64; 5]),
        entry(u64::MAX, [u64::MAX; 5]),
        entry(HYPERVISOR_XEN_VERSION, [0u64; 5]),
    ];
    t.succeeds("batch", multicall(&mut calls));
    for (name, call) in ["hole", "upper-half", "largest"].into_iter().zip(&calls) {
        t.fails(name, call.result as i64, Errno::ENOSYS);
    }
    t.result("last", calls[3].result as i64, 4 << 16 | 17);
    Ok(())
}
