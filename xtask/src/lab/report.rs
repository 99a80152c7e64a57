//! What became of each check, a line each.

use paravane_tests::status::Status;

/// A check's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// What holds when it passes.
    pub about: String,
    /// Why it does not, and where to read on.
    pub failed: Option<(String, String)>,
}

impl Line {
    /// It holds.
    pub fn ok(name: &str, about: &str) -> Self {
        Self { name: shown(name), about: about.to_owned(), failed: None }
    }

    /// It does not.
    pub fn failed(name: &str, about: &str, why: impl Into<String>, read: &str) -> Self {
        Self { failed: Some((why.into(), read.to_owned())), ..Self::ok(name, about) }
    }

    /// It does, or it does not for a reason.
    pub fn of(name: &str, about: &str, result: Result<(), String>, read: &str) -> Self {
        match result {
            Ok(()) => Self::ok(name, about),
            Err(why) => Self::failed(name, about, why, read),
        }
    }
}

/// A test's name as a word of the report.
fn shown(name: &str) -> String {
    name.replace('_', "-")
}

/// Prints the lines and the sum; the status is that of the worst.
pub fn print(lab: u8, lines: &[Line]) -> Status {
    for line in lines {
        match &line.failed {
            None => println!("ok lab{lab}.{} {}", line.name, line.about),
            Some((why, read)) => {
                println!("FAILED lab{lab}.{} {}", line.name, line.about);
                why.lines().for_each(|text| println!("    {text}"));
                println!("    read: {read}");
            }
        }
    }
    let failed = lines.iter().filter(|line| line.failed.is_some()).count();
    println!("lab {lab}: {} ok, {failed} failed", lines.len() - failed);
    if failed == 0 && !lines.is_empty() { Status::Good } else { Status::CheckFailed }
}
