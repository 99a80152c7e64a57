//! Segment descriptors, gates and selectors: what a guest may put into the tables the CPU reads.
//!
//! A guest's GDT pages are typed as descriptor pages, so every entry in them went through [`check`]. The
//! hypervisor's own entries live in one further page behind the guest's 14, at byte [`RESERVED_OFFSET`].

mod gate;
mod reserved;
mod selector;
#[cfg(test)]
mod tests;

pub use gate::{Gate, direct_gate};
pub use reserved::{
    RESERVED_ENTRIES, USER_CODE_ENTRIES, ldt_descriptor, reserved_gdt_page, set_user_code_present,
    tss_descriptor,
};
pub use selector::{CodeBits, GuestTables, SelectorFault, code_bits, fixup, may_return_with, reload};

pub use paravane_abi::ring1::{RING1_CS64, RING1_SS, USER_CS32, USER_CS64, USER_SS};

/// Byte offset, within a GDT, of the page that belongs to the hypervisor (entry 7168).
pub const RESERVED_OFFSET: u16 = paravane_abi::segment::FIRST_RESERVED_GDT_BYTE as u16;
/// The hypervisor's 64-bit code segment.
pub const HYPERVISOR_CS64: u16 = 0xe008;
/// The hypervisor's data segment.
pub const HYPERVISOR_DS: u16 = 0xe010;
/// The task state segment (16 bytes).
pub const TSS_SELECTOR: u16 = 0xe040;
/// The guest's LDT (16 bytes), where it has one: what `sldt` tells, as on Xen.
pub const LDT_SELECTOR: u16 = 0xe050;
/// Its two places in the hypervisor's page, by index.
pub const LDT_ENTRIES: [usize; 2] =
    [(LDT_SELECTOR - RESERVED_OFFSET) as usize / 8, (LDT_SELECTOR - RESERVED_OFFSET) as usize / 8 + 1];
/// Where a CPU reads the descriptors of an LDT: a window in the entry area onto the pages that are held of it.
pub const LDT_WINDOW: u64 = paravane_abi::ring1::ENTRY_AREA + 0x4_0000;

/// Which ring a guest's kernel runs in; what its descriptors and selectors may say follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Paravane's extension: kernel in ring 1, programs in ring 3.
    Ring1,
    /// Xen's x86-64 PV ABI: kernel and programs in ring 3.
    Ring3,
}

impl Policy {
    /// The privilege level of the guest's kernel.
    pub const fn kernel_rpl(self) -> u16 {
        match self {
            Policy::Ring1 => 1,
            Policy::Ring3 => 3,
        }
    }

    /// The code selector a kernel is entered with. Xen ignores the selector of a 64-bit guest's trap table.
    pub const fn kernel_code(self) -> u16 {
        match self {
            Policy::Ring1 => RING1_CS64,
            Policy::Ring3 => USER_CS64,
        }
    }

    /// The stack selector a kernel is entered with.
    pub const fn kernel_stack(self) -> u16 {
        match self {
            Policy::Ring1 => RING1_SS,
            Policy::Ring3 => USER_SS,
        }
    }
}

/// Bits of a segment descriptor (SDM volume 3, figure 3-8; APM volume 2, section 4.7).
pub mod bits {
    /// The segment was loaded.
    pub const ACCESSED: u64 = 1 << 40;
    /// Data: writable. Code: readable.
    pub const WRITABLE: u64 = 1 << 41;
    /// Code: conforming. Data: expands down.
    pub const CONFORMING: u64 = 1 << 42;
    /// Code, not data.
    pub const CODE: u64 = 1 << 43;
    /// The type field.
    pub const TYPE: u64 = 0xf << 40;
    /// Code or data, not a system descriptor.
    pub const SEGMENT: u64 = 1 << 44;
    /// Descriptor privilege level.
    pub const DPL: u64 = 3 << DPL_SHIFT;
    /// Position of the privilege level.
    pub const DPL_SHIFT: u32 = 45;
    /// The descriptor may be used.
    pub const PRESENT: u64 = 1 << 47;
    /// Code: 64-bit.
    pub const LONG: u64 = 1 << 53;
    /// Default operation size of 32 bits.
    pub const DEFAULT_32: u64 = 1 << 54;
    /// The limit counts pages.
    pub const GRANULARITY: u64 = 1 << 55;
}

use bits::*;

/// Why a descriptor is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadDescriptor {
    /// A TSS, an LDT, an interrupt or trap gate, or (in a ring-1 domain) any gate.
    System,
    /// A call gate that leads to a segment of the hypervisor's, or has reserved bits set.
    CallGate,
    /// Ring-1 domains: code that ring 3 could run without the hypervisor's leave (DPL 3, or conforming).
    UserCode,
    /// Ring-1 domains: code that is not 64-bit.
    CodeSize,
}

/// The privilege level in a descriptor.
pub const fn dpl(raw: u64) -> u16 {
    ((raw & DPL) >> DPL_SHIFT) as u16
}

const fn with_dpl(raw: u64, level: u16) -> u64 {
    (raw & !DPL) | ((level as u64) << DPL_SHIFT)
}

/// Checks a descriptor a guest wants in its GDT or LDT and returns what to store.
///
/// A descriptor that is not present always faults, so it is stored as it is. Base and limit are not checked:
/// 64-bit mode ignores them but for FS and GS, whose bases a guest may choose anyway, and paging guards the
/// hypervisor's range. The accessed bit is preset because the CPU sees the table through a read-only mapping.
pub fn check(policy: Policy, raw: u64) -> Result<u64, BadDescriptor> {
    if raw & PRESENT == 0 {
        return Ok(raw);
    }
    match policy {
        Policy::Ring1 => check_ring1(raw),
        Policy::Ring3 => check_ring3(raw),
    }
}

/// Ring 3 gets code from the reserved page only: the hypervisor marks those two entries not present to catch
/// the kernel's own `iretq`, and any other segment that ring 3 can execute would be a way around that.
fn check_ring1(raw: u64) -> Result<u64, BadDescriptor> {
    if raw & SEGMENT == 0 {
        return Err(BadDescriptor::System);
    }
    if raw & CODE == 0 {
        let level = if dpl(raw) == 3 { 3 } else { 1 };
        return Ok(with_dpl(raw, level) | ACCESSED);
    }
    if raw & CONFORMING != 0 || dpl(raw) == 3 {
        return Err(BadDescriptor::UserCode);
    }
    if raw & LONG == 0 || raw & DEFAULT_32 != 0 {
        return Err(BadDescriptor::CodeSize);
    }
    Ok(with_dpl(raw, 1) | ACCESSED)
}

/// Xen's rule for 64-bit guests: code and data with DPL 3, call gates only as data the kernel may look at.
fn check_ring3(raw: u64) -> Result<u64, BadDescriptor> {
    if raw & SEGMENT != 0 {
        return Ok(with_dpl(raw, 3) | ACCESSED);
    }
    match (raw & TYPE) >> 40 {
        // The upper half of a call gate; no instruction can use it.
        0x0 => Ok(raw),
        0xc => check_call_gate(raw),
        _ => Err(BadDescriptor::System),
    }
}

/// A call gate is kept with DPL 0, so that using it from ring 3 raises #GP with the gate's index; the level the
/// guest asked for (always 3 after fixing up) goes into the selector's RPL.
fn check_call_gate(raw: u64) -> Result<u64, BadDescriptor> {
    let target = (raw >> 16) as u16;
    let own = target < RESERVED_OFFSET || target & 4 != 0 || target == USER_CS64;
    let reserved = (raw >> 32) & 0xff;
    if !own || reserved != 0 {
        return Err(BadDescriptor::CallGate);
    }
    Ok(with_dpl(raw, 0) | (3 << 16))
}
