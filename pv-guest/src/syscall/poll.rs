//! Waiting for one of several files.

use super::rw::open_file;
use super::time::{deadline_after, read_timespec};
use crate::errno::{Errno, Result};
use crate::fs::OpenFile;
use crate::mm::user;
use crate::process::wait::WaitQueue;
use alloc::sync::Arc;
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const POLLIN: i16 = 0x001;
const POLLOUT: i16 = 0x004;
const POLLERR: i16 = 0x008;
const POLLHUP: i16 = 0x010;
const POLLNVAL: i16 = 0x020;

/// Everybody who waits for several files; any change wakes all, and each looks for itself.
static WAITING: WaitQueue = WaitQueue::new();

/// Tells that a pipe or the terminal has changed.
pub fn wake() {
    WAITING.wake_all();
}

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

/// What of `events` holds; errors and hang-ups are told unasked.
fn state_of(file: &OpenFile, events: i16) -> i16 {
    let (readable, writable, gone) = file.readiness();
    let mut state = 0;
    if readable {
        state |= events & POLLIN;
    }
    if writable {
        state |= events & POLLOUT;
    }
    if gone {
        // A reader sees the end, a writer an error.
        let writer = matches!(&file.object, crate::fs::Object::Pipe(end) if end.is_writer());
        state |= if writer { POLLERR } else { POLLHUP };
    }
    state
}

/// Waits until `look` counts something or the time is over.
fn wait(deadline: Option<u64>, mut look: impl FnMut() -> usize) -> Result<usize> {
    let attempt = || match look() {
        0 => None,
        count => Some(count),
    };
    match deadline {
        Some(deadline) => Ok(WAITING.wait_until_deadline(deadline, attempt)?.unwrap_or(0)),
        None => WAITING.wait_until(attempt),
    }
}

/// Milliseconds as `poll` takes them: negative waits for good, 0 does not wait.
fn deadline_of_ms(ms: i32) -> Option<u64> {
    match ms {
        0 => Some(0),
        ms if ms < 0 => None,
        ms => Some(deadline_after(ms as u64 * 1_000_000)),
    }
}

fn deadline_of_timespec(addr: u64) -> Result<Option<u64>> {
    match addr {
        0 => Ok(None),
        addr => Ok(Some(match read_timespec(addr)? {
            0 => 0,
            ns => deadline_after(ns),
        })),
    }
}

/// `poll`.
pub fn poll(addr: u64, count: u64, ms: u64) -> Result<u64> {
    poll_until(addr, count, deadline_of_ms(ms as i32))
}

/// `ppoll`; the signal mask is not changed.
pub fn ppoll(addr: u64, count: u64, timeout: u64, _mask: u64, _size: u64) -> Result<u64> {
    poll_until(addr, count, deadline_of_timespec(timeout)?)
}

fn poll_until(addr: u64, count: u64, deadline: Option<u64>) -> Result<u64> {
    if count > crate::fs::MAX_FILES as u64 {
        return Err(Errno::EINVAL);
    }
    let at = |index: usize| addr + (index * size_of::<PollFd>()) as u64;
    let mut fds: Vec<PollFd> =
        (0..count as usize).map(|index| user::read(at(index))).collect::<Result<_>>()?;
    let files: Vec<Option<Arc<OpenFile>>> = fds.iter().map(|it| open_file(it.fd as u64).ok()).collect();
    let found = wait(deadline, || {
        for (it, file) in fds.iter_mut().zip(&files) {
            it.revents = match file {
                _ if it.fd < 0 => 0,
                Some(file) => state_of(file, it.events),
                None => POLLNVAL,
            };
        }
        fds.iter().filter(|it| it.revents != 0).count()
    })?;
    for (index, it) in fds.iter().enumerate() {
        user::write(at(index), it)?;
    }
    Ok(found as u64)
}

/// `select`.
pub fn select(count: u64, read: u64, write: u64, except: u64, timeout: u64) -> Result<u64> {
    let deadline = match timeout {
        0 => None,
        addr => {
            let [seconds, micros] = user::read::<[i64; 2]>(addr)?;
            if seconds < 0 || !(0..1_000_000).contains(&micros) {
                return Err(Errno::EINVAL);
            }
            Some(match (seconds as u64).saturating_mul(1_000_000_000).saturating_add(micros as u64 * 1000) {
                0 => 0,
                ns => deadline_after(ns),
            })
        }
    };
    select_until(count, [read, write, except], deadline)
}

/// `pselect6`; the signal mask is not changed.
pub fn pselect6(count: u64, read: u64, write: u64, except: u64, timeout: u64, _mask: u64) -> Result<u64> {
    select_until(count, [read, write, except], deadline_of_timespec(timeout)?)
}

/// A set of descriptors.
type Set = [u64; crate::fs::MAX_FILES / 64];

fn select_until(count: u64, addrs: [u64; 3], deadline: Option<u64>) -> Result<u64> {
    if count > crate::fs::MAX_FILES as u64 {
        return Err(Errno::EINVAL);
    }
    let words = (count as usize).div_ceil(64);
    let mut wanted = [Set::default(); 3];
    for (set, addr) in wanted.iter_mut().zip(addrs) {
        if addr != 0 {
            user::read_bytes(set[..words].as_mut_bytes(), addr)?;
        }
    }
    let has = |set: &Set, fd: usize| set[fd / 64] >> (fd % 64) & 1 != 0;
    let mut watched = Vec::new();
    for fd in 0..count as usize {
        if wanted.iter().any(|set| has(set, fd)) {
            watched.push((fd, open_file(fd as u64)?));
        }
    }
    let mut result = [Set::default(); 3];
    let found = wait(deadline, || {
        result = [Set::default(); 3];
        let mut found = 0;
        for (fd, file) in &watched {
            let state = state_of(file, POLLIN | POLLOUT);
            // An end or an error does not block, so it counts as ready.
            let ready = [state & (POLLIN | POLLHUP) != 0, state & (POLLOUT | POLLERR) != 0, false];
            for ((set, want), ready) in result.iter_mut().zip(&wanted).zip(ready) {
                if ready && has(want, *fd) {
                    set[fd / 64] |= 1 << (fd % 64);
                    found += 1;
                }
            }
        }
        found
    })?;
    for (set, addr) in result.iter().zip(addrs) {
        if addr != 0 {
            user::write_bytes(addr, set[..words].as_bytes())?;
        }
    }
    Ok(found as u64)
}
