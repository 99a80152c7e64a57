//! Calls on open files other than reading and writing.

use super::path::check_owner;
use super::rw::open_file;
use crate::errno::{Errno, Result};
use crate::fs::{StatFs, flag};
use crate::mm::user;
use crate::process;

/// `fstat`.
pub fn fstat(fd: u64, out: u64) -> Result<u64> {
    user::write(out, &open_file(fd)?.stat())?;
    Ok(0)
}

/// `fstatfs`.
pub fn fstatfs(fd: u64, out: u64) -> Result<u64> {
    let file = open_file(fd)?;
    user::write(out, &StatFs::of_node(file.node().map(|node| &**node)))?;
    Ok(0)
}

/// `fcntl`: copies, the close-on-exec flag, the status flags.
pub fn fcntl(fd: u64, command: u64, argument: u64) -> Result<u64> {
    const F_DUPFD: u64 = 0;
    const F_GETFD: u64 = 1;
    const F_SETFD: u64 = 2;
    const F_GETFL: u64 = 3;
    const F_SETFL: u64 = 4;
    const F_DUPFD_CLOEXEC: u64 = 1030;
    const FD_CLOEXEC: u64 = 1;
    let file = open_file(fd)?;
    let files = &process::current().files;
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let least = usize::try_from(argument).map_err(|_| Errno::EINVAL)?;
            if least >= crate::fs::MAX_FILES {
                return Err(Errno::EINVAL);
            }
            files.lock().insert(file, command == F_DUPFD_CLOEXEC, least)
        }
        F_GETFD => Ok(u64::from(files.lock().close_on_exec(fd)?) * FD_CLOEXEC),
        F_SETFD => files.lock().set_close_on_exec(fd, argument & FD_CLOEXEC != 0).map(|()| 0),
        F_GETFL => Ok(u64::from(file.flags())),
        F_SETFL => {
            file.set_flags(argument as u32);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `fsync`, `fdatasync`: everything is in memory for good, or gone.
pub fn fsync(fd: u64) -> Result<u64> {
    open_file(fd).map(|_| 0)
}

/// `sync`.
pub fn sync() -> Result<u64> {
    Ok(0)
}

/// `ftruncate`.
pub fn ftruncate(fd: u64, size: u64) -> Result<u64> {
    let file = open_file(fd)?;
    if (size as i64) < 0 || file.flags() & flag::ACCESS == 0 {
        return Err(Errno::EINVAL);
    }
    file.node().ok_or(Errno::EINVAL)?.set_size(size).map(|()| 0)
}

/// `fchmod`.
pub fn fchmod(fd: u64, permissions: u64) -> Result<u64> {
    open_file(fd)?.node().ok_or(Errno::EINVAL)?.set_permissions(permissions as u32);
    Ok(0)
}

/// `fchown`.
pub fn fchown(fd: u64, user: u64, group: u64) -> Result<u64> {
    open_file(fd)?;
    check_owner(user, group)
}

/// `umask`.
pub fn umask(mask: u64) -> Result<u64> {
    let mut files = process::current().files.lock();
    Ok(u64::from(core::mem::replace(&mut files.umask, mask as u32 & 0o777)))
}

/// `getdents64`.
pub fn getdents64(fd: u64, addr: u64, length: u64) -> Result<u64> {
    const LARGEST: u64 = 32 * 1024;
    let file = open_file(fd)?;
    user::check(addr, length as usize)?;
    let records = file.directory_records(length.min(LARGEST) as usize)?;
    user::write_bytes(addr, &records)?;
    Ok(records.len() as u64)
}
