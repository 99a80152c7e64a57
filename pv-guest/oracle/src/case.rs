//! What a case is.

/// Why a value differs, though both hypervisors behave alike.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// The value's name without the case's; a final `*` stands for any ending.
    pub value: &'static str,
    /// The configuration that makes the difference.
    pub reason: &'static str,
}

impl Explained {
    /// Whether this is about a value of the case.
    #[must_use]
    pub fn covers(&self, value: &str) -> bool {
        match self.value.strip_suffix('*') {
            Some(start) => value.starts_with(start),
            None => value == self.value,
        }
    }
}

/// A case: what it observes, and what may differ.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, without dots.
    pub name: &'static str,
    /// What it is about, for lists.
    pub about: &'static str,
    /// The differences that configuration makes.
    pub explained: &'static [Explained],
    /// Observes and prints.
    pub observe: fn(),
}

/// Why values differ between the first domain of Xen and a domain of Paravane.
pub mod because {
    /// Xen builds its first domain itself.
    pub const BUILDER: &str =
        "Xen builds its first domain by itself, and Paravane as Xen's tools build the others";
    /// The first domain may do everything.
    pub const PRIVILEGE: &str =
        "Xen's first domain is privileged and has devices, a domain of Paravane does not";
    /// Nobody serves the first domain, since it is the one that serves.
    pub const SERVED: &str = "Xen's first domain serves xenstore and the console, and has no rings of them";
    /// A feature that depends on what the hypervisor makes of the processor.
    pub const FEATURES: &str = "Xen makes LFENCE serialise and says so, Paravane does neither";
    /// Parts of Xen that its builder may leave out.
    pub const BUILD: &str = "an option of Xen's build, which Paravane leaves out";
    /// The processor sees a guest's table of descriptors through a read-only mapping.
    pub const ACCESSED: &str = "Paravane sets accessed bits beforehand, so that the processor need not";
    /// There is no source of machine checks.
    pub const MACHINE_CHECKS: &str = "Paravane reports no machine checks, and keeps no state of them";
    /// A fault of the emulator's, which another version may not have.
    pub const EMULATOR: &str = "a fault of the emulator's";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    #[test]
    fn names_are_distinct_and_without_dots() {
        for (index, case) in cases::ALL.iter().enumerate() {
            assert!(case.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", case.name);
            assert!(cases::ALL[..index].iter().all(|other| other.name != case.name), "{}", case.name);
            for (index, explained) in case.explained.iter().enumerate() {
                let earlier = &case.explained[..index];
                assert!(!earlier.iter().any(|other| other.covers(explained.value)), "{}", explained.value);
            }
        }
    }

    #[test]
    fn an_explanation_covers_its_value_alone() {
        let one = Explained { value: "flags", reason: "" };
        assert!(one.covers("flags") && !one.covers("flags2"));
        let many = Explained { value: "leaf.*", reason: "" };
        assert!(many.covers("leaf.1") && many.covers("leaf.") && !many.covers("leaf"));
    }
}
