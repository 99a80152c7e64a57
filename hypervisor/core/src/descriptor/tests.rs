use super::bits::*;
use super::*;
use paravane_abi::trap::{TrapFlags, TrapInfo};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Present segments by type and level, base 0, limit 0.
fn segment(extra: u64, level: u64) -> u64 {
    PRESENT | SEGMENT | level << DPL_SHIFT | extra
}

#[test]
fn absent_descriptors_are_kept_as_they_are() {
    for raw in [0, 1, !PRESENT, 0x1234_0000_5678] {
        for policy in [Policy::Ring1, Policy::Ring3] {
            assert_eq!(check(policy, raw), Ok(raw));
        }
    }
}

#[test]
fn xen_forces_ring_3() {
    for extra in [0, WRITABLE, CODE | LONG, CODE | DEFAULT_32, CODE | CONFORMING, CODE | LONG | DEFAULT_32] {
        for level in 0..4 {
            let wanted = segment(extra, 3) | ACCESSED;
            assert_eq!(check(Policy::Ring3, segment(extra, level)), Ok(wanted));
        }
    }
}

#[test]
fn ring_1_keeps_levels_apart() {
    let code = |level| segment(CODE | LONG | WRITABLE, level);
    for level in 0..3 {
        assert_eq!(check(Policy::Ring1, code(level)), Ok(code(1) | ACCESSED));
        assert_eq!(check(Policy::Ring1, segment(WRITABLE, level)), Ok(segment(WRITABLE | ACCESSED, 1)));
    }
    assert_eq!(check(Policy::Ring1, segment(WRITABLE, 3)), Ok(segment(WRITABLE | ACCESSED, 3)));
    assert_eq!(check(Policy::Ring1, code(3)), Err(BadDescriptor::UserCode));
    // Conforming code of level 1 would run in ring 3 when called from there.
    let conforming = segment(CODE | LONG | CONFORMING, 1);
    assert_eq!(check(Policy::Ring1, conforming), Err(BadDescriptor::UserCode));
    for extra in [CODE, CODE | DEFAULT_32, CODE | LONG | DEFAULT_32] {
        assert_eq!(check(Policy::Ring1, segment(extra, 1)), Err(BadDescriptor::CodeSize));
    }
}

#[test]
fn system_descriptors_are_refused() {
    for kind in 0..16u64 {
        let raw = PRESENT | kind << 40;
        assert_eq!(check(Policy::Ring1, raw), Err(BadDescriptor::System));
        let xen = check(Policy::Ring3, raw);
        match kind {
            0 => assert_eq!(xen, Ok(raw)),
            0xc => assert!(xen.is_ok()),
            _ => assert_eq!(xen, Err(BadDescriptor::System), "type {kind:#x}"),
        }
    }
}

#[test]
fn call_gates_cannot_be_called() {
    let gate = |selector: u64, level: u64| PRESENT | 0xc << 40 | level << DPL_SHIFT | selector << 16;
    for (selector, good) in [
        (0x10, true),
        (0xdff8, true),
        (0xe008, false),
        (0xe033, true),
        (0xe030, false),
        (0xe040, false),
        (0xe00c, true),
        (0xffff, true),
    ] {
        for level in 0..4 {
            let result = check(Policy::Ring3, gate(selector, level));
            assert_eq!(result.is_ok(), good, "{selector:#x}");
            if let Ok(stored) = result {
                assert_eq!(stored, gate(selector | 3, 0));
            }
        }
    }
    let parameters = gate(0x10, 3) | 1 << 32;
    assert_eq!(check(Policy::Ring3, parameters), Err(BadDescriptor::CallGate));
}

/// What no entry of a guest's table may be, whatever was asked for.
fn dangerous(policy: Policy, raw: u64) -> bool {
    if raw & PRESENT == 0 {
        return false;
    }
    if raw & SEGMENT == 0 {
        let kind = raw >> 40 & 0xf;
        let harmless = kind == 0 || (kind == 0xc && dpl(raw) == 0);
        return policy == Policy::Ring1 || !harmless;
    }
    // The CPU would write the accessed bit through a read-only mapping.
    if raw & ACCESSED == 0 {
        return true;
    }
    match policy {
        Policy::Ring3 => dpl(raw) != 3,
        Policy::Ring1 if raw & CODE != 0 => {
            dpl(raw) != 1 || raw & CONFORMING != 0 || raw & LONG == 0 || raw & DEFAULT_32 != 0
        }
        Policy::Ring1 => dpl(raw) != 1 && dpl(raw) != 3,
    }
}

/// The same cases on every run.
fn seeded() -> ProptestConfig {
    ProptestConfig {
        cases: 10_000,
        rng_seed: RngSeed::Fixed(0x5eed),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn no_accepted_descriptor_is_dangerous(raw: u64, present: bool, ring1: bool) {
        let policy = if ring1 { Policy::Ring1 } else { Policy::Ring3 };
        let raw = if present { raw | PRESENT } else { raw };
        if let Ok(stored) = check(policy, raw) {
            prop_assert!(!dangerous(policy, stored), "{raw:#x} became {stored:#x}");
            prop_assert_eq!(check(policy, stored), Ok(stored));
            let changed = DPL | ACCESSED | 3 << 16;
            prop_assert_eq!(stored & !changed, raw & !changed);
        }
    }

    #[test]
    fn selectors_never_gain_privilege(selector: u16) {
        for policy in [Policy::Ring1, Policy::Ring3] {
            let fixed = fixup(policy, selector);
            prop_assert!(fixed & 3 >= policy.kernel_rpl());
            prop_assert!(fixed & 3 >= selector & 3);
            prop_assert_eq!(fixed & !3, selector & !3);
            prop_assert_eq!(fixup(policy, fixed), fixed);
            let loaded = reload(policy, selector);
            prop_assert!(loaded & !3 == 0 || loaded == fixed);
        }
    }
}

#[test]
fn the_reserved_page_holds_what_the_selectors_name() {
    let tss = tss_descriptor(0x1234_5678_9abc_def0, 0x67);
    let page = reserved_gdt_page(Policy::Ring1, tss);
    let entry = |selector: u16| page[((selector - RESERVED_OFFSET) >> 3) as usize];
    assert_eq!(entry(HYPERVISOR_CS64), 0x00af_9b00_0000_ffff);
    assert_eq!(entry(HYPERVISOR_DS), 0x00cf_9300_0000_ffff);
    assert_eq!(entry(USER_CS32), 0x00cf_fb00_0000_ffff);
    assert_eq!(entry(USER_SS), 0x00cf_f300_0000_ffff);
    assert_eq!(entry(USER_CS64), 0x00af_fb00_0000_ffff);
    assert_eq!(entry(RING1_CS64), 0x00af_bb00_0000_ffff);
    assert_eq!(entry(RING1_SS), 0x00cf_b300_0000_ffff);
    assert_eq!(entry(TSS_SELECTOR), 0x9a00_89bc_def0_0067);
    assert_eq!(entry(TSS_SELECTOR + 8), 0x1234_5678);
    let used = page.iter().filter(|&&entry| entry != 0).count();
    assert_eq!(used, 9);
}

#[test]
fn ring_3_domains_have_no_ring_1_segments() {
    let page = reserved_gdt_page(Policy::Ring3, tss_descriptor(0, 0x67));
    let levels = page.iter().filter(|&&entry| entry & SEGMENT != 0).map(|&entry| dpl(entry));
    assert!(levels.clone().all(|level| level == 0 || level == 3));
    assert_eq!(levels.count(), 5);
}

#[test]
fn user_code_can_be_hidden_and_shown() {
    let page = reserved_gdt_page(Policy::Ring1, tss_descriptor(0, 0x67));
    for index in USER_CODE_ENTRIES {
        assert_eq!(page[index] & CODE, CODE);
        assert_eq!(dpl(page[index]), 3);
        let hidden = set_user_code_present(page[index], false);
        assert_eq!(hidden, page[index] & !PRESENT);
        assert_eq!(set_user_code_present(hidden, true), page[index]);
    }
    let others = (0..RESERVED_ENTRIES).filter(|index| !USER_CODE_ENTRIES.contains(index));
    let ring_3_code =
        |&index: &usize| page[index] & CODE != 0 && page[index] & SEGMENT != 0 && dpl(page[index]) == 3;
    assert_eq!(others.filter(ring_3_code).count(), 0);
}

#[test]
fn gates_say_what_they_were_made_of() {
    let gate = Gate::interrupt(0xffff_8080_0001_2345, HYPERVISOR_CS64, 0, 3);
    assert_eq!(gate.0, [0x0001_8e03_e008_2345, 0xffff_8080]);
    assert_eq!((gate.target(), gate.selector()), (0xffff_8080_0001_2345, HYPERVISOR_CS64));
    assert_eq!((gate.dpl(), gate.ist(), gate.is_trap(), gate.is_present()), (0, 3, false, true));
    let gate = Gate::trap(0x40_0000, RING1_CS64, 3, 0);
    assert_eq!(gate.0, [0x0040_ef00_e069_0000, 0]);
    assert!(gate.is_trap() && !Gate::ABSENT.is_present());
}

#[test]
fn only_plain_user_traps_become_direct_gates() {
    let trap = |vector, flags, address| TrapInfo::new(vector, flags, 0x10, address);
    let handler = 0xffff_ffff_8100_0000;
    let direct = |trap: &TrapInfo| direct_gate(Policy::Ring1, trap);
    let gate = direct(&trap(0x80, TrapFlags::DPL3, handler)).unwrap();
    assert_eq!(gate, Gate::trap(handler, RING1_CS64, 3, 0));
    for vector in 0..=255 {
        let gate = direct(&trap(vector, TrapFlags::DPL3, handler));
        assert_eq!(gate.is_some(), (0x30..=0x80).contains(&vector), "{vector:#x}");
    }
    for refused in [
        trap(0x80, TrapFlags::DPL3 | TrapFlags::MASK_EVENTS, handler),
        trap(0x80, TrapFlags::DPL_LOW, handler),
        trap(0x80, TrapFlags::DPL_HIGH, handler),
        trap(0x80, TrapFlags::empty(), handler),
        trap(0x80, TrapFlags::DPL3, 0),
        trap(0x80, TrapFlags::DPL3, 0x8000_0000_0000),
        trap(0x80, TrapFlags::DPL3, 0xffff_8080_0001_2000),
    ] {
        assert_eq!(direct(&refused), None, "{refused:?}");
    }
    assert_eq!(direct_gate(Policy::Ring3, &trap(0x80, TrapFlags::DPL3, handler)), None);
}

#[test]
fn code_sizes() {
    assert_eq!(code_bits(LONG).number(), 64);
    assert_eq!(code_bits(DEFAULT_32).number(), 32);
    assert_eq!(code_bits(0).number(), 16);
}
