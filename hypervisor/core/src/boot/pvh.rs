//! PVH's start info (`xen/arch-x86/hvm/start_info.h`).

use alloc::vec;
use alloc::vec::Vec;

use paravane_abi::pvh::{HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo, XEN_HVM_MEMMAP_TYPE_RAM};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::memory_map::{Entry, Range, usable};
use super::{
    BootError, BootInfo, COMMAND_LINE_LIMIT, MEMORY_ENTRIES_MAX, MODULES_MAX, Module, Physical, Protocol,
    text,
};

/// Reads the structure at `address` and all it points to. In it an address of 0 means that there is nothing.
pub fn read<'a>(memory: &impl Physical<'a>, address: u64) -> Result<BootInfo<'a>, BootError> {
    let size = size_of::<HvmStartInfo>() as u64;
    let bytes = memory.bytes(address, size).ok_or(BootError::Unreadable(address, size))?;
    let (info, _) =
        HvmStartInfo::read_from_prefix(bytes).map_err(|_| BootError::Unreadable(address, size))?;
    if !info.has_magic() {
        return Err(BootError::Magic(info.magic));
    }
    if info.version < 1 {
        return Err(BootError::Version(info.version));
    }
    let (map_address, map_entries) = info.memory_map().ok_or(BootError::NoMemory)?;
    if map_entries as usize > MEMORY_ENTRIES_MAX {
        return Err(BootError::TooManyRanges);
    }
    if info.nr_modules as usize > MODULES_MAX {
        return Err(BootError::TooManyModules);
    }
    let mut reserved = vec![Range::covering(address, size)];
    let map: Vec<HvmMemmapTableEntry> = table(memory, map_address, map_entries, &mut reserved)?;
    let list: Vec<HvmModlistEntry> = table(memory, info.modlist_paddr, info.nr_modules, &mut reserved)?;
    let command_line = string(memory, info.cmdline_paddr, &mut reserved)?;
    let modules = list
        .iter()
        .map(|entry| {
            let unreadable = BootError::Unreadable(entry.paddr, entry.size);
            let data = memory.bytes(entry.paddr, entry.size).ok_or(unreadable)?;
            reserved.push(Range::covering(entry.paddr, entry.size));
            Ok(Module { data, command_line: string(memory, entry.cmdline_paddr, &mut reserved)? })
        })
        .collect::<Result<_, _>>()?;
    let entries = map.iter().map(|entry| Entry {
        start: entry.addr,
        size: entry.size,
        ram: entry.kind == XEN_HVM_MEMMAP_TYPE_RAM,
    });
    let ram = usable(entries);
    if ram.is_empty() {
        return Err(BootError::NoMemory);
    }
    let rsdp = (info.rsdp_paddr != 0).then_some(info.rsdp_paddr);
    Ok(BootInfo { protocol: Protocol::Pvh, loader: "", command_line, modules, ram, rsdp, reserved })
}

/// The `count` records at `address`, which nothing may overwrite from now on.
fn table<'a, T: FromBytes + KnownLayout + Immutable>(
    memory: &impl Physical<'a>,
    address: u64,
    count: u32,
    reserved: &mut Vec<Range>,
) -> Result<Vec<T>, BootError> {
    let bytes = u64::from(count) * size_of::<T>() as u64;
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let found =
        Some(address).filter(|&address| address != 0).and_then(|address| memory.bytes(address, bytes));
    let found = found.ok_or(BootError::Unreadable(address, bytes))?;
    reserved.push(Range::covering(address, bytes));
    Ok(found.chunks_exact(size_of::<T>()).filter_map(|chunk| T::read_from_bytes(chunk).ok()).collect())
}

/// The text at `address`; 0 means that there is none. It may stand less than the limit below the end of memory.
fn string<'a>(
    memory: &impl Physical<'a>,
    address: u64,
    reserved: &mut Vec<Range>,
) -> Result<&'a str, BootError> {
    if address == 0 {
        return Ok("");
    }
    let lengths = core::iter::successors(Some(COMMAND_LINE_LIMIT), |length| Some(length / 2));
    let bytes = lengths
        .take_while(|&length| length > 0)
        .find_map(|length| memory.bytes(address, length))
        .ok_or(BootError::Unreadable(address, 1))?;
    reserved.push(Range::covering(address, bytes.len() as u64));
    Ok(text(bytes))
}
