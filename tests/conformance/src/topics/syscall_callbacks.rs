//! How programs call their kernel: `syscall` and software interrupts (xen/include/public/callback.h,
//! `CALLBACKTYPE_syscall`, `CALLBACKTYPE_syscall32`; arch-x86/xen.h, `struct trap_info`).
//!
//! A program's `syscall` enters the syscall callback, with a frame as exceptions have them: RCX is the address behind the
//! instruction, R11 the flags. DF is clear in the callback; events are masked if it was registered with
//! `CALLBACKF_mask_events`. 32-bit code enters the syscall32 callback. Without a callback the instruction is #UD.
//! A kernel in ring 1 gets the 64-bit ones without a frame (see the topic `ring1`).
//!
//! `int n` enters the handler of vector n if its entry's DPL permits: 3 for programs, at least 1 for the kernel. Else it is
//! #GP with n * 8 + 2, at the instruction; `int 0x80` has a gate of its own, which asks for no level. The emulator that the suite runs on has other error codes for `int n` of 64-bit
//! code, but for n = 0, which Xen makes vectors of; `int 0x80` is on a path of its own.

use paravane_abi::callback::{
    CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKTYPE_SYSCALL, CALLBACKTYPE_SYSCALL32,
    CallbackRegister,
};
use paravane_abi::hypercall::{
    HYPERVISOR_CALLBACK_OP, HYPERVISOR_SET_CALLBACKS, HYPERVISOR_SET_TRAP_TABLE, HYPERVISOR_STACK_SWITCH,
};
use paravane_abi::ring1::USER_CS32;
use paravane_abi::trap::{TrapFlags, TrapInfo, vector};
use pv_probe::guard::{EVENT, FAILSAFE, SYSCALL, stub, trap_stack};
use pv_probe::hypercall::{operation, raw};
use pv_probe::memory::{events_masked, mask_events};
use pv_probe::{ring, user};

use crate::case::{Case, Explained, Rings, Row, Stop, Verdict, because};
use crate::code;
use crate::code::{ARITHMETIC, Came, Half, SAVED_MASK, program, program_with, run};
use crate::trial::Trial;

const THREE: Rings = Rings::Three("a kernel in ring 1 gets system calls without a frame");

/// Faults of `int n` under the emulator, on Xen.
const CODES: &[Explained] = &[Explained { value: "*", reason: because::EMULATOR }];

/// The row.
pub const ROW: Row = Row::call(
    "syscall-callbacks",
    &[
        Case::good("syscall", "the frame of a program's syscall", syscall).rings(THREE),
        Case::good("registers", "all registers in the callback", registers).rings(THREE),
        Case::good("direction", "DF is clear in the callback", direction).rings(THREE),
        Case::good("flags", "NT and AC are clear in the callback, and shown in the frame", flags)
            .rings(THREE),
        Case::good("masks-events", "a callback registered with masked events", |t| {
            masks(t, CALLBACKF_MASK_EVENTS, true)
        })
        .rings(THREE),
        Case::good("leaves-events", "a callback registered without", |t| masks(t, 0, false)).rings(THREE),
        Case::good("replaced", "the latest registered address is entered", replaced).rings(THREE),
        Case::good("syscall32", "a 32-bit program's syscall", syscall32),
        Case::refusal("no-callback", "a syscall without a callback is #UD at the instruction", no_callback),
        Case::refusal("no-callback-32", "the same of a 32-bit program", no_callback32),
        Case::refusal("sysenter", "sysenter of a 64-bit program", sysenter),
        Case::good("int-80-program", "int 0x80 of a program", |t| int80(t, Half::Program)),
        Case::good("int-80-kernel", "int 0x80 of the kernel", |t| int80(t, Half::Kernel)),
        Case::good("int-80-masks", "a handler of int 0x80 that asks for masked events", int80_masks),
        Case::good("int-80-level", "int 0x80 of a program, whatever its entry's level", int80_level)
            .rings(Rings::Three("a ring-1 kernel's entries for programs are gates, and have their levels")),
        Case::refusal("int-80-level-ring1", "int 0x80 whose entry is for the kernel alone", |t| {
            int80_refused(t, 0x80, 1)
        })
        .rings(Rings::One("in ring 3 that gate asks for no level")),
        Case::refusal("int-80-no-handler", "int 0x80 without a handler", |t| int80_refused(t, 0x81, 3)),
        Case::refusal("int-0-level-0", "int 0 with DPL 0", |t| int0(t, Half::Program, 0)),
        Case::refusal("int-0-level-1", "int 0 with DPL 1", |t| int0(t, Half::Program, 1)),
        Case::refusal("int-0-level-2", "int 0 with DPL 2", |t| int0(t, Half::Program, 2)),
        Case::good("int-0-level-3", "int 0 with DPL 3", |t| int0(t, Half::Program, 3)),
        Case::refusal("int-0-kernel-level-0", "int 0 of the kernel with DPL 0", |t| int0(t, Half::Kernel, 0)),
        Case::good("int-0-kernel-level-1", "int 0 of the kernel with DPL 1", |t| int0(t, Half::Kernel, 1)),
        Case::refusal("int-0-no-handler", "int 0 without a handler", int0_none),
        Case::good("int-n", "int n of programs and of the kernel", int_n).explained(CODES),
        Case::refusal("int-n-level", "int n whose entry is for the kernel alone", int_n_level)
            .explained(CODES),
        Case::refusal("int-n-no-handler", "int n without a handler", int_n_none).explained(CODES),
    ],
);

fn syscall(t: &mut Trial) -> Verdict {
    let came = program(code!("nop", "syscall"), 0);
    t.raises("syscall", &came.caught, SYSCALL, None);
    let [rip, cs, _, rsp, ss] = came.caught.frame();
    t.equal("rip", rip.wrapping_sub(came.start), 3);
    t.equal("cs", cs, came.shown_code() | SAVED_MASK);
    t.equal("rflags", came.flags(), 2);
    t.equal("rsp", rsp.wrapping_sub(came.rsp), 0);
    t.equal("ss", ss, came.shown_stack());
    t.holds("pushed-at", came.caught.rsp == came.frame_address(7));
    t.equal("rflags-in-callback", came.caught.rflags & !ARITHMETIC, 0x202);
    Ok(())
}

/// Has what comes from programs pushed where an address has bit 10 clear: Xen 4.17.7 clears those flags that are clear in the
/// lower half of the frame's address, and not DF alone.
fn low_stack(t: &mut Trial) -> Verdict {
    t.need(
        "stack_switch",
        raw(HYPERVISOR_STACK_SWITCH, [ring::stack().into(), trap_stack() - 0xc00, 0, 0, 0]),
    )
}

fn registers(t: &mut Trial) -> Verdict {
    let values: [u64; 15] = core::array::from_fn(|index| 0x7000_0000_0000_0001 + index as u64);
    let mut frame = user::frame();
    frame[0] = values[0];
    let came = program_with(code!("syscall"), &frame, &values);
    t.raises("syscall", &came.caught, SYSCALL, None);
    t.holds("frame.rcx", came.caught.pushed[0] == came.caught.frame()[0]);
    t.equal("frame.r11", came.caught.pushed[1], 0x202);
    let mut wanted = values;
    (wanted[2], wanted[10]) = (stub(SYSCALL), came.caught.registers[10]);
    t.holds("callback", came.caught.registers == wanted);
    // `sysret` has taken the flags from there; bit 1 is always set.
    t.holds("r11-in-callback", came.caught.registers[10] | 2 == came.caught.rflags);
    Ok(())
}

fn direction(t: &mut Trial) -> Verdict {
    low_stack(t)?;
    let came = program(code!("std", "syscall"), 0);
    t.raises("syscall", &came.caught, SYSCALL, None);
    t.equal("frame", came.flags(), 0x402);
    t.equal("callback", came.caught.rflags & !ARITHMETIC, 0x202);
    Ok(())
}

fn flags(t: &mut Trial) -> Verdict {
    for bits in [0x4000u64, 0x4_0000, 0x20_0000] {
        let mut frame = user::frame();
        frame[6] |= bits;
        let came = program_with(code!("syscall"), &frame, &[0; 15]);
        t.raises(format_args!("{bits:x}"), &came.caught, SYSCALL, None);
        t.equal(format_args!("{bits:x}.frame"), came.flags(), bits | 2);
        // ID is the program's or the kernel's own, depending on the instruction by which the hypervisor returns.
        let seen = came.caught.rflags & !(ARITHMETIC | 0x20_0000);
        t.equal(format_args!("{bits:x}.callback"), seen, 0x202);
    }
    Ok(())
}

fn register(t: &mut Trial, kind: u16, flags: u16, address: u64) -> Verdict {
    let mut callback = CallbackRegister::new(kind, flags, address);
    t.need("callback_op", operation(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &mut callback))
}

fn masks(t: &mut Trial, flags: u16, masked: bool) -> Verdict {
    register(t, CALLBACKTYPE_SYSCALL, flags, stub(SYSCALL))?;
    let mut frame = user::frame();
    frame[6] |= 0x200;
    let came = program_with(code!("syscall"), &frame, &[0; 15]);
    let seen = events_masked();
    mask_events(true);
    // Registered anew without flags, since callbacks are for all cases.
    register(t, CALLBACKTYPE_SYSCALL, 0, stub(SYSCALL))?;
    t.raises("syscall", &came.caught, SYSCALL, None);
    t.equal("cs", came.caught.frame()[1], came.shown_code());
    t.same("masked", seen, masked);
    Ok(())
}

fn replaced(t: &mut Trial) -> Verdict {
    t.need("set_callbacks", raw(HYPERVISOR_SET_CALLBACKS, [stub(EVENT), stub(FAILSAFE), stub(40), 0, 0]))?;
    t.raises("set_callbacks", &program(code!("syscall"), 0).caught, 40, None);
    register(t, CALLBACKTYPE_SYSCALL, 0, stub(41))?;
    t.raises("callback_op", &program(code!("syscall"), 0).caught, 41, None);
    Ok(())
}

/// Runs a 32-bit program.
fn program32(code: &[u8]) -> Came {
    let mut frame = user::frame();
    frame[5] = USER_CS32.into();
    program_with(code, &frame, &[0; 15])
}

fn syscall32(t: &mut Trial) -> Verdict {
    register(t, CALLBACKTYPE_SYSCALL32, 0, stub(42))?;
    let came = program32(code!("nop", "syscall"));
    register(t, CALLBACKTYPE_SYSCALL32, 0, 0)?;
    t.raises("syscall", &came.caught, 42, None);
    let [rip, cs, _, rsp, ss] = came.caught.frame();
    t.equal("rip", rip.wrapping_sub(came.start), 3);
    t.equal("cs", cs, u64::from(USER_CS32) | SAVED_MASK);
    t.equal("rsp", rsp.wrapping_sub(came.rsp), 0);
    t.equal("ss", ss, came.shown_stack());
    t.holds("pushed-at", came.caught.rsp == came.frame_address(7));
    Ok(())
}

fn no_callback(t: &mut Trial) -> Verdict {
    t.need("set_callbacks", raw(HYPERVISOR_SET_CALLBACKS, [stub(EVENT), stub(FAILSAFE), 0, 0, 0]))?;
    let came = program(code!("nop", "syscall"), 0);
    came.expect(t, vector::UD, None, 1);
    Ok(())
}

fn no_callback32(t: &mut Trial) -> Verdict {
    let came = program32(code!("nop", "syscall"));
    t.raises("syscall", &came.caught, vector::UD.into(), None);
    t.equal("rip", came.caught.frame()[0].wrapping_sub(came.start), 1);
    Ok(())
}

fn sysenter(t: &mut Trial) -> Verdict {
    // An AMD processor has it in 32-bit code of legacy mode alone.
    let came = program(code!("nop", "sysenter"), 0);
    came.expect(t, vector::UD, None, 1);
    Ok(())
}

fn handler(t: &mut Trial, number: u8, flags: TrapFlags, address: u64) -> Verdict {
    let table =
        [TrapInfo::new(number, flags, ring::code(), address), TrapInfo::new(0, TrapFlags::empty(), 0, 0)];
    t.need("set_trap_table", raw(HYPERVISOR_SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0, 0]))
}

fn int80(t: &mut Trial, half: Half) -> Verdict {
    let came = run(half, code!("nop", "int 0x80"), 0);
    came.expect(t, 0x80, None, 3);
    Ok(())
}

fn int80_masks(t: &mut Trial) -> Verdict {
    for (flags, masked) in [(TrapFlags::DPL3, false), (TrapFlags::DPL3 | TrapFlags::MASK_EVENTS, true)] {
        if ring::is_1() && !masked {
            // That is a gate from the program to ring 1.
            continue;
        }
        handler(t, 0x80, flags, stub(0x80))?;
        let mut frame = user::frame();
        frame[6] |= 0x200;
        let came = program_with(code!("int 0x80"), &frame, &[0; 15]);
        let seen = events_masked();
        mask_events(true);
        t.raises(format_args!("{masked}"), &came.caught, 0x80, None);
        t.same(format_args!("{masked}.masked"), seen, masked);
    }
    Ok(())
}

fn int80_level(t: &mut Trial) -> Verdict {
    for level in 0..4 {
        handler(t, 0x80, TrapFlags::from_bits_truncate(level), stub(0x80))?;
        let came = program(code!("int 0x80"), 0);
        t.raises(format_args!("{level}"), &came.caught, 0x80, None);
    }
    Ok(())
}

/// The table with another vector in place of 0x80, or with another level.
fn int80_refused(t: &mut Trial, number: u8, level: u8) -> Verdict {
    t.need("set_trap_table", raw(HYPERVISOR_SET_TRAP_TABLE, [0; 5]))?;
    handler(t, vector::GP, TrapFlags::empty(), stub(vector::GP.into()))?;
    handler(t, number, TrapFlags::from_bits_truncate(level), stub(number.into()))?;
    let came = program(code!("nop", "int 0x80"), 0);
    came.expect(t, vector::GP, Some(0x402), 1);
    Ok(())
}

fn int0(t: &mut Trial, half: Half, level: u8) -> Verdict {
    handler(t, vector::DE, TrapFlags::from_bits_truncate(level), stub(vector::DE.into()))?;
    let came = run(half, code!("nop", ".byte 0xcd, 0"), 0);
    let least = match half {
        Half::Kernel => 1,
        Half::Program => 3,
    };
    if level >= least {
        came.expect(t, vector::DE, None, 3);
    } else {
        came.expect(t, vector::GP, Some(2), 1);
    }
    Ok(())
}

fn int0_none(t: &mut Trial) -> Verdict {
    t.need("set_trap_table", raw(HYPERVISOR_SET_TRAP_TABLE, [0; 5]))?;
    handler(t, vector::GP, TrapFlags::empty(), stub(vector::GP.into()))?;
    program(code!("nop", ".byte 0xcd, 0"), 0).expect(t, vector::GP, Some(2), 1);
    Ok(())
}

/// In ring 1 an entry for programs without this flag is a gate, which pushes no RCX and R11.
fn software() -> TrapFlags {
    if ring::is_1() { TrapFlags::MASK_EVENTS } else { TrapFlags::empty() }
}

/// An `int` that the gate's level forbids pushes the vector times 8, and 2 for the table (SDM volume 3, 6.13). By that error
/// code hypervisors know the vector.
fn needs_right_codes() -> Verdict {
    match program(code!("int 0x47"), 0).caught.error() {
        Some(0x472) => Err(Stop::Skip("the processor pushes the vector times 16: a fault of the emulator's")),
        _ => Ok(()),
    }
}

fn int_n(t: &mut Trial) -> Verdict {
    needs_right_codes()?;
    for half in [Half::Kernel, Half::Program] {
        let came = run(half, code!("nop", "int 0x21"), 0);
        came.expect(t, 0x21, None, 3);
    }
    Ok(())
}

fn int_n_level(t: &mut Trial) -> Verdict {
    needs_right_codes()?;
    for level in 0..3 {
        handler(t, 0x21, TrapFlags::from_bits_truncate(level) | software(), stub(0x21))?;
        program(code!("int 0x21"), 0).expect(t, vector::GP, Some(0x10a), 0);
    }
    Ok(())
}

fn int_n_none(t: &mut Trial) -> Verdict {
    needs_right_codes()?;
    for half in [Half::Kernel, Half::Program] {
        run(half, code!("int 0x47"), 0).expect(t, vector::GP, Some(0x23a), 0);
    }
    Ok(())
}
