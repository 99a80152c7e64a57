//! The functions of an ELF file, by address.

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::path::Path;

/// Functions in the order of their addresses.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    functions: Vec<(u64, String)>,
}

impl Symbols {
    /// Reads a file's symbol table.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no ELF file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let file =
            object::File::parse(bytes.as_slice()).with_context(|| format!("reading {}", path.display()))?;
        // What is written in assembly has no kind.
        let is_code = |symbol: &object::Symbol<'_, '_>| match symbol.kind() {
            SymbolKind::Text => true,
            SymbolKind::Label | SymbolKind::Unknown => symbol
                .section_index()
                .and_then(|index| file.section_by_index(index).ok())
                .is_some_and(|section| section.kind() == SectionKind::Text),
            _ => false,
        };
        let named = file.symbols().filter(|symbol| symbol.is_definition() && is_code(symbol));
        let mut functions: Vec<(u64, String)> = named
            .filter_map(|symbol| Some((symbol.address(), short(symbol.name().ok()?))))
            .filter(|(_, name)| !name.is_empty())
            .collect();
        functions.sort();
        Ok(Self { functions })
    }

    /// The function that an address lies in; empty where there is none below it.
    #[must_use]
    pub fn function(&self, address: u64) -> &str {
        let after = self.functions.partition_point(|(start, _)| *start <= address);
        after.checked_sub(1).map_or("", |index| &self.functions[index].1)
    }

    /// Where the function of this name lies.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u64> {
        self.functions.iter().find(|(_, function)| function == name).map(|(address, _)| *address)
    }
}

/// A name as a person would write it: without the crate's number and the types' parameters.
fn short(name: &str) -> String {
    let plain = format!("{:#}", rustc_demangle::demangle(name));
    let mut depth = 0_usize;
    let mut kept = String::new();
    for character in plain.chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(character),
            _ => {}
        }
    }
    // What stood between angle brackets at the beginning was a type's name: then the whole is clearer.
    if kept.starts_with("::") { plain } else { kept.replace("::::", "::").trim_end_matches("::").to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        assert_eq!(short("memcpy"), "memcpy");
        assert_eq!(short("_RNvNtNtCs93JFovZk82q_8pv_guest7syscall2rw5write"), "pv_guest::syscall::rw::write");
    }

    #[test]
    fn functions_are_found_by_address() {
        let symbols = Symbols { functions: vec![(0x10, "first".into()), (0x20, "second".into())] };
        assert_eq!(symbols.function(0x1f), "first");
        assert_eq!(symbols.function(0x20), "second");
        assert_eq!(symbols.function(0xf), "");
        assert_eq!(symbols.address("second"), Some(0x20));
        let own = Symbols::read(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.functions.len() > 100);
    }
}
