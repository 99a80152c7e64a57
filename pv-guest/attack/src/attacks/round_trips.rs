//! Ways into the kernel or the hypervisor and back, with every register checked: nothing that interrupts an entry or an
//! exit may show.

use paravane_abi::hypercall as nr;
use paravane_abi::regs::rflags;
use pv_attack_logic::random::Random;

use super::{Report, Row, subject};
use crate::guard::{self, Guard, Regs, Start};
use crate::memory::{USER_CODE, USER_STACK};
use crate::ring::{self, Half};

/// See the module.
pub const ROWS: &[Row] = &[Row {
    name: "round-trips",
    reason: "an interrupt between any two instructions of an entry or an exit, an NMI too, loses a register or a stack",
    run: round_trips,
}];

/// Flags that may be anything: the arithmetic ones, DF, NT, AC and ID.
const FREE: u64 = 0x8d5 | rflags::DF | rflags::NT | rflags::AC | 1 << 21;

/// Rounds, each with one trip of every kind.
const ROUNDS: u64 = 1000;

/// Where a kind's code lies in its page.
const APART: u64 = 64;

/// A kind of trip: its code, who runs it, and the vector that ends it.
struct Kind {
    what: &'static str,
    /// None is the hypercall instruction.
    code: &'static [u8],
    user: bool,
    ends_with: u64,
    /// Bytes of code before what ends it.
    until: u64,
}

const KINDS: [Kind; 6] = [
    Kind { what: "syscall", code: &[0x0f, 0x05], user: true, ends_with: guard::SYSCALL, until: 2 },
    Kind { what: "int 0x80", code: &[0xcd, 0x80], user: true, ends_with: guard::INT80, until: 2 },
    Kind { what: "ud2 in a program", code: &[0x0f, 0x0b], user: true, ends_with: 6, until: 0 },
    Kind { what: "ud2 in the kernel", code: &[0x0f, 0x0b], user: false, ends_with: 6, until: 0 },
    // The hypercall instruction, then int3.
    Kind { what: "hypercall", code: &[], user: false, ends_with: 3, until: 3 },
    Kind { what: "iret", code: &[], user: false, ends_with: 6, until: 0 },
];

fn registers(random: &mut Random) -> Regs {
    let mut next = || random.next();
    Regs {
        rax: next(),
        rbx: next(),
        rcx: next(),
        rdx: next(),
        rsi: next(),
        rdi: next(),
        rbp: next(),
        r8: next(),
        r9: next(),
        r10: next(),
        r11: next(),
        r12: next(),
        r13: next(),
        r14: next(),
        r15: next(),
    }
}

/// Where the code of a kind is.
fn place_of(index: usize) -> u64 {
    let page = if KINDS[index].user { USER_CODE } else { subject::kernel_code() };
    page + index as u64 * APART
}

fn start(index: usize, random: &mut Random) -> Start {
    let mut start = if KINDS[index].user {
        Start::user(place_of(index), USER_STACK - 64)
    } else {
        Start::kernel(place_of(index), subject::kernel_stack())
    };
    start.regs = registers(random);
    start.rflags |= random.next() & FREE;
    start
}

/// The frame of the `iret` hypercall, to the program's `ud2`: RAX, R11 and RCX come from it.
fn iret_frame(start: &mut Start) -> Start {
    let target =
        Start { regs: start.regs, rflags: start.rflags, ..Start::user(place_of(2), USER_STACK - 64) };
    let frame = [
        target.regs.rax,
        target.regs.r11,
        target.regs.rcx,
        0,
        target.rip,
        target.cs,
        target.rflags,
        target.rsp,
        target.ss,
    ];
    start.rsp -= 0x200;
    for (index, word) in frame.into_iter().enumerate() {
        // SAFETY: the subject's stack.
        unsafe { (start.rsp as *mut u64).add(index).write_volatile(word) };
    }
    start.regs.rax = nr::HYPERVISOR_IRET;
    target
}

/// The registers that are left alone: `syscall` has a use for RCX and R11, and is a kernel's hypercall in ring 3.
fn kept(kind: &Kind, regs: &Regs) -> [u64; 15] {
    let call = kind.ends_with == guard::SYSCALL || ring::is_3() && kind.what == "hypercall";
    let (rcx, r11) = if call { (0, 0) } else { (regs.rcx, regs.r11) };
    let Regs { rax, rbx, rdx, rsi, rdi, rbp, r8, r9, r10, r12, r13, r14, r15, .. } = *regs;
    [rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15]
}

fn judge(report: &mut Report, kind: &Kind, wanted: &Start, end: &Guard) {
    let what = kind.what;
    report.check(
        format_args!("{what} ended with {:#x} at {:#x}", end.vector, end.rip),
        end.vector == kind.ends_with,
    );
    let same = kept(kind, &end.regs) == kept(kind, &wanted.regs);
    report.check(format_args!("{what}: {:x?}, wanted {:x?}", end.regs, wanted.regs), same);
    report.check(format_args!("{what} was at {:#x}", end.rip), end.rip == wanted.rip + kind.until);
    report.check(format_args!("{what} had RSP {:#x}", end.rsp), end.rsp == wanted.rsp);
    report.check(format_args!("{what} of {:?}", end.half()), end.half() == Half::of(wanted.cs));
    let flags = (end.rflags ^ wanted.rflags) & FREE;
    report.check(format_args!("{what}: flags differ by {flags:#x}"), flags == 0);
}

fn round_trips(report: &mut Report) {
    for (index, kind) in KINDS.iter().enumerate() {
        let call = ring::hypercall();
        subject::place(place_of(index), if kind.code.is_empty() { &call } else { kind.code });
    }
    let mut random = Random::new(11);
    for _ in 0..ROUNDS {
        for (index, kind) in KINDS.iter().enumerate() {
            let mut start = start(index, &mut random);
            let mut wanted = start;
            match kind.what {
                "hypercall" => {
                    // xen_version, version: the answer alone is new.
                    (start.regs.rax, start.regs.rdi) = (nr::HYPERVISOR_XEN_VERSION, 0);
                    (wanted.regs.rax, wanted.regs.rdi) = (4 << 16 | 17, 0);
                }
                "iret" => wanted = iret_frame(&mut start),
                _ => {}
            }
            judge(report, kind, &wanted, &guard::run(&start));
        }
    }
}
