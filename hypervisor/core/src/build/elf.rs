//! A guest kernel's ELF file: its segments, where they go, and what its notes ask for.
//!
//! Rules of Xen's loader, which differ from an ordinary one's: segments are placed by physical address (a Linux
//! kernel has a segment at virtual address 0), the entry point comes from a note, and the virtual address of a
//! byte is VIRT_BASE + p_paddr - PADDR_OFFSET. The file comes from outside and may say anything.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use paravane_abi::elfnote::{self, NoteRef, Notes};
use paravane_abi::ring1;

/// Most segments accepted; kernels have four or five.
const SEGMENTS_MAX: usize = 64;
/// Most notes looked at in one file (Xen stops far later; a kernel has twenty).
const NOTES_MAX: usize = 4096;
/// Longest string of a note that is kept.
const STRING_MAX: usize = 64;
/// The feature names of FEATURES notes that Xen knows.
const FEATURE_NAMES: [&str; 7] = [
    "writable_page_tables",
    "writable_descriptor_tables",
    "auto_translated_physmap",
    "supervisor_mode_kernel",
    "pae_pgdir_above_4gb",
    "hvm_callback_vector",
    "dom0",
];

/// Why a kernel was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// Not a 64-bit little-endian ELF file.
    NotElf64,
    /// A machine other than x86-64.
    Machine(u16),
    /// Program headers that cannot be read.
    Headers,
    /// Nothing to load, or too many segments.
    Segments(usize),
    /// A segment outside the file, larger in the file than in memory, or past the end of the address space.
    Segment(usize),
    /// The segments cover much more than the image's extent: overlapping.
    Overlap,
    /// Not one note of owner Xen.
    NoNotes,
    /// A note whose contents are not what its type asks for.
    Note(u32),
    /// XEN_VERSION is not "xen-3.0".
    Version(String),
    /// LOADER is not "generic", and GUEST_OS not "linux".
    Loader(String),
    /// A required feature nobody knows.
    Feature(String),
    /// Addresses that contradict each other.
    Address(&'static str),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf64 => write!(f, "kernel: not a 64-bit little-endian ELF file"),
            Self::Machine(machine) => write!(f, "kernel: for ELF machine {machine}, not x86-64"),
            Self::Headers => write!(f, "kernel: program headers cannot be read"),
            Self::Segments(count) => write!(f, "kernel: {count} segments to load"),
            Self::Segment(index) => write!(f, "kernel: segment {index} has impossible addresses or sizes"),
            Self::Overlap => write!(f, "kernel: segments overlap"),
            Self::NoNotes => write!(f, "kernel: no Xen ELF notes, so not a Xen PV kernel"),
            Self::Note(kind) => write!(f, "kernel: Xen ELF note {kind} has bad contents"),
            Self::Version(text) => write!(f, "kernel: built for `{text}`, not for xen-3.0"),
            Self::Loader(text) => write!(f, "kernel: asks for the loader `{text}`, not the generic one"),
            Self::Feature(name) => write!(f, "kernel: requires the unknown feature `{name}`"),
            Self::Address(what) => write!(f, "kernel: {what}"),
        }
    }
}

impl core::error::Error for ElfError {}

/// What a kernel's notes say, with Xen's defaults, and the addresses that follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelNotes {
    /// VIRT_BASE: where guest frame 0 is mapped.
    pub virt_base: u64,
    /// PADDR_OFFSET.
    pub paddr_offset: u64,
    /// ENTRY, or the file's own entry point.
    pub entry: u64,
    /// HYPERCALL_PAGE. Linux has none since XSA-466.
    pub hypercall_page: Option<u64>,
    /// INIT_P2M: where to map the p2m, instead of after the kernel.
    pub init_p2m: Option<u64>,
    /// MOD_START_PFN: the ramdisk may stay unmapped.
    pub mod_start_pfn: bool,
    /// GUEST_OS.
    pub guest_os: String,
    /// GUEST_VERSION.
    pub guest_version: String,
    /// Paravane's MODES note; 0 without it.
    pub modes: u64,
    /// Paravane's PC_ENTRY note: where a kernel of a PC is entered in 64-bit mode.
    pub pc_entry: Option<u64>,
    /// Paravane's SENSITIVE_SITES note: the virtual addresses of a list, which may be anything.
    pub sites: Option<Range<u64>>,
    /// First virtual address of the loaded image.
    pub virt_start: u64,
    /// First virtual address past the loaded image.
    pub virt_end: u64,
}

impl KernelNotes {
    /// Whether the kernel can run in ring 1.
    pub fn can_ring1(&self) -> bool {
        self.modes & ring1::MODE_PV_RING1 != 0
    }
}

/// A piece of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Virtual address in the initial mapping.
    pub va: u64,
    /// What the file has for it.
    pub data: &'a [u8],
    /// Bytes of zeros after the data.
    pub zeros: u64,
}

/// A kernel that has passed all checks which do not depend on the domain's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelImage<'a> {
    /// What is loaded, in the file's order.
    pub segments: Vec<Segment<'a>>,
    /// Notes and addresses.
    pub notes: KernelNotes,
}

#[derive(Default)]
struct Found {
    xen: usize,
    notes: KernelNotes,
    virt_base: Option<u64>,
    paddr_offset: Option<u64>,
    entry: Option<u64>,
    version: String,
    loader: String,
}

impl<'a> KernelImage<'a> {
    /// Reads and checks a kernel.
    pub fn parse(file: &'a [u8]) -> Result<Self, ElfError> {
        let header = FileHeader64::<LittleEndian>::parse(file).map_err(|_| ElfError::NotElf64)?;
        // The class is the type's; big-endian files pass the parser.
        let endian = header.endian().map_err(|_| ElfError::NotElf64)?;
        let machine = header.e_machine(endian);
        if machine != elf::EM_X86_64 {
            return Err(ElfError::Machine(machine.0));
        }
        let programs = header.program_headers(endian, file).map_err(|_| ElfError::Headers)?;

        let mut found = Found::default();
        let mut loads = Vec::new();
        for (index, program) in programs.iter().enumerate() {
            match program.p_type(endian) {
                elf::PT_NOTE => {
                    let notes = program.data(endian, file).map_err(|()| ElfError::Segment(index))?;
                    found.read(notes)?;
                }
                elf::PT_LOAD if program.p_flags(endian).0 & 7 != 0 => {
                    if loads.len() == SEGMENTS_MAX {
                        return Err(ElfError::Segments(programs.len()));
                    }
                    let data = program.data(endian, file).map_err(|()| ElfError::Segment(index))?;
                    let (start, size) = (program.p_paddr(endian), program.p_memsz(endian));
                    let zeros = size.checked_sub(data.len() as u64).ok_or(ElfError::Segment(index))?;
                    start.checked_add(size).ok_or(ElfError::Segment(index))?;
                    loads.push(Load { start, data, zeros });
                }
                _ => {}
            }
        }
        if found.xen == 0 {
            // Some linkers drop the segment and keep the section.
            for section in header.section_headers(endian, file).unwrap_or(&[]) {
                if section.sh_type(endian) == elf::SHT_NOTE
                    && let Ok(notes) = section.data(endian, file)
                {
                    found.read(notes)?;
                }
            }
        }
        let notes = found.checked(header.e_entry(endian), &loads)?;
        let segments = loads
            .iter()
            .map(|load| Segment {
                va: notes.virt_base + (load.start - notes.paddr_offset),
                data: load.data,
                zeros: load.zeros,
            })
            .collect();
        Ok(Self { segments, notes })
    }
}

struct Load<'a> {
    start: u64,
    data: &'a [u8],
    zeros: u64,
}

impl Load<'_> {
    fn size(&self) -> u64 {
        self.data.len() as u64 + self.zeros
    }
}

impl Found {
    fn read(&mut self, segment: &[u8]) -> Result<(), ElfError> {
        for note in Notes::new(segment).take(NOTES_MAX) {
            if note.is_xen() {
                self.xen += 1;
                self.note(&note)?;
            } else if note.is_paravane() && note.kind == ring1::NOTE_TYPE_MODES {
                self.notes.modes = number(&note)?;
            } else if note.is_paravane() && note.kind == ring1::NOTE_TYPE_PHYS64_ENTRY {
                self.notes.pc_entry = Some(number(&note)?);
            } else if note.is_paravane() && note.kind == ring1::NOTE_TYPE_SENSITIVE_SITES {
                self.notes.sites = Some(range(&note)?);
            }
        }
        Ok(())
    }

    fn note(&mut self, note: &NoteRef<'_>) -> Result<(), ElfError> {
        match note.kind {
            elfnote::XEN_ELFNOTE_ENTRY => self.entry = Some(number(note)?),
            elfnote::XEN_ELFNOTE_HYPERCALL_PAGE => self.notes.hypercall_page = Some(number(note)?),
            elfnote::XEN_ELFNOTE_VIRT_BASE => self.virt_base = Some(number(note)?),
            elfnote::XEN_ELFNOTE_PADDR_OFFSET => self.paddr_offset = Some(number(note)?),
            elfnote::XEN_ELFNOTE_INIT_P2M => self.notes.init_p2m = Some(number(note)?),
            elfnote::XEN_ELFNOTE_MOD_START_PFN => self.notes.mod_start_pfn = number(note)? != 0,
            elfnote::XEN_ELFNOTE_XEN_VERSION => self.version = text(note)?,
            elfnote::XEN_ELFNOTE_LOADER => self.loader = text(note)?,
            elfnote::XEN_ELFNOTE_GUEST_OS => self.notes.guest_os = text(note)?,
            elfnote::XEN_ELFNOTE_GUEST_VERSION => self.notes.guest_version = text(note)?,
            elfnote::XEN_ELFNOTE_FEATURES => {
                let list = note.string().ok_or(ElfError::Note(note.kind))?;
                for name in list.split('|').filter_map(|feature| feature.strip_prefix('!')) {
                    if !FEATURE_NAMES.contains(&name) {
                        return Err(ElfError::Feature(clipped(name)));
                    }
                }
            }
            // PAE_MODE and HV_START_LOW concern 32-bit kernels, L1_MFN_VALID and SUSPEND_CANCEL migration,
            // SUPPORTED_FEATURES is compared by the toolstack only, PHYS32_ENTRY is for PVH.
            _ => {}
        }
        Ok(())
    }

    /// Xen's `elf_xen_note_check` and `elf_xen_addr_calc_check`.
    fn checked(mut self, file_entry: u64, loads: &[Load<'_>]) -> Result<KernelNotes, ElfError> {
        if self.xen == 0 {
            return Err(ElfError::NoNotes);
        }
        if !self.version.starts_with("xen-3.0") {
            return Err(ElfError::Version(self.version));
        }
        if !self.loader.starts_with("generic") && !self.notes.guest_os.starts_with("linux") {
            return Err(ElfError::Loader(self.loader));
        }
        if self.paddr_offset.is_some() && self.virt_base.is_none() {
            return Err(ElfError::Address("PADDR_OFFSET without VIRT_BASE"));
        }
        self.notes.virt_base = self.virt_base.unwrap_or(0);
        self.notes.paddr_offset = self.paddr_offset.unwrap_or(0);
        self.notes.entry = self.entry.unwrap_or(file_entry);

        let start = loads.iter().map(|load| load.start).min().ok_or(ElfError::Segments(0))?;
        let end = loads.iter().map(|load| load.start + load.size()).max().ok_or(ElfError::Segments(0))?;
        // No file makes the loader copy more than twice what ends up in memory (Xen's rule).
        let copied = loads.iter().try_fold(0u64, |sum, load| sum.checked_add(load.size()));
        if copied.is_none_or(|copied| copied.div_ceil(2) > end - start) {
            return Err(ElfError::Overlap);
        }
        let beyond = ElfError::Address("the image lies outside the address space");
        let offset = start
            .checked_sub(self.notes.paddr_offset)
            .ok_or(ElfError::Address("the image begins below PADDR_OFFSET"))?;
        let virt_start = self.notes.virt_base.checked_add(offset).ok_or(beyond.clone())?;
        let virt_end = virt_start.checked_add(end - start).ok_or(beyond)?;
        if !(virt_start..=virt_end).contains(&self.notes.entry) {
            return Err(ElfError::Address("the entry point lies outside the image"));
        }
        if self.notes.init_p2m.is_some_and(|p2m| (virt_start..virt_end).contains(&p2m)) {
            return Err(ElfError::Address("INIT_P2M lies inside the image"));
        }
        self.notes.virt_start = virt_start;
        self.notes.virt_end = virt_end;
        Ok(self.notes)
    }
}

fn number(note: &NoteRef<'_>) -> Result<u64, ElfError> {
    note.number().ok_or(ElfError::Note(note.kind))
}

fn range(note: &NoteRef<'_>) -> Result<Range<u64>, ElfError> {
    let bad = ElfError::Note(note.kind);
    let (start, end) = note.desc.split_first_chunk().ok_or(bad.clone())?;
    let end = <[u8; 8]>::try_from(end).map_err(|_| bad)?;
    Ok(u64::from_le_bytes(*start)..u64::from_le_bytes(end))
}

fn text(note: &NoteRef<'_>) -> Result<String, ElfError> {
    note.string().map(clipped).ok_or(ElfError::Note(note.kind))
}

fn clipped(text: &str) -> String {
    text.chars().take(STRING_MAX).collect()
}
