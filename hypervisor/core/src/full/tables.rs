//! Descriptor table registers, the task register, and what looks at descriptors without loading them.

use super::Host;
use super::memory::{GuestLinear, canonical_range};
use super::state::{SystemRegister, TableRegister};
use super::step::{Refused, Step};
use super::table;
use crate::descriptor::bits::{CODE, CONFORMING, PRESENT, SEGMENT, WRITABLE};
use crate::descriptor::{CodeBits, dpl};
use crate::emulate::{Fault, Form, Gpr, TableOp, flag, vector};
use iced_x86::OpKind;

const LDT: u64 = 0x2;
const TSS_AVAILABLE: u64 = 0x9;
const TSS_BUSY: u64 = 0xb;
const CALL_GATE: u64 = 0xc;
/// Bit 41 makes an available TSS a busy one.
const BUSY: u64 = 1 << 41;
/// The bits of a descriptor that `lar` shows (SDM volume 2, LAR).
const ACCESS_RIGHTS: u64 = 0x00f0_ff00;

const fn kind(raw: u64) -> u64 {
    (raw >> 40) & 0x1f
}

/// TR or LDTR as a system descriptor has it.
fn register(selector: u16, [low, high]: [u64; 2]) -> Result<SystemRegister, Fault> {
    let base = table::base(low) | high << 32;
    if !canonical_range(base, 1) {
        return Err(table::protection(selector));
    }
    Ok(SystemRegister { selector, base, limit: table::limit(low) as u32 })
}

impl<M: GuestLinear, H: Host> Step<'_, M, H> {
    pub(super) fn table_op(&mut self, op: TableOp) -> Result<(), Refused> {
        match op {
            TableOp::Lgdt => {
                self.cpu.gdtr = self.load_table()?;
                self.new_gdt = true;
                Ok(())
            }
            TableOp::Lidt => {
                self.cpu.idtr = self.load_table()?;
                Ok(())
            }
            TableOp::Sgdt => self.store_table(self.cpu.gdtr),
            TableOp::Sidt => self.store_table(self.cpu.idtr),
            TableOp::Lldt => self.lldt(),
            TableOp::Ltr => self.ltr(),
            TableOp::Sldt => Ok(self.write_operand(self.cpu.ldtr.selector as u64)?),
            TableOp::Str => Ok(self.write_operand(self.cpu.tr.selector as u64)?),
            TableOp::Lmsw => self.lmsw(),
            TableOp::Smsw => self.smsw(),
        }
    }

    /// Ten bytes in the kernel, which is always in 64-bit mode (SDM volume 2, LGDT).
    fn load_table(&mut self) -> Result<TableRegister, Fault> {
        let limit = self.load(0, 0, 2)? as u16;
        let base = self.load(0, 2, 8)?;
        if !canonical_range(base, 1) {
            return Err(Fault::PROTECTION);
        }
        Ok(TableRegister { base, limit })
    }

    fn store_table(&mut self, table: TableRegister) -> Result<(), Refused> {
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&table.limit.to_le_bytes());
        bytes[2..].copy_from_slice(&table.base.to_le_bytes());
        let length = if self.bits() == CodeBits::Bits64 { 10 } else { 6 };
        Ok(self.store_operand(&bytes[..length])?)
    }

    /// SDM volume 2, LLDT.
    fn lldt(&mut self) -> Result<(), Refused> {
        let selector = self.selector_operand(0)?;
        if table::is_null(selector) {
            self.cpu.ldtr = SystemRegister { selector, base: 0, limit: 0 };
            return Ok(());
        }
        let (_, raw) = table::system_descriptor(&self.cpu, self.mem, selector)?;
        if kind(raw[0]) != LDT {
            return Err(table::protection(selector).into());
        }
        if raw[0] & PRESENT == 0 {
            return Err(table::fault(vector::NOT_PRESENT, selector).into());
        }
        self.cpu.ldtr = register(selector, raw)?;
        Ok(())
    }

    /// SDM volume 2, LTR: an available TSS of the GDT's, which becomes busy in the guest's memory.
    fn ltr(&mut self) -> Result<(), Refused> {
        let selector = self.selector_operand(0)?;
        if table::is_null(selector) {
            return Err(Fault::PROTECTION.into());
        }
        let (address, raw) = table::system_descriptor(&self.cpu, self.mem, selector)?;
        if kind(raw[0]) != TSS_AVAILABLE {
            return Err(table::protection(selector).into());
        }
        if raw[0] & PRESENT == 0 {
            return Err(table::fault(vector::NOT_PRESENT, selector).into());
        }
        self.cpu.tr = register(selector, raw)?;
        Ok(self.note_store(address, &(raw[0] | BUSY).to_le_bytes(), false)?)
    }

    /// `lar`, `lsl`, `verr`, `verw` by the guest's own table: ZF says whether the descriptor may be seen. The real ones
    /// see the copy, in which levels differ and system descriptors are missing.
    pub(super) fn inspect(&mut self, form: Form) -> Result<(), Refused> {
        let operand = if matches!(form, Form::Lar | Form::Lsl) { 1 } else { 0 };
        let selector = self.selector_operand(operand)?;
        let seen = self.inspected(form, selector)?;
        self.regs.rflags &= !flag::ZF;
        let Some(raw) = seen else { return Ok(()) };
        self.regs.rflags |= flag::ZF;
        let value = match form {
            Form::Lar => (raw >> 32) & ACCESS_RIGHTS,
            Form::Lsl => table::limit(raw),
            _ => return Ok(()),
        };
        if self.instruction.op0_kind() == OpKind::Register
            && let Some(gpr) = Gpr::of(self.instruction.op0_register())
        {
            gpr.write(&mut self.regs, value);
        }
        Ok(())
    }

    /// The descriptor, if this instruction may see it at this level.
    fn inspected(&mut self, form: Form, selector: u16) -> Result<Option<u64>, Fault> {
        if table::is_null(selector) {
            return Ok(None);
        }
        let Some(raw) = table::descriptor(&self.cpu, self.mem, selector)? else { return Ok(None) };
        let level = (selector & 3).max(self.cpu.cpl());
        let conforming = raw & (SEGMENT | CODE | CONFORMING) == SEGMENT | CODE | CONFORMING;
        let reachable = conforming || level <= dpl(raw);
        let code = raw & CODE != 0;
        let fits = match (form, raw & SEGMENT != 0) {
            (Form::Verr, true) => !code || raw & WRITABLE != 0,
            (Form::Verw, true) => !code && raw & WRITABLE != 0,
            (Form::Lar | Form::Lsl, true) => true,
            (Form::Lar, false) => matches!(kind(raw), LDT | TSS_AVAILABLE | TSS_BUSY | CALL_GATE),
            (Form::Lsl, false) => matches!(kind(raw), LDT | TSS_AVAILABLE | TSS_BUSY),
            _ => false,
        };
        Ok((fits && reachable).then_some(raw))
    }
}
