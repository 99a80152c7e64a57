//! See [`paravane_fuzz::page_tables`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| paravane_fuzz::page_tables(input));
