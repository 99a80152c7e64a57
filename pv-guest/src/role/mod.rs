//! Tasks that a kernel carries out by itself, without programs, when its command line has `role=NAME`: what a machine
//! with several domains is tested and measured with. Each prints one line, `ok NAME ...` or `FAILED NAME ...`, and ends
//! the domain.

mod balloon;
mod exchange;
mod hammer;
pub mod load;
mod refuses;
mod ticker;

use core::fmt::Arguments;

use pv_guest_logic::options;
use pv_guest_logic::role::Role;

use crate::cpu_ops::{StopReason, facts, machine};
use crate::{boot, kprintln, power};

const NS_PER_S: u64 = 1_000_000_000;

/// Prints a role's one line.
fn report(role: Role, good: bool, words: Arguments<'_>) {
    kprintln!("{} {} {words}", if good { "ok" } else { "FAILED" }, role.name());
}

/// `seconds=N` on the command line, or the role's own.
fn seconds(default: u64) -> u64 {
    options::number(boot::cmdline(), "seconds").unwrap_or(default)
}

/// Seconds as nanoseconds of guest time; 0 stands for ever, which is `None`.
fn duration_ns(seconds: u64) -> Option<u64> {
    if seconds == 0 { None } else { Some(seconds.saturating_mul(NS_PER_S)) }
}

/// What must happen before the kernel sets anything up: a domain that only asks to be started again comes and goes with
/// as little work as can be.
pub fn run_early(command_line: &str) {
    if options::value(command_line, "role").and_then(Role::from_name) == Some(Role::Reboot) {
        machine().emergency_write(b"ok reboot asked for\n");
        machine().stop(StopReason::Reboot);
    }
}

fn needs_hypervisor(role: Role) -> bool {
    matches!(role, Role::CrashIret | Role::Hammer | Role::ExchangeA | Role::ExchangeB | Role::Balloon)
}

/// Carries out the role that the command line names, and ends the domain; returns when it names none, or one that programs
/// carry out.
pub fn run_if_any(has_programs: bool) {
    let Some(name) = options::value(boot::cmdline(), "role") else { return };
    match Role::from_name(name) {
        Some(role) if needs_hypervisor(role) && !facts().hypercalls => {
            report(role, false, format_args!("there is no hypervisor"));
        }
        Some(Role::Refuses) if facts().hypercalls => {
            report(Role::Refuses, false, format_args!("this kernel knows here what it may not execute"));
        }
        Some(Role::Refuses) => refuses::run(),
        Some(Role::Spin) => load::spin(),
        Some(Role::Idle) => load::idle(),
        Some(Role::CrashIret) => load::crash_iret(),
        Some(Role::Hammer) => hammer::run(),
        Some(Role::ExchangeA) => exchange::produce(),
        Some(Role::ExchangeB) => exchange::consume(),
        Some(Role::Balloon) => balloon::run(),
        Some(Role::Ticker) => ticker::run(),
        Some(Role::Parallel | Role::Compare) if has_programs => return,
        Some(role @ (Role::Parallel | Role::Compare)) => {
            report(role, false, format_args!("there are no programs"));
        }
        Some(Role::Reboot) => unreachable!("the domain ended early"),
        None => kprintln!("FAILED role {name} is not known"),
    }
    power::power_off()
}
