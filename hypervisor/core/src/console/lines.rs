//! Output that goes out by lines.

use alloc::vec::Vec;

/// Bytes of a line; a longer one goes out in parts.
pub const LINE_MAX: usize = 256;

/// What a domain has printed of a line that is not at its end.
#[derive(Debug, Default)]
pub struct LineBuffer {
    text: Vec<u8>,
}

impl LineBuffer {
    /// Takes output, and passes on each line that it ends or fills. As in Xen, what does not print is dropped: nobody but
    /// the domain that has the console moves the cursor. So are empty lines, which would cost a mark and tell nothing.
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        for &byte in bytes {
            let prints = byte == b'\t' || byte == b' ' || byte.is_ascii_graphic();
            if prints {
                self.text.push(byte);
            }
            if byte == b'\n' || self.text.len() == LINE_MAX {
                self.flush(&mut line);
            }
        }
    }

    /// Passes on what there is of an unfinished line.
    pub fn flush(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.text.is_empty() {
            line(&self.text);
            self.text.clear();
        }
    }

    /// What there is of an unfinished line.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Forgets it.
    pub fn clear(&mut self) {
        self.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn pushed(buffer: &mut LineBuffer, pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in pieces {
            buffer.push(piece, |line| lines.push(String::from_utf8(line.to_vec()).unwrap()));
        }
        lines
    }

    #[test]
    fn lines_come_out_whole_however_they_went_in() {
        let mut buffer = LineBuffer::default();
        assert_eq!(pushed(&mut buffer, &[b"on", b"e\r", b"\ntwo\nth"]), ["one", "two"]);
        assert_eq!(buffer.text(), b"th");
        assert_eq!(pushed(&mut buffer, &[b"", b"ree\n\n\r\n"]), ["three"]);
        assert_eq!(buffer.text(), b"");
    }

    #[test]
    fn what_does_not_print_is_dropped() {
        let mut buffer = LineBuffer::default();
        assert_eq!(pushed(&mut buffer, &[b"\x1b[2Ja\x08\x07\tb\xff\x80\0 ~\n"]), ["[2Ja\tb ~"]);
    }

    #[test]
    fn a_full_buffer_goes_out_and_a_flush_gives_the_rest() {
        let mut buffer = LineBuffer::default();
        let lines = pushed(&mut buffer, &[&[b'x'; 2 * LINE_MAX + 3]]);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LINE_MAX; 2]);
        let mut rest = Vec::new();
        buffer.flush(|line| rest.extend_from_slice(line));
        assert_eq!(rest, b"xxx");
        buffer.flush(|_| panic!("nothing is left"));
        // A full line's own end makes no second line.
        let lines = pushed(&mut buffer, &[&[b'y'; LINE_MAX], b"\n"]);
        assert_eq!(lines.len(), 1);
    }
}
