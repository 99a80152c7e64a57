//! Obtaining timelines: a machine runs the comparison, stopped by the debug stub at each mark, and between two marks the emulator
//! logs what it does.
//!
//! Nothing in the guest or the hypervisor counts, so every machine is looked at in the same way, real Xen among them. The
//! emulated clock stands while the machine is stopped.

use super::replay::{Replay, Window};
use super::symbols::Symbols;
use super::timeline::{Lane, Timeline};
use crate::compare::operations::{Machine, OPERATIONS, Operation, named};
use crate::compare::rows::{self, Counts};
use crate::driver::{Driver, Stdin};
use crate::rsp::Stub;
use crate::scenario::{Context, LIMIT};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the log is to hold, and what stands for nothing: with no item at all QEMU would close the file.
const ITEMS: &str = "log exec,int,in_asm,nochain";
const NOTHING: &str = "log unimp";

/// Where the guest's kernel tells of an operation.
struct Marks {
    begins: u64,
    ends: u64,
}

/// Files that live as long as a run.
struct Scratch {
    socket: PathBuf,
    log: PathBuf,
}

impl Scratch {
    fn new(context: &Context, machine: Machine) -> Result<Self> {
        let path = |kind: &str| {
            context.scratch.join(format!("trace-{kind}-{}-{}", machine.name(), std::process::id()))
        };
        let scratch = Self { socket: path("gdb"), log: path("log") };
        let _ = std::fs::remove_file(&scratch.log);
        // A pipe, not a file: a long operation under trap and emulation logs gigabytes.
        rustix::fs::mkfifoat(rustix::fs::CWD, &scratch.log, rustix::fs::Mode::from_raw_mode(0o600))
            .context("making a pipe for the log")?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for path in [&self.socket, &self.log] {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Boots a machine, has its guest do the operations that it has, and watches. Of each operation there is what the guest
/// counted and what the log showed; the two agree to the last instruction.
///
/// # Errors
///
/// The run failed, its log cannot be read, or guest and log disagree.
pub fn observe(context: &Context, machine: Machine, operations: &[&Operation]) -> Result<Vec<Timeline>> {
    let kernel = Symbols::read(&context.images.join("pv-guest.elf"))?;
    let hypervisor = match machine {
        Machine::Xen | Machine::Native => Symbols::default(),
        _ => Symbols::read(&context.images.join("paravane.elf"))?,
    };
    let mark = |name: &str| kernel.address(name).with_context(|| format!("the guest's kernel has no {name}"));
    let marks = Marks { begins: mark("compare_begins")?, ends: mark("compare_ends")? };
    let scratch = Scratch::new(context, machine)?;
    let reader = read_log(machine, marks.begins, scratch.log.clone());
    // Held open, so that the reader finds a writer even if the machine never logs.
    let writer = File::options().write(true).open(&scratch.log).context("opening the log")?;
    let run = run(context, machine, operations, &scratch, &marks);
    drop(writer);
    let windows = reader.join().map_err(|_| anyhow!("the reader of the log panicked"))?;
    let (names, lines) = run?;
    let windows = windows?;
    if names.len() != windows.len() {
        bail!("{} marks, and {} windows in the log", names.len(), windows.len());
    }
    let counts = rows::parse(&lines, machine)?;
    let (mut timelines, mut faults) = (Vec::new(), Vec::new());
    for count in counts {
        let own = names.iter().zip(&windows).filter(|(name, _)| **name == count.operation);
        let window = own.map(|(_, window)| window).min_by_key(|window| window.instructions());
        let window = window.with_context(|| format!("{} was never shown", count.operation))?;
        match timeline(window, &count, machine, &kernel, &hypervisor) {
            Ok(timeline) => timelines.push(timeline),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    if !faults.is_empty() {
        bail!("on {}: {}", machine.name(), faults.join("; "));
    }
    Ok(timelines)
}

/// The names of the operations in the order of their marks, and what the guest printed.
fn run(
    context: &Context,
    machine: Machine,
    operations: &[&Operation],
    scratch: &Scratch,
    marks: &Marks,
) -> Result<(Vec<String>, Vec<String>)> {
    let gdb = format!("--gdb=unix:{},server=on,wait=off", scratch.socket.display());
    // Nobody types: when a byte comes would be the host's doing, and the counts of long operations show it.
    let guest = format!("pv-guest,extra=role=compare{}", only(operations));
    let common = ["--icount", "--guest", &guest, &gdb, "--gdb-wait"];
    let mut driver = Driver::start(context.qemu(&[machine.arguments(), &common].concat()), Stdin::Null)?;
    let names = watch(&mut driver, &scratch.socket, &scratch.log, marks);
    if names.is_err() {
        // The machine stands; nobody would end it.
        let _ = driver.signal(rustix::process::Signal::INT);
    }
    let status = driver.finish(LIMIT)?;
    let names = names.with_context(|| format!("on {}; printed last:\n{}", machine.name(), driver.tail()))?;
    let lines = driver.console.lines().to_vec();
    if !status.success() || !lines.iter().any(|line| line == rows::DONE) {
        bail!("{} ended with {status}; printed last:\n{}", machine.name(), driver.tail());
    }
    Ok((names, lines))
}

/// What tells the guest that some operations are wanted; nothing when all are.
fn only(operations: &[&Operation]) -> String {
    if operations.len() == OPERATIONS.len() {
        return String::new();
    }
    let names: Vec<&str> = operations.iter().map(|operation| operation.name).collect();
    format!(" only={}", names.join(":"))
}

/// Stops the machine at each mark, and has it log in between.
fn watch(driver: &mut Driver, socket: &Path, log: &Path, marks: &Marks) -> Result<Vec<String>> {
    let mut stub = Stub::connect_while(socket, LIMIT, || driver.read_some(Duration::from_millis(50)))?;
    stub.registers()?;
    stub.monitor(&format!("logfile {}", log.display()))?;
    stub.set_breakpoint(marks.begins)?;
    let mut names = Vec::new();
    loop {
        stub.resume()?;
        if !stub.stopped()? {
            return Ok(names);
        }
        let registers = stub.registers()?;
        // The other mark's place is free while the machine goes on from this one's.
        let (here, next, items) = if registers.rip == marks.begins {
            let [name, length] = registers.arguments;
            let name = stub.memory(name, usize::try_from(length)?.min(64))?;
            names.push(String::from_utf8(name).context("an operation's name")?);
            (marks.begins, marks.ends, ITEMS)
        } else {
            (marks.ends, marks.begins, NOTHING)
        };
        stub.monitor(items)?;
        stub.clear_breakpoint(here)?;
        stub.set_breakpoint(next)?;
        driver.read_some(Duration::ZERO)?;
    }
}

/// Reads the log as it is written, until nobody writes it any more.
fn read_log(machine: Machine, begins: u64, path: PathBuf) -> JoinHandle<Result<Vec<Window>>> {
    std::thread::spawn(move || {
        let mut log = BufReader::with_capacity(1 << 20, File::open(path).context("opening the log")?);
        let mut replay = Replay::new(machine, begins);
        let mut line = Vec::new();
        while log.read_until(b'\n', &mut line).context("reading the log")? > 0 {
            if let Ok(text) = std::str::from_utf8(&line) {
                replay.line(text.trim_end())?;
            }
            line.clear();
        }
        replay.end()
    })
}

/// An operation's timeline, of a window that the guest counted too.
fn timeline(
    window: &Window,
    count: &Counts,
    machine: Machine,
    kernel: &Symbols,
    hypervisor: &Symbols,
) -> Result<Timeline> {
    let (logged, counted) = (window.instructions(), count.instructions + count.looking);
    if logged != counted {
        bail!("{}: the log shows {logged} instructions, the time stamp counter {counted}", count.operation);
    }
    let mut segments = window.segments.clone();
    // Calling the act and looking lie at its two ends.
    let mut looking = count.looking;
    for index in [0, segments.len() - 1] {
        let part = looking.min(segments[index].instructions);
        segments[index].instructions -= part;
        looking -= part;
    }
    ensure!(looking == 0, "{}: {looking} instructions of looking are at neither end", count.operation);
    for segment in &mut segments {
        let symbols = match segment.lane {
            Lane::Kernel => Some(kernel),
            Lane::Hypervisor => Some(hypervisor),
            Lane::User => None,
        };
        segment.function = symbols.map_or("", |symbols| symbols.function(segment.address)).to_owned();
    }
    let operation = named(count.operation).context("an operation of the list")?.name;
    Ok(Timeline { operation, machine, segments })
}
