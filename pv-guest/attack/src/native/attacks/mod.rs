//! The attacks on a PC, a row for each: what is tried, and what it would do if it were let through.

mod code;
mod devices;
mod entries;
mod flags;
mod gates;
mod registers;
mod segments;
mod tables;
mod walks;

use pv_attack_logic::pc;

use super::{fatal, memory, subject, trapped};
use crate::attacks::{Report, Row};
use crate::say;

const TABLES: &[&[Row]] = &[
    walks::ROWS,
    tables::ROWS,
    gates::ROWS,
    segments::ROWS,
    registers::ROWS,
    code::ROWS,
    flags::ROWS,
    entries::ROWS,
    devices::ROWS,
];

/// Makes one attack and prints its line; true when all was as it must be. `None` is one that only a pretended machine can
/// be asked to survive.
fn make(row: &Row) -> Option<bool> {
    let everywhere = pc::EVERYWHERE.contains(&row.name);
    assert!(everywhere || pc::PRETENDED.contains(&row.name), "{} is in no list", row.name);
    if !everywhere && !trapped() {
        say!("n/a attack.{} a bare machine does what it is told", row.name);
        return None;
    }
    let mark = memory::mark();
    let mut report = Report::new();
    (row.run)(&mut report);
    subject::restore_all();
    subject::served(&mut report);
    memory::release(mark);
    Some(report.end(row.name, row.reason))
}

fn make_all(rows: impl Iterator<Item = &'static Row>) {
    let (mut good, mut bad) = (0, 0);
    for row in rows {
        match make(row) {
            Some(true) => good += 1,
            Some(false) => bad += 1,
            None => {}
        }
    }
    say!("demo: {good} ok, {bad} failed");
}

/// Makes all attacks, and sums up.
pub fn all() {
    make_all(TABLES.iter().copied().flatten());
}

/// Makes the attack of a name, of those that the domain survives or of those that end it.
pub fn one(name: &str) {
    if let Some(attack) = pc::find(name) {
        say!("attack: {name}: {}", attack.reason);
        fatal::make(name);
        say!("FAILED attack.{name} the domain goes on: {}", attack.reason);
        return;
    }
    let row = TABLES.iter().copied().flatten().find(|row| row.name == name);
    make_all(core::iter::once(row.unwrap_or_else(|| panic!("no attack is called {name}"))));
}
