//! `int n` through a gate the CPU refused.
//!
//! Nearly all gates have DPL 0, so that `int n` raises #GP with the vector in the error code instead of entering
//! a handler that expects something else. The vector is taken from the instruction, not from the error code:
//! QEMU 7.2 pushes a wrong one (0x202 where a CPU gives 0x102 for `int 0x20`).

use super::decode::{Form, classify, raw};
use super::{Mode, VirtualCpu, next_rip};
use paravane_abi::regs::CpuUserRegs;

/// Error code bit 1: the index is into the IDT.
const IDT: u32 = 1 << 1;
/// Error code bit 0: an event from outside, no instruction of the guest's.
const EXTERNAL: u32 = 1 << 0;

/// What a #GP that names a gate turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftInterrupt {
    /// The guest's trap table lets this code use the vector: deliver its entry, without an error code, with
    /// this RIP in the frame.
    Deliver {
        /// The vector.
        vector: u8,
        /// RIP behind the instruction.
        rip: u64,
    },
    /// It does not: the #GP goes to the guest, with the error code a CPU would give.
    Refuse {
        /// The error code.
        error_code: u32,
    },
    /// No software interrupt: the original exception stands.
    NotOurs,
}

/// Decides a #GP whose error code has the IDT bit. `dpl` answers with the privilege level of the guest's trap
/// table entry for a vector, or `None` if it has no handler.
///
/// As in Xen, a kernel may use any entry of level 1 or more, its programs those of level 3.
pub fn software_interrupt(
    cpu: &impl VirtualCpu,
    regs: &CpuUserRegs,
    bytes: &[u8],
    dpl: impl FnOnce(u8) -> Option<u8>,
) -> SoftInterrupt {
    if regs.error_code & IDT == 0 || regs.error_code & EXTERNAL != 0 {
        return SoftInterrupt::NotOurs;
    }
    let bits = cpu.code_bits();
    let Ok(instruction) = raw(bytes, bits, regs.rip) else { return SoftInterrupt::NotOurs };
    let decoded = classify(&instruction);
    let Form::Int(vector) = decoded.form else { return SoftInterrupt::NotOurs };
    let needed = match cpu.mode() {
        Mode::Kernel => 1,
        Mode::User => 3,
    };
    match dpl(vector) {
        Some(level) if level >= needed => {
            SoftInterrupt::Deliver { vector, rip: next_rip(regs.rip, decoded.length, bits) }
        }
        _ => SoftInterrupt::Refuse { error_code: (vector as u32) << 3 | IDT },
    }
}
