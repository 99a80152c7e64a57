//! Small string helpers.

use alloc::ffi::CString;
use alloc::string::String;
use alloc::vec::Vec;

/// A C string of `text`, cut at its first null byte.
pub fn c_string(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().take_while(|&byte| byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// A number, decimal or with `0x` hexadecimal.
pub fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The word after `key` in a line of words: `field("pid 3 vector 13", "vector")` is `Some("13")`.
pub fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut words = line.split_whitespace();
    words.find(|word| word.trim_end_matches(':') == key)?;
    words.next()
}

/// The number after `key`.
pub fn field_number(line: &str, key: &str) -> Option<u64> {
    number(field(line, key)?)
}

/// Bytes as text; what is not UTF-8 shows as replacement characters.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_bases() {
        assert_eq!(number("42"), Some(42));
        assert_eq!(number("0xe033"), Some(0xe033));
        assert_eq!(number("0x"), None);
        assert_eq!(number("-1"), None);
    }

    #[test]
    fn fields_by_name() {
        assert_eq!(field_number("pid 3 vector 13 error 0x0", "vector"), Some(13));
        assert_eq!(field_number("MemFree:   120 kB", "MemFree"), Some(120));
        assert_eq!(field("pid", "pid"), None);
    }
}
