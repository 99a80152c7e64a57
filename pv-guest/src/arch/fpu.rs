//! Floating-point and vector state of programs. The kernel itself is built without them, so the state is switched with
//! the process, eagerly: a lazily switched FPU leaks registers between processes through speculation (XSA-267).

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::arch::{asm, x86_64::__cpuid, x86_64::__cpuid_count};
use core::ptr::NonNull;

use spin::Once;

use super::cpuid;
use crate::errno::{Errno, Result};

/// What is offered of XCR0 and known here.
pub fn offered() -> u64 {
    u64::from(cpuid::shown(0xd, 0)[0] & KNOWN)
}

/// How state is saved on this machine.
struct Method {
    /// Components that XSAVE handles, or `None` for FXSAVE.
    xcr0: Option<u64>,
    size: usize,
}

static METHOD: Once<Method> = Once::new();

/// FXSAVE's area, and the legacy part of XSAVE's.
const LEGACY_SIZE: usize = 512;
const ALIGN: usize = 64;

fn method() -> &'static Method {
    METHOD.call_once(|| {
        // OSXSAVE: programs see it in native CPUID, and use XCR0's components exactly when it is set.
        if __cpuid(1).ecx & (1 << 27) == 0 {
            return Method { xcr0: None, size: LEGACY_SIZE };
        }
        let (low, high): (u32, u32);
        // SAFETY: OSXSAVE is set, so XGETBV of register 0 is allowed in every ring.
        unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
        let size = __cpuid_count(0xd, 0).ebx as usize;
        Method { xcr0: Some(u64::from(high) << 32 | u64::from(low)), size: size.max(LEGACY_SIZE + 64) }
    })
}

/// XCR0 as this kernel has chosen it; `None` where there is no XSAVE.
pub fn xcr0() -> Option<u64> {
    method().xcr0
}

/// Components of XCR0 that hold nothing but registers of programs: x87, SSE, AVX, and the three of AVX-512.
const KNOWN: u32 = 0xe7;

/// Lets programs on this CPU use all that the machine offers. Until then they find x87 and SSE in XCR0, whatever
/// `cpuid` tells them; to be called on every CPU before its first program runs.
pub fn enable() {
    const XSAVE: u32 = 1 << 26;
    const CR4_OSXSAVE: u64 = 1 << 18;
    if cpuid::shown(1, 0)[2] & XSAVE == 0 {
        return;
    }
    let low = cpuid::shown(0xd, 0)[0] & KNOWN;
    // SAFETY: executed in ring 0, and emulated elsewhere, all three; programs' state is saved by what XCR0 holds.
    unsafe {
        asm!(
            "mov {cr4}, cr4",
            "or {cr4}, {osxsave}",
            "mov cr4, {cr4}",
            "xsetbv",
            cr4 = out(reg) _,
            osxsave = const CR4_OSXSAVE,
            in("ecx") 0,
            in("eax") low,
            in("edx") 0,
            options(nostack)
        );
    }
}

/// One process's saved state.
pub struct FpuState {
    area: NonNull<u8>,
}

// SAFETY: the area is owned memory; only the process switch touches it.
unsafe impl Send for FpuState {}
// SAFETY: as above, and shared references give no access to the area.
unsafe impl Sync for FpuState {}

impl FpuState {
    fn layout() -> Layout {
        Layout::from_size_align(method().size, ALIGN).expect("a save area's size is small")
    }

    /// The state a program starts with: control words at their defaults, everything else zero.
    pub fn new() -> Result<Self> {
        let layout = Self::layout();
        // SAFETY: the layout's size is not zero.
        let area = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Errno::ENOMEM)?;
        let state = Self { area };
        state.reset();
        Ok(state)
    }

    /// Back to what [`FpuState::new`] gives.
    pub fn reset(&self) {
        let area = self.area;
        // SAFETY: the area has the method's size. FCW is at offset 0 and MXCSR at 24 of an area of at least 512 bytes (SDM volume 1, 10.5.1).
        unsafe {
            area.as_ptr().write_bytes(0, method().size);
            area.as_ptr().cast::<u16>().write(0x37f);
            area.as_ptr().add(24).cast::<u32>().write(0x1f80);
            if method().xcr0.is_some() {
                // XSTATE_BV: take x87 and SSE from the area, everything else from the initial configuration.
                area.as_ptr().add(LEGACY_SIZE).cast::<u64>().write(3);
            }
        }
    }

    /// The saved state, in XSAVE's standard format or FXSAVE's.
    pub fn area(&self) -> &[u8] {
        // SAFETY: the area has the method's size.
        unsafe { core::slice::from_raw_parts(self.area.as_ptr(), method().size) }
    }

    /// As [`FpuState::area`], to be changed.
    ///
    /// # Safety
    /// A state with reserved bits of MXCSR or in XSAVE's header faults when it is restored.
    pub unsafe fn area_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the reference is the only one.
        unsafe { core::slice::from_raw_parts_mut(self.area.as_ptr(), method().size) }
    }

    /// A copy, for fork.
    pub fn duplicate(&self) -> Result<Self> {
        let copy = Self::new()?;
        // SAFETY: both areas have the method's size and do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(self.area.as_ptr(), copy.area.as_ptr(), method().size) };
        Ok(copy)
    }

    /// Stores the CPU's state here.
    pub fn save(&self) {
        let area = self.area.as_ptr();
        // SAFETY: the area is large enough and aligned to 64; the kernel holds no live vector registers.
        unsafe {
            match method().xcr0 {
                Some(mask) => {
                    asm!("xsave64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") (mask >> 32) as u32,
                                   options(nostack))
                }
                None => asm!("fxsave64 [{}]", in(reg) area, options(nostack)),
            }
        }
    }

    /// Loads this state into the CPU.
    pub fn restore(&self) {
        let area = self.area.as_ptr();
        // SAFETY: the area holds a state that `new` or `save` wrote, so no reserved bit is set.
        unsafe {
            match method().xcr0 {
                Some(mask) => {
                    asm!("xrstor64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") (mask >> 32) as u32,
                                   options(nostack))
                }
                None => asm!("fxrstor64 [{}]", in(reg) area, options(nostack)),
            }
        }
    }
}

impl Drop for FpuState {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.area.as_ptr(), Self::layout()) };
    }
}
