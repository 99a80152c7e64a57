//! Kernel stacks. Each is aligned to its size and has a block at its top by which code finds its CPU and its process:
//! the kernel keeps FS and GS for the programs, so there is no register that could say.

use alloc::alloc::{Layout, alloc, dealloc};
use core::arch::asm;
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

use static_assertions::const_assert_eq;

use crate::cpu::Cpu;
use crate::errno::{Errno, Result};
use crate::process::Process;

/// Bytes in a kernel stack, and its alignment.
pub const STACK_SIZE: usize = 16 * 1024;

/// The block at the top of a stack. Entries from ring 3 put their frames right below it.
#[repr(C, align(16))]
pub struct StackInfo {
    /// The CPU that runs on the stack; stale while none does.
    pub cpu: AtomicPtr<Cpu>,
    /// The process whose stack it is; null for a CPU's own.
    pub process: AtomicPtr<Process>,
    /// RSP while the stack is not in use.
    pub saved_rsp: AtomicU64,
    /// What `getpid` answers here.
    pub pid: AtomicU32,
    /// Non-zero when something must happen before ring 3 runs again: a reschedule or a signal. One byte for both, so that
    /// the system call path pays for one test.
    pub work: AtomicU8,
}

/// From the end of a return frame to ring 3 to [`StackInfo::work`].
pub const WORK_OFFSET: usize = offset_of!(StackInfo, work);
/// Likewise to [`StackInfo::pid`].
pub const PID_OFFSET: usize = offset_of!(StackInfo, pid);

// The block keeps what is below it aligned to 16.
const_assert_eq!(size_of::<StackInfo>() % 16, 0);

impl StackInfo {
    const fn empty() -> Self {
        Self {
            cpu: AtomicPtr::new(ptr::null_mut()),
            process: AtomicPtr::new(ptr::null_mut()),
            saved_rsp: AtomicU64::new(0),
            pid: AtomicU32::new(0),
            work: AtomicU8::new(0),
        }
    }

    /// Where the stack's frames begin: RSP when it is empty.
    pub fn top(&self) -> u64 {
        ptr::from_ref(self) as u64
    }

    /// Lies at the stack's lowest address; overwritten when it overflows.
    fn canary(&self) -> *mut u64 {
        (self.top() & !(STACK_SIZE as u64 - 1)) as *mut u64
    }

    /// Marks the lowest word.
    ///
    /// # Safety
    /// Nothing else uses the stack's lowest word.
    pub unsafe fn set_canary(&self) {
        // SAFETY: the stack starts there, aligned to its size.
        unsafe { self.canary().write(CANARY) };
    }

    /// Panics when the stack has overflowed.
    pub fn check(&self) {
        // SAFETY: the stack's lowest word, written when it was made; nothing refers to it but an overflow.
        let canary = unsafe { self.canary().read_volatile() };
        assert!(canary == CANARY, "a kernel stack overflowed");
    }
}

const CANARY: u64 = 0x5ca1_ab1e_0ddb_a115;

/// The block of the stack this code runs on.
///
/// The reference is good as long as the stack is, which is as long as code that could use it runs.
#[inline(always)]
pub fn info() -> &'static StackInfo {
    let rsp: u64;
    // SAFETY: reads RSP.
    unsafe { asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack, preserves_flags)) };
    // SAFETY: every stack this kernel runs on is aligned to its size and ends with a block.
    unsafe { &*info_of(rsp) }
}

/// The block of the stack that holds an address.
pub const fn info_of(address: u64) -> *const StackInfo {
    ((address & !(STACK_SIZE as u64 - 1)) + (STACK_SIZE - size_of::<StackInfo>()) as u64) as *const StackInfo
}

/// A kernel stack on the heap.
pub struct KernelStack(NonNull<u8>);

// SAFETY: owned memory, used by whoever runs on it.
unsafe impl Send for KernelStack {}
// SAFETY: as above; shared references give only addresses and atomics.
unsafe impl Sync for KernelStack {}

impl KernelStack {
    const LAYOUT: Layout = match Layout::from_size_align(STACK_SIZE, STACK_SIZE) {
        Ok(layout) => layout,
        Err(_) => panic!("a fixed size and alignment"),
    };

    /// A stack that nothing runs on yet.
    pub fn new() -> Result<Self> {
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc(Self::LAYOUT) }).ok_or(Errno::ENOMEM)?;
        // SAFETY: the memory was just allocated, with this alignment; the block lies in it.
        unsafe {
            info_of(base.as_ptr() as u64).cast_mut().write(StackInfo::empty());
            let stack = Self(base);
            stack.info().set_canary();
            Ok(stack)
        }
    }

    /// Its block.
    pub fn info(&self) -> &StackInfo {
        // SAFETY: written in `new`, and only accessed through atomics since.
        unsafe { &*info_of(self.0.as_ptr() as u64) }
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; a stack is dropped after it was last run on.
        unsafe { dealloc(self.0.as_ptr(), Self::LAYOUT) };
    }
}
