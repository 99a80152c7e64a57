//! `struct stat` of Linux on x86-64 (arch/x86/include/uapi/asm/stat.h).

use super::node::{Kind, Node};
use super::{dev, mode};
use pv_guest_logic::path::NAME_MAX;
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

/// What `statfs` writes (arch/x86 `struct statfs`).
#[repr(C)]
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[allow(missing_docs)]
pub struct StatFs {
    pub kind: i64,
    pub bsize: i64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub fsid: [u32; 2],
    pub namelen: i64,
    pub frsize: i64,
    pub flags: i64,
    pub spare: [i64; 4],
}

const_assert_eq!(size_of::<StatFs>(), 120);

impl StatFs {
    /// That of the file system a node lies in: memory, with the room that files written at run time have, or `/proc`.
    pub fn of_node(node: Option<&Node>) -> StatFs {
        const TMPFS_MAGIC: i64 = 0x0102_1994;
        const PROC_SUPER_MAGIC: i64 = 0x9fa0;
        const BLOCK: usize = 4096;
        let common =
            StatFs { bsize: BLOCK as i64, frsize: BLOCK as i64, namelen: NAME_MAX as i64, ..Self::default() };
        if matches!(node.map(|node| &node.kind), Some(Kind::Proc(_))) {
            return StatFs { kind: PROC_SUPER_MAGIC, ..common };
        }
        let (most, used) = super::budget();
        let free = (most.saturating_sub(used) / BLOCK) as u64;
        StatFs { kind: TMPFS_MAGIC, blocks: (most / BLOCK) as u64, bfree: free, bavail: free, ..common }
    }
}
