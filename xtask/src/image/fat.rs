//! A FAT32 file system, written whole: files one after the other, no times, so that equal content gives equal bytes.
//! Format: Microsoft's "FAT32 File System Specification", version 1.03, which UEFI names as its own (13.3).

use super::SECTOR;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// Sectors before the first table: the boot sector, its companion, copies of both.
const RESERVED: u32 = 32;
/// Fewer clusters than this would be FAT16, whatever the boot sector says.
const LEAST_CLUSTERS: u32 = 65_525;
/// Bytes of an entry of the table, and of a directory.
const TABLE_ENTRY: u32 = 4;
const DIRECTORY_ENTRY: usize = 32;
/// The cluster of the root directory; 0 and 1 have no place in the data.
const ROOT: u32 = 2;
const LAST: u32 = 0x0fff_ffff;
const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
/// 1980-01-01, the first day there is.
const DATE: u16 = 1 << 5 | 1;
const LABEL: &[u8; 11] = b"PARAVANE   ";

/// A file or a directory by its name.
enum Node<'a> {
    File(&'a [u8]),
    Directory(BTreeMap<[u8; 11], Node<'a>>),
}

/// A volume under construction.
struct Volume {
    table: Vec<u32>,
    data: Vec<u8>,
}

impl Volume {
    /// Places bytes in clusters of their own, one after the other, and gives the first; an empty file has none.
    fn place(&mut self, bytes: &[u8]) -> Result<u32> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let first = u32::try_from(self.table.len())?;
        let count = u32::try_from(bytes.len().div_ceil(SECTOR))?;
        self.table.extend((1..count).map(|next| first + next));
        self.table.push(LAST);
        self.data.extend_from_slice(bytes);
        self.data.resize(self.data.len().next_multiple_of(SECTOR), 0);
        Ok(first)
    }

    /// Places what a directory contains, then the directory; `parent` is 0 for the root's children.
    fn directory(&mut self, entries: &BTreeMap<[u8; 11], Node<'_>>, at: u32, parent: u32) -> Result<()> {
        let root = at == ROOT;
        let mut bytes = Vec::new();
        if root {
            entry(&mut bytes, LABEL, ATTRIBUTE_LABEL, 0, 0);
        } else {
            entry(&mut bytes, b".          ", ATTRIBUTE_DIRECTORY, at, 0);
            entry(&mut bytes, b"..         ", ATTRIBUTE_DIRECTORY, parent, 0);
        }
        for (name, node) in entries {
            match node {
                Node::File(content) => {
                    let first = self.place(content)?;
                    entry(&mut bytes, name, 0, first, u32::try_from(content.len())?);
                }
                Node::Directory(inner) => {
                    let first = self.place(&[0; SECTOR])?;
                    self.directory(inner, first, if root { 0 } else { at })?;
                    entry(&mut bytes, name, ATTRIBUTE_DIRECTORY, first, 0);
                }
            }
        }
        if bytes.len() > SECTOR {
            bail!("a directory of the image has more entries than one sector holds");
        }
        let place = (at - ROOT) as usize * SECTOR;
        self.data[place..place + bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }
}

/// A directory entry. Without a first cluster there is no content.
fn entry(bytes: &mut Vec<u8>, name: &[u8; 11], attributes: u8, first: u32, size: u32) {
    let mut entry = [0; DIRECTORY_ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    for date in [16, 18, 24] {
        entry[date..date + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&entry);
}

/// A name of eight letters and three, as directories have it. Long names are not written.
fn short(name: &str) -> Result<[u8; 11]> {
    let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str, most: usize| {
        part.len() <= most && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if stem.is_empty() || !fits(stem, 8) || !fits(ending, 3) {
        bail!("{name:?} is no name of eight letters and three");
    }
    let mut short = [b' '; 11];
    short[..stem.len()].copy_from_slice(stem.to_ascii_uppercase().as_bytes());
    short[8..8 + ending.len()].copy_from_slice(ending.to_ascii_uppercase().as_bytes());
    Ok(short)
}

fn tree<'a>(files: &[(String, &'a [u8])]) -> Result<BTreeMap<[u8; 11], Node<'a>>> {
    let mut root = BTreeMap::new();
    for (path, content) in files {
        let mut folder = &mut root;
        let mut parts: Vec<&str> = path.split('/').collect();
        let name = parts.pop().with_context(|| format!("{path:?} is no path"))?;
        for part in parts {
            let inner = folder.entry(short(part)?).or_insert_with(|| Node::Directory(BTreeMap::new()));
            folder = match inner {
                Node::Directory(inner) => inner,
                Node::File(_) => bail!("{path}: {part} is a file"),
            };
        }
        if folder.insert(short(name)?, Node::File(content)).is_some() {
            bail!("{path} is there twice");
        }
    }
    Ok(root)
}

/// Writes a volume with these files, by paths with slashes. `before` sectors of the disk come before it; `serial` is
/// its number. Clusters are sectors: that is what makes a small volume one of FAT32.
pub fn volume(files: &[(String, &[u8])], before: u32, serial: u32) -> Result<Vec<u8>> {
    let mut volume = Volume { table: vec![0x0fff_fff8, LAST, LAST], data: vec![0; SECTOR] };
    volume.directory(&tree(files)?, ROOT, 0)?;
    let used = u32::try_from(volume.table.len())?;
    let clusters = (used - ROOT).max(LEAST_CLUSTERS).next_multiple_of(2048);
    let table_sectors = ((clusters + ROOT) * TABLE_ENTRY).div_ceil(SECTOR as u32);
    let sectors = RESERVED + 2 * table_sectors + clusters;
    let mut bytes = vec![0; sectors as usize * SECTOR];
    let (boot, information) = (
        boot_sector(sectors, table_sectors, before, serial),
        information_sector(clusters + ROOT - used, used),
    );
    for copy in [0, 6] {
        bytes[copy * SECTOR..][..SECTOR].copy_from_slice(&boot);
        bytes[(copy + 1) * SECTOR..][..SECTOR].copy_from_slice(&information);
    }
    let table: Vec<u8> = volume.table.iter().flat_map(|next| next.to_le_bytes()).collect();
    for copy in 0..2 {
        let at = (RESERVED + copy * table_sectors) as usize * SECTOR;
        bytes[at..at + table.len()].copy_from_slice(&table);
    }
    let at = (RESERVED + 2 * table_sectors) as usize * SECTOR;
    bytes[at..at + volume.data.len()].copy_from_slice(&volume.data);
    Ok(bytes)
}

fn boot_sector(sectors: u32, table_sectors: u32, before: u32, serial: u32) -> [u8; SECTOR] {
    let mut boot = [0; SECTOR];
    let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, 0x58, 0x90]);
    put(3, b"PARAVANE");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[1]); // sectors per cluster
    put(14, &(RESERVED as u16).to_le_bytes());
    put(16, &[2]); // tables
    put(21, &[0xf8]); // a fixed disk
    put(24, &63u16.to_le_bytes()); // sectors per track and heads, which nobody counts in
    put(26, &255u16.to_le_bytes());
    put(28, &before.to_le_bytes());
    put(32, &sectors.to_le_bytes());
    put(36, &table_sectors.to_le_bytes());
    put(44, &ROOT.to_le_bytes());
    put(48, &1u16.to_le_bytes()); // the information sector
    put(50, &6u16.to_le_bytes()); // the copies
    put(64, &[0x80, 0, 0x29]);
    put(67, &serial.to_le_bytes());
    put(71, LABEL);
    put(82, b"FAT32   ");
    put(510, &[0x55, 0xaa]);
    boot
}

fn information_sector(free: u32, next: u32) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    for (at, word) in [(0, 0x4161_5252), (484, 0x6141_7272), (488, free), (492, next), (508, 0xaa55_0000)] {
        sector[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
    }

    /// Reads a file back by what the boot sector, the table and the directories say.
    fn read(bytes: &[u8], path: &str) -> Vec<u8> {
        let tables = word(bytes, 36) as usize;
        let chain = |first: u32| {
            let mut found = Vec::new();
            let mut cluster = first;
            while cluster < 0x0fff_fff8 && cluster != 0 {
                let at = (RESERVED as usize + 2 * tables + cluster as usize - 2) * SECTOR;
                found.extend_from_slice(&bytes[at..at + SECTOR]);
                cluster = word(bytes, RESERVED as usize * SECTOR + cluster as usize * 4);
            }
            found
        };
        let (mut at, mut size) = (ROOT, 0);
        for part in path.split('/') {
            let name = short(part).unwrap();
            let directory = chain(at);
            let entry = directory.chunks(32).find(|entry| entry[..11] == name).expect("no such name");
            at = u32::from(entry[20]) << 16 | u32::from(entry[21]) << 24 | word(entry, 26) & 0xffff;
            size = word(entry, 28) as usize;
        }
        let mut content = chain(at);
        content.truncate(size);
        content
    }

    #[test]
    fn files_come_back() {
        let large: Vec<u8> = (0..200_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
        let files = [
            ("EFI/BOOT/BOOTX64.EFI".to_owned(), &large[..]),
            ("boot/a".to_owned(), b"x"),
            ("boot/e".to_owned(), b""),
        ];
        let bytes = volume(&files, 4096, 7).unwrap();
        for (path, content) in &files {
            assert_eq!(&read(&bytes, path), content, "{path}");
        }
        assert_eq!(word(&bytes, 28), 4096);
        assert_eq!(word(&bytes, 32) as usize * SECTOR, bytes.len());
        assert_eq!(bytes, volume(&files, 4096, 7).unwrap());
        let (one, two) = (RESERVED as usize * SECTOR, (RESERVED + word(&bytes, 36)) as usize * SECTOR);
        assert_eq!(bytes[one..two], bytes[two..2 * two - one], "the tables are equal");
    }

    #[test]
    fn a_volume_grows_with_its_files() {
        let content = vec![1; 48 << 20];
        let bytes = volume(&[("large".to_owned(), &content)], 0, 0).unwrap();
        assert!(bytes.len() > content.len() && bytes.len() < content.len() + (4 << 20));
        assert_eq!(read(&bytes, "large").len(), content.len());
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert_eq!(&short("grub.cfg").unwrap(), b"GRUB    CFG");
        for name in ["", ".cfg", "ninechars", "a.four", "a b", "a.b.c"] {
            assert!(short(name).is_err(), "{name:?}");
        }
        assert!(volume(&[("a".to_owned(), b""), ("a/b".to_owned(), b"")], 0, 0).is_err());
        assert!(volume(&[("a".to_owned(), b""), ("A".to_owned(), b"")], 0, 0).is_err());
    }
}
