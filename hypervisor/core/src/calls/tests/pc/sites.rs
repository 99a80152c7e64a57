//! A kernel that lists its sensitive instructions: what is replaced, and what it can do with that.

use super::*;
use paravane_abi::ring1::{NOTE_TYPE_SENSITIVE_SITES, SensitiveSite};
use std::vec;
use zerocopy::IntoBytes;

/// The image: pages that are mapped where they lie.
const IMAGE: u64 = 0x10_0000;
const LIST: u64 = IMAGE + 0x2000;
const END: u64 = IMAGE + 0x8000;
const POPF: u8 = 0x9d;
const PUSHF: u8 = 0x9c;
const HLT: u8 = 0xf4;
const INT3: u8 = 0xcc;
/// `lar ebx, ecx`, on two pages.
const LAR: [u8; 3] = [0x0f, 0x02, 0xd9];
const ACROSS: u64 = IMAGE + 0xffe;

/// A kernel with `code` at its addresses and a list of sites.
fn kernel(code: &[(u64, &[u8])], sites: &[(u64, u8)]) -> Elf {
    let list: Vec<u8> = sites
        .iter()
        .flat_map(|&(address, length)| {
            SensitiveSite { address, length, reserved: [0xee; 7] }.as_bytes().to_vec()
        })
        .collect();
    let end = LIST + list.len() as u64;
    let mut image = vec![0x90; (END - IMAGE) as usize];
    for (address, bytes) in code.iter().copied().chain([(LIST, list.as_slice())]) {
        image[(address - IMAGE) as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    let mut elf = Elf::small_kernel(0);
    elf.load(IMAGE, image, END - IMAGE);
    elf.note("Paravane", NOTE_TYPE_SENSITIVE_SITES, &[LIST.to_le_bytes(), end.to_le_bytes()].concat());
    elf
}

impl PcWorld {
    /// The image, byte by byte.
    fn image(&self) -> Vec<u8> {
        (IMAGE..END).step_by(8).flat_map(|address| self.word(address).to_le_bytes()).collect()
    }

    fn run(&mut self, rip: u64) -> Next {
        self.regs.rip = rip;
        self.fault(PROTECTION, 0, 0)
    }
}

/// Where two images differ: offset, before, after.
fn differences(before: &[u8], after: &[u8]) -> Vec<(usize, u8, u8)> {
    let bytes = before.iter().zip(after).enumerate();
    bytes.filter(|(_, (old, new))| old != new).map(|(at, (old, new))| (at, *old, *new)).collect()
}

#[test]
fn nothing_is_patched_unless_it_is_asked_for() {
    let image = || kernel(&[(ENTRY, &[POPF])], &[(ENTRY, 1)]);
    let (plain, patched) = (PcWorld::of(image(), false), PcWorld::of(image(), true));
    assert_eq!(plain.word(ENTRY) as u8, POPF);
    assert_eq!(differences(&plain.image(), &patched.image()), [((ENTRY - IMAGE) as usize, POPF, HLT)]);
    assert!(patched.hv.recount().is_empty());
}

/// A site may lie anywhere in the image, the last byte and a page's end too, and nothing outside changes, whatever the list
/// says: it names the same bytes twice, the middle of another, what is no instruction of that kind, itself, and nothing.
#[test]
fn sites_are_in_the_image_and_apart() {
    let code: [(u64, &[u8]); 4] = [(ACROSS, &LAR), (END - 1, &[PUSHF]), (IMAGE, &[POPF]), (ENTRY, &[0xfa])];
    let listed = [(ACROSS, 3), (END - 1, 1), (IMAGE, 1)];
    let bad = [
        (ACROSS, 3),
        (ACROSS + 1, 2),
        (IMAGE, 1),
        (ENTRY, 1),
        (ENTRY, 0),
        (ENTRY, 16),
        (ENTRY, 255),
        (END - 1, 2),
        (END, 1),
        (END - 1, 15),
        (IMAGE - 1, 2),
        (LIST, 1),
        (0x4000, 1),
        (1 << 47, 1),
        (u64::MAX, 1),
        (u64::MAX, 2),
    ];
    let sites = [&listed[..], &bad[..]].concat();
    let image = || kernel(&code, &sites);
    let (plain, patched) = (PcWorld::of(image(), false), PcWorld::of(image(), true));
    let at = |address: u64| (address - IMAGE) as usize;
    assert_eq!(
        differences(&plain.image(), &patched.image()),
        [
            (at(IMAGE), POPF, HLT),
            (at(ACROSS), LAR[0], HLT),
            (at(ACROSS + 1), LAR[1], INT3),
            (at(ACROSS + 2), LAR[2], INT3),
            (at(END - 1), PUSHF, HLT),
        ]
    );
    // Not next to it either.
    for address in [IMAGE - 8, END, 0x4000] {
        assert_eq!(plain.word(address), patched.word(address), "{address:#x}");
    }
    assert!(patched.hv.recount().is_empty());
}

/// More than one bounded step looks at.
#[test]
fn long_lists_are_worked_through() {
    let code = vec![POPF; 500];
    let sites: Vec<(u64, u8)> = (0..500).map(|n| (IMAGE + n, 1)).collect();
    let world = PcWorld::of(kernel(&[(IMAGE, &code)], &sites), true);
    assert!(world.image()[..500].iter().all(|&byte| byte == HLT));
}

/// `popf` and `pushf` on virtual flags, where the real ones would not have moved. The kernel's `hlt` elsewhere is one.
#[test]
fn a_patched_site_does_what_was_meant() {
    let mut world = PcWorld::of(kernel(&[(IMAGE, &[POPF, PUSHF])], &[(IMAGE, 1), (IMAGE + 1, 1)]), true);
    for flags in [flag::ONE | flag::IF, flag::ONE | 3 << flag::IOPL_SHIFT] {
        world.put(STACK, &flags.to_le_bytes());
        world.regs.rsp = STACK;
        assert_eq!(world.run(IMAGE), Next::Guest);
        assert_eq!((world.regs.rip, world.regs.rsp), (IMAGE + 1, STACK + 8));
        assert_eq!(world.regs.rflags & (flag::IF | flag::IOPL), flag::IF, "the real ones stay");
        assert_eq!(world.run(IMAGE + 1), Next::Guest);
        assert_eq!((world.regs.rsp, world.word(STACK)), (STACK, flags));
    }
}

/// What the guest writes over a site is what it executes from then on.
#[test]
fn a_site_that_is_written_over_is_no_site() {
    let mut world = PcWorld::of(kernel(&[(ACROSS, &LAR)], &[(ACROSS, 3)]), true);
    // `hlt` with something else behind it waits; with interrupts off, for good.
    world.put(ACROSS + 2, &[0x90]);
    assert_ne!(world.run(ACROSS), Next::Guest);
    let mut world = PcWorld::of(kernel(&[(IMAGE, &[POPF])], &[(IMAGE, 1)]), true);
    // cli
    world.put(IMAGE, &[0xfa]);
    world.regs.rsp = STACK;
    assert_eq!(world.run(IMAGE), Next::Guest);
    assert_eq!((world.regs.rip, world.regs.rsp), (IMAGE + 1, STACK));
}
