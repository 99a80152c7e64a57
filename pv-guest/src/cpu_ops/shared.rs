//! What this kernel shares with the hypervisor: a page for the whole domain, with the event bitmaps and the wall clock, and
//! a block for each vcpu, with its event mask, its fault address and its clock.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use paravane_abi::shared_info::{SharedInfo, VcpuInfo, VcpuTimeInfo, XEN_LEGACY_MAX_VCPUS};

use crate::cpu;

/// Words of the two-level event bitmaps.
pub const EVENT_WORDS: usize = paravane_abi::shared_info::EVTCHN_WORDS;

/// A page of the image whose mapping is replaced by the shared page at boot.
#[repr(C, align(4096))]
struct Page(core::cell::UnsafeCell<[u8; 4096]>);

// SAFETY: only accessed through atomics and volatile reads, by `Shared`.
unsafe impl Sync for Page {}

#[unsafe(link_section = ".bss.page")]
static PAGE: Page = Page(core::cell::UnsafeCell::new([0; 4096]));

/// A vcpu's block, wherever it lies. Every access goes through an atomic or a volatile read.
#[derive(Clone, Copy)]
pub struct VcpuState(*mut VcpuInfo);

macro_rules! own {
    ($self:ident, $($path:tt)*) => {
        // A place expression behind a raw pointer: no reference to the block is made.
        &raw mut (*$self.0).$($path)*
    };
}

impl VcpuState {
    /// The block at an address that [`VcpuState::shared_slot`] gave or that was registered with the hypervisor.
    #[inline(always)]
    pub fn at(block: *mut VcpuInfo) -> Self {
        Self(block)
    }

    /// A vcpu's place in the shared page; the first vcpu's when it has none there, which a vcpu must not use.
    pub fn shared_slot(vcpu: u32) -> *mut VcpuInfo {
        let slot = if (vcpu as usize) < XEN_LEGACY_MAX_VCPUS { vcpu as usize } else { 0 };
        // SAFETY: the slot lies in a static page.
        unsafe { (&raw const (*Shared::page()).vcpu_info[slot]).cast_mut() }
    }

    /// The event mask.
    #[inline(always)]
    pub fn mask(self) -> &'static AtomicU8 {
        // SAFETY: blocks lie in static memory, and all accesses to the byte are atomic.
        unsafe { AtomicU8::from_ptr(own!(self, evtchn_upcall_mask)) }
    }

    /// The flag that an event is pending.
    #[inline(always)]
    pub fn pending(self) -> &'static AtomicU8 {
        // SAFETY: as for `mask`.
        unsafe { AtomicU8::from_ptr(own!(self, evtchn_upcall_pending)) }
    }

    /// The selector of words with pending events.
    pub fn pending_words(self) -> &'static AtomicU64 {
        // SAFETY: as for `mask`; the field is aligned to 8.
        unsafe { AtomicU64::from_ptr(own!(self, evtchn_pending_sel)) }
    }

    /// The address of the latest page fault.
    pub fn fault_address(self) -> u64 {
        // SAFETY: a volatile read of a field in static memory.
        unsafe { own!(self, arch.cr2).read_volatile() }
    }

    /// A consistent copy of the clock parameters: the version is odd while the hypervisor writes them.
    pub fn time(self) -> VcpuTimeInfo {
        loop {
            // SAFETY: as for `mask`; the field is aligned to 4.
            let version = unsafe { AtomicU32::from_ptr(own!(self, time.version)) };
            let before = version.load(Ordering::Acquire);
            // SAFETY: a volatile read of a field in static memory; a torn copy is discarded below.
            let time = unsafe { own!(self, time).read_volatile() };
            fence(Ordering::Acquire);
            if before & 1 == 0 && version.load(Ordering::Relaxed) == before {
                return time;
            }
        }
    }
}

/// The shared page. Every access goes through an atomic or a volatile read, because the hypervisor writes it at any
/// time.
#[derive(Clone, Copy)]
pub struct Shared;

macro_rules! field {
    ($($path:tt)*) => {
        // A place expression behind a raw pointer: no reference to the page is made.
        &raw const (*Shared::page()).$($path)*
    };
}

impl Shared {
    fn page() -> *const SharedInfo {
        PAGE.0.get().cast()
    }

    /// Where the shared page is mapped.
    pub fn address() -> u64 {
        Self::page() as u64
    }

    /// This vcpu's event mask.
    #[inline(always)]
    pub fn mask() -> &'static AtomicU8 {
        cpu::this().state().mask()
    }

    /// This vcpu's flag that an event is pending.
    #[inline(always)]
    pub fn pending() -> &'static AtomicU8 {
        cpu::this().state().pending()
    }

    /// A word of the bitmap of pending events.
    pub fn event_pending(word: usize) -> &'static AtomicU64 {
        assert!(word < EVENT_WORDS);
        // SAFETY: as for `mask`; the index is in range.
        unsafe { AtomicU64::from_ptr(field!(evtchn_pending[word]).cast_mut()) }
    }

    /// A word of the bitmap of masked events.
    pub fn event_mask(word: usize) -> &'static AtomicU64 {
        assert!(word < EVENT_WORDS);
        // SAFETY: as for `mask`; the index is in range.
        unsafe { AtomicU64::from_ptr(field!(evtchn_mask[word]).cast_mut()) }
    }

    /// The address of this vcpu's latest page fault.
    pub fn fault_address() -> u64 {
        cpu::this().state().fault_address()
    }

    /// Wall clock time at system time 0, in seconds and nanoseconds.
    pub fn wall_clock() -> (u64, u32) {
        loop {
            // SAFETY: as for `mask`; the field is aligned to 4.
            let version = unsafe { AtomicU32::from_ptr(field!(wc_version).cast_mut()) };
            let before = version.load(Ordering::Acquire);
            // SAFETY: volatile reads of fields in a static page; torn copies are discarded below.
            let (low, high, nanos) = unsafe {
                (
                    field!(wc_sec).read_volatile(),
                    field!(wc_sec_hi).read_volatile(),
                    field!(wc_nsec).read_volatile(),
                )
            };
            fence(Ordering::Acquire);
            if before & 1 == 0 && version.load(Ordering::Relaxed) == before {
                return (u64::from(high) << 32 | u64::from(low), nanos);
            }
        }
    }
}
