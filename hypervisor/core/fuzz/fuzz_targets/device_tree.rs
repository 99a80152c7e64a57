//! See [`paravane_fuzz::device_tree`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| paravane_fuzz::device_tree(input));
