//! The scheduler: one line of ready processes for all CPUs, round robin with time slices. Switches happen when a process
//! waits, and when it returns to ring 3 after its slice has ended. A CPU with nothing to run idles on a stack of its own.
//!
//! All of it runs under the kernel lock, which a CPU keeps across a switch: who leaves took it, who arrives drops it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::ptr;
use core::sync::atomic::Ordering;

use pv_guest_logic::placement::place;
use spin::Mutex;

use super::{Process, State, current, current_if_any, signal, timer};
use crate::arch::frame::Frame;
use crate::arch::stack::{self, StackInfo};
use crate::arch::switch::switch_stack;
use crate::cpu::ipi::{self, Ipi};
use crate::cpu::{self, Cpu, CpuSet, lock};
use crate::cpu_ops::{Context, machine};
use crate::mm;
use crate::time::monotonic_ns;

/// A time slice.
const SLICE_NS: u64 = 10_000_000;

/// In [`StackInfo::work`]: another process should run.
const WORK_RESCHEDULE: u8 = 1;
/// In [`StackInfo::work`]: the process has a signal.
const WORK_SIGNAL: u8 = 2;

static READY: Mutex<VecDeque<Arc<Process>>> = Mutex::new(VecDeque::new());

/// The time at which this CPU's slice ends.
pub(super) fn slice_end() -> Option<u64> {
    match cpu::this().slice_end.load(Ordering::Relaxed) {
        0 => None,
        end => Some(end),
    }
}

/// Called at a timer event.
pub(super) fn slice_tick(now: u64) {
    if slice_end().is_some_and(|end| now >= end) {
        cpu::this().slice_end.store(0, Ordering::Relaxed);
        want_reschedule(stack::info());
    }
}

fn want_reschedule(info: &StackInfo) {
    info.work.fetch_or(WORK_RESCHEDULE, Ordering::Relaxed);
}

/// Makes a process look for signals before it returns to ring 3.
pub(super) fn note_signal(process: &Process) {
    process.stack.info().work.fetch_or(WORK_SIGNAL, Ordering::Relaxed);
    // Where it runs, it must come into the kernel for that.
    if let Some(id) = process.on_cpu()
        && id != cpu::this().id()
    {
        ipi::send(cpu::get(id), Ipi::Reschedule);
    }
}

/// How often a CPU changed hands.
pub fn switches() -> u64 {
    cpu::known().iter().map(|id| cpu::get(id).switches.load(Ordering::Relaxed)).sum()
}

/// The reschedule interrupt: what it is about happens on the way back, or where the CPU idles.
pub fn interrupted() {
    if !cpu::this().is_wanted() {
        want_reschedule(stack::info());
    }
    timer::arm();
}

/// Makes a CPU look at what it should do.
pub fn interrupt(cpu: &Cpu) {
    ipi::send(cpu, Ipi::Reschedule);
}

/// Looks at the line and the deadlines anew, when a CPU left that others counted on.
pub fn rearm() {
    share();
    timer::arm();
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
    share();
}

/// Gets idle CPUs to look at the line. Returns the CPUs wanted by processes for which none is idle.
fn wake_idle() -> CpuSet {
    let ready = READY.lock();
    if ready.is_empty() {
        return CpuSet::EMPTY;
    }
    // One that is about to go down takes no process.
    let idle = cpu::idle().iter().filter(|&id| cpu::get(id).is_wanted()).collect();
    let placement = place(ready.iter().map(|process| process.affinity()), idle);
    let this = cpu::this().id();
    // A CPU that handles events while it idles looks by itself when it has handled them.
    for id in placement.wake.without(this).iter() {
        if cpu::note_called(id) {
            ipi::send(cpu::get(id), Ipi::Reschedule);
        }
    }
    placement.share
}

/// Sees to it that everybody in line gets a CPU: an idle one, or one whose process has its time limited.
fn share() {
    let wanted = wake_idle();
    limit_others(wanted);
    let cpu = cpu::this();
    // While a CPU has no process, or one that just stopped, the newcomer gets it at once.
    if wanted.contains(cpu.id())
        && cpu.slice_end.load(Ordering::Relaxed) == 0
        && current_if_any().is_some_and(|current| current.state() == State::Ready)
    {
        cpu.slice_end.store(monotonic_ns() + SLICE_NS, Ordering::Relaxed);
        timer::arm();
    }
}

/// Ends the time of processes on other CPUs that could run without end.
fn limit_others(wanted: CpuSet) {
    let wanted = wanted.and(cpu::online()).without(cpu::this().id());
    if wanted.is_empty() {
        return;
    }
    let end = monotonic_ns() + SLICE_NS;
    for id in wanted.iter().filter(|&id| !cpu::idle().contains(id)) {
        let cpu = cpu::get(id);
        if cpu.slice_end.load(Ordering::Relaxed) == 0 {
            cpu.slice_end.store(end, Ordering::Relaxed);
            ipi::send(cpu, Ipi::Reschedule);
        }
    }
}

/// Takes the first process in line that may run on this CPU.
fn next() -> Option<Arc<Process>> {
    let cpu = cpu::this();
    if !cpu.is_wanted() {
        return None;
    }
    let mut ready = READY.lock();
    let index = ready.iter().position(|process| process.affinity().contains(cpu.id()))?;
    ready.remove(index)
}

/// Lets others run first.
pub fn yield_now() {
    let must_leave = !cpu::this().is_wanted() || !current().affinity().contains(cpu::this().id());
    let next = next();
    if next.is_none() && !must_leave {
        return;
    }
    READY.lock().push_back(super::current_arc());
    if next.is_none() {
        // Nothing is loaded here that would look at the line.
        limit_others(wake_idle());
    }
    switch_to(next);
}

/// Waits until someone wakes the current process. The caller has put it where it will be found.
pub(super) fn block() {
    current().set_state(State::Blocked);
    switch_to(next());
}

/// Leaves the CPU for good.
pub(super) fn leave_for_ever() -> ! {
    switch_to(next());
    unreachable!("a zombie was scheduled");
}

/// Loads a process's context, all but its stack.
fn load(next: &Process) {
    let roots = next.space.lock().root().mfns();
    machine().switch_context(&Context {
        roots,
        kernel_stack: next.stack.info().top(),
        // Always: a program can change its bases by loading a selector.
        fs_base: Some(next.fs_base.load(Ordering::Relaxed)),
        gs_base: Some(next.gs_base.load(Ordering::Relaxed)),
    });
    next.fpu.restore();
    let cpu = cpu::this();
    cpu.switches.fetch_add(1, Ordering::Relaxed);
    let now = monotonic_ns();
    cpu.busy_since.store(now, Ordering::Relaxed);
    // Whoever is left in line runs elsewhere now, or here after a slice.
    let wanted = wake_idle();
    limit_others(wanted);
    cpu.slice_end.store(if wanted.contains(cpu.id()) { now + SLICE_NS } else { 0 }, Ordering::Relaxed);
    timer::arm();
    let work = if signal::has_pending(next) { WORK_SIGNAL } else { 0 };
    next.stack.info().work.store(work, Ordering::Relaxed);
    next.set_on_cpu(Some(cpu.id()));
}

/// Notes that the current process stops here.
fn unload(process: &Process) {
    let cpu = cpu::this();
    process.stack.info().check();
    process.fpu.save();
    process.set_on_cpu(None);
    let since = cpu.busy_since.swap(0, Ordering::Relaxed);
    cpu.busy_ns.fetch_add(monotonic_ns().saturating_sub(since), Ordering::Relaxed);
}

/// Leaves the current process or the idle loop, for a process or the idle loop. Returns when who left runs again.
fn switch_to(next: Option<Arc<Process>>) {
    let cpu = cpu::this();
    let from = stack::info();
    if let Some(this) = current_if_any() {
        unload(this);
    }
    let to = match &next {
        Some(next) => {
            load(next);
            // The table keeps the process, or `Cpu::ended` until its stack is left.
            ptr::from_ref(next.stack.info())
        }
        None => {
            machine().load_base(mm::kernel_roots());
            cpu.slice_end.store(0, Ordering::Relaxed);
            ptr::from_ref(cpu.stack())
        }
    };
    // A share on this stack would be lost if its process never runs again.
    drop(next);
    // SAFETY: the stack lives until its process has run for the last time.
    let to = unsafe { &*to };
    to.cpu.store(ptr::from_ref(cpu).cast_mut(), Ordering::Relaxed);
    // SAFETY: the other stack was left by this function, or prepared for a first run, and is run on by no CPU: a process is
    // in line once, and the idle loop is this CPU's.
    unsafe { switch_stack(from.saved_rsp.as_ptr(), to.saved_rsp.load(Ordering::Relaxed)) };
    arrived();
}

/// What whoever is switched to does first.
fn arrived() {
    // Taken out of the lock before it is dropped.
    let ended = cpu::this().ended.lock().take();
    drop(ended);
}

/// The first steps of a new process, on its own stack; then it enters ring 3.
#[unsafe(no_mangle)]
extern "C" fn process_started() {
    arrived();
    lock::release();
}

/// What a CPU does that has nothing else to do. Entered on its own stack, with the kernel lock held.
pub fn idle_loop() -> ! {
    loop {
        if let Some(next) = next() {
            switch_to(Some(next));
            continue;
        }
        if !cpu::this().is_wanted() {
            cpu::hotplug::leave();
            continue;
        }
        timer::arm();
        cpu::note_idle();
        // An event that comes from here on ends the wait.
        lock::without(|| machine().idle());
        cpu::note_busy(cpu::this().id());
    }
}

/// What has to happen before a return to ring 3: called by the exit stubs while [`StackInfo::work`] is set.
#[unsafe(no_mangle)]
extern "C" fn return_work(frame: &mut Frame) {
    let _lock = lock::enter();
    let work = stack::info().work.swap(0, Ordering::Relaxed);
    if work & WORK_SIGNAL != 0 {
        signal::deliver(frame);
    }
    if work & WORK_RESCHEDULE != 0 {
        yield_now();
    }
}
