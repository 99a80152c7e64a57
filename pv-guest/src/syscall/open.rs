//! Making and closing descriptors.

use super::path::{base_of, user_path};
use super::rw::open_file;
use crate::errno::{Errno, Result};
use crate::fs::{Kind, Node, Object, OpenFile, flag, parent_of, pipe as pipes, walk};
use crate::mm::{heap, user};
use crate::process;
use alloc::string::String;
use spin::Mutex;

/// `*at` calls: the working directory instead of a descriptor.
pub const AT_FDCWD: u64 = -100i32 as u32 as u64;

/// `open`.
pub fn open(path: u64, flags: u64, permissions: u64) -> Result<u64> {
    openat(AT_FDCWD, path, flags, permissions)
}

/// `creat`.
pub fn creat(path: u64, permissions: u64) -> Result<u64> {
    openat(AT_FDCWD, path, u64::from(flag::CREAT | flag::WRONLY | flag::TRUNC), permissions)
}

/// `openat`.
pub fn openat(dir: u64, path: u64, flags: u64, permissions: u64) -> Result<u64> {
    let flags = flags as u32;
    let path = user_path(path)?;
    let base = base_of(dir, &path)?;
    let file = open_path(&base, &path, flags, permissions as u32)?;
    process::current().files.lock().insert(file, flags & flag::CLOEXEC != 0, 0)
}

fn open_path(base: &str, path: &str, flags: u32, permissions: u32) -> Result<alloc::sync::Arc<OpenFile>> {
    let follow =
        flags & flag::NOFOLLOW == 0 && flags & (flag::CREAT | flag::EXCL) != flag::CREAT | flag::EXCL;
    match walk(base, path, follow) {
        Ok(_) if flags & (flag::CREAT | flag::EXCL) == flag::CREAT | flag::EXCL => Err(Errno::EEXIST),
        Ok(found) if found.node.link_target().is_some() && flags & flag::PATH == 0 => Err(Errno::ELOOP),
        Ok(found) => OpenFile::open_node(found.node, found.path, flags),
        Err(Errno::ENOENT) if flags & flag::CREAT != 0 => {
            if path.ends_with('/') {
                return Err(Errno::EISDIR);
            }
            let (parent, name) = parent_of(base, path)?;
            // A link that leads nowhere stands where the new file would.
            if parent.node.lookup(name).is_ok() {
                return Err(Errno::ENOENT);
            }
            let permissions = permissions & !process::current().files.lock().umask;
            let content = crate::fs::Content::Pages(Default::default());
            let node = Node::create(Kind::File(Mutex::new(content)), permissions)?;
            parent.node.insert(name, node.clone())?;
            let path = pv_guest_logic::path::join(&parent.path, name);
            Ok(OpenFile::new(Object::Node(node), path, flags))
        }
        Err(error) => Err(error),
    }
}

/// `close`.
pub fn close(fd: u64) -> Result<u64> {
    // Dropped after the table's lock: closing a pipe wakes others.
    let file = process::current().files.lock().remove(fd)?;
    drop(file);
    Ok(0)
}

/// `close_range`.
pub fn close_range(first: u64, last: u64, flags: u64) -> Result<u64> {
    const CLOSE_RANGE_CLOEXEC: u64 = 4;
    if first > last {
        return Err(Errno::EINVAL);
    }
    for fd in first..=last.min(crate::fs::MAX_FILES as u64) {
        if flags & CLOSE_RANGE_CLOEXEC != 0 {
            let _ = process::current().files.lock().set_close_on_exec(fd, true);
        } else {
            let _ = close(fd);
        }
    }
    Ok(0)
}

/// `dup`.
pub fn dup(fd: u64) -> Result<u64> {
    let file = open_file(fd)?;
    process::current().files.lock().insert(file, false, 0)
}

/// `dup2`.
pub fn dup2(old: u64, new: u64) -> Result<u64> {
    if old as u32 == new as u32 {
        open_file(old)?;
        return Ok(new as u32 as u64);
    }
    dup3(old, new, 0)
}

/// `dup3`.
pub fn dup3(old: u64, new: u64, flags: u64) -> Result<u64> {
    if old as u32 == new as u32 {
        return Err(Errno::EINVAL);
    }
    let file = open_file(old)?;
    let replaced = process::current().files.lock().replace(new, file, flags as u32 & flag::CLOEXEC != 0)?;
    drop(replaced);
    Ok(new as u32 as u64)
}

/// `pipe`.
pub fn pipe(addr: u64) -> Result<u64> {
    pipe2(addr, 0)
}

/// `pipe2`.
pub fn pipe2(addr: u64, flags: u64) -> Result<u64> {
    let flags = flags as u32;
    heap::reserve(pipes::CAPACITY)?;
    let (reader, writer) = pipes::new()?;
    let close_on_exec = flags & flag::CLOEXEC != 0;
    let status = flags & flag::NONBLOCK;
    let process = process::current();
    let mut fds = [0u32; 2];
    for (fd, (end, access)) in fds.iter_mut().zip([(reader, 0), (writer, flag::WRONLY)]) {
        let file = OpenFile::new(Object::Pipe(end), String::new(), access | status);
        *fd = process.files.lock().insert(file, close_on_exec, 0)? as u32;
    }
    if let Err(error) = user::write(addr, &fds) {
        for fd in fds {
            close(u64::from(fd))?;
        }
        return Err(error);
    }
    Ok(0)
}
