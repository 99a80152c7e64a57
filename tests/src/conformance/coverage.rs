//! Whether every row of the table of hypercalls has its cases.

use super::golden::{Golden, Goldens};
use super::lines::Outcome;
use ::conformance::case::{FullName, Kind, Role, Row};
use paravane_abi::hypercall::{OTHER_ROWS, ROWS};

/// What the suite must have rows for: every call, or where a call has sub-operations every one of them.
#[must_use]
pub fn wanted() -> Vec<String> {
    let calls = ROWS.iter().flat_map(|call| {
        let subs = call.sub_operations.iter().map(move |sub| format!("{}.{}", call.name, sub.name));
        let whole = call.sub_operations.is_empty().then(|| call.name.to_owned());
        whole.into_iter().chain(subs)
    });
    calls.chain(OTHER_ROWS.iter().map(|call| call.name.to_owned())).collect()
}

/// Rows of the suite for calls with sub-operations, which are about the call itself.
fn is_call(name: &str) -> bool {
    ROWS.iter().any(|call| call.name == name)
}

/// What a row lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It has no case.
    Case,
    /// It has no refusal and no fatal case, and does not say why.
    Refusal,
    /// It says that there is nothing to refuse, and has no good use that could show it.
    Good,
    /// The table has no such row.
    Row,
}

impl Lack {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Case => "no case",
            Self::Refusal => "no case that is refused or fatal, and no `no_refusal` that says why",
            Self::Good => "`no_refusal`, and no case of good use that shows it",
            Self::Row => "not a row of the table",
        }
    }
}

/// What these rows of the suite lack: each wanted one by its name, and those that nobody wants.
#[must_use]
pub fn lacking(wanted: &[String], rows: &[&'static Row]) -> Vec<(String, Lack)> {
    let find = |name: &str| rows.iter().find(|row| row.name().to_string() == name);
    let mut found: Vec<(String, Lack)> = wanted
        .iter()
        .filter_map(|name| {
            let lack = match find(name) {
                None => Some(Lack::Case),
                Some(row) if row.cases.is_empty() => Some(Lack::Case),
                Some(row) => lack(row),
            };
            Some((name.clone(), lack?))
        })
        .collect();
    let unknown = rows.iter().map(|row| row.name().to_string());
    let unknown = unknown.filter(|name| !wanted.contains(name) && !is_call(name));
    found.extend(unknown.map(|name| (name, Lack::Row)));
    found
}

fn lack(row: &Row) -> Option<Lack> {
    let any = |kinds: &[Kind]| row.cases.iter().any(|case| kinds.contains(&case.kind));
    match (row.no_refusal, any(&[Kind::Refusal, Kind::Fatal])) {
        (None, false) => Some(Lack::Refusal),
        (Some(_), false) if !any(&[Kind::Good]) => Some(Lack::Good),
        _ => None,
    }
}

/// The rows that say that there is nothing to refuse, though real Xen confirms it in none of their cases.
#[must_use]
pub fn unconfirmed(rows: &[&'static Row], goldens: &Goldens) -> Vec<String> {
    let confirms =
        |name: String| goldens.get(&name).is_some_and(|Golden { outcome, .. }| *outcome == Outcome::Success);
    let shown = |row: &'static Row| {
        let mut good = row.cases.iter().filter(|case| case.kind == Kind::Good);
        // What the first domain shows has no golden: it is compared whenever both hypervisors run.
        good.any(|case| case.role == Role::Dom0 || confirms(FullName(row, case).to_string()))
    };
    let claims = rows.iter().filter(|row| row.no_refusal.is_some() && !shown(row));
    claims.map(|row| row.name().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::fixture::case;
    use ::conformance::case::Case;

    const GOOD: Case = case("good", Kind::Good, Role::DomU);
    const REFUSED: Case = case("refused", Kind::Refusal, Role::DomU);
    const FATAL: Case = case("dies", Kind::Fatal, Role::DomU);

    static FULL: Row = Row::operation("memory_op", "exchange", &[GOOD, REFUSED]);
    static DEADLY: Row = Row::call("iret", &[GOOD, FATAL]);
    static ONLY_GOOD: Row = Row::call("vm_assist", &[GOOD]);
    static HARMLESS: Row = Row::call("stack_switch", &[GOOD]).no_refusal("takes anything");
    static BOTH: Row = Row::call("set_gdt", &[REFUSED]).no_refusal("what it cannot use it takes later");
    static BARE: Row = Row::call("multicall", &[]).no_refusal("takes anything");
    static EXTRA: Row = Row::call("memory_op", &[GOOD]);
    static NOBODYS: Row = Row::call("no_such_call", &[GOOD, REFUSED]);

    #[test]
    fn what_a_row_lacks_is_said() {
        let rows: [&'static Row; 8] = [&FULL, &DEADLY, &ONLY_GOOD, &HARMLESS, &BOTH, &BARE, &EXTRA, &NOBODYS];
        let wanted =
            ["memory_op.exchange", "iret", "vm_assist", "stack_switch", "set_gdt", "multicall", "argo_op"];
        let found = lacking(&wanted.map(str::to_owned), &rows);
        let found: Vec<(&str, Lack)> = found.iter().map(|(name, lack)| (name.as_str(), *lack)).collect();
        assert_eq!(
            found,
            [
                ("vm_assist", Lack::Refusal),
                ("multicall", Lack::Case),
                ("argo_op", Lack::Case),
                ("no_such_call", Lack::Row),
            ]
        );
        static SHOWLESS: Row = Row::call("iret", &[]).no_refusal("x");
        assert_eq!(lack(&SHOWLESS), Some(Lack::Good));
    }

    #[test]
    fn a_claim_needs_real_xens_word() {
        let rows: [&'static Row; 2] = [&HARMLESS, &FULL];
        assert_eq!(unconfirmed(&rows, &Goldens::new()), ["stack_switch"]);
        let golden = |outcome| Golden { role: "domU".into(), outcome, values: Vec::new() };
        let goldens = |outcome| Goldens::from([("stack_switch/good".to_owned(), golden(outcome))]);
        assert_eq!(unconfirmed(&rows, &goldens(Outcome::Success)), [""; 0]);
        assert_eq!(unconfirmed(&rows, &goldens(Outcome::Skip)), ["stack_switch"]);
    }

    #[test]
    fn calls_with_sub_operations_want_a_row_for_each() {
        let wanted = wanted();
        for name in ["set_trap_table", "mmu_update.machphys_update", "argo_op"] {
            assert!(wanted.iter().any(|it| it == name), "{name}");
        }
        assert!(!wanted.iter().any(|it| it == "mmu_update"));
    }
}
