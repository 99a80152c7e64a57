//! Reading and writing. Data passes through a kernel buffer, so that no lock is held while user memory is
//! copied; a file of the archive is copied from where it lies.

use crate::errno::{Errno, Result};
use crate::fs::OpenFile;
use crate::mm::user;
use crate::process;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use zerocopy::FromBytes;

/// The buffer's largest size.
const CHUNK: usize = 32 * 1024;
/// Most a single call moves (Linux's MAX_RW_COUNT).
const MAX: u64 = 0x7fff_f000;

/// The open file of a descriptor of the current process.
pub fn open_file(fd: u64) -> Result<Arc<OpenFile>> {
    process::current().files.lock().get(fd)
}

/// Whether a short count means that there is no more for now.
fn continues(file: &OpenFile, count: usize, asked: usize) -> bool {
    count == asked && file.seekable()
}

/// Reads into user memory by `read`, in pieces. An error after some bytes is not told.
fn read_pieces(
    file: &OpenFile,
    addr: u64,
    length: u64,
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize>,
) -> Result<u64> {
    let length = length.min(MAX);
    user::check(addr, length as usize)?;
    let mut buf = vec![0; CHUNK.min(length as usize)];
    let mut done = 0;
    while done < length {
        let want = buf.len().min((length - done) as usize);
        let result = read(&mut buf[..want], done)
            .and_then(|count| user::write_bytes(addr + done, &buf[..count]).map(|()| count));
        match result {
            Ok(count) => {
                done += count as u64;
                if !continues(file, count, want) {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn write_pieces(
    file: &OpenFile,
    addr: u64,
    length: u64,
    mut write: impl FnMut(&[u8], u64) -> Result<usize>,
) -> Result<u64> {
    let length = length.min(MAX);
    user::check(addr, length as usize)?;
    let mut buf = vec![0; CHUNK.min(length as usize)];
    let mut done = 0;
    while done < length {
        let want = buf.len().min((length - done) as usize);
        let result = user::read_bytes(&mut buf[..want], addr + done).and_then(|()| write(&buf[..want], done));
        match result {
            Ok(count) => {
                done += count as u64;
                // A pipe or the terminal takes everything or has been interrupted.
                if count < want && !continues(file, count, want) {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// `read`.
pub fn read(fd: u64, addr: u64, length: u64) -> Result<u64> {
    let file = open_file(fd)?;
    let length = length.min(MAX);
    if let Some(bytes) = file.take_static(length as usize) {
        user::write_bytes(addr, bytes)?;
        return Ok(bytes.len() as u64);
    }
    if length == 0 {
        return file.read(&mut []).map(|count| count as u64);
    }
    read_pieces(&file, addr, length, |buf, _| file.read(buf))
}

/// `write`.
pub fn write(fd: u64, addr: u64, length: u64) -> Result<u64> {
    let file = open_file(fd)?;
    if length == 0 {
        return file.write(&[]).map(|count| count as u64);
    }
    write_pieces(&file, addr, length, |bytes, _| file.write(bytes))
}

/// `pread64`.
pub fn pread64(fd: u64, addr: u64, length: u64, offset: u64) -> Result<u64> {
    let file = open_file(fd)?;
    check_offset(offset)?;
    read_pieces(&file, addr, length, |buf, done| file.read_at(offset + done, buf))
}

/// `pwrite64`.
pub fn pwrite64(fd: u64, addr: u64, length: u64, offset: u64) -> Result<u64> {
    let file = open_file(fd)?;
    check_offset(offset)?;
    write_pieces(&file, addr, length, |bytes, done| file.write_at(offset + done, bytes))
}

fn check_offset(offset: u64) -> Result<()> {
    if offset as i64 >= 0 { Ok(()) } else { Err(Errno::EINVAL) }
}

/// `struct iovec`.
#[repr(C)]
#[derive(FromBytes)]
struct Piece {
    addr: u64,
    length: u64,
}

fn pieces(addr: u64, count: u64) -> Result<Vec<Piece>> {
    const IOV_MAX: u64 = 1024;
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    (0..count).map(|index| user::read(addr + index * size_of::<Piece>() as u64)).collect()
}

fn vectored(addr: u64, count: u64, mut step: impl FnMut(&Piece) -> Result<u64>) -> Result<u64> {
    let mut done = 0;
    for piece in pieces(addr, count)? {
        if piece.length == 0 {
            continue;
        }
        match step(&piece) {
            Ok(count) => {
                done += count;
                if count < piece.length {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// `readv`.
pub fn readv(fd: u64, addr: u64, count: u64) -> Result<u64> {
    open_file(fd)?;
    vectored(addr, count, |piece| read(fd, piece.addr, piece.length))
}

/// `writev`.
pub fn writev(fd: u64, addr: u64, count: u64) -> Result<u64> {
    open_file(fd)?;
    vectored(addr, count, |piece| write(fd, piece.addr, piece.length))
}

/// `lseek`.
pub fn lseek(fd: u64, distance: u64, whence: u64) -> Result<u64> {
    open_file(fd)?.seek(distance as i64, whence as u32)
}

/// `sendfile`.
pub fn sendfile(out: u64, input: u64, offset_addr: u64, length: u64) -> Result<u64> {
    let (out, input) = (open_file(out)?, open_file(input)?);
    if !input.seekable() {
        return Err(Errno::EINVAL);
    }
    let mut offset = if offset_addr != 0 { Some(user::read::<u64>(offset_addr)?) } else { None };
    let mut buf = vec![0; CHUNK];
    let mut done = 0;
    let length = length.min(MAX);
    while done < length {
        let want = buf.len().min((length - done) as usize);
        let count = match &mut offset {
            Some(offset) => input.read_at(*offset, &mut buf[..want])?,
            None => input.read(&mut buf[..want])?,
        };
        if count == 0 {
            break;
        }
        match out.write(&buf[..count]) {
            Ok(written) => {
                done += written as u64;
                if let Some(offset) = &mut offset {
                    *offset += written as u64;
                } else if written < count {
                    input.seek(written as i64 - count as i64, 1)?;
                }
                if written < count {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    if let Some(offset) = offset {
        user::write(offset_addr, &offset)?;
    }
    Ok(done)
}
