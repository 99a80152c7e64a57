//! Which stack a frame comes on (`stack_switch(ss, rsp)`, call 3, as exceptions and events use it).
//!
//! Whatever comes from a program is pushed on the stack that `stack_switch` named last, its end rounded down to 16 bytes;
//! what comes from the kernel is pushed where its RSP is, below what it uses.

use paravane_abi::hypercall::HYPERVISOR_STACK_SWITCH;
use paravane_abi::trap::vector;
use pv_probe::guard::{SYSCALL, trap_stack};
use pv_probe::hypercall::raw;
use pv_probe::memory::{PAGE, Page};
use pv_probe::{ring, user};

use crate::case::{Case, Rings, Row, Verdict};
use crate::code;
use crate::code::{kernel, page_end, program};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "trap-stacks",
    &[
        Case::good("program-exception", "a program's exception is pushed on the stack named", |t| {
            on(t, code!("ud2"), 7)
        }),
        Case::good("program-error-code", "the same with an error code", |t| on(t, code!("hlt"), 8)),
        Case::good("program-interrupt", "a program's software interrupt", |t| on(t, code!("int 0x80"), 7)),
        Case::good("program-syscall", "a program's system call", |t| on(t, code!("syscall"), 7))
            .rings(Rings::Three("a kernel in ring 1 gets system calls without a frame")),
        Case::good("changed", "the latest stack counts, and the earlier one is left alone", changed),
        Case::good("aligned", "a stack that ends anywhere", aligned),
        Case::good("kernel", "the kernel's exceptions do not go there", kernel_stays),
        Case::good("program-stack-unused", "nothing is written to the program's own stack", unused),
        Case::good("boundary", "a frame that ends with a page", boundary),
    ],
);

/// Another stack.
static OTHER: Page = Page::new();

/// Names a stack for what comes from programs.
fn switch(t: &mut Trial, stack: u64) -> Verdict {
    t.need("stack_switch", raw(HYPERVISOR_STACK_SWITCH, [ring::stack().into(), stack, 0, 0, 0]))
}

fn on(t: &mut Trial, code: &[u8], words: u64) -> Verdict {
    switch(t, page_end(&OTHER) - 0x100)?;
    let came = program(code, 0);
    switch(t, trap_stack())?;
    t.observe("vector", came.caught.vector);
    t.holds("raised", came.caught.vector <= SYSCALL);
    t.holds("pushed-at", came.caught.rsp == page_end(&OTHER) - 0x100 - words * 8);
    Ok(())
}

fn changed(t: &mut Trial) -> Verdict {
    let word = (page_end(&OTHER) - 8) as *mut u64;
    // SAFETY: a word of the page.
    unsafe { word.write_volatile(0x5a5a) };
    switch(t, page_end(&OTHER))?;
    switch(t, trap_stack())?;
    let came = program(code!("ud2"), 0);
    t.holds("pushed-at", came.caught.rsp == trap_stack() - 7 * 8);
    // SAFETY: as above.
    t.equal("earlier", unsafe { word.read_volatile() }, 0x5a5a);
    Ok(())
}

fn aligned(t: &mut Trial) -> Verdict {
    for distance in [1, 7, 8, 15, 16, 17] {
        switch(t, trap_stack() - distance)?;
        let came = program(code!("ud2"), 0);
        let end = (trap_stack() - distance) & !15;
        t.holds(format_args!("{distance}.pushed-at"), came.caught.rsp == end - 7 * 8);
    }
    switch(t, trap_stack())
}

fn kernel_stays(t: &mut Trial) -> Verdict {
    switch(t, page_end(&OTHER))?;
    let came = kernel(code!("sub rsp, 0x200", "ud2"), 0);
    switch(t, trap_stack())?;
    t.raises("opcode", &came.caught, vector::UD.into(), None);
    t.equal("rsp", came.rsp.wrapping_sub(came.caught.frame()[3]), 0x200);
    t.holds("pushed-at", came.caught.rsp == ((came.rsp - 0x200) & !15) - 7 * 8);
    Ok(())
}

fn unused(t: &mut Trial) -> Verdict {
    user::prepare();
    let words = [1u64, 2, 8].map(|distance| (user::STACK_END - distance * 8) as *mut u64);
    // SAFETY: the programs' stack, which is mapped.
    words.iter().for_each(|word| unsafe { word.write_volatile(0xa5a5) });
    let came = program(code!("ud2"), 0);
    t.raises("opcode", &came.caught, vector::UD.into(), None);
    // SAFETY: as above.
    t.holds("words", words.iter().all(|word| unsafe { word.read_volatile() } == 0xa5a5));
    Ok(())
}

fn boundary(t: &mut Trial) -> Verdict {
    // The stack's end is the first byte of another page, which the frame does not touch.
    switch(t, OTHER.address() + PAGE)?;
    let came = program(code!("ud2"), 0);
    switch(t, trap_stack())?;
    t.raises("opcode", &came.caught, vector::UD.into(), None);
    t.holds("pushed-at", came.caught.rsp == OTHER.address() + PAGE - 7 * 8);
    Ok(())
}
