//! NT, TF, AC, DF and others set at every kind of entry.

use core::sync::atomic::Ordering;

use paravane_abi::regs::rflags::{AC, DF, IF, NT, RF, TF};

use super::subject::{self, BREAKPOINT};
use super::{Report, Row};
use crate::fuzz::{system_time, wake_at};
use crate::guard::{self, Guard, Start};
use crate::memory::{USER_CODE, USER_DATA, clear_events, event_pending, shared};
use crate::ring::{self, Half};

const ID: u64 = 1 << 21;
const ARITHMETIC: u64 = 0x8d5;
/// What each attack sets, alone and together.
const SETS: [u64; 9] = [NT, TF, AC, DF, RF, ID, NT | TF, NT | AC | DF, NT | TF | AC | DF | ID | ARITHMETIC];

const REASON: &str =
    "NT makes an iretq fault, TF and AC stop the entry in ring 0, DF makes its copies run backwards";

macro_rules! rows {
    ($($name:literal $run:ident)*) => {
        /// See the module.
        pub const ROWS: &[Row] = &[$( Row { name: $name, reason: REASON, run: $run } ),*];
    };
}

rows! {
    "flags-hypercall" hypercall
    "flags-syscall" system_call
    "flags-syscall-compatibility" compatibility
    "flags-sysenter" sysenter
    "flags-int80" int80
    "flags-invalid-opcode" invalid_opcode
    "flags-breakpoint" breakpoint
    "flags-debug" debug
    "flags-protection" protection
    "flags-page-fault" page_fault
    "flags-event" event
    "flags-interrupt" interrupt
    "flags-iret-hypercall" iret_hypercall
    "flags-virtual-8086" virtual_8086
}

/// Flags that a handler entered by the hypervisor must not have, and those it must.
fn handler(report: &mut Report, end: &Guard, set: u64) {
    let bad = end.entry_flags & (TF | NT | RF | AC);
    report.check(format_args!("set {set:#x}: the handler has {:#x}", end.entry_flags), bad == 0);
    report.check(format_args!("set {set:#x}: the handler has IF clear"), end.entry_flags & IF != 0);
}

/// Flags in the frame that the subject had and the frame must show.
fn framed(report: &mut Report, end: &Guard, set: u64, wanted: u64) {
    report.check(
        format_args!("set {set:#x}: the frame has {:#x}, vector {:#x}", end.rflags, end.vector),
        end.rflags & wanted == set & wanted,
    );
}

/// TF is met after the first instruction at the latest: that #DB, or what the instruction itself raises, is fine.
fn ends_with(report: &mut Report, end: &Guard, set: u64, vector: u64) {
    let stepped = set & TF != 0 && end.vector == 1;
    report.check(
        format_args!("set {set:#x}: vector {:#x} at {:#x}, wanted {vector:#x}", end.vector, end.rip),
        end.vector == vector || stepped || vector == 1 && end.vector == 6,
    );
}

/// Runs code in both rings with each set of flags.
fn both(report: &mut Report, code: &[u8], vector: u64, prepare: impl Fn(&mut Start)) {
    for set in SETS {
        for mut start in [subject::kernel(code), subject::user(code)] {
            start.rflags |= set;
            prepare(&mut start);
            let end = guard::run(&start);
            ends_with(report, &end, set, vector);
            handler(report, &end, set);
            framed(report, &end, set, NT | AC | DF | ID);
        }
    }
}

fn hypercall(report: &mut Report) {
    for set in SETS {
        // mov eax, 17 is XENVER_version with RDI 0; then the end.
        let mut start = subject::hypercall();
        start.regs.rax = 17;
        start.rflags |= set;
        let end = guard::run(&start);
        ends_with(report, &end, set, BREAKPOINT);
        framed(report, &end, set, NT | AC | DF | ID);
        handler(report, &end, set);
        let answered = end.regs.rax == 4 << 16 | 17;
        report.check(format_args!("set {set:#x}: RAX {:#x}", end.regs.rax), answered);
    }
}

fn system_call(report: &mut Report) {
    for set in SETS {
        let mut start = subject::user(&[0x0f, 0x05]);
        start.rflags |= set;
        let end = guard::run(&start);
        ends_with(report, &end, set, guard::SYSCALL);
        framed(report, &end, set, NT | AC | DF | ID);
        if end.vector == guard::SYSCALL {
            handler(report, &end, set);
            // In ring 1 the contract gives a value; in ring 3 DF is cleared as for a processor's own `syscall`.
            let good = if ring::is_3() { end.entry_flags & DF == 0 } else { end.entry_flags == 0x202 };
            report.check(format_args!("set {set:#x}: the callback has {:#x}", end.entry_flags), good);
        }
    }
}

/// As it is known to the processor, or not: both are entries.
fn known_or_not(report: &mut Report, start: Start, known: u64) {
    for set in SETS {
        let mut start = start;
        start.rflags |= set;
        let end = guard::run(&start);
        let stepped = set & TF != 0 && end.vector == 1;
        report.check(
            format_args!("set {set:#x}: vector {:#x} at {:#x}", end.vector, end.rip),
            end.vector == known || end.vector == 6 || stepped,
        );
        handler(report, &end, set);
        framed(report, &end, set, NT | AC | DF | ID);
    }
}

fn compatibility(report: &mut Report) {
    known_or_not(report, subject::user32(&[0x0f, 0x05]), guard::SYSCALL32);
}

fn sysenter(report: &mut Report) {
    let code = [0x0f, 0x34];
    for start in [subject::user32(&code), subject::user(&code), subject::kernel(&code)] {
        known_or_not(report, start, 13);
    }
}

/// The timer's interrupt comes while a program runs, and with it the event.
fn interrupt(report: &mut Report) {
    for set in SETS {
        wake_at(system_time() + 300_000);
        let mut start = subject::user(&[0xeb, 0xfe]); // jmp to itself
        start.rflags |= set;
        let end = guard::run(&start);
        clear_events();
        ends_with(report, &end, set, guard::EVENT);
        handler(report, &end, set);
        framed(report, &end, set, NT | AC | DF | ID);
    }
    crate::hypercall::raw(paravane_abi::hypercall::HYPERVISOR_SET_TIMER_OP, [0; 5]);
}

fn int80(report: &mut Report) {
    for set in SETS {
        let mut start = subject::user(&[0xcd, 0x80]);
        start.rflags |= set;
        let end = guard::run(&start);
        ends_with(report, &end, set, guard::INT80);
        framed(report, &end, set, NT | AC | DF | ID);
        // The processor's own trap gate clears TF, NT and RF and leaves the others (SDM vol. 3, 6.12.1.2).
        let bad = end.entry_flags & (TF | NT | RF);
        report.check(format_args!("set {set:#x}: the gate leaves {:#x}", end.entry_flags), bad == 0);
    }
}

fn invalid_opcode(report: &mut Report) {
    both(report, &[0x0f, 0x0b], 6, |_| {});
}

fn breakpoint(report: &mut Report) {
    both(report, &[], BREAKPOINT, |_| {});
}

fn debug(report: &mut Report) {
    // A step of one instruction: the #DB of TF, whatever else is set.
    for set in SETS {
        for mut start in [subject::kernel(&[0x90, 0x90]), subject::user(&[0x90, 0x90])] {
            start.rflags |= set | TF;
            let end = guard::run(&start);
            report.check(format_args!("set {set:#x}: vector {:#x}", end.vector), end.vector == 1);
            report.check(format_args!("set {set:#x}: RIP {:#x}", end.rip), end.rip == start.rip + 1);
            handler(report, &end, set);
            framed(report, &end, set, NT | AC | DF | ID);
        }
    }
    // `icebp`, which QEMU does not know and a processor raises #DB for.
    both(report, &[0xf1], 1, |_| {});
}

fn protection(report: &mut Report) {
    both(report, &[0xf4], 13, |_| {});
}

fn page_fault(report: &mut Report) {
    // mov rax, [rdi]
    both(report, &[0x48, 0x8b, 0x07], 14, |start| start.regs.rdi = 0x1000);
}

fn event(report: &mut Report) {
    for set in SETS {
        // A pending event is delivered by the first return to ring 3 that the hypervisor sees: behind a call, the iretq
        // to a segment marked absent.
        // SAFETY: the event words of the shared page; no other vcpu uses them.
        unsafe { (&raw mut (*shared()).vcpu_info[0].evtchn_pending_sel).write_volatile(1) };
        event_pending(0).store(1, Ordering::SeqCst);
        crate::hypercall::null();
        let mut start = subject::user(&[0xeb, 0xfe]);
        start.rflags |= set;
        let end = guard::run(&start);
        clear_events();
        crate::entries::arm();
        ends_with(report, &end, set, guard::EVENT);
        handler(report, &end, set);
        framed(report, &end, set, NT | AC | DF | ID);
    }
}

fn iret_hypercall(report: &mut Report) {
    for set in SETS {
        for (cs, ss) in [(ring::shown_code(), ring::stack().into()), (0xe033, 0xe02b)] {
            let page = if cs == 0xe033 { USER_CODE } else { subject::kernel_code() };
            let target = page + 0x800;
            subject::place(target, &[]);
            // The kernel needs a stack that it can write.
            let stack = if cs == 0xe033 { USER_DATA + 0x800 } else { subject::kernel_stack() };
            let end = guard::run(&subject::iret([target, cs, 0x202 | set, stack, ss]));
            ends_with(report, &end, set, BREAKPOINT);
            handler(report, &end, set);
            framed(report, &end, set, NT | AC | DF | ID);
        }
    }
}

/// A 32-bit `iret` with VM in the frame's flags. Outside ring 0 a processor ignores the flag, and in long mode altogether;
/// QEMU enters virtual-8086 mode, in which CS is any number and tells no ring.
fn virtual_8086(report: &mut Report) {
    const VM: u64 = 1 << 17;
    for selector in [0xe008u64, 0, 0xe010, 0xe033, 0xe069, 0xffff, ring::shown_code()] {
        for set in [0, TF, AC, TF | NT] {
            for mut start in [subject::user(&[0xcf]), subject::user32(&[0xcf]), subject::kernel(&[0xcf])] {
                let frame =
                    [0x202, selector, 0x202 | VM | set, 0x3000, 0xe02b, 0xe02b, 0xe02b, 0xe02b, 0xe02b];
                start.rsp -= 0x100;
                for (index, word) in frame.into_iter().enumerate() {
                    // SAFETY: the subject's stack.
                    unsafe { (start.rsp as *mut u32).add(index).write_volatile(word as u32) };
                }
                let end = guard::run(&start);
                report.check(
                    format_args!("CS {selector:#x}: vector {:#x}, {:?}", end.vector, end.half()),
                    end.vector < 32 && (end.half() != Half::Nobody || end.cs & 0xffff == 0),
                );
            }
        }
    }
}
