//! System calls: the raw instruction and the wrappers the programs use. Numbers and structures are those
//! of Linux on x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`), so the programs also run there.

use crate::Errno;
use core::arch::asm;
use core::ffi::CStr;
use core::sync::atomic::AtomicU32;

/// Result of a system call.
pub type Result<T> = core::result::Result<T, Errno>;

/// Linux x86-64 system call numbers.
pub mod nr {
    #![allow(missing_docs)]
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const OPEN: usize = 2;
    pub const CLOSE: usize = 3;
    pub const LSEEK: usize = 8;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const BRK: usize = 12;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGRETURN: usize = 15;
    pub const IOCTL: usize = 16;
    pub const PIPE: usize = 22;
    pub const SCHED_YIELD: usize = 24;
    pub const DUP: usize = 32;
    pub const DUP2: usize = 33;
    pub const NANOSLEEP: usize = 35;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const FORK: usize = 57;
    pub const EXECVE: usize = 59;
    pub const EXIT: usize = 60;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const GETCWD: usize = 79;
    pub const CHDIR: usize = 80;
    pub const MKDIR: usize = 83;
    pub const RMDIR: usize = 84;
    pub const UNLINK: usize = 87;
    pub const SETPGID: usize = 109;
    pub const GETPPID: usize = 110;
    pub const GETPGRP: usize = 111;
    pub const SETSID: usize = 112;
    pub const REBOOT: usize = 169;
    pub const GETTID: usize = 186;
    pub const FUTEX: usize = 202;
    pub const SCHED_SETAFFINITY: usize = 203;
    pub const SCHED_GETAFFINITY: usize = 204;
    pub const GETDENTS64: usize = 217;
    pub const CLOCK_GETTIME: usize = 228;
    pub const CLOCK_NANOSLEEP: usize = 230;
    pub const EXIT_GROUP: usize = 231;
    pub const GETCPU: usize = 309;
}

/// Performs a system call with up to six arguments.
///
/// # Safety
/// The arguments must be valid for the call: the kernel reads and writes memory through pointers among
/// them, and some calls change the caller's address space.
#[inline(always)]
pub unsafe fn syscall(number: usize, args: [usize; 6]) -> Result<usize> {
    let ret: isize;
    // SAFETY: the caller vouches for the arguments; RCX and R11 are the registers the call destroys.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => ret,
             in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
             in("r10") args[3], in("r8") args[4], in("r9") args[5],
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    check(ret)
}

/// Splits the kernel's return value: -4095 to -1 are error numbers.
pub fn check(ret: isize) -> Result<usize> {
    if (-4095..0).contains(&ret) { Err(Errno(-ret as i32)) } else { Ok(ret as usize) }
}

/// `syscall` for calls whose arguments are plain numbers that touch no memory of ours.
fn plain(number: usize, a: usize, b: usize, c: usize) -> Result<usize> {
    // SAFETY: private; every use passes numbers the kernel treats as values, or pointers whose validity the
    // wrapper's own types guarantee.
    unsafe { syscall(number, [a, b, c, 0, 0, 0]) }
}

/// Open for reading.
pub const O_RDONLY: usize = 0;
/// Open for writing.
pub const O_WRONLY: usize = 1;
/// Create when absent.
pub const O_CREAT: usize = 0o100;
/// Empty the file first.
pub const O_TRUNC: usize = 0o1000;
/// Write at the end.
pub const O_APPEND: usize = 0o2000;
/// The path must be a directory.
pub const O_DIRECTORY: usize = 0o200000;

/// Reads into `buf`; 0 is end of file.
pub fn read(fd: usize, buf: &mut [u8]) -> Result<usize> {
    plain(nr::READ, fd, buf.as_mut_ptr() as usize, buf.len())
}

/// Writes some of `buf`.
pub fn write(fd: usize, buf: &[u8]) -> Result<usize> {
    plain(nr::WRITE, fd, buf.as_ptr() as usize, buf.len())
}

/// Opens a path.
pub fn open(path: &CStr, flags: usize, mode: usize) -> Result<usize> {
    plain(nr::OPEN, path.as_ptr() as usize, flags, mode)
}

/// Closes a descriptor.
pub fn close(fd: usize) -> Result<()> {
    plain(nr::CLOSE, fd, 0, 0).map(drop)
}

/// Makes a pipe: (read end, write end).
pub fn pipe() -> Result<(usize, usize)> {
    let mut fds = [0i32; 2];
    plain(nr::PIPE, fds.as_mut_ptr() as usize, 0, 0)?;
    Ok((fds[0] as usize, fds[1] as usize))
}

/// Makes `new` refer to what `old` refers to.
pub fn dup2(old: usize, new: usize) -> Result<()> {
    plain(nr::DUP2, old, new, 0).map(drop)
}

/// Copies this process: 0 in the child, the child's id in the parent.
pub fn fork() -> Result<usize> {
    plain(nr::FORK, 0, 0, 0)
}

/// Replaces the program. `argv` and `envp` are null-terminated arrays of C strings.
///
/// # Safety
/// Both arrays must end with a null pointer, and their strings must be live and null-terminated.
pub unsafe fn execve(path: &CStr, argv: *const *const u8, envp: *const *const u8) -> Errno {
    match plain(nr::EXECVE, path.as_ptr() as usize, argv as usize, envp as usize) {
        Err(error) => error,
        Ok(_) => Errno::EIO,
    }
}

/// Ends the process.
pub fn exit(code: i32) -> ! {
    loop {
        let _ = plain(nr::EXIT_GROUP, code as usize, 0, 0);
    }
}

/// Do not block (`wait4`).
pub const WNOHANG: usize = 1;

/// Waits for a child (`pid` -1: any): (its id, raw status). The id is 0 when `WNOHANG` found none.
pub fn wait4(pid: isize, options: usize) -> Result<(usize, i32)> {
    let mut status = 0i32;
    let pid = plain(nr::WAIT4, pid as usize, &raw mut status as usize, options)?;
    Ok((pid, status))
}

/// Sends a signal.
pub fn kill(pid: isize, signal: usize) -> Result<()> {
    plain(nr::KILL, pid as usize, signal, 0).map(drop)
}

/// This process's id.
pub fn getpid() -> usize {
    plain(nr::GETPID, 0, 0, 0).unwrap_or(0)
}

/// The parent's id.
pub fn getppid() -> usize {
    plain(nr::GETPPID, 0, 0, 0).unwrap_or(0)
}

/// This process's group.
pub fn getpgrp() -> usize {
    plain(nr::GETPGRP, 0, 0, 0).unwrap_or(0)
}

/// Moves a process (0: this one) to a group (0: its own).
pub fn setpgid(pid: usize, group: usize) -> Result<()> {
    plain(nr::SETPGID, pid, group, 0).map(drop)
}

/// Starts a session led by this process.
pub fn setsid() -> Result<usize> {
    plain(nr::SETSID, 0, 0, 0)
}

/// Lets others run.
pub fn sched_yield() {
    let _ = plain(nr::SCHED_YIELD, 0, 0, 0);
}

/// `struct timespec`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds below one second.
    pub nsec: i64,
}

/// Sleeps for a number of nanoseconds.
pub fn sleep_ns(ns: u64) -> Result<()> {
    let time = Timespec { sec: (ns / 1_000_000_000) as i64, nsec: (ns % 1_000_000_000) as i64 };
    plain(nr::NANOSLEEP, &raw const time as usize, 0, 0).map(drop)
}

/// Sleeps until a time of the monotonic clock, in nanoseconds.
pub fn sleep_until(ns: u64) -> Result<()> {
    const MONOTONIC: usize = 1;
    const ABSOLUTE: usize = 1;
    let time = Timespec { sec: (ns / 1_000_000_000) as i64, nsec: (ns % 1_000_000_000) as i64 };
    let args = [MONOTONIC, ABSOLUTE, &raw const time as usize, 0, 0, 0];
    // SAFETY: the kernel only reads the time, which lives until the call returns.
    unsafe { syscall(nr::CLOCK_NANOSLEEP, args) }.map(drop)
}

/// This thread's id.
pub fn gettid() -> usize {
    plain(nr::GETTID, 0, 0, 0).unwrap_or(0)
}

/// The CPU this runs on.
pub fn getcpu() -> usize {
    let mut cpu = 0u32;
    let _ = plain(nr::GETCPU, &raw mut cpu as usize, 0, 0);
    cpu as usize
}

/// The CPUs this thread may run on, a bit each.
pub fn affinity() -> u64 {
    let mut mask = 0u64;
    let _ = plain(nr::SCHED_GETAFFINITY, 0, size_of::<u64>(), &raw mut mask as usize);
    mask
}

/// Keeps this thread to some CPUs.
pub fn set_affinity(mask: u64) -> Result<()> {
    plain(nr::SCHED_SETAFFINITY, 0, size_of::<u64>(), &raw const mask as usize).map(drop)
}

/// Waits while a word holds a value, until another thread wakes those that wait for it. May return early.
pub fn futex_wait(word: &AtomicU32, value: u32) -> Result<()> {
    const WAIT: usize = 0;
    let args = [word.as_ptr() as usize, WAIT, value as usize, 0, 0, 0];
    // SAFETY: the word is valid, and accessed atomically by both sides.
    unsafe { syscall(nr::FUTEX, args) }.map(drop)
}

/// Wakes up to `count` threads that wait for a word; gives how many there were.
pub fn futex_wake(word: &AtomicU32, count: usize) -> Result<usize> {
    const WAKE: usize = 1;
    plain(nr::FUTEX, word.as_ptr() as usize, WAKE, count)
}

/// The monotonic clock in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let mut time = Timespec::default();
    let _ = plain(nr::CLOCK_GETTIME, 1, &raw mut time as usize, 0);
    time.sec as u64 * 1_000_000_000 + time.nsec as u64
}

/// Changes the working directory.
pub fn chdir(path: &CStr) -> Result<()> {
    plain(nr::CHDIR, path.as_ptr() as usize, 0, 0).map(drop)
}

/// Writes the working directory, null-terminated, into `buf`; returns its length with the null.
pub fn getcwd(buf: &mut [u8]) -> Result<usize> {
    plain(nr::GETCWD, buf.as_mut_ptr() as usize, buf.len(), 0)
}

/// Removes a file.
pub fn unlink(path: &CStr) -> Result<()> {
    plain(nr::UNLINK, path.as_ptr() as usize, 0, 0).map(drop)
}

/// Makes a directory.
pub fn mkdir(path: &CStr, mode: usize) -> Result<()> {
    plain(nr::MKDIR, path.as_ptr() as usize, mode, 0).map(drop)
}

/// Removes an empty directory.
pub fn rmdir(path: &CStr) -> Result<()> {
    plain(nr::RMDIR, path.as_ptr() as usize, 0, 0).map(drop)
}

/// Reads directory records (`struct linux_dirent64`) into `buf`; 0 is the end.
pub fn getdents64(fd: usize, buf: &mut [u8]) -> Result<usize> {
    plain(nr::GETDENTS64, fd, buf.as_mut_ptr() as usize, buf.len())
}

/// Makes `group` the terminal's foreground group.
pub fn set_foreground(fd: usize, group: usize) -> Result<()> {
    const TIOCSPGRP: usize = 0x5410;
    let group = group as i32;
    plain(nr::IOCTL, fd, TIOCSPGRP, &raw const group as usize).map(drop)
}

/// Page can be read.
pub const PROT_READ: usize = 1;
/// Page can be written.
pub const PROT_WRITE: usize = 2;

/// Maps fresh private zeroed memory.
pub fn mmap_anonymous(length: usize, protection: usize) -> Result<*mut u8> {
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: address 0 without MAP_FIXED takes memory nobody uses.
    let at = unsafe { syscall(nr::MMAP, [0, length, protection, PRIVATE_ANONYMOUS, usize::MAX, 0])? };
    Ok(at as *mut u8)
}

/// Maps fresh zeroed memory that children share.
pub fn mmap_shared(length: usize, protection: usize) -> Result<*mut u8> {
    const SHARED_ANONYMOUS: usize = 0x21;
    // SAFETY: address 0 without MAP_FIXED takes memory nobody uses.
    let at = unsafe { syscall(nr::MMAP, [0, length, protection, SHARED_ANONYMOUS, usize::MAX, 0])? };
    Ok(at as *mut u8)
}

/// Maps a file's bytes read-only and private.
pub fn mmap_file(fd: usize, length: usize) -> Result<*const u8> {
    const PRIVATE: usize = 0x02;
    // SAFETY: address 0 without MAP_FIXED takes memory nobody uses.
    let at = unsafe { syscall(nr::MMAP, [0, length, PROT_READ, PRIVATE, fd, 0])? };
    Ok(at as *const u8)
}

/// Removes a mapping.
///
/// # Safety
/// Nothing may use the memory afterwards.
pub unsafe fn munmap(at: *const u8, length: usize) -> Result<()> {
    plain(nr::MUNMAP, at as usize, length, 0).map(drop)
}

/// Changes the protection of whole pages.
///
/// # Safety
/// No live reference may rely on the permission taken away.
pub unsafe fn mprotect(at: *const u8, length: usize, protection: usize) -> Result<()> {
    plain(nr::MPROTECT, at as usize, length, protection).map(drop)
}

/// Sets the end of the heap (0: asks); returns where it is now.
///
/// # Safety
/// Moving it down takes memory away; only the allocator and a program without one may move it.
pub unsafe fn brk(end: usize) -> usize {
    plain(nr::BRK, end, 0, 0).unwrap_or(0)
}

/// What `reboot` shall do: `LINUX_REBOOT_CMD_*`.
pub mod reboot_command {
    /// Restart.
    pub const RESTART: usize = 0x0123_4567;
    /// Power off.
    pub const POWER_OFF: usize = 0x4321_fedc;
}

/// Stops or restarts the machine.
pub fn reboot(command: usize) -> Errno {
    match plain(nr::REBOOT, 0xfee1_dead, 672_274_793, command) {
        Err(error) => error,
        Ok(_) => Errno::EIO,
    }
}
