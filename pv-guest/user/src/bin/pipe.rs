//! Pipes: bytes arrive in order and complete through a buffer smaller than the message; the end is seen;
//! writing without a reader fails.
#![no_std]
#![no_main]

use ulib::process::{self, Disposition, Status, set_signal, signal};
use ulib::report::Report;
use ulib::{Args, Errno, file, io, sys};

ulib::entry!(main);

const LENGTH: usize = 300_000;

fn pattern(index: usize) -> u8 {
    (index.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    match transfer() {
        Ok((length, wrong, status)) => report.check(
            "pipe",
            length == LENGTH && wrong == 0 && status == Status::Exited(0),
            format_args!("{length} bytes from a child, {wrong} wrong"),
        ),
        Err(error) => report.check("pipe", false, format_args!("{error}")),
    }
    match orphan_writer() {
        Ok((error, killed)) => report.check(
            "pipe-broken",
            error == Err(Errno::EPIPE) && killed == Status::Killed(signal::SIGPIPE),
            format_args!("without a reader: EPIPE when SIGPIPE is ignored, else {killed}"),
        ),
        Err(error) => report.check("pipe-broken", false, format_args!("{error}")),
    }
    report.code()
}

fn transfer() -> sys::Result<(usize, usize, Status)> {
    let (reader, writer) = sys::pipe()?;
    let pid = process::spawn(|| {
        let _ = sys::close(reader);
        let mut block = [0; 777];
        let mut sent = 0;
        while sent < LENGTH {
            let size = block.len().min(LENGTH - sent);
            for (offset, byte) in block[..size].iter_mut().enumerate() {
                *byte = pattern(sent + offset);
            }
            if io::write_all(writer, &block[..size]).is_err() {
                return 1;
            }
            sent += size;
        }
        0
    })?;
    sys::close(writer)?;
    let bytes = file::read_to_end(reader)?;
    sys::close(reader)?;
    let wrong = bytes.iter().enumerate().filter(|(index, byte)| pattern(*index) != **byte).count();
    Ok((bytes.len(), wrong, process::wait(pid)?))
}

fn orphan_writer() -> sys::Result<(sys::Result<usize>, Status)> {
    let (reader, writer) = sys::pipe()?;
    sys::close(reader)?;
    set_signal(signal::SIGPIPE, Disposition::Ignore)?;
    let error = sys::write(writer, b"x");
    set_signal(signal::SIGPIPE, Disposition::Default)?;
    let killed = process::run(|| {
        let _ = sys::write(writer, b"x");
        0
    })?;
    sys::close(writer)?;
    Ok((error, killed))
}
