//! The exit statuses that every command of the project keeps to, and how the end of a run becomes one.

use core::fmt;

/// What a command ends with. The numbers are part of the command line's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Everything asked for was done and found right.
    Good = 0,
    /// A check failed.
    CheckFailed = 1,
    /// The command line asked for something that cannot be.
    Usage = 2,
    /// Something needed is absent.
    Missing = 3,
    /// The guest broke the contract and was crashed.
    GuestCrash = 10,
    /// The hypervisor stopped itself, or took the machine down with it.
    HypervisorPanic = 11,
    /// The run was still going when its time was up.
    Hang = 12,
    /// The machine said nothing for too long, or ended without saying what it was asked for.
    Silence = 13,
    /// A signal ended the command.
    Interrupted = 130,
}

impl Status {
    /// All statuses, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Good,
        Self::CheckFailed,
        Self::Usage,
        Self::Missing,
        Self::GuestCrash,
        Self::HypervisorPanic,
        Self::Hang,
        Self::Silence,
        Self::Interrupted,
    ];

    /// The number the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status with this number.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|s| i32::from(s.code()) == code)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Good => "good",
            Self::CheckFailed => "a check failed",
            Self::Usage => "usage",
            Self::Missing => "something needed is missing",
            Self::GuestCrash => "the guest crashed",
            Self::HypervisorPanic => "the hypervisor panicked",
            Self::Hang => "hang",
            Self::Silence => "silence",
            Self::Interrupted => "interrupted",
        };
        f.write_str(text)
    }
}

/// QEMU's exit statuses when the hypervisor writes its verdict to the isa-debug-exit port: `value * 2 + 1`.
pub mod debug_exit {
    /// The guest powered itself off.
    pub const POWER_OFF: i32 = 0x10 * 2 + 1;
    /// The guest was crashed.
    pub const GUEST_CRASH: i32 = 0x11 * 2 + 1;
    /// The hypervisor panicked.
    pub const HYPERVISOR_PANIC: i32 = 0x12 * 2 + 1;
    /// The guest asked for a reboot.
    pub const REBOOT: i32 = 0x13 * 2 + 1;
}

/// How a run of the emulator came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// QEMU ended by itself with this status.
    Exited(i32),
    /// A signal that this command did not send ended QEMU.
    Killed(i32),
    /// `--timeout` passed.
    TimedOut,
    /// No output for too long.
    Quiet,
    /// The user typed the key that leaves.
    Left,
    /// This command was told to stop by a signal.
    Interrupted,
}

/// What the run was expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Run the demonstration and sum it up.
    Demonstration,
    /// Run until the guests power off; each check they print must hold.
    Checks,
    /// Run until the guest powers off.
    PowerOff,
}

/// The status of a run, with the sentence that explains it.
#[must_use]
pub fn verdict(end: End, expect: Expect, console: &crate::console::Console) -> (Status, String) {
    let panicked = console.panic_line().map(|line| format!("the hypervisor panicked: {line}"));
    match end {
        End::Exited(debug_exit::GUEST_CRASH) => {
            (Status::GuestCrash, "the guest crashed (why is said above)".into())
        }
        End::Exited(debug_exit::HYPERVISOR_PANIC) => {
            (Status::HypervisorPanic, panicked.unwrap_or_else(|| "the hypervisor panicked".into()))
        }
        End::Exited(debug_exit::POWER_OFF | debug_exit::REBOOT) => finished(expect, console),
        End::Exited(0) => (
            Status::HypervisorPanic,
            panicked.unwrap_or_else(|| "the machine reset without a verdict (a triple fault?)".into()),
        ),
        End::Exited(code) => (Status::CheckFailed, format!("QEMU itself ended with status {code}")),
        End::Killed(signal) => (Status::CheckFailed, format!("QEMU was ended by signal {signal}")),
        End::TimedOut => match panicked {
            Some(text) => (Status::HypervisorPanic, text),
            None => (Status::Hang, "still running when --timeout passed".into()),
        },
        End::Quiet => match panicked {
            Some(text) => (Status::HypervisorPanic, text),
            None => (Status::Silence, "the machine fell silent".into()),
        },
        End::Left => (Status::Good, "left the console; the machine was stopped".into()),
        End::Interrupted => (Status::Interrupted, "interrupted; the machine was stopped".into()),
    }
}

fn finished(expect: Expect, console: &crate::console::Console) -> (Status, String) {
    if expect == Expect::PowerOff {
        return (Status::Good, "the guest powered off".into());
    }
    if expect == Expect::Checks {
        return match (console.ok_lines().len(), console.failed_lines().len()) {
            (ok, 0) => (Status::Good, format!("the guests powered off: {ok} ok")),
            (ok, failed) => (Status::CheckFailed, format!("checks failed: {ok} ok, {failed} failed")),
        };
    }
    let Some(sum) = console.summary() else {
        return (Status::Silence, "the guest powered off without summing up its demonstration".into());
    };
    let (ok, failed) = (console.ok_lines().len(), console.failed_lines().len());
    if sum.ok == 0 || sum.failed != 0 || failed != 0 {
        (Status::CheckFailed, format!("the demonstration failed: {} ok, {} failed", sum.ok, sum.failed))
    } else if ok != sum.ok {
        (Status::CheckFailed, format!("the demonstration counts {} ok, its lines are {ok}", sum.ok))
    } else {
        (Status::Good, format!("the demonstration passed: {ok} ok"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Console;

    fn console(text: &str) -> Console {
        let mut console = Console::default();
        console.push(text.as_bytes());
        console
    }

    #[test]
    fn the_numbers_are_the_interface() {
        let codes: Vec<u8> = Status::ALL.iter().map(|s| s.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 10, 11, 12, 13, 130]);
        for status in Status::ALL {
            assert_eq!(Status::from_code(i32::from(status.code())), Some(status));
        }
        assert_eq!(Status::from_code(4), None);
    }

    #[test]
    fn a_whole_demonstration_is_good() {
        let c = console("ok rings cs\r\nok fork\r\ndemo: 2 ok, 0 failed\r\n");
        assert_eq!(verdict(End::Exited(33), Expect::Demonstration, &c).0, Status::Good);
    }

    #[test]
    fn failed_lines_and_wrong_sums_fail() {
        let c = console("ok a\nFAILED b 1 != 2\ndemo: 1 ok, 1 failed\n");
        assert_eq!(verdict(End::Exited(33), Expect::Demonstration, &c).0, Status::CheckFailed);
        let c = console("ok a\ndemo: 2 ok, 0 failed\n");
        assert_eq!(verdict(End::Exited(33), Expect::Demonstration, &c).0, Status::CheckFailed);
        let c = console("demo: 0 ok, 0 failed\n");
        assert_eq!(verdict(End::Exited(33), Expect::Demonstration, &c).0, Status::CheckFailed);
    }

    #[test]
    fn power_off_without_a_sum_is_silence_only_in_a_demonstration() {
        let c = console("ok a\n");
        assert_eq!(verdict(End::Exited(33), Expect::Demonstration, &c).0, Status::Silence);
        assert_eq!(verdict(End::Exited(33), Expect::PowerOff, &c).0, Status::Good);
        assert_eq!(verdict(End::Exited(39), Expect::PowerOff, &c).0, Status::Good);
    }

    #[test]
    fn crash_panic_and_reset_have_their_own_statuses() {
        let c = console("");
        assert_eq!(verdict(End::Exited(35), Expect::PowerOff, &c).0, Status::GuestCrash);
        assert_eq!(verdict(End::Exited(37), Expect::PowerOff, &c).0, Status::HypervisorPanic);
        assert_eq!(verdict(End::Exited(0), Expect::PowerOff, &c).0, Status::HypervisorPanic);
        assert_eq!(verdict(End::Exited(1), Expect::PowerOff, &c).0, Status::CheckFailed);
        assert_eq!(verdict(End::Killed(9), Expect::PowerOff, &c).0, Status::CheckFailed);
    }

    #[test]
    fn time_and_quiet() {
        let c = console("(PV) starting\n");
        assert_eq!(verdict(End::TimedOut, Expect::PowerOff, &c).0, Status::Hang);
        assert_eq!(verdict(End::Quiet, Expect::Demonstration, &c).0, Status::Silence);
        let c = console("(PV) panic: frame 7 lost\n");
        assert_eq!(verdict(End::TimedOut, Expect::PowerOff, &c).0, Status::HypervisorPanic);
        assert_eq!(verdict(End::Interrupted, Expect::PowerOff, &c).0, Status::Interrupted);
        assert_eq!(verdict(End::Left, Expect::PowerOff, &c).0, Status::Good);
    }
}
