//! The 8254 interval timer, and port 0x61, which has the gate and the output of its third counter.
//!
//! Source: Intel 8254 data sheet (order number 231164), cited by the title of its section; for port 0x61 the 82371SB
//! (PIIX3) data sheet, "NMI Status and Control Register".
//!
//! Nothing here runs: a counter is a function of the time, computed when somebody looks. Any span of time costs the same.

mod counter;
#[cfg(test)]
mod tests;

use counter::Counter;

/// The frequency of the clock input of all three counters, in Hz: a third of the colour carrier's, by 4.
pub const FREQUENCY: u64 = 1_193_182;
const NANOSECONDS: u128 = 1_000_000_000;
/// Ports of the counters; the fourth takes commands.
pub const COUNTERS: u16 = 0x40;
const COMMAND: u16 = 0x43;
/// The port with the gate of counter 2, the speaker, and what can be read of them.
pub const SYSTEM_CONTROL: u16 = 0x61;
/// Clocks between two refreshes of the memory: 15 µs.
const REFRESH: u64 = 18;

/// The number of clock pulses up to a time in nanoseconds: exact, so that nothing drifts.
pub fn tick(now: u64) -> u64 {
    // The quotient is below `now`, as the frequency is below one per nanosecond.
    (u128::from(now) * u128::from(FREQUENCY) / NANOSECONDS) as u64
}

/// The first nanosecond at which so many clock pulses have come; `None` beyond the end of time.
pub fn time_of(tick: u64) -> Option<u64> {
    u64::try_from((u128::from(tick) * NANOSECONDS).div_ceil(u128::from(FREQUENCY))).ok()
}

/// The timer.
#[derive(Clone, Copy, Debug)]
pub struct Pit {
    counters: [Counter; 3],
    /// Bits 0 to 3 of port 0x61: gate 2, speaker, and two that only keep their value.
    control: u8,
}

impl Default for Pit {
    fn default() -> Self {
        Self::new()
    }
}

impl Pit {
    /// A timer that was not programmed: no counter counts. Counters 0 and 1 have their gates tied high.
    pub const fn new() -> Self {
        Self { counters: [Counter::new(true), Counter::new(true), Counter::new(false)], control: 0 }
    }

    /// Lets the time pass until `now`, in nanoseconds: how often the output of counter 0 rose meanwhile. A time before
    /// the latest one changes nothing.
    pub fn advance(&mut self, now: u64) -> u64 {
        let tick = tick(now);
        for counter in &mut self.counters {
            counter.advance(tick);
        }
        self.counters[0].take_edges()
    }

    /// The level of a counter's output as of the latest [`Self::advance`].
    pub fn output(&self, counter: usize) -> bool {
        self.counters.get(counter).is_some_and(Counter::output)
    }

    /// When the output of counter 0 rises next, if nobody writes before: the first nanosecond at which
    /// [`Self::advance`] will count it.
    pub fn next_edge(&self) -> Option<u64> {
        time_of(self.counters[0].next_edge()?)
    }

    /// Reads one of the ports at a time in nanoseconds; `None` if it is not one of the timer's. Edges of counter 0 up to
    /// there are kept for the next [`Self::advance`].
    pub fn read(&mut self, port: u16, now: u64) -> Option<u8> {
        let tick = tick(now);
        match port {
            COUNTERS..COMMAND => Some(self.counters[usize::from(port - COUNTERS)].read(tick)),
            // "Read Operations": the command register cannot be read, nobody drives the bus.
            COMMAND => Some(0xff),
            SYSTEM_CONTROL => {
                self.counters[2].advance(tick);
                let output = u8::from(self.counters[2].output()) << 5;
                let refresh = u8::from(tick / REFRESH % 2 == 1) << 4;
                Some(self.control | refresh | output)
            }
            _ => None,
        }
    }

    /// Writes one of the ports at a time in nanoseconds; whether it is one of the timer's.
    pub fn write(&mut self, port: u16, value: u8, now: u64) -> bool {
        let tick = tick(now);
        match port {
            COUNTERS..COMMAND => self.counters[usize::from(port - COUNTERS)].write(value, tick),
            COMMAND => self.command(value, tick),
            SYSTEM_CONTROL => {
                self.control = value & 0x0f;
                self.counters[2].set_gate(value & 1 != 0, tick);
            }
            _ => return false,
        }
        true
    }

    fn command(&mut self, value: u8, tick: u64) {
        match value >> 6 {
            3 => {
                // "Read-Back Command": bits 5 and 4 are low for what is latched, bits 3 to 1 choose counters.
                for (n, counter) in self.counters.iter_mut().enumerate() {
                    if value & (2 << n) != 0 {
                        counter.read_back(value & 0x20 == 0, value & 0x10 == 0, tick);
                    }
                }
            }
            n => self.counters[usize::from(n)].command(value, tick),
        }
    }
}
