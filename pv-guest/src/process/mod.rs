//! Processes. What the kernel runs is a thread: a kernel stack and registers. A process is one thread with an address space
//! and files of its own, or several that share theirs; the first one has the process's number, parent and children.
//!
//! One CPU at a time runs kernel code, and it is never preempted (see [`crate::cpu`]), so what a process's own kernel code
//! sees of it is stable; locks are there because the compiler cannot know that, and none is held across a switch.

pub mod exec;
mod exit;
mod fork;
pub mod futex;
pub mod sched;
mod sigframe;
pub mod signal;
mod thread;
mod timer;
pub mod wait;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;
use spin::Mutex;

use crate::arch::entry::SYSCALL_FRAME_SIZE;
use crate::arch::fpu::FpuState;
use crate::arch::frame::Frame;
use crate::arch::stack::{self, KernelStack, PID_OFFSET};
use crate::cpu::{self, CpuSet};
use crate::cpu_ops::{SegmentBase, machine};
use crate::errno::{Errno, Result};
use crate::fs::Files;
use crate::hash::Seeded;
use crate::mm::addr::USER_END;
use crate::mm::space::AddressSpace;
use signal::SignalState;
use wait::WaitQueue;

pub use exit::{exit_current, exit_thread, wait4};
pub use fork::{clone_process, fork, fork_vfork};
pub use timer::{sleep_until, tick};

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It runs, or would if it had the CPU.
    Ready,
    /// It waits.
    Blocked,
    /// It has ended and its parent has not asked yet.
    Zombie,
}

/// One process.
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The number of the process it is a thread of: its own, unless `clone` made it a thread.
    pub tgid: u32,
    /// Its open files.
    pub files: Arc<Mutex<Files>>,
    /// The program's path.
    pub name: Mutex<String>,
    /// The working directory.
    pub cwd: Arc<Mutex<String>>,
    /// Its memory.
    pub space: Arc<Mutex<AddressSpace>>,
    ppid: AtomicU32,
    pgid: AtomicU32,
    sid: AtomicU32,
    state: AtomicU8,
    status: AtomicI32,
    stack: KernelStack,
    /// The CPU it runs on; [`NO_CPU`] while it does not.
    on_cpu: AtomicU32,
    /// The CPUs it may run on, a bit each.
    affinity: AtomicU64,
    fpu: FpuState,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
    signals: Mutex<SignalState>,
    /// Where it waits for its children.
    child_exit: WaitQueue,
    /// Set while its parent waits, after `vfork`, for it to leave the shared image.
    holds_parent: AtomicBool,
    vfork_end: WaitQueue,
    /// A word of the program's that is cleared, and waiters for it woken, when this thread ends; 0 for none.
    clear_tid: AtomicU64,
    /// How the whole process ends, once a thread has ended it; [`NOT_ENDED`] before.
    group_status: AtomicI64,
    /// Where the first thread waits for the others' end.
    threads_end: WaitQueue,
}

/// In [`Process::group_status`]: nothing has ended it.
const NOT_ENDED: i64 = -1;

static TABLE: Mutex<HashMap<u32, Arc<Process>, Seeded>> = Mutex::new(HashMap::with_hasher(Seeded));
static NEXT_PID: AtomicU32 = AtomicU32::new(1);
/// In [`Process::on_cpu`]: none.
const NO_CPU: u32 = u32::MAX;

/// The process whose kernel code this is.
///
/// The reference outlives every use: this code runs on the process's own stack, and a process is dropped only after its
/// code last ran.
#[inline(always)]
pub fn current() -> &'static Process {
    let current = stack::info().process.load(Ordering::Relaxed);
    debug_assert!(!current.is_null());
    // SAFETY: a process's stack names it; see above for its lifetime.
    unsafe { &*current }
}

/// The current process, unless the kernel is booting or this CPU idles.
pub fn current_if_any() -> Option<&'static Process> {
    // SAFETY: as for `current`.
    unsafe { stack::info().process.load(Ordering::Relaxed).as_ref() }
}

/// The current process with a share in its ownership. Must not be alive when the process exits.
fn current_arc() -> Arc<Process> {
    find(current().pid).expect("the running process is in the table")
}

/// The process with this number.
pub fn find(pid: u32) -> Option<Arc<Process>> {
    TABLE.lock().get(&pid).cloned()
}

/// All processes, by number.
fn all() -> Vec<Arc<Process>> {
    let mut all: Vec<_> = TABLE.lock().values().cloned().collect();
    all.sort_by_key(|process| process.pid);
    all
}

/// Calls `f` for every process, by number; other threads than the first do not count.
pub fn for_each(f: &mut dyn FnMut(&Arc<Process>)) {
    all().iter().filter(|process| process.is_leader()).for_each(f);
}

/// The system call `getpid`, in slot 39: without the kernel lock, from the block above the frame that the system call's
/// entry has stored, below which there is a return address.
#[unsafe(naked)]
pub extern "C" fn getpid_handler(_: u64, _: u64, _: u64, _: u64, _: u64, _: u64) -> i64 {
    core::arch::naked_asm!(
        "mov eax, [rsp + {pid}]",
        "ret",
        pid = const 8 + SYSCALL_FRAME_SIZE + PID_OFFSET,
    )
}

fn next_pid() -> u32 {
    loop {
        let pid = NEXT_PID.fetch_add(1, Ordering::Relaxed) & 0x3f_ffff;
        if pid != 0 && find(pid).is_none() {
            return pid;
        }
    }
}

impl Process {
    fn new(pid: u32, space: AddressSpace, files: Files, fpu: FpuState) -> Result<Self> {
        Ok(Self {
            pid,
            tgid: pid,
            files: Arc::new(Mutex::new(files)),
            name: Mutex::new(String::new()),
            cwd: Arc::new(Mutex::new(String::from("/"))),
            space: Arc::new(Mutex::new(space)),
            ppid: AtomicU32::new(0),
            pgid: AtomicU32::new(pid),
            sid: AtomicU32::new(pid),
            state: AtomicU8::new(State::Ready as u8),
            status: AtomicI32::new(0),
            stack: KernelStack::new()?,
            on_cpu: AtomicU32::new(NO_CPU),
            affinity: AtomicU64::new(CpuSet::ALL.0),
            fpu,
            fs_base: AtomicU64::new(0),
            gs_base: AtomicU64::new(0),
            signals: Mutex::new(SignalState::new()),
            child_exit: WaitQueue::new(),
            holds_parent: AtomicBool::new(false),
            vfork_end: WaitQueue::new(),
            clear_tid: AtomicU64::new(0),
            group_status: AtomicI64::new(NOT_ENDED),
            threads_end: WaitQueue::new(),
        })
    }

    /// Whether it is its process's first thread.
    pub fn is_leader(&self) -> bool {
        self.pid == self.tgid
    }

    /// Its process's first thread.
    fn leader(&self) -> Arc<Process> {
        find(self.tgid).expect("the first thread ends last")
    }

    /// Sets the word that is cleared when this thread ends.
    pub fn set_clear_tid(&self, addr: u64) {
        self.clear_tid.store(addr, Ordering::Relaxed);
    }

    /// The parent's number.
    pub fn ppid(&self) -> u32 {
        self.ppid.load(Ordering::Relaxed)
    }

    /// The process group.
    pub fn pgid(&self) -> u32 {
        self.pgid.load(Ordering::Relaxed)
    }

    /// Joins a process group.
    pub fn set_pgid(&self, pgid: u32) {
        self.pgid.store(pgid, Ordering::Relaxed);
    }

    /// The session.
    pub fn sid(&self) -> u32 {
        self.sid.load(Ordering::Relaxed)
    }

    /// Joins a session.
    pub fn set_sid(&self, sid: u32) {
        self.sid.store(sid, Ordering::Relaxed);
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Ready,
            1 => State::Blocked,
            _ => State::Zombie,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// How it ended, in the encoding of `wait4`, once it is a zombie.
    pub fn exit_status(&self) -> i32 {
        self.status.load(Ordering::Relaxed)
    }

    /// The FS base its program set.
    pub fn fs_base(&self) -> u64 {
        self.fs_base.load(Ordering::Relaxed)
    }

    /// The CPU it runs on.
    pub fn on_cpu(&self) -> Option<u32> {
        Some(self.on_cpu.load(Ordering::Relaxed)).filter(|&cpu| cpu != NO_CPU)
    }

    fn set_on_cpu(&self, cpu: Option<u32>) {
        self.on_cpu.store(cpu.unwrap_or(NO_CPU), Ordering::Relaxed);
    }

    /// The CPUs it may run on: all, when those it was kept to have gone.
    pub fn affinity(&self) -> CpuSet {
        let wanted = CpuSet(self.affinity.load(Ordering::Relaxed));
        if wanted.and(cpu::online()).is_empty() { CpuSet::ALL } else { wanted }
    }

    /// Keeps it to some CPUs. Where it runs now, it stays until it next waits or its slice ends.
    pub fn set_affinity(&self, cpus: CpuSet) {
        self.affinity.store(cpus.0, Ordering::Relaxed);
    }

    /// Sets what the process starts with, before its first run. It stays where it is in memory from now on.
    fn set_start(&self, frame: &Frame) {
        let info = self.stack.info();
        info.process.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        info.pid.store(self.tgid, Ordering::Relaxed);
        // SAFETY: the process has never run, so nothing uses its stack.
        let rsp = unsafe { crate::arch::switch::prepare_stack(info.top(), frame) };
        info.saved_rsp.store(rsp, Ordering::Relaxed);
    }

    /// Lets a parent go on that waits in `vfork`.
    fn release_parent(&self) {
        if self.holds_parent.swap(false, Ordering::Relaxed) {
            self.vfork_end.wake_all();
        }
    }
}

const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;
const ARCH_GET_FS: u64 = 0x1003;
const ARCH_GET_GS: u64 = 0x1004;

/// `arch_prctl`: the segment bases of ring 3.
pub fn arch_prctl(code: u64, addr: u64) -> Result<u64> {
    let process = current();
    match code {
        ARCH_SET_FS | ARCH_SET_GS => {
            if addr >= USER_END {
                return Err(Errno::EPERM);
            }
            let (which, slot) = match code {
                ARCH_SET_FS => (SegmentBase::Fs, &process.fs_base),
                _ => (SegmentBase::Gs, &process.gs_base),
            };
            machine().set_segment_base(which, addr).map_err(|_| Errno::EPERM)?;
            slot.store(addr, Ordering::Relaxed);
            Ok(0)
        }
        ARCH_GET_FS | ARCH_GET_GS => {
            let slot = if code == ARCH_GET_FS { &process.fs_base } else { &process.gs_base };
            crate::mm::user::write(addr, &slot.load(Ordering::Relaxed))?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}
