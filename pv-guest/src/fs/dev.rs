//! Character devices.

use super::node::{Kind, Node};
use crate::errno::{Errno, Result};

/// The devices there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// Swallows everything, holds nothing.
    Null,
    /// Endless zeros.
    Zero,
    /// Zeros to read, no room to write.
    Full,
    /// Numbers that look random.
    Random,
    /// The terminal.
    Tty,
}

/// Name, device, and Linux's major and minor number.
const DEVICES: [(&str, Device, (u32, u32)); 8] = [
    ("null", Device::Null, (1, 3)),
    ("zero", Device::Zero, (1, 5)),
    ("full", Device::Full, (1, 7)),
    ("random", Device::Random, (1, 8)),
    ("urandom", Device::Random, (1, 9)),
    ("console", Device::Tty, (5, 1)),
    ("tty", Device::Tty, (5, 0)),
    ("hvc0", Device::Tty, (229, 0)),
];

impl Device {
    /// The device with a number.
    pub fn from_number(number: (u32, u32)) -> Option<Device> {
        DEVICES.iter().find(|(_, _, its)| *its == number).map(|(_, device, _)| *device)
    }
}

/// `st_rdev` of a device.
pub fn packed_number(device: Device) -> u64 {
    let number = DEVICES.iter().find(|(_, its, _)| *its == device).map_or((0, 0), |(_, _, number)| *number);
    u64::from(number.0) << 8 | u64::from(number.1)
}

/// Makes the nodes of `/dev` that the archive did not bring.
pub fn populate(directory: &Node) {
    for (name, device, _) in DEVICES {
        let permissions = if device == Device::Tty { 0o620 } else { 0o666 };
        match directory.insert(name, Node::new(Kind::Device(device), permissions)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => log::warn!("/dev/{name}: {error:?}"),
        }
    }
}

/// Reads from a device.
pub fn read(device: Device, buf: &mut [u8], nonblocking: bool) -> Result<usize> {
    match device {
        Device::Null => Ok(0),
        Device::Zero | Device::Full => {
            buf.fill(0);
            Ok(buf.len())
        }
        Device::Random => {
            fill_random(buf);
            Ok(buf.len())
        }
        Device::Tty => crate::tty::read(buf, nonblocking),
    }
}

/// Writes to a device.
pub fn write(device: Device, bytes: &[u8]) -> Result<usize> {
    match device {
        Device::Null | Device::Zero | Device::Random => Ok(bytes.len()),
        Device::Full => Err(Errno::ENOSPC),
        Device::Tty => {
            crate::tty::write(bytes);
            Ok(bytes.len())
        }
    }
}

/// Fills a buffer with numbers that look random, and are no secret.
pub fn fill_random(buf: &mut [u8]) {
    for chunk in buf.chunks_mut(8) {
        chunk.copy_from_slice(&crate::random::next().to_le_bytes()[..chunk.len()]);
    }
}
