//! The fuzzer of a PC: seeded steps, each of one kind, with registers, descriptors, gates, tables, frames and ports that are
//! random and biased to edges.
//!
//! The steps own 2 MiB of memory, in which tables lie that they edit, two slots of every root, the free places of the GDT
//! and the free gates. A step depends on the seed, its index and the steps of its epoch before it: at the beginning of each
//! epoch everything is made anew, and the kernel looks whether it is still served.

use pv_attack_logic::generate::instructions::{self, SYSTEM};
use pv_attack_logic::pc::ends_the_machine;
use pv_attack_logic::random::Random;

use super::exit;
use super::guard::{self, Ended};
use super::memory::{self, ADDRESS, HYPERVISOR, SLOT, write};
use super::registers::{input, out, set_cr3, set_dr7};
use super::serial;
use super::state::{self, FIRST_IRQ};
use super::subject::{self, CODE, DATA};
use super::tables::{self, FREE, FREE_VECTOR};
use crate::attacks::Report;
use crate::guard::{Regs, Start};
use crate::say;

/// Steps between two lines, and after which everything is made anew.
const EPOCH: u64 = 1000;
/// Frames of the steps.
const FRAMES: u64 = 512;
/// The first so many of them are tables, three for each root and level.
const TABLES: u64 = 24;
const ROOTS: usize = 8;
/// Where the tables map, for kernel and programs.
const KERNEL_VIEW: u64 = memory::WINDOW + SLOT;
const USER_VIEW: u64 = 2 * SLOT;
/// Counts of the 8254 between two interrupts: 2 ms.
const TICK: u16 = 2400;

/// What the steps own.
struct Arena {
    base: u64,
    roots: [u64; ROOTS],
}

/// How the steps ended.
struct Tally {
    steps: u64,
    done: u64,
    /// By vector; the last place has all from 32 on.
    vectors: [u64; 33],
}

impl Tally {
    fn count(&mut self, ended: &Ended) {
        self.steps += 1;
        // What ran to its end, and what came by a gate or a system call, did something.
        self.done += u64::from(ended.vector == 6 && ended.rip & 0xfff != 0 || ended.vector >= 32);
        self.vectors[ended.vector.min(32) as usize] += 1;
    }
}

impl Arena {
    fn new() -> Self {
        memory::align(2 << 20);
        let base = memory::frame();
        (1..FRAMES).for_each(|_| _ = memory::frame());
        Self { base, roots: core::array::from_fn(|_| memory::copy_of_root()) }
    }

    fn frame(&self, random: &mut Random) -> u64 {
        self.base + (random.below(FRAMES) << 12)
    }

    fn table(&self, random: &mut Random) -> u64 {
        self.base + (random.below(TABLES) << 12)
    }

    /// An entry: mostly one that leads somewhere. None leads to memory that is not the steps' own.
    fn entry(&self, random: &mut Random) -> u64 {
        let address = match random.below(8) {
            0 => memory::end() + (random.below(1 << 20) << 12),
            1 => 0xfee0_0000,
            2 => random.next() & ADDRESS | 1 << 39,
            3 | 4 => self.table(random),
            _ => self.frame(random),
        };
        let flags = match random.below(6) {
            0 => random.next() & !ADDRESS,
            1 => 0,
            2 => 0x80 | 7,
            _ => 7 | (random.next() & 0x60),
        };
        address & ADDRESS | flags
    }

    /// A word for a register: an entry, an address, a selector, a number. As an entry it leads to nothing of the core's.
    fn word(&self, random: &mut Random) -> u64 {
        let word = match random.below(8) {
            0 | 1 => self.entry(random),
            2 => self.kernel_address(random),
            3 => self.user_address(random),
            4 => random.pick(&[
                HYPERVISOR,
                HYPERVISOR | 0x8000_0000,
                1 << 47,
                1 << 63,
                u64::MAX,
                DATA,
                subject::NOTHING,
            ]),
            5 => self.selector(random),
            _ => random.sized(),
        };
        let at = word & ADDRESS;
        let core = at < memory::end() && !(self.base..self.base + (FRAMES << 12)).contains(&at);
        if core && word & 1 != 0 { word & !1 } else { word }
    }

    fn kernel_address(&self, random: &mut Random) -> u64 {
        KERNEL_VIEW | view(random)
    }

    fn user_address(&self, random: &mut Random) -> u64 {
        USER_VIEW | view(random)
    }

    fn selector(&self, random: &mut Random) -> u64 {
        match random.below(4) {
            0 => random.pick(&[
                0, 8, 0x10, 0x1b, 0x23, 0x28, 0x3b, 0xe008, 0xe010, 0xe02b, 0xe033, 0xe069, 0xe071, 0xfffb,
            ]),
            1 => random.below(0x1_0000),
            _ => u64::from(FREE) + random.below(0x100),
        }
    }

    fn registers(&self, random: &mut Random) -> Regs {
        Regs {
            rax: self.word(random),
            rbx: self.word(random),
            rcx: random.below(40),
            rdx: self.port(random).into(),
            rsi: self.kernel_address(random),
            rdi: self.kernel_address(random),
            rbp: self.word(random),
            r8: self.word(random),
            r11: random.next() & 0x3f_7fd7,
            ..Regs::default()
        }
    }

    /// A port that does not end the machine, whatever the width.
    fn port(&self, random: &mut Random) -> u16 {
        const KNOWN: [u16; 20] = [
            0x20, 0x21, 0x40, 0x42, 0x43, 0x61, 0x70, 0x71, 0x80, 0xa0, 0xa1, 0x3f9, 0x3fa, 0x3fc, 0x3fe,
            0x3ff, 0x4d0, 0xcf8, 0xcfc, 0x60,
        ];
        let port = if random.once_in(3) { random.next() as u16 } else { random.pick(&KNOWN) };
        if ends_the_machine(port, exit::port()) { 0x80 } else { port }
    }

    /// Begins an epoch.
    fn reset(&self, random: &mut Random) {
        subject::restore_all();
        for frame in 0..FRAMES {
            let at = self.base + (frame << 12);
            let table = frame < TABLES;
            for index in 0..512 {
                if !table || index < 16 {
                    write(at + index * 8, if table { self.entry(random) } else { random.next() & !1 });
                }
            }
        }
        for root in self.roots {
            for va in [KERNEL_VIEW, USER_VIEW] {
                write(root + memory::slot(va, 4) * 8, self.table(random) | 7);
            }
        }
        state::start_ticks(TICK);
    }
}

/// An address within what the tables map: few places, so that tables are used more than once.
fn view(random: &mut Random) -> u64 {
    let index = |random: &mut Random| random.below(16);
    let page = index(random) << 30 | index(random) << 21 | index(random) << 12;
    let offset = random.pick(&[0, 8, 0x40, 0x78, 0x7f8, 0xff8, 0xffc, 0xfff]);
    page | offset
}

/// A hint of how many elements a string instruction has: RCX is small with them.
fn strings(code: &[u8]) -> bool {
    code.iter().any(|byte| matches!(byte, 0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf))
}

/// Whether code would stop this kernel for good, or change what it comes back by: `hlt`, loads of the tables that hold the
/// gates, the stack segment under QEMU, and writes to control registers, which are a kind of step of their own.
fn untamed(code: &[u8]) -> bool {
    let pair = |first: u8, test: fn(u8) -> bool| code.windows(2).any(|two| two[0] == first && test(two[1]));
    code.contains(&0xf4)
        || pair(0x8e, |modrm| modrm & 0x38 == 0x10)
        || pair(0x0f, |byte| matches!(byte, 0xb2 | 0x22 | 0x23))
        || pair(0x01, |modrm| matches!(modrm & 0x38, 0x10 | 0x18 | 0x30) && modrm < 0xc0 || modrm == 0xc9)
}

/// An emulated instruction of the kernel's, sometimes two.
fn kernel_code(arena: &Arena, random: &mut Random) -> Ended {
    let mut code = [0x90; 24];
    let mut length = 0;
    for _ in 0..1 + random.below(2) {
        let piece = random.pick(SYSTEM);
        if random.once_in(4) {
            code[length] = random.pick(&[0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x64, 0x65, 0x48, 0x4c, 0x41]);
            length += 1;
        }
        code[length..length + piece.len()].copy_from_slice(piece);
        length += piece.len();
    }
    let code = &code[..length];
    if untamed(code) {
        return subject::exec(&[0x0f, 0x20, 0xc0], Regs::default());
    }
    let mut regs = arena.registers(random);
    if random.once_in(2) && !strings(code) {
        regs.rcx = random.pick(&[
            0xc000_0080,
            0xc000_0081,
            0xc000_0082,
            0xc000_0084,
            0xc000_0100,
            0xc000_0102,
            0x174,
            0x277,
        ]);
        regs.rdx = arena.word(random) >> 32;
        // The second piece may be an `out`.
        if ends_the_machine(regs.rdx as u16, exit::port()) {
            regs.rdx = 0x80;
        }
    }
    if regs.rcx == 0xc000_0080 {
        // EFER without NXE makes this kernel's stacks reserved.
        (regs.rax, regs.rdx) = (regs.rax | 0xd00, 0);
    }
    let ended = subject::exec(code, regs);
    state::restore();
    state::start_ticks(TICK);
    ended
}

/// Bytes in a program.
fn program(arena: &Arena, random: &mut Random) -> Ended {
    let code = instructions::program(random);
    let mut regs = arena.registers(random);
    (regs.rsi, regs.rdi) = (arena.user_address(random), arena.user_address(random));
    let start = subject::user(code.bytes());
    let flags = if random.once_in(4) { random.next() & 0x24_0dd5 } else { 0 };
    guard::run(&Start { rflags: start.rflags | flags, regs, ..start })
}

/// A write to a table: by the kernel through the direct map, through the view, or by a program.
fn table_edit(arena: &Arena, random: &mut Random) -> Ended {
    let place = arena.table(random) + random.below(16) * 8;
    let value = arena.entry(random);
    let touch = Regs { rdi: arena.kernel_address(random), rax: value, ..Regs::default() };
    match random.below(4) {
        0 => write(place, value),
        1 => {
            let code = instructions::write(random);
            let regs = Regs {
                rax: value,
                rcx: random.below(64),
                rsi: DATA,
                rdi: memory::DIRECT + place,
                ..Regs::default()
            };
            return if code.bytes().contains(&0xf3) {
                subject::exec(&[0x48, 0x89, 0x07], regs)
            } else {
                subject::exec(code.bytes(), regs)
            };
        }
        2 => {
            let regs = Regs { rdi: arena.user_address(random), ..touch };
            return subject::exec_user(&[0x48, 0x89, 0x07, 0x48, 0x8b, 0x07], regs);
        }
        _ => {}
    }
    let code: &[u8] = random.pick(&[
        &[0x48, 0x8b, 0x07][..],
        &[0x48, 0x89, 0x07],
        &[0x0f, 0x01, 0x3f, 0x48, 0x8b, 0x07],
        &[0xf0, 0x48, 0x0f, 0xb1, 0x0f],
        &[0x66, 0x89, 0x07],
    ]);
    subject::exec(code, touch)
}

/// Another root, or other rules of translation.
fn translation(arena: &Arena, random: &mut Random) -> Ended {
    let root = random.pick(&arena.roots);
    match random.below(4) {
        0 => subject::exec(
            &[0x0f, 0x22, 0xc0],
            Regs { rax: state::CR0 ^ random.below(2) << 16 ^ random.below(2) << 3, ..Regs::default() },
        ),
        1 => subject::exec(
            &[0x0f, 0x22, 0xe0],
            Regs { rax: state::CR4 ^ random.next() & 0x1_019c, ..Regs::default() },
        ),
        _ => {
            let regs = Regs {
                rax: root | random.below(2) << 3,
                rdi: arena.kernel_address(random),
                ..Regs::default()
            };
            subject::exec(&[0x0f, 0x22, 0xd8, 0x48, 0x8b, 0x07, 0x48, 0x89, 0x07], regs)
        }
    }
}

/// A random descriptor, and something that loads it.
fn segment(arena: &Arena, random: &mut Random) -> Ended {
    for _ in 0..2 {
        let place = FREE + random.below(0x20) as u16 * 8;
        let raw = random.next();
        let sane = raw & !(0xff << 40) | random.pick(&[0x93, 0x9b, 0xf3, 0xfb, 0x82, 0x89, 0x8c, 0x13]) << 40;
        tables::set_descriptor(place, if random.once_in(2) { sane } else { raw });
    }
    let selector = u64::from(FREE) + random.below(0x100);
    let regs = Regs { rsi: selector, rdi: CODE + 40, ..Regs::default() };
    match random.below(4) {
        0 => {
            let start = subject::kernel(&[]);
            guard::run(&Start { cs: selector, regs, ..start })
        }
        1 => {
            let start = subject::user(&[]);
            guard::run(&Start {
                cs: selector | 3,
                ss: if random.once_in(4) { arena.selector(random) } else { start.ss },
                regs,
                ..start
            })
        }
        2 => {
            let code: &[u8] = random.pick(&[
                &[0x0f, 0x00, 0xd6][..],
                &[0x0f, 0x02, 0xc6, 0x0f, 0x03, 0xc6],
                &[0x0f, 0x00, 0xe6, 0x0f, 0x00, 0xee],
                &[0x56, 0x57, 0x48, 0xcb],
                &[0x56, 0x0f, 0xa1],
            ]);
            subject::exec(code, regs)
        }
        _ => {
            let code = [0x8e, random.pick(&[0xc6, 0xde, 0xe6, 0xee])];
            if random.once_in(2) {
                subject::exec(&code, regs)
            } else {
                subject::exec_user(&code, Regs { rsi: selector | 3, ..regs })
            }
        }
    }
}

/// A random gate, raised.
fn gate(arena: &Arena, random: &mut Random) -> Ended {
    let vector = FREE_VECTOR + random.below(8) as u8;
    let target = match random.below(4) {
        0 => random.pick(&[0, 1 << 47, HYPERVISOR, subject::NOTHING, u64::MAX]),
        _ => guard::stub(vector),
    };
    let selector = if random.once_in(2) { tables::KERNEL_CODE } else { arena.selector(random) as u16 };
    let access = if random.once_in(3) { random.next() as u8 } else { 0xee };
    // Stacks of the table that are set below; the first is this kernel's own.
    let stack = random.pick(&[0, 1, 1, 2, 3]);
    tables::set_task_word(tables::IST1 + 8, arena.kernel_address(random));
    tables::set_task_word(tables::IST1 + 16, random.pick(&[0, 1 << 47, HYPERVISOR | 0x8000_4000, u64::MAX]));
    tables::set_gate(vector, tables::gate_with(target, selector, stack, access));
    let code = [0xcd, vector];
    if random.once_in(2) {
        subject::exec(&code, Regs::default())
    } else {
        subject::exec_user(&code, Regs::default())
    }
}

/// A frame of anything.
fn frame(arena: &Arena, random: &mut Random) -> Ended {
    let regs = arena.registers(random);
    let rflags = random.next() & 0x3d_7dd7;
    let bad = [subject::NOTHING, 1 << 47, HYPERVISOR, u64::MAX, 0];
    if random.once_in(2) {
        let start = subject::kernel(&[0x90, 0x9c, 0x58]);
        let rip = if random.once_in(3) { random.pick(&bad) } else { start.rip };
        let rsp = if random.once_in(3) { arena.kernel_address(random) } else { start.rsp };
        return guard::run(&Start { rip, rsp, rflags, regs, ..start });
    }
    let start = subject::user(&[0x90, 0x0f, 0x05]);
    let rip = if random.once_in(3) { arena.user_address(random) } else { start.rip };
    let cs = if random.once_in(3) { arena.selector(random) | 3 } else { start.cs };
    // A loop of a program's is ended by the timer.
    guard::run(&Start {
        rip,
        cs,
        rsp: arena.user_address(random),
        rflags: (rflags & !0x3000) | 0x200,
        regs,
        ..start
    })
}

/// A port, or several.
fn ports(arena: &Arena, random: &mut Random) -> Ended {
    let regs = Regs { rcx: random.below(16), ..arena.registers(random) };
    let code: &[u8] = random.pick(&[
        &[0xec][..],
        &[0xed],
        &[0xee],
        &[0xef],
        &[0x66, 0xed],
        &[0x66, 0xef],
        &[0x6c],
        &[0x6e],
        &[0xf3, 0x6c],
        &[0xf3, 0x6f],
        &[0xfb, 0x90, 0xfa],
    ]);
    let ended = subject::exec(code, regs);
    let read = input(arena.port(random));
    if random.once_in(8) {
        out(0x20, read & 0x7f | 0x20);
    }
    state::quiet();
    // What it was written to may be the console's.
    serial::initialise();
    state::start_ticks(TICK);
    ended
}

/// Breakpoints where steps are.
fn breakpoints(arena: &Arena, random: &mut Random) -> Ended {
    let place = match random.below(4) {
        0 => CODE + random.below(16),
        1 => arena.kernel_address(random),
        2 => random.pick(&[HYPERVISOR, 1 << 47, HYPERVISOR | 0x8000_0000]),
        _ => DATA + random.below(16),
    };
    // mov dr0, rax; mov dr7, rbx; mov rcx, cr0; mov [rdi], rcx; out dx, al
    let code = [0x0f, 0x23, 0xc0, 0x0f, 0x23, 0xfb, 0x0f, 0x20, 0xc1, 0x48, 0x89, 0x0f, 0xee];
    let rbx = 0x400 | random.next() & 3 | random.below(16) << 16;
    let ended = subject::exec(&code, Regs { rax: place, rbx, rdi: DATA, rdx: 0x80, ..Regs::default() });
    set_dr7(0x400);
    ended
}

fn step(arena: &Arena, random: &mut Random) -> Ended {
    const KINDS: [fn(&Arena, &mut Random) -> Ended; 9] =
        [kernel_code, program, table_edit, translation, segment, gate, frame, ports, breakpoints];
    const LIKELY: [usize; 16] = [0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 4, 5, 5, 6, 7, 8];
    let kind = random.pick(&LIKELY);
    let ended = KINDS[kind](arena, random);
    if ended.vector == u64::from(FIRST_IRQ) {
        state::end_interrupt();
    }
    ended
}

/// Makes the steps from FROM to TO; a window begins at the epoch that FROM lies in.
pub fn run(seed: u64, from: u64, to: u64) {
    assert!(super::trapped(), "a bare machine is not to be fuzzed");
    let arena = Arena::new();
    let begin = from / EPOCH * EPOCH;
    let mut tally = Tally { steps: 0, done: 0, vectors: [0; 33] };
    say!("fuzz: seed {seed} steps {from} to {to}, begun at {begin}");
    for index in begin..to {
        crate::print::at_step(seed, index);
        let mut random = Random::at(seed, index);
        if index % EPOCH == 0 {
            set_cr3(memory::root());
            let mut report = Report::new();
            subject::restore_all();
            subject::served(&mut report);
            if !report.good() {
                crate::print::step();
                report.end("pc-fuzz", "the kernel is served as before");
                exit::crash();
            }
            arena.reset(&mut random);
            say!("fuzz: seed {seed} at {index} calls {} done {}", tally.steps, tally.done);
        }
        let ended = step(&arena, &mut random);
        tally.count(&ended);
        if to - from <= 100 && index >= from {
            say!("fuzz: step {index}: {ended:x?}");
        }
    }
    subject::restore_all();
    for (vector, count) in tally.vectors.iter().enumerate().filter(|(_, count)| **count > 0) {
        say!("fuzz: vector {vector} {count}");
    }
    let Tally { steps, done, .. } = tally;
    say!(
        "fuzz: seed {seed} steps {from} to {to}: {steps} calls, {done} done ({} %)",
        done * 100 / steps.max(1)
    );
}
