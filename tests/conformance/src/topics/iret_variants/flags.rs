//! RFLAGS of a return: which of them what runs next has. Where the processor's own return decides, they are the same for both
//! halves and with `VGCF_IN_SYSCALL`.

use paravane_abi::regs::VGCF_IN_SYSCALL;
use paravane_abi::trap::vector;
use pv_probe::memory::mask_events;

use super::returns::{to_kernel, to_program};
use crate::case::{Case, Explained, Verdict, because};
use crate::code;
use crate::trial::Trial;

/// A case: RFLAGS of the context, and what a frame shows afterwards.
macro_rules! flags {
    ($name:literal, $about:literal, $given:literal, $shown:literal) => {
        Case::good($name, $about, |t| flags(t, $given, $shown))
    };
}

/// The cases.
pub const CASES: &[Case] = &[
    flags!("none", "bit 1 is always set", 0, 2),
    flags!("arithmetic", "carry to overflow are kept", 0x8d5, 0x8d7),
    flags!("direction", "DF is kept", 0x402, 0x402),
    flags!("nested-task", "NT is kept", 0x4002, 0x4002),
    flags!("alignment-check", "AC is kept", 0x4_0002, 0x4_0002),
    flags!("identification", "ID is kept", 0x20_0002, 0x20_0002),
    flags!("privilege-level", "IOPL is the hypervisor's", 0x3002, 2),
    flags!("virtual-8086", "VM is dropped", 0x2_0002, 2),
    flags!("reserved", "reserved flags are dropped, in the upper half too", 0xffff_ffff_ffc0_802a, 2),
    Case::good("resume", "RF is kept, but for a return as by sysret", resume)
        .explained(&[Explained { value: "program.100", reason: because::EMULATOR }]),
];

fn flags(t: &mut Trial, given: u64, shown: u64) -> Verdict {
    let change = |frame: &mut [u64; 9]| frame[6] = given;
    let kernel = to_kernel(code!("ud2"), change, &[0; 15]);
    t.raises("kernel", &kernel.caught, vector::UD.into(), None);
    t.equal("kernel.rflags", kernel.caught.frame()[2], shown);
    mask_events(true);
    for in_syscall in [0, VGCF_IN_SYSCALL] {
        let change = |frame: &mut [u64; 9]| {
            change(frame);
            frame[3] = in_syscall;
        };
        let program = to_program(code!("ud2"), change, &[0; 15]);
        t.raises(format_args!("program.{in_syscall:x}"), &program.caught, vector::UD.into(), None);
        t.equal(format_args!("program.{in_syscall:x}.rflags"), program.caught.frame()[2], shown);
        mask_events(true);
    }
    Ok(())
}

fn resume(t: &mut Trial) -> Verdict {
    let kernel = to_kernel(code!("ud2"), |frame| frame[6] = 0x1_0002, &[0; 15]);
    t.equal("kernel", kernel.caught.frame()[2], 0x1_0002);
    let program = to_program(code!("ud2"), |frame| frame[6] = 0x1_0002, &[0; 15]);
    t.equal("program.0", program.caught.frame()[2], 0x1_0002);
    let change = |frame: &mut [u64; 9]| (frame[3], frame[6]) = (VGCF_IN_SYSCALL, 0x1_0002);
    let program = to_program(code!("ud2"), change, &[0; 15]);
    t.observe("program.100", format_args!("{:#x}", program.caught.frame()[2]));
    Ok(())
}
