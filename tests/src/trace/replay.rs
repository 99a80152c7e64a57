//! From the log to timelines: each block's instructions are counted where they ran.
//!
//! The count is exact: it is that of the processor's time stamp counter under `-icount shift=0`, and `observe` holds one
//! against the other.

use super::lanes;
use super::log::{Exception, Line, parse};
use super::timeline::{Lane, Segment};
use crate::compare::operations::Machine;
use anyhow::{Context as _, Result, bail};
use std::collections::HashMap;
use std::rc::Rc;

/// What the log showed between two marks: the segments, cut at the first and the last reading of the time stamp counter by who
/// measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// What ran.
    pub segments: Vec<Segment>,
}

impl Window {
    /// Instructions of all segments.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.segments.iter().map(|segment| segment.instructions).sum()
    }
}

/// What an instruction does that is counted beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    LoadsCr3,
    Flushes,
    ReadsTime,
}

struct Instruction {
    address: u64,
    text: Box<str>,
    effect: Effect,
}

/// A block of instructions as the emulator translated it.
struct Block {
    instructions: Vec<Instruction>,
    /// Whether any has an effect.
    effects: bool,
}

impl Block {
    fn new(instructions: Vec<Instruction>) -> Rc<Self> {
        let effects = instructions.iter().any(|instruction| instruction.effect != Effect::None);
        Rc::new(Self { instructions, effects })
    }

    fn position(&self, address: u64) -> Option<usize> {
        self.instructions.iter().position(|instruction| instruction.address == address)
    }
}

fn effect(text: &str) -> Effect {
    let word = text.split_whitespace().next().unwrap_or("");
    match word {
        "rdtsc" | "rdtscp" => Effect::ReadsTime,
        "invlpg" | "invpcid" => Effect::Flushes,
        _ if !word.starts_with("mov") => Effect::None,
        _ if text.ends_with(", %cr3") => Effect::LoadsCr3,
        // To switch global pages off and on is how a processor is made to forget those.
        _ if text.ends_with(", %cr4") => Effect::Flushes,
        _ => Effect::None,
    }
}

/// A reading of the time stamp counter.
struct Reading {
    lane: Lane,
    segment: usize,
    /// Where the instruction lies.
    address: u64,
    /// Instructions of that segment before it.
    before: u64,
}

/// A block that began to run, whose end nobody has told of yet.
struct Running {
    block: Rc<Block>,
    lane: Lane,
}

/// Reads a log.
pub struct Replay {
    machine: Machine,
    /// Where the mark lies at which a window begins.
    begins: u64,
    blocks: HashMap<u64, Rc<Block>>,
    listing: Vec<Instruction>,
    running: Option<Running>,
    /// The last instruction that was executed: its text, address and lane.
    last: Option<(Box<str>, u64, Lane)>,
    hardware: bool,
    exception: Option<(String, String)>,
    segments: Vec<Segment>,
    readings: Vec<Reading>,
    windows: Vec<Window>,
    inside: bool,
}

impl Replay {
    /// A reader for a machine on which a window begins at an address.
    #[must_use]
    pub fn new(machine: Machine, begins: u64) -> Self {
        Self {
            machine,
            begins,
            blocks: HashMap::new(),
            listing: Vec::new(),
            running: None,
            last: None,
            hardware: false,
            exception: None,
            segments: Vec::new(),
            readings: Vec::new(),
            windows: Vec::new(),
            inside: false,
        }
    }

    /// Takes a line.
    ///
    /// # Errors
    ///
    /// A block runs whose instructions were never told.
    pub fn line(&mut self, line: &str) -> Result<()> {
        match parse(line) {
            Line::Listing => self.listing.clear(),
            Line::Instruction { address, text } => self.instruction(address, text),
            Line::Block { host, address, flags, most } => self.block(host, address, flags, most)?,
            Line::Stopped => self.running = None,
            Line::Rewound(address) => {
                let executed = self.running.as_ref().and_then(|running| running.block.position(address));
                self.finish(executed.unwrap_or(0));
            }
            Line::Hardware => self.hardware = true,
            Line::Exception(exception) => self.exception(&exception),
            Line::Other => {}
        }
        Ok(())
    }

    /// The windows, when the log has ended.
    ///
    /// # Errors
    ///
    /// A window in which nobody measured.
    pub fn end(mut self) -> Result<Vec<Window>> {
        self.close()?;
        Ok(self.windows)
    }

    /// An instruction of a listing. One that the emulator refused before it had read all of it is listed byte by byte.
    fn instruction(&mut self, address: u64, text: &str) {
        if let Some(byte) = text.strip_prefix(".byte").map(str::trim) {
            match self.listing.last_mut().filter(|last| last.text.starts_with(REFUSED)) {
                Some(last) => last.text = refused(byte).into(),
                None => {
                    self.listing.push(Instruction { address, text: REFUSED.into(), effect: Effect::None });
                }
            }
            return;
        }
        self.listing.push(Instruction { address, text: text.into(), effect: effect(text) });
    }

    fn block(&mut self, host: u64, address: u64, flags: u32, most: u32) -> Result<()> {
        self.finish(usize::MAX);
        if address == self.begins {
            self.close()?;
            self.inside = true;
        }
        if self.listing.first().is_some_and(|first| first.address == address) {
            self.blocks.insert(host, Block::new(std::mem::take(&mut self.listing)));
        }
        let lane = lanes::lane(self.machine, flags & 3, address);
        let block = match self.blocks.get(&host) {
            Some(block) => Rc::clone(block),
            // On the page of a mark blocks are of one instruction, and may be older than the log.
            None if most == 1 => {
                Block::new(vec![Instruction { address, text: "".into(), effect: Effect::None }])
            }
            None => bail!("a block at {address:#x} runs that the log never listed"),
        };
        self.running = Some(Running { block, lane });
        Ok(())
    }

    /// Begins a segment where one begins.
    fn enter(&mut self, lane: Lane, address: u64) {
        if !self.inside {
            return;
        }
        let (reason, detail) = match (self.exception.take(), &self.last, self.segments.last()) {
            (Some(reason), ..) => reason,
            (None, _, None) => ("begins".to_owned(), String::new()),
            (None, Some((text, at, from)), Some(segment))
                if segment.lane != lane || lanes::transfers(text) =>
            {
                (lanes::of_instruction(text, *at, *from), String::new())
            }
            _ => return,
        };
        self.segments.push(Segment {
            lane,
            reason,
            detail,
            address,
            function: String::new(),
            instructions: 0,
            cr3_loads: 0,
            flushes: 0,
        });
    }

    /// Counts the first `executed` instructions of the block that runs.
    fn finish(&mut self, executed: usize) {
        let Some(Running { block, lane }) = self.running.take() else { return };
        let executed = executed.min(block.instructions.len());
        self.enter(lane, block.instructions.first().map_or(0, |first| first.address));
        let Some(last) = executed.checked_sub(1).map(|last| &block.instructions[last]) else { return };
        self.last = Some((last.text.clone(), last.address, lane));
        let Some(index) = self.segments.len().checked_sub(1).filter(|_| self.inside) else { return };
        let segment = &mut self.segments[index];
        if block.effects {
            for (position, instruction) in block.instructions[..executed].iter().enumerate() {
                match instruction.effect {
                    Effect::None => {}
                    Effect::LoadsCr3 => segment.cr3_loads += 1,
                    Effect::Flushes => segment.flushes += 1,
                    Effect::ReadsTime => {
                        let before = segment.instructions + position as u64;
                        self.readings.push(Reading {
                            lane,
                            segment: index,
                            address: instruction.address,
                            before,
                        });
                    }
                }
            }
        }
        segment.instructions += executed as u64;
    }

    fn exception(&mut self, exception: &Exception) {
        let hardware = std::mem::take(&mut self.hardware);
        let (mut text, mut from) = (Box::from(""), self.last.as_ref().map(|last| last.2));
        if let Some(running) = &self.running {
            from = Some(running.lane);
            let position = running.block.position(exception.address).filter(|_| !hardware);
            if let Some(position) = position {
                text = running.block.instructions[position].text.clone();
            }
            let executed = position.map(|position| position + usize::from(is_counted(exception, &text)));
            self.finish(executed.unwrap_or(usize::MAX));
        }
        let from = from.unwrap_or(Lane::Hypervisor);
        self.exception = Some(lanes::of_exception(exception, hardware, &text, from));
    }

    /// Ends a window.
    fn close(&mut self) -> Result<()> {
        self.finish(usize::MAX);
        self.exception = None;
        let (segments, readings) = (std::mem::take(&mut self.segments), std::mem::take(&mut self.readings));
        if std::mem::take(&mut self.inside) {
            self.windows.push(Window { segments: cut(segments, &readings)? });
        }
        Ok(())
    }
}

/// The segments from the first reading of the time stamp counter, which is counted, to the last, which is not. A program's
/// readings count where it made any; else the kernel's.
fn cut(mut segments: Vec<Segment>, readings: &[Reading]) -> Result<Vec<Segment>> {
    let by_program = readings.iter().any(|reading| reading.lane == Lane::User);
    let lane = if by_program { Lane::User } else { Lane::Kernel };
    let mut own = readings.iter().filter(|reading| reading.lane == lane);
    let first = own.next().context("nobody read the time stamp counter between two marks")?;
    let last = own.next_back().context("the time stamp counter was read once between two marks")?;
    segments.truncate(last.segment + 1);
    segments[last.segment].instructions = last.before;
    segments[first.segment].instructions -= first.before;
    segments.drain(..first.segment);
    segments[0].address = first.address;
    segments[0].reason = "begins".to_owned();
    segments[0].detail.clear();
    Ok(segments)
}

/// An instruction that is listed byte by byte.
const REFUSED: &str = "refused";

/// What an instruction of two bytes that begins with 0x0f was going to be (SDM vol. 2, `MOV` to and from control and debug
/// registers: the emulator asks for the ring before it reads which register).
fn refused(second: &str) -> &'static str {
    match second {
        "0x20" => "refused mov from a control register",
        "0x21" => "refused mov from a debug register",
        "0x22" => "refused mov to a control register",
        "0x23" => "refused mov to a debug register",
        _ => REFUSED,
    }
}

/// Instructions whose #GP the emulator raises when it translates them (QEMU 7.2, `target/i386/tcg/translate.c`), and then counts
/// as executed; those that fault when they run are not counted.
const REFUSED_AT_TRANSLATION: [&str; 15] = [
    "cli", "sti", "hlt", "rdmsr", "wrmsr", "invlpg", "clts", "lmsw", "lgdt", "lidt", "lldt", "ltr", "wbinvd",
    "swapgs", "invd",
];

/// Whether the emulator counts the instruction at which an exception came.
fn is_counted(exception: &Exception, text: &str) -> bool {
    let word = text.split_whitespace().next().unwrap_or("");
    // `lgdtq`, `invlpg`: operand sizes are suffixes.
    let named = REFUSED_AT_TRANSLATION.iter().any(|name| word.starts_with(name));
    match exception.vector {
        _ if exception.software => true,
        // That `syscall` and `sysretq` are switched off shows when they run.
        6 => !word.starts_with("sys"),
        13 => named || word == REFUSED,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(machine: Machine, text: &str) -> Vec<Window> {
        let mut replay = Replay::new(machine, 0xffff_ffff_8000_0000);
        text.lines().for_each(|line| replay.line(line).unwrap());
        replay.end().unwrap()
    }

    fn listing(instructions: &[(u64, &str)]) -> String {
        let lines =
            instructions.iter().map(|(address, text)| format!("{address:#018x}:  {:<25}{text}\n", "90"));
        format!("IN:\n{}", lines.collect::<String>())
    }

    fn runs(host: u64, address: u64, ring: u32) -> String {
        format!("Trace 0: {host:#x} [0/{address:x}/{ring:08x}/ff020200] x\n")
    }

    const BEGINS: u64 = 0xffff_ffff_8000_0000;

    /// A kernel's `cli` under trap and emulation: refused, emulated with two loads of CR3, and on with what follows.
    #[test]
    fn a_refused_instruction_is_three_segments() {
        let log = [
            listing(&[(BEGINS, "retq")]),
            runs(1, BEGINS, 1),
            listing(&[(BEGINS + 16, "nop"), (BEGINS + 17, "rdtsc"), (BEGINS + 19, "cli")]),
            runs(2, BEGINS + 16, 1),
            format!("     0: v=0d e=0000 i=0 cpl=1 IP=0:0 pc={:x} SP=0:0 env->regs[R_EAX]=0\n", BEGINS + 19),
            listing(&[
                (0xffff_8000_0000_0000, "movq %rax, %cr3"),
                (0xffff_8000_0000_0003, "movq %rcx, %cr3"),
            ]),
            runs(3, 0xffff_8000_0000_0000, 0),
            listing(&[(0xffff_8000_0000_0006, "invlpg (%rax)"), (0xffff_8000_0000_0009, "iretq")]),
            runs(4, 0xffff_8000_0000_0006, 0),
            listing(&[(BEGINS + 20, "nop"), (BEGINS + 21, "rdtsc"), (BEGINS + 23, "nop")]),
            runs(5, BEGINS + 20, 1),
        ];
        let windows = replay(Machine::Trap, &log.concat());
        assert_eq!(windows.len(), 1);
        let seen: Vec<_> = windows[0]
            .segments
            .iter()
            .map(|segment| {
                (segment.lane, segment.reason.as_str(), segment.detail.as_str(), segment.instructions)
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Lane::Kernel, "begins", "", 2),
                (Lane::Hypervisor, "#GP", "cli", 4),
                (Lane::Kernel, "iretq", "", 1)
            ]
        );
        let hypervisor = &windows[0].segments[1];
        assert_eq!((hypervisor.cr3_loads, hypervisor.flushes), (2, 1));
    }

    /// A fault in the middle of a block, a block that was announced and did not run, one that ran in part.
    #[test]
    fn parts_of_blocks_are_counted() {
        let log = [
            listing(&[(BEGINS, "rdtsc")]),
            runs(1, BEGINS, 0),
            listing(&[(0x1000, "nop"), (0x1001, "movl (%rax), %eax"), (0x1003, "nop")]),
            runs(2, 0x1000, 0),
            "     0: v=0e e=0000 i=0 cpl=0 IP=0:0 pc=1001 SP=0:0 CR2=0000000000000077\n".to_owned(),
            listing(&[(0x2000, "iretq")]),
            runs(3, 0x2000, 0),
            runs(2, 0x1000, 0),
            "Stopped execution of TB chain before 0x2 [1000]\n".to_owned(),
            runs(2, 0x1000, 0),
            "cpu_io_recompile: rewound execution of TB to 1003\n".to_owned(),
            listing(&[(0x1003, "nop")]),
            runs(4, 0x1003, 0),
            runs(1, BEGINS + 1, 0),
        ];
        let windows = replay(Machine::Native, &log.concat());
        let counts: Vec<u64> = windows[0].segments.iter().map(|segment| segment.instructions).collect();
        assert_eq!(counts, [2, 1, 3]);
        assert_eq!(windows[0].segments[1].detail, "read of 0x77 by movl (%rax), %eax");
    }

    #[test]
    fn a_refused_move_is_one_instruction() {
        let log = [
            listing(&[(BEGINS, "rdtsc")]),
            runs(1, BEGINS, 1),
            listing(&[(0x1000, "nop"), (0x1001, ".byte 0x0f"), (0x1002, ".byte 0x22")]),
            runs(2, 0x1000, 1),
            "     0: v=0d e=0000 i=0 cpl=1 IP=0:0 pc=1001 SP=0:0 env->regs[R_EAX]=0\n".to_owned(),
            listing(&[(0x2000, "iretq")]),
            runs(3, 0x2000, 0),
            runs(1, BEGINS + 1, 1),
        ];
        let windows = replay(Machine::Trap, &log.concat());
        let counts: Vec<u64> = windows[0].segments.iter().map(|segment| segment.instructions).collect();
        assert_eq!(counts, [3, 1, 0]);
        assert_eq!(windows[0].segments[1].detail, "refused mov to a control register");
    }

    #[test]
    fn a_block_that_nobody_listed_is_an_error() {
        let mut replay = Replay::new(Machine::Native, BEGINS);
        assert!(replay.line(runs(9, 0x1000, 0).trim()).is_err());
        let mut replay = Replay::new(Machine::Native, BEGINS);
        for line in (listing(&[(BEGINS, "nop")]) + &runs(1, BEGINS, 0)).lines() {
            replay.line(line).unwrap();
        }
        assert!(replay.end().is_err(), "nobody measured");
    }
}
