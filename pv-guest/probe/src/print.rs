//! Lines. The first domain has the hypervisor's console, by a call that needs nothing set up, and on Paravane every domain
//! has; the others have a ring in a page that the domain builder mapped, and somebody who empties it.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use paravane_abi::console::CONSOLEIO_WRITE;
use paravane_abi::event::{EVTCHNOP_SEND, EvtchnSend, mask_of_port, word_of_port};
use paravane_abi::hypercall::{self as nr, HYPERVISOR_CONSOLE_IO};
use paravane_abi::io::stream::{CONSOLE_OUTPUT, Producer};
use paravane_abi::start_info::StartFlags;

use crate::boot::{VIRT_BASE, start};
use crate::hypercall::{operation, raw, yield_now};
use crate::memory::{PAGE, m2p, shared, vcpu_info};

/// Longest line; what is longer is cut.
const LINE: usize = 400;

struct Buffer {
    bytes: [u8; LINE],
    used: usize,
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LINE - 1 - self.used;
        let taken = text.len().min(room);
        self.bytes[self.used..self.used + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.used += taken;
        Ok(())
    }
}

/// Prints a line.
pub fn line(arguments: fmt::Arguments<'_>) {
    let mut buffer = Buffer { bytes: [0; LINE], used: 0 };
    // The buffer takes everything, or cuts it.
    let _ = buffer.write_fmt(arguments);
    buffer.bytes[buffer.used] = b'\n';
    let bytes = &buffer.bytes[..=buffer.used];
    match ring() {
        Some(ring) => write(ring, bytes),
        None => {
            call(bytes);
        }
    }
}

/// Prints by the call.
fn call(bytes: &[u8]) -> i64 {
    let (length, address) = (bytes.len() as u64, bytes.as_ptr() as u64);
    raw(HYPERVISOR_CONSOLE_IO, [CONSOLEIO_WRITE.into(), length, address, 0, 0])
}

/// The console's page, 0 without one.
static RING: AtomicU64 = AtomicU64::new(0);

/// Finds the way to print. The ring is taken where the call is refused: it raises events.
pub(crate) fn initialise() {
    let info = &start().info;
    let first = info.start_flags().contains(StartFlags::INITDOMAIN);
    if !first && info.console_mfn != 0 && call(&[]) != 0 {
        // Its address is that of its guest frame: the builder maps its own pages behind the image.
        RING.store(VIRT_BASE + m2p(info.console_mfn) * PAGE, Ordering::Relaxed);
    }
}

/// Masks the ports of console and xenstore where the ring is in use: whoever serves them raises them at any time, and nobody
/// here waits for that. Called when the shared page is mapped.
pub(crate) fn mask_ports() {
    if ring().is_none() {
        return;
    }
    let vcpu = vcpu_info(0);
    for port in [start().info.console_evtchn, start().info.store_evtchn] {
        let (word, bit) = (word_of_port(port), mask_of_port(port));
        // SAFETY: words of the shared page, which both sides change by atomics alone.
        unsafe {
            let at = |words: *mut u64| AtomicU64::from_ptr(words.add(word));
            at((&raw mut (*shared()).evtchn_mask).cast()).fetch_or(bit, Ordering::SeqCst);
            at((&raw mut (*shared()).evtchn_pending).cast()).fetch_and(!bit, Ordering::SeqCst);
        }
    }
    // SAFETY: words of vcpu 0's, which takes no event yet.
    unsafe {
        AtomicU64::from_ptr(&raw mut (*vcpu).evtchn_pending_sel).store(0, Ordering::SeqCst);
        (&raw mut (*vcpu).evtchn_upcall_pending).write_volatile(0);
    }
}

fn ring() -> Option<&'static [AtomicU32]> {
    let address = RING.load(Ordering::Relaxed);
    // SAFETY: the builder mapped the page for good, and both ends reach it by atomics alone.
    (address != 0)
        .then(|| unsafe { core::slice::from_raw_parts(address as *const AtomicU32, PAGE as usize / 4) })
}

/// Puts bytes into the ring, all of them, however long the other end takes.
fn write(ring: &[AtomicU32], bytes: &[u8]) {
    let mut producer = Producer::new(ring, CONSOLE_OUTPUT);
    let mut rest = bytes;
    while !rest.is_empty() {
        // Without sensible indices there is nothing to print on.
        let Ok(count) = producer.write(rest) else { return };
        rest = &rest[count..];
        let mut port = EvtchnSend { port: start().info.console_evtchn };
        operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut port);
        if count == 0 {
            yield_now();
        }
    }
}

/// Prints a line.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::print::line(format_args!($($arg)*)) };
}
