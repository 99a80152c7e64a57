//! Gives the linker the layout of a user program; the host build (unit tests of the library) needs none.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=user.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    // The target's default is a position-independent executable; these programs are static and load where
    // the script says, so the kernel's loader needs no relocations.
    for arg in ["--no-pie", "-zmax-page-size=4096", "-znorelro", "--build-id=none", "--strip-debug"] {
        println!("cargo::rustc-link-arg-bins={arg}");
    }
    println!("cargo::rustc-link-arg-bins=-T{here}/user.ld");
}
