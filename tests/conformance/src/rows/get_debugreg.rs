//! `get_debugreg(register)`, call 9 (xen/include/public/xen.h).
//!
//! Gives DR0 to DR3, DR6 or DR7 (4 and 5 are other names of the latter two, unless CR4.DE is set), as this vcpu has them. An
//! address can look like an error.
//!
//! Refused: other registers (`ENODEV`).

use core::arch::asm;

use paravane_abi::errno::Errno;

use super::set_debugreg::{STATUS, clear, get, set};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "get_debugreg",
    &[
        Case::good("each", "each register has what was written to it", each),
        Case::good("nothing", "with nothing in them, DR6 and DR7 have their reserved bits", nothing),
        Case::good("instruction", "an emulated instruction reads the same", instruction),
        Case::refusal("no-register", "registers that there are not", no_register),
    ],
);

fn each(t: &mut Trial) -> Verdict {
    for register in 0..4 {
        t.succeeds(format_args!("set.{register}"), set(register, 0x1111_0000 * (register + 1)));
    }
    for register in 0..4 {
        t.equal(format_args!("get.{register}"), get(register), 0x1111_0000 * (register + 1));
    }
    clear();
    Ok(())
}

fn nothing(t: &mut Trial) -> Verdict {
    clear();
    for (register, want) in [(0, 0), (3, 0), (4, STATUS), (5, 0x400), (6, STATUS), (7, 0x400)] {
        t.equal(format_args!("get.{register}"), get(register), want);
    }
    Ok(())
}

fn instruction(t: &mut Trial) -> Verdict {
    t.succeeds("set", set(1, 0x1234_5000));
    let (dr1, dr6): (u64, u64);
    // SAFETY: emulated; reading has no effect.
    unsafe { asm!("mov {0}, dr1", "mov {1}, dr6", out(reg) dr1, out(reg) dr6) };
    t.equal("dr1", dr1, 0x1234_5000);
    t.equal("dr6", dr6, get(6));
    clear();
    Ok(())
}

fn no_register(t: &mut Trial) -> Verdict {
    for register in [8, 15, 0xffff_ffff] {
        t.refused(format_args!("{register:x}"), Errno::ENODEV, || get(register) as i64);
    }
    Ok(())
}
