//! Who gets what is typed.

use crate::addr::DomainId;

/// How input is switched (`conswitch=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The letter that, typed three times with the control key, gives the next receiver the input; `None` if nothing does.
    pub letter: Option<u8>,
    /// Whether the first domain gets the input by itself.
    pub automatic: bool,
}

impl Switch {
    /// Xen's default, Ctrl-A.
    pub const XEN: Self = Self { letter: Some(b'a'), automatic: true };

    /// Reads the option's value: a letter, or a backquote for none; `x` behind it keeps the input with the hypervisor.
    pub fn parse(value: &str) -> Option<Self> {
        let (&first, rest) = value.as_bytes().split_first()?;
        let letter = match first {
            b'a'..=b'z' => Some(first),
            b'`' => None,
            _ => return None,
        };
        Some(Self { letter, automatic: rest.first() != Some(&b'x') })
    }

    /// What the key sends.
    fn code(self) -> Option<u8> {
        self.letter.map(|letter| letter - b'a' + 1)
    }
}

/// Who gets what is typed, and whose output goes out as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The domain that is built next.
    Next,
    /// The hypervisor.
    Hypervisor,
    /// A domain.
    Domain(DomainId),
}

/// What a typed byte means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// It may be the first or second of three: nothing yet.
    Kept,
    /// The input is to be switched.
    Switch,
    /// So many of the switching key that were kept, and then the byte itself, are for the receiver.
    Passed(u8),
}

/// The input's state.
#[derive(Clone, Copy, Debug)]
pub struct Focus {
    /// Who gets it.
    pub receiver: Receiver,
    /// By what it is switched.
    pub switch: Switch,
    /// Switching keys in a row.
    kept: u8,
}

/// So many in a row switch.
const IN_A_ROW: u8 = 3;

impl Focus {
    /// Before anything was typed.
    pub const fn new(switch: Switch) -> Self {
        let receiver = if switch.automatic { Receiver::Next } else { Receiver::Hypervisor };
        Self { receiver, switch, kept: 0 }
    }

    /// Takes a typed byte.
    pub fn key(&mut self, byte: u8) -> Key {
        if self.switch.code() == Some(byte) {
            self.kept += 1;
            if self.kept < IN_A_ROW {
                return Key::Kept;
            }
            self.kept = 0;
            return Key::Switch;
        }
        Key::Passed(core::mem::take(&mut self.kept))
    }

    /// What the switching key sends, for those that were kept.
    pub fn code(&self) -> u8 {
        self.switch.code().unwrap_or(0)
    }

    /// Whether a domain has the input.
    pub fn is_at(&self, domain: DomainId) -> bool {
        self.receiver == Receiver::Domain(domain)
    }

    /// Who comes next: the domains by their numbers, then the hypervisor.
    pub fn next(&self, domains: impl Iterator<Item = DomainId>) -> Receiver {
        let above = match self.receiver {
            Receiver::Domain(current) => Some(current),
            Receiver::Hypervisor | Receiver::Next => None,
        };
        match domains.filter(|id| Some(*id) > above).min() {
            Some(id) => Receiver::Domain(id),
            None => Receiver::Hypervisor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn three_in_a_row_switch_and_fewer_are_passed_on() {
        let mut focus = Focus::new(Switch::XEN);
        let keys: Vec<Key> =
            b"\x01\x01x\x01\x01\x01y\x01\x01\x01".iter().map(|byte| focus.key(*byte)).collect();
        use Key::{Kept, Passed};
        assert_eq!(
            keys,
            [Kept, Kept, Passed(2), Kept, Kept, Key::Switch, Passed(0), Kept, Kept, Key::Switch]
        );
        assert_eq!(focus.code(), 1);
    }

    #[test]
    fn domains_take_turns_with_the_hypervisor() {
        let mut focus = Focus::new(Switch::XEN);
        let ids = [7, 2, 4].map(DomainId);
        let mut order = Vec::new();
        for _ in 0..5 {
            focus.receiver = focus.next(ids.into_iter());
            order.push(focus.receiver);
        }
        let domain = |id| Receiver::Domain(DomainId(id));
        assert_eq!(order, [domain(2), domain(4), domain(7), Receiver::Hypervisor, domain(2)]);
        // A receiver that is gone is no dead end.
        focus.receiver = domain(5);
        assert_eq!(focus.next(ids.into_iter()), domain(7));
        assert_eq!(focus.next([].into_iter()), Receiver::Hypervisor);
    }

    #[test]
    fn the_key_is_a_choice() {
        assert_eq!(Switch::parse("a"), Some(Switch::XEN));
        assert_eq!(Switch::parse("ox"), Some(Switch { letter: Some(b'o'), automatic: false }));
        assert_eq!(Switch::parse("b!"), Some(Switch { letter: Some(b'b'), automatic: true }));
        for bad in ["", "A", "1", "\u{e4}"] {
            assert_eq!(Switch::parse(bad), None, "{bad}");
        }
        let mut focus = Focus::new(Switch::parse("`x").unwrap());
        assert_eq!(focus.receiver, Receiver::Hypervisor);
        assert!([0, 1, 1, 1].iter().all(|byte| focus.key(*byte) == Key::Passed(0)));
    }
}
