//! Where x86 refuses to be virtualized: instructions that show or change what only ring 0 should see, and do not trap.
//!
//! A guest that uses them can say where they stand. Each such site is checked by decoding what is there, and replaced by
//! an instruction that traps; when it does, the one that stood there is emulated. The replacement is `hlt`, which is one
//! byte and raises #GP in any ring but 0, and `int3` for the rest of the length, so that a jump into the middle is
//! found.

use super::memory::{GuestLinear, Linear, PageFault, Privilege, Unreachable};
use crate::descriptor::CodeBits;
use crate::emulate::{Form, MAX_LENGTH, Segment, TableOp, decode};
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::fmt;
use paravane_abi::ring1::SensitiveSite;
use zerocopy::IntoBytes;

/// The most sites of a guest.
pub const MAX_SITES: usize = 4096;
/// Bytes of an entry of a guest's list.
pub const ENTRY: u64 = size_of::<SensitiveSite>() as u64;
const HLT: u8 = 0xf4;
const INT3: u8 = 0xcc;

/// Where a guest says that a sensitive instruction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its linear address.
    pub address: u64,
    /// Its length in bytes.
    pub length: u8,
}

/// A site that was found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Its linear address.
    pub address: u64,
    /// What it is.
    pub form: Form,
    /// What it is called.
    pub name: &'static str,
    original: ArrayVec<u8, MAX_LENGTH>,
}

impl Patch {
    /// The instruction's bytes as they were.
    pub fn original(&self) -> &[u8] {
        &self.original
    }

    /// What takes their place, of the same length.
    pub fn replacement(&self) -> ArrayVec<u8, MAX_LENGTH> {
        let mut bytes: ArrayVec<u8, MAX_LENGTH> = self.original.iter().map(|_| INT3).collect();
        if let Some(first) = bytes.first_mut() {
            *first = HLT;
        }
        bytes
    }

    fn end(&self) -> u64 {
        self.address.wrapping_add(self.original.len() as u64)
    }
}

impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, name, original, .. } = self;
        write!(f, "{name} at {address:#x}: {:02x?} is now {:02x?}", original.as_slice(), &*self.replacement())
    }
}

/// Why a site stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpatched {
    /// A length that no instruction has, or an address without a meaning.
    BadSite,
    /// It cannot be read, or not be written.
    Unreachable(PageFault),
    /// The bytes are no instruction of this length.
    OtherLength,
    /// The instruction traps by itself, or need not.
    NotSensitive,
    /// It overlaps a site that was taken.
    Overlap,
    /// There are [`MAX_SITES`] already.
    Full,
}

impl fmt::Display for Unpatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSite => write!(f, "no instruction has this length, or nothing this address"),
            Self::Unreachable(fault) => write!(f, "{:#x} cannot be read and written", fault.address),
            Self::OtherLength => write!(f, "it is no instruction of this length"),
            Self::NotSensitive => write!(f, "it traps by itself, or need not"),
            Self::Overlap => write!(f, "it overlaps a site that was patched"),
            Self::Full => write!(f, "there are {MAX_SITES} already"),
        }
    }
}

/// The name of an instruction of a kernel's that is sensitive and does not trap in ring 1 (those of the tables do with
/// UMIP).
fn sensitive(form: Form) -> Option<&'static str> {
    Some(match form {
        Form::Popf => "popf",
        Form::Pushf => "pushf",
        Form::Lar => "lar",
        Form::Lsl => "lsl",
        Form::Verr => "verr",
        Form::Verw => "verw",
        Form::Cpuid => "cpuid",
        Form::Iretq | Form::NarrowIret(_) => "iret",
        Form::FarCall => "far call",
        Form::StoreSegment(Segment::Cs) => "mov from cs",
        Form::StoreSegment(Segment::Ss) => "mov from ss",
        Form::Table(TableOp::Sgdt) => "sgdt",
        Form::Table(TableOp::Sidt) => "sidt",
        Form::Table(TableOp::Sldt) => "sldt",
        Form::Table(TableOp::Str) => "str",
        Form::Table(TableOp::Smsw) => "smsw",
        _ => return None,
    })
}

fn unreachable(why: Unreachable) -> Unpatched {
    match why {
        Unreachable::NonCanonical => Unpatched::BadSite,
        Unreachable::Page(fault) => Unpatched::Unreachable(fault),
    }
}

/// Reads `count` entries of a guest's list, from `address` on ([`SensitiveSite`]). At most [`MAX_SITES`] are read; the guest
/// names the list, so it may be anything.
pub fn read_sites(mem: &mut impl GuestLinear, address: u64, count: usize) -> Result<Vec<Site>, Unpatched> {
    let mut sites = Vec::with_capacity(count.min(MAX_SITES));
    for n in 0..count.min(MAX_SITES) as u64 {
        let mut entry = SensitiveSite::default();
        mem.get(address.wrapping_add(n * ENTRY), entry.as_mut_bytes(), Privilege::Supervisor)
            .map_err(unreachable)?;
        let SensitiveSite { address, length, .. } = entry;
        sites.push(Site { address, length });
    }
    Ok(sites)
}

/// The sites of a guest that were replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchTable {
    /// In the order of their addresses.
    patches: Vec<Patch>,
}

impl PatchTable {
    /// A guest without such sites.
    pub const fn new() -> PatchTable {
        PatchTable { patches: Vec::new() }
    }

    /// The sites, in the order of their addresses.
    pub fn patches(&self) -> &[Patch] {
        &self.patches
    }

    /// Looks at a site: what would be replaced. Nothing is changed.
    pub fn check(&self, mem: &mut impl GuestLinear, site: Site) -> Result<Patch, Unpatched> {
        let length = site.length as usize;
        if length == 0 || length > MAX_LENGTH {
            return Err(Unpatched::BadSite);
        }
        let mut buffer = [0; MAX_LENGTH];
        let bytes = &mut buffer[..length];
        mem.get(site.address, bytes, Privilege::Supervisor).map_err(unreachable)?;
        let decoded = decode(bytes, CodeBits::Bits64, site.address).ok_or(Unpatched::OtherLength)?;
        if decoded.length as usize != length {
            return Err(Unpatched::OtherLength);
        }
        let name = sensitive(decoded.form).ok_or(Unpatched::NotSensitive)?;
        let original = bytes.iter().copied().collect();
        Ok(Patch { address: site.address, form: decoded.form, name, original })
    }

    /// Takes a patch into the table, before or after its replacement is written.
    pub fn add(&mut self, patch: Patch) -> Result<(), Unpatched> {
        if self.patches.len() >= MAX_SITES {
            return Err(Unpatched::Full);
        }
        let at = self.patches.partition_point(|known| known.address < patch.address);
        let overlaps = |known: &Patch| known.address < patch.end() && patch.address < known.end();
        let before = at.checked_sub(1).and_then(|n| self.patches.get(n));
        if before.is_some_and(overlaps) || self.patches.get(at).is_some_and(overlaps) {
            return Err(Unpatched::Overlap);
        }
        self.patches.insert(at, patch);
        Ok(())
    }

    /// Checks each site, writes its replacement and takes it into the table. `report` hears of each: what was patched, or
    /// why it stays. A site that is refused leaves memory as it was.
    pub fn install(
        &mut self,
        mem: &mut impl GuestLinear,
        sites: &[Site],
        mut report: impl FnMut(Site, Result<&Patch, Unpatched>),
    ) {
        for &site in sites {
            let result = self.install_one(mem, site);
            report(site, result.as_ref().map_err(|why| *why));
        }
    }

    fn install_one(&mut self, mem: &mut impl GuestLinear, site: Site) -> Result<Patch, Unpatched> {
        let patch = self.check(mem, site)?;
        let replacement = patch.replacement();
        mem.probe(site.address, replacement.len(), Privilege::Supervisor).map_err(unreachable)?;
        self.add(patch.clone())?;
        mem.put(site.address, &replacement, Privilege::Supervisor).map_err(unreachable)?;
        Ok(patch)
    }

    /// The instruction that stood at `rip`, if `bytes` begin with what took its place.
    pub(super) fn original(&self, rip: u64, bytes: &[u8]) -> Option<&[u8]> {
        let at = self.patches.binary_search_by_key(&rip, |patch| patch.address).ok()?;
        let patch = self.patches.get(at)?;
        bytes.starts_with(&patch.replacement()).then_some(patch.original())
    }
}
