//! The README and the book point at things that exist: every relative link leads to a file or folder of the tree,
//! every fragment to a heading, and a link whose text is a name in code leads to a file in which that name occurs.

use paravane_tests::source;
use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// A link in a Markdown file.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    line: usize,
    text: String,
    target: String,
}

/// The README and everything under `docs` and `labs`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![source::root().join("README.md")];
    for folder in ["docs", "labs"] {
        pages.extend(source::files(&source::root().join(folder), &[".md"]));
    }
    pages
}

/// The lines of a text that are not in fenced code blocks, with their numbers from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => lines.push((index + 1, line)),
        }
    }
    lines
}

/// The bytes of a line that lie in code spans.
fn in_code(line: &str) -> Vec<bool> {
    let mut code = vec![false; line.len()];
    let bytes = line.as_bytes();
    let run = |at: usize| bytes[at..].iter().take_while(|&&byte| byte == b'`').count();
    let mut at = 0;
    while at < bytes.len() {
        let ticks = run(at);
        if ticks == 0 {
            at += 1;
            continue;
        }
        let inside = at + ticks;
        let mut end = inside;
        while end < bytes.len() && run(end) != ticks {
            end += run(end).max(1);
        }
        if end < bytes.len() {
            code[inside..end].fill(true);
            at = end + ticks;
        } else {
            at = inside;
        }
    }
    code
}

/// `[text](target)`, `![text](target)`, `[name]: target` and `src="target"`.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let code = in_code(line);
        let mut push = |text: &str, target: &str| {
            let target = target.split_whitespace().next().unwrap_or("");
            let target = target.trim_start_matches('<').trim_end_matches('>');
            found.push(Link { line: number, text: text.to_owned(), target: target.to_owned() });
        };
        for (at, _) in line.match_indices("](") {
            let end = line[at + 2..].find(')').map(|end| at + 2 + end);
            if let (false, Some(end)) = (code[at], end) {
                // A text that begins on the line before has no name to look for; its target counts all the same.
                let text = opening(line, at).map_or("", |start| &line[start + 1..at]);
                push(text, &line[at + 2..end]);
            }
        }
        if let Some((name, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            push(name, target);
        }
        for (at, mark) in line.match_indices("src=\"") {
            if let (false, Some(target)) = (code[at], line[at + mark.len()..].split('"').next()) {
                push("", target);
            }
        }
    }
    found
}

/// Where the bracket opens that closes at `close`.
fn opening(line: &str, close: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in line.bytes().enumerate().take(close).collect::<Vec<_>>().into_iter().rev() {
        match byte {
            b']' => depth += 1,
            b'[' if depth == 0 => return Some(at),
            b'[' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The fragments of a page's headings, as GitHub and mdBook make them.
fn fragments(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut all = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if !(1..=6).contains(&level) || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let count = seen.entry(slug.clone()).or_default();
        all.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    all
}

/// A path without `.` and `..`; none when it climbs above where it starts.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if !parts.pop() => return None,
            Component::ParentDir => {}
            part => parts.push(part),
        }
    }
    Some(parts)
}

/// The name in code that a link's text consists of: `` `Module::name()` `` names `name`.
fn code_name(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('`')?.strip_suffix('`')?;
    let last = inner.trim_end_matches("()").rsplit("::").next()?;
    let last = last.rsplit('.').next()?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!last.is_empty() && !inner.contains('/') && last.chars().all(word)).then_some(last)
}

/// Whether a text has a name as a whole word.
fn has_word(text: &str, name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.match_indices(name).any(|(at, _)| {
        let before = at.checked_sub(1).map(|at| text.as_bytes()[at]);
        let after = text.as_bytes().get(at + name.len()).copied();
        !before.is_some_and(word) && !after.is_some_and(word)
    })
}

/// What is wrong with a link of the page at `page`, a path from `root`.
fn wrong(root: &Path, page: &Path, link: &Link) -> Option<String> {
    let target = link.target.as_str();
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, fragment) = target.split_once('#').map_or((target, None), |(path, it)| (path, Some(it)));
    if target.is_empty() || path.starts_with('/') {
        return Some("not a relative link".into());
    }
    let folder = page.parent().unwrap_or(Path::new(""));
    let path = if path.is_empty() { page.to_path_buf() } else { folder.join(path) };
    let Some(path) = resolved(&path) else { return Some("leads out of the tree".into()) };
    let place = root.join(&path);
    if !place.exists() {
        return Some(format!("there is no {}", path.display()));
    }
    let is_page = path.extension().is_some_and(|ending| ending == "md");
    if let Some(fragment) = fragment {
        if !is_page {
            return Some("a fragment in a file without headings: line numbers do not last".into());
        }
        let text = fs::read_to_string(&place).expect("a page is text");
        if !fragments(&text).iter().any(|it| it == fragment) {
            return Some(format!("{} has no heading `#{fragment}`", path.display()));
        }
    }
    let own_name = path.file_name().is_some_and(|name| link.text.contains(&*name.to_string_lossy()));
    match code_name(&link.text) {
        Some(name) if place.is_file() && !is_page && !own_name => {
            let text = fs::read_to_string(&place).expect("source is text");
            (!has_word(&text, name)).then(|| format!("{} has no `{name}`", path.display()))
        }
        _ => None,
    }
}

#[test]
fn every_relative_link_leads_somewhere() {
    let root = source::root().canonicalize().expect("the tree exists");
    let (mut checked, mut bad) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        let page = page.strip_prefix(source::root()).expect("a page lies in the tree");
        for link in links(&text) {
            checked += 1;
            if let Some(why) = wrong(&root, page, &link) {
                bad.push(format!(
                    "{}:{}: [{}]({}): {why}",
                    page.display(),
                    link.line,
                    link.text,
                    link.target
                ));
            }
        }
    }
    assert!(checked > 100, "only {checked} links were found: the search looks in the wrong place");
    assert!(bad.is_empty(), "{} of {checked} links:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn every_page_of_the_book_is_in_its_index() {
    let book = source::root().join("docs");
    for page in source::files(&book, &[".md"]) {
        // A folder's pages are in the folder's own index, and that is in the book's.
        let folder = page.parent().expect("a page lies in a folder");
        let is_index = page.file_name().is_some_and(|name| name == "README.md");
        if is_index && folder == book {
            continue;
        }
        let index = if is_index { book.join("README.md") } else { folder.join("README.md") };
        let name =
            page.strip_prefix(index.parent().expect("an index lies in a folder")).expect("it lies below");
        let text = fs::read_to_string(&index).unwrap_or_else(|error| panic!("{}: {error}", index.display()));
        let linked = links(&text).into_iter().any(|link| Path::new(&link.target) == name);
        assert!(linked, "{} does not list {}", index.display(), name.display());
    }
}

#[test]
fn bad_links_are_noticed() {
    let root = source::root().canonicalize().expect("the tree exists");
    let page = Path::new("docs/README.md");
    let fault = |text: &str, target: &str| {
        wrong(&root, page, &Link { line: 1, text: text.into(), target: target.into() })
    };
    for (text, target) in [
        ("x", "no-such-page.md"),
        ("x", "../no-such-folder/"),
        ("x", "../../outside"),
        ("x", "/README.md"),
        ("x", "README.md#no-such-heading"),
        ("x", "#no-such-heading"),
        ("x", "../tests/src/lib.rs#L1"),
        ("`no_such_function`", "../tests/src/source.rs"),
        ("`assembly_line`", "../tests/src/source.rs"),
    ] {
        assert!(fault(text, target).is_some(), "[{text}]({target})");
    }
    for (text, target) in [
        ("x", "README.md"),
        ("x", "../tests/"),
        ("`source::files()`", "../tests/src/source.rs"),
        ("`source.rs`", "../tests/src/source.rs"),
        ("x", "https://example.org/none#x"),
    ] {
        assert_eq!(fault(text, target), None, "[{text}]({target})");
    }
}

#[test]
fn links_are_read_from_prose_alone() {
    let text = "a [b](c.md) and ![d](e.svg \"title\")\n```\n[no](no.md)\n```\n`[no](no)` [`f`](g.rs) <img src=\"h.svg\">\n[i]: j.md\n";
    let found: Vec<(String, String, usize)> =
        links(text).into_iter().map(|link| (link.text, link.target, link.line)).collect();
    let wanted =
        [("b", "c.md", 1), ("d", "e.svg", 1), ("`f`", "g.rs", 5), ("", "h.svg", 5), ("i", "j.md", 6)];
    assert_eq!(found, wanted.map(|(text, target, line)| (text.to_owned(), target.to_owned(), line)));
    assert_eq!(
        fragments("# One *two*, `three()`\n## A-b_c\n## A-b_c\n#not\n"),
        ["one-two-three", "a-b_c", "a-b_c-1"]
    );
}
