//! Pipes.

use crate::errno::{Errno, Result};
use crate::mm::heap;
use crate::process::wait::WaitQueue;
use crate::process::{self, signal};
use alloc::sync::Arc;
use pv_guest_logic::ring::Ring;
use spin::Mutex;

/// Bytes a pipe holds.
pub const CAPACITY: usize = 16 * 1024;
/// A write up to this size is never mixed with another's (POSIX).
pub const PIPE_BUF: usize = 4096;

struct State {
    bytes: Ring,
    readers: usize,
    writers: usize,
}

struct Pipe {
    state: Mutex<State>,
    readable: WaitQueue,
    writable: WaitQueue,
}

/// One end; dropping the last of a kind tells the other side.
pub struct End {
    pipe: Arc<Pipe>,
    write: bool,
}

/// A pipe: read end, write end.
pub fn new() -> Result<(End, End)> {
    heap::reserve(CAPACITY + size_of::<Pipe>())?;
    let pipe = Arc::new(Pipe {
        state: Mutex::new(State { bytes: Ring::new(CAPACITY), readers: 1, writers: 1 }),
        readable: WaitQueue::new(),
        writable: WaitQueue::new(),
    });
    Ok((End { pipe: pipe.clone(), write: false }, End { pipe, write: true }))
}

/// Wakes who waits for any of many files.
fn changed(queue: &WaitQueue) {
    queue.wake_all();
    crate::syscall::poll::wake();
}

impl End {
    /// Whether this is the end that writes.
    pub fn is_writer(&self) -> bool {
        self.write
    }

    /// Reads what is there, waiting for the first byte; 0 when nobody can write any more.
    pub fn read(&self, buf: &mut [u8], nonblocking: bool) -> Result<usize> {
        if self.write {
            return Err(Errno::EBADF);
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let count = self.pipe.readable.wait_until(|| {
            let mut state = self.pipe.state.lock();
            match state.bytes.pop(buf) {
                0 if state.writers == 0 => Some(Ok(0)),
                0 if nonblocking => Some(Err(Errno::EAGAIN)),
                0 => None,
                count => Some(Ok(count)),
            }
        })??;
        changed(&self.pipe.writable);
        Ok(count)
    }

    /// Writes everything, waiting for room.
    pub fn write(&self, bytes: &[u8], nonblocking: bool) -> Result<usize> {
        if !self.write {
            return Err(Errno::EBADF);
        }
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let needed = if bytes.len() <= PIPE_BUF { rest.len() } else { 1 };
            let result = self.pipe.writable.wait_until(|| {
                let mut state = self.pipe.state.lock();
                if state.readers == 0 {
                    Some(Err(Errno::EPIPE))
                } else if state.bytes.space() >= needed {
                    Some(Ok(state.bytes.push(rest)))
                } else {
                    nonblocking.then_some(Err(Errno::EAGAIN))
                }
            });
            match result.unwrap_or_else(Err) {
                Ok(count) => {
                    done += count;
                    changed(&self.pipe.readable);
                }
                Err(Errno::EPIPE) => {
                    signal::send_pid(process::current().pid, signal::SIGPIPE)?;
                    return Err(Errno::EPIPE);
                }
                // What has gone through counts.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Bytes waiting to be read.
    pub fn queued(&self) -> usize {
        self.pipe.state.lock().bytes.len()
    }

    /// (readable, writable, other side gone), for `poll`.
    pub fn readiness(&self) -> (bool, bool, bool) {
        let state = self.pipe.state.lock();
        if self.write {
            (false, state.bytes.space() >= PIPE_BUF, state.readers == 0)
        } else {
            (!state.bytes.is_empty(), false, state.writers == 0)
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        let queue = if self.write {
            state.writers -= 1;
            &self.pipe.readable
        } else {
            state.readers -= 1;
            &self.pipe.writable
        };
        drop(state);
        changed(queue);
    }
}
