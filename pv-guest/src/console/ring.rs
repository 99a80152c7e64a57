//! The ring that a domain shares with whoever serves its console.

use core::sync::atomic::{AtomicU32, Ordering};

use paravane_abi::console::{IN_RING_SIZE, OUT_RING_SIZE, XenconsInterface};

use super::Backend;
use crate::event::{self, Port};
use crate::mm::addr::Pfn;

/// The console's page and the port that tells the other side of it.
pub struct Ring {
    /// The page.
    pub page: Pfn,
    /// The port.
    pub port: Port,
}

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

impl Backend for Ring {
    fn write(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = self.put(rest);
            rest = &rest[count..];
            // The backend empties the ring before the notification returns, or soon after.
            event::notify(self.port);
        }
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        self.take(buffer)
    }

    fn has_read(&self) {
        // The backend may wait for room.
        event::notify(self.port);
    }

    fn drain(&self) {
        while !self.is_drained() {
            event::notify(self.port);
        }
    }
}
