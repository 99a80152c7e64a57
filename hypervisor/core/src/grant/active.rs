//! What the hypervisor remembers of an entry in use: it was read once, and what the guest writes since changes
//! nothing of it.

use crate::addr::{DomainId, Mfn, PAGE_SIZE};

/// Uses of an entry by kind: mapped by CPUs and by devices, for writing and for reading. One byte each, in one
/// word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins(u32);

impl Pins {
    /// None.
    pub const NONE: Self = Self(0);
    /// One use by CPUs that writes.
    const HOST_WRITE: u32 = 1;
    const HOST_READ: u32 = 1 << 8;
    const DEVICE_WRITE: u32 = 1 << 16;
    const DEVICE_READ: u32 = 1 << 24;
    const WRITERS: u32 = 0x00ff_00ff;

    /// One use by CPUs: a mapping, or a copy under way.
    pub const fn host(readonly: bool) -> Self {
        Self(if readonly { Self::HOST_READ } else { Self::HOST_WRITE })
    }

    /// One use by devices.
    pub const fn device(readonly: bool) -> Self {
        Self(if readonly { Self::DEVICE_READ } else { Self::DEVICE_WRITE })
    }

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is any.
    pub const fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether any writes.
    pub const fn writers(self) -> bool {
        self.0 & Self::WRITERS != 0
    }

    /// Whether a count that `more` would raise has reached 128 (Xen refuses there, half-way to where it would
    /// spill into its neighbour).
    pub const fn full(self, more: Self) -> bool {
        self.0 & more.0 << 7 != 0
    }

    /// With `more`; the caller has asked [`Self::full`].
    pub const fn plus(self, more: Self) -> Self {
        Self(self.0.wrapping_add(more.0))
    }

    /// Without `less`. A count never goes below zero.
    pub fn minus(self, less: Self) -> Self {
        let (mine, theirs) = (self.0.to_le_bytes(), less.0.to_le_bytes());
        let mut left = [0; 4];
        for ((left, mine), theirs) in left.iter_mut().zip(mine).zip(theirs) {
            debug_assert!(mine >= theirs, "{self:?} without {less:?}");
            *left = mine.saturating_sub(theirs);
        }
        Self(u32::from_le_bytes(left))
    }
}

/// An entry in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// Its uses.
    pub pins: Pins,
    /// The domain that uses it.
    pub grantee: DomainId,
    /// The frame.
    pub frame: Mfn,
    /// First byte lent.
    pub start: u16,
    /// Bytes lent.
    pub length: u16,
    /// Lent in part, or passed on: not to be mapped.
    pub sub_page: bool,
    /// The domain and the entry that lend; for a transitive entry those it passes on.
    pub origin: (DomainId, u32),
}

impl Active {
    /// Words of its form in memory.
    pub(super) const WORDS: usize = 4;

    /// A whole frame that entry `reference` of `domain` lends, not yet in use.
    pub fn whole(domain: DomainId, reference: u32, grantee: DomainId, frame: Mfn) -> Self {
        Self {
            pins: Pins::NONE,
            grantee,
            frame,
            start: 0,
            length: PAGE_SIZE as u16,
            sub_page: false,
            origin: (domain, reference),
        }
    }

    /// Whether it lends the same as `other`.
    pub fn lends_as(&self, other: &Self) -> bool {
        (self.frame, self.start, self.length, self.sub_page, self.origin)
            == (other.frame, other.start, other.length, other.sub_page, other.origin)
    }

    pub(super) fn to_words(self) -> [u64; Self::WORDS] {
        let Self { pins, grantee, frame, start, length, sub_page, origin } = self;
        [
            u64::from(pins.0) | u64::from(grantee.0) << 32 | u64::from(sub_page) << 48,
            u64::from(start) | u64::from(length) << 16 | u64::from(origin.1) << 32,
            frame.get(),
            u64::from(origin.0.0),
        ]
    }

    pub(super) fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [first, part, frame, origin] = words;
        Self {
            pins: Pins(first as u32),
            grantee: DomainId((first >> 32) as u16),
            frame: Mfn::new(frame),
            start: part as u16,
            length: (part >> 16) as u16,
            sub_page: first >> 48 & 1 != 0,
            origin: (DomainId(origin as u16), (part >> 32) as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_use_are_counted_apart() {
        let kinds = [Pins::host(false), Pins::host(true), Pins::device(false), Pins::device(true)];
        for (n, kind) in kinds.into_iter().enumerate() {
            let mut pins = Pins::NONE;
            for count in 0..128 {
                assert!(!pins.full(kind), "{count} of kind {n}");
                pins = pins.plus(kind);
            }
            assert!(pins.full(kind) && pins.any());
            assert_eq!(pins.writers(), n % 2 == 0);
            for other in kinds.into_iter().filter(|other| *other != kind) {
                assert!(!pins.full(other));
            }
            for _ in 0..128 {
                pins = pins.minus(kind);
            }
            assert_eq!(pins, Pins::NONE);
        }
        let both = Pins::host(true).and(Pins::device(true));
        assert_eq!(both.minus(Pins::host(true)), Pins::device(true));
    }

    #[test]
    fn an_entry_survives_its_form_in_memory() {
        let entry = Active {
            pins: Pins(0x0102_0304),
            grantee: DomainId(0x7fef),
            frame: Mfn::new(0x000f_ffff_ffff),
            start: 0x123,
            length: 4096,
            sub_page: true,
            origin: (DomainId(9), 0xdead_beef),
        };
        assert_eq!(Active::from_words(entry.to_words()), entry);
        assert!(!Active::from_words([0; 4]).pins.any());
    }
}
