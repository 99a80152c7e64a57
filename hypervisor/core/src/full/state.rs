//! The registers of a virtual processor that believes it is a real one.

use super::segments::RealGdt;
use crate::bounce::SETTABLE;
use crate::debugreg::DebugRegs;
use crate::descriptor::{CodeBits, RESERVED_OFFSET, RING1_CS64, RING1_SS, USER_CS32, code_bits};
use crate::emulate::{Mode, flag};
use crate::iret::exit_flags;
use crate::msr::{PAT_VALUE, Vendor};
use paravane_abi::regs::CpuUserRegs;

/// Bits of CR0 (SDM volume 3, 2.5).
pub mod cr0 {
    /// Protected mode.
    pub const PE: u64 = 1 << 0;
    /// Monitor coprocessor.
    pub const MP: u64 = 1 << 1;
    /// Emulate the coprocessor.
    pub const EM: u64 = 1 << 2;
    /// Task switched: the next use of the FPU raises #NM.
    pub const TS: u64 = 1 << 3;
    /// Always set.
    pub const ET: u64 = 1 << 4;
    /// Native FPU errors.
    pub const NE: u64 = 1 << 5;
    /// Supervisor writes obey read-only pages.
    pub const WP: u64 = 1 << 16;
    /// Alignment checks in ring 3.
    pub const AM: u64 = 1 << 18;
    /// Not write-through.
    pub const NW: u64 = 1 << 29;
    /// Caches off.
    pub const CD: u64 = 1 << 30;
    /// Paging.
    pub const PG: u64 = 1 << 31;
    /// All that exist.
    pub const ALL: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// Bits of CR4 (SDM volume 3, 2.5).
pub mod cr4 {
    /// `rdtsc` in the kernel only.
    pub const TSD: u64 = 1 << 2;
    /// Debugging extensions.
    pub const DE: u64 = 1 << 3;
    /// 4 MiB pages; without meaning in long mode.
    pub const PSE: u64 = 1 << 4;
    /// Physical address extension; always on in long mode.
    pub const PAE: u64 = 1 << 5;
    /// Machine checks.
    pub const MCE: u64 = 1 << 6;
    /// Global pages.
    pub const PGE: u64 = 1 << 7;
    /// `rdpmc` for programs.
    pub const PCE: u64 = 1 << 8;
    /// `fxsave`, SSE.
    pub const OSFXSR: u64 = 1 << 9;
    /// #XM.
    pub const OSXMMEXCPT: u64 = 1 << 10;
    /// `sgdt` and its like in the kernel only.
    pub const UMIP: u64 = 1 << 11;
    /// `rdfsbase` and its like.
    pub const FSGSBASE: u64 = 1 << 16;
    /// XSAVE.
    pub const OSXSAVE: u64 = 1 << 18;
    /// No execution of programs' pages by the kernel.
    pub const SMEP: u64 = 1 << 20;
    /// No access to programs' pages by the kernel.
    pub const SMAP: u64 = 1 << 21;
    /// What page-table entries mean depends on these.
    pub const PAGING: u64 = PSE | PAE | PGE | SMEP | SMAP;
    /// What a virtual processor has. SMEP, SMAP, PCID, protection keys and five levels are hidden: ring 1 is to the
    /// real processor as much the supervisor as ring 0, but shadow tables do not model them.
    pub const OFFERED: u64 = TSD | DE | PSE | PAE | MCE | PGE | PCE | OSFXSR | OSXMMEXCPT | UMIP | FSGSBASE;
}

/// Bits of EFER (SDM volume 3, 2.2.1).
pub mod efer {
    /// `syscall` exists.
    pub const SCE: u64 = 1 << 0;
    /// Long mode enabled.
    pub const LME: u64 = 1 << 8;
    /// Long mode active; read-only.
    pub const LMA: u64 = 1 << 10;
    /// Pages that cannot be executed.
    pub const NXE: u64 = 1 << 11;
}

/// What a virtual processor has. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Bits of CR4 that exist; of OSXSAVE only where `xcr0` is not 0.
    pub cr4: u64,
    /// Width of a guest-physical address in bits, 36 to 52.
    pub physical_bits: u8,
    /// Whether EFER.NXE exists.
    pub no_execute: bool,
    /// Bits of XCR0 that exist; 0 hides XSAVE.
    pub xcr0: u64,
    /// The maker, where an MSR depends on it.
    pub vendor: Vendor,
    /// Whether RDTSCP and TSC_AUX exist.
    pub tsc_aux: bool,
    /// MISC_ENABLE, where it exists.
    pub misc_enable: Option<u64>,
    /// The microcode revision, where it has an MSR.
    pub microcode: Option<u64>,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            cr4: cr4::OFFERED,
            physical_bits: 40,
            no_execute: true,
            xcr0: 0,
            vendor: Vendor::Other,
            tsc_aux: true,
            misc_enable: None,
            microcode: None,
        }
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRegister {
    /// Linear address; canonical.
    pub base: u64,
    /// The last valid offset.
    pub limit: u16,
}

/// TR or LDTR with what it caches of its descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemRegister {
    /// The selector; null for no LDT.
    pub selector: u16,
    /// Linear address; canonical.
    pub base: u64,
    /// The last valid offset.
    pub limit: u32,
}

/// CS with what it caches of its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeSegment {
    /// The selector as the guest set it: RPL 0 for its kernel, though ring 1 runs it.
    pub selector: u16,
    /// How instructions are decoded; always 64 bits in the kernel.
    pub bits: CodeBits,
    /// Added to RIP outside 64-bit mode.
    pub base: u64,
}

/// Interrupts wait until one instruction behind `sti` or a load of SS has run (SDM volume 3, 6.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The address of that instruction.
    pub rip: u64,
    /// Entries of the hypervisor at this address after which the shadow is given up. The instruction runs on the real
    /// processor, so nobody says that it ran; and `sti; jmp .` stays at its address.
    pub patience: u8,
}

impl Shadow {
    const PATIENCE: u8 = 4;
}

/// A virtual processor. FS and GS bases, and nothing else here, live in the real processor while the guest runs: they
/// must be read into this structure on entry, as the guest can change them by loading a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FullCpu {
    /// What it has.
    pub model: Model,
    /// Kernel: virtual ring 0, really ring 1. User: ring 3 in both.
    pub mode: Mode,
    /// CS, with the guest's RPL.
    pub cs: CodeSegment,
    /// SS, with the guest's RPL.
    pub ss: u16,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    /// The task priority, 4 bits. There is no local APIC that would obey it.
    pub cr8: u8,
    pub efer: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub kernel_gs_base: u64,
    pub pat: u64,
    pub tsc_aux: u32,
    pub gdtr: TableRegister,
    pub idtr: TableRegister,
    pub ldtr: SystemRegister,
    pub tr: SystemRegister,
    pub debug: DebugRegs,
    pub xcr0: u64,
    /// RFLAGS.IF as the guest set it. The real one is always set.
    pub interrupts: bool,
    /// RFLAGS.IOPL as the guest set it, 0 to 3. The real one is always 0.
    pub iopl: u8,
    /// Interrupts wait for one instruction.
    pub shadow: Option<Shadow>,
    /// It waits for an interrupt.
    pub halted: bool,
    /// An NMI's handler has not yet returned (SDM volume 3, 6.7.1).
    pub nmi_blocked: bool,
    /// DR6 bits of a #DB that is due before the next instruction.
    pub pending_debug: u32,
}

impl FullCpu {
    /// The processor as a kernel finds it at its 64-bit entry: long mode with the loader's tables at `cr3`, interrupts
    /// off, no descriptor tables, RBX pointing to `hvm_start_info`. The task register is as after a reset (SDM
    /// volume 3, table 10-1).
    pub fn start(model: Model, cr3: u64, entry: u64, start_info: u64) -> (FullCpu, CpuUserRegs) {
        let cpu = FullCpu {
            model,
            mode: Mode::Kernel,
            cs: CodeSegment { selector: 0x08, bits: CodeBits::Bits64, base: 0 },
            ss: 0,
            cr0: cr0::PG | cr0::WP | cr0::NE | cr0::ET | cr0::PE,
            cr2: 0,
            cr3,
            cr4: cr4::PAE,
            cr8: 0,
            efer: efer::LME | efer::LMA,
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            fs_base: 0,
            gs_base: 0,
            kernel_gs_base: 0,
            pat: PAT_VALUE,
            tsc_aux: 0,
            gdtr: TableRegister::default(),
            idtr: TableRegister::default(),
            ldtr: SystemRegister::default(),
            tr: SystemRegister { selector: 0, base: 0, limit: 0xffff },
            debug: DebugRegs::default(),
            xcr0: 1,
            interrupts: false,
            iopl: 0,
            shadow: None,
            halted: false,
            nmi_blocked: false,
            pending_debug: 0,
        };
        let regs = CpuUserRegs {
            rip: entry,
            rbx: start_info,
            cs: RING1_CS64,
            ss: RING1_SS,
            rflags: flag::ONE | flag::IF,
            ..CpuUserRegs::default()
        };
        (cpu, regs)
    }

    /// The virtual privilege level: 0 or 3.
    pub const fn cpl(&self) -> u16 {
        match self.mode {
            Mode::Kernel => 0,
            Mode::User => 3,
        }
    }

    /// RFLAGS as the guest should see them: the real ones with the virtual IF and IOPL.
    pub const fn flags(&self, real: u64) -> u64 {
        let interrupts = if self.interrupts { flag::IF } else { 0 };
        let iopl = ((self.iopl & 3) as u64) << flag::IOPL_SHIFT;
        (real & SETTABLE & !(flag::VIF | flag::VIP)) | flag::ONE | interrupts | iopl
    }

    /// Takes over RFLAGS as ring 0 loads them (SDM volume 2, IRET), and returns the real ones. VM cannot be set in long
    /// mode, and VIF and VIP have no use there.
    pub fn load_flags(&mut self, flags: u64) -> u64 {
        self.interrupts = flags & flag::IF != 0;
        self.iopl = ((flags & flag::IOPL) >> flag::IOPL_SHIFT) as u8;
        exit_flags(flags & !(flag::VIF | flag::VIP))
    }

    /// Whether a maskable interrupt may be delivered now.
    pub fn takes_interrupts(&self) -> bool {
        self.interrupts && self.shadow.is_none()
    }

    /// Whether an NMI may be delivered now.
    pub const fn takes_nmi(&self) -> bool {
        !self.nmi_blocked && self.shadow.is_none()
    }

    /// Holds interrupts back for the instruction at `rip`.
    pub(super) fn shade(&mut self, rip: u64) {
        self.shadow = Some(Shadow { rip, patience: Shadow::PATIENCE });
    }

    /// Notes what the real processor saved at an entry by exception or interrupt: which half of the guest ran, and the
    /// selectors it loaded by itself.
    pub fn entered(&mut self, regs: &CpuUserRegs, real: &impl RealGdt) {
        self.mode = if regs.cs & 3 == 3 { Mode::User } else { Mode::Kernel };
        self.cs = self.code_segment(regs.cs, real);
        self.ss = self.seen(regs.ss, self.ss);
        self.shadow = match self.shadow {
            Some(shadow) if shadow.rip == regs.rip && shadow.patience > 0 => {
                Some(Shadow { patience: shadow.patience - 1, ..shadow })
            }
            _ => None,
        };
    }

    fn code_segment(&self, real_cs: u16, real: &impl RealGdt) -> CodeSegment {
        let selector = self.seen(real_cs, self.cs.selector);
        if self.mode == Mode::Kernel {
            return CodeSegment { selector, bits: CodeBits::Bits64, base: 0 };
        }
        if real_cs >= RESERVED_OFFSET {
            let bits = if real_cs == USER_CS32 { CodeBits::Bits32 } else { CodeBits::Bits64 };
            return CodeSegment { selector, bits, base: 0 };
        }
        let raw = real.get(real_cs >> 3);
        let bits = code_bits(raw);
        let base = if bits == CodeBits::Bits64 { 0 } else { super::table::base(raw) };
        CodeSegment { selector, bits, base }
    }

    /// A real selector as the guest knows it. The hypervisor's own stand for one that could not be loaded.
    fn seen(&self, real: u16, kept: u16) -> u16 {
        let selector = if real >= RESERVED_OFFSET { kept } else { real };
        (selector & !3) | self.cpl()
    }

    /// The ring that runs this half of the guest.
    pub const fn real_ring(&self) -> u16 {
        match self.mode {
            Mode::Kernel => 1,
            Mode::User => 3,
        }
    }

    /// Writes CS and SS into the registers, with the RPL of the ring that runs them.
    pub(super) fn set_selectors(&self, regs: &mut CpuUserRegs) {
        regs.cs = (self.cs.selector & !3) | self.real_ring();
        regs.ss = (self.ss & !3) | self.real_ring();
    }
}
