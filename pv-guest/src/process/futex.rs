//! Futexes: waiting until another thread has changed a word.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Mutex;

use super::{Process, current, current_arc, sched, signal, timer};
use crate::errno::{Errno, Result};
use crate::mm::table::held_frame;
use crate::mm::user;
use crate::time::monotonic_ns;

/// What tells one word from another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// In memory of one address space.
    Private(usize, u64),
    /// In memory that processes share: the frame, and the place in it.
    Shared(u64, u64),
}

static WAITERS: Mutex<Vec<(Key, Arc<Process>)>> = Mutex::new(Vec::new());

/// The key of a word that has just been read.
fn key(addr: u64) -> Result<Key> {
    let process = current();
    let space = process.space.lock();
    let (_, area) = space.areas().find(addr).ok_or(Errno::EFAULT)?;
    if !area.shared {
        return Ok(Key::Private(Arc::as_ptr(&process.space) as usize, addr));
    }
    let leaf = space.root().leaf(addr).ok_or(Errno::EFAULT)?;
    let frame = held_frame(leaf.entry).ok_or(Errno::EFAULT)?;
    Ok(Key::Shared(frame.0, addr % 4096))
}

fn read(addr: u64) -> Result<u32> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    user::read(addr)
}

/// Waits while the word holds a value, until it is woken, or until a monotonic time.
pub fn wait(addr: u64, expected: u32, deadline: Option<u64>) -> Result<()> {
    if read(addr)? != expected {
        return Err(Errno::EAGAIN);
    }
    let key = key(addr)?;
    let me = current().pid;
    WAITERS.lock().push((key, current_arc()));
    let result = loop {
        if !WAITERS.lock().iter().any(|(_, waiter)| waiter.pid == me) {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| monotonic_ns() >= deadline) {
            break Err(Errno::ETIMEDOUT);
        }
        if signal::pending_interrupt() {
            break Err(Errno::EINTR);
        }
        let timer = deadline.map(timer::add);
        sched::block();
        if let Some(timer) = timer {
            timer::cancel(timer);
        }
    };
    WAITERS.lock().retain(|(_, waiter)| waiter.pid != me);
    result
}

/// Wakes up to `count` of those that wait for a word, the longest waiting first; gives how many there were.
pub fn wake(addr: u64, count: usize) -> Result<u64> {
    read(addr)?;
    let key = key(addr)?;
    let mut woken = Vec::new();
    WAITERS.lock().retain(|(its, waiter)| {
        let chosen = *its == key && woken.len() < count;
        if chosen {
            woken.push(waiter.clone());
        }
        !chosen
    });
    woken.iter().for_each(sched::wake);
    Ok(woken.len() as u64)
}
