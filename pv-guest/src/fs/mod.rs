//! Files: a tree in memory whose first content is the initramfs, devices, `/proc`, pipes, and the tables of
//! open files.
//!
//! Locks here are short: none is held while a process waits or while user memory is copied, because a copy
//! may fault and read a file to fill the page.

pub mod dev;
mod files;
mod initramfs;
mod node;
mod open;
pub mod pipe;
pub mod proc;
mod resolve;
mod stat;

pub use files::{Files, MAX_FILES};
pub use node::{Content, Kind, Node, budget, mode};
pub use open::{Object, OpenFile, flag};
pub use resolve::{Found, parent_of, walk};
pub use stat::{Stat, StatFs};

use crate::errno::{Errno, Result};
use crate::mm::backing::FileBacking;
use alloc::sync::Arc;
use spin::Once;

static ROOT: Once<Arc<Node>> = Once::new();

/// The tree's root.
pub fn root() -> &'static Arc<Node> {
    ROOT.call_once(Node::new_root)
}

/// Builds the tree from the initramfs; devices and `/proc` go where the archive left room, or make it.
pub fn init(archive: &'static [u8]) {
    if let Err(broken) = initramfs::unpack(root(), archive) {
        log::error!("initramfs: {broken:?}; what came before it is used");
    }
    match initramfs::directory(root(), "dev") {
        Ok(node) => dev::populate(&node),
        Err(error) => log::error!("/dev: {error:?}"),
    }
    // The archive's /proc is a place to put the kernel's.
    let _ = root().remove("proc", true);
    if let Err(error) = root().insert("proc", proc::root()) {
        log::error!("/proc: {error:?}");
    }
}

/// The first program's file.
pub fn open_exec(path: &str) -> Result<Arc<dyn FileBacking>> {
    let found = match walk("/", path, true) {
        Err(Errno::ENOENT) if path == "/init" => walk("/", "/bin/init", true)?,
        found => found?,
    };
    found.node.backing()
}
