//! The bus: widths, ports that nobody has, the ways out; and the devices together.

use crate::platform::{Effect, LEAST_EVENT_GAP, Platform, Width};

const SECOND: u64 = 1_000_000_000;

fn out(platform: &mut Platform, now: u64, bytes: &[(u16, u32)]) {
    for &(port, value) in bytes {
        assert_eq!(platform.write(port, Width::Byte, value, now), Effect::Nothing, "port {port:#x}");
    }
}

/// With the interrupt controllers set up by a kernel, and these lines of the first one not masked.
fn started(open: u8) -> Platform {
    let mut platform = Platform::new(64 << 20, 0);
    let first = [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, u32::from(!open))];
    let second = [(0xa0, 0x11), (0xa1, 0x28), (0xa1, 2), (0xa1, 1), (0xa1, 0xff)];
    out(&mut platform, 0, &first);
    out(&mut platform, 0, &second);
    platform
}

#[test]
fn nobody_answers_with_ones() {
    let mut platform = Platform::new(0, 0);
    assert_eq!(platform.read(0x80, Width::Byte, 0), 0xff);
    assert_eq!(platform.read(0x1f0, Width::Word, 0), 0xffff);
    assert_eq!(platform.read(0xfffe, Width::Long, 0), 0xffff_ffff);
    assert_eq!(platform.write(0xfffe, Width::Long, 0x1234_5678, 0), Effect::Nothing);
}

// A wide access is one of each byte's port, the lowest first.
#[test]
fn wide_accesses_are_bytes() {
    let mut platform = started(0);
    out(&mut platform, 0, &[(0x3ff, 0x5a)]);
    assert_eq!(platform.read(0x3fe, Width::Long, 0), 0xffff_5ab0);
    assert_eq!(platform.write(0x3f6, Width::Long, 0x0078_0000, 0), Effect::Console(b'x'));
    platform.write(0x20, Width::Word, 0xfe0b, 0);
    assert_eq!(platform.read(0x20, Width::Word, 0), 0xfe00);
}

// PCI 2.2, 3.2.2.3.2: the address register is there, and no device behind it.
#[test]
fn no_pci_device() {
    let mut platform = Platform::new(0, 0);
    platform.write(0xcf8, Width::Long, 0xffff_ffff, 0);
    assert_eq!(platform.read(0xcf8, Width::Long, 0), 0x80ff_fffc);
    assert_eq!(platform.read(0xcfc, Width::Long, 0), 0xffff_ffff);
    assert_eq!(platform.read(0xcfe, Width::Word, 0), 0xffff);
    assert_eq!(platform.read(0xcf8, Width::Byte, 0), 0xff, "only four bytes at once");
}

#[test]
fn ways_out() {
    let write = |port, width, value| Platform::new(0, 0).write(port, width, value, 0);
    assert_eq!(write(0xf4, Width::Byte, 0xffff_ff10), Effect::Exit(0x10));
    assert_eq!(write(0xf4, Width::Long, 0x1234_5678), Effect::Exit(0x1234_5678));
    assert_eq!(write(0xf3, Width::Word, 0x1200), Effect::Exit(0x12));
    assert_eq!(write(0x64, Width::Byte, 0xfe), Effect::Reboot);
    assert_eq!(write(0x64, Width::Byte, 0xd1), Effect::Nothing);
    assert_eq!(write(0x92, Width::Byte, 0x03), Effect::Reboot);
    assert_eq!(write(0x92, Width::Byte, 0x02), Effect::Nothing);
    // The reset control register wants a rising bit.
    assert_eq!(write(0xcf9, Width::Byte, 0x06), Effect::Reboot);
    let mut platform = Platform::new(0, 0);
    assert_eq!(platform.write(0xcf9, Width::Byte, 0x02, 0), Effect::Nothing);
    assert_eq!(platform.read(0xcf9, Width::Byte, 0), 0x02);
    assert_eq!(platform.read(0x64, Width::Byte, 0), 0, "ready for a command");
    assert_eq!(platform.read(0xf4, Width::Byte, 0), 0);
}

// The timer's interrupt: once, when it was foretold, and again after the next programming.
#[test]
fn timer_interrupt() {
    let mut platform = started(0x01);
    assert_eq!(platform.next_event(0), None);
    out(&mut platform, SECOND, &[(0x43, 0x30), (0x40, 0xa9), (0x40, 0x04)]);
    let due = platform.next_event(SECOND).unwrap();
    // 1193 pulses and one, from the pulse before the second on.
    assert!((due - SECOND).abs_diff(1_000_685) < 900, "{due}");
    platform.advance(due - 1);
    assert!(!platform.interrupt_pending());
    platform.advance(due);
    assert!(platform.interrupt_pending());
    assert_eq!(platform.next_event(due), None);
    assert_eq!(platform.acknowledge(), 0x20);
    out(&mut platform, due, &[(0x20, 0x20)]);
    platform.advance(due + SECOND);
    assert!(!platform.interrupt_pending());
}

// A timer at its fastest is asked for no more often than the hypervisor allows, and never while nobody listens.
#[test]
fn a_fast_timer_is_bounded() {
    let mut platform = started(0x01);
    out(&mut platform, 0, &[(0x43, 0x34), (0x40, 2), (0x40, 0)]);
    let (mut now, mut events) = (0, 0);
    while now < SECOND {
        now = platform.next_event(now).unwrap();
        platform.advance(now);
        assert!(platform.interrupt_pending());
        assert_eq!(platform.next_event(now), None, "the last one waits still");
        assert_eq!(platform.acknowledge(), 0x20);
        out(&mut platform, now, &[(0x20, 0x20)]);
        events += 1;
    }
    assert!(events <= SECOND / LEAST_EVENT_GAP + 1, "{events} in a second");
    out(&mut platform, now, &[(0x21, 0xff)]);
    platform.acknowledge();
    assert_eq!(platform.next_event(now), None);
}

// A console by interrupts, as a kernel's driver has it.
#[test]
fn serial_interrupt() {
    let mut platform = started(0x10);
    out(&mut platform, 0, &[(0x3fc, 0x0b), (0x3f9, 0x03)]);
    assert_eq!(platform.acknowledge(), 0x24);
    assert_eq!(platform.read(0x3fa, Width::Byte, 0), 0x02);
    out(&mut platform, 0, &[(0x20, 0x20)]);
    assert!(!platform.interrupt_pending());
    assert_eq!(platform.room(), 1);
    platform.type_byte(b'k', 0);
    assert_eq!((platform.room(), platform.acknowledge()), (0, 0x24));
    assert_eq!(platform.read(0x3f8, Width::Byte, 0), u32::from(b'k'));
    out(&mut platform, 0, &[(0x20, 0x20)]);
    assert_eq!(platform.write(0x3f8, Width::Byte, u32::from(b'!'), 0), Effect::Console(b'!'));
    assert!(platform.interrupt_pending());
    // Bytes that wait in the FIFO are foretold.
    out(&mut platform, 0, &[(0x3f9, 0x01), (0x3fa, 0xc1)]);
    platform.acknowledge();
    out(&mut platform, 0, &[(0x20, 0x20)]);
    platform.type_byte(b'm', 0);
    assert!(!platform.interrupt_pending());
    let due = platform.next_event(0).unwrap();
    platform.advance(due);
    assert!(platform.interrupt_pending());
}

#[test]
fn time_does_not_go_back() {
    let mut platform = started(0x01);
    out(&mut platform, SECOND, &[(0x43, 0x34), (0x40, 0), (0x40, 0)]);
    platform.advance(0);
    assert!(platform.next_event(0).unwrap() > SECOND);
    out(&mut platform, 7, &[(0x70, 0x8f)]);
    assert!(platform.nmi_masked());
    platform.advance(u64::MAX);
    assert!(platform.interrupt_pending());
    assert!(platform.next_event(u64::MAX).is_none_or(|at| at == u64::MAX));
}
