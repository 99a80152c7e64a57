//! Descriptors in a guest's own tables, and the checks a processor makes of them.

use super::memory::{GuestLinear, Linear, Privilege};
use super::state::{CodeSegment, FullCpu};
use crate::addr::VirtAddr;
use crate::descriptor::bits::{
    CODE, CONFORMING, DEFAULT_32, DPL, DPL_SHIFT, GRANULARITY, LONG, PRESENT, SEGMENT, WRITABLE,
};
use crate::descriptor::{CodeBits, GuestTables, Policy, SelectorFault, code_bits, dpl, may_return_with};
use crate::emulate::{Fault, Mode, vector};

/// In a selector: the LDT, not the GDT.
const LOCAL: u16 = 1 << 2;

/// An exception that names a selector.
pub(super) const fn fault(vector: u8, selector: u16) -> Fault {
    Fault { vector, error_code: Some((selector & !3) as u32), address: None }
}

pub(super) const fn protection(selector: u16) -> Fault {
    fault(vector::PROTECTION, selector)
}

impl From<SelectorFault> for Fault {
    fn from(fault: SelectorFault) -> Fault {
        Fault { vector: fault.vector, error_code: Some(fault.error_code), address: None }
    }
}

/// The base in a code or data descriptor.
pub(super) const fn base(raw: u64) -> u64 {
    ((raw >> 16) & 0x00ff_ffff) | ((raw >> 56) << 24)
}

/// The last valid offset of a segment.
pub(super) const fn limit(raw: u64) -> u64 {
    let limit = (raw & 0xffff) | ((raw >> 32) & 0xf_0000);
    if raw & GRANULARITY != 0 { (limit << 12) | 0xfff } else { limit }
}

/// Whether a selector names no descriptor.
pub(super) const fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// Where a selector's descriptor lies, or `None` beyond the table's limit.
fn slot(cpu: &FullCpu, selector: u16, length: u64) -> Option<u64> {
    let offset = (selector & !7) as u64;
    let last = offset + length - 1;
    if selector & LOCAL == 0 {
        return (last <= cpu.gdtr.limit as u64).then(|| cpu.gdtr.base.wrapping_add(offset));
    }
    let usable = !is_null(cpu.ldtr.selector) && last <= cpu.ldtr.limit as u64;
    usable.then(|| cpu.ldtr.base.wrapping_add(offset))
}

/// The descriptor of a code or data segment, or `None` beyond the limit. Conforming code counts as ordinary: the
/// real table has no segment that both rings execute.
pub(super) fn descriptor(
    cpu: &FullCpu,
    mem: &mut impl GuestLinear,
    selector: u16,
) -> Result<Option<u64>, Fault> {
    let Some(address) = slot(cpu, selector, 8) else { return Ok(None) };
    let raw = mem.number(address, 8, Privilege::Supervisor).map_err(|why| why.or(protection(selector)))?;
    let conforming_code = raw & (SEGMENT | CODE | CONFORMING) == SEGMENT | CODE | CONFORMING;
    Ok(Some(if conforming_code { raw & !CONFORMING } else { raw }))
}

/// A system descriptor of the GDT's: its address and its two words (SDM volume 3, 3.5.2).
pub(super) fn system_descriptor(
    cpu: &FullCpu,
    mem: &mut impl GuestLinear,
    selector: u16,
) -> Result<(u64, [u64; 2]), Fault> {
    let refused = protection(selector);
    let address = match slot(cpu, selector, 16) {
        Some(address) if selector & LOCAL == 0 => address,
        _ => return Err(refused),
    };
    let mut bytes = [0; 16];
    mem.get(address, &mut bytes, Privilege::Supervisor).map_err(|why| why.or(refused))?;
    let both = u128::from_le_bytes(bytes);
    Ok((address, [both as u64, (both >> 64) as u64]))
}

/// A descriptor as ring 1 sees virtual ring 0: levels 0 and 1 become 1 and 2. Nothing runs at the virtual levels 1
/// and 2.
const fn deprivileged(raw: u64) -> u64 {
    let level = match dpl(raw) {
        0 => 1,
        3 => 3,
        _ => 2,
    };
    (raw & !DPL) | (level << DPL_SHIFT)
}

/// The two descriptors a return names.
struct Named([(u16, Option<u64>); 2]);

impl GuestTables for Named {
    fn descriptor(&self, selector: u16) -> Option<u64> {
        self.0.iter().find(|(name, _)| (name ^ selector) & !3 == 0).and_then(|(_, raw)| *raw)
    }
}

/// What a return to other code finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub mode: Mode,
    pub code: CodeSegment,
    pub ss: u16,
}

/// Checks CS, SS and RIP of a return as the SDM's IRET page does, in its order, by the guest's own tables. `ss` is
/// `None` for a far return to the same level, which keeps it.
///
/// RPL 1 counts as 0: it is what the guest's kernel reads from CS and SS, if it does.
pub(super) fn return_target(
    cpu: &FullCpu,
    mem: &mut impl GuestLinear,
    rip: u64,
    cs: u16,
    ss: Option<u16>,
) -> Result<Target, Fault> {
    let mode = match cs & 3 {
        3 => Mode::User,
        2 => return Err(if is_null(cs) { Fault::PROTECTION } else { protection(cs) }),
        _ => Mode::Kernel,
    };
    let ring = if mode == Mode::User { 3 } else { 1 };
    let real = |selector: u16| if selector & 3 == 0 { selector | 1 } else { selector };
    let code = if is_null(cs) { None } else { descriptor(cpu, mem, cs)? };
    let stack = ss.unwrap_or(ring);
    // A null SS passes for the kernel, which is what a return that keeps SS asks for.
    let data = match ss {
        Some(ss) if !is_null(ss) => descriptor(cpu, mem, ss)?,
        _ => None,
    };
    let tables = Named([(cs, code.map(deprivileged)), (stack, data.map(deprivileged))]);
    let bits = may_return_with(Policy::Ring1, &tables, rip, real(cs), real(stack))?;
    if mode == Mode::Kernel && bits != CodeBits::Bits64 {
        return Err(protection(cs));
    }
    let level = if mode == Mode::User { 3 } else { 0 };
    Ok(Target {
        mode,
        code: CodeSegment {
            selector: (cs & !3) | level,
            bits,
            base: if bits == CodeBits::Bits64 { 0 } else { code.map_or(0, base) },
        },
        ss: ss.map_or(cpu.ss, |ss| (ss & !3) | level),
    })
}

/// The code segment a gate leads to (SDM volume 2, INT n). `external` is the EXT bit.
///
/// Code of the levels 1 and 2 is refused: there is no ring for it.
pub(super) fn gate_target(
    cpu: &FullCpu,
    mem: &mut impl GuestLinear,
    selector: u16,
    external: u32,
) -> Result<(Mode, CodeSegment), Fault> {
    let with = |vector| Fault { vector, error_code: Some((selector & !3) as u32 | external), address: None };
    let refused = with(vector::PROTECTION);
    if is_null(selector) {
        return Err(Fault { error_code: Some(external), ..refused });
    }
    let raw = descriptor(cpu, mem, selector)?.ok_or(refused)?;
    let level = dpl(raw);
    let mode = if level == 0 { Mode::Kernel } else { Mode::User };
    let reachable = level == 0 || (level == 3 && cpu.mode == Mode::User);
    if raw & (SEGMENT | CODE) != SEGMENT | CODE || !reachable {
        return Err(refused);
    }
    if raw & PRESENT == 0 {
        return Err(with(vector::NOT_PRESENT));
    }
    if raw & (LONG | DEFAULT_32) != LONG {
        return Err(refused);
    }
    let level = if mode == Mode::Kernel { 0 } else { 3 };
    Ok((mode, CodeSegment { selector: (selector & !3) | level, bits: CodeBits::Bits64, base: 0 }))
}

/// A 64-bit call or jump between segments of the kernel (SDM volume 2, JMP). Gates and task switches are refused: the
/// former are not modelled, the latter do not exist in long mode.
pub(super) fn far_target(
    cpu: &FullCpu,
    mem: &mut impl GuestLinear,
    rip: u64,
    selector: u16,
) -> Result<CodeSegment, Fault> {
    if is_null(selector) {
        return Err(Fault::PROTECTION);
    }
    let refused = protection(selector);
    let raw = descriptor(cpu, mem, selector)?.ok_or(refused)?;
    let kernel_code = raw & (SEGMENT | CODE) == SEGMENT | CODE && dpl(raw) == 0 && selector & 3 <= 1;
    if !kernel_code {
        return Err(refused);
    }
    if raw & PRESENT == 0 {
        return Err(fault(vector::NOT_PRESENT, selector));
    }
    if raw & (LONG | DEFAULT_32) != LONG {
        return Err(refused);
    }
    if !VirtAddr::is_canonical(rip) {
        return Err(Fault::PROTECTION);
    }
    Ok(CodeSegment { selector: selector & !3, bits: code_bits(raw), base: 0 })
}

/// Whether DS, ES, FS or GS may hold a selector (SDM volume 2, MOV); the result is its descriptor, `None` for a null
/// selector.
pub(super) fn data_target(
    cpu: &FullCpu,
    mem: &mut impl GuestLinear,
    selector: u16,
) -> Result<Option<u64>, Fault> {
    if is_null(selector) {
        return Ok(None);
    }
    let refused = protection(selector);
    let raw = descriptor(cpu, mem, selector)?.ok_or(refused)?;
    // WRITABLE is READABLE in code.
    let readable = raw & SEGMENT != 0 && (raw & CODE == 0 || raw & WRITABLE != 0);
    if !readable || (selector & 3).max(cpu.cpl()) > dpl(raw) {
        return Err(refused);
    }
    if raw & PRESENT == 0 {
        return Err(fault(vector::NOT_PRESENT, selector));
    }
    Ok(Some(raw))
}

/// Whether SS may hold a selector (SDM volume 2, MOV). RPL 1 counts as 0 in the kernel, which reads it there.
pub(super) fn stack_target(cpu: &FullCpu, mem: &mut impl GuestLinear, selector: u16) -> Result<u16, Fault> {
    let rpl = if cpu.mode == Mode::Kernel && selector & 3 == 1 { 0 } else { selector & 3 };
    if is_null(selector) {
        let allowed = cpu.mode == Mode::Kernel && rpl == 0;
        return if allowed { Ok(0) } else { Err(Fault::PROTECTION) };
    }
    let refused = protection(selector);
    let raw = descriptor(cpu, mem, selector)?.ok_or(refused)?;
    let writable_data = raw & (SEGMENT | CODE | WRITABLE) == SEGMENT | WRITABLE;
    if !writable_data || rpl != cpu.cpl() || dpl(raw) != cpu.cpl() {
        return Err(refused);
    }
    if raw & PRESENT == 0 {
        return Err(fault(vector::STACK, selector));
    }
    Ok((selector & !3) | rpl)
}
