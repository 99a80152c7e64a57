//! Components, sizes, and states that a guest gives.

use super::*;

const XSAVE: u32 = 1 << 26;
const AVX_FEATURE: u32 = 1 << 28;
const AVX512F: u32 = 1 << 16;
/// Offset, size and alignment of components 2 to 9, as an Intel processor with AVX-512 and protection keys has them.
const PLACES: [(u32, u32, u32); 8] = [
    (576, 256, 0),
    (960, 64, 0),
    (1024, 64, 0),
    (1088, 64, 0),
    (1152, 512, 0),
    (1664, 1024, 0),
    (0, 128, 1),
    (2688, 8, 0),
];

/// A processor with these components and these features in leaf 1 ECX and leaf 7 EBX.
pub(crate) fn processor(mask: u64, one: u32, seven: u32) -> impl Fn(u32, u32) -> [u32; 4] {
    move |leaf, subleaf| match (leaf, subleaf) {
        (0, _) => [0xd, 0, 0, 0],
        (1, _) => [0, 0, one, 0],
        (7, 0) => [0, seven, 0, 0],
        // EBX is the size for XCR0's value, which must not matter.
        (0xd, 0) => [mask as u32, 0xffff, 0xffff, (mask >> 32) as u32],
        (0xd, 2..=9) if mask >> subleaf & 1 != 0 => {
            let (offset, size, flags) = PLACES[subleaf as usize - 2];
            [size, offset, flags, 0]
        }
        _ => [0; 4],
    }
}

fn detect(mask: u64, one: u32, seven: u32) -> XState {
    XState::detect(processor(mask, one, seven))
}

#[test]
fn what_xen_offers_is_offered_and_nothing_else() {
    let all = detect(!(1 << 63), XSAVE | AVX_FEATURE, AVX512F);
    assert_eq!(all.mask, 0xe7, "no MPX, no protection keys, no AMX");
    assert_eq!((all.size(all.mask), all.size(7), all.size(3), all.size(1)), (2688, 832, 576, 576));
    assert_eq!(all.size(!0), 2688, "what is not offered takes no room");
    assert_eq!(all.extended(2), Some(Extended { offset: 576, size: 256, aligned: false }));
    for hidden in [0, 1, 3, 4, 8, 9, 63, u32::MAX] {
        assert_eq!(all.extended(hidden), None, "{hidden}");
    }
    assert_eq!(detect(7, XSAVE | AVX_FEATURE, 0).mask, 7);
    assert_eq!(detect(3, XSAVE, 0).mask, 3);
}

#[test]
fn a_component_needs_its_feature_and_those_below_it() {
    for (mask, one, seven, offered) in [
        (0xe7, XSAVE | AVX_FEATURE, 0, 7),
        (0xe7, XSAVE, AVX512F, 3),
        (0xe3, XSAVE | AVX_FEATURE, AVX512F, 3),
        (0xc7, XSAVE | AVX_FEATURE, AVX512F, 7),
        (7, AVX_FEATURE, 0, 0),
        (5, XSAVE | AVX_FEATURE, 0, 0),
        (6, XSAVE | AVX_FEATURE, 0, 0),
        (1, XSAVE, 0, 0),
        (0, XSAVE, 0, 0),
    ] {
        assert_eq!(detect(mask, one, seven).mask, offered, "{mask:#x}");
    }
    let old = |leaf, _| if leaf == 0 { [0xc, 0, 0, 0] } else { [!0; 4] };
    assert_eq!(XState::detect(old), XState::NONE);
}

#[test]
fn a_component_without_a_place_is_left_out() {
    let all = processor(7, XSAVE | AVX_FEATURE, 0);
    let broken =
        |size, offset| {
            XState::detect(|leaf, subleaf| {
                if (leaf, subleaf) == (0xd, 2) { [size, offset, 0, 0] } else { all(leaf, subleaf) }
            })
            .mask
        };
    assert_eq!((broken(256, 576), broken(0, 576), broken(256, 575)), (7, 3, 3));
}

#[test]
fn compacted_components_follow_each_other() {
    let mut all = detect(0xe7, XSAVE | AVX_FEATURE, AVX512F);
    assert_eq!(all.compacted_size(0xe7), 576 + 256 + 64 + 512 + 1024);
    assert_eq!((all.compacted_size(7), all.compacted_size(3)), (832, 576));
    all.extended[2].size = 250;
    assert_eq!(all.compacted_size(0xe7), 576 + 250 + 64 + 512 + 1024);
    all.extended[5].aligned = true;
    assert_eq!(all.compacted_size(0xe7), 576 + 256 + 64 + 512 + 1024);
}

#[test]
fn xcr0_holds_whole_sets_only() {
    let valid = [1, 3, 7, 0xe7];
    for value in 0..=0xffu64 {
        if value & 0x18 == 0 {
            assert_eq!(valid_xcr0(value), valid.contains(&value), "{value:#x}");
        }
    }
}

#[test]
fn the_initial_state_is_that_of_a_reset_whatever_loads_it() {
    let all = detect(0xe7, XSAVE | AVX_FEATURE, AVX512F);
    for state in [XState::NONE.initial(), all.initial()] {
        let bytes = state.bytes();
        assert_eq!(bytes.as_ptr() as usize % 64, 0);
        assert_eq!((&bytes[..2], &bytes[24..28]), (&[0x7f, 3][..], &[0x80, 0x1f, 0, 0][..]));
        let rest = bytes.iter().enumerate().filter(|(at, _)| !matches!(at, 0 | 1 | 24 | 25));
        assert!(rest.clone().all(|(_, byte)| *byte == 0));
    }
    assert_eq!((XState::NONE.initial().bytes().len(), all.initial().bytes().len()), (576, 2688));
    assert_eq!(FpuState::new(2700).bytes().len(), 2752);
}

#[test]
fn a_given_state_is_taken_as_it_is_and_the_rest_becomes_initial() {
    let all = detect(7, XSAVE | AVX_FEATURE, 0);
    let mut given = [0x5a; LEGACY_SIZE];
    given[MXCSR..MXCSR + 4].copy_from_slice(&0xffffu32.to_le_bytes());
    let mut state = all.initial();
    state.bytes_mut().fill(0xee);
    state.give(&given, &all, 0xffff);
    assert_eq!(state.bytes()[..LEGACY_SIZE], given);
    assert_eq!(state.bytes()[LEGACY_SIZE], 3, "x87 and SSE are taken from the area");
    assert!(state.bytes()[LEGACY_SIZE + 1..].iter().all(|byte| *byte == 0), "a header cannot fault");
}

#[test]
fn reserved_bits_of_a_given_mxcsr_cost_the_state_as_on_xen() {
    let mut given = [0x5a; LEGACY_SIZE];
    given[MXCSR..MXCSR + 4].copy_from_slice(&0x0001_ffffu32.to_le_bytes());
    let all = detect(7, XSAVE | AVX_FEATURE, 0);
    let mut state = all.initial();
    state.give(&given, &all, 0xffbf);
    let mut wanted = all.initial();
    wanted.set_mxcsr(0xffbf);
    assert!(state == wanted);
    let mut state = XState::NONE.initial();
    state.give(&given, &XState::NONE, 0xffbf);
    assert!(state.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn a_processor_that_stores_no_mask_has_no_daz() {
    let mut state = XState::NONE.initial();
    assert_eq!(state.mxcsr_mask(), 0xffbf);
    state.bytes_mut()[28..32].copy_from_slice(&[0xff, 0xff, 2, 0]);
    assert_eq!(state.mxcsr_mask(), 0x2_ffff);
}
