//! The console: the PV ring shared with its backend, and before that ring is known the emergency console.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use paravane_abi::console::{IN_RING_SIZE, OUT_RING_SIZE, XenconsInterface};
use spin::Once;

use crate::cpu_ops::{CpuOps, machine};
use crate::event::{self, Port};
use crate::mm::addr::Pfn;

struct Ring {
    page: Pfn,
    port: Port,
}

static RING: Once<Ring> = Once::new();
static INPUT_HOOK: AtomicUsize = AtomicUsize::new(0);

macro_rules! index {
    ($ring:expr, $field:ident) => {{
        let page = $ring.page.bytes().cast::<XenconsInterface>();
        // SAFETY: the ring page is mapped for good, the field is aligned to 4, and both ends access it atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*page).$field) }
    }};
}

impl Ring {
    /// Puts bytes into the ring; gives how many fitted.
    fn put(&self, bytes: &[u8]) -> usize {
        let produced = index!(self, out_prod);
        let at = produced.load(Ordering::Relaxed);
        let used = at.wrapping_sub(index!(self, out_cons).load(Ordering::Acquire)) as usize;
        let room = OUT_RING_SIZE.saturating_sub(used);
        let count = room.min(bytes.len());
        let page = self.page.bytes().cast::<XenconsInterface>();
        for (i, &byte) in bytes[..count].iter().enumerate() {
            let slot = (at as usize).wrapping_add(i) % OUT_RING_SIZE;
            // SAFETY: the slot is inside the array, and free until `out_prod` moves past it.
            unsafe { (&raw mut (*page).output[slot]).write_volatile(byte) };
        }
        produced.store(at.wrapping_add(count as u32), Ordering::Release);
        count
    }

    /// Takes bytes out of the ring; gives how many there were.
    fn take(&self, buffer: &mut [u8]) -> usize {
        let consumed = index!(self, in_cons);
        let at = consumed.load(Ordering::Relaxed);
        let filled = index!(self, in_prod).load(Ordering::Acquire).wrapping_sub(at) as usize;
        let count = filled.min(IN_RING_SIZE).min(buffer.len());
        let page = self.page.bytes().cast::<XenconsInterface>();
        for (i, byte) in buffer[..count].iter_mut().enumerate() {
            let slot = (at as usize).wrapping_add(i) % IN_RING_SIZE;
            // SAFETY: the slot is inside the array, and the backend leaves it alone until `in_cons` moves past it.
            *byte = unsafe { (&raw const (*page).input[slot]).read_volatile() };
        }
        consumed.store(at.wrapping_add(count as u32), Ordering::Release);
        count
    }

    fn is_drained(&self) -> bool {
        index!(self, out_cons).load(Ordering::Acquire) == index!(self, out_prod).load(Ordering::Relaxed)
    }
}

/// Starts using the ring in this frame.
pub fn init(page: Pfn, port: u32) {
    RING.call_once(|| Ring { page, port: Port(port) });
    event::handle(Port(port), on_event);
}

/// Sets who gets input. The hook runs in the upcall: it stores the bytes, wakes whom they concern, and does not wait.
pub fn set_input_hook(hook: fn(&[u8])) {
    INPUT_HOOK.store(hook as usize, Ordering::Relaxed);
    // What came before there was a hook.
    on_event();
}

fn on_event() {
    let Some(ring) = RING.get() else { return };
    let hook = INPUT_HOOK.load(Ordering::Relaxed);
    if hook == 0 {
        return;
    }
    // SAFETY: only `set_input_hook` stores here, and what it stores is a `fn(&[u8])`.
    let hook: fn(&[u8]) = unsafe { core::mem::transmute(hook) };
    let mut buffer = [0; 128];
    let mut taken = false;
    loop {
        let count = ring.take(&mut buffer);
        if count == 0 {
            break;
        }
        taken = true;
        hook(&buffer[..count]);
    }
    if taken {
        // The backend may wait for room.
        event::notify(ring.port);
    }
}

/// Writes bytes as they are, waiting for room in the ring.
pub fn write(bytes: &[u8]) {
    let Some(ring) = RING.get() else {
        machine().emergency_write(bytes);
        return;
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = ring.put(rest);
        rest = &rest[count..];
        // The backend empties the ring before the notification returns, or soon after.
        event::notify(ring.port);
    }
}

/// Waits until the backend has taken everything.
pub fn drain() {
    if let Some(ring) = RING.get() {
        while !ring.is_drained() {
            event::notify(ring.port);
        }
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
