//! Boot bundle: several boot modules in one file.
//!
//! QEMU's `-kernel`/`-initrd` pair hands over a single module, so the module list travels as a cpio archive in
//! the "new ASCII" format (`newc`, the format Linux takes for initramfs: kernel documentation,
//! `driver-api/early-userspace/buffer-format`). The members, in order, are the module list. A boot loader that
//! can pass several modules (multiboot2, Xen) needs no bundle: what is not an archive is taken as it is.

use alloc::vec::Vec;
use core::fmt;

use crate::boot::Module;

/// Magic of a `newc` member header, and of its variant with checksums.
const MAGICS: [&[u8]; 2] = [b"070701", b"070702"];
/// Bytes of a member header: the magic and thirteen eight-digit hexadecimal fields.
const HEADER: usize = 6 + 13 * 8;
/// Field numbers after the magic.
const FIELD_MODE: usize = 1;
const FIELD_FILESIZE: usize = 6;
const FIELD_NAMESIZE: usize = 11;
/// Name of the member that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// Longest member name accepted (Linux's PATH_MAX).
const NAME_MAX: usize = 4096;
/// Most members accepted: far above any use, and it bounds what a bad bundle can make the heap hold.
const MEMBERS_MAX: usize = 256;

/// One member of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// File name, without the terminating NUL.
    pub name: &'a str,
    /// Contents.
    pub data: &'a [u8],
}

/// Why an archive was refused; each variant carries the byte offset of the member header at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// A header, name or body runs past the end of the file.
    Truncated(usize),
    /// A member header does not start with the magic.
    Magic(usize),
    /// A numeric field has a character that is not a hexadecimal digit.
    Digit(usize),
    /// A name is empty, too long, not UTF-8 or not terminated by its only NUL.
    Name(usize),
    /// More than the accepted number of members.
    TooMany(usize),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(at) => write!(f, "bundle: member at byte {at} runs past the end of the archive"),
            Self::Magic(at) => write!(f, "bundle: no member header at byte {at}"),
            Self::Digit(at) => write!(f, "bundle: bad number in the member header at byte {at}"),
            Self::Name(at) => write!(f, "bundle: bad member name at byte {at}"),
            Self::TooMany(at) => write!(f, "bundle: more than {MEMBERS_MAX} members (byte {at})"),
        }
    }
}

impl core::error::Error for BundleError {}

/// Whether `file` starts like a bundle.
pub fn is_bundle(file: &[u8]) -> bool {
    MAGICS.iter().any(|magic| file.starts_with(magic))
}

/// The members of a bundle, in order. Directories are skipped.
pub fn read(file: &[u8]) -> Result<Vec<Member<'_>>, BundleError> {
    let mut members = Vec::new();
    let mut at = 0;
    loop {
        let header = slice(file, at, HEADER).ok_or(BundleError::Truncated(at))?;
        if !is_bundle(header) {
            return Err(BundleError::Magic(at));
        }
        let mode = field(header, FIELD_MODE).ok_or(BundleError::Digit(at))?;
        let size = field(header, FIELD_FILESIZE).ok_or(BundleError::Digit(at))? as usize;
        let name_size = field(header, FIELD_NAMESIZE).ok_or(BundleError::Digit(at))? as usize;
        if !(2..=NAME_MAX).contains(&name_size) {
            return Err(BundleError::Name(at));
        }
        let name = slice(file, at + HEADER, name_size).ok_or(BundleError::Truncated(at))?;
        let (&nul, name) = name.split_last().ok_or(BundleError::Name(at))?;
        if nul != 0 || name.contains(&0) {
            return Err(BundleError::Name(at));
        }
        if name == TRAILER {
            return Ok(members);
        }
        let name = core::str::from_utf8(name).map_err(|_| BundleError::Name(at))?;
        let body = align4(at + HEADER + name_size);
        let data = slice(file, body, size).ok_or(BundleError::Truncated(at))?;
        // S_IFDIR; a file type of zero is what simple writers leave.
        if mode & 0o170_000 != 0o040_000 {
            if members.len() == MEMBERS_MAX {
                return Err(BundleError::TooMany(at));
            }
            members.push(Member { name, data });
        }
        at = align4(body + size);
    }
}

/// Expands the module list a boot loader gave: a bundle becomes its members, anything else stays one module.
pub fn expand<'a>(modules: &[Module<'a>]) -> Result<Vec<Module<'a>>, BundleError> {
    match modules {
        [only] if is_bundle(only.data) => {
            Ok(read(only.data)?.into_iter().map(|member| member.data.into()).collect())
        }
        _ => Ok(modules.to_vec()),
    }
}

/// Writes a bundle that [`read`] gives back. Owner, times and inode numbers are constant, so equal input gives
/// equal bytes. Names must be non-empty and free of NUL.
pub fn write(members: &[Member<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, member) in members.iter().enumerate() {
        push_member(&mut out, index as u32 + 1, 0o100_644, member.name.as_bytes(), member.data);
    }
    push_member(&mut out, 0, 0, TRAILER, &[]);
    out
}

fn push_member(out: &mut Vec<u8>, inode: u32, mode: u32, name: &[u8], data: &[u8]) {
    out.extend_from_slice(MAGICS[0]);
    let mut fields = [0u32; 13];
    fields[0] = inode;
    fields[FIELD_MODE] = mode;
    fields[4] = 1;
    fields[FIELD_FILESIZE] = data.len() as u32;
    fields[FIELD_NAMESIZE] = name.len() as u32 + 1;
    for value in fields {
        for digit in (0..8).rev() {
            out.push(b"0123456789abcdef"[(value >> (4 * digit)) as usize & 15]);
        }
    }
    out.extend_from_slice(name);
    out.push(0);
    out.resize(align4(out.len()), 0);
    out.extend_from_slice(data);
    out.resize(align4(out.len()), 0);
}

fn slice(file: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    file.get(at..)?.get(..len)
}

fn field(header: &[u8], index: usize) -> Option<u32> {
    let digits = slice(header, 6 + index * 8, 8)?;
    digits.iter().try_fold(0u32, |value, &digit| Some((value << 4) | (digit as char).to_digit(16)?))
}

/// Sizes are 32-bit and offsets are bounded by the file, so this cannot overflow a 64-bit `usize`.
fn align4(at: usize) -> usize {
    (at + 3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn sample() -> Vec<u8> {
        write(&[Member { name: "a.dtb", data: b"tree" }, Member { name: "kernel", data: b"\x7fELF!" }])
    }

    #[test]
    fn members_come_back_in_order() {
        let file = sample();
        assert!(is_bundle(&file));
        let got = read(&file).unwrap();
        assert_eq!(
            got,
            vec![Member { name: "a.dtb", data: b"tree" }, Member { name: "kernel", data: b"\x7fELF!" }]
        );
    }

    #[test]
    fn the_layout_is_newc() {
        let file = sample();
        assert_eq!(&file[..6], b"070701");
        // Mode is the second field, file size the seventh, name size (with NUL) the twelfth.
        assert_eq!(&file[14..22], b"000081a4");
        assert_eq!(&file[54..62], b"00000004");
        assert_eq!(&file[94..102], b"00000006");
        assert_eq!(&file[110..116], b"a.dtb\0");
        assert_eq!(&file[116..120], b"tree");
        assert_eq!(file.len() % 4, 0);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let file = sample();
        // The trailer (header, name, NUL) is all that must be there of the last block; padding may be cut.
        let trailer_end = file.len() - (4 - (HEADER + TRAILER.len() + 1) % 4);
        for len in 0..trailer_end {
            assert!(read(&file[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_directory_is_not_a_module() {
        let mut file = Vec::new();
        push_member(&mut file, 1, 0o040_755, b"boot", &[]);
        push_member(&mut file, 2, 0o100_644, b"boot/k", b"x");
        push_member(&mut file, 0, 0, TRAILER, &[]);
        assert_eq!(read(&file).unwrap(), vec![Member { name: "boot/k", data: b"x" }]);
    }

    #[test]
    fn sizes_beyond_the_file_are_refused() {
        let mut file = sample();
        file[54..62].copy_from_slice(b"ffffffff");
        assert_eq!(read(&file), Err(BundleError::Truncated(0)));
        file[54..62].copy_from_slice(b"0000000g");
        assert_eq!(read(&file), Err(BundleError::Digit(0)));
        let mut file = sample();
        file[94..102].copy_from_slice(b"00000000");
        assert_eq!(read(&file), Err(BundleError::Name(0)));
        file[94..102].copy_from_slice(b"00000005");
        assert_eq!(read(&file), Err(BundleError::Name(0)));
    }

    #[test]
    fn other_modules_stay_as_given() {
        let list = [Module::from(&b"tree"[..]), Module { data: b"kernel", command_line: "quiet" }];
        assert_eq!(expand(&list).unwrap(), list);
        let bundle = sample();
        let got = expand(&[bundle.as_slice().into()]).unwrap();
        assert_eq!(got, [b"tree".as_slice().into(), b"\x7fELF!".as_slice().into()]);
    }

    #[test]
    fn many_members_are_bounded() {
        let many = vec![Member { name: "m", data: &[] }; MEMBERS_MAX + 1];
        assert!(matches!(read(&write(&many)), Err(BundleError::TooMany(_))));
        assert_eq!(read(&write(&many[1..])).unwrap().len(), MEMBERS_MAX);
    }
}
