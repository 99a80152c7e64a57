//! Which processors there are, by ACPI: RSDP, then RSDT or XSDT, then the MADT (ACPI specification 6.4, 5.2.5 to
//! 5.2.12).
//!
//! Firmware wrote these tables, and in a virtual machine someone else's firmware: every length and address is
//! checked before use, and every loop ends. What cannot be read is an [`Error`], and the caller goes on with the
//! processor it has.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

/// Bytes of the RSDP that every revision has, and that its first checksum covers.
const RSDP_LENGTH: usize = 20;
/// Bytes of the RSDP from revision 2 on, with the XSDT's address.
const RSDP_LENGTH_2: usize = 36;
/// Bytes of the header of every other table.
const HEADER: usize = 36;
/// Bytes of the MADT before its first entry.
const MADT_HEADER: usize = 44;
/// Tables are some hundred bytes long; the MADT of a machine with 255 processors has about 4 KiB.
const TABLE_LIMIT: usize = 1 << 16;
/// MADT entry: Processor Local APIC.
const LOCAL_APIC: u8 = 0;
/// MADT entry: Processor Local x2APIC.
const LOCAL_X2APIC: u8 = 9;
/// Flags of both: the processor is there and may be started.
const ENABLED: u32 = 1;
/// The ID to which an xAPIC sends what is for everybody.
const BROADCAST: u32 = 0xff;

/// Why there is no list of processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The loader named no RSDP.
    NoRsdp,
    /// A table lies where no memory is, or is longer than any real one.
    Unreadable {
        /// Its physical address.
        address: u64,
    },
    /// A table does not begin with its signature, or its checksum is wrong.
    Corrupt {
        /// Its physical address.
        address: u64,
    },
    /// There is no MADT among the tables.
    NoMadt,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRsdp => f.write_str("the loader named no RSDP"),
            Self::Unreadable { address } => write!(f, "the table at {address:#x} cannot be read"),
            Self::Corrupt { address } => write!(f, "the table at {address:#x} is damaged"),
            Self::NoMadt => f.write_str("there is no MADT"),
        }
    }
}

/// The local APIC IDs of the processors that may be started, in the table's order and each once. IDs from 255 on
/// are left out: an xAPIC cannot address them.
///
/// `rsdp` is the physical address of the RSDP, if the loader named one; `read` gives so many bytes at a physical address, or nothing
/// when they are not all memory that can be read.
pub fn processors<'a>(
    rsdp: Option<u64>,
    read: impl Fn(u64, usize) -> Option<&'a [u8]>,
) -> Result<Vec<u8>, Error> {
    let madt = find_madt(rsdp.ok_or(Error::NoRsdp)?, &read)?;
    let mut found = Vec::new();
    let mut rest = &madt[MADT_HEADER.min(madt.len())..];
    while let &[kind, length, ..] = rest {
        // An entry shorter than its own head would be read for ever.
        if length < 2 || usize::from(length) > rest.len() {
            break;
        }
        let (entry, behind) = rest.split_at(usize::from(length));
        if let Some(id) = started_by(kind, entry)
            && !found.contains(&id)
        {
            found.push(id);
        }
        rest = behind;
    }
    Ok(found)
}

/// The APIC ID in an entry of a processor that is enabled.
fn started_by(kind: u8, entry: &[u8]) -> Option<u8> {
    let (id, flags) = match kind {
        LOCAL_APIC => (u32::from(*entry.get(3)?), word(entry, 4)?),
        LOCAL_X2APIC => (word(entry, 4)?, word(entry, 8)?),
        _ => return None,
    };
    (flags & ENABLED != 0 && id < BROADCAST).then_some(id as u8)
}

fn find_madt<'a>(rsdp: u64, read: &impl Fn(u64, usize) -> Option<&'a [u8]>) -> Result<&'a [u8], Error> {
    let pointer = read(rsdp, RSDP_LENGTH).ok_or(Error::Unreadable { address: rsdp })?;
    if !pointer.starts_with(b"RSD PTR ") || !sums_to_zero(pointer) {
        return Err(Error::Corrupt { address: rsdp });
    }
    // The XSDT, where there is one; many loaders give a revision that the table does not live up to.
    let extended = (pointer[15] >= 2)
        .then(|| read(rsdp, RSDP_LENGTH_2).filter(|pointer| sums_to_zero(pointer)))
        .flatten()
        .and_then(|pointer| long(pointer, 24))
        .filter(|address| *address != 0);
    let (root, signature, width) = match extended {
        Some(address) => (address, b"XSDT", 8),
        None => (u64::from(word(pointer, 16).unwrap_or(0)), b"RSDT", 4),
    };
    let tables = table(root, read)?;
    if !tables.starts_with(signature) {
        return Err(Error::Corrupt { address: root });
    }
    for entry in tables[HEADER..].chunks_exact(width) {
        let address = if width == 8 { long(entry, 0) } else { word(entry, 0).map(u64::from) }.unwrap_or(0);
        // One bad table among many is no reason to miss the one that is wanted.
        if read(address, HEADER).is_some_and(|header| header.starts_with(b"APIC")) {
            return table(address, read);
        }
    }
    Err(Error::NoMadt)
}

/// A whole table, its length and checksum in order.
fn table<'a>(address: u64, read: &impl Fn(u64, usize) -> Option<&'a [u8]>) -> Result<&'a [u8], Error> {
    let unreadable = Error::Unreadable { address };
    let header = read(address, HEADER).ok_or(unreadable)?;
    let length = word(header, 4).ok_or(unreadable)? as usize;
    if !(HEADER..=TABLE_LIMIT).contains(&length) {
        return Err(Error::Corrupt { address });
    }
    let table = read(address, length).ok_or(unreadable)?;
    if sums_to_zero(table) { Ok(table) } else { Err(Error::Corrupt { address }) }
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
