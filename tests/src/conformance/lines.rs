//! Reads what the suite's kernel prints: `conformance: WORD REST`, each line behind the mark of its domain if there are
//! several.

use std::str::FromStr;

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// All that it checked held.
    Success,
    /// Something did not hold.
    Failure,
    /// It could not be carried out, for a reason that has nothing to do with what it checks.
    Error,
    /// What it needs is not here, as it found out when it ran.
    Skip,
    /// It fell silent, or its domain or the machine ended under it.
    Crash,
}

impl Outcome {
    /// All of them, in the order of the sum.
    pub const ALL: [Self; 5] = [Self::Success, Self::Failure, Self::Error, Self::Skip, Self::Crash];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Skip => "skip",
            Self::Crash => "crash",
        }
    }

    /// Whether a run with such a case is a bad one.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Failure | Self::Error | Self::Crash)
    }
}

impl FromStr for Outcome {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == word).ok_or(())
    }
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A case starts.
    Begin(String),
    /// A case saw something.
    Value {
        /// The case.
        case: String,
        /// What it looked at.
        what: String,
        /// What it saw.
        text: String,
    },
    /// A case saw something else than it should have.
    Wrong {
        /// The case.
        case: String,
        /// `WHAT: got TEXT, wanted TEXT`.
        text: String,
    },
    /// A case ended.
    Ended {
        /// The case.
        case: String,
        /// How.
        outcome: Outcome,
        /// Why, where that is said.
        reason: String,
    },
    /// All cases were run, so many.
    End(usize),
    /// The kernel gave up, for this reason.
    Panic(String),
    /// The hypervisor, or what started the domain, says that it was crashed.
    Crashed(u16),
    /// The hypervisor says that the domain has ended itself as crashed.
    GaveUp(u16),
}

/// A line's event, and the domain that the line is marked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The domain, where the line has a mark.
    pub domain: Option<u16>,
    /// What it says.
    pub event: Event,
}

/// What the suite's lines begin with.
const START: &str = "conformance: ";

/// Bytes after which Paravane cuts a line of a domain that does not have the console (`console/lines.rs` of its core).
const CUT: usize = 256;

/// All events among a console's lines. A line that was cut goes on in the domain's next one.
#[must_use]
pub fn read(lines: &[String]) -> Vec<Said> {
    let mut said = Vec::new();
    let mut cut: Vec<(u16, String)> = Vec::new();
    for line in lines {
        let (domain, text) = marked(line);
        let Some(number) = domain else {
            said.extend(event(text).map(|event| Said { domain, event }));
            continue;
        };
        let begun = cut.iter().position(|(other, _)| *other == number).map(|at| cut.swap_remove(at).1);
        let whole = begun.unwrap_or_default() + text;
        if text.len() == CUT {
            cut.push((number, whole));
        } else {
            said.extend(event(&whole).map(|event| Said { domain, event }));
        }
    }
    // The last line may have had just that length.
    said.extend(
        cut.into_iter()
            .filter_map(|(number, text)| event(&text).map(|event| Said { domain: Some(number), event })),
    );
    said
}

/// The domain that a line is marked with, `(d2) text`, and the text.
fn marked(line: &str) -> (Option<u16>, &str) {
    let parts = line.strip_prefix("(d").and_then(|rest| rest.split_once(") "));
    match parts.and_then(|(number, text)| Some((number.parse().ok()?, text))) {
        Some((number, text)) => (Some(number), text),
        None => (None, line),
    }
}

fn event(text: &str) -> Option<Event> {
    let Some(rest) = text.strip_prefix(START) else { return crashed(text) };
    let (word, rest) = rest.split_once(' ')?;
    let name = |rest: &str| rest.split([' ', ':']).next().unwrap_or_default().to_owned();
    match word {
        "begin" => Some(Event::Begin(name(rest))),
        "value" => {
            let (case, rest) = rest.split_once(' ')?;
            let (what, text) = rest.split_once(" = ").or_else(|| Some((rest.strip_suffix(" =")?, "")))?;
            Some(Event::Value { case: case.into(), what: what.into(), text: text.into() })
        }
        "wrong" => {
            let (case, text) = rest.split_once(' ')?;
            Some(Event::Wrong { case: case.into(), text: text.into() })
        }
        "end" => Some(Event::End(rest.trim().parse().ok()?)),
        "panic:" => Some(Event::Panic(rest.to_owned())),
        _ => {
            let outcome = word.parse().ok()?;
            let reason = rest.split_once(": ").map_or("", |(_, reason)| reason);
            Some(Event::Ended { case: name(rest), outcome, reason: reason.to_owned() })
        }
    }
}

/// The end of a domain, as a line tells it: Paravane's report of what ended it, its word of one that has ended itself, and the
/// toolstack's word of a domain of Xen's.
fn crashed(text: &str) -> Option<Event> {
    if let Some(rest) = text.strip_prefix("(PV) d") {
        let (who, what) = rest.split_once(' ')?;
        let number = who.split('v').next()?.parse().ok()?;
        return match what {
            "says that it has crashed" => Some(Event::GaveUp(number)),
            _ => what.starts_with("crashed: ").then_some(Event::Crashed(number)),
        };
    }
    let (who, what) = text.strip_prefix("toolstack: domain ")?.split_once(' ')?;
    let number = who.parse().ok()?;
    what.ends_with(" ended: crash").then_some(Event::Crashed(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<Said> {
        read(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    fn one(text: &str) -> Event {
        let mut events = events(text);
        assert_eq!(events.len(), 1, "{text}");
        events.remove(0).event
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let case = || "mmu_update.normal_pt_update/unaligned".to_owned();
        assert_eq!(one("conformance: begin mmu_update.normal_pt_update/unaligned"), Event::Begin(case()));
        let value =
            |what: &str, text: &str| Event::Value { case: case(), what: what.into(), text: text.into() };
        let line = |rest: &str| format!("conformance: value {} {rest}", case());
        assert_eq!(one(&line("result = -22 = EINVAL")), value("result", "-22 = EINVAL"));
        assert_eq!(one(&line("text =")), value("text", ""));
        assert_eq!(
            one("conformance: wrong a/b code: got 1, wanted 2"),
            Event::Wrong { case: "a/b".into(), text: "code: got 1, wanted 2".into() }
        );
        let ended =
            |outcome, reason: &str| Event::Ended { case: "a/b".into(), outcome, reason: reason.into() };
        assert_eq!(one("conformance: success a/b"), ended(Outcome::Success, ""));
        assert_eq!(one("conformance: skip a/b: no AVX: none"), ended(Outcome::Skip, "no AVX: none"));
        assert_eq!(one("conformance: error a/b: no memory"), ended(Outcome::Error, "no memory"));
        assert_eq!(one("conformance: end 12"), Event::End(12));
        assert_eq!(one("conformance: panic: at x.rs:3"), Event::Panic("at x.rs:3".into()));
    }

    #[test]
    fn what_is_no_line_of_the_suites_is_passed_over() {
        for text in [
            "",
            "conformance:",
            "conformance: begin",
            "conformance: flop a/b",
            "conformance: value a/b x",
            "ok conformance: begin a/b",
            "conformance: end of it",
            "(PV) conformance: begin a/b",
            "(PV) d2 'x' is gone",
        ] {
            assert_eq!(events(text), [], "{text}");
        }
    }

    #[test]
    fn domains_are_told_apart_and_cut_lines_joined() {
        let long = format!("conformance: value a/b x = {}", "y".repeat(300));
        let text = format!(
            "(d1) {}\n(d2) conformance: begin c/d\nconformance: begin e/f\n(d1) {}\n(dx) conformance: begin a/b\n",
            &long[..CUT],
            &long[CUT..]
        );
        let seen = events(&text);
        assert_eq!(seen[0], Said { domain: Some(2), event: Event::Begin("c/d".into()) });
        assert_eq!(seen[1], Said { domain: None, event: Event::Begin("e/f".into()) });
        let value = Event::Value { case: "a/b".into(), what: "x".into(), text: "y".repeat(300) };
        assert_eq!(seen[2], Said { domain: Some(1), event: value });
        assert_eq!(seen.len(), 3);
        let exact = format!("(d3) conformance: value a/b x = {}", "z".repeat(CUT - 27));
        assert!(matches!(one(&exact), Event::Value { text, .. } if text.len() == CUT - 27));
    }

    #[test]
    fn who_has_crashed_is_heard_from_whoever_says_it() {
        assert_eq!(one("(PV) d12v1 crashed: iret context"), Event::Crashed(12));
        assert_eq!(one("(PV) d3 says that it has crashed"), Event::GaveUp(3));
        assert_eq!(one("toolstack: domain 4 right ended: crash"), Event::Crashed(4));
        assert_eq!(events("toolstack: domain 4 right ended: poweroff\n(PV) d3 shuts down: PowerOff"), []);
    }

    #[test]
    fn outcomes_have_words() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.name().parse(), Ok(outcome));
            assert_eq!(outcome.is_bad(), !matches!(outcome, Outcome::Success | Outcome::Skip));
        }
        assert_eq!("begin".parse::<Outcome>(), Err(()));
    }
}
