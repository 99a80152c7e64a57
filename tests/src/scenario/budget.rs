//! What the fast paths cost, in instructions: QEMU's `-icount shift=0` makes the time-stamp counter count them.

use super::{Context, Outcome};
use anyhow::{Context as _, Result, bail};

/// A line's beginning, and the most instructions it may name.
const BUDGETS: [(&str, f64); 3] =
    [("bench.null-hypercall", 140.0), ("bench syscall", 60.0), ("bench int80", 35.0)];

/// Checks of the guest's own that say where these paths do not lead: into the hypervisor, or to another table.
const PATHS: [&str; 2] = ["ok path-syscall", "ok path-int80"];

/// Reads the demonstration's own measurements and holds them to their budgets.
pub fn round_trips(context: &Context) -> Result<Outcome> {
    let driver = context.demonstrate(&["--icount"])?;
    let mut seen = Vec::new();
    for (start, most) in BUDGETS {
        let lines = driver.console.lines();
        let line = lines.iter().find(|line| line.starts_with(start));
        let line = line.with_context(|| format!("no line starts with `{start}`:\n{}", driver.tail()))?;
        let count = first_number(&line[start.len()..]).with_context(|| format!("no number in {line:?}"))?;
        if count <= 0.0 || count > most {
            bail!("{line}: {count} instructions, at most {most} are allowed");
        }
        seen.push(format!("{start} {count} of {most}"));
    }
    for start in PATHS {
        if !driver.console.lines().iter().any(|line| line.starts_with(start)) {
            bail!("no line starts with `{start}`:\n{}", driver.tail());
        }
    }
    Ok(Outcome::Passed(seen.join(", ")))
}

/// The first number in a text, with its fraction.
fn first_number(text: &str) -> Option<f64> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let rest = &text[start..];
    let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_fraction() {
        assert_eq!(first_number(" 57.02 counts per round trip"), Some(57.02));
        assert_eq!(first_number(" instructions=131 entries=1"), Some(131.0));
        assert_eq!(first_number(" none"), None);
    }
}
