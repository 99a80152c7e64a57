//! The shared-info page as it is used: memory that the hypervisor changes meanwhile.
//!
//! [`shared_info`](crate::shared_info) tells the layout; these are the same bytes as atomics, so that a kernel can refer to its
//! mapped page safely. With them come the two loops that every guest needs: take what is pending under the 2-level ABI,
//! and read the time.
//!
//! # Examples
//!
//! ```
//! use core::sync::atomic::Ordering;
//! use paravane_abi::live::SharedPage;
//!
//! /// What the address registered by `CALLBACKTYPE_event` calls, with events masked.
//! fn upcall(page: &SharedPage, vcpu: usize) -> Vec<u32> {
//!     let mut seen = Vec::new();
//!     page.drain(vcpu, |port| seen.push(port));
//!     seen
//! }
//!
//! // The hypervisor raises ports 3 and 70 on vcpu 0; 70 is masked.
//! let page = SharedPage::default();
//! page.mask(70);
//! page.evtchn_pending[0].store(1 << 3, Ordering::Relaxed);
//! page.evtchn_pending[1].store(1 << 6, Ordering::Relaxed);
//! page.vcpu_info[0].pending_sel.store(0b11, Ordering::Relaxed);
//! page.vcpu_info[0].upcall_pending.store(1, Ordering::Relaxed);
//!
//! assert_eq!(upcall(&page, 0), [3]);
//! assert!(!page.vcpu_info[0].is_pending());
//! // Unmasking a pending port is the hypervisor's to do: `EVTCHNOP_UNMASK`.
//! assert!(!page.unmask(70));
//! ```

use crate::event::{mask_of_port, word_of_port};
use crate::shared_info::{EVTCHN_WORDS, SharedInfo, VcpuInfo, VcpuTimeInfo, XEN_LEGACY_MAX_VCPUS};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use static_assertions::{assert_eq_align, assert_eq_size, const_assert_eq};

/// A live [`VcpuInfo`]: 64 bytes.
#[derive(Debug, Default)]
#[repr(C)]
pub struct LiveVcpuInfo {
    /// Non-zero: an event is pending.
    pub upcall_pending: AtomicU8,
    /// Non-zero: no upcall is delivered.
    pub upcall_mask: AtomicU8,
    /// Padding.
    pub pad: [AtomicU8; 6],
    /// A bit for each word of the pending bits with an event for this vcpu.
    pub pending_sel: AtomicU64,
    /// The address of the latest page fault.
    pub cr2: AtomicU64,
    /// Padding.
    pub arch_pad: AtomicU64,
    /// Time parameters: the words of a [`VcpuTimeInfo`].
    pub time: [AtomicU64; 4],
}

assert_eq_size!(LiveVcpuInfo, VcpuInfo);
assert_eq_align!(LiveVcpuInfo, VcpuInfo);
const_assert_eq!(offset_of!(LiveVcpuInfo, pending_sel), offset_of!(VcpuInfo, evtchn_pending_sel));
const_assert_eq!(offset_of!(LiveVcpuInfo, cr2), offset_of!(VcpuInfo, arch));
const_assert_eq!(offset_of!(LiveVcpuInfo, time), offset_of!(VcpuInfo, time));

impl LiveVcpuInfo {
    /// Masks upcalls; gives whether they were masked before.
    pub fn mask_upcalls(&self) -> bool {
        self.upcall_mask.swap(1, Ordering::AcqRel) != 0
    }

    /// Unmasks upcalls; gives whether one is pending, so that the kernel must serve it or make any hypercall, which
    /// delivers it.
    #[must_use = "a pending upcall is not delivered by unmasking alone"]
    pub fn unmask_upcalls(&self) -> bool {
        self.upcall_mask.store(0, Ordering::SeqCst);
        self.is_pending()
    }

    /// Whether an upcall is pending.
    pub fn is_pending(&self) -> bool {
        self.upcall_pending.load(Ordering::SeqCst) != 0
    }

    /// The time parameters, read while nobody wrote.
    pub fn time(&self) -> VcpuTimeInfo {
        loop {
            let words = self.time.each_ref().map(|word| word.load(Ordering::Acquire));
            fence(Ordering::Acquire);
            let info: VcpuTimeInfo = zerocopy::transmute!(words);
            let again = self.time.first().map_or(0, |word| word.load(Ordering::Relaxed)) as u32;
            if info.version.is_multiple_of(2) && info.version == again {
                return info;
            }
            core::hint::spin_loop();
        }
    }
}

/// A live [`SharedInfo`]: 3136 bytes of a page.
#[derive(Debug)]
#[repr(C)]
pub struct SharedPage {
    /// The first 32 vcpus.
    pub vcpu_info: [LiveVcpuInfo; XEN_LEGACY_MAX_VCPUS],
    /// A bit per port: pending.
    pub evtchn_pending: [AtomicU64; EVTCHN_WORDS],
    /// A bit per port: masked.
    pub evtchn_mask: [AtomicU64; EVTCHN_WORDS],
    /// Wall clock: sequence number, seconds (low), nanoseconds, seconds (high).
    pub wall_clock: [AtomicU32; 4],
    /// The words of [`ArchSharedInfo`](crate::shared_info::ArchSharedInfo).
    pub arch: [AtomicU64; 6],
}

assert_eq_size!(SharedPage, SharedInfo);
assert_eq_align!(SharedPage, SharedInfo);
const_assert_eq!(offset_of!(SharedPage, evtchn_pending), offset_of!(SharedInfo, evtchn_pending));
const_assert_eq!(offset_of!(SharedPage, evtchn_mask), offset_of!(SharedInfo, evtchn_mask));
const_assert_eq!(offset_of!(SharedPage, wall_clock), offset_of!(SharedInfo, wc_version));
const_assert_eq!(offset_of!(SharedPage, arch), offset_of!(SharedInfo, arch));

impl Default for SharedPage {
    /// All zeros.
    fn default() -> Self {
        Self {
            vcpu_info: core::array::from_fn(|_| LiveVcpuInfo::default()),
            evtchn_pending: [const { AtomicU64::new(0) }; EVTCHN_WORDS],
            evtchn_mask: [const { AtomicU64::new(0) }; EVTCHN_WORDS],
            wall_clock: [const { AtomicU32::new(0) }; 4],
            arch: [const { AtomicU64::new(0) }; 6],
        }
    }
}

impl SharedPage {
    /// Masks a port of the 2-level ABI. Ports it does not have are ignored.
    pub fn mask(&self, port: u32) {
        if let Some(word) = self.evtchn_mask.get(word_of_port(port)) {
            word.fetch_or(mask_of_port(port), Ordering::AcqRel);
        }
    }

    /// Clears a port's mask if no event is lost by it; else gives `false`, and `EVTCHNOP_unmask` must do it.
    ///
    /// The caller must be the vcpu that the port notifies; any other uses the hypercall.
    #[must_use = "an event may be waiting for EVTCHNOP_unmask"]
    pub fn unmask(&self, port: u32) -> bool {
        let index = word_of_port(port);
        let (Some(mask), Some(pending)) = (self.evtchn_mask.get(index), self.evtchn_pending.get(index))
        else {
            return false;
        };
        let bit = mask_of_port(port);
        mask.fetch_and(!bit, Ordering::SeqCst);
        if pending.load(Ordering::SeqCst) & bit == 0 {
            return true;
        }
        // It may have been raised before the mask was clear, and then nobody was told.
        mask.fetch_or(bit, Ordering::SeqCst);
        false
    }

    /// Takes every event of a vcpu that is pending and not masked, and calls `handle` with each port, its pending bit
    /// cleared. Call it with upcalls masked; it returns when none is pending.
    pub fn drain(&self, vcpu: usize, mut handle: impl FnMut(u32)) {
        let Some(info) = self.vcpu_info.get(vcpu) else { return };
        // The flag is cleared before the bits are looked at: what is raised afterwards sets it again.
        while info.upcall_pending.swap(0, Ordering::SeqCst) != 0 {
            let mut selected = info.pending_sel.swap(0, Ordering::SeqCst);
            while selected != 0 {
                let index = selected.trailing_zeros();
                selected &= selected - 1;
                self.drain_word(index, &mut handle);
            }
        }
    }

    fn drain_word(&self, index: u32, handle: &mut impl FnMut(u32)) {
        let at = index as usize;
        let (Some(pending), Some(mask)) = (self.evtchn_pending.get(at), self.evtchn_mask.get(at)) else {
            return;
        };
        loop {
            let ready = pending.load(Ordering::Acquire) & !mask.load(Ordering::Acquire);
            if ready == 0 {
                return;
            }
            let bit = ready.trailing_zeros();
            pending.fetch_and(!(1 << bit), Ordering::AcqRel);
            handle(index * u64::BITS + bit);
        }
    }

    /// Wall-clock time at the start of system time: seconds and nanoseconds since 1970, read while nobody wrote.
    pub fn wall_clock(&self) -> (u64, u32) {
        loop {
            let [version, low, nanoseconds, high] =
                self.wall_clock.each_ref().map(|word| word.load(Ordering::Acquire));
            fence(Ordering::Acquire);
            let again = self.wall_clock.first().map_or(0, |word| word.load(Ordering::Relaxed));
            if version.is_multiple_of(2) && version == again {
                return (u64::from(high) << 32 | u64::from(low), nanoseconds);
            }
            core::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the hypervisor does.
    fn raise(page: &SharedPage, vcpu: usize, port: u32) {
        let (index, bit) = (word_of_port(port), mask_of_port(port));
        if page.evtchn_pending[index].fetch_or(bit, Ordering::SeqCst) & bit == 0
            && page.evtchn_mask[index].load(Ordering::SeqCst) & bit == 0
            && page.vcpu_info[vcpu].pending_sel.fetch_or(1 << index, Ordering::SeqCst) & 1 << index == 0
        {
            page.vcpu_info[vcpu].upcall_pending.store(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn every_event_is_taken_once() {
        let page = SharedPage::default();
        for port in [4095, 1, 64, 63, 1] {
            raise(&page, 5, port);
        }
        let mut seen = Vec::new();
        page.drain(4, |port| seen.push(port));
        assert_eq!(seen, [], "they are vcpu 5's");
        page.drain(5, |port| {
            seen.push(port);
            if port == 63 {
                raise(&page, 5, 2);
            }
        });
        assert_eq!(seen, [1, 63, 2, 64, 4095]);
        assert!(page.evtchn_pending.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        page.drain(99, |_| panic!("there is no such vcpu"));
    }

    #[test]
    fn what_is_masked_waits() {
        let page = SharedPage::default();
        page.mask(130);
        raise(&page, 0, 130);
        assert!(!page.vcpu_info[0].is_pending());
        assert!(!page.unmask(130));
        assert_eq!(page.evtchn_mask[2].load(Ordering::Relaxed), 4, "still masked");
        page.mask(131);
        assert!(page.unmask(131));
        assert!(!page.unmask(4096));
    }

    #[test]
    fn upcalls_are_masked_and_unmasked() {
        let info = LiveVcpuInfo::default();
        assert!(!info.mask_upcalls() && info.mask_upcalls());
        assert!(!info.unmask_upcalls());
        info.upcall_pending.store(1, Ordering::Relaxed);
        assert!(info.unmask_upcalls());
    }

    #[test]
    fn clocks_are_read_between_writes() {
        let page = SharedPage::default();
        let info = VcpuTimeInfo {
            version: 6,
            tsc_timestamp: 3,
            system_time: 1_000,
            tsc_to_system_mul: 1 << 31,
            ..Default::default()
        };
        let words: [u64; 4] = zerocopy::transmute!(info);
        for (to, word) in page.vcpu_info[0].time.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        assert_eq!(page.vcpu_info[0].time(), info);
        assert_eq!(page.vcpu_info[0].time().system_time_at(23), 1_010);
        for (to, word) in page.wall_clock.iter().zip([2, 7, 9, 1]) {
            to.store(word, Ordering::Relaxed);
        }
        assert_eq!(page.wall_clock(), (1 << 32 | 7, 9));
        std::thread::scope(|scope| {
            page.wall_clock[0].store(3, Ordering::Release);
            let reader = scope.spawn(|| page.wall_clock());
            page.wall_clock[1].store(8, Ordering::Release);
            page.wall_clock[0].store(4, Ordering::Release);
            assert_eq!(reader.join().expect("it ends"), (1 << 32 | 8, 9), "never what was half written");
        });
    }
}
