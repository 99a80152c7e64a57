//! Open files: what a descriptor refers to. Copies of a descriptor share the position.

use super::node::{Kind, Node, mode};
use super::{Stat, dev, pipe};
use crate::errno::{Errno, Result};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use pv_guest_logic::dirent;
use spin::Mutex;

/// `open` flags, as Linux numbers them on x86-64.
pub mod flag {
    #![allow(missing_docs)]
    pub const ACCESS: u32 = 0o3;
    pub const WRONLY: u32 = 0o1;
    pub const RDWR: u32 = 0o2;
    pub const CREAT: u32 = 0o100;
    pub const EXCL: u32 = 0o200;
    pub const TRUNC: u32 = 0o1000;
    pub const APPEND: u32 = 0o2000;
    pub const NONBLOCK: u32 = 0o4000;
    pub const DIRECTORY: u32 = 0o200000;
    pub const NOFOLLOW: u32 = 0o400000;
    pub const CLOEXEC: u32 = 0o2000000;
    pub const PATH: u32 = 0o10000000;
    /// Those `fcntl(F_SETFL)` changes.
    pub const SETTABLE: u32 = APPEND | NONBLOCK;
}

/// What is open.
pub enum Object {
    /// A file, directory or device.
    Node(Arc<Node>),
    /// A file of `/proc`, whose text was made when it was opened.
    Text(Arc<Node>, Vec<u8>),
    /// A pipe's end.
    Pipe(pipe::End),
}

/// An open file.
pub struct OpenFile {
    /// What it is.
    pub object: Object,
    /// Its absolute path; empty for a pipe.
    pub path: String,
    offset: Mutex<u64>,
    flags: AtomicU32,
}

impl OpenFile {
    /// A fresh one at position 0.
    pub fn new(object: Object, path: String, flags: u32) -> Arc<OpenFile> {
        let flags = AtomicU32::new(flags & (flag::ACCESS | flag::SETTABLE | flag::PATH | flag::DIRECTORY));
        Arc::new(OpenFile { object, path, offset: Mutex::new(0), flags })
    }

    /// Opens a node: makes the text of a `/proc` file, empties a file opened with `TRUNC`.
    pub fn open_node(node: Arc<Node>, path: String, flags: u32) -> Result<Arc<OpenFile>> {
        let writes = flags & flag::ACCESS != 0;
        if node.is_directory() && (writes || flags & flag::CREAT != 0) {
            return Err(Errno::EISDIR);
        }
        if flags & flag::DIRECTORY != 0 && !node.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        let object = match &node.kind {
            Kind::Proc(item) if flags & flag::PATH == 0 && !node.is_directory() => {
                let text = if flags & flag::ACCESS == flag::WRONLY { Vec::new() } else { item.text()? };
                Object::Text(node, text)
            }
            Kind::File(_) if flags & flag::TRUNC != 0 && writes => {
                node.set_size(0)?;
                Object::Node(node)
            }
            _ => Object::Node(node),
        };
        Ok(Self::new(object, path, flags))
    }

    /// Access mode and status flags.
    pub fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    /// Replaces the status flags that may change.
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(self.flags() & !flag::SETTABLE | flags & flag::SETTABLE, Relaxed);
    }

    fn nonblocking(&self) -> bool {
        self.flags() & flag::NONBLOCK != 0
    }

    /// The node, for what is in the tree.
    pub fn node(&self) -> Option<&Arc<Node>> {
        match &self.object {
            Object::Node(node) | Object::Text(node, _) => Some(node),
            Object::Pipe(_) => None,
        }
    }

    /// The device, when it is one.
    pub fn device(&self) -> Option<dev::Device> {
        match self.node().map(|node| &node.kind) {
            Some(Kind::Device(device)) => Some(*device),
            _ => None,
        }
    }

    /// Whether it is the terminal.
    pub fn is_tty(&self) -> bool {
        self.device() == Some(dev::Device::Tty)
    }

    /// Whether bytes have positions.
    pub fn seekable(&self) -> bool {
        match &self.object {
            Object::Node(node) => !matches!(node.kind, Kind::Device(dev::Device::Tty)),
            Object::Text(..) => true,
            Object::Pipe(_) => false,
        }
    }

    fn may_read(&self) -> Result<()> {
        let flags = self.flags();
        if flags & flag::PATH != 0 || flags & flag::ACCESS == flag::WRONLY {
            Err(Errno::EBADF)
        } else {
            Ok(())
        }
    }

    fn may_write(&self) -> Result<()> {
        let flags = self.flags();
        if flags & flag::PATH != 0 || flags & flag::ACCESS == 0 { Err(Errno::EBADF) } else { Ok(()) }
    }

    /// Reads at the position and moves it. Waits where nothing is there yet.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        self.may_read()?;
        match &self.object {
            Object::Pipe(end) => end.read(buf, self.nonblocking()),
            Object::Node(node) if let Kind::Device(device) = &node.kind => {
                dev::read(*device, buf, self.nonblocking())
            }
            _ => {
                let mut offset = self.offset.lock();
                let count = self.read_positioned(*offset, buf)?;
                *offset += count as u64;
                Ok(count)
            }
        }
    }

    /// Reads at a position.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.may_read()?;
        if !self.seekable() {
            return Err(Errno::ESPIPE);
        }
        if let Some(device) = self.device() {
            return dev::read(device, buf, self.nonblocking());
        }
        self.read_positioned(offset, buf)
    }

    fn read_positioned(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match &self.object {
            Object::Node(node) if node.is_directory() => Err(Errno::EISDIR),
            Object::Node(node) => node.read_at(offset, buf),
            Object::Text(_, text) => {
                let rest = usize::try_from(offset).ok().and_then(|at| text.get(at..)).unwrap_or(&[]);
                let count = rest.len().min(buf.len());
                buf[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
            Object::Pipe(_) => Err(Errno::ESPIPE),
        }
    }

    /// Takes up to `length` bytes at the position as a slice and moves on, for files that never change.
    pub fn take_static(&self, length: usize) -> Option<&'static [u8]> {
        self.may_read().ok()?;
        let Object::Node(node) = &self.object else { return None };
        let bytes = node.static_bytes()?;
        let mut offset = self.offset.lock();
        let rest = bytes.get(usize::try_from(*offset).ok()?..).unwrap_or(&[]);
        let taken = &rest[..rest.len().min(length)];
        *offset += taken.len() as u64;
        Some(taken)
    }

    /// Writes at the position, or at the end when appending. Waits where there is no room.
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        self.may_write()?;
        match &self.object {
            Object::Pipe(end) => end.write(bytes, self.nonblocking()),
            Object::Text(node, _) => match &node.kind {
                Kind::Proc(item) => item.write(bytes),
                _ => Err(Errno::EINVAL),
            },
            Object::Node(node) => match &node.kind {
                Kind::Device(device) => dev::write(*device, bytes),
                Kind::File(_) => {
                    let mut offset = self.offset.lock();
                    if self.flags() & flag::APPEND != 0 {
                        *offset = node.size();
                    }
                    let count = node.write_at(*offset, bytes)?;
                    *offset += count as u64;
                    Ok(count)
                }
                _ => Err(Errno::EINVAL),
            },
        }
    }

    /// Writes at a position.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.may_write()?;
        match &self.object {
            Object::Node(node) if matches!(node.kind, Kind::File(_)) => node.write_at(offset, bytes),
            Object::Node(_) if self.seekable() => self.write(bytes),
            _ => Err(Errno::ESPIPE),
        }
    }

    /// Moves the position; returns the new one.
    pub fn seek(&self, distance: i64, whence: u32) -> Result<u64> {
        const SET: u32 = 0;
        const CURRENT: u32 = 1;
        const END: u32 = 2;
        if !self.seekable() {
            return Err(Errno::ESPIPE);
        }
        let mut offset = self.offset.lock();
        let base = match whence {
            SET => 0,
            CURRENT => *offset,
            END => match &self.object {
                Object::Text(_, text) => text.len() as u64,
                _ => self.node().map_or(0, |node| node.size()),
            },
            _ => return Err(Errno::EINVAL),
        };
        let target = base.checked_add_signed(distance).filter(|target| *target <= i64::MAX as u64);
        *offset = target.ok_or(Errno::EINVAL)?;
        Ok(*offset)
    }

    /// Directory records from the position on, at most `limit` bytes.
    pub fn directory_records(&self, limit: usize) -> Result<Vec<u8>> {
        let Object::Node(node) = &self.object else { return Err(Errno::ENOTDIR) };
        let entries = node.entries()?;
        let dots = [".", ".."].map(|name| (name.into(), node.ino, mode::DIRECTORY));
        let mut offset = self.offset.lock();
        let mut out = Vec::new();
        let start = usize::try_from(*offset).map_err(|_| Errno::EINVAL)?;
        for (name, ino, mode) in dots.iter().chain(&entries).skip(start) {
            if !dirent::push(&mut out, limit, *ino, *offset + 1, dirent::kind_of_mode(*mode), name) {
                if out.is_empty() {
                    return Err(Errno::EINVAL);
                }
                break;
            }
            *offset += 1;
        }
        Ok(out)
    }

    /// What `fstat` says.
    pub fn stat(&self) -> Stat {
        self.node().map_or_else(Stat::of_pipe, |node| Stat::of_node(node))
    }

    /// (readable, writable, hung up), for `poll`.
    pub fn readiness(&self) -> (bool, bool, bool) {
        match &self.object {
            Object::Pipe(end) => end.readiness(),
            _ if self.is_tty() => (crate::tty::readable(), true, false),
            _ => (true, true, false),
        }
    }
}
