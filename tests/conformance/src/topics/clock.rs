//! System time as a guest reads it.

use core::arch::x86_64::_rdtsc;

use paravane_abi::shared_info::VcpuTimeInfo;
use pv_probe::memory::vcpu_info;

/// Vcpu 0's clock, read while nobody writes it.
pub fn read() -> VcpuTimeInfo {
    loop {
        // SAFETY: the shared page, which the hypervisor writes under the version.
        let value = unsafe { (&raw const (*vcpu_info(0)).time).read_volatile() };
        // SAFETY: as above.
        let version = unsafe { (&raw const (*vcpu_info(0)).time.version).read_volatile() };
        if value.version == version && version.is_multiple_of(2) {
            return value;
        }
    }
}

/// System time in nanoseconds.
pub fn now() -> u64 {
    // SAFETY: reading the counter has no effect.
    read().system_time_at(unsafe { _rdtsc() })
}
