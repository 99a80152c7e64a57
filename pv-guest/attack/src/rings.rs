//! Attacks that a kernel in one ring alone can make, with the reason why one in the other cannot.

/// In which rings an attack can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// In both.
    Both,
    /// In ring 1 alone, for this reason.
    One(&'static str),
    /// In ring 3 alone, for this reason.
    Three(&'static str),
}

impl Rings {
    /// Why a kernel in ring 3 (or else in ring 1) cannot make it, if it cannot.
    #[must_use]
    pub const fn why_not(self, in_ring3: bool) -> Option<&'static str> {
        match (self, in_ring3) {
            (Self::One(why), true) | (Self::Three(why), false) => Some(why),
            _ => None,
        }
    }
}

/// All attacks of one ring alone that a domain survives.
pub const ONE_ALONE: &[(&str, Rings)] = &[
    ("entry-stacks", Rings::One("ring 3 reaches nothing of the entry area")),
    ("syscall-from-ring-1", Rings::One("in ring 3 the kernel's syscall is its hypercall")),
    (
        "stack-switch-syscall",
        Rings::One("the hypervisor pushes a frame there, so a bad stack ends the domain"),
    ),
    (
        "int80-hypervisor-stack",
        Rings::One("no gate leads from ring 3 to ring 3: the hypervisor pushes a frame"),
    ),
    ("local-table", Rings::One("a kernel in ring 3 has local tables: local-table-checked is about them")),
    ("smp-entry-stacks", Rings::One("ring 3 reaches nothing of the entry area")),
    ("hypervisor-unreachable", Rings::Three("ring 1 reaches the entry area, which entry-stacks is about")),
    ("kernel-pages", Rings::Three("in ring 1 the processor keeps programs from the kernel's pages")),
    ("user-roots", Rings::Three("in ring 1 kernel and programs share one root")),
    ("int-0x82", Rings::Three("in ring 1 it is the hypercall")),
    ("local-table-checked", Rings::Three("a kernel in ring 1 has no local table")),
];

/// In which rings an attack of this name can be made.
#[must_use]
pub fn of(name: &str) -> Rings {
    ONE_ALONE.iter().find(|(one, _)| *one == name).map_or(Rings::Both, |(_, rings)| *rings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_for_both() {
        assert_eq!(of("global-pages"), Rings::Both);
        assert_eq!(of("entry-stacks").why_not(false), None);
        assert!(of("entry-stacks").why_not(true).is_some());
        assert!(of("user-roots").why_not(false).is_some());
        for (index, (name, rings)) in ONE_ALONE.iter().enumerate() {
            assert_ne!(*rings, Rings::Both, "{name}");
            assert!(ONE_ALONE[..index].iter().all(|(other, _)| other != name), "{name}");
        }
    }
}
