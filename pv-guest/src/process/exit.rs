//! The end of a process, and its parent's question how it ended.

use core::sync::atomic::Ordering;

use super::{NOT_ENDED, Process, State, TABLE, all, current, find, futex, sched, signal, thread};
use crate::cpu;
use crate::cpu_ops::{StopReason, machine};
use crate::errno::{Errno, Result};
use crate::fs::Files;
use crate::mm::{self, user};
use crate::{console, kprintln};

/// `wait4`'s option to return at once.
const WNOHANG: u32 = 1;
/// The first process, which inherits orphans and whose end is the machine's.
const INIT: u32 = 1;

/// Ends the current process, with all its threads, with a status in the encoding of `wait4`. The first to say so decides on the
/// status.
pub fn exit_current(status: i32) -> ! {
    end_group(current(), status);
    exit_thread(status)
}

fn end_group(this: &Process, status: i32) {
    let status = i64::from(status);
    let leader = this.leader();
    let _ = leader.group_status.compare_exchange(NOT_ENDED, status, Ordering::Relaxed, Ordering::Relaxed);
    thread::others(this).for_each(|other| signal::post(&other, signal::SIGKILL));
}

/// Ends the current thread. The first thread waits for the others, and the process ends with it.
pub fn exit_thread(status: i32) -> ! {
    let this = current();
    if !this.is_leader() {
        finish_thread(this);
        sched::leave_for_ever()
    }
    wait_for_threads(this);
    let status = match this.group_status.load(Ordering::Relaxed) {
        NOT_ENDED => status,
        decided => decided as i32,
    };
    if this.pid == INIT {
        stop_with(status);
    }
    finish(this, status);
    sched::leave_for_ever()
}

fn wait_for_threads(this: &Process) {
    this.threads_end.wait_uninterrupted(|| thread::others(this).next().is_none().then_some(()));
}

/// Gives back what a thread has of its own, but the stack this runs on: that goes when the CPU has left it.
fn finish_thread(this: &Process) {
    let word = this.clear_tid.load(Ordering::Relaxed);
    // A program that has unmapped the word is not told.
    if word != 0 && user::write(word, &0u32).is_ok() {
        let _ = futex::wake(word, 1);
    }
    machine().load_base(mm::kernel_roots());
    this.space.lock().drop_user();
    this.set_state(State::Zombie);
    let ended = TABLE.lock().remove(&this.pid);
    *cpu::this().ended.lock() = ended;
    this.leader().threads_end.wake_all();
}

fn stop_with(status: i32) -> ! {
    if status == 0 {
        console::drain();
        machine().stop(StopReason::PowerOff);
    }
    kprintln!("init ended with status {status:#x}");
    console::drain();
    machine().stop(StopReason::Crash);
}

/// Gives back everything but the stack this runs on. A function of its own, so that no value needing a destructor is
/// left on that stack.
fn finish(process: &Process, status: i32) {
    let files = core::mem::replace(&mut *process.files.lock(), Files::empty());
    drop(files);
    // The kernel's own root, which has no user half, idles and switches from here on.
    machine().load_base(mm::kernel_roots());
    let space = process.space.lock().take();
    drop(space);
    process.release_parent();
    for child in all() {
        if child.ppid() == process.pid {
            child.ppid.store(INIT, Ordering::Relaxed);
            if child.state() == State::Zombie
                && let Some(init) = find(INIT)
            {
                init.child_exit.wake_all();
            }
        }
    }
    process.status.store(status, Ordering::Relaxed);
    process.set_state(State::Zombie);
    if let Some(parent) = find(process.ppid()) {
        signal::post(&parent, signal::SIGCHLD);
        parent.child_exit.wake_all();
    }
}

/// Waits for a child: `pid` > 0 that one, -1 any, 0 any of the caller's group, below -1 any of group `-pid`. Gives its
/// number and status, and `None` when `WNOHANG` was asked and none has ended.
pub fn wait4(pid: i32, options: u32) -> Result<Option<(u32, i32)>> {
    let this = current();
    let matches = |child: &Process| {
        child.is_leader()
            && child.ppid() == this.tgid
            && match pid {
                -1 => true,
                0 => child.pgid() == this.pgid(),
                1.. => child.pid == pid as u32,
                _ => child.pgid() == pid.unsigned_abs(),
            }
    };
    let look = || {
        let mut any = false;
        for child in all() {
            if !matches(&child) {
                continue;
            }
            any = true;
            if child.state() == State::Zombie {
                TABLE.lock().remove(&child.pid);
                return Some(Ok(Some((child.pid, child.exit_status()))));
            }
        }
        if any { None } else { Some(Err(Errno::ECHILD)) }
    };
    if options & WNOHANG != 0 {
        return look().unwrap_or(Ok(None));
    }
    // The first thread's, whichever of them waits; it outlives the wait, since it ends last.
    this.leader().child_exit.wait_until(look)?
}
