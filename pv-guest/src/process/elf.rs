//! The parts of an ELF file that `exec` needs.

use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::backing::FileBacking;
use crate::errno::{Errno, Result};
use crate::layout::{PAGE, USER_END, USER_START};

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
/// A segment to map.
pub const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
/// The segment is executable.
pub const PF_X: u32 = 1;
/// The segment is writable.
pub const PF_W: u32 = 2;
/// The segment is readable.
pub const PF_R: u32 = 4;
/// More program headers than any linker makes.
const MAX_HEADERS: u16 = 64;
/// Where a position-independent program goes.
const PIE_BASE: u64 = 0x5555_5555_4000;

/// `Elf64_Ehdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FileHeader {
    magic: [u8; 4],
    class: u8,
    data: u8,
    ident_rest: [u8; 10],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    phoff: u64,
    shoff: u64,
    flags: u32,
    ehsize: u16,
    phentsize: u16,
    phnum: u16,
    shentsize: u16,
    shnum: u16,
    shstrndx: u16,
}

/// `Elf64_Phdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ProgramHeader {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub paddr: u64,
    pub filesz: u64,
    pub memsz: u64,
    pub align: u64,
}

/// A program that can be loaded: everything in it has been checked against the user range.
pub struct Program {
    /// The first instruction.
    pub entry: u64,
    /// What is added to every address in the file.
    pub bias: u64,
    /// Where the program headers are in memory, if a segment holds them.
    pub headers_at: u64,
    /// Their number.
    pub header_count: u64,
    /// The segments to map, by address, not overlapping.
    pub segments: Vec<ProgramHeader>,
}

fn read_struct<T: FromBytes + IntoBytes>(file: &dyn FileBacking, offset: u64) -> Result<T> {
    let mut value = T::new_zeroed();
    if file.read_at(offset, value.as_mut_bytes()) == size_of::<T>() { Ok(value) } else { Err(Errno::ENOEXEC) }
}

fn check(segment: &ProgramHeader, bias: u64) -> Option<()> {
    let start = segment.vaddr.checked_add(bias)?;
    let end = start.checked_add(segment.memsz)?;
    segment.offset.checked_add(segment.filesz)?;
    let sound = segment.filesz <= segment.memsz
        && segment.offset % PAGE == segment.vaddr % PAGE
        && start >= USER_START
        && end < USER_END - PAGE;
    sound.then_some(())
}

/// Reads and checks a program.
pub fn parse(file: &dyn FileBacking) -> Result<Program> {
    let header: FileHeader = read_struct(file, 0)?;
    let sound = header.magic == *b"\x7fELF"
        && header.class == 2
        && header.data == 1
        && header.machine == EM_X86_64
        && (header.kind == ET_EXEC || header.kind == ET_DYN)
        && usize::from(header.phentsize) == size_of::<ProgramHeader>()
        && (1..=MAX_HEADERS).contains(&header.phnum);
    if !sound {
        return Err(Errno::ENOEXEC);
    }
    let bias = if header.kind == ET_DYN { PIE_BASE } else { 0 };
    let table_size = u64::from(header.phnum) * size_of::<ProgramHeader>() as u64;
    let table_end = header.phoff.checked_add(table_size).ok_or(Errno::ENOEXEC)?;
    let mut segments: Vec<ProgramHeader> = Vec::new();
    let mut headers_at = 0;
    for index in 0..u64::from(header.phnum) {
        let segment: ProgramHeader =
            read_struct(file, header.phoff + index * size_of::<ProgramHeader>() as u64)?;
        match segment.kind {
            // There is no dynamic linker here.
            PT_INTERP => return Err(Errno::ENOEXEC),
            PT_LOAD if segment.memsz > 0 => {
                check(&segment, bias).ok_or(Errno::ENOEXEC)?;
                let page = (segment.vaddr + bias) & !(PAGE - 1);
                if segments.last().is_some_and(|last| last.vaddr + bias + last.memsz > page) {
                    return Err(Errno::ENOEXEC);
                }
                if segment.offset <= header.phoff && table_end <= segment.offset + segment.filesz {
                    headers_at = segment.vaddr + bias + (header.phoff - segment.offset);
                }
                segments.push(segment);
            }
            _ => {}
        }
    }
    let entry = header.entry.checked_add(bias).filter(|&entry| entry < USER_END).ok_or(Errno::ENOEXEC)?;
    if segments.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    Ok(Program { entry, bias, headers_at, header_count: u64::from(header.phnum), segments })
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
