//! General purpose registers, by the decoder's names.

use arrayvec::ArrayVec;
use iced_x86::Register;
use paravane_abi::regs::CpuUserRegs;

/// A general purpose register or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpr {
    /// Number in instruction encoding: RAX 0, RCX 1, ... R15 15.
    number: u8,
    /// Bytes: 1, 2, 4 or 8.
    width: u8,
    /// AH, CH, DH or BH.
    high: bool,
}

impl Gpr {
    /// RAX.
    pub const RAX: Gpr = Gpr::whole(0);
    /// RCX.
    pub const RCX: Gpr = Gpr::whole(1);
    /// RDX.
    pub const RDX: Gpr = Gpr::whole(2);
    /// RBX.
    pub const RBX: Gpr = Gpr::whole(3);
    /// RSP.
    pub const RSP: Gpr = Gpr::whole(4);
    /// RSI.
    pub const RSI: Gpr = Gpr::whole(6);
    /// RDI.
    pub const RDI: Gpr = Gpr::whole(7);

    const fn whole(number: u8) -> Gpr {
        Gpr { number, width: 8, high: false }
    }

    /// AL, AX, EAX or RAX.
    pub const fn accumulator(width: u8) -> Gpr {
        Gpr { number: 0, width, high: false }
    }

    /// The same register at another width.
    pub const fn at_width(self, width: u8) -> Gpr {
        Gpr { number: self.number, width, high: false }
    }

    /// The register's width in bytes.
    pub const fn width(self) -> u8 {
        self.width
    }

    /// The decoder's register, if it is a general purpose one.
    pub fn of(register: Register) -> Option<Gpr> {
        let low = |first: Register, width| {
            let number = (register as usize).checked_sub(first as usize)?;
            (number < 16).then_some(Gpr { number: number as u8, width, high: false })
        };
        let byte = |first: Register, count: usize, base: u8, high| {
            let number = (register as usize).checked_sub(first as usize)?;
            (number < count).then_some(Gpr { number: base + number as u8, width: 1, high })
        };
        low(Register::RAX, 8)
            .or_else(|| low(Register::EAX, 4))
            .or_else(|| low(Register::AX, 2))
            .or_else(|| byte(Register::AL, 4, 0, false))
            .or_else(|| byte(Register::AH, 4, 0, true))
            .or_else(|| byte(Register::SPL, 12, 4, false))
    }

    /// The register's value, zero-extended.
    pub fn read(self, regs: &CpuUserRegs) -> u64 {
        let whole = *slot_ref(regs, self.number);
        if self.high { (whole >> 8) & 0xff } else { whole & mask(self.width) }
    }

    /// Writes the register: 32-bit writes clear the upper half, narrower ones keep the rest.
    pub fn write(self, regs: &mut CpuUserRegs, value: u64) {
        let slot = slot_mut(regs, self.number);
        *slot = match (self.width, self.high) {
            (_, true) => (*slot & !0xff00) | ((value & 0xff) << 8),
            (8, _) => value,
            (4, _) => value & mask(4),
            (width, _) => (*slot & !mask(width)) | (value & mask(width)),
        };
    }
}

/// All ones in the low `width` bytes.
pub(crate) const fn mask(width: u8) -> u64 {
    if width >= 8 { u64::MAX } else { (1 << (width as u32 * 8)) - 1 }
}

fn slot_ref(regs: &CpuUserRegs, number: u8) -> &u64 {
    match number & 15 {
        0 => &regs.rax,
        1 => &regs.rcx,
        2 => &regs.rdx,
        3 => &regs.rbx,
        4 => &regs.rsp,
        5 => &regs.rbp,
        6 => &regs.rsi,
        7 => &regs.rdi,
        8 => &regs.r8,
        9 => &regs.r9,
        10 => &regs.r10,
        11 => &regs.r11,
        12 => &regs.r12,
        13 => &regs.r13,
        14 => &regs.r14,
        _ => &regs.r15,
    }
}

fn slot_mut(regs: &mut CpuUserRegs, number: u8) -> &mut u64 {
    match number & 15 {
        0 => &mut regs.rax,
        1 => &mut regs.rcx,
        2 => &mut regs.rdx,
        3 => &mut regs.rbx,
        4 => &mut regs.rsp,
        5 => &mut regs.rbp,
        6 => &mut regs.rsi,
        7 => &mut regs.rdi,
        8 => &mut regs.r8,
        9 => &mut regs.r9,
        10 => &mut regs.r10,
        11 => &mut regs.r11,
        12 => &mut regs.r12,
        13 => &mut regs.r13,
        14 => &mut regs.r14,
        _ => &mut regs.r15,
    }
}

/// The register writes of one instruction (at most `cpuid`'s four).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterWrites(ArrayVec<(Gpr, u64), 4>);

impl RegisterWrites {
    /// No writes.
    pub const fn new() -> RegisterWrites {
        RegisterWrites(ArrayVec::new_const())
    }

    pub(super) fn push(&mut self, gpr: Gpr, value: u64) {
        self.0.push((gpr, value));
    }

    /// The writes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Gpr, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Performs them.
    pub fn apply(&self, regs: &mut CpuUserRegs) {
        for (gpr, value) in self.iter() {
            gpr.write(regs, value);
        }
    }
}
