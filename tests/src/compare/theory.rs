//! What theory says of the counts: orders between machines and between operations, held against what was counted.

use super::operations::{Machine, Machine::*};
use super::rows::Row;

/// Something counted: an operation on a machine, the instructions divided by how many things it does at once.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    operation: &'static str,
    machine: Machine,
    each: u64,
}

/// One order: each place costs less than the next.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Why theory says so.
    pub because: &'static str,
    /// From the cheapest up.
    pub places: &'static [Place],
}

const fn on(operation: &'static str, machine: Machine) -> Place {
    Place { operation, machine, each: 1 }
}

/// Entries that `pte-write-batch` writes.
const BATCH: u64 = 128;

const fn each_of_batch(machine: Machine) -> Place {
    Place { operation: "pte-write-batch", machine, each: BATCH }
}

/// The orders.
pub const ORDERS: &[Order] = &[
    Order {
        because: "a system call goes straight to a kernel in ring 0, by a stub to one in ring 1, through the hypervisor and back to \
                  one in ring 3, and to one that must not notice by two emulated instructions",
        places: &[
            on("null-syscall", Native),
            on("null-syscall", PvRing1),
            on("null-syscall", PvRing3),
            on("null-syscall", Trap),
        ],
    },
    Order {
        because: "a bare machine checks no entry; a batch shares one entry into the hypervisor; a trap is decoded, carried out and \
                  shadowed",
        places: &[
            on("pte-write", Native),
            each_of_batch(PvRing1),
            on("pte-write", PvRing1),
            on("pte-write", Trap),
        ],
    },
    Order {
        because: "the same in ring 3",
        places: &[each_of_batch(PvRing3), on("pte-write", PvRing3), on("pte-write", Trap)],
    },
    Order { because: "the same on Xen", places: &[each_of_batch(Xen), on("pte-write", Xen)] },
    Order {
        because: "a trapped write gains nothing from company: 128 are 128 traps",
        places: &[on("pte-write", Trap), on("pte-write-batch", Trap)],
    },
    Order {
        because: "what is shared with the hypervisor in memory needs no entry; a bare machine has its flag, and a kernel that was not \
                  told has it emulated",
        places: &[on("interrupts-off-on", PvRing1), on("interrupts-off-on", Trap)],
    },
    Order {
        because: "a kernel that was told asks in one call what one that was not told does by instructions that are emulated one by one",
        places: &[
            on("process-switch", Native),
            on("process-switch", PvRing1),
            on("process-switch", PvRing3),
            on("process-switch", Trap),
        ],
    },
    Order {
        because: "a fork writes hundreds of entries: each is a trap, or they go in batches",
        places: &[
            on("fork-wait", Native),
            on("fork-wait", PvRing1),
            on("fork-wait", PvRing3),
            on("fork-wait", Trap),
        ],
    },
    Order {
        because: "an exception of the kernel's own reaches a bare machine's handler at once, else by way of the hypervisor",
        places: &[on("int3", Native), on("int3", PvRing1), on("int3", Trap)],
    },
    Order {
        because: "an instruction is dearer refused and emulated than executed; a hypercall that says the same is cheaper than that",
        places: &[on("invlpg", Native), on("invlpg", PvRing1), on("invlpg", Trap)],
    },
    Order {
        because: "a port is one instruction where nobody refuses it",
        places: &[on("in", Native), on("in", PvRing1)],
    },
    Order {
        because: "asking costs less than being found out",
        places: &[on("null-hypercall", PvRing1), on("cr-read", PvRing1)],
    },
    Order {
        because: "in ring 1 a gate of its own leads there; a `syscall` from ring 3 is first told from a program's",
        places: &[on("null-hypercall", PvRing1), on("null-hypercall", PvRing3)],
    },
    Order {
        because: "what programs do all day is made of all the above",
        places: &[
            on("shell-script", Native),
            on("shell-script", PvRing1),
            on("shell-script", PvRing3),
            on("shell-script", Trap),
        ],
    },
];

/// Orders that do not hold, a line each. An order is looked at as far as its places were counted.
#[must_use]
pub fn broken(rows: &[Row]) -> Vec<String> {
    let cost = |place: &'static Place| {
        let row = rows.iter().find(|row| row.operation == place.operation && row.machine == place.machine)?;
        // Tenths, so that a part of a batch keeps its fraction.
        Some((place, row.instructions * 10 / place.each))
    };
    let mut broken = Vec::new();
    for order in ORDERS {
        let counted: Vec<(&Place, u64)> = order.places.iter().filter_map(cost).collect();
        for pair in counted.windows(2) {
            let [(first, less), (second, more)] = pair else { continue };
            if less >= more {
                broken.push(format!(
                    "{} on {} costs {} instructions, {} on {} {}; but {}",
                    first.operation,
                    first.machine.name(),
                    less / 10,
                    second.operation,
                    second.machine.name(),
                    more / 10,
                    order.because
                ));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::operations::named;
    use super::super::rows::Counted;
    use super::*;

    #[test]
    fn orders_name_what_there_is() {
        for order in ORDERS {
            assert!(order.places.len() > 1, "{}", order.because);
            for place in order.places {
                let operation = named(place.operation).expect(place.operation);
                assert_eq!(operation.absent_on(place.machine), None, "{place:?}");
            }
        }
    }

    #[test]
    fn what_breaks_an_order_is_told() {
        let row = |operation, machine, instructions| Row {
            operation,
            machine,
            instructions,
            counted: Counted::default(),
        };
        let good = [
            row("null-syscall", Native, 40),
            row("null-syscall", PvRing1, 42),
            row("null-syscall", Trap, 5000),
        ];
        assert_eq!(broken(&good), [""; 0]);
        let bad = [row("null-syscall", Native, 40), row("null-syscall", Trap, 40)];
        assert_eq!(broken(&bad).len(), 1);
        // 128 entries for 1,280 instructions are 10 each.
        let batch = [row("pte-write-batch", PvRing1, 1280), row("pte-write", PvRing1, 11)];
        assert_eq!(broken(&batch), [""; 0]);
    }
}
