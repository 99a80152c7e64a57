//! Processes: one thread each, with a kernel stack, an address space and files of its own.
//!
//! There is one vcpu and the kernel is never preempted, so what a process's own kernel code sees of it is stable; locks
//! are there because the compiler cannot know that, and none is held across a switch.

pub mod exec;
mod exit;
mod fork;
pub mod sched;
mod sigframe;
pub mod signal;
mod timer;
pub mod wait;

use alloc::alloc::{Layout, alloc, dealloc};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;
use spin::Mutex;

use crate::arch::fpu::FpuState;
use crate::cpu_ops::{CpuOps, SegmentBase, machine};
use crate::errno::{Errno, Result};
use crate::fs::Files;
use crate::hash::Seeded;
use crate::mm::addr::USER_END;
use crate::mm::space::AddressSpace;
use signal::SignalState;
use wait::WaitQueue;

pub use exit::{exit_current, wait4};
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

/// A kernel stack.
struct KernelStack(NonNull<u8>);

// SAFETY: owned memory, used by whoever runs on it.
unsafe impl Send for KernelStack {}
// SAFETY: as above; shared references give only addresses.
unsafe impl Sync for KernelStack {}

impl KernelStack {
    const SIZE: usize = 16 * 1024;
    const LAYOUT: Layout = match Layout::from_size_align(Self::SIZE, 16) {
        Ok(layout) => layout,
        Err(_) => panic!("a fixed size and alignment"),
    };
    /// Lies at the stack's lowest address; overwritten when it overflows.
    const CANARY: u64 = 0x5ca1_ab1e_0ddb_a115;

    fn new() -> Result<Self> {
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc(Self::LAYOUT) }).ok_or(Errno::ENOMEM)?;
        // SAFETY: the memory was just allocated, and is aligned.
        unsafe { base.cast::<u64>().write(Self::CANARY) };
        Ok(Self(base))
    }

    fn top(&self) -> u64 {
        self.0.as_ptr() as u64 + Self::SIZE as u64
    }

    fn check(&self) {
        // SAFETY: written in `new`; nothing refers to it but an overflow.
        let canary = unsafe { self.0.cast::<u64>().read_volatile() };
        assert!(canary == Self::CANARY, "a kernel stack overflowed");
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; a process is dropped after it last ran.
        unsafe { dealloc(self.0.as_ptr(), Self::LAYOUT) };
    }
}

/// One process.
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its open files.
    pub files: Mutex<Files>,
    /// The program's path.
    pub name: Mutex<String>,
    /// The working directory.
    pub cwd: Mutex<String>,
    /// Its memory.
    pub space: Mutex<AddressSpace>,
    ppid: AtomicU32,
    pgid: AtomicU32,
    sid: AtomicU32,
    state: AtomicU8,
    status: AtomicI32,
    stack: KernelStack,
    /// RSP of the kernel stack while another process runs.
    saved_rsp: AtomicU64,
    fpu: FpuState,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
    signals: Mutex<SignalState>,
    /// Where it waits for its children.
    child_exit: WaitQueue,
    /// Set while its parent waits, after `vfork`, for it to leave the shared image.
    holds_parent: AtomicBool,
    vfork_end: WaitQueue,
}

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());
static TABLE: Mutex<HashMap<u32, Arc<Process>, Seeded>> = Mutex::new(HashMap::with_hasher(Seeded));
static NEXT_PID: AtomicU32 = AtomicU32::new(1);

/// The process whose kernel code this is.
///
/// The reference outlives every use: this code runs on the process's own stack, and a process is dropped only after its
/// code last ran.
#[inline(always)]
pub fn current() -> &'static Process {
    let current = CURRENT.load(Ordering::Relaxed);
    debug_assert!(!current.is_null());
    // SAFETY: set by the scheduler to a process that the table holds; see above for its lifetime.
    unsafe { &*current }
}

/// The current process, unless the kernel is still booting.
pub fn current_if_any() -> Option<&'static Process> {
    // SAFETY: as for `current`.
    unsafe { CURRENT.load(Ordering::Relaxed).as_ref() }
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

/// Calls `f` for every process, by number.
pub fn for_each(f: &mut dyn FnMut(&Arc<Process>)) {
    all().iter().for_each(f);
}

/// The system call `getpid`, in slot 39: a function of its own because the system call budget is measured with it.
pub extern "C" fn getpid_handler(_: u64, _: u64, _: u64, _: u64, _: u64, _: u64) -> i64 {
    i64::from(current().pid)
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
            files: Mutex::new(files),
            name: Mutex::new(String::new()),
            cwd: Mutex::new(String::from("/")),
            space: Mutex::new(space),
            ppid: AtomicU32::new(0),
            pgid: AtomicU32::new(pid),
            sid: AtomicU32::new(pid),
            state: AtomicU8::new(State::Ready as u8),
            status: AtomicI32::new(0),
            stack: KernelStack::new()?,
            saved_rsp: AtomicU64::new(0),
            fpu,
            fs_base: AtomicU64::new(0),
            gs_base: AtomicU64::new(0),
            signals: Mutex::new(SignalState::new()),
            child_exit: WaitQueue::new(),
            holds_parent: AtomicBool::new(false),
            vfork_end: WaitQueue::new(),
        })
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

    /// Sets what the process starts with, before its first run.
    fn set_start(&self, frame: &crate::arch::frame::Frame) {
        // SAFETY: the process has never run, so nothing uses its stack.
        let rsp = unsafe { crate::arch::switch::prepare_stack(self.stack.top(), frame) };
        self.saved_rsp.store(rsp, Ordering::Relaxed);
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
