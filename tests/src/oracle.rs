//! What Xen and Paravane show a guest, side by side: a kernel that observes boots on both, and its lines are compared.
//!
//! A value that differs is right only where the kernel's case explains it by configuration ([`conformance::case`]), and an
//! explanation is right only where a value differs.

use crate::driver::{Driver, Stdin, shell_status};
use crate::scenario::{Context, LIMIT};
use anyhow::{Context as _, Result, bail};
use conformance::case::{Case, Explained, because};
use conformance::topics::OBSERVATIONS;
use std::path::{Path, PathBuf};

/// One of the hypervisors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    /// Debian's.
    Xen,
    /// The project's.
    Paravane,
}

impl Hypervisor {
    /// As `xtask qemu --hypervisor` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xen => "xen",
            Self::Paravane => "paravane",
        }
    }
}

/// What a case says of one hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The case.
    pub case: String,
    /// The value's name in the case.
    pub name: String,
    /// How it is written.
    pub text: String,
}

/// What two values of a name come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are the same.
    Same,
    /// They differ, for this reason.
    Explained(&'static str),
    /// They differ, and nothing says why.
    Unexplained,
}

/// A value on both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The case.
    pub case: String,
    /// The value's name in the case.
    pub name: String,
    /// On Xen; `None` when it was not seen there.
    pub xen: Option<String>,
    /// On Paravane.
    pub paravane: Option<String>,
    /// What that comes to.
    pub verdict: Verdict,
}

/// All values, and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// In the order of the lines.
    pub rows: Vec<Row>,
    /// Explanations of differences that are none, by the case's name.
    pub stale: Vec<(&'static str, &'static str)>,
}

impl Comparison {
    /// Whether nothing needs to be settled.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.stale.is_empty() && self.rows.iter().all(|row| row.verdict != Verdict::Unexplained)
    }

    /// How many rows have a verdict of this kind.
    #[must_use]
    pub fn count(&self, kind: impl Fn(Verdict) -> bool) -> usize {
        self.rows.iter().filter(|row| kind(row.verdict)).count()
    }

    /// What is wrong, a line each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let rows = self.rows.iter().filter(|row| row.verdict == Verdict::Unexplained).map(|row| {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not seen".to_owned());
            format!("{}.{}: Xen {}; Paravane {}", row.case, row.name, text(&row.xen), text(&row.paravane))
        });
        let stale = self.stale.iter().map(|(case, value)| format!("{case}.{value}: explained, but the same"));
        rows.chain(stale).collect()
    }
}

/// What comes before an observation's name.
const ROW: &str = "observations/";

/// The values of observations among a console's lines: `conformance: value observations/CASE NAME = VALUE`.
#[must_use]
pub fn values(lines: &[String]) -> Vec<Value> {
    lines
        .iter()
        .filter_map(|line| {
            let value = line.strip_prefix("conformance: value ")?.strip_prefix(ROW)?;
            let (name, text) = value.split_once(" = ")?;
            let (case, name) = name.split_once(' ')?;
            Some(Value { case: case.to_owned(), name: name.to_owned(), text: text.to_owned() })
        })
        .collect()
}

/// Compares what was seen of these cases.
#[must_use]
pub fn compare(cases: &[&Case], xen: &[Value], paravane: &[Value]) -> Comparison {
    let find = |values: &[Value], case: &str, name: &str| {
        let found = values.iter().find(|value| value.case == case && value.name == name);
        found.map(|value| value.text.clone())
    };
    let mut comparison = Comparison::default();
    for case in cases {
        let own = |value: &&Value| value.case == case.name;
        let only_here =
            paravane.iter().filter(own).filter(|value| find(xen, case.name, &value.name).is_none());
        for value in xen.iter().filter(own).chain(only_here) {
            let both = [find(xen, case.name, &value.name), find(paravane, case.name, &value.name)];
            let explained = case.explained.iter().find(|explained| explained.covers(&value.name));
            let verdict = match explained {
                _ if both[0] == both[1] => Verdict::Same,
                Some(Explained { reason, .. }) => Verdict::Explained(reason),
                None => Verdict::Unexplained,
            };
            let [xen, paravane] = both;
            let (case, name) = (value.case.clone(), value.name.clone());
            comparison.rows.push(Row { case, name, xen, paravane, verdict });
        }
        let differs = |explained: &Explained| {
            let mut rows = comparison.rows.iter().filter(|row| row.case == case.name);
            rows.any(|row| row.verdict != Verdict::Same && explained.covers(&row.name))
        };
        // What is the emulator's comes and goes with its version.
        let stale = case.explained.iter().filter(|it| it.reason != because::EMULATOR && !differs(it));
        comparison.stale.extend(stale.map(|explained| (case.name, explained.value)));
    }
    comparison
}

/// Cases by name; all of them where there is none.
#[must_use]
pub fn named(name: Option<&str>) -> Vec<&'static Case> {
    OBSERVATIONS.cases.iter().filter(|case| name.is_none_or(|name| name == case.name)).collect()
}

/// Bytes of the module that the kernel is given, which it only looks up.
const MODULE_BYTES: usize = 5000;

/// Boots the kernel on a hypervisor, and reads what it says.
pub fn observe(context: &Context, hypervisor: Hypervisor, case: Option<&str>) -> Result<Vec<Value>> {
    let image = context.images.join("paravane-conformance.elf");
    let module = module(&context.scratch)?;
    let words = match case {
        Some(name) => format!("role=dom0 case={ROW}{name}"),
        None => format!("role=dom0 filter={ROW}"),
    };
    let mut arguments = vec!["--hypervisor", hypervisor.name(), "--machine", "pv-ring3", "--memory", "32M"];
    arguments.extend(["--guest", image.to_str().context("a path in UTF-8")?]);
    arguments.extend(["--initramfs", module.to_str().context("a path in UTF-8")?]);
    arguments.extend(["--append", &words]);
    let mut driver = Driver::start(context.qemu(&arguments), Stdin::Null)?;
    let status = shell_status(driver.finish(LIMIT)?);
    if status != 0 {
        bail!("on {} the kernel ended with status {status}:\n{}", hypervisor.name(), driver.tail());
    }
    Ok(values(driver.console.lines()))
}

/// Writes the module.
fn module(scratch: &Path) -> Result<PathBuf> {
    let path = scratch.join("oracle-module");
    std::fs::write(&path, [b'M'; MODULE_BYTES]).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Boots both hypervisors, and compares what the kernel saw.
pub fn run(context: &Context, case: Option<&str>) -> Result<Comparison> {
    let xen = observe(context, Hypervisor::Xen, case)?;
    let paravane = observe(context, Hypervisor::Paravane, case)?;
    Ok(compare(&named(case), &xen, &paravane))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: Case = Case::good("one", "", |_| Ok(())).explained(&[
        Explained { value: "size", reason: because::BUILDER },
        Explained { value: "leaf.*", reason: because::PRIVILEGE },
        Explained { value: "gate", reason: because::EMULATOR },
    ]);

    fn seen(text: &str) -> Vec<Value> {
        let line = |line: &str| format!("conformance: value observations/one {line}");
        values(&text.lines().map(line).collect::<Vec<_>>())
    }

    #[test]
    fn lines_are_read() {
        let lines = [
            "conformance: value observations/a b.c = 1 = 2",
            "conformance: begin observations/a",
            "other",
            "conformance: value mmu_update/a b = 1",
        ]
        .map(str::to_owned);
        let value = Value { case: "a".into(), name: "b.c".into(), text: "1 = 2".into() };
        assert_eq!(values(&lines), [value]);
    }

    #[test]
    fn differences_need_an_explanation_and_explanations_a_difference() {
        let xen = seen("flags = 1\nsize = 2\nleaf.1 = 3\nleaf.2 = 4\ngate = 5");
        let good = compare(&[&CASE], &xen, &seen("flags = 1\nsize = 3\nleaf.1 = 3\nleaf.2 = 5\ngate = 5"));
        assert!(good.holds(), "{:?}", good.faults());
        assert_eq!(good.count(|verdict| verdict == Verdict::Same), 3);
        let bad = compare(&[&CASE], &xen, &seen("flags = 2\nsize = 2\nleaf.1 = 4\nleaf.2 = 4\nmore = 6"));
        assert!(!bad.holds());
        assert_eq!(
            bad.faults(),
            [
                "one.flags: Xen 1; Paravane 2",
                "one.more: Xen not seen; Paravane 6",
                "one.size: explained, but the same",
            ]
        );
    }
}
