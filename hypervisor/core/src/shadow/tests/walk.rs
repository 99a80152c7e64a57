//! The guest's own walk.

use super::*;
use crate::shadow::walk::{access, probe};

const ADDRESS: usize = 2;

/// Root 1 leads by slots 2 of tables 3, 5 and 7 to page 10, with these flags in each entry.
fn tables(flags: [u64; 4]) -> Machine {
    let machine = Machine::new(0);
    for ((table, next), flags) in [(1, 3), (3, 5), (5, 7), (7, 10)].into_iter().zip(flags) {
        machine.poke(table, ADDRESS, entry(next, flags));
    }
    machine
}

fn address() -> VirtAddr {
    VirtAddr::new(va([ADDRESS; 4]).get() | 0x123).unwrap()
}

fn reached(machine: &Machine, controls: Controls, usage: Use) -> Result<u64, Refusal> {
    probe(machine, controls, 1 << 12, address(), usage).map(|translation| translation.address)
}

#[test]
fn a_path_leads_to_a_page_with_the_rights_of_all_its_entries() {
    for (bit, part) in [(RW, 1), (US, 2), (NX, 3)] {
        for level in 0..4 {
            let mut flags = [OPEN; 4];
            flags[level] ^= bit;
            let found = probe(&tables(flags), PROTECTED, 1 << 12, address(), KERNEL_READ).unwrap();
            assert_eq!(found.address, 10 << 12 | 0x123);
            let expected = Rights { write: part != 1, user: part != 2, execute: part != 3 };
            assert_eq!(found.rights, expected, "level {level}");
            let places: Vec<u64> = found.path.iter().map(|step| step.place).collect();
            assert_eq!(places, [1, 3, 5, 7].map(|table| table << 12 | 16));
        }
    }
}

#[test]
fn the_error_code_says_why() {
    let codes = [0, 2, 16, 4, 6, 20];
    for (usage, code) in USES.into_iter().zip(codes) {
        assert_eq!(Use::from_error_code(code), usage);
        for level in 0..4 {
            let mut flags = [OPEN; 4];
            flags[level] = 0;
            let fault = |code| Err(Refusal::Fault(code));
            assert_eq!(reached(&tables(flags), PROTECTED, usage), fault(code));
            flags[level] = OPEN & !US | if usage.access == Access::Fetch { NX } else { 0 };
            let refused = usage.user || usage.access == Access::Fetch;
            let expected = if refused { fault(code | 1) } else { Ok(10 << 12 | 0x123) };
            assert_eq!(reached(&tables(flags), PROTECTED, usage), expected);
            // A reserved bit comes before rights: bit 40 is beyond the width.
            flags[level] = P | 1 << 40;
            assert_eq!(reached(&tables(flags), PROTECTED, usage), fault(code | 9));
        }
    }
    // What is not there hides what is above it refuses.
    assert_eq!(reached(&tables([P, P, P, 0]), PROTECTED, USER_WRITE), Err(Refusal::Fault(6)));
}

#[test]
fn a_fetch_shows_in_the_error_code_only_under_nxe() {
    let old = Controls { no_execute: false, ..PROTECTED };
    assert_eq!(reached(&tables([0; 4]), old, USER_FETCH), Err(Refusal::Fault(4)));
    assert_eq!(reached(&tables([OPEN; 4]), old, USER_FETCH), Ok(10 << 12 | 0x123));
    // Bit 63 is reserved then.
    for level in 0..4 {
        let mut flags = [OPEN; 4];
        flags[level] |= NX;
        assert_eq!(reached(&tables(flags), old, KERNEL_READ), Err(Refusal::Fault(9)));
        assert!(reached(&tables(flags), PROTECTED, KERNEL_READ).is_ok());
    }
}

#[test]
fn without_wp_the_kernel_writes_what_is_read_only() {
    let unprotected = Controls { write_protect: false, ..PROTECTED };
    let readable = tables([OPEN, OPEN, OPEN, P | US]);
    assert_eq!(reached(&readable, PROTECTED, KERNEL_WRITE), Err(Refusal::Fault(3)));
    assert!(reached(&readable, unprotected, KERNEL_WRITE).is_ok());
    assert_eq!(reached(&readable, unprotected, USER_WRITE), Err(Refusal::Fault(7)));
}

#[test]
fn reserved_bits_are_those_of_the_manual() {
    let with = |level: usize, bits: u64| {
        let mut flags = [OPEN; 4];
        flags[level] |= bits;
        reached(&tables(flags), PROTECTED, KERNEL_READ) == Err(Refusal::Fault(9))
    };
    assert!(with(0, PS), "PS in the root");
    for level in 0..4 {
        for bit in 52..63 {
            assert!(!with(level, 1 << bit), "bit {bit} is the guest's own");
        }
        assert!(with(level, 1 << 51) && with(level, 1 << 40) && !with(level, Pte::G | 0xe18));
    }
    assert!(!with(3, PS), "PAT in an L1");
    for (level, first, end) in [(2, 13, 21), (1, 13, 30)] {
        for bit in first..end {
            let mut flags = [OPEN; 4];
            flags[level] |= PS;
            let machine = tables(flags);
            // Without the number of the table below, which would be among them.
            machine.poke([1, 3, 5, 7][level], ADDRESS, OPEN | PS | 1 << bit);
            assert_eq!(reached(&machine, PROTECTED, KERNEL_READ), Err(Refusal::Fault(9)), "bit {bit}");
        }
    }
}

#[test]
fn a_wider_processor_has_fewer_reserved_bits() {
    for (bits, expected) in [(40, true), (41, false), (52, false), (64, false), (0, true)] {
        let controls = Controls { address_bits: bits, ..PROTECTED };
        let found = reached(&tables([OPEN | 1 << 40, OPEN, OPEN, OPEN]), controls, KERNEL_READ);
        assert!(found.is_err());
        let nowhere = reached(&tables([OPEN, OPEN, OPEN, OPEN | 1 << 40]), controls, KERNEL_READ);
        assert_eq!(nowhere == Err(Refusal::Fault(9)), expected, "{bits} bits");
    }
}

#[test]
fn large_pages_end_a_path_early() {
    let low = address().get();
    for (level, pages) in [(1, 0x3fff_ffff), (2, 0x1f_ffff)] {
        let machine = tables([OPEN; 4]);
        // With its PAT bit, which is no address.
        machine.poke([1, 3][level.min(1)], ADDRESS, entry(if level == 1 { 0 } else { 5 }, OPEN));
        machine.poke([1, 3, 5][level], ADDRESS, 1 << 30 | OPEN | PS | 1 << 12);
        let found = probe(&machine, PROTECTED, 1 << 12, address(), KERNEL_READ).unwrap();
        assert_eq!(found.address, 1 << 30 | low & pages);
        assert_eq!(found.path.len(), level + 1);
    }
    let machine = tables([OPEN, OPEN | PS, OPEN, OPEN]);
    machine.poke(3, ADDRESS, OPEN | PS);
    let small = Controls { huge_pages: false, ..PROTECTED };
    assert_eq!(reached(&machine, small, KERNEL_READ), Err(Refusal::Fault(9)), "1 GiB is not offered");
}

#[test]
fn an_access_marks_its_way_and_a_probe_does_not() {
    for (usage, dirty) in [(KERNEL_READ, 0), (USER_WRITE, D), (USER_FETCH, 0)] {
        let machine = tables([OPEN; 4]);
        probe(&machine, PROTECTED, 1 << 12, address(), usage).unwrap();
        assert_eq!(machine.marked.borrow().len(), 0);
        let found = access(&machine, PROTECTED, 1 << 12, address(), usage).unwrap();
        for ((table, next), dirty) in [(1, 3), (3, 5), (5, 7), (7, 10)].into_iter().zip([0, 0, 0, dirty]) {
            assert_eq!(machine.peek(table, ADDRESS), entry(next, OPEN | A | dirty));
        }
        assert_eq!(found.path[3].entry, Pte(machine.peek(7, ADDRESS)), "as it is afterwards");
        access(&machine, PROTECTED, 1 << 12, address(), usage).unwrap();
        assert_eq!(machine.marked.borrow().len(), 4, "again there is nothing to mark");
    }
    // The dirty page is the large one.
    let machine = tables([OPEN; 4]);
    machine.poke(5, ADDRESS, OPEN | PS);
    access(&machine, PROTECTED, 1 << 12, address(), KERNEL_WRITE).unwrap();
    assert_eq!(machine.peek(5, ADDRESS), OPEN | PS | A | D);
    assert_eq!(machine.peek(3, ADDRESS), entry(5, OPEN | A));
}

#[test]
fn a_refused_access_marks_nothing() {
    for flags in [[OPEN, OPEN, OPEN, 0], [P, OPEN, OPEN, OPEN], [OPEN, OPEN, OPEN, OPEN | 1 << 40]] {
        let machine = tables(flags);
        assert!(access(&machine, PROTECTED, 1 << 12, address(), USER_WRITE).is_err());
        assert_eq!(machine.marked.borrow().len(), 0);
    }
}

#[test]
fn an_entry_that_changes_meanwhile_is_looked_at_again() {
    let machine = tables([OPEN; 4]);
    // The page becomes read-only just before it is marked dirty.
    machine.meanwhile.set((7 << 12 | 16, RW, 1));
    let found = access(&machine, PROTECTED, 1 << 12, address(), KERNEL_WRITE);
    assert_eq!(found, Err(Refusal::Fault(3)));
    assert_eq!(machine.peek(7, ADDRESS), entry(10, P | US));
    // It never stands still.
    let machine = tables([OPEN; 4]);
    machine.meanwhile.set((7 << 12 | 16, 1 << 9, u32::MAX));
    let found = access(&machine, PROTECTED, 1 << 12, address(), KERNEL_READ);
    assert_eq!(found, Err(Refusal::Contended));
}

#[test]
fn tables_may_lie_where_there_is_no_memory() {
    let machine = tables([OPEN; 4]);
    for root in [FRAMES << 12, u64::MAX, Pte::FRAME, 0x8000_0000_0000_0000 | FRAMES << 12] {
        let found = access(&machine, PROTECTED, root, address(), KERNEL_READ);
        assert_eq!(found, Err(Refusal::Fault(9)), "{root:#x}");
    }
    for (table, level) in [(1, 4), (3, 3), (5, 2)] {
        let machine = tables([OPEN; 4]);
        machine.poke(table, ADDRESS, entry(FRAMES, OPEN));
        let found = access(&machine, PROTECTED, 1 << 12, address(), KERNEL_READ);
        assert_eq!(found, Err(Refusal::Fault(9)), "below level {level}");
    }
    // A processor with all address bits finds a page of ones at the end of it.
    let wide = Controls { address_bits: 52, ..PROTECTED };
    machine.poke(5, ADDRESS, entry(FRAMES, OPEN));
    let found = access(&machine, wide, 1 << 12, address(), KERNEL_READ).unwrap();
    assert_eq!(found.address, 0xf_ffff_ffff_f123);
}
