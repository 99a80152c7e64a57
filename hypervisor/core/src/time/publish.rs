//! Publication of values the guest reads without a lock: odd version, contents, even version. The writer's callback
//! gets byte ranges in the order they must become visible.

use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use paravane_abi::shared_info::{SharedInfo, VcpuTimeInfo};
use paravane_abi::vcpu::{VcpuRunstateInfo, XEN_RUNSTATE_UPDATE};
use zerocopy::IntoBytes;

/// Offset of the wall clock in the shared-info page.
const WALLCLOCK: usize = offset_of!(SharedInfo, wc_version);

/// The version counter of one published structure. It is kept here and not read back, because the guest can write
/// the copy it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimePublisher {
    version: u32,
}

impl TimePublisher {
    /// The version published last; even.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Publishes a vcpu's clock; offsets count from its `vcpu_time_info`.
    pub fn time(&mut self, info: &VcpuTimeInfo, write: impl FnMut(usize, &[u8])) {
        let mut info = *info;
        info.version = 0;
        let bytes = info.as_bytes();
        self.publish(0, &bytes[size_of::<u32>()..], write);
    }

    /// Publishes the wall clock: the time since 1970 at system time 0. Offsets count from the start of the
    /// shared-info page.
    pub fn wallclock(&mut self, seconds: u64, nanoseconds: u32, write: impl FnMut(usize, &[u8])) {
        let words = [seconds as u32, nanoseconds, (seconds >> 32) as u32];
        self.publish(WALLCLOCK, words.as_bytes(), write);
    }

    fn publish(&mut self, version_at: usize, body: &[u8], mut write: impl FnMut(usize, &[u8])) {
        // Both steps wrap: the guest only compares.
        let odd = self.version.wrapping_add(1);
        self.version = self.version.wrapping_add(2);
        write(version_at, odd.as_bytes());
        fence(Ordering::SeqCst);
        write(version_at + size_of::<u32>(), body);
        fence(Ordering::SeqCst);
        write(version_at, self.version.as_bytes());
    }
}

/// Publishes a runstate; offsets count from its `vcpu_runstate_info`. With `announce` (VMASST_TYPE_runstate_update_flag)
/// the entry time carries a bit while the rest is inconsistent.
pub fn publish_runstate(info: &VcpuRunstateInfo, announce: bool, mut write: impl FnMut(usize, &[u8])) {
    if !announce {
        write(0, info.as_bytes());
        return;
    }
    let entry_time = offset_of!(VcpuRunstateInfo, state_entry_time);
    let mut marked = *info;
    marked.state_entry_time |= XEN_RUNSTATE_UPDATE;
    write(entry_time, marked.state_entry_time.as_bytes());
    fence(Ordering::SeqCst);
    write(0, marked.as_bytes());
    fence(Ordering::SeqCst);
    write(entry_time, info.state_entry_time.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn versions_are_odd_while_the_contents_change() {
        let mut publisher = TimePublisher { version: u32::MAX - 1 };
        let mut page = [0u8; 32];
        for round in 0..3u64 {
            let info = VcpuTimeInfo {
                // What the caller leaves here must not show.
                version: 99,
                tsc_timestamp: 100 + round,
                system_time: 200,
                tsc_to_system_mul: 3,
                tsc_shift: -1,
                flags: 1,
                ..VcpuTimeInfo::default()
            };
            let mut seen = Vec::new();
            publisher.time(&info, |offset, bytes| {
                page[offset..offset + bytes.len()].copy_from_slice(bytes);
                seen.push((word(&page, 0), page[8]));
            });
            let before = 99 + round as u8;
            assert_eq!(seen.len(), 3);
            assert!(seen[0].0 % 2 == 1 && seen[1].0 == seen[0].0);
            assert_eq!(seen[2].0, seen[0].0.wrapping_add(1));
            assert_eq!(seen[2].0, publisher.version());
            assert_eq!((seen[0].1, seen[1].1), (if round == 0 { 0 } else { before }, 100 + round as u8));
            assert_eq!(page[4..], VcpuTimeInfo { version: 0, ..info }.as_bytes()[4..]);
        }
        assert_eq!(publisher.version(), 4);
    }

    #[test]
    fn the_wall_clock_has_all_its_bits() {
        let mut page = [0u8; 4096];
        let mut publisher = TimePublisher::default();
        publisher.wallclock(0x1_2345_6789, 987_654_321, |offset, bytes| {
            page[offset..offset + bytes.len()].copy_from_slice(bytes);
        });
        assert_eq!(word(&page, 0xc00), 2);
        assert_eq!(word(&page, 0xc04), 0x2345_6789);
        assert_eq!(word(&page, 0xc08), 987_654_321);
        assert_eq!(word(&page, 0xc0c), 1);
    }

    #[test]
    fn a_runstate_announces_its_update() {
        let info = VcpuRunstateInfo { state: 2, pad: 0, state_entry_time: 1000, time: [1, 2, 3, 4] };
        let mut page = [0u8; 48];
        let mut entry = Vec::new();
        publish_runstate(&info, true, |offset, bytes| {
            page[offset..offset + bytes.len()].copy_from_slice(bytes);
            entry.push(u64::from_le_bytes(page[8..16].try_into().unwrap()));
        });
        assert_eq!(entry, [1000 | 1 << 63, 1000 | 1 << 63, 1000]);
        assert_eq!(page, info.as_bytes());
        let mut writes = 0;
        publish_runstate(&info, false, |offset, bytes| {
            assert_eq!((offset, bytes), (0, info.as_bytes()));
            writes += 1;
        });
        assert_eq!(writes, 1);
    }
}
