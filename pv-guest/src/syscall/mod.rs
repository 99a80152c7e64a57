//! System calls: one table by Linux's x86-64 numbers (arch/x86/entry/syscalls/syscall_64.tbl). Both entries
//! index it, `syscall` and `int 0x80`.

mod file;
pub mod info;
mod ioctl;
mod memory;
mod open;
mod path;
pub mod poll;
mod process;
mod rw;
mod signal;
mod time;

use crate::arch::entry::{Handler, SYSCALL_SLOTS};
use crate::arch::frame::Frame;
use crate::cpu;
use crate::errno::{Errno, to_ret};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Turns a function of up to six numbers that returns a `Result<u64>` into a table entry.
macro_rules! plain {
    ($function:path, $($used:ident)* ; $($unused:ident)*) => {{
        unsafe extern "C" fn handler($($used: u64,)* $($unused: u64,)*) -> i64 {
            let _lock = cpu::lock::enter();
            to_ret($function($($used),*))
        }
        handler as Handler
    }};
}

/// One row of the table: number, argument count, function; or number, `frame`, stub.
macro_rules! row {
    ($table:ident, $number:literal, 0, $f:path) => { $table[$number] = plain!($f, ; _a _b _c _d _e _f); };
    ($table:ident, $number:literal, 1, $f:path) => { $table[$number] = plain!($f, a ; _b _c _d _e _f); };
    ($table:ident, $number:literal, 2, $f:path) => { $table[$number] = plain!($f, a b ; _c _d _e _f); };
    ($table:ident, $number:literal, 3, $f:path) => { $table[$number] = plain!($f, a b c ; _d _e _f); };
    ($table:ident, $number:literal, 4, $f:path) => { $table[$number] = plain!($f, a b c d ; _e _f); };
    ($table:ident, $number:literal, 5, $f:path) => { $table[$number] = plain!($f, a b c d e ; _f); };
    ($table:ident, $number:literal, 6, $f:path) => { $table[$number] = plain!($f, a b c d e f ;); };
    ($table:ident, $number:literal, frame, $f:path) => { $table[$number] = $f; };
}

macro_rules! syscalls {
    ($($number:literal $arity:tt $function:path;)*) => {{
        let mut table: [Handler; SYSCALL_SLOTS] = [unknown_stub; SYSCALL_SLOTS];
        $(row!(table, $number, $arity, $function);)*
        table
    }};
}

/// What the entry code calls, by system call number.
#[unsafe(no_mangle)]
pub static SYSCALL_TABLE: [Handler; SYSCALL_SLOTS] = syscalls! {
    0 3 rw::read;
    1 3 rw::write;
    2 3 open::open;
    3 1 open::close;
    4 2 path::stat;
    5 2 file::fstat;
    6 2 path::lstat;
    7 3 poll::poll;
    8 3 rw::lseek;
    9 6 memory::mmap;
    10 3 memory::mprotect;
    11 2 memory::munmap;
    12 1 memory::brk;
    13 4 signal::rt_sigaction;
    14 4 signal::rt_sigprocmask;
    15 frame signal::rt_sigreturn_stub;
    16 3 ioctl::ioctl;
    17 4 rw::pread64;
    18 4 rw::pwrite64;
    19 3 rw::readv;
    20 3 rw::writev;
    21 2 path::access;
    22 1 open::pipe;
    23 5 poll::select;
    24 0 process::sched_yield;
    25 5 memory::mremap;
    26 3 memory::msync;
    28 3 memory::madvise;
    32 1 open::dup;
    33 2 open::dup2;
    34 0 signal::pause;
    35 2 time::nanosleep;
    39 frame crate::process::getpid_handler;
    40 4 rw::sendfile;
    56 frame process::clone_stub;
    57 frame process::fork_stub;
    58 frame process::vfork_stub;
    59 frame process::execve_stub;
    60 1 process::exit;
    61 4 process::wait4;
    62 2 signal::kill;
    63 1 info::uname;
    72 3 file::fcntl;
    74 1 file::fsync;
    75 1 file::fsync;
    76 2 path::truncate;
    77 2 file::ftruncate;
    79 2 path::getcwd;
    80 1 path::chdir;
    81 1 path::fchdir;
    82 2 path::rename;
    83 2 path::mkdir;
    84 1 path::rmdir;
    85 2 open::creat;
    86 2 path::link;
    87 1 path::unlink;
    88 2 path::symlink;
    89 3 path::readlink;
    90 2 path::chmod;
    91 2 file::fchmod;
    92 3 path::chown;
    93 3 file::fchown;
    94 3 path::chown;
    95 1 file::umask;
    96 2 time::gettimeofday;
    97 2 info::getrlimit;
    98 2 info::getrusage;
    99 1 info::sysinfo;
    100 1 time::times;
    102 0 info::getuid;
    104 0 info::getuid;
    105 1 info::setuid;
    106 1 info::setuid;
    107 0 info::getuid;
    108 0 info::getuid;
    109 2 process::setpgid;
    110 0 process::getppid;
    111 0 process::getpgrp;
    112 0 process::setsid;
    115 2 info::getgroups;
    121 1 process::getpgid;
    124 1 process::getsid;
    130 2 signal::rt_sigsuspend;
    137 2 path::statfs;
    138 2 file::fstatfs;
    157 5 info::prctl;
    158 2 process::arch_prctl;
    162 0 file::sync;
    169 4 info::reboot;
    186 0 process::gettid;
    200 2 signal::kill;
    201 1 time::time;
    202 6 process::futex;
    203 3 process::sched_setaffinity;
    204 3 process::sched_getaffinity;
    217 3 file::getdents64;
    218 1 process::set_tid_address;
    228 2 time::clock_gettime;
    229 2 time::clock_getres;
    230 4 time::clock_nanosleep;
    231 1 process::exit_group;
    234 3 signal::tgkill;
    257 4 open::openat;
    258 3 path::mkdirat;
    260 5 path::fchownat;
    262 4 path::newfstatat;
    263 3 path::unlinkat;
    264 4 path::renameat;
    266 3 path::symlinkat;
    267 4 path::readlinkat;
    268 3 path::fchmodat;
    269 3 path::faccessat;
    270 6 poll::pselect6;
    271 5 poll::ppoll;
    273 2 process::set_robust_list;
    280 4 path::utimensat;
    292 3 open::dup3;
    293 2 open::pipe2;
    302 4 info::prlimit64;
    309 3 process::getcpu;
    316 5 path::renameat2;
    318 3 info::getrandom;
    436 3 open::close_range;
    439 4 path::faccessat2;
};

crate::full_frame_handler!(unknown_stub, unknown);

/// Numbers already reported.
static REPORTED: [AtomicU64; SYSCALL_SLOTS / 64] = [const { AtomicU64::new(0) }; SYSCALL_SLOTS / 64];

extern "C" fn unknown(frame: &mut Frame) -> i64 {
    let number = frame.rax as usize;
    let bit = 1 << (number % 64);
    let seen = REPORTED.get(number / 64).is_none_or(|word| word.fetch_or(bit, Relaxed) & bit != 0);
    if !seen {
        log::debug!("system call {number} is not known here: ENOSYS");
    }
    -i64::from(Errno::ENOSYS.0)
}
