//! New processes.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{Process, TABLE, current, next_pid, sched, thread};
use spin::Mutex;

use crate::arch::fpu::FpuState;
use crate::arch::frame::Frame;
use crate::errno::{Errno, Result};
use crate::fs::Files;
use crate::mm::addr::USER_END;
use crate::mm::heap;
use crate::mm::space::AddressSpace;
use crate::mm::user;

/// Kernel memory a process may need: its stack, FPU state, areas and files.
pub(super) const PROCESS_HEAP: usize = 64 * 1024;

pub(super) const CLONE_VM: u64 = 0x100;
pub(super) const CLONE_VFORK: u64 = 0x4000;
pub(super) const CLONE_THREAD: u64 = 0x1_0000;
pub(super) const CLONE_SETTLS: u64 = 0x8_0000;
pub(super) const CLONE_PARENT_SETTID: u64 = 0x10_0000;
pub(super) const CLONE_CHILD_SETTID: u64 = 0x100_0000;

/// Enters a process into the table and the line, to start from `frame`.
pub(super) fn launch(process: Process, frame: &Frame) -> Arc<Process> {
    let process = Arc::new(process);
    process.set_start(frame);
    TABLE.lock().insert(process.pid, process.clone());
    sched::enqueue(process.clone());
    process
}

/// Makes the first process from an address space that is not loaded yet. Its frame must enter code that is there.
pub fn first(space: AddressSpace, files: Files, frame: &Frame) -> Result<Arc<Process>> {
    Ok(launch(Process::new(next_pid(), space, files, FpuState::new()?)?, frame))
}

fn copy(frame: &Frame, pid: u32, change: impl FnOnce(&mut Process)) -> Result<Arc<Process>> {
    heap::reserve(PROCESS_HEAP)?;
    let parent = current();
    let space = parent.space.lock().duplicate()?;
    let files = parent.files.lock().fork();
    parent.fpu.save();
    let mut child = Process::new(pid, space, files, parent.fpu.duplicate()?)?;
    *child.name.get_mut() = parent.name.lock().clone();
    child.cwd = Arc::new(Mutex::new(parent.cwd.lock().clone()));
    *child.signals.get_mut() = parent.signals.lock().inherit();
    child.ppid = parent.tgid.into();
    child.pgid = parent.pgid().into();
    child.sid = parent.sid().into();
    child.fs_base = parent.fs_base.load(Ordering::Relaxed).into();
    child.gs_base = parent.gs_base.load(Ordering::Relaxed).into();
    child.affinity = parent.affinity().0.into();
    change(&mut child);
    Ok(launch(child, &Frame { rax: 0, ..*frame }))
}

/// Makes a copy of the current process that returns 0 from the same system call; gives its number.
pub fn fork(frame: &Frame) -> Result<u32> {
    Ok(copy(frame, next_pid(), |_| ())?.pid)
}

/// As [`fork`], but the parent waits until the child executes a program or exits. The child has its own copy of the
/// image: what it writes there, the parent does not see.
pub fn fork_vfork(frame: &Frame) -> Result<u32> {
    let child = copy(frame, next_pid(), |child| child.holds_parent = true.into())?;
    wait_for_release(child)
}

/// Waits until `child` lets its parent go; drops the share in it before that wait could outlast the child.
fn wait_for_release(child: Arc<Process>) -> Result<u32> {
    let pid = child.pid;
    child.vfork_end.wait_uninterrupted(|| (!child.holds_parent.load(Ordering::Relaxed)).then_some(()));
    Ok(pid)
}

/// `clone`: a thread of this process, or a process with a copy of everything.
pub fn clone_process(
    frame: &Frame,
    flags: u64,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
) -> Result<u32> {
    if flags & CLONE_SETTLS != 0 && tls >= USER_END {
        return Err(Errno::EPERM);
    }
    if flags & CLONE_THREAD != 0 {
        return thread::spawn(frame, flags, stack, parent_tid, child_tid, tls);
    }
    // A process that shares its memory but is no thread.
    if flags & (CLONE_VM | CLONE_VFORK) == CLONE_VM {
        return Err(Errno::ENOSYS);
    }
    let pid = next_pid();
    // The child's copy must hold its number: write it before copying, and put the parent's word back after.
    let parents_word: Option<u32> =
        if flags & CLONE_CHILD_SETTID != 0 { Some(user::read(child_tid)?) } else { None };
    if parents_word.is_some() {
        user::write(child_tid, &pid)?;
    }
    let child_frame = if stack == 0 { *frame } else { Frame { rsp: stack, ..*frame } };
    let child = copy(&child_frame, pid, |child| {
        if flags & CLONE_SETTLS != 0 {
            child.fs_base = tls.into();
        }
        child.holds_parent = (flags & CLONE_VFORK != 0).into();
    });
    if let Some(word) = parents_word {
        user::write(child_tid, &word)?;
    }
    let child = child?;
    if flags & CLONE_PARENT_SETTID != 0 {
        user::write(parent_tid, &pid)?;
    }
    if flags & CLONE_VFORK != 0 { wait_for_release(child) } else { Ok(pid) }
}
