//! The terminal: the PV console behind the line discipline. One terminal, one foreground group.

use crate::console;
use crate::console::Console;
use crate::errno::{Errno, Result};
use crate::process::wait::WaitQueue;
use crate::process::{self, signal};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use pv_guest_logic::line::{Line, Signal};
use pv_guest_logic::termios::{Termios, cc};
use spin::Mutex;

static LINE: Mutex<Line> = Mutex::new(Line::new());
static READABLE: WaitQueue = WaitQueue::new();
/// The foreground process group; 0 before anybody set one.
static FOREGROUND: AtomicU32 = AtomicU32::new(0);
/// Rows and columns, one in each half.
static WINDOW: AtomicU32 = AtomicU32::new(24 << 16 | 80);

/// Starts taking keys from the console.
pub fn init() {
    console::set_input_hook(input);
}

/// Keys, in event context. Events come only while ring 3 runs or the CPU waits, so no lock is held by anyone.
fn input(bytes: &[u8]) {
    for byte in bytes {
        let signal = LINE.lock().input(*byte, &mut console::write);
        let number = match signal {
            Some(Signal::Interrupt) => signal::SIGINT,
            Some(Signal::Quit) => signal::SIGQUIT,
            // Processes do not stop: there is nothing to do for Ctrl-Z.
            Some(Signal::Suspend) | None => continue,
        };
        let group = foreground();
        if group != 0 {
            // A group that has just ended needs no signal.
            let _ = signal::send_group(group, number);
        }
    }
    READABLE.wake_all();
    crate::syscall::poll::wake();
}

/// The foreground process group.
pub fn foreground() -> u32 {
    FOREGROUND.load(Relaxed)
}

/// Makes a group the foreground one.
pub fn set_foreground(group: u32) {
    FOREGROUND.store(group, Relaxed);
}

/// Whether a read would return at once.
pub fn readable() -> bool {
    LINE.lock().readable()
}

/// Bytes that can be read.
pub fn queued() -> usize {
    LINE.lock().queued()
}

/// The settings.
pub fn termios() -> Termios {
    LINE.lock().termios
}

/// Changes the settings; `flush` drops what was typed before.
pub fn set_termios(termios: Termios, flush: bool) {
    let mut line = LINE.lock();
    if flush {
        line.flush();
    }
    line.set_termios(termios);
    drop(line);
    READABLE.wake_all();
}

/// Drops what was typed.
pub fn flush() {
    LINE.lock().flush();
}

/// Rows and columns.
pub fn window() -> (u16, u16) {
    let both = WINDOW.load(Relaxed);
    ((both >> 16) as u16, both as u16)
}

/// Sets rows and columns.
pub fn set_window(rows: u16, columns: u16) {
    WINDOW.store(u32::from(rows) << 16 | u32::from(columns), Relaxed);
}

/// Reads a line, or bytes in raw mode, waiting for them. A background process must not take the foreground's
/// input; since processes do not stop, it gets EIO, as one that ignores SIGTTIN does.
pub fn read(buf: &mut [u8], nonblocking: bool) -> Result<usize> {
    let group = foreground();
    if group != 0 && process::current().pgid() != group {
        return Err(Errno::EIO);
    }
    let mut attempt = || LINE.lock().read(buf);
    if nonblocking {
        return attempt().ok_or(Errno::EAGAIN);
    }
    let settings = termios();
    if settings.canonical() || settings.cc[cc::VMIN] > 0 {
        return READABLE.wait_until(attempt);
    }
    // VMIN 0: VTIME tenths of a second, then nothing.
    let deadline = crate::time::monotonic_ns() + u64::from(settings.cc[cc::VTIME]) * 100_000_000;
    Ok(READABLE.wait_until_deadline(deadline, attempt)?.unwrap_or(0))
}

/// Writes with output processing.
pub fn write(bytes: &[u8]) {
    // The copy of the settings keeps the lock out of the console's wait for room.
    let mut settings = Line::new();
    settings.termios = termios();
    let mut console = Console::default();
    settings.output(bytes, &mut |piece| console.put(piece));
    console.send();
}
