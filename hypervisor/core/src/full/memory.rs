//! A guest's memory at its linear addresses, as its own processor would see it.

use crate::addr::VirtAddr;
use crate::emulate::{Fault, vector};

/// For whom an access is made. Descriptor tables, the TSS and frames of the kernel are read and written as the
/// supervisor, whatever ring was running (SDM volume 3, 4.6.1: implicit supervisor-mode accesses).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Rings 0 to 2.
    Supervisor,
    /// Ring 3.
    User,
}

/// A page fault of the guest's: what its handler finds in CR2 and as error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// The first byte that could not be reached.
    pub address: u64,
    /// The error code (SDM volume 3, 4.7), the U bit as [`Privilege`] says.
    pub code: u32,
}

impl From<PageFault> for Fault {
    fn from(fault: PageFault) -> Fault {
        Fault::page(fault.address, fault.code)
    }
}

/// A guest's memory by its own page tables, whichever module walks them.
///
/// Callers ask only for ranges that are canonical and do not wrap (see `Linear`); at most a page long, so that a
/// range has at most two pages. An implementation sets accessed and dirty bits as a processor does.
pub trait GuestLinear {
    /// Fills `bytes` from `address` on.
    fn read(&mut self, address: u64, bytes: &mut [u8], privilege: Privilege) -> Result<(), PageFault>;

    /// Writes all of `bytes` from `address` on, or nothing: no byte is written before every page has been found
    /// writable.
    fn write(&mut self, address: u64, bytes: &[u8], privilege: Privilege) -> Result<(), PageFault>;

    /// Whether a write of `length` bytes would succeed; it writes nothing.
    fn writable(&mut self, address: u64, length: usize, privilege: Privilege) -> Result<(), PageFault>;

    /// Fetches instruction bytes: as many of `bytes` as lie in pages that can be executed, at least one. The
    /// result is their number, or the fault of the first byte.
    fn fetch(&mut self, address: u64, bytes: &mut [u8], privilege: Privilege) -> Result<usize, PageFault>;
}

/// Why a range cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// It is not canonical, or wraps. What that raises depends on what the address was for.
    NonCanonical,
    /// The guest's tables say no.
    Page(PageFault),
}

impl Unreachable {
    /// The exception of a memory operand: #SS if the stack segment was used, else #GP (SDM volume 1, 3.3.7.1).
    pub(super) fn operand(self, stack: bool) -> Fault {
        let vector = if stack { vector::STACK } else { vector::PROTECTION };
        self.or(Fault { vector, error_code: Some(0), address: None })
    }

    /// The exception, given the one for a non-canonical address.
    pub(super) fn or(self, non_canonical: Fault) -> Fault {
        match self {
            Unreachable::NonCanonical => non_canonical,
            Unreachable::Page(fault) => fault.into(),
        }
    }
}

impl From<PageFault> for Unreachable {
    fn from(fault: PageFault) -> Unreachable {
        Unreachable::Page(fault)
    }
}

/// Whether `length` bytes from `address` on are canonical and do not wrap.
pub(super) fn canonical_range(address: u64, length: usize) -> bool {
    let Some(last) = address.checked_add((length as u64).saturating_sub(1)) else { return false };
    VirtAddr::is_canonical(address) && VirtAddr::is_canonical(last) && (address ^ last) >> 47 == 0
}

fn checked(address: u64, length: usize) -> Result<(), Unreachable> {
    if canonical_range(address, length) { Ok(()) } else { Err(Unreachable::NonCanonical) }
}

/// Accesses that check the address first.
pub(super) trait Linear: GuestLinear {
    fn get(&mut self, address: u64, bytes: &mut [u8], privilege: Privilege) -> Result<(), Unreachable> {
        checked(address, bytes.len())?;
        Ok(self.read(address, bytes, privilege)?)
    }

    fn put(&mut self, address: u64, bytes: &[u8], privilege: Privilege) -> Result<(), Unreachable> {
        checked(address, bytes.len())?;
        Ok(self.write(address, bytes, privilege)?)
    }

    fn probe(&mut self, address: u64, length: usize, privilege: Privilege) -> Result<(), Unreachable> {
        checked(address, length)?;
        Ok(self.writable(address, length, privilege)?)
    }

    /// A little-endian number of `width` bytes, at most 8.
    fn number(&mut self, address: u64, width: usize, privilege: Privilege) -> Result<u64, Unreachable> {
        let mut bytes = [0; 8];
        self.get(address, &mut bytes[..width.min(8)], privilege)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl<M: GuestLinear + ?Sized> Linear for M {}

#[cfg(test)]
mod tests {
    use super::*;

    /// SDM volume 1, 3.3.7.1.
    #[test]
    fn ranges_stay_in_one_half() {
        for (address, length, fine) in [
            (0, 1, true),
            (0x7fff_ffff_fff8, 8, true),
            (0x7fff_ffff_fff9, 8, false),
            (0x8000_0000_0000, 1, false),
            (0xffff_7fff_ffff_fff8, 16, false),
            (0xffff_8000_0000_0000, 16, true),
            (u64::MAX - 7, 8, true),
            (u64::MAX - 6, 8, false),
            (0x7fff_ffff_ffff, usize::MAX, false),
        ] {
            assert_eq!(canonical_range(address, length), fine, "{address:#x} {length}");
        }
    }
}
