//! What a boot loader hands over, the same whichever protocol brought it: memory, modules, the command line, ACPI's
//! root pointer.
//!
//! [`pvh`] reads Xen's and QEMU's start info, [`multiboot2`] reads GRUB's tags. Both see physical memory through
//! [`Physical`] alone, so a damaged structure gives an error and never a stray access.

pub mod memory_map;
pub mod multiboot2;
pub mod pvh;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

use memory_map::Range;

/// Most bytes of a command line that are read.
pub const COMMAND_LINE_LIMIT: u64 = 4096;
/// Most modules accepted: as many as a bundle may have members.
pub const MODULES_MAX: usize = 256;
/// Most entries of a memory map accepted; firmware in use reports about a hundred.
pub const MEMORY_ENTRIES_MAX: usize = 1024;

/// Physical memory as the boot loader left it.
pub trait Physical<'a> {
    /// The `length` bytes at `start`; `None` where they cannot all be read. They stay unwritten as long as they are
    /// among [`BootInfo::reserved`].
    fn bytes(&self, start: u64, length: u64) -> Option<&'a [u8]>;
}

/// How the hypervisor was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Xen's `start_info`, in EBX.
    Pvh,
    /// Multiboot2's tags, in EBX, with [`multiboot2::LOADER_MAGIC`] in EAX.
    Multiboot2,
}

impl Protocol {
    /// The protocol's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pvh => "PVH",
            Self::Multiboot2 => "multiboot2",
        }
    }
}

/// A file that the boot loader placed in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// Its content.
    pub data: &'a [u8],
    /// What was written behind its name; empty when nothing was.
    pub command_line: &'a str,
}

impl<'a> From<&'a [u8]> for Module<'a> {
    fn from(data: &'a [u8]) -> Self {
        Self { data, command_line: "" }
    }
}

/// What the boot loader handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootInfo<'a> {
    /// The protocol that brought it.
    pub protocol: Protocol,
    /// The boot loader's own name; empty where the protocol has none.
    pub loader: &'a str,
    /// The hypervisor's command line.
    pub command_line: &'a str,
    /// The modules, in the boot loader's order.
    pub modules: Vec<Module<'a>>,
    /// RAM: sorted, disjoint, whole frames.
    pub ram: Vec<Range>,
    /// The physical address of ACPI's root pointer (RSDP), or of the copy of it that multiboot2 brings.
    pub rsdp: Option<u64>,
    /// What must not be handed out: the modules and the boot loader's structures.
    pub reserved: Vec<Range>,
}

/// Why the boot loader's information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// PVH's structure has another magic.
    Magic(u32),
    /// PVH's structure is of a version without a memory map.
    Version(u32),
    /// So many bytes at this physical address cannot be read.
    Unreadable(u64, u64),
    /// The tag at this offset is too small for its kind, or runs past the end.
    Tag(u32),
    /// The tags' total size cannot be.
    TotalSize(u32),
    /// There is no memory map, or no RAM in it.
    NoMemory,
    /// More modules than are accepted.
    TooManyModules,
    /// More memory-map entries than are accepted.
    TooManyRanges,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(magic) => write!(f, "started by neither PVH nor multiboot2: magic {magic:#x}"),
            Self::Version(version) => write!(f, "PVH start info version {version} has no memory map"),
            Self::Unreadable(start, length) => {
                write!(f, "the boot loader names {length:#x} bytes at {start:#x}, which cannot be read")
            }
            Self::Tag(at) => write!(f, "multiboot2 tag at byte {at:#x} has an impossible size"),
            Self::TotalSize(size) => write!(f, "multiboot2 information of {size:#x} bytes"),
            Self::NoMemory => write!(f, "the boot loader reports no memory"),
            Self::TooManyModules => write!(f, "more than {MODULES_MAX} modules"),
            Self::TooManyRanges => write!(f, "more than {MEMORY_ENTRIES_MAX} memory-map entries"),
        }
    }
}

impl core::error::Error for BootError {}

impl<'a> BootInfo<'a> {
    /// Reads what stands at the address that EBX held; `magic` is what EAX held, or 0 where PVH's entry was taken.
    pub fn read(memory: &impl Physical<'a>, magic: u32, address: u64) -> Result<Self, BootError> {
        match magic {
            multiboot2::LOADER_MAGIC => multiboot2::read(memory, address),
            _ => pvh::read(memory, address),
        }
    }
}

/// The text up to the first NUL; empty where there is none or it is not UTF-8.
fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|&byte| byte == 0);
    end.and_then(|end| core::str::from_utf8(&bytes[..end]).ok()).unwrap_or("")
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
