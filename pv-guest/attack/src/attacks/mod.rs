//! The attacks, a row for each: what is tried, and what it would do if it were let through.

mod address;
mod fatal;
mod flags;
mod report;
mod round_trips;
mod selectors;
mod smp;
mod stacks;
pub mod subject;
mod system_calls;
mod watch;
mod xsa;

pub use address::{HYPERVISOR, copy_of_root, is_own};
pub use report::Report;

use pv_attack_logic::rings;

use crate::{entries, ring, say};

/// One attack that the domain survives.
pub struct Row {
    /// Its name, after `attack.`.
    pub name: &'static str,
    /// What it would do if it were let through.
    pub reason: &'static str,
    /// Makes it.
    pub run: fn(&mut Report),
}

/// All rows, in the order they run.
const TABLES: &[&[Row]] = &[
    address::ROWS,
    system_calls::ROWS,
    flags::ROWS,
    round_trips::ROWS,
    selectors::ROWS,
    stacks::ROWS,
    xsa::TABLES[0],
    xsa::TABLES[1],
    xsa::TABLES[2],
    xsa::TABLES[3],
    xsa::TABLES[4],
];

/// Makes one attack and prints its line; true when all was as it must be. `None` is one that can be made in the other ring
/// alone: it is named with the reason.
fn make(row: &Row, watch: &watch::Watch) -> Option<bool> {
    if let Some(why) = rings::of(row.name).why_not(ring::is_3()) {
        say!("n/a attack.{} {why}", row.name);
        return None;
    }
    let mut report = Report::new();
    (row.run)(&mut report);
    let back = subject::restore();
    report.check(format_args!("afterwards traps, callbacks and stack are taken again"), back);
    entries::arm();
    watch.look(&mut report);
    Some(report.end(row.name, row.reason))
}

/// Makes attacks, and sums up.
fn make_all(rows: impl Iterator<Item = &'static Row>) {
    let watch = watch::Watch::begin();
    let (mut good, mut bad) = (0, 0);
    for row in rows {
        match make(row, &watch) {
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

/// Makes those that need a second vcpu.
pub fn together() {
    need_two();
    make_all(smp::ROWS.iter());
}

fn need_two() {
    let vcpus = crate::smp::start_all();
    say!("attack: {vcpus} vcpus take part");
    assert!(vcpus > 1, "these attacks need two vcpus");
}

/// Makes the attack of a name, of those that the domain survives or of those that end it.
pub fn one(name: &str) {
    if let Some(attack) = pv_attack_logic::fatal::find(name) {
        if let Some(why) = attack.rings.why_not(ring::is_3()) {
            say!("n/a attack.{name} {why}");
            return;
        }
        say!("attack: {name}: {}", attack.reason);
        fatal::make(name);
        say!("FAILED attack.{name} the domain goes on: {}", attack.reason);
        say!("demo: 0 ok, 1 failed");
        return;
    }
    let alone = TABLES.iter().copied().flatten().find(|row| row.name == name);
    let together = smp::ROWS.iter().find(|row| row.name == name);
    if together.is_some() {
        need_two();
    }
    let row = alone.or(together);
    let row = row.unwrap_or_else(|| panic!("no attack is called {name}"));
    make_all(core::iter::once(row));
}
