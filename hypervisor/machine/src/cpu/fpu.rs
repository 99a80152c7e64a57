//! x87 and vector state: switched whole, by XSAVE where the processor has it.
//!
//! Plain XSAVE and XRSTOR on purpose. XSAVEOPT may leave out what has not changed since the XRSTOR from the same
//! address, and an area's address can come to another vcpu; XSAVES needs IA32_XSS. Every component is saved and loaded
//! whatever the guest's XCR0 holds, so none of another vcpu's can be left in the registers.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

use paravane_core::fpu::{FpuState, XState, component};
use spin::Once;
use x86_64::registers::control::{Cr4, Cr4Flags};

/// How this machine's processors save state. All are alike: [`initialise`] looks.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Components to save and load; 0 for FXSAVE.
    mask: u64,
    /// Bytes they take.
    size: usize,
    /// FXRSTOR and XRSTOR leave the pointers to the last x87 instruction alone unless an exception is pending.
    keeps_pointers: bool,
}

/// CPUID as the processor answers it: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = __cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

impl Method {
    /// What this processor can do.
    pub fn detect() -> Self {
        let state = XState::detect(cpuid);
        Self { mask: state.mask, size: state.size(state.mask), keeps_pointers: keeps_pointers() }
    }

    /// XCR0 as [`initialise`] and [`Self::load`] leave it: all components that are switched.
    pub const fn all(self) -> u64 {
        self.mask
    }

    /// Saves state. XCR0 must have all components.
    pub fn save(self, state: &mut FpuState) {
        assert!(state.bytes().len() >= self.size);
        let area = state.bytes_mut().as_mut_ptr();
        let (low, high) = (self.mask as u32, (self.mask >> 32) as u32);
        // SAFETY: TS is clear. The area is aligned to 64 bytes and has room for all components of the mask.
        unsafe {
            if self.mask == 0 {
                asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags));
            } else {
                asm!("xsave64 [{}]", in(reg) area, in("eax") low, in("edx") high, options(nostack, preserves_flags));
            }
        }
    }

    /// Loads state. XCR0 must have all components.
    pub fn load(self, state: &FpuState) {
        assert!(state.bytes().len() >= self.size);
        if self.keeps_pointers {
            clear_pointers();
        }
        let area = state.bytes().as_ptr();
        let (low, high) = (self.mask as u32, (self.mask >> 32) as u32);
        // SAFETY: TS is clear, and ring 0 uses none of the registers. The area is as for `save`; `FpuState` keeps its
        // header and MXCSR such that this cannot fault.
        unsafe {
            if self.mask == 0 {
                asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags, readonly));
            } else {
                asm!(
                    "xrstor64 [{}]", in(reg) area, in("eax") low, in("edx") high,
                    options(nostack, preserves_flags, readonly)
                );
            }
        }
    }
}

/// Whether loading state leaves another's pointers behind: AMD's processors without RSTR_FP_ERR_PTRS (XSA-52).
fn keeps_pointers() -> bool {
    const RSTR_FP_ERR_PTRS: u32 = 1 << 2;
    let [_, name, ..] = cpuid(0, 0);
    let theirs = name == u32::from_le_bytes(*b"Auth") || name == u32::from_le_bytes(*b"Hygo");
    let stores = __cpuid(0x8000_0000).eax >= 0x8000_0008 && __cpuid(0x8000_0008).ebx & RSTR_FP_ERR_PTRS != 0;
    theirs && !stores
}

/// Makes the x87 pointers those of an instruction of the hypervisor's. Which state follows does not matter: where it
/// has an exception pending its own pointers are loaded (XSA-172 is what came of looking at the wrong bit for that).
fn clear_pointers() {
    static OPERAND: u32 = 0;
    // SAFETY: TS is clear, and the registers are about to be loaded. No exception is pending after `fnclex`, and the
    // register that `fild` takes is free; one it might raise would wait for an instruction that the load prevents.
    unsafe {
        asm!("fnclex", "ffree st(7)", "fild dword ptr [{}]", in(reg) &raw const OPERAND, options(nostack, readonly));
    }
}

/// Lets this processor use XSAVE, with all components, where it can.
pub fn initialise() {
    static FIRST: Once<u64> = Once::new();
    let mask = Method::detect().mask;
    // A vcpu moves between processors, and its state with it.
    assert_eq!(*FIRST.call_once(|| mask), mask, "the processors differ in the state components they have");
    if mask == 0 {
        return;
    }
    // SAFETY: the processor has XSAVE; ring 0 saves and loads the state it adds for every vcpu.
    unsafe { Cr4::update(|flags| flags.insert(Cr4Flags::OSXSAVE)) };
    write_xcr0(mask);
}

/// Sets XCR0 to a valid value within the offered components, after [`initialise`].
pub fn write_xcr0(value: u64) {
    debug_assert!(paravane_core::fpu::valid_xcr0(value) && value & component::X87 != 0);
    // SAFETY: `core` has checked the value; it decides which vector instructions guests can execute, ring 0 has none.
    unsafe {
        asm!(
            "xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nomem, nostack, preserves_flags)
        );
    }
}
