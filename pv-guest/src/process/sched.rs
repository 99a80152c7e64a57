//! The scheduler: round robin with time slices. Switches happen when a process waits, and when it returns to ring 3
//! after its slice has ended.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use super::{CURRENT, Process, State, current, current_if_any, signal, timer};
use crate::arch::entry::KERNEL_WORK;
use crate::arch::frame::Frame;
use crate::arch::switch::switch_stack;
use crate::cpu_ops::{Context, CpuOps, machine};
use crate::time::monotonic_ns;

/// A time slice.
const SLICE_NS: u64 = 10_000_000;

/// In [`KERNEL_WORK`]: another process should run.
const WORK_RESCHEDULE: u8 = 1;
/// In [`KERNEL_WORK`]: the current process has a signal.
const WORK_SIGNAL: u8 = 2;

static READY: Mutex<VecDeque<Arc<Process>>> = Mutex::new(VecDeque::new());
/// When the running process's slice ends; 0 while nobody else wants to run.
static SLICE_END: AtomicU64 = AtomicU64::new(0);
static SWITCHES: AtomicU64 = AtomicU64::new(0);

/// The time at which the scheduler wants a timer event.
pub(super) fn slice_end() -> Option<u64> {
    match SLICE_END.load(Ordering::Relaxed) {
        0 => None,
        end => Some(end),
    }
}

/// Called at a timer event.
pub(super) fn slice_tick(now: u64) {
    if slice_end().is_some_and(|end| now >= end) {
        SLICE_END.store(0, Ordering::Relaxed);
        KERNEL_WORK.fetch_or(WORK_RESCHEDULE, Ordering::Relaxed);
    }
}

/// Makes the current process look for signals before it returns to ring 3.
pub(super) fn note_signal() {
    KERNEL_WORK.fetch_or(WORK_SIGNAL, Ordering::Relaxed);
}

/// How often the CPU changed hands.
pub fn switches() -> u64 {
    SWITCHES.load(Ordering::Relaxed)
}

/// Makes a process ready, if it waits.
pub fn wake(process: &Arc<Process>) {
    if process.state() == State::Blocked {
        process.set_state(State::Ready);
        enqueue(process.clone());
    }
}

/// Puts a ready process in line.
pub(super) fn enqueue(process: Arc<Process>) {
    READY.lock().push_back(process);
    // Only a process that runs needs a slice; while it idles, the newcomer gets the CPU at once.
    let running = current_if_any().is_some_and(|current| current.state() == State::Ready);
    if running && SLICE_END.load(Ordering::Relaxed) == 0 {
        SLICE_END.store(monotonic_ns() + SLICE_NS, Ordering::Relaxed);
        timer::arm();
    }
}

/// Lets others run first.
pub fn yield_now() {
    let next = READY.lock().pop_front();
    if let Some(next) = next {
        let this = super::current_arc();
        READY.lock().push_back(this);
        switch_to(next);
    }
}

/// Waits until someone wakes the current process. The caller has put it where it will be found.
pub(super) fn block() {
    current().set_state(State::Blocked);
    leave();
}

/// Leaves the CPU to the next ready process, idling until there is one. Returns when this process runs again.
fn leave() {
    let next = loop {
        let next = READY.lock().pop_front();
        match next {
            Some(next) => break next,
            None => {
                SLICE_END.store(0, Ordering::Relaxed);
                timer::arm();
                machine().idle();
            }
        }
    };
    if core::ptr::eq(&*next, current()) {
        // Woken while it idled: it never left.
        return;
    }
    switch_to(next);
}

/// Leaves the CPU for good.
pub(super) fn leave_for_ever() -> ! {
    leave();
    unreachable!("a zombie was scheduled");
}

/// Loads a process's context, all but its stack.
fn load(next: &Process) {
    let root = next.space.lock().root().pfn().mfn();
    machine().switch_context(&Context {
        root,
        kernel_stack: next.stack.top(),
        // Always: a program can change its bases by loading a selector.
        fs_base: Some(next.fs_base.load(Ordering::Relaxed)),
        gs_base: Some(next.gs_base.load(Ordering::Relaxed)),
    });
    next.fpu.restore();
    SWITCHES.fetch_add(1, Ordering::Relaxed);
    let waiting = !READY.lock().is_empty();
    let slice = if waiting { monotonic_ns() + SLICE_NS } else { 0 };
    SLICE_END.store(slice, Ordering::Relaxed);
    timer::arm();
    let work = if signal::has_pending(next) { WORK_SIGNAL } else { 0 };
    KERNEL_WORK.store(work, Ordering::Relaxed);
}

fn switch_to(next: Arc<Process>) {
    let this = current();
    this.stack.check();
    this.fpu.save();
    load(&next);
    let to = next.saved_rsp.load(Ordering::Relaxed);
    CURRENT.store(Arc::as_ptr(&next).cast_mut(), Ordering::Relaxed);
    // The table keeps the process; a share on this stack would be lost if this process never runs again.
    drop(next);
    // SAFETY: `to` is where the next process left its stack, or what `prepare_stack` made for its first run.
    unsafe { switch_stack(this.saved_rsp.as_ptr(), to) };
}

/// Runs the first process. The boot stack is abandoned.
pub fn start() -> ! {
    let first = READY.lock().pop_front().expect("a first process");
    load(&first);
    let to = first.saved_rsp.load(Ordering::Relaxed);
    CURRENT.store(Arc::as_ptr(&first).cast_mut(), Ordering::Relaxed);
    drop(first);
    let mut boot_rsp = 0;
    // SAFETY: the stack was prepared when the process was made; the boot stack is never switched to again.
    unsafe { switch_stack(&raw mut boot_rsp, to) };
    unreachable!("nothing switches to the boot stack");
}

/// What has to happen before a return to ring 3: called by the exit stubs while [`KERNEL_WORK`] is set.
#[unsafe(no_mangle)]
extern "C" fn return_work(frame: &mut Frame) {
    let work = KERNEL_WORK.swap(0, Ordering::Relaxed);
    if work & WORK_SIGNAL != 0 {
        signal::deliver(frame);
    }
    if work & WORK_RESCHEDULE != 0 {
        yield_now();
    }
}
