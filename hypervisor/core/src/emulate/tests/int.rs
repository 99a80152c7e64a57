use super::*;

/// The registers after a #GP with this error code.
fn fault(error_code: u32) -> CpuUserRegs {
    CpuUserRegs { error_code, ..regs() }
}

fn decide(cpu: &Cpu, error_code: u32, bytes: &[u8], dpl: Option<u8>) -> SoftInterrupt {
    software_interrupt(cpu, &fault(error_code), bytes, |_| dpl)
}

#[test]
fn the_vector_is_the_instructions() {
    let rip = regs().rip;
    for (bytes, vector) in [
        (&[0xcd, 0x20][..], 0x20),
        (&[0xcd, 0x80], 0x80),
        (&[0xcc], 3),
        (&[0xf1], 1),
        (&[0x66, 0xcd, 0x21], 0x21),
    ] {
        // The second code is what QEMU 7.2 pushes.
        for error_code in [(vector as u32) << 3 | 2, (vector as u32) << 4 | 2] {
            let seen = core::cell::Cell::new(None);
            let outcome = software_interrupt(&Cpu::user(), &fault(error_code), bytes, |asked| {
                seen.set(Some(asked));
                Some(3)
            });
            assert_eq!(seen.get(), Some(vector));
            assert_eq!(outcome, SoftInterrupt::Deliver { vector, rip: rip + bytes.len() as u64 });
        }
    }
}

#[test]
fn levels_are_checked() {
    let int = &[0xcd, 0x20];
    for (mode, dpl, allowed) in [
        (Mode::Kernel, Some(0), false),
        (Mode::Kernel, Some(1), true),
        (Mode::Kernel, Some(3), true),
        (Mode::Kernel, None, false),
        (Mode::User, Some(1), false),
        (Mode::User, Some(2), false),
        (Mode::User, Some(3), true),
        (Mode::User, None, false),
    ] {
        let cpu = Cpu { mode, ..Cpu::kernel() };
        let wanted = if allowed {
            SoftInterrupt::Deliver { vector: 0x20, rip: regs().rip + 2 }
        } else {
            SoftInterrupt::Refuse { error_code: 0x102 }
        };
        assert_eq!(decide(&cpu, 0x202, int, dpl), wanted, "{mode:?} {dpl:?}");
    }
}

#[test]
fn other_faults_are_left_alone() {
    let int = &[0xcd, 0x20];
    for error_code in [0, 0x100, 0x103, 0x101] {
        assert_eq!(decide(&Cpu::user(), error_code, int, Some(3)), SoftInterrupt::NotOurs);
    }
    for bytes in [&[0x90][..], &[], &[0xcd], &[0x0f, 0x0b]] {
        assert_eq!(decide(&Cpu::user(), 0x102, bytes, Some(3)), SoftInterrupt::NotOurs);
    }
}
