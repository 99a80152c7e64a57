//! Selectors a guest names, and the checks the CPU makes when it returns with them.

use super::bits::*;
use super::{Policy, dpl};
use crate::addr::VirtAddr;

/// How a code segment's instructions are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeBits {
    /// 16-bit compatibility mode.
    Bits16,
    /// 32-bit compatibility mode.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

impl CodeBits {
    /// The number the decoder wants.
    pub const fn number(self) -> u32 {
        match self {
            CodeBits::Bits16 => 16,
            CodeBits::Bits32 => 32,
            CodeBits::Bits64 => 64,
        }
    }
}

/// The decoding mode a code descriptor asks for.
pub const fn code_bits(raw: u64) -> CodeBits {
    match (raw & LONG != 0, raw & DEFAULT_32 != 0) {
        (true, _) => CodeBits::Bits64,
        (false, true) => CodeBits::Bits32,
        (false, false) => CodeBits::Bits16,
    }
}

/// Raises a selector's RPL to that of the guest's kernel (trap table, callbacks, `stack_switch`, contexts).
pub const fn fixup(policy: Policy, selector: u16) -> u16 {
    let rpl = policy.kernel_rpl();
    if selector & 3 >= rpl { selector } else { (selector & !3) | rpl }
}

/// A data selector (DS, ES, FS, GS) as the hypervisor may load it for a guest: null ones as they are, others
/// with the guest's RPL, so that the CPU's own check refuses the hypervisor's segments.
pub const fn reload(policy: Policy, selector: u16) -> u16 {
    if selector & !3 == 0 { selector } else { fixup(policy, selector) }
}

/// A domain's descriptor tables, to be read as the CPU would.
pub trait GuestTables {
    /// The descriptor a selector names, or `None` beyond the table's limit (XSA-298: both tables have one).
    fn descriptor(&self, selector: u16) -> Option<u64>;
}

/// The exception a selector raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectorFault {
    /// #GP, #NP or #SS.
    pub vector: u8,
    /// The selector without its RPL, or 0.
    pub error_code: u32,
}

const NOT_PRESENT: u8 = 11;
const STACK: u8 = 12;
const PROTECTION: u8 = 13;

const fn fault(vector: u8, selector: u16) -> SelectorFault {
    SelectorFault { vector, error_code: (selector & !3) as u32 }
}

/// Whether `iretq` in ring 0 could return to this RIP, CS and SS, by the rules of the SDM's IRET page.
///
/// The hypervisor asks before it leaves, so that a fault it would take on its own `iretq` becomes the guest's.
pub fn may_return_with(
    policy: Policy,
    tables: &impl GuestTables,
    rip: u64,
    cs: u16,
    ss: u16,
) -> Result<CodeBits, SelectorFault> {
    let bits = check_code(policy, tables, rip, cs)?;
    check_stack(policy, tables, bits, cs, ss)?;
    Ok(bits)
}

fn check_code(
    policy: Policy,
    tables: &impl GuestTables,
    rip: u64,
    cs: u16,
) -> Result<CodeBits, SelectorFault> {
    if cs & !3 == 0 {
        return Err(fault(PROTECTION, 0));
    }
    let raw = tables.descriptor(cs).ok_or(fault(PROTECTION, cs))?;
    let rpl = cs & 3;
    let privileged =
        if raw & CONFORMING != 0 { dpl(raw) > rpl } else { dpl(raw) != rpl } || rpl < policy.kernel_rpl();
    let both_sizes = raw & LONG != 0 && raw & DEFAULT_32 != 0;
    if raw & SEGMENT == 0 || raw & CODE == 0 || privileged || both_sizes {
        return Err(fault(PROTECTION, cs));
    }
    if raw & PRESENT == 0 {
        return Err(fault(NOT_PRESENT, cs));
    }
    let bits = code_bits(raw);
    let reachable = match bits {
        CodeBits::Bits64 => VirtAddr::is_canonical(rip),
        _ => rip <= limit(raw),
    };
    if reachable { Ok(bits) } else { Err(fault(PROTECTION, 0)) }
}

fn check_stack(
    policy: Policy,
    tables: &impl GuestTables,
    bits: CodeBits,
    cs: u16,
    ss: u16,
) -> Result<(), SelectorFault> {
    if ss & !3 == 0 {
        // Only 64-bit code outside ring 3 may run with a null SS.
        let allowed = bits == CodeBits::Bits64 && cs & 3 != 3 && ss & 3 == cs & 3;
        return if allowed && policy == Policy::Ring1 { Ok(()) } else { Err(fault(PROTECTION, 0)) };
    }
    let raw = tables.descriptor(ss).ok_or(fault(PROTECTION, ss))?;
    let writable_data = raw & SEGMENT != 0 && raw & CODE == 0 && raw & WRITABLE != 0;
    if ss & 3 != cs & 3 || dpl(raw) != cs & 3 || !writable_data {
        return Err(fault(PROTECTION, ss));
    }
    if raw & PRESENT == 0 {
        return Err(fault(STACK, ss));
    }
    Ok(())
}

/// The last valid offset of a segment.
const fn limit(raw: u64) -> u64 {
    let limit = (raw & 0xffff) | ((raw >> 32) & 0xf_0000);
    if raw & GRANULARITY != 0 { (limit << 12) | 0xfff } else { limit }
}
