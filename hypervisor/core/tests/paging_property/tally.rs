//! How often each operation ended how.

use crate::ops::Kind;
use paravane_abi::errno::Errno;
use std::collections::BTreeMap;
use std::fmt;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// The budget was spent: to be done again, or abandoned.
    Again,
    Refused(Errno),
}

#[derive(Clone, Default)]
pub struct Tally {
    counts: BTreeMap<(Kind, String), u64>,
    /// Operations that were interrupted and then left alone.
    pub abandoned: u64,
    /// Operations that were interrupted and then done to the end.
    pub resumed: u64,
    /// Operations that left a table to be released by a later one.
    pub left_pending: u64,
    /// Refusals after which every count was compared with the one before.
    pub compared: u64,
}

impl Tally {
    pub fn count(&mut self, kind: Kind, end: End) {
        let column = match end {
            End::Done => "done".to_owned(),
            End::Again => "again".to_owned(),
            End::Refused(error) => error.name().to_owned(),
        };
        *self.counts.entry((kind, column)).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (key, count) in &other.counts {
            *self.counts.entry(key.clone()).or_default() += count;
        }
        self.abandoned += other.abandoned;
        self.resumed += other.resumed;
        self.left_pending += other.left_pending;
        self.compared += other.compared;
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub fn of(&self, kind: Option<Kind>, column: &str) -> u64 {
        self.counts
            .iter()
            .filter(|((of, name), _)| kind.is_none_or(|kind| kind == *of) && name == column)
            .map(|(_, count)| count)
            .sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
        for ((kind, column), count) in &self.counts {
            kinds.entry(*kind).or_default().push(format!("{column} {count}"));
        }
        for (kind, columns) in kinds {
            writeln!(f, "{:22} {}", format!("{kind:?}"), columns.join(", "))?;
        }
        let percent = self.of(None, "done") * 100 / self.total().max(1);
        writeln!(f, "{} operations, {percent}% done", self.total())?;
        writeln!(
            f,
            "interrupted: {} resumed, {} abandoned; {} releases left pending; {} refusals compared",
            self.resumed, self.abandoned, self.left_pending, self.compared
        )
    }
}
