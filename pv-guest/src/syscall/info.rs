//! Who and what: identities, limits, the machine.

use crate::errno::{Errno, Result};
use crate::mm::{self, user};
use crate::{fs, info, power, process, time};
use alloc::string::String;
use alloc::vec;
use zerocopy::{Immutable, IntoBytes};

/// The kernel's release. Programs compare the leading numbers with what they need of Linux.
const RELEASE: &str = concat!("6.1.0-pv-guest-", env!("CARGO_PKG_VERSION"));

/// The text of `/proc/version`.
pub const VERSION_LINE: &str = concat!("Paravane pv-guest ", env!("CARGO_PKG_VERSION"));

/// `uname`: six fields of 65 bytes. The name is not Linux, since this kernel is not.
pub fn uname(out: u64) -> Result<u64> {
    const FIELD: usize = 65;
    let mut names = [0u8; 6 * FIELD];
    let mut version = String::from("#1 ");
    version.push_str(info::machine_name());
    let fields = ["Paravane", "pv-guest", RELEASE, version.as_str(), "x86_64", "(none)"];
    for (slot, text) in names.chunks_exact_mut(FIELD).zip(fields) {
        let length = text.len().min(FIELD - 1);
        slot[..length].copy_from_slice(&text.as_bytes()[..length]);
    }
    user::write_bytes(out, &names)?;
    Ok(0)
}

/// `getuid` and its kin: everybody is root.
pub fn getuid() -> Result<u64> {
    Ok(0)
}

/// `setuid`, `setgid`: to the only one.
pub fn setuid(id: u64) -> Result<u64> {
    if id as u32 == 0 { Ok(0) } else { Err(Errno::EPERM) }
}

/// `getgroups`: none besides.
pub fn getgroups(_size: u64, _list: u64) -> Result<u64> {
    Ok(0)
}

/// `struct rusage`.
pub const RUSAGE_SIZE: usize = 144;

/// `getrusage`: not counted, so zeros.
pub fn getrusage(_who: u64, out: u64) -> Result<u64> {
    user::zero(out, RUSAGE_SIZE)?;
    Ok(0)
}

/// Current and largest value of a limit.
fn limit(resource: u64) -> Result<[u64; 2]> {
    const RLIMIT_STACK: u64 = 3;
    const RLIMIT_CORE: u64 = 4;
    const RLIMIT_NOFILE: u64 = 7;
    const RLIM_INFINITY: u64 = u64::MAX;
    match resource {
        RLIMIT_STACK => Ok([8 << 20, RLIM_INFINITY]),
        RLIMIT_CORE => Ok([0, 0]),
        RLIMIT_NOFILE => Ok([fs::MAX_FILES as u64; 2]),
        0..16 => Ok([RLIM_INFINITY; 2]),
        _ => Err(Errno::EINVAL),
    }
}

/// `getrlimit`.
pub fn getrlimit(resource: u64, out: u64) -> Result<u64> {
    user::write(out, &limit(resource)?)?;
    Ok(0)
}

/// `prlimit64`: the limits are fixed.
pub fn prlimit64(pid: u64, resource: u64, new: u64, old: u64) -> Result<u64> {
    let pid = pid as u32;
    if pid != 0 && pid != process::current().pid {
        return Err(Errno::ESRCH);
    }
    let limit = limit(resource)?;
    if new != 0 {
        let wanted: [u64; 2] = user::read(new)?;
        if wanted != limit {
            return Err(Errno::EPERM);
        }
    }
    if old != 0 {
        user::write(old, &limit)?;
    }
    Ok(0)
}

/// `struct sysinfo`.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct SysInfo {
    uptime: i64,
    loads: [u64; 3],
    total: u64,
    free: u64,
    shared: u64,
    buffers: u64,
    swap_total: u64,
    swap_free: u64,
    processes: u16,
    pad: [u16; 3],
    high_total: u64,
    high_free: u64,
    unit: u32,
    tail: u32,
}

/// `sysinfo`.
pub fn sysinfo(out: u64) -> Result<u64> {
    // As for /proc/meminfo, which programs read beside this.
    mm::drop_caches();
    let mut processes = 0;
    process::for_each(&mut |_| processes += 1);
    let info = SysInfo {
        uptime: (time::monotonic_ns() / 1_000_000_000) as i64,
        total: mm::total_frames() as u64,
        free: mm::free_frames() as u64,
        processes,
        unit: 4096,
        ..SysInfo::default()
    };
    user::write(out, &info)?;
    Ok(0)
}

/// `getrandom`.
pub fn getrandom(out: u64, length: u64, _flags: u64) -> Result<u64> {
    const LARGEST: u64 = 4096;
    let mut buf = vec![0; length.min(LARGEST) as usize];
    fs::dev::fill_random(&mut buf);
    user::write_bytes(out, &buf)?;
    Ok(buf.len() as u64)
}

/// `prctl`: the process's name.
pub fn prctl(operation: u64, addr: u64, _third: u64, _fourth: u64, _fifth: u64) -> Result<u64> {
    const PR_SET_NAME: u64 = 15;
    const PR_GET_NAME: u64 = 16;
    const NAME_SIZE: usize = 16;
    match operation {
        PR_GET_NAME => {
            let path = process::current().name.lock().clone();
            let name = path.rsplit('/').next().unwrap_or("");
            let mut out = [0u8; NAME_SIZE];
            let length = name.len().min(NAME_SIZE - 1);
            out[..length].copy_from_slice(&name.as_bytes()[..length]);
            user::write_bytes(addr, &out)?;
            Ok(0)
        }
        // The name here is the program's path, which /proc/self/exe shows: accepted, and kept as it is.
        PR_SET_NAME => user::read_cstr(addr, user::USER_END as usize).map(|_| 0),
        _ => Err(Errno::EINVAL),
    }
}

/// `reboot`.
pub fn reboot(magic: u64, magic2: u64, command: u64, _argument: u64) -> Result<u64> {
    const MAGIC: u32 = 0xfee1_dead;
    const MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    const RESTART: u32 = 0x0123_4567;
    const HALT: u32 = 0xcdef_0123;
    const POWER_OFF: u32 = 0x4321_fedc;
    if magic as u32 != MAGIC || !MAGIC2.contains(&(magic2 as u32)) {
        return Err(Errno::EINVAL);
    }
    match command as u32 {
        RESTART => power::reboot(),
        POWER_OFF | HALT => power::power_off(),
        // CAD on and off: there is no such key.
        0 | 0x89ab_cdef => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
