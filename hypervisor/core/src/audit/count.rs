//! The counting.

use super::{AuditDomain, Discrepancy, Holding};
use crate::addr::{DomainId, ENTRIES, Level, Mfn, is_reserved_slot};
use crate::frame::{FrameInfo, FrameTable, FrameType, Owner};
use crate::grant::{GrantTable, check};
use crate::memory::Memory;
use crate::pagetable::{PagingPolicy, Pte};
use alloc::vec;
use alloc::vec::Vec;

/// What was found to hold one frame.
#[derive(Clone, Copy, Default)]
struct Found {
    refs: u64,
    /// By [`FrameType`].
    uses: [u64; 7],
}

/// An L1 entry that maps a frame of another domain's.
struct Foreign {
    domain: DomainId,
    table: Mfn,
    index: usize,
    entry: Pte,
}

struct Count<'a, M> {
    frames: &'a FrameTable,
    machine: &'a M,
    domains: &'a [AuditDomain<'a>],
    found: Vec<Found>,
    /// Entries that map a frame of another domain's.
    foreign: Vec<Foreign>,
    wrong: Vec<Discrepancy>,
}

pub(super) fn run<M: Memory>(
    frames: &FrameTable,
    machine: &M,
    domains: &[AuditDomain<'_>],
    grants: &[&GrantTable],
) -> Vec<Discrepancy> {
    let found = vec![Found::default(); frames.len()];
    let mut count = Count { frames, machine, domains, found, foreign: Vec::new(), wrong: Vec::new() };
    for index in 0..frames.len() as u64 {
        count.frame(Mfn::new(index));
    }
    for domain in domains {
        count.domain(domain);
    }
    count.grants(grants);
    for index in 0..frames.len() as u64 {
        count.compare(Mfn::new(index));
    }
    count.accounts();
    count.free_list();
    count.wrong
}

impl<M: Memory> Count<'_, M> {
    fn hold(&mut self, frame: Mfn, used_as: FrameType) {
        let Some(found) = self.found.get_mut(frame.index()) else {
            self.wrong.push(Discrepancy::Record { frame, what: "held, but no such frame" });
            return;
        };
        found.refs += 1;
        if used_as != FrameType::None {
            found.uses[used_as as usize] += 1;
        }
    }

    fn complain(&mut self, frame: Mfn, what: &'static str) {
        self.wrong.push(Discrepancy::Record { frame, what });
    }

    /// What a frame's own state holds, and what its entries hold.
    fn frame(&mut self, frame: Mfn) {
        let Some(info) = self.frames.info(frame).copied() else { return };
        match info.owner() {
            Owner::NotRam | Owner::Free => {
                if info.refs() != 0 || info.type_count() != 0 || info.kind() != FrameType::None {
                    self.complain(frame, "nobody's, but counted");
                }
                if info.pinned() || info.validated() || info.allocated() || info.partial().is_some() {
                    self.complain(frame, "nobody's, but flagged");
                }
                return;
            }
            Owner::Hypervisor | Owner::Domain(_) => {}
        }
        if info.allocated() {
            let used_as = if info.shared() { FrameType::Writable } else { FrameType::None };
            self.hold(frame, used_as);
        }
        if info.pinned() {
            self.hold(frame, info.kind());
            if info.kind().level().is_none() || info.partial().is_some() {
                self.complain(frame, "pinned, but no table");
            }
        }
        if info.type_count() == 0 && (info.validated() || info.partial().is_some()) {
            self.complain(frame, "valid or partial without a use");
        }
        if info.type_count() > 0 && !info.validated() && info.partial().is_none() {
            self.complain(frame, "in use, but neither valid nor partial");
        }
        if let Some(level) = info.kind().level() {
            self.table(frame, level, &info);
        } else if info.partial().is_some() {
            self.complain(frame, "partial, but no table");
        }
    }

    fn table(&mut self, frame: Mfn, level: Level, info: &FrameInfo) {
        let valid_below = match info.partial() {
            None if info.validated() => ENTRIES,
            None => return,
            Some(partial) => {
                if info.validated() || info.type_count() != 1 || level == Level::L1 {
                    self.complain(frame, "partial in an impossible way");
                }
                // The state's own reference and use.
                self.hold(frame, FrameType::table(level));
                let index = usize::from(partial.index);
                if partial.child {
                    let child = Pte(self.machine.read_word(frame, index));
                    if !child.present() {
                        self.complain(frame, "its partial child is not present");
                    }
                    self.hold(child.frame(), FrameType::None);
                }
                index
            }
        };
        let Some(policy) = self.policy_of(info.owner()) else {
            self.complain(frame, "a table of nobody's");
            return;
        };
        for index in 0..valid_below {
            let entry = Pte(self.machine.read_word(frame, index));
            if entry.0 == 0 {
                continue;
            }
            if let Some(what) = wrong_entry(entry, level, index, policy) {
                self.wrong.push(Discrepancy::Entry { table: frame, level, index, entry: entry.0, what });
            }
            if entry.present() {
                self.entry(frame, level, index, entry, info.owner());
            }
        }
    }

    fn entry(&mut self, table: Mfn, level: Level, index: usize, entry: Pte, owner: Owner) {
        let target = self.frames.info(entry.frame()).copied();
        let what = match (target, level.below()) {
            (None, _) => Some("no such frame"),
            (Some(target), None)
                if target.owner() != owner
                    && let (Owner::Domain(domain), Owner::Domain(_)) = (owner, target.owner()) =>
            {
                self.foreign.push(Foreign { domain, table, index, entry });
                None
            }
            (Some(target), _) if target.owner() != owner => Some("another owner's frame"),
            (Some(target), Some(_)) if !target.validated() => Some("a table that is not valid"),
            _ => None,
        };
        if let Some(what) = what {
            self.wrong.push(Discrepancy::Entry { table, level, index, entry: entry.0, what });
        }
        let used_as = match level.below() {
            Some(below) => FrameType::table(below),
            None if entry.writable() => FrameType::Writable,
            None => FrameType::None,
        };
        self.hold(entry.frame(), used_as);
    }

    fn domain(&mut self, domain: &AuditDomain<'_>) {
        for vcpu in domain.vcpus {
            for base in [vcpu.base(), vcpu.user_base()].into_iter().flatten() {
                self.hold(base, FrameType::L4);
            }
            for frame in vcpu.ldt().pages().iter().flatten() {
                self.hold(*frame, FrameType::SegDesc);
            }
            if let Some(pending) = vcpu.pending() {
                self.hold(pending, FrameType::None);
            }
        }
        for holding in domain.holdings {
            match *holding {
                Holding::Reference(frame) => self.hold(frame, FrameType::None),
                Holding::Writable(frame) => self.hold(frame, FrameType::Writable),
                Holding::Descriptors(frame) => self.hold(frame, FrameType::SegDesc),
            }
        }
    }

    /// Mappings for devices hold their frames; entries that map others' frames have a mapping on record each,
    /// unless the domain is dying and its record has gone before its tables.
    fn grants(&mut self, tables: &[&GrantTable]) {
        let (wrong, mut recorded) = check(self.machine, tables);
        self.wrong.extend(wrong.into_iter().map(Discrepancy::Grant));
        for mapping in recorded.iter().filter(|mapping| mapping.device) {
            self.hold(mapping.frame, if mapping.writable { FrameType::Writable } else { FrameType::None });
        }
        recorded.retain(|mapping| mapping.host);
        let dying = |domain| tables.iter().any(|table| table.domain() == domain && table.dying());
        for Foreign { domain, table, index, entry } in core::mem::take(&mut self.foreign) {
            let on_record = recorded.iter().position(|mapping| {
                (mapping.by, mapping.frame, mapping.writable) == (domain, entry.frame(), entry.writable())
            });
            match on_record {
                Some(at) => {
                    recorded.swap_remove(at);
                }
                None if dying(domain) => {}
                None => {
                    let (level, entry, what) =
                        (Level::L1, entry.0, "another domain's frame, no grant on record");
                    self.wrong.push(Discrepancy::Entry { table, level, index, entry, what });
                }
            }
        }
    }

    fn compare(&mut self, frame: Mfn) {
        let (Some(info), Some(found)) = (self.frames.info(frame), self.found.get(frame.index())) else {
            return;
        };
        let kind = info.kind();
        if u64::from(info.refs()) != found.refs {
            self.wrong.push(Discrepancy::References { frame, recorded: info.refs(), counted: found.refs });
        }
        if u64::from(info.type_count()) != found.uses[kind as usize] {
            let counted = found.uses[kind as usize];
            self.wrong.push(Discrepancy::Uses { frame, kind, recorded: info.type_count(), counted });
        }
        for used_as in KINDS {
            if used_as != kind && found.uses[used_as as usize] != 0 {
                self.wrong.push(Discrepancy::WrongUse { frame, kind, used_as });
            }
        }
    }

    fn accounts(&mut self) {
        for account in self.frames.accounts() {
            let has = |info: &&FrameInfo| info.owner() == Owner::Domain(account.domain) && !info.shared();
            let counted = self.records().filter(has).count() as u64;
            if counted != account.allocated {
                let (domain, recorded) = (account.domain, account.allocated);
                self.wrong.push(Discrepancy::Account { domain, recorded, counted });
            }
            if account.allocated > account.max {
                self.wrong.push(Discrepancy::OverMax(account.domain));
            }
        }
        for index in 0..self.frames.len() as u64 {
            let frame = Mfn::new(index);
            if let Some(Owner::Domain(domain)) = self.frames.info(frame).map(FrameInfo::owner)
                && self.frames.account(domain).is_none()
            {
                self.complain(frame, "its domain has no account");
            }
        }
    }

    fn free_list(&mut self) {
        let mut listed = 0;
        let mut seen = vec![false; self.frames.len()];
        for frame in self.frames.free_list() {
            listed += 1;
            let again = core::mem::replace(&mut seen[frame.index()], true);
            if again || self.frames.info(frame).map(FrameInfo::owner) != Some(Owner::Free) {
                self.wrong
                    .push(Discrepancy::Record { frame, what: "on the free list, but not once and free" });
                break;
            }
        }
        let counted = self.records().filter(|info| info.owner() == Owner::Free).count() as u64;
        let recorded = self.frames.free_frames();
        if listed != counted || recorded != counted {
            self.wrong.push(Discrepancy::FreeList { recorded, listed, counted });
        }
    }

    fn records(&self) -> impl Iterator<Item = &FrameInfo> {
        (0..self.frames.len() as u64).filter_map(|index| self.frames.info(Mfn::new(index)))
    }

    fn policy_of(&self, owner: Owner) -> Option<PagingPolicy> {
        let domain = self.domains.iter().find(|domain| owner == Owner::Domain(domain.memory.id))?;
        Some(domain.memory.policy)
    }
}

const KINDS: [FrameType; 6] =
    [FrameType::L1, FrameType::L2, FrameType::L3, FrameType::L4, FrameType::SegDesc, FrameType::Writable];

/// What is wrong with an entry by itself. Written from the invariants (design, section 2), not from the
/// code that admits entries.
fn wrong_entry(entry: Pte, level: Level, index: usize, policy: PagingPolicy) -> Option<&'static str> {
    if level == Level::L4 && is_reserved_slot(index) {
        return Some("in a reserved slot");
    }
    if !entry.present() {
        return None;
    }
    if entry.has(Pte::G) && (policy == PagingPolicy::Ring1 || level != Level::L1) {
        return Some("global");
    }
    if entry.0 & Pte::CACHE != 0 {
        return Some("large, or with cache attributes");
    }
    if policy == PagingPolicy::Ring3 && !entry.has(Pte::US) {
        return Some("supervisor in a domain whose kernel runs in ring 3");
    }
    None
}
