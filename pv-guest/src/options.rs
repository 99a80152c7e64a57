//! Words of the form `key=value` on the kernel's command line.

/// The value of `key=value`, before `--`; the first one counts.
pub fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_ascii_whitespace()
        .take_while(|&word| word != "--")
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The value of `key=number`, decimal, or hexadecimal after `0x`. `None` when it is absent or no number.
pub fn number(line: &str, key: &str) -> Option<u64> {
    let text = value(line, key)?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_whole_key_before_the_dashes_counts() {
        let line = "xrole=a role=spin role=hammer seconds=12 mask=0x1f bad=1x -- late=1";
        assert_eq!(value(line, "role"), Some("spin"));
        assert_eq!(value(line, "rol"), None);
        assert_eq!(value(line, "late"), None);
        assert_eq!((number(line, "seconds"), number(line, "mask")), (Some(12), Some(0x1f)));
        assert_eq!((number(line, "bad"), number(line, "none")), (None, None));
    }
}
