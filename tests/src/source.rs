//! Reads the work tree as text: its files, the code lines in them, the assembly in them.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the work tree.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All files under a folder with one of these endings, sorted; build products and fetched things left out.
#[must_use]
pub fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(folder, endings, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // Links are not followed: the tree has none that leads out of it by intent.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if name != "target" && name != ".git" && !name.starts_with("mutants.out") {
                collect(&path, endings, found);
            }
        } else if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// The part of a Rust file before its `#[cfg(test)]` module.
#[must_use]
pub fn without_tests(text: &str) -> &str {
    match text.find("#[cfg(test)]\nmod ") {
        Some(at) => &text[..at],
        None => text,
    }
}

/// The lines of an assembly file that are neither blank nor comment alone.
#[must_use]
pub fn assembly_lines(text: &str) -> usize {
    let mut in_comment = false;
    text.lines().filter(|line| has_code(line, &mut in_comment)).count()
}

/// Whether something is left of a line when its comments are taken away. Strings with comment signs in them do
/// not occur in assembly files here, and would only be counted less.
fn has_code(line: &str, in_comment: &mut bool) -> bool {
    let mut rest = line;
    loop {
        if *in_comment {
            let Some(end) = rest.find("*/") else { return false };
            rest = &rest[end + 2..];
            *in_comment = false;
        }
        let block = rest.find("/*");
        let line_comment = ["//", "#"].iter().filter_map(|sign| rest.find(sign)).min();
        match (block, line_comment) {
            (Some(at), other) if other.is_none_or(|other| at < other) => {
                if !rest[..at].trim().is_empty() {
                    // What follows on the line matters only for whether a comment stays open.
                    *in_comment = !rest[at + 2..].contains("*/");
                    return true;
                }
                rest = &rest[at + 2..];
                *in_comment = true;
            }
            (_, Some(at)) => return !rest[..at].trim().is_empty(),
            (_, None) => return !rest.trim().is_empty(),
        }
    }
}

/// The lines of assembly macros in Rust text that are neither blank nor comment alone, from the macro's name to
/// its closing parenthesis.
#[must_use]
pub fn macro_assembly_lines(text: &str) -> usize {
    let mut sum = 0;
    let mut at = 0;
    while let Some(found) = next_assembly(&text[at..]) {
        let start = at + found;
        let end = start + closing(&text[start..]);
        sum += text[start..end]
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//"))
            .count();
        at = end;
    }
    sum
}

/// Where the next `asm!`, `global_asm!` or `naked_asm!` call begins, comments left out.
fn next_assembly(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = text[from..].find("asm!") {
        let at = from + found;
        let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let commented = text[line..at].contains("//");
        let after = text[at + 4..].trim_start();
        if !commented && after.starts_with(['(', '{', '[']) {
            return Some(at);
        }
        from = at + 4;
    }
    None
}

/// The length of the text up to the bracket that closes the first one in it; brackets in strings do not count.
fn closing(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Whether code imports a package by `use`.
#[must_use]
pub fn imports(text: &str, package: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        let path = line.strip_prefix("use ").map(|path| path.trim_start_matches("::"));
        path.and_then(|path| path.strip_prefix(package)).is_some_and(|rest| rest.starts_with([':', ';', ' ']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assembly_files_count_code_alone() {
        let text = "/* head\n more */\n.globl x // y\nx:\n\n\tmov %rax, %rbx /* why\n still */ ret\n# note\n";
        assert_eq!(assembly_lines(text), 4);
        assert_eq!(assembly_lines("/* a */ /* b */\n/* a */ nop\n"), 1);
    }

    #[test]
    fn macros_count_from_name_to_bracket() {
        let text = "// asm!(\"no\")\nfn f() {\n  core::arch::asm!(\n    \"mov {}, 1\", // a )\n    // why\n\n    out(reg) x,\n  );\n\
                    g();\n  global_asm!(include_str!(\"x.S\"));\n}\n/// asm! is a word\n";
        assert_eq!(macro_assembly_lines(text), 4 + 1);
        assert_eq!(macro_assembly_lines("asm!(\")\\\"(\", nop);\nfoo();\n"), 1);
        assert_eq!(macro_assembly_lines("naked_asm! {\n \"a\"\n}\n"), 3);
    }

    #[test]
    fn imports_are_whole_words_at_the_start() {
        assert!(imports("    use spin::Mutex;\n", "spin"));
        assert!(imports("pub use log::info;\n", "log"));
        assert!(!imports("use spinning::Mutex;\n// use spin::Mutex;\n", "spin"));
        assert!(!imports("let x = spin::Mutex::new(());\n", "spin"));
    }

    #[test]
    fn the_test_module_is_cut_off() {
        let text = "use a::b;\n#[cfg(test)]\nmod tests {\n use spin::Mutex;\n}\n";
        assert_eq!(without_tests(text), "use a::b;\n");
    }
}
