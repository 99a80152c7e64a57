//! Segments and timelines for tests.

use paravane_tests::compare::operations::Machine;
use paravane_tests::trace::timeline::{Lane, Segment, Timeline};

/// A stretch of the guest's kernel.
pub fn kernel(reason: &str, instructions: u64) -> Segment {
    segment(Lane::Kernel, reason, instructions)
}

/// A stretch of the hypervisor, with its two loads of CR3.
pub fn monitor(reason: &str, instructions: u64) -> Segment {
    Segment { cr3_loads: 2, ..segment(Lane::Hypervisor, reason, instructions) }
}

/// A stretch of any lane.
pub fn segment(lane: Lane, reason: &str, instructions: u64) -> Segment {
    Segment {
        lane,
        reason: reason.to_owned(),
        detail: String::new(),
        address: 0xffff_8800_0000_1000,
        function: String::new(),
        instructions,
        cr3_loads: 0,
        flushes: 0,
    }
}

/// A system call of a kernel in ring 3: two entries.
pub fn system_call() -> Timeline {
    let mut segments = vec![
        segment(Lane::User, "begins", 3),
        monitor("syscall", 700),
        kernel("iretq", 31),
        monitor("hypercall iret", 826),
        segment(Lane::User, "iretq", 2),
    ];
    segments[1].detail = "from 0x40_1000".to_owned();
    segments[1].function = "bounce".to_owned();
    Timeline { operation: "null-syscall", machine: Machine::PvRing3, segments }
}

/// A loop of entries whose turns differ by a few instructions.
pub fn many_faults(turns: u64) -> Timeline {
    let mut segments = vec![kernel("begins", 5)];
    for turn in 0..turns {
        let detail = format!("write to {:#x}", 0xffff_8800_0010_0000_u64 + 8 * turn);
        segments.push(Segment {
            detail,
            function: "page_fault".to_owned(),
            flushes: 1,
            ..monitor("#PF", 1000 + turn % 3)
        });
        segments.push(kernel("iretq", 4));
    }
    Timeline { operation: "pte-write-batch", machine: Machine::Trap, segments }
}
