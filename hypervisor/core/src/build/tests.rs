//! The builder as a whole, on kernels made here, and on damaged input.

use super::bundle::{self, Member};
use super::elf::{ElfError, KernelImage, KernelNotes};
use super::layout::{Layout, LayoutError};
use super::populate::{hypercall_page, shared_info};
use super::*;
use crate::addr::{ENTRIES, Level, Mfn, PAGE_SIZE, Pfn};
use crate::boot::Module;
use crate::build::populate::RingPorts;
use crate::descriptor::Policy;
use crate::time::{Clock, TimePublisher};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use paravane_abi::elfnote::*;
use paravane_abi::pte::{self, PteFlags};
use paravane_abi::shared_info::{SharedInfo, VcpuTimeInfo};
use paravane_abi::start_info::{SIF_MOD_START_PFN, StartInfo};
use std::collections::BTreeMap;
use zerocopy::FromBytes;

pub(crate) use super::fake_kernel::{BASE, Elf};

impl Elf {
    fn error(&self) -> ElfError {
        KernelImage::parse(&self.build()).unwrap_err()
    }
}

/// Memory whose machine frames are far from the guest's, in reverse order.
#[derive(Default)]
struct Frames {
    pages: BTreeMap<u64, Vec<u8>>,
    nr_pages: u64,
}

impl Frames {
    fn new(nr_pages: u64) -> Self {
        Self { nr_pages, pages: BTreeMap::new() }
    }

    fn pfn(&self, mfn: u64) -> u64 {
        0x10_0000 + self.nr_pages - mfn
    }

    fn page(&self, pfn: u64) -> &[u8] {
        self.pages.get(&pfn).map_or(&[0; PAGE_SIZE], Vec::as_slice)
    }

    fn word(&self, pfn: u64, index: usize) -> u64 {
        u64::from_le_bytes(self.page(pfn)[index * 8..index * 8 + 8].try_into().unwrap())
    }

    /// Walks the tables as a CPU would; the last entry, and the AND of RW and US along the way.
    fn walk(&self, l4: Mfn, va: u64) -> Option<(u64, bool, bool)> {
        let (mut frame, mut writable, mut user) = (l4.get(), true, true);
        for shift in [39, 30, 21, 12] {
            let entry = self.word(self.pfn(frame), (va >> shift) as usize % ENTRIES);
            if entry & 1 == 0 {
                return None;
            }
            writable &= entry & 2 != 0;
            user &= entry & 4 != 0;
            frame = (entry & 0x000f_ffff_ffff_f000) >> 12;
        }
        Some((self.pfn(frame), writable, user))
    }

    /// Reads guest memory through the page tables.
    fn read(&self, l4: Mfn, va: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let va = va + bytes.len() as u64;
            let page = self.page(self.walk(l4, va).expect("mapped").0);
            let rest = &page[va as usize % PAGE_SIZE..];
            bytes.extend(&rest[..rest.len().min(len - bytes.len())]);
        }
        bytes
    }
}

impl Populate for Frames {
    fn mfn(&self, pfn: Pfn) -> Mfn {
        assert!(pfn.get() < self.nr_pages);
        Mfn::new(0x10_0000 + self.nr_pages - pfn.get())
    }

    fn write(&mut self, pfn: Pfn, offset: usize, bytes: &[u8]) {
        assert!(pfn.get() < self.nr_pages && offset + bytes.len() <= PAGE_SIZE);
        // What was there before is not zero, so that missing zeros show.
        let page = self.pages.entry(pfn.get()).or_insert_with(|| vec![0xee; PAGE_SIZE]);
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

fn built(elf: &Elf, ramdisk: &[u8], machine: MachineKind) -> (Frames, StartOfDay, Layout) {
    let file = elf.build();
    let mut config = DomainConfig::new("guest", 16 << 10, 1);
    config.machine = Some(machine);
    config.cmdline = String::from("console=hvc0 answer=42");
    let plan = Plan::new(config, &file, ramdisk).unwrap();
    let mut frames = Frames::new(4096);
    let start = plan.populate(Mfn::new(0x77), RingPorts { store: 4, console: 5 }, &mut frames);
    (frames, *start.pv().unwrap(), plan.arrangement.pv().unwrap().clone())
}

#[test]
fn a_kernel_is_found_where_its_notes_say() {
    for machine in [MachineKind::PvRing1, MachineKind::PvRing3] {
        let mut elf = Elf::kernel();
        elf.note("Paravane", 1, &1u64.to_le_bytes());
        elf.number(XEN_ELFNOTE_HYPERCALL_PAGE, BASE + 0x10_2000);
        let ramdisk: Vec<u8> = (0..9000u32).map(|n| (n % 251) as u8).collect();
        let (frames, start, layout) = built(&elf, &ramdisk, machine);
        assert_eq!((start.entry, start.rsi), (BASE + 0x10_0004, layout.start_info));
        let kernel = frames.read(start.l4, BASE + 0x10_0000, 0x2000);
        assert!(kernel[..5000].iter().enumerate().all(|(n, &byte)| byte == n as u8 | 1));
        assert!(kernel[5000..].iter().all(|&byte| byte == 0));
        assert_eq!(frames.read(start.l4, BASE + 0x10_3ffe, 12), [[0xaa; 10].as_slice(), &[0; 2]].concat());
        assert_eq!(frames.read(start.l4, BASE + 0x10_2000, PAGE_SIZE), hypercall_page(machine.policy()));
        let info = StartInfo::read_from_bytes(&frames.read(start.l4, start.rsi, 1168)).unwrap();
        assert_eq!(frames.read(start.l4, info.mod_start, ramdisk.len()), ramdisk);
        // Whole pages.
        assert_eq!((info.mod_len, info.flags), (12288, 0));
        assert_eq!(info.command_line(), b"console=hvc0 answer=42");
        assert_eq!((info.nr_pages, info.shared_info), (4096, 0x7_7000));
        assert_eq!(frames.mfn(start.console).get(), info.console_mfn);
        assert_eq!((info.console_evtchn, info.store_evtchn), (5, 4));
        assert_eq!(frames.mfn(start.xenstore).get(), info.store_mfn);
        assert_eq!((info.pt_base, info.nr_pt_frames), (layout.page_tables, start.nr_page_tables));
        assert_eq!(frames.walk(start.l4, info.pt_base).unwrap().0, start.l4_pfn.get());
        // Every p2m entry names its frame.
        let p2m = frames.read(start.l4, info.mfn_list, 4096 * 8);
        for (pfn, entry) in p2m.chunks(8).enumerate() {
            let mfn = u64::from_le_bytes(entry.try_into().unwrap());
            assert_eq!(mfn, frames.mfn(Pfn::new(pfn as u64)).get());
        }
        // The pages the guest starts with hold nothing old.
        assert_eq!(frames.read(start.l4, start.rsp - 4096, 4096), [0; 4096]);
        assert_eq!(frames.page(start.console.get()), [0; 4096]);
        assert_eq!(frames.page(start.xenstore.get()), [0; 4096]);
    }
}

#[test]
fn page_tables_are_read_only_and_pages_belong_to_the_kernel() {
    for machine in [MachineKind::PvRing1, MachineKind::PvRing3] {
        let mut elf = Elf::kernel();
        elf.note("Paravane", 1, &1u64.to_le_bytes());
        let (frames, start, layout) = built(&elf, &[], machine);
        let first_table = layout.l4().get();
        let tables = first_table..first_table + layout.nr_page_tables;
        for va in (layout.v_start..layout.v_end).step_by(PAGE_SIZE) {
            let (pfn, writable, user) = frames.walk(start.l4, va).unwrap();
            assert_eq!(pfn, (va - layout.v_start) >> 12);
            assert_eq!(writable, !tables.contains(&pfn), "{va:#x}");
            // In ring 3 they are marked as the kernel's when they are checked.
            assert!(!user);
            let table = layout.table_at(Level::L1, va).unwrap().get();
            let entry = frames.word(table, va as usize >> 12 & (ENTRIES - 1));
            assert_eq!(pte::flags(entry).contains(PteFlags::DIRTY), machine == MachineKind::PvRing1);
        }
        assert_eq!(frames.walk(start.l4, layout.v_end), None);
        assert_eq!(frames.walk(start.l4, layout.v_start - PAGE_SIZE as u64), None);
        // One entry in the L4, none of them the hypervisor's.
        let l4 = start.l4_pfn.get();
        let used: Vec<usize> = (0..ENTRIES).filter(|&slot| frames.word(l4, slot) != 0).collect();
        assert_eq!(used, [511]);
    }
}

#[test]
fn a_p2m_and_a_ramdisk_out_of_the_way() {
    let mut elf = Elf::kernel();
    elf.number(XEN_ELFNOTE_INIT_P2M, 0x80_0000_0000).number(XEN_ELFNOTE_MOD_START_PFN, 1);
    let ramdisk = vec![0x5a; 2 * PAGE_SIZE + 1];
    let (frames, start, layout) = built(&elf, &ramdisk, MachineKind::PvRing3);
    let info = StartInfo::read_from_bytes(&frames.read(start.l4, start.rsi, 1168)).unwrap();
    assert_eq!(info.flags, SIF_MOD_START_PFN);
    assert_eq!((info.mod_start, info.mod_len), ((layout.v_end - layout.v_start) >> 12, 12288));
    assert_eq!(frames.page(info.mod_start + 1), [0x5a; 4096]);
    assert_eq!(info.mfn_list, 0x80_0000_0000);
    assert_eq!((info.first_p2m_pfn, info.nr_p2m_frames), (info.mod_start + 3, 8 + 3));
    for page in 0..8 {
        let (pfn, writable, _) = frames.walk(start.l4, info.mfn_list + page * 4096).unwrap();
        // The tables lie behind the contents.
        assert_eq!((pfn, writable), (info.first_p2m_pfn + page, true));
        assert_eq!(frames.word(pfn, 3), frames.mfn(Pfn::new(page * 512 + 3)).get());
    }
    assert_eq!(frames.walk(start.l4, info.mfn_list + 8 * 4096), None);
}

#[test]
fn hypercall_pages_are_xens_and_the_gates() {
    let ring3 = hypercall_page(Policy::Ring3);
    let slot = |page: &[u8; PAGE_SIZE], number: usize| page[number * 32..number * 32 + 16].to_vec();
    // push rcx; push r11; mov eax, 1; syscall; pop r11; pop rcx; ret
    assert_eq!(slot(&ring3, 1), b"\x51\x41\x53\xb8\x01\0\0\0\x0f\x05\x41\x5b\x59\xc3\xcc\xcc");
    // push rcx; push r11; push rax; mov eax, 23; syscall
    assert_eq!(slot(&ring3, 23), b"\x51\x41\x53\x50\xb8\x17\0\0\0\x0f\x05\xcc\xcc\xcc\xcc\xcc");
    let ring1 = hypercall_page(Policy::Ring1);
    // mov eax, 127; int 0x82; ret
    assert_eq!(slot(&ring1, 127), b"\xb8\x7f\0\0\0\xcd\x82\xc3\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc");
    assert_eq!(slot(&ring1, 23)[..11], *b"\x51\x41\x53\x50\xb8\x17\0\0\0\xcd\x82");
}

#[test]
fn the_shared_page_starts_masked_and_with_a_clock() {
    let clock = Clock::new(2_000_000_000, 1234).unwrap();
    let mut vcpus = [TimePublisher::default(); 2];
    let mut wall = TimePublisher::default();
    let page = shared_info(&clock.time_info(1), (1_700_000_000, 5), &mut vcpus, &mut wall);
    let (info, rest) = SharedInfo::read_from_prefix(&page).unwrap();
    assert!(
        info.vcpu_info.iter().all(|vcpu| vcpu.evtchn_upcall_mask == 1 && vcpu.evtchn_upcall_pending == 0)
    );
    assert_eq!(info.vcpu_info[1].time, VcpuTimeInfo { version: 2, ..clock.time_info(1) });
    assert_eq!(info.vcpu_info[2].time, VcpuTimeInfo::default());
    assert_eq!((info.wc_version, info.wc_sec, info.wc_nsec), (2, 1_700_000_000, 5));
    assert!(rest.iter().all(|&byte| byte == 0));
    assert_eq!((vcpus[0].version(), wall.version()), (2, 2));
}

#[test]
fn the_ring_is_the_device_trees_or_the_notes_choice() {
    let plain = Elf::kernel().build();
    let mut elf = Elf::kernel();
    elf.note("Paravane", 1, &1u64.to_le_bytes());
    let able = elf.build();
    let machine = |asked, file: &[u8]| {
        let mut config = DomainConfig::new("g", 16 << 10, 1);
        config.machine = asked;
        Plan::new(config, file, &[]).map(|plan| plan.machine)
    };
    assert_eq!(machine(None, &plain), Ok(MachineKind::PvRing3));
    assert_eq!(machine(None, &able), Ok(MachineKind::PvRing1));
    assert_eq!(machine(Some(MachineKind::PvRing3), &able), Ok(MachineKind::PvRing3));
    assert_eq!(machine(Some(MachineKind::PvRing1), &plain), Err(BuildError::NoRing1(String::from("g"))));
}

fn modules<'a>(files: &[&'a [u8]]) -> Vec<Module<'a>> {
    files.iter().map(|&file| file.into()).collect()
}

#[test]
fn boot_modules_become_plans() {
    let kernel = Elf::kernel().build();
    let mut config = DomainConfig::new("guest", 16 << 10, 2);
    config.ramdisk = Some(1);
    config.cmdline = String::from("console=hvc0");
    let tree = devicetree::write(&[config.clone(), DomainConfig::new("second", 8 << 10, 2)]);
    let file = bundle::write(&[
        Member { name: "tree", data: &tree },
        Member { name: "ramdisk", data: b"initial" },
        Member { name: "kernel", data: &kernel },
    ]);
    let plans = Plan::all(&modules(&[&file])).unwrap();
    assert_eq!(plans.len(), 2);
    assert_eq!((&plans[0].config, plans[0].ramdisk), (&config, &b"initial"[..]));
    assert_eq!((plans[1].config.name.as_str(), plans[1].ramdisk), ("second", &b""[..]));
    // The same, each module by itself.
    assert_eq!(
        Plan::all(&modules(&[&tree, b"initial", &kernel])).unwrap()[0].arrangement,
        plans[0].arrangement
    );
    let mut alone = modules(&[&tree, b"initial", &kernel]);
    alone[2].command_line = "quiet";
    let plans = Plan::all(&alone).unwrap();
    assert_eq!(
        (plans[0].config.cmdline.as_str(), plans[1].config.cmdline.as_str()),
        ("console=hvc0", "quiet")
    );
    assert_eq!(Plan::all(&modules(&[])).unwrap_err(), BuildError::NoModules);
    assert!(matches!(Plan::all(&modules(&[&kernel])), Err(BuildError::Config(_))));
    assert!(matches!(Plan::all(&modules(&[&file[..200]])), Err(BuildError::Bundle(_))));
    assert!(matches!(
        Plan::all(&modules(&[&tree, b"", b"kernel"])),
        Err(BuildError::Kernel(_, ElfError::NotElf64))
    ));
    let small = devicetree::write(&[DomainConfig::new("small", 512, 1)]);
    let error = Plan::all(&modules(&[&small, &kernel])).unwrap_err();
    assert!(matches!(error, BuildError::Layout(_, LayoutError::Memory { have: 128, .. })));
    assert!(std::format!("{error}").starts_with("domain `small`: the domain has 128 pages"));
}

#[test]
fn notes_have_xens_defaults() {
    let mut elf = Elf::empty();
    elf.entry = 0x20_0010;
    elf.text(XEN_ELFNOTE_XEN_VERSION, "xen-3.0").text(XEN_ELFNOTE_GUEST_OS, "linux");
    elf.text(XEN_ELFNOTE_FEATURES, "!writable_page_tables|pae_pgdir_above_4gb|new_things");
    elf.note("GNU", 1, b"noise").load(0x20_0000, vec![1; 100], 100);
    let file = elf.build();
    let notes = KernelImage::parse(&file).unwrap().notes;
    assert_eq!(
        notes,
        KernelNotes {
            entry: 0x20_0010,
            guest_os: String::from("linux"),
            virt_start: 0x20_0000,
            virt_end: 0x20_0064,
            ..KernelNotes::default()
        }
    );
    assert!(!notes.can_ring1());
}

#[test]
fn physical_addresses_count_from_their_offset() {
    let mut elf = Elf::kernel();
    // As kernels are linked whose physical addresses equal their virtual ones.
    elf.segments.iter_mut().for_each(|segment| segment.1 += BASE);
    elf.number(XEN_ELFNOTE_PADDR_OFFSET, BASE);
    let file = elf.build();
    let image = KernelImage::parse(&file).unwrap();
    assert_eq!((image.notes.virt_start, image.segments[1].va), (BASE + 0x10_0000, BASE + 0x10_3ffe));
    elf.number(XEN_ELFNOTE_PADDR_OFFSET, BASE + 0x20_0000);
    assert_eq!(elf.error(), ElfError::Address("the image begins below PADDR_OFFSET"));
}

#[test]
fn kernels_with_wrong_notes_are_refused() {
    let error = |change: fn(&mut Elf)| {
        let mut elf = Elf::kernel();
        change(&mut elf);
        elf.error()
    };
    assert_eq!(error(|elf| elf.notes.clear()), ElfError::NoNotes);
    assert_eq!(error(|elf| drop(elf.notes.splice(..4, [0xff; 4]))), ElfError::NoNotes);
    assert_eq!(
        error(|elf| _ = elf.text(XEN_ELFNOTE_XEN_VERSION, "xen-2.0")),
        ElfError::Version(String::from("xen-2.0"))
    );
    assert_eq!(error(|elf| _ = elf.text(XEN_ELFNOTE_LOADER, "grub")), ElfError::Loader(String::from("grub")));
    assert_eq!(
        error(|elf| _ = elf.text(XEN_ELFNOTE_FEATURES, "dom0|!time_travel")),
        ElfError::Feature(String::from("time_travel"))
    );
    assert_eq!(
        error(|elf| _ = elf.note("Xen", XEN_ELFNOTE_ENTRY, b"odd")),
        ElfError::Note(XEN_ELFNOTE_ENTRY)
    );
    assert_eq!(
        error(|elf| _ = elf.note("Xen", XEN_ELFNOTE_LOADER, b"\xff\xfe\0")),
        ElfError::Note(XEN_ELFNOTE_LOADER)
    );
    let outside = ElfError::Address("the entry point lies outside the image");
    for entry in [0, BASE, BASE + 0xf_ffff, BASE + 0x11_3fff, u64::MAX] {
        let mut elf = Elf::kernel();
        elf.number(XEN_ELFNOTE_ENTRY, entry);
        assert_eq!(elf.error(), outside, "{entry:#x}");
    }
    assert_eq!(
        error(|elf| _ = elf.number(XEN_ELFNOTE_INIT_P2M, BASE + 0x10_1000)),
        ElfError::Address("INIT_P2M lies inside the image")
    );
    assert_eq!(
        error(|elf| _ = elf.number(XEN_ELFNOTE_VIRT_BASE, u64::MAX - 0xf_ffff)),
        ElfError::Address("the image lies outside the address space")
    );
    let mut elf = Elf::empty();
    elf.text(XEN_ELFNOTE_XEN_VERSION, "xen-3.0").text(XEN_ELFNOTE_LOADER, "generic");
    elf.number(XEN_ELFNOTE_PADDR_OFFSET, 0).load(0, vec![0; 8], 8);
    assert_eq!(elf.error(), ElfError::Address("PADDR_OFFSET without VIRT_BASE"));
}

#[test]
fn kernels_with_wrong_headers_are_refused() {
    let with = |at: usize, bytes: &[u8]| {
        let mut file = Elf::kernel().build();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        KernelImage::parse(&file).unwrap_err()
    };
    assert_eq!(with(0, b"\x7fELG"), ElfError::NotElf64);
    assert_eq!(with(4, &[1]), ElfError::NotElf64);
    assert_eq!(with(5, &[2]), ElfError::NotElf64);
    assert_eq!(with(18, &[3]), ElfError::Machine(3));
    assert_eq!(with(54, &[57]), ElfError::Headers);
    assert_eq!(with(56, &[0xff, 0x7f]), ElfError::Headers);
    assert_eq!(with(56, &[0, 0]), ElfError::NoNotes);
    let first = 64;
    assert_eq!(with(first + 8, &[0xff; 8]), ElfError::Segment(0));
    assert_eq!(with(first + 24, &[0xff; 8]), ElfError::Segment(0));
    assert_eq!(with(first + 32, &u64::MAX.to_le_bytes()), ElfError::Segment(0));
    assert_eq!(with(first + 40, &10u64.to_le_bytes()), ElfError::Segment(0));
    let mut elf = Elf::kernel();
    elf.segments.clear();
    assert_eq!(elf.error(), ElfError::Segments(0));
    let mut elf = Elf::kernel();
    for _ in 0..3 {
        elf.load(0x10_0000, vec![0; 0x100], 0x1_4000);
    }
    assert_eq!(elf.error(), ElfError::Overlap);
    elf.segments = vec![(1, 0x10_0000, vec![0; 100], 100); 65];
    assert!(matches!(elf.error(), ElfError::Segments(_)));
}

#[test]
fn notes_in_a_section_will_do() {
    let mut file = Elf::kernel().build();
    // Turn the PT_NOTE segment into PT_NULL, and describe the same bytes by a section (SHT_NOTE is 7).
    let program = 64 + 56 * 2;
    let (offset, size) =
        (file[program + 8..program + 16].to_vec(), file[program + 32..program + 40].to_vec());
    file[program] = 0;
    assert_eq!(KernelImage::parse(&file), Err(ElfError::NoNotes));
    let section_at = file.len() as u64;
    file[40..48].copy_from_slice(&section_at.to_le_bytes());
    file[58..62].copy_from_slice(&[64, 0, 2, 0]);
    file.extend([0; 128]);
    let section = section_at as usize + 64;
    file[section + 4] = 7;
    file[section + 24..section + 32].copy_from_slice(&offset);
    file[section + 32..section + 40].copy_from_slice(&size);
    assert_eq!(KernelImage::parse(&file).unwrap().notes.virt_base, BASE);
}

/// xorshift64*: small, and the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    /// Damages some bytes, with a liking for the values that make arithmetic overflow. `spots` are offsets worth
    /// hitting.
    fn damage(&mut self, file: &mut Vec<u8>, spots: usize) {
        for _ in 0..=self.roll(4) {
            let at = if self.roll(4) == 0 { self.roll(file.len()) } else { self.roll(spots) };
            let value = match self.roll(5) {
                0 => 0,
                1 => 0xff,
                2 => 0x80,
                3 => file[at].wrapping_add(1),
                _ => self.roll(256) as u8,
            };
            let run = [1, 1, 4, 8][self.roll(4)];
            let end = (at + run).min(file.len());
            file[at..end].fill(value);
        }
        if self.roll(16) == 0 {
            file.truncate(self.roll(file.len()));
        }
    }
}

#[test]
fn damaged_kernels_are_refused_or_built_but_never_trusted() {
    let mut elf = Elf::kernel();
    elf.note("Paravane", 1, &1u64.to_le_bytes()).number(XEN_ELFNOTE_INIT_P2M, 0x80_0000_0000);
    elf.segments[0].2.truncate(64);
    let good = elf.build();
    let notes_end = good.len();
    let mut dice = Dice(0x5eed);
    let (mut refused, mut built) = (0, 0);
    for _ in 0..20_000 {
        let mut file = good.clone();
        dice.damage(&mut file, notes_end);
        match Plan::new(DomainConfig::new("g", 16 << 10, 1), &file, &[0; 5000]) {
            Ok(plan) => {
                built += 1;
                // Every access is checked against the domain's frames by `Frames`.
                if built % 40 == 0 {
                    let mut frames = Frames::new(4096);
                    let start = plan.populate(Mfn::new(1), RingPorts { store: 1, console: 2 }, &mut frames);
                    let (pfn, ..) = frames.walk(start.pv().unwrap().l4, start.pv().unwrap().rsp - 8).unwrap();
                    assert!(pfn < 4096);
                }
            }
            Err(error) => {
                refused += 1;
                assert!(!std::format!("{error}").is_empty());
            }
        }
    }
    assert!(refused > 2_000 && built > 2_000, "{refused} refused, {built} built");
}

#[test]
fn damaged_bundles_and_trees_are_refused_or_read() {
    let mut config = DomainConfig::new("guest", 16 << 10, 1);
    config.cmdline = String::from("console=hvc0");
    let tree = devicetree::write(&[config]);
    let kernel = Elf::kernel().build();
    let good = bundle::write(&[Member { name: "tree", data: &tree }, Member { name: "k", data: &kernel }]);
    let spots = 110 + 8 + tree.len() + 120;
    let mut dice = Dice(0xf00d);
    let (mut refused, mut read) = (0, 0);
    for _ in 0..20_000 {
        let mut file = good.clone();
        dice.damage(&mut file, spots);
        match Plan::all(&modules(&[&file])) {
            Ok(plans) => {
                read += 1;
                assert!(!plans.is_empty());
            }
            Err(error) => {
                refused += 1;
                assert!(!std::format!("{error}").is_empty());
            }
        }
    }
    assert!(refused > 2_000 && read > 200, "{refused} refused, {read} read");
}
