//! The hypervisor's own stacks. No guest has them mapped.
//!
//! The processor that boots has its stacks in the image; those of the others are made for those that exist.

use crate::boot::memory_map::{FRAME_SIZE, MemoryMap};
use crate::tables::{self, Tables};

/// Bytes of a stack, its guard page among them.
pub const SIZE: usize = 0x1_0000;

/// Bytes at the top of the stack of NMI, #DF and #MC that are an NMI's: what its handler needs is far less.
pub const NMI_ROOM: usize = 0x4000;

/// A stack in the image. Its lowest page is not mapped: an overflow is a double fault and not a corruption.
#[repr(C, align(4096))]
pub struct Stack([u8; SIZE]);

/// Entries from the guest, and boot before the first of them (`boot.S` names it).
#[unsafe(no_mangle)]
static mut hypervisor_stack: Stack = Stack([0; SIZE]);

/// NMI, #DF and #MC.
static mut PARANOID_STACK: Stack = Stack([0; SIZE]);

/// The pages below the stacks in the image, which must stay unmapped.
pub fn guards() -> [u64; 2] {
    [&raw const hypervisor_stack as u64, &raw const PARANOID_STACK as u64]
}

/// Where the other processors' stacks are mapped: in the image's L4 slot, which all of them share.
const WINDOW: u64 = 0xffff_82e0_0000_0000;

/// Tops of a processor's stacks.
#[derive(Clone, Copy, Debug)]
pub struct Stacks {
    /// Of entries from the guest.
    pub entry: u64,
    /// Of NMI, #DF and #MC.
    pub paranoid: u64,
}

impl Stacks {
    /// The stacks of the processor that boots.
    pub fn in_image() -> Self {
        guards().map(|bottom| bottom + SIZE as u64).into()
    }

    /// Makes the stacks of another processor, each with its lowest page left unmapped.
    pub fn new(memory: &mut MemoryMap, tables: &mut Tables, cpu: usize) -> Self {
        let size = SIZE as u64;
        [0, 1]
            .map(|which| {
                let bottom = WINDOW + (2 * cpu as u64 + which) * size;
                for page in (FRAME_SIZE..size).step_by(FRAME_SIZE as usize) {
                    let frame = tables::new_table(memory);
                    tables.map(memory, bottom + page, frame, tables::READ_WRITE);
                }
                bottom + size
            })
            .into()
    }
}

impl From<[u64; 2]> for Stacks {
    fn from([entry, paranoid]: [u64; 2]) -> Self {
        Self { entry, paranoid }
    }
}
