//! The reference: what an x86 processor may make of the guest's tables, written apart from what is tested, with every
//! value that a word may still be cached with.

use super::*;

/// A way through the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The entries passed: where, what, and the level.
    pub entries: Vec<(u64, u64, u32)>,
    /// The address it leads to, with the access it allows: user, write, execute; or the bits of the error code that
    /// say why it ends.
    pub end: Result<(u64, bool, bool, bool), u32>,
}

impl Way {
    /// The address an access reaches, or its error code.
    pub fn of(&self, usage: Use, wp: bool, nxe: bool) -> Result<u64, u32> {
        let mut code = if usage.user { 4 } else { 0 };
        match usage.access {
            Access::Write => code |= 2,
            Access::Fetch if nxe => code |= 16,
            _ => {}
        }
        let (address, user, write, execute) = self.end.map_err(|why| why | code)?;
        let refused = match usage.access {
            Access::Write if usage.user || wp => !write,
            Access::Fetch => !execute,
            _ => false,
        };
        if refused || (usage.user && !user) { Err(code | 1) } else { Ok(address) }
    }
}

/// All ways for an address: one for each combination of values that its entries may have.
pub fn ways(values: &dyn Fn(u64) -> Vec<u64>, nxe: bool, root: u64, address: u64) -> Vec<Way> {
    let mut found = Vec::new();
    let start = Way { entries: Vec::new(), end: Ok((root & !0xfff, true, true, true)) };
    follow(values, nxe, address, start, 4, &mut found);
    found
}

fn follow(
    values: &dyn Fn(u64) -> Vec<u64>,
    nxe: bool,
    address: u64,
    way: Way,
    level: u32,
    out: &mut Vec<Way>,
) {
    let Ok((table, user, write, execute)) = way.end else { unreachable!() };
    let shift = 3 + 9 * level;
    let place = (table & 0xf_ffff_ffff_f000) + (address >> shift) % 512 * 8;
    for value in values(place) {
        let mut next = way.clone();
        next.entries.push((place, value, level));
        let page = level == 1 || value >> 7 & 1 == 1;
        let low = if page && level > 1 { (1 << shift) - 1 } else { 0xfff };
        // The PAT bit of a large page, bit 12, is not reserved.
        let mut reserved = (value >> 40) & 0xfff != 0 || value & low & !0x1fff != 0;
        reserved |= level == 4 && page || value >> 63 == 1 && !nxe;
        next.end = match value & 1 {
            0 => Err(0),
            _ if reserved => Err(9),
            _ => {
                let base = value & 0xf_ffff_ffff_f000 & !low;
                let (user, write) = (user && value & 4 != 0, write && value & 2 != 0);
                Ok((base, user, write, execute && value >> 63 == 0))
            }
        };
        match &mut next.end {
            Ok(_) if !page => follow(values, nxe, address, next, level - 1, out),
            Ok((base, ..)) => {
                *base |= address & low;
                out.push(next);
            }
            Err(_) => out.push(next),
        }
    }
}
