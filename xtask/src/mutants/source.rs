//! Puts changed copies of functions into a source file: each fault's copy runs when its number is chosen, the function as
//! it was otherwise. One build then has all faults, and an image is made to have one of them by writing its number.

use anyhow::{Context, Result, ensure};
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A fault in a file: what stands at a place instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The fault's number, from 1 on.
    pub number: u32,
    /// The file, as seen from the root of the tree.
    pub file: String,
    /// Bytes of the file.
    pub place: Range<usize>,
    /// What replaces them.
    pub text: String,
}

impl Edit {
    /// The file with this fault and no other.
    pub fn apply(&self, source: &str) -> String {
        replaced(source, &self.place, &self.text)
    }
}

fn replaced(source: &str, place: &Range<usize>, text: &str) -> String {
    format!("{}{text}{}", &source[..place.start], &source[place.end..])
}

/// A file with copies of functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// The text.
    pub text: String,
    /// Where each fault's copy stands in it.
    pub copies: Vec<(u32, Range<usize>)>,
    /// Where the functions that have copies stand in it, and which faults are in them.
    pub functions: Vec<(Range<usize>, Vec<u32>)>,
    /// The faults that are in no function that can have copies.
    pub apart: Vec<u32>,
}

impl Planted {
    /// The faults that a piece of the text is about: the copy it lies in, or all copies of its function.
    pub fn faults_at(&self, place: &Range<usize>) -> Vec<u32> {
        let inside = |outer: &Range<usize>| outer.start <= place.start && place.end <= outer.end;
        let copy = self.copies.iter().find(|(_, copy)| inside(copy)).map(|(number, _)| vec![*number]);
        let function = || self.functions.iter().find(|(function, _)| inside(function));
        copy.or_else(|| function().map(|(_, numbers)| numbers.clone())).unwrap_or_default()
    }
}

/// A function's body, braces and all.
struct Function {
    body: Range<usize>,
    constant: bool,
}

/// The outermost functions of a file, but those of tests.
#[derive(Default)]
struct Functions(Vec<Function>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let body = block.span().byte_range();
        self.0.push(Function { body, constant: signature.constness.is_some() });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Plants faults in a file. `module` is the path, in that file's crate, of what says which fault is chosen.
///
/// A constant function cannot ask, and what stands outside of functions neither: such faults are left out and named.
pub fn plant(source: &str, edits: &[&Edit], module: &str) -> Result<Planted> {
    let file = syn::parse_file(source).context("reading a source file")?;
    let mut functions = Functions::default();
    functions.visit_file(&file);
    let mut planted = Planted::default();
    let mut done = 0;
    let mut taken = Vec::new();
    for Function { body, .. } in functions.0.iter().filter(|function| !function.constant) {
        let inside = |edit: &&&Edit| body.start < edit.place.start && edit.place.end < body.end;
        let mine: Vec<&&Edit> = edits.iter().filter(inside).collect();
        if mine.is_empty() {
            continue;
        }
        planted.text.push_str(&source[done..body.start]);
        let start = planted.text.len();
        planted.text.push('{');
        for edit in &mine {
            planted.text.push_str(&format!("if {module}::is({}) ", edit.number));
            let place = edit.place.start - body.start..edit.place.end - body.start;
            let copy = replaced(&source[body.clone()], &place, &edit.text);
            let at = planted.text.len();
            planted.text.push_str(&copy);
            planted.copies.push((edit.number, at..planted.text.len()));
            planted.text.push_str(" else ");
        }
        planted.text.push_str(&source[body.clone()]);
        planted.text.push('}');
        planted.functions.push((start..planted.text.len(), mine.iter().map(|edit| edit.number).collect()));
        taken.extend(mine.iter().map(|edit| edit.number));
        done = body.end;
    }
    planted.text.push_str(&source[done..]);
    planted.apart = edits.iter().map(|edit| edit.number).filter(|number| !taken.contains(number)).collect();
    Ok(planted)
}

/// The part of a file that is no test: a fault among the tests would be none of the hypervisor's.
pub fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(source)
}

/// Where a text stands in a file that has it once.
pub fn place_of(source: &str, text: &str) -> Result<Range<usize>> {
    let code = without_tests(source);
    let count = code.matches(text).count();
    ensure!(count == 1 && !text.is_empty(), "{text:?} stands there {count} times, not once");
    let start = code.find(text).unwrap_or_default();
    Ok(start..start + text.len())
}

/// The place of a line and a column, both counted from 1, as cargo-mutants gives them.
pub fn offset(source: &str, line: usize, column: usize) -> Option<usize> {
    let lines = source.split_inclusive('\n').scan(0, |at, text| {
        let start = *at;
        *at += text.len();
        Some((start, text))
    });
    let (start, text) = lines.take(line).nth(line.checked_sub(1)?)?;
    let inside = text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(column.checked_sub(1)?)?;
    Some(start + inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
const LIMIT: u32 = 3;
const fn twice(n: u32) -> u32 { n * 2 }
impl Thing {
    /// A limit: é.
    fn fits(&self, n: u32) -> bool {
        let inner = |n: u32| n < LIMIT;
        inner(n) && self.on
    }
    fn other(&self) {}
}
#[cfg(test)]
mod tests {
    fn fits() -> bool { 1 < LIMIT }
}
";

    fn edit(number: u32, original: &str, text: &str) -> Edit {
        let place = place_of(SOURCE, original).unwrap();
        Edit { number, file: "f.rs".into(), place, text: text.into() }
    }

    #[test]
    fn a_function_gets_a_copy_for_each_of_its_faults() {
        let edits = [edit(7, "n < LIMIT", "n <= LIMIT"), edit(9, "&& self.on", "")];
        let planted = plant(SOURCE, &edits.iter().collect::<Vec<_>>(), "crate::planted").unwrap();
        assert!(planted.apart.is_empty());
        let text = &planted.text;
        assert_eq!(
            text.matches("if crate::planted::is(7) {\n        let inner = |n: u32| n <= LIMIT;").count(),
            1
        );
        assert_eq!(text.matches("else if crate::planted::is(9) {").count(), 1);
        assert_eq!(text.matches("inner(n) && self.on").count(), 2, "the other copy and the original");
        assert_eq!(text.matches("fn fits() -> bool { 1 < LIMIT }").count(), 1, "tests stay as they are");
        syn::parse_file(text).expect("it is a source file still");
        let at = text.find("<= LIMIT").unwrap();
        assert_eq!(planted.faults_at(&(at..at + 2)), [7]);
        let original = text.rfind("inner(n) && self.on").unwrap();
        assert_eq!(planted.faults_at(&(original..original + 1)), [7, 9]);
        assert!(planted.faults_at(&(0..1)).is_empty());
    }

    #[test]
    fn what_cannot_ask_is_named() {
        let edits = [edit(1, "= 3;", "= 4;"), edit(2, "n * 2", "n + 2"), edit(3, "inner(n)", "true")];
        let planted = plant(SOURCE, &edits.iter().collect::<Vec<_>>(), "crate::planted").unwrap();
        assert_eq!(planted.apart, [1, 2]);
        assert_eq!(planted.copies.len(), 1);
        assert!(edits[0].apply(SOURCE).starts_with("const LIMIT: u32 = 4;\n"));
    }

    #[test]
    fn a_text_must_stand_once_outside_of_tests() {
        assert!(place_of(SOURCE, "1 < LIMIT").unwrap_err().to_string().contains("0 times"));
        assert!(place_of(SOURCE, "LIMIT").unwrap_err().to_string().contains("2 times"));
        assert!(place_of(SOURCE, "").is_err());
    }

    #[test]
    fn lines_and_columns_count_characters() {
        assert_eq!(offset(SOURCE, 1, 1), Some(0));
        let line = SOURCE.find("    /// A limit").unwrap();
        assert_eq!(offset(SOURCE, 4, 1), Some(line));
        let after = SOURCE.find("é.").unwrap() + 'é'.len_utf8();
        assert_eq!(offset(SOURCE, 4, 19), Some(after));
        assert_eq!(offset(SOURCE, 99, 1), None);
        assert_eq!(offset(SOURCE, 0, 1), None);
    }
}
