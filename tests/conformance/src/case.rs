//! What a case is, and a row of them.

use core::fmt;

use crate::trial::Trial;

/// What a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The hypervisor does what is asked.
    Good,
    /// The hypervisor refuses, with a code or an exception, and nothing has changed.
    Refusal,
    /// The hypervisor ends the domain as crashed. Such a case has a domain of its own.
    Fatal,
}

/// Which domains a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// One without privileges.
    DomU,
    /// Xen's first domain; on a hypervisor that has none, an ordinary one.
    Dom0,
    /// Two without privileges, which run the case at the same time, each its [side](crate::pair::Side).
    Pair,
}

impl Role {
    /// Its name on the command line and in goldens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DomU => "domU",
            Self::Dom0 => "dom0",
            Self::Pair => "pair",
        }
    }
}

/// In which rings a case makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// In both.
    Both,
    /// In Xen's ring 3 alone, for this reason.
    Three(&'static str),
    /// In ring 1 alone, for this reason.
    One(&'static str),
}

impl Rings {
    /// Why a kernel in ring 1 (or else in ring 3) has nothing to do with it, if that is so.
    #[must_use]
    pub const fn why_not(self, in_ring1: bool) -> Option<&'static str> {
        match (self, in_ring1) {
            (Self::Three(why), true) | (Self::One(why), false) => Some(why),
            _ => None,
        }
    }
}

/// Why a value differs, though both hypervisors behave alike.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// The value's name; a final `*` stands for any ending. `outcome` is the case's outcome.
    pub value: &'static str,
    /// The configuration that makes the difference.
    pub reason: &'static str,
}

impl Explained {
    /// Whether this is about a value of the case.
    #[must_use]
    pub fn covers(&self, value: &str) -> bool {
        match self.value.strip_suffix('*') {
            Some(start) => value.starts_with(start),
            None => value == self.value,
        }
    }
}

/// Why a case did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It cannot run here, which it has found out, for this reason.
    Skip(&'static str),
    /// What it needs first did not work: what, and the hypervisor's answer.
    Error(&'static str, i64),
}

/// What a case comes to, if it comes to its end.
pub type Verdict = Result<(), Stop>;

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name in the row: lower-case letters, digits and dashes.
    pub name: &'static str,
    /// What it provokes, in a line.
    pub about: &'static str,
    /// Good use or refusal.
    pub kind: Kind,
    /// The domains it needs.
    pub role: Role,
    /// The rings it makes sense in.
    pub rings: Rings,
    /// The differences between hypervisors that configuration makes.
    pub explained: &'static [Explained],
    /// Provokes and observes.
    pub run: fn(&mut Trial) -> Verdict,
}

impl Case {
    /// Good use, by a domain without privileges, in both rings.
    #[must_use]
    pub const fn good(name: &'static str, about: &'static str, run: fn(&mut Trial) -> Verdict) -> Self {
        Self { name, about, kind: Kind::Good, role: Role::DomU, rings: Rings::Both, explained: &[], run }
    }

    /// A refusal.
    #[must_use]
    pub const fn refusal(name: &'static str, about: &'static str, run: fn(&mut Trial) -> Verdict) -> Self {
        Self { kind: Kind::Refusal, ..Self::good(name, about, run) }
    }

    /// An end as crashed.
    #[must_use]
    pub const fn fatal(name: &'static str, about: &'static str, run: fn(&mut Trial) -> Verdict) -> Self {
        Self { kind: Kind::Fatal, ..Self::good(name, about, run) }
    }

    /// The same for these domains.
    #[must_use]
    pub const fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same for these rings.
    #[must_use]
    pub const fn rings(self, rings: Rings) -> Self {
        Self { rings, ..self }
    }

    /// The same with these differences explained.
    #[must_use]
    pub const fn explained(self, explained: &'static [Explained]) -> Self {
        Self { explained, ..self }
    }
}

/// The cases of one row of the table of hypercalls, or of a topic beyond it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The call's name in the table, or the topic's.
    pub call: &'static str,
    /// The sub-operation's.
    pub operation: Option<&'static str>,
    /// Why there is nothing that could be refused, if that is so; a case shows it.
    pub no_refusal: Option<&'static str>,
    /// The cases.
    pub cases: &'static [Case],
}

impl Row {
    /// Of a call without sub-operations, or of what a call with some does besides.
    #[must_use]
    pub const fn call(call: &'static str, cases: &'static [Case]) -> Self {
        Self { call, operation: None, no_refusal: None, cases }
    }

    /// Of a sub-operation.
    #[must_use]
    pub const fn operation(call: &'static str, operation: &'static str, cases: &'static [Case]) -> Self {
        Self { call, operation: Some(operation), no_refusal: None, cases }
    }

    /// The same, with nothing to refuse for this reason.
    #[must_use]
    pub const fn no_refusal(self, reason: &'static str) -> Self {
        Self { no_refusal: Some(reason), ..self }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&'static self) -> RowName {
        RowName(self)
    }
}

/// `CALL` or `CALL.OPERATION`.
#[derive(Clone, Copy, Debug)]
pub struct RowName(&'static Row);

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.call)?;
        self.0.operation.map_or(Ok(()), |operation| write!(f, ".{operation}"))
    }
}

/// `ROW/CASE`.
#[derive(Clone, Copy, Debug)]
pub struct FullName(pub &'static Row, pub &'static Case);

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.name(), self.1.name)
    }
}

/// Why values differ between Xen and Paravane.
pub mod because {
    /// Xen builds its first domain itself.
    pub const BUILDER: &str =
        "Xen builds its first domain by itself, and Paravane as Xen's tools build the others";
    /// The first domain may do everything.
    pub const PRIVILEGE: &str =
        "Xen's first domain is privileged and has devices, a domain of Paravane does not";
    /// Nobody serves the first domain, since it is the one that serves.
    pub const SERVED: &str = "Xen's first domain serves xenstore and the console, and has no rings of them";
    /// A feature that depends on what the hypervisor makes of the processor.
    pub const FEATURES: &str = "Xen makes LFENCE serialise and says so, Paravane does neither";
    /// Parts of Xen that its builder may leave out.
    pub const BUILD: &str = "an option of Xen's build, which Paravane leaves out";
    /// The processor sees a guest's table of descriptors through a read-only mapping.
    pub const ACCESSED: &str = "Paravane sets accessed bits beforehand, so that the processor need not";
    /// There is no source of machine checks.
    pub const MACHINE_CHECKS: &str = "Paravane reports no machine checks, and keeps no state of them";
    /// A fault of the emulator's, which another version may not have.
    pub const EMULATOR: &str = "a fault of the emulator's";
    /// Xen's release build keeps its console to the first domain.
    pub const CONSOLE: &str =
        "Xen built for release keeps its console to the first domain, Paravane shares it among all";
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;
    use std::string::ToString;

    #[test]
    fn names_are_distinct_and_plain() {
        let mut seen = BTreeSet::new();
        for (row, case) in crate::all() {
            let name = FullName(row, case).to_string();
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(!case.name.is_empty() && case.name.bytes().all(plain), "{name}");
            assert!(seen.insert(name.clone()), "{name} twice");
            for (index, explained) in case.explained.iter().enumerate() {
                let earlier = &case.explained[..index];
                assert!(!earlier.iter().any(|other| other.covers(explained.value)), "{name}: {explained:?}");
            }
        }
    }

    #[test]
    fn rows_are_distinct() {
        let mut seen = BTreeSet::new();
        for row in crate::rows() {
            assert!(seen.insert(row.name().to_string()), "{} twice", row.name());
            assert!(!row.cases.is_empty(), "{} has no case", row.name());
        }
    }

    #[test]
    fn an_explanation_covers_its_value_alone() {
        let one = Explained { value: "flags", reason: "" };
        assert!(one.covers("flags") && !one.covers("flags2"));
        let many = Explained { value: "leaf.*", reason: "" };
        assert!(many.covers("leaf.1") && many.covers("leaf.") && !many.covers("leaf"));
    }
}
