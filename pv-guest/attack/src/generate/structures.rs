//! Fills the structures that calls point to, field by field, by the fields' names. The fields come from the interface's own
//! list, so that a structure nobody here has heard of is filled as well.

use paravane_abi::layout::{STRUCTS, StructRow};

use super::{LISTS, World};
use crate::random::Random;

/// The structure that a table row's type names, if the list has it.
pub fn find(type_name: &str) -> Option<&'static StructRow> {
    let last = type_name.rsplit(|c: char| !c.is_alphanumeric() && c != '_').find(|part| !part.is_empty())?;
    let is = |row: &&StructRow| {
        row.rust.strip_suffix(last).is_some_and(|path| path.is_empty() || path.ends_with(':'))
    };
    STRUCTS.iter().flat_map(|rows| rows.iter()).find(is)
}

/// Fills a structure at the beginning of `bytes`; gives its size.
pub fn fill(world: &World, random: &mut Random, row: &StructRow, bytes: &mut [u8]) -> usize {
    let size = row.size.min(bytes.len());
    bytes[..size].fill(0);
    for field in row.fields {
        let Some(place) = bytes.get_mut(field.offset..field.offset + field.size) else { continue };
        if field.size > 8 {
            nested(world, random, field.rust, place);
            continue;
        }
        let value = value(world, random, field.rust);
        place.copy_from_slice(&value.to_le_bytes()[..field.size]);
    }
    size
}

/// A structure in a structure, or an array.
fn nested(world: &World, random: &mut Random, name: &str, bytes: &mut [u8]) {
    let inner = match name {
        "input" | "output" => find("MemoryReservation"),
        "source" | "dest" => find("GnttabCopyPtr"),
        "user_regs" => find("CpuUserRegs"),
        _ => None,
    };
    match inner {
        Some(row) => {
            fill(world, random, row, bytes);
        }
        None => {
            for word in bytes.chunks_mut(8) {
                let value = if random.once_in(2) { 0 } else { world.word(random) };
                word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
            }
        }
    }
}

/// A value for a field of this name.
pub fn value(world: &World, random: &mut Random, name: &str) -> u64 {
    if random.once_in(40) {
        return random.sized();
    }
    let list = world.scratch + LISTS as u64;
    match name {
        "dom" | "domid" | "remote_dom" | "domain_id" | "trans_domid" => world.domain(random),
        "port" | "remote_port" | "local_port" | "irq" | "pirq" => random.below(24),
        "virq" => random.below(26),
        "vcpu" | "pcpu" | "index" | "submap_idx" => random.below(3),
        "mfn" | "gmfn" | "frame" | "control_gfn" | "array_gfn" | "u" => world.frame(random),
        "reference" | "ref_a" | "ref_b" | "gref" | "handle" => random.below(24),
        "host_addr" | "new_addr" if random.once_in(4) => world.entry_address(random),
        "host_addr" | "new_addr" => world.window_address(random) & !0xfff,
        "dev_bus_addr" => 0,
        "ports" | "bitmap" | "buffer" | "frame_list" | "extent_start" | "addr" | "address" => {
            match random.below(10) {
                0 => world.bad_address(random),
                1 | 2 => world.window_address(random),
                _ => list + random.below(16) * 8,
            }
        }
        "a" => world.frame(random) << 12,
        "nr_extents" | "nr_frames" | "nr_ports" | "nr_entries" | "max_extents" => match random.below(8) {
            0 => random.sized(),
            1 => 0,
            _ => 1 + random.below(6),
        },
        "nr_exchanged" => {
            if random.once_in(4) {
                random.below(4)
            } else {
                0
            }
        }
        "extent_order" => {
            if random.once_in(8) {
                random.below(24)
            } else {
                0
            }
        }
        "mem_flags" | "status" | "rsvd" | "pad" => {
            if random.once_in(8) {
                random.sized()
            } else {
                0
            }
        }
        "offset" | "page_off" => {
            if random.once_in(4) {
                random.below(5000)
            } else {
                random.below(64) * 64
            }
        }
        "length" | "len" => {
            if random.once_in(4) {
                random.sized()
            } else {
                random.below(2048)
            }
        }
        "flags" => {
            if random.once_in(4) {
                random.sized()
            } else {
                random.below(32)
            }
        }
        "kind" => random.below(9),
        "version" => 1 + random.below(2),
        "link_bits" => 17,
        "priority" => random.below(18),
        "iopl" => random.below(5),
        // A poll that ends: no event need come.
        "timeout" => 1 + random.below(1000),
        "timeout_abs_ns" => world.now + random.below(1 << 20),
        "period_ns" => 1_000_000 + random.below(1 << 24),
        _ => {
            if random.once_in(2) {
                random.below(16)
            } else {
                world.word(random)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::world;
    use super::*;
    use paravane_abi::hypercall::{Argument, ROWS};

    #[test]
    fn types_of_the_table_are_found() {
        let mut found = 0;
        for sub in ROWS.iter().flat_map(|row| row.sub_operations) {
            if matches!(sub.argument, Argument::Read | Argument::Both) && sub.argument_type != "u8" {
                let row = find(sub.argument_type);
                assert!(row.is_some(), "{}: {}", sub.name, sub.argument_type);
                found += 1;
            }
        }
        assert!(found > 30, "{found}");
    }

    #[test]
    fn every_structure_can_be_filled() {
        let (world, mut random) = (world(), Random::new(4));
        for row in STRUCTS.iter().flat_map(|rows| rows.iter()) {
            let mut bytes = [0xaa; 4096];
            let size = fill(&world, &mut random, row, &mut bytes);
            assert_eq!(size, row.size.min(4096));
            assert!(bytes[size..].iter().all(|&byte| byte == 0xaa), "{}", row.rust);
        }
    }

    #[test]
    fn polls_end() {
        let (world, mut random) = (world(), Random::new(5));
        let early = (0..1000).filter(|_| (1..=1000).contains(&value(&world, &mut random, "timeout"))).count();
        assert!(early > 900);
    }
}
