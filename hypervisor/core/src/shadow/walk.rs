//! The walk that the guest's processor would do: through the guest's own tables, by guest-physical addresses
//! (SDM vol. 3, 4.5 to 4.8; APM vol. 2, 5.3 to 5.6).
//!
//! SMEP, SMAP, protection keys and 57-bit addresses are not offered to a guest whose tables are shadowed, and
//! cache attributes mean nothing to one that has no devices, so both are left out.

use super::physical::Physical;
use crate::addr::{Level, VirtAddr};
use crate::guest_memory::{Access, Fault};
use crate::pagetable::Pte;
use arrayvec::ArrayVec;

/// How often an entry may change between being read and being marked before the walk is given up. The guest's
/// access faults again then.
const TRIES: usize = 8;

/// Error code bit 3: an entry on the way has a reserved bit set.
pub const RESERVED_BIT: u32 = 1 << 3;

/// What the guest's control registers say about translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    /// CR0.WP: the kernel, too, may not write what is mapped read-only.
    pub write_protect: bool,
    /// EFER.NXE: bit 63 of an entry forbids execution. Without it, that bit is reserved.
    pub no_execute: bool,
    /// Whether the guest is offered pages of 1 GiB.
    pub huge_pages: bool,
    /// Bits of a physical address that the guest is offered (CPUID 0x80000008); those above are reserved.
    pub address_bits: u32,
}

/// An access: what is done, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// What is done.
    pub access: Access,
    /// Whether it is a program's. What the processor does on its own behalf, such as reading a descriptor, is the
    /// kernel's.
    pub user: bool,
}

impl Use {
    /// What a page-fault error code tells of the access that failed.
    pub const fn from_error_code(code: u32) -> Self {
        let access = if code & Fault::FETCH != 0 {
            Access::Fetch
        } else if code & Fault::WRITE != 0 {
            Access::Write
        } else {
            Access::Read
        };
        Self { access, user: code & Fault::USER != 0 }
    }

    /// The error code of this access when nothing is there, or, with [`Fault::PRESENT`] and [`RESERVED_BIT`] added,
    /// for another reason. A fetch shows only under NXE (SDM vol. 3, 4.7).
    const fn error_code(self, controls: Controls) -> u32 {
        let user = if self.user { Fault::USER } else { 0 };
        user | match self.access {
            Access::Write => Fault::WRITE,
            Access::Fetch if controls.no_execute => Fault::FETCH,
            Access::Read | Access::Fetch => 0,
        }
    }
}

/// What the entries on a path allow together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rights {
    /// Ring 3 may use it.
    pub user: bool,
    /// It may be written, by the kernel without CR0.WP in any case.
    pub write: bool,
    /// Instructions may be fetched from it.
    pub execute: bool,
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self { user: true, write: true, execute: true };

    /// What is left below an entry.
    pub(super) const fn below(self, entry: Pte) -> Self {
        Self {
            user: self.user && entry.has(Pte::US),
            write: self.write && entry.has(Pte::RW),
            execute: self.execute && !entry.has(Pte::NX),
        }
    }

    /// Whether an access may be made.
    pub(super) const fn allow(self, usage: Use, controls: Controls) -> bool {
        if usage.user && !self.user {
            return false;
        }
        match usage.access {
            Access::Read => true,
            Access::Write => self.write || !(usage.user || controls.write_protect),
            Access::Fetch => self.execute,
        }
    }
}

/// An entry that a walk passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The level of its table.
    pub level: Level,
    /// Its guest-physical address.
    pub place: u64,
    /// The entry, with the marks that the walk set.
    pub entry: Pte,
}

impl Step {
    /// Whether it maps a page: of 4 KiB in an L1, of 2 MiB in an L2, of 1 GiB in an L3.
    pub const fn is_leaf(self) -> bool {
        maps_page(self.entry, self.level)
    }
}

/// Whether a present entry maps a page. That PS is reserved in an L4 was seen before.
const fn maps_page(entry: Pte, level: Level) -> bool {
    matches!(level, Level::L1) || entry.has(Pte::PS)
}

/// Where an address leads, and by which way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The guest-physical address.
    pub address: u64,
    /// What may be done there.
    pub rights: Rights,
    /// The entries passed, from the root to the one that maps the page.
    pub path: ArrayVec<Step, 4>,
}

/// Why there is no translation for an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// #PF with this error code. Nothing was marked.
    Fault(u32),
    /// The entries kept changing while they were marked: let the guest try again.
    Contended,
}

/// Translates an address for an access without leaving a mark: what would happen.
pub fn probe(
    physical: &impl Physical,
    controls: Controls,
    root: u64,
    address: VirtAddr,
    usage: Use,
) -> Result<Translation, Refusal> {
    let mut path = ArrayVec::new();
    let mut rights = Rights::ALL;
    let mut table = root & Pte::FRAME;
    for level in Level::DOWN {
        let place = table + 8 * address.slot(level) as u64;
        // Where nothing answers, a bus reads as ones.
        let entry = Pte(physical.read(place).unwrap_or(u64::MAX));
        if !entry.present() {
            return Err(Refusal::Fault(usage.error_code(controls)));
        }
        if entry.0 & reserved_bits(entry, level, controls) != 0 {
            return Err(Refusal::Fault(usage.error_code(controls) | Fault::PRESENT | RESERVED_BIT));
        }
        rights = rights.below(entry);
        path.push(Step { level, place, entry });
        if maps_page(entry, level) {
            if !rights.allow(usage, controls) {
                return Err(Refusal::Fault(usage.error_code(controls) | Fault::PRESENT));
            }
            let offset = (1 << level.shift()) - 1;
            let address = entry.0 & Pte::FRAME & !offset | address.get() & offset;
            return Ok(Translation { address, rights, path });
        }
        table = entry.0 & Pte::FRAME;
    }
    // An L1's entry maps a page, so the loop returned.
    Err(Refusal::Contended)
}

/// Translates an address for an access that is made: A is set in every entry passed, and D in the last one for a
/// write. A refused access sets nothing.
pub fn access(
    physical: &impl Physical,
    controls: Controls,
    root: u64,
    address: VirtAddr,
    usage: Use,
) -> Result<Translation, Refusal> {
    for _ in 0..TRIES {
        let mut translation = probe(physical, controls, root, address, usage)?;
        if translation.path.iter_mut().all(|step| mark(physical, step, usage)) {
            return Ok(translation);
        }
    }
    Err(Refusal::Contended)
}

/// Sets the marks of an access in an entry. False when it has become another one meanwhile.
fn mark(physical: &impl Physical, step: &mut Step, usage: Use) -> bool {
    let dirty = if step.is_leaf() && usage.access == Access::Write { Pte::D } else { 0 };
    let marked = step.entry.0 | Pte::A | dirty;
    if marked != step.entry.0 && !physical.compare_exchange(step.place, step.entry.0, marked) {
        return false;
    }
    step.entry = Pte(marked);
    true
}

/// The bits that must be clear in a present entry (SDM vol. 3, table 4-14 to 4-20).
const fn reserved_bits(entry: Pte, level: Level, controls: Controls) -> u64 {
    let width = if controls.address_bits < 52 { controls.address_bits } else { 52 };
    let beyond = Pte::FRAME & !((1 << width) - 1);
    let execute = if controls.no_execute { 0 } else { Pte::NX };
    let large = match level {
        Level::L4 => Pte::PS,
        Level::L3 if !controls.huge_pages => Pte::PS,
        // Bit 12 of a large page's entry is its PAT bit.
        Level::L3 | Level::L2 if entry.has(Pte::PS) => ((1 << level.shift()) - 1) & !0x1fff,
        _ => 0,
    };
    beyond | execute | large
}
