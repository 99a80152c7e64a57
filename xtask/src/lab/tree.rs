//! A work tree as a map from paths to contents: read, changed in memory, written where it differs.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Files by their paths below the root, with `/` between the parts.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// What is no part of the project, or not of a learner's copy: builds, histories, the labs themselves with their
/// solutions, and what a copy was made from.
const LEFT_OUT: [&str; 5] = ["target", ".git", "labs", "mutants.out", ".lab"];

/// Reads a work tree.
pub fn read(root: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    for entry in fs::read_dir(root).with_context(|| format!("reading {}", root.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !LEFT_OUT.contains(&name.as_str()) {
            collect(&entry.path(), name, &mut tree)?;
        }
    }
    Ok(tree)
}

/// Reads all that is under a folder.
pub fn read_all(folder: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        collect(&entry.path(), entry.file_name().to_string_lossy().into_owned(), &mut tree)?;
    }
    Ok(tree)
}

/// Links are not followed: the project has none.
fn collect(path: &Path, name: String, tree: &mut Tree) -> Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = format!("{name}/{}", entry.file_name().to_string_lossy());
            // What a build in a member's own folder left.
            if !name.ends_with("/target") {
                collect(&entry.path(), name, tree)?;
            }
        }
    } else if kind.is_file() {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        tree.insert(name, bytes);
    }
    Ok(())
}

/// Writes a tree. A file that says the same already is left alone, so that cargo does not build it again; one that the
/// tree does not have goes.
pub fn sync(root: &Path, tree: &Tree) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
    let there = read(root)?;
    for name in there.keys().filter(|name| !tree.contains_key(*name)) {
        let path = root.join(name);
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    for (name, bytes) in tree.iter().filter(|(name, bytes)| there.get(*name) != Some(*bytes)) {
        let path = root.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_written_where_it_differs() {
        let root = std::env::temp_dir().join(format!("paravane-tree-{}", std::process::id()));
        let tree = |pairs: &[(&str, &str)]| -> Tree {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
        };
        let first = tree(&[("a", "1"), ("b/c", "2"), ("b/d", "3")]);
        sync(&root, &first).unwrap();
        assert_eq!(read(&root).unwrap(), first);
        let kept = fs::metadata(root.join("b/c")).unwrap().modified().unwrap();
        // Builds and histories are neither read nor removed.
        fs::create_dir_all(root.join("target")).unwrap();
        fs::write(root.join("target/x"), "built").unwrap();
        let second = tree(&[("b/c", "2"), ("b/d", "4"), ("e", "5")]);
        sync(&root, &second).unwrap();
        assert_eq!(read(&root).unwrap(), second);
        assert_eq!(fs::metadata(root.join("b/c")).unwrap().modified().unwrap(), kept);
        assert!(root.join("target/x").exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
