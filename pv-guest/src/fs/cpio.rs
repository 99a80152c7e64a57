//! The "newc" cpio archive an initramfs is (cpio(5); Linux `Documentation/driver-api/early-userspace/buffer-format.rst`):
//! a 110-byte header of hexadecimal fields, the name, the data, each padded to four bytes; `TRAILER!!!` ends it.

const HEADER: usize = 110;
const MAGIC: &[u8] = b"070701";
/// The same with checksums, which nobody checks.
const MAGIC_CRC: &[u8] = b"070702";

/// One member, borrowed from the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Inode number in the archive; members with equal numbers above one link are one file.
    pub inode: u32,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Modification time, seconds.
    pub mtime: u32,
    /// Number of names.
    pub links: u32,
    /// Device number of a device node: major, minor.
    pub device: (u32, u32),
    /// The path, without leading `/` or `./`.
    pub name: &'a str,
    /// The content; a symbolic link's target.
    pub data: &'a [u8],
}

/// Why an archive ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// No archive header where one must be.
    Magic(usize),
    /// A field that is not hexadecimal, or a name that is no text.
    Field(usize),
    /// The archive ends within a member.
    Short(usize),
}

/// Iterator over an archive's members, in order. It ends after the trailer or the first error.
pub struct Archive<'a> {
    bytes: &'a [u8],
    at: usize,
    done: bool,
}

impl<'a> Archive<'a> {
    /// An archive in memory.
    pub fn new(bytes: &'a [u8]) -> Archive<'a> {
        Archive { bytes, at: 0, done: false }
    }

    fn member(&mut self) -> Result<Option<Entry<'a>>, Broken> {
        let start = self.at;
        let header =
            self.bytes.get(start..).and_then(|rest| rest.get(..HEADER)).ok_or(Broken::Short(start))?;
        if !header.starts_with(MAGIC) && !header.starts_with(MAGIC_CRC) {
            return Err(Broken::Magic(start));
        }
        let field = |index: usize| hex(&header[6 + 8 * index..][..8]).ok_or(Broken::Field(start));
        let (name_length, data_length) = (field(11)? as usize, field(6)? as usize);
        let name_start = start + HEADER;
        let name = self.slice(name_start, name_length, start)?;
        let name = core::str::from_utf8(name).map_err(|_| Broken::Field(start))?.trim_end_matches('\0');
        let data_start = (name_start + name_length).next_multiple_of(4);
        let data = self.slice(data_start, data_length, start)?;
        if name == "TRAILER!!!" {
            return Ok(None);
        }
        self.at = (data_start + data_length).next_multiple_of(4);
        let name = name.strip_prefix("./").unwrap_or(name).trim_start_matches('/');
        Ok(Some(Entry {
            inode: field(0)?,
            mode: field(1)?,
            mtime: field(5)?,
            links: field(4)?,
            device: (field(9)?, field(10)?),
            name,
            data,
        }))
    }

    fn slice(&self, at: usize, length: usize, start: usize) -> Result<&'a [u8], Broken> {
        at.checked_add(length).and_then(|end| self.bytes.get(at..end)).ok_or(Broken::Short(start))
    }
}

impl<'a> Iterator for Archive<'a> {
    type Item = Result<Entry<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let member = self.member().transpose();
        self.done = !matches!(member, Some(Ok(_)));
        member
    }
}

/// Eight hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec::Vec;

    fn member(name: &str, mode: u32, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        let fields = [7, mode, 0, 0, 1, 99, data.len() as u32, 0, 0, 5, 1, name.len() as u32 + 1, 0];
        for field in fields {
            out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn members_in_order_up_to_the_trailer() {
        let mut bytes = member(".", 0o040755, b"");
        bytes.extend(member("./bin/sh", 0o100755, b"12345"));
        bytes.extend(member("/x", 0o120777, b"bin/sh"));
        bytes.extend(member("TRAILER!!!", 0, b""));
        bytes.extend([0; 512]);
        let entries: Vec<_> = Archive::new(&bytes).map(Result::unwrap).collect();
        let names: Vec<_> = entries.iter().map(|entry| entry.name).collect();
        assert_eq!(names, [".", "bin/sh", "x"]);
        assert_eq!(entries[1].data, b"12345");
        assert_eq!((entries[1].mode, entries[1].mtime, entries[1].device), (0o100755, 99, (5, 1)));
    }

    #[test]
    fn broken_archives_end_with_the_reason() {
        let good = member("a", 0o100644, b"data");
        assert_eq!(Archive::new(&good[..60]).next(), Some(Err(Broken::Short(0))));
        assert_eq!(Archive::new(&good[..good.len() - 2]).next(), Some(Err(Broken::Short(0))));
        let mut wrong = good.clone();
        wrong[8] = b'g';
        assert_eq!(Archive::new(&wrong).next(), Some(Err(Broken::Field(0))));
        let all: Vec<_> = Archive::new(&good).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], Err(Broken::Short(good.len())));
        assert_eq!(Archive::new(&[b'x'; 200]).next(), Some(Err(Broken::Magic(0))));
    }

    #[test]
    fn lengths_near_the_top_do_not_wrap() {
        let mut bytes = member("a", 0o100644, b"data");
        bytes[6 + 8 * 6..][..8].copy_from_slice(b"ffffffff");
        assert_eq!(Archive::new(&bytes).next(), Some(Err(Broken::Short(0))));
    }
}
