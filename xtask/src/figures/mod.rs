//! `cargo xtask figures`: remakes the book's tables of counts from those that `compare` wrote.

mod tables;

use crate::project::Project;
use crate::run;
use anyhow::{Context, Result};
use paravane_tests::status::Status;
use std::fs;
use tables::{counts, pages, remade};

/// Runs `figures`.
pub fn command(project: &Project) -> Result<Status> {
    let rows = counts(&project.root)?;
    for path in pages(&project.root) {
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let made = remade(&text, &rows).with_context(|| format!("in {}", path.display()))?;
        if made != text {
            fs::write(&path, made).with_context(|| format!("writing {}", path.display()))?;
            run::say(format_args!("remade {}", path.display()));
        }
    }
    Ok(Status::Good)
}
