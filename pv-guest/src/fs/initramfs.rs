//! Builds the tree from the cpio archive. File content stays in the archive.

use super::dev;
use super::node::{Content, Kind, Node, mode};
use crate::errno::{Errno, Result};
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::sync::Arc;
use pv_guest_logic::cpio::{Archive, Broken, Entry};
use pv_guest_logic::path;
use spin::Mutex;

/// Adds every member to the tree. A member that cannot be placed is reported and left out.
pub fn unpack(root: &Arc<Node>, archive: &'static [u8]) -> core::result::Result<(), Broken> {
    let mut linked = BTreeMap::new();
    for entry in Archive::new(archive) {
        let entry = entry?;
        if let Err(error) = place(root, &entry, &mut linked) {
            log::warn!("initramfs: {}: {error:?}", entry.name);
        }
    }
    Ok(())
}

/// The directory at a path of plain names, made where it is missing.
pub fn directory(root: &Arc<Node>, path: &str) -> Result<Arc<Node>> {
    let mut node = root.clone();
    for name in path::components(path) {
        node = match node.lookup(name) {
            Ok(next) => next,
            Err(Errno::ENOENT) => {
                let next = Node::new(Node::no_names(), 0o755);
                node.insert(name, next.clone())?;
                next
            }
            Err(error) => return Err(error),
        };
    }
    if node.is_directory() { Ok(node) } else { Err(Errno::ENOTDIR) }
}

fn place(root: &Arc<Node>, entry: &Entry<'static>, linked: &mut BTreeMap<u32, Arc<Node>>) -> Result<()> {
    if path::components(entry.name).any(|name| name == "..") {
        return Err(Errno::EINVAL);
    }
    let Some((parent, name)) = path::split_last(entry.name).filter(|(_, name)| *name != ".") else {
        root.set_permissions(entry.mode);
        return Ok(());
    };
    if entry.mode & mode::TYPE == mode::DIRECTORY {
        directory(root, entry.name)?.set_permissions(entry.mode);
        return Ok(());
    }
    let node = match entry.mode & mode::TYPE {
        // In newc, a file with several names carries its data with the last of them.
        mode::FILE if entry.links > 1 => {
            let empty = || Node::new(Kind::File(Mutex::new(Content::Static(&[]))), entry.mode);
            let node = linked.entry(entry.inode).or_insert_with(empty).clone();
            if let (Kind::File(content), false) = (&node.kind, entry.data.is_empty()) {
                *content.lock() = Content::Static(entry.data);
            }
            node
        }
        mode::FILE => Node::new(Kind::File(Mutex::new(Content::Static(entry.data))), entry.mode),
        mode::SYMLINK => {
            let target = core::str::from_utf8(entry.data).map_err(|_| Errno::EINVAL)?;
            Node::new(Kind::Symlink(target.to_string()), 0o777)
        }
        mode::CHARACTER => {
            let device = dev::Device::from_number(entry.device).ok_or(Errno::ENXIO)?;
            Node::new(Kind::Device(device), entry.mode)
        }
        _ => return Err(Errno::EINVAL),
    };
    node.set_mtime_ns(u64::from(entry.mtime) * 1_000_000_000);
    directory(root, parent)?.insert(name, node)
}
