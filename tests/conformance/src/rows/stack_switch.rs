//! `stack_switch(ss, sp)`, call 3 (xen/include/public/xen.h).
//!
//! Sets the stack on which the kernel is entered when a program raised something: its selector, whose privilege level the
//! hypervisor makes one that a guest may have, and its end. A frame goes below that end, aligned to 16 bytes. What the kernel
//! itself raises is delivered on the stack it is running on.
//!
//! Nothing is refused: a stack that cannot be written ends the domain when it is needed.

use core::arch::asm;

use paravane_abi::hypercall::HYPERVISOR_STACK_SWITCH;
use paravane_abi::trap::vector;
use pv_probe::guard::{Caught, guarded, trap_stack};
use pv_probe::hypercall::raw;
use pv_probe::memory::{PAGE, Page};
use pv_probe::{ring, user};

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "stack_switch",
    &[
        Case::good("used", "what a program raises is delivered on the new stack", used),
        Case::good("aligned", "frames are aligned to 16 bytes, wherever the stack ends", aligned),
        Case::good("kernel", "what the kernel raises stays on the kernel's stack", kernel),
        Case::good("anything", "any selector and address are taken", anything),
        Case::fatal("not-writable", "a program's exception finds a stack of the hypervisor's", not_writable),
    ],
)
.no_refusal("a stack that cannot be used shows when it is used");

static STACK: Page = Page::new();

/// RCX, R11, and what `iret` takes.
const FRAME: u64 = 7 * 8;

fn switch(selector: u64, end: u64) -> i64 {
    raw(HYPERVISOR_STACK_SWITCH, [selector, end, 0, 0, 0])
}

/// What a program raises that is one `ud2`.
fn program() -> Caught {
    user::run(&[0x0f, 0x0b], &[0; 15])
}

fn used(t: &mut Trial) -> Verdict {
    let end = STACK.address() + PAGE;
    t.succeeds("switch", switch(ring::stack().into(), end));
    let caught = program();
    t.raises("program", &caught, vector::UD.into(), None);
    t.equal("frame", end - caught.rsp, FRAME);
    t.equal("its-stack", caught.frame()[3], user::STACK_END);
    Ok(())
}

fn aligned(t: &mut Trial) -> Verdict {
    let end = STACK.address() + PAGE;
    for less in [0u64, 1, 8, 15, 16] {
        t.succeeds(format_args!("less.{less}"), switch(ring::stack().into(), end - less));
        let want = FRAME + less.next_multiple_of(16);
        t.equal(format_args!("less.{less}.frame"), end - program().rsp, want);
    }
    Ok(())
}

extern "C" fn invalid_opcode() -> u64 {
    // SAFETY: the guard takes the exception.
    unsafe { asm!("ud2") };
    0
}

fn kernel(t: &mut Trial) -> Verdict {
    t.succeeds("switch", switch(ring::stack().into(), STACK.address() + PAGE));
    // SAFETY: one `ud2`.
    let caught = unsafe { guarded(invalid_opcode as *const () as u64, 0) };
    t.raises("kernel", &caught, vector::UD.into(), None);
    let below = caught.frame()[3].wrapping_sub(caught.rsp);
    t.holds("own-stack", (FRAME..FRAME + 16).contains(&below));
    Ok(())
}

fn anything(t: &mut Trial) -> Verdict {
    for (name, selector) in
        [("null", 0), ("hypervisor", 0xe010), ("no-descriptor", 0xfff8), ("long", u64::MAX)]
    {
        t.succeeds(name, switch(selector, trap_stack()));
    }
    for (name, end) in [
        ("nothing", pointers::NOTHING),
        ("hypervisor-range", pointers::HYPERVISOR),
        ("not-canonical", pointers::NOT_CANONICAL),
        ("zero", 0),
    ] {
        t.succeeds(name, switch(ring::stack().into(), end));
    }
    t.succeeds("back", switch(ring::stack().into(), trap_stack()));
    t.raises("program", &program(), vector::UD.into(), None);
    Ok(())
}

fn not_writable(t: &mut Trial) -> Verdict {
    user::prepare();
    t.succeeds("switch", switch(ring::stack().into(), pointers::HYPERVISOR + PAGE));
    t.raises("program", &program(), vector::UD.into(), None);
    Ok(())
}
