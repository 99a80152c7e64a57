//! CPUs: what each has of its own, and which there are.
//!
//! Locking: one kernel lock ([`lock`]). Whoever runs kernel code holds it, from the entry out of ring 3 to the return, and
//! keeps it across a switch of processes; so on any number of CPUs the kernel's code runs as it did on one, and is not
//! interrupted by other kernel code between two points at which it waits. Programs in ring 3 run in parallel. Without the lock run
//! only the entry and exit stubs, `getpid`, a CPU that idles, and a CPU on its way up or down.

pub mod hotplug;
pub mod ipi;
pub mod lock;

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use alloc::sync::Arc;
use paravane_abi::shared_info::VcpuInfo;
use paravane_abi::vcpu::VcpuRunstateInfo;
pub use pv_guest_logic::cpu_set::{CpuSet, MAX_CPUS};
use spin::Mutex;

use crate::arch::stack::{self, StackInfo};
use crate::cpu_ops::VcpuState;
use crate::mm::addr::Mfn;
use crate::process::Process;

/// Memory that the hypervisor writes for a CPU, at addresses that it is told.
#[repr(C, align(64))]
struct Registered {
    /// 64 bytes, aligned to their size, so that they do not cross a page.
    info: UnsafeCell<VcpuInfo>,
    runstate: UnsafeCell<VcpuRunstateInfo>,
}

/// One CPU.
pub struct Cpu {
    registered: Registered,
    id: AtomicU32,
    /// Where its vcpu_info is: in the shared page until it is registered.
    state: AtomicPtr<VcpuInfo>,
    /// The block of its own stack, on which it idles.
    stack: AtomicPtr<StackInfo>,
    /// The mfn of the root table it has loaded.
    root: AtomicU64,
    /// Its event channels, by [`ipi::Ipi`], then the timer's.
    ports: [AtomicU32; ipi::PORTS],
    /// It shall run processes; cleared to have it go down.
    wanted: AtomicBool,
    /// When the running process's slice ends; 0 while nobody else wants to run.
    pub slice_end: AtomicU64,
    /// The deadline its timer is set to; `u64::MAX` for none.
    pub armed: AtomicU64,
    /// Processes switched to.
    pub switches: AtomicU64,
    /// Nanoseconds it ran processes, up to the latest switch.
    pub busy_ns: AtomicU64,
    /// When it began to run the current process; 0 while it idles.
    pub busy_since: AtomicU64,
    /// A thread that ended on this CPU and whose stack the next switch leaves.
    pub ended: Mutex<Option<Arc<Process>>>,
}

// SAFETY: what is not atomic or behind a lock is the registered memory, which the hypervisor writes and this kernel reads
// through atomics and volatile reads.
unsafe impl Sync for Cpu {}

impl Cpu {
    const fn new() -> Self {
        Self {
            registered: Registered {
                info: UnsafeCell::new(NO_INFO),
                runstate: UnsafeCell::new(VcpuRunstateInfo {
                    state: 0,
                    pad: 0,
                    state_entry_time: 0,
                    time: [0; 4],
                }),
            },
            id: AtomicU32::new(0),
            state: AtomicPtr::new(ptr::null_mut()),
            stack: AtomicPtr::new(ptr::null_mut()),
            root: AtomicU64::new(0),
            ports: [const { AtomicU32::new(0) }; ipi::PORTS],
            wanted: AtomicBool::new(false),
            slice_end: AtomicU64::new(0),
            armed: AtomicU64::new(u64::MAX),
            switches: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            ended: Mutex::new(None),
        }
    }

    /// Its number, which is its vcpu's.
    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// What it shares with the hypervisor.
    #[inline(always)]
    pub fn state(&self) -> VcpuState {
        VcpuState::at(self.state.load(Ordering::Relaxed))
    }

    /// The block of its own stack.
    pub fn stack(&self) -> &'static StackInfo {
        // SAFETY: set when the CPU was made; its stack is never freed.
        unsafe { &*self.stack.load(Ordering::Relaxed) }
    }

    /// Notes the root table it has loaded.
    pub fn set_root(&self, root: Mfn) {
        self.root.store(root.0, Ordering::Relaxed);
    }

    /// Whether it shall run processes.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// How long it has been in each of the states running, runnable, blocked and offline, in nanoseconds.
    pub fn runstate_ns(&self) -> [u64; 4] {
        // SAFETY: a volatile read of memory that only the hypervisor writes; each number is one word.
        unsafe { (&raw const (*self.registered.runstate.get()).time).read_volatile() }
    }
}

const NO_INFO: VcpuInfo = VcpuInfo {
    evtchn_upcall_pending: 0,
    evtchn_upcall_mask: 1,
    pad0: [0; 6],
    evtchn_pending_sel: 0,
    arch: paravane_abi::shared_info::ArchVcpuInfo { cr2: 0, pad: 0 },
    time: paravane_abi::shared_info::VcpuTimeInfo {
        version: 0,
        pad0: 0,
        tsc_timestamp: 0,
        system_time: 0,
        tsc_to_system_mul: 0,
        tsc_shift: 0,
        flags: 0,
        pad1: [0; 2],
    },
};

static CPUS: [Cpu; MAX_CPUS] = [const { Cpu::new() }; MAX_CPUS];
/// CPUs that run processes.
static ONLINE: AtomicU64 = AtomicU64::new(0);
/// CPUs that have nothing to do.
static IDLE: AtomicU64 = AtomicU64::new(0);
/// Those of them that were called to look at the line, and have not looked yet.
static CALLED: AtomicU64 = AtomicU64::new(0);
/// CPUs that have been started at least once.
static KNOWN: AtomicU64 = AtomicU64::new(0);

/// The CPU with a number.
pub fn get(id: u32) -> &'static Cpu {
    &CPUS[id as usize]
}

/// The CPU this code runs on. It stays the same between two points at which the code waits.
#[inline(always)]
pub fn this() -> &'static Cpu {
    // SAFETY: whoever switches to a stack first names its CPU there.
    unsafe { &*stack::info().cpu.load(Ordering::Relaxed) }
}

fn set(word: &AtomicU64) -> CpuSet {
    CpuSet(word.load(Ordering::SeqCst))
}

/// CPUs that run processes.
pub fn online() -> CpuSet {
    set(&ONLINE)
}

/// CPUs that have nothing to do.
pub fn idle() -> CpuSet {
    set(&IDLE)
}

/// CPUs that there are, running or not.
pub fn known() -> CpuSet {
    set(&KNOWN)
}

/// Notes that this CPU has nothing to do.
pub fn note_idle() {
    IDLE.fetch_or(CpuSet::one(this().id()).0, Ordering::SeqCst);
}

/// Notes that a CPU looks what there is to do.
pub fn note_busy(id: u32) {
    IDLE.fetch_and(!CpuSet::one(id).0, Ordering::SeqCst);
    CALLED.fetch_and(!CpuSet::one(id).0, Ordering::SeqCst);
}

/// Notes that an idle CPU is called to look; false if it was called already.
pub fn note_called(id: u32) -> bool {
    !CpuSet(CALLED.fetch_or(CpuSet::one(id).0, Ordering::SeqCst)).contains(id)
}

/// The CPUs that have a root table loaded, and may hold translations made from it.
pub fn using(root: Mfn) -> CpuSet {
    online().iter().filter(|&id| get(id).root.load(Ordering::Relaxed) == root.0).collect()
}

/// Makes the boot stack usable and this the first CPU.
///
/// # Safety
/// Called once, on the boot stack, before any other code of this kernel.
pub unsafe fn init_first() {
    let info = crate::arch::boot::boot_stack();
    // SAFETY: the lowest word of the boot stack, which is nearly empty.
    unsafe { info.set_canary() };
    let cpu = get(0);
    cpu.state.store(VcpuState::shared_slot(0), Ordering::Relaxed);
    cpu.stack.store(ptr::from_ref(info).cast_mut(), Ordering::Relaxed);
    cpu.wanted.store(true, Ordering::Relaxed);
    info.cpu.store(ptr::from_ref(cpu).cast_mut(), Ordering::Relaxed);
    ONLINE.store(1, Ordering::SeqCst);
    KNOWN.store(1, Ordering::SeqCst);
}
