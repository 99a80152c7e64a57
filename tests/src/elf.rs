//! The little of an ELF file that the tests read: where its segments lie.

use anyhow::{Context, Result, bail};
use std::ops::Range;
use std::path::Path;

const PT_LOAD: u32 = 1;
const EXECUTABLE: u32 = 1;

/// The virtual addresses of the executable segments of an ELF64 file.
pub fn executable_ranges(path: &Path) -> Result<Vec<Range<u64>>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    ranges(&bytes).with_context(|| format!("reading {} as an ELF file", path.display()))
}

fn ranges(bytes: &[u8]) -> Result<Vec<Range<u64>>> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a little-endian ELF64 file");
    }
    let field = |at: usize, size: usize| -> Result<u64> {
        let field = bytes.get(at..at + size).context("cut short")?;
        Ok(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    };
    let table = usize::try_from(field(32, 8)?)?;
    let (size, count) = (usize::try_from(field(54, 2)?)?, usize::try_from(field(56, 2)?)?);
    let mut found = Vec::new();
    for index in 0..count {
        let at = table + index * size;
        if field(at, 4)? == u64::from(PT_LOAD) && field(at + 4, 4)? & u64::from(EXECUTABLE) != 0 {
            let start = field(at + 16, 8)?;
            found.push(start..start + field(at + 40, 8)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_code_and_text_has_none() {
        let own = executable_ranges(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.iter().any(|range| !range.is_empty()));
        assert!(ranges(b"plain text, and no more of it").is_err());
        assert!(ranges(b"\x7fELF\x02\x01").is_err());
    }
}
