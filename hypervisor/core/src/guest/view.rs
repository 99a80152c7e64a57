//! The running vcpu as the emulator sees it.

use paravane_abi::regs::CpuUserRegs;

use crate::addr::PAGE_SHIFT;
use crate::cpuid::{self, CpuidLeaf, CpuidPolicy};
use crate::debugreg::DebugRegs;
use crate::descriptor::{CodeBits, GuestTables, Policy, RESERVED_OFFSET, code_bits};
use crate::emulate::vector::INVALID_OPCODE;
use crate::emulate::{Cr4Rule, Mode, Segment, VirtualCpu};
use crate::fpu::XState;
use crate::hypervisor::Hypervisor;
use crate::machine::{Machine, SegmentBase};
use crate::msr::{MsrView, Vendor};

/// CR0 as a guest reads it: PG, AM, WP, NE, ET, MP, PE, as Xen sets it.
const CR0: u64 = 0x8005_0033 | 1 << 1;
const CR0_TS: u64 = 1 << 3;
/// `VMASST_TYPE_architectural_iopl`.
const ARCHITECTURAL_IOPL: u64 = 1 << 4;
/// EFER of the hardware: SCE, LME, LMA, NXE.
const EFER: u64 = 0xd01;
/// The vector of #GP.
const PROTECTION: usize = 13;

/// What the processor is, asked once.
#[derive(Clone, Copy, Debug)]
pub struct Processor {
    /// Its maker.
    pub vendor: Vendor,
    /// The revision of its microcode, if it is of a maker who tells.
    pub microcode: Option<u64>,
    /// It has RDTSCP or RDPID.
    pub has_tsc_aux: bool,
    /// It has `rdfsbase` and its like.
    pub has_fsgsbase: bool,
    /// It can keep programs from `sgdt` and its like.
    pub has_umip: bool,
    /// What of its x87 and vector state guests are offered.
    pub xstate: XState,
    /// Bits of MXCSR it has.
    pub mxcsr_mask: u32,
}

/// CR4.FSGSBASE, as the processor's own is while the vcpu runs: never behind its kernel's back (XSA-293).
const CR4_FSGSBASE: u64 = 1 << 16;
/// CR4.OSXSAVE.
const CR4_OSXSAVE: u64 = 1 << 18;

impl Processor {
    /// Asks CPUID, and looks at the state that nobody has used yet.
    pub fn detect(machine: &mut impl Machine) -> Self {
        let xstate = XState::detect(|leaf, subleaf| machine.cpuid(leaf, subleaf));
        let mut state = xstate.initial();
        machine.save_fpu(&mut state);
        let [_, name, ..] = machine.cpuid(0, 0);
        let vendor = match &name.to_le_bytes() {
            b"Genu" => Vendor::Intel,
            b"Auth" => Vendor::Amd,
            _ => Vendor::Other,
        };
        let [.., edx] = machine.cpuid(0x8000_0001, 0);
        let (has_tsc_aux, mxcsr_mask) = (edx >> 27 & 1 != 0, state.mxcsr_mask());
        let [highest, ..] = machine.cpuid(0, 0);
        let [_, features, more, _] = if highest >= 7 { machine.cpuid(7, 0) } else { [0; 4] };
        let (has_fsgsbase, has_umip) = (features & 1 != 0, more >> 2 & 1 != 0);
        let microcode = (vendor != Vendor::Other).then(|| machine.microcode());
        Self { vendor, microcode, has_tsc_aux, has_fsgsbase, has_umip, xstate, mxcsr_mask }
    }

    /// What guests may choose in CR4. FSGSBASE and OSXSAVE follow what CPUID shows them.
    pub fn cr4_rule(&self) -> Cr4Rule {
        let mut settable = Cr4Rule::XEN_SETTABLE;
        if !self.has_fsgsbase {
            settable &= !CR4_FSGSBASE;
        }
        if self.xstate.mask == 0 {
            settable &= !CR4_OSXSAVE;
        }
        Cr4Rule { settable, visible: Cr4Rule::XEN_VISIBLE }
    }
}

/// The running vcpu and its registers.
pub(super) struct View<'a, M> {
    hypervisor: &'a Hypervisor<M>,
    mode: Mode,
    cs: u16,
    /// The instruction is behind the forced-emulation prefix.
    forced: bool,
}

impl<M: Machine> Hypervisor<M> {
    /// The running vcpu as the emulator sees it.
    pub(super) fn view(&self, regs: &CpuUserRegs) -> View<'_, M> {
        View {
            hypervisor: self,
            mode: self.mode(regs),
            cs: regs.cs,
            forced: regs.entry_vector == u32::from(INVALID_OPCODE),
        }
    }

    /// Whether the virtual IOPL shows in frames and counts from ring 0.
    pub(super) fn architectural_iopl(&self) -> bool {
        self.domain().vm_assist & ARCHITECTURAL_IOPL != 0
    }

    /// A data selector as a processor can take it: null, or a present data segment of ring 3.
    pub(crate) fn loadable_data_selector(&mut self, selector: u16) -> Option<u16> {
        use crate::descriptor::bits::{CODE, PRESENT, SEGMENT, WRITABLE};
        if selector & !3 == 0 {
            return Some(0);
        }
        let selector = selector | 3;
        self.reach_descriptor(selector);
        let raw = self.descriptor(selector)?;
        let readable = raw & CODE == 0 || raw & WRITABLE != 0;
        let usable = raw & SEGMENT != 0 && raw & PRESENT != 0 && crate::descriptor::dpl(raw) == 3;
        (usable && readable).then_some(selector)
    }
}

impl<M: Machine> GuestTables for Hypervisor<M> {
    fn descriptor(&self, selector: u16) -> Option<u64> {
        if selector & 4 != 0 {
            return self.ldt_descriptor(selector);
        }
        if selector >= RESERVED_OFFSET {
            return self.reserved_gdt.get(usize::from(selector - RESERVED_OFFSET) / 8).copied();
        }
        let vcpu = self.vcpu();
        let index = usize::from(selector) / 8;
        let frame = vcpu.gdt[index / 512]?;
        Some(self.machine.read_word(frame, index % 512))
    }
}

impl<M: Machine> View<'_, M> {
    /// Xen shows a PV kernel that asks by the forced-emulation prefix its own OSXSAVE, whatever the kernel's CR4
    /// holds: Linux takes the bit for a sign that Xen can do XSAVE, before it sets CR4. Everybody else sees CR4's.
    fn shows_osxsave(&self) -> bool {
        let own = self.forced && self.mode == Mode::Kernel && self.xcr0_mask() != 0;
        own || self.cr4() & CR4_OSXSAVE != 0
    }

    fn cpuid_policy(&self) -> CpuidPolicy {
        let clock = self.hypervisor.clock.time_info(0);
        let highest = (self.hypervisor.frames.len() as u64).saturating_sub(1);
        CpuidPolicy {
            kernel: self.hypervisor.domain().policy,
            version: (4, 17),
            fsgsbase: self.hypervisor.processor.has_fsgsbase,
            invariant_tsc: false,
            tsc_khz: (self.hypervisor.clock.hz() / 1000) as u32,
            tsc_to_ns: clock.tsc_to_system_mul,
            tsc_shift: clock.tsc_shift,
            machine_address_bits: (u64::BITS - highest.leading_zeros() + PAGE_SHIFT) as u8,
            xstate: self.hypervisor.processor.xstate,
            xcr0: self.hypervisor.vcpu().xcr0,
            osxsave: self.shows_osxsave(),
        }
    }
}

impl<M: Machine> VirtualCpu for View<'_, M> {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn code_bits(&self) -> CodeBits {
        self.hypervisor.descriptor(self.cs).map_or(CodeBits::Bits64, code_bits)
    }

    fn iopl(&self) -> u8 {
        self.hypervisor.vcpu().iopl
    }

    fn architectural_iopl(&self) -> bool {
        self.hypervisor.architectural_iopl()
    }

    fn cr0(&self) -> u64 {
        CR0 | if self.hypervisor.vcpu().task_switched { CR0_TS } else { 0 }
    }

    fn cr2(&self) -> u64 {
        self.hypervisor.vcpu().cr2
    }

    fn cr3(&self) -> u64 {
        self.hypervisor.vcpu().paging.base().map_or(0, |base| base.address())
    }

    fn cr4(&self) -> u64 {
        self.cr4_rule().apply(self.hypervisor.vcpu().cr4)
    }

    fn cr4_rule(&self) -> Cr4Rule {
        self.hypervisor.processor.cr4_rule()
    }

    fn debug_registers(&self) -> DebugRegs {
        self.hypervisor.vcpu().debug
    }

    fn msrs(&self) -> MsrView {
        let machine = &self.hypervisor.machine;
        let vcpu = self.hypervisor.vcpu();
        let user = machine.segment_base(SegmentBase::GsUser);
        let kernel = machine.segment_base(SegmentBase::GsKernel);
        // A ring-1 kernel leaves GS to its programs, so there the user's base is always the live one.
        let ring3_kernel = self.hypervisor.domain().policy == Policy::Ring3 && self.mode() == Mode::Kernel;
        let (live, inactive) = if ring3_kernel { (kernel, user) } else { (user, kernel) };
        MsrView {
            vendor: self.hypervisor.processor.vendor,
            vcpu: vcpu.id,
            fs_base: machine.segment_base(SegmentBase::Fs),
            gs_base: live,
            gs_base_inactive: inactive,
            efer: EFER,
            tsc_aux: vcpu.tsc_aux,
            has_tsc_aux: self.hypervisor.processor.has_tsc_aux,
            misc_enable: None,
            microcode: self.hypervisor.processor.microcode,
            protection_handler: vcpu.traps[PROTECTION].address != 0,
        }
    }

    fn msr_exists(&self, _index: u32) -> bool {
        // Before it has a #GP handler a guest reads 0 from what it may not see, whether it exists or not.
        true
    }

    fn tsc(&self) -> u64 {
        self.hypervisor.machine.tsc()
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidLeaf {
        let native = |leaf, subleaf| {
            let [eax, ebx, ecx, edx] = self.hypervisor.machine.cpuid(leaf, subleaf);
            CpuidLeaf { eax, ebx, ecx, edx }
        };
        cpuid::filter(leaf, subleaf, native, &self.cpuid_policy())
    }

    fn xcr0_mask(&self) -> u64 {
        self.hypervisor.processor.xstate.mask
    }

    fn segment_base(&self, segment: Segment) -> Option<u64> {
        match segment {
            Segment::Fs => Some(self.hypervisor.machine.segment_base(SegmentBase::Fs)),
            Segment::Gs => Some(self.hypervisor.machine.segment_base(self.hypervisor.live_gs())),
            _ if self.code_bits() == CodeBits::Bits64 => Some(0),
            Segment::Ds => self.flat(self.hypervisor.machine.data_selectors()[0]),
            Segment::Es => self.flat(self.hypervisor.machine.data_selectors()[1]),
            Segment::Cs | Segment::Ss => Some(0),
        }
    }

    fn io_bitmap(&self, port: u16, width: u8) -> bool {
        let vcpu = self.hypervisor.vcpu();
        let end = u32::from(port) + u32::from(width);
        if vcpu.io_bitmap == 0 || end > vcpu.io_ports {
            return false;
        }
        let Some(memory) = self.hypervisor.kernel_memory() else { return false };
        (u32::from(port)..end).all(|port| {
            let address = vcpu.io_bitmap.wrapping_add(u64::from(port / 8));
            memory.read::<u8>(address).is_ok_and(|byte| byte >> (port % 8) & 1 == 0)
        })
    }
}

impl<M: Machine> View<'_, M> {
    /// The base of a 32-bit program's data segment, if it is usable.
    fn flat(&self, selector: u16) -> Option<u64> {
        let raw = self.hypervisor.descriptor(selector | 3)?;
        Some((raw >> 16 & 0xff_ffff) | (raw >> 56 & 0xff) << 24)
    }
}
