//! The tree's nodes.

use super::{dev, proc};
use crate::errno::{Errno, Result};
use crate::mm::backing::{FileBacking, StaticFile};
use crate::mm::heap;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use pv_guest_logic::pages::Pages;
use pv_guest_logic::path::NAME_MAX;
use spin::Mutex;

/// Type and permission bits of `st_mode`.
pub mod mode {
    /// Mask of the type.
    pub const TYPE: u32 = 0o170000;
    /// Directory.
    pub const DIRECTORY: u32 = 0o040000;
    /// Regular file.
    pub const FILE: u32 = 0o100000;
    /// Symbolic link.
    pub const SYMLINK: u32 = 0o120000;
    /// Character device.
    pub const CHARACTER: u32 = 0o020000;
    /// Pipe.
    pub const PIPE: u32 = 0o010000;
}

/// A regular file's bytes.
pub enum Content {
    /// In the archive, never changed: pages can be shared.
    Static(&'static [u8]),
    /// Written at run time.
    Pages(Pages),
}

/// What a node is.
pub enum Kind {
    /// A directory's names.
    Directory(Mutex<BTreeMap<String, Arc<Node>>>),
    /// A regular file.
    File(Mutex<Content>),
    /// A symbolic link's target.
    Symlink(String),
    /// A character device.
    Device(dev::Device),
    /// Something the kernel answers for.
    Proc(proc::Item),
}

/// A file, directory, link or device.
pub struct Node {
    /// Inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    mode: AtomicU32,
    links: AtomicU32,
    mtime_ns: AtomicU64,
    /// Heap that the budget counts for the node itself.
    cost: usize,
}

static NEXT_INO: AtomicU64 = AtomicU64::new(2);

impl Node {
    /// A node; `mode` has permissions only.
    pub fn new(kind: Kind, permissions: u32) -> Arc<Node> {
        Arc::new(Self::with_ino(NEXT_INO.fetch_add(1, Relaxed), kind, permissions))
    }

    /// A node whose number is given: those of `/proc` are made when they are looked up.
    pub fn with_ino(ino: u64, kind: Kind, permissions: u32) -> Node {
        let kind_bits = match &kind {
            Kind::Directory(_) => mode::DIRECTORY,
            Kind::File(_) => mode::FILE,
            Kind::Symlink(_) => mode::SYMLINK,
            Kind::Device(_) => mode::CHARACTER,
            Kind::Proc(item) => item.kind_bits(),
        };
        Node {
            ino,
            mode: AtomicU32::new(kind_bits | permissions & 0o7777),
            links: AtomicU32::new(if kind_bits == mode::DIRECTORY { 2 } else { 1 }),
            mtime_ns: AtomicU64::new(crate::time::realtime_ns()),
            cost: 0,
            kind,
        }
    }

    /// A node that a program asks for: it counts against the budget.
    pub fn create(kind: Kind, permissions: u32) -> Result<Arc<Node>> {
        // With its name, and its share of the directory's tree.
        let cost = size_of::<Node>() + 2 * NAME_MAX;
        account(0, cost)?;
        let mut node = Self::with_ino(NEXT_INO.fetch_add(1, Relaxed), kind, permissions);
        node.cost = cost;
        Ok(Arc::new(node))
    }

    /// What an empty directory is.
    pub fn no_names() -> Kind {
        Kind::Directory(Mutex::new(BTreeMap::new()))
    }

    /// The tree's root.
    pub fn new_root() -> Arc<Node> {
        Arc::new(Self::with_ino(1, Self::no_names(), 0o755))
    }

    /// Type and permissions.
    pub fn mode(&self) -> u32 {
        self.mode.load(Relaxed)
    }

    /// Changes the permissions.
    pub fn set_permissions(&self, permissions: u32) {
        self.mode.store(self.mode() & mode::TYPE | permissions & 0o7777, Relaxed);
    }

    /// Number of names.
    pub fn links(&self) -> u32 {
        self.links.load(Relaxed)
    }

    /// Time of the last change.
    pub fn mtime_ns(&self) -> u64 {
        self.mtime_ns.load(Relaxed)
    }

    /// Sets the time of the last change.
    pub fn set_mtime_ns(&self, ns: u64) {
        self.mtime_ns.store(ns, Relaxed);
    }

    fn touch(&self) {
        self.set_mtime_ns(crate::time::realtime_ns());
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode() & mode::TYPE == mode::DIRECTORY
    }

    /// A regular file's length; zero for what has none.
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(content) => match &*content.lock() {
                Content::Static(bytes) => bytes.len() as u64,
                Content::Pages(pages) => pages.len() as u64,
            },
            Kind::Symlink(target) => target.len() as u64,
            _ => 0,
        }
    }

    /// The entry `name` of a directory.
    pub fn lookup(&self, name: &str) -> Result<Arc<Node>> {
        match &self.kind {
            Kind::Directory(names) => names.lock().get(name).cloned().ok_or(Errno::ENOENT),
            Kind::Proc(item) => item.lookup(name),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// A directory's entries: name, inode, mode.
    pub fn entries(&self) -> Result<Vec<(String, u64, u32)>> {
        match &self.kind {
            Kind::Directory(names) => {
                Ok(names.lock().iter().map(|(name, node)| (name.clone(), node.ino, node.mode())).collect())
            }
            Kind::Proc(item) if self.is_directory() => Ok(item.entries()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// A symbolic link's target.
    pub fn link_target(&self) -> Option<String> {
        match &self.kind {
            Kind::Symlink(target) => Some(target.to_string()),
            Kind::Proc(item) => item.link_target(),
            _ => None,
        }
    }

    /// Adds a name to a directory.
    pub fn insert(&self, name: &str, node: Arc<Node>) -> Result<()> {
        let Kind::Directory(names) = &self.kind else { return Err(self.not_writable()) };
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut names = names.lock();
        if names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        names.insert(name.to_string(), node);
        drop(names);
        self.touch();
        Ok(())
    }

    /// Another name for a file.
    pub fn add_link(&self) {
        self.links.fetch_add(1, Relaxed);
    }

    fn not_writable(&self) -> Errno {
        if self.is_directory() { Errno::EPERM } else { Errno::ENOTDIR }
    }

    /// Takes a name out of a directory; `directory` says which kind the caller means.
    pub fn remove(&self, name: &str, directory: bool) -> Result<Arc<Node>> {
        let Kind::Directory(names) = &self.kind else { return Err(self.not_writable()) };
        let mut names = names.lock();
        let node = names.get(name).ok_or(Errno::ENOENT)?;
        match (&node.kind, directory) {
            (Kind::Directory(inner), true) if !inner.lock().is_empty() => return Err(Errno::ENOTEMPTY),
            (Kind::Directory(_), true) => {}
            (Kind::Proc(_), _) => return Err(Errno::EPERM),
            (Kind::Directory(_), false) => return Err(Errno::EISDIR),
            (_, true) => return Err(Errno::ENOTDIR),
            (_, false) => {}
        }
        let node = names.remove(name).ok_or(Errno::ENOENT)?;
        drop(names);
        node.links.fetch_sub(if directory { 2 } else { 1 }, Relaxed);
        self.touch();
        Ok(node)
    }

    /// Takes a name out of a directory for it to get another.
    pub fn take(&self, name: &str) -> Result<Arc<Node>> {
        let Kind::Directory(names) = &self.kind else { return Err(self.not_writable()) };
        let node = names.lock().remove(name).ok_or(Errno::ENOENT)?;
        self.touch();
        Ok(node)
    }

    /// Reads a regular file; returns how many bytes there were.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Kind::File(content) = &self.kind else { return Err(Errno::EINVAL) };
        let offset = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        Ok(match &*content.lock() {
            Content::Static(bytes) => {
                let rest = bytes.get(offset..).unwrap_or(&[]);
                let count = rest.len().min(buf.len());
                buf[..count].copy_from_slice(&rest[..count]);
                count
            }
            Content::Pages(pages) => pages.read(offset, buf),
        })
    }

    /// A file's bytes from `offset` on, when they never move or change.
    pub fn static_bytes(&self) -> Option<&'static [u8]> {
        match &self.kind {
            Kind::File(content) => match &*content.lock() {
                Content::Static(bytes) => Some(bytes),
                Content::Pages(_) => None,
            },
            _ => None,
        }
    }

    /// Runs `change` on a file's writable bytes, once what they will take (`footprint`) fits into the budget; an
    /// archive file is copied first, and mappings of it keep the old bytes.
    fn with_pages<T>(
        &self,
        footprint: impl FnOnce(&Pages) -> usize,
        change: impl FnOnce(&mut Pages) -> T,
    ) -> Result<T> {
        let Kind::File(content) = &self.kind else { return Err(Errno::EINVAL) };
        let mut content = content.lock();
        if let Content::Static(bytes) = *content {
            account(0, Pages::default().footprint_after(0, bytes.len()))?;
            *content = Content::Pages(Pages::from_bytes(bytes));
        }
        let Content::Pages(pages) = &mut *content else { return Err(Errno::EIO) };
        let reserved = footprint(pages);
        account(pages.footprint(), reserved)?;
        let result = change(pages);
        // A cut takes less than before, which is never refused.
        account(reserved, pages.footprint())?;
        drop(content);
        self.touch();
        Ok(result)
    }

    /// Largest file: positions stay far from overflow, and a file's table of pieces small.
    const MAX_SIZE: u64 = 64 << 20;

    /// Writes to a regular file.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > Self::MAX_SIZE) {
            return Err(Errno::EFBIG);
        }
        let offset = offset as usize;
        self.with_pages(
            |pages| pages.footprint_after(offset, bytes.len()),
            |pages| pages.write(offset, bytes),
        )?;
        Ok(bytes.len())
    }

    /// Cuts or extends a regular file.
    pub fn set_size(&self, size: u64) -> Result<()> {
        if size > Self::MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        if size == 0
            && let Kind::File(content) = &self.kind
            && let content = &mut *content.lock()
            && matches!(content, Content::Static(_))
        {
            // Nothing of it is kept, so nothing is copied.
            *content = Content::Pages(Pages::default());
        }
        let size = size as usize;
        self.with_pages(|pages| pages.footprint_after(size, 0), |pages| pages.set_length(size))
    }

    /// The file as something to map or to load a program from.
    pub fn backing(self: &Arc<Self>) -> Result<Arc<dyn FileBacking>> {
        match &self.kind {
            Kind::File(_) => Ok(match self.static_bytes() {
                Some(bytes) => Arc::new(StaticFile::new(self.ino, bytes)),
                None => Arc::new(Mapped(self.clone())),
            }),
            Kind::Directory(_) => Err(Errno::EACCES),
            _ => Err(Errno::ENODEV),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Giving back is never refused.
        let _ = account(self.cost, 0);
        if let Kind::File(content) = &mut self.kind
            && let Content::Pages(pages) = content.get_mut()
        {
            let _ = account(pages.footprint(), 0);
        }
    }
}

/// Bytes that files written at run time take.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Bytes that files written at run time may take, and those they take. They lie in the kernel's heap, a sixteenth of
/// memory and at least 2 MiB, and get a quarter of it: beyond that the file system is full, and the kernel still has
/// room.
pub fn budget() -> (usize, usize) {
    ((crate::mm::total_frames() * 64).max(512 * 1024), USED.load(Relaxed))
}

/// Notes that files written at run time take `after` bytes instead of `before`.
fn account(before: usize, after: usize) -> Result<()> {
    let (most, used) = budget();
    let used = used - before + after;
    if after > before {
        if used > most {
            return Err(Errno::ENOSPC);
        }
        heap::reserve(after - before)?;
    }
    USED.store(used, Relaxed);
    Ok(())
}

/// A file written at run time, as the memory manager reads it.
struct Mapped(Arc<Node>);

impl FileBacking for Mapped {
    /// Its content may change, so its pages are never shared.
    fn id(&self) -> u64 {
        0
    }

    fn len(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> usize {
        self.0.read_at(offset, buf).unwrap_or(0)
    }
}
