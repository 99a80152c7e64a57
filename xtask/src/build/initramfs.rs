//! The guest's first file system: its programs, BusyBox, and digests that the host computed.

use super::cpio::Writer;
use crate::digest;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const MOTD: &str = "Welcome to Paravane: one kernel on several machines; `ring` says which rings it and this shell are in.\n";

/// The files whose digests the guest compares: the largest, some programs, a text.
const HASHED: [&str; 4] = ["bin/busybox", "bin/demo", "bin/sh", "etc/motd"];

/// Directories that exist before any program runs.
const DIRECTORIES: [(&str, u32); 6] =
    [("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("proc", 0o555), ("root", 0o700), ("tmp", 0o1777)];

/// Packs the programs; the result depends on their content alone.
pub fn pack(programs: &BTreeMap<String, PathBuf>) -> Result<Vec<u8>> {
    let mut files: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    for (name, path) in programs {
        let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        files.insert(format!("bin/{name}"), (0o755, content));
    }
    files.insert("etc/motd".into(), (0o644, MOTD.as_bytes().to_vec()));
    let sums = hashes(files.iter().filter(|(name, _)| HASHED.contains(&name.as_str())));
    files.insert("etc/hash.txt".into(), (0o644, sums.into_bytes()));
    let mut writer = Writer::default();
    for (name, permissions) in DIRECTORIES {
        writer.directory(name, permissions)?;
    }
    for (name, (permissions, content)) in &files {
        writer.file(name, *permissions, content)?;
    }
    writer.finish()
}

/// The lines that `sha256sum` prints for these files.
fn hashes<'a>(files: impl Iterator<Item = (&'a String, &'a (u32, Vec<u8>))>) -> String {
    files.map(|(name, (_, content))| format!("{}  /{name}\n", digest::of_bytes(content))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_lines_are_those_of_sha256sum() {
        let files = BTreeMap::from([("etc/x".to_owned(), (0o644, b"abc".to_vec()))]);
        assert_eq!(
            hashes(files.iter()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  /etc/x\n"
        );
    }

    #[test]
    fn an_absent_program_is_an_error() {
        let programs = BTreeMap::from([("sh".to_owned(), PathBuf::from("/nonexistent/sh"))]);
        assert!(pack(&programs).is_err());
    }
}
