//! The attacks of a kernel on a PC, by name.

/// Those that a bare machine survives as well: what they find there is what a processor does.
pub const EVERYWHERE: &[&str] = &[
    "pc-root-maps-itself",
    "pc-own-translation",
    "pc-half-in-table",
    "pc-code-in-table",
    "pc-table-of-all-levels",
    "pc-many-roots",
    "pc-many-tables",
    "pc-many-aliases",
    "pc-write-protection",
    "pc-program-writes-table",
    "pc-table-strings",
    "pc-swapgs",
    "pc-privilege-level",
    "pc-no-interrupts",
    "pc-endless-string",
];

/// Those that ask for more than a bare machine must do, that harm it, or for which QEMU does not what a processor does: it
/// looks at no base whether it is canonical (docs/caveats.md).
pub const PRETENDED: &[&str] = &[
    "pc-tables-nowhere",
    "pc-bases",
    "pc-table-places",
    "pc-gate-limits",
    "pc-reserved-bits",
    "pc-root-garbage",
    "pc-hypervisor-slots",
    "pc-large-pages",
    "pc-no-execute",
    "pc-gate-places",
    "pc-gate-types",
    "pc-gate-targets",
    "pc-gate-stacks",
    "pc-ring0-stacks",
    "pc-task-state",
    "pc-double-fault",
    "pc-descriptors",
    "pc-descriptors-changed",
    "pc-all-selectors",
    "pc-far-transfers",
    "pc-local-table",
    "pc-looked-at",
    "pc-control-registers",
    "pc-root-addresses",
    "pc-debug-registers",
    "pc-breakpoints",
    "pc-msrs-read",
    "pc-msrs-written",
    "pc-extended-state",
    "pc-prefixes",
    "pc-single-step",
    "pc-page-edges",
    "pc-end-of-half",
    "pc-other-instructions",
    "pc-written-code",
    "pc-frame-flags",
    "pc-popf-flags",
    "pc-all-vectors",
    "pc-hypercalls",
    "pc-system-calls",
    "pc-compatibility",
    "pc-ports-read",
    "pc-ports-written",
    "pc-port-strings",
    "pc-timer-storm",
    "pc-controller-modes",
    "pc-timer-modes",
    "pc-devices-garbage",
];

/// An attack that the domain does not come back from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its name.
    pub name: &'static str,
    /// What is tried.
    pub reason: &'static str,
}

const fn last(name: &'static str, reason: &'static str) -> Last {
    Last { name, reason }
}

/// Those that end the domain: nothing of its own handles its exceptions.
pub const FATAL: &[Last] = &[
    last("pc-idt-empty", "an IDT with a limit of 0"),
    last("pc-idt-unmapped", "an IDT that is not mapped"),
    last("pc-idt-hypervisor", "an IDT in the hypervisor's entry area"),
    last("pc-handlers-nowhere", "handlers at addresses that are not canonical, that of the double fault too"),
    last("pc-handler-stacks-nowhere", "every handler's stack at an address that is not canonical"),
    last(
        "pc-handler-stacks-hypervisor",
        "every handler's stack in the hypervisor's entry area: frames would be written with ring 0's rights",
    ),
    last("pc-gdt-empty", "a GDT with a limit of 0: no handler's segment"),
    last("pc-gdt-unmapped", "a GDT that is not mapped"),
    last("pc-task-unmapped", "a task state that is not mapped, and a program's exception"),
    last("pc-root-random", "a root of random words"),
    last("pc-root-zero", "a root of zeros"),
    last("pc-root-beyond-memory", "a root behind the end of memory"),
    last("pc-root-device", "a root where a PC has its interrupt controller"),
    last("pc-root-far", "a root at the end of what CR3 can name"),
    last("pc-kernel-gone", "the kernel's own slot of the root, taken out"),
];

/// Those that neither end nor go on.
pub const FOREVER: &[Last] = &[
    last("pc-halts", "hlt with interrupts off: it waits for good"),
    last("pc-spins", "a loop with interrupts off"),
    last("pc-faults", "a handler that faults again, each time in a way that is delivered"),
];

/// The attack of a name, of those that the domain does not come back from.
#[must_use]
pub fn find(name: &str) -> Option<&'static Last> {
    FATAL.iter().chain(FOREVER).find(|last| last.name == name)
}

/// Whether a byte written to a port, or as one of four from there on, may end the machine. `exit` is the exit device's.
#[must_use]
pub fn ends_the_machine(port: u16, exit: u16) -> bool {
    [exit, 0x64, 0x92, 0xcf9].iter().any(|ends| (ends.saturating_sub(3)..=*ends).contains(&port))
        || (exit..=exit.saturating_add(3)).contains(&port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let last = FATAL.iter().chain(FOREVER).map(|last| last.name);
        let mut names: Vec<&str> = EVERYWHERE.iter().chain(PRETENDED).copied().chain(last).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| name.starts_with("pc-")));
        assert!(find("pc-halts").is_some() && find("pc-root-zero").is_some() && find("pc-swapgs").is_none());
    }

    #[test]
    fn what_ends_the_machine_is_left_out_at_every_width() {
        for port in [0xf1, 0xf4, 0xf7, 0x61, 0x64, 0x8f, 0x92, 0xcf6, 0xcf9] {
            assert!(ends_the_machine(port, 0xf4), "{port:#x}");
        }
        for port in [0xf0, 0xf8, 0x60, 0x65, 0x20, 0x3f8, 0xcfa] {
            assert!(!ends_the_machine(port, 0xf4), "{port:#x}");
        }
    }
}
