//! What the work tree promises about its own shape.

use paravane_tests::source;
use std::fs;
use std::path::Path;

/// Most lines of a file.
const FILE_LINES: usize = 700;

/// Fewer lines of assembly than this in the whole hypervisor.
const ASSEMBLY_LINES: usize = 600;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn core_forbids_unsafe_code() {
    let text = read(&source::root().join("hypervisor/core/src/lib.rs"));
    assert!(
        text.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]"),
        "hypervisor/core does not forbid unsafe code"
    );
    for path in source::files(&source::root().join("hypervisor/core/src"), &[".rs"]) {
        assert_eq!(source::macro_assembly_lines(&read(&path)), 0, "assembly in {}", path.display());
    }
}

#[test]
fn the_hypervisors_assembly_is_small() {
    let folder = source::root().join("hypervisor");
    let mut table = Vec::new();
    for path in source::files(&folder, &[".S", ".s", ".asm"]) {
        table.push((source::assembly_lines(&read(&path)), path));
    }
    for path in source::files(&folder, &[".rs"]) {
        table.push((source::macro_assembly_lines(&read(&path)), path));
    }
    table.retain(|(lines, _)| *lines > 0);
    for (lines, path) in &table {
        println!("{lines:4} {}", path.display());
    }
    let sum: usize = table.iter().map(|(lines, _)| lines).sum();
    println!("{sum:4} in all");
    assert!(sum > 0, "no assembly was found: the count looks in the wrong place");
    assert!(sum < ASSEMBLY_LINES, "{sum} lines of assembly in the hypervisor");
}

#[test]
fn no_file_is_long() {
    let endings = [".rs", ".S", ".s", ".asm", ".ld", ".c", ".h", ".sh", ".py", ".toml", ".md", "run"];
    let files = source::files(source::root(), &endings);
    assert!(files.len() > 50, "only {} files: the search looks in the wrong place", files.len());
    let long: Vec<String> = files
        .iter()
        .map(|path| (read(path).lines().count(), path))
        .filter(|(lines, _)| *lines > FILE_LINES)
        .map(|(lines, path)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
