//! Where x86 refuses to be virtualized: instructions that show or change what only ring 0 should, and say nothing where they
//! are executed outside it (docs/where-x86-refuses.md).
//!
//! Each is executed once at a site of its own, and beside what it shows stands what it shows in ring 0. The kernel knows that
//! without asking: it has set it by instructions that trap, or finds it in the frame of an exception. It does not know where
//! it is; so none of its lines is a failure.

mod sites;

use pv_guest_logic::role::Role;

use self::sites::Site;
use super::report;
use crate::arch::extable;
use crate::cpu_ops::native::{KERNEL, LOCAL_TABLE, TASK, TASK_SIZE, USER, table_pointers};
use crate::kprintln;
use crate::selftest::probe::{self, Regs};

/// RFLAGS: the bit that is always set; IF; IOPL.
const ALWAYS: u64 = 1 << 1;
const INTERRUPTS: u64 = 1 << 9;
const IOPL_SHIFT: u32 = 12;
/// What `lar` says of ring 0's code and ring 3's, both present, used, of 64 bits; and of a task state that is busy.
const KERNEL_CODE: u64 = 0x00a0_9b00;
const USER_CODE: u64 = 0x00a0_fb00;
const BUSY_TASK: u64 = 0x8b00;
/// `lar` leaves the rest undefined.
const RIGHTS: u64 = 0x00f0_ff00;
/// CR0.EM.
const EMULATE: u64 = 1 << 2;
/// CR4.OSXSAVE, and in leaf 1's ECX.
const CR4_OSXSAVE: u64 = 1 << 18;
const OSXSAVE_BIT: u32 = 27;
/// The base register of the local APIC, its enable bit, and in leaf 1's EDX whether there is one.
const MSR_APIC_BASE: u64 = 0x1b;
const APIC_ENABLED_BIT: u32 = 11;
const APIC_BIT: u32 = 9;
/// Bits of CR4 and where `cpuid` says that they exist: leaf, register (EBX 1, ECX 2), bit (SDM volume 3, 2.5). PCID is not
/// among them: QEMU 7.2 takes it, and does not tell of it. Nor is UMIP, which a run may do without: a write of a bit that QEMU
/// does not offer never ends there.
const CR4_FEATURES: [(u64, u64, usize, u32); 4] = [
    (1 << 16, 7, 1, 0),  // FSGSBASE
    (1 << 20, 7, 1, 7),  // SMEP
    (1 << 21, 7, 1, 20), // SMAP
    (1 << 22, 7, 2, 3),  // PKU
];

/// What came of it.
#[derive(Default)]
struct Tally {
    right: u32,
    wrong: u32,
}

impl Tally {
    /// Prints an instruction's line: what it shows in ring 0, and what it has shown.
    fn line(&mut self, name: &str, in_ring0: u64, seen: u64) {
        let right = in_ring0 == seen;
        let word = if right { "right" } else { "WRONG" };
        kprintln!("refuses {name}: in ring 0 {in_ring0:#x}, here {seen:#x}: {word}");
        *(if right { &mut self.right } else { &mut self.wrong }) += 1;
    }
}

fn execute(site: Site, regs: Regs) -> Regs {
    let mut regs = regs;
    // SAFETY: no site leaves anything but these registers and this memory changed, and the flags as they were: those that
    // switch interrupts on switch them off again.
    unsafe { site(&mut regs) };
    regs
}

fn rax(value: u64) -> Regs {
    Regs { rax: value, ..Regs::default() }
}

fn rcx(value: u16) -> Regs {
    Regs { rcx: value.into(), ..Regs::default() }
}

/// The flags after a site that loads them.
fn flags_after(site: Site, flags: u64) -> u64 {
    execute(site, rax(flags));
    extable::last_flags()
}

fn flags(tally: &mut Tally) {
    let iopl = |flags: u64| flags >> IOPL_SHIFT & 3;
    let on = |flags: u64| u64::from(flags & INTERRUPTS != 0);
    tally.line("popf.IF", 1, on(flags_after(sites::popf, ALWAYS | INTERRUPTS)));
    tally.line("popf.IOPL", 3, iopl(flags_after(sites::popf, ALWAYS | 3 << IOPL_SHIFT)));
    // Where the last has done what was asked, it is to be undone.
    flags_after(sites::popf, ALWAYS);
    tally.line("iret.IF", 1, on(flags_after(sites::iret, ALWAYS | INTERRUPTS)));
    tally.line("pushf.IF", 0, on(execute(sites::pushf, Regs::default()).rax));
}

fn selectors(tally: &mut Tally) {
    tally.line("mov-from-cs", KERNEL.code.into(), execute(sites::mov_cs, Regs::default()).rax);
    tally.line("mov-from-ss", KERNEL.stack.into(), execute(sites::mov_ss, Regs::default()).rax);
}

/// Descriptors as four instructions see them. Those that find nothing leave the register, which was 0.
fn descriptors(tally: &mut Tally) {
    let rights = |selector| execute(sites::lar, rcx(selector)).rax & RIGHTS;
    tally.line("lar.kernel", KERNEL_CODE, rights(KERNEL.code));
    tally.line("lar.user", USER_CODE, rights(USER.code));
    tally.line("lar.task", BUSY_TASK, rights(TASK));
    tally.line("lsl.task", TASK_SIZE as u64 - 1, execute(sites::lsl, rcx(TASK)).rax);
    // Ring 1 asks for ring 0's data: a kernel checks so what a less privileged caller has passed.
    let asked = KERNEL.stack | 1;
    tally.line("verr", 0, execute(sites::verr, rcx(asked)).rdx);
    tally.line("verw", 0, execute(sites::verw, rcx(asked)).rdx);
}

/// The tables' registers and CR0: what is loaded by instructions that trap.
fn registers(tally: &mut Tally) {
    let base = |[low, high]: [u64; 2]| low >> 16 | high << 48;
    let [gdt, idt] = table_pointers().map(base);
    tally.line("sgdt", gdt, base(execute(sites::sgdt, Regs::default()).memory));
    tally.line("sidt", idt, base(execute(sites::sidt, Regs::default()).memory));
    probe::run(probe::lldt, &mut rax(LOCAL_TABLE.into()));
    tally.line("sldt", LOCAL_TABLE.into(), execute(sites::sldt, Regs::default()).rax);
    probe::run(probe::lldt, &mut rax(0));
    tally.line("str", TASK.into(), execute(sites::str, Regs::default()).rax);
    let mut cr0 = Regs::default();
    probe::run(probe::read_cr0, &mut cr0);
    let without_fpu = cr0.rax | EMULATE;
    probe::run(probe::write_cr0, &mut rax(without_fpu));
    let seen = execute(sites::smsw, Regs::default()).rax;
    probe::run(probe::write_cr0, &mut cr0);
    tally.line("smsw", without_fpu, seen);
}

/// EAX, EBX, ECX and EDX of a leaf, by the instruction at its site.
fn leaf(leaf: u64) -> [u64; 4] {
    let Regs { rax, rcx, rdx, memory } = execute(sites::cpuid, rax(leaf));
    [rax, memory[0], rcx, rdx]
}

/// The processor's description against the processor: what traps is the measure.
fn cpuid(tally: &mut Tally) {
    let mut cr4 = Regs::default();
    probe::run(probe::read_cr4, &mut cr4);
    let write = |value| probe::run(probe::write_cr4, &mut rax(value));
    let (mut taken, mut told) = (0, 0);
    for (bit, number, register, position) in CR4_FEATURES {
        if write(cr4.rax | bit) == probe::Outcome::Completed {
            taken |= bit;
        }
        write(cr4.rax);
        told |= if leaf(number)[register] >> position & 1 != 0 { bit } else { 0 };
    }
    tally.line("cpuid.CR4", taken, told);
    write(cr4.rax & !CR4_OSXSAVE);
    let seen = leaf(1)[2] >> OSXSAVE_BIT & 1;
    write(cr4.rax);
    tally.line("cpuid.OSXSAVE", 0, seen);
    let mut base = Regs { rcx: MSR_APIC_BASE, ..Regs::default() };
    probe::run(probe::rdmsr, &mut base);
    tally.line("cpuid.APIC", base.rax >> APIC_ENABLED_BIT & 1, leaf(1)[3] >> APIC_BIT & 1);
}

/// Executes all of them.
pub fn run() {
    let mut tally = Tally::default();
    flags(&mut tally);
    selectors(&mut tally);
    descriptors(&mut tally);
    registers(&mut tally);
    cpuid(&mut tally);
    let Tally { right, wrong } = tally;
    report(Role::Refuses, true, format_args!("{} lines, {right} right, {wrong} wrong", right + wrong));
}
