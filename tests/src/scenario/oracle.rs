//! Xen and Paravane, side by side.

use super::{Context, Outcome};
use crate::oracle::{self, Verdict};
use anyhow::{Result, bail};

/// Start of day, each difference explained.
pub fn start_of_day(context: &Context) -> Result<Outcome> {
    agree(context, Some("start-of-day"))
}

/// All cases.
pub fn all(context: &Context) -> Result<Outcome> {
    agree(context, None)
}

fn agree(context: &Context, case: Option<&str>) -> Result<Outcome> {
    let comparison = oracle::run(context, case)?;
    let faults = comparison.faults();
    if !faults.is_empty() {
        bail!("{} to settle:\n{}", faults.len(), faults.join("\n"));
    }
    let same = comparison.count(|verdict| verdict == Verdict::Same);
    // A kernel that saw nothing agrees with everything.
    if same == 0 {
        bail!("no value was seen");
    }
    let explained = comparison.count(|verdict| matches!(verdict, Verdict::Explained(_)));
    Ok(Outcome::Passed(format!("{same} values are the same, {explained} differ and are explained")))
}
