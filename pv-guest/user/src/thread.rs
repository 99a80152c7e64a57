//! Threads of a program: they share its memory and its files. A thread must not allocate while others run: the heap is made
//! for one.

use crate::sys::{self, Result, nr};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU32, Ordering};

/// What a thread runs.
pub type Function = extern "C" fn(usize);

const STACK_SIZE: usize = 64 * 1024;
/// CLONE_VM, FS, FILES, SIGHAND, THREAD, CHILD_CLEARTID and CHILD_SETTID.
const FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x20_0000 | 0x100_0000;

/// A running thread. Dropping it does not end it; its stack then stays.
pub struct Thread {
    /// The lowest address of its stack, where the kernel clears a word when the thread ends.
    base: *mut u8,
    /// Its id.
    pub id: usize,
}

/// `clone` for a stack at whose top lie the function and its argument; the thread ends when the function returns.
#[unsafe(naked)]
unsafe extern "C" fn start(_flags: usize, _stack: usize, _parent_tid: usize, _child_tid: usize) -> isize {
    naked_asm!(
        "mov r10, rcx",
        "mov eax, {clone}",
        "syscall",
        "test rax, rax",
        "jz 2f",
        "ret",
        "2: xor ebp, ebp",
        "pop rax",
        "pop rdi",
        "call rax",
        "xor edi, edi",
        "mov eax, {exit}",
        "syscall",
        "ud2",
        clone = const nr::CLONE,
        exit = const nr::EXIT,
    )
}

/// Starts a thread.
pub fn spawn(function: Function, argument: usize) -> Result<Thread> {
    let base = sys::mmap_anonymous(STACK_SIZE, sys::PROT_READ | sys::PROT_WRITE)?;
    // SAFETY: fresh memory; both words lie in it, and the rest is the thread's stack, aligned to 16 after the two are
    // popped.
    let result = unsafe {
        let top = base.add(STACK_SIZE).cast::<usize>().sub(2);
        top.write(function as usize);
        top.add(1).write(argument);
        start(FLAGS, top as usize, 0, base as usize)
    };
    Ok(Thread { base, id: sys::check(result)? })
}

impl Thread {
    /// Waits until it has ended.
    pub fn join(self) -> Result<()> {
        // SAFETY: the word stays mapped until below, and the kernel writes it whole.
        let running = unsafe { AtomicU32::from_ptr(self.base.cast()) };
        loop {
            let id = running.load(Ordering::Acquire);
            if id == 0 {
                break;
            }
            // An early return only looks again.
            let _ = sys::futex_wait(running, id);
        }
        // SAFETY: the thread has ended, and nobody else has its stack.
        unsafe { sys::munmap(self.base, STACK_SIZE) }
    }
}

/// A lock that waits in the kernel: 0 free, 1 held, 2 held and waited for.
pub struct Lock(AtomicU32);

impl Lock {
    /// A free one.
    #[expect(clippy::new_without_default, reason = "made once, in a static")]
    pub const fn new() -> Lock {
        Lock(AtomicU32::new(0))
    }

    /// Runs something that no other thread may run meanwhile.
    pub fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        if self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.0.swap(2, Ordering::Acquire) != 0 {
                // An early return only looks again.
                let _ = sys::futex_wait(&self.0, 2);
            }
        }
        let value = f();
        if self.0.swap(0, Ordering::Release) == 2 {
            let _ = sys::futex_wake(&self.0, 1);
        }
        value
    }
}
