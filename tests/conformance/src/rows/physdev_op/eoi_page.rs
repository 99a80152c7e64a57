//! What both versions of the page of interrupts that need an end have in common.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::PhysdevPirqEoiGmfn;
use pv_probe::hypercall::operation;
use pv_probe::memory;

use crate::case::Verdict;
use crate::rows::pointers::NO_FRAME;
use crate::rows::refusals;
use crate::trial::Trial;

fn give(command: u32, gmfn: u64) -> i64 {
    operation(CALL, command, &mut PhysdevPirqEoiGmfn { gmfn })
}

pub(super) fn no_frame(t: &mut Trial, command: u32) -> Verdict {
    let request = PhysdevPirqEoiGmfn { gmfn: NO_FRAME };
    refusals::request(t, "no-frame", Errno::EINVAL, request, refusals::at(CALL, command))
}

pub(super) fn table(t: &mut Trial, command: u32) -> Verdict {
    t.refused("root", Errno::EINVAL, || give(command, memory::root()));
    Ok(())
}

pub(super) fn once(t: &mut Trial, command: u32) -> Verdict {
    // A case of the other version may have given a page before.
    let first = give(command, memory::mfn(memory::take()));
    t.holds("first", first == 0 || first == Errno::EBUSY.to_ret());
    let other = memory::mfn(memory::take());
    t.refused("second", Errno::EBUSY, || give(command, other));
    Ok(())
}
