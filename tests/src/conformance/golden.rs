//! What real Xen showed the cases, kept in the work tree: a file for each call and topic.
//!
//! ```text
//! mmu_update.normal_pt_update/unaligned domU success
//!     result = -22 EINVAL
//! ```

use super::catalogue::Entry;
use super::lines::Outcome;
use super::{Judged, Machine, Report};
use ::conformance::case::{Role, because};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the files are, from the work tree's root.
pub const FOLDER: &str = "tests/golden/conformance";

/// The command that makes them anew.
const COMMAND: &str = "cargo xtask conformance --hypervisor xen --bless";

/// What stands before a value.
const INDENT: &str = "    ";

/// What one case showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Golden {
    /// The domain it was.
    pub role: String,
    /// How the case ended.
    pub outcome: Outcome,
    /// What it saw.
    pub values: Vec<(String, String)>,
}

/// Goldens by the cases' full names.
pub type Goldens = BTreeMap<String, Golden>;

/// What is kept of a case that ran on Xen: nothing of one that needs the first domain, which is compared while both
/// hypervisors are at hand, and none of the values that are the emulator's.
#[must_use]
pub fn of(judged: &Judged) -> Option<Golden> {
    if !has_one(&judged.entry) {
        return None;
    }
    let explained = judged.entry.case.explained;
    let emulator = |what: &str| {
        let name = ["left.", "right."].iter().find_map(|side| what.strip_prefix(side)).unwrap_or(what);
        name.starts_with("emulator.")
            || explained.iter().any(|it| it.reason == because::EMULATOR && it.covers(what))
    };
    let values = judged.seen.values.iter().filter(|(what, _)| !emulator(what)).cloned().collect();
    Some(Golden { role: judged.entry.case.role.name().to_owned(), outcome: judged.seen.outcome, values })
}

/// Whether a case has a golden: Xen knows no ring 1.
#[must_use]
pub fn has_one(entry: &Entry) -> bool {
    entry.case.role != Role::Dom0 && entry.why_not(Machine::PvRing3).is_none()
}

/// Reads the text of a file.
pub fn parse(text: &str) -> Result<Goldens> {
    let mut goldens = Goldens::new();
    let mut last: Option<String> = None;
    for (index, line) in
        text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        let bad = || format!("line {}: {line}", index + 1);
        if let Some(value) = line.strip_prefix(INDENT) {
            let (what, text) = value.split_once(" =").with_context(bad)?;
            let golden = last.as_ref().and_then(|name| goldens.get_mut(name)).with_context(bad)?;
            golden.values.push((what.to_owned(), text.strip_prefix(' ').unwrap_or(text).to_owned()));
        } else {
            let mut words = line.split(' ');
            let (name, role, outcome) = (words.next(), words.next(), words.next());
            let outcome = outcome.and_then(|word| word.parse().ok()).with_context(bad)?;
            let (name, role) = (name.with_context(bad)?.to_owned(), role.with_context(bad)?.to_owned());
            let before = goldens.insert(name.clone(), Golden { role, outcome, values: Vec::new() });
            ensure!(before.is_none(), "{name} twice");
            last = Some(name);
        }
    }
    Ok(goldens)
}

/// A file's text: the cases of one call or topic in the order of the suite.
#[must_use]
pub fn text(call: &str, cases: &[(String, Golden)]) -> String {
    let mut text = format!(
        "# What Debian's Xen 4.17 showed the cases of {call}. Made by `{COMMAND}`, which makes it anew.\n\
         # A case, its role and its end; indented what it saw.\n"
    );
    for (name, Golden { role, outcome, values }) in cases {
        // Text takes whatever is written.
        let _ = writeln!(text, "{name} {role} {}", outcome.name());
        for (what, value) in values {
            let _ = writeln!(text, "{INDENT}{what} ={}{value}", if value.is_empty() { "" } else { " " });
        }
    }
    text
}

/// Reads all files of a folder; none is no golden.
pub fn read(folder: &Path) -> Result<Goldens> {
    let mut goldens = Goldens::new();
    let Ok(files) = fs::read_dir(folder) else { return Ok(goldens) };
    for file in files {
        let path = file?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        goldens.extend(parse(&text).with_context(|| path.display().to_string())?);
    }
    Ok(goldens)
}

/// What a run on Xen has otherwise than the goldens, a line each.
#[must_use]
pub fn differences(goldens: &Goldens, report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for judged in &report.cases {
        let Some(now) = of(judged) else { continue };
        let name = judged.entry.name();
        let Some(then) = goldens.get(&name) else {
            lines.push(format!("{name} has no golden"));
            continue;
        };
        if then.outcome != now.outcome || then.role != now.role {
            let [before, after] = [then, &now].map(|it| format!("{} {}", it.role, it.outcome.name()));
            lines.push(format!("{name}: {before} in its golden, {after} now"));
        }
        lines.extend(changed(&then.values, &now.values).into_iter().map(|line| format!("{name} {line}")));
    }
    lines
}

/// The values that are not the same, a line each.
fn changed(then: &[(String, String)], now: &[(String, String)]) -> Vec<String> {
    let both = then.len().min(now.len());
    let pairs = then[..both].iter().zip(&now[..both]);
    let mut lines: Vec<String> = pairs
        .filter(|(then, now)| then != now)
        .map(|(then, now)| format!("{} = {} in its golden, {} = {} now", then.0, then.1, now.0, now.1))
        .collect();
    lines.extend(
        then[both..].iter().map(|(what, text)| format!("{what} = {text} in its golden, not seen now")),
    );
    lines.extend(now[both..].iter().map(|(what, text)| format!("{what} = {text}, not in its golden")));
    lines
}

/// Writes what a run on Xen showed in place of what is there of its cases; those of cases that are gone go. Of a case
/// that failed what is there stays: what it showed this time is not known to be right. The files that changed.
pub fn bless(folder: &Path, report: &Report, all: &[Entry]) -> Result<Vec<PathBuf>> {
    let mut goldens = read(folder)?;
    for judged in &report.cases {
        if let Some(golden) = of(judged).filter(|golden| !golden.outcome.is_bad()) {
            goldens.insert(judged.entry.name(), golden);
        }
    }
    let mut files: BTreeMap<&str, Vec<(String, Golden)>> = BTreeMap::new();
    for entry in all {
        if let Some(golden) = goldens.remove(&entry.name()) {
            files.entry(entry.row.call).or_default().push((entry.name(), golden));
        }
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut written = Vec::new();
    for (call, cases) in &files {
        let (path, text) = (folder.join(format!("{call}.txt")), text(call, cases));
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            written.push(path);
        }
    }
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let call = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !files.contains_key(call) {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            written.push(path);
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::seen::Observed;
    use crate::conformance::{Target, fixture};

    fn judged(name: &str, outcome: Outcome, values: &[(&str, &str)]) -> Judged {
        let entry = fixture::entries().into_iter().find(|entry| entry.case.name == name).unwrap();
        let values = values.iter().map(|(what, text)| ((*what).to_owned(), (*text).to_owned())).collect();
        Judged { entry, seen: Observed { values, ..Observed::bare(outcome, "") } }
    }

    fn report(cases: Vec<Judged>) -> Report {
        Report { target: Target::XEN, cases }
    }

    #[test]
    fn a_golden_is_read_as_it_is_written() {
        let golden =
            of(&judged("good", Outcome::Success, &[("result", "-22 = EINVAL"), ("text", ""), ("a", "1")]));
        let name = "call.one/good".to_owned();
        let text = text("call", &[(name.clone(), golden.clone().unwrap())]);
        assert!(
            text.contains("--bless")
                && text.ends_with(
                    "call.one/good domU success\n    result = -22 = EINVAL\n    text =\n    a = 1\n"
                ),
            "{text}"
        );
        assert_eq!(parse(&text).unwrap(), Goldens::from([(name, golden.unwrap())]));
        for bad in
            ["    a = 1", "x/y domU", "x/y domU well", "x/y domU success\n    a", "x/y a skip\nx/y a skip"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_the_emulators_and_the_first_domains_is_left_out() {
        let values = [("gate", "1"), ("emulator.flags", "2"), ("size", "3"), ("left.emulator.x", "4")];
        let golden = of(&judged("explained", Outcome::Success, &values)).unwrap();
        assert_eq!(golden.values, [("size".to_owned(), "3".to_owned())]);
        assert_eq!(of(&judged("first", Outcome::Success, &[])), None);
        assert_eq!(of(&judged("shared", Outcome::Success, &[])).unwrap().role, "pair");
    }

    #[test]
    fn a_run_is_held_to_the_goldens() {
        let goldens =
            parse("call.one/good domU success\n    a = 1\n    b = 2\ncall.one/refused domU success\n")
                .unwrap();
        let run = |values: &[(&str, &str)]| {
            differences(&goldens, &report(vec![judged("good", Outcome::Success, values)]))
        };
        assert_eq!(run(&[("a", "1"), ("b", "2")]), [""; 0]);
        assert_eq!(run(&[("a", "1"), ("b", "3")]), ["call.one/good b = 2 in its golden, b = 3 now"]);
        assert_eq!(run(&[("a", "1")]), ["call.one/good b = 2 in its golden, not seen now"]);
        assert_eq!(run(&[("a", "1"), ("b", "2"), ("c", "3")]), ["call.one/good c = 3, not in its golden"]);
        let others = vec![
            judged("refused", Outcome::Skip, &[]),
            judged("shared", Outcome::Success, &[]),
            judged("first", Outcome::Success, &[]),
        ];
        assert_eq!(
            differences(&goldens, &report(others)),
            ["call.one/refused: domU success in its golden, domU skip now", "call.one/shared has no golden"]
        );
    }

    #[test]
    fn blessing_replaces_what_ran_keeps_the_rest_and_drops_what_is_gone() {
        let folder = std::env::temp_dir().join(format!("paravane-golden-{}", std::process::id()));
        let all = fixture::entries();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        fs::create_dir_all(&folder).unwrap();
        write(
            "call.txt",
            "call.one/refused domU success\n    a = 1\ncall.one/good domU success\n    a = 1\n",
        );
        write("gone.txt", "gone/x domU success\n");
        let run = report(vec![
            judged("good", Outcome::Success, &[("a", "2")]),
            judged("explained", Outcome::Failure, &[]),
            judged("dies-too", Outcome::Success, &[]),
            judged("refused", Outcome::Crash, &[]),
        ]);
        let written = bless(&folder, &run, &all).unwrap();
        assert_eq!(written.len(), 3, "{written:?}");
        let call = fs::read_to_string(folder.join("call.txt")).unwrap();
        assert!(
            call.ends_with(
                "call.one/good domU success\n    a = 2\ncall.one/refused domU success\n    a = 1\n"
            ),
            "{call}"
        );
        assert!(!folder.join("gone.txt").exists() && folder.join("topic.txt").exists());
        assert_eq!(bless(&folder, &run, &all).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(read(&folder).unwrap().len(), 3);
        fs::remove_dir_all(&folder).unwrap();
    }
}
