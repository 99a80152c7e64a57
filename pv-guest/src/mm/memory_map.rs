//! Where memory is, as ranges of addresses or of frames.

use core::ops::Range;

/// The end of the memory that goes on without a hole from `at`; `at` when there is none. The ranges may touch, overlap, and come
/// in any order.
pub fn end_of_first(ranges: impl Iterator<Item = Range<u64>> + Clone, at: u64) -> u64 {
    let mut end = at;
    while let Some(next) = ranges.clone().filter(|range| range.start <= end).map(|range| range.end).max()
        && next > end
    {
        end = next;
    }
    end
}

/// The widest part of what lies before `end` and in none of the ranges, which are sorted by the way.
pub fn widest_gap(used: &mut [Range<u64>], end: u64) -> Range<u64> {
    used.sort_unstable_by_key(|range| range.start);
    let (mut best, mut from) = (0..0, 0);
    for range in used.iter().filter(|range| !range.is_empty()).chain([&(end..end)]) {
        let gap = from..range.start.min(end);
        if gap.end.saturating_sub(gap.start) > best.end - best.start {
            best = gap;
        }
        from = from.max(range.end);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_ends_at_the_first_hole() {
        let end = |ranges: &[Range<u64>]| end_of_first(ranges.iter().cloned(), 0x100);
        assert_eq!(end(&[0..0xa0, 0x100..0x800, 0x1000..0x2000]), 0x800);
        assert_eq!(end(&[0x800..0x900, 0..0xa0, 0x80..0x400, 0x300..0x800]), 0x900);
        assert_eq!(end(&[0..0xa0, 0x200..0x800]), 0x100, "nothing is there");
        assert_eq!(end(&[]), 0x100);
    }

    #[test]
    fn the_widest_gap_is_found_wherever_it_is() {
        assert_eq!(widest_gap(&mut [0..10, 50..60], 100), 10..50);
        assert_eq!(widest_gap(&mut [50..60, 0..10, 20..30], 200), 60..200);
        assert_eq!(widest_gap(&mut [0..10, 5..40, 30..35], 50), 40..50);
        assert_eq!(widest_gap(&mut [0..0, 60..60], 100), 0..100, "what is empty divides nothing");
        assert_eq!(widest_gap(&mut [0..100], 100), 0..0);
        assert_eq!(widest_gap(&mut [0..10, 300..400], 100), 10..100);
    }
}
