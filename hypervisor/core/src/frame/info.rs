//! What is recorded for each machine frame.

use crate::addr::{DomainId, Level};
use static_assertions::const_assert;

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// No RAM, or RAM that is not to be touched: device memory, firmware tables, holes.
    NotRam,
    /// Nobody's: it is on the free list.
    Free,
    /// The hypervisor's own.
    Hypervisor,
    /// A domain's.
    Domain(DomainId),
}

/// What a frame is used as. A frame has one type at a time; the type changes only while its count is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// Nothing yet.
    None = 0,
    /// A page table whose entries map pages.
    L1 = 1,
    /// A page table whose entries name L1 tables.
    L2 = 2,
    /// A page table whose entries name L2 tables.
    L3 = 3,
    /// A root page table.
    L4 = 4,
    /// Segment descriptors: part of a GDT or LDT.
    SegDesc = 5,
    /// Writable by its owner.
    Writable = 6,
}

impl FrameType {
    /// The type of a page table of this level.
    #[inline]
    pub const fn table(level: Level) -> Self {
        match level {
            Level::L1 => Self::L1,
            Level::L2 => Self::L2,
            Level::L3 => Self::L3,
            Level::L4 => Self::L4,
        }
    }

    /// The level, when this is a page-table type.
    #[inline]
    pub const fn level(self) -> Option<Level> {
        match self {
            Self::L1 => Some(Level::L1),
            Self::L2 => Some(Level::L2),
            Self::L3 => Some(Level::L3),
            Self::L4 => Some(Level::L4),
            Self::None | Self::SegDesc | Self::Writable => None,
        }
    }
}

/// Which way a page table was going when its validation or its undoing stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It was becoming valid.
    Up,
    /// Its entries were being released.
    Down,
}

/// How far an interrupted validation, or its undoing, came. The state itself holds one type count (the
/// only one) and one reference of the frame, so the frame can neither be freed nor change type under it
/// (XSA-299, XSA-310), whoever forgets about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Entries below this one hold their references.
    pub index: u16,
    /// Entry `index` holds a reference, no type count, of the table it names, which is (or was) partial
    /// itself.
    pub child: bool,
    /// Which way it was going. Either way may be taken from here.
    pub direction: Direction,
}

/// The record of one frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameInfo {
    /// When the last use of the latest type ended, or when the frame was freed, by the flush clock.
    pub(super) stamp: u64,
    /// References of any kind; one of them stands for the allocation.
    pub(super) refs: u32,
    /// Uses of the frame as `kind`, each of which also holds a reference.
    pub(super) type_count: u32,
    /// Next block of free frames.
    pub(super) next: u32,
    /// The block before.
    pub(super) prev: u32,
    pub(super) owner: Owner,
    /// Of a partial state. Of a free frame: the order of the block it begins, or [`Self::INSIDE`].
    pub(super) partial_index: u16,
    pub(super) kind: FrameType,
    pub(super) flags: u8,
}

// 32 bytes a frame is 0.8% of RAM.
const_assert!(size_of::<FrameInfo>() <= 32);

impl FrameInfo {
    /// The reference that stands for the allocation is still held.
    pub(super) const ALLOCATED: u8 = 1 << 0;
    /// A guest pinned the table: one reference and one type count.
    pub(super) const PINNED: u8 = 1 << 1;
    /// The contents were checked for `kind`.
    pub(super) const VALIDATED: u8 = 1 << 2;
    /// Partly validated, see [`Partial`].
    pub(super) const PARTIAL: u8 = 1 << 3;
    /// [`Partial::child`].
    pub(super) const CHILD: u8 = 1 << 4;
    /// [`Direction::Down`].
    pub(super) const DOWN: u8 = 1 << 5;
    /// A page of the hypervisor's that a domain may map: writable for good.
    pub(super) const SHARED: u8 = 1 << 6;

    /// Another domain has mapped it by a grant, once at least since it was allocated.
    pub(super) const LENT: u8 = 1 << 7;

    /// In place of an order: the frame begins no block.
    pub(super) const INSIDE: u16 = u16::MAX;

    /// No RAM: what every frame is until the memory map says otherwise.
    pub const NOT_RAM: Self = Self {
        stamp: 0,
        refs: 0,
        type_count: 0,
        next: super::END,
        prev: super::END,
        owner: Owner::NotRam,
        partial_index: 0,
        kind: FrameType::None,
        flags: 0,
    };

    /// Whether this is the first of a block of 2^`order` free frames.
    pub(super) fn is_free_block(&self, order: u32) -> bool {
        self.owner == Owner::Free && u32::from(self.partial_index) == order
    }

    #[inline]
    pub(super) fn is_mappable_by(&self, domain: DomainId) -> bool {
        match self.owner {
            Owner::Domain(owner) => owner == domain || self.flags & Self::LENT != 0,
            Owner::NotRam | Owner::Free | Owner::Hypervisor => false,
        }
    }

    /// Whose the frame is.
    #[inline]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// References held.
    #[inline]
    pub const fn refs(&self) -> u32 {
        self.refs
    }

    /// The type. While [`Self::type_count`] is zero it is only what the type was last.
    #[inline]
    pub const fn kind(&self) -> FrameType {
        self.kind
    }

    /// Uses as [`Self::kind`].
    #[inline]
    pub const fn type_count(&self) -> u32 {
        self.type_count
    }

    /// Whether the allocation's reference is still held.
    #[inline]
    pub const fn allocated(&self) -> bool {
        self.flags & Self::ALLOCATED != 0
    }

    /// Whether a guest pinned it.
    #[inline]
    pub const fn pinned(&self) -> bool {
        self.flags & Self::PINNED != 0
    }

    /// Whether the contents were checked for the type.
    #[inline]
    pub const fn validated(&self) -> bool {
        self.flags & Self::VALIDATED != 0
    }

    /// Whether this is a page of the hypervisor's that a domain may map.
    #[inline]
    pub const fn shared(&self) -> bool {
        self.flags & Self::SHARED != 0
    }

    /// How far an interrupted validation came.
    #[inline]
    pub const fn partial(&self) -> Option<Partial> {
        if self.flags & Self::PARTIAL == 0 {
            return None;
        }
        let direction = if self.flags & Self::DOWN == 0 { Direction::Up } else { Direction::Down };
        Some(Partial { index: self.partial_index, child: self.flags & Self::CHILD != 0, direction })
    }

    /// Whether the frame is in use as `kind`, contents checked.
    #[inline]
    pub const fn is_in_use_as(&self, kind: FrameType) -> bool {
        self.kind as u8 == kind as u8 && self.type_count > 0 && self.validated()
    }

    /// The flush clock's value when the last typed use ended.
    #[inline]
    pub const fn stamp(&self) -> u64 {
        self.stamp
    }
}
