//! Paths as text.

use alloc::string::String;

/// Longest path (Linux's PATH_MAX, with the null).
pub const PATH_MAX: usize = 4096;
/// Longest name of a directory entry.
pub const NAME_MAX: usize = 255;

/// `path` seen from the absolute directory `base`: not normalised, since `..` after a symbolic link is the
/// directory walk's business.
pub fn join(base: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.into();
    }
    let mut out = String::with_capacity(base.len() + 1 + path.len());
    out.push_str(base);
    if !base.ends_with('/') {
        out.push('/');
    }
    out.push_str(path);
    out
}

/// The names along a path, without empty ones and `.`.
pub fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".")
}

/// Splits off the last name: the path of its directory, and the name. `None` when there is no name to create
/// or remove: the root, or a path that ends in `..`; `.` at the end counts as a name, for the caller to refuse.
pub fn split_last(path: &str) -> Option<(&str, &str)> {
    let trimmed = path.trim_end_matches('/');
    let cut = trimmed.rfind('/').map_or(0, |slash| slash + 1);
    let (parent, name) = trimmed.split_at(cut);
    if name.is_empty() || name == ".." { None } else { Some((parent, name)) }
}

/// Whether the path says that it must be a directory.
pub fn wants_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..") || path == "." || path == ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn joining() {
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/tmp", "a/../b"), "/tmp/a/../b");
        assert_eq!(join("/tmp", "/etc"), "/etc");
        assert_eq!(join("/tmp", ""), "/tmp/");
    }

    #[test]
    fn components_skip_what_means_nothing() {
        assert_eq!(components("//a/./b/../c/").collect::<Vec<_>>(), ["a", "b", "..", "c"]);
        assert_eq!(components("/").count(), 0);
    }

    #[test]
    fn splitting() {
        assert_eq!(split_last("/a/b"), Some(("/a/", "b")));
        assert_eq!(split_last("/a/b//"), Some(("/a/", "b")));
        assert_eq!(split_last("b"), Some(("", "b")));
        assert_eq!(split_last("/"), None);
        assert_eq!(split_last("a/.."), None);
        assert_eq!(split_last("a/."), Some(("a/", ".")));
    }

    #[test]
    fn directories_by_form() {
        assert!(wants_directory("a/") && wants_directory("a/.") && wants_directory(".."));
        assert!(!wants_directory("a.") && !wants_directory("a"));
    }
}
