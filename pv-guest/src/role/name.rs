//! What a kernel can be told to do instead of running programs.

/// A task chosen by `role=NAME` on the kernel's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Spins with events masked.
    Spin,
    /// Makes hypercalls as fast as it can.
    Hammer,
    /// Returns from a stack that is not there.
    CrashIret,
    /// Keeps a 100 Hz timer.
    Ticker,
    /// Asks to be started again, first thing.
    Reboot,
    /// Waits.
    Idle,
    /// Has the first program divide a job among threads.
    Parallel,
    /// Has the first program count what operations cost.
    Compare,
    /// Lends frames to another domain and sends a stream through them.
    ExchangeA,
    /// Takes that stream.
    ExchangeB,
    /// Gives memory away and takes it again.
    Balloon,
    /// Executes what is sensitive and does not trap.
    Refuses,
}

/// All of them, by name.
const NAMES: [(&str, Role); 12] = [
    ("spin", Role::Spin),
    ("hammer", Role::Hammer),
    ("crash-iret", Role::CrashIret),
    ("ticker", Role::Ticker),
    ("reboot", Role::Reboot),
    ("idle", Role::Idle),
    ("parallel", Role::Parallel),
    ("compare", Role::Compare),
    ("exchange-a", Role::ExchangeA),
    ("exchange-b", Role::ExchangeB),
    ("balloon", Role::Balloon),
    ("refuses", Role::Refuses),
];

impl Role {
    /// The role of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(its, _)| *its == name).map(|(_, role)| *role)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_roles_are_one_to_one() {
        for (name, role) in NAMES {
            assert_eq!(Role::from_name(name), Some(role));
            assert_eq!(role.name(), name);
        }
        assert_eq!(Role::from_name(""), None);
    }
}
