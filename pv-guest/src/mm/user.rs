//! Copies between the kernel and the current process's memory.
//!
//! This kernel may touch user pages, so a copy is a plain one. In ring 3 its own pages are user pages too: the check of the
//! address is all that keeps a program from naming them. A page that is not there faults, and the fault handler either
//! brings it in or sends the copy to its fixup.

use alloc::vec::Vec;
use core::arch::asm;
use core::mem::MaybeUninit;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::addr::PAGE;
pub use super::addr::USER_END;
use crate::errno::{Errno, Result};

/// Copies bytes, either side of which may be user memory; returns how many were left when a fault could not be handled.
///
/// # Safety
/// Whichever side is the kernel's must be valid for `len` bytes, and the other must lie below [`USER_END`].
unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let left: usize;
    // SAFETY: a fault on the user side resumes at 3 with the rest in RCX; the caller vouches for the kernel side.
    unsafe {
        asm!(
            "2: rep movsb",
            "3:",
            ".pushsection .ex_table, \"a\", @progbits",
            ".quad 2b, 3b",
            ".popsection",
            inout("rdi") dst => _,
            inout("rsi") src => _,
            inout("rcx") len => left,
            options(nostack, preserves_flags),
        );
    }
    left
}

/// Checks that a range lies in user addresses, before anything is touched.
pub fn check(addr: u64, len: usize) -> Result<()> {
    match addr.checked_add(len as u64) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Copies from user memory.
pub fn read_bytes(dst: &mut [u8], addr: u64) -> Result<()> {
    check(addr, dst.len())?;
    // SAFETY: `dst` is a slice, and the user range was checked.
    let left = unsafe { copy(dst.as_mut_ptr(), addr as *const u8, dst.len()) };
    if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies to user memory.
pub fn write_bytes(addr: u64, src: &[u8]) -> Result<()> {
    check(addr, src.len())?;
    // SAFETY: `src` is a slice, and the user range was checked.
    let left = unsafe { copy(addr as *mut u8, src.as_ptr(), src.len()) };
    if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Reads a value from user memory.
pub fn read<T: FromBytes>(addr: u64) -> Result<T> {
    check(addr, size_of::<T>())?;
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the value's storage is valid for its size, and the user range was checked.
    let left = unsafe { copy(value.as_mut_ptr().cast(), addr as *const u8, size_of::<T>()) };
    if left != 0 {
        return Err(Errno::EFAULT);
    }
    // SAFETY: every byte was written, and any bytes are a valid `T`.
    Ok(unsafe { value.assume_init() })
}

/// Writes a value to user memory.
pub fn write<T: IntoBytes + Immutable>(addr: u64, value: &T) -> Result<()> {
    write_bytes(addr, value.as_bytes())
}

/// Fills user memory with zeros.
pub fn zero(addr: u64, len: usize) -> Result<()> {
    static ZEROS: [u8; 512] = [0; 512];
    check(addr, len)?;
    let mut done = 0;
    while done < len {
        let part = (len - done).min(ZEROS.len());
        write_bytes(addr + done as u64, &ZEROS[..part])?;
        done += part;
    }
    Ok(())
}

/// Reads a NUL-terminated string, without its NUL.
pub fn read_cstr(addr: u64, max: usize) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut buffer = [0; 256];
    let mut at = addr;
    loop {
        // Never across a page: the string may end right before an unmapped one.
        let part = ((PAGE - at % PAGE) as usize).min(buffer.len());
        read_bytes(&mut buffer[..part], at)?;
        if let Some(end) = buffer[..part].iter().position(|&byte| byte == 0) {
            text.extend_from_slice(&buffer[..end]);
            return if text.len() > max { Err(Errno::ENAMETOOLONG) } else { Ok(text) };
        }
        text.extend_from_slice(&buffer[..part]);
        if text.len() > max {
            return Err(Errno::ENAMETOOLONG);
        }
        at += part as u64;
    }
}

/// Reads a null-terminated array of strings, such as argv. A null array is an empty one.
pub fn read_cstr_array(addr: u64, max_total: usize) -> Result<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    let mut total = 0;
    if addr == 0 {
        return Ok(strings);
    }
    for index in 0.. {
        let pointer: u64 = read(addr + index * 8)?;
        if pointer == 0 {
            break;
        }
        let text = read_cstr(pointer, max_total).map_err(|error| match error {
            Errno::ENAMETOOLONG => Errno::E2BIG,
            other => other,
        })?;
        total += text.len() + 1 + size_of::<u64>();
        if total > max_total {
            return Err(Errno::E2BIG);
        }
        strings.push(text);
    }
    Ok(strings)
}
