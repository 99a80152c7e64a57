//! The virtual PC that a fully virtualized guest sees: two 8259A interrupt controllers, an 8254 timer, a 16550A serial
//! port, the clock with its memory, and the ports that end the machine.
//!
//! Each device is a state machine to which the time is given, in nanoseconds since the guest's machine started, on the
//! guest's own clock. None of them runs: what a counter holds follows from the time, so that any access and any span of
//! time takes a bounded number of steps. A guest may write anything to any port in any order.
//!
//! Told for a student in `docs/virtual-devices.md`.

pub mod cmos;
pub mod pic;
pub mod pit;
mod ports;
#[cfg(test)]
pub(super) mod tests;
pub mod uart;

pub use ports::{EXIT, Effect, Width, verdict};

use cmos::Cmos;
use ports::Bus;

/// The interrupt lines of the timer and of the serial port.
const TIMER_IRQ: u8 = 0;
const SERIAL_IRQ: u8 = 4;

/// The least time between two timer events that the hypervisor is asked for, in nanoseconds. A guest may program its
/// timer to 600 kHz; its edges that come faster than this merge, as they do in a real controller that is served late.
pub const LEAST_EVENT_GAP: u64 = 50_000;

/// The board.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    bus: Bus,
    /// The latest time seen; none before it counts.
    now: u64,
    /// When the timer's line rose last.
    last_edge: Option<u64>,
}

impl Platform {
    /// A board with so many bytes of memory, started so many nanoseconds after 1970 began.
    pub fn new(memory: u64, wall_clock: u64) -> Self {
        Self { bus: Bus::new(Cmos::new(memory, wall_clock)), now: 0, last_edge: None }
    }

    /// Reads a port, or several from it on. The bits above the width are 0.
    pub fn read(&mut self, port: u16, width: Width, now: u64) -> u32 {
        self.advance(now);
        let value = self.bus.read(port, width, self.now);
        self.pass_on();
        value
    }

    /// Writes a port, or several from it on.
    pub fn write(&mut self, port: u16, width: Width, value: u32, now: u64) -> Effect {
        self.advance(now);
        let effect = self.bus.write(port, width, value, self.now);
        self.pass_on();
        effect
    }

    /// Lets the time pass until `now`. A time before the latest one is taken for that one.
    pub fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.bus.uart.advance(self.now);
        self.pass_on();
    }

    /// Sets the interrupt controllers' inputs to what the devices put out.
    fn pass_on(&mut self) {
        let Bus { pic, pit, uart, .. } = &mut self.bus;
        if pit.advance(self.now) > 0 {
            self.last_edge = Some(self.now);
            pic.lower(TIMER_IRQ);
            pic.raise(TIMER_IRQ);
        }
        if !pit.output(0) {
            pic.lower(TIMER_IRQ);
        }
        if uart.take_drop() || !uart.interrupt() {
            pic.lower(SERIAL_IRQ);
        }
        if uart.interrupt() {
            pic.raise(SERIAL_IRQ);
        }
    }

    /// Whether an interrupt waits for the processor.
    pub fn interrupt_pending(&self) -> bool {
        self.bus.pic.pending()
    }

    /// The processor takes it: the vector. With none pending it is a spurious one.
    pub fn acknowledge(&mut self) -> u8 {
        self.bus.pic.acknowledge()
    }

    /// When [`Self::advance`] should be called next, in nanoseconds: an interrupt can come then that is not pending now.
    /// Later than `now`; `None` if none comes by itself. To be asked again after every access and every acknowledge.
    pub fn next_event(&mut self, now: u64) -> Option<u64> {
        self.advance(now);
        let timer = (!self.bus.pic.is_deaf_to(TIMER_IRQ)).then(|| self.bus.pit.next_edge()).flatten();
        let earliest = self.last_edge.map_or(0, |edge| edge.saturating_add(LEAST_EVENT_GAP));
        let timer = timer.map(|at| at.max(earliest));
        let serial = self.bus.uart.next_event();
        [timer, serial].into_iter().flatten().min().map(|at| at.max(self.now.saturating_add(1)))
    }

    /// How many bytes typed at the console can be taken now.
    pub fn room(&self) -> usize {
        self.bus.uart.room()
    }

    /// A byte typed at the console arrives; without [`Self::room`] one is lost, and the guest sees that.
    pub fn type_byte(&mut self, byte: u8, now: u64) {
        self.advance(now);
        self.bus.uart.receive(byte, self.now);
        self.pass_on();
    }

    /// Whether the guest has masked the NMI.
    pub const fn nmi_masked(&self) -> bool {
        self.bus.cmos.nmi_masked()
    }
}
