//! Processes.

use super::open::AT_FDCWD;
use super::path::{base_of, user_path};
use crate::arch::frame::Frame;
use crate::cpu::{self, CpuSet};
use crate::errno::{Errno, Result, to_ret};
use crate::fs::{Found, mode, walk};
use crate::mm::user;
use crate::process::{self, exec, futex, sched};
use alloc::string::String;
use alloc::vec::Vec;

crate::full_frame_handler!(fork_stub, fork);
crate::full_frame_handler!(vfork_stub, vfork);
crate::full_frame_handler!(clone_stub, clone);
crate::full_frame_handler!(execve_stub, execve);

extern "C" fn fork(frame: &mut Frame) -> i64 {
    to_ret(process::fork(frame).map(u64::from))
}

extern "C" fn vfork(frame: &mut Frame) -> i64 {
    to_ret(process::fork_vfork(frame).map(u64::from))
}

extern "C" fn clone(frame: &mut Frame) -> i64 {
    let (flags, stack, parent_tid, child_tid, tls) = (frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8);
    to_ret(process::clone_process(frame, flags, stack, parent_tid, child_tid, tls).map(u64::from))
}

extern "C" fn execve(frame: &mut Frame) -> i64 {
    match try_execve(frame) {
        // The registers are the new program's.
        Ok(()) => frame.rax as i64,
        Err(error) => to_ret(Err(error)),
    }
}

/// Longest argument block: strings and pointers.
const ARG_MAX: usize = 128 * 1024;

fn try_execve(frame: &mut Frame) -> Result<()> {
    let path = user_path(frame.rdi)?;
    let mut argv = user::read_cstr_array(frame.rsi, ARG_MAX)?;
    let envp = user::read_cstr_array(frame.rdx, ARG_MAX)?;
    let mut found = program(&path)?;
    // `#!` names the program that runs the script; the script's path becomes its argument.
    if let Some((interpreter, argument)) = script_header(&found)? {
        let mut words: Vec<Vec<u8>> = Vec::from([interpreter.clone().into_bytes()]);
        words.extend(argument.map(String::into_bytes));
        words.push(path.into_bytes());
        words.extend(argv.into_iter().skip(1));
        argv = words;
        found = program(&interpreter)?;
    }
    exec::execve(frame, found.node.backing()?, &found.path, &argv, &envp)
}

/// The program file at a path.
fn program(path: &str) -> Result<Found> {
    let found = walk(&base_of(AT_FDCWD, path)?, path, true)?;
    let executable = found.node.mode() & mode::TYPE == mode::FILE && found.node.mode() & 0o111 != 0;
    if executable { Ok(found) } else { Err(Errno::EACCES) }
}

/// Interpreter and optional argument of a script's first line.
fn script_header(found: &Found) -> Result<Option<(String, Option<String>)>> {
    let mut start = [0; 128];
    let count = found.node.read_at(0, &mut start)?;
    let Some(line) = start[..count].strip_prefix(b"#!") else { return Ok(None) };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    let line = core::str::from_utf8(line).map_err(|_| Errno::ENOEXEC)?.trim();
    let (interpreter, argument) = match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim().into())),
        None => (line, None),
    };
    if interpreter.is_empty() { Err(Errno::ENOEXEC) } else { Ok(Some((interpreter.into(), argument))) }
}

/// `exit`: of one thread.
pub fn exit(code: u64) -> Result<u64> {
    process::exit_thread(((code & 0xff) << 8) as i32)
}

/// `exit_group`.
pub fn exit_group(code: u64) -> Result<u64> {
    process::exit_current(((code & 0xff) << 8) as i32)
}

/// `wait4`.
pub fn wait4(pid: u64, status_addr: u64, options: u64, usage_addr: u64) -> Result<u64> {
    let Some((pid, status)) = process::wait4(pid as i32, options as u32)? else { return Ok(0) };
    if status_addr != 0 {
        user::write(status_addr, &status)?;
    }
    if usage_addr != 0 {
        user::zero(usage_addr, super::info::RUSAGE_SIZE)?;
    }
    Ok(u64::from(pid))
}

/// `sched_yield`.
pub fn sched_yield() -> Result<u64> {
    sched::yield_now();
    Ok(0)
}

/// Bytes in a mask of CPUs.
const MASK_SIZE: u64 = size_of::<u64>() as u64;

/// `sched_setaffinity`. A process that runs where it now must not goes elsewhere at once if it is the caller, else when
/// its slice ends.
pub fn sched_setaffinity(pid: u64, length: u64, mask: u64) -> Result<u64> {
    if length < MASK_SIZE {
        return Err(Errno::EINVAL);
    }
    let wanted = CpuSet(user::read(mask)?);
    if wanted.and(cpu::online()).is_empty() {
        return Err(Errno::EINVAL);
    }
    of(pid, |process| process.set_affinity(wanted))?;
    if !process::current().affinity().contains(cpu::this().id()) {
        sched::yield_now();
    }
    Ok(0)
}

/// `sched_getaffinity`: the CPUs it may run on, of those there are.
pub fn sched_getaffinity(pid: u64, length: u64, mask: u64) -> Result<u64> {
    if length < MASK_SIZE {
        return Err(Errno::EINVAL);
    }
    let allowed = of(pid, process::Process::affinity)?.and(cpu::online());
    user::write(mask, &allowed.0)?;
    Ok(MASK_SIZE)
}

/// `getcpu`: the CPU this runs on, of the one node.
pub fn getcpu(cpu_out: u64, node_out: u64, _cache: u64) -> Result<u64> {
    if cpu_out != 0 {
        user::write(cpu_out, &cpu::this().id())?;
    }
    if node_out != 0 {
        user::write(node_out, &0u32)?;
    }
    Ok(0)
}

/// `gettid`.
pub fn gettid() -> Result<u64> {
    Ok(u64::from(process::current().pid))
}

/// `getppid`.
pub fn getppid() -> Result<u64> {
    Ok(u64::from(process::current().ppid()))
}

/// `getpgrp`.
pub fn getpgrp() -> Result<u64> {
    Ok(u64::from(process::current().pgid()))
}

/// Runs `read` on a process; 0 is the current one.
fn of<T>(pid: u64, read: impl FnOnce(&process::Process) -> T) -> Result<T> {
    match pid as u32 {
        0 => Ok(read(process::current())),
        pid => process::find(pid).map(|process| read(&process)).ok_or(Errno::ESRCH),
    }
}

/// `getpgid`.
pub fn getpgid(pid: u64) -> Result<u64> {
    of(pid, |process| u64::from(process.pgid()))
}

/// `getsid`.
pub fn getsid(pid: u64) -> Result<u64> {
    of(pid, |process| u64::from(process.sid()))
}

/// `setpgid`: of oneself or of a child.
pub fn setpgid(pid: u64, group: u64) -> Result<u64> {
    if (group as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let me = process::current();
    of(pid, |process| {
        if process.pid != me.pid && process.ppid() != me.pid {
            return Err(Errno::ESRCH);
        }
        process.set_pgid(if group as u32 == 0 { process.pid } else { group as u32 });
        Ok(0)
    })?
}

/// `setsid`.
pub fn setsid() -> Result<u64> {
    let me = process::current();
    if me.pgid() == me.pid {
        return Err(Errno::EPERM);
    }
    me.set_sid(me.pid);
    me.set_pgid(me.pid);
    Ok(u64::from(me.pid))
}

/// `arch_prctl`.
pub fn arch_prctl(code: u64, addr: u64) -> Result<u64> {
    process::arch_prctl(code, addr)
}

/// `set_tid_address`.
pub fn set_tid_address(addr: u64) -> Result<u64> {
    process::current().set_clear_tid(addr);
    gettid()
}

/// `set_robust_list`: accepted, and not looked at when a thread ends.
pub fn set_robust_list(_head: u64, length: u64) -> Result<u64> {
    const HEAD_SIZE: u64 = 24;
    if length == HEAD_SIZE { Ok(0) } else { Err(Errno::EINVAL) }
}

/// `futex`: waiting and waking.
pub fn futex(addr: u64, operation: u64, value: u64, timeout: u64, _second: u64, _third: u64) -> Result<u64> {
    const COMMANDS: u64 = 0x7f;
    const FUTEX_WAIT: u64 = 0;
    const FUTEX_WAKE: u64 = 1;
    match operation & COMMANDS {
        FUTEX_WAKE => futex::wake(addr, value as u32 as usize),
        FUTEX_WAIT => {
            let deadline = match timeout {
                0 => None,
                timeout => Some(super::time::deadline_after(super::time::read_timespec(timeout)?)),
            };
            futex::wait(addr, value as u32, deadline).map(|()| 0)
        }
        _ => Err(Errno::ENOSYS),
    }
}
