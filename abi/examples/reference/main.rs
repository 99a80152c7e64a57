//! Writes the reference pages under `docs/abi`: `cargo run -p paravane-abi --example reference`.

mod pages;

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map_or_else(pages::folder, PathBuf::from);
    fs::create_dir_all(&folder)?;
    let pages = pages::all();
    for old in fs::read_dir(&folder)? {
        let old = old?.path();
        let known = pages.iter().any(|(name, _)| old.file_name().is_some_and(|file| file == name.as_str()));
        if !known && old.extension().is_some_and(|ending| ending == "md") {
            fs::remove_file(old)?;
        }
    }
    for (name, text) in &pages {
        fs::write(folder.join(name), text)?;
    }
    println!("{} pages in {}", pages.len(), folder.display());
    Ok(())
}
