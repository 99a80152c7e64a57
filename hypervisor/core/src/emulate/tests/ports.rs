use super::*;

fn dx(rdx: u64) -> CpuUserRegs {
    CpuUserRegs { rdx, ..regs() }
}

#[test]
fn reads_of_all_widths() {
    let cpu = Cpu::kernel();
    for (bytes, port, width, rax) in [
        (&[0xe4, 0x60][..], 0x60, 1, 0xa0a1_a2a3_a4a5_a6ff),
        (&[0x66, 0xe5, 0x60], 0x60, 2, 0xa0a1_a2a3_a4a5_ffff),
        (&[0xe5, 0x60], 0x60, 4, 0xffff_ffff),
        (&[0xec], 0xcf8, 1, 0xa0a1_a2a3_a4a5_a6ff),
        (&[0x66, 0xed], 0xcf8, 2, 0xa0a1_a2a3_a4a5_ffff),
        (&[0xed], 0xcf8, 4, 0xffff_ffff),
        (&[0x48, 0xed], 0xcf8, 4, 0xffff_ffff),
    ] {
        let mut after = dx(0xffff_0000_0000_0cf8);
        let retire = retired(cpu.emulate(&after, bytes));
        assert_eq!(retire.effect, Effect::PortRead { port, width });
        let due = retire.with_port_value(u32::MAX).commit(&mut after);
        assert_eq!((after.rax, due), (rax, 0), "{bytes:x?}");
        assert_eq!(after.rip, regs().rip + bytes.len() as u64);
    }
}

#[test]
fn writes_of_all_widths() {
    let cpu = Cpu::kernel();
    for (bytes, port, width, value) in [
        (&[0xe6, 0x80][..], 0x80, 1, 0xa7),
        (&[0x66, 0xe7, 0x80], 0x80, 2, 0xa6a7),
        (&[0xe7, 0x80], 0x80, 4, 0xa4a5_a6a7),
        (&[0xee], 0x3f8, 1, 0xa7),
        (&[0x66, 0xef], 0x3f8, 2, 0xa6a7),
        (&[0xef], 0x3f8, 4, 0xa4a5_a6a7),
    ] {
        let mut after = dx(0x3f8);
        let retire = retired(cpu.emulate(&after, bytes));
        assert_eq!(retire.effect, Effect::PortWrite { port, width, value }, "{bytes:x?}");
        let due = retire.commit(&mut after);
        assert_eq!((after.rax, after.rip, due), (regs().rax, regs().rip + bytes.len() as u64, 0));
    }
}

#[test]
fn permission_comes_from_iopl_or_bitmap() {
    let refused = Emulated::Fault(Fault::PROTECTION);
    let kernel = Cpu { iopl: 0, ..Cpu::kernel() };
    assert_eq!(kernel.emulate(&regs(), &[0xe4, 0x60]), refused);
    let mut user = Cpu::user();
    assert_eq!(user.emulate(&regs(), &[0xe4, 0x60]), refused);
    user.granted = std::vec![0x60, 0x61];
    assert_ne!(user.emulate(&regs(), &[0xe4, 0x60]), refused);
    assert_ne!(user.emulate(&regs(), &[0x66, 0xe5, 0x60]), refused);
    assert_eq!(user.emulate(&regs(), &[0xe5, 0x60]), refused);
    assert_eq!(user.emulate(&regs(), &[0x66, 0xe5, 0x61]), refused);
    user.iopl = 3;
    assert_ne!(user.emulate(&regs(), &[0xe4, 0x60]), refused);
}

fn string(cpu: &Cpu, regs: &CpuUserRegs, bytes: &[u8]) -> StringIo {
    match cpu.emulate(regs, bytes) {
        Emulated::StringIo(io) => io,
        other => panic!("no string transfer: {other:?}"),
    }
}

#[test]
fn a_single_item_moves_and_the_index_steps() {
    let cpu = Cpu::kernel();
    for (bytes, direction, address, width) in [
        (&[0x6c][..], Direction::In, 0x5000_0000_2000, 1),
        (&[0x66, 0x6d], Direction::In, 0x5000_0000_2000, 2),
        (&[0x6d], Direction::In, 0x5000_0000_2000, 4),
        (&[0x6e], Direction::Out, 0x5000_0000_1000, 1),
        (&[0x6f], Direction::Out, 0x5000_0000_1000, 4),
        (&[0x64, 0x6f], Direction::Out, 0x5000_7000_1000, 4),
        (&[0x67, 0x6f], Direction::Out, 0x1000, 4),
        (&[0x67, 0x6d], Direction::In, 0x2000, 4),
    ] {
        let mut after = dx(0x1f0);
        let io = string(&cpu, &after, bytes);
        assert_eq!((io.direction, io.port, io.address), (direction, 0x1f0, address), "{bytes:x?}");
        assert_eq!((io.width, io.count, io.stride), (width, 1, width as i64));
        assert_eq!(io.commit(&mut after, 1), 0);
        let (index, before) = match direction {
            Direction::In => (after.rdi, regs().rdi),
            Direction::Out => (after.rsi, regs().rsi),
        };
        let narrow = if bytes[0] == 0x67 { before & 0xffff_ffff } else { before };
        assert_eq!(index, narrow + width as u64);
        assert_eq!((after.rip, after.rcx), (regs().rip + bytes.len() as u64, regs().rcx));
    }
}

#[test]
fn repeats_run_in_bounded_steps() {
    let cpu = Cpu::kernel();
    let mut after = CpuUserRegs { rcx: 100, ..dx(0x1f0) };
    let first = string(&cpu, &after, &[0xf3, 0x6d]);
    assert_eq!(first.count, 64);
    assert_eq!(first.commit(&mut after, 64), 0);
    assert_eq!((after.rcx, after.rip, after.rdi), (36, regs().rip, regs().rdi + 256));
    let rest = string(&cpu, &after, &[0xf3, 0x6d]);
    assert_eq!(rest.count, 36);
    assert_eq!(rest.commit(&mut after, 36), 0);
    assert_eq!((after.rcx, after.rip), (0, regs().rip + 2));
}

#[test]
fn a_repeat_of_zero_is_complete() {
    let mut after = CpuUserRegs { rcx: 0, ..dx(0x1f0) };
    let io = string(&Cpu::kernel(), &after, &[0xf3, 0x6d]);
    assert_eq!(io.count, 0);
    assert_eq!(io.commit(&mut after, 0), 0);
    assert_eq!((after.rip, after.rdi), (regs().rip + 2, regs().rdi));
}

#[test]
fn a_step_cut_short_leaves_the_rest() {
    let mut after = CpuUserRegs { rcx: 10, ..dx(0x1f0) };
    let io = string(&Cpu::kernel(), &after, &[0xf3, 0x6c]);
    assert_eq!(io.commit(&mut after, 3), 0);
    assert_eq!((after.rcx, after.rdi, after.rip), (7, regs().rdi + 3, regs().rip));
    assert_eq!(io.commit(&mut after, 0), 0);
    assert_eq!((after.rcx, after.rdi, after.rip), (7, regs().rdi + 3, regs().rip));
}

#[test]
fn the_direction_flag_counts_down() {
    let mut after = CpuUserRegs { rcx: 2, rflags: 0x646, ..dx(0x1f0) };
    let io = string(&Cpu::kernel(), &after, &[0xf3, 0x66, 0x6d]);
    assert_eq!((io.stride, io.count), (-2, 2));
    assert_eq!(io.commit(&mut after, 2), 0);
    assert_eq!((after.rdi, after.rcx), (regs().rdi - 4, 0));
}

#[test]
fn memory_must_be_the_guests() {
    let cpu = Cpu::kernel();
    for rdi in [0xffff_8000_0000_0000, 0xffff_87ff_ffff_fffe, 0x7fff_ffff_fffe, 0x8000_0000_0000] {
        let regs = CpuUserRegs { rdi, ..dx(0x1f0) };
        assert_eq!(cpu.emulate(&regs, &[0x6d]), Emulated::Fault(Fault::PROTECTION), "{rdi:#x}");
        let repeated = CpuUserRegs { rcx: 64, rdi: rdi - 8, ..dx(0x1f0) };
        assert_eq!(cpu.emulate(&repeated, &[0xf3, 0x6d]), Emulated::Fault(Fault::PROTECTION));
    }
    // GS cannot be used in this test's guest.
    assert_eq!(cpu.emulate(&dx(0x1f0), &[0x65, 0x6e]), Emulated::NotOurs);
}

#[test]
fn index_registers_of_32_bits_do_not_run_past_their_end() {
    let mut after = CpuUserRegs { rcx: 64, rdi: 0xffff_fff8, ..dx(0x1f0) };
    let io = string(&Cpu::kernel(), &after, &[0xf3, 0x67, 0x6d]);
    assert_eq!(io.count, 2);
    assert_eq!(io.commit(&mut after, 2), 0);
    assert_eq!((after.rdi, after.rcx), (0, 62));
}

#[test]
fn io_breakpoints_are_reported() {
    // Breakpoint 2 watches two ports from 0x60.
    let control = 0x0600_0000 | 1 << 4;
    let debug = DebugRegs::default().with(2, 0x60, 8).unwrap().with(7, control, 8).unwrap();
    let cpu = Cpu { debug, cr4: 8, ..Cpu::kernel() };
    for (port, hit) in [(0x5f, 0), (0x60, 4), (0x61, 4), (0x62, 0)] {
        let retire = retired(cpu.emulate(&regs(), &[0xe4, port]));
        assert_eq!(retire.commit(&mut regs()), hit, "{port:#x}");
    }
    let wide = retired(cpu.emulate(&dx(0x5d), &[0xed]));
    assert_eq!(wide.breakpoints, 4);
    let mut after = CpuUserRegs { rcx: 5, ..dx(0x60) };
    let io = string(&cpu, &after, &[0xf3, 0x6c]);
    assert_eq!((io.count, io.commit(&mut after, 1)), (1, 4));
    let without = Cpu { cr4: 0, debug, ..Cpu::kernel() };
    assert_eq!(retired(without.emulate(&regs(), &[0xe4, 0x60])).breakpoints, 0);
}
