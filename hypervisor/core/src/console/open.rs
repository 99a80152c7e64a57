//! The line that stands open on the terminal, so that a line of somebody else's can come before it instead of in its middle.

/// Bytes of an open line that can be shown again.
const KEPT: usize = 128;

/// What was sent since the last line's end by whoever sends bytes as they come.
#[derive(Debug)]
pub struct OpenLine {
    text: [u8; KEPT],
    /// Bytes sent; more than `KEPT` if not all are kept.
    len: usize,
}

impl OpenLine {
    /// At the start of a line.
    pub const fn new() -> Self {
        Self { text: [0; KEPT], len: 0 }
    }

    /// Where nobody knows what was sent last.
    pub const fn unknown() -> Self {
        Self { text: [0; KEPT], len: KEPT + 1 }
    }

    /// Notes bytes that were sent.
    pub fn note(&mut self, bytes: &[u8]) {
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let rest = match end {
            Some(end) => {
                self.len = 0;
                &bytes[end + 1..]
            }
            None => bytes,
        };
        let len = self.len.saturating_add(rest.len()).min(KEPT + 1);
        if let Some(place) = self.text.get_mut(self.len..self.len + rest.len()) {
            place.copy_from_slice(rest);
        }
        self.len = len;
    }

    /// What to send before lines of somebody else's. The open line is taken off the screen when it can be shown again
    /// ("erase in line", ECMA-48 8.3.41); else it is cut there.
    pub fn leave(&self) -> &'static [u8] {
        match self.len {
            0 => b"",
            1..=KEPT => b"\r\x1b[K",
            _ => b"\r\n",
        }
    }

    /// What to send after them.
    pub fn resume(&mut self) -> &[u8] {
        if self.len > KEPT {
            self.len = 0;
        }
        &self.text[..self.len]
    }
}

impl Default for OpenLine {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn interrupted(open: &mut OpenLine) -> (Vec<u8>, Vec<u8>) {
        (open.leave().to_vec(), open.resume().to_vec())
    }

    #[test]
    fn an_open_line_is_shown_again() {
        let mut open = OpenLine::new();
        assert_eq!(interrupted(&mut open), (b"".to_vec(), b"".to_vec()));
        open.note(b"done\r\n/ ");
        open.note(b"$ ");
        open.note(b"");
        for _ in 0..2 {
            assert_eq!(interrupted(&mut open), (b"\r\x1b[K".to_vec(), b"/ $ ".to_vec()));
        }
        open.note(b"ls\r\n");
        assert_eq!(interrupted(&mut open), (b"".to_vec(), b"".to_vec()));
    }

    #[test]
    fn one_that_is_too_long_is_cut_once() {
        for pieces in [&[KEPT + 1][..], &[KEPT, 1], &[1, KEPT + 50, 7], &[KEPT - 1, 2]] {
            let mut open = OpenLine::new();
            pieces.iter().for_each(|len| open.note(&std::vec![b'x'; *len]));
            assert_eq!(interrupted(&mut open), (b"\r\n".to_vec(), b"".to_vec()), "{pieces:?}");
            open.note(b"rest");
            assert_eq!(interrupted(&mut open), (b"\r\x1b[K".to_vec(), b"rest".to_vec()));
        }
        let mut open = OpenLine::new();
        open.note(&[b'x'; KEPT]);
        assert_eq!(interrupted(&mut open).1.len(), KEPT);
        assert_eq!(OpenLine::unknown().leave(), b"\r\n");
    }
}
