//! The walk from a path to a node.

use super::node::Node;
use super::root;
use crate::errno::{Errno, Result};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use pv_guest_logic::path::{self, PATH_MAX};

/// Symbolic links followed before a walk gives up, as Linux.
const MAX_LINKS: usize = 40;

/// The end of a walk.
pub struct Found {
    /// The node.
    pub node: Arc<Node>,
    /// Its absolute path without links.
    pub path: String,
}

/// Walks `path` from the absolute directory `base`. `follow` says whether a link at the end is followed too;
/// a path that says it is a directory always follows.
pub fn walk(base: &str, path: &str, follow: bool) -> Result<Found> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    if path.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let must_be_directory = path::wants_directory(path);
    let follow = follow || must_be_directory;
    let full = path::join(base, path);
    // The names still to walk, last first, and the nodes walked through below the root.
    let mut pending: Vec<String> = path::components(&full).rev().map(ToString::to_string).collect();
    let mut trail: Vec<(String, Arc<Node>)> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop() {
        let here = trail.last().map_or(root(), |(_, node)| node);
        if !here.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        if name == ".." {
            trail.pop();
            continue;
        }
        let node = here.lookup(&name)?;
        match node.link_target() {
            Some(target) if follow || !pending.is_empty() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                if target.starts_with('/') {
                    trail.clear();
                }
                pending.extend(path::components(&target).rev().map(ToString::to_string));
            }
            _ => trail.push((name, node)),
        }
    }
    let node = trail.last().map_or(root(), |(_, node)| node).clone();
    if must_be_directory && !node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    let mut text = String::new();
    for (name, _) in &trail {
        text.push('/');
        text.push_str(name);
    }
    if text.is_empty() {
        text.push('/');
    }
    Ok(Found { node, path: text })
}

/// The directory in which the last name of `path` is or will be, and that name.
pub fn parent_of<'a>(base: &str, path: &'a str) -> Result<(Found, &'a str)> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let (parent, name) = path::split_last(path).ok_or(Errno::EBUSY)?;
    if name == "." {
        return Err(Errno::EINVAL);
    }
    let found = walk(base, if parent.is_empty() { "." } else { parent }, true)?;
    if !found.node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    Ok((found, name))
}
