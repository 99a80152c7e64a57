//! The console ring's other end: the serial port.

use crate::calls::STEPS_A_BYTE;
use crate::console::{self, RingPage};
use crate::domain::Domain;
use crate::event::Backend;
use crate::frame::FrameWriter;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::memory::Memory;

/// Typed bytes kept while the guest's ring is full.
pub const TYPED_MAX: usize = 1024;

/// A console ring page in a machine's memory.
struct Page<'a, M> {
    machine: &'a M,
    writer: FrameWriter<'a>,
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

impl<M: Machine> Hypervisor<M> {
    /// Prints what a domain has queued and hands it what was typed.
    pub(crate) fn serve_console(&mut self, index: usize) {
        let Self { frames, machine, domains, typed, output, step, .. } = self;
        let Domain { id, console, .. } = &domains[index];
        if !console.held {
            return;
        }
        let Some(writer) = frames.writable(console.frame, *id) else { return };
        let mut page = Page { machine: &*machine, writer };
        output.clear();
        let drained = console::drain(&mut page, |piece| output.extend_from_slice(piece));
        let filled = console::fill(&mut page, typed.make_contiguous());
        typed.drain(..filled);
        machine.console_write(output);
        step.charge(STEPS_A_BYTE * output.len() as u32);
        if drained != 0 || filled != 0 {
            self.raise_console(index);
        }
    }

    fn raise_console(&mut self, index: usize) {
        let port = self.domains[index].console.port;
        let (ports, bits) = self.events(index);
        if let Some(raised) = ports.raise_backend(&bits, port, Backend::Console) {
            self.wake_in(index, raised);
        }
    }

    /// The serial port has received something: it goes to the domain that has the console.
    pub fn console_interrupt(&mut self) {
        self.enter();
        // A port that always has another byte, broken or absent, must not keep the hypervisor.
        for _ in 0..TYPED_MAX {
            let Some(byte) = self.machine.console_read() else { break };
            if self.typed.len() < TYPED_MAX {
                self.typed.push_back(byte);
            }
        }
        if !self.domains.is_empty() {
            self.serve_console(0);
        }
    }
}
