//! `cargo xtask`: builds, runs and tests Paravane.
fn main() {}
