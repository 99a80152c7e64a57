use super::*;
use crate::msr::MsrEffect;

/// Instructions that stay the #GP the CPU raised, whoever executes them.
const NEVER: &[(&str, &[u8])] = &[
    ("hlt", &[0xf4]),
    ("lgdt [rax]", &[0x0f, 0x01, 0x10]),
    ("lidt [rax]", &[0x0f, 0x01, 0x18]),
    ("lldt ax", &[0x0f, 0x00, 0xd0]),
    ("ltr ax", &[0x0f, 0x00, 0xd8]),
    ("sgdt [rax]", &[0x0f, 0x01, 0x00]),
    ("sidt [rax]", &[0x0f, 0x01, 0x08]),
    ("sldt eax", &[0x0f, 0x00, 0xc0]),
    ("str eax", &[0x0f, 0x00, 0xc8]),
    ("smsw eax", &[0x0f, 0x01, 0xe0]),
    ("lmsw ax", &[0x0f, 0x01, 0xf0]),
    ("invlpg [rax]", &[0x0f, 0x01, 0x38]),
    ("invd", &[0x0f, 0x08]),
    ("rdpmc", &[0x0f, 0x33]),
    ("swapgs", &[0x0f, 0x01, 0xf8]),
    ("sysretq", &[0x48, 0x0f, 0x07]),
    ("sysret", &[0x0f, 0x07]),
    ("sysexit", &[0x0f, 0x35]),
    ("mov rax, cr8", &[0x44, 0x0f, 0x20, 0xc0]),
    ("mov cr8, rax", &[0x44, 0x0f, 0x22, 0xc0]),
    ("mov ds, eax", &[0x8e, 0xd8]),
    ("iretq", &[0x48, 0xcf]),
    ("nop", &[0x90]),
    ("invalid", &[0x06, 0x00]),
    ("too many prefixes", &[0x66; 15]),
];

/// Instructions only a kernel may execute.
const KERNEL: &[(&str, &[u8])] = &[
    ("clts", &[0x0f, 0x06]),
    ("mov rax, cr0", &[0x0f, 0x20, 0xc0]),
    ("mov cr0, rax", &[0x0f, 0x22, 0xc0]),
    ("mov rax, cr2", &[0x0f, 0x20, 0xd0]),
    ("mov cr2, rax", &[0x0f, 0x22, 0xd0]),
    ("mov rax, cr3", &[0x0f, 0x20, 0xd8]),
    ("mov cr3, rax", &[0x0f, 0x22, 0xd8]),
    ("mov rax, cr4", &[0x0f, 0x20, 0xe0]),
    ("mov cr4, rax", &[0x0f, 0x22, 0xe0]),
    ("mov rax, dr7", &[0x0f, 0x21, 0xf8]),
    ("mov dr0, rax", &[0x0f, 0x23, 0xc0]),
    ("rdmsr", &[0x0f, 0x32]),
    ("wrmsr", &[0x0f, 0x30]),
    ("xsetbv", &[0x0f, 0x01, 0xd1]),
    ("wbinvd", &[0x0f, 0x09]),
    ("wbnoinvd", &[0xf3, 0x0f, 0x09]),
];

#[test]
fn some_instructions_are_emulated_for_nobody() {
    for (name, bytes) in NEVER {
        for cpu in [Cpu::kernel(), Cpu::user()] {
            assert_eq!(cpu.emulate(&regs(), bytes), Emulated::NotOurs, "{name}");
        }
    }
}

#[test]
fn programs_get_no_privileged_instruction() {
    let mut cpu = Cpu::user();
    cpu.iopl = 3;
    cpu.cr4 |= 1 << 18;
    cpu.xcr0 = 7;
    let mut regs = regs();
    (regs.rcx, regs.rdx, regs.rax) = (0, 0, CR0);
    for (name, bytes) in KERNEL {
        assert_eq!(cpu.emulate(&regs, bytes), Emulated::NotOurs, "{name}");
        assert_ne!(
            Cpu { mode: Mode::Kernel, ..Cpu::kernel() }.emulate(&regs, bytes),
            Emulated::NotOurs,
            "{name}"
        );
    }
}

#[test]
fn xsetbv_without_xsave_does_not_exist_in_any_ring() {
    for cpu in [Cpu::kernel(), Cpu::user()] {
        assert_eq!(cpu.emulate(&regs(), &[0x0f, 0x01, 0xd1]), Emulated::Fault(Fault::INVALID_OPCODE));
    }
}

#[test]
fn interrupt_flag_instructions_obey_the_virtual_iopl() {
    for bytes in [[0xfa], [0xfb]] {
        for (mode, iopl, architectural, allowed) in [
            (Mode::Kernel, 0, false, false),
            (Mode::Kernel, 1, false, true),
            (Mode::Kernel, 3, false, true),
            (Mode::Kernel, 0, true, true),
            (Mode::User, 1, false, false),
            (Mode::User, 2, false, false),
            (Mode::User, 3, false, true),
        ] {
            let cpu = Cpu { mode, iopl, architectural_iopl: architectural, ..Cpu::kernel() };
            let outcome = cpu.emulate(&regs(), &bytes);
            if allowed {
                let (after, _) = committed(&cpu, regs(), &bytes);
                assert_eq!(after, CpuUserRegs { rip: regs().rip + 1, rflags: 0x246, ..regs() });
            } else {
                assert_eq!(outcome, Emulated::NotOurs, "{mode:?} {iopl}");
            }
        }
    }
}

#[test]
fn control_registers_read_as_the_guests() {
    let cpu = Cpu::kernel();
    for (bytes, value) in [
        (&[0x0f, 0x20, 0xc0][..], CR0),
        (&[0x0f, 0x20, 0xd0], 0xdead_0000),
        (&[0x0f, 0x20, 0xd8], CR3),
        (&[0x0f, 0x20, 0xe0], 0x660),
    ] {
        let (after, due) = committed(&cpu, regs(), bytes);
        assert_eq!((after.rax, after.rip, due), (value, regs().rip + 3, 0));
    }
    // mov r15, cr3
    let (after, _) = committed(&cpu, regs(), &[0x41, 0x0f, 0x20, 0xdf]);
    assert_eq!((after.r15, after.rax), (CR3, regs().rax));
}

fn effect_of(cpu: &Cpu, regs: &CpuUserRegs, bytes: &[u8]) -> Effect {
    let retire = retired(cpu.emulate(regs, bytes));
    assert_eq!(retire.writes, RegisterWrites::new());
    retire.effect
}

#[test]
fn control_register_writes_become_effects() {
    let cpu = Cpu::kernel();
    let with = |rax| CpuUserRegs { rax, ..regs() };
    assert_eq!(effect_of(&cpu, &regs(), &[0x0f, 0x06]), Effect::SetTs(false));
    assert_eq!(effect_of(&cpu, &with(CR0 | 8), &[0x0f, 0x22, 0xc0]), Effect::SetTs(true));
    assert_eq!(effect_of(&cpu, &with(CR0), &[0x0f, 0x22, 0xc0]), Effect::SetTs(false));
    assert_eq!(effect_of(&cpu, &with(7), &[0x0f, 0x22, 0xd0]), Effect::SetCr2(7));
    assert_eq!(effect_of(&cpu, &with(0x5000), &[0x0f, 0x22, 0xd8]), Effect::LoadBase(0x5000));
    for bit in [0, 1, 2, 4, 5, 16, 18, 29, 30, 31, 63] {
        let outcome = cpu.emulate(&with(CR0 ^ 1 << bit), &[0x0f, 0x22, 0xc0]);
        assert_eq!(outcome, Emulated::NotOurs, "CR0 bit {bit}");
    }
}

#[test]
fn control_register_4_takes_what_the_policy_leaves() {
    let cpu = Cpu { settable: 1 << 2 | 1 << 3, ..Cpu::kernel() };
    for (written, stored) in [(0x660, 0x660), (0, 0x660), (0x10660, 0x660), (u64::MAX, 0x66c), (0x4, 0x664)] {
        let regs = CpuUserRegs { rax: written, ..regs() };
        assert_eq!(effect_of(&cpu, &regs, &[0x0f, 0x22, 0xe0]), Effect::WriteCr4(stored), "{written:#x}");
    }
    let all = Cpu::kernel();
    let regs = CpuUserRegs { rax: u64::MAX, ..regs() };
    assert_eq!(effect_of(&all, &regs, &[0x0f, 0x22, 0xe0]), Effect::WriteCr4(0x5066c));
}

#[test]
fn debug_registers_follow_their_rules() {
    let mut cpu = Cpu::kernel();
    let with = |rax| CpuUserRegs { rax, ..regs() };
    // mov rax, dr7; mov rax, dr6
    assert_eq!(committed(&cpu, regs(), &[0x0f, 0x21, 0xf8]).0.rax, 0x400);
    assert_eq!(committed(&cpu, regs(), &[0x0f, 0x21, 0xf0]).0.rax, 0xffff_0ff0);
    // mov dr0, rax
    let set = [0x0f, 0x23, 0xc0];
    let Effect::SetDebugRegs(new) = effect_of(&cpu, &with(0x1000), &set) else { panic!("no write") };
    assert_eq!(new.dr[0], 0x1000);
    let outcome = cpu.emulate(&with(0xffff_8000_0000_0000), &set);
    assert_eq!(outcome, Emulated::Fault(Fault::PROTECTION));
    // mov dr7, rax with general detection; mov dr5, rax and mov rax, dr4 with CR4.DE.
    let control = [0x0f, 0x23, 0xf8];
    assert_eq!(cpu.emulate(&with(1 << 13), &control), Emulated::Fault(Fault::PROTECTION));
    cpu.cr4 |= 1 << 3;
    for bytes in [[0x0f, 0x23, 0xe8], [0x0f, 0x21, 0xe0]] {
        assert_eq!(cpu.emulate(&with(0), &bytes), Emulated::Fault(Fault::INVALID_OPCODE));
    }
}

#[test]
fn msrs_are_read_and_written() {
    let cpu = Cpu::kernel();
    let index = |rcx, rax, rdx| CpuUserRegs { rcx, rax, rdx, ..regs() };
    // Upper halves of the registers are ignored and cleared.
    let (after, _) = committed(&cpu, index(0xffff_ffff_c000_0100, !0, !0), &[0x0f, 0x32]);
    assert_eq!((after.rax, after.rdx), (0x7000_0000, 0));
    let written =
        effect_of(&cpu, &index(0xc000_0101, 0xffff_ffff_0000_1000, 0xffff_ffff_0000_7fff), &[0x0f, 0x30]);
    assert_eq!(written, Effect::WriteMsr(MsrEffect::GsBase(0x7fff_0000_1000)));
    let outcome = cpu.emulate(&index(0xc000_0101, 0, 0x8000), &[0x0f, 0x30]);
    assert_eq!(outcome, Emulated::Fault(Fault::PROTECTION));
    let unknown = index(0xc001_0055, 1, 2);
    assert_eq!(cpu.emulate(&unknown, &[0x0f, 0x32]), Emulated::Fault(Fault::PROTECTION));
    let early = Cpu { protection_handler: false, ..Cpu::kernel() };
    let (after, _) = committed(&early, unknown, &[0x0f, 0x32]);
    assert_eq!((after.rax, after.rdx), (0, 0));
}

#[test]
fn time_stamps_follow_the_guests_own_choice() {
    let mut cpu = Cpu::user();
    let (after, _) = committed(&cpu, regs(), &[0x0f, 0x31]);
    assert_eq!((after.rax, after.rdx), (0x3333_4444, 0x1111_2222));
    let (after, _) = committed(&cpu, regs(), &[0x0f, 0x01, 0xf9]);
    assert_eq!((after.rax, after.rdx, after.rcx), (0x3333_4444, 0x1111_2222, 42));
    cpu.cr4 |= 1 << 2;
    assert_eq!(cpu.emulate(&regs(), &[0x0f, 0x31]), Emulated::NotOurs);
    cpu.mode = Mode::Kernel;
    assert_ne!(cpu.emulate(&regs(), &[0x0f, 0x31]), Emulated::NotOurs);
}

#[test]
fn extended_state_needs_the_policy() {
    let set = [0x0f, 0x01, 0xd1];
    let mut cpu = Cpu::kernel();
    let with = |rcx, rax| CpuUserRegs { rcx, rax, rdx: 0, ..regs() };
    assert_eq!(cpu.emulate(&with(0, 7), &set), Emulated::Fault(Fault::INVALID_OPCODE));
    cpu.cr4 |= 1 << 18;
    assert_eq!(cpu.emulate(&with(0, 7), &set), Emulated::Fault(Fault::INVALID_OPCODE));
    cpu.xcr0 = 7;
    assert_eq!(effect_of(&cpu, &with(0, 7), &set), Effect::WriteXcr0(7));
    assert_eq!(effect_of(&cpu, &with(0, 1), &set), Effect::WriteXcr0(1));
    for (index, value) in [(1, 7), (0, 0), (0, 6), (0, 5), (0, 0xf), (0, 0xe7)] {
        let outcome = cpu.emulate(&with(index, value), &set);
        assert_eq!(outcome, Emulated::Fault(Fault::PROTECTION), "{index} {value:#x}");
    }
    cpu.xcr0 = 0xe7;
    for value in 0..=0xff {
        let outcome = cpu.emulate(&with(0, value), &set);
        if [1, 3, 7, 0xe7].contains(&value) {
            assert_eq!(retired(outcome).effect, Effect::WriteXcr0(value));
        } else {
            assert_eq!(outcome, Emulated::Fault(Fault::PROTECTION), "{value:#x}");
        }
    }
    // All 64 bits count (XSA-54 is what came of a value that was not checked).
    let high = CpuUserRegs { rdx: 1 << 30, ..with(0, 7) };
    assert_eq!(cpu.emulate(&high, &set), Emulated::Fault(Fault::PROTECTION));
}

#[test]
fn caches_are_not_flushed_for_a_guest() {
    assert_eq!(effect_of(&Cpu::kernel(), &regs(), &[0x0f, 0x09]), Effect::FlushCaches);
}

#[test]
fn cpuid_that_faults_gives_the_filtered_leaf() {
    for cpu in [Cpu::kernel(), Cpu::user()] {
        let (after, _) = committed(&cpu, regs(), &[0x0f, 0xa2]);
        let wanted = (0xa4a5_a6a7, 0xc4c5_c6c7, 0xc, 0xd);
        assert_eq!((after.rax, after.rbx, after.rcx, after.rdx), wanted);
    }
}

#[test]
fn the_forced_emulation_prefix_is_exact() {
    let cpu = Cpu::kernel();
    let prefixed = [0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2];
    let retire = retired(forced(&cpu, &regs(), &prefixed));
    let mut after = regs();
    assert_eq!(retire.commit(&mut after), 0);
    assert_eq!((after.rip, after.rax, after.rcx), (regs().rip + 7, 0xa4a5_a6a7, 0xc));
    assert_eq!(forced(&cpu, &regs(), &[0x0f, 0x0b]), Emulated::Fault(Fault::page(regs().rip + 2, 0)));
    for n in 0..prefixed.len() {
        let mut other = prefixed;
        other[n] ^= 1;
        assert_eq!(forced(&cpu, &regs(), &other), Emulated::NotOurs);
        let missing = Fault::page(regs().rip.wrapping_add(n as u64), 0);
        assert_eq!(forced(&cpu, &regs(), &prefixed[..n]), Emulated::Fault(missing));
    }
    // stac
    assert_eq!(forced(&cpu, &regs(), &[0x0f, 0x01, 0xcb]), Emulated::NotOurs);
}

#[test]
fn single_steps_are_reported_and_resume_cleared() {
    let stepping = CpuUserRegs { rflags: 0x10346, ..regs() };
    let (after, due) = committed(&Cpu::kernel(), stepping, &[0xfa]);
    assert_eq!((due, after.rflags), (DR6_SINGLE_STEP, 0x346));
}

#[test]
fn bytes_that_cannot_be_fetched_fault_where_they_are_missing() {
    let cpu = Cpu::kernel();
    let fault = |n| Emulated::Fault(Fault::page(regs().rip + n, 0));
    assert_eq!(cpu.emulate(&regs(), &[]), fault(0));
    assert_eq!(cpu.emulate(&regs(), &[0x0f]), fault(1));
    assert_eq!(cpu.emulate(&regs(), &[0x0f, 0x22]), fault(2));
}

#[test]
fn code_of_32_bits_wraps_and_decodes_differently() {
    let cpu = Cpu { bits: CodeBits::Bits32, iopl: 3, ..Cpu::user() };
    let high = CpuUserRegs { rip: 0xffff_ffff, ..regs() };
    assert_eq!(committed(&cpu, high, &[0xfa]).0.rip, 0);
    // `into` and `dec eax` exist in 32-bit code only.
    assert_eq!(decode(&[0xce], CodeBits::Bits32, 0).unwrap().form, Form::Int(4));
    assert_eq!(decode(&[0xce], CodeBits::Bits64, 0), None);
}
