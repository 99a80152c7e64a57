//! Linux kernels as distributions pack them: Xen's tools, too, unpack a bzImage before they load the ELF file in it.
//!
//! Format: the kernel's Documentation/arch/x86/boot.rst. Debian's kernels for clouds are compressed by LZ4, for which nothing
//! need be installed here: legacy frames (lz4_Frame_format.md, "Legacy frame") of blocks (lz4_Block_format.md). For other ways
//! their own programs are called.

use crate::stop;
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::process::{Command, Stdio};

/// `HdrS`, and where it stands.
const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
/// Size of the boot sector in sectors, less one; 0 stands for 4.
const SETUP_SECTORS: usize = 0x1f1;
/// Offset from the protected-mode part, and length, of the compressed kernel.
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;
/// A legacy frame's first bytes.
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// First bytes of other ways, the program for each, and the bytes behind its data: the kernel's build puts the size there
/// where the format does not have it.
const PROGRAMS: [(&[u8], &str, usize); 3] =
    [(b"\x1f\x8b", "gzip", 0), (b"\xfd7zXZ\0", "xz", 4), (b"\x28\xb5\x2f\xfd", "zstd", 4)];
/// Most bytes that a block of a legacy frame holds.
const BLOCK_MAX: usize = 8 << 20;

/// The kernel's ELF file, if these bytes are a bzImage; else the bytes as they are.
pub fn unpacked(file: Vec<u8>) -> Result<Vec<u8>> {
    if file.get(MAGIC.0..).is_none_or(|rest| !rest.starts_with(MAGIC.1)) {
        return Ok(file);
    }
    let payload = payload(&file).context("the bzImage ends too early")?;
    if let Some(blocks) = payload.strip_prefix(&LZ4_LEGACY) {
        return frame(blocks).context("the bzImage's LZ4 data make no sense");
    }
    match PROGRAMS.iter().find(|(magic, ..)| payload.starts_with(magic)) {
        Some((_, program, behind)) => by_program(program, &payload[..payload.len() - behind]),
        None => bail!("the kernel is compressed in an unknown way: unpack it first (extract-vmlinux)"),
    }
}

/// Has a program unpack.
fn by_program(program: &str, packed: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(["--decompress", "--stdout"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|_| stop::missing(format!("{program}, by which the kernel is compressed"), "its package"))?;
    let mut input = child.stdin.take().context("no pipe")?;
    // It writes while it still reads.
    let output = std::thread::scope(|scope| {
        // Where it stops reading, its status says why.
        scope.spawn(move || input.write_all(packed));
        child.wait_with_output()
    });
    let output = output.with_context(|| format!("waiting for {program}"))?;
    if !output.status.success() {
        bail!("{program} cannot unpack the kernel: {}", output.status);
    }
    Ok(output.stdout)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*word)).ok()
}

fn payload(file: &[u8]) -> Option<&[u8]> {
    let sectors = match file.get(SETUP_SECTORS)? {
        0 => 4,
        sectors => usize::from(*sectors),
    };
    let start = (sectors + 1) * SECTOR + word(file, PAYLOAD_OFFSET)?;
    file.get(start..)?.get(..word(file, PAYLOAD_LENGTH)?)
}

/// Blocks, each behind its size. The kernel's build puts the size of everything behind the last.
fn frame(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while rest.len() > 4 {
        let size = word(rest, 0)?;
        block(rest.get(4..4 + size)?, &mut out)?;
        rest = &rest[4 + size..];
    }
    (word(rest, 0)? == out.len()).then_some(out)
}

/// A length: 15 in its four bits is continued by bytes, each of which but the last is 255.
fn length(bits: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(bits);
    if bits == 15 {
        loop {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            length += usize::from(*byte);
            if *byte != 255 {
                break;
            }
        }
    }
    Some(length)
}

/// Sequences of bytes as they are and of bytes that were there before; the last has only the former.
fn block(mut rest: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let literals = length(token >> 4, &mut rest)?;
        let (bytes, after) = rest.split_at_checked(literals)?;
        out.extend_from_slice(bytes);
        rest = after;
        if rest.is_empty() {
            break;
        }
        let (offset, after) = rest.split_first_chunk()?;
        rest = after;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let count = length(token & 15, &mut rest)? + 4;
        if offset == 0 || offset > out.len() - start || out.len() - start + count > BLOCK_MAX {
            return None;
        }
        // The two may overlap: what is copied may be copied again.
        for at in out.len() - offset..out.len() - offset + count {
            out.push(out[at]);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "abcabcabcabcX" in one block: three literals, nine bytes from three back, and one literal.
    const BLOCK: [u8; 8] = [0x35, b'a', b'b', b'c', 3, 0, 0x10, b'X'];

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 3 * SECTOR];
        file[SETUP_SECTORS] = 2;
        file[MAGIC.0..MAGIC.0 + 4].copy_from_slice(MAGIC.1);
        file[PAYLOAD_OFFSET] = 5;
        file[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        file.extend([0; 5]);
        file.extend(payload);
        file.extend(b"signature");
        file
    }

    fn legacy(blocks: &[&[u8]], size: u32) -> Vec<u8> {
        let mut payload = LZ4_LEGACY.to_vec();
        for block in blocks {
            payload.extend((block.len() as u32).to_le_bytes());
            payload.extend(*block);
        }
        payload.extend(size.to_le_bytes());
        payload
    }

    #[test]
    fn the_kernel_comes_out() {
        assert_eq!(unpacked(image(&legacy(&[&BLOCK, &BLOCK], 26))).unwrap(), b"abcabcabcabcXabcabcabcabcX");
        assert_eq!(unpacked(b"\x7fELF".to_vec()).unwrap(), b"\x7fELF");
        let long = [&[0xf0, 255, 30][..], &[b'y'; 300]].concat();
        assert_eq!(unpacked(image(&legacy(&[&long], 300))).unwrap(), [b'y'; 300]);
    }

    #[test]
    fn a_program_unpacks_what_is_packed_otherwise() {
        // gzip's header, one stored block with "hi", its CRC-32 and its length.
        let packed = [
            &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..],
            &[1, 2, 0, 0xfd, 0xff, b'h', b'i'],
            &[0xac, 0x2a, 0x93, 0xd8],
            &[2, 0, 0, 0],
        ];
        assert_eq!(unpacked(image(&packed.concat())).unwrap(), b"hi");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let far = [0x30, b'a', b'b', b'c', 4, 0, 0x10, b'X'];
        for bad in [legacy(&[&BLOCK], 14), legacy(&[&far], 8), legacy(&[&BLOCK[..5]], 3)] {
            assert!(unpacked(image(&bad)).is_err());
        }
        let other = unpacked(image(b"\x5d\0\0\0")).unwrap_err();
        assert!(other.to_string().contains("extract-vmlinux"), "{other}");
        assert!(unpacked(image(b"\x1f\x8b\x08")).is_err(), "gzip's own refusal");
        let mut short = image(&legacy(&[&BLOCK], 13));
        short.truncate(1560);
        assert!(unpacked(short).is_err());
    }
}
