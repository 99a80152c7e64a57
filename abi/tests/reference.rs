//! The reference pages under `docs/abi` are those that the crate's data make now.
//!
//! Outside the work tree there are no pages, and the test fails unless `PARAVANE_ALLOW_SKIP` is set.

#[path = "../examples/reference/pages.rs"]
mod pages;

use std::collections::BTreeSet;
use std::{env, fs};

#[test]
fn pages_are_current() {
    let folder = pages::folder();
    if !folder.exists() && env::var_os("PARAVANE_ALLOW_SKIP").is_some() {
        println!("SKIPPED pages_are_current: {} does not exist", folder.display());
        return;
    }
    let pages = pages::all();
    for (name, text) in &pages {
        let path = folder.join(name);
        let found = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(found == *text, "{} is stale; remake it: {}", path.display(), pages::COMMAND);
    }
    let files: BTreeSet<String> = fs::read_dir(&folder)
        .expect("the folder can be read")
        .map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    let names: BTreeSet<String> = pages.into_iter().map(|(name, _)| name).collect();
    assert_eq!(files, names, "a page too many; remake them: {}", pages::COMMAND);
}

#[test]
fn pages_are_short_and_tell_everything() {
    let pages = pages::all();
    for (name, text) in &pages {
        assert!(text.len() < 200_000 && text.lines().count() <= 700, "{name} is too long");
    }
    let text: String = pages.iter().map(|(_, text)| text.as_str()).collect();
    for row in paravane_abi::hypercall::ROWS {
        assert!(text.contains(&format!("# {} ({})", row.name, row.number)), "{}", row.name);
        for sub in row.sub_operations {
            assert!(sub.c_name.is_empty() || text.contains(&format!("`{}`", sub.c_name)), "{}", sub.constant);
        }
    }
    let missing: Vec<&str> = paravane_abi::layout::STRUCTS
        .iter()
        .copied()
        .flatten()
        .filter(|row| !text.contains(&format!("`{}`", row.c_name)))
        .map(|row| row.c_name)
        .collect();
    println!("{missing:?}");
    assert!(missing.is_empty());
}
