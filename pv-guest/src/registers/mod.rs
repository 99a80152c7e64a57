//! What the hypervisor keeps of a kernel's registers: all are filled with patterns, then something is done that enters the
//! hypervisor, then all are looked at. General registers, flags, x87, MXCSR, and every vector component that is offered.
//!
//! The kernel itself is built without floating point, so that nothing but the hypervisor stands between the two looks.

mod trial;

use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;
use core::sync::atomic::Ordering;

use paravane_abi::hypercall as nr;
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::trap::vector;
use paravane_abi::vcpu::VCPUOP_SEND_NMI;

use crate::arch::fpu::{self, FpuState};
use crate::arch::{cpuid, extable, stack};
use crate::cpu_ops::{Refused, Selectors, Shared, facts, machine};
use crate::errno::Result;
use crate::{cpu, trap};
use trial::{FLAGS, NAMES, R11, RAX, RBX, RCX, RDI, RDX, RFLAGS, RSI, Trial};

/// Slots of the hypercall page.
const SLOTS: u64 = 128;
/// The page attribute table, which every kernel of this ABI may read.
const MSR_PAT: u64 = 0x277;
/// x87's control word, all masked, 53 bits; and status: top 5, C0 and C3, no exception.
const X87: [u8; 4] = [0x7f, 0x02, 0x00, 0x69];
/// Selects the LDT's last descriptor but one, which is not there.
const NO_SELECTOR: u64 = 0xfff7;
/// Nanoseconds until a timer that a call sets.
const SOON: u64 = 1_000_000;

/// Registers that something changes, as bits by number.
const fn set<const N: usize>(registers: [usize; N]) -> u32 {
    let (mut bits, mut n) = (0, 0);
    while n < N {
        bits |= 1 << registers[n];
        n += 1;
    }
    bits
}

/// The patterns, and what came of them.
struct Vectors {
    pattern: FpuState,
    found: FpuState,
    /// What is compared: the pointers to the last x87 instruction are left out, as processors differ in when they store
    /// them.
    regions: Vec<(&'static str, Range<usize>)>,
}

impl Vectors {
    fn new() -> Result<Self> {
        let mut pattern = FpuState::new()?;
        // SAFETY: what is written has no reserved bit: MXCSR rounds towards zero, masks all exceptions and has some
        // flags set; XSTATE_BV names the components of XCR0.
        unsafe {
            let area = pattern.area_mut();
            for (at, byte) in area.iter_mut().enumerate() {
                *byte = (at as u8).wrapping_mul(151) ^ (at >> 8) as u8 ^ 0x5a;
            }
            // Tags: all registers in use.
            area[..4].copy_from_slice(&X87);
            area[4..24].fill(0);
            area[4] = 0xff;
            area[24..32].copy_from_slice(&[0xa5, 0x7f, 0, 0, 0, 0, 0, 0]);
            if let Some(xcr0) = fpu::xcr0() {
                area[512..576].fill(0);
                area[512..520].copy_from_slice(&xcr0.to_le_bytes());
            }
        }
        Ok(Self { pattern, found: FpuState::new()?, regions: regions() })
    }

    /// Sets x87's control and status words.
    fn set_x87(&mut self, words: [u8; 4]) {
        // SAFETY: neither has a bit that faults when it is restored.
        unsafe { self.pattern.area_mut()[..4].copy_from_slice(&words) };
    }

    /// The first region that was not kept.
    fn lost(&self) -> Option<&'static str> {
        let kept =
            |range: &Range<usize>| self.pattern.area()[range.clone()] == self.found.area()[range.clone()];
        self.regions.iter().find(|(_, range)| !kept(range)).map(|(name, _)| *name)
    }
}

fn regions() -> Vec<(&'static str, Range<usize>)> {
    let mut regions: Vec<_> =
        [("control, status and tags of x87", 0..5), ("mxcsr", 24..28), ("xmm", 160..416)].into();
    // The registers have 80 bits of 128.
    regions.extend((0..8).map(|n| ("st", 32 + 16 * n..42 + 16 * n)));
    for number in 2..63 {
        if fpu::xcr0().is_some_and(|xcr0| xcr0 >> number & 1 != 0) {
            let [size, offset, ..] = cpuid::shown(0xd, number);
            regions.push(("an extended component", offset as usize..(offset + size) as usize));
        }
    }
    regions
}

/// A group of trials, reported as one line.
struct Group<'a> {
    out: &'a mut dyn Write,
    vectors: &'a mut Vectors,
    name: &'static str,
    kept: u32,
    lost: u32,
}

impl Group<'_> {
    /// Does something from registers full of patterns, of which it may change some, and says whether all else was kept.
    fn try_step(&mut self, what: &str, step: u64, changes: u32, prepare: impl FnOnce(&mut Trial)) -> Trial {
        let mut trial = Trial::new();
        prepare(&mut trial);
        self.vectors.pattern.restore();
        trial.run(step);
        self.vectors.found.save();
        Shared::mask().store(1, Ordering::SeqCst);
        let differs = |n: &usize| trial.before[*n] != trial.after[*n] && changes >> n & 1 == 0;
        let lost = (0..NAMES.len()).find(differs);
        let vector = self.vectors.lost();
        match (lost, vector) {
            (None, None) => self.kept += 1,
            (Some(n), _) => {
                let (before, after) = (trial.before[n], trial.after[n]);
                self.refute(what, format_args!("{} was {before:#x}, is {after:#x}", NAMES[n]));
            }
            (None, Some(region)) => self.refute(what, format_args!("{region} changed")),
        }
        trial
    }

    fn refute(&mut self, what: &str, detail: core::fmt::Arguments<'_>) {
        self.lost += 1;
        // The reader's buffer takes everything.
        let _ = writeln!(self.out, "FAILED registers.{} {what}: {detail}", self.name);
    }

    fn end(self, detail: &str) {
        if self.lost == 0 {
            let _ = writeln!(self.out, "ok registers.{} {} times: {detail}", self.name, self.kept);
        }
    }
}

/// Every slot of the hypercall page but `iret`'s, with arguments that all calls refuse, and some with arguments they take.
fn hypercalls(group: &mut Group<'_>) {
    for number in (0..SLOTS).filter(|number| *number != nr::HYPERVISOR_IRET) {
        let trial = group.try_step("slot", trial::slot(number), set([RAX]), |trial| refusable(number, trial));
        let result = trial.after[RAX] as i64;
        if trial.after[RAX] == trial.before[RAX] || !(-4095..=0x7fff_ffff).contains(&result) {
            group.refute("slot", format_args!("call {number} returned {result:#x}"));
        }
    }
    let mut version = [MulticallEntry { op: nr::HYPERVISOR_XEN_VERSION, ..Default::default() }];
    let list = version.as_mut_ptr() as u64;
    for (number, first, second) in [
        (nr::HYPERVISOR_XEN_VERSION, 0, 0),
        (nr::HYPERVISOR_SCHED_OP, 0, 0),
        (nr::HYPERVISOR_MULTICALL, list, 1),
    ] {
        let trial = group.try_step("call", trial::slot(number), set([RAX]), |trial| {
            (trial.before[RDI], trial.before[RSI]) = (first, second);
        });
        if (trial.after[RAX] as i64) < 0 {
            group.refute("call", format_args!("{number} was refused: {}", trial.after[RAX] as i64));
        }
    }
}

/// Arguments for a call that take any: none may lose this kernel its stack, its timer or its floating point.
fn refusable(number: u64, trial: &mut Trial) {
    match number {
        nr::HYPERVISOR_STACK_SWITCH => {
            (trial.before[RDI], trial.before[RSI]) = (facts().selectors.stack.into(), stack::info().top());
        }
        nr::HYPERVISOR_FPU_TASKSWITCH => trial.before[RDI] = 0,
        nr::HYPERVISOR_SET_TIMER_OP => trial.before[RDI] = machine().system_time() + SOON,
        _ => {}
    }
}

/// The instruction itself. `syscall` takes RCX and R11 for itself, by the processor's definition; ring 1's keeps both.
struct Instruction {
    name: &'static str,
    call: Step,
    /// The `iret` hypercall, and the same with `VGCF_IN_SYSCALL`.
    returns: [Step; 2],
    /// Registers that it changes.
    changes: u32,
}

type Step = unsafe extern "C" fn();

const INT_82: Instruction = Instruction {
    name: "int 0x82",
    call: trial::raw_ring1,
    returns: [trial::iret_ring1, trial::iret_in_syscall_ring1],
    changes: 0,
};
const SYSCALL: Instruction = Instruction {
    name: "syscall",
    call: trial::raw_ring3,
    returns: [trial::iret_ring3, trial::iret_in_syscall_ring3],
    changes: set([RCX, R11]),
};

fn instruction() -> &'static Instruction {
    if facts().ring == 1 { &INT_82 } else { &SYSCALL }
}

fn address(step: Step) -> u64 {
    step as *const () as u64
}

/// RCX and R11 are what `syscall` and `sysret` make of them, where these are used.
fn by_syscall(group: &mut Group<'_>, name: &str, trial: &Trial, next: u64) {
    let (rcx, r11) = (trial.after[RCX], trial.after[R11]);
    if instruction().changes != 0 && (rcx != next || r11 & FLAGS != trial.before[RFLAGS]) {
        group.refute(name, format_args!("rcx is {rcx:#x}, r11 is {r11:#x}"));
    }
}

/// Every call but `iret`, by the instruction itself.
fn raw_hypercall(group: &mut Group<'_>) {
    let Instruction { name, call, changes, .. } = *instruction();
    for number in (0..SLOTS).filter(|number| *number != nr::HYPERVISOR_IRET) {
        let trial = group.try_step(name, address(call), changes | set([RAX]), |trial| {
            refusable(number, trial);
            trial.before[RAX] = number;
        });
        // Both instructions have two bytes.
        by_syscall(group, name, &trial, address(call) + 2);
    }
}

/// An exception whose handler goes on behind the instruction.
fn exception(group: &mut Group<'_>, name: &str, vector: u8, step: Step, r15: u64) {
    group.try_step(name, address(step), 0, |trial| trial.before[15] = r15);
    let (last, _) = extable::last_fault();
    if last != u64::from(vector) {
        group.refute(name, format_args!("the last exception's vector is {last}"));
    }
}

fn set_debug_register((number, value): (u32, u64)) -> core::result::Result<(), Refused> {
    machine().set_debug_register(number, value)
}

fn exceptions(group: &mut Group<'_>) {
    // R15 is #DE's divisor, and the selectors. No two neighbours have the same vector.
    let steps: [(&str, u8, Step, u64); 8] = [
        ("#DE", vector::DE, trial::divide, 0),
        ("#BP", vector::BP, trial::breakpoint, 0),
        ("#OF", vector::OF, trial::overflow, 0),
        ("#GP of an address", vector::GP, trial::not_canonical, 0),
        ("#UD", vector::UD, trial::undefined, 0),
        ("#GP of an instruction", vector::GP, trial::privileged, NO_SELECTOR),
        ("#PF", vector::PF, trial::not_present, 0),
        ("#GP of a selector", vector::GP, trial::selector, NO_SELECTOR),
    ];
    for (name, vector, step, r15) in steps {
        exception(group, name, vector, step, r15);
    }
    // #DB, by a breakpoint of the processor's.
    const ENABLE_0: u64 = 1;
    // At an instruction that is expected to have one.
    let set = [(0, address(trial::debug)), (7, ENABLE_0)].map(set_debug_register);
    exception(group, "#DB", vector::DB, trial::debug, 0);
    let reset = [(7, 0), (0, 0)].map(set_debug_register);
    if set.iter().chain(&reset).any(|done| done.is_err()) {
        group.refute("#DB", format_args!("breakpoints are refused: {set:?}, {reset:?}"));
    }
    // #MF, with an exception pending that the next instruction raises which waits.
    group.vectors.set_x87([0x7e, 0x02, 0x81, 0xe9]);
    exception(group, "#MF", vector::MF, trial::x87_error, 0);
    group.vectors.set_x87(X87);
}

/// #NM: floating point was taken away, and is given back with its contents.
fn device_not_available(group: &mut Group<'_>) {
    group.vectors.pattern.restore();
    machine().take_fpu();
    let mut trial = Trial::new();
    trial.run(address(trial::x87));
    group.vectors.found.save();
    match group.vectors.lost() {
        None if trial.before == trial.after => group.kept += 1,
        lost => group.refute("#NM", format_args!("{lost:?}")),
    }
}

fn emulated(group: &mut Group<'_>) {
    let steps: [(&str, Step, u32); 4] = [
        ("mov from cr0", trial::read_cr0, set([RAX])),
        (
            "cpuid",
            if facts().hypercalls { trial::forced_cpuid } else { trial::plain_cpuid },
            set([RAX, RBX, RCX, RDX]),
        ),
        ("rdmsr", trial::rdmsr, set([RAX, RDX])),
        ("wbinvd", trial::wbinvd, 0),
    ];
    for (name, step, changes) in steps {
        group.try_step(name, address(step), changes, |trial| trial.before[RCX] = MSR_PAT);
    }
}

/// Events that are delivered on the way back from a call, and by the `iret` that allows them; and the handler's return.
fn event(group: &mut Group<'_>) {
    let pending = |mask| {
        // The flag alone makes an upcall due, which finds no port.
        Shared::pending().store(1, Ordering::SeqCst);
        Shared::mask().store(mask, Ordering::SeqCst);
    };
    let seen = |group: &mut Group<'_>, name: &str| {
        if Shared::pending().load(Ordering::SeqCst) != 0 {
            group.refute(name, format_args!("there was no upcall"));
        }
    };
    group.try_step("call", trial::slot(nr::HYPERVISOR_XEN_VERSION), set([RAX]), |trial| {
        trial.before[RDI] = 0;
        pending(0);
    });
    seen(group, "call");
    prepare_returns();
    group.try_step("iret", address(trial::iret), 0, |_| pending(1));
    seen(group, "iret");
    // In ring 1 this kernel returns by itself, and the next one waits for a return by hypercall.
    if facts().ring == 3 {
        nmi(group);
    }
}

/// One that nothing masks.
fn nmi(group: &mut Group<'_>) {
    let before = trap::nmis();
    let step = trial::slot(nr::HYPERVISOR_VCPU_OP);
    group.try_step("nmi", step, set([RAX]), |trial| {
        let id = cpu::this().id().into();
        (trial.before[RDI], trial.before[RSI], trial.before[RDX]) = (VCPUOP_SEND_NMI.into(), id, 0);
    });
    if trap::nmis() != before + 1 {
        group.refute("nmi", format_args!("there was none"));
    }
}

/// The frame's RFLAGS has IF, which allows events.
fn prepare_returns() -> u64 {
    let Selectors { code, stack } = facts().shown;
    trial::prepare(code.into(), stack.into())
}

/// By the page and by the instruction, which is the page's too.
fn iret(group: &mut Group<'_>) {
    let behind = prepare_returns();
    let Instruction { returns: [plain, in_syscall], changes, .. } = *instruction();
    for (name, step) in [("page", trial::iret as Step), ("instruction", plain)] {
        group.try_step(name, address(step), 0, |_| ());
    }
    for (name, step) in [
        ("page, VGCF_IN_SYSCALL", trial::iret_in_syscall as Step),
        ("instruction, VGCF_IN_SYSCALL", in_syscall),
    ] {
        let trial = group.try_step(name, address(step), changes, |_| ());
        by_syscall(group, name, &trial, behind);
    }
}

/// A kind of entry, and what is kept.
type Kind = (&'static str, fn(&mut Group<'_>), &'static str);

const KINDS: [Kind; 7] = [
    ("hypercalls", hypercalls, "all is kept but RAX"),
    ("hypercall-instruction", raw_hypercall, "all is kept but RAX and what the instruction changes"),
    ("exceptions", exceptions, "all is kept"),
    ("device-not-available", device_not_available, "all is kept"),
    ("emulated", emulated, "all is kept but the results"),
    ("event", event, "all is kept"),
    ("iret", iret, "all is kept but what sysret changes"),
];

/// All components that are offered are in use, and looked at.
fn components(out: &mut dyn Write) {
    let offered = fpu::offered();
    let used = fpu::xcr0().unwrap_or(0);
    let verdict = if offered == used { "ok" } else { "FAILED" };
    // The reader's buffer takes everything.
    let _ = writeln!(out, "{verdict} registers.components {used:#x} of {offered:#x}");
}

/// Tries everything, and reports a line for each kind of entry.
pub fn report(out: &mut dyn Write) {
    // The current program's state, which is live.
    let (Ok(own), Ok(mut vectors)) = (FpuState::new(), Vectors::new()) else {
        let _ = writeln!(out, "FAILED registers.memory there is none");
        return;
    };
    components(out);
    own.save();
    for (name, run, detail) in KINDS {
        if let Some(why) = facts().why_not(&alloc::format!("registers.{name}")) {
            let _ = writeln!(out, "n/a registers.{name} {why}");
            continue;
        }
        let mut group = Group { out: &mut *out, vectors: &mut vectors, name, kept: 0, lost: 0 };
        run(&mut group);
        group.end(detail);
    }
    own.restore();
}
