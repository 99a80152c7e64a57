//! Translations, and the roots that guests run on. The protocol and its argument: `docs/soundness.md`.

use core::sync::atomic::Ordering;

use paravane_core::addr::{
    DomainId, ENTRIES, Mfn, RESERVED_FIRST_SLOT, RESERVED_LAST_SLOT, is_reserved_slot,
};
use paravane_core::emulate::Mode;
use paravane_core::flush::{Flush, FlushWhat, FlushWho, RootChange, Tlb};
use paravane_core::pagetable::Ldt;
use paravane_core::shootdown::call_in;

use super::{Cpu, Hardware};
use crate::clock;
use crate::cpu::local;
use crate::device::apic;

/// Microseconds in which a processor takes an interrupt from a guest: far longer than an emulator on a busy host
/// has ever needed.
const ANSWER_LIMIT: u64 = 60_000_000;

impl Hardware {
    /// Books a flush that was asked for.
    #[inline]
    fn count_flush(&self, what: FlushWhat) {
        let counter = match what {
            FlushWhat::Nothing => return,
            FlushWhat::All => &self.flushes[0],
            FlushWhat::Page(_) => &self.flushes[1],
        };
        counter.set(counter.get() + 1);
    }

    /// Has every other processor that is in a guest, and of which `concerned` says so, given when it last left
    /// for there, enter the hypervisor. Returns when all have entered: the entry's load of CR3 is the flush.
    fn call_in(&self, concerned: impl Fn(&Cpu, u64) -> bool) {
        let this = local::this_cpu();
        let words = self.cpus.iter().map(|cpu| &cpu.local.in_guest).enumerate();
        call_in(
            &local::FLUSH_CLOCK,
            words.filter(|(number, _)| *number != this),
            |number, since| concerned(&self.cpus[number], since),
            |number| apic::send_interrupt(self.cpus[number].local.apic_id, apic::VECTOR_FLUSH),
            |number, entered| {
                let answered = clock::wait_until(ANSWER_LIMIT, entered);
                assert!(answered, "processor {number} takes no interrupt from its guest");
            },
        );
    }
}

/// A processor in the hypervisor holds no translation of an isolated guest: entry loaded CR3, which drops them
/// all since none is global and no PCID is used, and the exit loads CR3 again. So this processor's flushes are
/// done by the time they could matter; others are made to enter if they are in a guest.
impl Tlb for Hardware {
    #[inline]
    fn flush_clock(&self) -> u64 {
        local::FLUSH_CLOCK.load(Ordering::Relaxed)
    }

    fn flush_stale(&self, stamp: u64) {
        if self.cpus.len() > 1 {
            self.call_in(|_, since| since <= stamp);
        }
    }

    #[inline]
    fn flush(&self, domain: DomainId, flush: Flush) {
        self.count_flush(flush.what);
        if self.cpus.len() == 1 || flush.what == FlushWhat::Nothing {
            return;
        }
        match flush.who {
            FlushWho::ThisCpu => {}
            FlushWho::Domain => self.call_in(|cpu, _| cpu.runs(domain, u64::MAX)),
            FlushWho::Vcpus(vcpus) => self.call_in(|cpu, _| cpu.runs(domain, vcpus)),
        }
    }

    fn root_changed(&self, _domain: DomainId, change: RootChange) {
        let roots = self.cpus.iter().flat_map(|cpu| &cpu.roots);
        for root in roots.filter(|root| root.loaded.get() == Some(change.l4)) {
            if !is_reserved_slot(change.slot) {
                // SAFETY: a slot of a root of ours. The processor that runs on it may be walking it, and sees the
                // old entry or the new.
                unsafe { root.word(change.slot).write_volatile(change.entry) };
            }
        }
    }

    fn base_changed(&self, _domain: DomainId, half: Mode, l4: Option<Mfn>) {
        let root = self.this().root(half);
        // Copied even if it is the same frame as before: it may have been another table meanwhile.
        root.loaded.set(l4);
        for slots in [0..RESERVED_FIRST_SLOT, RESERVED_LAST_SLOT + 1..ENTRIES] {
            let to = root.word(slots.start);
            // SAFETY: this processor's own root, which nobody walks while ring 0 runs on its own; the L4 is RAM,
            // and the processors' changes to its A bits meanwhile make no difference to which tables it names.
            unsafe {
                match l4 {
                    Some(l4) => {
                        let from = self.bytes(l4, slots.start * 8, slots.len() * 8).cast::<u64>();
                        core::ptr::copy_nonoverlapping(from.cast_const(), to, slots.len());
                    }
                    None => to.write_bytes(0, slots.len()),
                }
            }
        }
    }

    fn ldt_changed(&self, ldt: &Ldt) {
        self.this().area.show_ldt(ldt);
    }
}
