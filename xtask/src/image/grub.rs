//! GRUB's part of the image: its cores and its configuration.

use crate::run;
use crate::setup::grub::Grub;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Where GRUB finds its configuration: the second partition of the disk it was started from.
const PREFIX: &str = "(,gpt2)/boot/grub";

/// What both cores contain; the BIOS one needs a driver for the disk, too.
const MODULES: [&str; 7] = ["part_gpt", "fat", "normal", "configfile", "serial", "terminal", "multiboot2"];

/// GRUB's core for a firmware.
pub fn core(grub: &Grub, platform: &str, scratch: &Path) -> Result<Vec<u8>> {
    let output = scratch.join(format!("grub-{platform}-{}", std::process::id()));
    let mut command = grub.mkimage();
    command.args(["--format", platform, "--prefix", PREFIX]);
    command.arg("--directory").arg(grub.platform(platform)).arg("--output").arg(&output).args(MODULES);
    if platform == "i386-pc" {
        command.arg("biosdisk");
    }
    run::run(&mut command)?;
    let bytes = fs::read(&output).with_context(|| format!("reading {}", output.display()))?;
    fs::remove_file(&output).with_context(|| format!("removing {}", output.display()))?;
    Ok(bytes)
}

/// A choice of the menu.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// What it is called.
    pub title: &'a str,
    /// The modules' paths in the system partition, the device tree first.
    pub modules: Vec<String>,
}

/// The configuration: the console on the first serial line, a menu that waits for some seconds, the first entry if
/// nobody chooses.
pub fn configuration(entries: &[Entry<'_>], arguments: &str, seconds: u32) -> String {
    let mut text = String::from(
        "if serial --unit=0 --speed=115200; then\n  terminal_input serial console\n  terminal_output serial\nfi\n",
    );
    text += &format!("set timeout={seconds}\nset default=0\n");
    let words: Vec<String> = arguments.split_whitespace().map(quoted).collect();
    for entry in entries {
        // Writing to a String cannot fail.
        let _ = write!(text, "menuentry {} {{\n  multiboot2 /boot/paravane.elf", quoted(entry.title));
        let _ = writeln!(text, " {}", words.join(" "));
        for module in &entry.modules {
            let _ = writeln!(text, "  module2 /{module}");
        }
        text.push_str("}\n");
    }
    text
}

/// A word as GRUB's script language takes it literally.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=,._-/:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_grub_whole() {
        assert_eq!(quoted("com1=115200,8n1"), "com1=115200,8n1");
        assert_eq!(quoted("a$b;c"), "'a$b;c'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn the_configuration_names_every_module_in_order() {
        let entry = |title, first: &str| Entry { title, modules: vec![first.into(), "boot/module1".into()] };
        let text = configuration(
            &[entry("A b", "boot/one.dtb"), entry("C", "boot/two.dtb")],
            "console=com1 x={y}",
            3,
        );
        assert!(
            text.ends_with(
                "set timeout=3\nset default=0\n\
             menuentry 'A b' {\n  multiboot2 /boot/paravane.elf console=com1 'x={y}'\n\
             \x20 module2 /boot/one.dtb\n  module2 /boot/module1\n}\n\
             menuentry C {\n  multiboot2 /boot/paravane.elf console=com1 'x={y}'\n\
             \x20 module2 /boot/two.dtb\n  module2 /boot/module1\n}\n"
            ),
            "{text}"
        );
    }
}
