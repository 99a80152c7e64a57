//! What the hypervisor understands when the input is its own: single keys, as Xen has them, and two that Xen has not,
//! because there its tools do this: a domain is asked to stop or to start again.

use crate::addr::DomainId;

/// The list, as the key for it shows it.
pub const HELP: &str = "h (this list), q (domains and their vcpus), k and b (ask a domain to power off, or to reboot: its number and Enter)";

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The list of keys.
    Help,
    /// What domains there are.
    Domains,
    /// A number is expected now.
    Number(Request),
    /// Domains are to be asked: one, or without a number all.
    Ask(Request, Option<DomainId>),
    /// What was typed is no number of a domain; nothing is done.
    Nothing,
}

/// What a domain can be asked, by `control/shutdown` in xenstore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To power off.
    PowerOff,
    /// To reboot.
    Reboot,
}

impl Request {
    /// As the node has it (Xen's `xenstore-paths`, "~/control/shutdown").
    pub const fn text(self) -> &'static str {
        match self {
            Self::PowerOff => "poweroff",
            Self::Reboot => "reboot",
        }
    }
}

/// Keys typed so far that belong together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys {
    /// A request whose number is being typed, and the number.
    asked: Option<(Request, Option<u16>)>,
}

impl Keys {
    /// Takes a key.
    pub fn press(&mut self, key: u8) -> Option<Wish> {
        let Some((request, number)) = self.asked.take() else {
            return self.first(key);
        };
        match key {
            b'0'..=b'9' => {
                let more = number.unwrap_or(0).checked_mul(10);
                let Some(number) = more.and_then(|more| more.checked_add((key - b'0').into())) else {
                    return Some(Wish::Nothing);
                };
                self.asked = Some((request, Some(number)));
                None
            }
            b'\r' | b'\n' => Some(Wish::Ask(request, number.map(DomainId))),
            _ => Some(Wish::Nothing),
        }
    }

    fn first(&mut self, key: u8) -> Option<Wish> {
        let request = match key {
            b'h' => return Some(Wish::Help),
            b'q' => return Some(Wish::Domains),
            b'k' => Request::PowerOff,
            b'b' => Request::Reboot,
            _ => return None,
        };
        self.asked = Some((request, None));
        Some(Wish::Number(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn wishes(keys: &str) -> Vec<Wish> {
        let mut state = Keys::default();
        keys.bytes().filter_map(|key| state.press(key)).collect()
    }

    #[test]
    fn single_keys_act_at_once_and_others_are_nothing() {
        assert_eq!(wishes("hxq7\r"), [Wish::Help, Wish::Domains]);
    }

    #[test]
    fn a_number_follows_a_request() {
        use Request::{PowerOff, Reboot};
        let number = |keys| wishes(keys)[1];
        assert_eq!(wishes("k12\rh")[0], Wish::Number(PowerOff));
        assert_eq!(number("k12\rh"), Wish::Ask(PowerOff, Some(DomainId(12))));
        assert_eq!(wishes("k12\rh")[2], Wish::Help);
        assert_eq!(number("b0\n"), Wish::Ask(Reboot, Some(DomainId(0))));
        assert_eq!(number("b\r"), Wish::Ask(Reboot, None));
        assert_eq!(number("k65535\r"), Wish::Ask(PowerOff, Some(DomainId(65535))));
        // What is no number ends it, and the next key is a key again.
        assert_eq!(wishes("k6553655h"), [Wish::Number(PowerOff), Wish::Nothing, Wish::Help]);
        assert_eq!(wishes("k1hh"), [Wish::Number(PowerOff), Wish::Nothing, Wish::Help]);
    }
}
