//! Which CPUs must look at the line of ready processes.

use crate::cpu_set::CpuSet;

/// What a look at the whole line comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Idle CPUs, one for each process that has one to go to.
    pub wake: CpuSet,
    /// The CPUs on which the others may run: whatever runs there must not run without end.
    pub share: CpuSet,
}

/// Finds an idle CPU for each process in line, given the CPUs on which each may run. All of the line counts: a process at
/// the front that no idle CPU may run says nothing about those behind it.
pub fn place(line: impl Iterator<Item = CpuSet>, idle: CpuSet) -> Placement {
    let mut placement = Placement { wake: CpuSet::EMPTY, share: CpuSet::EMPTY };
    for may in line {
        let free = CpuSet(idle.0 & may.0 & !placement.wake.0);
        match free.first() {
            Some(cpu) => placement.wake = placement.wake.with(cpu),
            None => placement.share.0 |= may.0,
        }
    }
    placement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(line: &[u64], idle: u64) -> (u64, u64) {
        let placement = place(line.iter().map(|may| CpuSet(*may)), CpuSet(idle));
        (placement.wake.0, placement.share.0)
    }

    #[test]
    fn each_process_gets_a_cpu_of_its_own() {
        assert_eq!(placed(&[], 0b1111), (0, 0));
        assert_eq!(placed(&[0b1111, 0b1111], 0b1100), (0b1100, 0));
        assert_eq!(placed(&[0b1111, 0b1111, 0b0011], 0b1000), (0b1000, 0b1111));
    }

    #[test]
    fn the_front_of_the_line_hides_nobody() {
        // The first may run on CPU 0 only, which is busy; the second is for an idle CPU all the same.
        assert_eq!(placed(&[0b0001, 0b0110], 0b0100), (0b0100, 0b0001));
        // The first has an idle CPU; the second has none, and CPU 0 must not go on without end.
        assert_eq!(placed(&[0b0110, 0b0001], 0b0100), (0b0100, 0b0001));
    }
}
