//! Whole files and directories.

use crate::sys::{self, Result};
use crate::text::c_string;
use alloc::string::String;
use alloc::vec::Vec;

/// Everything that can be read from a descriptor.
pub fn read_to_end(fd: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        match sys::read(fd, &mut chunk) {
            Ok(0) => return Ok(all),
            Ok(n) => all.extend_from_slice(&chunk[..n]),
            Err(crate::Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The content of a file.
pub fn read(path: &str) -> Result<Vec<u8>> {
    let fd = sys::open(&c_string(path), sys::O_RDONLY, 0)?;
    let content = read_to_end(fd);
    sys::close(fd)?;
    content
}

/// The content of a file as text.
pub fn read_text(path: &str) -> Result<String> {
    read(path).map(|bytes| crate::text::lossy(&bytes))
}

/// Creates or replaces a file.
pub fn write(path: &str, content: &[u8]) -> Result<()> {
    let fd = sys::open(&c_string(path), sys::O_WRONLY | sys::O_CREAT | sys::O_TRUNC, 0o644)?;
    let result = crate::io::write_all(fd, content);
    sys::close(fd)?;
    result
}

/// The names in a directory, with their `d_type`, without `.` and `..`, sorted.
pub fn list(path: &str) -> Result<Vec<(String, u8)>> {
    let fd = sys::open(&c_string(path), sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
    let mut names = Vec::new();
    let mut buf = [0; 1024];
    let result = loop {
        match sys::getdents64(fd, &mut buf) {
            Ok(0) => break Ok(()),
            Ok(n) => parse_records(&buf[..n], &mut names),
            Err(error) => break Err(error),
        }
    };
    sys::close(fd)?;
    result?;
    names.sort();
    Ok(names)
}

/// Directory type of `list`.
pub const DT_DIR: u8 = 4;

/// Splits `struct linux_dirent64` records: inode u64, offset i64, record length u16, type u8, name.
fn parse_records(mut records: &[u8], names: &mut Vec<(String, u8)>) {
    while records.len() > 19 {
        let length = usize::from(u16::from_le_bytes([records[16], records[17]]));
        if length < 20 || length > records.len() {
            return;
        }
        let name: Vec<u8> = records[19..length].iter().copied().take_while(|&byte| byte != 0).collect();
        if name != b"." && name != b".." {
            names.push((crate::text::lossy(&name), records[18]));
        }
        records = &records[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_and_dots_left_out() {
        let mut bytes = Vec::new();
        for (name, kind) in [(".", 4u8), ("file", 8), ("dir", 4)] {
            let length = (19 + name.len() + 1).next_multiple_of(8);
            let start = bytes.len();
            bytes.extend_from_slice(&[0; 16]);
            bytes.extend_from_slice(&(length as u16).to_le_bytes());
            bytes.push(kind);
            bytes.extend_from_slice(name.as_bytes());
            bytes.resize(start + length, 0);
        }
        let mut names = Vec::new();
        parse_records(&bytes, &mut names);
        assert_eq!(names, [("file".into(), 8), ("dir".into(), 4)]);
    }

    #[test]
    fn a_broken_record_ends_the_list() {
        let mut names = Vec::new();
        parse_records(&[0xff; 40], &mut names);
        assert!(names.is_empty());
    }
}
