//! Threads: `clone` with CLONE_THREAD.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::fork::{
    CLONE_CHILD_SETTID, CLONE_PARENT_SETTID, CLONE_SETTLS, CLONE_THREAD, CLONE_VM, PROCESS_HEAP, launch,
};
use super::{Process, all, current, next_pid};
use crate::arch::frame::Frame;
use crate::errno::{Errno, Result};
use crate::fs::Files;
use crate::mm::heap;
use crate::mm::space::AddressSpace;
use crate::mm::user;

const CLONE_FS: u64 = 0x200;
const CLONE_FILES: u64 = 0x400;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
/// A thread here shares all of these.
const SHARED: u64 = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;

/// Starts a thread of the current process that returns 0 from the same system call on another stack; gives its number.
pub(super) fn spawn(
    frame: &Frame,
    flags: u64,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
) -> Result<u32> {
    if flags & SHARED != SHARED || stack == 0 {
        return Err(Errno::EINVAL);
    }
    heap::reserve(PROCESS_HEAP)?;
    let this = current();
    let pid = next_pid();
    for (flag, addr) in [(CLONE_PARENT_SETTID, parent_tid), (CLONE_CHILD_SETTID, child_tid)] {
        if flags & flag != 0 {
            user::write(addr, &pid)?;
        }
    }
    this.fpu.save();
    let mut thread = Process::new(pid, AddressSpace::nowhere(), Files::empty(), this.fpu.duplicate()?)?;
    thread.tgid = this.tgid;
    thread.space = this.space.clone();
    thread.files = this.files.clone();
    thread.cwd = this.cwd.clone();
    *thread.name.get_mut() = this.name.lock().clone();
    *thread.signals.get_mut() = this.signals.lock().share();
    thread.ppid = this.ppid().into();
    thread.pgid = this.pgid().into();
    thread.sid = this.sid().into();
    thread.affinity = this.affinity.load(Ordering::Relaxed).into();
    thread.gs_base = this.gs_base.load(Ordering::Relaxed).into();
    let fs_base = if flags & CLONE_SETTLS != 0 { tls } else { this.fs_base() };
    thread.fs_base = fs_base.into();
    if flags & CLONE_CHILD_CLEARTID != 0 {
        thread.set_clear_tid(child_tid);
    }
    this.space.lock().add_user();
    launch(thread, &Frame { rax: 0, rsp: stack, ..*frame });
    Ok(pid)
}

/// The other threads of a thread's process.
pub(super) fn others(this: &Process) -> impl Iterator<Item = Arc<Process>> {
    let (pid, tgid) = (this.pid, this.tgid);
    all().into_iter().filter(move |other| other.tgid == tgid && other.pid != pid)
}
