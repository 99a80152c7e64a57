//! The command line.

use crate::setup::toolchain::Choice;
use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;

/// Builds, runs and tests Paravane.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find what is missing on this machine, and bring it
    Setup(Setup),
    /// Build the hypervisor, the guest kernel and its programs
    Build(Build),
    /// Boot the hypervisor with a guest under QEMU
    Qemu(Box<Qemu>),
    /// Make a disk image that boots through GRUB, from a BIOS and from UEFI
    Image(Box<Image>),
    /// Boot a small case on real Xen and on Paravane, and show what it saw side by side
    Oracle(Oracle),
    /// Count what each operation costs on each machine, side by side
    Compare(Compare),
    /// Remake the book's tables of counts from docs/compare.json
    #[command(after_help = FIGURES_EXAMPLES)]
    Figures,
    /// Start a lab, or grade it
    Lab(Lab),
    /// Show what happens during an operation, crossing by crossing: user, kernel, hypervisor
    Trace(crate::trace::Options),
    /// Try the HTML report of `compare` in a browser, and take the book's pictures of it
    Report(crate::report::Options),
    /// Run the conformance suite of Xen's PV ABI on Paravane, or on real Xen
    Conformance(Box<Conformance>),
    /// Plant faults in the hypervisor, one at a time, and run the conformance suite on each
    Mutants(Mutants),
    /// Run the tests
    Test(Test),
    /// Run the two commands in a fresh Debian 12 that has only what the README names as given
    Bare(Bare),
}

const SETUP_EXAMPLES: &str = "\
Examples:
  cargo xtask setup              bring everything: QEMU, the kernel toolchain, headers, BusyBox, Xen
  cargo xtask setup --unpack     install nothing: unpack packages under the cache folder, even as root
  cargo xtask setup --no-setup   only say what is missing, and how to bring it (status 3)";

/// Options of `setup`.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(after_help = SETUP_EXAMPLES)]
pub struct Setup {
    /// Bring nothing; end with status 3 and the command to run when something is missing
    #[arg(long)]
    pub no_setup: bool,
    /// Install no package into the system, even as root: unpack them under the cache folder
    #[arg(long)]
    pub unpack: bool,
    /// The toolchain that builds the kernels
    #[arg(long, value_enum, default_value_t, env = "PARAVANE_TOOLCHAIN", value_name = "WHICH")]
    pub toolchain: Choice,
}

const BUILD_EXAMPLES: &str = "\
Examples:
  cargo xtask build              print the images and their hashes
  cargo xtask build --checked    the hypervisor that `qemu --checked` boots
  cargo xtask build --no-setup   fail with status 3 if no kernel toolchain is here";

/// Options of `build`.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(after_help = BUILD_EXAMPLES)]
pub struct Build {
    /// Build the hypervisor alone, with its checks of itself (debug assertions, the order of locks)
    #[arg(long)]
    pub checked: bool,
    #[command(flatten)]
    pub setup: Setup,
}

const QEMU_EXAMPLES: &str = "\
Examples:
  cargo xtask qemu                               the guest's shell on this terminal; Ctrl-] leaves
  cargo xtask qemu </dev/null                    the self-checking demonstration
  echo 'uname -a' | cargo xtask qemu             type lines to the guest's shell, then power off
  cargo xtask qemu --demo --timeout 60           give up after a minute (status 12)
  cargo xtask qemu --icount </dev/null           counts in instructions, the same in every run
  cargo xtask qemu --gdb --gdb-wait              start stopped, for a debugger on port 1234
  cargo xtask qemu --smp 4 --vcpus 4             a guest with four processors
  cargo xtask qemu --guest pv-guest,name=a --guest pv-guest,name=b,cap=20,extra=role=spin
                                                 two domains
  cargo xtask qemu --machine pv-ring3 </dev/null the same kernel by Xen's own ABI, in ring 3
  cargo xtask qemu --machine native </dev/null   the same kernel without a hypervisor
  cargo xtask qemu --machine trap --guest pv-guest,patch_sites=1,extra=role=refuses </dev/null
                                                 where x86 refuses to be virtualized, and what helps
  cargo xtask qemu --hypervisor xen </dev/null   the same kernel on Debian's Xen 4.17, as its first domain
  cargo xtask qemu --hypervisor xen --domu </dev/null
                                                 and as a domain that a toolstack builds there
  cargo xtask qemu --guest pv-grub               Debian's PV GRUB, in ring 3
  cargo xtask qemu --guest debian --memory 256M  Debian's kernel as it is, with a shell of BusyBox's
  cargo xtask qemu --memory 64M -vv              less memory, all of the hypervisor's messages

Exit status: 0 good; 1 a check failed; 2 usage; 3 something is missing; 10 guest crash;
11 hypervisor panic; 12 hang (--timeout); 13 silence; 130 interrupted.";

/// Options of `qemu`.
#[derive(Args, Clone, Debug)]
#[command(after_help = QEMU_EXAMPLES)]
pub struct Qemu {
    /// What the guest runs on: native, pv-ring1 or pv-ring3 [default: what the kernel asks for; on Xen pv-ring3]
    #[arg(long)]
    pub machine: Option<String>,
    /// The hypervisor: paravane, or Debian's xen
    #[arg(long, default_value = "paravane")]
    pub hypervisor: String,
    /// On Xen, a domain that a toolstack builds, as several always are, instead of the first domain
    #[arg(long)]
    pub domu: bool,
    /// A domain: its kernel (pv-guest, pv-grub, pv-grub-memdisk, debian, or an ELF file with Xen's notes), and more in xl.cfg's names:
    /// pv-guest,name=a,memory=64M,vcpus=2,extra=role=spin. Once for each domain
    #[arg(long, value_name = "NAME|FILE[,NAME=VALUE]...")]
    pub guest: Vec<String>,
    /// A domain described by an xl.cfg file. Once for each domain
    #[arg(long, value_name = "FILE.cfg")]
    pub cfg: Vec<PathBuf>,
    /// The guest's first file system, instead of the one that is built
    #[arg(long, value_name = "FILE")]
    pub initramfs: Option<PathBuf>,
    /// More words for the guest's command line
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// More words for the hypervisor's command line, in Xen's names
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    pub hypervisor_append: Option<String>,
    /// Processors of the machine
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub smp: u32,
    /// Virtual processors of the guest
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub vcpus: u32,
    /// The guest's memory: MiB, or with K, M or G
    #[arg(long, default_value = "128M", value_name = "SIZE")]
    pub memory: String,
    /// Run the self-checking demonstration, whatever standard input is
    #[arg(long)]
    pub demo: bool,
    /// Give up after this many seconds (status 12)
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub timeout: Option<f64>,
    /// Give up after this many seconds without output (status 13)
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub silence: Option<f64>,
    /// Count instructions: each takes 2^SHIFT nanoseconds of the guest's time, and runs repeat exactly
    #[arg(long, value_name = "SHIFT", num_args = 0..=1, require_equals = true, default_missing_value = "0",
          value_parser = clap::value_parser!(u8).range(0..=10))]
    pub icount: Option<u8>,
    /// What executes the machine: tcg or kvm
    #[arg(long, default_value = "tcg")]
    pub accel: String,
    /// The emulated processor, in QEMU's words: max,-umip is one without UMIP [default: max; on Xen max,-smap]
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
    /// Open QEMU's debug stub, on port 1234 or where QEMU's -gdb says
    #[arg(long, value_name = "DEVICE", num_args = 0..=1, require_equals = true,
          default_missing_value = "tcp::1234")]
    pub gdb: Option<String>,
    /// With --gdb: do not start before the debugger says so
    #[arg(long, requires = "gdb")]
    pub gdb_wait: bool,
    /// Write QEMU's log of these items (its -d option)
    #[arg(long, value_name = "ITEMS")]
    pub qemu_log: Option<String>,
    /// Show QEMU's command line and the hypervisor's messages; twice for all of them
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Boot the hypervisor that checks itself (debug assertions, the order of locks)
    #[arg(long)]
    pub checked: bool,
    /// Boot the images as they were built last
    #[arg(long)]
    pub no_build: bool,
    #[command(flatten)]
    pub setup: Setup,
}

const IMAGE_EXAMPLES: &str = "\
Examples:
  cargo xtask image                              make the image, and say how QEMU boots it
  cargo xtask image --output disk.img            make it there
  cargo xtask image --memory 64M --append quiet  what `qemu` takes of the guest goes for the image
  cargo xtask image --boot bios </dev/null       make it and boot it, here to the demonstration
  cargo xtask image --boot uefi                  boot it by UEFI; the shell is on this terminal

The image's menu has the demonstration, taken if nobody chooses, and the shell. With --boot, what
`qemu` takes of the machine counts too, and the exit status is that of `qemu`.";

/// Options of `image`: those of `qemu`, and these.
#[derive(Args, Clone, Debug)]
#[command(after_help = IMAGE_EXAMPLES)]
pub struct Image {
    /// The image [default: paravane.img beside the built images]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Boot the image under QEMU with this firmware
    #[arg(long, value_enum, value_name = "FIRMWARE")]
    pub boot: Option<Firmware>,
    #[command(flatten)]
    pub machine: Qemu,
}

/// What starts GRUB.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's BIOS
    Bios,
    /// OVMF
    Uefi,
}

/// A positive number of seconds.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e9 => Ok(number),
        _ => Err("a positive number of seconds is needed".into()),
    }
}

const ORACLE_EXAMPLES: &str = "\
Examples:
  cargo xtask oracle start-of-day    registers, codes, entries and memory of one case, on both
  cargo xtask oracle --differences   all cases, the values alone that differ
  cargo xtask oracle --list          the cases

A case explains what configuration makes differ. Exit status: 0 when nothing is left to settle, 1
when a value differs without a reason, or a reason has no difference.";

/// Options of `oracle`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = ORACLE_EXAMPLES)]
pub struct Oracle {
    /// The case; all of them in one boot when there is none
    pub case: Option<String>,
    /// List the cases
    #[arg(long)]
    pub list: bool,
    /// Show the values alone that differ
    #[arg(long)]
    pub differences: bool,
    /// Boot the images as they were built last
    #[arg(long)]
    pub no_build: bool,
    #[command(flatten)]
    pub setup: Setup,
}

const COMPARE_EXAMPLES: &str = "\
Examples:
  cargo xtask compare                          all operations on all machines
  cargo xtask compare null-syscall int3        two of them
  cargo xtask compare --machine pv-ring1 --machine xen
                                               on two machines alone
  cargo xtask compare --twice                  all twice, and every difference
  cargo xtask compare --json counts.json       what was counted, for other programs
  cargo xtask compare --html compare.html      charts and timelines in one file, to be shown to a class
  cargo xtask compare --list                   the operations

Exit status: 0 when every cell is counted or has its reason, 1 when one is missing, a machine is, or
two runs differ.";

/// Options of `compare`.
#[derive(Args, Clone, Debug)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct Compare {
    /// The operations; all of them when there is none
    #[arg(value_name = "OPERATION")]
    pub operations: Vec<String>,
    /// A machine: native, pv-ring1, pv-ring3, trap or xen. Once for each; all of them when there is none
    #[arg(long, value_name = "NAME")]
    pub machine: Vec<String>,
    /// List the operations
    #[arg(long)]
    pub list: bool,
    /// Count everything twice; status 1 if two runs differ
    #[arg(long)]
    pub twice: bool,
    /// Write what was counted to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report to this file: charts, timelines, page-table walks; it needs no network
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Keep what such a report is made of in this file, for `report` and `trace`
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Boot the images as they were built last
    #[arg(long)]
    pub no_build: bool,
    #[command(flatten)]
    pub setup: Setup,
}

const LAB_EXAMPLES: &str = "\
Examples:
  cargo xtask lab                 the labs
  cargo xtask lab 1               the first time: make a copy of the project to work in, and say what to read
  cargo xtask lab 1               from then on: grade that copy, a line for each check
  cargo xtask lab 1 --no-boot     without the boot under QEMU
  cargo xtask lab 1 --reset       throw the copy away and begin again
  cargo xtask lab 1 --solution    for who teaches: grade the solution
  cargo xtask lab 1 --answer a.patch
                                  or an answer that was handed in

Exit status: 0 when the copy was made, or every check holds; 1 when one does not.";

/// Options of `lab`.
#[derive(Args, Clone, Debug)]
#[command(after_help = LAB_EXAMPLES)]
pub struct Lab {
    /// The lab, 1 to 4; the list of them when there is none
    pub number: Option<u8>,
    /// List the labs
    #[arg(long)]
    pub list: bool,
    /// Throw the copy away, with all that was done in it, and make another
    #[arg(long, requires = "number")]
    pub reset: bool,
    /// Grade the solution, in a copy of its own
    #[arg(long, requires = "number", conflicts_with = "reset")]
    pub solution: bool,
    /// Grade an answer that was handed in: the patch that `git diff` made of a copy
    #[arg(long, value_name = "FILE", requires = "number", conflicts_with_all = ["reset", "solution"])]
    pub answer: Option<PathBuf>,
    /// Where the copy is [default: labs/NUMBER in the target folder]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Boot nothing: what is left out counts as not looked at
    #[arg(long)]
    pub no_boot: bool,
    /// Measure the project's own images as they were built last
    #[arg(long)]
    pub no_build: bool,
    #[command(flatten)]
    pub setup: Setup,
}

const FIGURES_EXAMPLES: &str = "\
Examples:
  cargo xtask compare --json docs/compare.json   count anew
  cargo xtask figures                            and write the counts into the book's tables";

const CONFORMANCE_EXAMPLES: &str = "\
Examples:
  cargo xtask conformance                             all cases on Paravane, in ring 3 as on Xen
  cargo xtask conformance --machine pv-ring1          those that make sense in ring 1
  cargo xtask conformance --hypervisor xen            on Debian's Xen 4.17, held against what it showed before
  cargo xtask conformance --filter mmu_update -v      cases with this in their names, with all they saw
  cargo xtask conformance --diff                      on both, and every difference
  cargo xtask conformance --hypervisor xen --bless    write down what Xen shows
  cargo xtask conformance --list --missing            what the table of hypercalls has no case for
  cargo xtask conformance --image /tmp/suite          the kernel and xl.cfg files, for another hypervisor

Exit status: 0 when no case failed, erred or crashed, 1 otherwise; with --diff 0 when every difference is
explained; on Xen 1 too when something is not as it was before.";

/// Options of `conformance`.
#[derive(Args, Clone, Debug)]
#[command(after_help = CONFORMANCE_EXAMPLES)]
pub struct Conformance {
    /// The hypervisor: paravane, or Debian's xen
    #[arg(long, default_value = "paravane", conflicts_with = "diff")]
    pub hypervisor: String,
    /// What the kernel runs on: pv-ring3, or on Paravane pv-ring1
    #[arg(long, default_value = "pv-ring3")]
    pub machine: String,
    /// Only cases whose full name, ROW/CASE, contains this
    #[arg(long, value_name = "STR")]
    pub filter: Option<String>,
    /// Only the rows whose place leaves K when divided by N
    #[arg(long, value_name = "K/N", value_parser = share)]
    pub share: Option<(usize, usize)>,
    /// One of four parts, 0 to 3: --share K/4
    #[arg(long, value_name = "K", conflicts_with = "share")]
    pub quarter: Option<usize>,
    /// Write each case's outcome to this file
    #[arg(long, value_name = "FILE", conflicts_with = "diff")]
    pub json: Option<PathBuf>,
    /// Run on Xen and on Paravane, and show what cases saw that is not the same
    #[arg(long)]
    pub diff: bool,
    /// Write what Xen shows to tests/golden/conformance
    #[arg(long, conflicts_with = "diff")]
    pub bless: bool,
    /// Write the kernel, xl.cfg files and a text on how to use them to a folder
    #[arg(long, value_name = "FOLDER", num_args = 0..=1)]
    pub image: Option<Option<PathBuf>>,
    /// List the cases, and run none
    #[arg(long)]
    pub list: bool,
    /// With --list: the rows of the table of hypercalls that lack cases
    #[arg(long, requires = "list")]
    pub missing: bool,
    /// Show what each case saw, and a table of the rows
    #[arg(short, long)]
    pub verbose: bool,
    /// Boot the images as they were built last
    #[arg(long)]
    pub no_build: bool,
    #[command(flatten)]
    pub setup: Setup,
}

/// A share, `K/N`.
fn share(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((part, parts)) if part < parts => Ok((part, parts)),
        _ => Err("K/N is needed, K being less than N".into()),
    }
}

const MUTANTS_EXAMPLES: &str = "\
Examples:
  cargo xtask mutants                    the listed faults, and 100 mechanical ones
  cargo xtask mutants --listed           those of tests/mutants alone
  cargo xtask mutants --filter grant     those of which name, call or kind has it
  cargo xtask mutants --mechanical --seed 7 --count 20
                                         20 others of cargo-mutants'

A fault is caught when a case ends, or sees, something else than without it. Exit status: 0 when every
listed fault is caught, and 80 % of the mechanical ones; else 1. A run that was cut short goes on.";

/// Options of `mutants`.
#[derive(Args, Clone, Debug)]
#[command(after_help = MUTANTS_EXAMPLES)]
pub struct Mutants {
    /// The listed faults alone, unless --mechanical is given too
    #[arg(long)]
    pub listed: bool,
    /// The mechanical faults alone, unless --listed is given too
    #[arg(long)]
    pub mechanical: bool,
    /// What decides which mechanical faults are drawn
    #[arg(long, default_value_t = Mutants::default().seed, value_name = "N")]
    pub seed: u64,
    /// Mechanical faults that are drawn
    #[arg(long, default_value_t = Mutants::default().count, value_name = "N")]
    pub count: usize,
    /// Faults whose names, calls or kinds contain this
    #[arg(long, value_name = "STR")]
    pub filter: Option<String>,
    /// Without the cases that end a domain, each of which needs one of its own: a miss is not kept
    #[arg(long)]
    pub quick: bool,
    /// Write what became of each fault to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Take the suite's image as it was built last
    #[arg(long)]
    pub no_build: bool,
    #[command(flatten)]
    pub setup: Setup,
}

impl Default for Mutants {
    fn default() -> Self {
        Self {
            listed: false,
            mechanical: false,
            seed: 1,
            count: 100,
            filter: None,
            quick: false,
            json: None,
            no_build: false,
            setup: Setup::default(),
        }
    }
}

const TEST_EXAMPLES: &str = "\
Examples:
  cargo xtask test               the tier that CI runs
  cargo xtask test --full        everything: mutants, the bare machine, long runs
  cargo xtask test frame         only the tests whose name contains `frame`
  cargo xtask test boot/         only the scenarios that boot machines";

/// Options of `test`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = TEST_EXAMPLES)]
pub struct Test {
    /// Run only the tests whose name contains this
    pub name: Option<String>,
    /// Run the long tests too
    #[arg(long)]
    pub full: bool,
    /// Boot the images as they were built last
    #[arg(long)]
    pub no_build: bool,
    #[command(flatten)]
    pub setup: Setup,
}

const BARE_EXAMPLES: &str = "\
Examples:
  cargo xtask bare               as root, in a system made by debootstrap: qemu, then all tests
  cargo xtask bare --user        the same as a user without rights: packages are unpacked, not installed
  cargo xtask bare --boot-only   the demonstration alone";

/// Options of `bare`.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(after_help = BARE_EXAMPLES)]
pub struct Bare {
    /// Run the commands as a user who may not install anything
    #[arg(long)]
    pub user: bool,
    /// Run the demonstration, not the tests
    #[arg(long)]
    pub boot_only: bool,
    /// Keep the system for a look; the next run removes it
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub setup: Setup,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{} has no examples", command.get_name());
        }
    }
}
