//! What a shadow entry says, given the guest's.
//!
//! Every shadow entry has A, and a leaf has D, so that the processor never writes one; G is never set, and the
//! guest's cache attributes and own bits are left out. What the guest's entry withholds is withheld.
//!
//! With CR0.WP the rights of each level are those of the guest's entry at that level. Without it, a kernel writes
//! what is mapped read-only, while the real CR0.WP is always 1. Then the upper levels allow everything but
//! execution, and the leaf has what the guest's whole path allows: a page of the kernel's is writable. A program's
//! page that the guest maps read-only cannot be both writable for the kernel and readable, not more, for the
//! program. It is one or the other, as the last fault asked, and changes with the next (so does Linux's KVM).

use super::walk::Rights;
use crate::pagetable::Pte;

/// The bits of a shadow entry that allow something.
const ALLOWING: u64 = Pte::RW | Pte::US;

/// What, besides the guest's table, decides the contents of its shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role {
    /// EFER.NXE: without it an entry with bit 63 is no translation.
    pub no_execute: bool,
    /// Without CR0.WP: what the entries that lead to the table allow, all together.
    pub unprotected: Option<Rights>,
}

impl Role {
    /// The role of a table below an entry.
    pub const fn below(self, entry: Pte) -> Self {
        match self.unprotected {
            // Execution is withheld at each level.
            Some(rights) => {
                let rights = Rights { execute: true, ..rights.below(entry) };
                Self { unprotected: Some(rights), ..self }
            }
            None => self,
        }
    }

    /// The flags of the shadow of an entry that is no 4 KiB page's. The one of a large page, which is shadowed by a
    /// table, has the rights of the page, so that the table is the same for all that map the page.
    pub const fn upper(self, entry: Pte, large: bool) -> u64 {
        let rights = match self.unprotected {
            None => entry.0 & ALLOWING,
            Some(_) => ALLOWING,
        };
        // Like a leaf: writable when D is set.
        let clean = if large && !entry.has(Pte::D) { Pte::RW } else { 0 };
        Pte::P | Pte::A | rights & !clean | entry.0 & Pte::NX
    }

    /// The flags between the tables of a large page.
    pub const BETWEEN: u64 = Pte::P | Pte::A | ALLOWING;

    /// The flags of a leaf. `entry` is the guest's, none in a table of a large page; `writes` says whether the fault
    /// was the kernel's write.
    pub const fn leaf(self, entry: Option<Pte>, traced: bool, writes: bool) -> u64 {
        let own = match entry {
            Some(entry) => entry,
            None => Pte(ALLOWING | Pte::D),
        };
        let rights = match self.unprotected {
            None => own.0 & ALLOWING,
            Some(above) => {
                let all = above.below(own);
                match (all.user, all.write) {
                    (false, _) => Pte::RW,
                    (true, true) => ALLOWING,
                    (true, false) if writes => Pte::RW,
                    (true, false) => Pte::US,
                }
            }
        };
        let kept = if traced || !own.has(Pte::D) { Pte::RW } else { 0 };
        Pte::P | Pte::A | Pte::D | rights & !kept | own.0 & Pte::NX
    }
}

/// Whether a new entry in place of a present one of the same frame takes a right away.
pub(super) const fn narrows(old: u64, new: u64) -> bool {
    old & !new & ALLOWING != 0 || new & !old & Pte::NX != 0
}
