//! Hypercalls with arguments: numbers and sub-operations from the interface's table, so that a new row is tried as soon as it
//! is there.

use paravane_abi::hypercall as nr;
use paravane_abi::hypercall::{Argument, ROWS, Row, SubRow};

use super::{DONE, LISTS, NEVER_OWN, SCRATCH, World, structures};
use crate::random::Random;

/// A call to be made.
#[derive(Clone, Debug)]
pub struct Request {
    /// RAX.
    pub number: u64,
    /// RDI, RSI, RDX, R10, R8, R9.
    pub arguments: [u64; 6],
    /// What the page for structures holds.
    pub bytes: [u8; SCRATCH],
    /// The sub-operation, if the call has them.
    pub command: Option<u64>,
}

impl Request {
    fn new(number: u64) -> Self {
        Self { number, arguments: [0; 6], bytes: [0; SCRATCH], command: None }
    }

    fn put(&mut self, offset: usize, word: u64) {
        if let Some(place) = self.bytes.get_mut(offset..offset + 8) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// A word of the structures.
    pub fn word(&self, offset: usize) -> u64 {
        let mut word = [0; 8];
        if let Some(place) = self.bytes.get(offset..offset + 8) {
            word.copy_from_slice(place);
        }
        u64::from_le_bytes(word)
    }
}

/// Calls that are made more often than others.
const OFTEN: [(u64, u64); 6] = [
    (nr::HYPERVISOR_MMU_UPDATE, 16),
    (nr::HYPERVISOR_MMUEXT_OP, 16),
    (nr::HYPERVISOR_UPDATE_VA_MAPPING, 14),
    (nr::HYPERVISOR_MEMORY_OP, 6),
    (nr::HYPERVISOR_EVENT_CHANNEL_OP, 10),
    (nr::HYPERVISOR_GRANT_TABLE_OP, 10),
];
/// How often all others are.
const USUAL: u64 = 3;

fn weight(row: &Row) -> u64 {
    OFTEN.iter().find(|(number, _)| *number == row.number).map_or(USUAL, |(_, weight)| *weight)
}

fn choose(random: &mut Random) -> &'static Row {
    let sum = ROWS.iter().map(weight).sum();
    let mut rest = random.below(sum);
    for row in ROWS {
        match rest.checked_sub(weight(row)) {
            Some(less) => rest = less,
            None => return row,
        }
    }
    &ROWS[0]
}

/// Makes a call up. One that would stop this kernel for good, and prove nothing, is another one instead.
pub fn generate(world: &World, random: &mut Random) -> Request {
    if random.once_in(100) {
        // A number the table may not have.
        let number = if random.once_in(2) { random.below(64) } else { random.sized() };
        if ROWS.iter().all(|row| row.number != number & 0xffff_ffff) {
            let mut request = Request::new(number);
            request.arguments = core::array::from_fn(|_| world.word(random));
            return request;
        }
    }
    let row = choose(random);
    let mut request = Request::new(row.number);
    lists(world, random, &mut request);
    arguments(world, random, row, &mut request);
    special(world, random, &mut request);
    request
}

/// Words that structures' lists point to: frames, mostly, which serve as ports and pfns too.
fn lists(world: &World, random: &mut Random, request: &mut Request) {
    let ports = random.once_in(4);
    for index in 0..64 {
        let word = if ports { random.below(16) | random.below(16) << 32 } else { world.own(random) };
        request.put(LISTS + index * 8, word);
    }
}

fn pointer(world: &World, random: &mut Random) -> u64 {
    match random.below(24) {
        0 => world.bad_address(random),
        1 => world.window_address(random),
        // Across the border to the next page.
        2 => world.scratch + 4096 - random.below(24),
        _ => world.scratch,
    }
}

fn arguments(world: &World, random: &mut Random, row: &Row, request: &mut Request) {
    let sub = sub_operation(random, row);
    for (index, (name, kind)) in row.arguments.iter().enumerate().take(6) {
        request.arguments[index] = if kind.contains('*') {
            match (sub, *name) {
                (Some(sub), _) if sub.argument == Argument::Value => world.word(random),
                (_, "done") => {
                    if random.once_in(3) {
                        0
                    } else {
                        world.scratch + DONE
                    }
                }
                _ => pointer(world, random),
            }
        } else if *name == "cmd" || *name == "which" {
            command(random, row, sub)
        } else {
            scalar(world, random, name)
        };
    }
    let Some(sub) = sub else {
        if let Some((_, kind)) = row.arguments.iter().find(|(_, kind)| kind.contains('*')) {
            fill(world, random, kind, 4, request);
        }
        return;
    };
    request.command = Some(sub.number);
    if matches!(sub.argument, Argument::Read | Argument::Both) {
        fill(world, random, sub.argument_type, 3, request);
    }
}

fn sub_operation(random: &mut Random, row: &Row) -> Option<&'static SubRow> {
    let has_command = row.arguments.iter().any(|(name, _)| *name == "cmd" || *name == "which");
    if !has_command || row.sub_operations.is_empty() {
        return None;
    }
    Some(&row.sub_operations[random.below(row.sub_operations.len() as u64) as usize])
}

fn command(random: &mut Random, row: &Row, sub: Option<&SubRow>) -> u64 {
    match sub {
        Some(sub) if !random.once_in(50) => sub.number,
        _ => random.below(2 * row.sub_operations.len() as u64 + 4),
    }
}

fn scalar(world: &World, random: &mut Random, name: &str) -> u64 {
    match name {
        "count" => match random.below(12) {
            0 => 0,
            1 => random.sized(),
            2 => 1 << 31 | random.below(4),
            _ => 1 + random.below(4),
        },
        "domains" | "domain" => match random.below(12) {
            0 => world.domain(random) << 16 | world.domain(random),
            1 => world.domain(random),
            _ => 0x7ff0,
        },
        "vcpu" => {
            if random.once_in(6) {
                random.below(40)
            } else {
                0
            }
        }
        "va" => {
            if random.once_in(16) {
                not_core(world.bad_address(random))
            } else {
                world.window_address(random)
            }
        }
        "val" => world.entry(random),
        "flags" => {
            if random.once_in(16) {
                random.sized()
            } else {
                random.below(8)
            }
        }
        "entries" => {
            if random.once_in(4) {
                random.sized()
            } else {
                random.below(3) * 512
            }
        }
        "timeout" => {
            if random.once_in(4) {
                random.sized()
            } else {
                world.now + random.below(1 << 22)
            }
        }
        "register" => random.below(10),
        "value" => match random.below(3) {
            0 => random.below(1 << 20) << 16 | 0x400 | random.below(0x400),
            1 => world.window_address(random),
            _ => world.word(random),
        },
        "kind" => random.below(9),
        "set" => random.below(2),
        "ss" => random.below(0x1_0000),
        "address" | "descriptor" if random.once_in(2) => random.next(),
        "address" => world.own(random) << 12 | random.below(512) << 3,
        "base" => {
            if random.once_in(2) {
                world.window_address(random)
            } else {
                random.sized()
            }
        }
        _ => world.word(random),
    }
}

/// An address whose mapping the core does not need.
fn not_core(va: u64) -> u64 {
    if va >> 39 & 511 == super::CORE_SLOT { va ^ 1 << 46 } else { va }
}

/// Fills up to `most` structures of a type, one after the other.
fn fill(world: &World, random: &mut Random, type_name: &str, most: u64, request: &mut Request) {
    let Some(row) = structures::find(type_name) else { return };
    let count = 1 + random.below(most) as usize;
    let mut offset = 0;
    for _ in 0..count {
        if offset + row.size > LISTS {
            break;
        }
        offset += structures::fill(world, random, row, &mut request.bytes[offset..LISTS]);
    }
}

/// Calls whose structures say more than their fields' names.
fn special(world: &World, random: &mut Random, request: &mut Request) {
    match request.number {
        nr::HYPERVISOR_MMU_UPDATE => {
            for index in 0..4 {
                let command = if random.once_in(6) { random.below(4) } else { 0 };
                request.put(index * 16, world.entry_address(random) | command);
                request.put(index * 16 + 8, world.entry(random));
            }
        }
        nr::HYPERVISOR_MMUEXT_OP => {
            // What lies elsewhere could load a root without the core.
            if request.arguments[0] != world.scratch {
                request.arguments[0] = random.pick(&world.reserved);
            }
            for index in 0..4 {
                extended(world, random, request, index * 24);
            }
        }
        nr::HYPERVISOR_SET_TRAP_TABLE => {
            // The list ends somewhere.
            request.put(64 + 8, 0);
        }
        nr::HYPERVISOR_SET_GDT => {
            for index in 0..14 {
                request
                    .put(index * 8, if random.once_in(8) { world.frame(random) } else { world.own(random) });
            }
        }
        nr::HYPERVISOR_MULTICALL | nr::HYPERVISOR_IRET => {
            // Batches and returns are steps of their own; here they are refused for their arguments.
            request.arguments[0] = world.bad_address(random);
            request.arguments[1] = random.below(3);
            if request.number == nr::HYPERVISOR_IRET {
                request.number = nr::HYPERVISOR_XEN_VERSION;
            }
        }
        nr::HYPERVISOR_CONSOLE_IO => {
            // Nothing is printed: the log stays readable.
            request.arguments[1] = if random.once_in(2) { 0 } else { random.sized() };
            request.arguments[2] = random.pick(&world.reserved);
        }
        // The older form takes the reason for shutting down as a value.
        nr::HYPERVISOR_SCHED_OP_COMPAT => match request.arguments[0] & 0xffff_ffff {
            1 if world.fifo => request.arguments[0] = 0,
            2 => request.arguments[0] = 0,
            _ => {}
        },
        nr::HYPERVISOR_SCHED_OP => tame_sched(world, random, request),
        nr::HYPERVISOR_VCPU_OP => tame_vcpu(world, random, request),
        _ => {}
    }
}

/// One operation of `mmuext_op`.
fn extended(world: &World, random: &mut Random, request: &mut Request, offset: usize) {
    let command = if random.once_in(32) { random.below(64) } else { random.below(21) };
    let frame = match command {
        // The running root must go on running the core.
        5 if random.once_in(4) => random.pick(&world.foreign[..NEVER_OWN]),
        5 => random.pick(&world.roots),
        0..=4 if !random.once_in(8) => world.own_table(random),
        // The core's own root stays pinned, and its tables keep their content.
        4 => {
            if random.once_in(2) {
                random.pick(&world.foreign)
            } else {
                world.own(random)
            }
        }
        6..=12 => {
            if random.once_in(2) {
                world.window_address(random)
            } else {
                world.bad_address(random)
            }
        }
        13 => world.window_address(random) & !0xfff,
        _ => world.frame(random),
    };
    let second = match command {
        8 | 9 => world.scratch + LISTS as u64,
        13 => random.below(3) * 512,
        17 => world.frame(random),
        _ => random.sized(),
    };
    request.put(offset, command);
    request.put(offset + 8, frame);
    request.put(offset + 16, second);
}

/// Whether a call sleeps until an event or a time.
pub fn sleeps(request: &Request) -> bool {
    let command = request.arguments[0] as u32;
    match request.number & 0xffff_ffff {
        nr::HYPERVISOR_SCHED_OP => matches!(command, 1 | 3),
        nr::HYPERVISOR_SCHED_OP_COMPAT => command == 1,
        _ => false,
    }
}

/// Shutting down, and sleeping without an end, would only end the fuzzer.
fn tame_sched(world: &World, random: &mut Random, request: &mut Request) {
    const BLOCK: u64 = 1;
    const WATCHDOG: u64 = 6;
    match request.arguments[0] & 0xffff_ffff {
        BLOCK if world.fifo => request.arguments[0] = 0,
        2 | 4 | 5 => request.arguments[1] = random.pick(&world.reserved),
        // Somebody else may write another timeout.
        3 if world.contested => request.arguments[0] = 0,
        WATCHDOG if world.contested => request.arguments[1] = random.pick(&world.reserved),
        WATCHDOG => {
            // A watchdog that never bites: 2^30 seconds.
            let word = random.below(4) | 1 << 62;
            request.put(0, word);
            if request.arguments[1] != world.scratch {
                request.arguments[1] = random.pick(&world.reserved);
            }
        }
        3 if request.arguments[1] != world.scratch => request.arguments[1] = random.pick(&world.reserved),
        3 => {
            // The timeout is in the third word, whatever the fields' lottery gave.
            request.put(16, 1 + random.below(1000));
        }
        _ => {}
    }
}

/// The vcpu that runs the fuzzer stays up and keeps its place in the shared page; others are not started on garbage.
fn tame_vcpu(world: &World, random: &mut Random, request: &mut Request) {
    match request.arguments[0] & 0xffff_ffff {
        // initialise, register_vcpu_info
        0 | 10 => request.arguments[2] = random.pick(&world.reserved),
        // up, down
        1 | 2 => request.arguments[1] = 4 + random.below(64),
        // send_nmi, to itself too: it comes with the return from the call, or with a return by the hypercall.
        11 => request.arguments[1] = random.pick(&[0, 0, 4, 63, 1 << 32]),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::world;
    use super::*;

    #[test]
    fn every_row_and_sub_operation_is_tried() {
        let (world, mut random) = (world(), Random::new(6));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..60_000 {
            let request = generate(&world, &mut random);
            seen.insert((request.number, request.command));
        }
        for row in ROWS.iter().filter(|row| row.number != nr::HYPERVISOR_IRET) {
            assert!(seen.iter().any(|(number, _)| *number == row.number), "{}", row.name);
            let has_command = row.arguments.iter().any(|(name, _)| *name == "cmd" || *name == "which");
            for sub in row.sub_operations.iter().filter(|_| has_command) {
                assert!(seen.contains(&(row.number, Some(sub.number))), "{} {}", row.name, sub.name);
            }
        }
    }

    #[test]
    fn the_fuzzer_does_not_end_itself() {
        let (world, mut random) = (world(), Random::new(7));
        for _ in 0..60_000 {
            let request = generate(&world, &mut random);
            let command = request.arguments[0] & 0xffff_ffff;
            match request.number & 0xffff_ffff {
                nr::HYPERVISOR_SCHED_OP if matches!(command, 2 | 4 | 5) => {
                    assert!(world.reserved.contains(&request.arguments[1]));
                }
                nr::HYPERVISOR_SCHED_OP_COMPAT => assert_ne!(command, 2),
                nr::HYPERVISOR_VCPU_OP if matches!(command, 1 | 2) => assert_ne!(request.arguments[1], 0),
                nr::HYPERVISOR_UPDATE_VA_MAPPING => {
                    assert_ne!(request.arguments[0] >> 39 & 511, super::super::CORE_SLOT);
                }
                nr::HYPERVISOR_MMUEXT_OP if request.arguments[0] == world.scratch => {
                    for index in 0..4 {
                        let (op, frame) = (request.word(index * 24) as u32, request.word(index * 24 + 8));
                        assert!(op != 5 || !world.arena.contains(&frame));
                        assert!(op != 4 || !world.tables.contains(&frame));
                    }
                }
                nr::HYPERVISOR_IRET => panic!("an iret without a frame"),
                _ => {}
            }
        }
    }
}
