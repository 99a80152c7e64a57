//! Rules of the MC146818A data sheet, by section.

use crate::platform::cmos::Cmos;

const SECOND: u64 = 1_000_000_000;
/// 2024-02-29 13:59:58, a Thursday.
const LEAP_DAY: u64 = 1_709_215_198 * SECOND;

fn read(cmos: &mut Cmos, index: u8, now: u64) -> u8 {
    cmos.write(0x70, index, now);
    cmos.read(0x71, now).unwrap()
}

fn write(cmos: &mut Cmos, index: u8, value: u8, now: u64) {
    cmos.write(0x70, index, now);
    cmos.write(0x71, value, now);
}

/// Century, year, month, day, weekday, hour, minute, second.
fn clock(cmos: &mut Cmos, now: u64) -> [u8; 8] {
    [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| read(cmos, index, now))
}

// "Time, Calendar, and Alarm Locations", with both data modes and both hour forms of register B.
#[test]
fn forms_of_the_time() {
    let mut cmos = Cmos::new(128 << 20, LEAP_DAY);
    assert_eq!(clock(&mut cmos, 0), [0x20, 0x24, 0x02, 0x29, 5, 0x13, 0x59, 0x58]);
    assert_eq!(clock(&mut cmos, 2 * SECOND), [0x20, 0x24, 0x02, 0x29, 5, 0x14, 0x00, 0x00]);
    write(&mut cmos, 11, 0x06, 0);
    assert_eq!(clock(&mut cmos, 0), [20, 24, 2, 29, 5, 13, 59, 58]);
    write(&mut cmos, 11, 0x04, 0);
    assert_eq!(read(&mut cmos, 4, 0), 0x81, "one in the afternoon");
    write(&mut cmos, 11, 0x00, 0);
    let hours = [10, 11, 22, 23].map(|hours| read(&mut cmos, 4, hours * 3600 * SECOND));
    assert_eq!(hours, [0x91, 0x12, 0x11, 0x92], "12 is midnight, 12 with bit 7 noon");
}

// Every day from 1970 on has its date: the next one of the same month, or the first of the next month.
#[test]
fn calendar() {
    let mut cmos = Cmos::new(0, 0);
    write(&mut cmos, 11, 0x06, 0);
    assert_eq!(clock(&mut cmos, 0), [19, 70, 1, 1, 5, 0, 0, 0]);
    let (mut year, mut month, mut day, mut weekday) = (1970u64, 1, 1, 5);
    for n in 1..150_000u64 {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = match month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        (day, weekday) = (day % length + 1, weekday % 7 + 1);
        if day == 1 {
            month = month % 12 + 1;
            year += u64::from(month == 1);
        }
        let date = [0x32, 9, 8, 7, 6].map(|index| read(&mut cmos, index, n * 86_400 * SECOND));
        assert_eq!(date, [(year / 100) as u8, (year % 100) as u8, month, day, weekday], "day {n}");
    }
}

// "Update Cycle": bit 7 of register A warns 244 µs before the registers change; never while the clock is held.
#[test]
fn update_in_progress() {
    let mut cmos = Cmos::new(0, LEAP_DAY);
    assert_eq!(read(&mut cmos, 10, 0), 0x26);
    assert_eq!(read(&mut cmos, 10, SECOND - 244_000), 0xa6);
    assert_eq!(read(&mut cmos, 10, SECOND - 1), 0xa6);
    assert_eq!(read(&mut cmos, 10, SECOND), 0x26);
    write(&mut cmos, 11, 0x82, SECOND);
    assert_eq!(read(&mut cmos, 10, 2 * SECOND - 1), 0x26);
    // Register C tells of an update once; register D says that the battery is good.
    let mut cmos = Cmos::new(0, LEAP_DAY);
    assert_eq!(
        [read(&mut cmos, 12, 0), read(&mut cmos, 12, SECOND), read(&mut cmos, 12, SECOND)],
        [0, 0x10, 0]
    );
    write(&mut cmos, 13, 0, 0);
    assert_eq!(read(&mut cmos, 13, 0), 0x80);
}

// "Register B", SET: the clock is held, set field by field, and goes on.
#[test]
fn setting() {
    let mut cmos = Cmos::new(0, LEAP_DAY);
    write(&mut cmos, 11, 0x82, 0);
    for (index, value) in [(0x32, 0x19), (9, 0x99), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x50)] {
        write(&mut cmos, index, value, 0);
    }
    assert_eq!(read(&mut cmos, 0, 30 * SECOND), 0x50, "held");
    write(&mut cmos, 11, 0x02, 30 * SECOND);
    assert_eq!(clock(&mut cmos, 40 * SECOND), [0x20, 0x00, 0x01, 0x01, 7, 0, 0, 0]);
    // A field by itself, without SET.
    write(&mut cmos, 9, 0x30, 40 * SECOND);
    assert_eq!(clock(&mut cmos, 41 * SECOND), [0x20, 0x30, 0x01, 0x01, 3, 0, 0, 0x01]);
    // What is no time changes nothing.
    for (index, value) in [(8, 0x13), (7, 0x00), (4, 0x24), (2, 0x60), (0, 0x5a), (9, 0xff), (0x32, 0x18)] {
        write(&mut cmos, index, value, 41 * SECOND);
    }
    assert_eq!(clock(&mut cmos, 41 * SECOND), [0x20, 0x30, 0x01, 0x01, 3, 0, 0, 0x01]);
}

// Port 0x70: seven bits choose, the eighth masks the NMI; it does not read back.
#[test]
fn index_and_memory() {
    let mut cmos = Cmos::new(0x1_2345_0000, 0);
    cmos.write(0x70, 0x80 | 0x7f, 0);
    assert!(cmos.nmi_masked());
    cmos.write(0x71, 0x5a, 0);
    assert_eq!((cmos.read(0x70, 0), cmos.read(0x71, 0)), (Some(0xff), Some(0x5a)));
    assert_eq!(read(&mut cmos, 0x7f, 0), 0x5a);
    assert!(!cmos.nmi_masked());
    let word = |cmos: &mut Cmos, at| u16::from_le_bytes([read(cmos, at, 0), read(cmos, at + 1, 0)]);
    assert_eq!([0x15, 0x17, 0x30, 0x34].map(|at| word(&mut cmos, at)), [640, 0xffff, 0xffff, 0xffff]);
    assert_eq!((word(&mut cmos, 0x5b), read(&mut cmos, 0x5d, 0)), (0x2345, 0));
    let mut cmos = Cmos::new(32 << 20, 0);
    assert_eq!(
        [0x15, 0x17, 0x30, 0x34, 0x5b].map(|at| word(&mut cmos, at)),
        [640, 31 << 10, 31 << 10, 256, 0]
    );
    assert_eq!((cmos.read(0x72, 0), cmos.write(0x72, 0, 0)), (None, false));
}
