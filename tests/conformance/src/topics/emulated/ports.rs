//! Ports: whose they are is told by `physdev_op`; what is nobody's device reads as ones.

use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP;
use paravane_abi::physdev::{PHYSDEVOP_SET_IOBITMAP, PHYSDEVOP_SET_IOPL, PhysdevSetIobitmap, PhysdevSetIopl};
use paravane_abi::trap::vector;
use pv_probe::hypercall::operation;
use pv_probe::memory::{Page, events_masked, mask_events};

use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{Half, run};
use crate::trial::Trial;

/// The cases.
pub const CASES: &[Case] = &[
    Case::good("iopl-kernel", "the kernel needs IOPL 1", |t| iopl(t, Half::Kernel, 1)),
    Case::good("iopl-program", "a program needs IOPL 3", |t| iopl(t, Half::Program, 3)),
    Case::good(
        "widths",
        "reads of one, two and four bytes give ones, and leave the rest of RAX as the processor does",
        widths,
    ),
    Case::good("by-register", "the port in DX", by_register),
    Case::good("write", "writes go nowhere", write),
    Case::good("string-in", "a string of reads gives ones", string_in),
    Case::good("string-out", "a string of writes goes nowhere", string_out),
    Case::good("bitmap", "a program may use the ports whose bits are clear, within the map", bitmap),
    Case::refusal("bitmap-straddles", "a read across the end of what is allowed", straddles),
    Case::good("interrupt-flag", "cli and sti with IOPL have no effect on the event mask", interrupt_flag),
];

/// A port that no device of the machine has.
const PORT: u64 = 0x1f8;

fn set_iopl(t: &mut Trial, iopl: u32) -> Verdict {
    let mut request = PhysdevSetIopl { iopl };
    t.need("set_iopl", operation(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOPL, &mut request))
}

/// Runs something with IOPL 3.
fn allowed(t: &mut Trial, run: impl FnOnce(&mut Trial) -> Verdict) -> Verdict {
    set_iopl(t, 3)?;
    let verdict = run(t);
    set_iopl(t, 0)?;
    verdict
}

fn iopl(t: &mut Trial, half: Half, least: u32) -> Verdict {
    for level in 0..4 {
        set_iopl(t, level)?;
        let came = run(half, code!("mov edx, edi", "in al, dx"), PORT);
        let good = came.caught.vector == u64::from(vector::UD) && came.caught.registers[0] & 0xff == 0xff;
        t.same(format_args!("{level}"), good, level >= least);
        if level < least {
            t.raises(format_args!("{level}.refused"), &came.caught, vector::GP.into(), Some(0));
        }
    }
    set_iopl(t, 0)
}

fn widths(t: &mut Trial) -> Verdict {
    allowed(t, |t| {
        for half in [Half::Kernel, Half::Program] {
            for (name, code, wanted) in [
                (
                    "byte",
                    code!("mov rax, 0x1122334455667700", "mov edx, edi", "in al, dx"),
                    0x1122_3344_5566_77ffu64,
                ),
                (
                    "word",
                    code!("mov rax, 0x1122334455660000", "mov edx, edi", "in ax, dx"),
                    0x1122_3344_5566_ffff,
                ),
                ("long", code!("mov rax, 0x1122334400000000", "mov edx, edi", "in eax, dx"), 0xffff_ffff),
            ] {
                let came = run(half, code, PORT);
                t.raises(format_args!("{}.{name}", half.name()), &came.caught, vector::UD.into(), None);
                t.equal(format_args!("{}.{name}.rax", half.name()), came.caught.registers[0], wanted);
            }
        }
        Ok(())
    })
}

fn by_register(t: &mut Trial) -> Verdict {
    allowed(t, |t| {
        let code = code!("mov edx, 0xfffff1f8", "xor eax, eax", "in al, dx");
        let came = run(Half::Kernel, code, 0);
        came.expect(t, vector::UD, None, code.len() as u64);
        t.equal("rax", came.caught.registers[0], 0xff);
        t.equal("rdx", came.caught.registers[3], 0xffff_f1f8);
        Ok(())
    })
}

fn write(t: &mut Trial) -> Verdict {
    allowed(t, |t| {
        for half in [Half::Kernel, Half::Program] {
            let code =
                code!("mov edx, edi", "mov eax, 0x12345678", "out dx, al", "out dx, ax", "out dx, eax");
            let came = run(half, code, PORT);
            came.expect(t, vector::UD, None, code.len() as u64);
            t.equal(format_args!("{}.rax", half.name()), came.caught.registers[0], 0x1234_5678);
        }
        Ok(())
    })
}

static BUFFER: Page = Page::new();

fn string_in(t: &mut Trial) -> Verdict {
    allowed(t, |t| {
        let word = |index: u64| (BUFFER.address() + index * 8) as *mut u64;
        // SAFETY: words of the page.
        (0..4).for_each(|index| unsafe { word(index).write_volatile(0) });
        let code = code!("mov edx, 0x1f8", "mov ecx, 12", "cld", "rep insb");
        let came = run(Half::Kernel, code, BUFFER.address());
        came.expect(t, vector::UD, None, code.len() as u64);
        t.equal("count", came.caught.pushed[0], 0);
        t.equal("moved", came.caught.registers[5].wrapping_sub(BUFFER.address()), 12);
        // SAFETY: as above.
        let words = [0, 1, 2].map(|index| unsafe { word(index).read_volatile() });
        t.equal("first", words[0], u64::MAX);
        t.equal("second", words[1], 0xffff_ffff);
        t.equal("third", words[2], 0);
        Ok(())
    })
}

fn string_out(t: &mut Trial) -> Verdict {
    allowed(t, |t| {
        let code = code!("mov rsi, rdi", "mov edx, 0x1f8", "mov ecx, 5", "cld", "rep outsw");
        let came = run(Half::Kernel, code, BUFFER.address());
        came.expect(t, vector::UD, None, code.len() as u64);
        t.equal("count", came.caught.pushed[0], 0);
        t.equal("moved", came.caught.registers[4].wrapping_sub(BUFFER.address()), 10);
        Ok(())
    })
}

/// Bits of ports: all set, but for three.
static BITMAP: Page = Page::new();

fn set_bitmap(t: &mut Trial, ports: u32) -> Verdict {
    let byte = |index: u64| (BITMAP.address() + index) as *mut u8;
    // SAFETY: bytes of the page.
    (0..128).for_each(|index| unsafe { byte(index).write_volatile(0xff) });
    for port in [0x1f8u64, 0x1f9, 0x1ff] {
        // SAFETY: as above.
        unsafe { byte(port / 8).write_volatile(byte(port / 8).read_volatile() & !(1 << (port % 8))) };
    }
    let mut request = PhysdevSetIobitmap { bitmap: BITMAP.address(), nr_ports: ports, ..Default::default() };
    t.need("set_iobitmap", operation(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOBITMAP, &mut request))
}

fn bitmap(t: &mut Trial) -> Verdict {
    for (ports, allowed) in
        [(0x200, [true, true, false, true]), (0x1ff, [true, true, false, false]), (0, [false; 4])]
    {
        set_bitmap(t, ports)?;
        for (port, allowed) in [0x1f8u64, 0x1f9, 0x1fa, 0x1ff].into_iter().zip(allowed) {
            for half in [Half::Kernel, Half::Program] {
                let came = run(half, code!("mov edx, edi", "in al, dx"), port);
                let good = came.caught.vector == u64::from(vector::UD);
                t.same(format_args!("{ports:x}.{port:x}.{}", half.name()), good, allowed);
            }
        }
    }
    Ok(())
}

fn straddles(t: &mut Trial) -> Verdict {
    set_bitmap(t, 0x400)?;
    for (name, code, good) in [
        ("word", code!("mov edx, edi", "in ax, dx"), true),
        ("long", code!("mov edx, edi", "in eax, dx"), false),
    ] {
        let came = run(Half::Program, code, PORT);
        t.same(name, came.caught.vector == u64::from(vector::UD), good);
    }
    set_bitmap(t, 0)
}

fn interrupt_flag(t: &mut Trial) -> Verdict {
    allowed(t, |t| {
        for masked in [true, false] {
            mask_events(masked);
            let came = run(Half::Kernel, code!("cli", "sti", "cli"), 0);
            let seen = events_masked();
            mask_events(true);
            t.raises(format_args!("{masked}"), &came.caught, vector::UD.into(), None);
            t.same(format_args!("{masked}.mask"), seen, masked);
        }
        Ok(())
    })
}
