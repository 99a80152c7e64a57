//! The consoles: each guest's ring, and the one serial line that all of them and the hypervisor's log share.
//!
//! One domain has the console at a time: what is typed goes to it, and what it prints goes out as it comes, because it may
//! be a prompt. The others' output is collected by lines, and a line goes out whole and marked with its domain, as Xen
//! prints what domains write that have no console of their own.

mod focus;
mod keys;
mod limit;
mod lines;
mod open;
mod ring;

use log::Level;

use crate::cmdline::{Options, Threshold};

pub use focus::{Focus, Key, Receiver, Switch};
pub use keys::{HELP, Keys, Request, Wish};
pub use limit::Limiter;
pub use lines::{LINE_MAX, LineBuffer};
pub use open::OpenLine;
pub use ring::{IN_SIZE, OUT_SIZE, RingPage, drain, fill, input_room};

/// What all consoles have in common.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Who has the console.
    pub focus: Focus,
    /// What is typed to the hypervisor.
    pub keys: Keys,
    /// `guest_loglvl=`.
    pub loglvl: Threshold,
    /// What limits messages between the two levels.
    pub limiter: Limiter,
}

impl Terminal {
    /// Whether a message of a guest's, of a level, may be printed at a system time.
    pub fn allows(&mut self, level: Level, now: u64) -> bool {
        if level <= self.loglvl.always {
            return true;
        }
        if level > self.loglvl.limited {
            return false;
        }
        match self.limiter.allow(now) {
            None => false,
            Some(suppressed) => {
                if suppressed != 0 {
                    log::warn!("{suppressed} messages of guests were suppressed");
                }
                true
            }
        }
    }
}

impl Default for Terminal {
    fn default() -> Self {
        let Options { guest_loglvl: loglvl, conswitch, .. } = Options::default();
        Self { focus: Focus::new(conswitch), keys: Keys::default(), loglvl, limiter: Limiter::new() }
    }
}
