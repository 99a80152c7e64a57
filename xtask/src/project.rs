//! Where things are: the work tree, the target folder, the user's cache folder.

use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};

/// The folders every command works with.
#[derive(Clone, Debug)]
pub struct Project {
    /// The root of the work tree.
    pub root: PathBuf,
    /// Where builds go; `cargo clean` empties it.
    pub target: PathBuf,
    /// What was fetched; it survives `cargo clean` and is shared by all work trees.
    pub cache: PathBuf,
}

impl Project {
    /// Finds the folders from the environment.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no folder above it")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        let cache = cache_folder(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))
            .context("neither XDG_CACHE_HOME nor HOME is set: nowhere to keep fetched files")?;
        Ok(Self { root, target, cache })
    }

    /// The target folder of the bare-metal builds.
    pub fn kernel_target(&self) -> PathBuf {
        self.target.join("kernel")
    }
}

fn cache_folder(xdg: Option<std::ffi::OsString>, home: Option<std::ffi::OsString>) -> Option<PathBuf> {
    // The base directory specification: a relative XDG_CACHE_HOME is to be ignored.
    let xdg = xdg.map(PathBuf::from).filter(|path| path.is_absolute());
    let base =
        xdg.or_else(|| home.filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join(".cache")))?;
    Some(base.join("paravane"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_the_base_directory_rules() {
        let folder =
            |xdg: Option<&str>, home: Option<&str>| cache_folder(xdg.map(Into::into), home.map(Into::into));
        assert_eq!(folder(Some("/c"), Some("/h")), Some("/c/paravane".into()));
        assert_eq!(folder(Some("rel"), Some("/h")), Some("/h/.cache/paravane".into()));
        assert_eq!(folder(None, Some("/h")), Some("/h/.cache/paravane".into()));
        assert_eq!(folder(None, Some("")), None);
        assert_eq!(folder(None, None), None);
    }
}
