use super::*;
use crate::backing::StaticFile;
use crate::layout::PAGE;
use std::collections::BTreeMap as Map;

const BASE: u64 = 0x10_0000;

fn anonymous(end: u64, prot: Prot) -> Area {
    Area { end, prot, shared: false, backing: None }
}

fn of_file(end: u64, offset: u64) -> Area {
    let file = Arc::new(StaticFile::new(1, b"x"));
    Area { end, prot: Prot::READ, shared: false, backing: Some(Backing { file, offset }) }
}

fn extents(areas: &Areas) -> Vec<(u64, u64)> {
    areas.iter().map(|(start, area)| (start, area.end)).collect()
}

#[test]
fn an_area_is_found_by_every_address_in_it() {
    let mut areas = Areas::default();
    areas.insert(BASE, anonymous(BASE + 2 * PAGE, Prot::READ));
    assert!(areas.find(BASE - 1).is_none());
    assert_eq!(areas.find(BASE).map(|(start, _)| start), Some(BASE));
    assert_eq!(areas.find(BASE + 2 * PAGE - 1).map(|(start, _)| start), Some(BASE));
    assert!(areas.find(BASE + 2 * PAGE).is_none());
}

#[test]
fn like_neighbours_join_and_unlike_ones_do_not() {
    let mut areas = Areas::default();
    areas.insert(BASE, anonymous(BASE + PAGE, Prot::READ));
    areas.insert(BASE + PAGE, anonymous(BASE + 2 * PAGE, Prot::READ));
    areas.insert(BASE + 2 * PAGE, anonymous(BASE + 3 * PAGE, Prot::WRITE));
    assert_eq!(extents(&areas), [(BASE, BASE + 2 * PAGE), (BASE + 2 * PAGE, BASE + 3 * PAGE)]);
}

#[test]
fn a_hole_splits_a_file_mapping_and_keeps_its_offsets() {
    let mut areas = Areas::default();
    areas.insert(BASE, of_file(BASE + 4 * PAGE, 8 * PAGE));
    areas.remove(BASE + PAGE, BASE + 2 * PAGE);
    assert_eq!(extents(&areas), [(BASE, BASE + PAGE), (BASE + 2 * PAGE, BASE + 4 * PAGE)]);
    let (_, upper) = areas.find(BASE + 3 * PAGE).expect("the upper part stays");
    assert_eq!(upper.backing.as_ref().map(|backing| backing.offset), Some(10 * PAGE));
    assert!(!areas.covers(BASE, BASE + 4 * PAGE));
    assert!(areas.covers(BASE + 2 * PAGE, BASE + 4 * PAGE));
}

#[test]
fn placement_is_the_highest_gap_that_fits() {
    let mut areas = Areas::default();
    let first = areas.place(4 * PAGE).expect("an empty space has room");
    areas.insert(first, anonymous(first + 4 * PAGE, Prot::READ));
    assert_eq!(areas.place(PAGE), Some(first - PAGE));
    areas.remove(first + PAGE, first + 3 * PAGE);
    assert_eq!(areas.place(2 * PAGE), Some(first + PAGE));
    assert_eq!(areas.place(3 * PAGE), Some(first - 3 * PAGE));
    assert_eq!(areas.place(USER_END), None);
}

#[test]
fn only_shared_file_mappings_forbid_writing() {
    let mut areas = Areas::default();
    areas.insert(BASE, Area { shared: true, ..of_file(BASE + PAGE, 0) });
    areas.insert(BASE + PAGE, of_file(BASE + 2 * PAGE, 0));
    areas.insert(BASE + 2 * PAGE, Area { shared: true, ..anonymous(BASE + 3 * PAGE, Prot::READ) });
    assert!(areas.shares_file(BASE, BASE + 3 * PAGE));
    assert!(!areas.shares_file(BASE + PAGE, BASE + 3 * PAGE));
}

#[test]
fn protection_becomes_entry_flags() {
    assert_eq!(Prot::empty().flags(), PteFlags::empty());
    let read = Prot::READ.flags();
    assert!(read.contains(PteFlags::PRESENT | PteFlags::USER | PteFlags::NX) && !read.contains(PteFlags::RW));
    assert!((Prot::READ | Prot::WRITE).flags().contains(PteFlags::RW));
    assert!(!(Prot::READ | Prot::EXEC).flags().contains(PteFlags::NX));
}

/// The same operations on a map of single pages, which cannot be wrong.
#[test]
fn random_operations_agree_with_a_page_map() {
    const PAGES: u64 = 24;
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..2_000 {
        let mut areas = Areas::default();
        let mut pages: Map<u64, Prot> = Map::new();
        for _ in 0..40 {
            let start = next(PAGES);
            let end = start + 1 + next(PAGES - start);
            let (from, to) = (BASE + start * PAGE, BASE + end * PAGE);
            let prot = Prot::from_bits_truncate(next(4) as u32);
            match next(3) {
                0 if areas.is_clear(from, to) => {
                    areas.insert(from, anonymous(to, prot));
                    pages.extend((start..end).map(|page| (page, prot)));
                }
                1 => {
                    areas.remove(from, to);
                    pages.retain(|page, _| !(start..end).contains(page));
                }
                _ => {
                    areas.protect(from, to, prot);
                    pages.range_mut(start..end).for_each(|(_, old)| *old = prot);
                }
            }
            for page in 0..PAGES {
                let found = areas.find(BASE + page * PAGE).map(|(_, area)| area.prot);
                assert_eq!(found, pages.get(&page).copied());
            }
            let clear = !(start..end).any(|page| pages.contains_key(&page));
            assert_eq!(areas.is_clear(from, to), clear);
            assert_eq!(areas.covers(from, to), (start..end).all(|page| pages.contains_key(&page)));
        }
    }
}
