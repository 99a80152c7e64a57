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

use crate::{entries, say};

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

/// Makes one attack and prints its line; true when all was as it must be.
fn make(row: &Row, watch: &watch::Watch) -> bool {
    let mut report = Report::new();
    (row.run)(&mut report);
    let back = subject::restore();
    report.check(format_args!("afterwards traps, callbacks and stack are taken again"), back);
    entries::arm();
    watch.look(&mut report);
    report.end(row.name, row.reason)
}

/// Makes all attacks, and sums up.
pub fn all() {
    let watch = watch::Watch::begin();
    let (mut good, mut bad) = (0, 0);
    for row in TABLES.iter().copied().flatten() {
        if make(row, &watch) { good += 1 } else { bad += 1 }
    }
    say!("demo: {good} ok, {bad} failed");
}

/// Makes those that need a second vcpu.
pub fn together() {
    let watch = watch::Watch::begin();
    let vcpus = crate::smp::start_all();
    say!("attack: {vcpus} vcpus take part");
    assert!(vcpus > 1, "these attacks need two vcpus");
    let good = smp::ROWS.iter().filter(|row| make(row, &watch)).count();
    say!("demo: {good} ok, {} failed", smp::ROWS.len() - good);
}

/// Makes the attack of a name, of those that the domain survives or of those that end it.
pub fn one(name: &str) {
    if let Some(attack) = pv_attack_logic::fatal::find(name) {
        say!("attack: {name}: {}", attack.reason);
        fatal::make(name);
        say!("FAILED attack.{name} the domain goes on: {}", attack.reason);
        say!("demo: 0 ok, 1 failed");
        return;
    }
    let watch = watch::Watch::begin();
    let alone = TABLES.iter().copied().flatten().find(|row| row.name == name);
    let together = smp::ROWS.iter().find(|row| row.name == name);
    if together.is_some() {
        let vcpus = crate::smp::start_all();
        say!("attack: {vcpus} vcpus take part");
        assert!(vcpus > 1, "this attack needs two vcpus");
    }
    let row = alone.or(together);
    let row = row.unwrap_or_else(|| panic!("no attack is called {name}"));
    let good = make(row, &watch);
    say!("demo: {} ok, {} failed", u32::from(good), u32::from(!good));
}
