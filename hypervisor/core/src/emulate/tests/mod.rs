mod int;
mod ports;
mod privileged;
mod ptwrite;
mod random;

use super::*;
use crate::descriptor::CodeBits;
use crate::msr::Vendor;
use std::vec::Vec;

/// A virtual CPU to be set up by each test.
struct Cpu {
    mode: Mode,
    bits: CodeBits,
    iopl: u8,
    architectural_iopl: bool,
    cr4: u64,
    settable: u64,
    debug: DebugRegs,
    protection_handler: bool,
    xcr0: u64,
    fs_base: u64,
    granted: Vec<u16>,
}

const CR0: u64 = 0x8005_0033;
const CR3: u64 = 0x1234_5000;
const TSC: u64 = 0x1111_2222_3333_4444;

impl Cpu {
    fn kernel() -> Cpu {
        Cpu {
            mode: Mode::Kernel,
            bits: CodeBits::Bits64,
            iopl: 1,
            architectural_iopl: false,
            cr4: Cr4Rule::XEN_VISIBLE,
            settable: Cr4Rule::XEN_SETTABLE,
            debug: DebugRegs::default(),
            protection_handler: true,
            xcr0: 0,
            fs_base: 0x7000_0000,
            granted: Vec::new(),
        }
    }

    fn user() -> Cpu {
        Cpu { mode: Mode::User, ..Cpu::kernel() }
    }

    fn emulate(&self, regs: &CpuUserRegs, bytes: &[u8]) -> Emulated {
        privileged(self, regs, bytes)
    }
}

impl VirtualCpu for Cpu {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn code_bits(&self) -> CodeBits {
        self.bits
    }

    fn iopl(&self) -> u8 {
        self.iopl
    }

    fn architectural_iopl(&self) -> bool {
        self.architectural_iopl
    }

    fn cr0(&self) -> u64 {
        CR0
    }

    fn cr2(&self) -> u64 {
        0xdead_0000
    }

    fn cr3(&self) -> u64 {
        CR3
    }

    fn cr4(&self) -> u64 {
        self.cr4
    }

    fn cr4_rule(&self) -> Cr4Rule {
        Cr4Rule { settable: self.settable, visible: Cr4Rule::XEN_VISIBLE }
    }

    fn debug_registers(&self) -> DebugRegs {
        self.debug
    }

    fn msrs(&self) -> MsrView {
        MsrView {
            vendor: Vendor::Amd,
            vcpu: 0,
            fs_base: self.fs_base,
            gs_base: 0x2000,
            gs_base_inactive: 0x3000,
            efer: 0xd01,
            tsc_aux: 42,
            has_tsc_aux: true,
            misc_enable: None,
            microcode: None,
            protection_handler: self.protection_handler,
        }
    }

    fn msr_exists(&self, index: u32) -> bool {
        index == 0xc001_0055
    }

    fn tsc(&self) -> u64 {
        TSC
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidLeaf {
        CpuidLeaf { eax: leaf, ebx: subleaf, ecx: 0xc, edx: 0xd }
    }

    fn xcr0_mask(&self) -> u64 {
        self.xcr0
    }

    fn segment_base(&self, segment: Segment) -> Option<u64> {
        match segment {
            Segment::Fs => Some(self.fs_base),
            Segment::Gs => None,
            _ => Some(0),
        }
    }

    fn io_bitmap(&self, port: u16, width: u8) -> bool {
        (port..port + width as u16).all(|port| self.granted.contains(&port))
    }
}

/// Registers with a different value in each.
fn regs() -> CpuUserRegs {
    CpuUserRegs {
        rax: 0xa0a1_a2a3_a4a5_a6a7,
        rcx: 0xc0c1_c2c3_c4c5_c6c7,
        rdx: 0xd0d1_d2d3_d4d5_d6d7,
        rbx: 0xb0b1_b2b3_b4b5_b6b7,
        rsi: 0x0000_5000_0000_1000,
        rdi: 0x0000_5000_0000_2000,
        r15: 0xf0f1_f2f3_f4f5_f6f7,
        rip: 0xffff_ffff_8100_0000,
        rflags: 0x10246,
        ..CpuUserRegs::default()
    }
}

/// The instruction completes; what remains is checked by the caller.
fn retired(outcome: Emulated) -> Retire {
    match outcome {
        Emulated::Retire(retire) => retire,
        other => panic!("not completed: {other:?}"),
    }
}

/// The registers after an instruction without effect, and the #DB it owes.
fn committed(cpu: &Cpu, mut regs: CpuUserRegs, bytes: &[u8]) -> (CpuUserRegs, u32) {
    let retire = retired(cpu.emulate(&regs, bytes));
    assert_eq!(retire.effect, Effect::None);
    assert_eq!(retire.length as usize, bytes.len());
    let due = retire.commit(&mut regs);
    (regs, due)
}
