//! What the fuzz targets do with an input: a function each, which panics when something is wrong.
//!
//! `fuzz_targets` hands them what libFuzzer makes up; the tests hand them bytes from a seed, so that the targets
//! are built and run wherever the tests are.

mod builder;
mod emulator;
// The operations of the property test, whose choices come from the input here.
#[allow(dead_code)]
#[path = "../../tests/paging_property/ops.rs"]
mod ops;
mod random;
#[path = "../../tests/paging_property/sequence.rs"]
mod sequence;
#[allow(dead_code)]
#[path = "../../tests/paging_property/tally.rs"]
mod tally;
#[allow(dead_code)]
#[path = "../../tests/paging_property/world.rs"]
mod world;

pub use builder::{device_tree, elf_notes};
pub use emulator::instructions;
pub use paravane_core::several_guests as hypercalls;

/// A target's name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 5] = [
    ("hypercalls", hypercalls),
    ("page_tables", page_tables),
    ("device_tree", device_tree),
    ("elf_notes", elf_notes),
    ("instructions", instructions),
];

/// Most operations of one input on page tables.
const OPERATIONS: usize = 200;

/// Everything a guest can do to its page tables, with a recount and a look for stale translations after each
/// operation; at the end both domains are torn down and nothing is left.
pub fn page_tables(input: &[u8]) {
    let mut random = random::Random::new(input);
    sequence::run_sequence("input", &mut random, OPERATIONS, &mut tally::Tally::default());
}
