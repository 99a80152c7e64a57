//! The clock with its battery and its 128 bytes of memory, at ports 0x70 and 0x71.
//!
//! Source: Motorola MC146818A data sheet, cited by the title of its section; the places of the memory's size are those
//! that a PC's firmware writes (IBM PC/AT technical reference, "CMOS RAM").
//!
//! It raises no interrupts: alarms, periods and updates can be asked for in register B, but nothing is wired to line 8.

/// The port that chooses a byte; its bit 7 masks the NMI.
pub const INDEX: u16 = 0x70;
/// The port of the chosen byte.
pub const DATA: u16 = 0x71;

const SECONDS: u64 = 1_000_000_000;
const DAY: u64 = 86_400;
/// How long before a new second bit 7 of register A is set: 244 µs of warning, 1984 µs of work ("Update Cycle").
const UPDATE: u64 = 2_228_000;
/// Registers of the clock: seconds, minutes, hours, day of the week, of the month, month, year; and the century, which
/// is the PC's own.
const CLOCK: [u8; 8] = [0, 2, 4, 6, 7, 8, 9, CENTURY];
const CENTURY: u8 = 0x32;
const A: u8 = 10;
const B: u8 = 11;
const C: u8 = 12;
const D: u8 = 13;
/// Register B: hold the clock to set it; count in binary; count 24 hours.
const SET: u8 = 0x80;
const BINARY: u8 = 0x04;
const HOURS_24: u8 = 0x02;
/// Register C: an update has ended.
const UPDATE_ENDED: u8 = 0x10;

/// A time, in fields as a person reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    /// 1 is Sunday.
    weekday: u64,
}

impl Date {
    /// The date so many seconds after 1970 began. The days are counted from 0000-03-01, so that a leap day is the last
    /// of its year.
    fn of(seconds: u64) -> Self {
        let (days, time) = (seconds / DAY, seconds % DAY);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: era * 400 + year + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: time / 3600,
            minute: time / 60 % 60,
            second: time % 60,
            // 1970 began on a Thursday.
            weekday: (days + 4) % 7 + 1,
        }
    }

    /// Seconds since 1970, or `None` for what is no date or is earlier. A day that its month does not have is one of the
    /// next month's.
    fn seconds(&self) -> Option<u64> {
        let valid = (1970..10_000).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        if !valid {
            return None;
        }
        let year = if self.month > 2 { self.year } else { self.year - 1 };
        let march_month = if self.month > 2 { self.month - 3 } else { self.month + 9 };
        let days =
            year * 365 + year / 4 - year / 100 + year / 400 + (march_month * 153 + 2) / 5 + self.day - 1;
        Some((days - 719_468) * DAY + self.hour * 3600 + self.minute * 60 + self.second)
    }
}

/// The clock and its memory.
#[derive(Clone, Copy, Debug)]
pub struct Cmos {
    bytes: [u8; 128],
    /// As it was written: bit 7 masks the NMI.
    index: u8,
    /// Nanoseconds between 1970 and the machine's start, as the guest has set its clock.
    start: u64,
    /// The second up to which register C has told of updates.
    told: u64,
}

impl Cmos {
    /// A clock of a machine that has so many bytes of memory and was started so many nanoseconds after 1970 began. It
    /// counts in BCD and 24 hours.
    pub fn new(memory: u64, start: u64) -> Self {
        let mut bytes = [0; 128];
        bytes[usize::from(A)] = 0x26;
        bytes[usize::from(B)] = HOURS_24;
        bytes[usize::from(D)] = 0x80;
        let mut put = |at: usize, value: u64, most: u64| {
            let value = value.min(most).to_le_bytes();
            bytes[at..at + 2].copy_from_slice(&value[..2]);
            value
        };
        // In KiB: below 640 KiB, above 1 MiB (twice); in 64 KiB: above 16 MiB, above 4 GiB.
        put(0x15, memory >> 10, 640);
        let extended = memory.saturating_sub(1 << 20);
        put(0x17, extended >> 10, 0xffff);
        put(0x30, extended >> 10, 0xffff);
        put(0x34, memory.saturating_sub(16 << 20) >> 16, 0xffff);
        let high = put(0x5b, memory.saturating_sub(4 << 30) >> 16, 0xff_ffff);
        bytes[0x5d] = high[2];
        Self { bytes, index: 0, start, told: start / SECONDS }
    }

    /// Whether the guest has masked the NMI (bit 7 of port 0x70).
    pub const fn nmi_masked(&self) -> bool {
        self.index & 0x80 != 0
    }

    fn wall(&self, now: u64) -> u64 {
        self.start.saturating_add(now)
    }

    fn register(&self, register: u8) -> u8 {
        self.bytes[usize::from(register & 0x7f)]
    }

    fn held(&self) -> bool {
        self.register(B) & SET != 0
    }

    /// Reads one of the two ports; `None` if it is neither. The index cannot be read back.
    pub fn read(&mut self, port: u16, now: u64) -> Option<u8> {
        match port {
            INDEX => Some(0xff),
            DATA => Some(self.read_byte(self.index & 0x7f, now)),
            _ => None,
        }
    }

    fn read_byte(&mut self, index: u8, now: u64) -> u8 {
        let wall = self.wall(now);
        match index {
            // "The UIP bit is cleared when the SET bit is one."
            A if !self.held() && SECONDS - wall % SECONDS <= UPDATE => self.register(A) | 0x80,
            C => {
                let updated = !self.held() && wall / SECONDS != self.told;
                self.told = wall / SECONDS;
                if updated { UPDATE_ENDED } else { 0 }
            }
            _ if CLOCK.contains(&index) && !self.held() => self.encoded(index, &Date::of(wall / SECONDS)),
            _ => self.register(index),
        }
    }

    /// Writes one of the two ports; whether it is one of them.
    pub fn write(&mut self, port: u16, value: u8, now: u64) -> bool {
        match port {
            INDEX => self.index = value,
            DATA => self.write_byte(self.index & 0x7f, value, now),
            _ => return false,
        }
        true
    }

    fn write_byte(&mut self, index: u8, value: u8, now: u64) {
        match index {
            A => self.bytes[usize::from(A)] = value & 0x7f,
            B => {
                let before = self.held();
                if !before && value & SET != 0 {
                    self.take_clock(now);
                }
                self.bytes[usize::from(B)] = value;
                if before && value & SET == 0 {
                    self.set_clock(now);
                }
            }
            // Read-only.
            C | D => {}
            _ if CLOCK.contains(&index) && !self.held() => {
                self.take_clock(now);
                self.bytes[usize::from(index)] = value;
                self.set_clock(now);
            }
            _ => self.bytes[usize::from(index & 0x7f)] = value,
        }
    }

    /// Copies the running clock to its registers.
    fn take_clock(&mut self, now: u64) {
        let date = Date::of(self.wall(now) / SECONDS);
        for register in CLOCK {
            self.bytes[usize::from(register)] = self.encoded(register, &date);
        }
    }

    /// Lets the clock go on from what its registers say. If that is no date, it goes on from where it was.
    fn set_clock(&mut self, now: u64) {
        let number = |register: u8| self.decoded(self.register(register));
        let date = Date {
            year: number(CENTURY) * 100 + number(9),
            month: number(8),
            day: number(7),
            hour: self.decoded_hour(self.register(4)),
            minute: number(2),
            second: number(0),
            weekday: number(6),
        };
        let set = date.seconds().and_then(|seconds| seconds.checked_mul(SECONDS));
        // A clock set to before the machine's start would need a negative one; it is left as it was.
        if let Some(start) = set.and_then(|wall| wall.checked_sub(now)) {
            self.start = start;
        }
    }

    fn encoded(&self, register: u8, date: &Date) -> u8 {
        match register {
            0 => self.digits(date.second),
            2 => self.digits(date.minute),
            4 => self.encoded_hour(date.hour),
            6 => self.digits(date.weekday),
            7 => self.digits(date.day),
            8 => self.digits(date.month),
            9 => self.digits(date.year % 100),
            _ => self.digits(date.year / 100),
        }
    }

    /// 1 to 12 with bit 7 for the afternoon, or 0 to 23 ("Time, Calendar, and Alarm Locations").
    fn encoded_hour(&self, hour: u64) -> u8 {
        if self.register(B) & HOURS_24 != 0 {
            return self.digits(hour);
        }
        let afternoon = if hour >= 12 { 0x80 } else { 0 };
        self.digits((hour + 11) % 12 + 1) | afternoon
    }

    fn decoded_hour(&self, byte: u8) -> u64 {
        if self.register(B) & HOURS_24 != 0 {
            return self.decoded(byte);
        }
        let (hour, afternoon) = (self.decoded(byte & 0x7f), byte & 0x80 != 0);
        // 0 and 13 are no hours of this form.
        if (1..=12).contains(&hour) { hour % 12 + if afternoon { 12 } else { 0 } } else { 24 }
    }

    /// A number below 100 as the clock counts it.
    fn digits(&self, number: u64) -> u8 {
        let number = (number % 100) as u8;
        if self.register(B) & BINARY != 0 { number } else { ((number / 10) << 4) | (number % 10) }
    }

    fn decoded(&self, byte: u8) -> u64 {
        if self.register(B) & BINARY != 0 {
            return u64::from(byte);
        }
        let (tens, ones) = (byte >> 4, byte & 0xf);
        // A digit above 9 makes a number that no field takes.
        if tens > 9 || ones > 9 { u64::MAX >> 32 } else { u64::from(tens * 10 + ones) }
    }
}
