//! One counter of the 8254.
//!
//! Between two writes a counter follows one law: `elapsed` clock pulses after a count was loaded, both what it holds and
//! its output are known from the mode and the count. What changes the law is kept: a count that waits to be loaded, and
//! since when the gate has been low.

/// How the count is read and written ("Control Word Format", RW).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// The less significant byte alone.
    Low,
    /// The more significant byte alone.
    High,
    /// The less significant one first, then the other.
    Both,
}

/// What the counting element does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    /// Nothing, with this count in it: no count was loaded since the control word, or none since the first byte of one
    /// in mode 0, or the trigger has not come.
    Stopped(u32),
    /// It counts since this clock pulse.
    Running(u64),
    /// The gate holds it: so many pulses after the load, since this one.
    Held(u64, u64),
}

/// A counter. Times are clock pulses since the machine started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    /// 0 to 5.
    mode: u8,
    /// As the control word gave it: bits 5 to 0.
    programmed: u8,
    bcd: bool,
    access: Access,
    gate: bool,
    /// The count register: 1 to 65536, or to 10000 in BCD; `None` until a count is written.
    register: Option<u32>,
    /// "Null count": the count register was not yet loaded.
    null: bool,
    /// The first byte of two.
    low_byte: Option<u8>,
    /// The pulse that loads the count register.
    load: Option<u64>,
    /// What the counting element was loaded with.
    count: u32,
    /// In mode 3: the output was low when it was loaded.
    low_first: bool,
    element: Element,
    /// Of the latest [`Self::advance`].
    tick: u64,
    output: bool,
    /// Rising edges of the output that nobody took yet.
    edges: u64,
    /// A latched count, and one byte of it is still to be read.
    latched: Option<u16>,
    latched_status: Option<u8>,
    /// The next byte read is the more significant one.
    read_high: bool,
}

impl Counter {
    /// A counter that was not programmed ("Programming the 8254": its state is undefined).
    pub(super) const fn new(gate: bool) -> Self {
        Self {
            mode: 3,
            programmed: 0x36,
            bcd: false,
            access: Access::Both,
            gate,
            register: None,
            null: true,
            low_byte: None,
            load: None,
            count: 0x1_0000,
            low_first: false,
            element: Element::Stopped(0),
            tick: 0,
            output: true,
            edges: 0,
            latched: None,
            latched_status: None,
            read_high: false,
        }
    }

    pub(super) const fn output(&self) -> bool {
        self.output
    }

    pub(super) fn take_edges(&mut self) -> u64 {
        core::mem::take(&mut self.edges)
    }

    /// How many values the counting element runs through.
    const fn modulus(&self) -> u64 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }

    const fn periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    /// Started by the gate's rising edge, not by the write.
    const fn triggered(&self) -> bool {
        matches!(self.mode, 1 | 5)
    }

    /// In mode 3, the pulses of the first half, the one that begins with the load.
    const fn first_half(&self) -> u64 {
        // "If the count is odd, OUT will be high for (N+1)/2 counts and low for (N-1)/2 counts."
        let high = self.count.div_ceil(2) as u64;
        if self.low_first { self.count as u64 - high } else { high }
    }

    /// The output, `elapsed` pulses after the load.
    const fn output_at(&self, elapsed: u64) -> bool {
        let count = self.count as u64;
        match self.mode {
            0 | 1 => elapsed >= count,
            2 => elapsed % count != count - 1,
            3 => (elapsed % count < self.first_half()) != self.low_first,
            _ => elapsed != count,
        }
    }

    /// The output in the law that holds at a pulse, not before the latest one.
    fn output_now(&self, tick: u64) -> bool {
        match self.element {
            Element::Stopped(_) => self.mode != 0,
            Element::Running(since) => self.output_at(tick - since),
            // Modes 2 and 3: "If GATE goes low during an output pulse, OUT is set high immediately."
            Element::Held(..) if self.periodic() => true,
            // Mode 4: "GATE has no effect on OUT": the strobe ends after its pulse.
            Element::Held(elapsed, since) => self.output_at(elapsed) || (self.mode == 4 && tick > since),
        }
    }

    /// The value in the counting element.
    fn value(&self) -> u16 {
        let elapsed = match self.element {
            Element::Stopped(value) => return value as u16,
            Element::Running(since) => self.tick - since,
            Element::Held(elapsed, _) => elapsed,
        };
        let count = u64::from(self.count);
        let value = match self.mode {
            2 => count - elapsed % count,
            3 => {
                // "Decremented by two on succeeding CLK pulses", from the even count at or below.
                let position = elapsed % count;
                let half = self.first_half();
                let since = if position < half { position } else { position - half };
                (count & !1) - 2 * since
            }
            _ => count + self.modulus() - elapsed % self.modulus(),
        };
        self.coded(value % self.modulus())
    }

    /// A value as the element holds it: binary, or four decimal digits.
    fn coded(&self, value: u64) -> u16 {
        let digit = |power: u64| (value / power % 10) as u16;
        if self.bcd { digit(1) | digit(10) << 4 | digit(100) << 8 | digit(1000) << 12 } else { value as u16 }
    }

    /// What a written count stands for. A digit above 9 has no meaning in BCD; it counts as its value. 0 is the largest
    /// count ("Mode Definitions").
    fn decoded(&self, value: u16) -> u32 {
        let value = u32::from(value);
        let value = if self.bcd {
            (0..4).map(|digit| (value >> (4 * digit) & 0xf) * 10u32.pow(digit)).sum::<u32>() % 10_000
        } else {
            value
        };
        if value == 0 { self.modulus() as u32 } else { value }
    }

    /// Rising edges of the output after pulse `from` and up to `to`, in the law that holds now.
    fn edges_between(&self, from: u64, to: u64) -> u64 {
        let Element::Running(since) = self.element else { return 0 };
        let (from, to, count) = (from - since, to - since, u64::from(self.count));
        let once = |at: u64| u64::from(from < at && at <= to);
        match self.mode {
            0 | 1 => once(count),
            2 => to / count - from / count,
            3 => {
                let before = if self.low_first { count - self.first_half() } else { 0 };
                (to + before) / count - (from + before) / count
            }
            _ => once(count + 1),
        }
    }

    /// The first pulse after `from` at which the output rises, in the law that holds now.
    fn edge_after(&self, from: u64) -> Option<u64> {
        let Element::Running(since) = self.element else { return None };
        let (elapsed, count) = (from - since, u64::from(self.count));
        let once = |at: u64| (elapsed < at).then_some(at);
        let edge = match self.mode {
            0 | 1 => once(count),
            2 => Some((elapsed / count + 1) * count),
            3 => {
                let before = if self.low_first { count - self.first_half() } else { 0 };
                Some(((elapsed + before) / count + 1) * count - before)
            }
            _ => once(count + 1),
        }?;
        Some(since + edge)
    }

    /// Loads the count register into the counting element, at this pulse.
    fn load_count(&mut self, at: u64) {
        let Some(count) = self.register else { return };
        // A new count in the middle of mode 3 begins with the half that comes then.
        self.low_first = self.mode == 3
            && matches!(self.element, Element::Running(_))
            && self.gate
            && !self.output_now(at);
        // "A count of 1 is illegal" in modes 2 and 3: the smallest legal one.
        self.count = if self.periodic() { count.max(2) } else { count };
        self.null = false;
        let counts = self.gate || self.triggered();
        self.element = if counts { Element::Running(at) } else { Element::Held(0, at) };
    }

    /// Lets the time pass.
    pub(super) fn advance(&mut self, tick: u64) {
        if tick <= self.tick {
            return;
        }
        if let Some(at) = self.load.filter(|at| *at <= tick) {
            self.load = None;
            // The pulse before the load is the last one of the old law.
            let last = at.saturating_sub(1).max(self.tick);
            self.edges = self.edges.saturating_add(self.edges_between(self.tick, last));
            self.tick = last;
            self.output = self.output_now(last);
            self.load_count(at);
            self.tick = at;
            self.show();
        }
        self.edges = self.edges.saturating_add(self.edges_between(self.tick, tick));
        self.tick = tick;
        self.output = self.output_now(tick);
    }

    /// Takes over the output that the law says, counting the edge if it rises by that.
    fn show(&mut self) {
        let output = self.output_now(self.tick);
        if output && !self.output {
            self.edges = self.edges.saturating_add(1);
        }
        self.output = output;
    }

    /// The pulse after the latest one at which the output rises next.
    pub(super) fn next_edge(&self) -> Option<u64> {
        let Some(at) = self.load else { return self.edge_after(self.tick) };
        let before = self.edge_after(self.tick).filter(|edge| *edge < at);
        before.or_else(|| {
            let mut later = *self;
            later.advance(at - 1);
            later.edges = 0;
            later.advance(at);
            if later.edges > 0 { Some(at) } else { later.edge_after(at) }
        })
    }

    /// A control word for this counter, or its "Counter Latch Command".
    pub(super) fn command(&mut self, word: u8, tick: u64) {
        self.advance(tick);
        let access = match word >> 4 & 3 {
            0 => return self.latch(),
            1 => Access::Low,
            2 => Access::High,
            _ => Access::Both,
        };
        let value = self.value();
        self.access = access;
        self.mode = match word >> 1 & 7 {
            // Bit 2 of the mode is "don't care" in modes 2 and 3.
            mode @ 6.. => mode - 4,
            mode => mode,
        };
        self.programmed = word & 0x3f;
        self.bcd = word & 1 != 0;
        self.element = Element::Stopped(u32::from(value));
        self.register = None;
        self.null = true;
        self.low_byte = None;
        self.load = None;
        self.latched = None;
        self.latched_status = None;
        self.read_high = false;
        self.show();
    }

    fn latch(&mut self) {
        // "If a Counter is latched and then latched again before the count is read, the second is ignored."
        if self.latched.is_none() {
            self.latched = Some(self.value());
            self.read_high = false;
        }
    }

    /// The "Read-Back Command" for this counter.
    pub(super) fn read_back(&mut self, count: bool, status: bool, tick: u64) {
        self.advance(tick);
        if count {
            self.latch();
        }
        if status && self.latched_status.is_none() {
            let flags = u8::from(self.output) << 7 | u8::from(self.null) << 6;
            self.latched_status = Some(flags | self.programmed);
        }
    }

    pub(super) fn read(&mut self, tick: u64) -> u8 {
        self.advance(tick);
        // "The first read operation will return the latched status, regardless of which was latched first."
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let value = self.latched.unwrap_or_else(|| self.value());
        let high = match self.access {
            Access::Low => false,
            Access::High => true,
            Access::Both => {
                self.read_high = !self.read_high;
                !self.read_high
            }
        };
        if self.access != Access::Both || high {
            self.latched = None;
        }
        value.to_le_bytes()[usize::from(high)]
    }

    /// A byte of a count.
    pub(super) fn write(&mut self, byte: u8, tick: u64) {
        self.advance(tick);
        let value = match (self.access, self.low_byte.take()) {
            (Access::Low, _) => u16::from(byte),
            (Access::High, _) => u16::from(byte) << 8,
            (Access::Both, Some(low)) => u16::from_le_bytes([low, byte]),
            (Access::Both, None) => {
                self.low_byte = Some(byte);
                if self.mode == 0 {
                    // "Writing the first byte disables counting. OUT is set low immediately."
                    self.stop();
                }
                return;
            }
        };
        self.register = Some(self.decoded(value));
        self.null = true;
        match self.mode {
            // "OUT remains high until a new count": it is low from the write on.
            0 => {
                self.stop();
                self.load = Some(self.tick + 1);
            }
            4 => self.load = Some(self.tick + 1),
            2 | 3 if self.load.is_none() => self.load = self.end_of_cycle(),
            // Modes 1 and 5 wait for the trigger, modes 2 and 3 for the load that is coming.
            _ => {}
        }
    }

    fn stop(&mut self) {
        self.element = Element::Stopped(u32::from(self.value()));
        self.load = None;
        self.show();
    }

    /// When a new count is loaded in modes 2 and 3: the next pulse if none was, else the end of the cycle, or of the half
    /// cycle in mode 3. A counter that the gate holds waits for its trigger.
    fn end_of_cycle(&self) -> Option<u64> {
        match self.element {
            Element::Stopped(_) => Some(self.tick + 1),
            Element::Held(..) => None,
            Element::Running(since) => {
                let (elapsed, count) = (self.tick - since, u64::from(self.count));
                let begin = elapsed / count * count;
                let half = begin + self.first_half();
                let end = if self.mode == 3 && elapsed < half { half } else { begin + count };
                Some(since + end)
            }
        }
    }

    /// The gate's level.
    pub(super) fn set_gate(&mut self, level: bool, tick: u64) {
        self.advance(tick);
        if level == self.gate {
            return;
        }
        self.gate = level;
        if level {
            self.gate_rises()
        } else {
            self.gate_falls()
        }
        self.show();
    }

    /// "Gate Pin Operations": a trigger in modes 1, 2, 3 and 5, on with the counting in modes 0 and 4.
    fn gate_rises(&mut self) {
        if self.triggered() || (self.periodic() && matches!(self.element, Element::Held(..))) {
            if self.register.is_some() {
                self.load = Some(self.tick + 1);
            }
        } else if let Element::Held(elapsed, _) = self.element {
            self.element = Element::Running(self.tick - elapsed);
        }
    }

    fn gate_falls(&mut self) {
        if self.triggered() {
            return;
        }
        if let Element::Running(since) = self.element {
            self.element = Element::Held(self.tick - since, self.tick);
            if self.periodic() {
                // The count that waits for the end of the cycle waits for the trigger now.
                self.load = None;
            }
        }
    }
}
