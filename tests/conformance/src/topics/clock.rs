//! System time as a guest reads it.

use paravane_abi::shared_info::VcpuTimeInfo;
use pv_probe::events::vcpu;

/// Vcpu 0's clock, read while nobody writes it, wherever a case has placed it.
pub fn read() -> VcpuTimeInfo {
    vcpu(0).time()
}

/// System time in nanoseconds.
pub fn now() -> u64 {
    pv_probe::time::now()
}
