use super::*;
use std::string::String;
use std::vec;

/// Types bytes; returns what was echoed and the last signal.
fn type_in(line: &mut Line, bytes: &[u8]) -> (String, Option<Signal>) {
    let mut echoed = Vec::new();
    let mut signal = None;
    for byte in bytes {
        signal = line.input(*byte, &mut |bytes| echoed.extend_from_slice(bytes)).or(signal);
    }
    (String::from_utf8(echoed).unwrap(), signal)
}

fn read(line: &mut Line) -> Option<String> {
    let mut buf = vec![0; 100];
    let count = line.read(&mut buf)?;
    Some(String::from_utf8(buf[..count].to_vec()).unwrap())
}

#[test]
fn a_line_becomes_readable_at_its_end() {
    let mut line = Line::new();
    assert_eq!(type_in(&mut line, b"ab").0, "ab");
    assert_eq!(read(&mut line), None);
    assert_eq!(type_in(&mut line, b"c\rnext\n").0, "c\r\nnext\r\n");
    assert_eq!(read(&mut line).unwrap(), "abc\n");
    assert_eq!(read(&mut line).unwrap(), "next\n");
    assert_eq!(read(&mut line), None);
}

#[test]
fn a_short_buffer_takes_a_line_in_parts() {
    let mut line = Line::new();
    type_in(&mut line, b"abcd\n");
    let mut buf = [0; 3];
    assert_eq!(line.read(&mut buf), Some(3));
    assert_eq!(line.queued(), 2);
    assert_eq!(read(&mut line).unwrap(), "d\n");
}

#[test]
fn editing_keys() {
    let mut line = Line::new();
    assert_eq!(type_in(&mut line, b"abx\x7fc\n").0, "abx\x08 \x08c\r\n");
    assert_eq!(read(&mut line).unwrap(), "abc\n");
    type_in(&mut line, b"junk\x15one two \x17three\n");
    assert_eq!(read(&mut line).unwrap(), "one three\n");
    // A character of two bytes goes as one; a control character was shown as two.
    assert_eq!(type_in(&mut line, "é\x7f\x01\x7f".as_bytes()).0, "é\x08 \x08^A\x08 \x08\x08 \x08");
    assert_eq!(type_in(&mut line, b"\x7f").0, "");
}

#[test]
fn control_d_ends_a_line_or_the_file() {
    let mut line = Line::new();
    type_in(&mut line, b"ab\x04");
    assert_eq!(read(&mut line).unwrap(), "ab");
    type_in(&mut line, b"\x04");
    assert_eq!(read(&mut line).unwrap(), "");
    assert_eq!(read(&mut line), None);
}

#[test]
fn signals_drop_what_was_typed() {
    let mut line = Line::new();
    assert_eq!(type_in(&mut line, b"abc\x03"), ("abc^C".into(), Some(Signal::Interrupt)));
    type_in(&mut line, b"d\n");
    assert_eq!(read(&mut line).unwrap(), "d\n");
    assert_eq!(type_in(&mut line, b"\x1c").1, Some(Signal::Quit));
    assert_eq!(type_in(&mut line, b"\x1a").1, Some(Signal::Suspend));
}

#[test]
fn raw_mode_gives_bytes_at_once() {
    let mut line = Line::new();
    type_in(&mut line, b"pending");
    let mut raw = Termios::new();
    raw.lflag = 0;
    raw.iflag = 0;
    line.set_termios(raw);
    assert_eq!(type_in(&mut line, b"\x03\r\x7f"), (String::new(), None));
    assert_eq!(read(&mut line).unwrap(), "pending\x03\r\x7f");
    assert_eq!(read(&mut line), None);
}

#[test]
fn output_is_processed_unless_raw() {
    let mut line = Line::new();
    let mut out = Vec::new();
    line.output(b"a\n\nb", &mut |bytes| out.extend_from_slice(bytes));
    assert_eq!(out, b"a\r\n\r\nb");
    line.termios.oflag = 0;
    out.clear();
    line.output(b"a\n", &mut |bytes| out.extend_from_slice(bytes));
    assert_eq!(out, b"a\n");
}

#[test]
fn too_long_a_line_rings_the_bell() {
    let mut line = Line::new();
    type_in(&mut line, &vec![b'x'; LINE_MAX]);
    assert_eq!(type_in(&mut line, b"y").0, "\x07");
    type_in(&mut line, b"\n");
    assert_eq!(line.queued(), LINE_MAX + 1);
}

#[test]
fn without_echo_nothing_shows() {
    let mut line = Line::new();
    line.termios.lflag &= !lflag::ECHO;
    assert_eq!(type_in(&mut line, b"secret\x7f\n").0, "");
    assert_eq!(read(&mut line).unwrap(), "secre\n");
}
