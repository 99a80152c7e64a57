//! Calls that take paths.

use super::open::AT_FDCWD;
use super::rw::open_file;
use crate::errno::{Errno, Result};
use crate::fs::{Kind, Node, Stat, StatFs, mode, parent_of, walk};
use crate::mm::user;
use crate::process;
use alloc::string::String;
use pv_guest_logic::path::PATH_MAX;

/// `*at` calls: an empty path means the descriptor itself.
const AT_EMPTY_PATH: u64 = 0x1000;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_REMOVEDIR: u64 = 0x200;

/// A path from user memory. Names are text here: what is not UTF-8 cannot exist.
pub fn user_path(addr: u64) -> Result<String> {
    String::from_utf8(user::read_cstr(addr, PATH_MAX - 1)?).map_err(|_| Errno::ENOENT)
}

/// The directory a relative path of an `*at` call starts from.
pub fn base_of(dir: u64, path: &str) -> Result<String> {
    if path.starts_with('/') {
        return Ok("/".into());
    }
    if dir as u32 == AT_FDCWD as u32 {
        return Ok(process::current().cwd.lock().clone());
    }
    let file = open_file(dir)?;
    match file.node() {
        Some(node) if node.is_directory() => Ok(file.path.clone()),
        _ => Err(Errno::ENOTDIR),
    }
}

fn find(dir: u64, path: u64, follow: bool) -> Result<crate::fs::Found> {
    let path = user_path(path)?;
    walk(&base_of(dir, &path)?, &path, follow)
}

fn find_parent<T>(dir: u64, path: u64, use_it: impl FnOnce(&Node, &str) -> Result<T>) -> Result<T> {
    let path = user_path(path)?;
    let (parent, name) = parent_of(&base_of(dir, &path)?, &path)?;
    use_it(&parent.node, name)
}

/// `stat`.
pub fn stat(path: u64, out: u64) -> Result<u64> {
    newfstatat(AT_FDCWD, path, out, 0)
}

/// `lstat`.
pub fn lstat(path: u64, out: u64) -> Result<u64> {
    newfstatat(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW)
}

/// `newfstatat`.
pub fn newfstatat(dir: u64, path: u64, out: u64, flags: u64) -> Result<u64> {
    let path = user_path(path)?;
    let stat = if path.is_empty() && flags & AT_EMPTY_PATH != 0 && dir as u32 != AT_FDCWD as u32 {
        open_file(dir)?.stat()
    } else {
        let found = walk(&base_of(dir, &path)?, &path, flags & AT_SYMLINK_NOFOLLOW == 0)?;
        Stat::of_node(&found.node)
    };
    user::write(out, &stat)?;
    Ok(0)
}

/// `statfs`.
pub fn statfs(path: u64, out: u64) -> Result<u64> {
    let node = find(AT_FDCWD, path, true)?.node;
    user::write(out, &StatFs::of_node(Some(&node)))?;
    Ok(0)
}

/// `access`.
pub fn access(path: u64, wanted: u64) -> Result<u64> {
    faccessat(AT_FDCWD, path, wanted)
}

/// `faccessat`: everybody is root here, who may do all but execute what nobody may.
pub fn faccessat(dir: u64, path: u64, wanted: u64) -> Result<u64> {
    const X_OK: u64 = 1;
    let node = find(dir, path, true)?.node;
    if wanted & X_OK != 0 && !node.is_directory() && node.mode() & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    Ok(0)
}

/// `faccessat2`.
pub fn faccessat2(dir: u64, path: u64, wanted: u64, _flags: u64) -> Result<u64> {
    faccessat(dir, path, wanted)
}

/// `readlink`.
pub fn readlink(path: u64, out: u64, length: u64) -> Result<u64> {
    readlinkat(AT_FDCWD, path, out, length)
}

/// `readlinkat`.
pub fn readlinkat(dir: u64, path: u64, out: u64, length: u64) -> Result<u64> {
    let target = find(dir, path, false)?.node.link_target().ok_or(Errno::EINVAL)?;
    let count = target.len().min(length as usize);
    user::write_bytes(out, &target.as_bytes()[..count])?;
    Ok(count as u64)
}

/// `getcwd`: the length with the null.
pub fn getcwd(out: u64, length: u64) -> Result<u64> {
    let mut path = process::current().cwd.lock().clone().into_bytes();
    path.push(0);
    if path.len() as u64 > length {
        return Err(Errno::ERANGE);
    }
    user::write_bytes(out, &path)?;
    Ok(path.len() as u64)
}

/// `chdir`.
pub fn chdir(path: u64) -> Result<u64> {
    let found = find(AT_FDCWD, path, true)?;
    if !found.node.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    *process::current().cwd.lock() = found.path;
    Ok(0)
}

/// `fchdir`.
pub fn fchdir(fd: u64) -> Result<u64> {
    // "." is relative, so the base is the descriptor's directory.
    let path = base_of(fd, ".")?;
    *process::current().cwd.lock() = path;
    Ok(0)
}

fn without_umask(permissions: u64) -> u32 {
    permissions as u32 & !process::current().files.lock().umask
}

/// `mkdir`.
pub fn mkdir(path: u64, permissions: u64) -> Result<u64> {
    mkdirat(AT_FDCWD, path, permissions)
}

/// `mkdirat`.
pub fn mkdirat(dir: u64, path: u64, permissions: u64) -> Result<u64> {
    let result = find_parent(dir, path, |parent, name| {
        if parent.lookup(name).is_ok() {
            return Err(Errno::EEXIST);
        }
        parent.insert(name, Node::create(Node::no_names(), without_umask(permissions))?)
    });
    match result {
        // The root, or a path that ends in `..`: something is there.
        Err(Errno::EBUSY) => Err(Errno::EEXIST),
        result => result.map(|()| 0),
    }
}

/// `rmdir`.
pub fn rmdir(path: u64) -> Result<u64> {
    unlinkat(AT_FDCWD, path, AT_REMOVEDIR)
}

/// `unlink`.
pub fn unlink(path: u64) -> Result<u64> {
    unlinkat(AT_FDCWD, path, 0)
}

/// `unlinkat`.
pub fn unlinkat(dir: u64, path: u64, flags: u64) -> Result<u64> {
    let node = find_parent(dir, path, |parent, name| parent.remove(name, flags & AT_REMOVEDIR != 0))?;
    drop(node);
    Ok(0)
}

/// `rename`.
pub fn rename(old: u64, new: u64) -> Result<u64> {
    renameat(AT_FDCWD, old, AT_FDCWD, new)
}

/// `renameat`.
pub fn renameat(old_dir: u64, old: u64, new_dir: u64, new: u64) -> Result<u64> {
    renameat2(old_dir, old, new_dir, new, 0)
}

/// `renameat2`.
pub fn renameat2(old_dir: u64, old: u64, new_dir: u64, new: u64, flags: u64) -> Result<u64> {
    const RENAME_NOREPLACE: u64 = 1;
    if flags & !RENAME_NOREPLACE != 0 {
        return Err(Errno::EINVAL);
    }
    let (old, new) = (user_path(old)?, user_path(new)?);
    let (old_parent, old_name) = parent_of(&base_of(old_dir, &old)?, &old)?;
    let (new_parent, new_name) = parent_of(&base_of(new_dir, &new)?, &new)?;
    let node = old_parent.node.lookup(old_name)?;
    let old_path = pv_guest_logic::path::join(&old_parent.path, old_name);
    let inside = new_parent.path.strip_prefix(old_path.as_str());
    if node.is_directory() && inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Err(Errno::EINVAL);
    }
    if let Ok(target) = new_parent.node.lookup(new_name) {
        if target.ino == node.ino {
            return Ok(0);
        }
        if flags & RENAME_NOREPLACE != 0 {
            return Err(Errno::EEXIST);
        }
        if target.is_directory() && !node.is_directory() {
            return Err(Errno::EISDIR);
        }
        // With a directory on the left, the one on the right must be an empty directory.
        new_parent.node.remove(new_name, node.is_directory())?;
    }
    let node = old_parent.node.take(old_name)?;
    new_parent.node.insert(new_name, node)?;
    Ok(0)
}

/// `link`.
pub fn link(old: u64, new: u64) -> Result<u64> {
    let node = find(AT_FDCWD, old, false)?.node;
    if node.is_directory() {
        return Err(Errno::EPERM);
    }
    if matches!(node.kind, Kind::Proc(_)) {
        return Err(Errno::EXDEV);
    }
    find_parent(AT_FDCWD, new, |parent, name| parent.insert(name, node.clone()))?;
    node.add_link();
    Ok(0)
}

/// `symlink`.
pub fn symlink(target: u64, path: u64) -> Result<u64> {
    symlinkat(target, AT_FDCWD, path)
}

/// `symlinkat`.
pub fn symlinkat(target: u64, dir: u64, path: u64) -> Result<u64> {
    let target = user_path(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    find_parent(dir, path, |parent, name| parent.insert(name, Node::create(Kind::Symlink(target), 0o777)?))?;
    Ok(0)
}

/// `chmod`.
pub fn chmod(path: u64, permissions: u64) -> Result<u64> {
    fchmodat(AT_FDCWD, path, permissions)
}

/// `fchmodat`.
pub fn fchmodat(dir: u64, path: u64, permissions: u64) -> Result<u64> {
    let node = find(dir, path, true)?.node;
    node.set_permissions(permissions as u32);
    Ok(0)
}

/// `chown`, `lchown`: there is one user; only giving a file to that one works.
pub fn chown(path: u64, user: u64, group: u64) -> Result<u64> {
    fchownat(AT_FDCWD, path, user, group, 0)
}

/// `fchownat`.
pub fn fchownat(dir: u64, path: u64, user: u64, group: u64, _flags: u64) -> Result<u64> {
    find(dir, path, true)?;
    check_owner(user, group)
}

/// Whether these are the only user and group, or -1 for no change.
pub fn check_owner(user: u64, group: u64) -> Result<u64> {
    let fits = |id: u64| id as u32 == 0 || id as u32 == u32::MAX;
    if fits(user) && fits(group) { Ok(0) } else { Err(Errno::EPERM) }
}

/// `truncate`.
pub fn truncate(path: u64, size: u64) -> Result<u64> {
    if (size as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    let node = find(AT_FDCWD, path, true)?.node;
    match node.mode() & mode::TYPE {
        mode::DIRECTORY => Err(Errno::EISDIR),
        _ => node.set_size(size).map(|()| 0),
    }
}

/// `utimensat`: sets the time of the last change; there is no time of the last access.
pub fn utimensat(dir: u64, path: u64, times: u64, flags: u64) -> Result<u64> {
    const UTIME_NOW: i64 = 0x3fff_ffff;
    const UTIME_OMIT: i64 = 0x3fff_fffe;
    let ns = match times {
        0 => Some(crate::time::realtime_ns()),
        times => {
            let [seconds, nanoseconds] = user::read::<[i64; 2]>(times + 16)?;
            match nanoseconds {
                UTIME_NOW => Some(crate::time::realtime_ns()),
                UTIME_OMIT => None,
                0..1_000_000_000 => Some((seconds.max(0) as u64) * 1_000_000_000 + nanoseconds as u64),
                _ => return Err(Errno::EINVAL),
            }
        }
    };
    let node = if path == 0 {
        open_file(dir)?.node().cloned().ok_or(Errno::EBADF)?
    } else {
        find(dir, path, flags & AT_SYMLINK_NOFOLLOW == 0)?.node
    };
    if let Some(ns) = ns {
        node.set_mtime_ns(ns);
    }
    Ok(0)
}
