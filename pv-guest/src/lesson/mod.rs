//! The first lesson: six effects a kernel needs, each brought about in the paravirtual way and by the instruction that a
//! kernel in ring 0 uses, which faults elsewhere and is emulated. Each is checked to have happened, and counted. On a bare
//! machine there is the instruction alone.

mod acts;
pub mod measure;

use core::fmt::Write;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use paravane_abi::pte;

use crate::cpu::CpuSet;
use crate::cpu_ops::{MapOp, Roots, SegmentBase, Shared, facts, machine, native};
use crate::errno::{Errno, Result};
use crate::mm::addr::Pfn;
use crate::mm::table::{KERNEL_RW, Leaf, Root};
use crate::mm::{frames, kernel_root};
use crate::process;
use crate::selftest::{is_readable, set_iopl};
use crate::time::monotonic_ns;
use measure::{Act, Cost, cost};

/// A user address far from what programs map.
const PLACE: u64 = 0x6000_0000_0000;
const WORD_A: u64 = 0x4141_4141_4141_4141;
const WORD_B: u64 = 0x4242_4242_4242_4242;
/// A port behind which a domain without devices finds nothing.
const PORT: u16 = 0x2e9;

/// Two frames with different words, mapped at the same address in two address spaces.
struct Stage {
    a: Pfn,
    b: Pfn,
    other: Root,
}

fn marked(word: u64) -> Result<Pfn> {
    let frame = frames::alloc_zeroed().ok_or(Errno::ENOMEM)?;
    // SAFETY: the frame was just allocated.
    unsafe { frame.bytes().cast::<u64>().write(word) };
    Ok(frame)
}

fn kernel_entry(frame: Pfn) -> u64 {
    // The kernel's alone where paging knows it from a program, which must not see the lesson's pages.
    pte::entry(frame.mfn().0, KERNEL_RW)
}

fn own_roots() -> Roots {
    process::current().space.lock().root().mfns()
}

fn own_leaf() -> Leaf {
    process::current().space.lock().root().leaf(PLACE).expect("the stage mapped it")
}

fn word_at_place() -> u64 {
    // SAFETY: the stage keeps the address mapped in both address spaces.
    unsafe { (PLACE as *const u64).read_volatile() }
}

impl Stage {
    fn set() -> Result<Self> {
        let (a, b) = (marked(WORD_A)?, marked(WORD_B)?);
        let other = Root::new(kernel_root())?;
        other.map(PLACE, kernel_entry(b))?;
        process::current().space.lock().root().map(PLACE, kernel_entry(a))?;
        Ok(Self { a, b, other })
    }

    fn strike(self) {
        machine().map(&[own_leaf().set(0), MapOp::FlushAll(CpuSet::EMPTY)]).expect("the lesson's own entry");
        frames::release(self.a);
        // Its page goes with the address space that holds it.
        self.other.destroy();
    }
}

/// How one way of doing something went.
#[derive(Clone, Copy)]
enum Tried {
    /// The machine has no such way.
    NotHere,
    /// It had no effect.
    Lost,
    /// What it cost.
    Counted(Cost),
}

/// By hypercall, and by instruction.
type Ways = [Tried; 2];

/// The same by hypercall, where there are any.
fn by_call(act: Act, a: u64, b: u64, prepare: impl FnMut(), check: impl FnOnce() -> bool) -> Tried {
    if facts().hypercalls { way(act, a, b, prepare, check) } else { Tried::NotHere }
}

/// Counts one way of doing something. `prepare` sets the stage before each repetition, `check` tells after the last
/// whether the effect is there.
fn way(act: Act, a: u64, b: u64, prepare: impl FnMut(), check: impl FnOnce() -> bool) -> Tried {
    acts::result();
    let cost = cost(act, a, b, prepare);
    if check() { Tried::Counted(cost) } else { Tried::Lost }
}

fn base_load(stage: &Stage) -> Ways {
    let (own, other) = (own_roots(), stage.other.pfn().mfn().0);
    let home = || machine().load_base(own);
    let arrived = || word_at_place() == WORD_B && acts::result() == 0;
    let ways = [
        by_call(acts::load_base_call, other, 0, home, arrived),
        way(acts::load_base_trap, other, 0, home, arrived),
    ];
    home();
    if word_at_place() == WORD_A { ways } else { [Tried::Lost; 2] }
}

fn control_register() -> Ways {
    // A fault at an address of our choosing gives CR2 a value to find.
    const FAULTS: u64 = 0xffff_ff00_0000_0000;
    let fault = || {
        is_readable(FAULTS);
    };
    let found = || acts::result() == FAULTS;
    [by_call(acts::read_cr2_call, 0, 0, fault, found), way(acts::read_cr2_trap, 0, 0, fault, found)]
}

fn msr_base() -> Ways {
    let word = WORD_A;
    let base = &raw const word as u64;
    let zero = || machine().set_segment_base(SegmentBase::Fs, 0).expect("0 is a base");
    let points_at_word = || acts::read_fs() == WORD_A && acts::result() == 0;
    let ways = [
        by_call(acts::fs_base_call, base, 0, zero, points_at_word),
        way(acts::fs_base_trap, base, 0, zero, points_at_word),
    ];
    let own = process::current().fs_base();
    machine().set_segment_base(SegmentBase::Fs, own).expect("a base that was set before");
    ways
}

/// On a bare machine `cli` alone: an interrupt that is due does not come.
fn interrupts_off() -> Ways {
    const DUE: u64 = 100_000;
    let held = || {
        let (before, now) = (native::interrupts(), monotonic_ns());
        machine().set_timer(Some(now + DUE));
        while monotonic_ns() < now + 3 * DUE {
            core::hint::spin_loop();
        }
        native::interrupts() == before
    };
    let was_masked = machine().mask_events();
    let by_cli = way(acts::mask_trap, 0, 0, || machine().unmask_events(), held);
    machine().mask_events();
    machine().restore_events(was_masked);
    [Tried::NotHere, by_cli]
}

/// `cli` is the odd one out: the ABI accepts it (given I/O privilege) and does nothing, because `popf`, its counterpart,
/// cannot be made to trap. What is checked is that the store masks and that `cli` leaves the mask alone.
fn masking() -> Ways {
    if !facts().hypercalls {
        return interrupts_off();
    }
    let masked = || Shared::mask().load(SeqCst) == 1;
    let was_masked = machine().mask_events();
    let by_store = by_call(acts::mask_call, 0, 0, || machine().unmask_events(), masked);
    machine().mask_events();
    set_iopl(1);
    let by_cli = way(acts::mask_trap, 0, 0, || (), masked);
    set_iopl(0);
    machine().restore_events(was_masked);
    [by_store, by_cli]
}

/// A domain without devices has no ports: with I/O privilege `out` goes nowhere and `in` reads ones, and the console is
/// a hypercall away.
fn port_access() -> Ways {
    let accepted = || acts::result() == 0;
    // The repetitions spell a line, so that what reaches the console is seen to.
    let mut text = b"out\n".iter().copied().cycle();
    let byte = AtomicU64::new(0);
    let next = || byte.store(text.next().map_or(0, u64::from), Relaxed);
    let by_call = by_call(acts::port_call, byte.as_ptr() as u64, 0, next, accepted);
    set_iopl(1);
    let absorbed = || acts::result() == 0 && acts::read_port(PORT) == 0xff;
    let by_out = way(acts::port_trap, u64::from(b'\n'), u64::from(PORT), || (), absorbed);
    set_iopl(0);
    [by_call, by_out]
}

fn table_write(stage: &Stage) -> Ways {
    let leaf = own_leaf();
    let place = leaf.direct_address();
    let (home, target) = (kernel_entry(stage.a), kernel_entry(stage.b));
    let reset = || {
        machine().map(&[MapOp::Mapping { va: PLACE, entry: home }]).expect("the lesson's own entry");
    };
    let remapped = || {
        machine().flush_one(PLACE, CpuSet::EMPTY);
        acts::result() == 0 && word_at_place() == WORD_B
    };
    let ways = [
        by_call(acts::write_entry_call, PLACE, target, reset, remapped),
        way(acts::write_entry_trap, place, target, reset, remapped),
    ];
    reset();
    ways
}

fn words(tried: Tried) -> &'static str {
    match tried {
        Tried::NotHere => "is none",
        Tried::Lost => "had no effect",
        Tried::Counted(_) => "worked",
    }
}

fn line(out: &mut dyn Write, name: &str, [call, trap]: Ways) {
    // The reader's buffer takes everything.
    let _ = match (call, trap) {
        (Tried::Counted(call), Tried::Counted(trap)) => {
            writeln!(out, "ok lesson.{name} hypercall={call} trap={trap}")
        }
        (Tried::NotHere, Tried::Counted(cost)) => writeln!(out, "ok lesson.{name} instruction={cost}"),
        _ => writeln!(out, "FAILED lesson.{name} hypercall {} trap {}", words(call), words(trap)),
    };
}

/// Gives the lesson: a line for each effect, with instructions and hypervisor entries of both ways.
pub fn report(out: &mut dyn Write) {
    let stage = match Stage::set() {
        Ok(stage) => stage,
        Err(error) => {
            let _ = writeln!(out, "FAILED lesson no stage: {error:?}");
            return;
        }
    };
    line(out, "base-pointer-load", base_load(&stage));
    line(out, "control-register-read", control_register());
    line(out, "msr-base-write", msr_base());
    line(out, "mask-interrupts", masking());
    line(out, "port-access", port_access());
    line(out, "page-table-write", table_write(&stage));
    stage.strike();
}
