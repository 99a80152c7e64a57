//! Scenarios: each boots one or more whole machines through `cargo xtask qemu`, as a user would, and judges
//! what comes out.

mod attack;
mod attack_pc;
mod budget;
mod compare;
mod conformance;
mod demonstration;
mod domains;
mod fuzz;
mod guests;
mod image;
mod labs;
mod native;
mod oracle;
mod processors;
mod public;
mod refuses;
mod report;
mod rings;
mod shell;
mod statuses;
mod toolstack;

use crate::driver::{Driver, Stdin};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Long enough for a boot and a demonstration on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(600);

/// When a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// In every run.
    Ci,
    /// With `--full` alone.
    Full,
}

/// What a scenario found, when it is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All held; some words on what was seen.
    Passed(String),
    /// It could not run here, for this reason.
    Skipped(String),
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, for choosing and reporting; the slash in it tells it from a test of a crate.
    pub name: &'static str,
    /// When it runs.
    pub tier: Tier,
    /// What it does.
    pub run: fn(&Context) -> Result<Outcome>,
}

/// All scenarios, in the order they run.
pub const ALL: &[Scenario] = &[
    Scenario { name: "boot/demonstration", tier: Tier::Ci, run: demonstration::whole },
    Scenario { name: "boot/demonstration-ring3", tier: Tier::Ci, run: demonstration::ring3 },
    Scenario { name: "boot/demonstration-xen", tier: Tier::Ci, run: demonstration::xen },
    Scenario { name: "boot/native/demonstration", tier: Tier::Ci, run: demonstration::native },
    Scenario { name: "boot/trap/demonstration", tier: Tier::Ci, run: demonstration::trap },
    Scenario { name: "boot/trap/shell", tier: Tier::Ci, run: native::shell_trapped },
    Scenario { name: "boot/trap/statuses", tier: Tier::Ci, run: native::statuses_trapped },
    Scenario { name: "boot/refuses/native", tier: Tier::Ci, run: refuses::native },
    Scenario { name: "boot/refuses/trap", tier: Tier::Ci, run: refuses::trap },
    Scenario { name: "boot/refuses/patched", tier: Tier::Ci, run: refuses::patched },
    Scenario { name: "boot/native/shell", tier: Tier::Ci, run: native::shell },
    Scenario { name: "boot/native/statuses", tier: Tier::Ci, run: native::statuses },
    Scenario { name: "boot/lesson-repeats", tier: Tier::Ci, run: demonstration::lesson_repeats },
    Scenario { name: "boot/rings", tier: Tier::Ci, run: rings::sampled },
    Scenario { name: "boot/budgets", tier: Tier::Ci, run: budget::round_trips },
    Scenario { name: "compare/two", tier: Tier::Ci, run: compare::two },
    Scenario { name: "compare/all", tier: Tier::Full, run: compare::all },
    Scenario { name: "boot/shell/terminal", tier: Tier::Ci, run: shell::terminal },
    Scenario { name: "boot/shell/leave", tier: Tier::Ci, run: shell::leave },
    Scenario { name: "boot/shell/killed", tier: Tier::Ci, run: shell::killed },
    Scenario { name: "boot/shell/piped", tier: Tier::Ci, run: shell::piped },
    Scenario { name: "boot/status/1-check-failed", tier: Tier::Ci, run: statuses::check_failed },
    Scenario { name: "boot/status/2-usage", tier: Tier::Ci, run: statuses::usage },
    Scenario { name: "boot/status/3-missing", tier: Tier::Ci, run: statuses::missing },
    Scenario { name: "boot/status/10-guest-crash", tier: Tier::Ci, run: statuses::guest_crash },
    Scenario { name: "boot/status/11-hypervisor-panic", tier: Tier::Ci, run: statuses::hypervisor_panic },
    Scenario { name: "boot/status/12-hang", tier: Tier::Ci, run: statuses::hang },
    Scenario { name: "boot/status/13-silence", tier: Tier::Ci, run: statuses::silence },
    Scenario { name: "boot/status/130-interrupted", tier: Tier::Ci, run: statuses::interrupted },
    Scenario { name: "smp/counted", tier: Tier::Ci, run: processors::counted },
    Scenario { name: "smp/watchdog", tier: Tier::Ci, run: processors::watched },
    Scenario { name: "smp/checked", tier: Tier::Full, run: processors::checked },
    Scenario { name: "image/bios", tier: Tier::Ci, run: image::bios },
    Scenario { name: "image/ovmf", tier: Tier::Ci, run: image::ovmf },
    Scenario { name: "image/repeats", tier: Tier::Ci, run: image::repeats },
    Scenario { name: "image/missing", tier: Tier::Ci, run: image::missing },
    Scenario { name: "image/shell", tier: Tier::Full, run: image::shell },
    Scenario { name: "oracle/start-of-day", tier: Tier::Ci, run: oracle::start_of_day },
    Scenario { name: "oracle/all", tier: Tier::Ci, run: oracle::all },
    Scenario { name: "conformance/paravane", tier: Tier::Ci, run: conformance::paravane },
    Scenario { name: "conformance/ring1", tier: Tier::Ci, run: conformance::ring1 },
    Scenario { name: "conformance/xen", tier: Tier::Ci, run: conformance::xen },
    Scenario { name: "conformance/diff", tier: Tier::Full, run: conformance::diff },
    Scenario { name: "attack/survived", tier: Tier::Ci, run: attack::survived },
    Scenario { name: "attack/fatal", tier: Tier::Ci, run: attack::fatal },
    Scenario { name: "attack/together", tier: Tier::Ci, run: attack::together },
    Scenario { name: "attack/nmi-storm", tier: Tier::Ci, run: attack::nmi_storm },
    Scenario { name: "attack/survived-ring3", tier: Tier::Ci, run: attack::survived_ring3 },
    Scenario { name: "attack/fatal-ring3", tier: Tier::Ci, run: attack::fatal_ring3 },
    Scenario { name: "attack/together-ring3", tier: Tier::Full, run: attack::together_ring3 },
    Scenario { name: "attack/nmi-storm-ring3", tier: Tier::Full, run: attack::nmi_storm_ring3 },
    Scenario { name: "attack/trap/survived", tier: Tier::Ci, run: attack_pc::survived },
    Scenario { name: "attack/trap/fatal", tier: Tier::Ci, run: attack_pc::fatal },
    Scenario { name: "attack/trap/forever", tier: Tier::Ci, run: attack_pc::forever },
    Scenario { name: "attack/trap/bare", tier: Tier::Ci, run: attack_pc::bare },
    Scenario { name: "attack/trap/fuzz", tier: Tier::Ci, run: fuzz::trap },
    Scenario { name: "attack/trap/survived-whole", tier: Tier::Full, run: attack_pc::survived_whole },
    Scenario { name: "attack/trap/fuzz-long", tier: Tier::Full, run: fuzz::trap_long },
    Scenario { name: "attack/fuzz", tier: Tier::Ci, run: fuzz::short },
    Scenario { name: "attack/fuzz-ring3", tier: Tier::Ci, run: fuzz::ring3 },
    Scenario { name: "attack/fuzz-contested", tier: Tier::Ci, run: fuzz::contested },
    Scenario { name: "attack/fuzz-contested-whole", tier: Tier::Full, run: fuzz::contested_whole },
    Scenario { name: "attack/fuzz-ring3-long", tier: Tier::Full, run: fuzz::ring3_long },
    Scenario { name: "attack/fuzz-long", tier: Tier::Full, run: fuzz::long },
    Scenario { name: "guests/overcommitted", tier: Tier::Ci, run: guests::overcommitted },
    Scenario { name: "guests/hotplug", tier: Tier::Ci, run: guests::hotplug },
    Scenario { name: "guests/restarted", tier: Tier::Ci, run: guests::restarted },
    Scenario { name: "guests/consoles", tier: Tier::Ci, run: guests::consoles },
    Scenario { name: "guests/asked-to-stop", tier: Tier::Ci, run: guests::asked },
    Scenario { name: "guests/grub", tier: Tier::Ci, run: public::grub },
    Scenario { name: "guests/grub-loads", tier: Tier::Ci, run: public::grub_loads },
    Scenario { name: "guests/debian", tier: Tier::Full, run: public::debian },
    Scenario { name: "report/sample", tier: Tier::Ci, run: report::sample },
    Scenario { name: "report/timeline", tier: Tier::Ci, run: report::timeline },
    Scenario { name: "report/whole", tier: Tier::Full, run: report::whole },
    Scenario { name: "domains/isolation", tier: Tier::Ci, run: domains::isolation },
    Scenario { name: "domains/thousand", tier: Tier::Ci, run: domains::thousand },
    Scenario { name: "domains/overlap", tier: Tier::Ci, run: domains::overlap },
    Scenario { name: "domains/shares", tier: Tier::Ci, run: domains::shares },
    Scenario { name: "domains/partition", tier: Tier::Ci, run: domains::partition },
    Scenario { name: "domains/four-vcpus", tier: Tier::Ci, run: domains::four_vcpus },
    Scenario { name: "domains/exchange", tier: Tier::Ci, run: domains::exchange },
    Scenario { name: "domains/balloon", tier: Tier::Ci, run: domains::balloon },
    Scenario { name: "domains/on-xen", tier: Tier::Ci, run: toolstack::on_xen },
    Scenario { name: "domains/exchange-whole", tier: Tier::Full, run: domains::exchange_whole },
    Scenario {
        name: "domains/isolation-to-the-instruction",
        tier: Tier::Full,
        run: domains::isolation_to_the_instruction,
    },
    Scenario { name: "domains/ten-thousand", tier: Tier::Full, run: domains::ten_thousand },
    Scenario { name: "labs/in-turn", tier: Tier::Ci, run: labs::in_turn },
    Scenario { name: "labs/1", tier: Tier::Full, run: labs::first },
    Scenario { name: "labs/2", tier: Tier::Full, run: labs::second },
    Scenario { name: "labs/3", tier: Tier::Full, run: labs::third },
    Scenario { name: "labs/4", tier: Tier::Full, run: labs::fourth },
    Scenario { name: "boot/demonstration-many", tier: Tier::Full, run: demonstration::many },
];

/// What a scenario works with. The images are built and everything needed is present.
#[derive(Clone, Debug)]
pub struct Context {
    /// The program behind `cargo xtask`.
    pub xtask: PathBuf,
    /// Where the images lie.
    pub images: PathBuf,
    /// A folder for what a scenario makes.
    pub scratch: PathBuf,
}

impl Context {
    /// The target folder: the images lie in its `kernel/images`.
    #[must_use]
    pub fn target(&self) -> Option<&Path> {
        self.images.ancestors().nth(2)
    }

    /// `cargo xtask` with these arguments, for the same target folder.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.xtask);
        if let Some(target) = self.target() {
            command.env("CARGO_TARGET_DIR", target);
        }
        command.args(args);
        command
    }

    /// `cargo xtask qemu` with the images as they are.
    #[must_use]
    pub fn qemu(&self, args: &[&str]) -> Command {
        self.command(&[&["qemu", "--no-build", "--no-setup"], args].concat())
    }

    /// Runs the demonstration to its end; the status must be 0.
    pub fn demonstrate(&self, args: &[&str]) -> Result<Driver> {
        let mut driver = Driver::start(self.qemu(args), Stdin::Null)?;
        let status = driver.finish(LIMIT)?;
        if !status.success() {
            bail!("the demonstration ended with {status}; printed last:\n{}", driver.tail());
        }
        Ok(driver)
    }
}

/// The emulators that a run of `xtask qemu` started and that still live: its boot archive is named after it.
#[must_use]
pub fn emulators_of(id: u32) -> Vec<u32> {
    let marker = format!("bundle-{id}.cpio");
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| {
            let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            line.windows(marker.len()).any(|window| window == marker.as_bytes())
        })
        .collect()
}

/// Fails if an emulator of this run is left after a moment.
pub fn none_left(id: u32) -> Result<()> {
    for _ in 0..100 {
        if emulators_of(id).is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("an emulator of run {id} is left: {:?}", emulators_of(id))
}
