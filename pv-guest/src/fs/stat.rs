//! `struct stat` of Linux on x86-64 (arch/x86/include/uapi/asm/stat.h).

use super::node::{Kind, Node};
use super::{dev, mode};
use static_assertions::const_assert_eq;
use zerocopy::{Immutable, IntoBytes};

/// What `stat` writes.
#[repr(C)]
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[allow(missing_docs)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub pad: u32,
    pub rdev: u64,
    pub size: i64,
    pub blksize: i64,
    pub blocks: i64,
    pub atime: [i64; 2],
    pub mtime: [i64; 2],
    pub ctime: [i64; 2],
    pub unused: [i64; 3],
}

const_assert_eq!(size_of::<Stat>(), 144);

impl Stat {
    /// A node's.
    pub fn of_node(node: &Node) -> Stat {
        let ns = node.mtime_ns();
        let time = [(ns / 1_000_000_000) as i64, (ns % 1_000_000_000) as i64];
        let size = node.size();
        Stat {
            dev: if matches!(node.kind, Kind::Proc(_)) { 2 } else { 1 },
            ino: node.ino,
            nlink: u64::from(node.links()),
            mode: node.mode(),
            rdev: if let Kind::Device(device) = &node.kind { dev::packed_number(*device) } else { 0 },
            size: size as i64,
            blksize: 4096,
            blocks: size.div_ceil(512) as i64,
            atime: time,
            mtime: time,
            ctime: time,
            ..Stat::default()
        }
    }

    /// A pipe's.
    pub fn of_pipe() -> Stat {
        Stat { dev: 3, ino: 1, nlink: 1, mode: mode::PIPE | 0o600, blksize: 4096, ..Stat::default() }
    }
}
