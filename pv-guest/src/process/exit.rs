//! The end of a process, and its parent's question how it ended.

use core::sync::atomic::Ordering;

use super::{Process, State, TABLE, all, current, find, sched, signal};
use crate::cpu_ops::{CpuOps, StopReason, machine};
use crate::errno::{Errno, Result};
use crate::fs::Files;
use crate::mm;
use crate::{console, kprintln};

/// `wait4`'s option to return at once.
const WNOHANG: u32 = 1;
/// The first process, which inherits orphans and whose end is the machine's.
const INIT: u32 = 1;

/// Ends the current process with a status in the encoding of `wait4`.
pub fn exit_current(status: i32) -> ! {
    if current().pid == INIT {
        stop_with(status);
    }
    finish(current(), status);
    sched::leave_for_ever()
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
    machine().load_base(mm::kernel_root().mfn());
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
        child.ppid() == this.pid
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
    this.child_exit.wait_until(look)?
}
