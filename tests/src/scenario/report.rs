//! The HTML report in a browser without a window, and the timelines in a terminal.

use super::statuses::{ends, says};
use super::{Context, LIMIT, Outcome};
use crate::driver::{Driver, Stdin, shell_status};
use crate::source;
use crate::status::Status;
use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;

/// What a few operations were on all machines: enough for every part of a report.
const SAMPLE: &str = "tests/golden/report.json";

/// What is put into a report to see that the browser tells of it: code that throws when a chart is pressed, a chart without
/// bars, a picture from elsewhere.
const PLANTED: [(&str, &str, &str); 3] = [
    ("const native = rowOf(name, \"native\");\n  const rows", "planted();\n  const rows", "planted"),
    ("class: \"mark\", x: left", "class: \"none\", x: left", "has no mark"),
    ("<main id=\"main\"", "<img alt=\"\" src=\"http://127.0.0.1:9/x.png\"><main id=\"main\"", "127.0.0.1"),
];

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Everything in a report of the sample can be pressed; and what is wrong with a report is told.
pub fn sample(context: &Context) -> Result<Outcome> {
    let data = source::root().join(SAMPLE);
    let good = context.scratch.join("sample.html");
    let made = context.command(&["report", "--data", text(&data)?, "--output", text(&good)?, "--untried"]);
    ends(made, None, Status::Good)?;
    let Some(seen) = pressed(context, &good)? else {
        return Ok(Outcome::Skipped("no browser here: cargo xtask setup brings one".into()));
    };
    let page = std::fs::read_to_string(&good)?;
    for (place, (from, to, wrong)) in PLANTED.iter().enumerate() {
        ensure!(page.contains(from), "the report has no {from:?}");
        let bad = context.scratch.join(format!("sample-bad-{place}.html"));
        std::fs::write(&bad, page.replacen(from, to, 1))?;
        let driver =
            ends(context.command(&["report", "--no-setup", text(&bad)?]), None, Status::CheckFailed)?;
        says(&driver, wrong)?;
    }
    Ok(Outcome::Passed(format!("{seen}; {} planted faults are told", PLANTED.len())))
}

/// What was seen in a report, if there is a browser.
fn pressed(context: &Context, page: &Path) -> Result<Option<String>> {
    let mut driver = Driver::start(context.command(&["report", "--no-setup", text(page)?]), Stdin::Null)?;
    let status = shell_status(driver.finish(LIMIT)?);
    match status {
        status if status == i32::from(Status::Missing.code()) => Ok(None),
        0 => {
            let line = driver.console.lines().iter().find(|line| line.contains("no console error"));
            Ok(Some(line.context("it does not say what was pressed")?.clone()))
        }
        status => bail!("status {status}:\n{}", driver.tail()),
    }
}

/// A timeline of the sample in the terminal, and as a file for Perfetto.
pub fn timeline(context: &Context) -> Result<Outcome> {
    let data = source::root().join(SAMPLE);
    let json = context.scratch.join("timeline.json");
    let options = ["--machine", "pv-ring3", "--from", text(&data)?, "--json", text(&json)?];
    let driver =
        ends(context.command(&[&["trace", "null-syscall"], &options[..]].concat()), None, Status::Good)?;
    // A kernel in ring 3 is reached, and left, through the hypervisor: in, up, in, and back.
    for words in ["null-syscall on pv-ring3: ", "entries into the hypervisor: 2 (", "  user  ", "╰", "◀"]
    {
        says(&driver, words)?;
    }
    if driver.console.lines().iter().any(|line| line.contains('\x1b')) {
        bail!("there are codes for a terminal where there is none:\n{}", driver.tail());
    }
    let file = std::fs::read_to_string(&json)?;
    for words in ["\"traceEvents\":[", "\"thread_name\"", "\"ph\":\"X\"", "null-syscall on pv-ring3"] {
        ensure!(file.contains(words), "the file for Perfetto has no {words}");
    }
    let absent = ["trace", "null-hypercall", "--machine", "native", "--from", text(&data)?];
    let driver = ends(context.command(&absent), None, Status::Usage)?;
    says(&driver, "there is no hypervisor")
}

/// All operations on all machines, counted, drawn and pressed.
pub fn whole(context: &Context) -> Result<Outcome> {
    let page = context.scratch.join("whole.html");
    let made = context.command(&["compare", "--no-build", "--no-setup", "--html", text(&page)?]);
    let mut driver = Driver::start(made, Stdin::Null)?;
    let status = shell_status(driver.finish(LIMIT * 3)?);
    ensure!(status == 0, "counting ended with status {status}:\n{}", driver.tail());
    let seen = pressed(context, &page)?.context("there is no browser")?;
    Ok(Outcome::Passed(seen))
}
