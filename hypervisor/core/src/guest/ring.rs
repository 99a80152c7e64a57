//! A page with rings of bytes that a guest shares with the hypervisor.

use crate::console::RingPage;
use crate::frame::FrameWriter;
use crate::memory::Memory;

/// Such a page in a machine's memory.
pub(super) struct Page<'a, M> {
    pub machine: &'a M,
    pub writer: FrameWriter<'a>,
}

impl<M: Memory> RingPage for Page<'_, M> {
    fn index(&self, offset: usize) -> u32 {
        let word = self.machine.read_word(self.writer.frame(), offset / 8);
        (word >> (offset % 8 * 8)) as u32
    }

    fn set_index(&mut self, offset: usize, value: u32) {
        self.machine.write_bytes(&self.writer, offset, &value.to_le_bytes());
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.machine.read_bytes(self.writer.frame(), offset, bytes);
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.machine.write_bytes(&self.writer, offset, bytes);
    }
}
