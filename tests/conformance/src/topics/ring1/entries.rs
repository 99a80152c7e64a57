//! System calls and gates from programs straight to ring 1.

use paravane_abi::hypercall::HYPERVISOR_SET_TRAP_TABLE;
use paravane_abi::ring1::{USER_CS64, USER_RSP_SLOT, USER_SS};
use paravane_abi::trap::{TrapFlags, TrapInfo, vector};
use pv_probe::guard::{SYSCALL, stub, trap_stack};
use pv_probe::hypercall::raw;
use pv_probe::memory::{events_masked, mask_events};
use pv_probe::{ring, user};

use super::{good, refusal};
use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{ARITHMETIC, SAVED_MASK, kernel, program, program_with};
use crate::topics::port::Port;
use crate::trial::Trial;

/// The cases.
pub const CASES: &[Case] = &[
    good("syscall", "RIP, flags and stacks of a program's syscall", syscall),
    good("syscall-flags", "the callback has RFLAGS 0x202 whatever the program had", syscall_flags),
    good("syscall-registers", "all registers but RCX and R11", syscall_registers),
    good("syscall-mask", "the event mask is as it was", syscall_mask),
    good("stack-slot", "the program's RSP is in its slot", stack_slot),
    good("gate", "a gate's frame has five words", gate),
    good("gate-flags", "a gate's frame has the program's flags with IF set", gate_flags),
    good("gate-range", "gates are vectors 0x30 to 0x80", gate_range),
    good("gate-mask-flag", "an entry with the mask flag is no gate", gate_mask_flag),
    good("gate-replaced", "the latest handler is the gate's", gate_replaced),
    refusal("gate-taken-away", "without a handler there is no gate", gate_taken_away),
    refusal("gate-level", "an entry for the kernel alone is no gate", gate_level),
    good("gate-registers", "a gate changes no register", gate_registers),
    good("event-in-program", "a program is interrupted though events are masked", event_in_program),
];

fn syscall(t: &mut Trial) -> Verdict {
    // The guard builds a frame from what it finds.
    let came = program(code!("nop", "syscall"), 0);
    t.raises("syscall", &came.caught, SYSCALL, None);
    let [rip, _, rflags, rsp, _] = came.caught.frame();
    t.equal("rip", rip.wrapping_sub(came.start), 3);
    t.equal("r11", rflags & !ARITHMETIC, 0x202);
    t.equal("rsp", rsp.wrapping_sub(came.rsp), 0);
    t.holds("stack", came.caught.rsp == trap_stack() - 7 * 8);
    Ok(())
}

fn syscall_flags(t: &mut Trial) -> Verdict {
    for bits in [0x400u64, 0x4000, 0x4_0000, 0x20_0000, 0x8d5] {
        let mut frame = user::frame();
        frame[6] |= bits;
        let came = program_with(code!("syscall"), &frame, &[0; 15]);
        t.raises(format_args!("{bits:x}"), &came.caught, SYSCALL, None);
        t.equal(format_args!("{bits:x}.r11"), came.caught.pushed[1], bits | 0x202);
        t.equal(format_args!("{bits:x}.callback"), came.caught.rflags & !ARITHMETIC, 0x202);
    }
    Ok(())
}

fn syscall_registers(t: &mut Trial) -> Verdict {
    let values: [u64; 15] = core::array::from_fn(|index| 0x0f0f_0000_0000_0001 + index as u64);
    let mut frame = user::frame();
    frame[0] = values[0];
    let came = program_with(code!("syscall"), &frame, &values);
    t.raises("syscall", &came.caught, SYSCALL, None);
    let mut wanted = values;
    (wanted[2], wanted[10]) = (came.start + 2, 0x202);
    t.holds("callback", came.caught.registers == wanted);
    Ok(())
}

fn syscall_mask(t: &mut Trial) -> Verdict {
    for masked in [true, false] {
        let mut frame = user::frame();
        frame[6] = if masked { 2 } else { 0x202 };
        let came = program_with(code!("syscall"), &frame, &[0; 15]);
        let seen = events_masked();
        mask_events(true);
        t.raises(format_args!("{masked}"), &came.caught, SYSCALL, None);
        t.same(format_args!("{masked}.mask"), seen, masked);
    }
    Ok(())
}

fn stack_slot(t: &mut Trial) -> Verdict {
    for rsp in [user::STACK_END, user::STACK_END - 0x123, 0, 0x7fff_ffff_f000] {
        let mut frame = user::frame();
        frame[7] = rsp;
        let came = program_with(code!("syscall"), &frame, &[0; 15]);
        t.raises(format_args!("{rsp:x}"), &came.caught, SYSCALL, None);
        // SAFETY: a word that the hypervisor shows its guests in ring 1.
        t.equal(format_args!("{rsp:x}.slot"), unsafe { (USER_RSP_SLOT as *const u64).read_volatile() }, rsp);
    }
    Ok(())
}

fn set(t: &mut Trial, number: u8, flags: TrapFlags, handler: u64) -> Verdict {
    let table =
        [TrapInfo::new(number, flags, ring::code(), handler), TrapInfo::new(0, TrapFlags::empty(), 0, 0)];
    t.need("set_trap_table", raw(HYPERVISOR_SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0, 0]))
}

fn gate(t: &mut Trial) -> Verdict {
    set(t, 0x40, TrapFlags::DPL3, stub(0x40))?;
    let came = program(code!("nop", "int 0x40"), 0);
    t.raises("gate", &came.caught, 0x40, None);
    let [rip, cs, rflags, rsp, ss, ..] = came.caught.pushed;
    t.equal("rip", rip.wrapping_sub(came.start), 3);
    t.equal("cs", cs, USER_CS64.into());
    t.equal("rflags", rflags & !ARITHMETIC, 0x202);
    t.equal("rsp", rsp.wrapping_sub(came.rsp), 0);
    t.equal("ss", ss, USER_SS.into());
    t.holds("pushed-at", came.caught.rsp == trap_stack() - 5 * 8);
    Ok(())
}

fn gate_flags(t: &mut Trial) -> Verdict {
    set(t, 0x40, TrapFlags::DPL3, stub(0x40))?;
    for bits in [0x400u64, 0x4000, 0x20_0000] {
        let mut frame = user::frame();
        frame[6] |= bits;
        let came = program_with(code!("int 0x40"), &frame, &[0; 15]);
        t.raises(format_args!("{bits:x}"), &came.caught, 0x40, None);
        t.equal(format_args!("{bits:x}.frame"), came.caught.pushed[2] & !ARITHMETIC, bits | 0x202);
        // The processor clears NT, and leaves DF.
        t.equal(format_args!("{bits:x}.handler"), came.caught.rflags & 0x4600, (bits & 0x400) | 0x200);
    }
    Ok(())
}

fn gate_range(t: &mut Trial) -> Verdict {
    for (number, code, words) in [
        (0x2fu8, code!("int 0x2f"), 7),
        (0x30, code!("int 0x30"), 5),
        (0x7f, code!("int 0x7f"), 5),
        (0x80, code!("int 0x80"), 5),
        (0x81, code!("int 0x81"), 7),
    ] {
        set(t, number, TrapFlags::DPL3, stub(number.into()))?;
        let came = program(code, 0);
        t.raises(format_args!("{number:x}"), &came.caught, number.into(), None);
        t.equal(format_args!("{number:x}.words"), trap_stack().wrapping_sub(came.caught.rsp) / 8, words);
    }
    Ok(())
}

fn gate_mask_flag(t: &mut Trial) -> Verdict {
    set(t, 0x40, TrapFlags::DPL3 | TrapFlags::MASK_EVENTS, stub(0x40))?;
    let came = program(code!("int 0x40"), 0);
    t.raises("entry", &came.caught, 0x40, None);
    t.equal("words", trap_stack().wrapping_sub(came.caught.rsp) / 8, 7);
    t.equal("cs", came.caught.frame()[1], u64::from(USER_CS64) | SAVED_MASK);
    Ok(())
}

fn gate_replaced(t: &mut Trial) -> Verdict {
    for other in [0x41u64, 0x42, 0x40] {
        set(t, 0x40, TrapFlags::DPL3, stub(other))?;
        t.raises(format_args!("{other:x}"), &program(code!("int 0x40"), 0).caught, other, None);
    }
    Ok(())
}

fn gate_taken_away(t: &mut Trial) -> Verdict {
    set(t, 0x40, TrapFlags::DPL3, stub(0x40))?;
    t.need("set_trap_table", raw(HYPERVISOR_SET_TRAP_TABLE, [0; 5]))?;
    set(t, vector::GP, TrapFlags::empty(), stub(vector::GP.into()))?;
    program(code!("int 0x40"), 0).expect(t, vector::GP, Some(0x202), 0);
    Ok(())
}

fn gate_level(t: &mut Trial) -> Verdict {
    for level in 0..3u8 {
        set(t, 0x40, TrapFlags::from_bits_truncate(level), stub(0x40))?;
        let came = program(code!("int 0x40"), 0);
        t.raises(format_args!("{level}"), &came.caught, vector::GP.into(), Some(0x202));
    }
    let came = kernel(code!("int 0x40"), 0);
    t.raises("kernel", &came.caught, 0x40, None);
    Ok(())
}

fn gate_registers(t: &mut Trial) -> Verdict {
    set(t, 0x40, TrapFlags::DPL3, stub(0x40))?;
    let values: [u64; 15] = core::array::from_fn(|index| 0x3333_0000_0000_0001 + index as u64);
    let mut frame = user::frame();
    (frame[0], frame[1], frame[2]) = (values[0], values[10], values[2]);
    let came = program_with(code!("int 0x40"), &frame, &values);
    t.raises("gate", &came.caught, 0x40, None);
    t.holds("handler", came.caught.registers == values);
    Ok(())
}

fn event_in_program(t: &mut Trial) -> Verdict {
    let port = Port::timer()?;
    let soon = crate::topics::clock::now() + 2_000_000;
    t.need("set_timer_op", raw(paravane_abi::hypercall::HYPERVISOR_SET_TIMER_OP, [soon, 0, 0, 0, 0]))?;
    let came = program(code!("2: jmp 2b"), 0);
    t.raises("upcall", &came.caught, pv_probe::guard::EVENT, None);
    t.equal("rip", came.caught.frame()[0].wrapping_sub(came.start), 0);
    t.same("masked", events_masked(), true);
    t.same("pending", port.is_pending(), true);
    Ok(())
}
