//! `/proc`: files whose text the kernel makes when they are opened.

use super::node::{Kind, Node, mode};
use crate::cpu_ops::facts;
use crate::errno::{Errno, Result};
use crate::process::{self, Process};
use crate::{bench, boot, compare, cpu, info, lesson, mm, power, registers, role, selftest, time};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use spin::Mutex;
use x86_64::instructions::segmentation::{CS, Segment};

/// The files of `/proc` itself, by name, with what makes their text.
type Writer = fn(&mut dyn Write) -> fmt::Result;

const FILES: [(&str, Writer); 18] = [
    ("bench", |out| {
        bench::report(out);
        Ok(())
    }),
    ("cmdline", |out| writeln!(out, "{}", boot::cmdline())),
    ("compare", compare::report),
    ("counters", counters),
    ("cpus", |out| cpu::hotplug::report(out)),
    ("crash", |out| {
        writeln!(
            out,
            "write here to crash the domain, 'stack', 'table' or 'iret' to have the hypervisor do it"
        )
    }),
    ("lesson", |out| {
        lesson::report(out);
        Ok(())
    }),
    ("loadavg", |out| writeln!(out, "0.00 0.00 0.00 1/1 1")),
    ("meminfo", meminfo),
    ("mounts", |out| writeln!(out, "rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0")),
    ("registers", |out| {
        registers::report(out);
        Ok(())
    }),
    ("ring", ring),
    ("selftest", |out| {
        selftest::report(out);
        Ok(())
    }),
    ("spin", |out| {
        writeln!(out, "write seconds here to have the kernel spin with events masked, 0 for ever")
    }),
    ("stat", |out| writeln!(out, "ctxt {}", process::sched::switches())),
    ("trap", trap),
    ("uptime", uptime),
    ("version", |out| writeln!(out, "{}", crate::syscall::info::VERSION_LINE)),
];

/// Names under `/proc/PID`.
const OF_PROCESS: [&str; 4] = ["cmdline", "comm", "exe", "stat"];

/// A node of `/proc`.
#[derive(Clone, Copy)]
pub enum Item {
    /// `/proc`.
    Root,
    /// A file of `/proc` by its place in the table.
    File(usize),
    /// The link to the current process's directory.
    SelfLink,
    /// A process's directory.
    Process(u32),
    /// A file of a process by its place in the table.
    OfProcess(u32, usize),
}

/// The directory.
pub fn root() -> Arc<Node> {
    make(Item::Root)
}

fn make(item: Item) -> Arc<Node> {
    // Made when looked up, so equal items get equal numbers from what they are.
    let ino = match item {
        Item::Root => 1,
        Item::File(index) => 2 + index as u64,
        Item::SelfLink => 100,
        Item::Process(pid) => u64::from(pid) << 8,
        Item::OfProcess(pid, index) => u64::from(pid) << 8 | (1 + index as u64),
    };
    let permissions = match item {
        Item::Root | Item::Process(_) => 0o555,
        _ if item.kind_bits() == mode::SYMLINK => 0o777,
        Item::File(index) if matches!(FILES[index].0, "compare" | "cpus" | "crash" | "spin") => 0o600,
        _ => 0o444,
    };
    Arc::new(Node::with_ino(ino, Kind::Proc(item), permissions))
}

/// A file name without its directory.
fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Item {
    /// The type bits of its mode.
    pub fn kind_bits(self) -> u32 {
        match self {
            Item::Root | Item::Process(_) => mode::DIRECTORY,
            Item::SelfLink => mode::SYMLINK,
            Item::OfProcess(_, index) if OF_PROCESS[index] == "exe" => mode::SYMLINK,
            _ => mode::FILE,
        }
    }

    /// The entry `name` of a directory.
    pub fn lookup(self, name: &str) -> Result<Arc<Node>> {
        let item = match self {
            Item::Root if name == "self" => Item::SelfLink,
            Item::Root => match FILES.iter().position(|(its, _)| *its == name) {
                Some(index) => Item::File(index),
                None => {
                    let pid = name.parse().map_err(|_| Errno::ENOENT)?;
                    process::find(pid).map(|process| Item::Process(process.pid)).ok_or(Errno::ENOENT)?
                }
            },
            Item::Process(pid) => {
                let index = OF_PROCESS.iter().position(|its| *its == name).ok_or(Errno::ENOENT)?;
                Item::OfProcess(pid, index)
            }
            _ => return Err(Errno::ENOTDIR),
        };
        Ok(make(item))
    }

    /// A directory's entries: name, inode, mode.
    pub fn entries(self) -> Vec<(String, u64, u32)> {
        let mut list = Vec::new();
        let mut add = |name: String, item: Item| {
            let node = make(item);
            list.push((name, node.ino, node.mode()));
        };
        match self {
            Item::Root => {
                for (index, (name, _)) in FILES.iter().enumerate() {
                    add(name.to_string(), Item::File(index));
                }
                add("self".into(), Item::SelfLink);
                let mut pids = Vec::new();
                process::for_each(&mut |process| pids.push(process.pid));
                for pid in pids {
                    add(pid.to_string(), Item::Process(pid));
                }
            }
            Item::Process(pid) => {
                for (index, name) in OF_PROCESS.iter().enumerate() {
                    add(name.to_string(), Item::OfProcess(pid, index));
                }
            }
            _ => {}
        }
        list
    }

    /// A link's target.
    pub fn link_target(self) -> Option<String> {
        match self {
            Item::SelfLink => Some(process::current().pid.to_string()),
            Item::OfProcess(pid, index) if OF_PROCESS[index] == "exe" => {
                process::find(pid).map(|process| process.name.lock().clone())
            }
            _ => None,
        }
    }

    /// A file's text.
    pub fn text(self) -> Result<Vec<u8>> {
        let mut out = String::new();
        match self {
            Item::File(index) => FILES[index].1(&mut out).map_err(|_| Errno::EIO)?,
            Item::OfProcess(pid, index) => {
                let process = process::find(pid).ok_or(Errno::ESRCH)?;
                of_process(&mut out, &process, OF_PROCESS[index]);
            }
            _ => return Err(Errno::EISDIR),
        }
        Ok(out.into_bytes())
    }

    /// What writing does.
    pub fn write(self, bytes: &[u8]) -> Result<usize> {
        match self {
            Item::File(index) if FILES[index].0 == "crash" && !bytes.is_empty() => {
                log::error!("crash asked for through /proc/crash");
                match bytes {
                    b"stack\n" => power::break_contract(),
                    b"iret\n" => power::return_from_nowhere(),
                    b"table\n" => power::stack_in_table(),
                    _ => power::crash(),
                }
            }
            Item::File(index) if FILES[index].0 == "compare" => {
                compare::marks::written(bytes)?;
                Ok(bytes.len())
            }
            Item::File(index) if FILES[index].0 == "cpus" => {
                cpu::hotplug::command(core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?)?;
                Ok(bytes.len())
            }
            Item::File(index) if FILES[index].0 == "spin" => {
                let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
                role::load::spin_for(text.trim().parse().map_err(|_| Errno::EINVAL)?);
                Ok(bytes.len())
            }
            Item::File(_) => Ok(bytes.len()),
            _ => Err(Errno::EACCES),
        }
    }
}

fn of_process(out: &mut String, process: &Process, name: &str) {
    let path = process.name.lock().clone();
    match name {
        "cmdline" => {
            out.push_str(&path);
            out.push('\0');
        }
        "comm" => {
            out.push_str(base_name(&path));
            out.push('\n');
        }
        // proc(5): pid, name, state, parent, group, session, then fields this kernel does not count.
        _ => {
            let state = if process.pid == process::current().pid { 'R' } else { 'S' };
            out.push_str(&format!(
                "{} ({}) {state} {} {} {} 1280 -1 0",
                process.pid,
                base_name(&path),
                process.ppid(),
                process.pgid(),
                process.sid()
            ));
            for _ in 0..43 {
                out.push_str(" 0");
            }
            out.push('\n');
        }
    }
}

fn meminfo(out: &mut dyn Write) -> fmt::Result {
    // What no process maps is as good as free: counted without it, two readings can be compared.
    mm::drop_caches();
    writeln!(out, "MemTotal: {:>9} kB", mm::total_frames() * 4)?;
    writeln!(out, "MemFree:  {:>9} kB", mm::free_frames() * 4)?;
    writeln!(out, "Cached:   {:>9} kB", mm::cached_frames() * 4)
}

/// What the hypervisor has done for this guest, where it counts.
fn counters(out: &mut dyn Write) -> fmt::Result {
    let Some(counters) = facts().counters else { return Ok(()) };
    counters().named().iter().try_for_each(|(name, count)| writeln!(out, "{name} {count}"))
}

fn uptime(out: &mut dyn Write) -> fmt::Result {
    let hundredths = time::monotonic_ns() / 10_000_000;
    writeln!(out, "{}.{:02} 0.00", hundredths / 100, hundredths % 100)
}

/// The kernel's own selector, and addresses that no program may touch.
fn ring(out: &mut dyn Write) -> fmt::Result {
    let cs = CS::get_reg().0;
    writeln!(out, "kernel cs {cs:#x} ring {} machine {}", cs & 3, info::machine_name())?;
    let page = |address: u64| address & !0xfff;
    writeln!(out, "page kernel-code {:#x}", page(ring as *const () as u64))?;
    writeln!(out, "page kernel-data {:#x}", page(&raw const LAST_FAULT as u64))?;
    writeln!(out, "page kernel-stack {:#x}", page(&raw const cs as u64))?;
    writeln!(out, "prevention {}", u8::from(selftest::prevention()))?;
    facts().hidden.iter().try_for_each(|(name, address)| writeln!(out, "page {name} {address:#x}"))
}

/// The fault that killed a process.
#[derive(Clone, Copy)]
struct Fault {
    pid: u32,
    vector: u64,
    error: u64,
    rip: u64,
    address: u64,
}

static LAST_FAULT: Mutex<Option<Fault>> = Mutex::new(None);

/// Notes a fault that kills a process, for `/proc/trap`.
pub fn record_fault(pid: u32, vector: u64, error: u64, rip: u64, address: u64) {
    *LAST_FAULT.lock() = Some(Fault { pid, vector, error, rip, address });
}

fn trap(out: &mut dyn Write) -> fmt::Result {
    let fault = *LAST_FAULT.lock();
    match fault {
        Some(Fault { pid, vector, error, rip, address }) => {
            writeln!(out, "pid {pid} vector {vector} error {error:#x} rip {rip:#x} address {address:#x}")
        }
        None => writeln!(out, "none"),
    }
}
