//! The processor as the hypervisor sets it up once and never lets a guest change.

pub mod fpu;
pub mod interrupts;
pub mod local;
pub mod msr;

use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};

/// Which optional protections the processor has.
#[derive(Clone, Copy, Debug, Default)]
struct Features {
    /// User-mode instruction prevention: sgdt and its like fault outside ring 0.
    umip: bool,
    /// Supervisor-mode execution prevention: keeps ring 1 from running user pages.
    smep: bool,
}

impl Features {
    /// Asks CPUID leaves 1 and 7.
    fn detect() -> Self {
        let max = core::arch::x86_64::__cpuid(0).eax;
        let leaf7 = (max >= 7).then(|| core::arch::x86_64::__cpuid_count(7, 0));
        let bit = |value: u32, bit: u32| value >> bit & 1 != 0;
        Self {
            umip: leaf7.is_some_and(|leaf| bit(leaf.ecx, 2)),
            smep: leaf7.is_some_and(|leaf| bit(leaf.ebx, 7)),
        }
    }
}

/// Page-attribute table of Xen's PV ABI (WB, WT, UC-, UC, WC, WP, UC, UC): guests read it and rely on it.
const PAT: u64 = 0x0000_0501_0007_0406;

/// Sets this processor's control registers, page attributes and floating-point state.
pub fn initialise() {
    initialise_control_registers(Features::detect());
    msr::write(msr::PAT, PAT);
    fpu::initialise();
}

/// MXCSR after a reset: all exceptions masked.
const MXCSR_DEFAULT: u32 = 0x1f80;

/// Sets CR0, CR4 and EFER for good.
///
/// WP is what makes page tables read-only to ring 1 (invariant 3). SMAP stays off: QEMU 7.2 does the stack
/// reads of a ring-3 kernel's `iretq` as supervisor. PGE stays off: nothing is global. PCE stays off, and
/// TSD until a guest wants it.
fn initialise_control_registers(features: Features) {
    let mut cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION
        | Cr4Flags::OSFXSR
        | Cr4Flags::OSXMMEXCPT_ENABLE
        | Cr4Flags::DEBUGGING_EXTENSIONS
        | Cr4Flags::MACHINE_CHECK_EXCEPTION;
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.umip);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.smep);
    let cr0 = Cr0Flags::PROTECTED_MODE_ENABLE
        | Cr0Flags::MONITOR_COPROCESSOR
        | Cr0Flags::EXTENSION_TYPE
        | Cr0Flags::NUMERIC_ERROR
        | Cr0Flags::WRITE_PROTECT
        | Cr0Flags::ALIGNMENT_MASK
        | Cr0Flags::PAGING;
    // SAFETY: long mode and paging stay as they are; the rest are the protections described above.
    unsafe {
        Cr4::write(cr4);
        Cr0::write(cr0);
        Efer::write(
            EferFlags::SYSTEM_CALL_EXTENSIONS
                | EferFlags::LONG_MODE_ENABLE
                | EferFlags::LONG_MODE_ACTIVE
                | EferFlags::NO_EXECUTE_ENABLE,
        );
        // The first guest finds floating point as after a reset (SDM vol. 1, 8.1.5 and 11.6.4).
        core::arch::asm!("fninit", "ldmxcsr [{}]", in(reg) &MXCSR_DEFAULT, options(nostack, readonly));
    }
}

/// Writes a debug register; DR4 and DR5 are aliases and never passed.
pub fn write_debug_register(index: u8, value: u64) {
    use core::arch::asm;
    // SAFETY: breakpoints act on guests only: `core` refuses addresses of the hypervisor's and DR7.GD.
    unsafe {
        match index {
            0 => asm!("mov dr0, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            1 => asm!("mov dr1, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            2 => asm!("mov dr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            3 => asm!("mov dr3, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            6 => asm!("mov dr6, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            7 => asm!("mov dr7, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            _ => {}
        }
    }
}

/// Loads GS. The selector is null or names a present, readable segment of DPL 3 in the loaded GDT, which `core`
/// has checked, ring 3's code segments marked present beforehand, and no guest can change meanwhile; so this
/// cannot fault.
pub fn load_gs(selector: u16) {
    // SAFETY: ring 0 keeps nothing in GS.
    unsafe {
        core::arch::asm!("mov gs, {:e}", in(reg) u32::from(selector), options(nostack, preserves_flags))
    }
}

/// Makes `sgdt` and its like fault outside ring 0, where the processor can, or lets them be executed: Xen's PV guests
/// may, and in a kernel that knows ring 3 only they may stand anywhere. What they tell is the same everywhere.
pub fn prevent_user_instructions(prevent: bool) {
    if Features::detect().umip {
        // SAFETY: ring 0 may execute them in any case.
        unsafe { Cr4::update(|flags| flags.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, prevent)) };
    }
}

/// Makes pages that are for ring 3 too fault when ring 1 executes them (SMEP), where the processor can, or lets them be
/// executed: a kernel that believes itself on a processor without SMEP may.
pub fn prevent_user_execution(prevent: bool) {
    let smep = Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION;
    // The register first: to ask a processor what it has may cost much more, where it is a virtual one.
    if Cr4::read().contains(smep) != prevent && Features::detect().smep {
        // SAFETY: ring 0 runs on its own tables, in which no page is for ring 3 but those it never executes.
        unsafe { Cr4::update(|flags| flags.set(smep, prevent)) };
    }
}

/// Sets the bits of CR4 that a guest's kernel chooses, where the processor has them.
pub fn set_guest_cr4(value: u64) {
    let guests = Cr4Flags::TIMESTAMP_DISABLE | Cr4Flags::FSGSBASE;
    let (old, chosen) = (Cr4::read(), Cr4Flags::from_bits_truncate(value) & guests);
    if old & guests != chosen {
        // SAFETY: ring 0 may read the counter in any case, reads and writes bases by their registers, and keeps nothing
        // in FS and GS.
        unsafe { Cr4::write((old - guests) | chosen) };
    }
}

/// Exchanges the live GS base with the other one.
pub fn swap_gs() {
    // SAFETY: ring 0 keeps nothing in GS.
    unsafe { core::arch::asm!("swapgs", options(nomem, nostack, preserves_flags)) }
}

/// Loads DS, ES, FS and GS, each under the conditions of [`load_gs`].
pub fn load_data_selectors(selectors: [u16; 4]) {
    let [ds, es, fs, gs] = selectors.map(u32::from);
    // SAFETY: as in `load_gs`; in 64-bit mode ring 0's accesses use none of the four.
    unsafe {
        core::arch::asm!(
            "mov ds, {:e}", "mov es, {:e}", "mov fs, {:e}", "mov gs, {:e}",
            in(reg) ds, in(reg) es, in(reg) fs, in(reg) gs, options(nostack, preserves_flags)
        )
    }
}

/// DS, ES, FS and GS.
pub fn data_selectors() -> [u16; 4] {
    let (ds, es, fs, gs): (u32, u32, u32, u32);
    // SAFETY: reads registers.
    unsafe {
        core::arch::asm!(
            "mov {:e}, ds", "mov {:e}, es", "mov {:e}, fs", "mov {:e}, gs",
            out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags)
        )
    }
    [ds, es, fs, gs].map(|selector| selector as u16)
}

/// Whether the processor has TSC_AUX: RDTSCP, CPUID 0x8000_0001 EDX bit 27. All processors of a machine are alike.
pub fn has_tsc_aux() -> bool {
    core::arch::x86_64::__cpuid(0x8000_0000).eax > 0x8000_0000
        && core::arch::x86_64::__cpuid(0x8000_0001).edx >> 27 & 1 != 0
}
