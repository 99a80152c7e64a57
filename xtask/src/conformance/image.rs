//! The suite's files for another hypervisor: the kernel, its module, a configuration for each kind of domain.

use crate::build;
use crate::project::Project;
use crate::run;
use anyhow::{Context, Result};
use conformance::case::Kind;
use paravane_tests::conformance::plan::{FATAL_MIB, PAIR_VCPUS, WHOLE_MIB, WHOLE_VCPUS};
use paravane_tests::conformance::{IMAGE, boot, catalogue};
use paravane_tests::status::Status;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Where they go when nothing else is said, beside the images.
const FOLDER: &str = "conformance";

/// The files' names.
const KERNEL: &str = "conformance.elf";
const MODULE: &str = "module";

/// How to use them.
const README: &str = "\
The conformance suite of Xen's x86-64 PV ABI, as a kernel for PV domains.

    conformance.elf       the kernel: an ELF64 file with Xen's notes
    module                a first file system of no meaning, which the kernel looks up in its start_info
    domU.cfg              a domain that runs all cases of one domain, one after another
    left.cfg, right.cfg   two domains that run the cases of pairs together
    fatal.cfg, fatal.txt  a domain that runs one case which ends it as crashed; their names
    dom0.txt              how to run what is for the first domain

With xl, in this folder:

    xl create -c domU.cfg
    xl create left.cfg 'extra=\"role=left peer=N+1\"'; xl create right.cfg 'extra=\"role=right peer=N\"'
    while read name; do xl create -c fatal.cfg \"extra=\\\"role=fatal case=$name\\\"\" </dev/null; done <fatal.txt

N is the number that the left domain will have: domains are numbered in the order in which they are created. Both must
run at the same time, and print on their consoles. Without xl: build a PV domain of 32 MiB and four vcpus (two for each of
a pair; 16 MiB and one for a fatal case) from the kernel and the module, with the words of the file's `extra` as its command line, and connect
its console page.

The kernel prints a line for everything:

    conformance: begin ROW/CASE
    conformance: value ROW/CASE WHAT = TEXT              what was observed
    conformance: wrong ROW/CASE WHAT: got TEXT, wanted TEXT
    conformance: success ROW/CASE
    conformance: failure|error|skip ROW/CASE : REASON    what did not hold; what did not work; what is not there
    conformance: end N                                   N cases were run

A case that begins and does not end has crashed the domain; start the domain again with `after=ROW/CASE` behind its words
for those that follow. A fatal case succeeds when the hypervisor ends the domain as crashed and the kernel has said
nothing else. Of a pair both sides must succeed. `filter=STR` runs the cases with STR in their names, `case=ROW/CASE` one.

What real Xen 4.17 showed is in tests/golden/conformance of Paravane's repository; docs/conformance.md there says more.
";

/// What is for the first domain.
const DOM0: &str = "\
Cases for the first domain: boot the hypervisor with conformance.elf as the first domain's kernel, `role=dom0` on its
command line and `module` as its first file system; Xen from GRUB, or under QEMU:

    qemu-system-x86_64 -m 512 -nographic -no-reboot -cpu max,-smap -kernel xen.elf \\
        -append 'console=com1 com1=115200 noreboot dom0_mem=32M,max:32M dom0_max_vcpus=1' \\
        -initrd 'conformance.elf role=dom0,module'
";

/// Writes the files.
pub fn write(project: &Project, folder: Option<&Path>) -> Result<Status> {
    let images = build::images(project);
    let beside = images.join(FOLDER);
    let folder = folder.unwrap_or(&beside);
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let kernel = images.join(IMAGE);
    let kernel = fs::read(&kernel).with_context(|| format!("reading {}", kernel.display()))?;
    let texts = texts();
    let binary = [(KERNEL, kernel.as_slice()), (MODULE, &boot::MODULE)];
    for (name, bytes) in binary.into_iter().chain(texts.iter().map(|(name, text)| (*name, text.as_bytes()))) {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    run::say(format_args!("the suite is in {}; README.txt there tells how to run it", folder.display()));
    println!("{}", folder.display());
    Ok(Status::Good)
}

/// All files that are text.
fn texts() -> Vec<(&'static str, String)> {
    let all = catalogue::all();
    let fatal = all.iter().filter(|entry| entry.case.kind == Kind::Fatal).map(catalogue::Entry::name);
    let fatal: Vec<String> = fatal.collect();
    let first = fatal.first().map_or("ROW/CASE", String::as_str);
    let names = fatal.iter().fold(String::new(), |mut text, name| {
        // Text takes whatever is written.
        let _ = writeln!(text, "{name}");
        text
    });
    vec![
        ("README.txt", README.to_owned()),
        ("dom0.txt", DOM0.to_owned()),
        ("domU.cfg", configuration("domU", WHOLE_MIB, WHOLE_VCPUS, "role=domU")),
        ("left.cfg", configuration("left", WHOLE_MIB, PAIR_VCPUS, "role=left peer=2")),
        ("right.cfg", configuration("right", WHOLE_MIB, PAIR_VCPUS, "role=right peer=1")),
        ("fatal.cfg", configuration("fatal", FATAL_MIB, 1, &format!("role=fatal case={first}"))),
        ("fatal.txt", names),
    ]
}

/// A domain in the words of xl.cfg.
fn configuration(name: &str, memory: u32, vcpus: u32, words: &str) -> String {
    format!(
        "# A domain of the conformance suite; README.txt tells how to run it.\n\
         name = \"{name}\"\ntype = \"pv\"\nkernel = \"{KERNEL}\"\nramdisk = \"{MODULE}\"\nmemory = {memory}\n\
         vcpus = {vcpus}\nextra = \"{words}\"\non_crash = \"destroy\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use crate::qemu;
    use clap::Parser;

    #[test]
    fn what_the_text_names_is_there_and_the_configurations_are_read() {
        let texts = texts();
        for name in
            texts.iter().map(|(name, _)| *name).chain([KERNEL, MODULE]).filter(|it| *it != "README.txt")
        {
            assert!(README.contains(name), "{name} is not explained");
        }
        let folder = std::env::temp_dir().join(format!("paravane-image-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in texts.iter().filter(|(name, _)| name.ends_with(".cfg")) {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            let words = ["cargo xtask", "qemu", "--cfg", path.to_str().unwrap()];
            let cli::Command::Qemu(options) = cli::Cli::try_parse_from(words).unwrap().command else {
                unreachable!("the word is qemu")
            };
            qemu::check(&options).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
