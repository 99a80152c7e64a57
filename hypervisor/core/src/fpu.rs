//! x87 and vector state: which components guests are offered, where a save area keeps them, and a vcpu's own area.
//!
//! An area is in XSAVE's standard format (SDM volume 1, 13.4): 512 bytes as `fxsave64` stores them, a header of 64,
//! then the extended components. Where the processor has no XSAVE only the first part is used.

use alloc::boxed::Box;
use alloc::vec;

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bits of XCR0, and of the header's XSTATE_BV (SDM volume 1, 13.1).
pub mod component {
    /// x87.
    pub const X87: u64 = 1 << 0;
    /// XMM registers and MXCSR.
    pub const SSE: u64 = 1 << 1;
    /// The upper halves of the YMM registers.
    pub const AVX: u64 = 1 << 2;
    /// k0 to k7, the upper halves of ZMM0 to ZMM15, and ZMM16 to ZMM31: all or none.
    pub const AVX512: u64 = 7 << 5;
    /// What `fxsave64` stores.
    pub const LEGACY: u64 = X87 | SSE;
}
use component::{AVX, AVX512, LEGACY, SSE, X87};

/// All that a guest is ever offered, and all that is switched: what Xen 4.17 offers PV guests by default. It hides MPX
/// and protection keys from them, and knows neither AMX nor what needs IA32_XSS.
pub const OFFERED: u64 = LEGACY | AVX | AVX512;

/// Components have numbers; those offered are below this one.
const COMPONENTS: usize = 8;
/// The legacy region.
pub const LEGACY_SIZE: usize = 512;
/// The legacy region and the header.
pub const MIN_SIZE: usize = LEGACY_SIZE + 64;
/// XSAVE wants its area aligned to this.
const LINE: usize = 64;
/// Offsets in the legacy region (SDM volume 1, table 10-2).
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
/// After a reset all exceptions are masked (SDM volume 1, 11.6.4).
const MXCSR_INITIAL: u32 = 0x1f80;
/// Writable bits of MXCSR on a processor that stores no mask (SDM volume 1, 11.6.6).
const MXCSR_DEFAULT_MASK: u32 = 0xffbf;
/// x87's control word after `fninit` (SDM volume 1, 8.1.5).
const FCW_INITIAL: u16 = 0x037f;

/// Whether XCR0 can hold a value, apart from what the processor has: x87 always, AVX only with SSE, AVX-512 only with
/// AVX and whole (SDM volume 1, 13.3).
pub const fn valid_xcr0(xcr0: u64) -> bool {
    let avx = xcr0 & AVX == 0 || xcr0 & SSE != 0;
    let avx512 = xcr0 & AVX512 == 0 || xcr0 & (AVX512 | AVX) == AVX512 | AVX;
    xcr0 & X87 != 0 && avx && avx512
}

/// Where an extended component is in an area of the standard format (CPUID 0xD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// Bytes from the area's start.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// In the compacted format it starts at a multiple of 64.
    pub aligned: bool,
}

/// What of the processor's state guests are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XState {
    /// Bits a guest may set in XCR0: all that is saved and loaded. 0 where there is no XSAVE.
    pub mask: u64,
    /// Where its extended components are, by number; nothing for the two of the legacy region.
    extended: [Extended; COMPONENTS],
}

impl XState {
    /// A processor with `fxsave64` only.
    pub const NONE: Self =
        Self { mask: 0, extended: [Extended { offset: 0, size: 0, aligned: false }; COMPONENTS] };

    /// Asks CPUID: leaf and subleaf to EAX, EBX, ECX, EDX. No answer depends on what XCR0 holds.
    pub fn detect(cpuid: impl Fn(u32, u32) -> [u32; 4]) -> Self {
        const XSAVE: u32 = 1 << 26;
        const AVX_FEATURE: u32 = 1 << 28;
        const AVX512F: u32 = 1 << 16;
        let [highest, ..] = cpuid(0, 0);
        let [_, _, features, _] = cpuid(1, 0);
        if highest < 0xd || features & XSAVE == 0 {
            return Self::NONE;
        }
        let [low, _, _, high] = cpuid(0xd, 0);
        let mut state = Self { mask: (u64::from(high) << 32 | u64::from(low)) & OFFERED, ..Self::NONE };
        for number in 2..COMPONENTS {
            let [size, offset, flags, _] = cpuid(0xd, number as u32);
            if state.mask >> number & 1 == 0 {
                continue;
            }
            if size == 0 || (offset as usize) < MIN_SIZE {
                state.mask &= !(1 << number);
            }
            state.extended[number] = Extended { offset, size, aligned: flags & 2 != 0 };
        }
        if features & AVX_FEATURE == 0 {
            state.mask &= !AVX;
        }
        if cpuid(7, 0)[1] & AVX512F == 0 || state.mask & (AVX512 | AVX) != AVX512 | AVX {
            state.mask &= !AVX512;
        }
        if valid_xcr0(state.mask) && state.mask & SSE != 0 { state } else { Self::NONE }
    }

    /// An extended component that is offered.
    pub fn extended(&self, number: u32) -> Option<Extended> {
        let component = *self.extended.get(number as usize)?;
        (number >= 2 && self.mask >> number & 1 != 0).then_some(component)
    }

    fn enabled(&self, xcr0: u64) -> impl Iterator<Item = Extended> {
        (2..COMPONENTS as u32)
            .filter(move |number| xcr0 >> number & 1 != 0)
            .filter_map(|number| self.extended(number))
    }

    /// Bytes that XSAVE needs for these components in the standard format.
    pub fn size(&self, xcr0: u64) -> usize {
        let end = |component: Extended| component.offset as usize + component.size as usize;
        self.enabled(xcr0).map(end).fold(MIN_SIZE, usize::max)
    }

    /// Bytes that XSAVEC needs for these components (SDM volume 1, 13.4.3).
    pub fn compacted_size(&self, xcr0: u64) -> usize {
        self.enabled(xcr0).fold(MIN_SIZE, |end, component| {
            let start = if component.aligned { end.next_multiple_of(LINE) } else { end };
            start + component.size as usize
        })
    }

    /// The state that a vcpu starts with.
    pub fn initial(&self) -> FpuState {
        FpuState::new(self.size(self.mask))
    }
}

/// The unit of an area.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
struct Line([u8; LINE]);

/// A vcpu's x87 and vector state while it does not run: an area in the standard format that has room for all that is
/// switched. Its header is only ever written here or by XSAVE, so XRSTOR of the components in [`XState::mask`] cannot
/// fault: no component that XCR0 lacks, nothing reserved, no bit of MXCSR that the processor does not have.
#[derive(Clone, PartialEq, Eq)]
pub struct FpuState {
    lines: Box<[Line]>,
}

impl FpuState {
    /// The initial state in an area of this many bytes or a few more.
    pub fn new(size: usize) -> Self {
        let lines = vec![Line([0; LINE]); size.max(MIN_SIZE).div_ceil(LINE)].into_boxed_slice();
        let mut state = Self { lines };
        state.set_initial();
        state
    }

    /// As XRSTOR initialises every component. XSTATE_BV stays clear: no component is taken from the area, but MXCSR,
    /// which always is; FXRSTOR finds the same in the legacy region, where all registers are empty.
    fn set_initial(&mut self) {
        let bytes = self.bytes_mut();
        bytes.fill(0);
        bytes[..2].copy_from_slice(&FCW_INITIAL.to_le_bytes());
        self.set_mxcsr(MXCSR_INITIAL);
    }

    /// Takes the x87 and SSE state that a guest gives (`VCPUOP_initialise`); all other components become initial.
    ///
    /// Reserved bits of MXCSR would fault when they are loaded. What Xen does once they have: with XSAVE all registers
    /// become initial, and MXCSR keeps the bits it can have; without, everything is cleared.
    pub fn give(&mut self, given: &[u8; LEGACY_SIZE], processor: &XState, mxcsr_mask: u32) {
        let mut word = [0; 4];
        word.copy_from_slice(&given[MXCSR..MXCSR + 4]);
        let mxcsr = u32::from_le_bytes(word);
        self.set_initial();
        if mxcsr & !mxcsr_mask == 0 {
            self.bytes_mut()[..LEGACY_SIZE].copy_from_slice(given);
            self.bytes_mut()[LEGACY_SIZE] = LEGACY as u8;
        } else if processor.mask != 0 {
            self.set_mxcsr(mxcsr & mxcsr_mask);
        } else {
            self.bytes_mut().fill(0);
        }
    }

    fn set_mxcsr(&mut self, value: u32) {
        self.bytes_mut()[MXCSR..MXCSR + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// The bits of MXCSR that the processor has which stored this state.
    pub fn mxcsr_mask(&self) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes()[MXCSR_MASK..MXCSR_MASK + 4]);
        match u32::from_le_bytes(word) {
            0 => MXCSR_DEFAULT_MASK,
            mask => mask,
        }
    }

    /// The area, aligned to 64 bytes.
    pub fn bytes(&self) -> &[u8] {
        self.lines.as_bytes()
    }

    /// The area, for the processor to store into.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.lines.as_mut_bytes()
    }
}

impl core::fmt::Debug for FpuState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FpuState(..)")
    }
}

#[cfg(test)]
pub(crate) mod tests;
