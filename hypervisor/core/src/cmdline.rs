//! The hypervisor's command line: Xen's option names (`docs/misc/xen-command-line`), and Paravane's own under the
//! prefix `paravane.`. Options are separated by blanks; an option that is not understood is kept, to be warned
//! about once there is a log.

use alloc::string::String;
use alloc::vec::Vec;

use log::LevelFilter;

use crate::console::Switch;
use crate::sched::Settings;

/// Turns that a trace can have.
const TRACE_MAX: usize = 65_536;
/// Processors that are brought up at most.
pub const MAX_CPUS: usize = 64;
/// The watchdog's timeout in seconds when the line gives none (Xen's).
const WATCHDOG_SECONDS: u32 = 5;

/// Parity on a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// `n`
    None,
    /// `o`
    Odd,
    /// `e`
    Even,
    /// `m`
    Mark,
    /// `s`
    Space,
}

/// A serial line's settings: `com1=<baud>[,<data bits><parity><stop bits>[,<I/O port>[,<irq>]]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Bits per second; `None` (Xen's `auto`) keeps what the firmware set.
    pub baud: Option<u32>,
    /// Data bits, 5 to 8.
    pub data_bits: u8,
    /// Parity.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
    /// First I/O port.
    pub port: u16,
}

impl Serial {
    /// COM1 as every PC has it.
    pub const COM1: Self =
        Self { baud: Some(115_200), data_bits: 8, parity: Parity::None, stop_bits: 1, port: 0x3f8 };
}

/// A log threshold with its rate-limited companion: `loglvl=<level>[/<rate-limited level>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Always printed up to here.
    pub always: LevelFilter,
    /// Printed, rate-limited, up to here.
    pub limited: LevelFilter,
}

/// The options, with Xen's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `console=` names com1 (the default when the option is absent).
    pub serial_console: bool,
    /// `com1=`
    pub com1: Serial,
    /// `loglvl=`: the hypervisor's own messages.
    pub loglvl: Threshold,
    /// `guest_loglvl=`: messages a guest can provoke.
    pub guest_loglvl: Threshold,
    /// `conswitch=`: how the serial line's input is switched.
    pub conswitch: Switch,
    /// `noreboot`: stop instead of rebooting.
    pub noreboot: bool,
    /// `sync_console`: wait for every character.
    pub sync_console: bool,
    /// `maxcpus=`, `nosmp`: how many processors are brought up at most; at least 1.
    pub maxcpus: usize,
    /// `watchdog`, `watchdog_timeout=`: a processor that is in the hypervisor for so many seconds is stuck. `None`:
    /// nobody looks.
    pub watchdog: Option<u32>,
    /// `sched_credit_tslice_ms=`: the longest turn of a vcpu while others wait.
    pub tslice_ms: u32,
    /// `sched_ratelimit_us=`: the shortest.
    pub ratelimit_us: u32,
    /// `paravane.exit=`: I/O port of QEMU's isa-debug-exit device.
    pub exit_port: Option<u16>,
    /// `paravane.audit`: recount everything when the last domain has stopped, and panic if a count is wrong.
    pub audit: bool,
    /// `paravane.stall`: the first processor stops in the hypervisor instead of running guests, so that the watchdog
    /// has something to find.
    pub stall: bool,
    /// `paravane.nmi-storm=`: the first processor gets an NMI every so many ticks of the 8254, at least 2.
    pub nmi_storm: Option<u16>,
    /// `paravane.trace=`: how many of the last turns of vcpus on processors are printed at the end.
    pub trace: usize,
    /// Options not understood, or with values not understood, as written.
    pub ignored: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            serial_console: true,
            com1: Serial::COM1,
            loglvl: Threshold { always: LevelFilter::Warn, limited: LevelFilter::Warn },
            guest_loglvl: Threshold { always: LevelFilter::Off, limited: LevelFilter::Warn },
            conswitch: Switch::XEN,
            noreboot: false,
            sync_console: false,
            maxcpus: MAX_CPUS,
            watchdog: None,
            tslice_ms: 30,
            ratelimit_us: 1000,
            exit_port: None,
            audit: false,
            trace: 0,
            stall: false,
            nmi_storm: None,
            ignored: Vec::new(),
        }
    }
}

impl Options {
    /// Parses a command line. A later option overrides an earlier one.
    pub fn parse(line: &str) -> Self {
        let mut options = Self::default();
        for option in line.split_ascii_whitespace() {
            if options.apply(option).is_none() {
                options.ignored.push(String::from(option));
            }
        }
        options
    }

    /// What the scheduler is set to.
    pub fn scheduling(&self) -> Settings {
        Settings::new(self.tslice_ms, self.ratelimit_us).unwrap_or_default()
    }

    fn apply(&mut self, option: &str) -> Option<()> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        match name {
            "console" => self.serial_console = value?.split(',').any(|device| device == "com1"),
            "com1" => self.com1 = serial(value?, self.com1)?,
            "loglvl" => self.loglvl = threshold(value?)?,
            "conswitch" => self.conswitch = Switch::parse(value?)?,
            "guest_loglvl" => self.guest_loglvl = threshold(value?)?,
            "noreboot" => self.noreboot = boolean(value)?,
            "reboot" if value == Some("no") => self.noreboot = true,
            "sync_console" => self.sync_console = boolean(value)?,
            "no-sync_console" if value.is_none() => self.sync_console = false,
            // The one scheduler there is.
            "sched" if value == Some("credit") => {}
            "sched_credit_tslice_ms" => {
                let ms = u32::try_from(number(value?)?).ok()?;
                Settings::new(ms, self.ratelimit_us)?;
                self.tslice_ms = ms;
            }
            "sched_ratelimit_us" => {
                let us = u32::try_from(number(value?)?).ok()?;
                Settings::new(self.tslice_ms, us)?;
                self.ratelimit_us = us;
            }
            // There is no dom0 to give memory to; scripts that boot Xen pass this, so it is no mistake.
            "dom0_mem" => {}
            // Both 0 and 1 mean the one that boots, as for Xen.
            "maxcpus" => self.maxcpus = usize::try_from(number(value?)?).ok()?.clamp(1, MAX_CPUS),
            "nosmp" => self.maxcpus = if boolean(value)? { 1 } else { self.maxcpus },
            "watchdog" => self.watchdog = self.watchdog(value)?,
            "watchdog_timeout" => self.watchdog = seconds(value?)?,
            "paravane.trace" => {
                self.trace = usize::try_from(number(value?)?).ok().filter(|most| *most <= TRACE_MAX)?;
            }
            "paravane.audit" => self.audit = boolean(value)?,
            "paravane.stall" => self.stall = boolean(value)?,
            "paravane.nmi-storm" => {
                self.nmi_storm = Some(u16::try_from(number(value?)?).ok().filter(|ticks| *ticks >= 2)?);
            }
            "paravane.exit" => self.exit_port = Some(u16::try_from(number(value?)?).ok()?),
            _ => return None,
        }
        Some(())
    }

    /// Xen takes `force` besides the boolean words: it also takes NMIs that nobody asked for, as we always do.
    fn watchdog(&self, value: Option<&str>) -> Option<Option<u32>> {
        let wanted = value == Some("force") || boolean(value)?;
        Some(wanted.then(|| self.watchdog.unwrap_or(WATCHDOG_SECONDS)))
    }
}

/// Seconds of a timeout; 0 turns it off.
fn seconds(text: &str) -> Option<Option<u32>> {
    let seconds = u32::try_from(number(text)?).ok()?;
    Some((seconds != 0).then_some(seconds))
}

/// Xen's boolean words; an option alone means yes.
fn boolean(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("yes" | "on" | "true" | "enable" | "1") => Some(true),
        Some("no" | "off" | "false" | "disable" | "0") => Some(false),
        Some(_) => None,
    }
}

fn level(name: &str) -> Option<LevelFilter> {
    Some(match name {
        "none" => LevelFilter::Off,
        "error" => LevelFilter::Error,
        "warning" => LevelFilter::Warn,
        "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        "all" => LevelFilter::Trace,
        _ => return None,
    })
}

/// A single level counts for both; the rate-limited level never lies below the other (Xen's own rule).
fn threshold(value: &str) -> Option<Threshold> {
    let (always, limited) = value.split_once('/').unwrap_or((value, value));
    let (always, limited) = (level(always)?, level(limited)?);
    Some(Threshold { always, limited: limited.max(always) })
}

/// Numbers as C writes them: decimal, or hexadecimal with `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn serial(value: &str, base: Serial) -> Option<Serial> {
    let mut serial = base;
    let mut parts = value.split(',');
    match parts.next()? {
        "" => {}
        "auto" => serial.baud = None,
        baud => {
            // A divided base clock, as `baud/clock`, keeps its first part: the clock of a PC's UART is fixed.
            let baud = u32::try_from(number(baud.split('/').next()?)?).ok()?;
            // The divisor is 16 bits wide, so slower lines do not exist.
            if !(2..=115_200).contains(&baud) {
                return None;
            }
            serial.baud = Some(baud);
        }
    }
    if let Some(format) = parts.next().filter(|format| !format.is_empty()) {
        let &[data @ b'5'..=b'8', parity, stop @ b'1'..=b'2'] = format.as_bytes() else { return None };
        serial.data_bits = data - b'0';
        serial.stop_bits = stop - b'0';
        serial.parity = match parity {
            b'n' => Parity::None,
            b'o' => Parity::Odd,
            b'e' => Parity::Even,
            b'm' => Parity::Mark,
            b's' => Parity::Space,
            _ => return None,
        };
    }
    if let Some(port) = parts.next().filter(|port| !port.is_empty()) {
        serial.port = u16::try_from(number(port)?).ok()?;
    }
    Some(serial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn the_line_of_the_contract() {
        let options = Options::parse(
            "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all/all noreboot paravane.exit=0xf4",
        );
        assert!(options.serial_console && options.noreboot && !options.sync_console);
        assert_eq!(options.com1, Serial::COM1);
        assert_eq!(options.loglvl.always, LevelFilter::Trace);
        assert_eq!(options.guest_loglvl.limited, LevelFilter::Trace);
        assert_eq!(options.exit_port, Some(0xf4));
        assert!(options.ignored.is_empty());
    }

    #[test]
    fn an_empty_line_gives_the_defaults() {
        assert_eq!(Options::parse("  "), Options::default());
        assert_eq!(Options::default().guest_loglvl.always, LevelFilter::Off);
    }

    #[test]
    fn thresholds_have_two_parts() {
        let two = |value| threshold(value).map(|t| (t.always, t.limited));
        assert_eq!(two("error/info"), Some((LevelFilter::Error, LevelFilter::Info)));
        assert_eq!(two("info/error"), Some((LevelFilter::Info, LevelFilter::Info)));
        assert_eq!(two("debug"), Some((LevelFilter::Debug, LevelFilter::Debug)));
        assert_eq!(two("loud"), None);
        assert_eq!(two("all/"), None);
    }

    #[test]
    fn serial_settings() {
        let line = serial("9600,7e2,0x2f8,3", Serial::COM1).unwrap();
        assert_eq!(
            line,
            Serial { baud: Some(9600), data_bits: 7, parity: Parity::Even, stop_bits: 2, port: 0x2f8 }
        );
        assert_eq!(serial("auto", Serial::COM1).unwrap().baud, None);
        assert_eq!(serial(",8n1", Serial::COM1), Some(Serial::COM1));
        for bad in
            ["x", "0", "1", "230400", "9600,9n1", "9600,8x1", "9600,8n3", "9600,8n", "9600,8n1,0x10000"]
        {
            assert_eq!(serial(bad, Serial::COM1), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let options =
            Options::parse("sched=credit2 com1=fast noreboot=perhaps dom0_mem=1G paravane.exit=0x10000");
        let expected = ["sched=credit2", "com1=fast", "noreboot=perhaps", "paravane.exit=0x10000"];
        assert_eq!(options.ignored, expected);
        assert_eq!(Options { ignored: vec![], ..options }, Options::default());
    }

    #[test]
    fn processors() {
        let most = |line| {
            let options = Options::parse(line);
            (options.maxcpus, options.ignored.len())
        };
        for (line, expected) in [
            ("", (MAX_CPUS, 0)),
            ("maxcpus=3", (3, 0)),
            ("maxcpus=0", (1, 0)),
            ("maxcpus=1000", (MAX_CPUS, 0)),
            ("nosmp", (1, 0)),
            ("maxcpus=2 nosmp=no", (2, 0)),
            ("maxcpus", (MAX_CPUS, 1)),
            ("maxcpus=many", (MAX_CPUS, 1)),
            ("nosmp=perhaps", (MAX_CPUS, 1)),
        ] {
            assert_eq!(most(line), expected, "{line}");
        }
    }

    #[test]
    fn watchdog() {
        for (line, expected) in [
            ("", None),
            ("watchdog", Some(5)),
            ("watchdog=force", Some(5)),
            ("watchdog=no", None),
            ("watchdog_timeout=9", Some(9)),
            ("watchdog_timeout=9 watchdog", Some(9)),
            ("watchdog watchdog_timeout=0", None),
        ] {
            let options = Options::parse(line);
            assert_eq!((options.watchdog, options.ignored.len()), (expected, 0), "{line}");
        }
        assert_eq!(Options::parse("watchdog=often watchdog_timeout=-1").ignored.len(), 2);
    }

    #[test]
    fn what_tests_ask_for() {
        let options = Options::parse("paravane.audit paravane.nmi-storm=0x10 paravane.stall=no");
        assert_eq!((options.audit, options.nmi_storm, options.stall), (true, Some(16), false));
        let options = Options::parse("paravane.nmi-storm paravane.nmi-storm=1 paravane.nmi-storm=65536");
        assert_eq!((options.nmi_storm, options.ignored.len()), (None, 3));
    }

    #[test]
    fn later_options_win() {
        let options = Options::parse("noreboot sync_console noreboot=no no-sync_console console=vga");
        assert_eq!((options.noreboot, options.sync_console, options.serial_console), (false, false, false));
        assert!(Options::parse("console=vga,com1 reboot=no").serial_console);
    }
}
