//! The life of a device (`xen/io/xenbus.h`): the states that both ends show each other in xenstore.
//!
//! Each end owns a folder and writes its state, a decimal number, to the key [`STATE_KEY`] in it; the other end watches it.
//!
//! | frontend | backend |
//! |---|---|
//! | `Initialising` | `Initialising`, then `InitWait`: its offers are written |
//! | writes its ring and port, `Initialised` | maps the ring, binds the port, writes what it has, `Connected` |
//! | `Connected` | |
//! | `Closing`, then `Closed` | sees either, lets go of the ring, `Closing`, then `Closed` |

use crate::macros::xen_constants;

/// Key of the state.
pub const STATE_KEY: &str = "state";

xen_constants! {
    /// No state is known, as when the other end's folder is gone.
    pub const XENBUS_STATE_UNKNOWN: u32 = 0 => XenbusStateUnknown;
    /// Starting up.
    pub const XENBUS_STATE_INITIALISING: u32 = 1 => XenbusStateInitialising;
    /// Has written what it offers and waits for the other end.
    pub const XENBUS_STATE_INIT_WAIT: u32 = 2 => XenbusStateInitWait;
    /// Has written all the other end needs to connect.
    pub const XENBUS_STATE_INITIALISED: u32 = 3 => XenbusStateInitialised;
    /// In use.
    pub const XENBUS_STATE_CONNECTED: u32 = 4 => XenbusStateConnected;
    /// Going away, by an error or on request.
    pub const XENBUS_STATE_CLOSING: u32 = 5 => XenbusStateClosing;
    /// Gone.
    pub const XENBUS_STATE_CLOSED: u32 = 6 => XenbusStateClosed;
    /// Changing its configuration.
    pub const XENBUS_STATE_RECONFIGURING: u32 = 7 => XenbusStateReconfiguring;
    /// Has changed its configuration.
    pub const XENBUS_STATE_RECONFIGURED: u32 = 8 => XenbusStateReconfigured;
}

/// The state of one end of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum XenbusState {
    /// No state is known.
    #[default]
    Unknown = XENBUS_STATE_UNKNOWN,
    /// Starting up.
    Initialising = XENBUS_STATE_INITIALISING,
    /// Has written what it offers and waits for the other end.
    InitWait = XENBUS_STATE_INIT_WAIT,
    /// Has written all the other end needs to connect.
    Initialised = XENBUS_STATE_INITIALISED,
    /// In use.
    Connected = XENBUS_STATE_CONNECTED,
    /// Going away.
    Closing = XENBUS_STATE_CLOSING,
    /// Gone.
    Closed = XENBUS_STATE_CLOSED,
    /// Changing its configuration.
    Reconfiguring = XENBUS_STATE_RECONFIGURING,
    /// Has changed its configuration.
    Reconfigured = XENBUS_STATE_RECONFIGURED,
}

impl XenbusState {
    /// All of them, in order of number.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Initialising,
        Self::InitWait,
        Self::Initialised,
        Self::Connected,
        Self::Closing,
        Self::Closed,
        Self::Reconfiguring,
        Self::Reconfigured,
    ];

    /// The state that a value in xenstore names; `Unknown` for anything that is no state.
    pub fn from_value(value: &[u8]) -> Self {
        match value.strip_suffix(&[0]).unwrap_or(value) {
            &[digit @ b'0'..=b'8'] => Self::ALL[usize::from(digit - b'0')],
            _ => Self::Unknown,
        }
    }

    /// The value to write to xenstore.
    pub const fn value(self) -> &'static str {
        ["0", "1", "2", "3", "4", "5", "6", "7", "8"][self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_states_are_inverse() {
        for (number, state) in XenbusState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
            assert_eq!(XenbusState::from_value(state.value().as_bytes()), state);
        }
        for other in [b"".as_slice(), b"9", b"10", b"x", b"-1", b"4 "] {
            assert_eq!(XenbusState::from_value(other), XenbusState::Unknown);
        }
        assert_eq!(XenbusState::from_value(b"4\0"), XenbusState::Connected);
    }
}
