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

use crate::arch::fpu::{self, FpuState};
use crate::arch::{self, cpuid, stack};
use crate::cpu_ops::{CpuOps, Shared, machine};
use crate::errno::Result;
use trial::{FLAGS, NAMES, R11, RAX, RBX, RCX, RDI, RDX, RSI, Trial};

/// Slots of the hypercall page.
const SLOTS: u64 = 128;
/// The page attribute table, which every kernel of this ABI may read.
const MSR_PAT: u64 = 0x277;
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
            // Control word: all masked, 53 bits; status: top 5, C0 and C3, no exception; tags: all in use.
            area[..8].copy_from_slice(&[0x7f, 0x02, 0x00, 0x69, 0xff, 0, 0, 0]);
            area[8..24].fill(0);
            area[24..32].copy_from_slice(&[0xa5, 0x7f, 0, 0, 0, 0, 0, 0]);
            if let Some(xcr0) = fpu::xcr0() {
                area[512..576].fill(0);
                area[512..520].copy_from_slice(&xcr0.to_le_bytes());
            }
        }
        Ok(Self { pattern, found: FpuState::new()?, regions: regions() })
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
            let [size, offset, ..] = cpuid::forced(0xd, number);
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
            (trial.before[RDI], trial.before[RSI]) = (selectors().1, stack::info().top());
        }
        nr::HYPERVISOR_FPU_TASKSWITCH => trial.before[RDI] = 0,
        nr::HYPERVISOR_SET_TIMER_OP => trial.before[RDI] = machine().system_time() + SOON,
        _ => {}
    }
}

/// The instruction itself. `syscall` takes RCX and R11 for itself, by the processor's definition; ring 1's keeps both.
fn raw_hypercall(group: &mut Group<'_>) {
    let prepare = |trial: &mut Trial| {
        (trial.before[RAX], trial.before[RDI]) = (nr::HYPERVISOR_XEN_VERSION, 0);
    };
    if arch::current_ring() == 1 {
        group.try_step("int 0x82", trial::raw_ring1 as *const () as u64, set([RAX]), prepare);
        return;
    }
    let step = trial::raw_ring3 as *const () as u64;
    let trial = group.try_step("syscall", step, set([RAX, RCX, R11]), prepare);
    let (rcx, r11) = (trial.after[RCX], trial.after[R11]);
    if rcx != step + 2 || r11 & FLAGS != FLAGS {
        group.refute("syscall", format_args!("rcx {rcx:#x}, r11 {r11:#x}"));
    }
}

fn exceptions(group: &mut Group<'_>) {
    let steps: [(&str, unsafe extern "C" fn()); 7] = [
        ("#DE", trial::divide),
        ("#BP", trial::breakpoint),
        ("#OF", trial::overflow),
        ("#UD", trial::undefined),
        ("#GP of an address", trial::not_canonical),
        ("#GP of an instruction", trial::privileged),
        ("#PF", trial::not_present),
    ];
    for (name, step) in steps {
        // R15 is #DE's divisor.
        group.try_step(name, step as *const () as u64, 0, |trial| trial.before[15] = 0);
    }
}

/// #NM: the hypervisor has taken floating point away, and gives it back with its contents.
fn device_not_available(group: &mut Group<'_>) {
    let step = trial::slot(nr::HYPERVISOR_FPU_TASKSWITCH);
    group.vectors.pattern.restore();
    let mut trial = Trial::new();
    trial.before[RDI] = 1;
    trial.run(step);
    let mut trial = Trial::new();
    trial.run(trial::x87 as *const () as u64);
    group.vectors.found.save();
    match group.vectors.lost() {
        None if trial.before == trial.after => group.kept += 1,
        lost => group.refute("#NM", format_args!("{lost:?}")),
    }
}

fn emulated(group: &mut Group<'_>) {
    let steps: [(&str, unsafe extern "C" fn(), u32); 4] = [
        ("mov from cr0", trial::read_cr0, set([RAX])),
        ("cpuid", trial::forced_cpuid, set([RAX, RBX, RCX, RDX])),
        ("rdmsr", trial::rdmsr, set([RAX, RDX])),
        ("wbinvd", trial::wbinvd, 0),
    ];
    for (name, step, changes) in steps {
        group.try_step(name, step as *const () as u64, changes, |trial| trial.before[RCX] = MSR_PAT);
    }
}

/// A call on whose way back an event is delivered, and the handler's return.
fn event(group: &mut Group<'_>) {
    let trial = group.try_step("event", trial::slot(nr::HYPERVISOR_XEN_VERSION), set([RAX]), |trial| {
        trial.before[RDI] = 0;
        // The flag alone makes an upcall due, which finds no port.
        Shared::pending().store(1, Ordering::SeqCst);
        Shared::mask().store(0, Ordering::SeqCst);
    });
    if Shared::pending().load(Ordering::SeqCst) != 0 || (trial.after[RAX] as i64) < 0 {
        group.refute("event", format_args!("there was no upcall"));
    }
}

fn iret(group: &mut Group<'_>) {
    let (cs, ss) = selectors();
    trial::prepare(cs, ss);
    group.try_step("iret", trial::iret as *const () as u64, 0, |_| ());
}

/// The code and stack selectors the kernel is running with.
fn selectors() -> (u64, u64) {
    let (cs, ss): (u64, u64);
    // SAFETY: reads two selectors.
    unsafe {
        core::arch::asm!("mov {0:e}, cs", "mov {1:e}, ss", out(reg) cs, out(reg) ss, options(nomem, nostack));
    };
    (cs, ss)
}

/// Tries everything, and reports a line for each kind of entry.
pub fn report(out: &mut dyn Write) {
    // The current program's state, which is live.
    let (Ok(own), Ok(mut vectors)) = (FpuState::new(), Vectors::new()) else {
        let _ = writeln!(out, "FAILED registers.memory there is none");
        return;
    };
    own.save();
    let kinds: [(&'static str, fn(&mut Group<'_>), &str); 7] = [
        ("hypercalls", hypercalls, "all is kept but RAX"),
        ("hypercall-instruction", raw_hypercall, "all is kept but what it is defined to change"),
        ("exceptions", exceptions, "all is kept"),
        ("device-not-available", device_not_available, "all is kept"),
        ("emulated", emulated, "all is kept but the results"),
        ("event", event, "all is kept"),
        ("iret", iret, "all is kept"),
    ];
    for (name, run, detail) in kinds {
        let mut group = Group { out: &mut *out, vectors: &mut vectors, name, kept: 0, lost: 0 };
        run(&mut group);
        group.end(detail);
    }
    own.restore();
}
