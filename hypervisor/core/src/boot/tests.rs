//! Both protocols read from memory made by hand, damaged memory included.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use paravane_abi::pvh::{HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo, XEN_HVM_START_MAGIC_VALUE};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::memory_map::{Entry, FRAME_SIZE, MemoryMap, Range, usable};
use super::multiboot2::LOADER_MAGIC;
use super::*;

/// Memory with something in some places, and nothing readable elsewhere.
struct Fake(Vec<(u64, Vec<u8>)>);

impl<'a> Physical<'a> for &'a Fake {
    fn bytes(&self, start: u64, length: u64) -> Option<&'a [u8]> {
        if length == 0 {
            return Some(&[]);
        }
        self.0.iter().find_map(|(at, bytes)| {
            let from = usize::try_from(start.checked_sub(*at)?).ok()?;
            bytes.get(from..from.checked_add(usize::try_from(length).ok()?)?)
        })
    }
}

const INFO: u64 = 0x9500;
const MODULE: u64 = 0x20_0000;

/// Multiboot2 information from tags.
fn information(tags: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    for (kind, body) in tags.iter().chain([&(0, Vec::new())]) {
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&(8 + body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let size = bytes.len() as u32;
    bytes[..4].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn map_tag(entries: &[(u64, u64, u32)]) -> (u32, Vec<u8>) {
    let mut body = [24u32.to_le_bytes(), 0u32.to_le_bytes()].concat();
    for (start, size, kind) in entries {
        body.extend_from_slice(&start.to_le_bytes());
        body.extend_from_slice(&size.to_le_bytes());
        body.extend_from_slice(&u64::from(*kind).to_le_bytes());
    }
    (6, body)
}

fn module_tag(start: u64, end: u64, line: &str) -> (u32, Vec<u8>) {
    let mut body = [(start as u32).to_le_bytes(), (end as u32).to_le_bytes()].concat();
    body.extend_from_slice(line.as_bytes());
    body.push(0);
    (3, body)
}

/// What GRUB gives, in the order it gives it.
fn sample() -> Vec<(u32, Vec<u8>)> {
    vec![
        (1, b"console=com1 loglvl=all\0".to_vec()),
        (2, b"GRUB 2.06\0".to_vec()),
        module_tag(MODULE, MODULE + 4, ""),
        module_tag(MODULE + 0x1000, MODULE + 0x1006, "console=hvc0"),
        map_tag(&[
            (0, 0x9_fc00, 1),
            (0x9_fc00, 0x400, 2),
            (0x10_0000, 0x1000_0000, 1),
            (0xfec0_0000, 0x1000, 2),
        ]),
        (9, vec![0; 12]),
        (14, vec![1; 20]),
        (15, vec![2; 36]),
    ]
}

fn memory(tags: &[(u32, Vec<u8>)]) -> Fake {
    let mut module = vec![0; 0x2000];
    module[..4].copy_from_slice(b"tree");
    module[0x1000..0x1006].copy_from_slice(b"kernel");
    Fake(vec![(INFO, information(tags)), (MODULE, module)])
}

#[test]
fn grubs_tags_are_read() {
    let tags = sample();
    let memory = memory(&tags);
    let info = BootInfo::read(&&memory, LOADER_MAGIC, INFO).unwrap();
    assert_eq!(info.protocol, Protocol::Multiboot2);
    assert_eq!((info.command_line, info.loader), ("console=com1 loglvl=all", "GRUB 2.06"));
    assert_eq!(info.modules.len(), 2);
    assert_eq!(info.modules[0], Module::from(&b"tree"[..]));
    assert_eq!(info.modules[1], Module { data: b"kernel", command_line: "console=hvc0" });
    assert_eq!(info.ram, [Range { start: 0, end: 0x9_f000 }, Range { start: 0x10_0000, end: 0x1010_0000 }]);
    // The newer root pointer wins, and it stands where the tag is.
    let rsdp = info.rsdp.unwrap();
    assert_eq!((&&memory).bytes(rsdp, 36), Some(&[2; 36][..]));
    assert!(info.reserved.contains(&Range::covering(INFO, information(&tags).len() as u64)));
    for module in [MODULE, MODULE + 0x1000] {
        assert!(info.reserved.contains(&Range { start: module, end: module + 0x1000 }));
    }
}

#[test]
fn information_at_address_0_is_information() {
    // Where GRUB puts it under UEFI, when the first frame is free.
    let memory = Fake(vec![(0, information(&[map_tag(&[(0, 1 << 20, 1)]), (15, vec![2; 36])]))]);
    let info = BootInfo::read(&&memory, LOADER_MAGIC, 0).unwrap();
    assert_eq!(info.ram, [Range { start: 0, end: 1 << 20 }]);
    assert_eq!((&&memory).bytes(info.rsdp.unwrap(), 36), Some(&[2; 36][..]));
    assert_eq!(MemoryMap::new(info.ram, &info.reserved).start_up_frame(), Some(0x1000));
}

#[test]
fn the_newer_root_pointer_wins_in_either_order() {
    let mut tags = sample();
    tags.swap(6, 7);
    let memory = memory(&tags);
    let info = BootInfo::read(&&memory, LOADER_MAGIC, INFO).unwrap();
    assert_eq!((&&memory).bytes(info.rsdp.unwrap(), 1), Some(&[2][..]));
}

#[test]
fn what_tags_cannot_say_is_refused() {
    let refused = |tags: &[(u32, Vec<u8>)]| {
        let memory = memory(tags);
        BootInfo::read(&&memory, LOADER_MAGIC, INFO).unwrap_err()
    };
    assert_eq!(refused(&[]), BootError::NoMemory);
    assert_eq!(refused(&[map_tag(&[(0, 1 << 30, 2)])]), BootError::NoMemory);
    assert_eq!(refused(&[(6, vec![])]), BootError::Tag(8));
    assert_eq!(refused(&[(6, vec![16, 0, 0, 0, 0, 0, 0, 0])]), BootError::Tag(8));
    assert_eq!(refused(&[(3, vec![0; 7])]), BootError::Tag(8));
    assert_eq!(refused(&[module_tag(8, 4, "")]), BootError::Tag(8));
    assert_eq!(refused(&[module_tag(4, 8, "")]), BootError::Unreadable(4, 4));
    assert_eq!(refused(&[(15, vec![0; 35])]), BootError::Tag(8));
    assert_eq!(refused(&[(14, vec![0; 19])]), BootError::Tag(8));
    let many = vec![module_tag(MODULE, MODULE, ""); MODULES_MAX + 1];
    assert_eq!(refused(&many), BootError::TooManyModules);
    assert_eq!(refused(&[map_tag(&vec![(0, 4096, 1); MEMORY_ENTRIES_MAX + 1])]), BootError::TooManyRanges);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let read = |total: u32, tag_size: u32| {
        let mut bytes = information(&sample());
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[12..16].copy_from_slice(&tag_size.to_le_bytes());
        let memory = Fake(vec![(INFO, bytes)]);
        BootInfo::read(&&memory, LOADER_MAGIC, INFO).unwrap_err()
    };
    for total in [0, 7, (1 << 20) + 1, u32::MAX] {
        assert_eq!(read(total, 32), BootError::TotalSize(total));
    }
    assert_eq!(read(0x8_0000, 32), BootError::Unreadable(INFO, 0x8_0000));
    let whole = information(&sample()).len() as u32;
    for tag_size in [0, 7, whole - 7, u32::MAX] {
        assert_eq!(read(whole, tag_size), BootError::Tag(8));
    }
}

#[test]
fn every_truncation_is_an_error_or_lacks_the_end_alone() {
    let whole = information(&sample());
    for size in 0..whole.len() - 8 {
        let mut bytes = whole[..size].to_vec();
        if let Some(total) = bytes.first_chunk_mut() {
            *total = (size as u32).to_le_bytes();
        }
        let memory = Fake(vec![(INFO, bytes), (MODULE, vec![0; 0x2000])]);
        let got = BootInfo::read(&&memory, LOADER_MAGIC, INFO);
        // A cut between two tags, after the memory map, leaves a shorter list that is whole.
        assert!(got.is_err() || got.unwrap().ram.len() == 2, "cut to {size} bytes");
    }
}

/// PVH's structures, one after the other, and the same modules.
fn start_info() -> Fake {
    const AT: u64 = 0x1000;
    let modules = [
        HvmModlistEntry { paddr: MODULE, size: 4, ..Default::default() },
        HvmModlistEntry { paddr: MODULE + 0x1000, size: 6, cmdline_paddr: 0x3000, ..Default::default() },
    ];
    let map = [
        HvmMemmapTableEntry { addr: 0, size: 0x9_fc00, kind: 1, reserved: 0 },
        HvmMemmapTableEntry { addr: 0x10_0000, size: 0x100_0000, kind: 1, reserved: 0 },
        HvmMemmapTableEntry { addr: 0xfec0_0000, size: 0x1000, kind: 2, reserved: 0 },
    ];
    let info = HvmStartInfo {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        nr_modules: 2,
        modlist_paddr: AT + 0x100,
        cmdline_paddr: 0x2ff0,
        rsdp_paddr: 0xf_5a00,
        memmap_paddr: AT + 0x200,
        memmap_entries: 3,
        ..Default::default()
    };
    let mut page = vec![0; 0x1000];
    page[..56].copy_from_slice(info.as_bytes());
    page[0x100..0x140].copy_from_slice(modules.as_bytes());
    page[0x200..0x248].copy_from_slice(map.as_bytes());
    let mut module = vec![0; 0x2000];
    module[..4].copy_from_slice(b"tree");
    module[0x1000..0x1006].copy_from_slice(b"kernel");
    // The command line ends a few bytes below what can be read.
    let lines = (0x2ff0, b"console=com1\0\0\0\0console=hvc0\0\0\0\0".to_vec());
    Fake(vec![(AT, page), lines, (MODULE, module)])
}

#[test]
fn start_info_gives_the_same() {
    let memory = start_info();
    let info = BootInfo::read(&&memory, 0, 0x1000).unwrap();
    assert_eq!((info.protocol, info.command_line, info.loader), (Protocol::Pvh, "console=com1", ""));
    assert_eq!(info.modules[0], Module::from(&b"tree"[..]));
    assert_eq!(info.modules[1], Module { data: b"kernel", command_line: "console=hvc0" });
    assert_eq!(info.ram, [Range { start: 0, end: 0x9_f000 }, Range { start: 0x10_0000, end: 0x110_0000 }]);
    assert_eq!(info.rsdp, Some(0xf_5a00));
    for kept in [0x1000, 0x2000, MODULE, MODULE + 0x1000] {
        assert!(info.reserved.iter().any(|range| (range.start..range.end).contains(&kept)), "{kept:#x}");
    }
}

#[test]
fn start_info_that_cannot_be_is_refused() {
    let refused = |at: usize, bytes: &[u8]| {
        let mut memory = start_info();
        memory.0[0].1[at..at + bytes.len()].copy_from_slice(bytes);
        BootInfo::read(&&memory, 0, 0x1000).unwrap_err()
    };
    assert_eq!(refused(0, &[0; 4]), BootError::Magic(0));
    assert_eq!(refused(4, &[0; 4]), BootError::Version(0));
    assert_eq!(refused(12, &u32::MAX.to_le_bytes()), BootError::TooManyModules);
    assert_eq!(refused(16, &[0; 8]), BootError::Unreadable(0, 64));
    assert_eq!(refused(24, &7u64.to_le_bytes()), BootError::Unreadable(7, 1));
    assert_eq!(refused(40, &[0; 8]), BootError::NoMemory);
    assert_eq!(refused(48, &u32::MAX.to_le_bytes()), BootError::TooManyRanges);
    assert_eq!(refused(0x108, &u64::MAX.to_le_bytes()), BootError::Unreadable(MODULE, u64::MAX));
    let mut memory = start_info();
    memory.0.push((0, vec![0; 0x1000]));
    memory.0[0].1[16..24].fill(0);
    assert_eq!(BootInfo::read(&&memory, 0, 0x1000), Err(BootError::Unreadable(0, 64)));
    let memory = Fake(vec![]);
    assert_eq!(BootInfo::read(&&memory, 0, 0x1000), Err(BootError::Unreadable(0x1000, 56)));
    assert_eq!(BootInfo::read(&&memory, LOADER_MAGIC, 0x1000), Err(BootError::Unreadable(0x1000, 4)));
    assert!(format!("{}", BootError::Magic(5)).contains("0x5"));
}

#[test]
fn ram_is_what_no_entry_contradicts() {
    let ram = |start, size| Entry { start, size, ram: true };
    let other = |start, size| Entry { start, size, ram: false };
    let got = |entries: &[Entry]| usable(entries.iter().copied());
    assert_eq!(got(&[ram(0x3000, 0x1000), ram(0x1000, 0x2000)]), [Range { start: 0x1000, end: 0x4000 }]);
    // Half a frame of RAM is no frame; a byte of something else takes a whole one.
    assert_eq!(got(&[ram(0x1001, 0x2fff)]), [Range { start: 0x2000, end: 0x4000 }]);
    assert_eq!(
        got(&[other(0x3fff, 2), ram(0x1000, 0x7000), other(0x1000, 0)]),
        [Range { start: 0x1000, end: 0x3000 }, Range { start: 0x5000, end: 0x8000 }]
    );
    assert_eq!(got(&[ram(0x1000, 0x1000), other(0, u64::MAX)]), []);
    assert_eq!(got(&[ram(u64::MAX - 0xfff, u64::MAX)]), []);
}

#[test]
fn the_start_up_frame_holds_nothing_of_the_loaders() {
    let low = Range { start: 0, end: 0x9_f000 };
    let map = |reserved: &[Range]| MemoryMap::new(vec![low], reserved).start_up_frame();
    assert_eq!(map(&[]), Some(0x1000));
    assert_eq!(map(&[Range { start: 0x1000, end: 0x2001 }]), Some(0x3000));
    assert_eq!(map(&[low]), None);
    assert_eq!(
        MemoryMap::new(vec![Range { start: 0x9_f000, end: 1 << 30 }], &[]).start_up_frame(),
        Some(0x9_f000)
    );
    assert_eq!(MemoryMap::new(vec![Range { start: 0xa_0000, end: 1 << 30 }], &[]).start_up_frame(), None);
}

#[test]
fn the_first_mib_has_no_owner() {
    let ram = vec![Range { start: 0, end: 0x9_f000 }, Range { start: 0xc_0000, end: 0x20_0000 }];
    let map = MemoryMap::new(ram, &[]);
    assert_eq!(map.ownable().collect::<Vec<_>>(), [Range { start: 0x10_0000, end: 0x20_0000 }]);
}

#[test]
fn what_is_allocated_is_free_ram_and_then_taken() {
    let ram = vec![Range { start: 0x10_0000, end: 0x80_0000 }, Range { start: 1 << 32, end: 1 << 33 }];
    let module = Range { start: 0x40_0000, end: 0x50_0000 };
    let mut map = MemoryMap::new(ram, &[module]);
    assert_eq!(map.allocate(0x20_0000, 0x20_0000), Some(0x60_0000));
    assert_eq!(map.allocate(0x1000, 0x1000), Some(0x5f_f000));
    assert_eq!(map.allocate(0x20_0000, 0x20_0000), Some(0x20_0000));
    // Above 4 GiB there is plenty, which the boot page tables do not reach.
    assert_eq!(map.allocate(0x20_0000, 0x20_0000), None);
    for kept in [0, 0x20_0000, 0x4f_ffff, 0x5f_f000, 0x60_0000] {
        assert!(map.taken().iter().any(|range| (range.start..range.end).contains(&kept)), "{kept:#x}");
    }
    assert!(!map.taken().iter().any(|range| (range.start..range.end).contains(&0x5f_efff)));
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(0x6d62_3201), ..ProptestConfig::with_cases(3000) })]

    /// Bytes changed anywhere in the information: an answer, whose modules are readable and whose RAM is in order.
    #[test]
    fn damaged_information_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut memory = memory(&sample());
        let bytes = &mut memory.0[0].1;
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(info) = BootInfo::read(&&memory, LOADER_MAGIC, INFO) {
            prop_assert!(in_order(&info.ram));
            prop_assert!(info.modules.len() <= MODULES_MAX);
        }
    }

    /// Tags of any kind, size and content.
    #[test]
    fn any_tags_are_survived(
        tags in prop::collection::vec((0u32..24, prop::collection::vec(any::<u8>(), 0..80)), 0..20),
    ) {
        let memory = memory(&tags);
        if let Ok(info) = BootInfo::read(&&memory, LOADER_MAGIC, INFO) {
            prop_assert!(in_order(&info.ram));
        }
    }

    /// Start info with anything in its words.
    #[test]
    fn damaged_start_info_is_survived(
        changes in prop::collection::vec((0usize..0x250, any::<u8>()), 1..12),
    ) {
        let mut memory = start_info();
        for (at, value) in changes {
            memory.0[0].1[at] = value;
        }
        if let Ok(info) = BootInfo::read(&&memory, 0, 0x1000) {
            prop_assert!(in_order(&info.ram));
        }
    }

    /// The reduced map against one frame at a time.
    #[test]
    fn a_frame_is_ram_if_some_entry_says_so_and_none_denies_it(
        entries in prop::collection::vec((0u64..0x2_0000, 0u64..0x8000, any::<bool>()), 0..12),
    ) {
        let entries: Vec<_> = entries.into_iter().map(|(start, size, ram)| Entry { start, size, ram }).collect();
        let got = usable(entries.iter().copied());
        prop_assert!(in_order(&got));
        for frame in (0..0x3_0000).step_by(FRAME_SIZE as usize) {
            let denied = entries.iter().any(|e| {
                !e.ram && e.size > 0 && e.start < frame + FRAME_SIZE && frame < e.start + e.size
            });
            // Parts of a frame that several entries give do not add up to one.
            let whole = entries.iter().any(|e| e.ram && e.start <= frame && frame + FRAME_SIZE <= e.start + e.size);
            let here = got.iter().any(|range| (range.start..range.end).contains(&frame));
            prop_assert_eq!(here, whole && !denied, "frame {:#x}", frame);
        }
    }
}

fn in_order(ram: &[Range]) -> bool {
    ram.iter()
        .all(|range| range.start < range.end && range.start % FRAME_SIZE == 0 && range.end % FRAME_SIZE == 0)
        && ram.windows(2).all(|pair| pair[0].end < pair[1].start)
}
