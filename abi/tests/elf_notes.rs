//! The notes that `elf_notes!` emits, read back from this test's own executable.

use paravane_abi::elfnote::{
    Notes, XEN_ELFNOTE_ENTRY, XEN_ELFNOTE_LOADER, XEN_ELFNOTE_VIRT_BASE, XEN_ELFNOTE_XEN_VERSION,
};
use paravane_abi::ring1;

extern "C" fn start() -> ! {
    panic!("never called: only its address is noted");
}

paravane_abi::elf_notes! {
    XEN_VERSION = string("xen-3.0");
    LOADER = string("generic");
    ENTRY = address::<extern "C" fn() -> !>(start);
    VIRT_BASE = number(0xffff_ffff_8000_0000);
    modes(ring1::MODE_PV_RING1);
}

/// A little-endian number of `len` bytes at `at`.
fn number(file: &[u8], at: usize, len: usize) -> usize {
    file[at..at + len].iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte))
}

/// Type and bytes of every section of this name (ELF-64: section headers of 64 bytes; name 0, type 4, offset 24, size 32).
fn sections<'a>(file: &'a [u8], name: &str) -> Vec<(usize, &'a [u8])> {
    let (table, count, names) = (number(file, 40, 8), number(file, 60, 2), number(file, 62, 2));
    let field = |section: usize, at: usize, len: usize| number(file, table + section * 64 + at, len);
    let names = &file[field(names, 24, 8)..];
    (0..count)
        .filter(|&section| names[field(section, 0, 4)..].starts_with(format!("{name}\0").as_bytes()))
        .map(|section| (field(section, 4, 4), &file[field(section, 24, 8)..][..field(section, 32, 8)]))
        .collect()
}

#[test]
fn the_executable_has_the_notes() {
    const SHT_NOTE: usize = 7;
    let file = std::fs::read(std::env::current_exe().expect("this test is a file")).expect("and readable");
    let sections = sections(&file, ".note.Xen");
    assert!(!sections.is_empty(), "no section .note.Xen");
    assert!(sections.iter().all(|(kind, _)| *kind == SHT_NOTE), "a section .note.Xen has another type");
    let notes: Vec<_> = sections.iter().flat_map(|(_, bytes)| Notes::new(bytes)).collect();
    assert_eq!(notes.len(), 5, "{notes:x?}");
    let find =
        |kind| notes.iter().find(|note| note.is_xen() && note.kind == kind).expect("the note is there");
    assert_eq!(find(XEN_ELFNOTE_XEN_VERSION).string(), Some("xen-3.0"));
    assert_eq!(find(XEN_ELFNOTE_LOADER).string(), Some("generic"));
    assert_eq!(find(XEN_ELFNOTE_VIRT_BASE).number(), Some(0xffff_ffff_8000_0000));
    // Its value is filled in when the test is loaded, as an executable of the host's has no fixed address.
    assert_eq!(find(XEN_ELFNOTE_ENTRY).desc.len(), 8);
    let modes = notes.iter().find(|note| note.is_paravane()).expect("the modes note is there");
    assert_eq!((modes.kind, modes.number()), (ring1::NOTE_TYPE_MODES, Some(ring1::MODE_PV_RING1)));
}
