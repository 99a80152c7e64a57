//! Counting the uses of grants again, from the mappings on record.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::{GrantTable, Mapping, Pins};
use crate::addr::{DomainId, Mfn};
use crate::memory::Memory;

/// Something that does not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Whose table.
    pub domain: DomainId,
    /// The entry, or the handle.
    pub number: u32,
    /// What.
    pub what: &'static str,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: grant {:#x}: {}", self.domain, self.number, self.what)
    }
}

/// The kinds of use a mapping is.
pub(super) fn pins_of(mapping: &Mapping) -> [Option<Pins>; 2] {
    [
        mapping.host().then(|| Pins::host(mapping.readonly())),
        mapping.device().then(|| Pins::device(mapping.readonly())),
    ]
}

/// A mapping on record: who maps, whose frame, with the right to write or not, by CPUs or devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Who maps.
    pub by: DomainId,
    /// The frame.
    pub frame: Mfn,
    /// With the right to write.
    pub writable: bool,
    /// By CPUs: at most one L1 entry.
    pub host: bool,
    /// By devices: a reference, and a use as writable if it writes, are held for it.
    pub device: bool,
}

/// Counts the uses of every entry from the mappings on record, between copies. What is wrong, and every mapping
/// with its frame.
pub fn check<M: Memory>(memory: &M, tables: &[&GrantTable]) -> (Vec<Wrong>, Vec<Recorded>) {
    let mut wrong = Vec::new();
    let mut recorded = Vec::new();
    let mut found: BTreeMap<(u32, u32), (Pins, DomainId)> = BTreeMap::new();
    for table in tables {
        if !table.dying
            && let Err(what) = table.maptrack.check(memory)
        {
            wrong.push(Wrong { domain: table.domain, number: 0, what });
        }
        for (handle, mapping) in table.maptrack.iter(memory) {
            let Some(granter) = tables.iter().find(|other| other.incarnation == mapping.incarnation) else {
                // Of a domain that is gone; its frames are.
                continue;
            };
            let place = (mapping.incarnation, mapping.reference);
            let (pins, by) = found.entry(place).or_insert((Pins::NONE, table.domain));
            for pin in pins_of(&mapping).into_iter().flatten() {
                *pins = pins.plus(pin);
            }
            if *by != table.domain {
                wrong.push(Wrong {
                    domain: table.domain,
                    number: handle,
                    what: "maps what another has in use",
                });
            }
            if let Some(active) = granter.in_use(memory, mapping.reference) {
                let (by, frame, writable) = (table.domain, active.frame, !mapping.readonly());
                let (host, device) = (mapping.host(), mapping.device());
                recorded.push(Recorded { by, frame, writable, host, device });
            }
        }
    }
    for table in tables {
        wrong.extend(check_entries(memory, table, &found));
    }
    (wrong, recorded)
}

fn check_entries<M: Memory>(
    memory: &M,
    table: &GrantTable,
    found: &BTreeMap<(u32, u32), (Pins, DomainId)>,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut busy = 0;
    for reference in 0..table.active.len() {
        let Some(active) = table.active(memory, reference) else { continue };
        let counted = found.get(&(table.incarnation, reference));
        let (pins, by) = counted.copied().unwrap_or((Pins::NONE, active.grantee));
        let mut complain = |what| wrong.push(Wrong { domain: table.domain, number: reference, what });
        if active.pins != pins {
            complain("its uses are not the mappings on record");
        } else if active.pins.any() && active.grantee != by {
            complain("another domain than its user has it mapped");
        } else if active.pins.any() && active.sub_page {
            complain("a part of a frame is mapped");
        }
        busy += u32::from(active.pins.any() && reference >= paravane_abi::grant::GNTTAB_NR_RESERVED_ENTRIES);
    }
    if busy != table.busy {
        wrong.push(Wrong {
            domain: table.domain,
            number: busy,
            what: "so many entries are in use, not as noted",
        });
    }
    wrong
}
