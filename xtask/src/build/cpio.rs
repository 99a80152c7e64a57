//! The "newc" cpio archive, written so that equal content gives equal bytes: no times, no owners, numbered
//! inodes. Format: cpio(5), "New ASCII Format".

use anyhow::{Result, bail};

const MAGIC: &[u8; 6] = b"070701";
const TRAILER: &str = "TRAILER!!!";
/// File type bits of the mode field, as stat(2) has them.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    entries: u32,
}

impl Writer {
    /// Adds a directory.
    pub fn directory(&mut self, name: &str, permissions: u32) -> Result<()> {
        self.entry(name, DIRECTORY | permissions, 2, &[])
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, permissions: u32, content: &[u8]) -> Result<()> {
        self.entry(name, REGULAR | permissions, 1, content)
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, content: &[u8]) -> Result<()> {
        if name.is_empty() || name.starts_with('/') || name.contains('\0') || name == TRAILER {
            bail!("{name:?} cannot be the name of an archive's member");
        }
        self.entries += 1;
        self.raw(name, self.entries, mode, links, content)
    }

    fn raw(&mut self, name: &str, inode: u32, mode: u32, links: u32, content: &[u8]) -> Result<()> {
        let Ok(size) = u32::try_from(content.len()) else { bail!("{name} is too large for a cpio archive") };
        let name_size = u32::try_from(name.len() + 1)?;
        self.bytes.extend_from_slice(MAGIC);
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name size, checksum
        for field in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Ends the archive and gives its bytes.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.raw(TRAILER, 0, 0, 1, &[])?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn sample() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.directory("etc", 0o755).unwrap();
        writer.file("etc/motd", 0o644, b"hello\n").unwrap();
        writer.file("odd", 0o755, b"12345").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn equal_content_gives_equal_bytes() {
        assert_eq!(sample(), sample());
    }

    #[test]
    fn headers_are_where_the_format_says() {
        let bytes = sample();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..6], MAGIC);
        // Fields of eight digits: mode is the second, size the seventh, name size the twelfth.
        assert_eq!(&bytes[14..22], b"000041ed");
        assert_eq!(&bytes[54..62], b"00000000");
        assert_eq!(&bytes[94..102], b"00000004");
        assert_eq!(&bytes[110..114], b"etc\0");
        let second = (110usize + 4).next_multiple_of(4);
        assert_eq!(&bytes[second..second + 6], MAGIC);
        assert_eq!(&bytes[second + 54..second + 62], b"00000006");
        assert!(bytes.windows(11).any(|w| w == b"TRAILER!!!\0"));
    }

    #[test]
    fn bad_names_are_refused() {
        let mut writer = Writer::default();
        for name in ["", "/etc", "a\0b", TRAILER] {
            assert!(writer.file(name, 0o644, b"").is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_system_cpio_reads_it() {
        let Ok(mut child) = Command::new("cpio")
            .args(["-it", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            println!("no cpio on this machine: the byte-level test stands alone");
            return;
        };
        child.stdin.take().unwrap().write_all(&sample()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success());
        assert_eq!(String::from_utf8(done.stdout).unwrap(), "etc\netc/motd\nodd\n");
    }
}
