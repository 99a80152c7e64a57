//! Which cases there are, and which of them a run is about.

use super::Machine;
use ::conformance::case::{Case, FullName, Row};
use anyhow::{Result, ensure};

/// A case and its row.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The row's place among all rows and topics.
    pub index: usize,
    /// The row or topic.
    pub row: &'static Row,
    /// The case.
    pub case: &'static Case,
}

impl Entry {
    /// The row's name: the call, and behind a dot the sub-operation.
    #[must_use]
    pub fn row_name(&self) -> String {
        self.row.name().to_string()
    }

    /// The case's full name, `ROW/CASE`.
    #[must_use]
    pub fn name(&self) -> String {
        FullName(self.row, self.case).to_string()
    }

    /// Why it makes no sense on a machine, if it makes none.
    #[must_use]
    pub fn why_not(&self, machine: Machine) -> Option<&'static str> {
        self.case.rings.why_not(machine == Machine::PvRing1)
    }
}

/// All cases, in the order in which a kernel runs them.
#[must_use]
pub fn all() -> Vec<Entry> {
    let rows = ::conformance::rows().enumerate();
    rows.flat_map(|(index, row)| row.cases.iter().map(move |case| Entry { index, row, case })).collect()
}

/// What a run is about: the words on the kernels' command lines, and on the host the same choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What the full names contain.
    pub filter: Option<String>,
    /// `(K, N)`: the rows whose place leaves K when divided by N.
    pub share: Option<(usize, usize)>,
}

impl Selection {
    /// Checks that it can stand on a command line.
    pub fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if let Some(filter) = &self.filter {
            ensure!(filter.chars().all(plain), "no name of a case has all of {filter:?} in it");
        }
        if let Some((part, parts)) = self.share {
            ensure!(
                part < parts,
                "share {part}/{parts} is not available; allowed: 0/{parts} to {}/{parts}",
                parts.max(1) - 1
            );
        }
        Ok(())
    }

    /// Whether a case belongs to it.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        self.filter.as_ref().is_none_or(|filter| entry.name().contains(filter.as_str()))
            && self.share.is_none_or(|(part, parts)| entry.index % parts == part)
    }

    /// The cases that belong to it and make sense on a machine.
    #[must_use]
    pub fn on(&self, machine: Machine) -> Vec<Entry> {
        all().into_iter().filter(|entry| self.takes(entry) && entry.why_not(machine).is_none()).collect()
    }

    /// Its words on a kernel's command line.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let filter = self.filter.iter().map(|filter| format!("filter={filter}"));
        filter.chain(self.share.map(|(part, parts)| format!("share={part}/{parts}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_fit_on_a_line() {
        let mut names: Vec<String> = all().iter().map(Entry::name).collect();
        assert!(!names.is_empty(), "the suite has no cases");
        for name in &names {
            let selection = Selection { filter: Some(name.clone()), share: None };
            selection.check().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        names.sort_unstable();
        names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
    }

    #[test]
    fn shares_are_all_of_it_and_filters_a_part() {
        let whole = Selection::default();
        let all = whole.on(Machine::PvRing3);
        let share = |part| Selection { filter: None, share: Some((part, 4)) };
        let sum: usize = (0..4).map(|part| share(part).on(Machine::PvRing3).len()).sum();
        assert_eq!(sum, all.len());
        let name = all[0].name();
        let one = Selection { filter: Some(name.clone()), share: Some((0, 1)) };
        assert!(one.on(Machine::PvRing3).iter().any(|entry| entry.name() == name));
        assert_eq!(one.words(), [format!("filter={name}"), "share=0/1".to_owned()]);
        assert!(whole.words().is_empty());
    }

    #[test]
    fn what_cannot_stand_on_a_command_line_is_refused() {
        for filter in ["a b", "a\"", "a,b", "a=b"] {
            assert!(Selection { filter: Some(filter.into()), share: None }.check().is_err(), "{filter}");
        }
        assert!(Selection { filter: None, share: Some((4, 4)) }.check().is_err());
        assert!(Selection { filter: None, share: Some((0, 0)) }.check().is_err());
        assert!(
            Selection { filter: Some("mmu_update.normal_pt_update/x-1".into()), share: Some((3, 4)) }
                .check()
                .is_ok()
        );
    }
}
