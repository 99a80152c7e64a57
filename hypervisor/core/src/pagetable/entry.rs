//! Page-table entries: their bits, which of them a guest may set, and how a guest's wish is turned into
//! what the CPU gets.

use crate::addr::{Level, Mfn, PAGE_SHIFT};
use paravane_abi::errno::Errno;

/// A page-table entry of any level (SDM vol. 3, 4.5.4; APM vol. 2, 5.3).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Pte(pub u64);

impl Pte {
    /// Present.
    pub const P: u64 = 1 << 0;
    /// Writable.
    pub const RW: u64 = 1 << 1;
    /// Reachable from ring 3.
    pub const US: u64 = 1 << 2;
    /// Cache attributes: PWT, PCD, and PAT, which in a table above L1 is PS.
    pub const CACHE: u64 = 0b1_1000 | Self::PS;
    /// Accessed.
    pub const A: u64 = 1 << 5;
    /// Dirty.
    pub const D: u64 = 1 << 6;
    /// In a table above L1: a large page.
    pub const PS: u64 = 1 << 7;
    /// Global.
    pub const G: u64 = 1 << 8;
    /// For the guest's own use: bits 9 to 11.
    pub const AVAIL: u64 = 0b111 << 9;
    /// For the guest's own use: bits 52 to 62 (protection keys, of which CR4.PKE stays clear).
    pub const AVAIL_HIGH: u64 = 0x7ff << 52;
    /// Bit 52, which marks an entry in which [`PagingPolicy::Ring3`] set US although the guest had it
    /// clear. Xen does the same, and guests see it.
    pub const GUEST_KERNEL: u64 = 1 << 52;
    /// No execution.
    pub const NX: u64 = 1 << 63;
    /// The frame's number, shifted.
    pub const FRAME: u64 = 0x000f_ffff_ffff_f000;
    /// The frame number that guests write for "no frame".
    pub const NO_FRAME: u64 = Self::FRAME >> PAGE_SHIFT;

    /// Bits a guest may set in any present entry.
    const ALLOWED: u64 = Self::P
        | Self::RW
        | Self::US
        | Self::A
        | Self::D
        | Self::AVAIL
        | Self::AVAIL_HIGH
        | Self::NX
        | Self::FRAME;

    /// Bits whose change needs no new check, because they neither move the mapping nor widen what may be
    /// done through it to the frame (XSA-148, XSA-182: PS, RW and the cache bits are not among them).
    const HARMLESS: u64 = Self::NX | Self::AVAIL_HIGH | Self::AVAIL | Self::G | Self::D | Self::A | Self::US;

    /// The entry that maps `frame` with `flags`.
    #[inline]
    pub const fn new(frame: Mfn, flags: u64) -> Self {
        Self((frame.get() << PAGE_SHIFT) & Self::FRAME | flags)
    }

    /// Whether the CPU looks further than the present bit.
    #[inline]
    pub const fn present(self) -> bool {
        self.0 & Self::P != 0
    }

    /// Whether it allows writing.
    #[inline]
    pub const fn writable(self) -> bool {
        self.0 & Self::RW != 0
    }

    /// The frame it names.
    #[inline]
    pub const fn frame(self) -> Mfn {
        Mfn::new((self.0 & Self::FRAME) >> PAGE_SHIFT)
    }

    /// Whether all of `bits` are set.
    #[inline]
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// Whether this entry can replace `old` without any reference changing hands. In tables above L1 the
    /// RW bit is harmless too, since no table names one of its own level.
    #[inline]
    pub const fn is_like(self, old: Self, level: Level) -> bool {
        let harmless = match level {
            Level::L1 => Self::HARMLESS,
            _ => Self::HARMLESS | Self::RW,
        };
        (self.0 ^ old.0) & !harmless == 0
    }
}

impl core::fmt::Debug for Pte {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// Where a domain's kernel runs, as far as page tables care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagingPolicy {
    /// Kernel in ring 1: its pages are supervisor pages, US stays as the guest sets it, and one L4 serves
    /// kernel and programs.
    Ring1,
    /// Kernel in ring 3 (Xen's ABI): US is set in every present entry, G in those of programs' pages, and a
    /// second L4 keeps the kernel from its programs.
    Ring3,
}

impl PagingPolicy {
    /// The entry the CPU gets for a guest's wish, or why there is none. Entries that are not present are
    /// the guest's own notes and stay as they are.
    ///
    /// PS and the cache attributes are refused in every table (Xen's rule for domains without devices;
    /// XSA-402 is what mixed attributes lead to). G is Xen's to set, on programs' pages, and guests read it;
    /// CR4.PGE stays clear, so that no entry outlives a CR3 load. In ring 1 it is taken off. Above L1 it is
    /// refused, as Xen does.
    #[inline]
    pub const fn admit(self, wish: Pte, level: Level) -> Result<Pte, Errno> {
        if !wish.present() {
            return Ok(wish);
        }
        let allowed = match level {
            Level::L1 => Pte::ALLOWED | Pte::G,
            _ => Pte::ALLOWED,
        };
        if wish.0 & !allowed != 0 {
            return Err(Errno::EINVAL);
        }
        let mut bits = match (self, level) {
            (Self::Ring1, _) => wish.0 & !Pte::G,
            (Self::Ring3, Level::L1) if wish.0 & Pte::US == 0 => wish.0 | Pte::US | Pte::GUEST_KERNEL,
            (Self::Ring3, Level::L1) if wish.0 & Pte::GUEST_KERNEL == 0 => wish.0 | Pte::G,
            (Self::Ring3, _) => wish.0 | Pte::US,
        };
        if matches!(level, Level::L4) {
            // The CPU walks copies of the L4, so it could not set A in the guest's own (Xen likewise).
            bits |= Pte::A;
        }
        Ok(Pte(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [Level; 4] = Level::DOWN;

    #[test]
    fn large_pages_and_cache_attributes_are_refused_everywhere() {
        for level in LEVELS {
            for bit in [Pte::PS, 1 << 3, 1 << 4] {
                let wish = Pte(Pte::P | Pte::US | bit);
                assert_eq!(PagingPolicy::Ring1.admit(wish, level), Err(Errno::EINVAL), "{level:?} {bit:#x}");
                assert_eq!(PagingPolicy::Ring3.admit(wish, level), Err(Errno::EINVAL), "{level:?} {bit:#x}");
            }
        }
    }

    #[test]
    fn global_is_stripped_or_set_in_l1_and_refused_above() {
        let wish = Pte(Pte::P | Pte::G | Pte::US);
        assert_eq!(PagingPolicy::Ring1.admit(wish, Level::L1), Ok(Pte(Pte::P | Pte::US)));
        assert_eq!(PagingPolicy::Ring3.admit(wish, Level::L1), Ok(wish));
        // As read back on Xen 4.17.
        let ring3 =
            |flags| PagingPolicy::Ring3.admit(Pte(Pte::P | flags), Level::L1).map(|entry| entry.0 & !Pte::P);
        assert_eq!(ring3(Pte::US), Ok(Pte::US | Pte::G));
        assert_eq!(ring3(0), Ok(Pte::US | Pte::GUEST_KERNEL));
        assert_eq!(ring3(Pte::G), Ok(Pte::G | Pte::US | Pte::GUEST_KERNEL));
        assert_eq!(ring3(Pte::US | Pte::GUEST_KERNEL), Ok(Pte::US | Pte::GUEST_KERNEL));
        for level in [Level::L2, Level::L3, Level::L4] {
            assert_eq!(PagingPolicy::Ring1.admit(wish, level), Err(Errno::EINVAL));
        }
    }

    #[test]
    fn entries_that_are_not_present_stay_as_they_are() {
        for level in LEVELS {
            let note = Pte(!Pte::P);
            assert_eq!(PagingPolicy::Ring3.admit(note, level), Ok(note));
        }
    }

    #[test]
    fn ring_1_keeps_us_and_ring_3_forces_it() {
        for level in LEVELS {
            let a = if level == Level::L4 { Pte::A } else { 0 };
            let mark = if level == Level::L1 { Pte::GUEST_KERNEL } else { 0 };
            assert_eq!(PagingPolicy::Ring1.admit(Pte(Pte::P), level), Ok(Pte(Pte::P | a)));
            assert_eq!(PagingPolicy::Ring3.admit(Pte(Pte::P), level), Ok(Pte(Pte::P | Pte::US | mark | a)));
            let user = Pte(Pte::P | Pte::US);
            let global = if level == Level::L1 { Pte::G } else { 0 };
            assert_eq!(PagingPolicy::Ring1.admit(user, level), Ok(Pte(user.0 | a)));
            assert_eq!(PagingPolicy::Ring3.admit(user, level), Ok(Pte(user.0 | a | global)));
        }
    }

    #[test]
    fn the_guests_own_bits_and_nx_are_kept() {
        let wish = Pte(Pte::P | Pte::AVAIL | Pte::AVAIL_HIGH | Pte::NX | Pte::D | Pte::A | Pte::RW);
        for level in LEVELS {
            assert_eq!(PagingPolicy::Ring1.admit(wish, level), Ok(wish));
        }
    }

    #[test]
    fn only_harmless_bits_skip_the_check() {
        let old = Pte::new(Mfn::new(5), Pte::P | Pte::RW);
        for bit in [Pte::NX, Pte::A, Pte::D, Pte::US, Pte::G, 1 << 9, 1 << 11, 1 << 52, 1 << 62] {
            assert!(Pte(old.0 ^ bit).is_like(old, Level::L1), "{bit:#x}");
            assert!(Pte(old.0 ^ bit).is_like(old, Level::L3), "{bit:#x}");
        }
        for bit in [Pte::P, Pte::PS, 1 << 3, 1 << 4, 1 << 12, 1 << 51] {
            assert!(!Pte(old.0 ^ bit).is_like(old, Level::L1), "{bit:#x}");
            assert!(!Pte(old.0 ^ bit).is_like(old, Level::L4), "{bit:#x}");
        }
        assert!(!Pte(old.0 ^ Pte::RW).is_like(old, Level::L1));
        assert!(Pte(old.0 ^ Pte::RW).is_like(old, Level::L2));
    }

    #[test]
    fn the_frame_is_bits_12_to_51() {
        let entry = Pte::new(Mfn::new(Pte::NO_FRAME), Pte::P | Pte::NX);
        assert_eq!(entry.0, 0x800f_ffff_ffff_f001);
        assert_eq!(entry.frame(), Mfn::new(0xff_ffff_ffff));
        assert!(entry.has(Pte::P | Pte::NX) && !entry.has(Pte::P | Pte::RW) && !entry.writable());
    }
}
