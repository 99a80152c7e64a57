//! A small suite for the tests of what handles suites.

use super::catalogue::Entry;
use ::conformance::case::{Case, Explained, Kind, Rings, Role, Row, Verdict, because};
use ::conformance::trial::Trial;

/// A case of this kind.
pub const fn case(name: &'static str, kind: Kind, role: Role) -> Case {
    Case { name, about: "", kind, role, rings: Rings::Both, explained: &[], run }
}

fn run(_: &mut Trial) -> Verdict {
    Ok(())
}

const EXPLAINED: &[Explained] = &[
    Explained { value: "size", reason: because::BUILD },
    Explained { value: "leaf.*", reason: because::PRIVILEGE },
    Explained { value: "gate", reason: because::EMULATOR },
];

static CALL: Row = Row {
    call: "call",
    operation: Some("one"),
    no_refusal: None,
    cases: &[
        case("good", Kind::Good, Role::DomU),
        case("refused", Kind::Refusal, Role::DomU),
        Case { explained: EXPLAINED, ..case("explained", Kind::Good, Role::DomU) },
        case("shared", Kind::Good, Role::Pair),
        case("shared-too", Kind::Refusal, Role::Pair),
        case("dies", Kind::Fatal, Role::DomU),
    ],
};

static TOPIC: Row = Row {
    call: "topic",
    operation: None,
    no_refusal: None,
    cases: &[case("dies-too", Kind::Fatal, Role::DomU), case("first", Kind::Good, Role::Dom0)],
};

/// Its cases: three in one domain, two in a pair, two fatal, one in Xen's first domain.
pub fn entries() -> Vec<Entry> {
    let rows = [(0, &CALL), (1, &TOPIC)];
    rows.into_iter()
        .flat_map(|(index, row)| row.cases.iter().map(move |case| Entry { index, row, case }))
        .collect()
}

/// So many good cases of one row. They stay for as long as the tests run.
pub fn many(count: usize) -> Vec<Entry> {
    let name = |number| -> &'static str { Box::leak(format!("case-{number}").into_boxed_str()) };
    let cases = (0..count).map(|number| case(name(number), Kind::Good, Role::DomU)).collect::<Vec<_>>();
    let row: &'static Row = Box::leak(Box::new(Row::call("many", Box::leak(cases.into_boxed_slice()))));
    row.cases.iter().map(|case| Entry { index: 0, row, case }).collect()
}
