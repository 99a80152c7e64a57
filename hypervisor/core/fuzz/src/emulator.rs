//! Instructions: any bytes, in any registers, on a virtual processor in any state.

use arbitrary::{Result, Unstructured};
use paravane_abi::regs::CpuUserRegs;
use paravane_core::addr::VirtAddr;
use paravane_core::cpuid::CpuidLeaf;
use paravane_core::debugreg::DebugRegs;
use paravane_core::descriptor::CodeBits;
use paravane_core::emulate::{
    Cr4Rule, Emulated, MAX_LENGTH, Mode, Segment, SegmentBases, VirtualCpu, decode, flag, forced,
    page_table_write, privileged, software_interrupt, vector,
};
use paravane_core::msr::{MsrView, Vendor};

/// Most elements that one step of a string instruction moves.
const STRING_STEP: u64 = 64;

struct Cpu {
    mode: Mode,
    bits: CodeBits,
    iopl: u8,
    architectural_iopl: bool,
    cr0: u64,
    cr4: u64,
    protection_handler: bool,
    intel: bool,
    xcr0: u64,
    bases: [Option<u64>; 6],
    granted: bool,
}

impl Cpu {
    fn choose(choice: &mut Unstructured<'_>) -> Result<Self> {
        Ok(Self {
            mode: *choice.choose(&[Mode::Kernel, Mode::User])?,
            bits: *choice.choose(&[
                CodeBits::Bits64,
                CodeBits::Bits64,
                CodeBits::Bits32,
                CodeBits::Bits16,
            ])?,
            iopl: choice.int_in_range(0..=3)?,
            architectural_iopl: choice.arbitrary()?,
            cr0: 0x8005_0033 | u64::from(choice.arbitrary::<bool>()?) << 3,
            cr4: Cr4Rule::XEN_VISIBLE | choice.arbitrary::<u64>()? & Cr4Rule::XEN_SETTABLE,
            protection_handler: choice.arbitrary()?,
            intel: choice.arbitrary()?,
            xcr0: *choice.choose(&[0, 7])?,
            bases: [Some(0), Some(0), Some(0), Some(0), choice.arbitrary()?, choice.arbitrary()?],
            granted: choice.arbitrary()?,
        })
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
        self.cr0
    }

    fn cr2(&self) -> u64 {
        0xdead_0000
    }

    fn cr3(&self) -> u64 {
        0x1234_5000
    }

    fn cr4(&self) -> u64 {
        self.cr4
    }

    fn cr4_rule(&self) -> Cr4Rule {
        Cr4Rule { settable: Cr4Rule::XEN_SETTABLE, visible: Cr4Rule::XEN_VISIBLE }
    }

    fn debug_registers(&self) -> DebugRegs {
        DebugRegs::default()
    }

    fn msrs(&self) -> MsrView {
        MsrView {
            vendor: if self.intel { Vendor::Intel } else { Vendor::Amd },
            vcpu: 0,
            fs_base: 0x1000,
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
        index & 1 != 0
    }

    fn tsc(&self) -> u64 {
        0x1111_2222_3333_4444
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidLeaf {
        CpuidLeaf { eax: leaf, ebx: subleaf, ecx: 0xc, edx: 0xd }
    }

    fn xcr0_mask(&self) -> u64 {
        self.xcr0
    }

    fn segment_base(&self, segment: Segment) -> Option<u64> {
        self.bases[segment as usize]
    }

    fn io_bitmap(&self, _: u16, _: u8) -> bool {
        self.granted
    }
}

/// Any bytes are decoded within their length; what is emulated changes what its instruction may change; a write to a
/// page table stays in its entry.
pub fn instructions(input: &[u8]) {
    // An input that ends early has said enough.
    let _ = instruction(&mut Unstructured::new(input));
}

/// A word that is an address, a small number, or anything.
fn word(choice: &mut Unstructured<'_>) -> Result<u64> {
    match choice.int_in_range(0..=3)? {
        0 => choice.int_in_range(0..=0x100),
        1 => Ok(*choice.choose(&[
            0x5000_0000_1000,
            u64::MAX,
            (1 << 47) - 8,
            0xffff_8000_0000_0000,
            0xc000_0100,
        ])?),
        _ => choice.arbitrary(),
    }
}

fn instruction(choice: &mut Unstructured<'_>) -> Result<()> {
    let cpu = Cpu::choose(choice)?;
    let (rax, rcx, rdx, rbx) = (word(choice)?, word(choice)?, word(choice)?, word(choice)?);
    let (rsi, rdi, r8, rip) = (word(choice)?, word(choice)?, word(choice)?, word(choice)?);
    let settable = flag::ARITHMETIC | flag::TF | flag::DF | flag::RF | flag::AC | flag::ID;
    let rflags = choice.arbitrary::<u64>()? & settable | flag::IF | flag::ONE;
    let (error_code, entry) = (choice.arbitrary()?, choice.arbitrary()?);
    let regs =
        CpuUserRegs { rax, rcx, rdx, rbx, rsi, rdi, r8, rip, rflags, error_code, ..CpuUserRegs::default() };
    let mut bytes = choice.bytes(choice.len().min(MAX_LENGTH + 2))?.to_vec();
    for forced_prefix in [false, true] {
        if forced_prefix {
            bytes.splice(..0, *b"\x0f\x0bxen");
        }
        if let Some(decoded) = decode(&bytes, cpu.bits, rip) {
            assert!((1..=bytes.len().min(MAX_LENGTH)).contains(&usize::from(decoded.length)));
        }
        decided(&cpu, &regs, &bytes, privileged(&cpu, &regs, &bytes));
        decided(&cpu, &regs, &bytes, forced(&cpu, &regs, &bytes));
        let _ = software_interrupt(&cpu, &regs, &bytes, |vector| Some(vector & 3));
        write(&regs, &bytes, rdi, entry);
    }
    Ok(())
}

fn decided(cpu: &Cpu, before: &CpuUserRegs, bytes: &[u8], emulated: Emulated) {
    match emulated {
        Emulated::Retire(retire) => {
            assert!(retire.length > 0 && usize::from(retire.length) <= bytes.len(), "{retire:?}");
            let mut after = *before;
            let _ = retire.with_port_value(0).commit(&mut after);
            // Nothing emulated touches the selectors or any flag but RF.
            assert_eq!(after.rflags, before.rflags & !flag::RF);
            assert_eq!((after.cs, after.ss), (before.cs, before.ss));
        }
        Emulated::StringIo(io) => {
            assert!(io.count <= STRING_STEP);
            let last = io.address.wrapping_add_signed(io.stride.wrapping_mul(io.count as i64 - 1));
            let guest = VirtAddr::is_guest(io.address) && VirtAddr::is_guest(last);
            assert!(io.count == 0 || guest || cpu.bits != CodeBits::Bits64, "{io:?}");
            let _ = io.commit(&mut before.clone(), io.count);
        }
        Emulated::Fault(fault) => {
            assert_eq!(fault.address.is_some(), fault.vector == vector::PAGE_FAULT, "{fault:?}");
        }
        Emulated::NotOurs => {}
    }
}

/// A write to a page table at `address`, whose entry holds `entry`.
fn write(regs: &CpuUserRegs, bytes: &[u8], address: u64, entry: u64) {
    let Ok(write) = page_table_write(bytes, regs, address, SegmentBases::default()) else { return };
    assert_eq!(write.entry, address & !7);
    let shift = 8 * (address % 8);
    assert!(address % 8 + u64::from(write.width) <= 8, "{write:?}");
    let window = (u64::MAX >> (64 - 8 * u32::from(write.width))) << shift;
    assert_eq!((write.apply(entry) ^ entry) & !window, 0, "{write:?}");
    let mut after = *regs;
    let _ = write.commit(&mut after, entry);
    assert_eq!((after.rflags ^ regs.rflags) & !(flag::ARITHMETIC | flag::RF), 0, "{write:?}");
    assert_eq!((after.cs, after.ss), (regs.cs, regs.ss));
}
