//! What the CPUs must forget after a mapping changed, as values that the compiler does not let a caller
//! drop, and the hardware interface that discharges them.

use crate::addr::{DomainId, Mfn, VirtAddr};
use crate::emulate::Mode;
use crate::pagetable::Ldt;

/// Which translations go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushWhat {
    /// None: nothing to do.
    Nothing,
    /// Those of one page (`INVLPG`).
    Page(VirtAddr),
    /// All.
    All,
}

/// Which CPUs forget them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushWho {
    /// The CPU that runs this code.
    ThisCpu,
    /// The CPUs on which these vcpus of the domain may have translations: bit N stands for vcpu N.
    Vcpus(u64),
    /// Every CPU on which any vcpu of the domain may have translations.
    Domain,
}

/// An obligation to flush. Discharge it with [`Flush::discharge`] before the guest runs again.
#[must_use = "a stale translation lets the guest reach a page it no longer has"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Which translations.
    pub what: FlushWhat,
    /// Which CPUs.
    pub who: FlushWho,
}

impl Flush {
    /// Nothing to flush.
    pub const NONE: Self = Self { what: FlushWhat::Nothing, who: FlushWho::ThisCpu };

    /// All translations on every CPU of the domain.
    pub const DOMAIN: Self = Self { what: FlushWhat::All, who: FlushWho::Domain };

    /// Performs the flush.
    #[inline]
    pub fn discharge(self, tlb: &impl Tlb, domain: DomainId) {
        if self.what != FlushWhat::Nothing {
            tlb.flush(domain, self);
        }
    }
}

/// An L4 entry in use changed. CR3 never holds a guest's L4 but a per-CPU root copied from it, so every
/// copy of this L4 gets the new entry before the call that changed it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootChange {
    /// The guest's L4.
    pub l4: Mfn,
    /// The slot that changed; never a reserved one.
    pub slot: usize,
    /// Its new value.
    pub entry: u64,
}

/// What a change of one page-table entry asks of the hardware.
#[must_use = "the flush and the root copies are part of the change"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effects {
    /// Translations to forget.
    pub flush: Flush,
    /// The L4 entry to copy into the roots.
    pub root: Option<RootChange>,
}

impl Effects {
    /// Nothing asked.
    pub const NONE: Self = Self { flush: Flush::NONE, root: None };

    /// Updates the roots, then flushes: in the other order a CPU could fill its TLB from the old root in
    /// between.
    #[inline]
    pub fn discharge(self, tlb: &impl Tlb, domain: DomainId) {
        if let Some(change) = self.root {
            tlb.root_changed(domain, change);
        }
        self.flush.discharge(tlb, domain);
    }
}

/// The translation caches and the roots of the machine's CPUs.
///
/// The flush clock is a counter that every complete flush of a CPU advances *after* it happened; a CPU's
/// time is the clock's value after its latest complete flush (a load of CR3 counts: no entry is global).
/// A frame is stamped with the clock when its last typed use ends, so a CPU whose time is not past the
/// stamp may still hold a translation from before (XSA-401 and XSA-241).
pub trait Tlb {
    /// The flush clock now.
    fn flush_clock(&self) -> u64;

    /// Flushes, completely, every CPU whose latest complete flush is not past `stamp`. Returns when all
    /// have done so.
    fn flush_stale(&self, stamp: u64);

    /// Flushes as told. Returns when all CPUs concerned have done so; a CPU that holds none of the
    /// domain's translations need not be disturbed, and a vcpu that is not running must not run again
    /// with old ones.
    fn flush(&self, domain: DomainId, flush: Flush);

    /// Copies a changed L4 entry into every per-CPU root made from that L4.
    fn root_changed(&self, domain: DomainId, change: RootChange);

    /// A base table of the running vcpu's changed: from now on this CPU's root for that half of the guest is a
    /// copy of `l4`. The old table may be reused at once, so this CPU may not walk a copy of it any more.
    /// `None`: no table of the guest. Where one table serves both halves it is the kernel's.
    fn base_changed(&self, domain: DomainId, half: Mode, l4: Option<Mfn>);

    /// The running vcpu's LDT is another, or another of its pages is held: from now on this CPU reads its descriptors
    /// at [`LDT_WINDOW`](crate::descriptor::LDT_WINDOW) in the pages that are held, and faults on the others. Pages
    /// held before may be reused at once.
    fn ldt_changed(&self, ldt: &Ldt);
}
