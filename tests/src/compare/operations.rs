//! The operations that are compared, and the machines: the one place where their names stand.
//!
//! What an operation is on the guest's side is in `pv-guest/src/compare` (what a kernel does) and in
//! `pv-guest/user/src/bin/compare.rs` (what begins in ring 3).

/// A machine: a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    /// Bare QEMU.
    Native,
    /// Paravane, the kernel in ring 1.
    PvRing1,
    /// Paravane, the kernel in ring 3.
    PvRing3,
    /// Paravane, the native kernel in ring 1, each privileged instruction emulated.
    Trap,
    /// Debian's Xen 4.17, the kernel in ring 3.
    Xen,
}

impl Machine {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 5] = [Self::Native, Self::PvRing1, Self::PvRing3, Self::Trap, Self::Xen];

    /// As the command line and the JSON name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::PvRing1 => "pv-ring1",
            Self::PvRing3 => "pv-ring3",
            Self::Trap => "trap",
            Self::Xen => "xen",
        }
    }

    /// The machine of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|machine| machine.name() == name)
    }

    /// What `cargo xtask qemu` boots it by.
    #[must_use]
    pub const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Native => &["--machine", "native"],
            Self::PvRing1 => &["--machine", "pv-ring1"],
            Self::PvRing3 => &["--machine", "pv-ring3"],
            Self::Trap => &["--machine", "trap"],
            Self::Xen => &["--hypervisor", "xen"],
        }
    }
}

/// An operation: a row.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name, in the guest's lines, on the command line and in the JSON.
    pub name: &'static str,
    /// What is counted.
    pub about: &'static str,
    /// Machines that do not have it, and why not.
    pub absent: &'static [(Machine, &'static str)],
}

impl Operation {
    const fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, absent: &[] }
    }

    /// Why a machine does not have it.
    #[must_use]
    pub fn absent_on(&self, machine: Machine) -> Option<&'static str> {
        self.absent.iter().find(|(its, _)| *its == machine).map(|(_, reason)| *reason)
    }
}

/// Machines on which a kernel does not call a hypervisor.
const NO_HYPERCALL: &[(Machine, &str)] = &[
    (Machine::Native, "there is no hypervisor"),
    (Machine::Trap, "a kernel that was not told of its hypervisor does not call it"),
];

/// The list.
pub const OPERATIONS: [Operation; 26] = [
    Operation::new("null-syscall", "getpid by `syscall`, and the return"),
    Operation { absent: NO_HYPERCALL, ..Operation::new("null-hypercall", "xen_version, which does nothing") },
    Operation::new("int3", "a breakpoint in the kernel, its handler, and the return"),
    Operation::new("divide-error", "a division by zero in the kernel, its handler, and the return"),
    Operation::new("kernel-page-fault", "a read of nothing in the kernel, its handler, and the return"),
    Operation::new("user-page-fault", "a program's first write to a page: the fault, a frame, the entry"),
    Operation::new("pte-write", "one page-table entry"),
    Operation::new("pte-write-batch", "128 page-table entries, together"),
    Operation::new("address-space-switch", "a load of other root tables"),
    Operation::new("process-switch", "sched_yield to another process, and its sched_yield back"),
    Operation::new("invlpg", "forgetting one translation"),
    Operation::new("full-flush", "forgetting all translations"),
    Operation::new("in", "a byte from a port"),
    Operation::new("out", "a byte to a port"),
    Operation::new("rdmsr", "FS base, read"),
    Operation::new("wrmsr", "FS base, written"),
    Operation::new("cpuid", "leaf 0, as the kernel is to see it"),
    Operation::new("cr-read", "CR0, read"),
    Operation::new("cr-write", "CR0, written with what it holds"),
    Operation::new("interrupts-off-on", "masking interrupts and unmasking them"),
    Operation::new(
        "timer-interrupt",
        "asking for a timer interrupt that is due, its handler, and the return",
    ),
    Operation::new("pipe-ping-pong", "a byte to another process and one back, through two pipes"),
    Operation::new("fork-wait", "a child that ends at once, and waiting for it"),
    Operation::new("fork-exec-wait", "a child that becomes another program, and waiting for it"),
    Operation::new("mmap-touch-munmap", "16 pages mapped, touched and unmapped"),
    Operation::new("shell-script", "a shell that runs a pipeline of two programs, and another one"),
];

/// The operation of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        assert_eq!(names.len(), OPERATIONS.len());
        for operation in &OPERATIONS {
            assert!(named(operation.name).is_some_and(|found| found.about == operation.about));
            assert!(operation.absent.len() < Machine::ALL.len(), "{} is nowhere", operation.name);
        }
        assert!(named("nothing").is_none());
        assert!(Machine::ALL.into_iter().all(|machine| Machine::named(machine.name()) == Some(machine)));
        assert_eq!(Machine::named("svm"), None);
    }

    /// Each operation is counted in one of the guest's two places, by this name.
    #[test]
    fn the_guest_counts_each() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../pv-guest");
        let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).unwrap();
        let (kernel, program) = (read("src/compare/mod.rs"), read("user/src/bin/compare.rs"));
        for operation in &OPERATIONS {
            let name = format!("\"{}\"", operation.name);
            let counts = program.contains(&format!("line({name}"));
            assert!(kernel.contains(&name) != counts, "{name} is to be counted once");
        }
    }
}
