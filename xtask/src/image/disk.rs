//! A disk that both firmwares start from: GRUB's first sector and its core for a BIOS, a FAT32 system partition for
//! UEFI, in one GUID partition table (UEFI specification, 5.3).

use super::{SECTOR, fat};
use crate::digest;
use anyhow::{Context, Result, bail};

/// Where the partitions begin, in sectors: multiples of a MiB.
const CORE: u64 = 2048;
const SYSTEM: u64 = 4096;
/// The table's entries: 128 of 128 bytes, in 32 sectors.
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
const TABLE_SECTORS: u64 = (ENTRIES * ENTRY_BYTES / SECTOR) as u64;
const HEADER_BYTES: usize = 92;

/// Partition types: a BIOS boot partition (21686148-6449-6E6F-744E-656564454649), which GRUB defines, and an EFI
/// system partition (C12A7328-F81F-11D2-BA4B-00A0C93EC93B), as they stand on a disk.
const TYPE_CORE: [u8; 16] = *b"Hah!IdontNeedEFI";
const TYPE_SYSTEM: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

/// GRUB's boot.img: the code of the first sector ends where the partition table begins, and has the core's sector at
/// 0x5c (GRUB, `include/grub/i386/pc/boot.h`).
const BOOT_CODE: usize = 440;
const BOOT_CORE_SECTOR: usize = 0x5c;
/// The core's first sector loads the rest: sector and count of it stand 12 and 4 bytes before its end.
const CORE_REST_SECTOR: usize = SECTOR - 12;
const CORE_REST_COUNT: usize = SECTOR - 4;

/// What goes on the disk.
#[derive(Clone, Debug)]
pub struct Content<'a> {
    /// GRUB's boot.img.
    pub boot: &'a [u8],
    /// GRUB's core for a BIOS.
    pub core: &'a [u8],
    /// The files of the system partition, by path.
    pub files: Vec<(String, &'a [u8])>,
}

/// The disk. Its identifiers are made from the content, so equal content gives equal bytes.
pub fn build(content: &Content<'_>) -> Result<Vec<u8>> {
    let identity = identity(content);
    let serial = u32::from_le_bytes(*identity.first_chunk().context("a digest has four bytes")?);
    let system = fat::volume(&content.files, SYSTEM as u32, serial)?;
    let system_sectors = (system.len() / SECTOR) as u64;
    // The last sectors hold the table's copy.
    let sectors = (SYSTEM + system_sectors + TABLE_SECTORS + 1).next_multiple_of(2048);
    let mut disk = vec![0; sectors as usize * SECTOR];
    let core = core(content.core)?;
    put(&mut disk, CORE, &core);
    put(&mut disk, SYSTEM, &system);
    put(&mut disk, 0, &first_sector(content.boot, sectors)?);
    let table = table(
        &identity,
        &[
            (TYPE_CORE, CORE, SYSTEM - 1, "GRUB"),
            (TYPE_SYSTEM, SYSTEM, SYSTEM + system_sectors - 1, "Paravane"),
        ],
    );
    let last = sectors - 1;
    put(&mut disk, 2, &table);
    put(&mut disk, last - TABLE_SECTORS, &table);
    put(&mut disk, 1, &header(&identity, &table, 1, last, 2));
    put(&mut disk, last, &header(&identity, &table, last, 1, last - TABLE_SECTORS));
    Ok(disk)
}

fn put(disk: &mut [u8], sector: u64, bytes: &[u8]) {
    let at = sector as usize * SECTOR;
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A digest of everything, with lengths so that no two contents run into each other.
fn identity(content: &Content<'_>) -> Vec<u8> {
    let parts = [("boot", content.boot), ("core", content.core)];
    let files = content.files.iter().map(|(path, bytes)| (path.as_str(), *bytes));
    let text: String = parts
        .into_iter()
        .chain(files)
        .map(|(name, bytes)| format!("{} {} {name}\n", digest::of_bytes(bytes), bytes.len()))
        .collect();
    digest::of_bytes(text.as_bytes()).into_bytes()
}

/// An identifier of version 8, whose bits are the maker's own (RFC 9562, 5.8).
fn guid(identity: &[u8], what: &str) -> [u8; 16] {
    let text = [identity, what.as_bytes()].concat();
    let mut guid = [0; 16];
    for (byte, digits) in guid.iter_mut().zip(digest::of_bytes(&text).as_bytes().chunks(2)) {
        *byte = digits
            .iter()
            .fold(0, |value, &digit| value << 4 | (digit as char).to_digit(16).unwrap_or(0) as u8);
    }
    guid[7] = guid[7] & 0x0f | 0x80;
    guid[8] = guid[8] & 0x3f | 0x80;
    guid
}

/// The first sector: GRUB's code, and one old partition that covers the disk for programs that know no better.
fn first_sector(boot: &[u8], sectors: u64) -> Result<[u8; SECTOR]> {
    let mut sector = [0; SECTOR];
    if boot.len() != SECTOR {
        bail!("GRUB's boot.img has {} bytes, not {SECTOR}", boot.len());
    }
    sector[..BOOT_CODE].copy_from_slice(&boot[..BOOT_CODE]);
    sector[BOOT_CORE_SECTOR..BOOT_CORE_SECTOR + 8].copy_from_slice(&CORE.to_le_bytes());
    sector[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    sector[454..458].copy_from_slice(&1u32.to_le_bytes());
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    sector[458..462].copy_from_slice(&covered.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(sector)
}

/// The core, told where the rest of it lies.
fn core(core: &[u8]) -> Result<Vec<u8>> {
    let rest = core.len().saturating_sub(SECTOR).div_ceil(SECTOR);
    let count = core
        .get(CORE_REST_COUNT..)
        .and_then(|bytes| bytes.first_chunk())
        .map(|count| u16::from_le_bytes(*count));
    if count.map(usize::from) != Some(rest) || rest as u64 >= SYSTEM - CORE {
        bail!("GRUB's core of {} bytes says that {count:?} sectors follow its first", core.len());
    }
    let mut core = core.to_vec();
    core[CORE_REST_SECTOR..CORE_REST_SECTOR + 8].copy_from_slice(&(CORE + 1).to_le_bytes());
    Ok(core)
}

fn table(identity: &[u8], partitions: &[([u8; 16], u64, u64, &str)]) -> Vec<u8> {
    let mut table = vec![0; ENTRIES * ENTRY_BYTES];
    for (entry, (kind, first, last, name)) in table.chunks_mut(ENTRY_BYTES).zip(partitions) {
        entry[..16].copy_from_slice(kind);
        entry[16..32].copy_from_slice(&guid(identity, name));
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        for (place, letter) in entry[56..].chunks_mut(2).zip(name.encode_utf16()) {
            place.copy_from_slice(&letter.to_le_bytes());
        }
    }
    table
}

fn header(identity: &[u8], table: &[u8], here: u64, other: u64, table_at: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let last = here.max(other);
    put(0, b"EFI PART");
    put(8, &0x1_0000u32.to_le_bytes());
    put(12, &(HEADER_BYTES as u32).to_le_bytes());
    put(24, &here.to_le_bytes());
    put(32, &other.to_le_bytes());
    put(40, &(2 + TABLE_SECTORS).to_le_bytes());
    put(48, &(last - TABLE_SECTORS - 1).to_le_bytes());
    put(56, &guid(identity, "disk"));
    put(72, &table_at.to_le_bytes());
    put(80, &(ENTRIES as u32).to_le_bytes());
    put(84, &(ENTRY_BYTES as u32).to_le_bytes());
    put(88, &crc32(table).to_le_bytes());
    let sum = crc32(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

/// The CRC of Ethernet and of zip, which UEFI's tables use.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(core_bytes: &mut [u8]) -> Content<'_> {
        let rest = (core_bytes.len() - SECTOR).div_ceil(SECTOR) as u16;
        core_bytes[CORE_REST_COUNT..CORE_REST_COUNT + 2].copy_from_slice(&rest.to_le_bytes());
        Content { boot: &[0x90; SECTOR], core: core_bytes, files: vec![("boot/x".to_owned(), b"file")] }
    }

    fn long(disk: &[u8], sector: u64, at: usize) -> u64 {
        u64::from_le_bytes(*disk[sector as usize * SECTOR + at..].first_chunk().unwrap())
    }

    #[test]
    fn sums_are_those_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn both_headers_hold_and_lead_to_the_table() {
        let mut core = [1; 1300];
        let disk = build(&sample(&mut core)).unwrap();
        let last = (disk.len() / SECTOR - 1) as u64;
        for (here, other) in [(1, last), (last, 1)] {
            let at = here as usize * SECTOR;
            let mut header = disk[at..at + HEADER_BYTES].to_vec();
            let sum = u32::from_le_bytes(*header[16..].first_chunk().unwrap());
            header[16..20].fill(0);
            assert_eq!(crc32(&header), sum);
            assert_eq!((long(&disk, here, 24), long(&disk, here, 32)), (here, other));
            let table = long(&disk, here, 72) as usize * SECTOR;
            let table = &disk[table..table + ENTRIES * ENTRY_BYTES];
            assert_eq!(long(&disk, here, 88) as u32, crc32(table));
            assert_eq!((&table[..16], &table[128..144]), (&TYPE_CORE[..], &TYPE_SYSTEM[..]));
        }
        assert_eq!(long(&disk, 2, 32), CORE);
        assert_eq!(long(&disk, 0, BOOT_CORE_SECTOR), CORE);
        assert_eq!(long(&disk, CORE, CORE_REST_SECTOR), CORE + 1);
        assert!(
            long(&disk, 2, 128 + 40) <= long(&disk, 1, 48),
            "the last partition ends in the usable sectors"
        );
        assert_eq!(&disk[SYSTEM as usize * SECTOR + 82..][..5], b"FAT32");
    }

    #[test]
    fn identifiers_follow_the_content() {
        let mut core = [1; 1300];
        let content = sample(&mut core);
        let one = build(&content).unwrap();
        assert_eq!(one, build(&content).unwrap());
        let other = build(&Content { files: vec![("boot/x".to_owned(), b"fil2")], ..content }).unwrap();
        assert_ne!(long(&one, 1, 56), long(&other, 1, 56));
    }

    #[test]
    fn a_core_that_is_not_grubs_is_refused() {
        let mut bytes = [1; 1300];
        let content = sample(&mut bytes);
        assert!(build(&Content { core: &[0; 1300], ..content.clone() }).is_err());
        assert!(build(&Content { core: &[], ..content.clone() }).is_err());
        assert!(build(&Content { boot: &[0; 100], ..content }).is_err());
    }
}
