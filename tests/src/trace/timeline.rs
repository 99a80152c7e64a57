//! An operation in the order in which it happens: who ran, for how many instructions, and what made the processor go to
//! the next.

use crate::compare::operations::Machine;
use std::collections::BTreeMap;

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// A program, in ring 3.
    User,
    /// The guest's kernel, in whichever ring the machine gives it.
    Kernel,
    /// Ring 0 where the kernel is not in it.
    Hypervisor,
}

impl Lane {
    /// From the least privileged up.
    pub const ALL: [Self; 3] = [Self::User, Self::Kernel, Self::Hypervisor];

    /// As it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Kernel => "kernel",
            Self::Hypervisor => "hypervisor",
        }
    }
}

/// A stretch of instructions of one lane, between two crossings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who ran.
    pub lane: Lane,
    /// Why it began: the key under which an entry is counted, as `syscall`, `hypercall mmu_update`, `#GP`, `interrupt`, `iretq`.
    pub reason: String,
    /// What a reader wants to know beyond it: the instruction that was refused, the address that faulted. Often empty.
    pub detail: String,
    /// Address of its first instruction.
    pub address: u64,
    /// The function that this address lies in, where one knows it; else empty.
    pub function: String,
    /// Instructions that it executed.
    pub instructions: u64,
    /// Loads of the processor's CR3 in it.
    pub cr3_loads: u64,
    /// Other instructions in it that make the processor forget translations, of one page or of all.
    pub flushes: u64,
}

/// An operation on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The operation's name.
    pub operation: &'static str,
    /// The machine.
    pub machine: Machine,
    /// What ran, first to last; neighbours differ in their lane, or the later one began by an exception.
    pub segments: Vec<Segment>,
}

impl Timeline {
    /// Instructions of all lanes.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.segments.iter().map(|segment| segment.instructions).sum()
    }

    /// Entries into the hypervisor, by reason.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<String, u64> {
        let mut entries = BTreeMap::new();
        // Where the first segment is the hypervisor's, nobody saw it come in.
        for pair in self.segments.windows(2) {
            if pair[0].lane != Lane::Hypervisor && pair[1].lane == Lane::Hypervisor {
                *entries.entry(pair[1].reason.clone()).or_default() += 1;
            }
        }
        entries
    }

    /// Loads of CR3.
    #[must_use]
    pub fn cr3_loads(&self) -> u64 {
        self.segments.iter().map(|segment| segment.cr3_loads).sum()
    }

    /// Flushes beside them.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.flushes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(lane: Lane, reason: &str, instructions: u64) -> Segment {
        Segment {
            lane,
            reason: reason.to_owned(),
            detail: String::new(),
            address: 0,
            function: String::new(),
            instructions,
            cr3_loads: u64::from(lane == Lane::Hypervisor) * 2,
            flushes: 0,
        }
    }

    #[test]
    fn entries_are_the_crossings_into_the_hypervisor() {
        let segments = vec![
            segment(Lane::Kernel, "begins", 3),
            segment(Lane::Hypervisor, "#GP", 100),
            segment(Lane::Hypervisor, "#PF", 10),
            segment(Lane::Kernel, "iretq", 2),
            segment(Lane::Hypervisor, "#GP", 90),
            segment(Lane::User, "iretq", 1),
        ];
        let timeline = Timeline { operation: "int3", machine: Machine::Trap, segments };
        assert_eq!(timeline.entries(), BTreeMap::from([("#GP".to_owned(), 2)]));
        assert_eq!((timeline.instructions(), timeline.cr3_loads(), timeline.flushes()), (206, 6, 0));
    }
}
