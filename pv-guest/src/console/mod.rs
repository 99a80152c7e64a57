//! The console: the PV ring shared with its backend, or the hypervisor's own console, or a serial port; and before it is
//! known which the emergency console.

mod calls;
mod port;
mod ring;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use calls::Calls;
use ring::Ring;
use spin::Once;

use crate::cpu_ops::machine;
use crate::event::{self, Port};
use crate::mm::addr::Pfn;

/// Where bytes go, and where they come from.
trait Backend {
    /// Writes all bytes, waiting for room.
    fn write(&self, bytes: &[u8]);
    /// Takes bytes that have come; gives how many there were.
    fn read(&self, buffer: &mut [u8]) -> usize;
    /// Says that bytes were taken.
    fn has_read(&self);
    /// Waits until everything written has arrived.
    fn drain(&self);
}

static BACKEND: Once<&'static (dyn Backend + Sync)> = Once::new();
static INPUT_HOOK: AtomicUsize = AtomicUsize::new(0);

/// Starts using the ring in this frame, or the hypervisor's console where there is none.
pub fn init(page: Option<Pfn>, port: u32) {
    static RING: Once<Ring> = Once::new();
    let port = match page {
        Some(page) => {
            let port = Port(port);
            BACKEND.call_once(|| RING.call_once(|| Ring { page, port }));
            port
        }
        None => {
            BACKEND.call_once(|| &Calls);
            calls::bind()
        }
    };
    event::handle(port, on_event);
}

/// Starts using the first serial port.
pub fn init_serial() {
    BACKEND.call_once(|| &port::SerialPort);
    port::init();
}

/// Sets who gets input. The hook runs in the upcall: it stores the bytes, wakes whom they concern, and does not wait.
pub fn set_input_hook(hook: fn(&[u8])) {
    INPUT_HOOK.store(hook as usize, Ordering::Relaxed);
    // What came before there was a hook.
    on_event();
}

/// Takes input that has come.
pub fn on_event() {
    let Some(backend) = BACKEND.get() else { return };
    let hook = INPUT_HOOK.load(Ordering::Relaxed);
    if hook == 0 {
        return;
    }
    // SAFETY: only `set_input_hook` stores here, and what it stores is a `fn(&[u8])`.
    let hook: fn(&[u8]) = unsafe { core::mem::transmute(hook) };
    let mut buffer = [0; 128];
    let mut taken = false;
    loop {
        let count = backend.read(&mut buffer);
        if count == 0 {
            break;
        }
        taken = true;
        hook(&buffer[..count]);
    }
    if taken {
        backend.has_read();
    }
}

/// Writes bytes as they are, waiting for room.
pub fn write(bytes: &[u8]) {
    match BACKEND.get() {
        Some(backend) => backend.write(bytes),
        None => machine().emergency_write(bytes),
    }
}

/// Waits until everything written has arrived.
pub fn drain() {
    if let Some(backend) = BACKEND.get() {
        backend.drain();
    }
}

/// Text to the console, lines ended as terminals want them. It goes out in pieces as long as possible, because other
/// domains' text may come between two pieces.
#[derive(Default)]
pub struct Console {
    piece: ArrayVec<u8, PIECE>,
}

/// Longest piece of text.
const PIECE: usize = 512;

impl Console {
    /// Sends what there is.
    pub fn send(&mut self) {
        write(&self.piece);
        self.piece.clear();
    }

    /// Adds bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.piece.is_full() {
                self.send();
            }
            self.piece.push(byte);
        }
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((line, after)) = rest.split_once('\n') {
            self.put(line.as_bytes());
            self.put(b"\r\n");
            rest = after;
        }
        self.put(rest.as_bytes());
        Ok(())
    }
}

/// Prints a line of the kernel's.
#[macro_export]
macro_rules! kprintln {
    ($($arg:tt)*) => {{
        use core::fmt::Write;
        let mut console = $crate::console::Console::default();
        // The console never fails.
        let _ = writeln!(console, $($arg)*);
        console.send();
    }};
}

struct ConsoleLog;

impl log::Log for ConsoleLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            kprintln!("{}: {}", record.level().as_str().to_ascii_lowercase(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Sends the log to the console, from this level up.
pub fn init_log(level: log::LevelFilter) {
    static LOG: ConsoleLog = ConsoleLog;
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(level);
    }
}
