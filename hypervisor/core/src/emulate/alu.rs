//! Arithmetic with x86 flags, for the read-modify-write instructions guests use on page-table entries.

use super::flag::*;
use super::gpr::mask;

/// A result and the flags it sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Result {
    /// The value, cut to the operand's width.
    pub value: u64,
    /// RFLAGS afterwards.
    pub flags: u64,
}

/// Operations of two operands of equal width, of which the first is also the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Arithmetic {
    Add,
    Adc,
    Sub,
    Sbb,
    And,
    Or,
    Xor,
}

/// Operations of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Unary {
    Increment,
    Decrement,
    Negate,
    Complement,
}

/// What a bit test does to the bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Bit {
    Set,
    Reset,
    Complement,
}

const fn sign(value: u64, width: u8) -> bool {
    value >> (width as u32 * 8 - 1) & 1 == 1
}

const fn when(condition: bool, flags: u64) -> u64 {
    if condition { flags } else { 0 }
}

/// SF, ZF and PF follow from any result.
fn of_value(value: u64, width: u8) -> u64 {
    when(value == 0, ZF)
        | when(sign(value, width), SF)
        | when((value as u8).count_ones().is_multiple_of(2), PF)
}

pub(super) fn binary(op: Arithmetic, a: u64, b: u64, width: u8, flags: u64) -> Result {
    let carry = flags & CF;
    match op {
        Arithmetic::Add => add(a, b, 0, width, flags),
        Arithmetic::Adc => add(a, b, carry, width, flags),
        Arithmetic::Sub => sub(a, b, 0, width, flags),
        Arithmetic::Sbb => sub(a, b, carry, width, flags),
        Arithmetic::And => logic(a & b, width, flags),
        Arithmetic::Or => logic(a | b, width, flags),
        Arithmetic::Xor => logic(a ^ b, width, flags),
    }
}

fn add(a: u64, b: u64, carry: u64, width: u8, flags: u64) -> Result {
    let (a, b) = (a & mask(width), b & mask(width));
    let wide = a as u128 + b as u128 + carry as u128;
    let value = wide as u64 & mask(width);
    let set = of_value(value, width)
        | when(wide > mask(width) as u128, CF)
        | when((a ^ b ^ value) & 0x10 != 0, AF)
        | when(sign((a ^ value) & (b ^ value), width), OF);
    Result { value, flags: (flags & !ARITHMETIC) | set }
}

fn sub(a: u64, b: u64, borrow: u64, width: u8, flags: u64) -> Result {
    let (a, b) = (a & mask(width), b & mask(width));
    let value = a.wrapping_sub(b).wrapping_sub(borrow) & mask(width);
    let set = of_value(value, width)
        | when((a as u128) < b as u128 + borrow as u128, CF)
        | when((a ^ b ^ value) & 0x10 != 0, AF)
        | when(sign((a ^ b) & (a ^ value), width), OF);
    Result { value, flags: (flags & !ARITHMETIC) | set }
}

/// AF is undefined after logic; CPUs clear it.
fn logic(value: u64, width: u8, flags: u64) -> Result {
    let value = value & mask(width);
    Result { value, flags: (flags & !ARITHMETIC) | of_value(value, width) }
}

/// `inc` and `dec` leave CF alone, `not` leaves all flags alone.
pub(super) fn unary(op: Unary, a: u64, width: u8, flags: u64) -> Result {
    let with_old_carry = |result: Result| Result { flags: (result.flags & !CF) | (flags & CF), ..result };
    match op {
        Unary::Increment => with_old_carry(add(a, 1, 0, width, flags)),
        Unary::Decrement => with_old_carry(sub(a, 1, 0, width, flags)),
        Unary::Negate => sub(0, a, 0, width, flags),
        Unary::Complement => Result { value: !a & mask(width), flags },
    }
}

/// `bts`, `btr`, `btc`: CF is the bit as it was; other flags are left alone, as CPUs do.
pub(super) fn bit(op: Bit, a: u64, index: u32, flags: u64) -> Result {
    let bit = 1u64 << index;
    let value = match op {
        Bit::Set => a | bit,
        Bit::Reset => a & !bit,
        Bit::Complement => a ^ bit,
    };
    Result { value, flags: (flags & !CF) | when(a & bit != 0, CF) }
}
