//! Random bytes and random operands.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const PREFIXES: &[u8] = &[0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x65, 0x48, 0x4f];
const OPCODES: &[&[u8]] = &[
    &[0x0f, 0x01],
    &[0x0f, 0x20],
    &[0x0f, 0x21],
    &[0x0f, 0x22],
    &[0x0f, 0x23],
    &[0x0f, 0x30],
    &[0x0f, 0x32],
    &[0x6c],
    &[0x6d],
    &[0x6e],
    &[0x6f],
    &[0xe4],
    &[0xe5],
    &[0xe6],
    &[0xec],
    &[0xef],
];
const WIDTHS: &[u8] = &[1, 2, 4, 8];

/// The same cases on every run.
fn seeded() -> ProptestConfig {
    ProptestConfig {
        cases: 10_000,
        rng_seed: RngSeed::Fixed(0x5eed),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn any_bytes_are_decided(bytes in prop::collection::vec(any::<u8>(), 0..20), kernel: bool, wide: bool) {
        let mut cpu = if kernel { Cpu::kernel() } else { Cpu::user() };
        cpu.iopl = 3;
        if !wide {
            cpu.bits = CodeBits::Bits32;
        }
        let before = regs();
        match cpu.emulate(&before, &bytes) {
            Emulated::Retire(retire) => {
                prop_assert!(retire.length > 0 && retire.length as usize <= bytes.len().min(MAX_LENGTH));
                let mut after = before;
                let _ = retire.with_port_value(0).commit(&mut after);
                // Nothing emulated touches the stack, the selectors or any flag but RF.
                prop_assert_eq!(after.rflags, before.rflags & !flag::RF);
                prop_assert_eq!((after.cs, after.ss, after.ds), (before.cs, before.ss, before.ds));
            }
            Emulated::StringIo(io) => prop_assert!(io.count <= 64),
            Emulated::Fault(fault) => {
                prop_assert_eq!(fault.address.is_some(), fault.vector == vector::PAGE_FAULT);
            }
            Emulated::NotOurs => {}
        }
        let _ = forced(&cpu, &before, &bytes);
        let _ = software_interrupt(&cpu, &CpuUserRegs { error_code: 0x102, ..before }, &bytes, |_| Some(3));
    }

    /// Prefixes and opcodes of instructions that are emulated, then anything.
    #[test]
    fn any_privileged_bytes_are_decided(
        prefixes in prop::collection::vec(prop::sample::select(PREFIXES), 0..4),
        opcode in prop::sample::select(OPCODES),
        tail in prop::collection::vec(any::<u8>(), 0..8),
        rcx: u64, rdi: u64, rdx: u64,
    ) {
        let bytes: Vec<u8> = prefixes.iter().chain(opcode).chain(&tail).copied().collect();
        let before = CpuUserRegs { rcx, rdi, rdx, ..regs() };
        if let Emulated::StringIo(io) = Cpu::kernel().emulate(&before, &bytes) {
            let mut after = before;
            let _ = io.commit(&mut after, io.count);
            let last = io.address.wrapping_add_signed(io.stride.wrapping_mul(io.count as i64 - 1));
            prop_assert!(io.count == 0 || crate::addr::VirtAddr::is_guest(io.address));
            prop_assert!(io.count == 0 || crate::addr::VirtAddr::is_guest(last));
        }
    }

    #[test]
    fn any_write_stays_in_its_entry(
        bytes in prop::collection::vec(any::<u8>(), 1..16), address: u64, entry: u64, aligned: bool,
    ) {
        let address = if aligned { address & !7 } else { address };
        let before = CpuUserRegs {
            rax: address, rcx: address, rdx: address, rbx: address, rsi: address, rdi: address, ..regs()
        };
        if let Ok(write) = page_table_write(&bytes, &before, address, SegmentBases::default()) {
            prop_assert_eq!(write.entry, address & !7);
            prop_assert!(address % 8 + write.width as u64 <= 8);
            let window = gpr::mask(write.width) << (8 * (address % 8));
            prop_assert_eq!((write.apply(entry) ^ entry) & !window, 0);
            let mut after = before;
            let _ = write.commit(&mut after, entry);
            let settable = flag::ARITHMETIC | flag::RF;
            prop_assert_eq!((after.rflags ^ before.rflags) & !settable, 0);
        }
    }

    /// Addition and subtraction against wide integers, bit by bit where that is the definition.
    #[test]
    fn sums_and_differences_have_the_right_flags(a: u64, b: u64, carry: bool, width in prop::sample::select(WIDTHS)) {
        let bits = width as u32 * 8;
        let (a, b) = (a & gpr::mask(width), b & gpr::mask(width));
        let extra = carry as u64;
        let flags = if carry { flag::CF } else { 0 };
        let signed = |value: u64| ((value << (64 - bits)) as i64 >> (64 - bits)) as i128;
        let range = -(1i128 << (bits - 1))..(1i128 << (bits - 1));

        let sum = alu::binary(Arithmetic::Adc, a, b, width, flags);
        let wide = a as u128 + b as u128 + extra as u128;
        prop_assert_eq!(sum.value as u128, wide & gpr::mask(width) as u128);
        prop_assert_eq!(sum.flags & flag::CF != 0, wide >> bits != 0);
        let exact = signed(a) + signed(b) + extra as i128;
        prop_assert_eq!(sum.flags & flag::OF != 0, !range.contains(&exact));
        prop_assert_eq!(sum.flags & flag::AF != 0, (a & 15) + (b & 15) + extra > 15);

        let difference = alu::binary(Arithmetic::Sbb, a, b, width, flags);
        prop_assert_eq!(difference.flags & flag::CF != 0, (a as u128) < b as u128 + extra as u128);
        let exact = signed(a) - signed(b) - extra as i128;
        prop_assert_eq!(difference.flags & flag::OF != 0, !range.contains(&exact));
        prop_assert_eq!(difference.flags & flag::AF != 0, (a & 15) < (b & 15) + extra);
        prop_assert_eq!(signed(difference.value), signed((exact as u64) & gpr::mask(width)));

        for result in [sum, difference] {
            prop_assert_eq!(result.flags & flag::ZF != 0, result.value == 0);
            prop_assert_eq!(result.flags & flag::SF != 0, signed(result.value) < 0);
            prop_assert_eq!(result.flags & flag::PF != 0, (result.value as u8).count_ones().is_multiple_of(2));
        }
    }
}
