//! An ELF file without what no boot loader needs.

use anyhow::{Context, Result};

/// Offsets in an ELF64 header: program headers (where, size of one, number), section headers (where, size, number,
/// names).
const PROGRAM_HEADERS: usize = 32;
const PROGRAM_HEADER_SIZE: usize = 54;
const SECTION_HEADERS: usize = 40;
const SECTION_NUMBERS: std::ops::Range<usize> = 58..64;

/// The file up to the end of its last segment. GRUB would load the sections with symbols too, 2 MiB of them.
pub fn without_sections(file: &[u8]) -> Result<Vec<u8>> {
    strip(file).context("this is no ELF64 file")
}

fn strip(file: &[u8]) -> Option<Vec<u8>> {
    let long = |at: usize| Some(u64::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let short = |at: usize| Some(usize::from(u16::from_le_bytes(*file.get(at..)?.first_chunk()?)));
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let headers = usize::try_from(long(PROGRAM_HEADERS)?).ok()?;
    let (size, count) = (short(PROGRAM_HEADER_SIZE)?, short(PROGRAM_HEADER_SIZE + 2)?);
    let mut end = headers.checked_add(size.checked_mul(count)?)?;
    for index in 0..count {
        let header = headers.checked_add(index * size)?;
        let (offset, bytes) = (long(header.checked_add(8)?)?, long(header.checked_add(32)?)?);
        end = end.max(usize::try_from(offset.checked_add(bytes)?).ok()?);
    }
    let mut kept = file.get(..end)?.to_vec();
    kept[SECTION_HEADERS..SECTION_HEADERS + 8].fill(0);
    kept[SECTION_NUMBERS].fill(0);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut file = vec![0; 64 + 56 + 100];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[PROGRAM_HEADERS] = 64;
        file[SECTION_HEADERS] = 200;
        (file[54], file[56], file[58], file[60]) = (56, 1, 64, 3);
        (file[64 + 8], file[64 + 32]) = (120, 40);
        file[120..160].fill(7);
        file
    }

    #[test]
    fn segments_stay_and_sections_go() {
        let kept = without_sections(&sample()).unwrap();
        assert_eq!(kept.len(), 160);
        assert_eq!(kept[120..], [7; 40]);
        assert_eq!((kept[SECTION_HEADERS], &kept[SECTION_NUMBERS]), (0, &[0; 6][..]));
    }

    #[test]
    fn damaged_files_are_refused() {
        let file = sample();
        for end in 0..160 {
            assert!(without_sections(&file[..end]).is_err(), "cut to {end} bytes");
        }
        for at in [PROGRAM_HEADERS + 7, 64 + 15, 64 + 39] {
            let mut file = sample();
            file[at] = 0xff;
            assert!(without_sections(&file).is_err(), "byte {at}");
        }
    }
}
