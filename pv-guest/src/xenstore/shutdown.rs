//! What a domain does when it is asked to stop: it reads `control/shutdown`, empties it as a receipt, and stops.

/// The node.
pub const NODE: &[u8] = b"control/shutdown\0";
/// The token of the watch on it.
pub const TOKEN: &[u8] = b"shutdown";

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `poweroff`, and `halt`, which is no more.
    PowerOff,
    /// `reboot`.
    Reboot,
}

/// How far it is. Requests are named by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing was asked.
    #[default]
    Idle,
    /// The node is being read.
    Reading(u32),
    /// The receipt is being written.
    Clearing(u32, Wish),
}

impl Shutdown {
    /// The node has changed. Whether it is to be read; the request's number goes to [`Self::reads`].
    pub fn changed(self) -> bool {
        // A read under way may have been answered with the older value.
        !matches!(self, Self::Clearing(..))
    }

    /// The read was sent under a number.
    pub fn reads(&mut self, id: u32) {
        *self = Self::Reading(id);
    }

    /// The node's value has come, if this is the reply. What was asked, if anything: then the receipt is to be sent, and
    /// its number goes to [`Self::clears`].
    pub fn value(&mut self, id: u32, value: &[u8]) -> Option<Wish> {
        if *self != Self::Reading(id) {
            return None;
        }
        *self = Self::Idle;
        match value {
            b"poweroff" | b"halt" => Some(Wish::PowerOff),
            b"reboot" => Some(Wish::Reboot),
            _ => None,
        }
    }

    /// The receipt was sent under a number.
    pub fn clears(&mut self, id: u32, wish: Wish) {
        *self = Self::Clearing(id, wish);
    }

    /// What is to be done now, if this is the reply to the receipt.
    pub fn done(self, id: u32) -> Option<Wish> {
        match self {
            Self::Clearing(number, wish) if number == id => Some(wish),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_and_receipted_before_it_is_obeyed() {
        for (value, wish) in
            [(&b"poweroff"[..], Wish::PowerOff), (b"halt", Wish::PowerOff), (b"reboot", Wish::Reboot)]
        {
            let mut state = Shutdown::default();
            assert!(state.changed());
            state.reads(5);
            assert_eq!(state.value(4, value), None, "another request's reply");
            assert_eq!(state.value(5, value), Some(wish));
            state.clears(6, wish);
            // The receipt is a change of the node, too.
            assert!(!state.changed());
            assert_eq!((state.done(5), state.done(6)), (None, Some(wish)));
        }
    }

    #[test]
    fn other_values_are_nothing_and_a_later_change_is_read_again() {
        let mut state = Shutdown::default();
        for value in [&b""[..], b"suspend", b"poweroff "] {
            state.reads(1);
            assert_eq!(state.value(1, value), None);
            assert_eq!(state, Shutdown::Idle);
        }
        state.reads(1);
        assert!(state.changed());
        state.reads(2);
        assert_eq!((state.value(1, b""), state.value(2, b"reboot")), (None, Some(Wish::Reboot)));
    }
}
