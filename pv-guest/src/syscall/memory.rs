//! Memory: thin covers over `mm::space`.

use super::rw::open_file;
use crate::errno::{Errno, Result};
use crate::fs::{dev, flag};
use crate::mm::space::{self, MapFlags, Prot};

const PAGE: u64 = 4096;

/// `mmap`.
pub fn mmap(addr: u64, length: u64, protection: u64, flags: u64, fd: u64, offset: u64) -> Result<u64> {
    let prot = Prot::from_bits(protection as _).ok_or(Errno::EINVAL)?;
    // Flags without meaning here (MAP_NORESERVE, MAP_STACK, MAP_DENYWRITE, MAP_POPULATE...) are dropped.
    let mut flags = MapFlags::from_bits_truncate(flags as _);
    if !offset.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(MapFlags::ANONYMOUS) {
        return space::mmap(addr, length, prot, flags, None);
    }
    let file = open_file(fd)?;
    if file.flags() & flag::ACCESS == flag::WRONLY {
        return Err(Errno::EACCES);
    }
    if file.device() == Some(dev::Device::Zero) {
        flags |= MapFlags::ANONYMOUS;
        return space::mmap(addr, length, prot, flags, None);
    }
    let backing = file.node().ok_or(Errno::ENODEV)?.backing()?;
    space::mmap(addr, length, prot, flags, Some((backing, offset)))
}

/// `munmap`.
pub fn munmap(addr: u64, length: u64) -> Result<u64> {
    space::munmap(addr, length).map(|()| 0)
}

/// `mprotect`.
pub fn mprotect(addr: u64, length: u64, protection: u64) -> Result<u64> {
    let prot = Prot::from_bits(protection as _).ok_or(Errno::EINVAL)?;
    space::mprotect(addr, length, prot).map(|()| 0)
}

/// `mremap`.
pub fn mremap(old: u64, old_length: u64, new_length: u64, flags: u64, _new: u64) -> Result<u64> {
    const MREMAP_MAYMOVE: u64 = 1;
    if flags & !MREMAP_MAYMOVE != 0 {
        return Err(Errno::EINVAL);
    }
    space::mremap(old, old_length, new_length, flags & MREMAP_MAYMOVE != 0)
}

/// `brk`.
pub fn brk(addr: u64) -> Result<u64> {
    Ok(space::brk(addr))
}

/// `msync`: mappings of files are private or never written back.
pub fn msync(addr: u64, _length: u64, _flags: u64) -> Result<u64> {
    if addr.is_multiple_of(PAGE) { Ok(0) } else { Err(Errno::EINVAL) }
}

/// `madvise`: advice is optional, except that MADV_DONTNEED promises zeros, which this kernel does not give.
pub fn madvise(addr: u64, _length: u64, advice: u64) -> Result<u64> {
    const MADV_DONTNEED: u64 = 4;
    if !addr.is_multiple_of(PAGE) || advice == MADV_DONTNEED { Err(Errno::EINVAL) } else { Ok(0) }
}
