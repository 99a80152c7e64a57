//! What the registers of a PC's battery-backed clock say.

/// The registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Seconds, minutes, hours, day, month, year of the century.
    pub time: [u8; 6],
    /// The century, where firmware keeps it; 0 where it does not.
    pub century: u8,
    /// Register B: whether numbers are binary, whether hours count to 24.
    pub format: u8,
}

const BINARY: u8 = 1 << 2;
const TO_24: u8 = 1 << 1;
/// Set in hours after noon that count to 12.
const AFTER_NOON: u8 = 1 << 7;

/// Days from 1970-01-01 to a day of the Gregorian calendar, whose year begins in March here, so that leap days come last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    // Months of 31 and 30 days repeat every five.
    let of_year = (153 * month + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + of_year).saturating_sub(719_468)
}

/// Nanoseconds from 1970 to what the registers say.
pub fn nanoseconds(registers: &Registers) -> u64 {
    let binary = registers.format & BINARY != 0;
    let number =
        |value: u8| u64::from(if binary { value } else { (value >> 4).wrapping_mul(10) + (value & 0xf) });
    let [seconds, minutes, hours, day, month, year] = registers.time;
    let hour = if registers.format & TO_24 != 0 {
        number(hours)
    } else {
        number(hours & !AFTER_NOON) % 12 + if hours & AFTER_NOON != 0 { 12 } else { 0 }
    };
    let century = match number(registers.century) {
        century @ 19..=30 => century,
        // Years that this kernel may see.
        _ => 20,
    };
    let days = days(century * 100 + number(year), number(month), number(day));
    (((days * 24 + hour) * 60 + number(minutes)) * 60 + number(seconds)) * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(time: [u8; 6], century: u8, format: u8) -> u64 {
        nanoseconds(&Registers { time, century, format }) / 1_000_000_000
    }

    #[test]
    fn the_calendar_is_gregorian() {
        // The sums are those of `date -u -d TIME +%s`.
        assert_eq!(seconds([0, 0, 0, 1, 1, 70], 19, BINARY | TO_24), 0);
        assert_eq!(seconds([59, 59, 23, 28, 2, 0], 20, BINARY | TO_24), 951_782_399);
        assert_eq!(seconds([0, 0, 0, 1, 3, 0], 20, BINARY | TO_24), 951_868_800);
        assert_eq!(seconds([5, 4, 3, 31, 12, 99], 20, BINARY | TO_24), 4_102_369_445);
    }

    #[test]
    fn numbers_and_hours_have_two_forms_each() {
        let binary = seconds([17, 24, 15, 23, 11, 26], 20, BINARY | TO_24);
        assert_eq!(binary, 1_795_447_457);
        assert_eq!(seconds([0x17, 0x24, 0x15, 0x23, 0x11, 0x26], 0x20, TO_24), binary);
        assert_eq!(seconds([0x17, 0x24, 0x83, 0x23, 0x11, 0x26], 0x20, 0), binary);
        assert_eq!(seconds([0x17, 0x24, 0x83, 0x23, 0x11, 0x26], 0, 0), binary, "no century is this one");
        // Noon and midnight.
        assert_eq!(seconds([0, 0, 0x92, 1, 1, 0x70], 0x19, 0), 43_200);
        assert_eq!(seconds([0, 0, 0x12, 1, 1, 0x70], 0x19, 0), 0);
    }
}
