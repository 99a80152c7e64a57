//! The `iret` hypercall: the selectors and flags it takes, what it makes of them, and what programs then have.

use paravane_abi::regs::VGCF_IN_SYSCALL;

use crate::case::{Case, Explained, because};
use crate::observe;
use pv_probe::guard::leave;
use pv_probe::memory::shared;
use pv_probe::user;

/// The case.
pub const CASE: Case = super::observation("iret", "what a program has after the iret hypercall", |_| {
    observe();
    Ok(())
})
.explained(&[
    Explained { value: "quick.flags.10002", reason: because::EMULATOR },
    Explained { value: "quick.flags.ffffffff", reason: because::EMULATOR },
]);

/// `ud2`: what a program does at once.
const UD2: &[u8] = &[0x0f, 0x0b];

fn observe() {
    user::prepare();
    user::place(UD2);
    for in_syscall in [0, VGCF_IN_SYSCALL] {
        let name = if in_syscall == 0 { "full" } else { "quick" };
        for flags in [
            0u64,
            0x2,
            0x202,
            0x3002,
            0x4002,
            0x40002,
            0x20_0002,
            0x1_0002,
            0x2_0002,
            0x400,
            0x8d5,
            0xffff_ffff,
        ] {
            let mut frame = user::frame();
            frame[3] = in_syscall;
            // A single step would only show the processor's own.
            frame[6] = flags & !0x100;
            // SAFETY: the program is one `ud2`.
            let caught = unsafe { leave(&frame, &[0; 15]) };
            // SAFETY: a byte of the shared page.
            let masked = unsafe { (&raw mut (*shared()).vcpu_info[0].evtchn_upcall_mask).read_volatile() };
            observe!(
                ("{name}.flags.{flags:x}"),
                "{}, mask {masked}",
                caught.seen(user::CODE, user::STACK_END)
            );
            mask();
        }
        for (cs, ss) in [
            (0xe033, 0xe02b),
            (0xe030, 0xe02b),
            (0xe033, 0xe028),
            (0xe033, 0),
            (0xe033, 3),
            (0xe023, 0xe02b),
            (0xe02b, 0xe02b),
            (0x8, 0xe02b),
        ] {
            let mut frame = user::frame();
            (frame[3], frame[5], frame[8]) = (in_syscall, cs, ss);
            if cs == 0xe023 {
                // Compatibility mode has no such address.
                frame[7] &= 0xffff_ffff;
            }
            // SAFETY: as above; with the kernel's selector the same `ud2` runs in kernel mode, on the program's stack.
            let caught = unsafe { leave(&frame, &[0; 15]) };
            observe!(
                ("{name}.selectors.{cs:x}.{ss:x}"),
                "{}, pushed {:x?}",
                caught.seen(user::CODE, user::STACK_END),
                [caught.pushed[0], caught.pushed[1]]
            );
            mask();
        }
        let mut frame = user::frame();
        (frame[0], frame[1], frame[2], frame[3]) = (0x11, 0x22, 0x33, in_syscall);
        let registers = core::array::from_fn(|index| 0x100 + index as u64);
        // SAFETY: as above.
        let caught = unsafe { leave(&frame, &registers) };
        observe!(("{name}.registers"), "{:x?}", caught.registers);
        observe!(("{name}.rcx-r11"), "{:x?}", [caught.pushed[0], caught.pushed[1]]);
        mask();
    }
}

/// Masks events again, which `iret` does by IF.
fn mask() {
    // SAFETY: a byte of the shared page.
    unsafe { (&raw mut (*shared()).vcpu_info[0].evtchn_upcall_mask).write_volatile(1) };
}
