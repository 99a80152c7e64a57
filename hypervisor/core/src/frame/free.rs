//! Free memory: blocks of 1 to 512 frames, each as large as its neighbours allow, so that contiguous extents can be
//! had and any frame is taken and given back in a few steps (a buddy allocator).
//!
//! Blocks stand in lists by size and by how high they lie, low ones going first: frames below an address are found
//! without a search. The lists' links are in the frames' own records.

use super::{END, FrameInfo, FrameTable, Owner};
use crate::addr::Mfn;

/// Logarithm of the largest block's frames: 2 MiB, the most that a domain without devices may ask for at once
/// (Xen's CONFIG_DOMU_MAX_ORDER).
pub const MAX_ORDER: u32 = 9;
const ORDERS: usize = MAX_ORDER as usize + 1;
/// The largest blocks of a zone have numbers of as many binary digits: 2^32 frames in all.
const ZONES: usize = 24;

/// The first block of each list.
#[derive(Debug)]
pub(super) struct FreeLists {
    heads: [[u32; ORDERS]; ZONES],
    /// Per zone, a bit for each order that has blocks.
    orders: [u16; ZONES],
    pub(super) count: u64,
}

impl FreeLists {
    pub(super) const EMPTY: Self = Self { heads: [[END; ORDERS]; ZONES], orders: [0; ZONES], count: 0 };
}

/// The zone of a frame.
fn zone(index: usize) -> usize {
    (usize::BITS - (index >> MAX_ORDER).leading_zeros()) as usize
}

impl FrameTable {
    /// Frees one frame, and joins it with free neighbours.
    pub(super) fn push_free(&mut self, index: usize, stamp: u64) {
        self.frames[index] =
            FrameInfo { stamp, owner: Owner::Free, partial_index: FrameInfo::INSIDE, ..FrameInfo::NOT_RAM };
        self.free.count += 1;
        let (mut block, mut order) = (index, 0);
        while order < MAX_ORDER {
            let buddy = block ^ 1 << order;
            if !self.frames.get(buddy).is_some_and(|info| info.is_free_block(order)) {
                break;
            }
            self.unlink(buddy, order);
            block = block.min(buddy);
            order += 1;
        }
        self.link(block, order);
    }

    /// Takes 2^`order` frames, aligned to their number, that lie below 2^`bits` frames. Returns the first; they still
    /// count as free for [`FrameInfo::owner`], which the caller sets.
    pub(super) fn take_block(&mut self, order: u32, bits: u32) -> Option<usize> {
        let (block, mut size) = self.find(order, bits)?;
        self.unlink(block, size);
        while size > order {
            size -= 1;
            self.link(block + (1 << size), size);
        }
        self.free.count -= 1 << order;
        Some(block)
    }

    /// A block of at least this order whose first frames lie low enough, and its order.
    fn find(&self, order: u32, bits: u32) -> Option<(usize, u32)> {
        if order > MAX_ORDER || order > bits {
            return None;
        }
        for zone in 0..ZONES.min(bits.saturating_sub(MAX_ORDER) as usize + 1) {
            let sizes = self.free.orders[zone] >> order;
            if sizes == 0 {
                continue;
            }
            if bits >= MAX_ORDER {
                let size = order + sizes.trailing_zeros();
                return Some((self.free.heads[zone][size as usize] as usize, size));
            }
            // The limit lies within the lowest 512 frames.
            let fits = |block: &usize| block + (1 << order) <= 1 << bits;
            let mut sizes = order..=MAX_ORDER;
            return sizes.find_map(|size| self.blocks(zone, size).find(fits).map(|block| (block, size)));
        }
        None
    }

    /// The blocks of a list; at most as many as there are records, should it be a ring.
    fn blocks(&self, zone: usize, order: u32) -> impl Iterator<Item = usize> + '_ {
        let mut next = self.free.heads[zone][order as usize];
        (0..=self.frames.len()).map_while(move |_| {
            let block = next as usize;
            next = self.frames.get(block)?.next;
            Some(block)
        })
    }

    fn link(&mut self, block: usize, order: u32) {
        let zone = zone(block);
        let next = self.free.heads[zone][order as usize];
        if let Some(info) = self.frames.get_mut(next as usize) {
            info.prev = block as u32;
        }
        let info = &mut self.frames[block];
        (info.next, info.prev, info.partial_index) = (next, END, order as u16);
        self.free.heads[zone][order as usize] = block as u32;
        self.free.orders[zone] |= 1 << order;
    }

    fn unlink(&mut self, block: usize, order: u32) {
        let zone = zone(block);
        let info = &mut self.frames[block];
        let (next, prev) = (info.next, info.prev);
        (info.next, info.prev, info.partial_index) = (END, END, FrameInfo::INSIDE);
        if let Some(info) = self.frames.get_mut(next as usize) {
            info.prev = prev;
        }
        match self.frames.get_mut(prev as usize) {
            Some(info) => info.next = next,
            None => self.free.heads[zone][order as usize] = next,
        }
        if self.free.heads[zone][order as usize] == END {
            self.free.orders[zone] &= !(1 << order);
        }
    }

    /// The frames of all free blocks.
    pub(crate) fn free_list(&self) -> impl Iterator<Item = Mfn> + '_ {
        let lists = (0..ZONES).flat_map(|zone| (0..=MAX_ORDER).map(move |order| (zone, order)));
        let blocks =
            lists.flat_map(|(zone, order)| self.blocks(zone, order).map(move |block| (block, order)));
        blocks.flat_map(|(block, order)| (block..block + (1 << order)).map(|index| Mfn::new(index as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    const FRAMES: usize = 5000;

    fn table(ram: core::ops::Range<u64>) -> FrameTable {
        let mut table = FrameTable::new(alloc::vec![FrameInfo::NOT_RAM; FRAMES].leak());
        table.add_ram(Mfn::new(ram.start)..Mfn::new(ram.end));
        table
    }

    fn take(table: &mut FrameTable, order: u32, bits: u32) -> Option<usize> {
        let block = table.take_block(order, bits)?;
        for index in block..block + (1 << order) {
            assert_eq!(table.frames[index].owner, Owner::Free, "frame {index} was not free");
            table.frames[index].owner = Owner::Hypervisor;
        }
        Some(block)
    }

    /// Every free frame is in one block, no two neighbours are apart that could be one, all links lead both ways.
    fn check(table: &FrameTable) {
        let listed: Vec<Mfn> = table.free_list().collect();
        let set: BTreeSet<Mfn> = listed.iter().copied().collect();
        let free = table.frames.iter().filter(|info| info.owner == Owner::Free).count();
        assert_eq!((listed.len(), set.len(), table.free.count as usize), (free, free, free));
        for zone in 0..ZONES {
            for order in 0..=MAX_ORDER {
                let has = table.free.orders[zone] >> order & 1 != 0;
                assert_eq!(has, table.free.heads[zone][order as usize] != END, "zone {zone}, order {order}");
                let mut before = END;
                for block in table.blocks(zone, order) {
                    assert_eq!(table.frames[block].prev, before);
                    assert_eq!((super::zone(block), block % (1 << order)), (zone, 0));
                    let buddy = table.frames.get(block ^ 1 << order);
                    assert!(order == MAX_ORDER || !buddy.is_some_and(|info| info.is_free_block(order)));
                    before = block as u32;
                }
            }
        }
    }

    #[test]
    fn what_is_freed_becomes_one_again() {
        let mut table = table(0..2048);
        check(&table);
        let whole: Vec<usize> = (0..4).map(|_| take(&mut table, 9, 64).unwrap()).collect();
        assert_eq!(whole, [0, 512, 1024, 1536], "low ones first");
        assert_eq!(take(&mut table, 0, 64), None);
        // In any order.
        for index in (0..2048).map(|n| n * 1031 % 2048) {
            table.push_free(index, 0);
            check(&table);
        }
        assert_eq!(take(&mut table, 9, 64), Some(0));
        assert_eq!(take(&mut table, 10, 64), None);
        assert_eq!(take(&mut table, 3, 64), Some(512));
        assert_eq!(take(&mut table, 0, 64), Some(520));
        assert_eq!(take(&mut table, 3, 64), Some(528));
        assert_eq!(take(&mut table, 0, 64), Some(521), "the smallest block that will do");
        check(&table);
    }

    #[test]
    fn blocks_lie_below_the_limit() {
        for ram in [0..5000, 100..5000, 1030..4000] {
            for order in 0..=9 {
                for bits in 0..14 {
                    let mut table = table(ram.clone());
                    let fits = |block: u64| {
                        block.is_multiple_of(1 << order) && block + (1 << order) <= ram.end.min(1 << bits)
                    };
                    let mut expected = (ram.start..ram.end).filter(|block| fits(*block)).count();
                    while let Some(block) = take(&mut table, order, bits) {
                        assert!(
                            fits(block as u64) && block as u64 >= ram.start,
                            "{block} of order {order}, {bits} bits"
                        );
                        expected -= 1;
                    }
                    assert_eq!(expected, 0, "{ram:?}: blocks of order {order} below 2^{bits} were not found");
                    check(&table);
                }
            }
        }
    }

    #[test]
    fn random_blocks_come_and_go() {
        let mut seed = 1u64;
        let mut dice = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut table = table(3..4990);
        let mut taken: Vec<usize> = Vec::new();
        for step in 0..4000 {
            if dice(2) == 0 {
                let order = dice(10) as u32;
                if let Some(block) = take(&mut table, order, 64) {
                    taken.extend(block..block + (1 << order));
                }
            } else {
                for _ in 0..dice(200).min(taken.len() as u64) {
                    let index = taken.swap_remove(dice(taken.len() as u64) as usize);
                    table.push_free(index, 0);
                }
            }
            if step % 64 == 0 {
                check(&table);
            }
        }
        taken.into_iter().for_each(|index| table.push_free(index, 0));
        check(&table);
        assert_eq!(table.free_frames(), 4987);
    }
}
