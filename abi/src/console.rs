//! Consoles: the PV console's ring (`xen/io/console.h`) and `console_io` (`xen/xen.h`).
//!
//! The ring's page is named by the start-info page. Indices run freely; their low bits are the place in the buffer. A
//! producer writes bytes, then (after a barrier) its index, then raises the port; a consumer likewise.

use crate::macros::{xen_structs, zeroed_default};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::console_io::*;

/// Bytes of the ring for input to the guest.
pub const IN_RING_SIZE: usize = 1024;
/// Bytes of the ring for the guest's output.
pub const OUT_RING_SIZE: usize = 2048;

/// The console's page: 3088 bytes, Xen's `struct xencons_interface`.
///
/// Live memory is shared with the other side: access it by volatile or atomic operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenconsInterface {
    /// Input: bytes.
    pub input: [u8; IN_RING_SIZE],
    /// Output: bytes.
    pub output: [u8; OUT_RING_SIZE],
    /// Input: how many the guest has taken.
    pub in_cons: u32,
    /// Input: how many there have been.
    pub in_prod: u32,
    /// Output: how many the backend has taken.
    pub out_cons: u32,
    /// Output: how many the guest has put.
    pub out_prod: u32,
}

zeroed_default!(XenconsInterface);

/// Bytes waiting between two free-running indices of a ring of `size` bytes; `None` if the other side's index makes no
/// sense.
pub const fn ring_used(producer: u32, consumer: u32, size: usize) -> Option<usize> {
    let used = producer.wrapping_sub(consumer) as usize;
    if used <= size { Some(used) } else { None }
}

/// The place in a ring of `size` bytes, a power of two, that an index stands for.
pub const fn ring_slot(index: u32, size: usize) -> usize {
    index as usize & (size - 1)
}

xen_structs! {
    "struct xencons_interface" = XenconsInterface {
        input = "in", output = "out", in_cons, in_prod, out_cons, out_prod,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_wrap() {
        assert_eq!(ring_used(5, 5, OUT_RING_SIZE), Some(0));
        assert_eq!(ring_used(1, u32::MAX, OUT_RING_SIZE), Some(2));
        assert_eq!(ring_used(2048, 0, OUT_RING_SIZE), Some(2048));
        assert_eq!(ring_used(2049, 0, OUT_RING_SIZE), None);
        assert_eq!(ring_used(0, 1, IN_RING_SIZE), None);
        assert_eq!(ring_slot(2049, OUT_RING_SIZE), 1);
        assert_eq!(ring_slot(u32::MAX, IN_RING_SIZE), 1023);
    }
}
