//! Chains of shadow-table slots: the reverse references. Which slots name a shadow table, and which let the guest
//! write a frame, are lists threaded through one node for each slot there is, so that a slot leaves its list in one
//! step and no list ever takes memory.

use crate::addr::ENTRIES;
use alloc::vec;
use alloc::vec::Vec;

/// No slot, no record, no table.
pub(super) const NONE: u32 = u32::MAX;

/// A slot of a shadow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The shadow table's number.
    pub table: u32,
    /// The slot.
    pub slot: usize,
}

impl Place {
    const fn number(self) -> u32 {
        self.table * ENTRIES as u32 + self.slot as u32
    }

    const fn of(number: u32) -> Option<Self> {
        match number {
            NONE => None,
            _ => Some(Self { table: number / ENTRIES as u32, slot: number as usize % ENTRIES }),
        }
    }
}

/// A list's first slot and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    first: u32,
    /// Slots in the list.
    pub length: u32,
}

impl Chain {
    /// A list without slots.
    pub const EMPTY: Self = Self { first: NONE, length: 0 };

    /// The first slot.
    pub const fn first(self) -> Option<Place> {
        Place::of(self.first)
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    back: u32,
    next: u32,
    owner: u32,
}

/// The nodes of all slots.
#[derive(Debug)]
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    const FREE: Node = Node { back: NONE, next: NONE, owner: NONE };

    /// Bytes of heap for the nodes of so many tables.
    pub const fn bytes(tables: usize) -> usize {
        tables * ENTRIES * size_of::<Node>()
    }

    /// Nodes for so many tables.
    pub fn new(tables: usize) -> Self {
        Self(vec![Self::FREE; tables * ENTRIES])
    }

    /// Puts a slot that is in no list at the front of one, whose owner has the number `owner`.
    pub fn push(&mut self, chain: &mut Chain, owner: u32, place: Place) {
        let number = place.number();
        if let Some(second) = self.0.get_mut(chain.first as usize) {
            second.back = number;
        }
        self.0[number as usize] = Node { back: NONE, next: chain.first, owner };
        *chain = Chain { first: number, length: chain.length + 1 };
    }

    /// The owner of the list that a slot is in.
    pub fn owner(&self, place: Place) -> Option<u32> {
        let owner = self.0[place.number() as usize].owner;
        (owner != NONE).then_some(owner)
    }

    /// The slot after one in its list.
    #[cfg(test)]
    pub fn next(&self, place: Place) -> Option<Place> {
        Place::of(self.0[place.number() as usize].next)
    }

    /// Takes a slot out of the list that it is in.
    pub fn remove(&mut self, chain: &mut Chain, place: Place) {
        let Node { back, next, .. } = core::mem::replace(&mut self.0[place.number() as usize], Self::FREE);
        if let Some(after) = self.0.get_mut(next as usize) {
            after.back = back;
        }
        match self.0.get_mut(back as usize) {
            Some(before) => before.next = next,
            None => chain.first = next,
        }
        chain.length -= 1;
    }

    /// Takes all slots of a table out of lists that are no more.
    pub fn forget(&mut self, table: u32) {
        let first = table as usize * ENTRIES;
        self.0[first..first + ENTRIES].fill(Self::FREE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(nodes: &Nodes, chain: Chain) -> Vec<usize> {
        core::iter::successors(chain.first(), |&place| nodes.next(place)).map(|place| place.slot).collect()
    }

    #[test]
    fn a_slot_leaves_its_list_from_any_position() {
        let place = |slot| Place { table: 1, slot };
        for taken in [3, 5, 511] {
            let (mut nodes, mut chain) = (Nodes::new(2), Chain::EMPTY);
            for slot in [511, 5, 3] {
                nodes.push(&mut chain, 7, place(slot));
            }
            assert_eq!((slots(&nodes, chain), chain.length), ([3, 5, 511].to_vec(), 3));
            assert_eq!(nodes.owner(place(taken)), Some(7));
            nodes.remove(&mut chain, place(taken));
            let rest: Vec<usize> = [3, 5, 511].into_iter().filter(|&slot| slot != taken).collect();
            assert_eq!((slots(&nodes, chain), chain.length), (rest, 2));
            assert_eq!(nodes.owner(place(taken)), None);
            // What is left can still be taken apart from the back.
            for slot in [511, 5, 3].into_iter().filter(|&slot| slot != taken) {
                nodes.remove(&mut chain, place(slot));
            }
            assert_eq!(chain, Chain::EMPTY);
        }
    }

    #[test]
    fn a_table_is_forgotten_alone() {
        let (mut nodes, mut chain) = (Nodes::new(2), Chain::EMPTY);
        let places = [Place { table: 0, slot: 511 }, Place { table: 1, slot: 0 }];
        places.iter().for_each(|&place| nodes.push(&mut chain, 2, place));
        nodes.forget(1);
        assert_eq!(places.map(|place| nodes.owner(place)), [Some(2), None]);
    }
}
