//! One step of each kind.

use core::cell::UnsafeCell;

use paravane_abi::event::EVTCHNOP_INIT_CONTROL;
use paravane_abi::hypercall as nr;
use paravane_abi::hypercall::ROWS;
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::regs::rflags::TF;
use paravane_abi::ring1::{ENTRY_AREA, ENTRY_CODE_OFFSET};
use pv_attack_logic::generate::calls::{self, Request};
use pv_attack_logic::generate::{NEVER_OWN, SCRATCH, World, instructions};
use pv_attack_logic::random::Random;
use pv_attack_logic::tally::{Outcome, Tally};

use super::arena::{self, Touched};
use crate::attacks::subject;
use crate::guard::{self, Guard, NOTHING, Start};
use crate::memory::{BATCH_PAGES, BATCH_STRUCTURES, PAGE, STRUCTURES, USER_CODE, shared};
use crate::{ring, say};

const WRITE: usize = 64;
const PROGRAM: usize = 65;
const PRIVILEGED: usize = 66;
const IRET: usize = 67;
const IRETQ: usize = 68;
const OTHER_NUMBER: usize = 69;

/// The opcode of `iret`.
const IRET_BYTE: u8 = 0xcf;

/// Most calls in a batch, and in a long one.
const BATCH: usize = 16;
const LONG_BATCH: usize = 64;
/// Bytes of structures for each call of a batch.
const SHARE: usize = 256;

const _: () = assert!(LONG_BATCH * SHARE <= (BATCH_PAGES * PAGE) as usize);

#[repr(align(64))]
struct Entries(UnsafeCell<[MulticallEntry; LONG_BATCH]>);

// SAFETY: used by vcpu 0 alone.
unsafe impl Sync for Entries {}

static ENTRIES: Entries =
    Entries(UnsafeCell::new([MulticallEntry { op: 0, result: 0, args: [0; 6] }; LONG_BATCH]));

/// System time by the shared page's clock; torn reads do no harm here.
pub fn system_time() -> u64 {
    // SAFETY: a volatile read in the shared page.
    let time = unsafe { (&raw const (*shared()).vcpu_info[0].time).read_volatile() };
    // SAFETY: reads the counter.
    time.system_time_at(unsafe { core::arch::x86_64::_rdtsc() })
}

/// Places a call's structures.
fn place(request: &Request, offset: usize, length: usize) {
    let to = (STRUCTURES + offset as u64) as *mut u8;
    // SAFETY: the pages for structures, which nobody else uses.
    unsafe { core::ptr::copy_nonoverlapping(request.bytes.as_ptr(), to, length.min(SCRATCH)) };
}

/// Whether a call changes to the FIFO form of events, whose queues lie in memory that steps write: nothing is sure to
/// come by them.
fn starts_fifo(request: &Request) -> bool {
    request.number == nr::HYPERVISOR_EVENT_CHANNEL_OP && request.arguments[0] as u32 == EVTCHNOP_INIT_CONTROL
}

/// The kind that a call is counted as.
fn kind(number: u64) -> usize {
    if ROWS.iter().any(|row| row.number == number) { number as usize } else { OTHER_NUMBER }
}

/// Does one step, and says what it may have changed of the core's.
pub fn step(world: &mut World, random: &mut Random, tally: &mut Tally, shown: bool) -> Touched {
    if world.batches && random.once_in(2) {
        return batch(world, random, tally, shown);
    }
    match random.below(100) {
        0..=66 => return call(world, random, tally, shown),
        67..=74 => return batch(world, random, tally, shown),
        75..=84 => write(world, random, tally, shown),
        85..=90 => program(world, random, tally, shown),
        91..=96 => {
            privileged(world, random, tally, shown);
            return Touched::Callbacks;
        }
        97 | 98 => iret(world, random, tally, shown),
        _ => iretq(world, random, tally, shown),
    }
    Touched::Nothing
}

fn count(tally: &mut Tally, kind: usize, end: &Guard) {
    let outcome = if end.vector == NOTHING { Outcome::of(end.regs.rax) } else { Outcome::Raised };
    tally.count(kind, outcome);
}

/// Grants and events that a call needs to get anywhere.
fn prepare(world: &World, random: &mut Random, request: &Request) {
    match request.number {
        nr::HYPERVISOR_GRANT_TABLE_OP => {
            for _ in 0..4 {
                // Flags, domain, frame of the first version's entry.
                let flags = random.below(8) | random.below(4) << 3;
                let word = flags | world.domain(random) << 16 | (world.own(random) & 0xffff_ffff) << 32;
                arena::grant(random.below(24) as usize, word);
            }
        }
        _ if calls::sleeps(request) => arena::wake_at(1),
        _ => {}
    }
}

/// Prints a call and the beginning of its structures.
fn show(what: &str, request: &Request) {
    let words: [u64; 8] = core::array::from_fn(|index| request.word(index * 8));
    say!("fuzz: {what} {} {:x?} structures {words:x?}", request.number, request.arguments);
}

/// Runs guarded code, and prints it where steps are shown.
fn run(what: &str, code: &[u8], start: &Start, shown: bool) -> Guard {
    if shown {
        say!("fuzz: {what} {code:x?} at {:#x} {:#x}:{:#x} {:x?}", start.rip, start.ss, start.rsp, start.regs);
    }
    let end = guard::run(start);
    if shown {
        say!("fuzz: {what} ended with {:#x} error {:#x} at {:#x}", end.vector, end.error, end.rip);
    }
    end
}

fn call(world: &mut World, random: &mut Random, tally: &mut Tally, shown: bool) -> Touched {
    let request = calls::generate(world, random);
    place(&request, 0, SCRATCH);
    prepare(world, random, &request);
    if shown {
        show("call", &request);
    }
    let end = guard::hypercall(request.number, request.arguments);
    if shown {
        say!("fuzz: gave {:#x}, vector {:#x}", end.regs.rax, end.vector);
    }
    count(tally, kind(request.number), &end);
    world.fifo |= starts_fifo(&request) && end.regs.rax == 0;
    harvest(world, random, &request, &end);
    arena::touched_by(request.number)
}

/// Frames that a call has given take the place of frames of the arena's, so that they are not forgotten.
fn harvest(world: &mut World, random: &mut Random, request: &Request, end: &Guard) {
    const INCREASE: u64 = 0;
    const POPULATE: u64 = 6;
    let taken = request.number == nr::HYPERVISOR_MEMORY_OP
        && matches!(request.arguments[0], INCREASE | POPULATE)
        && request.arguments[1] == world.scratch
        && end.vector == NOTHING;
    let list = request.word(0);
    let inside = (world.scratch..world.scratch + SCRATCH as u64 - 64).contains(&list);
    if !taken || !inside {
        return;
    }
    for index in 0..(end.regs.rax as i64).clamp(0, 8) as u64 {
        // SAFETY: the pages for structures.
        let frame = unsafe { ((list + index * 8) as *const u64).read_unaligned() };
        let place = random.below(world.arena.len() as u64) as usize;
        world.arena[place] = frame;
    }
}

fn batch(world: &mut World, random: &mut Random, tally: &mut Tally, shown: bool) -> Touched {
    let (longest, structures) =
        if world.batches { (LONG_BATCH, BATCH_STRUCTURES) } else { (BATCH, STRUCTURES) };
    let count = 1 + random.below(longest as u64) as usize;
    let entries = ENTRIES.0.get();
    let mut kinds = [0; LONG_BATCH];
    let mut touched = Touched::Nothing;
    for (index, kind_of) in kinds[..count].iter_mut().enumerate() {
        let mut request = calls::generate(world, random);
        // What it would be given, nobody would note.
        if request.number == nr::HYPERVISOR_MEMORY_OP && matches!(request.arguments[0] as u32 & 63, 0 | 6) {
            request.arguments[0] = 3;
        }
        // A batch has nobody to wake it.
        if calls::sleeps(&request) {
            request.arguments[0] = 0;
        }
        // Each call has its own share of the page; lists are shared, as the last one left them.
        let share = structures + (index * SHARE) as u64;
        // SAFETY: the pages for structures.
        unsafe { core::ptr::copy_nonoverlapping(request.bytes.as_ptr(), share as *mut u8, SHARE) };
        for argument in &mut request.arguments {
            if *argument == world.scratch {
                *argument = share;
            }
        }
        if shown {
            show("in a batch", &request);
        }
        // Before it is known whether it succeeds: a later call of the batch may not matter, a later step must not sleep.
        world.fifo |= starts_fifo(&request);
        touched = touched.max(arena::touched_by(request.number));
        *kind_of = kind(request.number);
        let entry = MulticallEntry { op: request.number, result: u64::MAX, args: request.arguments };
        // SAFETY: vcpu 0 alone uses the array.
        unsafe { (&mut *entries)[index] = entry };
    }
    let end = guard::hypercall(nr::HYPERVISOR_MULTICALL, [entries as u64, count as u64, 0, 0, 0, 0]);
    self::count(tally, nr::HYPERVISOR_MULTICALL as usize, &end);
    for (index, kind) in kinds[..count].iter().enumerate() {
        // SAFETY: as above.
        let result = unsafe { (&*entries)[index].result };
        // A batch that was cut short leaves the rest as they were.
        if result != u64::MAX {
            tally.count(*kind, Outcome::of(result));
        }
    }
    touched
}

/// A write of the kernel's to the window: a page, a view of a page table, nothing.
fn write(world: &mut World, random: &mut Random, tally: &mut Tally, shown: bool) {
    let code = instructions::write(random);
    let mut start = subject::kernel(code.bytes());
    start.regs.rdi = world.window_address(random);
    start.regs.rsi = world.window_address(random);
    start.regs.rax = world.entry(random);
    start.regs.rcx = world.entry(random);
    start.regs.rbx = world.entry(random);
    start.regs.rdx = world.entry(random);
    if matches!(code.bytes().first(), Some(0xf3)) {
        start.regs.rcx = random.below(64);
    }
    let end = run("write", code.bytes(), &start, shown);
    finish(tally, WRITE, &end);
}

/// Counts a step of guarded code: an end by `int3` is its doing what it was to do.
fn finish(tally: &mut Tally, kind: usize, end: &Guard) {
    let done = end.vector == subject::BREAKPOINT || end.vector == 1;
    tally.count(kind, if done { Outcome::Done } else { Outcome::Raised });
}

/// A program of any bytes. Most are stopped after one instruction; all are stopped by the timer.
fn program(world: &mut World, random: &mut Random, tally: &mut Tally, shown: bool) {
    let code = instructions::program(random);
    let mut start =
        if random.once_in(4) { subject::user32(code.bytes()) } else { subject::user(code.bytes()) };
    arena::wake_at(world.now + 2_000_000);
    registers(world, random, &mut start);
    // What does not end by itself is ended by the timer's event. That may be lost in queues that steps write, and QEMU's
    // `iret` can turn interrupts off (docs/caveats.md).
    if !random.once_in(8) || world.fifo || code.bytes().contains(&IRET_BYTE) {
        start.rflags |= TF;
    }
    let end = run("program", code.bytes(), &start, shown);
    finish(tally, PROGRAM, &end);
}

fn registers(world: &World, random: &mut Random, start: &mut Start) {
    let [rax, rcx, rdx, rsi, rdi] = instructions::registers(world, random);
    start.regs.rax = rax;
    start.regs.rcx = rcx;
    start.regs.rdx = rdx;
    start.regs.rsi = rsi;
    start.regs.rdi = rdi;
    for register in [
        &mut start.regs.rbx,
        &mut start.regs.rbp,
        &mut start.regs.r8,
        &mut start.regs.r9,
        &mut start.regs.r10,
        &mut start.regs.r11,
    ] {
        *register = world.word(random);
    }
    // Arithmetic flags, DF, NT, AC, ID.
    start.rflags |= random.next() & 0x24_4cd5;
}

/// The kernel with one privileged instruction.
fn privileged(world: &mut World, random: &mut Random, tally: &mut Tally, shown: bool) {
    let code = instructions::privileged(random, ring::hypercall());
    let mut start = subject::kernel(code.bytes());
    // `hlt`, where it is emulated, ends with an event.
    arena::wake_at(1);
    registers(world, random, &mut start);
    if instructions::loads_root(&code) {
        let none = random.pick(&world.foreign[..NEVER_OWN]) << 12;
        start.regs.rax = random.pick(&[world.roots[0] << 12, world.roots[1] << 12, none]);
        // A prefix may make it R8.
        start.regs.r8 = start.regs.rax;
    }
    let end = run("privileged", code.bytes(), &start, shown);
    finish(tally, PRIVILEGED, &end);
}

/// A place to return to: code that ends, or none.
fn target(world: &World, random: &mut Random) -> u64 {
    match random.below(4) {
        0 => {
            let address = world.bad_address(random);
            // The middle of the entry code, run in ring 1, takes a stack that ends the domain: an attack of its own.
            let code = ENTRY_AREA + ENTRY_CODE_OFFSET;
            if (code..code + 0x4000).contains(&address) { code } else { address }
        }
        1 => {
            subject::place(USER_CODE + 0x800, &[]);
            USER_CODE + 0x800
        }
        _ => {
            subject::place(subject::kernel_code() + 0x800, &[]);
            subject::kernel_code() + 0x800
        }
    }
}

fn selector(random: &mut Random) -> u64 {
    const KNOWN: [u64; 12] =
        [0xe069, 0xe071, 0xe033, 0xe023, 0xe02b, 0xe030, 0xe020, 0xe008, 0xe010, 0xe040, 0, 0x0b];
    match random.below(4) {
        0 => random.next() & 0xffff,
        1 => 0xe000 + random.below(0x100),
        _ => random.pick(&KNOWN),
    }
}

/// The selectors of a frame: mostly a pair that fits.
fn selectors(random: &mut Random) -> (u64, u64) {
    match random.below(4) {
        0 => (ring::shown_code(), ring::stack().into()),
        1 => (0xe033, 0xe02b),
        _ => (selector(random), selector(random)),
    }
}

/// The `iret` hypercall with any frame, on a stack that stays.
fn iret(world: &mut World, random: &mut Random, tally: &mut Tally, shown: bool) {
    let (cs, ss) = selectors(random);
    let user = cs & 3 == 3;
    let mut start = subject::hypercall();
    // The kernel keeps a stack to be entered on; programs may have any.
    let rsp = if user { world.word(random) } else { subject::kernel_stack() };
    let flags = if random.once_in(2) { 0x202 } else { random.next() };
    start.rsp -= 0x200;
    let frame = [world.word(random), 1, 2, random.next() & 0x100, target(world, random), cs, flags, rsp, ss];
    for (index, word) in frame.into_iter().enumerate() {
        // SAFETY: the subject's stack.
        unsafe { (start.rsp as *mut u64).add(index).write_volatile(word) };
    }
    start.regs.rax = nr::HYPERVISOR_IRET;
    arena::wake_at(world.now + 2_000_000);
    let end = run("iret", &[], &start, shown);
    finish(tally, IRET, &end);
}

/// The kernel's own `iretq` with any frame.
fn iretq(world: &mut World, random: &mut Random, tally: &mut Tally, shown: bool) {
    let (cs, ss) = selectors(random);
    let place = target(world, random);
    let code = [0x48, 0xcf];
    let mut start = subject::kernel(&code);
    // In ring 3 it leads to the kernel whatever CS says, and that keeps its stack.
    let program = cs & 3 == 3 && !ring::is_3();
    let stack = if program { world.word(random) } else { subject::kernel_stack() };
    registers(world, random, &mut start);
    start.rsp -= 0x200;
    subject::write_frame(start.rsp, &[place, cs, start.rflags, stack, ss]);
    start.rflags = 0x202;
    arena::wake_at(world.now + 2_000_000);
    let end = run("iretq", &code, &start, shown);
    finish(tally, IRETQ, &end);
}
