//! `VCPUOP_initialise` (vcpu.h; arch-x86/xen.h, `struct vcpu_guest_context`): the state a vcpu starts with, once in its life. What it
//! starts with is shown by `vcpu-bring-up`.
//!
//! Refused: a context that cannot be read (`EFAULT`), a vcpu that is initialised (`EEXIST`); an address that is not canonical, an LDT
//! that is too long or not at a page's start or in the hypervisor's range, more GDT entries than 14 frames have or frames that cannot
//! be descriptors, no root of page tables, and user mode without a root of its own (`EINVAL`).

use core::sync::atomic::{AtomicBool, Ordering};

use paravane_abi::errno::Errno;
use paravane_abi::vcpu::{
    VCPUOP_DOWN, VCPUOP_INITIALISE, VCPUOP_IS_UP, VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext, mfn_to_cr3,
};
use pv_probe::memory::{l1_for, mfn, take};
use pv_probe::{boot, vcpus};

use super::{call, spare, unusable};
use crate::case::{Case, Rings, Row, Stop, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "initialise",
    &[
        Case::refusal("initialised", "a vcpu that runs", initialised),
        Case::refusal("registers", "RIP, RSP and the kernel's stack not canonical", |t| {
            refused(
                t,
                &[
                    ("rip", |c| c.user_regs.rip = pointers::NOT_CANONICAL),
                    ("rsp", |c| c.user_regs.rsp = pointers::NOT_CANONICAL),
                    ("kernel-sp", |c| c.kernel_sp = pointers::NOT_CANONICAL),
                ],
            )
        }),
        Case::refusal("handlers", "callbacks and handlers not canonical", |t| {
            refused(
                t,
                &[
                    ("event", |c| c.event_callback_eip = pointers::NOT_CANONICAL),
                    ("failsafe", |c| c.failsafe_callback_eip = pointers::NOT_CANONICAL),
                    ("syscall", |c| c.syscall_callback_eip = pointers::NOT_CANONICAL),
                    ("first-trap", |c| c.trap_ctxt[0].address = pointers::NOT_CANONICAL),
                    ("last-trap", |c| c.trap_ctxt[255].address = pointers::NOT_CANONICAL),
                ],
            )
        }),
        Case::refusal("bases", "segment bases not canonical", |t| {
            refused(
                t,
                &[
                    ("fs", |c| c.fs_base = pointers::NOT_CANONICAL),
                    ("gs-kernel", |c| c.gs_base_kernel = pointers::NOT_CANONICAL),
                    ("gs-user", |c| c.gs_base_user = pointers::NOT_CANONICAL),
                ],
            )
        }),
        Case::refusal("ldt", "LDTs that are too long, not at a page's start, or the hypervisor's", |t| {
            refused(
                t,
                &[
                    ("entries", |c| c.ldt_ents = 8193),
                    ("unaligned", |c| (c.ldt_base, c.ldt_ents) = (boot::VIRT_BASE + 8, 1)),
                    ("hypervisor", |c| (c.ldt_base, c.ldt_ents) = (pointers::HYPERVISOR, 1)),
                ],
            )
        }),
        Case::refusal(
            "gdt",
            "more entries than 14 frames have, no frames, frames that are page tables",
            |t| {
                refused(
                    t,
                    &[
                        ("entries", |c| c.gdt_ents = 7169),
                        ("far", |c| c.gdt_ents = 1 << 40),
                        ("no-frame", |c| (c.gdt_frames[0], c.gdt_ents) = (pointers::NO_FRAME, 8)),
                        ("tables", |c| (c.gdt_frames[0], c.gdt_ents) = (l1_for(boot::VIRT_BASE), 8)),
                    ],
                )
            },
        ),
        Case::refusal("no-root", "no frame, a data frame in use, and a lower table as the root", |t| {
            refused(
                t,
                &[
                    ("no-frame", |c| c.ctrlreg[3] = mfn_to_cr3(pointers::NO_FRAME)),
                    ("data", |c| c.ctrlreg[3] = mfn_to_cr3(mfn(2))),
                    ("l1", |c| c.ctrlreg[3] = mfn_to_cr3(l1_for(boot::VIRT_BASE))),
                ],
            )
        }),
        Case::refusal("user-root", "a root of user mode that is none", |t| {
            refused(t, &[("no-frame", |c| c.ctrlreg[1] = mfn_to_cr3(pointers::NO_FRAME))])
        }),
        Case::refusal("user-mode", "user mode without a root of its own", |t| {
            refused(t, &[("no-root", |c| c.flags &= !VGCF_IN_KERNEL)])
        })
        .rings(Rings::Three("one root serves a ring-1 kernel and its programs")),
        Case::refusal(
            "frames-are-free",
            "what a refused context named can be given another use",
            frames_are_free,
        ),
        Case::good("online", "a context that says so is of a vcpu that is up", online),
        Case::refusal("pointers", "contexts that cannot be read", |t| {
            unusable(t, VCPUOP_INITIALISE);
            Ok(())
        }),
    ],
);

/// Whether the vcpu that came up by its context may go.
static MAY_GO: AtomicBool = AtomicBool::new(false);

/// What that vcpu does: nothing, so that it is seen to be up.
extern "C" fn stays_up() -> ! {
    while !MAY_GO.load(Ordering::SeqCst) {
        core::hint::spin_loop();
    }
    loop {
        call(VCPUOP_DOWN, ONLINE, 0);
    }
}

/// The vcpu for it; the spare one, which other cases need, is the last.
const ONLINE: u32 = 2;

fn online(t: &mut Trial) -> Verdict {
    if !vcpus::exists(ONLINE) || vcpus::is_initialised(ONLINE) {
        return Err(Stop::Skip("no vcpu of the domain is left for it"));
    }
    let mut context = vcpus::context(ONLINE);
    context.flags |= VGCF_ONLINE;
    context.user_regs.rip = stays_up as *const () as u64;
    t.result("down", call(VCPUOP_IS_UP, ONLINE, 0), 0);
    t.succeeds("initialise", vcpus::initialise(ONLINE, &mut context));
    // Xen lets it run when something wakes it for the first time, so that it is up is all that can be asked.
    t.result("up", call(VCPUOP_IS_UP, ONLINE, 0), 1);
    MAY_GO.store(true, Ordering::SeqCst);
    Ok(())
}

/// Changes a context.
type Change = fn(&mut VcpuGuestContext);

/// Each of these changes has a context refused.
fn refused(t: &mut Trial, changes: &[(&str, Change)]) -> Verdict {
    let vcpu = spare()?;
    for &(name, change) in changes {
        let mut context = vcpus::context(vcpu);
        change(&mut context);
        t.refused(name, Errno::EINVAL, || vcpus::initialise(vcpu, &mut context));
    }
    t.fails("still-not", vcpus::up(vcpu), Errno::EINVAL);
    Ok(())
}

fn initialised(t: &mut Trial) -> Verdict {
    let mut context = vcpus::context(0);
    t.refused("initialise", Errno::EEXIST, || vcpus::initialise(0, &mut context));
    // It is refused before the context is looked at.
    context.user_regs.rip = pointers::NOT_CANONICAL;
    t.refused("wrong-context", Errno::EEXIST, || vcpus::initialise(0, &mut context));
    Ok(())
}

fn frames_are_free(t: &mut Trial) -> Verdict {
    let vcpu = spare()?;
    let frame = mfn(take());
    let mut context = vcpus::context(vcpu);
    (context.gdt_frames[0], context.gdt_frames[1]) = (frame, pointers::NO_FRAME);
    context.gdt_ents = 1024;
    t.refused("second-frame", Errno::EINVAL, || vcpus::initialise(vcpu, &mut context));
    // Descriptors cannot be written by the guest: the frame is none.
    let window = pv_probe::memory::WINDOW + 0x3000_0000;
    l1_for(window);
    let entry = frame << 12 | pv_probe::memory::DATA;
    t.succeeds("writable", pv_probe::hypercall::map(window, entry));
    t.need("unmap", pv_probe::hypercall::map(window, 0))
}
