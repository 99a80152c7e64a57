//! The fuzz targets, with bytes from a seed: that they can be run at all, and a first look.

use paravane_fuzz::{TARGETS, Target};

/// Inputs for each target, a few seconds in all: one to `hypercalls` makes a machine.
fn inputs(name: &str) -> u32 {
    match name {
        "hypercalls" => 30,
        "page_tables" => 300,
        _ => 3_000,
    }
}

/// Xorshift (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
}

fn drive((name, target): Target) {
    let mut random = Random(0x5eed);
    for number in 0..inputs(name) {
        let length = random.next() % 2_048;
        let input: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        let ran = std::panic::catch_unwind(|| target(&input));
        assert!(ran.is_ok(), "{name}: input {number}, of {length} bytes, fails as said above");
    }
}

fn target(wanted: &str) -> Target {
    *TARGETS.iter().find(|(name, _)| *name == wanted).expect("a target")
}

#[test]
fn hypercalls_run() {
    drive(target("hypercalls"));
}

#[test]
fn page_tables_run() {
    drive(target("page_tables"));
}

#[test]
fn device_trees_run() {
    drive(target("device_tree"));
}

#[test]
fn elf_notes_run() {
    drive(target("elf_notes"));
}

#[test]
fn instructions_run() {
    drive(target("instructions"));
}
