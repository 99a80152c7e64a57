//! Attacks that end the domain that makes them. Each is a boot of its own: `attack=NAME`.

use crate::rings::Rings;

/// An attack after which the hypervisor ends the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// The name behind `attack=`.
    pub name: &'static str,
    /// Why the domain ends, as the hypervisor's report of the crash words it.
    pub report: &'static str,
    /// What is tried, and what it would do if it were let through.
    pub reason: &'static str,
    /// In which rings it can be made.
    pub rings: Rings,
}

const fn fatal(name: &'static str, report: &'static str, reason: &'static str) -> Fatal {
    Fatal { name, report, reason, rings: Rings::Both }
}

impl Fatal {
    const fn only(self, rings: Rings) -> Self {
        Self { rings, ..self }
    }
}

/// All of them.
pub const ALL: &[Fatal] = &[
    fatal(
        "stack-switch-unmapped",
        "could not be written",
        "an exception from ring 3 onto a kernel stack that is not mapped",
    ),
    fatal(
        "stack-switch-read-only",
        "could not be written",
        "an exception from ring 3 onto a kernel stack that ring 1 may not write",
    ),
    fatal(
        "stack-switch-not-canonical",
        "is unusable for a bounce frame",
        "an exception from ring 3 onto a kernel stack at an address that does not exist",
    ),
    fatal(
        "stack-switch-hypervisor",
        "is unusable for a bounce frame",
        "an exception from ring 3 onto a kernel stack in the entry area: the bounce frame would be written with ring 0's rights",
    ),
    fatal(
        "stack-switch-page-table",
        "could not be written",
        "an exception from ring 3 onto a kernel stack that is a page table: the bounce frame would be its entries",
    ),
    fatal("int80-unmapped", "could not be written", "a direct gate's frame onto a stack that is not mapped"),
    fatal(
        "int80-not-canonical",
        "is unusable for a bounce frame",
        "a direct gate's frame onto a stack at an address that does not exist",
    ),
    fatal(
        "bounce-unmapped",
        "could not be written",
        "an exception in ring 1 with RSP at a page that is not mapped",
    ),
    fatal(
        "bounce-read-only",
        "could not be written",
        "an exception in ring 1 with RSP at a page that it may not write",
    ),
    fatal(
        "bounce-not-canonical",
        "is unusable for a bounce frame",
        "an exception in ring 1 with RSP at an address that does not exist",
    ),
    fatal(
        "bounce-hypervisor",
        "is unusable for a bounce frame",
        "an exception in ring 1 with RSP in the entry area's descriptor table",
    ),
    fatal(
        "bounce-entry-stack",
        "is unusable for a bounce frame",
        "an exception in ring 1 with RSP in the entry stack, which ring 1 can write",
    ),
    fatal("bounce-page-table", "could not be written", "an exception in ring 1 with RSP in a page table"),
    fatal(
        "bounce-wraps",
        "is unusable for a bounce frame",
        "an exception in ring 1 with RSP where the frame would wrap round",
    ),
    fatal(
        "event-unmapped",
        "could not be written",
        "an event in ring 3 onto a kernel stack that is not mapped",
    ),
    fatal("no-handler", "no handler registered", "an exception without a handler"),
    fatal(
        "handler-hypervisor",
        "is not an address of the guest's",
        "an exception whose handler is an address of the hypervisor's",
    ),
    fatal(
        "syscall-into-entry-area",
        "could not be written",
        "`syscall` whose callback is the entry code itself",
    )
    .only(Rings::One("in ring 3 syscall-into-hypervisor is the same")),
    fatal(
        "base-without-kernel",
        "could not be written",
        "a base pointer load that takes the kernel away from under itself",
    ),
    fatal(
        "entry-code",
        "is unusable for a bounce frame",
        "the entry code executed by ring 1 where it takes the hypervisor's stack",
    )
    .only(Rings::One("ring 3 cannot fetch from the entry area")),
    fatal(
        "syscall-unmapped",
        "could not be written",
        "a system call onto a kernel stack that is not mapped",
    )
    .only(Rings::Three("in ring 1 nothing is pushed: stack-switch-syscall")),
    fatal(
        "syscall-hypervisor-stack",
        "is unusable for a bounce frame",
        "a system call onto a kernel stack in the entry area: the frame would be written with ring 0's rights",
    )
    .only(Rings::Three("in ring 1 nothing is pushed: stack-switch-syscall")),
    fatal(
        "syscall-into-hypervisor",
        "is not an address of the guest's",
        "a system call whose callback is an address of the hypervisor's",
    )
    .only(Rings::Three("in ring 1 the instruction does not exist then: syscall-no-callback")),
    fatal(
        "no-user-table",
        "return to a program without user page tables",
        "a return to a program that has no table: it would run on the kernel's",
    )
    .only(Rings::Three("in ring 1 kernel and programs share one table")),
];

/// The attack of a name.
pub fn find(name: &str) -> Option<&'static Fatal> {
    ALL.iter().find(|fatal| fatal.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_found() {
        for (index, one) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != one.name), "{}", one.name);
            assert_eq!(find(one.name), Some(one));
        }
        assert_eq!(find("none"), None);
    }
}
