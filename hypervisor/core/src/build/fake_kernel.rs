//! Kernels made for tests: ELF files with the notes and segments asked for.

use alloc::vec;
use alloc::vec::Vec;
use paravane_abi::elfnote::*;

/// Where the kernels made here are mapped.
pub const BASE: u64 = 0xffff_ffff_8000_0000;

/// An ELF file under construction.
pub struct Elf {
    pub(super) entry: u64,
    pub(super) segments: Vec<(u32, u64, Vec<u8>, u64)>,
    pub(super) notes: Vec<u8>,
}

impl Elf {
    pub(super) fn empty() -> Self {
        Self { entry: 0, segments: Vec::new(), notes: Vec::new() }
    }

    /// A kernel of two segments, with the notes any kernel has.
    pub fn kernel() -> Self {
        let mut elf = Self::empty();
        elf.text(XEN_ELFNOTE_XEN_VERSION, "xen-3.0").text(XEN_ELFNOTE_LOADER, "generic");
        elf.number(XEN_ELFNOTE_VIRT_BASE, BASE).number(XEN_ELFNOTE_ENTRY, BASE + 0x10_0004);
        elf.load(0x10_0000, (0..5000u32).map(|n| n as u8 | 1).collect(), 0x2000);
        elf.load(0x10_3ffe, vec![0xaa; 10], 0x1_0000);
        elf
    }

    /// A kernel of one page, mapped from `base` on.
    pub fn small_kernel(base: u64) -> Self {
        let mut elf = Self::empty();
        elf.text(XEN_ELFNOTE_XEN_VERSION, "xen-3.0").text(XEN_ELFNOTE_LOADER, "generic");
        elf.number(XEN_ELFNOTE_VIRT_BASE, base).number(XEN_ELFNOTE_ENTRY, base + 0x100);
        elf.load(0, vec![0x90; 0x200], 0x1000);
        elf
    }

    /// Adds a note.
    pub fn note(&mut self, owner: &str, kind: u32, desc: &[u8]) -> &mut Self {
        for word in [owner.len() as u32 + 1, desc.len() as u32, kind] {
            self.notes.extend(word.to_le_bytes());
        }
        for part in [owner.as_bytes(), &[0]].concat().chunks(4).chain(desc.chunks(4)) {
            self.notes.extend(part);
            self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        }
        self
    }

    /// Adds a note of Xen's that is a number.
    pub fn number(&mut self, kind: u32, value: u64) -> &mut Self {
        self.note("Xen", kind, &value.to_le_bytes())
    }

    /// Adds a note of Xen's that is a text.
    pub fn text(&mut self, kind: u32, text: &str) -> &mut Self {
        self.note("Xen", kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds a segment.
    pub fn load(&mut self, paddr: u64, data: Vec<u8>, memsz: u64) -> &mut Self {
        // PT_LOAD with read permission.
        self.segments.push((1, paddr, data, memsz));
        self
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let mut programs = self.segments.clone();
        programs.push((4, 0, self.notes.clone(), 0));
        let mut file = vec![0u8; 64 + 56 * programs.len()];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        for (at, value) in [(16, 2u16), (18, 62), (52, 64), (54, 56), (56, programs.len() as u16)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file[20] = 1;
        file[24..32].copy_from_slice(&self.entry.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        for (index, (kind, paddr, data, memsz)) in programs.iter().enumerate() {
            let words = [
                u64::from(*kind) | 4 << 32,
                file.len() as u64,
                // The virtual address is never looked at.
                0xdead_0000,
                *paddr,
                data.len() as u64,
                *memsz,
                4096,
            ];
            let at = 64 + 56 * index;
            for (n, word) in words.into_iter().enumerate() {
                file[at + 8 * n..at + 8 * n + 8].copy_from_slice(&word.to_le_bytes());
            }
            file.extend(data);
        }
        file
    }
}
