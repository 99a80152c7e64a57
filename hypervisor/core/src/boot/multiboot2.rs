//! Multiboot2's boot information: a run of tags, each with its kind and size (Multiboot2 Specification, version 2.0,
//! section 3.6).
//!
//! GRUB enters as the specification's section 3.3 says, in 32-bit protected mode with paging off, under UEFI too: the
//! image has no EFI entry tags, so GRUB ends the boot services first and reports their memory as available.

use alloc::vec;
use alloc::vec::Vec;

use super::memory_map::{Entry, Range, usable};
use super::{
    BootError, BootInfo, MEMORY_ENTRIES_MAX, MODULES_MAX, Module, Physical, Protocol, long, text, word,
};

/// What EAX holds at entry.
pub const LOADER_MAGIC: u32 = 0x36d7_6289;

/// Most bytes of information that are looked at. Its largest part, the memory map, stays far below.
const SIZE_MAX: u32 = 1 << 20;
/// The total size and a reserved word come before the first tag.
const FIRST_TAG: usize = 8;
/// A tag's kind and size.
const TAG_HEADER: usize = 8;
/// A memory-map entry: address, size, kind, reserved word.
const MAP_ENTRY: usize = 24;
/// The memory-map entry kind of RAM; all others (3 ACPI, 4 to be kept over sleep, 5 defective, ...) are not.
const MAP_AVAILABLE: u32 = 1;

const TAG_END: u32 = 0;
const TAG_COMMAND_LINE: u32 = 1;
const TAG_LOADER_NAME: u32 = 2;
const TAG_MODULE: u32 = 3;
const TAG_MEMORY_MAP: u32 = 6;
const TAG_ACPI_OLD: u32 = 14;
const TAG_ACPI_NEW: u32 = 15;
/// Bytes of an RSDP of ACPI 1.0, and of ACPI 2.0 and later (ACPI specification, 5.2.5.3).
const RSDP_OLD: usize = 20;
const RSDP_NEW: usize = 36;

/// A tag: its kind, where it stands, and what follows its header.
#[derive(Clone, Copy, Debug)]
struct Tag<'a> {
    kind: u32,
    at: usize,
    body: &'a [u8],
}

impl Tag<'_> {
    fn bad(self) -> BootError {
        BootError::Tag(self.at as u32)
    }
}

/// The tags of the information, up to the one that ends it or to the first that is damaged.
struct Tags<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Tags<'a> {
    type Item = Result<Tag<'a>, BootError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        if at >= self.bytes.len() {
            return None;
        }
        // Whatever comes next, a damaged tag is the last.
        self.at = self.bytes.len();
        let bad = Some(Err(BootError::Tag(at as u32)));
        let (Some(kind), Some(size)) = (word(self.bytes, at), word(self.bytes, at + 4)) else { return bad };
        let size = size as usize;
        let Some(body) = self.bytes[at..].get(TAG_HEADER..size) else { return bad };
        if kind == TAG_END {
            return None;
        }
        self.at = at.saturating_add(size.next_multiple_of(8));
        Some(Ok(Tag { kind, at, body }))
    }
}

/// Reads the information at `address` and finds the modules.
pub fn read<'a>(memory: &impl Physical<'a>, address: u64) -> Result<BootInfo<'a>, BootError> {
    let head = memory.bytes(address, 4).ok_or(BootError::Unreadable(address, 4))?;
    let size = word(head, 0).ok_or(BootError::Unreadable(address, 4))?;
    if !(FIRST_TAG as u32..=SIZE_MAX).contains(&size) {
        return Err(BootError::TotalSize(size));
    }
    let unreadable = BootError::Unreadable(address, u64::from(size));
    let bytes = memory.bytes(address, u64::from(size)).ok_or(unreadable)?;
    let mut info = BootInfo {
        protocol: Protocol::Multiboot2,
        loader: "",
        command_line: "",
        modules: Vec::new(),
        ram: Vec::new(),
        rsdp: None,
        reserved: vec![Range::covering(address, u64::from(size))],
    };
    let mut new_rsdp = false;
    for tag in (Tags { bytes, at: FIRST_TAG }) {
        let tag = tag?;
        match tag.kind {
            TAG_COMMAND_LINE => info.command_line = text(tag.body),
            TAG_LOADER_NAME => info.loader = text(tag.body),
            TAG_MODULE => module(memory, tag, &mut info)?,
            TAG_MEMORY_MAP => info.ram = memory_map(tag)?,
            // The newer one leads to the table with 64-bit addresses.
            TAG_ACPI_OLD if !new_rsdp => info.rsdp = Some(rsdp(address, tag, RSDP_OLD)?),
            TAG_ACPI_NEW => {
                info.rsdp = Some(rsdp(address, tag, RSDP_NEW)?);
                new_rsdp = true;
            }
            _ => {}
        }
    }
    if info.ram.is_empty() {
        return Err(BootError::NoMemory);
    }
    Ok(info)
}

/// A module tag: start, end, command line.
fn module<'a>(memory: &impl Physical<'a>, tag: Tag<'a>, info: &mut BootInfo<'a>) -> Result<(), BootError> {
    let (Some(start), Some(end)) = (word(tag.body, 0), word(tag.body, 4)) else { return Err(tag.bad()) };
    let length = u64::from(end.checked_sub(start).ok_or(tag.bad())?);
    let start = u64::from(start);
    if info.modules.len() == MODULES_MAX {
        return Err(BootError::TooManyModules);
    }
    let data = match length {
        0 => &[],
        _ => memory.bytes(start, length).ok_or(BootError::Unreadable(start, length))?,
    };
    info.modules.push(Module { data, command_line: text(&tag.body[8..]) });
    info.reserved.push(Range::covering(start, length));
    Ok(())
}

/// A memory map's tag: the size of an entry, which later versions may enlarge, a version, the entries.
fn memory_map(tag: Tag<'_>) -> Result<Vec<Range>, BootError> {
    let entry_size = word(tag.body, 0).ok_or(tag.bad())? as usize;
    if entry_size < MAP_ENTRY || !entry_size.is_multiple_of(8) {
        return Err(tag.bad());
    }
    let entries = tag.body.get(8..).ok_or(tag.bad())?.chunks_exact(entry_size);
    if entries.len() > MEMORY_ENTRIES_MAX {
        return Err(BootError::TooManyRanges);
    }
    Ok(usable(entries.filter_map(|entry| {
        Some(Entry { start: long(entry, 0)?, size: long(entry, 8)?, ram: word(entry, 16)? == MAP_AVAILABLE })
    })))
}

/// An ACPI tag holds a copy of the RSDP.
fn rsdp(address: u64, tag: Tag<'_>, least: usize) -> Result<u64, BootError> {
    if tag.body.len() < least {
        return Err(tag.bad());
    }
    Ok(address + (tag.at + TAG_HEADER) as u64)
}
