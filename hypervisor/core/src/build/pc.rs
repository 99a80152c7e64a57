//! Where everything lies when a kernel starts that believes itself on a PC, and what a boot loader would have put there.
//!
//! Guest-physical memory is one range of RAM from 0. The kernel's segments lie at their physical addresses; behind them, page
//! by page: the ramdisk, a page with what the loader has to say (`xen/arch-x86/hvm/start_info.h`, as by PVH), and page
//! tables that map the first GiB to itself. The kernel is entered in 64-bit mode at the address that its note of type
//! [`NOTE_TYPE_PHYS64_ENTRY`](paravane_abi::ring1::NOTE_TYPE_PHYS64_ENTRY) names, since real mode and what follows it is what no kernel
//! needs to be shown again.

use core::fmt;
use core::ops::Range;

use paravane_abi::pte::{self, PteFlags};
use paravane_abi::pvh::{
    HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo, XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_START_MAGIC_VALUE,
};
use zerocopy::IntoBytes;

use super::elf::{KernelImage, KernelNotes};
use super::populate::{Filling, Populate, fill_ramdisk, fill_segment, write_by};
use crate::addr::{ENTRIES, PAGE_SHIFT, PAGE_SIZE, Pfn};
use crate::full::{MAX_SITES, SITE_SIZE};

const PAGE: u64 = PAGE_SIZE as u64;
/// L4, L3 and L2.
const TABLES: u64 = 3;
/// Longest command line, its NUL included: what is left of the page.
const CMDLINE_MAX: usize = PAGE_SIZE - CMDLINE;
/// Offsets in the loader's page.
const MODULES: usize = 64;
const MEMORY_MAP: usize = 96;
const CMDLINE: usize = 128;

/// Why a kernel does not fit its PC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcError {
    /// No note says where it is entered.
    NoEntry,
    /// The domain is too small.
    Memory {
        /// Pages needed at least.
        need: u64,
        /// Pages it has.
        have: u64,
    },
    /// Sites are to be patched, and no note lists them.
    NoSites,
    /// The list lies outside the image, is cut off, or has more than [`MAX_SITES`] entries.
    Sites,
}

impl fmt::Display for PcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEntry => write!(f, "its kernel has no note that says where a PC enters it"),
            Self::Memory { need, have } => {
                write!(f, "the domain has {have} pages, but its kernel and ramdisk need {need}")
            }
            Self::NoSites => write!(f, "its kernel has no note that lists the sites to patch"),
            Self::Sites => {
                write!(f, "its kernel's list of sites is not one of at most {MAX_SITES} in the image")
            }
        }
    }
}

impl core::error::Error for PcError {}

/// A kernel's list of sites, in its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteList {
    /// The virtual address of the first entry.
    pub address: u64,
    /// Entries.
    pub count: usize,
}

impl SiteList {
    /// The list that a kernel's note names, which may name anything.
    pub fn of(notes: &KernelNotes) -> Result<Self, PcError> {
        let Some(Range { start, end }) = notes.sites else { return Err(PcError::NoSites) };
        let inside = notes.virt_start <= start && start <= end && end <= notes.virt_end;
        let bytes = end.wrapping_sub(start);
        if !inside || bytes % SITE_SIZE != 0 || bytes / SITE_SIZE > MAX_SITES as u64 {
            return Err(PcError::Sites);
        }
        Ok(Self { address: start, count: (bytes / SITE_SIZE) as usize })
    }
}

/// Where everything lies; all addresses are guest-physical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcLayout {
    /// Guest frames of RAM.
    pub nr_pages: u64,
    /// Where the kernel is entered.
    pub entry: u64,
    /// The ramdisk's first frame and its bytes.
    pub ramdisk: Option<(Pfn, u64)>,
    /// The page with the loader's words, which begins with [`HvmStartInfo`].
    pub start_info: u64,
    /// The L4 of the first tables; L3 and L2 follow.
    pub tables: u64,
    /// The sites to patch.
    pub sites: Option<SiteList>,
}

/// Where a PC's processor starts: in 64-bit mode, interrupts off, the first GiB mapped to itself, flat segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcStart {
    /// RIP.
    pub entry: u64,
    /// CR3.
    pub cr3: u64,
    /// RBX: the physical address of [`HvmStartInfo`].
    pub start_info: u64,
}

/// The guest-physical address of an address of the image.
pub(crate) fn physical(notes: &KernelNotes, va: u64) -> u64 {
    va.wrapping_sub(notes.virt_base).wrapping_add(notes.paddr_offset)
}

impl PcLayout {
    /// Lays out a PC of `nr_pages` frames. `ramdisk_len` of 0 means there is no ramdisk; `patch_sites`, that the kernel's
    /// list of sites is used.
    pub fn plan(
        notes: &KernelNotes,
        ramdisk_len: u64,
        nr_pages: u64,
        patch_sites: bool,
    ) -> Result<Self, PcError> {
        let entry = notes.pc_entry.ok_or(PcError::NoEntry)?;
        let image_end = physical(notes, notes.virt_end).div_ceil(PAGE);
        let ramdisk_pages = ramdisk_len.div_ceil(PAGE);
        let need = [ramdisk_pages, 1 + TABLES].iter().try_fold(image_end, |sum, &part| sum.checked_add(part));
        // Only the first GiB is mapped at first, and the loader's words lie there.
        let have = nr_pages.min(1 << (30 - PAGE_SHIFT));
        let Some(end) = need.filter(|need| *need <= have) else {
            return Err(PcError::Memory { need: need.unwrap_or(u64::MAX), have });
        };
        let sites = if patch_sites { Some(SiteList::of(notes)?) } else { None };
        let start_info = (end - TABLES - 1) * PAGE;
        Ok(Self {
            nr_pages,
            entry,
            ramdisk: (ramdisk_len != 0).then(|| (Pfn::new(image_end), ramdisk_len)),
            start_info,
            tables: start_info + PAGE,
            sites,
        })
    }
}

/// What a PC's memory is filled from: `image` must be the one `layout` was planned for, and `ramdisk` as long as planned.
#[derive(Clone, Copy, Debug)]
pub struct PcSource<'a> {
    /// The kernel.
    pub image: &'a KernelImage<'a>,
    /// The ramdisk.
    pub ramdisk: &'a [u8],
    /// Where everything goes.
    pub layout: &'a PcLayout,
    /// Kernel command line; what does not fit the page is cut off.
    pub cmdline: &'a str,
}

impl PcSource<'_> {
    /// One bounded step: how far it came, or where the processor starts when all is filled.
    pub fn fill(&self, filling: Filling, memory: &mut impl Populate) -> Result<PcStart, Filling> {
        let Self { image, ramdisk, layout, .. } = self;
        let place = |va| Pfn::new(physical(&image.notes, va) >> PAGE_SHIFT);
        let next = match filling {
            Filling::Segment(index, from) => {
                fill_segment(image, index, from, memory, place).unwrap_or(Filling::Ramdisk(0))
            }
            Filling::Ramdisk(first) => {
                fill_ramdisk(ramdisk, layout.ramdisk.map(|(pfn, _)| pfn), first, memory)
                    .unwrap_or(Filling::Rest)
            }
            Filling::P2m(_) | Filling::Tables(_) | Filling::Rest => {
                write_by(memory, &frame_of, layout.start_info, &self.loader_page());
                for number in 0..TABLES {
                    let entries = table(layout.tables, number);
                    write_by(memory, &frame_of, layout.tables + number * PAGE, entries.as_bytes());
                }
                let PcLayout { entry, tables: cr3, start_info, .. } = **layout;
                return Ok(PcStart { entry, cr3, start_info });
            }
        };
        Err(next)
    }

    /// The page with the loader's words.
    fn loader_page(&self) -> [u8; PAGE_SIZE] {
        let PcLayout { nr_pages, ramdisk, start_info, .. } = *self.layout;
        let at = |offset: usize| start_info + offset as u64;
        let info = HvmStartInfo {
            magic: XEN_HVM_START_MAGIC_VALUE,
            version: 1,
            nr_modules: ramdisk.is_some().into(),
            modlist_paddr: if ramdisk.is_some() { at(MODULES) } else { 0 },
            cmdline_paddr: at(CMDLINE),
            memmap_paddr: at(MEMORY_MAP),
            memmap_entries: 1,
            ..Default::default()
        };
        let memory = HvmMemmapTableEntry {
            addr: 0,
            size: nr_pages * PAGE,
            kind: XEN_HVM_MEMMAP_TYPE_RAM,
            reserved: 0,
        };
        let mut page = [0; PAGE_SIZE];
        let mut put = |offset: usize, bytes: &[u8]| page[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0, info.as_bytes());
        if let Some((pfn, size)) = ramdisk {
            let module = HvmModlistEntry { paddr: pfn.get() * PAGE, size, ..Default::default() };
            put(MODULES, module.as_bytes());
        }
        put(MEMORY_MAP, memory.as_bytes());
        let text = self.cmdline.as_bytes();
        put(CMDLINE, &text[..text.len().min(CMDLINE_MAX - 1)]);
        page
    }
}

fn frame_of(address: u64) -> Pfn {
    Pfn::new(address >> PAGE_SHIFT)
}

/// One of L4, L3 and L2, from address `at` on, which map the first GiB to itself by large pages.
fn table(at: u64, number: u64) -> [u64; ENTRIES] {
    let flags = PteFlags::PRESENT | PteFlags::RW;
    let mut table = [0; ENTRIES];
    if number + 1 < TABLES {
        table[0] = pte::entry((at >> PAGE_SHIFT) + number + 1, flags);
        return table;
    }
    for (index, entry) in table.iter_mut().enumerate() {
        *entry = pte::entry((index as u64) << 9, flags | PteFlags::PSE);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Mfn;
    use crate::boot::{Physical, pvh};
    use crate::build::elf::ElfError;
    use crate::build::fake_kernel::{BASE, Elf};
    use crate::build::{Arrangement, BuildError, DomainConfig, MachineKind, Plan, RingPorts, Start};
    use paravane_abi::ring1::{NOTE_TYPE_PHYS64_ENTRY, NOTE_TYPE_SENSITIVE_SITES};
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    const PAGES: u64 = 1024;

    /// The memory of a PC; what is not written is not zero, so that missing zeros show.
    struct Ram(Vec<u8>);

    impl Populate for Ram {
        fn mfn(&self, pfn: Pfn) -> Mfn {
            Mfn::new(pfn.get())
        }

        fn write(&mut self, pfn: Pfn, offset: usize, bytes: &[u8]) {
            assert!(offset + bytes.len() <= PAGE_SIZE, "across a page");
            let at = pfn.get() as usize * PAGE_SIZE + offset;
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    impl<'a> Physical<'a> for &'a Ram {
        fn bytes(&self, start: u64, length: u64) -> Option<&'a [u8]> {
            self.0.get(start as usize..)?.get(..length as usize)
        }
    }

    fn plan<'a>(kernel: &'a [u8], ramdisk: &'a [u8], pages: u64) -> Result<Plan<'a>, BuildError> {
        planned(kernel, ramdisk, pages, false)
    }

    fn planned<'a>(
        kernel: &'a [u8],
        ramdisk: &'a [u8],
        pages: u64,
        patch_sites: bool,
    ) -> Result<Plan<'a>, BuildError> {
        let mut config = DomainConfig::new("pc", pages * 4, 1);
        (config.machine, config.patch_sites) = (Some(MachineKind::Trap), patch_sites);
        config.cmdline = String::from("console=ttyS0 answer=42");
        Plan::new(config, kernel, ramdisk)
    }

    fn kernel() -> Vec<u8> {
        let mut elf = Elf::kernel();
        elf.note("Paravane", NOTE_TYPE_PHYS64_ENTRY, &0x10_0010u64.to_le_bytes());
        elf.build()
    }

    fn populated(plan: &Plan<'_>) -> (Ram, PcStart) {
        let mut ram = Ram(vec![0xee; (PAGES as usize) * PAGE_SIZE]);
        match plan.populate(Mfn::new(0), RingPorts { store: 1, console: 2 }, &mut ram) {
            Start::Pc(start) => (ram, start),
            Start::Pv(_) => panic!("a paravirtual start"),
        }
    }

    #[test]
    fn a_boot_loader_would_have_said_the_same() {
        let kernel = kernel();
        let ramdisk: Vec<u8> = (0..9000u32).map(|n| (n % 251) as u8).collect();
        let plan = plan(&kernel, &ramdisk, PAGES).unwrap();
        let (ram, start) = populated(&plan);
        assert_eq!(start.entry, 0x10_0010);
        // The reader is the one that reads what QEMU says to the hypervisor.
        let info = pvh::read(&&ram, start.start_info).unwrap();
        assert_eq!(info.command_line, "console=ttyS0 answer=42");
        assert_eq!((info.modules.len(), info.modules[0].data), (1, ramdisk.as_slice()));
        assert_eq!((info.ram.len(), info.ram[0].start, info.ram[0].end), (1, 0, PAGES * PAGE));
        // The segments lie at their physical addresses, zeros and all.
        let image = &ram.0[0x10_0000..];
        assert!(image[..5000].iter().enumerate().all(|(n, &byte)| byte == n as u8 | 1));
        assert!(image[5000..0x2000].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn the_first_gib_is_mapped_to_itself() {
        let kernel = kernel();
        let (ram, start) = populated(&plan(&kernel, &[], PAGES).unwrap());
        let word = |address: u64| u64::from_le_bytes(*ram.0[address as usize..].first_chunk().unwrap());
        for va in [0, 0x1000, start.entry, 0x3fff_ffff] {
            let l3 = pte::mfn(word(start.cr3 + pte::index(va, 4) as u64 * 8)) * PAGE;
            let l2 = pte::mfn(word(l3 + pte::index(va, 3) as u64 * 8)) * PAGE;
            let entry = word(l2 + pte::index(va, 2) as u64 * 8);
            assert_eq!(entry, va & !0x1f_ffff | 0x83, "{va:#x}");
        }
        assert!(pvh::read(&&ram, start.start_info).unwrap().modules.is_empty());
        // Nothing else is mapped.
        assert_eq!((1..512).map(|slot| word(start.cr3 + slot * 8)).sum::<u64>(), 0);
    }

    /// The list of sites is looked at only where it is asked for, and then it is one in the image or none.
    #[test]
    fn a_list_of_sites_is_a_claim() {
        let sites = |desc: &[u8], patch_sites| {
            let mut elf = Elf::kernel();
            elf.note("Paravane", NOTE_TYPE_PHYS64_ENTRY, &0x10_0010u64.to_le_bytes());
            elf.note("Paravane", NOTE_TYPE_SENSITIVE_SITES, desc);
            let kernel = elf.build();
            planned(&kernel, &[], PAGES, patch_sites).map(|plan| plan.arrangement.pc().unwrap().sites)
        };
        let list = |start: u64, end: u64, patch_sites| {
            sites(&[start.to_le_bytes(), end.to_le_bytes()].concat(), patch_sites)
        };
        let (start, end) = (BASE + 0x10_0000, BASE + 0x11_3ffe);
        let bad = |error| Err(BuildError::Pc("pc".into(), error));
        assert_eq!(list(start, start + 32, true), Ok(Some(SiteList { address: start, count: 2 })));
        assert_eq!(list(end - 16, end, true), Ok(Some(SiteList { address: end - 16, count: 1 })));
        assert_eq!(list(end, end, true), Ok(Some(SiteList { address: end, count: 0 })));
        let most = MAX_SITES as u64 * SITE_SIZE;
        assert!(list(start, start + most, true).is_ok());
        for (first, behind) in [
            (start, start + 8),
            (start, start + most + 16),
            (start + 16, start),
            (start - 16, start),
            (end - 16, end + 16),
            (end + 16, end + 32),
            (0, 16),
            (u64::MAX - 15, 0),
            (start, u64::MAX),
        ] {
            assert_eq!(list(first, behind, true), bad(PcError::Sites), "{first:#x} to {behind:#x}");
            assert_eq!(list(first, behind, false), Ok(None), "{first:#x} to {behind:#x}");
        }
        assert_eq!(planned(&kernel(), &[], PAGES, true).unwrap_err(), bad(PcError::NoSites).unwrap_err());
        // A note that is none is one whatever is asked for.
        for length in [0, 8, 15, 17, 24] {
            let error = BuildError::Kernel("pc".into(), ElfError::Note(NOTE_TYPE_SENSITIVE_SITES));
            assert_eq!(sites(&vec![0; length], false), Err(error));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let plain = Elf::kernel().build();
        assert_eq!(plan(&plain, &[], PAGES).unwrap_err(), BuildError::Pc("pc".into(), PcError::NoEntry));
        let kernel = kernel();
        let ramdisk = vec![0; 40 * PAGE_SIZE];
        let need = match plan(&kernel, &ramdisk, 16).unwrap_err() {
            BuildError::Pc(_, PcError::Memory { need, have: 16 }) => need,
            error => panic!("{error}"),
        };
        let Arrangement::Pc(layout) = plan(&kernel, &ramdisk, need).unwrap().arrangement else {
            panic!("a paravirtual layout")
        };
        // To the last page.
        assert_eq!(layout.tables + TABLES * PAGE, need * PAGE);
        assert!(plan(&kernel, &ramdisk, need - 1).is_err());
    }
}
