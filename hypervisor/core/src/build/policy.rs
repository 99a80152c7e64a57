//! What the device tree says of a domain's life and of its share of the processors, in the words of `xl.cfg`.
//!
//! The hyperlaunch binding has no names for these; each is a property `paravane,NAME` with `xl.cfg`'s NAME and values.

use super::devicetree::Problem;
use super::fdt::{self, Writer};

/// What follows when a domain stops (`xl.cfg`'s on_poweroff and its like).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is destroyed.
    Destroy,
    /// It is destroyed and built again.
    Restart,
    /// It stays as it is, stopped.
    Preserve,
}

impl Action {
    const ALL: [Self; 3] = [Self::Destroy, Self::Restart, Self::Preserve];

    /// The name in `xl.cfg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Restart => "restart",
            Self::Preserve => "preserve",
        }
    }
}

/// The action for each way of stopping. Unlike `xl`, a domain that asks for a reboot is not started again unless that
/// is configured: the last domain's reboot is the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    /// It powered off.
    pub on_poweroff: Action,
    /// It asked to be started again.
    pub on_reboot: Action,
    /// It crashed.
    pub on_crash: Action,
    /// Its watchdog bit.
    pub on_watchdog: Action,
}

impl Default for Actions {
    fn default() -> Self {
        let action = Action::Destroy;
        Self { on_poweroff: action, on_reboot: action, on_crash: action, on_watchdog: action }
    }
}

impl Actions {
    /// The properties, by name.
    pub(super) fn named(&self) -> [(&'static str, Action); 4] {
        [
            ("paravane,on_poweroff", self.on_poweroff),
            ("paravane,on_reboot", self.on_reboot),
            ("paravane,on_crash", self.on_crash),
            ("paravane,on_watchdog", self.on_watchdog),
        ]
    }
}

/// A domain's share of the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Relative weight, 1 to 65535 (`cpu_weight`).
    pub weight: u16,
    /// Most percent of one processor's time, 0 for no limit (`cap`).
    pub cap: u32,
    /// The processors it may run on, a bit each (`cpus`).
    pub cpus: u64,
    /// It has those processors for itself.
    pub exclusive: bool,
}

impl Default for Share {
    fn default() -> Self {
        Self { weight: 256, cap: 0, cpus: u64::MAX, exclusive: false }
    }
}

/// The properties of a domain node that this module reads.
#[derive(Clone, Copy, Default)]
pub(super) struct Draft<'a> {
    on: [Option<&'a [u8]>; 4],
    weight: Option<&'a [u8]>,
    cap: Option<&'a [u8]>,
    cpus: Option<&'a [u8]>,
    exclusive: bool,
    restarts: Option<&'a [u8]>,
}

impl<'a> Draft<'a> {
    /// Takes a property, if it is one of these.
    pub(super) fn property(&mut self, name: &str, value: &'a [u8]) {
        match name {
            "paravane,on_poweroff" => self.on[0] = Some(value),
            "paravane,on_reboot" => self.on[1] = Some(value),
            "paravane,on_crash" => self.on[2] = Some(value),
            "paravane,on_watchdog" => self.on[3] = Some(value),
            "paravane,cpu_weight" => self.weight = Some(value),
            "paravane,cap" => self.cap = Some(value),
            "paravane,cpus" => self.cpus = Some(value),
            "paravane,max_restarts" => self.restarts = Some(value),
            "paravane,exclusive" => self.exclusive = true,
            _ => {}
        }
    }

    pub(super) fn actions(&self) -> Result<Actions, Problem> {
        let names = Actions::default().named();
        let mut chosen = [Action::Destroy; 4];
        for ((slot, (name, _)), value) in chosen.iter_mut().zip(names).zip(self.on) {
            let Some(value) = value else { continue };
            let text = fdt::string(value).ok_or(Problem::Value(name))?;
            *slot =
                Action::ALL.into_iter().find(|action| action.name() == text).ok_or(Problem::Value(name))?;
        }
        let [on_poweroff, on_reboot, on_crash, on_watchdog] = chosen;
        Ok(Actions { on_poweroff, on_reboot, on_crash, on_watchdog })
    }

    /// How often the domain is started again at most; `xl.cfg` has no name for it.
    pub(super) fn restarts(&self) -> Result<u32, Problem> {
        let number = |value| fdt::number(value).and_then(|n| u32::try_from(n).ok());
        self.restarts
            .map_or(Ok(u32::MAX), |value| number(value).ok_or(Problem::Value("paravane,max_restarts")))
    }

    pub(super) fn share(&self) -> Result<Share, Problem> {
        let mut share = Share { exclusive: self.exclusive, ..Share::default() };
        if let Some(value) = self.weight {
            share.weight = fdt::number(value)
                .and_then(|n| u16::try_from(n).ok())
                .filter(|n| *n > 0)
                .ok_or(Problem::Value("paravane,cpu_weight"))?;
        }
        if let Some(value) = self.cap {
            share.cap = fdt::number(value)
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| *n <= 6400)
                .ok_or(Problem::Value("paravane,cap"))?;
        }
        if let Some(value) = self.cpus {
            share.cpus = fdt::string(value).and_then(read_cpus).ok_or(Problem::Value("paravane,cpus"))?;
        }
        Ok(share)
    }
}

/// Writes the properties that differ from the defaults.
pub(super) fn write(tree: &mut Writer, actions: &Actions, share: &Share) {
    for (name, action) in actions.named().into_iter().filter(|(_, action)| *action != Action::Destroy) {
        tree.strings(name, &[action.name()]);
    }
    let default = Share::default();
    if share.weight != default.weight {
        tree.cells("paravane,cpu_weight", &[share.weight.into()]);
    }
    if share.cap != default.cap {
        tree.cells("paravane,cap", &[share.cap]);
    }
    if share.cpus != default.cpus {
        tree.strings("paravane,cpus", &[&write_cpus(share.cpus)]);
    }
    if share.exclusive {
        tree.cells("paravane,exclusive", &[]);
    }
}

/// A list of processors as `xl.cfg` writes it: numbers, ranges and exclusions (`0-3,^2`), or `all`; never empty.
pub fn read_cpus(text: &str) -> Option<u64> {
    let mut set = 0u64;
    for part in text.split(',') {
        let part = part.trim();
        let (part, without) = part.strip_prefix('^').map_or((part, false), |rest| (rest, true));
        let bits = if part == "all" {
            u64::MAX
        } else {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            if first > last || last >= u64::BITS {
                return None;
            }
            (u64::MAX >> (u64::BITS - 1 - (last - first))) << first
        };
        set = if without { set & !bits } else { set | bits };
    }
    (set != 0).then_some(set)
}

/// The list that [`read_cpus`] reads back.
pub fn write_cpus(set: u64) -> alloc::string::String {
    use core::fmt::Write;
    let mut text = alloc::string::String::new();
    if set == u64::MAX {
        text.push_str("all");
        return text;
    }
    for cpu in (0..u64::BITS).filter(|cpu| set >> cpu & 1 != 0) {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{cpu}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read_as_in_xl() {
        for (text, set) in [
            ("0", Some(1)),
            ("0-3,^2", Some(0b1011)),
            ("all", Some(u64::MAX)),
            ("all,^0", Some(u64::MAX - 1)),
            ("63", Some(1 << 63)),
            ("0-63", Some(u64::MAX)),
            (" 1 , 3 ", Some(0b1010)),
            ("", None),
            ("64", None),
            ("3-1", None),
            ("1,^1", None),
            ("one", None),
        ] {
            assert_eq!(read_cpus(text), set, "{text:?}");
        }
        for set in [1, 0b1010, u64::MAX, u64::MAX - 1] {
            assert_eq!(read_cpus(&write_cpus(set)), Some(set));
        }
    }
}
