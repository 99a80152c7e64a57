//! The event callback (xen/include/public/callback.h, `CALLBACKTYPE_event`; xen.h, `struct vcpu_info`).
//!
//! When `evtchn_upcall_pending` is set and `evtchn_upcall_mask` is 0, the hypervisor enters the callback on its next way
//! back to the vcpu: after a hypercall, an exception or an interrupt. The frame is that of an exception without error code;
//! the mask becomes 1, and the one in the frame's CS slot is what it was, 0. A guest that clears the pending flag first
//! gets no upcall; one that returns by `iret` with IF set and leaves the flag is called again at once.
//!
//! A program is interrupted the same way, on the stack that `stack_switch` named.
//!
//! Fatal: an upcall without a callback, and a frame that cannot be pushed.

use paravane_abi::hypercall::{
    HYPERVISOR_SCHED_OP, HYPERVISOR_SET_CALLBACKS, HYPERVISOR_SET_TIMER_OP, HYPERVISOR_VCPU_OP,
};
use paravane_abi::trap::vector;
use paravane_abi::vcpu::VCPUOP_STOP_PERIODIC_TIMER;
use pv_probe::guard::{EVENT, FAILSAFE, stub, syscall_stub};
use pv_probe::hypercall::raw;
use pv_probe::memory::{PAGE, WINDOW, events_masked, mask_events, shared, vcpu_info};
use pv_probe::time::SLACK;
use pv_probe::{ring, user};

use crate::case::{Case, Row, Verdict};
use crate::code;
use crate::code::{Came, Half, SAVED_MASK, kernel, kernel_address, program_with, unmasked};
use crate::topics::port::{Port, mask_address, selector, upcall_pending};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "event-frames",
    &[
        Case::good(
            "kernel",
            "the frame after a hypercall of a kernel that has just unmasked events",
            after_call,
        ),
        Case::good("kernel-alignment", "the frame's end is aligned, wherever RSP points", alignment),
        Case::good("kernel-registers", "all registers in the callback", registers),
        Case::good("program", "the frame of a program that is returned to with an event pending", program),
        Case::good("masked-kernel", "a masked event is not delivered", masked),
        Case::good("masked-program", "a program returned to without IF is not interrupted", masked_program),
        Case::good("iret-delivers", "iret with IF set to the kernel delivers what is pending", iret_delivers),
        Case::good("iret-masked", "iret without IF to the kernel delivers nothing", iret_masked),
        Case::good("again", "what is left pending is delivered again", again),
        Case::good("cleared", "a pending flag that the guest clears brings no upcall", cleared),
        Case::good("flag-alone", "a pending flag that the guest sets brings one", flag_alone),
        Case::good("two-events", "two events, one upcall", two),
        Case::good("masked-port", "a masked port raises no upcall", masked_port),
        Case::good("timer-program", "a program in a loop is interrupted by its timer", |t| {
            timer(t, Half::Program)
        }),
        Case::good("timer-kernel", "a kernel in a loop is interrupted by its timer", |t| {
            timer(t, Half::Kernel)
        }),
        Case::good(
            "behind-exception",
            "an event waits for the end of an exception's delivery",
            behind_exception,
        ),
        Case::fatal("no-callback", "an upcall without a callback", no_callback),
        Case::fatal("kernel-stack", "an upcall of a kernel whose stack is not mapped", kernel_stack),
    ],
);

/// Unmasks events by the byte at RDI and yields: where the hypervisor returns to is behind these.
fn unmask_and_yield() -> [u8; 12] {
    let [a, b] = ring::hypercall();
    [0xc6, 0x07, 0, 0xb8, HYPERVISOR_SCHED_OP as u8, 0, 0, 0, 0x31, 0xff, a, b]
}

fn after_call(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    t.need("send", port.send())?;
    let came = kernel(&unmask_and_yield(), mask_address());
    let masked = events_masked();
    t.raises("upcall", &came.caught, EVENT, None);
    frame(t, &came, 12);
    t.equal("result", came.caught.registers[0], 0);
    t.same("masked-in-callback", masked, true);
    t.same("pending-in-callback", (upcall_pending(), port.is_pending()), (true, true));
    t.holds("selector", selector() & 1 != 0);
    Ok(())
}

/// A frame of an upcall: what it interrupted had events unmasked.
fn frame(t: &mut Trial, came: &Came, distance: u64) {
    let [rip, cs, _, rsp, ss] = came.caught.frame();
    t.equal("rip", rip.wrapping_sub(came.start), distance);
    t.holds("cs", cs == came.shown_code());
    t.equal("rflags", came.flags(), 0x202);
    t.equal("rsp", rsp.wrapping_sub(came.rsp), 0);
    t.holds("ss", ss == came.shown_stack());
    t.holds("pushed-at", came.caught.rsp == came.frame_address(7));
    t.equal("rflags-in-callback", came.caught.rflags & !crate::code::ARITHMETIC, 0x202);
}

fn alignment(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    for distance in [1u8, 4, 8, 16] {
        t.need("send", port.send())?;
        let mut code = [0; 16];
        code[..4].copy_from_slice(&[0x48, 0x83, 0xec, distance]); // sub rsp, distance
        code[4..].copy_from_slice(&unmask_and_yield());
        let came = kernel(&code, mask_address());
        mask_events(true);
        t.raises(format_args!("{distance}.upcall"), &came.caught, EVENT, None);
        let rsp = came.caught.frame()[3];
        t.equal(format_args!("{distance}.rsp"), came.rsp.wrapping_sub(rsp), distance.into());
        t.holds(format_args!("{distance}.pushed-at"), came.caught.rsp == (rsp & !15) - 7 * 8);
        port.clear();
    }
    Ok(())
}

fn registers(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    t.need("send", port.send())?;
    let values: [u64; 15] = core::array::from_fn(|index| 0x0101_0101_0101_0101 * (index as u64 + 1));
    let mut frame = user::frame();
    (frame[0], frame[1], frame[2], frame[6]) = (0xa, 0xb, 0xc, 0x202);
    let came = program_with(code!("2: jmp 2b"), &frame, &values);
    mask_events(true);
    t.raises("upcall", &came.caught, EVENT, None);
    t.equal("frame.rcx", came.caught.pushed[0], 0xc);
    t.equal("frame.r11", came.caught.pushed[1], 0xb);
    let mut wanted = values;
    wanted[0] = 0xa;
    (wanted[2], wanted[10]) = if ring::is_1() { (0xc, 0xb) } else { (stub(EVENT), came.caught.rflags) };
    t.holds("callback", came.caught.registers == wanted);
    Ok(())
}

/// A program that would loop for ever, returned to with these flags.
fn program_pending(t: &mut Trial, flags: u64, code: &[u8]) -> Result<Came, crate::case::Stop> {
    let port = Port::bind()?;
    t.need("send", port.send())?;
    let mut frame = user::frame();
    frame[6] = flags;
    Ok(program_with(code, &frame, &[0; 15]))
}

fn program(t: &mut Trial) -> Verdict {
    let came = program_pending(t, 0x202, code!("2: jmp 2b"))?;
    let masked = events_masked();
    t.raises("upcall", &came.caught, EVENT, None);
    frame(t, &came, 0);
    t.same("masked-in-callback", masked, true);
    Ok(())
}

fn masked(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    t.need("send", port.send())?;
    let mut code = unmask_and_yield();
    code[2] = 1;
    let came = kernel(&code, mask_address());
    t.raises("opcode", &came.caught, vector::UD.into(), None);
    t.same("still-pending", (upcall_pending(), port.is_pending()), (true, true));
    Ok(())
}

fn masked_program(t: &mut Trial) -> Verdict {
    if ring::is_1() {
        // In ring 1 the mask is the kernel's alone.
        let came = program_pending(t, 2, code!("2: jmp 2b"))?;
        t.raises("program", &came.caught, EVENT, None);
        return Ok(());
    }
    let came = program_pending(t, 2, code!("ud2"))?;
    t.raises("program", &came.caught, vector::UD.into(), None);
    t.holds("cs", came.caught.frame()[1] == came.shown_code() | SAVED_MASK);
    Ok(())
}

/// `iret` to the kernel's own code with these flags and an event pending.
fn kernel_iret(t: &mut Trial, flags: u64) -> Result<Came, crate::case::Stop> {
    let port = Port::bind()?;
    t.need("send", port.send())?;
    crate::code::place(code!("ud2"));
    let stack = pv_probe::guard::trap_stack() - 0x400;
    let frame = [0, 0, 0, 0, kernel_address(), ring::shown_code(), flags, stack, u64::from(ring::stack())];
    // SAFETY: what runs is one `ud2`, on the unused part of a stack.
    let caught = unsafe { pv_probe::guard::leave(&frame, &[0; 15]) };
    Ok(Came { caught, half: Half::Kernel, start: kernel_address(), rsp: stack })
}

fn iret_delivers(t: &mut Trial) -> Verdict {
    let came = kernel_iret(t, 0x202)?;
    t.raises("upcall", &came.caught, EVENT, None);
    frame(t, &came, 0);
    Ok(())
}

fn iret_masked(t: &mut Trial) -> Verdict {
    let came = kernel_iret(t, 2)?;
    came.expect(t, vector::UD, None, 0);
    t.same("masked", events_masked(), true);
    Ok(())
}

fn again(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    for round in 0..3 {
        if round == 0 {
            t.need("send", port.send())?;
        }
        let came = kernel(&unmask_and_yield(), mask_address());
        t.raises(format_args!("upcall.{round}"), &came.caught, EVENT, None);
    }
    port.clear();
    let came = kernel(&unmask_and_yield(), mask_address());
    mask_events(true);
    t.raises("taken", &came.caught, vector::UD.into(), None);
    Ok(())
}

fn cleared(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    t.need("send", port.send())?;
    // SAFETY: a byte of the shared page.
    unsafe { (&raw mut (*vcpu_info(0)).evtchn_upcall_pending).write_volatile(0) };
    let came = kernel(&unmask_and_yield(), mask_address());
    mask_events(true);
    t.raises("no-upcall", &came.caught, vector::UD.into(), None);
    t.same("port-pending", port.is_pending(), true);
    Ok(())
}

fn flag_alone(t: &mut Trial) -> Verdict {
    // SAFETY: a byte of the shared page.
    let set = |value| unsafe { (&raw mut (*vcpu_info(0)).evtchn_upcall_pending).write_volatile(value) };
    set(1);
    let came = kernel(&unmask_and_yield(), mask_address());
    set(0);
    t.raises("upcall", &came.caught, EVENT, None);
    Ok(())
}

fn two(t: &mut Trial) -> Verdict {
    let ports = [Port::bind()?, Port::bind()?];
    for port in &ports {
        t.need("send", port.send())?;
    }
    let came = kernel(&unmask_and_yield(), mask_address());
    t.raises("upcall", &came.caught, EVENT, None);
    t.same("pending", ports.each_ref().map(Port::is_pending), [true, true]);
    ports.iter().for_each(Port::clear);
    let came = kernel(&unmask_and_yield(), mask_address());
    mask_events(true);
    t.raises("no-second", &came.caught, vector::UD.into(), None);
    Ok(())
}

fn masked_port(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    let bit = 1u64 << (port.number() % 64);
    // SAFETY: a word of the shared page.
    let word = unsafe { (&raw mut (*shared()).evtchn_mask).cast::<u64>().add(port.number() as usize / 64) };
    // SAFETY: as above.
    let masks = unsafe { word.read_volatile() };
    // SAFETY: as above.
    unsafe { word.write_volatile(masks | bit) };
    t.need("send", port.send())?;
    let seen = (port.is_pending(), upcall_pending());
    // SAFETY: as above.
    unsafe { word.write_volatile(masks & !bit) };
    t.same("pending", seen.0, true);
    t.same("upcall-pending", seen.1, false);
    Ok(())
}

fn timer(t: &mut Trial, half: Half) -> Verdict {
    // Xen's vcpus begin with a tick of 100 Hz, which is the same interrupt.
    let stop = [VCPUOP_STOP_PERIODIC_TIMER.into(), 0, 0, 0, 0];
    t.need("stop_periodic_timer", raw(HYPERVISOR_VCPU_OP, stop))?;
    let port = Port::timer()?;
    let soon = pv_probe::time::now() + SLACK;
    t.need("set_timer_op", raw(HYPERVISOR_SET_TIMER_OP, [soon, 0, 0, 0, 0]))?;
    let came = match half {
        Half::Program => {
            let mut frame = user::frame();
            frame[6] |= 0x200;
            program_with(code!("2: jmp 2b"), &frame, &[0; 15])
        }
        Half::Kernel => unmasked(|| kernel(code!("2: jmp 2b"), 0)),
    };
    mask_events(true);
    t.raises("upcall", &came.caught, EVENT, None);
    frame(t, &came, 0);
    t.same("port-pending", port.is_pending(), true);
    Ok(())
}

fn behind_exception(t: &mut Trial) -> Verdict {
    // Events are unmasked when the exception comes: the handler is entered first, and interrupted before its first instruction.
    let port = Port::bind()?;
    t.need("send", port.send())?;
    let mut code = [0; 5];
    code[..3].copy_from_slice(&[0xc6, 0x07, 0]);
    code[3..].copy_from_slice(&[0x0f, 0x0b]);
    let came = kernel(&code, mask_address());
    t.raises("upcall", &came.caught, EVENT, None);
    let [rip, _, _, rsp, _] = came.caught.frame();
    t.holds("rip", rip == stub(vector::UD.into()));
    t.holds("rsp", rsp == (came.rsp & !15) - 7 * 8);
    port.clear();
    Ok(())
}

fn no_callback(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    t.need("set_callbacks", raw(HYPERVISOR_SET_CALLBACKS, [0, stub(FAILSAFE), syscall_stub(), 0, 0]))?;
    t.need("send", port.send())?;
    kernel(&unmask_and_yield(), mask_address());
    Ok(())
}

fn kernel_stack(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    t.need("send", port.send())?;
    let mut code = [0; 15];
    code[..3].copy_from_slice(&[0x48, 0x89, 0xf4]); // mov rsp, rsi
    code[3..].copy_from_slice(&unmask_and_yield());
    crate::code::place(&code);
    let mut registers = [0; 15];
    (registers[4], registers[5]) = (WINDOW + 0x3200_0000 + PAGE, mask_address());
    let frame = [
        0,
        0,
        0,
        0,
        kernel_address(),
        ring::shown_code(),
        2,
        pv_probe::guard::trap_stack() - 0x400,
        u64::from(ring::stack()),
    ];
    // SAFETY: nothing is mapped at the stack, so the domain ends.
    unsafe { pv_probe::guard::leave(&frame, &registers) };
    Ok(())
}
