//! Unified diffs, as `git diff` writes them, applied to a tree in memory: without the programs `git` and `patch`, and
//! without their guesses. A hunk belongs where its old lines stand, to the letter, and that must be one place.

use super::tree::Tree;
use anyhow::{Context, Result, bail, ensure};

/// One file's part of a patch.
#[derive(Debug, Default, PartialEq, Eq)]
struct FilePatch {
    /// Its path before; none if the patch makes it.
    old: Option<String>,
    /// Its path after; none if the patch removes it.
    new: Option<String>,
    hunks: Vec<Hunk>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Hunk {
    /// The line of the old file at which it was written, from 1 on: of several places the nearest is taken.
    line: usize,
    old: Vec<String>,
    new: Vec<String>,
}

/// What begins a line that tells of a change without its lines: a file renamed as it is, or one that is no text.
const WITHOUT_LINES: [&str; 3] = ["similarity index 100%", "Binary files ", "GIT binary patch"];

/// Applies a patch; what cannot be applied to the letter is refused.
pub fn apply(tree: &mut Tree, patch: &str) -> Result<()> {
    let files = parse(patch)?;
    ensure!(!files.is_empty(), "the patch changes nothing");
    for name in files.iter().flat_map(|file| [&file.old, &file.new]).flatten() {
        ensure!(is_inside(name), "the patch names {name:?}, which is no path inside the tree");
    }
    for file in files {
        let name = file.new.as_ref().or(file.old.as_ref()).context("a part of the patch names no file")?;
        let changed = change(tree, &file).with_context(|| format!("applying the patch to {name}"))?;
        if let Some(old) = &file.old {
            tree.remove(old);
        }
        if let Some(new) = file.new {
            tree.insert(new, changed.into_bytes());
        }
    }
    Ok(())
}

/// Whether a path leads to a file of the tree's: what is written by it must not land elsewhere.
fn is_inside(name: &str) -> bool {
    !name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

fn change(tree: &Tree, file: &FilePatch) -> Result<String> {
    let Some(old) = &file.old else {
        ensure!(!file.new.as_ref().is_some_and(|new| tree.contains_key(new)), "it is there already");
        return Ok(file.hunks.iter().flat_map(|hunk| &hunk.new).map(|line| format!("{line}\n")).collect());
    };
    let text = tree.get(old).context("there is no such file")?;
    let text = std::str::from_utf8(text).context("it is no text")?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (mut shift, mut from) = (0isize, 0);
    for hunk in &file.hunks {
        let wanted = (hunk.line.max(1) - 1).saturating_add_signed(shift);
        let at = place(&lines, &hunk.old, from, wanted).with_context(|| {
            format!("line {}: the file does not have the lines that the patch was made for", hunk.line)
        })?;
        lines.splice(at..at + hunk.old.len(), hunk.new.iter().cloned());
        from = at + hunk.new.len();
        shift = at as isize + 1 - hunk.line as isize + hunk.new.len() as isize - hunk.old.len() as isize;
    }
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// Where `old` stands in `lines` from `from` on; of several places the one nearest to `wanted`. No lines stand nowhere,
/// but in an empty file.
fn place(lines: &[String], old: &[String], from: usize, wanted: usize) -> Option<usize> {
    if old.is_empty() {
        return lines.is_empty().then_some(0);
    }
    let places = lines.windows(old.len()).enumerate().skip(from);
    let places = places.filter(|(_, window)| *window == old).map(|(at, _)| at);
    places.min_by_key(|at| at.abs_diff(wanted))
}

fn parse(patch: &str) -> Result<Vec<FilePatch>> {
    let mut files: Vec<FilePatch> = Vec::new();
    // Lines that the hunk still has of the old and of the new file.
    let mut rest = (0usize, 0usize);
    for line in patch.lines() {
        if rest != (0, 0) {
            let hunk = files.last_mut().and_then(|file| file.hunks.last_mut()).context("no hunk")?;
            add(hunk, line, &mut rest)?;
        } else if let Some(name) = line.strip_prefix("--- ") {
            files.push(FilePatch { old: path(name, "a/"), ..FilePatch::default() });
        } else if let Some(name) = line.strip_prefix("+++ ") {
            files.last_mut().context("+++ before ---")?.new = path(name, "b/");
        } else if let Some(header) = line.strip_prefix("@@ -") {
            let (old, new) = header.split_once(" +").context("a hunk's header is cut short")?;
            let new = new.split(' ').next().unwrap_or_default();
            let ((start, olds), (_, news)) = (range(old)?, range(new)?);
            rest = (olds, news);
            let file = files.last_mut().context("a hunk before a file")?;
            file.hunks.push(Hunk { line: start, ..Hunk::default() });
        } else if WITHOUT_LINES.iter().any(|begin| line.starts_with(begin)) {
            bail!("{line:?} cannot be applied: a patch is what `git diff --no-renames` writes of texts");
        }
    }
    ensure!(rest == (0, 0), "the last hunk is cut short");
    Ok(files)
}

fn add(hunk: &mut Hunk, line: &str, rest: &mut (usize, usize)) -> Result<()> {
    // Editors and mails take the blank from an empty line.
    let (sign, text) =
        if line.is_empty() { (" ", "") } else { line.split_at_checked(1).unwrap_or((line, "")) };
    let (old, new) = match sign {
        " " => (true, true),
        "-" => (true, false),
        "+" => (false, true),
        "\\" => return Ok(()),
        _ => bail!("{line:?} is no line of a hunk"),
    };
    let short = "a hunk has more lines than it says";
    if old {
        rest.0 = rest.0.checked_sub(1).context(short)?;
        hunk.old.push(text.to_owned());
    }
    if new {
        rest.1 = rest.1.checked_sub(1).context(short)?;
        hunk.new.push(text.to_owned());
    }
    Ok(())
}

/// A path, without what the two sides are told apart by; none of `/dev/null`.
fn path(name: &str, side: &str) -> Option<String> {
    let name = name.split('\t').next().unwrap_or_default();
    (name != "/dev/null").then(|| name.strip_prefix(side).unwrap_or(name).to_owned())
}

/// `START,COUNT` or `START`.
fn range(text: &str) -> Result<(usize, usize)> {
    let (start, count) = text.split_once(',').unwrap_or((text, "1"));
    Ok((start.parse()?, count.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(pairs: &[(&str, &str)]) -> Tree {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    const CHANGE: &str = "\
diff --git a/x b/x
index 1..2 100644
--- a/x
+++ b/x
@@ -2,3 +2,3 @@ context
 b
-c
+C
 d
@@ -6,1 +6,2 @@
 f
+g
";

    #[test]
    fn hunks_find_their_lines_where_they_moved() {
        let mut there = tree(&[("x", "a\nb\nc\nd\ne\nf\n")]);
        apply(&mut there, CHANGE).unwrap();
        assert_eq!(there, tree(&[("x", "a\nb\nC\nd\ne\nf\ng\n")]));
        let mut moved = tree(&[("x", "new\nnew\na\nb\nc\nd\nnew\ne\nf\n")]);
        apply(&mut moved, CHANGE).unwrap();
        assert_eq!(moved, tree(&[("x", "new\nnew\na\nb\nC\nd\nnew\ne\nf\ng\n")]));
    }

    #[test]
    fn of_several_places_the_nearest_is_taken() {
        let patch = "--- a/x\n+++ b/x\n@@ -5,1 +5,1 @@\n-a\n+A\n";
        let mut there = tree(&[("x", "a\n1\n2\n3\na\n5\n6\na\n")]);
        apply(&mut there, patch).unwrap();
        assert_eq!(there, tree(&[("x", "a\n1\n2\n3\nA\n5\n6\na\n")]));
    }

    #[test]
    fn files_come_and_go() {
        let make = "--- /dev/null\n+++ b/y/z\n@@ -0,0 +1,2 @@\n+1\n+2\n";
        let mut there = tree(&[("x", "a\n")]);
        apply(&mut there, make).unwrap();
        assert_eq!(there, tree(&[("x", "a\n"), ("y/z", "1\n2\n")]));
        assert!(apply(&mut there, make).is_err(), "it is there already");
        apply(&mut there, "--- a/x\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n").unwrap();
        assert_eq!(there, tree(&[("y/z", "1\n2\n")]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |text: &str, patch: &str| {
            let mut there = tree(&[("x", text)]);
            format!("{:#}", apply(&mut there, patch).unwrap_err())
        };
        assert!(refused("a\nb\nX\nd\ne\nf\n", CHANGE).contains("line 2"));
        assert!(refused("a\nb\nc\nd\n", CHANGE).contains("line 6"));
        assert!(refused("a\n", "").contains("nothing"));
        assert!(refused("a\n", "--- a/x\n+++ b/x\n@@ -1,2 +1,1 @@\n-a\n").contains("cut short"));
        assert!(refused("a\n", "--- a/q\n+++ b/q\n@@ -1,1 +1,1 @@\n-a\n+b\n").contains("no such file"));
    }

    /// Beside a change that can be applied, so that it would go unnoticed.
    #[test]
    fn changes_without_lines_are_refused() {
        let good = "--- a/x\n+++ b/x\n@@ -1,1 +1,1 @@\n-a\n+b\n";
        for part in [
            "diff --git a/y b/z\nsimilarity index 100%\nrename from y\nrename to z\n",
            "diff --git a/y b/y\nindex 1..2 100644\nBinary files a/y and b/y differ\n",
            "diff --git a/y b/y\nindex 1..2 100644\nGIT binary patch\nliteral 1\nIcmZPo000310RR91\n",
        ] {
            for patch in [format!("{good}{part}"), format!("{part}{good}")] {
                let mut there = tree(&[("x", "a\n"), ("y", "1\n")]);
                let error = format!("{:#}", apply(&mut there, &patch).unwrap_err());
                assert!(error.contains("git diff --no-renames"), "{error}");
                assert_eq!(there, tree(&[("x", "a\n"), ("y", "1\n")]), "nothing was changed");
            }
        }
        // A hunk's own line may say what it will.
        let mut there = tree(&[("x", "Binary files\n")]);
        apply(&mut there, "--- a/x\n+++ b/x\n@@ -1,1 +1,2 @@\n Binary files\n+GIT binary patch\n").unwrap();
        assert_eq!(there, tree(&[("x", "Binary files\nGIT binary patch\n")]));
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for name in ["../x", "y/../../x", "/x", "//x", "y//x", "./x", "y/./x", "y/", "..", "."] {
            let make = format!("--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,1 @@\n+a\n");
            let rename = format!("--- a/x\n+++ b/{name}\n@@ -1,1 +1,1 @@\n-a\n+b\n");
            let remove = format!("--- a/{name}\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n");
            for patch in [make, rename, remove] {
                let mut there = tree(&[("x", "a\n"), (name, "a\n")]);
                if patch.starts_with("--- /dev/null") {
                    there.remove(name);
                }
                let before = there.clone();
                let error = format!("{:#}", apply(&mut there, &patch).unwrap_err());
                assert!(error.contains("no path inside the tree"), "{name}: {error}");
                assert_eq!(there, before);
            }
        }
        let absolute = "--- /dev/null\n+++ /tmp/x\n@@ -0,0 +1,1 @@\n+a\n";
        assert!(apply(&mut Tree::new(), absolute).is_err());
        let dotted = "--- /dev/null\n+++ b/.cargo/..x\n@@ -0,0 +1,1 @@\n+a\n";
        apply(&mut Tree::new(), dotted).unwrap();
    }

    #[test]
    fn lines_without_surroundings_have_no_place() {
        for header in ["@@ -0,0 +1,1 @@", "@@ -1,0 +2,1 @@", "@@ -2,0 +3,1 @@"] {
            let patch = format!("--- a/x\n+++ b/x\n{header}\n+new\n");
            assert!(apply(&mut tree(&[("x", "a\nb\n")]), &patch).is_err(), "{header}");
        }
        let mut empty = tree(&[("x", "")]);
        apply(&mut empty, "--- a/x\n+++ b/x\n@@ -0,0 +1,1 @@\n+new\n").unwrap();
        assert_eq!(empty, tree(&[("x", "new\n")]));
    }

    #[test]
    fn of_lines_without_a_sign_only_an_empty_one_is_context() {
        let patch = |line: &str| format!("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\n+b\n{line}\n");
        let mut there = tree(&[("x", "a\n\n")]);
        apply(&mut there, &patch("")).unwrap();
        assert_eq!(there, tree(&[("x", "b\n\n")]));
        for line in ["é", "éa", "x", "\t"] {
            let error = format!("{:#}", apply(&mut tree(&[("x", "a\n\n")]), &patch(line)).unwrap_err());
            assert!(error.contains("is no line of a hunk"), "{line}: {error}");
        }
    }
}
