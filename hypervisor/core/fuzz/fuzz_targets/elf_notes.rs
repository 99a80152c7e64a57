//! See [`paravane_fuzz::elf_notes`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| paravane_fuzz::elf_notes(input));
