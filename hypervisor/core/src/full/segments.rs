//! The descriptor table the real processor reads while a fully virtualized guest runs: a copy of the guest's own, in
//! which virtual ring 0 is ring 1 and nothing leads further in.

use super::memory::{GuestLinear, Linear, Privilege};
use super::state::FullCpu;
use super::table;
use crate::addr::PAGE_SIZE;
use crate::descriptor::bits::{
    ACCESSED, CODE, CONFORMING, DEFAULT_32, DPL, DPL_SHIFT, LONG, PRESENT, SEGMENT, WRITABLE,
};
use crate::descriptor::{
    CodeBits, RESERVED_OFFSET, RING1_CS64, RING1_SS, USER_CS32, USER_CS64, USER_SS, dpl,
    set_user_code_present,
};
use crate::emulate::{Fault, Mode};
use arrayvec::ArrayVec;

/// Entries of the real table that are the guest's; the rest is the hypervisor's page.
pub const GUEST_ENTRIES: u16 = RESERVED_OFFSET / 8;

/// The real table's part that is the guest's, through whatever alias the hypervisor writes it.
pub trait RealGdt {
    /// An entry; `index` is below [`GUEST_ENTRIES`] or the answer 0.
    fn get(&self, index: u16) -> u64;
    /// Writes an entry; one at [`GUEST_ENTRIES`] or above is ignored.
    fn set(&mut self, index: u16, raw: u64);
}

const fn at_level(raw: u64, level: u64) -> u64 {
    (raw & !DPL) | (level << DPL_SHIFT)
}

/// A guest's descriptor as the real table may hold it.
///
/// | the guest's | the real one |
/// |---|---|
/// | data, DPL 0 to 2 | the same with DPL 1 |
/// | data, DPL 3 | the same |
/// | 64-bit code, DPL 0 | the same with DPL 1, not conforming |
/// | code, DPL 3 | the same, not conforming, present only while programs run (`user_code`) |
/// | other code | not present |
/// | system segments and gates | 0 |
///
/// The accessed bit is preset because the processor sees the table through a read-only mapping; the guest's own
/// descriptor does not get it. Base and limit stay: 64-bit mode ignores them but for FS and GS, whose bases a
/// guest may choose, and paging guards the hypervisor.
pub fn sanitised(raw: u64, user_code: bool) -> u64 {
    if raw & SEGMENT == 0 {
        return 0;
    }
    if raw & CODE == 0 {
        return at_level(raw, if dpl(raw) == 3 { 3 } else { 1 }) | ACCESSED;
    }
    let raw = (raw & !CONFORMING) | ACCESSED;
    match dpl(raw) {
        0 if raw & (LONG | DEFAULT_32) == LONG => at_level(raw, 1),
        3 if raw & (LONG | DEFAULT_32) != LONG | DEFAULT_32 => {
            set_user_code_present(raw, user_code && raw & PRESENT != 0)
        }
        3 => raw & !PRESENT,
        _ => at_level(raw, 1) & !PRESENT,
    }
}

/// Whether a sanitised entry is code for programs, which is present only while they run.
const fn is_user_code(guest: u64) -> bool {
    guest & (SEGMENT | CODE | PRESENT) == SEGMENT | CODE | PRESENT
        && dpl(guest) == 3
        && guest & (LONG | DEFAULT_32) != LONG | DEFAULT_32
}

/// The most code segments for programs that are kept; a further one is never present, and programs that return to it
/// run in the hypervisor's.
const MAX_USER_CODE: usize = 16;

/// What a look at the guest's own table shows about a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    /// The guest had changed the descriptor; the real table has it now. The instruction may be tried again.
    Updated,
    /// The real table was up to date.
    Unchanged,
}

/// What is known about the real table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GdtCopy {
    /// Entries that may be other than 0.
    used: u16,
    /// Entries that are code for programs.
    user_code: ArrayVec<u16, MAX_USER_CODE>,
    /// Whether those are present.
    user_present: bool,
}

impl GdtCopy {
    /// Copies the whole table the guest's GDTR names (after `lgdt`): at most 14 pages are read. Entries that cannot be
    /// read become 0; the guest's #PF comes when it uses one ([`GdtCopy::resync`]).
    pub fn load(&mut self, cpu: &FullCpu, mem: &mut impl GuestLinear, real: &mut impl RealGdt) {
        let entries = ((cpu.gdtr.limit as u32 + 1) / 8).min(GUEST_ENTRIES as u32) as u16;
        let before = self.used;
        self.user_code.clear();
        self.used = entries;
        let mut buffer = [0; PAGE_SIZE];
        let mut first = 0;
        while first < entries {
            let address = cpu.gdtr.base.wrapping_add(first as u64 * 8);
            let in_page = (PAGE_SIZE as u64 - address % PAGE_SIZE as u64).div_ceil(8) as u16;
            let count = in_page.min(entries - first).min((PAGE_SIZE / 8) as u16);
            let bytes = &mut buffer[..count as usize * 8];
            if mem.get(address, bytes, Privilege::Supervisor).is_err() {
                bytes.fill(0);
            }
            for (raw, index) in bytes.chunks_exact(8).zip(first..) {
                let raw = raw.try_into().map_or(0, u64::from_le_bytes);
                self.store(real, index, raw);
            }
            first += count;
        }
        for index in entries..before {
            real.set(index, 0);
        }
    }

    /// Takes over the one descriptor a selector names. The exception is the guest's, from reading its table.
    pub fn resync(
        &mut self,
        cpu: &FullCpu,
        mem: &mut impl GuestLinear,
        real: &mut impl RealGdt,
        selector: u16,
    ) -> Result<Resync, Fault> {
        let index = selector >> 3;
        if selector & 4 != 0 || table::is_null(selector) || index >= GUEST_ENTRIES {
            return Ok(Resync::Unchanged);
        }
        let raw = table::descriptor(cpu, mem, selector)?.unwrap_or(0);
        let before = real.get(index);
        self.used = self.used.max(index + 1);
        self.store(real, index, raw);
        Ok(if real.get(index) == before { Resync::Unchanged } else { Resync::Updated })
    }

    fn store(&mut self, real: &mut impl RealGdt, index: u16, raw: u64) {
        let known = self.user_code.iter().position(|&known| known == index);
        let tracked = match (is_user_code(raw), known) {
            (true, Some(_)) => true,
            (true, None) => self.user_code.try_push(index).is_ok(),
            (false, Some(at)) => {
                self.user_code.swap_remove(at);
                false
            }
            (false, None) => false,
        };
        real.set(index, sanitised(raw, tracked && self.user_present));
    }

    /// Marks the code segments of programs present or not. Not present while the kernel runs, so that its `iretq` to a
    /// program raises #NP and is emulated. The hypervisor's page has two more, which its owner marks likewise.
    pub fn set_user_code(&mut self, real: &mut impl RealGdt, present: bool) {
        if present == self.user_present {
            return;
        }
        self.user_present = present;
        for &index in &self.user_code {
            real.set(index, set_user_code_present(real.get(index), present));
        }
    }

    /// Whether programs' code segments are present.
    pub const fn user_code_present(&self) -> bool {
        self.user_present
    }

    /// CS and SS to return to the guest with: its own where the real table has them, else the hypervisor's that do the
    /// same. So a return never faults, also when the guest changed or unmapped its table after it was entered.
    ///
    /// A return also needs RIP within the limit of code that is not 64-bit.
    pub fn real_selectors(&self, cpu: &FullCpu, rip: u64, real: &impl RealGdt) -> (u16, u16) {
        let ring = cpu.real_ring();
        let entry = |selector: u16| {
            let own = selector & 4 == 0 && selector < RESERVED_OFFSET;
            if own { real.get(selector >> 3) } else { 0 }
        };
        let fits =
            |raw: u64, kind: u64, wanted: u64| raw & kind == wanted && dpl(raw) == ring && raw & PRESENT != 0;
        let size = match cpu.cs.bits {
            CodeBits::Bits64 => LONG,
            CodeBits::Bits32 => DEFAULT_32,
            CodeBits::Bits16 => 0,
        };
        let code_kind = SEGMENT | CODE | CONFORMING | LONG | DEFAULT_32;
        let code = entry(cpu.cs.selector);
        let within = cpu.cs.bits == CodeBits::Bits64 || rip <= table::limit(code);
        let own_code = fits(code, code_kind, SEGMENT | CODE | size) && within;
        let cs = match (own_code, cpu.mode, cpu.cs.bits) {
            (true, ..) => (cpu.cs.selector & !3) | ring,
            (false, Mode::Kernel, _) => RING1_CS64,
            (false, Mode::User, CodeBits::Bits64) => USER_CS64,
            (false, Mode::User, _) => USER_CS32,
        };
        let null = table::is_null(cpu.ss) && cpu.mode == Mode::Kernel;
        let own_stack = fits(entry(cpu.ss), SEGMENT | CODE | WRITABLE, SEGMENT | WRITABLE);
        let ss = match (null || own_stack, cpu.mode) {
            (true, _) => (cpu.ss & !3) | ring,
            (false, Mode::Kernel) => RING1_SS,
            (false, Mode::User) => USER_SS,
        };
        (cs, ss)
    }

    /// Whether the real processor can load a selector into DS, ES, FS or GS for the guest.
    pub fn can_load(&self, real: &impl RealGdt, selector: u16) -> bool {
        if table::is_null(selector) {
            return true;
        }
        let raw = if selector & 4 == 0 { real.get(selector >> 3) } else { 0 };
        let readable = raw & SEGMENT != 0 && (raw & CODE == 0 || raw & WRITABLE != 0);
        selector < RESERVED_OFFSET && readable && raw & PRESENT != 0 && selector & 3 <= dpl(raw)
    }
}
