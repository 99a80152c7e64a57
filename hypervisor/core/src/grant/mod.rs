//! Grant tables: what a domain lends, and what it has mapped of others'.
//!
//! A domain writes the entries of its table itself; the frames of the table are shared pages of the hypervisor's.
//! When an entry is first used it is read once, the flags that say "in use" are set ([`entry`]), and what was
//! read is kept here ([`Active`]) until the last use ends. A mapping is an L1 entry like any other, which holds a
//! reference of the frame, and a use as writable if it writes; only [`crate::pagetable`] makes it. The guest may
//! take such an entry away without asking here. Then the frame is let go, but the mapping is still on record and
//! the entry in use until the domain dies, as on Xen.
//!
//! What is kept true, and counted from scratch by [`check`]:
//!
//! - the uses of an entry are the mappings on record that name it, by kind;
//! - a domain has no more L1 entries that map a frame of another's than mappings on record of it.
//!
//! Everything happens under the hypervisor's one lock. The guest's table alone changes meanwhile.

mod active;
mod audit;
pub mod entry;
mod maptrack;
mod pin;
mod store;
mod version;
mod words;

pub use active::{Active, Pins};
pub use audit::{Recorded, Wrong, check};
pub use maptrack::Mapping;
pub use store::NoMemory;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use paravane_abi::grant::*;

use crate::addr::{DomainId, Mfn, PAGE_SIZE, Pfn};
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::memory::Memory;
use maptrack::Maptrack;
use store::Store;

/// Entries of a version 1 table in a frame.
const V1_PER_FRAME: u32 = (PAGE_SIZE / size_of::<GrantEntryV1>()) as u32;
/// Entries of a version 2 table in a frame.
const V2_PER_FRAME: u32 = (PAGE_SIZE / size_of::<GrantEntryV2>()) as u32;
/// Statuses in a frame.
const STATUS_PER_FRAME: u32 = (PAGE_SIZE / size_of::<GrantStatus>()) as u32;
/// Frames of records for each frame of the table, which has most entries in version 1.
const ACTIVE_PER_FRAME: u32 = V1_PER_FRAME / Store::<{ Active::WORDS }>::PER_FRAME;

/// The form of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Entries of 8 bytes with the hypervisor's flags in them.
    V1 = 1,
    /// Entries of 16 bytes, the hypervisor's flags in an array of their own.
    V2 = 2,
}

/// How large a domain's tables may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantLimits {
    /// Frames of the table.
    pub frames: u32,
    /// Frames of records of what the domain maps, 256 mappings each.
    pub maptrack_frames: u32,
}

impl GrantLimits {
    /// Xen's (`gnttab_max_frames`, `gnttab_max_maptrack_frames`).
    pub const XEN: Self = Self { frames: 64, maptrack_frames: 1024 };
}

/// Why an operation on a grant did not happen: the statuses guests are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum GrantError {
    /// For a reason that has no number of its own.
    General = GNTST_GENERAL_ERROR,
    /// No such domain.
    BadDomain = GNTST_BAD_DOMAIN,
    /// No such entry.
    BadReference = GNTST_BAD_GNTREF,
    /// No such mapping.
    BadHandle = GNTST_BAD_HANDLE,
    /// A list could not be written.
    BadVirtAddr = GNTST_BAD_VIRT_ADDR,
    /// Another device address than the mapping's.
    BadDevAddr = GNTST_BAD_DEV_ADDR,
    /// Not the caller's to do.
    PermissionDenied = GNTST_PERMISSION_DENIED,
    /// No frame that this can be done with.
    BadPage = GNTST_BAD_PAGE,
    /// A copy past the end of a page.
    BadCopyArg = GNTST_BAD_COPY_ARG,
    /// Not now.
    TryAgain = GNTST_EAGAIN,
    /// No handle for another mapping.
    NoSpace = GNTST_NO_SPACE,
}

impl GrantError {
    /// The `GNTST_*` number.
    pub const fn status(self) -> i16 {
        self as i16
    }
}

impl From<entry::Refused> for GrantError {
    fn from(_: entry::Refused) -> Self {
        Self::General
    }
}

/// Tables made so far: each has a number of its own, so that what another domain has on record of a domain that
/// is gone never meets a new one of the same number.
static INCARNATIONS: AtomicU32 = AtomicU32::new(1);

/// A domain's grants.
#[derive(Debug)]
pub struct GrantTable {
    domain: DomainId,
    incarnation: u32,
    limits: GrantLimits,
    version: Version,
    /// The table, shared with the guest.
    shared: Vec<Mfn>,
    /// The statuses of a version 2 table, shared with the guest.
    status: Vec<Mfn>,
    active: Store<{ Active::WORDS }>,
    /// Entries in use past the reserved ones.
    busy: u32,
    maptrack: Maptrack,
    dying: bool,
}

/// Status frames that a version 2 table of so many frames has.
const fn status_frames(frames: u32) -> u32 {
    (frames * V2_PER_FRAME).div_ceil(STATUS_PER_FRAME)
}

impl GrantTable {
    /// Frames that a table with its first frame takes.
    pub const FIRST_FRAMES: u64 = 1 + ACTIVE_PER_FRAME as u64;

    /// A table without frames. [`Self::grow`] gives it its first.
    pub fn new(domain: DomainId, limits: GrantLimits) -> Self {
        Self {
            domain,
            incarnation: INCARNATIONS.fetch_add(1, Ordering::Relaxed),
            limits,
            version: Version::V1,
            shared: Vec::new(),
            status: Vec::new(),
            active: Store::new(),
            busy: 0,
            maptrack: Maptrack::new(limits.maptrack_frames),
            dying: false,
        }
    }

    /// A table with its first frame, as a domain starts with.
    pub fn with_first_frame<M: Memory + Tlb>(
        domain: DomainId,
        limits: GrantLimits,
        frames: &mut FrameTable,
        machine: &M,
    ) -> Result<Self, NoMemory> {
        let mut table = Self::new(domain, limits);
        match table.grow(frames, machine) {
            Ok(()) => Ok(table),
            Err(error) => {
                table.destroy(frames, machine);
                Err(error)
            }
        }
    }

    /// The domain.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The table's own number.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The form of the table.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How large it may grow.
    pub fn limits(&self) -> GrantLimits {
        self.limits
    }

    /// The frames of the table.
    pub fn shared(&self) -> &[Mfn] {
        &self.shared
    }

    /// The frames of the statuses.
    pub fn status(&self) -> &[Mfn] {
        &self.status
    }

    /// Entries there are.
    pub fn entries(&self) -> u32 {
        let per_frame = match self.version {
            Version::V1 => V1_PER_FRAME,
            Version::V2 => V2_PER_FRAME,
        };
        self.shared.len() as u32 * per_frame
    }

    /// Whether the domain is being destroyed: nobody can use its grants anew.
    pub fn dying(&self) -> bool {
        self.dying
    }

    /// Mappings it has on record.
    pub fn mappings(&self) -> u32 {
        self.maptrack.live()
    }

    /// Every mapping on record, with its handle.
    pub fn maptrack<M: Memory>(&self, memory: &M) -> impl Iterator<Item = (u32, Mapping)> {
        self.maptrack.iter(memory)
    }

    /// The frames that it takes to make the table so large.
    pub fn growth_to(&self, wanted: u32) -> u64 {
        let has = self.shared.len() as u32;
        let status = match self.version {
            Version::V1 => 0,
            Version::V2 => status_frames(wanted.max(has)).saturating_sub(self.status.len() as u32),
        };
        u64::from(wanted.saturating_sub(has)) * u64::from(1 + ACTIVE_PER_FRAME) + u64::from(status)
    }

    /// Adds a frame to the table, with all that goes with it. All or nothing.
    pub fn grow<M: Memory + Tlb>(&mut self, frames: &mut FrameTable, machine: &M) -> Result<(), NoMemory> {
        let wanted = self.shared.len() as u32 + 1;
        if wanted > self.limits.frames || frames.free_frames() < self.growth_to(wanted) {
            return Err(NoMemory);
        }
        self.shared.try_reserve(1).map_err(|_| NoMemory)?;
        while self.active.frames() < wanted * ACTIVE_PER_FRAME {
            self.active.grow(frames, machine)?;
        }
        if self.version == Version::V2 {
            self.populate_status(wanted, frames, machine)?;
        }
        self.shared.push(shared_frame(self.domain, frames, machine)?);
        Ok(())
    }

    /// Adds the status frames that a table of so many frames has. All or nothing.
    fn populate_status<M: Memory + Tlb>(
        &mut self,
        table_frames: u32,
        frames: &mut FrameTable,
        machine: &M,
    ) -> Result<(), NoMemory> {
        let wanted = status_frames(table_frames) as usize;
        let more = wanted.saturating_sub(self.status.len());
        self.status.try_reserve(more).map_err(|_| NoMemory)?;
        if frames.free_frames() < more as u64 {
            return Err(NoMemory);
        }
        for _ in 0..more {
            self.status.push(shared_frame(self.domain, frames, machine)?);
        }
        Ok(())
    }

    /// The first step of the end: from now on nobody uses this domain's grants anew, and it maps no others'.
    pub fn start_dying(&mut self) {
        self.dying = true;
    }

    /// Gives up the frames shared with the guest. Each is freed when its last mapping goes.
    pub(crate) fn release_shared<M: Memory + Tlb>(&mut self, frames: &mut FrameTable, machine: &M) {
        for frame in self.shared.drain(..).chain(self.status.drain(..)) {
            frames.release_shared(machine, frame);
        }
    }

    /// Gives back every frame there is. For a domain none of whose frames is left: until then others that mapped
    /// them need the record of it.
    pub fn destroy<M: Memory + Tlb>(&mut self, frames: &mut FrameTable, machine: &M) {
        self.dying = true;
        self.release_shared(frames, machine);
        while self.maptrack.pop(frames, machine).is_some() {}
        while self.active.shrink(frames, machine) {}
    }
}

/// A page of the hypervisor's that the domain may map, which stands for no frame of its memory.
fn shared_frame<M: Memory + Tlb>(
    domain: DomainId,
    frames: &mut FrameTable,
    machine: &M,
) -> Result<Mfn, NoMemory> {
    let frame = frames.alloc_shared(machine, domain).map_err(|_| NoMemory)?;
    machine.set_m2p(frame, Pfn::INVALID);
    Ok(frame)
}
