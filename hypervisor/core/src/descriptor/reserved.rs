//! The hypervisor's page of the GDT.

use super::bits::*;
use super::{
    HYPERVISOR_CS64, HYPERVISOR_DS, Policy, RESERVED_OFFSET, RING1_CS64, RING1_SS, TSS_SELECTOR, USER_CS32,
    USER_CS64, USER_SS,
};

/// Descriptors in the reserved page.
pub const RESERVED_ENTRIES: usize = 512;

/// Indexes, within the reserved page, of the code segments ring 3 runs in.
pub const USER_CODE_ENTRIES: [usize; 2] = [index(USER_CS32), index(USER_CS64)];

const fn index(selector: u16) -> usize {
    ((selector - RESERVED_OFFSET) >> 3) as usize
}

/// Base 0, limit 4 GiB, present, accessed: what all flat segments share.
const FLAT: u64 = 0x000f_0000_0000_ffff | GRANULARITY | PRESENT | SEGMENT | ACCESSED;
const DATA: u64 = FLAT | WRITABLE | DEFAULT_32;
const CODE_64: u64 = FLAT | CODE | WRITABLE | LONG;
const CODE_32: u64 = FLAT | CODE | WRITABLE | DEFAULT_32;

const fn at(level: u64) -> u64 {
    level << DPL_SHIFT
}

/// The reserved page of a domain: the hypervisor's segments, ring 3's, the TSS, and ring 1's where the domain's
/// kernel runs there.
///
/// Accessed bits are preset, as the CPU sees this page through a read-only mapping. `tss` comes from
/// [`tss_descriptor`]; loading the task register sets its busy bit, so `ltr` needs a writable alias.
pub fn reserved_gdt_page(policy: Policy, tss: [u64; 2]) -> [u64; RESERVED_ENTRIES] {
    let mut page = [0; RESERVED_ENTRIES];
    page[index(HYPERVISOR_CS64)] = CODE_64 | at(0);
    page[index(HYPERVISOR_DS)] = DATA | at(0);
    page[index(USER_CS32)] = CODE_32 | at(3);
    page[index(USER_SS)] = DATA | at(3);
    page[index(USER_CS64)] = CODE_64 | at(3);
    page[index(TSS_SELECTOR)] = tss[0];
    page[index(TSS_SELECTOR) + 1] = tss[1];
    if policy == Policy::Ring1 {
        page[index(RING1_CS64)] = CODE_64 | at(1);
        page[index(RING1_SS)] = DATA | at(1);
    }
    page
}

/// An available 64-bit TSS descriptor (SDM volume 3, figure 8-4). `limit` is the last valid offset.
pub const fn tss_descriptor(base: u64, limit: u32) -> [u64; 2] {
    const AVAILABLE_TSS64: u64 = 0x9;
    system_descriptor(AVAILABLE_TSS64, base, limit)
}

/// A 64-bit LDT descriptor (SDM volume 3, table 3-2 and figure 8-4). `limit` is the last valid offset.
pub const fn ldt_descriptor(base: u64, limit: u32) -> [u64; 2] {
    const LDT: u64 = 0x2;
    system_descriptor(LDT, base, limit)
}

const fn system_descriptor(kind: u64, base: u64, limit: u32) -> [u64; 2] {
    let limit = limit as u64;
    let low = (limit & 0xffff)
        | ((base & 0x00ff_ffff) << 16)
        | kind << 40
        | PRESENT
        | (((limit >> 16) & 0xf) << 48)
        | (((base >> 24) & 0xff) << 56);
    [low, base >> 32]
}

/// A user code descriptor with its present bit set or cleared.
///
/// While an event waits for a ring-1 kernel that masks events, [`USER_CODE_ENTRIES`] are not present: the
/// kernel's `iretq` to ring 3 then raises #NP, and the hypervisor delivers.
pub const fn set_user_code_present(raw: u64, present: bool) -> u64 {
    if present { raw | PRESENT } else { raw & !PRESENT }
}
