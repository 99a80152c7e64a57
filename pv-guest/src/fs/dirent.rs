//! Directory records of `getdents64`: inode u64, position i64, record length u16, type u8, null-terminated
//! name, padded to eight bytes.

use alloc::vec::Vec;

/// `d_type` values: the type bits of `st_mode`, shifted.
pub fn kind_of_mode(mode: u32) -> u8 {
    ((mode >> 12) & 0xf) as u8
}

/// Appends a record when `out` stays within `limit`; says whether it did.
pub fn push(out: &mut Vec<u8>, limit: usize, inode: u64, next: u64, kind: u8, name: &str) -> bool {
    let length = (19 + name.len() + 1).next_multiple_of(8);
    let start = out.len();
    if start + length > limit {
        return false;
    }
    out.extend_from_slice(&inode.to_le_bytes());
    out.extend_from_slice(&next.to_le_bytes());
    out.extend_from_slice(&(length as u16).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(name.as_bytes());
    out.resize(start + length, 0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_padded_and_stop_at_the_limit() {
        let mut out = Vec::new();
        assert!(push(&mut out, 64, 3, 1, 4, "."));
        assert_eq!(out.len(), 24);
        assert_eq!(out[16..21], [24, 0, 4, b'.', 0]);
        assert!(push(&mut out, 64, 4, 2, 8, "12345"));
        assert_eq!(out.len(), 56);
        assert!(!push(&mut out, 64, 5, 3, 8, "x"));
        assert_eq!(out.len(), 56);
    }

    #[test]
    fn kinds() {
        assert_eq!(kind_of_mode(0o040755), 4);
        assert_eq!(kind_of_mode(0o100644), 8);
        assert_eq!(kind_of_mode(0o120777), 10);
        assert_eq!(kind_of_mode(0o020666), 2);
    }
}
