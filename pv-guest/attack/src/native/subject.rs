//! Code for attacks to run, and whether the kernel is still served as it should be.

use core::sync::atomic::{AtomicU64, Ordering};

use super::guard::{self, Ended};
use super::memory::{self, NX, RW, US, USER, WINDOW, map};
use super::{registers, state, tables};
use crate::attacks::Report;
use crate::guard::{Regs, Start};

/// The kernel's code of an attack.
pub const CODE: u64 = WINDOW;
/// A page of data for the kernel.
pub const DATA: u64 = WINDOW + 0x4000;
/// Where attacks map what they like: from here on.
pub const PLAY: u64 = WINDOW + 0x10_000;
/// Where attacks map what they like for programs.
pub const USER_PLAY: u64 = USER + 0x10_000;
/// A page of the kernel's that is never mapped, with the next.
pub const NOTHING: u64 = WINDOW + 0x8000;
const STACK: u64 = WINDOW + 0x2000;
const USER_CODE: u64 = USER;
const USER_STACK: u64 = USER + 0x2000;
/// `ud2`, which ends a subject that was not stopped before.
const END: [u8; 2] = [0x0f, 0x0b];
/// The vector of [`END`].
pub const INVALID: u64 = 6;
/// The vector of a page fault.
pub const PAGE_FAULT: u64 = 14;
/// The vector of a protection fault.
pub const PROTECTION: u64 = 13;
/// Bytes of code that are written.
const ROOM: usize = 64;

static FRAMES: AtomicU64 = AtomicU64::new(0);

/// Takes the frames for code, stacks and data.
pub fn initialise() {
    FRAMES.store(memory::frame(), Ordering::Relaxed);
    (0..4).for_each(|_| _ = memory::frame());
}

fn page(index: u64) -> u64 {
    FRAMES.load(Ordering::Relaxed) + index * 0x1000
}

/// The frame of [`DATA`].
pub fn data() -> u64 {
    page(4)
}

/// Maps the pages of subjects, and nothing else.
pub fn restore() {
    memory::unmap_all();
    for (va, entry) in [
        (CODE, page(0) | RW),
        (STACK, page(1) | RW | NX),
        (DATA, data() | RW | NX),
        (USER_CODE, page(2) | RW | US),
        (USER_STACK, page(3) | RW | US | NX),
    ] {
        map(va, entry);
    }
}

fn code(at: u64, bytes: &[u8]) {
    assert!(bytes.len() < ROOM);
    memory::place(at, bytes);
    for offset in (bytes.len()..ROOM).step_by(2) {
        memory::place(at + offset as u64, &END);
    }
}

/// The kernel at some code, interrupts off.
pub fn kernel(bytes: &[u8]) -> Start {
    code(page(0), bytes);
    let (cs, ss) = (tables::KERNEL_CODE.into(), tables::KERNEL_STACK.into());
    Start { rip: CODE, cs, rflags: 2, rsp: STACK + 0xf80, ss, regs: Regs::default() }
}

/// A 64-bit program at some code, interrupts on.
pub fn user(bytes: &[u8]) -> Start {
    code(page(2), bytes);
    let (cs, ss) = (tables::USER_CODE.into(), tables::USER_STACK.into());
    Start { rip: USER_CODE, cs, rflags: 0x202, rsp: USER_STACK + 0xf80, ss, regs: Regs::default() }
}

/// Runs the kernel at some code with some registers.
pub fn exec(bytes: &[u8], regs: Regs) -> Ended {
    guard::run(&Start { regs, ..kernel(bytes) })
}

/// Runs a program at some code with some registers.
pub fn exec_user(bytes: &[u8], regs: Regs) -> Ended {
    guard::run(&Start { regs, ..user(bytes) })
}

/// Whether the code ran to its end.
pub fn whole(ended: &Ended, bytes: &[u8]) -> bool {
    ended.vector == INVALID && ended.rip & 0xfff == bytes.len() as u64
}

/// Writes the operand of `lgdt` and its like to [`DATA`], and gives registers that point there.
pub fn operand(bytes: &[u8]) -> Regs {
    memory::place(data(), bytes);
    Regs { rdi: DATA, ..Regs::default() }
}

/// Makes everything as it was before an attack.
pub fn restore_all() {
    state::restore();
    restore();
}

/// Checks that privileged instructions, page faults, programs, translations and the timer do what they did.
pub fn served(report: &mut Report) {
    let ended = exec(&[0x0f, 0x20, 0xc0], Regs::default());
    let good = whole(&ended, &[0; 3]) && ended.regs.rax == state::CR0;
    report.check(format_args!("afterwards mov from CR0: {ended:x?}"), good);
    let ended = exec(&[0x8b, 0x07], Regs { rdi: NOTHING, ..Regs::default() });
    let good = (ended.vector, ended.error, ended.rip) == (PAGE_FAULT, 0, CODE) && registers::cr2() == NOTHING;
    report.check(format_args!("afterwards a page fault: {ended:x?}"), good);
    let ended = exec_user(&[0x8b, 0x07], Regs { rdi: CODE, ..Regs::default() });
    let good = (ended.vector, ended.error) == (PAGE_FAULT, 5) && ended.cs == tables::USER_CODE.into();
    report.check(format_args!("afterwards a program reads the kernel: {ended:x?}"), good);
    let ended = exec_user(&[0x0f, 0x05], Regs::default());
    let good = ended.vector == guard::SYSCALL && ended.rip == USER_CODE + 2;
    report.check(format_args!("afterwards a system call: {ended:x?}"), good);
    let ended = exec_user(&[0xcd, tables::SYSTEM_CALL], Regs::default());
    let good = ended.vector == tables::SYSTEM_CALL.into() && ended.rip == USER_CODE + 2;
    report.check(format_args!("afterwards int 0x80: {ended:x?}"), good);
    report.check(format_args!("afterwards a page is mapped and looked at"), translations());
    state::start_timer(100);
    let ended = exec(&[0xfb, 0xf4, 0xfa], Regs::default());
    state::end_interrupt();
    let good = ended.vector == state::FIRST_IRQ.into() && ended.rip == CODE + 2 && ended.rflags & 0x200 != 0;
    report.check(format_args!("afterwards the timer: {ended:x?}"), good);
    state::quiet();
}

/// A page that is mapped elsewhere shows it, and its entry has the marks.
fn translations() -> bool {
    let mark = memory::mark();
    let frames = [memory::frame(), memory::frame()];
    let good = frames.into_iter().all(|frame| {
        memory::write(frame, frame ^ 0x55);
        map(PLAY, frame | RW | NX);
        // SAFETY: the page was just mapped.
        let found = unsafe { (PLAY as *const u64).read_volatile() };
        let read = memory::read(memory::entry_of(PLAY)) & 0x60 == 0x20;
        // SAFETY: as above.
        unsafe { (PLAY as *mut u64).write_volatile(1) };
        let written = memory::read(memory::entry_of(PLAY)) & 0x60 == 0x60;
        found == frame ^ 0x55 && read && written && memory::read(frame) == 1
    });
    map(PLAY, 0);
    memory::release(mark);
    good
}
